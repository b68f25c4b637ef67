"""The names of `keras.engine.topology`, gathered from the modules that define them."""

from ..saving.hdf5 import (
    load_weights_from_hdf5_group,
    load_weights_from_hdf5_group_by_name,
    save_weights_to_hdf5_group,
)
from ..saving.weights import preprocess_weights_for_loading
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
    "load_weights_from_hdf5_group",
    "load_weights_from_hdf5_group_by_name",
    "preprocess_weights_for_loading",
    "save_weights_to_hdf5_group",
]
