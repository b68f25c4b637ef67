"""A driver in a process of its own, for tests that lose it or its host.

Prints where the training stands each time it looks: `at EPOCH SAMPLES SECONDS` by the machine's
monotonic clock, `holds EPOCH` when it waits for the loss of the cluster's head, and
`saved EPOCH BATCH` when a checkpoint was written; then saves weights and history.
"""

import argparse
import json
import time

import numpy as np
import ray
from distributed import scenario
from distributed.scenario import SHARDS

from hornbeam.callbacks import BackupAndRestore, Callback
from hornbeam.distribution import DataParallel
from hornbeam.engine import loop


class Tell(Callback):
    """Prints.

    Args:
        begin: called with the epoch that begins.
    """

    runs_last = True
    epoch = -1

    def __init__(self, begin):
        super().__init__()
        self.begin = begin

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.begin(epoch)

    def progress(self, seen, values):
        print("at", self.epoch, seen, time.monotonic(), flush=True)


class Backup(BackupAndRestore):
    """Tells of checkpoints."""

    def _save(self, *arguments):
        super()._save(*arguments)
        print("saved", self._position.epoch, self._position.batch, flush=True)


def main():
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, nargs=2, default=(1, 2))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--address")
    parser.add_argument("--node")
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--backup")
    parser.add_argument("--result")
    parser.add_argument("--wait-for", type=int, default=1)
    parser.add_argument("--hold", type=int)
    options = parser.parse_args()
    loop.INTERVAL = 0.01
    ray.init(options.address, _node_ip_address=options.node, logging_level="error")
    with DataParallel(tuple(options.workers), shards=SHARDS) as workers:
        members = scenario.Members(workers)
        while members.count() < options.wait_for:
            members.crew.look(force=True)
            time.sleep(0.05)
        print("members", json.dumps(members.look()), flush=True)

        def begin(epoch):
            # Not an attribute of the callback: a checkpoint would give it to the next driver.
            if epoch == options.hold:
                print("holds", epoch, flush=True)
                while not members.crew.head.is_lost:
                    time.sleep(0.05)

        callbacks = [Tell(begin)]
        if options.backup:
            callbacks.append(Backup(options.backup))
        model, history = scenario.fit(
            workers, callbacks, epochs=options.epochs, batch_size=options.batch_size
        )
        events = workers.generations()
    arrays = {f"a{i:03}": a for i, a in enumerate(scenario.state(model))}
    np.savez(options.result, history=json.dumps(history.history), **arrays)
    print("events", json.dumps(events), flush=True)


def load(path):
    """Return what a driver has saved, comparable as a whole."""
    with np.load(path, allow_pickle=False) as saved:
        arrays = [saved[name].tobytes() for name in sorted(saved.files) if name != "history"]
        return arrays, json.loads(str(saved["history"]))


if __name__ == "__main__":
    main()
