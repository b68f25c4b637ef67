"""Small colour images of 100 classes in 20 groups: 50,000 for training, 10,000 for testing."""

from __future__ import annotations

import os

from .cifar import Split, load_split
from .origins import fetch


def load_data(label_mode: str = "fine") -> tuple[Split, Split]:
    """Return `(x_train, y_train), (x_test, y_test)`.

    Args:
        label_mode: 'fine' for the 100 classes, 'coarse' for the 20 groups.

    Returns:
        Images as uint8 arrays of shape (n, 32, 32, 3), or (n, 3, 32, 32) where channels first is
        configured; classes as uint8 arrays of shape (n, 1).

    Raises:
        ValueError: for another label mode.
    """
    if label_mode not in ("fine", "coarse"):
        raise ValueError(f"label_mode must be one of 'fine', 'coarse'. Got {label_mode!r}.")
    folder = fetch("cifar-100-python", "cifar-100-python", untar=True)
    train, test = (
        load_split([os.path.join(folder, part)], f"{label_mode}_labels")
        for part in ("train", "test")
    )
    return train, test
