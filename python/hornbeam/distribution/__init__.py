"""Strategies: where the steps of training, evaluation and prediction run.

This package imports the engine, which knows the seam alone (`engine.strategy`).
"""

from ..engine.strategy import Program, Run, Strategy, get_strategy, set_strategy
from .local import LocalStrategy

__all__ = ["LocalStrategy", "Program", "Run", "Strategy", "get_strategy", "set_strategy"]
