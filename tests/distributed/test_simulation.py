"""The simulation counts the very bytes and frames that the real collective moves."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam.distribution import even_ranges

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

import simulate  # noqa: E402


def counted(ranges, elements):
    """Return each rank's (sent, received) bytes and frames of one real all-reduce."""
    listeners = [K.Listener("127.0.0.1", (0, 0), b"token") for _ in ranges]
    members = [(at.address, *r) for at, r in zip(listeners, ranges, strict=True)]
    found = [None] * len(ranges)
    counting = threading.Barrier(len(ranges))
    # No heartbeats, which would count too.
    timeouts = {"heartbeat": 100.0, "silence": 300.0}

    def work(rank):
        group = K.Group.connect(listeners[rank], "count", rank, members, timeouts=timeouts)
        rows = max(1, len(group.partials))
        group.all_reduce(np.full((rows, elements), rank, "float32"))
        group.barrier()
        after = group.stats()
        # Who leaves says so, in a frame that would count at the others.
        counting.wait(60)
        names = ("bytes_sent", "bytes_received", "frames_sent", "frames_received")
        found[rank] = [after[name] for name in names]
        group.close()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(ranges))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("elements", [1, 1000, 16_384, 16_385, 400_000])
@pytest.mark.parametrize("shards", [4, 8])
def test_bytes_and_frames_are_those_of_the_real_thing(ranks, elements, shards):
    ranges = even_ranges(shards, ranks)
    traffic = simulate.all_reduce(elements, ranges)
    found = np.array(counted(ranges, elements))
    # The barrier behind it: a frame without payload to each other rank, and one from each.
    found -= np.array([64, 64, 1, 1]) * (ranks - 1)
    assert found[:, 0].tolist() == traffic.sent.tolist()
    assert found[:, 1].tolist() == traffic.received.tolist()
    assert found[:, 2].tolist() == traffic.frames_sent.tolist()
    assert found[:, 3].tolist() == traffic.frames_received.tolist()


def test_shards_may_be_spread_unevenly():
    ranges = [(0, 5), (5, 5), (5, 8)]
    traffic = simulate.all_reduce(100_000, ranges)
    got = np.array(counted(ranges, 100_000)) - np.array([128, 128, 2, 2])
    assert got[:, 0].tolist() == traffic.sent.tolist()
    assert got[:, 1].tolist() == traffic.received.tolist()


@pytest.mark.parametrize("ranks", [17, 24, 33])
def test_groups_move_as_much_as_they_say(ranks):
    """What is sent is received, and every rank gets the whole sum."""
    ranges = even_ranges(64, ranks)
    traffic = simulate.all_reduce(50_000, ranges)
    assert traffic.sent.sum() == traffic.received.sum()
    assert traffic.frames_sent.sum() == traffic.frames_received.sum()
    assert traffic.received.min() >= 50_000 * 4 * (ranks - 1) // ranks
    assert traffic.rounds == 4


def test_more_bandwidth_is_never_slower():
    host = simulate.HOST
    for work in simulate.WORKS:
        steps = [
            simulate.predict(work, 64, host, simulate.Network(gbit, 30e-6)).step
            for gbit in (1, 10, 100)
        ]
        assert steps == sorted(steps, reverse=True)


def test_buckets_hide_what_they_can():
    """A step is never shorter than its computing, nor than the exchange of everything."""
    host = simulate.Host(frame_seconds=1e-7, byte_seconds=1e-12, jitter=0.0)
    for work in simulate.WORKS:
        for gbit in (1, 10, 100):
            network = simulate.Network(gbit, 1e-6)
            p = simulate.predict(work, 8, host, network)
            alone = simulate.predict(work, 1, host, network)
            assert max(alone.alone, p.direct) < p.step <= p.whole
            behind = work.batch * work.sample_seconds * simulate.BACKWARD
            # What can be hidden is the time of all buckets but the last, or the backward pass.
            most = min(behind, p.direct) * (1 - 1 / p.buckets)
            assert p.whole - p.step <= most * 1.05 + 1e-6
            assert (p.whole - p.step > most * 0.5) == (p.buckets > 1)


def test_processors_are_not_hidden():
    """Where bytes cost a processor and no wire, buckets save nothing."""
    host = simulate.Host(frame_seconds=0.0, byte_seconds=1e-9)
    p = simulate.predict(simulate.WORKS[2], 8, host, simulate.Network(1e6, 0.0))
    assert p.buckets > 20
    assert p.step == pytest.approx(p.whole, rel=1e-3)
