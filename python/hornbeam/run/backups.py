"""The checkpoints of a run, and leaving with one."""

from __future__ import annotations

import os
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..callbacks import BackupAndRestore, Callback
from ..engine.strategy import get_strategy
from ..errors import BackupError, HornbeamError
from . import drain, storage

# Checkpoints in a row that may fail to reach a store before the run ends.
_FAILURES = 3


class RunError(HornbeamError, RuntimeError):
    """A run cannot do what its settings ask for."""


class Departures:
    """The workers whose machines are about to go, and wait to be let go."""

    def __init__(self) -> None:
        self._members: dict[str, Any] = {}

    def found(self) -> bool:
        """Tell whether there are such workers."""
        crew = getattr(get_strategy(), "crew", None)
        if crew is not None:
            self._members |= {member.name: member for member in crew.departing()}
        return bool(self._members)

    def let_go(self, how: str) -> None:
        """Let them go.

        Args:
            how: with what, for the message.
        """
        if self._members:
            names = ", ".join(self._members)
            say(f"the machine of worker {names} is about to go; letting it go {how}")
            get_strategy().crew.let_go(list(self._members.values()))  # type: ignore[attr-defined]
            self._members = {}


class Leave(Callback):
    """Ends a `fit` between two steps once the run has been told to leave.

    Args:
        departures: workers that are to be let go at once, where no checkpoint is made before; None
            where one is.
    """

    runs_last = True

    def __init__(self, departures: Departures | None = None) -> None:
        super().__init__()
        self._departures = departures

    def uses_batch_hooks(self) -> bool:
        """Ask for no batch hooks: without them, it looks between the loop's reports."""
        return False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Take over from the signal's handler, which would end a step half-way."""
        drain.listen()
        drain.defer(True)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave the signal to its handler again."""
        drain.defer(False)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Leave if told to."""
        drain.listen()
        drain.leave_if_told()

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Leave if told to."""
        self._look()

    def progress(self, seen: int, values: Mapping[str, Any]) -> None:
        """Leave if told to."""
        self._look()

    def _look(self) -> None:
        drain.leave_if_told()
        if self._departures is not None and self._departures.found():
            self._departures.let_go("without a checkpoint, since the run makes none")


class Backup(BackupAndRestore):
    """A `BackupAndRestore` that makes one more backup when the run or a worker's machine goes.

    Args:
        backups: the checkpoints of the run.
        number: the number of the `fit`.
        save_freq: as for `BackupAndRestore`.
        departures: the workers that wait to be let go.
    """

    def __init__(
        self, backups: Backups, number: int, save_freq: str | int, departures: Departures
    ) -> None:
        folder = os.path.join(backups.folder, f"fit-{number}")
        super().__init__(folder, save_freq=save_freq, delete_checkpoint=False)
        self._backups, self._number, self._departures = backups, number, departures

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Go on from the backup, if there is one, and say so."""
        try:
            super().on_train_begin(logs)
        except BackupError as error:
            raise BackupError(f"the checkpoint {self._backups.address}: {error}") from error
        position = self._position
        if position.epoch or position.batch:
            within = f", batch {position.batch + 1}" if position.batch else ""
            say(
                f"fit {self._number + 1} goes on with epoch {position.epoch + 1}{within}, from "
                f"the checkpoint {self._backups.address}"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Make a backup."""
        super().on_epoch_end(epoch, logs)
        self._departures.found()
        self._departures.let_go("with the epoch's checkpoint")

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Make a backup when it is time, or the last."""
        super().on_batch_end(batch, logs)
        if self._position.batch_size is None:
            return
        if drain.told() or self._departures.found():
            self._save()
            self._departures.let_go("with a checkpoint")

    def progress(self, seen: int, values: Mapping[str, Any]) -> None:
        """Make a backup when it is time, or the last."""
        super().progress(seen, values)
        if self._position.batch_size is None:
            return
        if drain.told() or self._departures.found():
            self._save_within()
            self._departures.let_go("with a checkpoint")

    def _save(self) -> None:
        self._backups.check_owner()
        try:
            super()._save()
        except OSError as error:
            raise RunError(
                f"the checkpoint could not be saved in {self.backup_dir}: {error}. The one before "
                "it is kept; the run goes on from there once there is room."
            ) from error
        self._backups.push()


class Backups:
    """The checkpoints of a run: a folder for each `fit` of the script, in the script's order.

    Of two runs with one folder, the one that began later has it: the other one, which may be cut
    off from those who would end it, ends at its next checkpoint.

    Args:
        address: where they are kept, here or in a store.
        save_every: steps between two of them; None is each epoch.

    Raises:
        RunError: when nothing can be read or written there.
    """

    def __init__(self, address: str, save_every: int | None) -> None:
        self.address = address.rstrip("/")
        self._save_freq = save_every or "epoch"
        self._fits = 0
        self._failures = 0
        self._mirror: storage.Mirror | None = None
        self._name = uuid.uuid4().hex
        self._owner = f"{self.address}/{storage.OWNER}"
        self.folder = self.address
        try:
            storage.write_whole(self._owner, lambda path: _write(path, self._name))
            if storage.is_remote(address):
                self.folder = tempfile.mkdtemp(prefix="hornbeam-checkpoint-")
                self._mirror = storage.Mirror(self.folder, self.address)
                self._mirror.pull()
        except Exception as error:  # a store's client has errors of its own
            raise RunError(
                f"no checkpoints can be kept in {address} (--checkpoint or HORNBEAM_CHECKPOINT): "
                f"{type(error).__name__}: {error}"
            ) from error

    def next(self, departures: Departures) -> Backup:
        """Return the callback of the next `fit`.

        A `fit` that was over before the run was cut off begins where it ended: its checkpoint is
        kept.
        """
        self._fits += 1
        return Backup(self, self._fits - 1, self._save_freq, departures)

    def check_owner(self) -> None:
        """Make sure that no other run has taken over.

        Raises:
            RunError: when one has.
        """
        try:
            owner = storage.read_text(self._owner)
        except Exception:  # what the store's client raises; the backup itself will tell more
            return
        if owner != self._name:
            raise RunError(
                f"another run, which began later, keeps its checkpoints in {self.address}: this "
                "one ends. Give each run a folder of its own."
            )

    def push(self) -> None:
        """Copy the folder to the store, if it is kept in one.

        Raises:
            RunError: when that has failed several times in a row.
        """
        if self._mirror is None:
            return
        try:
            self._mirror.push()
            self._failures = 0
        except Exception as error:
            self._failures += 1
            what = f"the checkpoint could not be copied to {self.address}: {error}"
            if self._failures >= _FAILURES:
                raise RunError(
                    f"{what}. That was the last of {_FAILURES} tries, after as many checkpoints; "
                    "the last whole one is kept there."
                ) from error
            say(f"{what}. The run goes on; the next one is tried as usual.")


def say(text: str) -> None:
    """Print a line for whoever watches the run."""
    print(f"hornbeam.run: {text}", file=sys.stderr, flush=True)


def _write(path: str, text: str) -> None:
    Path(path).write_text(text)
