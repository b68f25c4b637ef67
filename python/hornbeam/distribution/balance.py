"""Which workers give shards away: those that take much longer for theirs than the others.

Workers report how long they have computed, waiting for others left out. Between two reports that
gives the seconds that a shard costs a worker. Who owns which shards never shows in the results, so
a wrong guess costs time alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .membership import even_ranges

# Reports, about one a second, over which costs are taken.
_WINDOW = 4
# The slowest worker's time has to sink to so much of what it was.
_GAIN = 0.8
# Seconds between two changes, and for which a worker that owns nothing counts as slow, at first.
_PAUSE = 3.0
_PENALTY = 20.0


@dataclass(frozen=True)
class Report:
    """What a worker has done in a generation.

    Attributes:
        generation: the generation's number.
        steps: steps that it has run in it.
        seconds: how long it has computed in them.
        order: the driver's order that it is at; 0 while it knows no state.
    """

    generation: int
    steps: int
    seconds: float
    order: int = 0


def cheapest_counts(shards: int, costs: Sequence[float]) -> list[int]:
    """Return how many shards each worker gets for the slowest of them to be done soonest.

    Args:
        shards: number of logical shards.
        costs: the seconds that a shard takes each worker.
    """
    counts = [0] * len(costs)
    for _ in range(shards):
        # Giving each shard to whoever is done with it first is optimal for equal shards.
        at = min(range(len(costs)), key=lambda i: ((counts[i] + 1) * costs[i], counts[i], i))
        counts[at] += 1
    return counts


@dataclass
class _Worker:
    shards: int = 0
    cost: float | None = None
    reports: deque[Report] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    penalty: float = _PENALTY
    idle_since: float = 0.0


class Balance:
    """Keeps the costs of workers and tells when shards should move.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._workers: dict[str, _Worker] = {}
        self._changed = clock()

    def report(self, name: str, report: Report) -> None:
        """Take a worker's report."""
        worker = self._workers.setdefault(name, _Worker())
        if worker.reports and worker.reports[-1].generation != report.generation:
            worker.reports.clear()
        worker.reports.append(report)
        first, last = worker.reports[0], worker.reports[-1]
        if worker.shards and last.steps > first.steps and len(worker.reports) == _WINDOW:
            a_step = (last.seconds - first.seconds) / (last.steps - first.steps)
            worker.cost = max(1e-9, a_step / worker.shards)

    def begin(self, members: Sequence[str], counts: Sequence[int]) -> None:
        """Note who owns how many shards in the generation that begins."""
        now = self._clock()
        self._workers = {name: self._workers.get(name, _Worker()) for name in members}
        for name, count in zip(members, counts, strict=True):
            worker = self._workers[name]
            if worker.shards and not count:
                worker.idle_since = now
            elif count and worker.shards == 0 and worker.idle_since:
                # Slow again, it will have to wait longer for the next trial.
                worker.penalty *= 2
            worker.shards = count
            worker.reports.clear()
        self._changed = now

    def counts(self, members: Sequence[str], shards: int) -> list[int]:
        """Return how many shards each member should own, by what is known of their costs."""
        costs = self._costs(members)
        even = [stop - start for start, stop in even_ranges(shards, len(costs))]
        best = cheapest_counts(shards, costs)
        gains = self._slowest(best, costs) < self._slowest(even, costs) * _GAIN
        return best if gains else even

    def _costs(self, members: Sequence[str]) -> list[float]:
        """Return the members' costs; one that is not known is taken for the middle one."""
        workers = [self._workers.get(name, _Worker()) for name in members]
        known = sorted(w.cost for w in workers if w.cost is not None)
        usual = known[len(known) // 2] if known else 1.0
        return [usual if w.cost is None else w.cost for w in workers]

    @staticmethod
    def _slowest(counts: Sequence[int], costs: Sequence[float]) -> float:
        return max(count * cost for count, cost in zip(counts, costs, strict=True))

    def is_due(self, members: Sequence[str], shards: int) -> bool:
        """Tell whether the present members should form a generation with other ranges."""
        now = self._clock()
        if len(members) < 2 or now - self._changed < _PAUSE:
            return False
        workers = [self._workers.setdefault(name, _Worker()) for name in members]
        for worker in workers:
            if not worker.shards and worker.cost and now - worker.idle_since > worker.penalty:
                # It may be as fast as the others by now; only a trial can tell.
                worker.cost = None
                return True
        busy = [w for w in workers if w.shards]
        if any(w.cost is None or len(w.reports) < _WINDOW for w in busy):
            return False
        present = max(w.shards * (w.cost or 0.0) for w in busy)
        costs = self._costs(members)
        return self._slowest(self.counts(members, shards), costs) < present * _GAIN
