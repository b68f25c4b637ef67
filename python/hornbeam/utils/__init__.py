"""Utilities under the names that `keras.utils` has."""

import importlib
from typing import TYPE_CHECKING, Any

from . import conv_utils, func_utils, generic_utils, np_utils, progbar
from .generic_utils import (
    CustomObjectScope,
    Progbar,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    register_keras_serializable,
    serialize_keras_object,
)
from .np_utils import normalize, set_random_seed, to_categorical

if TYPE_CHECKING:
    from . import data_utils, io_utils, layer_utils, vis_utils
    from .data_utils import (
        GeneratorEnqueuer,
        OrderedEnqueuer,
        Sequence,
        SequenceEnqueuer,
        get_file,
    )
    from .io_utils import HDF5Matrix
    from .layer_utils import convert_all_kernels_in_model
    from .vis_utils import model_to_dot, plot_model

# These bring HDF5, the network and processes with them, which most programs do not need: each is
# imported when it is first asked for.
_MODULES = ("data_utils", "io_utils", "layer_utils", "vis_utils")
_NAMES = {
    "GeneratorEnqueuer": "data_utils",
    "HDF5Matrix": "io_utils",
    "OrderedEnqueuer": "data_utils",
    "Sequence": "data_utils",
    "SequenceEnqueuer": "data_utils",
    "convert_all_kernels_in_model": "layer_utils",
    "get_file": "data_utils",
    "model_to_dot": "vis_utils",
    "plot_model": "vis_utils",
}

__all__ = [
    "CustomObjectScope",
    "GeneratorEnqueuer",
    "HDF5Matrix",
    "OrderedEnqueuer",
    "Progbar",
    "Sequence",
    "SequenceEnqueuer",
    "conv_utils",
    "convert_all_kernels_in_model",
    "custom_object_scope",
    "data_utils",
    "deserialize_keras_object",
    "func_utils",
    "generic_utils",
    "get_custom_objects",
    "get_file",
    "io_utils",
    "layer_utils",
    "model_to_dot",
    "normalize",
    "np_utils",
    "plot_model",
    "progbar",
    "register_keras_serializable",
    "serialize_keras_object",
    "set_random_seed",
    "to_categorical",
    "vis_utils",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
