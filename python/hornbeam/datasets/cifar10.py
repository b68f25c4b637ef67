"""Small colour images of ten classes: 50,000 for training and 10,000 for testing."""

from __future__ import annotations

import os

from .cifar import Split, load_split
from .origins import fetch


def load_data() -> tuple[Split, Split]:
    """Return `(x_train, y_train), (x_test, y_test)`.

    Returns:
        Images as uint8 arrays of shape (n, 32, 32, 3), or (n, 3, 32, 32) where channels first is
        configured; classes as uint8 arrays of shape (n, 1).
    """
    folder = fetch("cifar-10-batches-py", "cifar-10-batches-py", untar=True)
    train = [os.path.join(folder, f"data_batch_{i}") for i in range(1, 6)]
    return load_split(train, "labels"), load_split([os.path.join(folder, "test_batch")], "labels")
