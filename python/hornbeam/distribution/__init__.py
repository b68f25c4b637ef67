"""Strategies: where the steps of training, evaluation and prediction run.

This package imports the engine, which knows the seam alone (`engine.strategy`). Names that need Ray
are imported when they are asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from .ray.collective import register_collective_backend as register_collective_backend
    from .ray.datasets import RayData as RayData
    from .ray.reporting import ReportCheckpointCallback as ReportCheckpointCallback
    from .ray.train import HornbeamConfig as HornbeamConfig
    from .ray.train import HornbeamTrainer as HornbeamTrainer

# Where the names that need Ray are, and the extra that brings what they need.
_NEEDS_RAY = {
    "HornbeamConfig": ("train", "train"),
    "HornbeamTrainer": ("train", "train"),
    "RayData": ("datasets", "train"),
    "ReportCheckpointCallback": ("reporting", "train"),
    "register_collective_backend": ("collective", "ray"),
}

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


def __dir__() -> list[str]:
    return sorted([*globals(), *_NEEDS_RAY])


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_RAY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra = _NEEDS_RAY[name]
    try:
        return getattr(importlib.import_module(f"{__name__}.ray.{module}"), name)
    except ImportError as error:
        if (error.name or "").startswith(__name__.partition(".")[0]):
            raise
        raise ImportError(
            f"hornbeam.distribution.{name} needs Ray: pip install 'hornbeam[{extra}]'"
        ) from error
