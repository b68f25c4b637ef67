"""The seam between the training loop and what runs its steps, and the strategy of one process.

The loop asks a `Strategy` for a `Run` over data and drives it; it never calls a compiled function
by itself. Another strategy may run the same steps elsewhere: those are in `distribution`, which
this package does not import.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .. import backend as K
from ..data import LazyRun


@dataclass(frozen=True)
class Program:
    """A compiled step.

    Attributes:
        function: the backend's function.
        scalars: how many of its outputs, the first ones, are scalars that are averaged.
        collect: outputs that are kept whole, in the order of the samples.
        training: whether it runs in the training phase.
    """

    function: Any
    scalars: int = 0
    collect: tuple[int, ...] = ()
    training: bool = False

    @property
    def dtypes(self) -> list[str]:
        """The type of each input."""
        return [x.dtype for x in self.function.inputs]


class Run(Protocol):
    """One pass over data; the core's `Loop` is one.

    It may have `watch(index)` as well, after which `run` ends behind a step whose scalar `index` is
    not finite; a pass that has not is run step by step where that matters. A pass of training has
    `sums()`, each scalar's sum over the samples so far, and `resume(steps_done, sums)`, which puts
    it before a step with the sums over those before.
    """

    @property
    def steps(self) -> int:
        """The number of batches."""

    @property
    def steps_done(self) -> int:
        """How many batches have run."""

    @property
    def samples_done(self) -> int:
        """How many samples they held."""

    def run(self, max_steps: int | None = None, max_seconds: float | None = None) -> int:
        """Run steps until all are done or a limit is reached; return how many ran."""

    def means(self) -> list[float]:
        """Return the mean of each scalar so far, weighted by the batches' samples."""

    def last(self) -> list[float]:
        """Return each scalar of the latest batch."""

    def collected(self) -> list[np.ndarray]:
        """Return the outputs that are kept."""


class Strategy(Protocol):
    """Where steps run.

    Attributes:
        sharded: whether training programs are those of `engine.sharded`.
        synchronized: whether all statistics of a batch in these are the whole batch's; without
            the attribute they are each shard's.
    """

    sharded: bool

    def start(
        self,
        program: Program,
        arrays: Sequence[Any],
        batch_size: int,
        order: np.ndarray | None = None,
    ) -> Run:
        """Prepare a pass over arrays (or HDF5 datasets), the samples in `order`."""

    def step(self, program: Program, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Run one batch and return all outputs."""

    def get_state(self, model: Any) -> dict[str, list[np.ndarray]]:
        """Return the weights of a model and of its optimizer."""

    def set_state(self, model: Any, state: dict[str, list[np.ndarray]]) -> None:
        """Give a model and its optimizer weights that `get_state` returned."""

    def fetch(self) -> None:
        """Bring the variables of this process up to date with what steps elsewhere have made."""

    def fitting(self) -> AbstractContextManager[Any]:
        """Inside the block, a model is being fitted; behind it, its variables are up to date."""

    def step_samples(self, samples: int) -> int:
        """Return how many samples the latest `step` had where this process gave so many."""

    def sum_over_members(self, sums: np.ndarray) -> np.ndarray:
        """Return the sums over all processes that evaluate batches of their own."""


def in_memory(arrays: Sequence[Any], dtypes: Sequence[str]) -> bool:
    """Tell whether all data are arrays of the very types that the core takes."""
    pairs = zip(arrays, dtypes, strict=True)
    return all(isinstance(x, np.ndarray) and x.dtype == dtype for x, dtype in pairs)


class LocalStrategy:
    """Steps run in this process, on its threads."""

    sharded = False

    def start(
        self,
        program: Program,
        arrays: Sequence[Any],
        batch_size: int,
        order: np.ndarray | None = None,
    ) -> Run:
        """Prepare a pass over arrays (see `Strategy.start`)."""
        core = program.function.core
        if not in_memory(arrays, program.dtypes):
            return LazyRun(
                core,
                arrays,
                program.dtypes,
                program.scalars,
                batch_size,
                order,
                program.collect,
                program.training,
            )
        return K.Loop(core, arrays, batch_size, order, program.collect, program.training)

    def step(self, program: Program, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Run one batch and return all outputs."""
        return program.function.core(arrays, program.training)

    def get_state(self, model: Any) -> dict[str, list[np.ndarray]]:
        """Return the weights of a model and of its optimizer."""
        optimizer = getattr(model, "optimizer", None)
        return {
            "weights": model.get_weights(),
            "optimizer": optimizer.get_weights() if optimizer is not None else [],
        }

    def set_state(self, model: Any, state: dict[str, list[np.ndarray]]) -> None:
        """Give a model and its optimizer weights that `get_state` returned."""
        model.set_weights(state["weights"])
        if state["optimizer"]:
            model.optimizer.set_weights(state["optimizer"])

    def fetch(self) -> None:
        """Do nothing: steps run here."""

    def fitting(self) -> AbstractContextManager[Any]:
        """Do nothing (see `Strategy.fitting`)."""
        return nullcontext()

    def step_samples(self, samples: int) -> int:
        """Return the samples of the latest step: all are given here."""
        return samples

    def sum_over_members(self, sums: np.ndarray) -> np.ndarray:
        """Return the sums: they are those of all batches."""
        return sums


class Distribution(Protocol):
    """What a user says about where steps run; `distribution.DataParallel` is one."""

    def strategy(self) -> Strategy:
        """Return the strategy, with whatever it needs started."""


_LOCAL = LocalStrategy()
_strategy: Strategy | None = None
_distribution: Distribution | None = None


def get_strategy() -> Strategy:
    """Return the strategy that models run their steps by."""
    if _strategy is not None:
        return _strategy
    distribution = get_distribution()
    return _LOCAL if distribution is None else distribution.strategy()


def set_strategy(strategy: Strategy | None) -> None:
    """Choose the strategy; None leaves the choice to the distribution."""
    global _strategy
    _strategy = strategy


def get_distribution() -> Distribution | None:
    """Return how steps are distributed; None when they run in this process."""
    return _distribution


def set_distribution(distribution: Distribution | None) -> None:
    """Choose how all models' steps are distributed from now on; None to run them here."""
    global _distribution
    _distribution = distribution


@contextmanager
def fitting_on(distribution: Distribution | None) -> Iterator[Strategy]:
    """Inside the block, a model is fitted on a distribution; None is the one that was set."""
    global _strategy
    before = _strategy
    if distribution is not None:
        _strategy = distribution.strategy()
    try:
        strategy = get_strategy()
        with strategy.fitting():
            yield strategy
    finally:
        _strategy = before
