"""The checkpoints of a run, and leaving with one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import Any

from ..callbacks import BackupAndRestore, Callback
from ..engine.strategy import LocalStrategy, get_strategy
from . import drain, storage


class Leave(Callback):
    """Ends a `fit` between two steps once the run has been told to leave."""

    runs_last = True

    def uses_batch_hooks(self) -> bool:
        """Ask for no batch hooks: without them, it looks between the loop's reports."""
        return False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Take over from the signal's handler, which would end a step half-way."""
        drain.defer(True)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave the signal to its handler again."""
        drain.defer(False)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Leave if told to."""
        drain.leave_if_told()

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Leave if told to."""
        drain.leave_if_told()

    def progress(self, seen: int, values: Mapping[str, Any]) -> None:
        """Leave if told to."""
        drain.leave_if_told()


class Backup(BackupAndRestore):
    """A `BackupAndRestore` that makes one more backup when the run has been told to leave.

    With a number of batches as `save_freq` that is after the very batch. With 'epoch' it is so in
    one process, while workers of another machine go on meanwhile: there the epoch's backup has to
    do.

    Args:
        folder: folder of the backup.
        save_freq: as for `BackupAndRestore`.
        mirror: where backups are copied to, or None.
    """

    def __init__(self, folder: str, save_freq: str | int, mirror: storage.Mirror | None) -> None:
        super().__init__(folder, save_freq=save_freq, delete_checkpoint=False)
        self._mirror = mirror

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Make a backup when it is time, or the last."""
        super().on_batch_end(batch, logs)
        if drain.told() and self._position.batch_size is not None:
            self._save()

    def progress(self, seen: int, values: Mapping[str, Any]) -> None:
        """Make the last backup within an epoch."""
        position = self._position
        here = isinstance(get_strategy(), LocalStrategy) and position.batch_size is not None
        if drain.told() and here:
            position.batch = seen // position.batch_size
            position.sums = [float(mean) * seen for mean in values.values()]
            self._save()

    def _save(self) -> None:
        super()._save()
        if self._mirror is not None:
            self._mirror.push()


class Backups:
    """The checkpoints of a run: a folder for each `fit` of the script, in the script's order.

    Args:
        address: where they are kept, here or in a store.
        save_every: steps between two of them; None is each epoch.
    """

    def __init__(self, address: str, save_every: int | None) -> None:
        self._save_freq = save_every or "epoch"
        self._fits = 0
        self._mirror: storage.Mirror | None = None
        self.folder = address
        if storage.is_remote(address):
            self.folder = tempfile.mkdtemp(prefix="hornbeam-checkpoint-")
            self._mirror = storage.Mirror(self.folder, address)
            self._mirror.pull()

    def next(self) -> Backup:
        """Return the callback of the next `fit`.

        A `fit` that was over before the run was cut off begins where it ended: its checkpoint is
        kept.
        """
        folder = os.path.join(self.folder, f"fit-{self._fits}")
        self._fits += 1
        return Backup(folder, self._save_freq, self._mirror)
