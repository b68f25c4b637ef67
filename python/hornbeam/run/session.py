"""One run: the script with its distribution, its checkpoints, its metrics and its end."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from ..callbacks import Callback
from ..engine.loop import add_callbacks
from ..errors import (
    BackupError,
    MissingDependencyError,
    NoClusterError,
    WorkersLostError,
)
from . import drain, storage
from .backups import Backups, Departures, Leave, RunError, say
from .metrics import Metrics
from .settings import Settings

# What is wrong with a run and not with its script: the message says all, without a traceback.
_PLAIN = (RunError, BackupError, MissingDependencyError, NoClusterError, WorkersLostError)


class LatestModel(Callback):
    """Remembers the model that was trained last: it is the run's result."""

    trained: Any = None

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Take the model."""
        self.trained = self.model


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
            _check(settings)
            if settings.checkpoint:
                backups = Backups(settings.checkpoint, settings.save_every)
            with _distribution(settings), _own_callbacks(settings, latest, backups):
                status = _execute(settings)
                if status == 0 and settings.output:
                    _save(latest.trained, settings.output)
            return status
    except drain.DrainedError:
        say("SIGTERM; left between two steps")
        return drain.EXIT_STATUS
    except KeyboardInterrupt:
        return 130
    except _PLAIN as error:
        say(str(error))
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
        if settings.metrics:
            made.append(Metrics())
        departures = Departures()
        if backups is None:
            return [*made, Leave(departures)]
        return [*made, backups.next(departures), Leave()]

    with add_callbacks(make):
        yield


@contextlib.contextmanager
def _distribution(settings: Settings) -> Iterator[None]:
    from .. import distribution

    # What HORNBEAM_WORKERS says is among the settings; it was taken when hornbeam was imported.
    os.environ.pop("HORNBEAM_WORKERS", None)
    distribution.set_distribution(None)
    if settings.workers is None:
        yield
        return
    workers = distribution.DataParallel(
        workers=settings.workers,
        cpus_per_worker=settings.cpus_per_worker,
        address=settings.address,
        start_timeout=settings.start_seconds,
    )
    with workers:
        distribution.set_distribution(workers)
        try:
            yield
        finally:
            distribution.set_distribution(None)


def _check(settings: Settings) -> None:
    """Find out now what would otherwise fail after hours of training."""
    if not os.path.isfile(settings.script):
        raise RunError(f"there is no script {settings.script}")
    if settings.workers is not None and importlib.util.find_spec("ray") is None:
        raise MissingDependencyError("ray", "training on several workers", "cluster")
    if settings.output:
        try:
            storage.check_writable(settings.output)
        except Exception as error:  # a store's client has errors of its own
            raise RunError(
                f"the model cannot be written to {settings.output} (--output or HORNBEAM_OUTPUT): "
                f"{type(error).__name__}: {error}"
            ) from error


def _execute(settings: Settings) -> int:
    """Run the script as Python itself would; return its status."""
    before = sys.argv, list(sys.path)
    sys.argv = [settings.script, *settings.arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(settings.script)))
    try:
        runpy.run_path(settings.script, run_name="__main__")
    except SystemExit as end:
        if end.code == signal.SIGTERM and drain.was_taken():
            raise drain.DrainedError("SIGTERM") from end
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
