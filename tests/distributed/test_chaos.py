"""A short run of chaos; `python tests/distributed/chaos.py --events 40` is a longer one."""

import pytest
from distributed.marks import ON_RAY

ray = pytest.importorskip("ray")

from distributed import chaos, scenario  # noqa: E402

pytestmark = ON_RAY


def test_chaos_does_not_show(monkeypatch):
    # The largest weight's update is shared; of the rest several buckets are under way at a time.
    monkeypatch.setenv("HORNBEAM_PARTITION_BYTES", "1024")
    monkeypatch.setenv("HORNBEAM_BUCKET_BYTES", "128")
    monkeypatch.setenv("HORNBEAM_OVERLAP", "1")
    with scenario.cluster():
        happened, generations = chaos.run(events=14, seed=1)
    assert len(happened) == 14 and set(happened) == set(chaos.Chaos.weights)
    assert generations > 5
