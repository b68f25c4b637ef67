"""Elementwise functions, comparisons, reductions and products."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from .. import _core
from .._core import Tensor
from .convert import (
    as_tensor,
    axis_list,
    binary,
    dim,
    dims,
    normalize_axis,
    promote,
    to_float,
)


def square(x: Any) -> Tensor:
    """Return the square of each element."""
    return _core.unary("square", as_tensor(x))


def abs(x: Any) -> Tensor:
    """Return the absolute value of each element."""
    return _core.unary("abs", as_tensor(x))


def sqrt(x: Any) -> Tensor:
    """Return the square root of each element; a negative element counts as 0."""
    x = to_float(x)
    zero = as_tensor(0.0, x.dtype)
    # A choice, not a maximum: where nothing is taken the gradient is 0, not 0 times infinity.
    return _core.unary("sqrt", _core.select(_core.binary("lt", x, zero), zero, x))


def exp(x: Any) -> Tensor:
    """Return e to the power of each element."""
    return _core.unary("exp", to_float(x))


def log(x: Any) -> Tensor:
    """Return the natural logarithm of each element."""
    return _core.unary("log", to_float(x))


def log1p(x: Any) -> Tensor:
    """Return log(1 + x), exact for small elements."""
    return _core.unary("log1p", to_float(x))


def expm1(x: Any) -> Tensor:
    """Return exp(x) - 1, exact for small elements."""
    return _core.unary("expm1", to_float(x))


def rsqrt(x: Any) -> Tensor:
    """Return one over the square root of each element."""
    return _core.unary("rsqrt", to_float(x))


def erf(x: Any) -> Tensor:
    """Return the error function of each element."""
    return _core.unary("erf", to_float(x))


def floor(x: Any) -> Tensor:
    """Round each element down."""
    return _core.unary("floor", as_tensor(x))


def ceil(x: Any) -> Tensor:
    """Round each element up."""
    return _core.unary("ceil", as_tensor(x))


def round(x: Any) -> Tensor:
    """Round each element to the nearest whole number, halves to the even one."""
    return _core.unary("round", as_tensor(x))


def sign(x: Any) -> Tensor:
    """Return -1, 0 or 1 by the sign of each element."""
    return _core.unary("sign", as_tensor(x))


def sin(x: Any) -> Tensor:
    """Return the sine of each element."""
    return _core.unary("sin", to_float(x))


def cos(x: Any) -> Tensor:
    """Return the cosine of each element."""
    return _core.unary("cos", to_float(x))


def tan(x: Any) -> Tensor:
    """Return the tangent of each element."""
    return _core.unary("tan", to_float(x))


def is_nan(x: Any) -> Tensor:
    """Tell which elements are not a number."""
    return _core.unary("isnan", to_float(x))


def is_finite(x: Any) -> Tensor:
    """Tell which elements are neither infinite nor not a number."""
    return _core.unary("isfinite", to_float(x))


def logical_not(x: Any) -> Tensor:
    """Return the negation of each element, read as a truth value."""
    return _core.unary("not", as_tensor(x, "bool"))


def logical_and(x: Any, y: Any) -> Tensor:
    """Return where both operands, read as truth values, hold."""
    return _core.binary("and", as_tensor(as_tensor(x), "bool"), as_tensor(as_tensor(y), "bool"))


def logical_or(x: Any, y: Any) -> Tensor:
    """Return where at least one operand, read as a truth value, holds."""
    return _core.binary("or", as_tensor(as_tensor(x), "bool"), as_tensor(as_tensor(y), "bool"))


def pow(x: Any, a: Any) -> Tensor:
    """Return each element to the power `a`, a number or a tensor."""
    return binary("pow", x, a)


def clip(x: Any, min_value: Any, max_value: Any) -> Tensor:
    """Limit the elements to an interval.

    Args:
        x: a tensor.
        min_value: lower limit, None for none.
        max_value: upper limit, None for none; one below `min_value` counts as `min_value`.
    """
    x = as_tensor(x)
    plain = not isinstance(min_value, Tensor) and not isinstance(max_value, Tensor)
    if plain and min_value is not None and max_value is not None:
        max_value = np.maximum(min_value, max_value)
    if min_value is not None and not _is_infinite(min_value):
        x = binary("max", x, min_value)
    if max_value is not None and not _is_infinite(max_value):
        x = binary("min", x, max_value)
    return x


def _is_infinite(limit: Any) -> bool:
    return not isinstance(limit, Tensor) and np.ndim(limit) == 0 and builtins.bool(np.isinf(limit))


def equal(x: Any, y: Any) -> Tensor:
    """Compare elementwise: x == y."""
    return binary("eq", x, y)


def not_equal(x: Any, y: Any) -> Tensor:
    """Compare elementwise: x != y."""
    return binary("ne", x, y)


def greater(x: Any, y: Any) -> Tensor:
    """Compare elementwise: x > y."""
    return binary("gt", x, y)


def greater_equal(x: Any, y: Any) -> Tensor:
    """Compare elementwise: x >= y."""
    return binary("ge", x, y)


def less(x: Any, y: Any) -> Tensor:
    """Compare elementwise: x < y."""
    return binary("lt", x, y)


def less_equal(x: Any, y: Any) -> Tensor:
    """Compare elementwise: x <= y."""
    return binary("le", x, y)


def maximum(x: Any, y: Any) -> Tensor:
    """Return the greater of each pair of elements."""
    return binary("max", x, y)


def minimum(x: Any, y: Any) -> Tensor:
    """Return the lesser of each pair of elements."""
    return binary("min", x, y)


def _reduce(op: str, x: Tensor, axis: Any, keepdims: bool) -> Tensor:
    axes = axis_list(axis)
    if axes is not None:
        axes = [normalize_axis(a, x.ndim) for a in axes]
        if not axes:
            return x
    return _core.reduce(op, x, axes, builtins.bool(keepdims))


def _number(x: Any) -> Tensor:
    x = as_tensor(x)
    return _core.cast(x, "int32") if x.dtype == "bool" else x


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the greatest element, of the whole tensor or along axes."""
    return _reduce("max", _number(x), axis, keepdims)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the least element, of the whole tensor or along axes."""
    return _reduce("min", _number(x), axis, keepdims)


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the sum, over the whole tensor or along axes."""
    return _reduce("sum", _number(x), axis, keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the product, over the whole tensor or along axes."""
    return _reduce("prod", _number(x), axis, keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the mean, of the whole tensor or along axes; integers and bools count as floats."""
    return _reduce("mean", to_float(x), axis, keepdims)


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the biased variance, of the whole tensor or along axes."""
    x = to_float(x)
    deviation = x - _reduce("mean", x, axis, True)
    return _reduce("mean", _core.unary("square", deviation), axis, keepdims)


def std(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the standard deviation, of the whole tensor or along axes."""
    return sqrt(var(x, axis, keepdims))


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Tell whether any element is true (not 0), of the whole tensor or along axes."""
    return _reduce("any", as_tensor(as_tensor(x), "bool"), axis, keepdims)


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Tell whether all elements are true (not 0), of the whole tensor or along axes."""
    return _reduce("all", as_tensor(as_tensor(x), "bool"), axis, keepdims)


def argmax(x: Any, axis: int = -1) -> Tensor:
    """Return the int64 index of the first greatest element along an axis."""
    x = _number(x)
    return _core.arg_reduce("max", x, normalize_axis(axis, x.ndim))


def argmin(x: Any, axis: int = -1) -> Tensor:
    """Return the int64 index of the first least element along an axis."""
    x = _number(x)
    return _core.arg_reduce("min", x, normalize_axis(axis, x.ndim))


def cumsum(x: Any, axis: int = 0) -> Tensor:
    """Return the running sum along an axis."""
    x = _number(x)
    return _core.cumulative("sum", x, normalize_axis(axis, x.ndim))


def cumprod(x: Any, axis: int = 0) -> Tensor:
    """Return the running product along an axis."""
    x = _number(x)
    return _core.cumulative("prod", x, normalize_axis(axis, x.ndim))


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return log(sum(exp(x))) without overflow: the maximum is taken out of the sum first."""
    x = to_float(x)
    top = _core.stop_gradient(_reduce("max", x, axis, True))
    # A row of -inf has no finite maximum to subtract.
    top = _core.select(_core.unary("isfinite", top), top, as_tensor(0.0, x.dtype))
    total = _core.unary("log", _reduce("sum", _core.unary("exp", x - top), axis, True)) + top
    return total if keepdims else _drop(total, axis)


def _drop(x: Tensor, axis: Any) -> Tensor:
    axes = range(x.ndim) if axis is None else [normalize_axis(a, x.ndim) for a in axis_list(axis)]  # type: ignore[union-attr]
    return _core.reshape(x, [dim(x, a) for a in range(x.ndim) if a not in axes])


def dot(x: Any, y: Any) -> Tensor:
    """Multiply matrices: the last axis of `x` with the second to last of `y`, as `np.dot`.

    Args:
        x: tensor of shape (..., n).
        y: tensor of shape (n,), (n, m) or (..., n, m).

    Returns:
        Tensor whose shape is what is left of x's, then what is left of y's.

    Raises:
        ValueError: when the two sizes are known and differ.
    """
    x, y = promote(x, y)
    shared = y.shape[builtins.max(y.ndim - 2, 0)] if y.ndim else None
    if x.ndim and shared is not None and x.shape[-1] not in (None, shared):
        raise ValueError(
            f"dot: the last axis of the first operand {tuple(x.shape)} and the second to last of "
            f"the second {tuple(y.shape)} must have the same size"
        )
    if x.ndim == 0 or y.ndim == 0:
        return _core.binary("mul", x, y)
    if x.ndim == 2 and y.ndim == 2:
        return _core.matmul(x, y)
    # All products are one big one: rows are folded into one axis, columns into another.
    rows = dims(x)[:-1]
    matrix = y
    columns: list[int | Tensor] = []
    if y.ndim == 1:
        matrix = _core.reshape(y, [dim(y, 0), 1])
    else:
        if y.ndim > 2:
            order = [y.ndim - 2, *range(y.ndim - 2), y.ndim - 1]
            matrix = _core.reshape(_core.transpose(y, order), [dim(y, -2), -1])
        columns = [*dims(y)[:-2], dim(y, -1)]
    product = _core.matmul(_core.reshape(x, [-1, dim(x, -1)]), matrix)
    return _core.reshape(product, [*rows, *columns])


def batch_dot(x: Any, y: Any, axes: Any = None) -> Tensor:
    """Multiply sample by sample: one product for each index of axis 0.

    Args:
        x: tensor of shape (batch, ...), at least two axes.
        y: tensor of shape (batch, ...), at least two axes.
        axes: the axes of `x` and `y` that are summed over, as a pair or as one number for both;
            by default the last of `x` and the second to last of `y` (the last for two axes).

    Returns:
        Tensor of shape (batch, rest of x, rest of y); (n, 1) where only one axis would be left.

    Raises:
        ValueError: when an operand has fewer than two axes, or `axes` names axes that a matrix
            product over the last two cannot sum over.
    """
    x, y = promote(x, y)
    if x.ndim < 2 or y.ndim < 2:
        raise ValueError(
            "batch_dot: both operands need at least two axes, got the shapes "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    if axes is None:
        axes = (x.ndim - 1, builtins.max(y.ndim - 2, 1))
    elif not isinstance(axes, (list, tuple)):
        axes = (axes, axes)
    ax, ay = normalize_axis(axes[0], x.ndim), normalize_axis(axes[1], y.ndim)
    if x.ndim == 2 and y.ndim == 2:
        other = x if ax == ay else _core.transpose(x, [1, 0])
        total = _core.reduce("sum", _core.binary("mul", other, y), [ay])
        return _core.reshape(total, [dim(total, 0), 1])
    return _batch_matmul(x, y, ax, ay)


def _batch_matmul(x: Tensor, y: Tensor, ax: int, ay: int) -> Tensor:
    nx, ny = x.ndim, y.ndim
    rank = builtins.max(nx, ny)
    extra = rank - builtins.min(nx, ny)
    # The operand with fewer axes gets trailing ones, which are dropped from the result.
    if nx < rank:
        x = _core.reshape(x, [*dims(x), *[1] * extra])
    if ny < rank:
        y = _core.reshape(y, [*dims(y), *[1] * extra])
    if ax < rank - 2 or ay < rank - 2:
        raise ValueError(
            f"batch_dot: cannot sum over axis {ax} of {tuple(x.shape)} and axis {ay} of "
            f"{tuple(y.shape)}: the axes must be among the last two. Permute the operands first."
        )
    product = _core.matmul(x, y, ax == rank - 2, ay == rank - 1)
    if not extra:
        return product
    first = nx + ny - 3 if nx > ny else nx - 1
    kept = [dim(product, a) for a in range(rank) if not first <= a < first + extra]
    if len(kept) == 1:
        kept.append(1)
    return _core.reshape(product, kept)


def gather(reference: Any, indices: Any) -> Tensor:
    """Return the slices of `reference` along axis 0 at `indices` (floats are truncated).

    Returns:
        Tensor of shape indices.shape + reference.shape[1:].
    """
    indices = as_tensor(indices)
    if indices.dtype not in ("int32", "int64"):
        indices = _core.cast(indices, "int32")
    return _core.gather(as_tensor(reference), indices, 0)


def l2_normalize(x: Any, axis: int | None = None) -> Tensor:
    """Scale vectors along an axis to the Euclidean norm 1 (all elements together for None)."""
    x = to_float(x)
    squares = _reduce("sum", _core.unary("square", x), axis, True)
    return x * _core.unary("rsqrt", _core.binary("max", squares, as_tensor(1e-12, x.dtype)))


def in_top_k(predictions: Any, targets: Any, k: int) -> Tensor:
    """Tell for each row whether the target is among the `k` highest predictions.

    Args:
        predictions: float tensor of shape (batch, classes).
        targets: integer tensor of shape (batch,).
        k: how many of the highest count; ties at the border count as inside.

    Returns:
        bool tensor of shape (batch,).
    """
    predictions = to_float(predictions)
    targets = as_tensor(as_tensor(targets), "int64")
    classes = _core.arange(0, dim(predictions, -1), 1, "int64")
    column = _core.reshape(targets, [dim(targets, 0), 1])
    hit = _core.binary("eq", column, _core.reshape(classes, [1, dim(predictions, -1)]))
    zero = as_tensor(0.0, predictions.dtype)
    chosen = _core.reduce("sum", _core.select(hit, predictions, zero), [1], True)
    above = _core.cast(_core.binary("gt", predictions, chosen), predictions.dtype)
    better = _core.reduce("sum", above, [1])
    finite = _core.unary("isfinite", _core.reshape(chosen, [dim(targets, 0)]))
    return _core.binary(
        "and", finite, _core.binary("lt", better, as_tensor(float(k), predictions.dtype))
    )
