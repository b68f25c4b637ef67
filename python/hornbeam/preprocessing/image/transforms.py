"""Geometric and colour transformations of single images.

The random ones draw from `numpy.random`, or from the `numpy.random.RandomState` they are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .affine import affine_transform


def rotation_matrix(theta: float) -> np.ndarray:
    """Return the 3x3 matrix of a rotation by an angle in radians."""
    cos, sin = np.cos(theta), np.sin(theta)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def shift_matrix(rows: float, columns: float) -> np.ndarray:
    """Return the 3x3 matrix of a shift, in pixels."""
    return np.array([[1, 0, rows], [0, 1, columns], [0, 0, 1]])


def shear_matrix(shear: float) -> np.ndarray:
    """Return the 3x3 matrix of a shear by an angle in radians."""
    return np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])


def zoom_matrix(rows: float, columns: float) -> np.ndarray:
    """Return the 3x3 matrix of a scaling of the coordinates."""
    return np.array([[rows, 0, 0], [0, columns, 0], [0, 0, 1]])


def transform_matrix_offset_center(matrix: np.ndarray, x: int, y: int) -> np.ndarray:
    """Move a transformation from the origin to the centre of an image.

    Args:
        matrix: the 3x3 matrix.
        x: the image's number of rows.
        y: the image's number of columns.
    """
    centre = x / 2 + 0.5, y / 2 + 0.5
    return shift_matrix(*centre) @ matrix @ shift_matrix(-centre[0], -centre[1])


def apply_transform(
    x: np.ndarray,
    transform_matrix: np.ndarray,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    order: int = 0,
) -> np.ndarray:
    """Transform an image: the result at (row, column) is the image at matrix x (row, column, 1).

    Args:
        x: an image of three axes.
        transform_matrix: the 3x3 matrix.
        channel_axis: the axis of the channels.
        fill_mode: what is beyond the borders: 'nearest', 'constant', 'reflect' or 'wrap'.
        cval: the value beyond the borders, for 'constant'.
        order: 0 takes the nearest pixel, 1 interpolates linearly.

    Returns:
        A new array of the same shape and dtype.
    """
    channels = np.moveaxis(x, channel_axis, 0)
    matrix, offset = transform_matrix[:2, :2], transform_matrix[:2, 2]
    moved = affine_transform(channels, matrix, offset, order, fill_mode, cval)
    return np.moveaxis(moved, 0, channel_axis)


def random_rotation(
    x: np.ndarray,
    rg: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
) -> np.ndarray:
    """Rotate an image by a random angle.

    Args:
        x: an image of three axes.
        rg: the angle lies between -rg and rg degrees.
        row_axis: the axis of the rows.
        col_axis: the axis of the columns.
        channel_axis: the axis of the channels.
        fill_mode: as for `apply_transform`.
        cval: as for `apply_transform`.
    """
    matrix = rotation_matrix(np.deg2rad(np.random.uniform(-rg, rg)))
    matrix = transform_matrix_offset_center(matrix, x.shape[row_axis], x.shape[col_axis])
    return apply_transform(x, matrix, channel_axis, fill_mode, cval)


def random_shift(
    x: np.ndarray,
    wrg: float,
    hrg: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
) -> np.ndarray:
    """Shift an image by a random distance.

    Args:
        x: an image of three axes.
        wrg: the greatest shift along the columns, as a fraction of the width.
        hrg: the greatest shift along the rows, as a fraction of the height.
        row_axis: the axis of the rows.
        col_axis: the axis of the columns.
        channel_axis: the axis of the channels.
        fill_mode: as for `apply_transform`.
        cval: as for `apply_transform`.
    """
    rows = np.random.uniform(-hrg, hrg) * x.shape[row_axis]
    columns = np.random.uniform(-wrg, wrg) * x.shape[col_axis]
    return apply_transform(x, shift_matrix(rows, columns), channel_axis, fill_mode, cval)


def random_shear(
    x: np.ndarray,
    intensity: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
) -> np.ndarray:
    """Shear an image by a random angle.

    Args:
        x: an image of three axes.
        intensity: the angle lies between -intensity and intensity radians.
        row_axis: the axis of the rows.
        col_axis: the axis of the columns.
        channel_axis: the axis of the channels.
        fill_mode: as for `apply_transform`.
        cval: as for `apply_transform`.
    """
    matrix = shear_matrix(np.random.uniform(-intensity, intensity))
    matrix = transform_matrix_offset_center(matrix, x.shape[row_axis], x.shape[col_axis])
    return apply_transform(x, matrix, channel_axis, fill_mode, cval)


def random_zoom(
    x: np.ndarray,
    zoom_range: Sequence[float],
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
) -> np.ndarray:
    """Zoom an image by random factors, one for the rows and one for the columns.

    Args:
        x: an image of three axes.
        zoom_range: the least and the greatest factor; below 1 the image grows.
        row_axis: the axis of the rows.
        col_axis: the axis of the columns.
        channel_axis: the axis of the channels.
        fill_mode: as for `apply_transform`.
        cval: as for `apply_transform`.

    Raises:
        ValueError: when `zoom_range` does not hold two numbers.
    """
    if len(zoom_range) != 2:
        raise ValueError(
            f"random_zoom: zoom_range should be a tuple or list of two floats, got {zoom_range!r}"
        )
    matrix = zoom_matrix(*draw_zoom(zoom_range, np.random))
    matrix = transform_matrix_offset_center(matrix, x.shape[row_axis], x.shape[col_axis])
    return apply_transform(x, matrix, channel_axis, fill_mode, cval)


def draw_zoom(zoom_range: Sequence[float], rng: Any) -> tuple[float, float]:
    """Draw the factors of a zoom; nothing is drawn when both bounds are 1."""
    if zoom_range[0] == 1 and zoom_range[1] == 1:
        return 1.0, 1.0
    rows, columns = rng.uniform(zoom_range[0], zoom_range[1], 2)
    return rows, columns


def random_channel_shift(
    x: np.ndarray, intensity: float, channel_axis: int = 0, rng: Any = np.random
) -> np.ndarray:
    """Add a random number to each channel, clipped to the image's range.

    Args:
        x: an image of three axes.
        intensity: the numbers lie between -intensity and intensity.
        channel_axis: the axis of the channels.
        rng: where the numbers are drawn from.
    """
    channels = np.moveaxis(x, channel_axis, 0)
    low, high = channels.min(), channels.max()
    shifts = rng.uniform(-intensity, intensity, len(channels)).reshape(-1, 1, 1)
    shifted = np.clip(channels + shifts, low, high).astype(x.dtype, copy=False)
    return np.moveaxis(shifted, 0, channel_axis)


def flip_axis(x: Any, axis: int) -> np.ndarray:
    """Reverse an array along an axis."""
    return np.flip(np.asarray(x), axis)
