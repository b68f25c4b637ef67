"""The names of `keras.engine.topology`, gathered from the modules that define them."""

from .base_layer import InputSpec, Layer, Node
from .input_layer import Input, InputLayer

__all__ = ["Input", "InputLayer", "InputSpec", "Layer", "Node"]
