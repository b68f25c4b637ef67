"""Training on several workers, each a process: the same bits, whatever happens to the workers."""

import numpy as np
import pytest
from distributed.cases import CASES
from distributed.launching import Job, finish, train

SHARDS = 4


@pytest.mark.slow
@pytest.mark.parametrize("case", list(CASES))
def test_the_number_of_workers_does_not_show(case, tmp_path):
    one, _ = train(tmp_path, case, 1)
    assert np.isfinite(one["history"]["loss"]).all()
    for workers in (2, 3, 4):
        assert train(tmp_path, case, workers)[0] == one, f"{workers} workers"


@pytest.mark.slow
@pytest.mark.parametrize("case", ["mlp", "cnn", "masked"])
def test_ranges_of_eight_shards_do_not_show(case, tmp_path):
    """Two, three and three shards are one, two and two subtrees."""
    one, _ = train(tmp_path, case, 1, shards=8)
    for workers in (2, 3, 4):
        assert train(tmp_path, case, workers, shards=8)[0] == one, f"{workers} workers"


@pytest.fixture
def several_buckets(monkeypatch):
    """Three buckets or more, which start early as between machines."""
    monkeypatch.setenv("HORNBEAM_BUCKET_BYTES", "256")
    monkeypatch.setenv("HORNBEAM_OVERLAP", "1")


def test_buckets_that_start_early_do_not_show(tmp_path, several_buckets, monkeypatch):
    with Job(tmp_path, "mlp", SHARDS) as job:
        workers = [job.launch(count_early=True) for _ in range(2)]
        job.form(workers)
        early = [worker.hear()["early"] for worker in workers]
        found = finish(workers)
    # Five steps, two of three buckets.
    assert early == [10, 10]
    monkeypatch.delenv("HORNBEAM_BUCKET_BYTES")
    assert found == train(tmp_path, "mlp", 1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("case", list(CASES))
def test_the_number_of_buckets_does_not_show(case, tmp_path, several_buckets):
    found = [train(tmp_path, case, workers)[0] for workers in (2, 3)]
    one, _ = train(tmp_path, case, 1)
    assert found == [one, one]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["cnn", "statistics"])
def test_buckets_travel_among_statistics_of_the_batch(case, tmp_path, several_buckets):
    one, _ = train(tmp_path, case, 1, synchronized=True)
    for workers in (2, 3):
        assert train(tmp_path, case, workers, synchronized=True)[0] == one


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 12))
def test_unplanned_deaths_among_buckets_do_not_show(seed, tmp_path, several_buckets):
    test_unplanned_deaths_do_not_show(seed, tmp_path)


def test_two_workers_are_as_one(tmp_path):
    assert train(tmp_path, "mlp", 2, shards=2)[0] == train(tmp_path, "mlp", 1, shards=2)[0]


@pytest.mark.slow
@pytest.mark.parametrize("case", list(CASES))
def test_one_shard_is_training_without_a_group(case, tmp_path):
    alone, expected = train(tmp_path, case, 0)
    one, found = train(tmp_path, case, 1, shards=1)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for name, values in alone["history"].items():
        np.testing.assert_allclose(one["history"][name], values, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["linear", "weighted", "masked", "custom"])
def test_shards_change_nothing_but_the_rounding(case, tmp_path):
    """Penalties count once, and masks and weights are those of the batch, not of a shard."""
    alone, expected = train(tmp_path, case, 0)
    shards, found = train(tmp_path, case, 1, shards=SHARDS)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for name, values in alone["history"].items():
        np.testing.assert_allclose(shards["history"][name], values, rtol=1e-5)
    np.testing.assert_allclose(shards["loss"], alone["loss"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["mlp", "cnn"])
@pytest.mark.parametrize("die_at", [1, 6, 9])
def test_a_killed_worker_does_not_show(case, die_at, tmp_path):
    expected, _ = train(tmp_path, case, 1)
    with Job(tmp_path, case, SHARDS) as job:
        first, _, third = job.launch(), job.launch(die_at=die_at), job.launch()
        job.form(job.workers)
        assert first.hear()["failed"] == third.hear()["failed"] == 1
        job.form([first, third])
        assert finish([first, third]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_unplanned_deaths_do_not_show(seed, tmp_path):
    """Workers are killed from outside at any moment: in a step, a validation, between epochs."""
    expected, _ = train(tmp_path, "mlp", 1, epochs=300)
    with Job(tmp_path, "mlp", SHARDS, epochs=300) as job:
        results = job.kill_at_random(4, np.random.RandomState(seed))
        assert results and all(result == expected for result in results)


@pytest.mark.slow
@pytest.mark.parametrize("wait_at", [1, 8])
def test_a_worker_that_joins_does_not_show(wait_at, tmp_path):
    expected, _ = train(tmp_path, "mlp", 1)
    with Job(tmp_path, "mlp", SHARDS) as job:
        first, second = job.launch(wait_at=wait_at), job.launch()
        job.form(job.workers)
        assert first.hear() == {"at": wait_at}
        third = job.launch(joins=True)
        for worker in (first, second):
            worker.say(change=True)
        first.say(go=True)
        assert first.hear()["failed"] == second.hear()["failed"] == 1
        job.form([first, third, second])
        results = [worker.hear() for worker in (first, third, second)]
    assert results[0] == results[2] == expected
    # Who joins has seen the later epochs alone.
    assert results[1]["weights"] == expected["weights"]
    assert results[1]["predictions"] == expected["predictions"]
    for name, values in results[1]["history"].items():
        assert values == expected["history"][name][-len(values) :]
