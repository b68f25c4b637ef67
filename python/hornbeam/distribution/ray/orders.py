"""What driver, workers and coordinator say to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Change:
    """Values that variables are given between two steps of an order.

    Attributes:
        before: the step before which they are given.
        values: the values, by the variables' numbers.
    """

    before: int
    values: dict[int, Any]


@dataclass(frozen=True)
class Place:
    """How far a pass of training has come.

    Attributes:
        steps_done: steps that have been applied.
        samples_done: samples in them.
        sums: each scalar's sum over those samples.
        last: the scalars of the latest step.
    """

    steps_done: int
    samples_done: int
    sums: list[float]
    last: list[float]


@dataclass
class Order:
    """Something that every worker does, one after the other by number.

    Attributes:
        number: its place among the orders, from 1.
        values: references to values that variables are given first, by number; None for none.
        complete: whether those are all variables, so that a worker without a state can begin here.
        program: number of the program to train with; None for an order that only gives values.
        arrays: references to the arrays, or files that hold them.
        batch_size: samples in a batch.
        samples: reference to the order of the samples, None for their own.
        first_step: the number of the pass' first step over all passes.
        begin: where in the pass it begins; None for an order that only gives values.
        allowed: how many of the pass' steps may be run before the driver allows more; None for all.
        changes: what variables are given between two steps.
        steps: the step of the pass that it ends at, if that is not the pass' end.
    """

    number: int
    values: Any = None
    complete: bool = False
    program: int | None = None
    arrays: list[Any] = field(default_factory=list)
    batch_size: int = 1
    samples: Any = None
    first_step: int = 0
    begin: Place | None = None
    allowed: int | None = None
    changes: tuple[Change, ...] = ()
    steps: int | None = None


@dataclass
class Progress:
    """How far a worker is.

    Attributes:
        order: number of the order that it is at.
        finished: whether it has done with it.
        place: how far its pass has come; None for an order that only gives values.
        error: the error that ended it, or None.
        generation: number of the present generation.
    """

    order: int = 0
    finished: bool = True
    place: Place | None = None
    error: Any = None
    generation: int = 0

    @property
    def steps_done(self) -> int:
        """Steps of the pass that have been applied."""
        return 0 if self.place is None else self.place.steps_done


@dataclass(frozen=True)
class Settings:
    """What a worker is told when it starts.

    Attributes:
        job: the job's name.
        token: proves that a process belongs to the job.
        shards: number of logical shards.
        threads: threads that it computes with.
        silence: seconds without a sign of life after which a worker is given up.
        formation: seconds that forming a group may take.
        lease: seconds for which a worker may go on without hearing from the coordinator.
        check_kernels: whether workers whose kernels differ are refused.
    """

    job: str
    token: bytes
    shards: int
    threads: int
    silence: float = 1.5
    formation: float = 5.0
    lease: float = 20.0
    check_kernels: bool = True

    def timeouts(self) -> dict[str, float]:
        """Return the deadlines of the group."""
        heartbeat = min(0.25, self.silence / 4)
        return {"silence": self.silence, "heartbeat": heartbeat, "formation": self.formation}


@dataclass(frozen=True)
class Task:
    """Batches that one worker evaluates or predicts.

    Attributes:
        after: the order whose weights are used.
        program: number of the program.
        arrays: references to the arrays, or files that hold them.
        batch_size: samples in a batch.
        samples: reference to the order of the samples, None for their own.
        first: the first batch.
        stop: the batch to stop before.
        count: samples in all.
    """

    after: int
    program: int
    arrays: list[Any]
    batch_size: int
    samples: Any
    first: int
    stop: int
    count: int
