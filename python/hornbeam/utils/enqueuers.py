"""Making batches ahead of their use, in threads or processes, in a fixed order.

Both enqueuers hand their batches over in the order in which one worker alone would make them, or
for processes over a generator in one that depends on nothing but their number. An exception in a
worker is raised where the batches are consumed, and `stop()` ends every worker.
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from ..errors import WorkerError
from .worker_processes import GeneratorProcess, fork_context, quiet_fork


class Sequence(ABC):
    """Batches by index: the form of input that can be made by several workers safely.

    Example:
        >>> class Squares(Sequence):
        ...     def __len__(self):
        ...         return 3
        ...     def __getitem__(self, index):
        ...         return index**2
        >>> list(Squares())
        [0, 1, 4]
    """

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        """Return the batch at an index, from 0 to `len(self) - 1`."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of batches."""

    def on_epoch_end(self) -> None:  # noqa: B027 - optional to override
        """Run after each epoch, for instance to draw a new order."""

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


class _End:
    """In a channel: there is no more."""


class _Failure:
    """In a channel: the worker failed."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Batch:
    """In a channel: a batch in the making, and the end of the epoch if it is the last one."""

    def __init__(self, future: Future, end: _EpochEnd | None) -> None:
        self.future = future
        self.end = end


class _EpochEnd:
    """The meeting of maker and consumer at the end of an epoch.

    The sequence's `on_epoch_end` runs when the epoch's last batch has been taken, not when it was
    made: a sequence that is read in part, or again later, is in a state that does not depend on how
    far ahead the workers had come.
    """

    def __init__(self) -> None:
        self._taken = threading.Event()
        self._done = threading.Event()

    def wait_until_taken(self) -> None:
        self._taken.wait()

    def take(self) -> None:
        """Say that the last batch is taken, and wait for `on_epoch_end`."""
        self._taken.set()
        self._done.wait()

    def finish(self) -> None:
        """Let everybody go on."""
        self._taken.set()
        self._done.set()


class _Channel:
    """A bounded queue that can be closed: whoever waits on it then goes on."""

    def __init__(self, size: int) -> None:
        self._items: deque[Any] = deque()
        self._size = max(1, size)
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Any) -> bool:
        """Wait for room and add an item; False when the channel is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._size)
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> Any:
        """Wait for an item and take it; `_End` when the channel is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
            if self._closed:
                return _End
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> list[Any]:
        """Close the channel and return what was still in it."""
        with self._changed:
            self._closed = True
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return left

    def qsize(self) -> int:
        """Return the number of items waiting."""
        return len(self._items)

    def empty(self) -> bool:
        """Tell whether no item is waiting."""
        return not self._items


class SequenceEnqueuer(ABC):
    """The common face of the enqueuers: `start`, then `get`, then `stop`.

    It is also a context manager that stops at the end of the block.
    """

    queue: Any = None

    @abstractmethod
    def start(self, workers: int = 1, max_q_size: int = 10) -> None:
        """Start making batches.

        Args:
            workers: the number of threads or processes.
            max_q_size: how many batches may wait.
        """

    @abstractmethod
    def is_running(self) -> bool:
        """Tell whether it was started and neither stopped nor failed."""

    @abstractmethod
    def stop(self, timeout: float | None = None) -> None:
        """End the workers.

        Args:
            timeout: seconds to wait for a thread that is in the middle of a batch.
        """

    @abstractmethod
    def get(self) -> Iterator[Any]:
        """Yield the batches; an exception of a worker is raised here."""

    def __enter__(self) -> SequenceEnqueuer:
        return self

    def __exit__(self, *args: Any) -> None:
        self.stop()


def _queue_size(max_q_size: int, later_name: int | None) -> int:
    return max_q_size if later_name is None else later_name


class OrderedEnqueuer(SequenceEnqueuer):
    """Make the batches of a `Sequence`, epoch after epoch, in order."""

    def __init__(
        self,
        sequence: Any,
        pickle_safe: bool = False,
        shuffle: bool = False,
        use_multiprocessing: bool | None = None,
    ) -> None:
        """Take the sequence.

        Args:
            sequence: the batches.
            pickle_safe: whether to use processes; threads otherwise.
            shuffle: whether each epoch has the batches in a new order, drawn with `random`.
            use_multiprocessing: the name of `pickle_safe` in later Keras versions.
        """
        self.sequence = sequence
        self.use_processes = pickle_safe if use_multiprocessing is None else use_multiprocessing
        self.shuffle = shuffle
        self.queue: _Channel | None = None
        self._runner: threading.Thread | None = None
        self._executor: Executor | None = None
        self._end = _EpochEnd()
        self._seed = 0

    def start(
        self, workers: int = 1, max_q_size: int = 10, max_queue_size: int | None = None
    ) -> None:
        """Start making batches; see `SequenceEnqueuer.start`."""
        self.stop()
        self._workers = max(1, workers)
        self.queue = _Channel(_queue_size(max_q_size, max_queue_size))
        self._seed = int(np.random.randint(2**31)) if self.use_processes else 0
        self._executor = self._make_executor(0)
        self._runner = threading.Thread(target=self._run, args=(self.queue,), daemon=True)
        self._runner.start()

    def is_running(self) -> bool:
        """Tell whether it was started and not stopped."""
        return self.queue is not None

    def stop(self, timeout: float | None = None) -> None:
        """End the workers; batches that nobody took are dropped."""
        channel, self.queue = self.queue, None
        if channel is None:
            return
        for item in channel.close():
            if isinstance(item, _Batch):
                item.future.cancel()
        self._end.finish()
        if self._runner is not None:
            self._runner.join(timeout)
        if self._executor is not None:
            self._executor.shutdown(wait=timeout is None, cancel_futures=True)
        self._runner = self._executor = None

    def get(self) -> Iterator[Any]:
        """Yield the batches, epoch after epoch without an end."""
        channel = self.queue
        if channel is None:
            raise RuntimeError("OrderedEnqueuer: get() was called before start()")
        while (item := channel.get()) is not _End:
            try:
                if isinstance(item, _Failure):
                    raise item.error
                batch = item.future.result()
                if item.end is not None:
                    item.end.take()
            except BrokenProcessPool as error:
                self.stop()
                raise WorkerError(
                    "A worker process that made batches died. The memory may have run out, or "
                    "the code that makes batches ended the process."
                ) from error
            except BaseException:
                self.stop()
                raise
            yield batch

    def _make_executor(self, epoch: int) -> Executor:
        if not self.use_processes:
            return ThreadPoolExecutor(self._workers, thread_name_prefix="hornbeam-batches")
        executor = ProcessPoolExecutor(
            self._workers,
            mp_context=fork_context(),
            initializer=_adopt_sequence,
            initargs=(self.sequence, self._seed, epoch),
        )
        # Starts the processes here and now, in the thread that knows the sequence's state.
        with quiet_fork():
            executor.submit(int)
        return executor

    def _submit(self, index: int) -> Future:
        assert self._executor is not None
        if self.use_processes:
            return self._executor.submit(_adopted_batch, index)
        return self._executor.submit(self.sequence.__getitem__, index)

    def _run(self, channel: _Channel) -> None:
        """Keep the channel full; runs in a thread of its own."""
        # The draws of `shuffle` come from a generator of their own: the user's thread goes on
        # drawing from `random` meanwhile, and the order must not depend on how the two interleave.
        order_source = random.Random(random.random() if self.shuffle else 0)
        try:
            epoch = 0
            while True:
                order = list(range(len(self.sequence)))
                if not order:
                    raise ValueError("OrderedEnqueuer: the sequence has no batches (its len is 0)")
                if self.shuffle:
                    order_source.shuffle(order)
                futures = []
                self._end = _EpochEnd()
                for index in order:
                    futures.append(self._submit(index))
                    last = len(futures) == len(order)
                    if not channel.put(_Batch(futures[-1], self._end if last else None)):
                        return
                self._end.wait_until_taken()
                if self.queue is not channel:
                    return
                epoch += 1
                self._end_epoch(futures, epoch)
                self._end.finish()
        except BaseException as error:
            # After stop() the channel is closed and takes nothing: then nobody is to be told.
            channel.put(_Failure(error))
        finally:
            self._end.finish()

    def _end_epoch(self, futures: list[Future], epoch: int) -> None:
        # No batch of this epoch may see the state that on_epoch_end leaves.
        wait(futures)
        end = getattr(type(self.sequence), "on_epoch_end", None)
        if end is None or end is Sequence.on_epoch_end:
            return
        self.sequence.on_epoch_end()
        if self.use_processes and self.queue is not None and self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = self._make_executor(epoch)


# In a worker process: the sequence it was started with, and what its random numbers depend on.
_adopted: tuple[Any, int, int] | None = None


def _adopt_sequence(sequence: Any, seed: int, epoch: int) -> None:
    global _adopted
    _adopted = (sequence, seed, epoch)


def _adopted_batch(index: int) -> Any:
    assert _adopted is not None
    sequence, seed, epoch = _adopted
    # Forked workers share their parent's state: without this all would draw the same numbers.
    # Seeding by the batch makes the draws independent of which worker makes it.
    np.random.seed(np.random.SeedSequence((seed, epoch, index)).generate_state(4))
    return sequence[index]


class GeneratorEnqueuer(SequenceEnqueuer):
    """Take batches from a generator, ahead of their use.

    With threads the generator is run by one of them at a time, which keeps its order. With
    processes each has its own copy of the generator, as in Keras: it must yield random batches, or
    everything is yielded once by each worker.
    """

    def __init__(
        self,
        generator: Iterator[Any],
        pickle_safe: bool = False,
        wait_time: float = 0.05,
        random_seed: int | None = None,
        use_multiprocessing: bool | None = None,
    ) -> None:
        """Take the generator.

        Args:
            generator: an iterator over batches, usually endless.
            pickle_safe: whether to use processes; threads otherwise.
            wait_time: accepted as in Keras; waiting here takes no polling.
            random_seed: what the NumPy generators of the processes are seeded with; drawn from
                `numpy.random` by default.
            use_multiprocessing: the name of `pickle_safe` in later Keras versions.
        """
        self.wait_time = wait_time
        self.random_seed = random_seed
        self.use_processes = pickle_safe if use_multiprocessing is None else use_multiprocessing
        self._generator = iter(generator)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._processes: list[GeneratorProcess] = []
        self.queue: _Channel | None = None

    def start(
        self,
        workers: int = 1,
        max_q_size: int = 10,
        wait_time: float = 0.05,
        max_queue_size: int | None = None,
    ) -> None:
        """Start taking batches; see `SequenceEnqueuer.start`."""
        self.stop()
        size = _queue_size(max_q_size, max_queue_size)
        self.queue = channel = _Channel(size)
        workers = max(1, workers)
        if self.use_processes:
            seed = self.random_seed
            if seed is None:
                seed = int(np.random.randint(2**31))
            ahead = max(1, size // workers)
            self._processes = [
                GeneratorProcess(self._generator, (seed, i), ahead) for i in range(workers)
            ]
            tasks = [threading.Thread(target=self._collect, args=(channel,), daemon=True)]
        else:
            tasks = [
                threading.Thread(target=self._produce, args=(channel,), daemon=True)
                for _ in range(workers)
            ]
        self._threads = tasks
        for thread in tasks:
            thread.start()

    def is_running(self) -> bool:
        """Tell whether it was started and not stopped."""
        return self.queue is not None

    def stop(self, timeout: float | None = None) -> None:
        """End the workers; batches that nobody took are dropped."""
        channel, self.queue = self.queue, None
        if channel is None:
            return
        channel.close()
        for process in self._processes:
            process.stop()
        for thread in self._threads:
            thread.join(timeout)
        # Only now: until then the collecting thread may be reading from them.
        for process in self._processes:
            process.close()
        self._threads, self._processes = [], []

    def get(self) -> Iterator[Any]:
        """Yield the batches until the generator ends."""
        channel = self.queue
        if channel is None:
            raise RuntimeError("GeneratorEnqueuer: get() was called before start()")
        while (item := channel.get()) is not _End:
            if isinstance(item, _Failure):
                self.stop()
                raise item.error
            yield item
        self.stop()

    def _produce(self, channel: _Channel) -> None:
        """Run the generator; in a thread of its own."""
        while True:
            # The batch goes into the channel under the same lock, or two could change places.
            with self._lock:
                try:
                    item = next(self._generator)
                except StopIteration:
                    channel.put(_End)
                    return
                except BaseException as error:
                    channel.put(_Failure(error))
                    return
                if not channel.put(item):
                    return

    def _collect(self, channel: _Channel) -> None:
        """Take the processes' batches in turn; in a thread of its own."""
        alive = list(self._processes)
        try:
            while alive:
                for process in list(alive):
                    try:
                        item = process.receive()
                    except StopIteration:
                        alive.remove(process)
                        continue
                    if not channel.put(item):
                        return
            channel.put(_End)
        except BaseException as error:
            channel.put(_Failure(error))
