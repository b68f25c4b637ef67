"""Training on Ray workers with something happening in it, for tests that compare the bits."""

import contextlib
import os
import signal
import time
from pathlib import Path

import numpy as np
import ray

from hornbeam.callbacks import Callback
from hornbeam.layers import BatchNormalization, Dense, Dropout
from hornbeam.models import Sequential

SHARDS = 4
ROWS = np.random.RandomState(0)
X = ROWS.randn(80_000, 12).astype("float32")
Y = np.eye(3, dtype="float32")[ROWS.randint(0, 3, 80_000)]


@contextlib.contextmanager
def cluster(cpus=4, **options):
    """Inside the block there is a Ray cluster of this machine."""
    settings = {"include_dashboard": False, "logging_level": "error", "log_to_driver": False}
    ray.init("local", num_cpus=cpus, **{**settings, **options})
    try:
        yield
    finally:
        ray.shutdown()


def build():
    """Return a model whose bits depend on everything: dropout, statistics, a step counter."""
    np.random.seed(5)
    model = Sequential(
        [
            Dense(32, activation="relu", input_shape=(12,)),
            BatchNormalization(),
            Dropout(0.4),
            Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    return model


def fit(distribution, callbacks=(), epochs=3, samples=80_000, batch_size=20):
    """Train; return the model and its history."""
    model = build()
    history = model.fit(
        X[:samples],
        Y[:samples],
        batch_size=batch_size,
        epochs=epochs,
        verbose=0,
        callbacks=list(callbacks),
        distribution=distribution,
    )
    return model, history


def state(model):
    """Return everything that training changes."""
    return [*model.get_weights(), *model.optimizer.get_weights()]


def assert_same(a, b):
    """Compare what two trainings have led to, bit by bit."""
    for x, y in zip(state(a[0]), state(b[0]), strict=True):
        assert x.tobytes() == y.tobytes()
    assert a[1].history == b[1].history


class Script(Callback):
    """Does things while an epoch runs: a generator that yields conditions to wait for.

    The generator goes on at the next look at the training at which its condition holds. A
    condition that does not come true within its time is an error. The last epoch but one does not
    end before the generator does, so that there is always something left to train.
    """

    def __init__(self, script, crew, epoch=0, patience=60.0):
        super().__init__()
        self.crew = crew
        self.script, self.epoch, self.patience = script, epoch, patience
        self.started = self.ended = False
        self._condition, self._since = None, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        if epoch >= self.epoch:
            self.started = True

    def progress(self, seen, values):
        if self.started and not self.ended and seen:
            self._go_on()

    def on_epoch_end(self, epoch, logs=None):
        while self.started and not self.ended and epoch >= self.params["epochs"] - 2:
            self.crew.look()
            self._go_on()
            time.sleep(0.02)

    def _go_on(self):
        if self._condition is not None and not self._condition():
            assert time.monotonic() - self._since < self.patience, "waited in vain"
            return
        try:
            self._condition = next(self.script)
            self._since = time.monotonic()
        except StopIteration:
            self.ended = True


class Members:
    """The processes of a crew's members, by name."""

    def __init__(self, distribution):
        self.crew = distribution.strategy().crew
        self.pids = {}

    def look(self):
        """Return the present members' processes."""
        with contextlib.suppress(ray.exceptions.RayError):
            for described in self.crew.describe():
                self.pids[described["name"]] = described["pid"]
        status = self.crew._ask_status()
        return {n: self.pids[n] for n in status["members"] if n in self.pids}

    def kill(self, count=1, how=signal.SIGKILL):
        """Send the last members a signal; return their processes by name."""
        doomed = dict(list(self.look().items())[-count:])
        for pid in doomed.values():
            send(pid, how)
        return doomed

    def fenced(self, names):
        """Tell whether workers have been shut out."""
        return set(names) <= set(self.crew._ask_status()["fenced"])

    def coordinator(self):
        """Return the coordinator's process."""
        return self.crew._ask_status()["pid"]

    def newcomers(self):
        """Return the processes of workers that were sent to join and are no members, by name."""
        inside = self.crew._ask_status()["members"]
        outside = [m for m in self.crew.entered() if m.name not in inside]
        return {m.name: ray.get(m.ready)["pid"] for m in outside}

    def count(self):
        """Return how many members there are."""
        return len(self.crew._ask_status()["members"])


def send(pid, number):
    """Send a process a signal, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def is_running(pid):
    """Tell whether a process is there and has not ended."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds=30.0):
    """Return whether something comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False
