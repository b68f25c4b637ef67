"""Microseconds a training step of the smallest network takes in `fit`, on one core.

    python tests/bench/overhead.py [--framework hornbeam] [--steps 20000]

The network of 32-32-1 units needs under a microsecond of arithmetic a step: what remains is the
cost of gathering a batch, dispatching and reporting. `train_on_batch` and `predict` of one sample
show the cost of a call from Python.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from run import cores, environment  # noqa: E402


def best(function, repeats: int, count: int) -> float:
    """The best of `repeats` timings of `function`, in microseconds for each of its `count`."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e6 * min(times) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--framework", default="hornbeam")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    os.environ.update(environment(1))
    os.sched_setaffinity(0, cores(1))
    from workloads import WORKLOADS, Api

    api = Api(args.framework, 1)
    workload = WORKLOADS["mlp_tiny"]
    model = workload.build(api)
    batch = workload.batch_size
    x, y = workload.data(args.steps * batch)
    fit = {"batch_size": batch, "epochs": 1, "verbose": 0}
    model.fit(x[: 10 * batch], y[: 10 * batch], **fit)

    calls = 200
    one = x[:1]

    def train_on_batch():
        for i in range(calls):
            model.train_on_batch(x[i * batch : (i + 1) * batch], y[i * batch : (i + 1) * batch])

    def predict_one():
        for _ in range(calls):
            model.predict(one, verbose=0)

    results = {
        "fit, a step": best(lambda: model.fit(x, y, **fit), args.repeats, args.steps),
        "fit without shuffling, a step": best(
            lambda: model.fit(x, y, shuffle=False, **fit), args.repeats, args.steps
        ),
        "train_on_batch, a call": best(train_on_batch, args.repeats, calls),
        "predict of one sample, a call": best(predict_one, args.repeats, calls),
    }
    print(f"{args.framework}, one core, best of {args.repeats}")
    for what, microseconds in results.items():
        print(f"  {what:32}{microseconds:10.2f} us")


if __name__ == "__main__":
    main()
