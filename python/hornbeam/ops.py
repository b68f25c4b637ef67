"""Operations on tensors by the names and with the meanings of Keras 3's `keras.ops`.

They differ from the backend's functions of Keras 2 where Keras 3 does: `sqrt` is not cut at 0,
`argmax` without an axis searches all elements, targets come before outputs in the losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import activations
from . import backend as K
from .backend import (
    abs,
    all,
    any,
    arange,
    cast,
    ceil,
    clip,
    concatenate,
    cos,
    elu,
    equal,
    erf,
    exp,
    expand_dims,
    expm1,
    eye,
    floor,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    log1p,
    log_softmax,
    logical_and,
    logical_not,
    logical_or,
    logsumexp,
    max,
    maximum,
    mean,
    min,
    minimum,
    moments,
    not_equal,
    ones,
    ones_like,
    prod,
    reshape,
    round,
    rsqrt,
    shape,
    sigmoid,
    sign,
    sin,
    softmax,
    softplus,
    softsign,
    square,
    stack,
    std,
    stop_gradient,
    sum,
    tan,
    tanh,
    tile,
    var,
    zeros,
    zeros_like,
)

absolute = abs
selu = activations.selu

__all__ = [
    "abs",
    "absolute",
    "add",
    "all",
    "any",
    "arange",
    "argmax",
    "argmin",
    "binary_crossentropy",
    "cast",
    "categorical_crossentropy",
    "ceil",
    "clip",
    "concatenate",
    "convert_to_numpy",
    "convert_to_tensor",
    "cos",
    "cumprod",
    "cumsum",
    "divide",
    "elu",
    "equal",
    "erf",
    "exp",
    "expand_dims",
    "expm1",
    "eye",
    "flip",
    "floor",
    "greater",
    "greater_equal",
    "hard_sigmoid",
    "isfinite",
    "isnan",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logsumexp",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "moments",
    "multiply",
    "ndim",
    "negative",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "power",
    "prod",
    "relu",
    "repeat",
    "reshape",
    "round",
    "rsqrt",
    "selu",
    "shape",
    "sigmoid",
    "sign",
    "sin",
    "softmax",
    "softplus",
    "softsign",
    "sparse_categorical_crossentropy",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "stop_gradient",
    "subtract",
    "sum",
    "take",
    "tan",
    "tanh",
    "tile",
    "transpose",
    "var",
    "where",
    "zeros",
    "zeros_like",
]


def convert_to_tensor(x: Any, dtype: str | None = None) -> Any:
    """Return a tensor with the values of an array, or a tensor itself, in the given type."""
    if isinstance(x, K.Tensor):
        return x if dtype is None else K.cast(x, dtype)
    array = np.asarray(x)
    if dtype is None:
        dtype = K.floatx() if array.dtype.kind == "f" else str(array.dtype)
    return K.constant(array, dtype=dtype)


def convert_to_numpy(x: Any) -> np.ndarray:
    """Return the values of a tensor that depends on no input."""
    return K.eval(x) if isinstance(x, K.Tensor) else np.asarray(x)


def ndim(x: Any) -> int:
    """Return the number of axes."""
    return K.ndim(x)


def add(x1: Any, x2: Any) -> Any:
    """Return x1 + x2."""
    return convert_to_tensor(x1) + x2


def subtract(x1: Any, x2: Any) -> Any:
    """Return x1 - x2."""
    return convert_to_tensor(x1) - x2


def multiply(x1: Any, x2: Any) -> Any:
    """Return x1 * x2, element by element."""
    return convert_to_tensor(x1) * x2


def divide(x1: Any, x2: Any) -> Any:
    """Return x1 / x2, element by element."""
    return convert_to_tensor(x1) / x2


def power(x1: Any, x2: Any) -> Any:
    """Return x1 to the power x2."""
    return convert_to_tensor(x1) ** x2


def negative(x: Any) -> Any:
    """Return -x."""
    return -convert_to_tensor(x)


def sqrt(x: Any) -> Any:
    """Return the square root of each element, NaN for a negative one (`K.sqrt` gives 0)."""
    return convert_to_tensor(x) ** 0.5


def matmul(x1: Any, x2: Any) -> Any:
    """Return the product of matrices, stacked along the leading axes."""
    return convert_to_tensor(x1) @ convert_to_tensor(x2)


def where(condition: Any, x1: Any, x2: Any) -> Any:
    """Return x1 where the condition holds, else x2; all three are broadcast."""
    condition = K.cast(convert_to_tensor(condition), "bool")
    return K.switch(condition, convert_to_tensor(x1), convert_to_tensor(x2))


def isnan(x: Any) -> Any:
    """Tell which elements are not a number."""
    return K.is_nan(x)


def isfinite(x: Any) -> Any:
    """Tell which elements are neither infinite nor NaN."""
    return K.is_finite(x)


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Return the place of the greatest element, of all where no axis is given."""
    return _place(K.argmax, x, axis, keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Return the place of the smallest element, of all where no axis is given."""
    return _place(K.argmin, x, axis, keepdims)


def _place(find: Any, x: Any, axis: int | None, keepdims: bool) -> Any:
    x = convert_to_tensor(x)
    if axis is not None:
        found = find(x, axis=axis)
        return K.expand_dims(found, axis) if keepdims else found
    found = find(K.flatten(x), axis=0)
    return K.reshape(found, (1,) * K.ndim(x)) if keepdims else found


def cumsum(x: Any, axis: int | None = None) -> Any:
    """Return running sums along an axis, over all elements where none is given."""
    return K.cumsum(K.flatten(convert_to_tensor(x)), 0) if axis is None else K.cumsum(x, axis)


def cumprod(x: Any, axis: int | None = None) -> Any:
    """Return running products along an axis, over all elements where none is given."""
    return K.cumprod(K.flatten(convert_to_tensor(x)), 0) if axis is None else K.cumprod(x, axis)


def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """Return x with its axes in another order, by default reversed."""
    return K.transpose(x) if axes is None else K.permute_dimensions(x, axes)


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Return x without some axes of size 1, without all of them where none is given."""
    x = convert_to_tensor(x)
    if axis is None:
        axis = [i for i, size in enumerate(K.int_shape(x) or ()) if size == 1]
    axes = [axis] if isinstance(axis, int) else list(axis)
    for place in sorted((i % K.ndim(x) for i in axes), reverse=True):
        x = K.squeeze(x, place)
    return x


def flip(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Return x with the order reversed along some axes, along all where none is given."""
    return K.reverse(x, list(range(K.ndim(x))) if axis is None else axis)


def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Return the elements at some places along an axis, of all elements where none is given."""
    x = convert_to_tensor(x)
    if axis is None:
        return K.gather(K.flatten(x), indices)
    axis %= K.ndim(x)
    if axis == 0:
        return K.gather(x, indices)
    rest = [i for i in range(K.ndim(x)) if i != axis]
    taken = K.gather(K.permute_dimensions(x, [axis, *rest]), indices)
    extra = K.ndim(taken) - len(rest)
    order = list(range(extra, extra + axis)) + list(range(extra))
    return K.permute_dimensions(taken, order + list(range(extra + axis, K.ndim(taken))))


def repeat(x: Any, repeats: int, axis: int | None = None) -> Any:
    """Return x with each element repeated along an axis, as one row where none is given."""
    x = convert_to_tensor(x)
    return K.repeat_elements(K.flatten(x) if axis is None else x, repeats, axis or 0)


def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: str | None = None) -> Any:
    """Return the one-hot rows of class numbers, along a new last axis.

    Raises:
        ValueError: for another axis.
    """
    if axis != -1:
        raise ValueError(f"one_hot: the new axis must be the last, -1, got {axis}; transpose after")
    rows = K.one_hot(x, num_classes)
    return rows if dtype is None else K.cast(rows, dtype)


def relu(x: Any) -> Any:
    """Return the positive part."""
    return K.relu(x)


def hard_sigmoid(x: Any) -> Any:
    """Return relu6(x + 3) / 6, Keras 3's form (`K.hard_sigmoid` has Keras 2's)."""
    return K.clip(convert_to_tensor(x) + 3.0, 0.0, 6.0) / 6.0


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """Return the binary cross-entropy of each element."""
    return K.binary_crossentropy(output, target, from_logits=from_logits)


def categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Any:
    """Return the cross-entropy of distributions along the last axis.

    Raises:
        ValueError: for another axis.
    """
    _last(axis, output, "categorical_crossentropy")
    return K.categorical_crossentropy(output, target, from_logits=from_logits)


def sparse_categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Any:
    """Return the cross-entropy of distributions along the last axis with class numbers.

    Raises:
        ValueError: for another axis.
    """
    _last(axis, output, "sparse_categorical_crossentropy")
    return K.sparse_categorical_crossentropy(output, target, from_logits=from_logits)


def _last(axis: int, output: Any, name: str) -> None:
    if axis % K.ndim(output) != K.ndim(output) - 1:
        raise ValueError(f"{name}: classes must be on the last axis, got axis={axis}")
