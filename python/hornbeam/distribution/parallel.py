"""What a user says about distribution: how many workers, and where."""

from __future__ import annotations

import os
import weakref
from typing import Any

from ..engine.strategy import Strategy, set_distribution
from .membership import default_shards

_ENVIRONMENT = "HORNBEAM_WORKERS"


class DataParallel:
    """Training on several workers, each with a copy of the model and a part of every batch.

    A batch is cut into logical shards, whose number does not depend on how many workers there are:
    weights and history have the same bits on 1, 2 or 8 workers, and whatever happens to workers on
    the way.

    Args:
        workers: number of workers. A pair (least, most) is elastic: training begins with the least,
            grows when the cluster has room, and goes on with what is left down to the least.
        cpus_per_worker: CPUs, and threads, of each; by default 1.
        shards: number of logical shards, a power of two; by default the smallest that gives each
            of the most workers one.
        address: the Ray cluster's address, 'auto' for the one that was started on this machine; by
            default the one that `ray.init` has connected to, that of the environment variable
            RAY_ADDRESS, or a cluster of its own that is started here.
        placement: 'PACK' workers on few nodes or 'SPREAD' them (or Ray's 'STRICT_...').
        synchronized: whether batch normalisation uses mean and variance of the whole batch instead
            of each shard's, going forward and back: training then is that of one process but for
            rounding. Each such layer costs two small sums over the workers in a step (three where
            channels times shards are more than 8192), for which all have to wait. By
            default layers made with `BatchNormalization(synchronized=True)` do so.
        start_timeout: seconds to wait for enough workers, at the start and after losses.
        silence: seconds after which a worker that shows no sign of life is given up.
        check_kernels: whether workers whose CPUs compute other bits are refused.

    Raises:
        ValueError: when the numbers make no sense.
    """

    def __init__(
        self,
        workers: int | tuple[int, int] = 2,
        cpus_per_worker: int | None = None,
        shards: int | None = None,
        address: str | None = None,
        placement: str = "PACK",
        synchronized: bool = False,
        start_timeout: float = 60.0,
        silence: float = 1.5,
        check_kernels: bool = True,
    ) -> None:
        pair = workers if isinstance(workers, (tuple, list)) else (1, workers)
        if len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair):
            raise ValueError(
                f"workers must be a positive integer or a pair of them, got {workers!r}"
            )
        if pair[0] > pair[1]:
            raise ValueError(f"workers={workers!r}: the least is more than the most")
        if cpus_per_worker is not None and cpus_per_worker < 1:
            raise ValueError(f"cpus_per_worker must be at least 1, got {cpus_per_worker}")
        if shards is not None and (shards < 1 or shards & (shards - 1)):
            raise ValueError(f"shards must be a power of two, got {shards}")
        self.minimum, self.maximum = pair
        self.initial = self.minimum if isinstance(workers, (tuple, list)) else self.maximum
        self._fixed = not isinstance(workers, (tuple, list))
        self.cpus_per_worker = cpus_per_worker
        self.shards = shards
        self.synchronized = synchronized
        self.address = address
        self.placement = placement
        self.start_timeout = start_timeout
        self.silence = silence
        self.check_kernels = check_kernels
        self._strategy: Any = None
        self._finalizer: Any = None

    def __repr__(self) -> str:
        workers = self.maximum if self._fixed else (self.minimum, self.maximum)
        return f"DataParallel(workers={workers}, shards={self.logical_shards})"

    @property
    def logical_shards(self) -> int:
        """The number of shards that a batch is cut into."""
        return self.shards or default_shards(self.maximum)

    def threads(self) -> int:
        """Return the number of threads, and CPUs, of a worker."""
        return self.cpus_per_worker or 1

    def strategy(self) -> Strategy:
        """Return the strategy that runs steps on the workers, which are started if there are none.

        Raises:
            ImportError: when Ray is not installed.
        """
        if self._strategy is None:
            try:
                import ray  # noqa: F401
            except ImportError as error:
                raise ImportError(
                    "Training on several workers needs Ray: pip install 'hornbeam[ray]'"
                ) from error
            from .ray import Crew, RayStrategy

            crew = Crew(self)
            self._strategy = RayStrategy(crew)
            self._finalizer = weakref.finalize(self, crew.close)
        return self._strategy

    def close(self) -> None:
        """End the workers; they are started again when they are needed."""
        if self._finalizer is not None:
            self._finalizer()
        self._strategy = self._finalizer = None

    def __enter__(self) -> DataParallel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def generations(self) -> list[dict[str, Any]]:
        """Return the groups that workers have formed so far: members, who joined, who was lost."""
        return self.strategy().crew.generations()  # type: ignore[attr-defined]


def from_environment() -> DataParallel | None:
    """Return the distribution that the environment variable HORNBEAM_WORKERS asks for.

    Its value is a number, or two as in '2-8' for elastic training; 0 is none.

    Raises:
        ValueError: when it is neither.
    """
    given = os.environ.get(_ENVIRONMENT, "").strip()
    if given in ("", "0"):
        return None
    try:
        numbers = [int(part) for part in given.split("-")]
        if len(numbers) == 1:
            return DataParallel(numbers[0])
        least, most = numbers
        return DataParallel((least, most))
    except ValueError as error:
        raise ValueError(
            f"{_ENVIRONMENT}={given!r}: expected a number as 4, or the least and the most as 2-8"
        ) from error


class _Refused:
    """A distribution that makes no sense: whoever needs it is told."""

    def __init__(self, error: ValueError) -> None:
        self._error = error

    def strategy(self) -> Strategy:
        raise self._error


def take_environment() -> None:
    """Distribute as HORNBEAM_WORKERS says; what is wrong with it the first step tells."""
    try:
        set_distribution(from_environment())
    except ValueError as error:
        set_distribution(_Refused(error))
