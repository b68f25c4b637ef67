"""Utilities under the names that `keras.utils` has."""

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
from .np_utils import normalize, to_categorical

__all__ = [
    "CustomObjectScope",
    "Progbar",
    "conv_utils",
    "custom_object_scope",
    "deserialize_keras_object",
    "func_utils",
    "generic_utils",
    "get_custom_objects",
    "normalize",
    "np_utils",
    "progbar",
    "register_keras_serializable",
    "serialize_keras_object",
    "to_categorical",
]
