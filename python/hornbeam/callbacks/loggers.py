"""Callbacks that average, show and record the quantities of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..utils.logs import Logs
from ..utils.progbar import Progbar
from .base import Callback, fed_by_loop


class BaseLogger(Callback):
    """Average the batches' metrics over an epoch, weighted by the batches' sizes.

    It works only where the loop has not put the epoch's means into `logs` already.
    """

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the sums anew."""
        self.seen = 0
        self.totals: dict[str, Any] = {}

    @fed_by_loop
    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Add a batch to the sums."""
        logs = logs or {}
        size = logs.get("size", 0)
        self.seen += size
        for name, value in logs.items():
            self.totals[name] = self.totals.get(name, 0) + value * size

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put the means into `logs` for the callbacks that follow."""
        if logs is None or not self.seen:
            return
        for name in self.params["metrics"]:
            if name in self.totals and name not in logs:
                logs[name] = self.totals[name] / self.seen


class ProgbarLogger(Callback):
    """Show progress and the running means on standard output.

    What is shown is the mean over the epoch so far, weighted by samples, whether the loop reports
    each batch or calls `progress`; the last line shows the values that the history records.
    """

    def __init__(self, count_mode: str = "samples") -> None:
        """Choose what the bar counts.

        Args:
            count_mode: 'samples' or 'steps'.

        Raises:
            ValueError: for any other value.
        """
        super().__init__()
        if count_mode not in ("samples", "steps"):
            raise ValueError(
                f"Unknown `count_mode`: {count_mode!r}. Expected 'samples' or 'steps'."
            )
        self.use_steps = count_mode == "steps"
        self.verbose = 0
        self.seen = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Read how much is to be shown."""
        self.verbose = self.params["verbose"]
        self.epochs = self.params["epochs"]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start a new bar."""
        self.seen = 0
        self._sums: dict[str, Any] = {}
        self._samples = 0
        self._told_batches = False
        if self.verbose:
            print(f"Epoch {epoch + 1}/{self.epochs}")
            self.target = self.params["steps" if self.use_steps else "samples"]
            self.progbar = Progbar(
                target=self.target,
                verbose=self.verbose,
                stateful_metrics=self.params["metrics"],
            )

    def progress(self, seen: int, values: Mapping[str, Any]) -> None:
        """Redraw the bar with the means so far; the end of the epoch is left to `on_epoch_end`.

        Args:
            seen: samples (or steps) done in this epoch.
            values: name -> mean over the epoch so far.
        """
        self.seen = seen
        if self.verbose and (self.target is None or seen < self.target):
            self.progbar.update(seen, self._shown(values))

    @fed_by_loop
    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Take a batch into the means and redraw the bar."""
        logs = logs or {}
        size = logs.get("size", 0)
        self._samples += size
        self._told_batches = True
        for name in self.params["metrics"]:
            if name in logs:
                self._sums[name] = self._sums.get(name, 0) + logs[name] * size
        weight = max(1, self._samples)
        means = {name: total / weight for name, total in self._sums.items()}
        self.progress(self.seen + (1 if self.use_steps else size), means)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draw the epoch's last line."""
        if not self.verbose:
            return
        if self.target is None:
            # The end of a run of unknown length is only known now.
            self.progbar.target = self.seen
        elif not self._told_batches:
            self.seen = self.target
        self.progbar.update(self.seen, self._shown(logs or {}), force=True)
        if self.verbose == 1 and self.target is not None and self.seen < self.target:
            print()  # a callback ended the epoch early: the bar has not closed its line

    def _shown(self, values: Mapping[str, Any]) -> list[tuple[str, Any]]:
        return [(name, values[name]) for name in self.params["metrics"] if name in values]


class History(Callback):
    """Record the logs of each epoch.

    Attributes:
        epoch: the numbers of the epochs run, counted from 0.
        history: name of a quantity -> its value after each of these epochs. It is found under
            the names of every Keras version, `history['accuracy']` and `history['acc']` alike.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = Logs()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start an empty record."""
        self.epoch = []
        self.history = Logs()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record an epoch."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class LambdaCallback(Callback):
    """A callback made of functions.

    The functions for epochs and batches are called with `(index, logs)`, those for training with
    `(logs)`. Without functions for batches, training does not enter Python for each batch.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[[int, dict], Any] | None = None,
        on_epoch_end: Callable[[int, dict], Any] | None = None,
        on_batch_begin: Callable[[int, dict], Any] | None = None,
        on_batch_end: Callable[[int, dict], Any] | None = None,
        on_train_begin: Callable[[dict], Any] | None = None,
        on_train_end: Callable[[dict], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the functions; those left out do nothing.

        Args:
            on_epoch_begin: called before each epoch.
            on_epoch_end: called after each epoch.
            on_batch_begin: called before each batch.
            on_batch_end: called after each batch.
            on_train_begin: called before the first epoch.
            on_train_end: called after the last epoch.
            **kwargs: attributes to set on the callback, further hooks among them.
        """
        super().__init__()
        self.__dict__.update(kwargs)
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_batch_begin": on_batch_begin,
            "on_batch_end": on_batch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
        }
        self.__dict__.update({name: f for name, f in given.items() if f is not None})
