"""What `python -m hornbeam.run` says and does when its settings or its storage are no good."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from deploy.launching import finish, read_until, start, weights

# Trains a model of SIZE units; after epoch FULL, files cannot grow: the disk is full.
SCRIPT = """
import os, resource, sys, time
import numpy as np
from hornbeam.callbacks import LambdaCallback
from hornbeam.layers import Dense
from hornbeam.models import Sequential

def tell(epoch, logs):
    print("epoch", epoch, flush=True)
    if str(epoch) == os.environ.get("FULL"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    time.sleep(float(os.environ.get("PAUSE", "0")))
    while epoch == 1 and "WAIT" in os.environ and not os.path.exists(os.environ["WAIT"]):
        time.sleep(0.01)

print("script", flush=True)
np.random.seed(1)
x = np.random.normal(size=(64, 5)).astype("float32")
model = Sequential([Dense(int(os.environ.get("SIZE", "64")), input_shape=(5,)), Dense(1)])
model.compile("adam", "mse")
model.fit(x, x[:, :1], epochs=4, verbose=0, callbacks=[LambdaCallback(on_epoch_begin=tell)])
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def files(tmp_path):
    """A run's checkpoint and model, as options."""
    return ["--checkpoint", tmp_path / "checkpoint", "--output", tmp_path / "model.h5"]


@pytest.fixture
def undisturbed(script, tmp_path):
    status, _, err = finish(["--output", tmp_path / "whole.h5", script])
    assert status == 0, err
    return weights(tmp_path / "whole.h5")


def assert_refused(arguments, *words, **variables):
    """The run says what is wrong in one line, before the script has begun."""
    status, out, err = finish(arguments, **variables)
    assert status == 1 and "Traceback" not in err, err
    assert "script" not in out.split()
    assert all(word in err for word in words), err


def test_places_that_cannot_be_written_are_refused_at_once(script, tmp_path):
    (tmp_path / "file").touch()
    assert_refused(["--checkpoint", tmp_path / "file" / "run", script], "--checkpoint", "file/run")
    assert_refused(["--output", tmp_path / "file" / "m.h5", script], "--output", "file/m.h5")
    assert_refused([script], "HORNBEAM_OUTPUT", HORNBEAM_OUTPUT=str(tmp_path / "file" / "m.h5"))


def test_stores_that_cannot_be_had_are_refused_at_once(script):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    assert_refused(["--checkpoint", "nowhere://a/b", script], "Protocol not known: nowhere")
    # fsspec knows this store and which package it needs, and no test installs it.
    assert_refused(
        ["--checkpoint", "oci://a/b", script], "needs the package 'ocifs'", "pip install"
    )


def test_nothing_is_left_of_the_tries_to_write(script, tmp_path):
    (tmp_path / "out").mkdir()
    script.write_text("raise SystemExit(3)")
    status, _, _ = finish(["--output", tmp_path / "out" / "m.h5", script])
    assert status == 3 and os.listdir(tmp_path / "out") == []


def test_no_workers_wins_over_the_environment(script):
    status, out, err = finish(["--workers", "0", script], HORNBEAM_WORKERS="2")
    assert status == 0 and "epoch 3" in out, err
    status, out, err = finish([script], HORNBEAM_WORKERS="0")
    assert status == 0 and "epoch 3" in out, err


def test_wrong_workers_are_told_in_one_line(script):
    status, out, err = finish([script], HORNBEAM_WORKERS="8-2")
    assert status == 2 and "HORNBEAM_WORKERS '8-2': expected" in err
    assert "Traceback" not in err and not out


@pytest.mark.slow
def test_no_cluster(script):
    pytest.importorskip("ray", reason="Ray is not installed")
    variables = {"HORNBEAM_WORKERS": "2", "RAY_ADDRESS": "127.0.0.1:1"}
    status, _, err = finish([script], **variables)
    assert status == 1 and "No Ray cluster answers at 127.0.0.1:1" in err
    assert "Traceback" not in err


def test_a_full_disk_keeps_the_checkpoint_before(script, files, undisturbed, tmp_path):
    status, out, err = finish([*files, script], FULL="2")
    assert status == 1 and "Traceback" not in err, err
    assert "could not be saved" in err and "one before it is kept" in err
    assert "epoch 2" in out and "epoch 3" not in out
    assert os.listdir(tmp_path / "checkpoint" / "fit-0") == ["fit.backup"]
    status, out, err = finish([*files, script])
    assert status == 0 and "goes on with epoch 3" in err, err
    assert "epoch 1" not in out
    assert weights(tmp_path / "model.h5") == undisturbed


def cut_off(arguments):
    """Run until epoch 2 has begun, then end it as a power cut does."""
    process = start(arguments, PAUSE="0.3")
    read_until(process, "epoch 2")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def damage(data, how):
    if how == "truncated":
        return data[: len(data) // 2]
    if how == "empty":
        return b""
    if how == "foreign":
        return b"PK\x03\x04" + data
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("how", ["truncated", "empty", "foreign", "a bit flipped"])
def test_a_damaged_checkpoint_is_not_gone_on_from(script, files, tmp_path, how):
    cut_off([*files, script])
    backup = tmp_path / "checkpoint" / "fit-0" / "fit.backup"
    data = backup.read_bytes()
    backup.write_bytes(damage(data, how))
    status, out, err = finish([*files, script])
    assert status == 1 and "Traceback" not in err, err
    assert str(backup) in err and "Delete it to begin anew" in err
    assert "epoch" not in out and not (tmp_path / "model.h5").exists()
    backup.write_bytes(data)
    assert finish([*files, script])[0] == 0


def test_a_checkpoint_of_another_model_is_refused(script, files, tmp_path):
    assert finish([*files, script])[0] == 0
    (tmp_path / "model.h5").unlink()
    status, out, err = finish([*files, script], SIZE="7")
    assert status == 1 and "Traceback" not in err, err
    assert "backup of another model" in err and "Use another folder" in err
    assert "epoch" not in out and not (tmp_path / "model.h5").exists()


def test_the_run_that_began_later_has_the_checkpoints(script, files, undisturbed, tmp_path):
    """A driver that is cut off from the cluster must not write over what its successor writes."""
    go_on = tmp_path / "go-on"
    old = start([*files, script], WAIT=str(go_on))
    read_until(old, "epoch 1")
    status, _, err = finish([*files, script])
    assert status == 0 and "goes on with epoch 2" in err, err
    go_on.touch()
    _, err = old.communicate(timeout=60)
    assert old.returncode == 1 and "another run, which began later" in err, err
    assert weights(tmp_path / "model.h5") == undisturbed


def test_a_run_that_is_done_says_so_when_it_is_started_again(script, files, tmp_path):
    assert finish([*files, script])[0] == 0
    Path(tmp_path / "model.h5").unlink()
    status, out, err = finish([*files, script])
    assert status == 0 and "goes on with epoch 5" in err and "epoch" not in out
    assert (tmp_path / "model.h5").is_file()
