"""Predict a training step on 8 to 1,024 workers, from costs measured on a few cores.

    python tests/bench/simulate.py [--measure] [--gbit 10 100] [--latency 30] [--ranks 8 64 1024]

Who sends what to whom is not modelled but counted, by the rules that the collective follows: bytes
and frames of a simulated step are those of a real one (`tests/distributed/test_simulation.py`
compares them). Times are a model: each worker has a host and a link of its own, full duplex; what
a rank sends and receives takes its link's time or its processor's, whichever is longer; a message
is under way for the latency; and a step waits for the slowest worker. Gradients are summed in
buckets of about the same size, which the backward pass computes at an even pace; the processor
that serves a bucket computes nothing meanwhile.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

HEADER = 64
# Chunks begin at multiples of so many elements.
ALIGNMENT = 16


@dataclass(frozen=True)
class Tuning:
    """The collective's sizes (see `rust/collective/src/config.rs`)."""

    one_round_bytes: int = 64 << 10
    piece_bytes: int = 512 << 10
    direct_ranks: int = 16


@dataclass(frozen=True)
class Buckets:
    """How gradients are cut (see `rust/python/src/sharded.rs`).

    Attributes:
        least_bytes: of a bucket.
        shard_bytes: of a bucket for each shard.
        most: buckets.
    """

    least_bytes: int = 1 << 20
    shard_bytes: int = 128 << 10
    most: int = 64

    def count(self, elements: int, shards: int) -> int:
        """Return how many there are."""
        least = max(self.least_bytes, shards * self.shard_bytes)
        return max(1, min(self.most, elements * 4 // least))


#: The part of a sample's time that the backward pass takes: two products for one of the forward.
BACKWARD = 2 / 3


@dataclass
class Traffic:
    """Frames and bytes, headers included, that each rank sends and receives, and its rounds."""

    sent: np.ndarray
    received: np.ndarray
    frames_sent: np.ndarray
    frames_received: np.ndarray
    rounds: int

    @classmethod
    def none(cls, ranks: int, rounds: int) -> Traffic:
        """Return the traffic of nothing yet."""
        return cls(*(np.zeros(ranks, dtype=np.int64) for _ in range(4)), rounds)

    def add(self, source, sink, frames, payload: int) -> None:
        """Count frames of so many bytes of payload; arguments are broadcast over ranks."""
        source, sink, frames = np.broadcast_arrays(source, sink, frames)
        size = frames * (payload + HEADER)
        np.add.at(self.frames_sent, source, frames)
        np.add.at(self.frames_received, sink, frames)
        np.add.at(self.sent, source, size)
        np.add.at(self.received, sink, size)


def cover(start: int, stop: int) -> int:
    """Return how many maximal aligned subtrees a range of shards has."""
    count = 0
    while start < stop:
        low = start & -start if start else 1 << 62
        start += min(low, 1 << ((stop - start).bit_length() - 1))
        count += 1
    return count


def even(total: int, parts: int) -> list[tuple[int, int]]:
    """Cut a number of things into contiguous parts of about the same size."""
    cuts = [total * k // parts for k in range(parts + 1)]
    return list(zip(cuts, cuts[1:], strict=False))


def pieces(elements: int, size: int, chunks: int, piece_bytes: int) -> Iterable[tuple[int, int]]:
    """Yield the chunk that each piece belongs to, and the piece's elements."""
    lines = -(-elements // ALIGNMENT)
    step = max(ALIGNMENT, piece_bytes // size)
    for chunk in range(chunks):
        start, end = (min(lines * k // chunks * ALIGNMENT, elements) for k in (chunk, chunk + 1))
        for at in range(start, end, step):
            yield chunk, min(at + step, end) - at


def all_reduce(
    elements: int,
    ranges: Sequence[tuple[int, int]],
    size: int = 4,
    tuning: Tuning | None = None,
) -> Traffic:
    """Return the traffic of one all-reduce.

    Args:
        elements: how many numbers are summed.
        ranges: the shards of each rank.
        size: bytes of a number.
        tuning: the collective's sizes.
    """
    tuning = tuning or Tuning()
    ranks = len(ranges)
    everybody = np.arange(ranks)
    covers = np.array([cover(*r) for r in ranges])
    grouped = ranks > max(1, tuning.direct_ranks)
    if not grouped and elements * size <= tuning.one_round_bytes:
        traffic = Traffic.none(ranks, 1)
        for step in range(1, ranks):
            traffic.add(everybody, (everybody + step) % ranks, covers, elements * size)
        return traffic
    groups = even(ranks, math.isqrt(ranks) if grouped else 1)
    slots = min(stop - start for start, stop in groups)
    starts = np.array([start for start, _ in groups])
    group_of = np.repeat(np.arange(len(groups)), [stop - start for start, stop in groups])
    joint = np.array([cover(ranges[start][0], ranges[stop - 1][1]) for start, stop in groups])
    traffic = Traffic.none(ranks, 4 if grouped else 2)
    for chunk, count in pieces(elements, size, slots * len(groups), tuning.piece_bytes):
        slot, home = chunk % slots, chunk // slots
        payload = count * size
        collectors = starts + slot
        members = everybody[everybody != collectors[group_of]]
        to = collectors[group_of[members]]
        foreign = np.delete(np.arange(len(groups)), home)
        traffic.add(members, to, covers[members], payload)
        traffic.add(collectors[foreign], collectors[home], joint[foreign], payload)
        traffic.add(collectors[home], collectors[foreign], np.ones_like(foreign), payload)
        traffic.add(to, members, np.ones_like(members), payload)
    return traffic


@dataclass(frozen=True)
class Work:
    """What a model's step costs.

    Attributes:
        name: the model.
        elements: numbers that are summed in a step: gradients, statistics, scalars.
        batch: samples a step of one worker.
        sample_seconds: forward and backward pass of a sample.
        step_seconds: what a step takes beyond that, the update above all.
    """

    name: str
    elements: int
    batch: int
    sample_seconds: float
    step_seconds: float


@dataclass(frozen=True)
class Host:
    """What messages cost a worker's processor.

    Attributes:
        frame_seconds: sending or receiving a frame, whatever its size.
        byte_seconds: copying, checking and adding a byte sent or received.
        jitter: standard deviation of a step's time, as a share of it.
    """

    frame_seconds: float
    byte_seconds: float
    jitter: float = 0.03


@dataclass(frozen=True)
class Network:
    """Links between hosts: bits per second each way, and seconds that a message is under way."""

    gbit: float
    latency: float


# Two cores of a virtual machine with AVX-512, one thread a worker, other work beside it: processor
# time of a step (`--measure`), and what `rust/collective/NOTES.md` says of 4 KB and 64 MB over
# loopback, where the system moves the bytes twice.
HOST = Host(frame_seconds=2.4e-6, byte_seconds=0.35e-9)
WORKS = (
    Work("mlp", 669_708, 128, 17e-6, 1.1e-3),
    Work("mnist_cnn", 1_199_884, 128, 305e-6, 2.8e-3),
    Work("resnet50", 25_636_714, 32, 133e-3, 139e-3),
)


def slowest(host: Host, ranks: int) -> float:
    """Return how many times as long as the mean the slowest of so many workers computes."""
    # The expected greatest of `ranks` normal variables, for large numbers of them.
    return 1 + host.jitter * (math.sqrt(2 * math.log(ranks)) if ranks > 1 else 0.0)


def compute_seconds(work: Work, host: Host, ranks: int) -> float:
    """Return how long the slowest of so many workers computes."""
    return (work.batch * work.sample_seconds + work.step_seconds) * slowest(host, ranks)


def processor_seconds(traffic: Traffic, host: Host) -> float:
    """Return how long an all-reduce keeps a processor busy."""
    frames = traffic.frames_sent + traffic.frames_received
    moved = (traffic.sent + traffic.received) * host.byte_seconds
    return float((frames * host.frame_seconds + moved).max())


def exchange_seconds(traffic: Traffic, host: Host, network: Network) -> float:
    """Return how long an all-reduce takes."""
    wire = np.maximum(traffic.sent, traffic.received) / (network.gbit * 1e9 / 8)
    longer = max(float(wire.max()), processor_seconds(traffic, host))
    return traffic.rounds * network.latency + longer


def step_seconds(
    work: Work, traffic: Traffic, buckets: int, ranks: int, host: Host, network: Network
) -> float:
    """Return how long a step takes whose buckets, each of that traffic, go out one by one."""
    samples = work.batch * work.sample_seconds * slowest(host, ranks)
    exchange = exchange_seconds(traffic, host, network)
    served, done = 0.0, 0.0
    for bucket in range(1, buckets + 1):
        left = samples * BACKWARD * (1 - bucket / buckets)
        done = max(done, samples - left + served) + exchange
        served += processor_seconds(traffic, host)
    return done + work.step_seconds * slowest(host, ranks)


@dataclass(frozen=True)
class Prediction:
    """A step on so many workers.

    Attributes:
        step: its seconds.
        whole: the same with one bucket, so that nothing is hidden behind the backward pass.
        alone: a step of one worker alone.
        direct: the exchange of everything, between all.
        grouped: the same over two levels.
        buckets: how many there are.
    """

    step: float
    whole: float
    alone: float
    direct: float
    grouped: float
    buckets: int

    @property
    def efficiency(self) -> float:
        """Samples a second and worker, as a share of one worker's alone."""
        return self.alone / self.step


def predict(work: Work, ranks: int, host: Host, network: Network) -> Prediction:
    """Return the prediction for so many workers, each with its own full batch."""
    shards = 1 << (ranks - 1).bit_length()
    ranges = even(shards, ranks)
    tuning = Tuning()
    ways = [
        exchange_seconds(all_reduce(work.elements, ranges, tuning=t), host, network)
        for t in (replace(tuning, direct_ranks=ranks), replace(tuning, direct_ranks=1))
    ]
    buckets = Buckets().count(work.elements, shards)
    steps = [
        step_seconds(work, all_reduce(-(-work.elements // n), ranges), n, ranks, host, network)
        for n in (buckets, 1)
    ]
    return Prediction(*steps, compute_seconds(work, host, 1), *ways, buckets)


def table(works: Sequence[Work], ranks: Sequence[int], host: Host, networks) -> str:
    """Return predictions as a table in Markdown."""
    lines = [
        "| model | link | workers | step | efficiency | in one bucket | buckets | sum direct "
        "| sum grouped |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for work in works:
        for network in networks:
            for count in ranks:
                p = predict(work, count, host, network)
                lines.append(
                    f"| {work.name} | {network.gbit:g} Gbit/s, {network.latency * 1e6:g} us "
                    f"| {count} | {p.step * 1e3:.1f} ms | {p.efficiency:.0%} "
                    f"| {p.whole * 1e3:.1f} ms, {p.alone / p.whole:.0%} | {p.buckets} "
                    f"| {p.direct * 1e3:.1f} ms | {p.grouped * 1e3:.1f} ms |"
                )
    return "\n".join(lines)


def limits(works: Sequence[Work], host: Host, networks, share: float = 0.5) -> str:
    """Return, for each model and network, how many workers keep a share of the efficiency."""
    lines = []
    counts = [2**k for k in range(1, 11)]
    for work in works:
        for network in networks:
            good = [n for n in counts if predict(work, n, host, network).efficiency >= share]
            reach = f"up to {max(good)}" if good else "no number of"
            lines.append(
                f"{work.name} at {network.gbit:g} Gbit/s: at least {share:.0%} on {reach} workers"
            )
    return "\n".join(lines)


MEASURED_STEP = """
import json, sys, time
import numpy as np
import hornbeam
from hornbeam import backend as K
from hornbeam.layers import *
from hornbeam.models import Sequential
name, batch, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
K.set_num_threads(1)
if name == "mlp":
    layers = [Dense(512, activation="relu", input_shape=(784,)), Dense(512, activation="relu")]
    model, shape, classes = Sequential([*layers, Dense(10, activation="softmax")]), (784,), 10
elif name == "mnist_cnn":
    layers = [Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1)),
              Conv2D(64, 3, activation="relu"), MaxPooling2D(), Dropout(0.25), Flatten(),
              Dense(128, activation="relu"), Dropout(0.5), Dense(10, activation="softmax")]
    model, shape, classes = Sequential(layers), (28, 28, 1), 10
else:
    from hornbeam.applications import ResNet50
    model, shape, classes = ResNet50(weights=None), (224, 224, 3), 1000
model.compile("adam", "categorical_crossentropy")
x = np.random.rand(batch, *shape).astype("float32")
y = np.eye(classes, dtype="float32")[np.random.randint(0, classes, batch)]
times = []
for _ in range(repeats + 1):
    # The processor's time: other work on the machine counts less.
    began = time.process_time()
    model.train_on_batch(x, y)
    times.append(time.process_time() - began)
elements = sum(int(np.prod(w.shape)) for w in model.get_weights()) + 2
print(json.dumps([min(times[1:]), elements]))
"""

MEASURED_SUM = """
import json, sys, time
import numpy as np
from hornbeam import backend as K
rank, size = int(sys.argv[1]), [int(n) for n in sys.argv[2:]]
listener = K.Listener("127.0.0.1", (0, 0), b"token")
print(listener.address, flush=True)
members = json.loads(sys.stdin.readline())
group = K.Group.connect(listener, "simulate", rank, [tuple(m) for m in members])
found = []
for elements in size:
    data, times = np.ones((1, elements), "float32"), []
    for _ in range(30):
        before, began = group.stats()["blocked"], time.perf_counter()
        group.all_reduce(data)
        times.append(group.stats()["blocked"] - before)
    found.append(min(times))
print(json.dumps(found), flush=True)
"""


def _step(name: str, batch: int, repeats: int) -> tuple[float, int]:
    run = subprocess.run(
        [sys.executable, "-c", MEASURED_STEP, name, str(batch), str(repeats)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def measure() -> tuple[Host, tuple[Work, ...]]:
    """Measure the costs on this machine, which should be quiet."""
    works = []
    for name, batch, (low, high), repeats in (
        ("mlp", 128, (16, 128), 50),
        ("mnist_cnn", 128, (16, 128), 10),
        ("resnet50", 32, (1, 4), 2),
    ):
        (short, elements), (long, _) = (_step(name, n, repeats) for n in (low, high))
        sample = (long - short) / (high - low)
        works.append(Work(name, elements, batch, sample, max(0.0, short - low * sample)))
    sizes = [256, 4 << 20]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MEASURED_SUM, str(rank), *map(str, sizes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    addresses = [p.stdout.readline().strip() for p in processes]
    members = [(address, rank, rank + 1) for rank, address in enumerate(addresses)]
    for p in processes:
        p.stdin.write(json.dumps(members) + "\n")
        p.stdin.flush()
    found = [json.loads(p.stdout.readline()) for p in processes]
    for p in processes:
        p.wait()
    small, large = (min(times) for times in zip(*found, strict=True))
    traffic = [all_reduce(n, even(2, 2)) for n in sizes]
    frames = [int(t.frames_sent[0] + t.frames_received[0]) for t in traffic]
    moved = [int(t.sent[0] + t.received[0]) for t in traffic]
    frame = small / frames[0]
    byte = max(0.0, large - frame * frames[1]) / moved[1]
    return Host(frame, byte), tuple(works)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="measure this machine's costs first")
    parser.add_argument("--gbit", type=float, nargs="+", default=[10.0, 100.0])
    parser.add_argument("--latency", type=float, default=30.0, help="microseconds")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 32, 128, 512, 1024])
    options = parser.parse_args()
    host, works = measure() if options.measure else (HOST, WORKS)
    print(json.dumps(asdict(host)))
    for work in works:
        print(json.dumps(asdict(work)))
    networks = [Network(gbit, options.latency * 1e-6) for gbit in options.gbit]
    began = time.perf_counter()
    print("\n" + table(works, options.ranks, host, networks))
    print("\n" + limits(works, host, networks))
    print(f"\n{Path(__file__).name}: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
