"""`python -m hornbeam.run`: its settings, its end, its files."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import hornbeam as keras
from deploy import manifests
from deploy.launching import environment, finish, read_until, start, weights
from hornbeam.callbacks import Callback
from hornbeam.distribution import leaving
from hornbeam.engine import loop
from hornbeam.layers import Dense, Dropout
from hornbeam.models import Sequential
from hornbeam.run import drain, settings, storage
from hornbeam.run.backups import Backups, Departures, Leave

SCRIPT = """
import os, sys, time
import numpy as np
import hornbeam as keras
from hornbeam.callbacks import Callback
from hornbeam.layers import Dense
from hornbeam.models import Sequential

class Tell(Callback):
    def on_epoch_end(self, epoch, logs=None):
        print("epoch", epoch, flush=True)

np.random.seed(1)
x = np.random.normal(size=(64, 5)).astype("float32")
model = Sequential([Dense(3, input_shape=(5,), activation="tanh"), Dense(1)])
model.compile("adam", "mse")
model.fit(x, x[:, :1], epochs=int(sys.argv[1]), verbose=0, callbacks=[Tell()])
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize(
    ("text", "workers"), [("4", (4, 4)), ("2-8", (2, 8)), (" 3 ", (3, 3)), ("0", None)]
)
def test_workers(text, workers):
    assert settings.parse_workers(text) == workers


@pytest.mark.parametrize("text", ["", "a", "-1", "8-2", "1-2-3", "0-4", "2-", "1.5"])
def test_wrong_workers(text):
    with pytest.raises(ValueError, match="expected a number as 4"):
        settings.parse_workers(text)


def test_settings_from_the_environment():
    given = settings.parse(
        ["train.py", "--epochs", "3"],
        {
            "HORNBEAM_WORKERS": "2-8",
            "HORNBEAM_CPUS_PER_WORKER": "4",
            "HORNBEAM_CHECKPOINT": "s3://bucket/run",
            "HORNBEAM_OUTPUT": "model.h5",
            "HORNBEAM_DRAIN_SECONDS": "100",
            "HORNBEAM_START_SECONDS": "900",
            "HORNBEAM_SAVE_EVERY": "50",
            "RAY_ADDRESS": "10.0.0.1:6379",
        },
    )
    assert given == settings.Settings(
        script="train.py",
        arguments=("--epochs", "3"),
        workers=(2, 8),
        cpus_per_worker=4,
        address="10.0.0.1:6379",
        checkpoint="s3://bucket/run",
        save_every=50,
        output="model.h5",
        drain_seconds=100.0,
        start_seconds=900.0,
    )


def test_the_command_line_wins():
    given = settings.parse(["--workers", "3", "a.py"], {"HORNBEAM_WORKERS": "8"})
    assert given.workers == (3, 3)


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["--workers", "many", "a.py"], {}, "expected a number as 4"),
        (["a.py"], {"HORNBEAM_WORKERS": "8-2"}, "expected a number as 4"),
        (["a.py"], {"HORNBEAM_WORKERS": "8-2"}, "HORNBEAM_WORKERS"),
        (["--cpus-per-worker", "0", "a.py"], {}, "positive whole number"),
        (["--drain-seconds", "nan", "a.py"], {}, "positive number of seconds"),
        (["a.py"], {"HORNBEAM_START_SECONDS": "soon"}, "HORNBEAM_START_SECONDS 'soon'"),
        ([], {}, "script"),
    ],
)
def test_wrong_settings(arguments, variables, message, capsys):
    with pytest.raises(SystemExit) as end:
        settings.parse(arguments, variables)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_what_the_manifests_set(capsys):
    with pytest.raises(SystemExit) as end:
        settings.parse(["--help"], {})
    shown = capsys.readouterr().out
    assert end.value.code == 0
    spec = manifests.cluster_spec(manifests.ray_object(manifests.rendered("job")))
    given = manifests.environment(spec["headGroupSpec"]["template"]["spec"]["containers"][0])
    # The script's own, and those of the library.
    others = {"HORNBEAM_DATA", "HORNBEAM_NUM_THREADS", "HORNBEAM_PORTS"}
    asked = {name for name in given if name.startswith("HORNBEAM_")} - others
    assert len(asked) == 7 and all(f"[{name}]" in shown for name in asked)


def test_an_ordinary_script_leaves_its_model(script, tmp_path):
    output = tmp_path / "deep" / "model.h5"
    status, out, err = finish([script, 2], HORNBEAM_OUTPUT=str(output))
    assert (status, out.split()) == (0, ["epoch", "0", "epoch", "1"]), err
    model = keras.models.load_model(str(output))
    assert model.predict(np.zeros((1, 5), "float32")).shape == (1, 1)
    assert os.listdir(output.parent) == ["model.h5"]


def test_the_manifests_script_trains_on_its_data(tmp_path):
    base = Path(__file__).resolve().parents[2] / "deploy" / "kuberay" / "base"
    data, output = tmp_path / "data.npz", tmp_path / "model.h5"
    files = {"HORNBEAM_DATA": str(data), "HORNBEAM_OUTPUT": str(output), "EPOCHS": "3"}
    made = subprocess.run(
        [sys.executable, base / "make_data.py"], env=environment(**files), capture_output=True
    )
    assert made.returncode == 0, made.stderr
    status, out, err = finish([base / "train.py"], **files)
    assert status == 0, err
    with np.load(data) as arrays:
        x, y = arrays["x"], arrays["y"]
    found = keras.models.load_model(str(output)).predict(x).argmax(axis=1)
    assert np.mean(found == y) > 0.5, out


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("raise ValueError('no data')", 1, "no data"),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('lost')", 1, "lost"),
        ("", 1, "the script trained none"),
    ],
)
def test_failures_exit_with_a_status(tmp_path, body, status, message):
    path = tmp_path / "script.py"
    path.write_text(body)
    output = tmp_path / "model.h5"
    ended, _, err = finish(["--output", output, path])
    assert ended == status and message in err
    assert not output.exists()


def test_a_missing_script(tmp_path):
    status, _, err = finish([tmp_path / "none.py"])
    assert status == 1 and "there is no script" in err and "Traceback" not in err


def test_sigterm_ends_a_run(script, tmp_path):
    output = tmp_path / "model.h5"
    process = start(["--output", output, script, 10**6], TMPDIR=str(tmp_path))
    assert process.stdout.readline() == "epoch 0\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == drain.EXIT_STATUS, err
    assert "SIGTERM" in err and not output.exists()
    assert os.listdir(tmp_path / drain._FOLDER.name) == []


def test_sigterm_is_heard_though_another_took_it(script, tmp_path):
    """As Ray does when it connects: its handler exits at once, with the signal's number."""
    taken = "import signal\nsignal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))\n"
    script.write_text(SCRIPT.replace("np.random.seed(1)\n", f"{taken}np.random.seed(1)\n"))
    assert taken in script.read_text()
    process = start([script, 10**6], TMPDIR=str(tmp_path))
    assert process.stdout.readline() == "epoch 0\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == drain.EXIT_STATUS and "left between two steps" in err, err


def test_sigterm_outside_of_training_though_another_took_it(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))\n"
        "print('on', flush=True)\ntime.sleep(600)\n"
    )
    process = start([path], TMPDIR=str(tmp_path))
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == drain.EXIT_STATUS


def test_a_run_that_does_not_stop_is_ended(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(
        "import time\nprint('on', flush=True)\n"
        "while True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass\n"
    )
    process = start(["--drain-seconds", 0.5, path], TMPDIR=str(tmp_path))
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == drain.EXIT_STATUS


def test_the_hook_drains_the_runs_of_its_container(script, tmp_path):
    process = start([script, 10**6], TMPDIR=str(tmp_path))
    assert process.stdout.readline() == "epoch 0\n"
    # Another process that has got the number of a run that is gone stays alone.
    (tmp_path / drain._FOLDER.name / str(os.getpid())).write_text("60")
    hook = subprocess.Popen(
        [sys.executable, "-m", "hornbeam.run.drain"], env=environment(TMPDIR=str(tmp_path))
    )
    process.communicate(timeout=60)
    assert process.returncode == drain.EXIT_STATUS
    assert hook.wait(timeout=60) == 0


@pytest.fixture
def no_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(drain, "_FOLDER", tmp_path / "none")
    monkeypatch.setattr(leaving, "folder", lambda: tmp_path / "workers")
    return tmp_path / "workers"


def test_the_hook_does_not_wait_where_there_is_nothing(no_runs):
    assert drain.drain(10**6) == 0


def process_named(name):
    """A process that a look at /proc takes for an actor of Ray."""
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", name])


def test_the_hook_waits_until_workers_are_let_go(no_runs):
    no_runs.mkdir()
    worker, other = process_named("ray::HornbeamWorker"), process_named("ray::Another")
    try:
        for process in (worker, other):
            (no_runs / str(process.pid)).touch()
        assert leaving.waiting() == [worker.pid] and not leaving.is_told()
        assert drain.drain(0.3) == 1, "it cannot wait for ever"
        told = []

        def let_go():
            while not leaving.is_told():
                time.sleep(0.01)
            told.append(True)
            (no_runs / str(worker.pid)).unlink()

        driver = threading.Thread(target=let_go)
        driver.start()
        assert drain.drain(10**6) == 0
        driver.join()
        assert told and not leaving.is_told()
        (no_runs / str(worker.pid)).touch()
        worker.kill()
        worker.wait()
        assert drain.drain(10**6) == 0, "a worker that is gone is not waited for"
    finally:
        for process in (worker, other):
            process.kill()
            process.wait()


def test_a_whole_file_or_the_old_one(tmp_path):
    target = tmp_path / "model.h5"
    target.write_text("old")

    def breaks(path):
        Path(path).write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        storage.write_whole(str(target), breaks)
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["model.h5"]
    storage.write_whole(str(target), lambda path: Path(path).write_text("new"))
    assert target.read_text() == "new"


@pytest.fixture
def bucket():
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    yield "memory://bucket"
    fsspec.filesystem("memory").store.clear()


def test_files_in_a_store(bucket):
    storage.write_whole(f"{bucket}/a/b.txt", lambda path: Path(path).write_text("text"))
    with storage.open_file(f"{bucket}/a/b.txt") as f:
        assert f.read() == b"text"
    with pytest.raises(FileNotFoundError):
        storage.open_file(f"{bucket}/none")


def test_a_mirror_keeps_whole_copies(bucket, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    mirror = storage.Mirror(str(here), f"{bucket}/run")
    assert mirror.pull() is False and mirror.push() is False
    for number in range(4):
        (here / "deep").mkdir(exist_ok=True)
        (here / "deep" / "state").write_text(f"state {number}")
        assert mirror.push() is True and mirror.push() is False
    other = storage.Mirror(str(there), f"{bucket}/run")
    assert other.pull() is True
    assert (there / "deep" / "state").read_text() == "state 3"
    copies = [p for p in mirror._filesystem.ls(mirror._inner, detail=False) if "LATEST" not in p]
    assert len(copies) == 2


def test_a_copy_that_was_cut_off_is_not_read(bucket, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    mirror = storage.Mirror(str(here), f"{bucket}/run")
    mirror.pull()
    (here / "state").write_text("whole")
    mirror.push()
    with storage.open_file(f"{bucket}/run/00000009-cut/state", "wb") as f:
        f.write(b"half")
    other = storage.Mirror(str(there), f"{bucket}/run")
    other.pull()
    assert (there / "state").read_text() == "whole"


LONG = """
import os, sys, time
import numpy as np
from hornbeam.callbacks import Callback
from hornbeam.layers import Dense, Dropout
from hornbeam.models import Sequential

class Slow(Callback):
    def progress(self, seen, values):
        print("epoch", self.epoch, flush=True)
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        print("epoch", epoch, flush=True)

np.random.seed(1)
x = np.random.normal(size=(6400, 256)).astype("float32")
model = Sequential(
    [Dense(256, input_shape=(256,), activation="tanh"), Dropout(0.2), Dense(1)]
)
model.compile("adam", "mse")
model.fit(x, x[:, :1], epochs=1, verbose=0)
model.fit(x, x[:, :1], epochs=12, verbose=0, callbacks=[Slow()])
"""


@pytest.fixture
def long(tmp_path):
    path = tmp_path / "long.py"
    path.write_text(LONG)
    return path


@pytest.fixture(params=["", "file://"], ids=["folder", "store"])
def checkpoint(request, tmp_path):
    if request.param:
        pytest.importorskip("fsspec", reason="fsspec is not installed")
    return f"{request.param}{tmp_path}/checkpoint"


@pytest.mark.slow
@pytest.mark.parametrize("save", [[], ["--save-every", 7]], ids=["epochs", "steps"])
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_cut_off_ends_with_the_same_bits(long, tmp_path, checkpoint, save, end):
    whole, resumed = tmp_path / "whole.h5", tmp_path / "resumed.h5"
    status, _, err = finish(["--output", whole, long])
    assert status == 0, err
    arguments = ["--output", resumed, "--checkpoint", checkpoint, *save, long]
    for epoch in (2, 6):
        process = start(arguments, TMPDIR=str(tmp_path))
        read_until(process, f"epoch {epoch}")
        process.send_signal(end)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (drain.EXIT_STATUS if end == signal.SIGTERM else -end), err
        assert not resumed.exists()
    status, out, err = finish(arguments, TMPDIR=str(tmp_path))
    assert status == 0, err
    assert "epoch 4" not in out.splitlines(), "it began anew"
    assert weights(resumed) == weights(whole)


class TellLate(Callback):
    """Tells the run to leave when it reports for the third time in epoch 1."""

    def on_epoch_begin(self, epoch, logs=None):
        self.reports = -100 if epoch != 1 else 0

    def progress(self, seen, values):
        self.reports += 1
        drain._State.told |= self.reports == 3


def fit_with(callbacks):
    np.random.seed(3)
    x = np.random.normal(size=(100, 5)).astype("float32")
    model = Sequential([Dense(4, input_shape=(5,)), Dropout(0.3), Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, x[:, :1], batch_size=8, epochs=3, verbose=0, callbacks=callbacks)
    return [w.tobytes() for w in model.get_weights()]


def test_leaving_within_an_epoch_makes_a_checkpoint_there(tmp_path, monkeypatch):
    monkeypatch.setattr(drain._State, "told", False)
    monkeypatch.setattr(drain._State, "deferred", False)
    # The loop reports as often as it can.
    monkeypatch.setattr(loop, "INTERVAL", 0.0)

    def callbacks(tell):
        return [tell, Backups(str(tmp_path), None).next(Departures()), Leave()]

    with pytest.raises(drain.DrainedError):
        fit_with(callbacks(TellLate()))
    state = pickle.loads((tmp_path / "fit-0" / "fit.backup").read_bytes())
    assert state["epoch"] == 1 and 0 < state["batch"] < 13
    monkeypatch.setattr(drain._State, "told", False)
    quiet = TellLate()
    quiet.progress = lambda seen, values: None
    assert fit_with(callbacks(quiet)) == fit_with([])


def test_workers_listen_where_they_are_told(monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    from hornbeam.distribution.ray.worker import ports

    monkeypatch.setenv("HORNBEAM_PORTS", "20000-20099")
    assert ports() == (20000, 20099)
    monkeypatch.delenv("HORNBEAM_PORTS")
    assert ports() == (0, 0)
    for wrong in ("20000", "9-8", "a-b", "0-5", "1-65536"):
        monkeypatch.setenv("HORNBEAM_PORTS", wrong)
        with pytest.raises(ValueError, match="expected a range of ports"):
            ports()
