"""Data that comes batch by batch: generators, `Sequence` objects, data loaders of torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import is_array_like
from .hdf5 import is_lazy


def is_stream(x: Any) -> bool:
    """Tell whether `x` gives batches of a model's data, and is no array itself.

    Raises:
        TypeError: when it is a dataset of Ray, which has no batches of inputs and targets yet.
    """
    if x is None or isinstance(x, (dict, str)) or is_array_like(x) or is_lazy(x):
        return False
    if type(x).__module__.startswith("ray.") and hasattr(x, "iter_batches"):
        raise TypeError(
            f"A {type(x).__name__} of Ray does not say which of its columns are inputs and which "
            "are targets: give hornbeam.distribution.RayData(dataset, features, labels, "
            "batch_size=...) instead."
        )
    return hasattr(x, "__next__") or is_sequence(x) or is_loader(x)


def is_sequence(x: Any) -> bool:
    """Tell whether `x` gives batches by number, as a `Sequence` does."""
    return hasattr(x, "__getitem__") and hasattr(x, "__len__") and not is_array_like(x)


def is_loader(x: Any) -> bool:
    """Tell whether `x` can be iterated over once an epoch, as a data loader of torch."""
    return hasattr(x, "__iter__") and hasattr(x, "__len__") and not hasattr(x, "__getitem__")


def batches_of(x: Any) -> Iterator[Any]:
    """Return an endless iterator over batches; a loader is started anew for each epoch."""
    while True:
        count = 0
        for batch in x:
            count += 1
            yield as_batch(batch)
        if count == 0:
            return


def as_batch(batch: Any) -> Any:
    """Return a batch as a tuple, with tensors of torch as arrays."""
    if isinstance(batch, (list, tuple)):
        return tuple(_as_numpy(part) for part in batch)
    return _as_numpy(batch)


def _as_numpy(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return [_as_numpy(part) for part in x]
    if isinstance(x, dict):
        return {key: _as_numpy(part) for key, part in x.items()}
    if hasattr(x, "detach"):
        return x.detach().cpu().numpy()
    return np.asarray(x) if hasattr(x, "__array__") and not isinstance(x, np.ndarray) else x
