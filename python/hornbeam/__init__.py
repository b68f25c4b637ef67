"""hornbeam: a Keras-compatible training framework with a Rust compute core."""

import importlib
import os
from typing import Any

from ._core import __version__

# Each module is imported when it is first asked for, which keeps the package's own import quick.
_MODULES = (
    "activations",
    "applications",
    "backend",
    "callbacks",
    "constraints",
    "datasets",
    "distribution",
    "engine",
    "errors",
    "initializers",
    "layers",
    "legacy",
    "losses",
    "metrics",
    "models",
    "objectives",
    "ops",
    "optimizers",
    "preprocessing",
    "regularizers",
    "saving",
    "utils",
    "wrappers",
)
_NAMES = {"Input": "engine", "Layer": "engine", "Model": "models", "Sequential": "models"}

__all__ = ["Input", "Layer", "Model", "Sequential", "__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if os.environ.get("HORNBEAM_WORKERS"):
    # A script that knows nothing of it is distributed; workers start when the first step needs one.
    from .distribution.parallel import take_environment

    take_environment()
