"""Batches made ahead: order, errors, ends, and that nothing is left running."""

import multiprocessing
import os
import random
import threading
import time

import numpy as np
import pytest

from hornbeam.errors import WorkerError
from hornbeam.utils import data_utils
from hornbeam.utils.data_utils import GeneratorEnqueuer, OrderedEnqueuer


class Counting(data_utils.Sequence):
    """Batches that say their index and the epoch, the later ones quicker than the first."""

    def __init__(self, length=6, delay=0.002):
        self.length = length
        self.delay = delay
        self.epoch = 0

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        time.sleep(self.delay * (self.length - index))
        return index, self.epoch

    def on_epoch_end(self):
        self.epoch += 1


class Failing(Counting):
    def __getitem__(self, index):
        if index == 3:
            raise KeyError("batch 3")
        return super().__getitem__(index)


class Plain(data_utils.Sequence):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return np.random.randint(10**9), os.getpid()


def take(batches, n):
    return [next(batches) for _ in range(n)]


@pytest.fixture(autouse=True)
def nothing_left_running():
    threads = threading.active_count()
    yield
    deadline = time.monotonic() + 10
    while threading.active_count() > threads or multiprocessing.active_children():
        assert time.monotonic() < deadline, (
            threading.enumerate(),
            multiprocessing.active_children(),
        )
        time.sleep(0.01)


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize(("workers", "ahead"), [(1, 10), (3, 1), (4, 10)])
def test_a_sequence_comes_in_order_epoch_after_epoch(processes, workers, ahead):
    with OrderedEnqueuer(Counting(), pickle_safe=processes) as enqueuer:
        enqueuer.start(workers=workers, max_q_size=ahead)
        found = take(enqueuer.get(), 15)
    assert found == [(i % 6, i // 6) for i in range(15)]
    assert not enqueuer.is_running()


@pytest.mark.parametrize("processes", [False, True])
def test_an_error_in_a_sequence_reaches_the_consumer(processes):
    enqueuer = OrderedEnqueuer(Failing(), use_multiprocessing=processes)
    enqueuer.start(workers=2, max_queue_size=4)
    batches = enqueuer.get()
    assert take(batches, 3) == [(0, 0), (1, 0), (2, 0)]
    with pytest.raises(KeyError, match="batch 3"):
        next(batches)
    assert not enqueuer.is_running()


def test_an_error_at_the_end_of_an_epoch_reaches_the_consumer():
    class Bad(Counting):
        def on_epoch_end(self):
            raise OSError("no disk")

    enqueuer = OrderedEnqueuer(Bad(2))
    enqueuer.start()
    batches = enqueuer.get()
    take(batches, 2)
    with pytest.raises(OSError, match="no disk"):
        next(batches)


def test_a_sequence_without_batches_says_so():
    enqueuer = OrderedEnqueuer(Counting(0))
    enqueuer.start()
    with pytest.raises(ValueError, match="no batches"):
        next(enqueuer.get())


def test_shuffled_epochs_hold_each_batch_once_and_follow_the_seed():
    def epochs():
        random.seed(5)
        with OrderedEnqueuer(Counting(20, 0), shuffle=True) as enqueuer:
            enqueuer.start(workers=3)
            return [i for i, _ in take(enqueuer.get(), 40)]

    first = epochs()
    assert sorted(first[:20]) == sorted(first[20:]) == list(range(20))
    assert first[:20] != first[20:] and first[:20] != list(range(20))
    assert epochs() == first


def test_random_batches_of_processes_depend_on_the_seed_alone():
    def draw(workers):
        np.random.seed(3)
        with OrderedEnqueuer(Plain(), pickle_safe=True) as enqueuer:
            enqueuer.start(workers=workers)
            return take(enqueuer.get(), 5)

    one, three = draw(1), draw(3)
    assert [value for value, _ in one] == [value for value, _ in three]
    assert len({value for value, _ in one}) == 5
    assert os.getpid() not in {pid for _, pid in one + three}


def test_no_more_batches_are_made_than_may_wait():
    made = []

    class Records(Counting):
        def __getitem__(self, index):
            made.append(index)
            return index

    with OrderedEnqueuer(Records(50)) as enqueuer:
        enqueuer.start(workers=1, max_q_size=3)
        batches = enqueuer.get()
        next(batches)
        time.sleep(0.1)
        # Three wait, one was taken, and one more may be on its way into the full queue.
        assert 1 <= len(made) <= 5


def test_a_died_process_is_reported():
    class Dies(Counting):
        def __getitem__(self, index):
            os._exit(3)

    enqueuer = OrderedEnqueuer(Dies(), pickle_safe=True)
    enqueuer.start()
    with pytest.raises(WorkerError, match="died"):
        next(enqueuer.get())


def numbers(n=None, fail_at=None):
    i = 0
    while n is None or i < n:
        if i == fail_at:
            raise KeyError(f"number {i}")
        yield i
        i += 1


@pytest.mark.parametrize("workers", [1, 4])
def test_a_generator_in_threads_keeps_its_order(workers):
    with GeneratorEnqueuer(numbers()) as enqueuer:
        enqueuer.start(workers=workers, max_q_size=3)
        assert enqueuer.is_running()
        assert take(enqueuer.get(), 100) == list(range(100))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_generator_that_ends(workers):
    enqueuer = GeneratorEnqueuer(numbers(7))
    enqueuer.start(workers=workers)
    assert list(enqueuer.get()) == list(range(7))
    assert not enqueuer.is_running()


def test_processes_take_turns():
    enqueuer = GeneratorEnqueuer(numbers(4), pickle_safe=True)
    enqueuer.start(workers=3, max_q_size=3)
    assert list(enqueuer.get()) == [i for i in range(4) for _ in range(3)]


@pytest.mark.parametrize("processes", [False, True])
def test_an_error_in_a_generator_reaches_the_consumer(processes):
    enqueuer = GeneratorEnqueuer(numbers(fail_at=2), pickle_safe=processes)
    enqueuer.start()
    batches = enqueuer.get()
    assert take(batches, 2) == [0, 1]
    with pytest.raises(KeyError, match="number 2") as caught:
        next(batches)
    if processes:
        assert "Traceback" in str(caught.value.__cause__)


class Unportable(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def test_an_error_that_cannot_travel_is_told_as_text():
    def bad():
        raise Unportable(1, 2)
        yield

    enqueuer = GeneratorEnqueuer(bad(), pickle_safe=True)
    enqueuer.start()
    with pytest.raises(WorkerError, match="Unportable"):
        next(enqueuer.get())


def test_a_generator_process_that_dies_is_reported():
    def dies():
        yield 1
        os._exit(4)

    enqueuer = GeneratorEnqueuer(dies(), pickle_safe=True)
    enqueuer.start()
    batches = enqueuer.get()
    assert next(batches) == 1
    with pytest.raises(WorkerError, match="exit code 4"):
        next(batches)


def test_processes_draw_different_numbers_and_follow_the_seed():
    def draws():
        while True:
            yield np.random.randint(10**9)

    def run(seed):
        with GeneratorEnqueuer(draws(), pickle_safe=True, random_seed=seed) as enqueuer:
            enqueuer.start(workers=2)
            return take(enqueuer.get(), 10)

    first = run(1)
    assert len(set(first)) == 10 and run(1) == first and run(2) != first


@pytest.mark.parametrize("processes", [False, True])
def test_stop_frees_workers_that_wait_for_room(processes):
    enqueuer = GeneratorEnqueuer(numbers(), pickle_safe=processes)
    enqueuer.start(workers=3, max_q_size=1)
    time.sleep(0.05)
    enqueuer.stop()
    enqueuer.stop()
    assert not enqueuer.is_running()


def test_stop_frees_a_consumer_that_waits():
    gate = threading.Event()

    def waits():
        gate.wait()
        yield 1

    enqueuer = GeneratorEnqueuer(waits())
    enqueuer.start()
    found = []
    consumer = threading.Thread(target=lambda: found.extend(enqueuer.get()))
    consumer.start()
    time.sleep(0.05)
    enqueuer.stop(timeout=0.01)
    consumer.join(5)
    assert not consumer.is_alive() and found == []
    gate.set()


def test_starting_again_goes_on_with_the_generator():
    enqueuer = GeneratorEnqueuer(numbers())
    enqueuer.start(max_q_size=1)
    take(enqueuer.get(), 3)
    enqueuer.start(max_q_size=1)
    assert next(enqueuer.get()) >= 3
    enqueuer.stop()


def test_get_before_start():
    for enqueuer in (GeneratorEnqueuer(numbers()), OrderedEnqueuer(Counting())):
        with pytest.raises(RuntimeError, match="before start"):
            next(enqueuer.get())


def test_a_sequence_can_be_iterated_over():
    assert [i for i, _ in Counting(4, 0)] == [0, 1, 2, 3]


@pytest.mark.parametrize("taken", [0, 2, 5, 6, 8, 12])
def test_an_epoch_ends_when_its_last_batch_is_taken(taken):
    """However far ahead the workers are: what a later run finds depends on what was taken alone."""
    sequence = Counting(delay=0)
    with OrderedEnqueuer(sequence) as enqueuer:
        enqueuer.start(workers=3, max_q_size=30)
        take(enqueuer.get(), taken)
        time.sleep(0.02)
    assert sequence.epoch == taken // 6
