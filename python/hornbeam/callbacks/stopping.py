"""Callbacks that watch a quantity, and stop training or change its learning rate."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..utils.user_warnings import warn
from .base import Callback, fed_by_loop


def monitor_direction(mode: str, monitor: str, what: str) -> str:
    """Return 'min' or 'max': whether a lower or a higher value of a quantity is better.

    Args:
        mode: 'min', 'max', or 'auto' to go by the quantity's name.
        monitor: the quantity; accuracies and F measures are better when higher.
        what: the callback's name, for the warning about an unknown mode.
    """
    if mode not in ("auto", "min", "max"):
        warn(f"{what} mode {mode} is unknown, fallback to auto mode.", RuntimeWarning)
        mode = "auto"
    if mode == "auto":
        higher = "acc" in monitor or monitor.startswith("fmeasure")
        return "max" if higher else "min"
    return mode


def learning_rate_name(optimizer: Any) -> str:
    """Return the attribute of an optimizer that holds its learning rate.

    Raises:
        ValueError: when it has none.
    """
    for name in ("lr", "learning_rate"):
        if hasattr(optimizer, name):
            return name
    raise ValueError(
        f'Optimizer must have a "lr" attribute; {type(optimizer).__name__} has none, '
        "so its learning rate can be neither read nor set."
    )


def get_learning_rate(optimizer: Any) -> float:
    """Return an optimizer's learning rate, held as a plain number or as a variable."""
    rate = getattr(optimizer, learning_rate_name(optimizer))
    if _is_number(rate):
        return float(rate)
    from .. import backend as K

    return float(K.get_value(rate))


def set_learning_rate(optimizer: Any, value: float) -> None:
    """Set an optimizer's learning rate, held as a plain number or as a variable."""
    name = learning_rate_name(optimizer)
    rate = getattr(optimizer, name)
    if _is_number(rate):
        setattr(optimizer, name, float(value))
        return
    from .. import backend as K

    K.set_value(rate, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number, np.ndarray))


class TerminateOnNaN(Callback):
    """Stop training as soon as a batch's loss is not a number, or infinite.

    The core looks at the loss by itself, so that an epoch is as fast as without this.
    """

    watches_loss = True

    @fed_by_loop
    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the batch's loss."""
        loss = (logs or {}).get("loss")
        if loss is not None and not np.all(np.isfinite(loss)):
            print(f"Batch {batch}: Invalid loss, terminating training")
            self.model.stop_training = True


class EarlyStopping(Callback):
    """Stop training when a quantity no longer improves."""

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
    ) -> None:
        """Say what to watch and how long.

        Args:
            monitor: the quantity in the epoch's logs.
            min_delta: how much counts as an improvement: no less than this.
            patience: epochs without improvement that are let pass; the next one stops training.
            verbose: 1 prints a line when training is stopped.
            mode: 'min', 'max' or 'auto' (by the quantity's name).
            baseline: a value that has to be improved on from the beginning.
            restore_best_weights: whether the model gets the weights of its best epoch back at the
                end; otherwise it keeps the last ones.
        """
        super().__init__()
        self.monitor = monitor
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        higher = monitor_direction(mode, monitor, "EarlyStopping") == "max"
        self.monitor_op = np.greater if higher else np.less
        self.min_delta = abs(min_delta) if higher else -abs(min_delta)
        self._reset()

    def _reset(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best_epoch: int | None = None
        self.best_weights: list[np.ndarray] | None = None
        worst = -np.inf if self.monitor_op is np.greater else np.inf
        self.best: Any = worst if self.baseline is None else self.baseline
        self._best_seen: Any = worst

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget an earlier run."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare the epoch's value with the best one."""
        logs = logs or {}
        current = logs.get(self.monitor)
        if current is None:
            warn(
                f"Early stopping requires {self.monitor} available! "
                f"Available are: {', '.join(sorted(logs)) or 'none'}",
                RuntimeWarning,
            )
            return
        if self.restore_best_weights:
            self._keep_weights(epoch, current)
        if self.monitor_op(current - self.min_delta, self.best):
            self.best = current
            self.wait = 0
            return
        # Keras 2.0 compares before it counts: patience epochs may pass, the one after them stops.
        if self.wait >= self.patience:
            self.stopped_epoch = epoch
            self.model.stop_training = True
        self.wait += 1

    def _keep_weights(self, epoch: int, current: Any) -> None:
        # Apart from `best`: below a baseline, too, one epoch is the best of those there were.
        if self.best_weights is None or self.monitor_op(current - self.min_delta, self._best_seen):
            self._best_seen = current
            self.best_epoch = epoch
            self.best_weights = [np.array(weight) for weight in self.model.get_weights()]

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Say when training was stopped, and give the best weights back if that was asked for."""
        if self.stopped_epoch > 0 and self.verbose > 0:
            print(f"Epoch {self.stopped_epoch:05d}: early stopping")
        if self.best_weights is not None:
            if self.verbose > 0:
                print(f"Restoring model weights from the end of epoch {self.best_epoch:05d}")
            self.model.set_weights(self.best_weights)


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        """Take the schedule.

        Args:
            schedule: a function of the epoch (from 0), or of the epoch and the present rate, that
                returns the new rate as a float.
            verbose: 1 prints the rate.
        """
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose
        self._wants_rate = _takes_rate(schedule)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Ask the schedule and set the rate.

        Raises:
            ValueError: when the optimizer has no learning rate, or the schedule returns no float.
        """
        optimizer = self.model.optimizer
        learning_rate_name(optimizer)
        if self._wants_rate:
            rate = self.schedule(epoch, get_learning_rate(optimizer))
        else:
            rate = self.schedule(epoch)
        if not isinstance(rate, (float, np.floating)):
            raise ValueError(
                'The output of the "schedule" function should be float. '
                f"Got {rate!r} of type {type(rate).__name__} for epoch {epoch}."
            )
        set_learning_rate(optimizer, float(rate))
        if self.verbose > 0:
            print(f"\nEpoch {epoch:05d}: LearningRateScheduler setting learning rate to {rate}.")


def _takes_rate(schedule: Callable[..., float]) -> bool:
    """Tell whether a schedule wants the present rate as its second argument.

    A second argument with a default belongs to the schedule itself, unless its name says otherwise.
    """
    try:
        parameters = list(inspect.signature(schedule).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    second = [p for p in parameters if p.kind in positional][1:2]
    return any(
        p.default is inspect.Parameter.empty or p.name in ("lr", "learning_rate") for p in second
    )


class ReduceLROnPlateau(Callback):
    """Lower the learning rate when a quantity no longer improves."""

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        epsilon: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0,
        min_delta: float | None = None,
    ) -> None:
        """Say what to watch and what to do.

        Args:
            monitor: the quantity in the epoch's logs.
            factor: what the rate is multiplied by.
            patience: epochs without improvement that are let pass.
            verbose: 1 prints a line at each change.
            mode: 'min', 'max' or 'auto' (by the quantity's name).
            epsilon: how much counts as an improvement.
            cooldown: epochs to wait after a change before watching again.
            min_lr: the lowest rate.
            min_delta: the name of `epsilon` in later Keras versions.

        Raises:
            ValueError: for a factor that would not lower the rate.
        """
        super().__init__()
        if factor >= 1.0:
            raise ValueError(
                f"ReduceLROnPlateau does not support a factor >= 1.0. Got factor={factor}."
            )
        self.monitor = monitor
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.mode = mode
        self.epsilon = epsilon if min_delta is None else min_delta
        self.cooldown = cooldown
        self.min_lr = min_lr
        self._reset()

    def _reset(self) -> None:
        direction = monitor_direction(self.mode, self.monitor, "Learning Rate Plateau Reducing")
        if direction == "min":
            self.monitor_op = lambda a, b: np.less(a, b - self.epsilon)
            self.best: Any = np.inf
        else:
            self.monitor_op = lambda a, b: np.greater(a, b + self.epsilon)
            self.best = -np.inf
        if self.mode not in ("auto", "min", "max"):
            self.mode = "auto"  # warned about once
        self.cooldown_counter = 0
        self.wait = 0
        # A rate this close to the lowest is not lowered again.
        self.lr_epsilon = self.min_lr * 1e-4

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget an earlier run."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare the epoch's value with the best one; put the rate into `logs` as 'lr'."""
        logs = logs if logs is not None else {}
        logs["lr"] = get_learning_rate(self.model.optimizer)
        current = logs.get(self.monitor)
        if current is None:
            warn(
                f"Learning Rate Plateau Reducing requires {self.monitor} available! "
                f"Available are: {', '.join(sorted(logs))}",
                RuntimeWarning,
            )
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.monitor_op(current, self.best):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            # Keras 2.0 compares before it counts, and counts the epoch of a change as the first.
            if self.wait >= self.patience:
                self._reduce(epoch, logs["lr"])
            self.wait += 1

    def _reduce(self, epoch: int, old: float) -> None:
        if old <= self.min_lr + self.lr_epsilon:
            return
        new = max(old * self.factor, self.min_lr)
        set_learning_rate(self.model.optimizer, new)
        if self.verbose > 0:
            print(f"\nEpoch {epoch:05d}: reducing learning rate to {new}.")
        self.cooldown_counter = self.cooldown
        self.wait = 0

    def in_cooldown(self) -> bool:
        """Tell whether a change is so recent that nothing is watched."""
        return self.cooldown_counter > 0
