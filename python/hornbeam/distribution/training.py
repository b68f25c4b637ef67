"""One pass of training over data, as one worker of a group runs it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend as K
from ..data import read_rows
from ..engine.sharded import ShardedProgram
from ..engine.strategy import in_memory

if TYPE_CHECKING:
    from .sharded import ShardedStrategy


class TrainingPass:
    """A run (see `engine.strategy.Run`) over the core's loop.

    Data that are not arrays of the very types the core takes are read batch by batch, and of each
    batch the rows of the own shards alone.
    """

    def __init__(
        self,
        strategy: ShardedStrategy,
        program: ShardedProgram,
        arrays: Sequence[Any],
        batch_size: int,
        order: np.ndarray | None,
    ) -> None:
        self._strategy = strategy
        self._program = program
        self._arrays = list(arrays)
        self._order = order
        self._batch_size = batch_size
        self._lazy = not in_memory(arrays, program.dtypes)
        self._samples = len(arrays[0]) if order is None else len(order)
        self._concluded = False
        self._make_loop()

    def _make_loop(self) -> None:
        arrays, order = self._arrays, self._order
        if self._lazy:
            arrays = [_unwritten(x, self._samples, d) for x, d in self._typed()]
            order = None
        p = self._program
        normalizers = None if p.normalizers is None else p.normalizers.core
        functions = (normalizers, p.function.core, p.apply.core)
        group = self._strategy.group
        self._held = arrays
        self._loop = K.ShardedLoop(*functions, arrays, self._batch_size, order, group)

    def _typed(self) -> list[tuple[Any, str]]:
        return list(zip(self._arrays, self._program.dtypes, strict=True))

    @property
    def steps(self) -> int:
        """The number of batches."""
        return self._loop.steps

    @property
    def steps_done(self) -> int:
        """How many batches have been applied here."""
        return self._loop.steps_done

    @property
    def samples_done(self) -> int:
        """How many samples they held."""
        return self._loop.samples_done

    @property
    def step_number(self) -> int:
        """The number of the next step over all passes."""
        return self._loop.step_number

    @property
    def has_ended(self) -> bool:
        """Whether all batches have been applied here."""
        return self._loop.steps_done == self._loop.steps

    def run(self, max_steps: int | None = None, max_seconds: float | None = None) -> int:
        """Run steps until all are done or a limit is reached; return how many ran.

        When a generation ends, the steps go on in the next.
        """
        before, started = self._loop.steps_done, time.perf_counter()
        while not self.has_ended:
            done = self._loop.steps_done - before
            left = None if max_steps is None else max_steps - done
            seconds = None
            if max_seconds is not None:
                seconds = max(0.0, max_seconds - (time.perf_counter() - started))
            # A step that others have finished may have been caught up with after an error.
            if left is not None and left <= 0 or (seconds == 0.0 and done):
                break
            try:
                self._advance(left, seconds)
            except K.CollectiveError as error:
                self._strategy.recover(error)
            else:
                break
        if self.has_ended and not self._concluded:
            # Nobody goes on to another pass while someone may still need this one's averages.
            self._concluded = True
            self._strategy.conclude(lambda: None)
        return self._loop.steps_done - before

    def _advance(self, max_steps: int | None, max_seconds: float | None) -> None:
        if not self._lazy:
            self._loop.run(max_steps, max_seconds)
            return
        started, count = time.perf_counter(), 0
        while not self.has_ended and (max_steps is None or count < max_steps):
            self._read_own_rows()
            self._loop.run(1)
            count += 1
            if max_seconds is not None and time.perf_counter() - started >= max_seconds:
                break

    def _read_own_rows(self) -> None:
        """Fill in the rows of the next batch that this worker's shards have."""
        first = self._loop.steps_done * self._batch_size
        rows = min(self._batch_size, self._samples - first)
        shards, (start, stop) = self._strategy.group.total_shards, self._strategy.group.shards
        own = slice(first + rows * start // shards, first + rows * stop // shards)
        indices = np.arange(own.start, own.stop) if self._order is None else self._order[own]
        for held, (x, dtype) in zip(self._held, self._typed(), strict=True):
            if len(indices):
                held[own] = read_rows(x, indices, dtype)

    def means(self) -> list[float]:
        """Return the mean of each scalar so far, over the samples of all workers."""
        return self._loop.means()

    def last(self) -> list[float]:
        """Return each scalar of the latest batch."""
        return self._loop.last()

    def sums(self) -> list[float]:
        """Return each scalar's sum over the samples so far, of all workers."""
        return self._loop.sums()

    def resume(
        self, steps_done: int, sums: Sequence[float], last: Sequence[float] | None = None
    ) -> None:
        """Stand before a step, with the sums over those before it and the scalars of the last."""
        self._loop.resume(steps_done, sums, last)

    def collected(self) -> list[np.ndarray]:
        """Return nothing: training keeps no outputs."""
        return []

    def averages(self) -> np.ndarray | None:
        """Return what the latest step applied, for a member that missed it."""
        return self._loop.averages()

    def catch_up(self, averages: np.ndarray) -> None:
        """Run the next step with averages that others computed."""
        self._loop.catch_up(averages)

    def position(self) -> dict[str, np.ndarray]:
        """Return what a member that joins needs to stand where this pass does."""
        order = self._order if self._order is not None else np.zeros(0, dtype=np.int64)
        return {
            "steps_done": np.asarray(self._loop.steps_done),
            "sums": np.asarray(self.sums()),
            "last": np.asarray(self.last()),
            "order": order,
        }

    def take_over(self, handed: dict[str, np.ndarray]) -> None:
        """Stand where another member's pass does, with its order and random state."""
        if self._order is not None:
            # The next epoch's order is drawn from this one's: it has to be in the caller's array.
            self._order[...] = handed["order"]
            state = {"key": handed["random_key"], "pos": int(handed["random_position"])}
            np.random.set_state({"bit_generator": "MT19937", "state": state})
            self._make_loop()
        self.resume_at(handed)

    def resume_at(self, handed: dict[str, np.ndarray]) -> None:
        """Stand at the step where another member's same pass does."""
        self.resume(int(handed["steps_done"]), list(handed["sums"]), list(handed["last"]))


def _unwritten(like: Any, rows: int, dtype: str) -> np.ndarray:
    """Return an array of which only the pages that are written to will take memory."""
    return np.empty((rows, *like.shape[1:]), dtype=dtype)
