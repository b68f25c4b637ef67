"""Ending a run on SIGTERM, with a checkpoint and before the pod's grace is over.

`python -m hornbeam.run.drain` is the other side, a container's preStop hook: Kubernetes signals
the first process of a container alone, which is `ray start` and not the driver. The hook signals
the runs of its container and waits for them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

# What a shell reports for a process that SIGTERM has ended.
EXIT_STATUS = 128 + signal.SIGTERM
_FOLDER = Path(tempfile.gettempdir()) / "hornbeam-runs"


class DrainedError(KeyboardInterrupt):
    """The run was told to leave. It passes `except Exception` as Ctrl-C does."""


class _State:
    """Whether SIGTERM has come, and whether somebody looks for it between steps."""

    told = False
    deferred = False


def told() -> bool:
    """Tell whether the run has been told to leave."""
    return _State.told


def defer(deferred: bool) -> None:
    """Say whether `leave_if_told` is called soon, so that the handler need not interrupt."""
    _State.deferred = deferred


def leave_if_told() -> None:
    """Leave if the run has been told to.

    Raises:
        DrainedError: when it has.
    """
    if _State.told:
        raise DrainedError("SIGTERM")


@contextlib.contextmanager
def on_sigterm(seconds: float) -> Iterator[None]:
    """Inside the block, SIGTERM raises `DrainedError` once; during a `fit`, between two steps.

    Args:
        seconds: when the process exits, whatever it does then.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        late = threading.Timer(seconds, os._exit, [EXIT_STATUS])
        late.daemon = True
        late.start()
        _State.told = True
        if not _State.deferred:
            raise DrainedError("SIGTERM")

    _State.told = _State.deferred = False
    before = signal.signal(signal.SIGTERM, handle)
    entry = _FOLDER / str(os.getpid())
    _FOLDER.mkdir(mode=0o700, exist_ok=True)
    entry.write_text(str(seconds))
    try:
        yield
    finally:
        entry.unlink(missing_ok=True)
        signal.signal(signal.SIGTERM, before)


def drain(folder: Path = _FOLDER, patience: float | None = None) -> int:
    """Signal the runs of this container and wait until they have left.

    Args:
        folder: where runs leave their process numbers.
        patience: seconds to wait; by default the longest that a run has said to need.

    Returns:
        The number of runs that are still there.
    """
    runs = {int(p.name): float(p.read_text()) for p in folder.glob("[0-9]*") if _is_run(p.name)}
    for pid in runs:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + (max(runs.values(), default=0.0) if patience is None else patience)
    while any(_is_run(str(pid)) for pid in runs) and time.monotonic() < end:
        time.sleep(0.1)
    return sum(_is_run(str(pid)) for pid in runs)


def _is_run(pid: str) -> bool:
    """Tell whether a process is a run: a number may have passed on to another process."""
    try:
        arguments = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        state = Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return b"hornbeam.run" in arguments and state != "Z"


if __name__ == "__main__":
    raise SystemExit(1 if drain() else 0)
