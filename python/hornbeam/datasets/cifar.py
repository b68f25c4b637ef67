"""The files of CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..utils.safe_pickle import load_arrays

Split = tuple[np.ndarray, np.ndarray]


def load_batch(fpath: str | os.PathLike[str], label_key: str = "labels") -> tuple[np.ndarray, Any]:
    """Read one file.

    Args:
        fpath: the file, a pickled dictionary of arrays.
        label_key: the name of the labels in it.

    Returns:
        The images, a uint8 array of shape (n, 3, 32, 32), and the list of labels.
    """
    with open(fpath, "rb") as f:
        content = load_arrays(f, encoding="bytes")
    named = {k.decode("utf-8") if isinstance(k, bytes) else k: v for k, v in content.items()}
    return named["data"].reshape(-1, 3, 32, 32), named[label_key]


def load_split(paths: list[str], label_key: str) -> Split:
    """Read several files into one array of images and one of labels.

    Args:
        paths: the files.
        label_key: the name of the labels in them.

    Returns:
        Images in the configured layout, and labels as a uint8 array of shape (n, 1).
    """
    from ..backend import common

    batches = [load_batch(path, label_key) for path in paths]
    images = np.concatenate([images for images, _ in batches]).astype("uint8", copy=False)
    labels = np.concatenate([np.asarray(labels, dtype="uint8") for _, labels in batches])
    if common.image_data_format() == "channels_last":
        images = images.transpose(0, 2, 3, 1)
    return images, labels.reshape(-1, 1)
