"""Batches of Ray Data for `fit`, `evaluate` and `predict`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Columns = str | Sequence[str] | Mapping[str, Any]


class RayData:
    """The batches of a dataset of Ray Data, or of a worker's shard of one.

    Blocks are read as they come, so that a dataset may be larger than memory. In a worker of Ray
    Train, `get_dataset_shard` gives its part of the samples, and `batch_size` is the worker's own.

    Args:
        dataset: a `ray.data.Dataset`, or what `ray.train.get_dataset_shard` returns.
        features: the column of the model's input; a list of columns of numbers, which become one
            matrix; or a dictionary with such for each input's name.
        labels: the same for the targets; None where there are none, for `predict`.
        weights: the column of sample weights.
        batch_size: samples in a batch.
        shuffle_buffer: samples among which batches are drawn at random; None for the dataset's own
            order.
        samples: number of samples, where it is known; otherwise the dataset is asked, or read once
            to count them.

    Example:
        ```python
        shard = ray.train.get_dataset_shard("train")
        model.fit(RayData(shard, features=["a", "b"], labels="y", batch_size=64), epochs=5)
        ```
    """

    def __init__(
        self,
        dataset: Any,
        features: Columns,
        labels: Columns | None = None,
        weights: str | None = None,
        batch_size: int = 32,
        shuffle_buffer: int | None = None,
        samples: int | None = None,
    ) -> None:
        if not hasattr(dataset, "iter_batches"):
            raise TypeError(
                "RayData expects a ray.data.Dataset or a shard of one, got "
                f"{type(dataset).__name__}"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.dataset = dataset
        self.features, self.labels, self.weights = features, labels, weights
        self.batch_size = batch_size
        self.shuffle_buffer = shuffle_buffer
        self._samples = samples

    def __len__(self) -> int:
        """Return the number of batches."""
        if self._samples is None:
            if hasattr(self.dataset, "count"):
                self._samples = self.dataset.count()
            else:
                self._samples = sum(_rows(b) for b in self._batches(4096))
        return -(-self._samples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over the batches of one pass."""
        for batch in self._batches(self.batch_size, self.shuffle_buffer):
            x = _columns(batch, self.features)
            if self.labels is None:
                yield (x,)
                continue
            y = _columns(batch, self.labels)
            yield (x, y) if self.weights is None else (x, y, _column(batch, self.weights))

    def _batches(self, size: int, buffer: int | None = None) -> Iterator[dict[str, Any]]:
        options: dict[str, Any] = {"batch_size": size, "batch_format": "numpy"}
        if buffer is not None:
            options["local_shuffle_buffer_size"] = buffer
            options["local_shuffle_seed"] = int(np.random.randint(2**31))
        return iter(self.dataset.iter_batches(**options))


def _rows(batch: Mapping[str, Any]) -> int:
    return len(next(iter(batch.values())))


def _column(batch: Mapping[str, Any], name: str) -> np.ndarray:
    if name not in batch:
        raise ValueError(f"The dataset has no column {name!r}; it has {sorted(batch)}")
    column = batch[name]
    if column.dtype.kind == "O":
        column = np.stack(list(column))
    return column


def _columns(batch: Mapping[str, Any], what: Columns) -> Any:
    if isinstance(what, str):
        return _column(batch, what)
    if isinstance(what, Mapping):
        return {name: _columns(batch, inner) for name, inner in what.items()}
    parts = [_column(batch, name) for name in what]
    return np.concatenate([p.reshape(len(p), -1) for p in parts], axis=1)
