"""What buckets save that are summed while the backward pass still runs.

    python tests/bench/overlap.py [--links local,1,10] [--only mlp,mlp_12m] [--rounds 9]

Two workers of one thread each train in turns of a few steps: with one bucket for all gradients
(`whole`), with several that start when all are computed (`late`), and with the same buckets that
start as soon as they are computed (`early`). All are alive at the same time, so that a slow moment
of the machine falls on each; printed are the median milliseconds of a step, and the median over the
rounds of its ratio to `whole`.

The workers are on this machine (`local`), where they read each other's memory, or on two hosts made
of network namespaces whose links carry so many Gbit/s each way (as root, with iproute2). What the
system does for the packets costs time on the same cores then, unlike with two machines.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import namespaces  # noqa: E402
from workloads import WORKLOADS as BENCHES  # noqa: E402
from workloads import Api, Workload  # noqa: E402

TOKEN = b"a token for one measurement"
ONE_BUCKET = 1 << 40


def perceptron(width: int, layers: int) -> Any:
    """Return what builds a network of so many hidden layers of that width."""

    def build(api: Api) -> Any:
        dense = api.layers.Dense
        hidden = [dense(width, activation="relu") for _ in range(layers)]
        model = api.sequential((784,), [*hidden, dense(10, activation="softmax")])
        return api.compile(model, "RMSprop", "categorical_crossentropy")

    return build


#: Those of the other benches, and networks with more gradients (12 and 40 MB).
WORKLOADS = {
    "mlp": BENCHES["mlp"],
    "mnist_cnn": BENCHES["mnist_cnn"],
    "mlp_12m": Workload(perceptron(1024, 3), BENCHES["mlp"].data, 128, 8),
    "mlp_40m": Workload(perceptron(2048, 3), BENCHES["mlp"].data, 128, 4),
}


class Member:
    """A worker's process, seen from within."""

    def __init__(self, name: str, rank: int, address: str):
        from hornbeam import backend as K
        from hornbeam.distribution import ShardedStrategy, even_ranges, set_strategy

        workload = WORKLOADS[name]
        self.model = workload.build(Api("hornbeam", 1))
        # As large a batch for each of the two.
        self.batch = 2 * workload.batch_size
        self.arrays = list(workload.data(8 * self.batch))
        listener = K.Listener(address, (0, 0), TOKEN)
        print(json.dumps(listener.address), flush=True)
        members = [(a, *r) for a, r in zip(json.loads(input()), even_ranges(2, 2), strict=True)]
        group = K.Group.connect(listener, "overlap", rank, members)
        set_strategy(ShardedStrategy(group, None, self.model))
        self.run = None

    def steps(self, count: int, overlap: bool) -> dict[str, float]:
        """Run steps; return the seconds that one takes, and where they go."""
        from hornbeam.engine.strategy import get_strategy

        began, left, parts = time.perf_counter(), count, {}
        while left > 0:
            if self.run is None or self.run.steps_done == self.run.steps:
                program = self.model._make_train_function()
                self.run = get_strategy().start(program, self.arrays, self.batch, None)
            loop = self.run._loop
            loop.set_overlap(overlap)
            before, early = loop.times(), loop.early_sums
            left -= self.run.run(max_steps=left)
            for part, value in loop.times().items():
                parts[part] = parts.get(part, 0.0) + (value - before[part]) / count
            parts["early"] = parts.get("early", 0.0) + (loop.early_sums - early) / count
        parts["step"] = (time.perf_counter() - began) / count
        parts["buckets"] = loop.buckets
        return parts

    def serve(self) -> None:
        """Obey until the input ends."""
        for line in sys.stdin:
            print(json.dumps(self.steps(*json.loads(line))), flush=True)


class Team:
    """Two workers, seen from outside."""

    def __init__(self, name: str, hosts: list[Any], bucket_bytes: int):
        self.processes = []
        for rank, host in enumerate(hosts):
            environment = os.environ | {
                "HORNBEAM_NUM_THREADS": "1",
                "HORNBEAM_BUCKET_BYTES": str(bucket_bytes),
            }
            arguments = [sys.executable, __file__, "--member", name, str(rank), host.address]
            self.processes.append(
                subprocess.Popen(
                    host.command(*arguments),
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        self.tell([self.hear(process) for process in self.processes])

    def tell(self, what: Any) -> None:
        for process in self.processes:
            process.stdin.write(json.dumps(what) + "\n")
            process.stdin.flush()

    @staticmethod
    def hear(process: subprocess.Popen) -> Any:
        return json.loads(process.stdout.readline())

    def steps(self, count: int, overlap: bool) -> dict[str, float]:
        """Run steps on both; return the parts of a step of the slower one."""
        self.tell((count, overlap))
        return max((self.hear(p) for p in self.processes), key=lambda parts: parts["step"])

    def close(self) -> None:
        for process in self.processes:
            process.stdin.close()
            process.wait(20)


@contextlib.contextmanager
def hosts(link: str) -> Iterator[list[Any]]:
    """Inside the block there are two hosts with a link of so many Gbit/s; or twice this one."""
    if link == "local":
        here = SimpleNamespace(address="127.0.0.1", command=lambda *arguments: list(arguments))
        yield [here, here]
        return
    rate = float(link) * 1e9
    with tempfile.TemporaryDirectory() as folder, namespaces.network() as net:
        made = [namespaces.Namespace(10 + n, net, Path(folder), os.environ) for n in range(2)]
        try:
            for host in made:
                shape = ["rate", f"{rate:.0f}bit", "burst", f"{max(256e3, rate / 8e3):.0f}"]
                queue = ["qdisc", "add", "dev", "eth0", "root", "tbf", *shape, "latency", "50ms"]
                subprocess.run(host.command("tc", *queue), check=True)
            yield made
        finally:
            for host in made:
                host.remove()


def measure(name: str, link: str, bucket_bytes: int, rounds: int, seconds: float) -> None:
    """Print the lines of one workload and link."""
    with hosts(link) as pair:
        whole, cut = Team(name, pair, ONE_BUCKET), Team(name, pair, bucket_bytes)
        ways = {"whole": (whole, False), "late": (cut, False), "early": (cut, True)}
        try:
            slowest = max(team.steps(3, overlap)["step"] for team, overlap in ways.values())
            count = max(3, round(seconds / slowest))
            found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, (team, overlap) in ways.items():
                    found[way].append(team.steps(count, overlap))
        finally:
            whole.close()
            cut.close()
    for way, all_parts in found.items():
        middle = {
            part: statistics.median(parts[part] for parts in all_parts) for part in all_parts[0]
        }
        pairs = zip(all_parts, found["whole"], strict=True)
        ratio = statistics.median(one["step"] / other["step"] for one, other in pairs)
        best = min(p["step"] for p in all_parts) / min(p["step"] for p in found["whole"])
        told = "  ".join(f"{p} {1e3 * middle[p]:.2f}" for p in ("gradient", "reduce", "apply"))
        print(
            f"{name:10} {link:>6}  {way:5}  {1e3 * middle['step']:8.2f} ms  {ratio:.2f} "
            f"(best {best:.2f})  {told}  {middle['early']:.0f} of {middle['buckets']:.0f} early",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--member", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--links", default="local,1,10", help="'local', or Gbit/s")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="workloads, comma-separated")
    parser.add_argument("--bucket-bytes", type=int, default=1 << 20)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn")
    args = parser.parse_args()
    if args.member:
        name, rank, address = args.member
        Member(name, int(rank), address).serve()
        return
    for link in args.links.split(","):
        if link != "local" and (reason := namespaces.missing()):
            print(f"{link} Gbit/s: left out, {reason}")
            continue
        for name in args.only.split(","):
            measure(name, link, args.bucket_bytes, args.rounds, args.seconds)


if __name__ == "__main__":
    main()
