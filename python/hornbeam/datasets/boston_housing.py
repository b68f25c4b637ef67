"""Prices of houses in 506 districts of Boston, with 13 properties of each."""

from __future__ import annotations

import numpy as np

from .origins import fetch

Split = tuple[np.ndarray, np.ndarray]


def load_data(
    path: str = "boston_housing.npz", seed: int = 113, test_split: float = 0.2
) -> tuple[Split, Split]:
    """Return `(x_train, y_train), (x_test, y_test)`.

    Args:
        path: the file's name in the cache, or the absolute path of an own copy.
        seed: seeds the order of the districts.
        test_split: the fraction that is set aside for testing.

    Raises:
        ValueError: when `test_split` is not in [0, 1).
    """
    if not 0 <= test_split < 1:
        raise ValueError(f"test_split must lie in [0, 1), got {test_split}")
    with np.load(fetch(path, "boston_housing.npz"), allow_pickle=False) as f:
        x, y = f["x"], f["y"]
    order = np.arange(len(x))
    np.random.RandomState(seed).shuffle(order)
    x, y = x[order], y[order]
    border = int(len(x) * (1 - test_split))
    return (x[:border], y[:border]), (x[border:], y[border:])
