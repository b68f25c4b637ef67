"""Optimizers, by the names and with the formulas of Keras 2."""

from __future__ import annotations

from typing import Any

from ..utils.generic_utils import deserialize_keras_object, serialize_keras_object
from . import schedules
from .adam import Adam, Adamax, AdamW, Nadam
from .adaptive import Adadelta, Adagrad, RMSprop
from .base import Optimizer, clip_norm
from .sgd import SGD

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "clip_norm",
    "deserialize",
    "get",
    "nadam",
    "rmsprop",
    "schedules",
    "serialize",
    "sgd",
]

_CLASSES = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "adam": Adam,
    "adamw": AdamW,
    "adamax": Adamax,
    "nadam": Nadam,
}

sgd = SGD
rmsprop = RMSprop
adagrad = Adagrad
adadelta = Adadelta
adam = Adam
adamax = Adamax
nadam = Nadam


def serialize(optimizer: Any) -> Any:
    """Describe an optimizer by plain data."""
    return serialize_keras_object(optimizer)


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """Build the optimizer that `serialize` described.

    Args:
        config: dictionary with 'class_name', in any case for this module's classes, and 'config'.
        custom_objects: further classes by name.

    Raises:
        ValueError: for an unknown class.
    """
    name = config.get("class_name")
    if isinstance(name, str) and name.lower() in _CLASSES:
        config = {**config, "class_name": name.lower()}
    return deserialize_keras_object(
        config,
        module_objects=_CLASSES,
        custom_objects=custom_objects,
        printable_module_name="optimizer",
    )


def get(identifier: Any) -> Any:
    """Return an optimizer from a name (in any case), a config or an optimizer.

    Raises:
        ValueError: for an unknown name or anything else.
    """
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier, "config": {}})
    if not isinstance(identifier, type) and hasattr(identifier, "get_updates"):
        return identifier
    raise ValueError(
        f"Could not interpret optimizer identifier: {identifier!r}. "
        "Expected a name, a config dictionary or an optimizer (an instance, such as SGD())."
    )
