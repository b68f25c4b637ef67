"""Penalties on weights and outputs that are added to the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import backend as K
from .utils.generic_utils import deserialize_keras_object, serialize_keras_object


class Regularizer:
    """Base class: a callable from a tensor to a scalar penalty.

    Attributes:
        sums_over_batch: whether the penalty on an output grows with the number of samples, as a sum
            does, and is no mean over them. Training that cuts batches into shards has to know.
    """

    sums_over_batch = False

    def __call__(self, x: Any) -> Any:
        return 0.0

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """Build the regularizer from what `get_config` returned."""
        return cls(**config)


class L1L2(Regularizer):
    """The penalty l1 * sum(abs(x)) + l2 * sum(x ** 2).

    Args:
        l1: factor of the sum of absolute values, 0 by default.
        l2: factor of the sum of squares, 0 by default.
    """

    sums_over_batch = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = float(0.0 if l1 is None else l1)
        self.l2 = float(0.0 if l2 is None else l2)

    def __call__(self, x: Any) -> Any:
        penalty: Any = 0.0
        if self.l1:
            penalty = penalty + K.sum(self.l1 * K.abs(x))
        if self.l2:
            penalty = penalty + K.sum(self.l2 * K.square(x))
        return penalty

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class L1(L1L2):
    """The penalty l1 * sum(abs(x)), under the class name that newer files use."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(L1L2):
    """The penalty l2 * sum(x ** 2), under the class name that newer files use."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


def l1(l: float = 0.01) -> L1L2:  # noqa: E741 - the argument's name is public
    """Return the regularizer l * sum(abs(x))."""
    return L1L2(l1=l)


def l2(l: float = 0.01) -> L1L2:  # noqa: E741 - the argument's name is public
    """Return the regularizer l * sum(x ** 2)."""
    return L1L2(l2=l)


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """Return the regularizer l1 * sum(abs(x)) + l2 * sum(x ** 2)."""
    return L1L2(l1=l1, l2=l2)


def serialize(regularizer: Any) -> Any:
    """Describe a regularizer by plain data."""
    return serialize_keras_object(regularizer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """Build the regularizer that `serialize` described, or find one by its name."""
    return deserialize_keras_object(
        config,
        module_objects=globals(),
        custom_objects=custom_objects,
        printable_module_name="regularizer",
    )


def get(identifier: Any) -> Callable[[Any], Any] | None:
    """Return a regularizer from a name, a config, a callable or None (no regularizer).

    Raises:
        ValueError: for an unknown name or anything that cannot be called.
    """
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier, "config": {}})
    if callable(identifier):
        return identifier
    raise ValueError(
        f"Could not interpret regularizer identifier: {identifier!r}. "
        "Expected a name, a config dictionary, a callable or None."
    )
