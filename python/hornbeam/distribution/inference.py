"""Evaluation and prediction, with the batches spread over the workers of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.strategy import LocalStrategy, Program, Run
from .exchange import gather_rows

if TYPE_CHECKING:
    from .sharded import ShardedStrategy


class InferencePass:
    """A run (see `engine.strategy.Run`) of whole batches, which are not cut.

    Shard v of V has the batches from b * v // V on, of b in all. Sums are added up along the tree
    of shards, and outputs gathered at every worker in the order of the samples; `steps` and
    `samples_done` are this worker's.
    """

    def __init__(
        self,
        strategy: ShardedStrategy,
        program: Program,
        arrays: Sequence[Any],
        batch_size: int,
        order: np.ndarray | None,
    ) -> None:
        self._strategy = strategy
        self._program = program
        self._arrays = arrays
        self._batch_size = batch_size
        self._order = order if order is not None else np.arange(len(arrays[0]), dtype=np.int64)
        self._shards = strategy.group.total_shards
        self._runs: dict[int, Run] = {}
        self._result: tuple[list[float], list[np.ndarray]] | None = None
        self._take_own()

    def _take_own(self) -> None:
        """Prepare the runs of the shards that this worker owns now."""
        local = LocalStrategy()
        batches = -(-len(self._order) // self._batch_size)
        for shard in self._own():
            if shard in self._runs:
                continue
            first = batches * shard // self._shards * self._batch_size
            behind = batches * (shard + 1) // self._shards * self._batch_size
            rows = self._order[first:behind]
            self._runs[shard] = local.start(self._program, self._arrays, self._batch_size, rows)

    def _own(self) -> range:
        return range(*self._strategy.group.shards)

    @property
    def steps(self) -> int:
        """The number of this worker's batches."""
        return sum(run.steps for run in self._runs.values())

    @property
    def steps_done(self) -> int:
        """How many of them have run."""
        return sum(run.steps_done for run in self._runs.values())

    @property
    def samples_done(self) -> int:
        """How many samples they held."""
        return sum(run.samples_done for run in self._runs.values())

    def run(self, max_steps: int | None = None, max_seconds: float | None = None) -> int:
        """Run batches of one shard until they are done or a limit is reached."""
        for run in self._runs.values():
            if run.steps_done < run.steps:
                return run.run(max_steps, max_seconds)
        return 0

    def means(self) -> list[float]:
        """Return the mean of each scalar over the samples of all workers."""
        return self._finish()[0]

    def last(self) -> list[float]:
        """Return each scalar of this worker's latest batch."""
        ran = [run for run in self._runs.values() if run.steps_done]
        return ran[-1].last() if ran else [float("nan")] * self._program.scalars

    def collected(self) -> list[np.ndarray]:
        """Return the outputs that are kept, of all samples."""
        return self._finish()[1]

    def _finish(self) -> tuple[list[float], list[np.ndarray]]:
        if self._result is None:
            self._strategy.conclude(self._exchange)
        assert self._result is not None
        return self._result

    def _exchange(self) -> None:
        self._take_own()
        while self.steps_done < self.steps:
            self.run()
        group = self._strategy.group
        partials = [self._sums(*ends) for ends in group.partials] or [self._leaf(None)]
        sums = group.all_reduce(np.asarray(partials))
        means = [float(total / sums[-1]) for total in sums[:-1]]
        self._result = (means, self._gather() if self._program.collect else [])

    def _sums(self, start: int, stop: int) -> np.ndarray:
        """Return the scalars' sums over samples, and the samples, of an aligned subtree."""
        if stop - start == 1:
            return self._leaf(self._runs[start])
        middle = (start + stop) // 2
        return self._sums(start, middle) + self._sums(middle, stop)

    def _leaf(self, run: Run | None) -> np.ndarray:
        count = self._program.scalars
        if run is None or run.samples_done == 0:
            return np.zeros(count + 1)
        means = np.asarray(run.means()[:count], dtype="float64")
        return np.append(means * run.samples_done, run.samples_done)

    def _gather(self) -> list[np.ndarray]:
        own = [run.collected() for v in self._own() if (run := self._runs[v]).samples_done]
        columns = [np.concatenate(parts) for parts in zip(*own, strict=True)]
        return gather_rows(self._strategy.group, columns)
