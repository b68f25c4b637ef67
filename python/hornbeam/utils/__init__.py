"""Utilities under the names that `keras.utils` has."""

from . import (
    conv_utils,
    data_utils,
    func_utils,
    generic_utils,
    io_utils,
    layer_utils,
    np_utils,
    progbar,
    vis_utils,
)
from .data_utils import (
    GeneratorEnqueuer,
    OrderedEnqueuer,
    Sequence,
    SequenceEnqueuer,
    get_file,
)
from .generic_utils import (
    CustomObjectScope,
    Progbar,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    register_keras_serializable,
    serialize_keras_object,
)
from .io_utils import HDF5Matrix
from .layer_utils import convert_all_kernels_in_model
from .np_utils import normalize, set_random_seed, to_categorical
from .vis_utils import model_to_dot, plot_model

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
