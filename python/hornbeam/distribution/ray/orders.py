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
        first_step: the number of the first step over all passes.
        allowed: steps that may be run before the driver allows more; None for all.
        changes: what variables are given between two steps.
        steps: the steps that it has, if fewer than its samples make.
    """

    number: int
    values: Any = None
    complete: bool = False
    program: int | None = None
    arrays: list[Any] = field(default_factory=list)
    batch_size: int = 1
    samples: Any = None
    first_step: int = 0
    allowed: int | None = None
    changes: tuple[Change, ...] = ()
    steps: int | None = None


@dataclass
class Progress:
    """How far a worker is.

    Attributes:
        order: number of the order that it is at.
        finished: whether it has done with it.
        steps_done: steps of it that have been applied.
        samples_done: samples in them.
        means: mean of each scalar over those steps.
        last: the scalars of the latest step.
        error: the error that ended it, or None.
        generation: number of the present generation.
    """

    order: int = 0
    finished: bool = True
    steps_done: int = 0
    samples_done: int = 0
    means: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    error: Any = None
    generation: int = 0


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
