"""Constraints: functions that a weight is put through after every update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import backend as K
from .utils.generic_utils import deserialize_keras_object, serialize_keras_object


class Constraint:
    """Base class: a callable from a weight to the weight that satisfies the constraint."""

    def __call__(self, w: Any) -> Any:
        return w

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Constraint:
        """Build the constraint from what `get_config` returned."""
        return cls(**config)


def _norms(w: Any, axis: int | Sequence[int]) -> Any:
    return K.sqrt(K.sum(K.square(w), axis=axis, keepdims=True))


class MaxNorm(Constraint):
    """Scale down the weights that lead into a unit when their norm exceeds a limit.

    Args:
        max_value: the greatest norm allowed, 2 by default.
        axis: integer or list of the axes over which a norm is taken. 0 suits the kernel of a Dense
            layer, [0, 1, 2] that of a Conv2D.
    """

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0) -> None:
        self.max_value = max_value
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        return w * (K.clip(norms, 0, self.max_value) / (K.epsilon() + norms))

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class NonNeg(Constraint):
    """Set negative weights to zero."""

    def __call__(self, w: Any) -> Any:
        return K.maximum(w, 0.0)


class UnitNorm(Constraint):
    """Scale the weights that lead into a unit to norm one.

    Args:
        axis: integer or list of the axes over which a norm is taken, as for `MaxNorm`.
    """

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        return w / (K.epsilon() + _norms(w, self.axis))

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class MinMaxNorm(Constraint):
    """Move the norms of the weights that lead into a unit towards an interval.

    Args:
        min_value: the lower end of the interval, 0 by default.
        max_value: the upper end, 1 by default.
        rate: 1 to land in the interval after every step; less moves only that part of the way.
        axis: integer or list of the axes over which a norm is taken, as for `MaxNorm`.
    """

    def __init__(
        self,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        axis: int | Sequence[int] = 0,
    ) -> None:
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        clipped = K.clip(norms, self.min_value, self.max_value)
        desired = self.rate * clipped + (1 - self.rate) * norms
        return w * (desired / (K.epsilon() + norms))

    def get_config(self) -> dict[str, Any]:
        return {
            "min_value": self.min_value,
            "max_value": self.max_value,
            "rate": self.rate,
            "axis": self.axis,
        }


max_norm = MaxNorm
non_neg = NonNeg
unit_norm = UnitNorm
min_max_norm = MinMaxNorm

maxnorm = max_norm
nonneg = non_neg
unitnorm = unit_norm


def serialize(constraint: Any) -> Any:
    """Describe a constraint by plain data."""
    return serialize_keras_object(constraint)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """Build the constraint that `serialize` described, or find one by its name."""
    return deserialize_keras_object(
        config,
        module_objects=globals(),
        custom_objects=custom_objects,
        printable_module_name="constraint",
    )


def get(identifier: Any) -> Callable[[Any], Any] | None:
    """Return a constraint from a name, a config, a callable or None (no constraint).

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
        f"Could not interpret constraint identifier: {identifier!r}. "
        "Expected a name, a config dictionary, a callable or None."
    )
