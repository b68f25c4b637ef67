"""Strategies: where the steps of training, evaluation and prediction run.

This package imports the engine, which knows the seam alone (`engine.strategy`).
"""

from ..engine.strategy import Program, Run, Strategy, get_strategy, set_strategy
from .local import LocalStrategy
from .membership import Membership, default_shards, even_ranges
from .sharded import ShardedStrategy

__all__ = [
    "LocalStrategy",
    "Membership",
    "Program",
    "Run",
    "ShardedStrategy",
    "Strategy",
    "default_shards",
    "even_ranges",
    "get_strategy",
    "set_strategy",
]
