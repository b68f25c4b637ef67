"""Small helpers on NumPy arrays."""

from __future__ import annotations

import random
from typing import Any

import numpy as np


def to_categorical(y: Any, num_classes: int | None = None) -> np.ndarray:
    """Turn class numbers into rows with a single one.

    Args:
        y: integers from 0 to `num_classes` - 1, of any shape; they are read in flat order.
        num_classes: the number of classes; by default one more than the greatest number.

    Returns:
        A float64 array of shape (number of labels, num_classes).

    Raises:
        ValueError: for a label outside that range, or no labels and no `num_classes`.

    Example:
        >>> to_categorical([0, 2])
        array([[1., 0., 0.],
               [0., 0., 1.]])
    """
    labels = np.array(y, dtype="int").ravel()
    if not num_classes:
        if labels.size == 0:
            raise ValueError("to_categorical: `y` is empty, so `num_classes` must be given")
        num_classes = int(labels.max()) + 1
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(
            f"to_categorical: labels must lie in 0..{num_classes - 1} for num_classes="
            f"{num_classes}, found {labels.min()}..{labels.max()}"
        )
    categorical = np.zeros((labels.size, num_classes))
    categorical[np.arange(labels.size), labels] = 1
    return categorical


def normalize(x: Any, axis: int = -1, order: int | float = 2) -> np.ndarray:
    """Scale an array so that its vectors along an axis have norm 1; zero vectors stay zero.

    Args:
        x: an array.
        axis: the axis along which the norm is taken.
        order: the order of the norm, as in `numpy.linalg.norm` (2 is Euclidean).

    Returns:
        A new array of the same shape; a vector becomes one row, of shape (1, n).
    """
    x = np.asarray(x)
    norms = np.atleast_1d(np.linalg.norm(x, order, axis))
    norms[norms == 0] = 1
    return x / np.expand_dims(norms, axis)


def set_random_seed(seed: int) -> None:
    """Make everything random that follows the same in each run.

    Python's and NumPy's generators are seeded. Initial weights, dropout masks and the order of
    samples are drawn from NumPy's, or keyed by what is drawn from it.

    Args:
        seed: an integer from 0 to 2**32 - 1.

    Raises:
        ValueError: for a seed outside this range.
    """
    if not 0 <= int(seed) < 2**32:
        raise ValueError(f"set_random_seed: expected an integer in 0..2**32 - 1, got {seed!r}")
    random.seed(int(seed))
    np.random.seed(int(seed))
