"""Shape, order and layout: joining, repeating, padding, permuting and resizing tensors."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from .._core import Tensor
from . import common
from .convert import (
    Shape,
    as_tensor,
    axis_list,
    dim,
    dims,
    normalize_axis,
    promote,
    shape_list,
    standard_dtype,
)


def check_data_format(data_format: str | None) -> str:
    """Return the layout asked for, the configured one for None.

    Raises:
        ValueError: for anything but 'channels_first' and 'channels_last'.
    """
    if data_format is None:
        data_format = common.image_data_format()
    if data_format not in ("channels_first", "channels_last"):
        raise ValueError(
            f"Unknown data_format {data_format!r}: expected 'channels_first' or 'channels_last'"
        )
    return data_format


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Tensor:
    """Join tensors along an axis.

    Args:
        tensors: tensors of equal shape but for that axis.
        axis: the axis; negative counts from the end.
    """
    parts = promote(*tensors)
    return _core.concat(parts, normalize_axis(axis, parts[0].ndim))


def reshape(x: Any, shape: Shape | Tensor) -> Tensor:
    """Give a tensor another shape.

    Args:
        x: a tensor.
        shape: sizes, of which one may be -1, numbers or scalar tensors; or a vector tensor.
    """
    if isinstance(shape, (list, tuple)) and list(shape).count(None) == 1 and -1 not in shape:
        shape = [-1 if size is None else size for size in shape]
    return _core.reshape(as_tensor(x), shape_list(shape))


def permute_dimensions(x: Any, pattern: Sequence[int]) -> Tensor:
    """Reorder the axes: axis i of the result is axis `pattern[i]` of `x`."""
    x = as_tensor(x)
    return _core.transpose(x, [normalize_axis(a, x.ndim) for a in pattern])


def transpose(x: Any) -> Tensor:
    """Reverse the order of the axes."""
    x = as_tensor(x)
    return _core.transpose(x, list(range(x.ndim))[::-1])


def _repeat_axes(x: Tensor, factors: dict[int, int]) -> Tensor:
    """Repeat each element `factor` times along each axis named in `factors`."""
    sizes = dims(x)
    apart: list[Any] = []
    spread: list[Any] = []
    merged: list[Any] = []
    for axis, size in enumerate(sizes):
        factor = int(factors.get(axis, 1))
        apart.append(size)
        spread.append(size)
        if axis in factors:
            apart.append(1)
            spread.append(factor)
        merged.append(size if factor == 1 else size * factor)
    return _core.reshape(_core.broadcast_to(_core.reshape(x, apart), spread), merged)


def _spatial_axes(data_format: str, count: int) -> list[int]:
    first = 2 if check_data_format(data_format) == "channels_first" else 1
    return list(range(first, first + count))


def resize_images(x: Any, height_factor: int, width_factor: int, data_format: str) -> Tensor:
    """Enlarge images by repeating their rows and columns.

    Args:
        x: tensor of shape (batch, rows, columns, channels), or channels before rows.
        height_factor: how often each row is repeated.
        width_factor: how often each column is repeated.
        data_format: 'channels_last' or 'channels_first'.
    """
    axes = _spatial_axes(data_format, 2)
    return _repeat_axes(as_tensor(x), dict(zip(axes, (height_factor, width_factor), strict=True)))


def resize_volumes(
    x: Any, depth_factor: int, height_factor: int, width_factor: int, data_format: str
) -> Tensor:
    """Enlarge volumes by repeating along their three axes (see `resize_images`)."""
    factors = (depth_factor, height_factor, width_factor)
    axes = _spatial_axes(data_format, 3)
    return _repeat_axes(as_tensor(x), dict(zip(axes, factors, strict=True)))


def repeat_elements(x: Any, rep: int, axis: int) -> Tensor:
    """Repeat each element `rep` times along an axis, as `np.repeat`."""
    x = as_tensor(x)
    return _repeat_axes(x, {normalize_axis(axis, x.ndim): rep})


def repeat(x: Any, n: int) -> Tensor:
    """Turn (batch, features) into (batch, n, features) by repetition.

    Raises:
        ValueError: when `x` does not have two axes.
    """
    x = as_tensor(x)
    if x.ndim != 2:
        raise ValueError(f"repeat: expected two axes, got the shape {tuple(x.shape)}")
    batch, features = dims(x)
    return _core.broadcast_to(_core.reshape(x, [batch, 1, features]), [batch, int(n), features])


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = "int32") -> Tensor:
    """Return evenly spaced numbers, as `np.arange`; with one argument it is the end.

    Args:
        start: the first number (the end, when `stop` is None).
        stop: where to stop, itself left out.
        step: the distance between numbers.
        dtype: type of the elements.
    """
    if stop is None:
        start, stop = 0, start
    return _core.arange(start, stop, step, standard_dtype(dtype))


def tile(x: Any, n: Any) -> Tensor:
    """Repeat a whole tensor along each of its axes.

    Args:
        x: a tensor.
        n: how often, for each axis; one number stands for a list of itself alone.

    Raises:
        ValueError: when there are more factors than axes.
    """
    x = as_tensor(x)
    factors = list(n) if isinstance(n, (list, tuple, np.ndarray)) else [n]
    factors = [f if isinstance(f, Tensor) else int(f) for f in factors]
    if len(factors) > x.ndim:
        raise ValueError(f"tile: {len(factors)} factors for the shape {tuple(x.shape)}")
    factors = [1] * (x.ndim - len(factors)) + factors
    apart: list[Any] = []
    spread: list[Any] = []
    merged: list[Any] = []
    for factor, size in zip(factors, dims(x), strict=True):
        apart += [1, size]
        spread += [factor, size]
        merged.append(size * factor)
    return _core.reshape(_core.broadcast_to(_core.reshape(x, apart), spread), merged)


def flatten(x: Any) -> Tensor:
    """Put all elements into one axis."""
    return _core.reshape(as_tensor(x), [-1])


def batch_flatten(x: Any) -> Tensor:
    """Put all axes but the first into one."""
    x = as_tensor(x)
    rest = x.shape[1:]
    if None in rest:
        size = _core.reduce("prod", _core.slice(_core.shape_of(x), [(1, None, 1)]))
        return _core.reshape(x, [dim(x, 0), size])
    return _core.reshape(x, [dim(x, 0), int(np.prod(rest, dtype=np.int64))])


def expand_dims(x: Any, axis: int = -1) -> Tensor:
    """Insert an axis of size 1; -1 puts it last."""
    x = as_tensor(x)
    sizes = dims(x)
    sizes.insert(normalize_axis(axis, x.ndim + 1), 1)
    return _core.reshape(x, sizes)


def squeeze(x: Any, axis: Any) -> Tensor:
    """Remove one axis of size 1, or several.

    Raises:
        ValueError: when such an axis is known to have another size.
    """
    x = as_tensor(x)
    dropped = [normalize_axis(a, x.ndim) for a in axis_list(axis) or range(x.ndim)]
    for a in dropped:
        if x.shape[a] not in (1, None):
            raise ValueError(f"squeeze: axis {a} of the shape {tuple(x.shape)} is not of size 1")
    return _core.reshape(x, [dim(x, a) for a in range(x.ndim) if a not in dropped])


def stack(x: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis."""
    parts = promote(*x)
    axis = normalize_axis(axis, parts[0].ndim + 1)
    return _core.concat([expand_dims(part, axis) for part in parts], axis)


def reverse(x: Any, axes: Any) -> Tensor:
    """Reverse the order of the elements along one axis or several."""
    x = as_tensor(x)
    return _core.reverse(x, [normalize_axis(a, x.ndim) for a in axis_list(axes) or []])


def one_hot(indices: Any, num_classes: int) -> Tensor:
    """Turn integers of shape (...) into floats of shape (..., num_classes), one where they point.

    An index out of range gives a row of zeros.
    """
    indices = as_tensor(as_tensor(indices), "int64")
    classes = _core.arange(0, int(num_classes), 1, "int64")
    classes = _core.reshape(classes, [1] * indices.ndim + [int(num_classes)])
    return _core.cast(_core.binary("eq", expand_dims(indices, -1), classes), common.floatx())


def _pad_axes(x: Tensor, first: int, padding: Sequence[Any]) -> Tensor:
    cells = [(0, 0)] * x.ndim
    for offset, pair in enumerate(padding):
        before, after = (int(p) for p in pair)
        cells[first + offset] = (before, after)
    return _core.pad(x, cells, 0.0)


def temporal_padding(x: Any, padding: Sequence[int] = (1, 1)) -> Tensor:
    """Add zeros before and after axis 1 of a tensor of shape (batch, steps, features)."""
    return _pad_axes(as_tensor(x), 1, [padding])


def spatial_2d_padding(
    x: Any, padding: Sequence[Any] = ((1, 1), (1, 1)), data_format: str | None = None
) -> Tensor:
    """Add zeros around images: `padding` is ((top, bottom), (left, right))."""
    axes = _spatial_axes(check_data_format(data_format), 2)
    return _pad_axes(as_tensor(x), axes[0], padding)


def spatial_3d_padding(
    x: Any, padding: Sequence[Any] = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None
) -> Tensor:
    """Add zeros around volumes: a pair (before, after) for each of the three axes."""
    axes = _spatial_axes(check_data_format(data_format), 3)
    return _pad_axes(as_tensor(x), axes[0], padding)


def slice(x: Any, start: Sequence[int], size: Sequence[int]) -> Tensor:
    """Return the block of `size` that begins at `start`; a size of -1 reaches to the end."""
    ranges = [
        (int(begin), None if int(length) == -1 else int(begin) + int(length), 1)
        for begin, length in zip(start, size, strict=True)
    ]
    return _core.slice(as_tensor(x), ranges)


def to_channels_last(x: Tensor, data_format: str) -> Tensor:
    """Move axis 1 to the end when the layout is channels first."""
    if data_format == "channels_last":
        return x
    return _core.transpose(x, [0, *builtins.range(2, x.ndim), 1])


def from_channels_last(x: Tensor, data_format: str) -> Tensor:
    """Move the last axis to place 1 when the layout is channels first."""
    if data_format == "channels_last":
        return x
    return _core.transpose(x, [0, x.ndim - 1, *builtins.range(1, x.ndim - 1)])
