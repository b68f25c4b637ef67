"""Batch normalisation with the statistics of the whole batch, on several workers in processes."""

import numpy as np
import pytest
from distributed.cases import STATISTICS
from distributed.launching import Job, finish, train

SHARDS = 4


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_two_workers_train_as_one_process(tmp_path):
    """With the rounding of V shards alone, and the bits of any number of workers."""
    alone, expected = train(tmp_path, "statistics", 0)
    one, found = train(tmp_path, "statistics", 1, synchronized=True)
    two, _ = train(tmp_path, "statistics", 2, synchronized=True)
    assert one == two
    assert_close(found, expected)
    for name, values in alone["history"].items():
        np.testing.assert_allclose(one["history"][name], values, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("case", list(STATISTICS))
@pytest.mark.parametrize("shards", [4, 8])
def test_the_number_of_workers_does_not_show(case, shards, tmp_path):
    """Last batches have shards of 1 and 2 rows, or fewer rows than shards."""
    one, _ = train(tmp_path, case, 1, shards, synchronized=True)
    assert np.isfinite(one["history"]["loss"]).all()
    for workers in (2, 3, 4):
        many, _ = train(tmp_path, case, workers, shards, synchronized=True)
        assert many == one, f"{workers} workers"


@pytest.mark.slow
def test_a_worker_without_shards_takes_part(tmp_path):
    one, _ = train(tmp_path, "cnn", 1, shards=2, synchronized=True)
    assert train(tmp_path, "cnn", 3, shards=2, synchronized=True)[0] == one


@pytest.mark.slow
@pytest.mark.parametrize("case", list(STATISTICS))
@pytest.mark.parametrize("shards", [1, 2, 8])
def test_shards_change_nothing_but_the_rounding(case, shards, tmp_path):
    alone, expected = train(tmp_path, case, 0)
    found = train(tmp_path, case, 1, shards, synchronized=True)
    # Squared gradients divide what is near to nothing.
    if case != "cnn":
        assert_close(found[1], expected)
    for name, values in alone["history"].items():
        np.testing.assert_allclose(found[0]["history"][name], values, rtol=1e-3)
    apart = train(tmp_path, case, 1, shards)[0]
    assert (apart["weights"] == found[0]["weights"]) == (shards == 1)


@pytest.mark.slow
@pytest.mark.parametrize("die_at", [1, 5, 9])
def test_a_killed_worker_does_not_show(die_at, tmp_path):
    """The others wait for it within a step, give the step up and run it again."""
    expected, _ = train(tmp_path, "cnn", 1, synchronized=True)
    with Job(tmp_path, "cnn", SHARDS, synchronized=True) as job:
        first, _, third = job.launch(), job.launch(die_at=die_at), job.launch()
        job.form(job.workers)
        assert first.hear()["failed"] == third.hear()["failed"] == 1
        job.form([first, third])
        assert finish([first, third]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_unplanned_deaths_do_not_show(seed, tmp_path):
    """Workers are killed from outside at any moment, in most cases between exchanges."""
    options = {"epochs": 150, "synchronized": True}
    expected, _ = train(tmp_path, "statistics", 1, **options)
    with Job(tmp_path, "statistics", SHARDS, **options) as job:
        results = job.kill_at_random(4, np.random.RandomState(seed))
        assert results and all(result == expected for result in results)
