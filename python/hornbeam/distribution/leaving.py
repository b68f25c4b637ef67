"""How a machine that is about to go tells the run whose workers it has.

Kubernetes runs a container's preStop hook and waits for it before it ends the container. The hook
(`hornbeam.run.drain`) and the workers of the container have a folder in common: each worker has a
file there as long as it is needed, and the hook makes one that says that the machine goes. The
driver learns of it from the worker, makes a checkpoint, and lets the worker go.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

_NOTICE = "leaving"


def folder() -> Path:
    """Return the folder, which each user has for himself."""
    return Path(tempfile.gettempdir()) / f"hornbeam-workers-{os.getuid()}"


def arrive() -> None:
    """Say that this process is a worker, whose machine should not go without notice."""
    with contextlib.suppress(OSError):
        folder().mkdir(mode=0o700, exist_ok=True)
        (folder() / str(os.getpid())).touch()


def let_go() -> None:
    """Say that the machine may go as far as this process is concerned."""
    with contextlib.suppress(OSError):
        (folder() / str(os.getpid())).unlink(missing_ok=True)


def is_told() -> bool:
    """Tell whether the machine is about to go."""
    return (folder() / _NOTICE).exists()


def give_notice() -> None:
    """Say that the machine is about to go."""
    folder().mkdir(mode=0o700, exist_ok=True)
    (folder() / _NOTICE).touch()


def withdraw_notice() -> None:
    """Say that it stays."""
    (folder() / _NOTICE).unlink(missing_ok=True)


def waiting() -> list[int]:
    """Return the processes that are workers here and have not been let go."""
    return [int(p.name) for p in folder().glob("[0-9]*") if _is_worker(p.name)]


def _is_worker(pid: str) -> bool:
    """Tell whether a process is a worker: Ray gives an actor's process the name of its class."""
    try:
        name = Path("/proc", pid, "cmdline").read_bytes()
        state = Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return b"HornbeamWorker" in name and state != "Z"
