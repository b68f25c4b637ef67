"""Data-parallel efficiency: workers of one thread each against one process of as many threads.

    python tests/bench/scaling.py [--only mlp,mnist_cnn] [--workers 1,2,4,8] [--rounds 9]

The same global batch is trained by one process with W threads and by a group of W processes with
one thread each, of which each has one shard of every batch (V = W). All are started once and then
take turns, a few steps each, so that a slow moment of the machine falls on both; the median over
the rounds counts. Of a step in a group it tells where the time went: the gradient function, waiting
for the slowest worker, the sum over the workers (as the last one saw it), and the updates.

Numbers of workers that the machine has no cores for are left out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from workloads import WORKLOADS, Api  # noqa: E402

TOKEN = b"a token for one measurement"


class Trainer:
    """Endless passes of one workload in this process, alone or as a member of a group."""

    def __init__(self, name: str, connection: Connection):
        self.connection = connection
        self.workload = WORKLOADS[name]
        self.model = self.workload.build(Api("hornbeam", 1))
        self.batch = self.workload.batch_size
        x, y = self.workload.data(self.workload.steps * self.batch)
        self.arrays = [x, y]
        self.run = None

    def join(self, workers: int, synchronized: bool) -> None:
        """Form a group with the others; the parent tells everybody the addresses."""
        from hornbeam import backend as K
        from hornbeam.distribution import ShardedStrategy, even_ranges, set_strategy

        listener = K.Listener("127.0.0.1", (0, 0), TOKEN)
        self.connection.send(listener.address)
        rank, addresses = self.connection.recv()
        ranges = even_ranges(workers, workers)
        members = [(a, *r) for a, r in zip(addresses, ranges, strict=True)]
        group = K.Group.connect(listener, "scaling", rank, members)
        set_strategy(ShardedStrategy(group, None, self.model, synchronized))

    def start(self) -> None:
        from hornbeam.engine.strategy import get_strategy

        self.run = get_strategy().start(
            self.model._make_train_function(), self.arrays, self.batch, None
        )

    def steps(self, count: int) -> float:
        """Runs so many steps; returns the seconds they took."""
        began = time.perf_counter()
        while count > 0:
            if self.run is None or self.run.steps_done == self.run.steps:
                self.start()
            count -= self.run.run(max_steps=count)
        return time.perf_counter() - began

    def split(self, count: int) -> list[dict[str, float]]:
        """Runs steps one by one; returns where the time of each went."""
        times = []
        for _ in range(count):
            if self.run is None or self.run.steps_done == self.run.steps:
                self.start()
            loop = self.run._loop
            before = loop.times()
            loop.run(1)
            times.append({name: value - before[name] for name, value in loop.times().items()})
        return times


def serve(
    name: str, workers: int, connection: Connection, core: int | None, synchronized: bool
) -> None:
    """A process: obeys its parent until that says stop. `workers` is 0 without a group."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    trainer = Trainer(name, connection)
    if workers:
        trainer.join(workers, synchronized)
    trainer.steps(3)
    connection.send("ready")
    while (message := connection.recv()) != "stop":
        method, count = message
        connection.send(getattr(trainer, method)(count))


class Team:
    """Processes that train together."""

    def __init__(
        self,
        name: str,
        workers: int,
        threads: int,
        pin: bool = False,
        synchronized: bool = False,
    ):
        cores = sorted(os.sched_getaffinity(0))
        os.environ["HORNBEAM_NUM_THREADS"] = str(threads)
        context = multiprocessing.get_context("spawn")
        self.connections, self.processes = [], []
        for rank in range(max(1, workers)):
            own, other = context.Pipe()
            core = cores[rank] if pin and workers else None
            args = (name, workers, other, core, synchronized)
            process = context.Process(target=serve, args=args, daemon=True)
            process.start()
            other.close()
            self.connections.append(own)
            self.processes.append(process)
        if workers:
            addresses = [connection.recv() for connection in self.connections]
            for rank, connection in enumerate(self.connections):
                connection.send((rank, addresses))
        for connection in self.connections:
            connection.recv()

    def ask(self, method: str, count: int) -> list:
        """Has all members do something at once."""
        for connection in self.connections:
            connection.send((method, count))
        return [connection.recv() for connection in self.connections]

    def close(self) -> None:
        for connection, process in zip(self.connections, self.processes, strict=True):
            connection.send("stop")
            process.join(10)


def breakdown(team: Team, count: int) -> dict[str, tuple[float, float]]:
    """Microseconds of a step's parts, of the slowest member: median and best."""
    members = team.ask("split", count)
    parts: dict[str, list[float]] = {"gradient": [], "wait": [], "reduce": [], "apply": []}
    for step in zip(*members, strict=True):
        last = min(member["reduce"] for member in step)
        parts["gradient"].append(max(member["gradient"] for member in step))
        parts["wait"].append(max(member["reduce"] for member in step) - last)
        parts["reduce"].append(last)
        parts["apply"].append(max(member["apply"] for member in step))
    return {
        name: (1e6 * statistics.median(values), 1e6 * min(values)) for name, values in parts.items()
    }


def measure(name: str, workers: int, args: argparse.Namespace) -> None:
    """Prints the lines of one workload and number of workers."""
    alone, group = Team(name, 0, workers), Team(name, workers, 1, args.pin)
    try:
        steps = max(4, WORKLOADS[name].steps // args.share)
        times: list[tuple[float, float]] = []
        for _ in range(args.rounds):
            one = max(alone.ask("steps", steps))
            times.append((one / steps, max(group.ask("steps", steps)) / steps))
        parts = breakdown(group, 2 * steps)
    finally:
        alone.close()
        group.close()
    one, many = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(one / many for one, many in times)
    quickest = min(one for one, _ in times) / min(many for _, many in times)
    rate = WORKLOADS[name].batch_size / many
    told = "  ".join(f"{part} {value:.0f} ({best:.0f})" for part, (value, best) in parts.items())
    print(
        f"{name:10}  {workers} x 1 thread: {many * 1e3:.3f} ms a step, {rate:,.0f} samples/s; "
        f"1 x {workers} threads: {one * 1e3:.3f} ms; efficiency {ratio:.0%} (best {quickest:.0%})"
    )
    print(f"{'':10}  us of a step, median (best): {told}", flush=True)


def measure_synchronized(name: str, workers: int, args: argparse.Namespace) -> None:
    """Prints how much longer steps take with the statistics of the whole batch."""
    teams = [Team(name, workers, 1, args.pin, synchronized) for synchronized in (False, True)]
    try:
        steps = max(4, WORKLOADS[name].steps // args.share)
        times = [
            [max(team.ask("steps", steps)) / steps for team in teams] for _ in range(args.rounds)
        ]
    finally:
        for team in teams:
            team.close()
    apart, whole = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(whole / apart for apart, whole in times)
    best = min(whole for _, whole in times) / min(apart for apart, _ in times)
    print(
        f"{name:10}  {workers} x 1 thread: {apart * 1e3:.3f} ms a step with each shard's "
        f"statistics, {whole * 1e3:.3f} with the whole batch's: {ratio:.3f} (best {best:.3f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="mlp,mnist_cnn", help="workloads, comma-separated")
    parser.add_argument("--workers", default="1,2,4,8", help="numbers of workers")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--share", type=int, default=4, help="a round has 1/SHARE of an epoch")
    parser.add_argument("--pin", action="store_true", help="give each worker a core of its own")
    parser.add_argument(
        "--synchronized",
        action="store_true",
        help="what statistics of the whole batch cost, instead",
    )
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    for name in args.only.split(","):
        for workers in map(int, args.workers.split(",")):
            if workers <= cores:
                (measure_synchronized if args.synchronized else measure)(name, workers, args)


if __name__ == "__main__":
    main()
