"""Time from calling `fit` to its first finished step on Ray workers: cold, warm, and again.

Cold starts a cluster on this machine too; warm has a cluster but no workers; again has both. Run as
`python tests/bench/first_step.py [--workers 2] [--repeats 3]`; each repeat is a fresh process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import numpy as np


class FirstStep:
    """Notes when the first batch was done."""

    def __new__(cls):
        from hornbeam.callbacks import Callback

        class Note(Callback):
            at = None

            def on_batch_end(self, batch, logs=None):
                if self.at is None:
                    self.at = time.perf_counter()

        return Note()


def fit_once(distribution, rows):
    """Return the seconds from the call of fit to the end of its first step."""
    from hornbeam.layers import Dense
    from hornbeam.models import Sequential

    model = Sequential(
        [
            Dense(512, activation="relu", input_shape=(784,)),
            Dense(512, activation="relu"),
            Dense(10, activation="softmax"),
        ]
    )
    model.compile("rmsprop", "categorical_crossentropy")
    x = np.random.rand(rows, 784).astype("float32")
    y = np.eye(10, dtype="float32")[np.random.randint(0, 10, rows)]
    note = FirstStep()
    start = time.perf_counter()
    model.fit(
        x, y, batch_size=128, epochs=1, verbose=0, callbacks=[note], distribution=distribution
    )
    return note.at - start


def measure(workers, rows):
    """Print the seconds of a cold, a warm and a second fit as JSON."""
    from hornbeam.distribution import DataParallel

    def distribution():
        return DataParallel(workers, cpus_per_worker=1)

    with distribution() as first:
        cold = fit_once(first, rows)
    with distribution() as second:
        warm = fit_once(second, rows)
        again = fit_once(second, rows)
    print(json.dumps({"cold": cold, "warm": warm, "again": again}))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=12800)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.workers, arguments.rows)
        return
    command = [sys.executable, __file__, "--measure"]
    command += ["--workers", str(arguments.workers), "--rows", str(arguments.rows)]
    results = []
    for _ in range(arguments.repeats):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
    print(
        f"fit to its first step on {arguments.workers} workers, seconds ({arguments.repeats} runs)"
    )
    for kind in ("cold", "warm", "again"):
        values = sorted(r[kind] for r in results)
        print(f"  {kind:6s} least {values[0]:6.2f}   median {np.median(values):6.2f}")


if __name__ == "__main__":
    main()
