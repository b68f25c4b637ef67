"""The loops over epochs and batches.

They talk to callbacks, draw the order of the samples and drive the runs of a strategy. Where no
callback has to be told of every batch, a run goes on inside the core for as long as nothing has to
be shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .strategy import Program, get_strategy

# Seconds between two looks at Python: how soon Ctrl-C works and the progress bar moves.
INTERVAL = 0.05


@dataclass
class Dataset:
    """Arrays of one pass, with the rows that take part.

    Attributes:
        arrays: inputs, targets and weights, in the order of the program's inputs.
        samples: the number of rows, from the first on, that take part.
    """

    arrays: list[Any]
    samples: int

    def is_whole(self) -> bool:
        """Tell whether all rows take part."""
        return len(self.arrays[0]) == self.samples


@dataclass
class FitPlan:
    """What a call of `fit` does.

    Attributes:
        model: the model that callbacks see.
        program: the training step.
        data: the training data.
        names: names of the program's scalars.
        batch_size: samples in a batch.
        epochs: the epoch to stop before.
        initial_epoch: the epoch to begin with.
        shuffle: True, False or 'batch'.
        validate: function that returns the validation's scalars, or None.
    """

    model: Any
    program: Program
    data: Dataset
    names: list[str]
    batch_size: int
    epochs: int
    initial_epoch: int
    shuffle: bool | str
    validate: Callable[[], Sequence[float]] | None


_added: list[Callable[[], Sequence[Any]]] = []


@contextlib.contextmanager
def add_callbacks(make: Callable[[], Sequence[Any]]) -> Iterator[None]:
    """Inside the block, each `fit` has more callbacks, after those that it is given.

    Args:
        make: returns the callbacks of one `fit`; it is called as each of them begins.
    """
    _added.append(make)
    try:
        yield
    finally:
        _added.remove(make)


def prepare_callbacks(
    model: Any,
    callbacks: Any,
    verbose: int,
    params: dict[str, Any],
    count_mode: str,
    validation_data: Any,
) -> Any:
    """Return the list of callbacks of a run, with the history and the progress bar.

    Args:
        model: the model in training; its `history` is set.
        callbacks: the user's callbacks.
        verbose: whether progress is shown.
        params: the settings of the run.
        count_mode: 'samples' or 'steps'.
        validation_data: the user's validation arrays.
    """
    from ..callbacks import BaseLogger, CallbackList, History, ProgbarLogger

    model.history = History()
    given = list(callbacks) if callbacks is not None else []
    for make in _added:
        given += make()
    shown = [ProgbarLogger(count_mode)] if verbose else []
    result = CallbackList([BaseLogger(), *given, *shown, model.history])
    for callback in result:
        callback.validation_data = validation_data
    result.set_model(getattr(model, "callback_model", None) or model)
    result.set_params(params)
    model.stop_training = False
    return result


def fit_loop(plan: FitPlan, callbacks: Any) -> None:
    """Run the epochs of `fit`."""
    strategy = get_strategy()
    order = _first_order(plan)
    every_batch = callbacks.needs_batch_hooks()
    callbacks.on_train_begin()
    for epoch in range(plan.initial_epoch, plan.epochs):
        callbacks.on_epoch_begin(epoch)
        order = _shuffled(order, plan)
        run = strategy.start(plan.program, plan.data.arrays, plan.batch_size, order)
        if every_batch:
            _run_with_hooks(run, plan, callbacks)
        else:
            _run_at_once(run, plan.names, callbacks)
        if run.steps_done == run.steps or not plan.model.stop_training:
            logs = finish_epoch(dict(zip(plan.names, run.means(), strict=True)), plan.validate)
        else:
            logs = dict(zip(plan.names, run.means(), strict=True))
        if callbacks.needs_weights():
            strategy.fetch()
        callbacks.on_epoch_end(epoch, logs)
        if plan.model.stop_training:
            break
    strategy.fetch()
    callbacks.on_train_end()


def finish_epoch(
    logs: dict[str, float], validate: Callable[[], Sequence[float]] | None
) -> dict[str, float]:
    """Return an epoch's logs with the validation's values added."""
    if validate is None:
        return logs
    names = list(logs)
    for name, value in zip(names, validate(), strict=True):
        logs[f"val_{name}"] = value
    return logs


def _first_order(plan: FitPlan) -> np.ndarray | None:
    if plan.shuffle or not plan.data.is_whole():
        return np.arange(plan.data.samples, dtype=np.int64)
    return None


def _shuffled(order: np.ndarray | None, plan: FitPlan) -> np.ndarray | None:
    """Return the order of the next epoch, drawn from NumPy's global state."""
    if order is None or not plan.shuffle:
        return order
    if plan.shuffle == "batch":
        return batch_shuffle(order, plan.batch_size)
    np.random.shuffle(order)
    return order


def batch_shuffle(order: np.ndarray, batch_size: int) -> np.ndarray:
    """Shuffle whole batches, so that each stays a contiguous block; the rest stays at the end."""
    full = len(order) // batch_size * batch_size
    blocks = order[:full].reshape(-1, batch_size)
    np.random.shuffle(blocks)
    return np.append(blocks.ravel(), order[full:])


def _run_at_once(run: Any, names: Sequence[str], callbacks: Any) -> None:
    run.run(max_seconds=INTERVAL)
    while run.steps_done < run.steps:
        callbacks.progress(run.samples_done, dict(zip(names, run.means(), strict=True)))
        run.run(max_seconds=INTERVAL)


def _run_with_hooks(run: Any, plan: FitPlan, callbacks: Any) -> None:
    for batch in range(run.steps):
        before = run.samples_done
        size = min(plan.batch_size, plan.data.samples - before)
        logs: dict[str, Any] = {"batch": batch, "size": size}
        callbacks.on_batch_begin(batch, logs)
        run.run(max_steps=1)
        logs.update(zip(plan.names, run.last(), strict=True))
        if callbacks.needs_weights():
            get_strategy().fetch()
        callbacks.on_batch_end(batch, logs)
        if plan.model.stop_training:
            return


def run_through(
    program: Program, data: Dataset, batch_size: int, verbose: int = 0, order: Any = None
) -> Any:
    """Run a program once over data, with a progress bar on request; return the run."""
    if order is None and not data.is_whole():
        order = np.arange(data.samples, dtype=np.int64)
    run = get_strategy().start(program, data.arrays, batch_size, order)
    if not verbose:
        while run.steps_done < run.steps:
            run.run(max_seconds=INTERVAL)
        return run
    from ..utils.progbar import Progbar

    bar = Progbar(target=data.samples)
    while run.steps_done < run.steps:
        run.run(max_seconds=INTERVAL)
        bar.update(run.samples_done, force=run.steps_done == run.steps)
    return run
