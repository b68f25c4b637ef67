"""Updates that workers share, each of its part of the weights: the same bits, whatever happens."""

import signal

import numpy as np
import pytest
from distributed.launching import Job, finish, train
from distributed.links import Link
from distributed.test_failures import expected, failures  # noqa: F401
from distributed.test_failures import (
    test_shards_that_move_between_workers_do_not_show as shards_that_move,
)
from distributed.test_sharded import test_a_worker_that_joins_does_not_show as a_worker_that_joins

SHARDS = 4


@pytest.fixture(autouse=True)
def all_are_shared(monkeypatch):
    """Share updates of weights of any size, which else have 64 KB at least."""
    monkeypatch.setenv("HORNBEAM_PARTITION_BYTES", "1")


def test_workers_share_the_updates_of_large_weights(tmp_path, monkeypatch):
    for given, is_shared in (("1", True), ("20000", False)):
        monkeypatch.setenv("HORNBEAM_PARTITION_BYTES", given)
        with Job(tmp_path, "wide", SHARDS) as job:
            workers = [job.launch(count_partitioned=True) for _ in range(2)]
            job.form(workers)
            for worker in workers:
                counted = worker.hear()
                assert counted["partitioned"] == (counted["steps"] if is_shared else 0)
            found = finish(workers)
        if is_shared:
            shared = found
    assert found == shared == train(tmp_path, "wide", 1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["wide", "weighted", "cnn", "masked", "custom", "remembering"])
def test_the_number_of_workers_does_not_show(case, tmp_path):
    one, _ = train(tmp_path, case, 1)
    for workers in (3, 4) if case == "wide" else (3,):
        assert train(tmp_path, case, workers)[0] == one, f"{workers} workers"
    # Two, three and three shards are one, two and two subtrees.
    if case == "wide":
        assert train(tmp_path, case, 3, shards=8)[0] == train(tmp_path, case, 1, shards=8)[0]


@pytest.mark.slow
def test_statistics_of_the_batch_are_exchanged_meanwhile(tmp_path):
    one, _ = train(tmp_path, "cnn", 1, synchronized=True)
    assert train(tmp_path, "cnn", 2, synchronized=True)[0] == one


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """Return what comes of three workers, and how many bytes the first sends the third."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HORNBEAM_PARTITION_BYTES", "1")
        with Job(tmp_path_factory.mktemp("quiet"), "wide", SHARDS) as job:
            workers = [job.launch() for _ in range(3)]
            with Link(workers[2].address) as link:
                job.form(workers, {(0, 2): link})
                return finish(workers), link.passed[0]


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.02, 0.1, 0.35, 0.6, 0.85])
@pytest.mark.parametrize("kind", ["kill", "corrupt"])
def test_what_happens_at_any_byte_does_not_show(part, kind, quiet, tmp_path):
    whole, carried = quiet
    with Job(tmp_path, "wide", SHARDS) as job:
        first, second, victim = (job.launch() for _ in range(3))
        act = kind if kind == "corrupt" else lambda: victim.signal(signal.SIGKILL)
        # The handshake has been done by then.
        at = 400 + int((carried - 400) * part)
        with Link(victim.address, at, act) as link:
            job.form(job.workers, {(0, 2): link})
            failures([first, second])
            assert link.happened.is_set()
        remaining = [first, second]
        if kind == "corrupt":
            failures([victim])
            remaining.append(victim)
        job.form(remaining)
        assert finish(remaining) == whole


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 23))
def test_unplanned_deaths_do_not_show(seed, tmp_path):
    whole, _ = train(tmp_path, "wide", 1, epochs=200)
    with Job(tmp_path, "wide", SHARDS, epochs=200) as job:
        results = job.kill_at_random(4, np.random.RandomState(seed))
        assert results and all(result == whole for result in results)


@pytest.mark.slow
def test_a_worker_that_joins_does_not_show(tmp_path):
    a_worker_that_joins(4, tmp_path)


@pytest.mark.slow
def test_shards_that_move_between_workers_do_not_show(expected, tmp_path):  # noqa: F811
    """Who has all shards shares nothing, and does so again when it has given some away."""
    shards_that_move(expected, tmp_path)
