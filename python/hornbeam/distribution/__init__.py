"""Strategies: where the steps of training, evaluation and prediction run.

This package imports the engine, which knows the seam alone (`engine.strategy`).
"""

from ..engine.strategy import (
    Distribution,
    Program,
    Run,
    Strategy,
    get_distribution,
    get_strategy,
    set_distribution,
    set_strategy,
)
from .local import LocalStrategy
from .membership import Membership, default_shards, even_ranges
from .parallel import DataParallel, from_environment
from .sharded import ShardedStrategy

__all__ = [
    "DataParallel",
    "Distribution",
    "LocalStrategy",
    "Membership",
    "Program",
    "Run",
    "ShardedStrategy",
    "Strategy",
    "default_shards",
    "even_ranges",
    "from_environment",
    "get_distribution",
    "get_strategy",
    "set_distribution",
    "set_strategy",
]
