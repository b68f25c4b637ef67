"""The base class of callbacks, and the list that the training loop talks to.

The contract with the loop: `set_params`, `set_model`, `on_train_begin`; for each epoch
`on_epoch_begin(epoch)`, then either `on_batch_begin` / `on_batch_end` for each batch (when
`needs_batch_hooks()` says so) or `progress(seen, means)` now and then, and
`on_epoch_end(epoch, logs)` with the epoch's means; at last `on_train_end`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..utils.logs import Logs
from ..utils.user_warnings import warn

_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
# A warning about slow callbacks needs this many seconds a batch (and most of the batch's time).
_SLOW = 0.1


class Callback:
    """Something that is told of each stage of training.

    Attributes:
        params: the settings of the run: 'epochs', 'steps', 'samples', 'batch_size', 'verbose',
            'do_validation' and 'metrics', the names of the quantities in `logs`.
        model: the model in training. Setting `model.stop_training` ends it after the epoch.
        validation_data: the user's validation arrays `[x, y, sample_weights]`, or None.
        runs_last: whether its hooks run after those of callbacks that have not set this.
        watches_loss: whether `on_batch_end` is wanted for a batch whose loss is not finite, though
            for no other.

    The `logs` of a batch hold 'batch', 'size' and the batch's metrics; those of an epoch hold the
    epoch's means, validation included under 'val_...'.
    """

    validation_data: Any = None
    runs_last = False
    watches_loss = False
    params: dict[str, Any]
    model: Any

    def __init__(self) -> None:
        self.validation_data = None

    def set_params(self, params: dict[str, Any]) -> None:
        """Take the settings of the run."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Take the model in training."""
        self.model = model

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Run before the first epoch."""

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Run after the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Run before an epoch; `epoch` counts from 0."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Run after an epoch; `logs` holds its means."""

    def on_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Run before a batch; overriding it makes training enter Python for each batch."""

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Run after a batch; overriding it makes training enter Python for each batch."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Do as `on_batch_begin`: its name in later Keras versions."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Do as `on_batch_end`: its name in later Keras versions."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Run before an evaluation."""

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Run after an evaluation."""

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Run before a prediction."""

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """Run after a prediction."""

    def uses_batch_hooks(self) -> bool:
        """Tell whether this callback has to be told of every batch."""
        return any(_overrides(self, hook) for hook in _BATCH_HOOKS)

    def next_due(self, batch: int) -> int | None:
        """Tell where an epoch that runs without batch hooks has to stop for this callback.

        `progress` is then called with the epoch standing still there. At the epoch's end there is
        `on_epoch_end` alone.

        Args:
            batch: how many batches of the epoch have run.

        Returns:
            The number of batches after which it stops next, more than `batch`; None for nowhere.
        """
        return None


# Batch hooks that the loop does the work of. Built-in loggers add theirs, see `fed_by_loop`.
_PASSIVE = {getattr(Callback, hook) for hook in _BATCH_HOOKS}


def fed_by_loop(hook: Any) -> Any:
    """Mark a batch hook as needless for what the loop sees to by itself.

    It hands over running means (`progress`), and watches the loss where that is asked for.
    """
    _PASSIVE.add(hook)
    return hook


def _overrides(callback: Any, hook: str) -> bool:
    method = getattr(callback, hook, None)
    if method is None:
        return False
    return getattr(method, "__func__", method) not in _PASSIVE


class CallbackList:
    """The callbacks of one run, called one after the other in their order.

    They share the `logs` of each call: what one adds, the next ones and the caller find in it.
    """

    def __init__(self, callbacks: Iterable[Any] | None = None, queue_length: int = 10) -> None:
        """Take the callbacks.

        Args:
            callbacks: `Callback` objects, or any with the same methods.
            queue_length: how many batches the warning about slow callbacks looks back.
        """
        self.callbacks = list(callbacks or [])
        self.queue_length = queue_length
        self._entered: float | None = None
        self._reset_timers()

    def append(self, callback: Any) -> None:
        """Add a callback at the end."""
        self.callbacks.append(callback)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.callbacks)

    def __len__(self) -> int:
        return len(self.callbacks)

    def set_params(self, params: dict[str, Any]) -> None:
        """Hand the settings of the run to each callback."""
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model: Any) -> None:
        """Hand the model to each callback."""
        for callback in self.callbacks:
            callback.set_model(model)

    def set_position(self, position: Any) -> None:
        """Hand where the run stands to the callbacks that want to know, or to set it."""
        for callback in self.callbacks:
            if hasattr(callback, "set_position"):
                callback.set_position(position)

    def needs_batch_hooks(self) -> bool:
        """Tell whether any callback must be told of every batch.

        When none must, the loop may run many batches without entering Python and report by
        `progress` and `on_epoch_end`; the built-in loggers then show and record the same.
        """
        return any(
            callback.uses_batch_hooks()
            if isinstance(callback, Callback)
            else any(_overrides(callback, hook) for hook in _BATCH_HOOKS)
            for callback in self.callbacks
        )

    def watches_loss(self) -> bool:
        """Tell whether any callback must be told of a batch whose loss is not finite."""
        return any(getattr(callback, "watches_loss", False) for callback in self.callbacks)

    def next_due(self, batch: int) -> int | None:
        """Tell after how many batches of the epoch the first callback has something due."""
        asked = [c.next_due(batch) for c in self.callbacks if hasattr(c, "next_due")]
        return min((due for due in asked if due is not None), default=None)

    def on_bad_loss(self, batch: int, logs: dict[str, Any]) -> None:
        """Tell the callbacks that watch the loss of a batch whose loss is not finite."""
        for callback in self.callbacks:
            if getattr(callback, "watches_loss", False):
                callback.on_batch_end(batch, logs)

    def progress(self, seen: int, values: Mapping[str, Any]) -> None:
        """Report how far the epoch is, instead of the batch hooks.

        Args:
            seen: samples (or steps, as the progress bar counts) done in this epoch.
            values: name -> mean over the epoch so far.
        """
        for callback in self.callbacks:
            if hasattr(callback, "progress"):
                callback.progress(seen, values)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Tell each callback that training begins."""
        self._call("on_train_begin", (), logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Tell each callback that training is over."""
        self._call("on_train_end", (), logs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell each callback that an epoch begins."""
        self._call("on_epoch_begin", (epoch,), logs)
        self._reset_timers()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell each callback that an epoch is over, with its means."""
        self._call("on_epoch_end", (epoch,), logs)

    def on_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell each callback that a batch begins."""
        started = time.perf_counter()
        self._call_batch("begin", batch, logs)
        now = self._entered = time.perf_counter()
        self._warn_if_slow("on_batch_begin", self._begin_times, now - started)

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell each callback that a batch is over, with its metrics."""
        started = time.perf_counter()
        self._batch_time = started - (started if self._entered is None else self._entered)
        self._call_batch("end", batch, logs)
        self._warn_if_slow("on_batch_end", self._end_times, time.perf_counter() - started)

    on_train_batch_begin = on_batch_begin
    on_train_batch_end = on_batch_end

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Tell each callback that an evaluation begins."""
        self._call("on_test_begin", (), logs, optional=True)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Tell each callback that an evaluation is over."""
        self._call("on_test_end", (), logs, optional=True)

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Tell each callback that a prediction begins."""
        self._call("on_predict_begin", (), logs, optional=True)

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """Tell each callback that a prediction is over."""
        self._call("on_predict_end", (), logs, optional=True)

    def _call(
        self, name: str, args: tuple, logs: dict[str, Any] | None, optional: bool = False
    ) -> None:
        shared = as_logs(logs)
        for callback in self.callbacks:
            method = getattr(callback, name, None) if optional else getattr(callback, name)
            if method is not None:
                method(*args, shared)
        _give_back(logs, shared)

    def _call_batch(self, stage: str, batch: int, logs: dict[str, Any] | None) -> None:
        shared = as_logs(logs)
        for callback in self.callbacks:
            method = getattr(callback, f"on_train_batch_{stage}", None)
            if method is None:
                method = getattr(callback, f"on_batch_{stage}")
            method(batch, shared)
        _give_back(logs, shared)

    def _reset_timers(self) -> None:
        self._entered = None
        self._batch_time = 0.0
        self._begin_times: deque[float] = deque(maxlen=self.queue_length)
        self._end_times: deque[float] = deque(maxlen=self.queue_length)

    def _warn_if_slow(self, hook: str, times: deque[float], spent: float) -> None:
        times.append(spent)
        if spent <= _SLOW:  # the common case costs no median
            return
        median = float(np.median(times))
        if self._batch_time > 0 and median > 0.95 * self._batch_time and median > _SLOW:
            warn(
                f"Method {hook}() is slow compared to the batch update ({median:f}). "
                "Check your callbacks."
            )


def as_logs(logs: dict[str, Any] | None) -> Logs:
    """Return `logs` as a dictionary that knows every name of a quantity; itself if it does."""
    return logs if isinstance(logs, Logs) else Logs(logs or {})


def _give_back(given: dict[str, Any] | None, shared: Logs) -> None:
    """Let the caller of a plain dictionary see what the callbacks put into it."""
    if given is not None and given is not shared:
        given.update(shared)
