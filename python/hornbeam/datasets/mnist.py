"""Handwritten digits: 60,000 training and 10,000 test images of 28 x 28 grey pixels."""

from __future__ import annotations

import numpy as np

from .origins import fetch

Split = tuple[np.ndarray, np.ndarray]


def load_data(path: str = "mnist.npz") -> tuple[Split, Split]:
    """Return `(x_train, y_train), (x_test, y_test)`.

    Args:
        path: the file's name in the cache, or the absolute path of an own copy.

    Returns:
        Images as uint8 arrays of shape (n, 28, 28), digits as uint8 arrays of shape (n,).
    """
    with np.load(fetch(path, "mnist.npz"), allow_pickle=False) as f:
        return (f["x_train"], f["y_train"]), (f["x_test"], f["y_test"])
