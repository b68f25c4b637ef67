"""Layers, models and the training loop."""

from .base_layer import InputSpec, Layer
from .input_layer import Input, InputLayer

__all__ = ["Input", "InputLayer", "InputSpec", "Layer"]
