"""The callback that reports to Ray Train: metrics, and checkpoints that `fit` goes on from."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import ray.train

from ...callbacks import BackupAndRestore

_ALLOWED = (
    "train_begin",
    "train_end",
    "epoch_begin",
    "epoch_end",
    "train_batch_begin",
    "train_batch_end",
)
_MODEL = "model.h5"
# How many fits with this callback the process has begun.
_fits = 0


class ReportCheckpointCallback(BackupAndRestore):
    """Reports metrics and checkpoints to Ray Train.

    A checkpoint holds the whole model (`get_model` loads it) and where `fit` stands. When Ray Train
    has restarted the workers after a failure, `fit` goes on from the latest checkpoint by itself,
    with the same bits as if nothing had happened.

    Args:
        checkpoint_on: when to make checkpoints, one or a list of 'train_begin', 'train_end',
            'epoch_begin', 'epoch_end', 'train_batch_begin', 'train_batch_end'. Metrics are
            reported with every checkpoint.
        report_metrics_on: when to report metrics without one.
        metrics: what of the logs to report: None for all, a name, a list of names, or a dictionary
            of the names to report under and those in the logs.
        restore: whether `fit` goes on from the checkpoint that the train function was restarted
            with.

    Raises:
        ValueError: when a moment is none of those.
    """

    def __init__(
        self,
        checkpoint_on: str | Sequence[str] = "epoch_end",
        report_metrics_on: str | Sequence[str] = "epoch_end",
        metrics: str | Sequence[str] | Mapping[str, str] | None = None,
        restore: bool = True,
    ) -> None:
        super().__init__("checkpoint", delete_checkpoint=False)
        self._checkpoint_on = _moments(checkpoint_on, "checkpoint_on")
        self._report_on = _moments(report_metrics_on, "report_metrics_on")
        self._metrics = metrics
        self._restores = restore
        self._fit = 0

    @property
    def path(self) -> str:
        """The file that says where `fit` stands."""
        return os.path.join(self.backup_dir, f"fit-{self._fit}.backup")

    def uses_batch_hooks(self) -> bool:
        """Tell whether something is to be done within epochs."""
        return any("batch" in moment for moment in (*self._checkpoint_on, *self._report_on))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Go on from the checkpoint, if it is one of this fit."""
        global _fits
        self._fit, _fits = _fits, _fits + 1
        checkpoint = _checkpoint_at_start() if self._restores else None
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                self.backup_dir = folder
                super().on_train_begin(logs)
        self._handle("train_begin", logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Report, if it is time."""
        self._handle("train_end", logs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report, if it is time."""
        self._handle("epoch_begin", logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report, if it is time."""
        self._handle("epoch_end", logs)

    def on_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Report, if it is time."""
        self._handle("train_batch_begin", logs)

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Report, if it is time."""
        self._handle("train_batch_end", logs)

    def _handle(self, moment: str, logs: dict[str, Any] | None) -> None:
        if moment in self._checkpoint_on:
            with self._written() as checkpoint:
                ray.train.report(self._reported(logs or {}), checkpoint=checkpoint)
        elif moment in self._report_on:
            ray.train.report(self._reported(logs or {}))

    @contextlib.contextmanager
    def _written(self) -> Any:
        """Inside the block, give a checkpoint; None for all ranks but the first."""
        if ray.train.get_context().get_world_rank() != 0:
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="hornbeam-checkpoint-") as folder:
            self.backup_dir = folder
            self.model.save(os.path.join(folder, _MODEL))
            self._save()
            yield ray.train.Checkpoint.from_directory(folder)

    def _reported(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        names: Mapping[str, str]
        if self._metrics is None:
            names = {name: name for name in logs}
        elif isinstance(self._metrics, str):
            names = {self._metrics: self._metrics}
        elif isinstance(self._metrics, Mapping):
            names = self._metrics
        else:
            names = {name: name for name in self._metrics}
        missing = sorted(set(names.values()) - set(logs))
        if missing:
            raise ValueError(
                f"ReportCheckpointCallback: the logs have no {missing}; they have {sorted(logs)}"
            )
        return {name: float(logs[logged]) for name, logged in names.items()}

    @staticmethod
    def get_model(checkpoint: Any, custom_objects: dict[str, Any] | None = None) -> Any:
        """Return the model of a checkpoint that this callback has made.

        Args:
            checkpoint: a checkpoint, of a `Result` for example.
            custom_objects: the model's own classes and functions, by their names.
        """
        from ...models import load_model

        with checkpoint.as_directory() as folder:
            return load_model(os.path.join(folder, _MODEL), custom_objects=custom_objects)


_start: list[Any] = []


def remember_start() -> None:
    """Keep the checkpoint that the train function begins with; later ones are its own."""
    global _fits
    _fits = 0
    _start[:] = [ray.train.get_checkpoint()]


def _checkpoint_at_start() -> Any:
    return _start[0] if _start else None


def _moments(given: str | Sequence[str], argument: str) -> tuple[str, ...]:
    moments = (given,) if isinstance(given, str) else tuple(given)
    unknown = [moment for moment in moments if moment not in _ALLOWED]
    if unknown:
        raise ValueError(
            f"ReportCheckpointCallback: {argument}={given!r}: expected some of {list(_ALLOWED)}"
        )
    return moments
