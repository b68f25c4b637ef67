"""Launches workers as processes and coordinates their group over pipes."""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

import hornbeam
from hornbeam.distribution import even_ranges

TESTS = Path(__file__).resolve().parent.parent


class Worker:
    """A process that speaks lines of JSON."""

    def __init__(self, out, **task):
        paths = [str(TESTS), str(Path(hornbeam.__file__).parent.parent)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        environment["HORNBEAM_NUM_THREADS"] = "1"
        self.out, self.log = Path(f"{out}.npz"), Path(f"{out}.log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "distributed.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        # A worker that hangs ends here; its reader then sees the end of the file.
        self.timer = threading.Timer(120, self.process.kill)
        self.timer.start()
        self.say(**task, out=str(self.out))
        self.address = self.hear()["address"] if task["workers"] else None

    def say(self, **message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"the worker ended with {self.process.wait()}: {self.log.read_text()}")
        return json.loads(line)

    def arrays(self):
        with np.load(self.out) as archive:
            return [archive[name] for name in archive.files]

    def signal(self, number):
        self.process.send_signal(number)

    def close(self):
        self.process.kill()
        self.timer.cancel()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Job:
    """The workers of a group and its present generation."""

    def __init__(self, folder, case, shards, epochs=3, **task):
        self.folder, self.shards = folder, shards
        self.task = {"case": case, "epochs": epochs, "workers": 1, **task}
        self.generation = 0
        self.workers = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for worker in self.workers:
            worker.close()

    def launch(self, **task):
        number = len(self.workers)
        worker = Worker(self.folder / f"worker{number}", **self.task, **task)
        self.workers.append(worker)
        return worker

    def form(self, workers, links=(), counts=None):
        """Form the next generation.

        Args:
            workers: its members, by rank.
            links: relays, by (rank that dials, rank that is dialed), the lower first.
            counts: shards of each member, by default even.
        """
        self.begin(workers, links, counts)
        for worker in workers:
            assert worker.hear() == {"formed": self.generation}

    def begin(self, workers, links=(), counts=None):
        """Tell workers of the next generation without waiting for it."""
        self.generation += 1
        ranges = even_ranges(self.shards, len(workers))
        if counts is not None:
            ends = list(itertools.accumulate(counts))
            ranges = list(zip([0, *ends], ends, strict=False))
        for rank, worker in enumerate(workers):
            members = [(w.address, *r) for w, r in zip(workers, ranges, strict=True)]
            for (dialer, dialed), link in dict(links).items():
                if dialer == rank:
                    members[dialed] = (link.address, *members[dialed][1:])
            worker.say(rank=rank, generation=self.generation, members=members)

    def kill_at_random(self, workers, random):
        """Train on some workers, of which all but one are killed from outside, one a generation.

        Returns:
            What those that came to the end say of it.
        """
        alive, results = [self.launch() for _ in range(workers)], []
        while alive:
            self.form(alive)
            if len(alive) > 1:
                time.sleep(random.uniform(0.0, 0.15))
                alive.pop(random.randint(len(alive))).process.kill()
            said = [(worker, worker.hear()) for worker in alive]
            # Some may have ended before others noticed a death in the very last exchange.
            results += [message for _, message in said if "weights" in message]
            alive = [worker for worker, message in said if "failed" in message]
        return results


def finish(workers):
    """Return the results that all workers agree on."""
    results = [worker.hear() for worker in workers]
    for result in results[1:]:
        assert result["weights"] == results[0]["weights"]
        assert result["predictions"] == results[0]["predictions"]
        assert result["loss"] == results[0]["loss"]
    return results[0]


def train(folder, case, workers, shards=4, epochs=3, **task):
    """Train undisturbed; 0 workers is a process without a group. Returns results and arrays."""
    if not workers:
        worker = Worker(folder / "alone", case=case, epochs=epochs, workers=0)
        try:
            return worker.hear(), worker.arrays()
        finally:
            worker.close()
    with Job(folder, case, shards, epochs, **task) as job:
        for _ in range(workers):
            job.launch()
        job.form(job.workers)
        return finish(job.workers), job.workers[0].arrays()
