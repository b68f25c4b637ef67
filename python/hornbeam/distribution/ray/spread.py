"""A `Sequence` whose batches are made on the workers, wherever they are.

So it is where a user asks for processes that make batches: with Ray's threads in the driver,
forking it would be unsafe, and its machine may be a small one. What is random in a batch depends on
the epoch and the batch's index alone, not on who makes it.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

if TYPE_CHECKING:
    from .controller import Crew

# Seconds that a worker may take for a batch before another is asked.
_PATIENCE = 300.0


class SpreadSequence:
    """The batches of a sequence, made by a crew's workers.

    Args:
        crew: the workers.
        sequence: the user's sequence; a copy of it goes to each worker, again after each epoch
            whose end changes it (`on_epoch_end`).

    Raises:
        ValueError: when it cannot be sent.
    """

    def __init__(self, crew: Crew, sequence: Any) -> None:
        self._crew, self._sequence = crew, sequence
        self._seed = int(np.random.randint(2**31))
        self._epoch = 0
        self._turns = itertools.count()
        self._lock = threading.Lock()
        self._sent = self._send()

    def _send(self) -> list[Any]:
        try:
            # In a list, a reference arrives as such: a worker gets the sequence once.
            return [ray.put(self._sequence)]
        except Exception as error:
            why = str(error.__cause__ or error).splitlines()[0].rstrip(".")
            raise ValueError(
                f"{type(self._sequence).__name__} cannot be sent to the workers, which are to make "
                f"its batches: {why}. Open files and the like in its __getitem__, or let threads "
                "of this process make the batches (use_multiprocessing=False)."
            ) from None

    def __len__(self) -> int:
        return len(self._sequence)

    def __getitem__(self, index: int) -> Any:
        """Have a worker make a batch; another one if it is lost."""
        seed = np.random.SeedSequence([self._seed, self._epoch, index]).generate_state(4)
        while True:
            with self._lock:
                members = self._crew.current() or self._crew.entered()
                turn = next(self._turns)
            if members:
                member = members[turn % len(members)]
                reference = member.handle.make_batch.remote(self._sent, index, seed)
                done, _ = ray.wait([reference], timeout=_PATIENCE)
                if done:
                    try:
                        return ray.get(reference)
                    except ray.exceptions.RayActorError:
                        pass
                    except ray.exceptions.RayTaskError as error:
                        raise error.as_instanceof_cause() from None
            threading.Event().wait(0.05)

    def on_epoch_end(self) -> None:
        """Let the sequence change itself, and send it again."""
        self._epoch += 1
        changes = getattr(self._sequence, "on_epoch_end", None)
        if changes is not None and _overridden(self._sequence):
            changes()
            self._sent = self._send()


def _overridden(sequence: Any) -> bool:
    from ...utils import Sequence

    return type(sequence).on_epoch_end is not getattr(Sequence, "on_epoch_end", None)


class BatchMaker:
    """A worker's side: the sequence that it has, and one batch at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: tuple[Any, Any] = (None, None)

    def make(self, sent: list[Any], index: int, seed: np.ndarray) -> Any:
        """Return a batch, with NumPy's random state that belongs to it."""
        with self._lock:
            if self._held[0] != sent[0]:
                self._held = (sent[0], ray.get(sent[0]))
            before = np.random.get_state()
            np.random.seed(seed)
            try:
                return self._held[1][index]
            finally:
                np.random.set_state(before)
