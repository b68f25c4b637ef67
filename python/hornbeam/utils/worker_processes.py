"""Processes that run a generator each and send what it yields."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import WorkerError


def fork_context() -> Any:
    """Return the way of starting processes that shares the parent's memory.

    A generator cannot be pickled, so it reaches a process by forking only.

    Raises:
        WorkerError: where the system cannot fork.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise WorkerError(
            "Batches can be made in processes (pickle_safe / use_multiprocessing) only where a "
            "process can fork, which this system cannot. Use threads: pickle_safe=False."
        )
    return multiprocessing.get_context("fork")


@contextlib.contextmanager
def quiet_fork() -> Iterator[None]:
    """Silence Python's advice against forking with threads: the workers use none of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        yield


class GeneratorProcess:
    """A process with its own copy of a generator, at most a few items ahead of its reader."""

    def __init__(self, generator: Iterator[Any], seed: tuple[int, ...], ahead: int) -> None:
        """Start the process.

        Args:
            generator: what to run.
            seed: what the process's NumPy generator is seeded with.
            ahead: how many items may be sent before one is read.
        """
        context = fork_context()
        self._reader, writer = context.Pipe(duplex=False)
        self._room = context.Semaphore(ahead)
        self._process = context.Process(
            target=_serve, args=(generator, seed, writer, self._room), daemon=True
        )
        with quiet_fork():
            self._process.start()
        writer.close()  # the child's copy is the only one left: its end closes the pipe

    def receive(self) -> Any:
        """Wait for the next item.

        Raises:
            StopIteration: when the generator has ended.
            WorkerError: when the process died.
            Exception: the one that the generator raised.
        """
        try:
            kind, payload = self._reader.recv()
        except (EOFError, OSError):
            self._process.join(1.0)
            raise WorkerError(
                "A worker process that made batches died (exit code "
                f"{self._process.exitcode}). The memory may have run out, or the generator ended "
                "the process."
            ) from None
        self._room.release()
        if kind == "item":
            return payload
        if kind == "end":
            raise StopIteration
        error, text = payload
        if error is None:
            raise WorkerError(f"The generator failed in a worker process:\n{text}")
        raise error from WorkerError(f"in a worker process:\n{text}")

    def stop(self) -> None:
        """End the process; whoever waits in `receive` gets a WorkerError."""
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()

    def close(self) -> None:
        """Give the pipe back, after `stop` and when nobody is in `receive`."""
        self._reader.close()


def _serve(generator: Iterator[Any], seed: tuple[int, ...], writer: Any, room: Any) -> None:
    """Send what the generator yields; runs in the process."""
    np.random.seed(np.random.SeedSequence(seed).generate_state(4))
    parent = os.getppid()
    try:
        while True:
            while not room.acquire(timeout=5.0):
                if os.getppid() != parent:
                    return  # the reader was killed and will make no room
            try:
                item = next(generator)
            except StopIteration:
                writer.send(("end", None))
                return
            writer.send(("item", item))
    except BrokenPipeError:
        return  # nobody reads any more
    except BaseException as error:
        text = traceback.format_exc()
        writer.send(("error", (_portable(error), text)))


def _portable(error: BaseException) -> BaseException | None:
    """Return the error if it survives the way to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return None
    return error
