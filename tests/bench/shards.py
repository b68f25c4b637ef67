"""Samples/s of one worker that runs 1, 2, 4 and 8 logical shards, against ordinary training.

    python tests/bench/shards.py [--only mlp,mnist_cnn] [--shards 1,2,4,8] [--threads 2]
                                 [--repeats 15] [--apart]
                                 [--synchronized] [--cpu]

Ordinary training and each number of shards take turns of some steps in one process; the best turn
of each counts. `--apart` also runs one shard after the other, as for unequal shards, and
`--synchronized` all with the statistics of the whole batch. `--cpu` counts the processor's time
instead of the clock's: with one thread, on a machine that has other things to do.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from run import cores, environment  # noqa: E402

NAMES = ("mlp", "mnist_cnn", "cifar_vgg", "imdb_lstm")


def loops(api, workload, shards, apart, synchronized):
    """A function for each way of training that makes a pass over the data, and its model."""
    from hornbeam import backend as K
    from hornbeam.distribution import set_strategy
    from hornbeam.engine.strategy import LocalStrategy

    class Sharded(LocalStrategy):
        sharded = True
        synchronized = False

    x, y = workload.data(workload.batch_size * max(4, workload.steps // 4))
    arrays = [np.ascontiguousarray(x), np.ascontiguousarray(y)]
    order = np.random.RandomState(0).permutation(len(x)).astype("int64")
    batch = workload.batch_size

    def local():
        model = workload.build(api)
        program = model._make_train_function()
        strategy = LocalStrategy()
        return lambda: strategy.start(program, arrays, batch, order)

    def sharded(count, at_once, synchronized=False):
        strategy = Sharded()
        strategy.synchronized = synchronized
        set_strategy(strategy)
        program = workload.build(api)._make_train_function()
        set_strategy(LocalStrategy())
        functions = (program.normalizers, program.function, program.apply)
        compiled = [None if f is None else f.core for f in functions]

        def start():
            loop = K.ShardedLoop(*compiled, arrays, batch, order, None, count)
            loop.set_at_once(at_once)
            return loop

        return start

    ways = {"ordinary": local()}
    for count in shards:
        ways[f"V={count}"] = sharded(count, True)
        if apart:
            ways[f"V={count} apart"] = sharded(count, False)
        if synchronized:
            ways[f"V={count} sync"] = sharded(count, True, True)
        if synchronized and apart:
            ways[f"V={count} sync apart"] = sharded(count, False, True)
    return ways, batch


def measure(ways: dict, batch: int, steps: int, repeats: int, clock) -> dict[str, float]:
    """The best samples/s of each way."""
    for start in ways.values():
        start().run(2)
    best = dict.fromkeys(ways, 0.0)
    for _ in range(repeats):
        for name, start in ways.items():
            run = start()
            began = clock()
            ran = run.run(steps)
            best[name] = max(best[name], ran * batch / (clock() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(NAMES))
    parser.add_argument("--shards", default="1,2,4,8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--synchronized", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    os.environ.update(environment(args.threads))
    os.sched_setaffinity(0, cores(args.threads))
    from workloads import WORKLOADS, Api

    api = Api("hornbeam", args.threads)
    shards = [int(v) for v in args.shards.split(",")]
    print(f"{'':12}{'':16}{'samples/s':>12}{'of ordinary':>13}")
    for name in args.only.split(","):
        ways, batch = loops(api, WORKLOADS[name], shards, args.apart, args.synchronized)
        steps = max(2, WORKLOADS[name].steps // 12)
        best = measure(ways, batch, steps, args.repeats, clock)
        for way, speed in best.items():
            print(f"{name:12}{way:16}{speed:12,.0f}{speed / best['ordinary']:13.1%}", flush=True)


if __name__ == "__main__":
    main()
