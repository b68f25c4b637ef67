"""Convolution and pooling by their definitions, channels last."""

from __future__ import annotations

import numpy as np


def cells_of(n, window, stride, dilation, padding):
    """Cells of padding before and after one axis."""
    extent = (window - 1) * dilation + 1
    if padding == "causal":
        return extent - 1, 0
    if padding == "valid":
        return 0, 0
    total = max((-(-n // stride) - 1) * stride + extent - n, 0)
    return total // 2, total - total // 2


def correlate(x, kernel, strides, padding, dilation):
    """Convolution of any rank."""
    n = kernel.ndim - 2
    pads = [
        cells_of(*a, padding)
        for a in zip(x.shape[1:-1], kernel.shape[:n], strides, dilation, strict=True)
    ]
    x = np.pad(x.astype("float64"), [(0, 0), *pads, (0, 0)])
    extents = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:n], dilation, strict=True)]
    counts = [(s - e) // t + 1 for s, e, t in zip(x.shape[1:-1], extents, strides, strict=True)]
    y = np.zeros((x.shape[0], *counts, kernel.shape[-1]))
    for place in np.ndindex(*counts):
        where = tuple(
            slice(p * t, p * t + e, d)
            for p, t, e, d in zip(place, strides, extents, dilation, strict=True)
        )
        window = x[(slice(None), *where)]
        axes = list(range(1, n + 2))
        y[(slice(None), *place)] = np.tensordot(window, kernel, (axes, list(range(n + 1))))
    return y


def transposed(x, kernel, shape, strides, padding):
    """Spread each cell of `x` over the window that a convolution would have read it from."""
    n = kernel.ndim - 2
    pads = [
        cells_of(*a, 1, padding) for a in zip(shape[1:-1], kernel.shape[:n], strides, strict=True)
    ]
    wide = [size + sum(pad) for size, pad in zip(shape[1:-1], pads, strict=True)]
    y = np.zeros((len(x), *wide, kernel.shape[-2]))
    for place in np.ndindex(*x.shape[1:-1]):
        where = tuple(
            slice(p * t, p * t + k)
            for p, t, k in zip(place, strides, kernel.shape[:n], strict=True)
        )
        cell = x[(slice(None), *place)].astype("float64")
        y[(slice(None), *where)] += np.tensordot(cell, kernel, ([1], [n + 1]))
    inside = tuple(
        slice(pad[0], pad[0] + size) for pad, size in zip(pads, shape[1:-1], strict=True)
    )
    return y[(slice(None), *inside)]


def pooled(x, size, strides, padding, mode):
    """The largest or the mean of the cells of each window that are not padding."""
    n = x.ndim - 2
    pads = [cells_of(*a, 1, padding) for a in zip(x.shape[1:-1], size, strides, strict=True)]
    fill = -np.inf if mode == "max" else np.nan
    x = np.pad(x.astype("float64"), [(0, 0), *pads, (0, 0)], constant_values=fill)
    counts = [(s - k) // t + 1 for s, k, t in zip(x.shape[1:-1], size, strides, strict=True)]
    y = np.zeros((x.shape[0], *counts, x.shape[-1]))
    for place in np.ndindex(*counts):
        where = tuple(slice(p * t, p * t + k) for p, t, k in zip(place, strides, size, strict=True))
        window = x[(slice(None), *where)]
        axes = tuple(range(1, n + 1))
        y[(slice(None), *place)] = window.max(axes) if mode == "max" else np.nanmean(window, axes)
    return y
