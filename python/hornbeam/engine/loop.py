"""The loops over epochs and batches.

They talk to callbacks, draw the order of the samples and drive the runs of a strategy. Where no
callback has to be told of every batch, a run goes on inside the core for as long as nothing has to
be shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .strategy import Program, Strategy, get_strategy

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


@dataclass
class FitPosition:
    """Where a `fit` stands. Callbacks that have `set_position` get it, and may set it back.

    Attributes:
        epoch: the epoch that is under way or comes next.
        batch: how many batches of it have run.
        sums: each scalar's sum over the samples of those batches.
        order: the order of the samples; None for their own, and for streams.
        batch_size: samples in a batch; None for streams, which begin with whole epochs only.
        program: the training step.
        callbacks: all callbacks of the run.
        stopped: whether training ends before its last epoch.
        run: the pass that is under way.
    """

    epoch: int
    program: Program
    callbacks: Sequence[Any]
    batch: int = 0
    sums: list[float] = field(default_factory=list)
    order: np.ndarray | None = None
    batch_size: int | None = None
    stopped: bool = False
    run: Any = None

    def follow(self) -> None:
        """Take over how far the pass has come."""
        self.batch, self.sums = self.run.steps_done, self.run.sums()


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
) -> tuple[Any, Any]:
    """Return the callbacks of a run, the history and the progress bar among them, and the history.

    Args:
        model: the model in training; its `history` is set.
        callbacks: the user's callbacks.
        verbose: whether progress is shown.
        params: the settings of the run.
        count_mode: 'samples' or 'steps'.
        validation_data: the user's validation arrays.
    """
    from ..callbacks import BaseLogger, CallbackList, History, ProgbarLogger

    given = _given_callbacks(callbacks)
    # Of several runs at once, in threads, each has its own.
    history = model.history = History()
    for make in _added:
        given += make()
    shown = [ProgbarLogger(count_mode)] if verbose else []
    every = [BaseLogger(), *given, *shown, history]
    result = CallbackList(sorted(every, key=lambda c: getattr(c, "runs_last", False)))
    for callback in result:
        callback.validation_data = validation_data
    result.set_model(getattr(model, "callback_model", None) or model)
    if not shows_progress():
        params = {**params, "verbose": 0}
    result.set_params(params)
    model.stop_training = False
    return result, history


def shows_progress() -> bool:
    """Tell whether this process shows progress; of a group, one shows what is the same in all."""
    return getattr(get_strategy(), "shows_progress", True)


def _given_callbacks(callbacks: Any) -> list[Any]:
    """Return the user's callbacks as a list; one alone may come without it."""
    if callbacks is None:
        return []
    given = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
    for callback in given:
        if not hasattr(callback, "set_model") or isinstance(callback, type):
            raise TypeError(
                "`callbacks` must be a list of Callback objects, such as [EarlyStopping()]; "
                f"it holds {callback!r}"
            )
    return given


def fit_loop(plan: FitPlan, callbacks: Any) -> None:
    """Run the epochs of `fit`."""
    strategy = get_strategy()
    position = FitPosition(
        plan.initial_epoch,
        plan.program,
        list(callbacks),
        order=_first_order(plan),
        batch_size=plan.batch_size,
    )
    every_batch = callbacks.needs_batch_hooks()
    callbacks.set_position(position)
    callbacks.on_train_begin()
    while position.epoch < plan.epochs and not position.stopped:
        epoch = position.epoch
        callbacks.on_epoch_begin(epoch)
        if position.batch == 0:
            position.order = _shuffled(position.order, plan)
            position.sums = [0.0] * len(plan.names)
        run = _start(strategy, plan, position)
        watched = callbacks.watches_loss()
        if every_batch or (watched and not hasattr(run, "watch")):
            _run_with_hooks(run, plan, position, callbacks)
        else:
            _run_at_once(run, plan, position, callbacks, watched)
        logs = dict(zip(plan.names, run.means(), strict=True))
        if run.steps_done == run.steps or not plan.model.stop_training:
            logs = finish_epoch(logs, plan.validate)
        position.epoch, position.batch = epoch + 1, 0
        callbacks.on_epoch_end(epoch, logs)
        if plan.model.stop_training:
            break
    strategy.fetch()
    callbacks.on_train_end()


def _start(strategy: Strategy, plan: FitPlan, position: FitPosition) -> Any:
    """Prepare the pass over an epoch's samples, of which the first batches may have run before."""
    data = plan.data
    run: Any = strategy.start(plan.program, data.arrays, plan.batch_size, position.order)
    if position.batch:
        run.resume(position.batch, position.sums)
    position.run = run
    return run


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


def _run_at_once(
    run: Any, plan: FitPlan, position: FitPosition, callbacks: Any, watched: bool
) -> None:
    """Run an epoch, or what is left of it, as one; stop where a callback has something due."""
    loss = plan.names.index("loss")
    if watched:
        run.watch(loss)
    while True:
        due = callbacks.next_due(position.batch)
        limit = None if due is None else max(1, due - position.batch)
        ran = run.run(max_steps=limit, max_seconds=INTERVAL)
        position.follow()
        if watched and ran and not np.isfinite(run.last()[loss]):
            _report_bad_loss(plan, position, callbacks)
            if plan.model.stop_training:
                return
        if run.steps_done == run.steps:
            return
        means = dict(zip(plan.names, run.means(), strict=True))
        callbacks.progress(run.samples_done, means)


def _report_bad_loss(plan: FitPlan, position: FitPosition, callbacks: Any) -> None:
    """Tell the callbacks that watch the loss of the latest batch what a batch's end is told."""
    batch = position.batch - 1
    size = min(plan.batch_size, plan.data.samples - batch * plan.batch_size)
    logs: dict[str, Any] = {"batch": batch, "size": size}
    logs.update(zip(plan.names, position.run.last(), strict=True))
    callbacks.on_bad_loss(batch, logs)


def _run_with_hooks(run: Any, plan: FitPlan, position: FitPosition, callbacks: Any) -> None:
    while run.steps_done < run.steps:
        batch = position.batch
        size = min(plan.batch_size, plan.data.samples - batch * plan.batch_size)
        logs: dict[str, Any] = {"batch": batch, "size": size}
        callbacks.on_batch_begin(batch, logs)
        run.run(max_steps=1)
        logs.update(zip(plan.names, run.last(), strict=True))
        position.follow()
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
