"""Data on their way to workers: arrays by the object store, HDF5 datasets by their files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import ray

from ...data import is_lazy


def send(x: Any) -> Any:
    """Return what a worker can open: a reference to an array, or a window on a dataset."""
    if not is_lazy(x):
        return ray.put(np.asarray(x))
    from ...utils.io_utils import HDF5Matrix

    if isinstance(x, HDF5Matrix):
        path = os.path.abspath(x.datapath)
        return type(x)(path, x.dataset, x.start, x.end, x.normalizer)
    return HDF5Matrix(os.path.abspath(x.file.filename), x.name)


def open_source(source: Any) -> Any:
    """Return the data that `send` described."""
    return ray.get(source) if isinstance(source, ray.ObjectRef) else source
