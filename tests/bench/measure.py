"""Time one workload under one framework in this process and print the result as a line of JSON.

    python measure.py WORKLOAD FRAMEWORK [--threads N] [--quick]

`run.py` starts this in a fresh process for every number, so that no framework finds another's
threads, memory or compiled code. Threads are limited by the environment that run.py sets.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()
sys.path.insert(0, str(Path(__file__).resolve().parent))

from workloads import FRAMEWORKS, WORKLOADS, Api  # noqa: E402


def peak_memory() -> float:
    """The largest resident size of this process so far, in MiB."""
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def timed(function, *args, **kwargs) -> float:
    start = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - start


def measure(name: str, framework: str, threads: int, quick: bool) -> dict:
    """Samples/s of the best of a few epochs of `fit` and passes of `predict`, and the rest."""
    workload = WORKLOADS[name]
    api = Api(framework, threads)
    imported = time.perf_counter() - STARTED
    steps = max(2, workload.steps // 4) if quick else workload.steps
    repeats = 2 if quick else 3
    batch = workload.batch_size
    x, y = workload.data(steps * batch)
    model = workload.build(api)
    fit = {"batch_size": batch, "epochs": 1, "verbose": 0}
    model.fit(x[:batch], y[:batch], **fit)
    first_step = time.perf_counter() - STARTED
    # The first whole epoch may still compile or plan.
    model.fit(x, y, **fit)
    training = min(timed(model.fit, x, y, **fit) for _ in range(repeats))
    predict = {"batch_size": workload.predict_batch, "verbose": 0}
    model.predict(x, **predict)
    predicting = min(timed(model.predict, x, **predict) for _ in range(repeats))
    return {
        "workload": name,
        "framework": framework,
        "threads": threads,
        "fit": len(x) / training,
        "predict": len(x) / predicting,
        "step_ms": 1e3 * training / steps,
        "import_s": imported,
        "first_step_s": first_step,
        "peak_mib": peak_memory(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    result = measure(args.workload, args.framework, args.threads, args.quick)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
