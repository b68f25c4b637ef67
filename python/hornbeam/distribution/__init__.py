"""Strategies: where the steps of training, evaluation and prediction run."""

from .local import LocalStrategy, Program, Run, Strategy, get_strategy, set_strategy

__all__ = ["LocalStrategy", "Program", "Run", "Strategy", "get_strategy", "set_strategy"]
