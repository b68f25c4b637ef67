"""The optimizer's state in model files.

Keras up to 2.0.6 trained the weights in the order of their names, and wrote the slots of the
optimizer (one array a weight, several in turn) in that order. Its successors, and models here, keep
the order of the layers. Files that say they are of the older kind are reordered on their way in and
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_LAST_BY_NAME = (2, 0, 6)


def ordered_by_name(keras_version: str) -> bool:
    """Tell whether a release of Keras wrote slots in the order of the weights' names."""
    numbers = []
    for part in keras_version.split(".")[:3]:
        digits = "".join(c for c in part if c.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers) <= _LAST_BY_NAME


def slot_offset(shapes: Sequence[tuple[int, ...]], params: Sequence[tuple[int, ...]]) -> int | None:
    """Return where the slots begin in a list of arrays, None when it holds no whole groups.

    Args:
        shapes: shapes of all arrays of the state.
        params: shapes of the trained weights, in the order of the slots.
    """
    if not params:
        return None
    count = len(params)
    for start in range(min(len(shapes), 4)):
        rest = shapes[start:]
        if rest and len(rest) % count == 0 and list(rest) == list(params) * (len(rest) // count):
            return start
    return None


def reorder(arrays: Sequence[Any], start: int, order: Sequence[int]) -> list[Any]:
    """Return the arrays with each group of slots permuted: slot i is the former `order[i]`."""
    result = list(arrays[:start])
    for group in range(start, len(arrays), len(order)):
        result += [arrays[group + i] for i in order]
    return result


def grouped(
    arrays: Sequence[np.ndarray], params: Sequence[tuple[int, ...]]
) -> list[np.ndarray] | None:
    """Return arrays with the slots of each weight side by side in groups of one slot instead.

    Args:
        arrays: a few scalars, then all slots of the first weight, all of the second, and so on.
        params: shapes of the trained weights.

    Returns:
        The arrays reordered, None when they are not laid out so.
    """
    count = len(params)
    for start in range(min(len(arrays), 4)):
        rest = arrays[start:]
        slots = len(rest) // count if count else 0
        wanted = [shape for shape in params for _ in range(slots)]
        if slots and len(rest) % count == 0 and [a.shape for a in rest] == wanted:
            columns = [rest[slot::slots] for slot in range(slots)]
            return [*arrays[:start], *(a for column in columns for a in column)]
    return None


def state_for_file(model: Any, names: dict[Any, str]) -> list[Any]:
    """Return the optimizer's variables in the order in which a file lists them.

    Args:
        model: a compiled model.
        names: variable -> its name in the file.
    """
    weights = list(model.optimizer.weights)
    params = list(model._collected_trainable_weights)
    start = slot_offset([tuple(w.shape) for w in weights], [tuple(p.shape) for p in params])
    if start is None:
        return weights
    order = sorted(range(len(params)), key=lambda i: names.get(params[i], ""))
    return reorder(weights, start, order)


def state_from_file(
    model: Any,
    values: Sequence[np.ndarray],
    names: dict[Any, str],
    keras_version: str,
    by_weight: bool = False,
) -> list[np.ndarray]:
    """Return a file's arrays in the order in which the optimizer takes them.

    Args:
        model: a compiled model whose training step is made.
        values: the arrays, in the file's order.
        names: variable -> its name in the file.
        keras_version: the release that wrote the file.
        by_weight: whether it lists all slots of one weight before those of the next, as
            optimizers do since TensorFlow 2.11.
    """
    values = list(values)
    if by_weight:
        own = [tuple(p.shape) for p in model._collected_trainable_weights]
        return grouped(values, own) or values
    expected = [tuple(w.shape) for w in model.optimizer.weights]
    if type(model.optimizer).__name__ == "Nadam" and len(values) == len(expected) - 1:
        # Before 2.3 the product of the momentum schedule was not kept; it starts anew.
        values.insert(1, model.optimizer.weights[1].get_value())
    params = list(model._collected_trainable_weights)
    shapes = [v.shape for v in values]
    own = [tuple(p.shape) for p in params]
    order = sorted(range(len(params)), key=lambda i: names.get(params[i], ""))
    by_name = slot_offset(shapes, [own[i] for i in order])
    by_layer = slot_offset(shapes, own)
    if by_name is None or (by_layer is not None and not ordered_by_name(keras_version)):
        return values
    return reorder(values, by_name, np.argsort(order).tolist())
