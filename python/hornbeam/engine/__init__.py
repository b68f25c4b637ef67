"""Layers, models and the training loop."""

from .base_layer import InputSpec, Layer
from .graph import get_source_inputs
from .input_layer import Input, InputLayer
from .training import Model

__all__ = ["Input", "InputLayer", "InputSpec", "Layer", "Model", "get_source_inputs"]
