"""Hosts of a Ray cluster that are lost, cut off, or come anew: the same bits."""

import time

import pytest

ray = pytest.importorskip("ray")

from distributed import hosts  # noqa: E402
from distributed.driver import load  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    reason = hosts.missing()
    if reason:
        pytest.skip(reason)
    with hosts.cluster(3) as three:
        yield three


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "result.npz"
    cluster[0].drive(path, workers=(1, 1)).finish()
    return load(path)


@pytest.mark.parametrize("how", ["kill", "cut"])
def test_a_host_is_lost(how, cluster, undisturbed, tmp_path):
    head, *_, doomed = cluster
    driver = head.drive(tmp_path / "result.npz", workers=(1, 3), wait_for=3)
    driver.until(1, 10_000)
    getattr(doomed, how)()
    events = driver.finish()
    assert load(tmp_path / "result.npz") == undisturbed
    assert [len(event["members"]) for event in events if event["lost"]][-1] == 2
    # It comes back, for the next test.
    if how == "cut":
        doomed.mend()
        doomed.kill()
    time.sleep(1)
    doomed.start(head)


def test_the_head_is_lost(tmp_path):
    """A driver on another host makes a checkpoint before Ray ends it; another cluster goes on."""
    reason = hosts.missing()
    if reason:
        pytest.skip(reason)
    # Steps so small that the driver looks at the head many times within an epoch.
    settings = {"epochs": 4, "batch_size": 4}
    backup = tmp_path / "backup"
    with hosts.cluster(2) as (head, other):
        driver = other.drive(
            tmp_path / "lost.npz", workers=(1, 2), wait_for=2, hold=1, backup=backup, **settings
        )
        driver.until_said("holds")
        head.kill()
        while driver.until_said("saved").split()[1] == "0":
            pass
        driver.close()
        other.kill()
        assert not (tmp_path / "lost.npz").exists()
        head.start()
        driver = head.drive(tmp_path / "result.npz", workers=(1, 1), backup=backup, **settings)
        driver.until_said("at")
        assert driver.times[0][1] >= 1
        driver.finish()
        head.drive(tmp_path / "whole.npz", workers=(1, 1), **settings).finish()
    assert load(tmp_path / "result.npz") == load(tmp_path / "whole.npz")
