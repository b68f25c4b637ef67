"""The strategy of a process that runs the user's script beside others that run the same.

So it is in a worker of Ray Train. Arrays given to `fit` are the same on all workers, and the
batches cut from them are shared out. Batches that come one by one are each worker's own part of a
larger batch. What has to be alike in all processes, and easily is not, is compared when a pass
begins: weights and random numbers are then taken from rank 0; models or arrays that differ are
refused.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ... import backend as K
from ...data import read_rows
from ...engine.sharded import ShardedProgram
from ...engine.strategy import Program, Run
from ..exchange import digest, gather_counts, gather_rows
from ..membership import even_ranges
from ..sharded import ShardedStrategy
from . import programs

# Rows of each array that are compared.
_COMPARED = 16


class MemberStrategy(ShardedStrategy):
    """Runs the steps of one of several processes with the same script.

    Args:
        group: the group, formed.
        own_batches: whether batches that come one by one are each process' own; else all processes
            give the same ones.
        synchronized: whether batch normalisation uses statistics of the whole batch instead of each
            shard's.

    Attributes:
        shards: the number of logical shards.
        shows_progress: whether this process draws the progress bar.
    """

    def __init__(
        self, group: K.Group, own_batches: bool = True, synchronized: bool = False
    ) -> None:
        super().__init__(group, synchronized=synchronized)
        self.shards = group.total_shards
        self._own_batches = own_batches
        self._agreed: dict[int, Program] = {}
        self._samples = 0
        self.shows_progress = group.rank == 0

    @contextlib.contextmanager
    def fitting(self) -> Iterator[None]:
        """Compare weights anew at the beginning (see `Strategy.fitting`)."""
        self._agreed.clear()
        yield

    def start(
        self,
        program: Program,
        arrays: Sequence[Any],
        batch_size: int,
        order: np.ndarray | None = None,
    ) -> Run:
        """Prepare a pass over arrays that all processes have (see `Strategy.start`)."""
        self._agree_on_data(arrays, batch_size)
        self._agree_on_model(program)
        if order is not None:
            self._agree_on_order(order)
        return super().start(program, arrays, batch_size, order)

    def step(self, program: Program, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Run one batch and return all outputs; only training is shared by the processes."""
        self._samples = len(arrays[0])
        if isinstance(program, ShardedProgram):
            self._agree_on_model(program)
            if self._own_batches:
                arrays = self._whole_batch(arrays)
        return super().step(program, arrays)

    def step_samples(self, samples: int) -> int:
        """Return the samples of the latest step over all processes."""
        return self._samples if self._own_batches else samples

    def sum_over_members(self, sums: np.ndarray) -> np.ndarray:
        """Return sums over all processes' own batches."""
        if not self._own_batches:
            return sums
        rows = gather_rows(self.group, [np.asarray(sums, dtype="float64")[None]])[0]
        return np.add.reduce(rows)

    def _whole_batch(self, own: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the batch of all processes, of which the rows of the own shards are filled in.

        The parts follow each other by rank. Shards are cut evenly; only where the parts do not
        have the sizes of their shards do rows travel.
        """
        counts = gather_counts(self.group, len(own[0]))
        self._samples = total = sum(counts)
        if total == 0:
            raise ValueError("No worker has a sample left for this step")
        ends = np.cumsum([0, *counts])
        shards = self.group.total_shards
        ranges = even_ranges(shards, self.group.ranks)
        if all(
            (total * start // shards, total * stop // shards) == (ends[r], ends[r + 1])
            for r, (start, stop) in enumerate(ranges)
        ):
            first = ends[self.group.rank]
            whole = []
            for x in own:
                array = np.empty((total, *x.shape[1:]), dtype=x.dtype)
                array[first : first + len(x)] = x
                whole.append(array)
            return whole
        return gather_rows(self.group, own if len(own[0]) else [])

    def _agree_on_model(self, program: Program) -> None:
        if id(program) in self._agreed:
            return
        self._agreed[id(program)] = program
        sent, variables = programs.pack(program)
        values = [v.get_value() for v in variables.values()]
        step = program.function.core.step
        structure = digest([sent.graph, repr([d[1:] for d in sent.variables]).encode()])
        contents = digest([np.int64(step).tobytes(), *(x.tobytes() for x in values)])
        told = self.group.all_gather(structure + contents)
        half = len(structure)
        others = [r for r, t in enumerate(told) if t[:half] != told[0][:half]]
        if others:
            raise ValueError(
                f"The workers of ranks {others} have built another model than rank 0, or compiled "
                "it otherwise. Build the same model on all of them; what is random in that, "
                "after the same `np.random.seed`."
            )
        if any(t != told[0] for t in told):
            handed = self._from_first({"step": np.asarray(step), **_numbered(values)})
            for i, variable in enumerate(variables.values()):
                variable.set_value(handed[f"value_{i}"])
            program.function.core.step = int(handed["step"])

    def _agree_on_data(self, arrays: Sequence[Any], batch_size: int) -> None:
        described = [(tuple(x.shape), str(x.dtype)) for x in arrays]
        count = len(arrays[0])
        rows = np.unique(np.linspace(0, max(0, count - 1), _COMPARED).astype("int64"))
        samples = [read_rows(x, rows, x.dtype).tobytes() for x in arrays if count]
        told = self.group.all_gather(
            digest([repr((batch_size, described)).encode(), *samples])
            + str([shape for shape, _ in described]).encode()
        )
        for rank, theirs in enumerate(told):
            if theirs != told[0]:
                raise ValueError(
                    f"The workers were given different data: rank 0 arrays of the shapes "
                    f"{told[0][16:].decode()}, rank {rank} of {theirs[16:].decode()}. Arrays are "
                    "cut into the workers' parts here, so give all workers the same ones. A "
                    "worker's own part of the data comes batch by batch: "
                    "fit(RayData(get_dataset_shard(...), ...)), or a generator of batches."
                )

    def _agree_on_order(self, order: np.ndarray) -> None:
        """Take the order of the samples, and NumPy's random state, from rank 0."""
        state: Any = np.random.get_state()
        kind, keys, position, has_gauss, gauss = state
        own = digest([order.tobytes(), keys.tobytes(), repr((position, has_gauss, gauss)).encode()])
        told = self.group.all_gather(own)
        if all(t == told[0] for t in told):
            return
        place = np.asarray([position, has_gauss, gauss])
        handed = self._from_first({"order": order, "keys": keys, "place": place})
        # The next epoch's order is drawn from this one's: it has to be in the caller's array.
        order[...] = handed["order"]
        position, has_gauss, gauss = handed["place"]
        np.random.set_state((kind, handed["keys"], int(position), int(has_gauss), gauss))

    def _from_first(self, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the arrays of rank 0."""
        out = io.BytesIO()
        if self.group.rank == 0:
            np.savez(out, **arrays)
        sent = self.group.broadcast(out.getvalue() if self.group.rank == 0 else None, 0)
        with np.load(io.BytesIO(sent), allow_pickle=False) as archive:
            return dict(archive)


def _numbered(values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"value_{i}": value for i, value in enumerate(values)}
