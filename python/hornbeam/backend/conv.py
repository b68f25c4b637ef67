"""Convolution and pooling.

The core computes channels last; a channels-first tensor is permuted on its way in and out, and the
core's passes cancel the permutations of neighbouring operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _core
from .._core import Tensor
from .convert import as_tensor, dim, dims, is_float, promote, to_float
from .shapes import check_data_format, from_channels_last, to_channels_last


def _check_padding(padding: str) -> str:
    if padding not in ("valid", "same"):
        raise ValueError(f"Invalid padding: {padding!r}: expected 'valid' or 'same'")
    return padding


def _sizes(value: Any, count: int, what: str) -> list[int]:
    sizes = [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)] * count
    if len(sizes) != count:
        raise ValueError(f"`{what}` must be {count} numbers, got {value!r}")
    return sizes


def _conv(
    x: Any,
    kernel: Any,
    strides: Any,
    padding: Any,
    data_format: str | None,
    dilation: Any,
    n: int,
    groups: int = 1,
) -> Tensor:
    data_format = check_data_format(data_format)
    x, kernel = promote(to_float(x), kernel)
    if x.ndim != n + 2:
        raise ValueError(f"conv{n}d: expected {n + 2} axes, got the shape {tuple(x.shape)}")
    y = _core.conv(
        to_channels_last(x, data_format),
        kernel,
        _sizes(strides, n, "strides"),
        padding,
        _sizes(dilation, n, "dilation_rate"),
        groups,
    )
    return from_channels_last(y, data_format)


def conv1d(
    x: Any,
    kernel: Any,
    strides: int = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: int = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve over time.

    Args:
        x: tensor of shape (batch, steps, channels), or channels before steps.
        kernel: tensor of shape (window, channels, filters).
        strides: step between windows.
        padding: 'valid', 'same' or 'causal' (a step sees only itself and earlier ones).
        data_format: layout of `x`, the configured one for None.
        dilation_rate: distance between the window's taps.
        groups: how many groups of channels are convolved apart, each with its own filters; the
            kernel's channels are then those of one group.

    Raises:
        ValueError: for an unknown padding or data format, or ranks that do not fit.
    """
    cells: Any = padding
    if padding == "causal":
        window = as_tensor(kernel).shape[0]
        if window is None:
            raise ValueError("conv1d: causal padding needs a kernel of known length")
        cells = [(_sizes(dilation_rate, 1, "dilation_rate")[0] * (window - 1), 0)]
    else:
        _check_padding(padding)
    return _conv(x, kernel, strides, cells, data_format, dilation_rate, 1, groups)


def conv2d(
    x: Any,
    kernel: Any,
    strides: Sequence[int] = (1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Convolve images.

    Args:
        x: tensor of shape (batch, rows, columns, channels), or channels before rows.
        kernel: tensor of shape (rows, columns, channels, filters).
        strides: steps between windows.
        padding: 'valid' or 'same'.
        data_format: layout of `x`, the configured one for None.
        dilation_rate: distances between the window's taps.
        groups: how many groups of channels are convolved apart, as for `conv1d`.

    Raises:
        ValueError: for an unknown padding or data format, or ranks that do not fit.
    """
    return _conv(x, kernel, strides, _check_padding(padding), data_format, dilation_rate, 2, groups)


def conv3d(
    x: Any,
    kernel: Any,
    strides: Sequence[int] = (1, 1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sequence[int] = (1, 1, 1),
    groups: int = 1,
) -> Tensor:
    """Convolve volumes: as `conv2d`, with three spatial axes."""
    return _conv(x, kernel, strides, _check_padding(padding), data_format, dilation_rate, 3, groups)


def conv2d_transpose(
    x: Any,
    kernel: Any,
    output_shape: Any,
    strides: Sequence[int] = (1, 1),
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """Run a convolution of images backwards, from its output's size to its input's.

    Args:
        x: tensor of shape (batch, rows, columns, channels), or channels before rows.
        kernel: tensor of shape (rows, columns, filters, channels).
        output_shape: shape of the result with the batch axis first, which may be None.
        strides: steps between windows.
        padding: 'valid' or 'same'.
        data_format: layout of `x` and of `output_shape`, the configured one for None.
    """
    data_format = check_data_format(data_format)
    x, kernel = promote(to_float(x), kernel)
    sizes = list(output_shape) if isinstance(output_shape, (list, tuple)) else None
    if sizes is None:
        sizes = [output_shape[axis] for axis in range(4)]
    batch = dim(x, 0) if sizes[0] is None else sizes[0]
    if data_format == "channels_first":
        sizes = [sizes[0], sizes[2], sizes[3], sizes[1]]
    y = _core.conv_transpose(
        to_channels_last(x, data_format),
        kernel,
        [batch, *sizes[1:]],
        _sizes(strides, 2, "strides"),
        _check_padding(padding),
        [1, 1],
    )
    return from_channels_last(y, data_format)


def depthwise_conv2d(
    x: Any,
    depthwise_kernel: Any,
    strides: Sequence[int] = (1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sequence[int] = (1, 1),
) -> Tensor:
    """Convolve each channel with filters of its own.

    Args:
        x: tensor of shape (batch, rows, columns, channels), or channels before rows.
        depthwise_kernel: tensor of shape (rows, columns, channels, multiplier).
        strides: steps between windows.
        padding: 'valid' or 'same'.
        data_format: layout of `x`, the configured one for None.
        dilation_rate: distances between the window's taps.

    Returns:
        Tensor with channels * multiplier channels, those of one input channel side by side.
    """
    data_format = check_data_format(data_format)
    x, kernel = promote(to_float(x), depthwise_kernel)
    rows, columns, channels, multiplier = dims(kernel)
    if not isinstance(channels, int):
        raise ValueError("depthwise_conv2d: the kernel's number of channels must be known")
    y = _core.conv(
        to_channels_last(x, data_format),
        _core.reshape(kernel, [rows, columns, 1, channels * multiplier]),
        _sizes(strides, 2, "strides"),
        _check_padding(padding),
        _sizes(dilation_rate, 2, "dilation_rate"),
        channels,
    )
    return from_channels_last(y, data_format)


def separable_conv2d(
    x: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Sequence[int] = (1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sequence[int] = (1, 1),
) -> Tensor:
    """Convolve each channel apart, then mix the channels.

    Args:
        x: tensor of shape (batch, rows, columns, channels), or channels before rows.
        depthwise_kernel: tensor of shape (rows, columns, channels, multiplier).
        pointwise_kernel: tensor of shape (1, 1, channels * multiplier, filters).
        strides: steps between windows.
        padding: 'valid' or 'same'.
        data_format: layout of `x`, the configured one for None.
        dilation_rate: distances between the window's taps.
    """
    apart = depthwise_conv2d(x, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv2d(apart, pointwise_kernel, (1, 1), "valid", data_format)


def _pool(
    x: Any, size: Any, strides: Any, padding: str, data_format: str | None, mode: str, n: int
) -> Tensor:
    data_format = check_data_format(data_format)
    if mode not in ("max", "avg"):
        raise ValueError(f"Invalid pooling mode: {mode!r}: expected 'max' or 'avg'")
    x = as_tensor(x)
    if mode == "avg" and not is_float(x.dtype):
        x = to_float(x)
    if x.ndim != n + 2:
        raise ValueError(f"pool{n}d: expected {n + 2} axes, got the shape {tuple(x.shape)}")
    y = _core.pool(
        mode,
        to_channels_last(x, data_format),
        _sizes(size, n, "pool_size"),
        _sizes(strides, n, "strides"),
        _check_padding(padding),
    )
    return from_channels_last(y, data_format)


def pool1d(
    x: Any,
    pool_size: int,
    strides: int = 1,
    padding: str = "valid",
    data_format: str | None = "channels_last",
    pool_mode: str = "max",
) -> Tensor:
    """Pool over time: as `pool2d`, with one spatial axis."""
    return _pool(x, pool_size, strides, padding, data_format, pool_mode, 1)


def pool2d(
    x: Any,
    pool_size: Sequence[int],
    strides: Sequence[int] = (1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    pool_mode: str = "max",
) -> Tensor:
    """Reduce windows of images to one element.

    Args:
        x: tensor of shape (batch, rows, columns, channels), or channels before rows.
        pool_size: size of the window.
        strides: steps between windows.
        padding: 'valid' or 'same'; padded cells count neither in a maximum nor in an average.
        data_format: layout of `x`, the configured one for None.
        pool_mode: 'max' or 'avg'.

    Raises:
        ValueError: for an unknown padding, mode or data format, or another rank.
    """
    return _pool(x, pool_size, strides, padding, data_format, pool_mode, 2)


def pool3d(
    x: Any,
    pool_size: Sequence[int],
    strides: Sequence[int] = (1, 1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    pool_mode: str = "max",
) -> Tensor:
    """Reduce windows of volumes to one element: as `pool2d`, with three spatial axes."""
    return _pool(x, pool_size, strides, padding, data_format, pool_mode, 3)


def _windows(x: Tensor, offsets: Sequence[tuple[int, ...]], counts: Any, strides: Any) -> Tensor:
    """Stack, along a new axis before the channels, the cell at each offset of all windows."""
    parts = []
    for offset in offsets:
        ranges: list[Any] = [(None, None, 1)]
        for start, count, stride in zip(offset, counts, strides, strict=True):
            ranges.append((start, start + (count - 1) * stride + 1, stride))
        part = _core.slice(x, [*ranges, (None, None, 1)])
        sizes = dims(part)
        parts.append(_core.reshape(part, [*sizes[:-1], 1, sizes[-1]]))
    return _core.concat(parts, len(counts) + 1)


def local_conv1d(
    inputs: Any,
    kernel: Any,
    kernel_size: Sequence[int],
    strides: Sequence[int],
    data_format: str | None = None,
) -> Tensor:
    """Convolve over time with weights of its own for every step of the output.

    Args:
        inputs: tensor of shape (batch, steps, channels), or channels before steps.
        kernel: tensor of shape (output steps, window * channels, filters); within a window the
            channels vary fastest, or slowest for channels first.
        kernel_size: length of the window, as a sequence of one number.
        strides: step between windows, as a sequence of one number.
        data_format: layout of `inputs`, the configured one for None.
    """
    data_format = check_data_format(data_format)
    x, kernel = promote(to_float(inputs), kernel)
    x = to_channels_last(x, data_format)
    window = _sizes(kernel_size, 1, "kernel_size")[0]
    steps = kernel.shape[0]
    cells = _windows(x, [(i,) for i in range(window)], [steps], _sizes(strides, 1, "strides"))
    if data_format == "channels_first":
        cells = _core.transpose(cells, [0, 1, 3, 2])
    rows = _core.reshape(cells, [dim(x, 0), steps, kernel.shape[1]])
    product = _core.matmul(_core.transpose(rows, [1, 0, 2]), kernel)
    return from_channels_last(_core.transpose(product, [1, 0, 2]), data_format)


def local_conv2d(
    inputs: Any,
    kernel: Any,
    kernel_size: Sequence[int],
    strides: Sequence[int],
    output_shape: Sequence[int],
    data_format: str | None = None,
) -> Tensor:
    """Convolve images with weights of its own for every place of the output.

    Args:
        inputs: tensor of shape (batch, rows, columns, channels), or channels before rows.
        kernel: tensor of shape (output rows * output columns, window cells * channels, filters);
            within a window the channels vary fastest, or slowest for channels first.
        kernel_size: size of the window.
        strides: steps between windows.
        output_shape: rows and columns of the output.
        data_format: layout of `inputs`, the configured one for None.
    """
    data_format = check_data_format(data_format)
    x, kernel = promote(to_float(inputs), kernel)
    x = to_channels_last(x, data_format)
    height, width = _sizes(kernel_size, 2, "kernel_size")
    rows, columns = _sizes(output_shape, 2, "output_shape")
    offsets = [(i, j) for i in range(height) for j in range(width)]
    cells = _windows(x, offsets, [rows, columns], _sizes(strides, 2, "strides"))
    if data_format == "channels_first":
        cells = _core.transpose(cells, [0, 1, 2, 4, 3])
    flat = _core.reshape(cells, [dim(x, 0), rows * columns, kernel.shape[1]])
    product = _core.matmul(_core.transpose(flat, [1, 0, 2]), kernel)
    images = _core.reshape(
        _core.transpose(product, [1, 0, 2]), [dim(x, 0), rows, columns, dim(kernel, 2)]
    )
    return from_channels_last(images, data_format)
