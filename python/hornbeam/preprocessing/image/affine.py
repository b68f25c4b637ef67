"""Affine transformation of planes by interpolation, with the borders of `scipy.ndimage`.

For each point of the result the place it comes from is computed, brought back into the plane by the
rule of the border, and read there: at the nearest pixel (order 0), or linearly between the four
around it (order 1).
"""

from __future__ import annotations

import numpy as np

FILL_MODES = ("nearest", "constant", "reflect", "wrap")


def affine_transform(
    planes: np.ndarray,
    matrix: np.ndarray,
    offset: np.ndarray,
    order: int = 0,
    mode: str = "nearest",
    cval: float = 0.0,
) -> np.ndarray:
    """Return planes whose point o is that at `matrix @ o + offset` in the given ones.

    Args:
        planes: array of shape (n, rows, columns), all transformed alike.
        matrix: array of shape (2, 2).
        offset: array of shape (2,).
        order: 0 (nearest pixel) or 1 (linear).
        mode: what is beyond the borders. 'nearest' repeats the border's pixels, 'constant' is
            `cval` everywhere, 'reflect' mirrors at the pixels' edges (d c b a | a b c d | d c b a),
            and 'wrap' goes on at the other side, the last pixel falling on the first.
        cval: the value for 'constant'.

    Returns:
        A new array of the same shape and dtype; linear values are rounded for integers.

    Raises:
        ValueError: for another order or mode.
    """
    if mode not in FILL_MODES:
        raise ValueError(f"Unknown fill_mode: {mode!r}. Expected one of {FILL_MODES}.")
    if order not in (0, 1):
        raise ValueError(f"Unknown order of interpolation: {order!r}. Expected 0 or 1.")
    shape = planes.shape[1:]
    rows = np.arange(shape[0], dtype="float64")[:, np.newaxis]
    columns = np.arange(shape[1], dtype="float64")[np.newaxis, :]
    places = [
        _into_range(offset[axis] + rows * matrix[axis, 0] + columns * matrix[axis, 1], size, mode)
        for axis, size in enumerate(shape)
    ]
    if order == 0:
        row, column = (_pixel(p + 0.5, n, mode) for p, n in zip(places, shape, strict=True))
        found = planes[:, row, column]
    else:
        found = _linear(planes, places, mode)
    if mode == "constant":
        # `_into_range` marks what is outside by NaN.
        outside = np.isnan(places[0]) | np.isnan(places[1])
        found = np.where(outside, np.asarray(cval, dtype="float64"), found)
    if np.issubdtype(planes.dtype, np.integer) and found.dtype != planes.dtype:
        found = np.trunc(found + np.where(found > 0, 0.5, -0.5))
    return found.astype(planes.dtype, copy=False)


def _linear(planes: np.ndarray, places: list[np.ndarray], mode: str) -> np.ndarray:
    low = [np.floor(place) for place in places]
    weight = [place - start for place, start in zip(places, low, strict=True)]
    found = np.zeros(planes.shape, dtype="float64")
    for down in (0, 1):
        for right in (0, 1):
            row = _pixel(low[0] + down, planes.shape[1], mode)
            column = _pixel(low[1] + right, planes.shape[2], mode)
            share = (weight[0] if down else 1 - weight[0]) * (weight[1] if right else 1 - weight[1])
            found += planes[:, row, column] * share
    return found


def _into_range(place: np.ndarray, size: int, mode: str) -> np.ndarray:
    """Bring coordinates along an axis into the range where interpolation is defined."""
    last = size - 1
    if mode == "nearest":
        return np.clip(place, 0, last)
    if mode == "constant":
        return np.where((place < 0) | (place > last), np.nan, place)
    if size == 1:
        return np.zeros_like(place)
    if mode == "reflect":
        return _reflect(place, size)
    below = place + last * (np.trunc(-place / last) + 1)
    above = place - last * np.trunc(place / last)
    return np.where(place < 0, below, np.where(place > last, above, place))


def _reflect(place: np.ndarray, size: int) -> np.ndarray:
    period = 2 * size
    below = np.where(place < -period, period * np.trunc(-place / period) + place, place)
    below = np.where(below < -size, below + period, np.maximum(-below, 1e-15) - 1)
    above = place - period * np.trunc(place / period)
    above = np.where(above >= size, period - above - 1, above)
    return np.where(place < 0, below, np.where(place > size - 1, above, place))


def _pixel(place: np.ndarray, size: int, mode: str) -> np.ndarray:
    """Return the pixel at the floor of a coordinate, which may lie one beyond the border."""
    pixel = np.floor(np.nan_to_num(place)).astype("int64")
    if mode == "reflect" and size > 1:
        pixel = _reflect(pixel.astype("float64"), size).astype("int64")
    elif mode == "wrap" and size > 1:
        pixel = _into_range(pixel.astype("float64"), size, mode).astype("int64")
    return np.clip(pixel, 0, size - 1)
