"""Layers, models and the training loop."""

import importlib
from typing import Any

from .base_layer import InputSpec, Layer
from .graph import get_source_inputs
from .input_layer import Input, InputLayer
from .training import Model

__all__ = ["Input", "InputLayer", "InputSpec", "Layer", "Model", "get_source_inputs"]


def __getattr__(name: str) -> Any:
    # Imported when it is first asked for: it needs more than its package.
    if name in ("topology",):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
