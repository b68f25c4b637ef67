"""Which workers were lost and why: the user is told, and a crew that only dies is given up."""

from __future__ import annotations

import logging
import re
from typing import Any

import ray

_LOG = logging.getLogger("hornbeam")
# Seconds that Ray has to say what became of a process.
_ASK = 0.2


class Losses:
    """Tells of each loss, and counts those since the last step.

    Args:
        limit: losses without a step in between after which it makes no sense to go on.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._since_step = 0
        self._program, self._step = -1, -1
        self._latest = ""

    def note(self, name: str, handle: Any, reason: str) -> None:
        """Take a loss, and tell the user of it."""
        self._since_step += 1
        cause = cause_of_death(handle)
        self._latest = f"worker {name} was lost ({reason}{'; ' if cause else ''}{cause})"
        _LOG.warning("%s; training goes on without it.", self._latest)

    def stepped(self, program: int, step: int) -> None:
        """Take which step of which program was done; one that is done again does not count."""
        if program != self._program or step > self._step:
            self._program, self._step, self._since_step = program, step, 0

    def verdict(self) -> str | None:
        """Return why training cannot go on, if so."""
        if self._since_step < self._limit:
            return None
        return (
            f"{self._since_step} workers were lost one after the other, without a step in "
            f"between. The latest: {self._latest}. If they run out of memory, use a smaller batch "
            "or more workers, or give the nodes more memory."
        )


def cause_of_death(handle: Any) -> str:
    """Return in a few words what Ray knows of the end of an actor's process; '' for nothing."""
    reference = handle.describe.remote()
    done, _ = ray.wait([reference], timeout=_ASK)
    if not done:
        return ""
    try:
        ray.get(reference)
    except Exception as error:
        return summary(str(error))
    return ""


def summary(text: str) -> str:
    """Return the words of Ray's message that say how a process ended."""
    lowered = text.lower()
    if "running low on memory" in lowered or "outofmemory" in lowered:
        return "Ray ended it since its node ran low on memory"
    detail = re.search(r"Worker exit detail: ([^.]*\.)", text)
    if detail is None:
        return ""
    known = detail[1].strip().rstrip(".")
    if "connection error" in known.lower():
        return "its process ended as after a SIGKILL, perhaps for want of memory, or a crash"
    return known
