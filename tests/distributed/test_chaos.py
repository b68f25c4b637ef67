"""A short run of chaos; `python tests/distributed/chaos.py --events 40` is a longer one."""

import pytest

ray = pytest.importorskip("ray")

from distributed import chaos, scenario  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # Ray leaves sockets and files to the interpreter's end.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def test_chaos_does_not_show(monkeypatch):
    # Several buckets under way at a time.
    monkeypatch.setenv("HORNBEAM_BUCKET_BYTES", "1024")
    monkeypatch.setenv("HORNBEAM_OVERLAP", "1")
    with scenario.cluster():
        happened, generations = chaos.run(events=14, seed=1)
    assert len(happened) == 14 and set(happened) == set(chaos.Chaos.weights)
    assert generations > 5
