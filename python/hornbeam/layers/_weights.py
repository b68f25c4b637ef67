"""What layers with a kernel, a bias and the like share: the handling of each weight's arguments.

Every such weight has a role ('kernel', 'bias'), and its layer three attributes named after it:
`kernel_initializer`, `kernel_regularizer` and `kernel_constraint`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import constraints, initializers, regularizers


def add_role_weight(layer: Any, role: str, shape: Sequence[int]) -> Any:
    """Add the weight of a role to a layer, under the role's name.

    Args:
        layer: a layer with the three attributes of the role.
        role: such as 'kernel'.
        shape: shape of the weight.
    """
    return layer.add_weight(
        shape=tuple(shape),
        name=role,
        initializer=getattr(layer, f"{role}_initializer"),
        regularizer=getattr(layer, f"{role}_regularizer"),
        constraint=getattr(layer, f"{role}_constraint"),
    )


def roles_config(layer: Any, *roles: str, activity: bool = True) -> dict[str, Any]:
    """Return the arguments of the given roles, in the order in which Keras 2 writes them.

    Args:
        layer: a layer with the three attributes of each role.
        *roles: such as 'kernel', 'bias'.
        activity: whether `activity_regularizer` is among the layer's own arguments.
    """
    config: dict[str, Any] = {}
    for role in roles:
        key = f"{role}_initializer"
        config[key] = initializers.serialize(getattr(layer, key))
    for role in roles:
        key = f"{role}_regularizer"
        config[key] = regularizers.serialize(getattr(layer, key))
    if activity:
        config["activity_regularizer"] = regularizers.serialize(layer.activity_regularizer)
    for role in roles:
        key = f"{role}_constraint"
        config[key] = constraints.serialize(getattr(layer, key))
    return config


def positive_integer(value: Any, layer: str, name: str, least: int = 1) -> int:
    """Return `value` as an int.

    Raises:
        ValueError: when it is not a whole number of at least `least`, which is 1 or 0; says which
            layer's argument.
    """
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < least or number != value:
        kind = "a positive" if least else "a non-negative"
        raise ValueError(f"{layer}: `{name}` must be {kind} integer, got {value!r}")
    return number


def known_dimension(shape: Sequence[int | None], axis: int, layer: Any) -> int:
    """Return the size of an axis that the layer's weights depend on.

    Raises:
        ValueError: when it is unknown; names the layer and says what to do.
    """
    size = shape[axis]
    if size is None:
        raise ValueError(
            f"{type(layer).__name__} {layer.name!r}: the size of axis {axis} of its input must be "
            f"known, since its weights depend on it; the input's shape is {tuple(shape)}. "
            "Give the first layer an input_shape without None there."
        )
    return int(size)


def refuse_keywords(layer: Any, kwargs: Mapping[str, Any], *names: str, instead: str = "") -> None:
    """Refuse keywords of the base class that the layer sets itself or has no use for.

    Args:
        layer: the layer under construction.
        kwargs: the keywords that it passes on.
        *names: those that must not be among them.
        instead: what to say besides.

    Raises:
        TypeError: when one is given; names the layer and the keyword.
    """
    for name in names:
        if name in kwargs:
            raise TypeError(
                f"{type(layer).__name__}: Keyword argument not understood: {name!r}{instead}"
            )
