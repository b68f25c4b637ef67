"""Arguments and lengths of convolutions, shared by the convolution and pooling layers."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np


def normalize_tuple(value: Any, n: int, name: str) -> tuple[int, ...]:
    """Turn an integer, or an iterable of `n` integers, into a tuple of `n` integers.

    Args:
        value: the argument as the user gave it.
        n: the number of spatial axes.
        name: the argument's name, for the error message.

    Raises:
        ValueError: for anything else.
    """
    message = f"The `{name}` argument must be a tuple of {n} integers. Received: {value!r}"
    if isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_)):
        return (int(value),) * n
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ValueError(message)
    items = tuple(value)
    if len(items) != n:
        raise ValueError(f"{message} ({len(items)} elements)")
    return tuple(_integer(item, message) for item in items)


def _integer(item: Any, message: str) -> int:
    if isinstance(item, (float, np.floating)) and float(item).is_integer():
        return int(item)
    try:
        return operator.index(item)
    except TypeError:
        raise ValueError(f"{message} including element {item!r} of type {type(item)}") from None


def normalize_data_format(value: str | None) -> str:
    """Return 'channels_last' or 'channels_first'; None stands for the configured default.

    Raises:
        ValueError: for any other value.
    """
    if value is None:
        from ..backend import common

        value = common.image_data_format()
    data_format = value.lower() if isinstance(value, str) else value
    if data_format not in ("channels_first", "channels_last"):
        raise ValueError(
            "The `data_format` argument must be one of 'channels_first', 'channels_last'. "
            f"Received: {value!r}"
        )
    return data_format


def normalize_padding(value: str) -> str:
    """Return the padding mode in lower case: 'valid', 'same' or 'causal'.

    Raises:
        ValueError: for any other value.
    """
    padding = value.lower() if isinstance(value, str) else value
    if padding not in ("valid", "same", "causal"):
        raise ValueError(
            "The `padding` argument must be one of 'valid', 'same' (or 'causal' for Conv1D). "
            f"Received: {value!r}"
        )
    return padding


def convert_kernel(kernel: Any) -> np.ndarray:
    """Flip the spatial axes of a kernel: from true convolution to cross-correlation and back.

    Files written with Theano hold kernels in the flipped order. The conversion is its own inverse.

    Args:
        kernel: array of shape (spatial..., channels, filters) with one to three spatial axes.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        ValueError: when the array does not have 3 to 5 axes.
    """
    kernel = np.asarray(kernel)
    if not 3 <= kernel.ndim <= 5:
        raise ValueError(
            f"convert_kernel: expected a kernel with 3 to 5 axes, got the shape {kernel.shape}"
        )
    return np.flip(kernel, axis=tuple(range(kernel.ndim - 2))).copy()


def conv_output_length(
    input_length: int | None, filter_size: int, padding: str, stride: int, dilation: int = 1
) -> int | None:
    """Return the length that a convolution or pooling gives.

    Args:
        input_length: length of the input, None when unknown.
        filter_size: length of the window.
        padding: 'same', 'valid', 'causal' or 'full'.
        stride: step between windows.
        dilation: distance between the window's taps.

    Raises:
        ValueError: for an unknown padding mode.
    """
    if input_length is None:
        return None
    window = (filter_size - 1) * dilation + 1
    if padding in ("same", "causal"):
        positions = input_length
    elif padding == "valid":
        positions = input_length - window + 1
    elif padding == "full":
        positions = input_length + window - 1
    else:
        raise ValueError(
            f"conv_output_length: unknown padding {padding!r}; "
            "expected 'same', 'valid', 'causal' or 'full'"
        )
    return -(-positions // stride)


def conv_input_length(
    output_length: int | None, filter_size: int, padding: str, stride: int
) -> int | None:
    """Return the (shortest usual) input length of a convolution that gives `output_length`.

    Args:
        output_length: length of the output, None when unknown.
        filter_size: length of the window.
        padding: 'same', 'valid' or 'full'.
        stride: step between windows.

    Raises:
        ValueError: for an unknown padding mode.
    """
    if output_length is None:
        return None
    pads = {"same": filter_size // 2, "valid": 0, "full": filter_size - 1}
    if padding not in pads:
        raise ValueError(
            f"conv_input_length: unknown padding {padding!r}; expected 'same', 'valid' or 'full'"
        )
    return (output_length - 1) * stride - 2 * pads[padding] + filter_size


def deconv_length(
    dim_size: int | None,
    stride_size: int,
    kernel_size: int,
    padding: str,
    output_padding: int | None = None,
) -> int | None:
    """Return the length that a transposed convolution gives.

    Args:
        dim_size: length of the input, None when unknown.
        stride_size: the stride.
        kernel_size: length of the window.
        padding: 'same', 'valid' or 'full'.
        output_padding: how much longer the output is than the shortest that the convolution turns
            into `dim_size`; None for the length that does not depend on the window in 'same' mode.

    Raises:
        ValueError: for an unknown padding mode.
    """
    if dim_size is None:
        return None
    pads = {"same": kernel_size // 2, "valid": 0, "full": kernel_size - 1}
    if output_padding is not None and padding in pads:
        return (dim_size - 1) * stride_size + kernel_size - 2 * pads[padding] + output_padding
    if padding == "same":
        return dim_size * stride_size
    if padding == "valid":
        return dim_size * stride_size + max(kernel_size - stride_size, 0)
    if padding == "full":
        return dim_size * stride_size - (stride_size + kernel_size - 2)
    raise ValueError(
        f"deconv_length: unknown padding {padding!r}; expected 'same', 'valid' or 'full'"
    )
