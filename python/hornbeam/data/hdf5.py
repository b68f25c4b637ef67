"""Data that is read from a file in slices: h5py datasets and `HDF5Matrix`.

A batch is read when its step comes, so that a set larger than memory can be trained on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import convert


def is_lazy(x: Any) -> bool:
    """Tell whether `x` is sliced like an array but lies elsewhere (an HDF5 dataset)."""
    if isinstance(x, np.ndarray):
        return False
    kind = type(x)
    return (kind.__module__.startswith("h5py") and hasattr(x, "shape")) or any(
        base.__name__ == "HDF5Matrix" for base in kind.__mro__
    )


def read_rows(x: Any, rows: np.ndarray, dtype: str) -> np.ndarray:
    """Return rows of an array or a dataset, in the order asked for.

    Args:
        x: an array or a dataset.
        rows: row numbers.
        dtype: the type wanted.

    Raises:
        ValueError: when integers are wanted, and a number is none or too large.
    """
    what = "a batch of the data"
    if not is_lazy(x):
        return convert(x[rows], dtype, what)
    first, last = int(rows.min()), int(rows.max())
    if last - first + 1 == len(rows):
        # A contiguous block is read as one, whatever its inner order.
        block = np.asarray(x[first : last + 1])
        return convert(block[rows - first], dtype, what)
    # HDF5 reads rows in increasing order, each once.
    order, places = np.unique(rows, return_inverse=True)
    return convert(np.asarray(x[order.tolist()])[places], dtype, what)


class LazyRun:
    """One pass over datasets in batches, with the interface of the core's `Loop`.

    Attributes:
        steps: the number of batches.
        steps_done: how many have run.
        samples_done: how many samples they held.
    """

    def __init__(
        self,
        function: Any,
        arrays: Sequence[Any],
        dtypes: Sequence[str],
        scalars: int,
        batch_size: int,
        order: np.ndarray | None = None,
        collect: Sequence[int] = (),
        training: bool = False,
    ) -> None:
        """Prepare a pass; nothing is read yet.

        Args:
            function: the core's function.
            arrays: arrays and datasets, one for each input.
            dtypes: the type of each input.
            scalars: how many outputs, the first ones, are averaged.
            batch_size: samples in a batch.
            order: row numbers in the order of the visit, None for their own.
            collect: outputs to keep whole.
            training: which plan runs.
        """
        self.function, self.arrays, self.dtypes = function, list(arrays), list(dtypes)
        self.batch_size, self.training = batch_size, training
        self.order = np.arange(len(arrays[0])) if order is None else order
        self.steps = -(-len(self.order) // batch_size)
        self.steps_done = self.samples_done = 0
        self._sums = [0.0] * scalars
        self._last = [0.0] * scalars
        self._kept: dict[int, list[np.ndarray]] = {index: [] for index in collect}
        self._watched: int | None = None

    def watch(self, index: int) -> None:
        """From now on end a run behind a step whose scalar `index` is NaN or infinite."""
        self._watched = index

    def run(self, max_steps: int | None = None, max_seconds: float | None = None) -> int:
        """Run steps until all are done or a limit is reached; return how many ran."""
        started, count = time.perf_counter(), 0
        while self.steps_done < self.steps and (max_steps is None or count < max_steps):
            self._step()
            count += 1
            if self._watched is not None and not np.isfinite(self._last[self._watched]):
                break
            if max_seconds is not None and time.perf_counter() - started >= max_seconds:
                break
        return count

    def _step(self) -> None:
        start = self.steps_done * self.batch_size
        rows = self.order[start : start + self.batch_size]
        batch = [read_rows(x, rows, d) for x, d in zip(self.arrays, self.dtypes, strict=True)]
        results = self.function(batch, self.training)
        self._last = [float(r) for r in results[: len(self._sums)]]
        self._sums = [
            total + value * len(rows) for total, value in zip(self._sums, self._last, strict=True)
        ]
        for index, parts in self._kept.items():
            parts.append(results[index])
        self.steps_done += 1
        self.samples_done += len(rows)

    def means(self) -> list[float]:
        """Return the mean of each scalar over the batches so far, weighted by samples."""
        return [total / max(1, self.samples_done) for total in self._sums]

    def last(self) -> list[float]:
        """Return each scalar of the latest batch."""
        return list(self._last)

    def sums(self) -> list[float]:
        """Return each scalar's sum over the samples so far."""
        return list(self._sums)

    def resume(
        self, steps_done: int, sums: Sequence[float], last: Sequence[float] | None = None
    ) -> None:
        """Stand before a step, with the sums over those before it and the scalars of the last."""
        self.steps_done = steps_done
        self.samples_done = min(steps_done * self.batch_size, len(self.order))
        self._sums = list(sums)
        self._last = [float("nan")] * len(self._sums) if last is None else list(last)

    def collected(self) -> list[np.ndarray]:
        """Return the outputs that were kept, one array for each."""
        return [np.concatenate(parts) for parts in self._kept.values()]
