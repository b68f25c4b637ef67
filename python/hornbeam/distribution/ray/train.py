"""The front to Ray Train: a trainer whose workers form a group before the train function runs.

Ray Train places, starts, watches and restarts the workers, and keeps their reports and checkpoints.
Its controller tells them each other's addresses; the tensors travel over their own connections.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import ray
import ray.train
from ray.train.backend import Backend, BackendConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from ... import backend as K
from ...engine.strategy import set_strategy
from ..membership import Membership, default_shards
from . import reporting
from .member import MemberStrategy
from .worker import ports


@dataclass
class HornbeamConfig(BackendConfig):
    """How the workers of a `HornbeamTrainer` form their group.

    Attributes:
        shards: number of logical shards that a batch is cut into, a power of two; by default the
            smallest that gives each of the most workers one. Weights have the same bits for any
            number of workers with the same number of shards.
        own_batches: whether batches that come one by one (generators, `RayData`,
            `train_on_batch`) are each worker's own part of a larger batch. If not, all workers have
            to give the same batches, which are then shared out as arrays are.
        synchronized: whether batch normalisation uses statistics of the whole batch instead of each
            shard's (see `DataParallel`).
        silence: seconds after which a worker that shows no sign of life is given up.
        check_kernels: whether workers whose CPUs compute other bits are refused.
    """

    shards: int | None = None
    own_batches: bool = True
    synchronized: bool = False
    silence: float = 5.0
    check_kernels: bool = True

    def __post_init__(self) -> None:
        if self.shards is not None and (self.shards < 1 or self.shards & (self.shards - 1)):
            raise ValueError(f"shards must be a power of two, got {self.shards}")

    @property
    def backend_cls(self) -> type[Backend]:
        """The class that sets the workers up."""
        return HornbeamBackend

    @property
    def train_func_context(self) -> Callable[[], Any]:
        """The context that the train function runs in."""
        return in_group

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, for Ray's dashboard."""
        return asdict(self)


@dataclass(frozen=True)
class Seat:
    """What a worker needs to join its group.

    Attributes:
        job: name of the group.
        addresses: the workers' addresses, by rank.
        shards: number of logical shards.
        seed: seed of NumPy's generator, the same on all workers.
        config: the settings.
    """

    job: str
    addresses: tuple[str, ...]
    shards: int
    seed: int
    config: HornbeamConfig


class HornbeamBackend(Backend):
    """Has the workers listen, and tells each where the others do."""

    def on_training_start(self, worker_group: Any, backend_config: Any) -> None:
        """Set the workers up; they form the group when their train functions begin."""
        workers = len(worker_group)
        token = secrets.token_bytes(32)
        addresses = dict(worker_group.execute(_listen, token))
        shards = backend_config.shards or default_shards(workers)
        seat = Seat(
            secrets.token_hex(8),
            tuple(addresses[rank] for rank in range(workers)),
            shards,
            secrets.randbits(32),
            backend_config,
        )
        worker_group.execute(_take_seat, seat)


# What the process' next train function joins; Ray Train starts a process for each.
_listener: K.Listener | None = None
_seat: Seat | None = None


def _listen(token: bytes) -> tuple[int, str]:
    global _listener
    _listener = K.Listener(ray.util.get_node_ip_address(), ports(), token)
    return ray.train.get_context().get_world_rank(), _listener.address


def _take_seat(seat: Seat) -> None:
    global _seat
    _seat = seat


@contextlib.contextmanager
def in_group() -> Iterator[None]:
    """Inside the block, this worker of Ray Train belongs to its group, and `fit` runs in it."""
    global _listener, _seat
    listener, seat = _listener, _seat
    _listener = _seat = None
    if listener is None or seat is None:
        # Ray Train's local mode: one process, no group.
        yield
        return
    reporting.remember_start()
    rank = seat.addresses.index(listener.address)
    membership = Membership.even(1, rank, seat.addresses, seat.shards)
    silence = seat.config.silence
    group = K.Group.connect(
        listener,
        seat.job,
        rank,
        membership.members(),
        refuse_mismatch=seat.config.check_kernels,
        timeouts={"silence": silence, "heartbeat": min(0.25, silence / 4), "formation": 60.0},
    )
    np.random.seed(seat.seed)
    set_strategy(MemberStrategy(group, seat.config.own_batches, seat.config.synchronized))
    try:
        yield
    finally:
        set_strategy(None)
        group.close()


class HornbeamTrainer(DataParallelTrainer):
    """Runs a train function on the workers of Ray Train, where `fit` is data-parallel.

    `ScalingConfig`, `RunConfig`, `FailureConfig`, `ray.train.report`, checkpoints, datasets and
    Ray Tune work as for Ray Train's other trainers. All workers make the same calls of `fit`,
    `evaluate` and `predict`. Arrays are the same on all of them and are shared out, so that
    `batch_size` is that of the whole batch; batches that come one by one are each worker's own.

    Args:
        train_loop_per_worker: the train function, of no argument or of `train_loop_config`.
        train_loop_config: what it is called with.
        hornbeam_config: how the workers form their group.
        scaling_config: number of workers, and what each needs; with CPUs as many threads.
        run_config: name, storage, failures, checkpoints to keep.
        datasets: datasets of Ray Data, for `ray.train.get_dataset_shard`.
        dataset_config: which of them are split.
        **kwargs: further arguments of Ray Train's `DataParallelTrainer`.

    Example:
        ```python
        def train(config):
            model = build_model()
            model.fit(x, y, epochs=10, callbacks=[ReportCheckpointCallback()])

        HornbeamTrainer(train, scaling_config=ray.train.ScalingConfig(num_workers=2)).fit()
        ```
    """

    def __init__(
        self,
        train_loop_per_worker: Callable[..., Any],
        *,
        train_loop_config: dict[str, Any] | None = None,
        hornbeam_config: HornbeamConfig | None = None,
        scaling_config: Any = None,
        run_config: Any = None,
        datasets: dict[str, Any] | None = None,
        dataset_config: Any = None,
        **kwargs: Any,
    ) -> None:
        config = hornbeam_config or HornbeamConfig()
        if config.shards is None and scaling_config is not None:
            # A group that comes back with fewer workers cuts its batches as before.
            workers = scaling_config.num_workers
            most = max(workers) if isinstance(workers, (tuple, list)) else workers
            config = HornbeamConfig(**{**asdict(config), "shards": default_shards(max(1, most))})
        super().__init__(
            train_loop_per_worker,
            train_loop_config=train_loop_config,
            backend_config=config,
            scaling_config=scaling_config,
            run_config=run_config,
            datasets=datasets,
            dataset_config=dataset_config,
            **kwargs,
        )
