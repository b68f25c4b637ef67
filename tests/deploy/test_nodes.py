"""Nodes with the manifests' `ray start` arguments, ports and token: they join, answer and train."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest

import hornbeam as keras
from deploy import manifests, nodes

TOKEN = "0123456789abcdef" * 4
SCRIPT = """
import os, time, numpy as np, ray, hornbeam
from hornbeam.callbacks import LambdaCallback
from hornbeam.layers import Dense
from hornbeam.models import Sequential
ray.init(logging_level="error")
np.random.seed(1)
x = np.random.normal(size=(4096, 5)).astype("float32")
model = Sequential([Dense(3, input_shape=(5,), activation="tanh"), Dense(1)])
model.compile("adam", "mse")
# Long enough for a log that is sent once a second to follow.
pause = LambdaCallback(on_epoch_end=lambda epoch, logs: time.sleep(float(os.environ["PAUSE"])))
epochs = int(os.environ["EPOCHS"])
model.fit(x, x[:, :1], epochs=epochs, batch_size=32, verbose=2, callbacks=[pause])
"""


@pytest.fixture(scope="module")
def spec():
    return manifests.cluster_spec(manifests.ray_object(manifests.rendered("cluster")))


@pytest.fixture(scope="module")
def cluster(spec):
    reason = nodes.missing()
    if reason:
        pytest.skip(reason)
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
    container = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    variables["HORNBEAM_PORTS"] = manifests.environment(container)["HORNBEAM_PORTS"]
    # Ray's sockets have names of at most 107 characters, so pytest's folders are too deep.
    with tempfile.TemporaryDirectory(prefix="hb") as base, nodes.network(Path(base)) as bridge:
        pods = [nodes.Node(10 + n, bridge, Path(base) / f"p{n}", variables) for n in range(3)]
        try:
            bring_up(pods, spec)
            yield pods
        finally:
            for pod in pods:
                pod.remove()


def bring_up(pods, spec):
    """Start the pods' first processes, the head's before the others."""
    groups = dict(manifests.groups(spec))
    head, *workers = pods
    head.start(groups["head"]["rayStartParams"], None, 0)
    assert nodes.wait_until(head.healthy), head.log()
    for worker in workers:
        worker.start(groups["elastic"]["rayStartParams"], head.address, 1)
        assert nodes.wait_until(worker.healthy), worker.log()


def cpus(node):
    code = "import ray; ray.init(address='auto', logging_level='error')\n"
    code += "print('cpus', ray.cluster_resources().get('CPU'))"
    result = node.run(sys.executable, "-c", code)
    return re.findall(r"cpus (\S+)", result.stdout)


@pytest.mark.slow
def test_nodes_join_with_the_token(cluster):
    assert nodes.wait_until(lambda: cpus(cluster[0]) == ["2.0"])


@pytest.mark.slow
def test_what_listens_is_admitted(cluster):
    assert_admitted(cluster)


def assert_admitted(cluster):
    policy = manifests.main_policy(manifests.rendered("cluster"))
    admitted = manifests.policy_ports(policy, "ingress")
    metrics = {p["port"] for p in policy["spec"]["ingress"][2]["ports"]}
    for pod in cluster:
        listening = pod.listening()
        assert {6380, 6381, 52365, 8080} <= listening
        assert listening <= admitted | metrics, pod.address


@pytest.mark.slow
def test_strangers_are_refused(cluster):
    head = cluster[0]
    code = "import urllib.request as u; u.urlopen('http://{}:8265/api/jobs/', timeout=10)"
    refused = head.run(sys.executable, "-c", code.format(head.address))
    assert "401" in refused.stderr


def metrics(head):
    """What Prometheus would read; nothing while the agent is too busy to answer."""
    try:
        with urllib.request.urlopen(f"http://{head.address}:8080/metrics", timeout=20) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def metric(head, name):
    """The greatest value reported: those of drivers that are gone stay for a while."""
    found = re.findall(rf"^ray_hornbeam_{name}{{.*}} (\S+)$", metrics(head), re.M)
    return max(map(float, found), default=0.0)


def submit(head, folder, epochs, **variables):
    """Return the command of a RayJob's submitter."""
    script = Path(folder) / "script.py"
    script.write_text(SCRIPT)
    given = {
        "EPOCHS": epochs,
        "PAUSE": 0,
        "HORNBEAM_OUTPUT": Path(folder) / "model.h5",
        **variables,
    }
    return [
        "ray",
        "job",
        "submit",
        f"--address=http://{head.address}:8265",
        "--",
        "env",
        *(f"{name}={value}" for name, value in given.items()),
        *f"python -m hornbeam.run {script}".split(),
    ]


@pytest.mark.slow
def test_a_job_trains_and_reports(cluster, tmp_path):
    head = cluster[0]
    result = head.run(*submit(head, tmp_path, 20), timeout=240)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Epoch 20/20" in result.stdout and (tmp_path / "model.h5").is_file()

    wanted = "ray_hornbeam_loss", "ray_hornbeam_samples_total", "ray_hornbeam_steps_total"
    assert nodes.wait_until(lambda: all(name in metrics(head) for name in wanted)), metrics(head)
    (steps,) = re.findall(r"^ray_hornbeam_steps_total\{.*\} (\S+)$", metrics(head), re.M)
    assert float(steps) == 20 * 4096 / 32


def submitted_until(head, line, command):
    """Submit a job and return it once it has printed something."""
    job = subprocess.Popen(
        head.command(*command),
        env=head.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for found in job.stdout:
        if line in found:
            return job
    raise AssertionError(f"the job ended without {line!r}")


@pytest.mark.slow
def test_a_job_outlives_its_cluster(cluster, spec, tmp_path):
    """SIGTERM to the driver's pod, then SIGKILL to every pod: the bits of an undisturbed run."""
    head = cluster[0]
    folders = [tmp_path / name for name in ("whole", "cut")]
    for folder in folders:
        folder.mkdir()
    whole = head.run(*submit(head, folders[0], 60), timeout=240)
    assert whole.returncode == 0, whole.stdout
    variables = {"HORNBEAM_CHECKPOINT": tmp_path / "checkpoint", "HORNBEAM_SAVE_EVERY": 50}
    variables["PAUSE"] = 0.3
    command = submit(head, folders[1], 60, **variables)

    job = submitted_until(head, "Epoch 3/60", command)
    assert head.run(sys.executable, "-m", "hornbeam.run.drain").returncode == 0
    rest, _ = job.communicate(timeout=60)
    assert "SIGTERM" in rest and job.returncode != 0

    job = submitted_until(head, "/60", command)
    for pod in cluster:
        pod.kill()
    job.communicate(timeout=120)
    assert not (folders[1] / "model.h5").exists()

    bring_up(cluster, spec)
    last = head.run(*submit(head, folders[1], 60, **variables), timeout=240)
    assert last.returncode == 0, last.stdout
    assert "Epoch 2/60" not in last.stdout
    bits = [
        [w.tobytes() for w in keras.models.load_model(str(f / "model.h5")).get_weights()]
        for f in folders
    ]
    assert bits[0] == bits[1]


@pytest.mark.slow
def test_workers_and_their_cluster_are_lost(cluster, spec, tmp_path):
    """Two workers train; SIGTERM to a worker's pod, then SIGKILL to all, and the same bits."""
    head, *workers = cluster
    folders = [tmp_path / name for name in ("whole", "cut")]
    for folder in folders:
        folder.mkdir()
    two = {"HORNBEAM_WORKERS": "1-2", "HORNBEAM_CPUS_PER_WORKER": 1}
    assert nodes.wait_until(lambda: cpus(head) == ["2.0"])
    whole = head.run(*submit(head, folders[0], 300, **two), timeout=240)
    assert whole.returncode == 0, whole.stdout
    two |= {"HORNBEAM_CHECKPOINT": tmp_path / "checkpoint", "PAUSE": 0.5}
    command = submit(head, folders[1], 300, **two)

    job = submitted_until(head, "Epoch 3/", command)
    assert nodes.wait_until(lambda: metric(head, "workers") == 2)
    assert nodes.wait_until(lambda: metric(head, "allreduce_seconds") > 0)
    assert_admitted(cluster)
    assert any(pod.listening() & set(range(20000, 20100)) for pod in workers)
    workers[1].process.terminate()
    assert nodes.wait_until(lambda: metric(head, "lost_workers_total") == 1)
    assert job.poll() is None
    for pod in cluster:
        pod.kill()
    job.communicate(timeout=120)
    assert not (folders[1] / "model.h5").exists()

    bring_up(cluster, spec)
    two["PAUSE"] = 0
    last = head.run(*submit(head, folders[1], 300, **two), timeout=240)
    assert last.returncode == 0, last.stdout
    assert "Epoch 2/300" not in last.stdout
    bits = [
        [w.tobytes() for w in keras.models.load_model(str(f / "model.h5")).get_weights()]
        for f in folders
    ]
    assert bits[0] == bits[1]


@pytest.mark.slow
def test_a_worker_leaves_on_sigterm(cluster):
    head, *_, worker = cluster
    # What the pod does first: its preStop hook, which finds no run on a worker.
    assert worker.run(sys.executable, "-m", "hornbeam.run.drain").returncode == 0
    worker.process.terminate()
    assert nodes.wait_until(lambda: worker.process.poll() is not None, 60), worker.log()
    assert nodes.wait_until(lambda: worker.processes() == [], 30)
    assert nodes.wait_until(lambda: cpus(head) == ["1.0"], 60)
