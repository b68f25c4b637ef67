"""Backups of a whole `fit`, from which it goes on as if nothing had happened.

A backup is one file that is replaced as a whole: it is written beside its place, forced to the
disk, and renamed. It holds pickled objects, so that only files of one's own should be restored.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import backend as K
from ..engine.strategy import get_strategy
from ..errors import BackupError, SupersededError
from ..utils.user_warnings import warn
from .base import Callback

_FORMAT = "hornbeam backup 1"
# Behind the pickled state, with its digest behind it: a reader of pickles does not look there.
_SEAL = b"hornbeam digest:"
# Before the seal, with the name of the run that owns the backup behind it.
_OWNER = b"hornbeam owner:"
_LOG = logging.getLogger(__name__)


class BackupAndRestore(Callback):
    """Saves all that a `fit` depends on, and lets one that was cut off go on from there.

    The weights, history and all further epochs are, bit by bit, those of a `fit` that was not cut
    off: the state of the optimizer, of NumPy's generator, of the step's random numbers and of the
    other callbacks is saved too. The script has to make the same model, data and callbacks.

    When the cluster that trains loses its head, a backup is made at once, within the epoch.

    A stream of batches (`fit_generator`) goes on with its next epoch; where the stream itself
    stands is its own affair.

    Args:
        backup_dir: folder of the backup; each `fit` needs one of its own.
        save_freq: 'epoch', or after how many batches of an epoch further backups are made within
            it, again and again.
        delete_checkpoint: whether the backup is deleted when training has ended.

    Raises:
        ValueError: when an argument makes no sense.
        SupersededError: in training, when another run has gone on from the backup meanwhile, as
            when this one had stood still and was taken for dead. It leaves the backup alone.
        BackupError: when training begins with a backup that is damaged or of another model.
    """

    runs_last = True

    def __init__(
        self, backup_dir: Any, save_freq: str | int = "epoch", delete_checkpoint: bool = True
    ) -> None:
        super().__init__()
        path = os.fspath(backup_dir) if backup_dir else ""
        if not path:
            raise ValueError("BackupAndRestore: `backup_dir` must not be empty")
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq > 0):
            raise ValueError(
                "BackupAndRestore: `save_freq` must be 'epoch' or a positive number of batches, "
                f"got {save_freq!r}"
            )
        self.backup_dir = path
        self.save_freq = save_freq
        self.delete_checkpoint = delete_checkpoint
        self._position: Any = None
        self._alarm: str | None = None
        # Epoch and batch of the latest backup.
        self._saved: tuple[int, int] | None = None
        self._owner = ""

    @property
    def path(self) -> str:
        """The file."""
        return os.path.join(self.backup_dir, "fit.backup")

    def set_position(self, position: Any) -> None:
        """Take what tells, and sets, where the run stands."""
        self._position = position

    def uses_batch_hooks(self) -> bool:
        """Ask for no batch hooks: without them, an epoch stops where a backup is due."""
        return False

    def next_due(self, batch: int) -> int | None:
        """Tell after how many batches of the epoch the next backup is due."""
        if self.save_freq == "epoch":
            return None
        every = int(self.save_freq)
        return batch - batch % every + every

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Go on from the backup, if there is one."""
        self._owner = uuid.uuid4().hex
        if os.path.exists(self.path):
            state = _read(self.path)
            self._restore(state)
            self._write(state)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Make a backup."""
        self._save()

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Make a backup when it is time."""
        if self._position.batch_size is not None and self._is_time():
            self._save()

    def progress(self, seen: int, values: Mapping[str, Any]) -> None:
        """Make a backup when it is time."""
        if self._position.batch_size is not None and self._is_time():
            self._save_within()

    def _is_time(self) -> bool:
        """Tell whether one is due, or the strategy has begun to fear for the whole training."""
        alarm, before = getattr(get_strategy(), "alarm", None), self._alarm
        self._alarm = alarm
        if alarm not in (None, before):
            _LOG.warning("%s: making a backup of the training now", alarm)
            return True
        here = self._position.epoch, self._position.batch
        if self.save_freq == "epoch" or here[1] == 0 or here == self._saved:
            return False
        return here[1] % int(self.save_freq) == 0

    def _save_within(self) -> None:
        """Make a backup in the midst of an epoch that runs without batch hooks."""
        position = self._position
        if hasattr(position.run, "hold"):
            position.run.hold()
            position.follow()
        if position.batch:
            self._save()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Delete the backup, unless it is to be kept."""
        self._check_owner()
        if self.delete_checkpoint and os.path.exists(self.path):
            os.unlink(self.path)
            if not os.listdir(self.backup_dir):
                os.rmdir(self.backup_dir)

    def _save(self) -> None:
        position = self._position
        get_strategy().fetch()
        state = {
            "format": _FORMAT,
            "epoch": position.epoch,
            "batch": position.batch,
            "sums": position.sums,
            "order": position.order,
            "stopped": bool(getattr(self.model, "stop_training", False)),
            "step": position.program.function.core.step,
            "values": [K.get_value(v) for v in _variables(self.model)],
            "shards": getattr(get_strategy(), "shards", 1),
            "random": np.random.get_state(),
            "callbacks": [(type(c).__name__, _plain_state(c)) for c in position.callbacks],
        }
        self._check_owner()
        self._write(state)
        self._saved = position.epoch, position.batch

    def _write(self, state: dict[str, Any]) -> None:
        os.makedirs(self.backup_dir, exist_ok=True)
        body = pickle.dumps(state, protocol=5) + _OWNER + self._owner.encode()
        write_atomically(self.path, body + _SEAL + _digest(body))

    def _check_owner(self) -> None:
        """Stop a run that others have replaced before it writes over what is theirs."""
        if os.path.exists(self.path) and _owner(self.path) != self._owner:
            raise SupersededError(
                f"{self.path} belongs to another run, which has gone on from it: this one must "
                "end. If there is none, each `fit` needs a folder of its own."
            )

    def _restore(self, state: dict[str, Any]) -> None:
        position = self._position
        self._check(state)
        for variable, value in zip(_variables(self.model), state["values"], strict=True):
            K.set_value(variable, value)
        position.epoch, position.batch = state["epoch"], state["batch"]
        position.sums, position.stopped = state["sums"], state["stopped"]
        if position.order is not None and state["order"] is not None:
            position.order = state["order"]
        position.program.function.core.step = state["step"]
        np.random.set_state(state["random"])
        for callback, (_, attributes) in zip(position.callbacks, state["callbacks"], strict=True):
            vars(callback).update(attributes)

    def _check(self, state: dict[str, Any]) -> None:
        """Refuse a backup of something else."""
        have = [tuple(K.int_shape(v)) for v in _variables(self.model)]
        saved = [np.shape(value) for value in state["values"]]
        if have != saved:
            raise BackupError(
                f"{self.path} is a backup of another model: it has variables of the shapes "
                f"{saved}, the model and its optimizer {have}. Use another folder, or delete it."
            )
        names = [type(c).__name__ for c in self._position.callbacks]
        before = [name for name, _ in state["callbacks"]]
        if names != before:
            raise BackupError(
                f"{self.path} was made with the callbacks {before}, now they are {names}: give "
                "`fit` the same ones, or delete the backup."
            )
        order = self._position.order
        if order is not None and state["order"] is not None and len(order) != len(state["order"]):
            raise BackupError(
                f"{self.path} was made in training on {len(state['order'])} samples, now there "
                f"are {len(order)}."
            )
        shards = getattr(get_strategy(), "shards", 1)
        if state["shards"] != shards:
            warn(
                f"The backup was made with batches in {state['shards']} shards, training goes on "
                f"with {shards}: its last bits will differ from an uninterrupted run's."
            )


def write_atomically(path: str, data: bytes) -> None:
    """Write a file as a whole: whoever opens it finds the old or the new contents, come what may.

    Args:
        path: the file.
        data: its new contents.
    """
    folder = os.path.dirname(path) or "."
    beside = f"{path}.{os.getpid()}.tmp"
    try:
        with open(beside, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise
    # The new name itself has to reach the disk.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: str) -> dict[str, Any]:
    with open(path, "rb") as f:
        data = f.read()
    body, seal, digest = data.rpartition(_SEAL)
    if seal and digest != _digest(body):
        raise BackupError(
            f"{path} is damaged: its contents do not have the digest that was saved with them. "
            "Delete it to begin anew."
        )
    try:
        state = pickle.loads(data)
    except Exception as error:
        raise BackupError(
            f"{path} cannot be read as a backup ({type(error).__name__}: {error}). Delete it to "
            "begin anew."
        ) from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise BackupError(f"{path} is no backup that this version can read")
    return state


def _owner(path: str) -> str | None:
    """Return the run that owns a backup; None where that cannot be told."""
    with open(path, "rb") as f:
        f.seek(max(0, os.path.getsize(path) - 256))
        body, _, _ = f.read().rpartition(_SEAL)
    _, mark, name = body.rpartition(_OWNER)
    return name.decode(errors="replace") if mark else None


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _variables(model: Any) -> list[Any]:
    """Return the variables of a model and of its optimizer, hyper-parameters too."""
    optimizer = model.optimizer
    hyper = [v for _, v in sorted(vars(optimizer).items()) if isinstance(v, K.Variable)]
    every = [*model.weights, *optimizer.weights, *hyper]
    return list({v.id: v for v in every}.values())


def _plain_state(callback: Any) -> dict[str, Any]:
    """Return the attributes of a callback that can be saved: numbers, arrays, records of them."""
    if isinstance(callback, BackupAndRestore):
        return {}
    skipped = ("model", "params", "validation_data")
    return {
        name: value
        for name, value in vars(callback).items()
        if name not in skipped and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic, np.ndarray)):
        return True
    if isinstance(value, dict):
        return all(_is_plain(k) and _is_plain(v) for k, v in value.items())
    if isinstance(value, (list, tuple, set)):
        return all(_is_plain(v) for v in value)
    return False
