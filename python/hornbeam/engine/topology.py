"""The names of `keras.engine.topology`, gathered from the modules that define them."""

from .base_layer import InputSpec, Layer, Node
from .container import Container
from .graph import get_source_inputs
from .input_layer import Input, InputLayer

__all__ = [
    "Container",
    "Input",
    "InputLayer",
    "InputSpec",
    "Layer",
    "Node",
    "get_source_inputs",
]
