"""One run: the script with its distribution, its checkpoints, its metrics and its end."""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from ..callbacks import Callback
from ..engine.loop import add_callbacks
from ..errors import HornbeamError
from . import drain, storage
from .settings import Settings


class RunError(HornbeamError, RuntimeError):
    """A run cannot do what its settings ask for."""


class LatestModel(Callback):
    """Remembers the model that was trained last: it is the run's result."""

    trained: Any = None

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Take the model."""
        self.trained = self.model


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

    def callbacks(self) -> list[Callback]:
        """Return the callbacks of the next `fit`.

        A `fit` that was over before the run was cut off begins where it ended: its checkpoint is
        kept until the run is over.
        """
        kind = backup_class()
        folder = os.path.join(self.folder, f"fit-{self._fits}")
        self._fits += 1
        backup = kind(folder, save_freq=self._save_freq, delete_checkpoint=False)
        return [backup, Upload(self._mirror)] if self._mirror else [backup]

    def upload(self) -> None:
        """Copy what has changed to the store."""
        if self._mirror is not None:
            self._mirror.push()


def backup_class() -> Any:
    """Return the callback that saves and restores the state of a `fit`.

    Raises:
        RunError: when this version has none.
    """
    from .. import callbacks

    kind = getattr(callbacks, "BackupAndRestore", None)
    if kind is None:
        raise RunError(
            "--checkpoint needs hornbeam.callbacks.BackupAndRestore, which this version does not "
            "have: leave the option (and HORNBEAM_CHECKPOINT) out"
        )
    return kind


class Upload(Callback):
    """Copies checkpoints to a store after each epoch."""

    runs_last = True

    def __init__(self, mirror: storage.Mirror) -> None:
        super().__init__()
        self._mirror = mirror

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Copy what has changed."""
        self._mirror.push()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Copy what has changed."""
        self._mirror.push()


def run(settings: Settings) -> int:
    """Run a script; return the process's exit status.

    Returns:
        0 when the script and the saving of its model went well, the script's own status when it
        exited with one, `drain.EXIT_STATUS` after a SIGTERM, and 1 after any other end.
    """
    backups = None
    latest = LatestModel()
    try:
        with drain.on_sigterm(settings.drain_seconds):
            try:
                if settings.checkpoint:
                    backup_class()
                    backups = Backups(settings.checkpoint, settings.save_every)
                with _distribution(settings), _own_callbacks(settings, latest, backups):
                    status = _execute(settings)
                    if status == 0 and settings.output:
                        _save(latest.trained, settings.output)
                return status
            except drain.DrainedError:
                if backups is not None:
                    backups.upload()
                raise
    except drain.DrainedError:
        print("hornbeam.run: SIGTERM; left after the last whole step", file=sys.stderr)
        return drain.EXIT_STATUS
    except KeyboardInterrupt:
        return 130
    except RunError as error:
        print(f"hornbeam.run: {error}", file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1


@contextlib.contextmanager
def _own_callbacks(
    settings: Settings, latest: LatestModel, backups: Backups | None
) -> Iterator[None]:
    def make() -> Sequence[Any]:
        made: list[Any] = [latest]
        if settings.metrics and "ray" in sys.modules:
            from .metrics import Metrics

            made.append(Metrics())
        return made + (backups.callbacks() if backups else [])

    with add_callbacks(make):
        yield


@contextlib.contextmanager
def _distribution(settings: Settings) -> Iterator[None]:
    if settings.workers is None:
        yield
        return
    from .. import distribution

    module: Any = distribution
    if not hasattr(module, "DataParallel"):
        raise RunError(
            "--workers needs hornbeam.distribution.DataParallel, which this version does not have: "
            "leave the option (and HORNBEAM_WORKERS) out to train in one process"
        )
    # The script's `fit` is not to read the variable a second time.
    os.environ.pop("HORNBEAM_WORKERS", None)
    workers = module.DataParallel(
        workers=settings.workers,
        cpus_per_worker=settings.cpus_per_worker,
        address=settings.address,
    )
    with workers:
        module.set_distribution(workers)
        try:
            yield
        finally:
            module.set_distribution(None)


def _execute(settings: Settings) -> int:
    """Run the script as Python itself would; return its status."""
    if not os.path.isfile(settings.script):
        raise RunError(f"there is no script {settings.script}")
    before = sys.argv, list(sys.path)
    sys.argv = [settings.script, *settings.arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(settings.script)))
    try:
        runpy.run_path(settings.script, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, int) or end.code is None:
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    finally:
        sys.argv, sys.path[:] = before[0], before[1]
    return 0


def _save(model: Any, output: str) -> None:
    if model is None:
        raise RunError(f"there is no model to save as {output}: the script trained none")
    storage.write_whole(output, lambda path: model.save(path, overwrite=True))
