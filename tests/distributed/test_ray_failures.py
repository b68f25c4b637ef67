"""What can befall a job of Ray workers beyond the loss of some: the same bits all the same."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from distributed.marks import ON_RAY

ray = pytest.importorskip("ray")

from distributed import scenario  # noqa: E402
from distributed.scenario import SHARDS, Members, Script, assert_same, fit, send  # noqa: E402

from hornbeam.distribution import DataParallel  # noqa: E402

pytestmark = ON_RAY


@pytest.fixture(scope="module")
def undisturbed():
    """Return a model and its history, trained by one worker."""
    with scenario.cluster():
        with DataParallel(1, shards=SHARDS) as one:
            yield fit(one)


def train(undisturbed, distribution, script, **options):
    """Train with a script of disturbances to its end, and compare the bits; return the events."""
    members = Members(distribution)
    acting = Script(script(members), members.crew)
    result = fit(distribution, [acting], **options)
    assert acting.ended
    assert_same(result, undisturbed)
    return distribution.generations()


def test_newcomers_that_die_as_they_copy(undisturbed):
    def script(members):
        doomed = members.kill()
        yield lambda: members.fenced(doomed)
        for _ in range(2):
            yield lambda: members.newcomers() or members.count() > 1
            # Before it is a member, in the midst of copying the state, or just behind that.
            for pid in (members.newcomers() or members.kill()).values():
                send(pid, signal.SIGKILL)
            yield lambda: members.count() == 1

    with DataParallel(2, shards=SHARDS) as two:
        events = train(undisturbed, two, script)
    assert sum(len(event["lost"]) for event in events) >= 1


def test_a_zombie_is_fenced(undisturbed):
    """A worker that goes on after others have replaced it ends, and is heard of no more."""
    stopped = {}

    def script(members):
        stopped.update(members.kill(how=signal.SIGSTOP))
        yield lambda: members.fenced(stopped)
        # The training has gone on without it.
        for pid in stopped.values():
            send(pid, signal.SIGCONT)
        yield lambda: not any(map(scenario.is_running, stopped.values()))

    with DataParallel((1, 2), shards=SHARDS) as two:
        assert scenario.until(lambda: _grown(two, 2))
        events = train(undisturbed, two, script)
    (name,) = stopped
    after = [event for event in events if name in event["lost"]]
    assert len(after) == 1
    assert not any(name in event["members"] for event in events if event is after or event in after)


def _grown(distribution, count):
    crew = distribution.strategy().crew
    crew.look(force=True)
    return len(crew.current()) >= count


def test_the_coordinator_is_lost(undisturbed):
    """Training goes on without it; a new one takes over the generations and the fences."""

    def script(members):
        first = members.coordinator()
        before = members.crew._ask_status()
        send(first, signal.SIGKILL)
        yield lambda: members.coordinator() != first
        # Together with a worker, so that nobody is there to form the next generation at first.
        second = members.coordinator()
        doomed = members.kill()
        send(second, signal.SIGKILL)
        yield lambda: members.coordinator() not in (first, second)
        yield lambda: members.fenced(doomed) and members.count() > 1
        assert members.crew._ask_status()["generation"] > before["generation"]

    with DataParallel(2, shards=SHARDS) as two:
        train(undisturbed, two, script)


class Slowed:
    """Inside the block, a process runs for a small part of the time only."""

    def __init__(self, pid, share=0.15):
        self.pid, self.share, self.over = pid, share, threading.Event()
        # Its end must not wait for a script that was given up.
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.thread.join()
        send(self.pid, signal.SIGCONT)

    def _run(self):
        while not self.over.is_set():
            send(self.pid, signal.SIGSTOP)
            time.sleep(0.02 * (1 - self.share))
            send(self.pid, signal.SIGCONT)
            time.sleep(0.02 * self.share)


@pytest.mark.usefixtures("undisturbed")
def test_a_straggler_gives_shards_away():
    slow = {}

    def script(members):
        slow.update(list(members.look().items())[-1:])
        (name,) = slow

        def shards():
            status = members.crew._ask_status()
            return dict(zip(status["members"], status["shards"], strict=True))[name]

        assert shards() == 2
        with Slowed(slow[name]):
            yield lambda: shards() < 2

    # Epochs of some seconds: what is slow has to show for a while.
    longer = {"batch_size": 4}
    with DataParallel(1, shards=SHARDS) as one:
        whole = fit(one, **longer)
    with DataParallel(2, shards=SHARDS) as two:
        events = train(whole, two, script, **longer)
    assert not any(event["lost"] for event in events)
    assert any(event["shards"] != [2, 2] for event in events)


DRIVER = """
    import sys
    sys.path[:0] = {paths!r}
    from distributed import scenario
    import numpy as np
    from hornbeam.callbacks import BackupAndRestore, LambdaCallback
    from hornbeam.distribution import DataParallel
    def told(epoch, logs):
        print("epoch", epoch, *scenario.Members(two).look().values(), flush=True)
    backup = BackupAndRestore({folder!r})
    with DataParallel(2, shards=scenario.SHARDS, address={address!r}) as two:
        model, history = scenario.fit(two, [backup, LambdaCallback(on_epoch_end=told)])
    np.savez({result!r}, *scenario.state(model))
    print("epochs", *history.epoch, flush=True)
"""


def test_the_driver_dies(undisturbed, tmp_path):
    """Its workers end with it, and the next driver goes on from the last checkpoint."""
    address = ray.get_runtime_context().gcs_address
    names = {"folder": str(tmp_path / "backup"), "result": str(tmp_path / "result.npz")}
    script = textwrap.dedent(DRIVER).format(paths=sys.path, address=address, **names)

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ
        )

    first = start()
    for line in first.stdout:
        # The checkpoint of the epoch before it has been written.
        if line.startswith("epoch 1"):
            break
    workers = [int(pid) for pid in line.split()[2:]]
    assert len(workers) == 2
    first.kill()
    first.communicate()
    assert scenario.until(lambda: not any(map(scenario.is_running, workers)))
    assert not os.path.exists(names["result"])
    said, _ = start().communicate(timeout=120)
    assert "epoch 0" not in said and "epochs 0 1 2" in said
    with np.load(names["result"]) as saved:
        arrays = [saved[name] for name in saved.files]
    for a, b in zip(arrays, scenario.state(undisturbed[0]), strict=True):
        assert a.tobytes() == b.tobytes()
