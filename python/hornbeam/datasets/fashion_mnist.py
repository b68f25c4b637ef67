"""Articles of clothing in the form of MNIST: 28 x 28 grey pixels, ten classes."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np

from .origins import fetch

Split = tuple[np.ndarray, np.ndarray]


def load_data() -> tuple[Split, Split]:
    """Return `(x_train, y_train), (x_test, y_test)`.

    Returns:
        Images as uint8 arrays of shape (n, 28, 28), classes as uint8 arrays of shape (n,).
    """
    return _load("train"), _load("t10k")


def _load(part: str) -> Split:
    images, labels = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
    return read_idx(_fetch(images)), read_idx(_fetch(labels))


def _fetch(name: str) -> str:
    return fetch(name, name, cache_subdir=os.path.join("datasets", "fashion-mnist"))


def read_idx(path: str) -> np.ndarray:
    """Read a gzipped file of unsigned bytes in the IDX format.

    The file begins with two zero bytes, the type (8 for unsigned bytes), the number of axes, and
    the length of each axis as a big-endian 32-bit integer.

    Args:
        path: the file.

    Raises:
        ValueError: when the file is not of this format.
    """
    with gzip.open(path, "rb") as f:
        data = f.read()
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    start = 4 + 4 * data[3]
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    return np.frombuffer(data, dtype="uint8", offset=start).reshape(shape).copy()
