"""Ending a run on SIGTERM, with a checkpoint and before the pod's grace is over.

`python -m hornbeam.run.drain` is the other side, a container's preStop hook: Kubernetes signals
the first process of a container alone, which is `ray start` and not the driver. The hook signals
the runs of its container and waits for them. Where it finds workers instead, it gives them notice
(`distribution.leaving`) and waits until the run has made a checkpoint and let them go.
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
from typing import Any

from ..distribution import leaving

# What a shell reports for a process that SIGTERM has ended.
EXIT_STATUS = 128 + signal.SIGTERM
_FOLDER = Path(tempfile.gettempdir()) / f"hornbeam-runs-{os.getuid()}"


class DrainedError(KeyboardInterrupt):
    """The run was told to leave. It passes `except Exception` as Ctrl-C does."""


class _State:
    """Whether SIGTERM has come, and whether somebody looks for it between steps."""

    told = False
    deferred = False
    handler: Any = None


def told() -> bool:
    """Tell whether the run has been told to leave."""
    return _State.told


def defer(deferred: bool) -> None:
    """Say whether `leave_if_told` is called soon, so that the handler need not interrupt."""
    _State.deferred = deferred


def listen() -> None:
    """Handle SIGTERM again: Ray takes the signal as a driver connects, and exits by it at once."""
    if _State.handler is not None and not _State.told:
        with contextlib.suppress(ValueError):  # in another thread than the main one
            signal.signal(signal.SIGTERM, _State.handler)


def was_taken() -> bool:
    """Tell whether SIGTERM would now go to somebody else's handler, as Ray's."""
    return _State.handler is not None and signal.getsignal(signal.SIGTERM) is not _State.handler


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
    _State.handler = handle
    entry = _FOLDER / str(os.getpid())
    _FOLDER.mkdir(mode=0o700, exist_ok=True)
    entry.write_text(str(seconds))
    try:
        yield
    finally:
        entry.unlink(missing_ok=True)
        _State.handler = None
        signal.signal(signal.SIGTERM, before)


def drain(patience: float) -> int:
    """Signal the runs of this container, give its workers notice, and wait until all have left.

    Args:
        patience: seconds to wait for workers; a run has said itself how many it needs at most.

    Returns:
        The number of runs and workers that are still there.
    """
    runs = {int(p.name): float(p.read_text()) for p in _FOLDER.glob("[0-9]*") if _is_run(p.name)}
    for pid in runs:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    began = time.monotonic()
    with _notice():
        while True:
            waited = time.monotonic() - began
            left = [pid for pid, own in runs.items() if _is_run(str(pid)) and waited < own]
            late = [pid for pid in leaving.waiting() if waited < patience]
            if not left and not late:
                break
            time.sleep(0.1)
    return sum(_is_run(str(pid)) for pid in runs) + len(leaving.waiting())


@contextlib.contextmanager
def _notice() -> Iterator[None]:
    """Inside the block, the workers of this container have notice, if there are any."""
    if not leaving.waiting():
        yield
        return
    leaving.give_notice()
    try:
        yield
    finally:
        leaving.withdraw_notice()


def _is_run(pid: str) -> bool:
    """Tell whether a process is a run: a number may have passed on to another process."""
    try:
        arguments = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        state = Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return b"hornbeam.run" in arguments and state != "Z"


if __name__ == "__main__":
    raise SystemExit(1 if drain(float(os.environ.get("HORNBEAM_DRAIN_SECONDS") or 25)) else 0)
