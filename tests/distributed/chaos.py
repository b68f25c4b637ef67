"""One training in which many things go wrong, by chance: it must end with the bits of a quiet one.

    python tests/distributed/chaos.py [--events 40] [--seed 7] [--workers 4]

Each epoch brings one event, at a random moment of it. The seed, printed first, decides which; when
exactly it strikes depends on the machine, so that a run can be repeated in its kind and not to the
microsecond.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from distributed import scenario
from distributed.scenario import SHARDS, Members, send

from hornbeam.callbacks import BackupAndRestore, Callback
from hornbeam.distribution import DataParallel

SAMPLES = 20_000


class CutError(Exception):
    """The driver gives up; the next one goes on from the checkpoint."""


class Memory:
    """What a checkpoint must not set back: what has happened and what was put off."""

    def __init__(self):
        self.happened, self.later, self.guests = [], [], []


class Chaos(Callback):
    """Makes an event happen in every epoch.

    Args:
        crew: returns the distribution in use.
        seed: decides which events.
        log: takes a line for each event.
    """

    # How often each event is drawn.
    weights = {
        "kill one": 8,
        "kill two": 3,
        "kill all": 1,
        "kill a newcomer": 3,
        "kill the coordinator": 2,
        "stop one": 2,
        "pause one": 4,
        "slow one": 2,
        "strangers": 3,
        "regroup": 3,
        "end the driver": 1,
    }

    def __init__(self, distribution, events, seed, log=print):
        super().__init__()
        self.random = random.Random(seed)
        # Every kind once, then by chance.
        kinds = list(self.weights)
        drawn = self.random.choices(kinds, list(self.weights.values()), k=events)
        first = kinds if events >= len(kinds) else []
        self.plan = [*first, *drawn][:events]
        self.random.shuffle(self.plan)
        self.distribution, self.log = distribution, log
        self.memory, self.epoch, self.due = Memory(), -1, None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        # An epoch that begins again after the driver's end has had its event.
        fresh = len(self.memory.happened) <= epoch < len(self.plan)
        self.due = self.random.uniform(0.0, 1.0) * SAMPLES if fresh else None

    def progress(self, seen, values):
        now = time.monotonic()
        for entry in [e for e in self.memory.later if e[0] <= now]:
            self.memory.later.remove(entry)
            entry[1]()
        if self.due is not None and seen >= self.due:
            self._strike()

    def on_epoch_end(self, epoch, logs=None):
        # Not seen in time: then between two epochs.
        if self.due is not None:
            self._strike()

    def finish(self):
        """Do what was put off."""
        while self.memory.later:
            self.memory.later.pop()[1]()
        for guest in self.memory.guests:
            guest.close()

    def _strike(self):
        self.due = None
        kind = self.plan[self.epoch]
        members = Members(self.distribution())
        found = members.look()
        self.memory.happened.append(kind)
        self.log(f"epoch {self.epoch}: {kind} of {len(found)}", flush=True)
        getattr(self, "_" + kind.replace(" ", "_"))(members, found)

    def _some(self, found, count):
        pids = list(found.values())
        return self.random.sample(pids, min(count, len(pids)))

    def _kill_one(self, members, found):
        self._signal(self._some(found, 1), signal.SIGKILL)

    def _kill_two(self, members, found):
        self._signal(self._some(found, 2), signal.SIGKILL)

    def _kill_all(self, members, found):
        self._signal(found.values(), signal.SIGKILL)

    def _kill_a_newcomer(self, members, found):
        self._signal(self._some(found, 1), signal.SIGKILL)

        def strike():
            fresh = members.newcomers() or members.look()
            self._signal(list(fresh.values())[-1:], signal.SIGKILL)

        self.memory.later.append((time.monotonic() + self.random.uniform(0.5, 3.0), strike))

    def _kill_the_coordinator(self, members, found):
        send(members.coordinator(), signal.SIGKILL)

    def _stop_one(self, members, found):
        """Long enough for the others to give it up; then it goes on as a zombie."""
        self._pause(found, 2.5)

    def _pause_one(self, members, found):
        """Too short for that."""
        self._pause(found, self.random.uniform(0.05, 1.0))

    def _pause(self, found, seconds):
        pids = self._some(found, 1)
        self._signal(pids, signal.SIGSTOP)
        again = time.monotonic() + seconds
        self.memory.later.append((again, lambda: self._signal(pids, signal.SIGCONT)))

    def _slow_one(self, members, found):
        pids = self._some(found, 1)

        def toggle(count):
            def turn():
                self._signal(pids, signal.SIGSTOP if count % 2 else signal.SIGCONT)
                if count:
                    self.memory.later.append((time.monotonic() + 0.05, toggle(count - 1)))

            return turn

        toggle(9)()

    def _strangers(self, members, found):
        """Say garbage, half a greeting and nothing to everybody's sockets."""
        for described in members.crew.describe():
            host, port = described["address"].rsplit(":", 1)
            for words in (b"GET / HTTP/1.1\r\n\r\n", b"HBhi\x01", os.urandom(4096), b""):
                guest = socket.create_connection((host, int(port)), timeout=5)
                guest.sendall(words)
                self.memory.guests.append(guest)

    def _regroup(self, members, found):
        """End a generation although nothing is wrong."""
        names = [m for m in members.crew.current() if m.name in found]
        for member in names[:1]:
            member.handle.regroup.remote(members.crew._ask_status()["generation"])

    def _end_the_driver(self, members, found):
        raise CutError

    def _signal(self, pids, number):
        for pid in pids:
            send(pid, number)


def train(distribution, epochs, callbacks=()):
    """Train for some epochs; return the model and its history."""
    return scenario.fit(distribution, callbacks, epochs=epochs, samples=SAMPLES)


def run(events, seed, workers=4, log=print):
    """Train in peace and in chaos; compare the bits.

    Returns:
        The kinds of events that happened, and the generations that workers formed.
    """
    log(f"chaos with seed {seed}", flush=True)
    epochs = events + 1
    with DataParallel(1, shards=SHARDS) as one:
        quiet = train(one, epochs)
    crews, generations = [], 0
    chaos = Chaos(lambda: crews[-1], events, seed, log)
    with tempfile.TemporaryDirectory() as folder:
        while True:
            with DataParallel((1, workers), shards=SHARDS) as several:
                crews.append(several)
                several.strategy()
                try:
                    backup = BackupAndRestore(folder + "/backup")
                    result = train(several, epochs, [backup, chaos])
                except CutError:
                    chaos.finish()
                    continue
                finally:
                    generations += len(several.generations())
                chaos.finish()
                break
    scenario.assert_same(result, quiet)
    return chaos.memory.happened, generations


def main():
    """Run by arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    began = time.monotonic()
    with scenario.cluster(options.workers):
        happened, generations = run(options.events, options.seed, options.workers)
    seconds = time.monotonic() - began
    print(
        f"{len(happened)} events, {generations} generations, {seconds:.0f} s: "
        "weights and history have the bits of an undisturbed run"
    )


if __name__ == "__main__":
    main()
