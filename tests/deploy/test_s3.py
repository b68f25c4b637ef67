"""A run with its data, checkpoints and model in an S3-compatible store, as `production/` has it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from deploy import manifests, store
from deploy.launching import environment, finish, start, weights
from hornbeam.run import backups, storage

BASE = manifests.KUBERAY / "base"


@pytest.fixture(scope="module")
def server():
    for package in ("moto.server", "flask", "s3fs"):
        pytest.importorskip(package, reason=f"{package} is not installed", exc_type=ImportError)
    with store.server() as port:
        yield port


def keys(port):
    """The Secret of README.md, with a server on this machine as its endpoint."""
    text = (manifests.DEPLOY / "README.md").read_text()
    names = re.findall(r"--from-literal=(AWS_\w+)=", text)
    assert sorted(names) == ["AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY"]
    values = dict.fromkeys(names, "testing")
    return {**values, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}


@pytest.fixture
def access(server, monkeypatch):
    """This process's own way to the bucket of the manifests, which is made anew."""
    import s3fs

    for name, value in keys(server).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    bucket = values()["bucket"]
    if filesystem.exists(bucket):
        filesystem.rm(bucket, recursive=True)
    filesystem.mkdir(bucket)
    yield filesystem
    s3fs.S3FileSystem.clear_instance_cache()


def values():
    import yaml

    return yaml.safe_load((BASE / "values.yaml").read_text())["data"]


def addresses():
    """What the manifests' driver is told of its files."""
    spec = manifests.cluster_spec(manifests.ray_object(manifests.rendered("production")))
    container = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    given = manifests.environment(container)
    named = ("HORNBEAM_DATA", "HORNBEAM_CHECKPOINT", "HORNBEAM_OUTPUT", "HORNBEAM_SAVE_EVERY")
    assert all(given[name].startswith("s3://") for name in named[:3])
    return {**{name: given[name] for name in named}, "HORNBEAM_SAVE_EVERY": "20", "EPOCHS": "3"}


def make_data(variables):
    result = subprocess.run(
        [sys.executable, BASE / "make_data.py"], env=environment(**variables), capture_output=True
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_a_run_that_dies_while_it_uploads_ends_with_the_same_bits(server, access, tmp_path):
    variables = {**keys(server), **addresses()}
    make_data(variables)
    here = {"HORNBEAM_OUTPUT": str(tmp_path / "whole.h5"), "HORNBEAM_CHECKPOINT": ""}
    status, _, err = finish([BASE / "train.py"], **{**variables, **here})
    assert status == 0, err

    way = store.Way(server, "fit.backup", 5, lambda: run.send_signal(signal.SIGKILL))
    run = start([BASE / "train.py"], **{**variables, **keys(way.port)})
    run.communicate(timeout=240)
    way.close()
    assert way.has_cut and run.returncode == -signal.SIGKILL
    folder = variables["HORNBEAM_CHECKPOINT"]
    latest = storage.read_text(f"{folder}/LATEST")
    assert latest.startswith("00000003-"), "the fifth copy is not whole"
    assert access.exists(f"{folder}/{latest}/fit-0/fit.backup")
    assert not access.exists(variables["HORNBEAM_OUTPUT"])

    status, _, err = finish([BASE / "train.py"], **variables)
    assert status == 0 and re.search(r"goes on with epoch 2, batch \d+", err), err
    access.get(variables["HORNBEAM_OUTPUT"], str(tmp_path / "model.h5"))
    assert weights(tmp_path / "model.h5") == weights(tmp_path / "whole.h5")


def test_a_bucket_that_is_not_there_is_refused_and_not_made(server, access, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("print('script')")
    for option in ("--checkpoint", "--output"):
        status, out, err = finish([option, "s3://mistyped/run/x", script], **keys(server))
        assert status == 1 and "s3://mistyped/run/x" in err and "Traceback" not in err, err
        assert not out
    assert not access.exists("mistyped")


def test_wrong_keys_are_told_at_once(server, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("print('script')")
    given = {k: v for k, v in keys(server).items() if k == "AWS_ENDPOINT_URL"}
    given["AWS_EC2_METADATA_DISABLED"] = "true"
    status, out, err = finish(["--output", "s3://hornbeam/m.h5", script], **given)
    assert status == 1 and "credentials" in err and "Traceback" not in err, err
    assert not out


@pytest.fixture
def bucket():
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    yield "memory://bucket"
    fsspec.filesystem("memory").store.clear()


def test_a_store_may_fail_for_a_while(bucket, monkeypatch, capsys):
    kept = backups.Backups(f"{bucket}/run", None)
    results = iter(["no", "no", "", "no", "no", "no"])

    def push(self):
        if reason := next(results):
            raise OSError(reason)

    monkeypatch.setattr(storage.Mirror, "push", push)
    for _ in range(5):
        kept.push()
    assert capsys.readouterr().err.count("could not be copied to memory://bucket/run: no") == 4
    with pytest.raises(backups.RunError, match="after as many checkpoints"):
        kept.push()


def test_a_copy_that_is_gone_is_no_fresh_start(bucket, tmp_path):
    mirror = storage.Mirror(str(tmp_path / "here"), f"{bucket}/run")
    mirror.pull()
    (tmp_path / "here" / "state").write_text("state")
    mirror.push()
    mirror._filesystem.rm(f"{mirror._inner}/{mirror._latest()}", recursive=True)
    with pytest.raises(FileNotFoundError, match="LATEST names"):
        storage.Mirror(str(tmp_path / "there"), f"{bucket}/run").pull()
