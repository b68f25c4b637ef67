"""Each way in which a worker or the network can fail, in processes without Ray: the same bits.

Relays between the workers (see `links`) tell by counting bytes where in a step something happens.
"""

import functools
import signal

import pytest
from distributed.launching import Job, finish, train
from distributed.links import Link

pytestmark = pytest.mark.slow
SHARDS = 4
# What a connection of the case `mlp` carries one way: the handshake, then so much a step.
HANDSHAKE, STEP = 352, 3150


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the results of undisturbed training, computed once for a case and its epochs."""

    @functools.lru_cache
    def compute(case="mlp", epochs=3):
        return train(tmp_path_factory.mktemp("alone"), case, 1, epochs=epochs)[0]

    return compute


def failures(workers):
    """Return what kinds of error the workers report as a generation ends."""
    said = [worker.hear() for worker in workers]
    assert all("failed" in message for message in said), said
    return [message["kind"] for message in said]


# From the first exchange of the training to its end: a step's beginning, partial sums on their way,
# finished sums on their way, and all sums there, so that the victim is in its update.
MOMENTS = [HANDSHAKE + 10, *(HANDSHAKE + 4 * STEP + i * STEP // 4 for i in range(4)), 15 * STEP]


@pytest.mark.parametrize("at", MOMENTS)
def test_a_death_at_any_byte_does_not_show(at, expected, tmp_path):
    with Job(tmp_path, "mlp", SHARDS) as job:
        first, second, victim = (job.launch() for _ in range(3))
        with Link(victim.address, at, lambda: victim.signal(signal.SIGKILL), True) as link:
            job.form(job.workers, {(0, 2): link})
            failures([first, second])
            assert link.happened.is_set()
        job.form([first, second])
        assert finish([first, second]) == expected()


def test_two_deaths_at_once_do_not_show(expected, tmp_path):
    with Job(tmp_path, "mlp", SHARDS) as job:
        first, second, third, fourth = (job.launch() for _ in range(4))

        def kill():
            second.signal(signal.SIGKILL)
            fourth.signal(signal.SIGKILL)

        with Link(fourth.address, HANDSHAKE + 5 * STEP + STEP // 2, kill) as link:
            job.form(job.workers, {(0, 3): link})
            failures([first, third])
            assert link.happened.is_set()
        job.form([first, third])
        assert finish([first, third]) == expected()


@pytest.mark.parametrize(
    ("act", "backwards", "kind"),
    [
        ("corrupt", False, "corrupt"),
        ("corrupt", True, "corrupt"),
        ("cut", False, "lost"),
        ("reset", True, "lost"),
    ],
)
def test_a_faulty_connection_does_not_show(act, backwards, kind, expected, tmp_path):
    with Job(tmp_path, "mlp", SHARDS) as job:
        workers = [job.launch() for _ in range(3)]
        at = HANDSHAKE + 4 * STEP + 321
        with Link(workers[2].address, at, act, backwards) as link:
            if act == "reset":
                link.act = link.reset
            job.form(workers, {(0, 2): link})
            assert kind in failures(workers)
            assert link.happened.is_set()
        job.form(workers)
        assert finish(workers) == expected()


def test_a_slow_connection_fails_nothing(expected, tmp_path):
    with Job(tmp_path, "mlp", SHARDS) as job:
        workers = [job.launch() for _ in range(3)]
        with Link(workers[2].address, HANDSHAKE + 4 * STEP, "hold") as link:
            job.form(workers, {(0, 2): link})
            assert finish(workers) == expected()
            assert link.happened.is_set()


def test_a_stopped_worker_is_left_behind_and_disturbs_nobody(expected, tmp_path):
    """It goes on after it was replaced, and even tries to form the generations it has missed."""
    with Job(tmp_path, "mlp", SHARDS, epochs=300) as job:
        first, second, victim = (job.launch() for _ in range(3))
        with Link(
            victim.address, HANDSHAKE + 9 * STEP, lambda: victim.signal(signal.SIGSTOP)
        ) as link:
            job.form(job.workers, {(0, 2): link})
            failures([first, second])
            job.form([first, second])
            victim.signal(signal.SIGCONT)
            failures([victim])
        ranges = ((0, 1), (1, 2), (2, 4))
        members = [(w.address, *r) for w, r in zip(job.workers, ranges, strict=True)]
        # Told of a generation that the others have left, and of one that they are in without it.
        for generation in (1, 2):
            victim.say(rank=2, generation=generation, members=members)
        assert finish([first, second]) == expected(epochs=300)


@pytest.mark.parametrize("at", [HANDSHAKE + 100, HANDSHAKE + 6000])
def test_a_newcomer_that_dies_as_it_copies_does_not_show(at, expected, tmp_path):
    with Job(tmp_path, "mlp", SHARDS) as job:
        first, second = job.launch(wait_at=4), job.launch()
        job.form(job.workers)
        assert first.hear() == {"at": 4}
        newcomer = job.launch(joins=True)
        for worker in (first, second):
            worker.say(change=True)
        first.say(go=True)
        failures([first, second])
        with Link(newcomer.address, at, lambda: newcomer.signal(signal.SIGKILL)) as link:
            job.form([first, second, newcomer], {(0, 2): link})
            failures([first, second])
            assert link.happened.is_set()
        job.form([first, second])
        assert finish([first, second]) == expected()


def test_shards_that_move_between_workers_do_not_show(expected, tmp_path):
    """A worker gives shards away, then all of them, and takes some back."""
    with Job(tmp_path, "mlp", SHARDS) as job:
        first, _ = job.launch(wait_at=2), job.launch()
        job.form(job.workers, counts=[3, 1])
        assert first.hear() == {"at": 2}
        for counts in ([4, 0], [1, 3], [0, 4]):
            for worker in job.workers:
                worker.say(change=True)
            if counts == [4, 0]:
                first.say(go=True)
            failures(job.workers)
            job.form(job.workers, counts=counts)
        assert finish(job.workers) == expected()
