"""Nodes with the manifests' `ray start` arguments, ports and token: they join, answer and train."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import namespaces
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
model.fit(x, x[:, :1], epochs=60, batch_size=128, verbose=2, callbacks=[pause])
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
    given = manifests.environment(container)
    variables |= {k: given[k] for k in ("HORNBEAM_PORTS", "HORNBEAM_DRAIN_SECONDS")}
    # Ray's sockets have names of at most 107 characters, so pytest's folders are too deep.
    with tempfile.TemporaryDirectory(prefix="hb") as base, namespaces.network() as bridge:
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
    assert namespaces.wait_until(head.healthy), head.log()
    for worker in workers:
        worker.start(groups["elastic"]["rayStartParams"], head.address, 1)
        assert namespaces.wait_until(worker.healthy), worker.log()


def cpus(node):
    code = "import ray; ray.init(address='auto', logging_level='error')\n"
    code += "print('cpus', ray.cluster_resources().get('CPU'))"
    result = node.run(sys.executable, "-c", code)
    return re.findall(r"cpus (\S+)", result.stdout)


@pytest.mark.slow
def test_nodes_join_with_the_token(cluster):
    assert namespaces.wait_until(lambda: cpus(cluster[0]) == ["2.0"])


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


def submit(head, folder, **variables):
    """Return the command of a RayJob's submitter."""
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT)
    given = {
        "PAUSE": 0,
        "HORNBEAM_OUTPUT": folder / "model.h5",
        "HORNBEAM_WORKERS": "1-2",
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


class Job:
    """A job that has been submitted, and what it prints."""

    def __init__(self, head, folder, command):
        self.path = folder / "job.log"
        with self.path.open("w") as log:
            self.process = subprocess.Popen(
                head.command(*command), env=head.environment, stdout=log, stderr=log
            )

    def log(self):
        return self.path.read_text()

    def prints(self, text, seconds=90):
        return namespaces.wait_until(lambda: text in self.log(), seconds)

    def runs(self):
        return self.process.poll() is None

    def end(self):
        """Wait for the end; return the status."""
        return self.process.wait(timeout=120)


def bits(folder):
    model = keras.models.load_model(str(folder / "model.h5"))
    return [w.tobytes() for w in model.get_weights()]


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory):
    """The folder of a job that two workers have done without disturbance, and its output."""
    folder = tmp_path_factory.mktemp("whole")
    assert namespaces.wait_until(lambda: cpus(cluster[0]) == ["2.0"])
    result = cluster[0].run(*submit(cluster[0], folder), timeout=240)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout


@pytest.mark.slow
def test_a_job_trains_and_reports(cluster, undisturbed):
    head = cluster[0]
    folder, shown = undisturbed
    assert "Epoch 60/60" in shown and (folder / "model.h5").is_file()
    wanted = "ray_hornbeam_loss", "ray_hornbeam_samples_total", "ray_hornbeam_steps_total"
    assert namespaces.wait_until(lambda: all(name in metrics(head) for name in wanted)), metrics(
        head
    )
    assert namespaces.wait_until(lambda: metric(head, "steps_total") == 60 * 4096 / 128)
    assert metric(head, "samples_total") == 60 * 4096


@pytest.mark.slow
def test_too_few_nodes_are_told_and_fail_the_job(cluster, tmp_path):
    head = cluster[0]
    result = head.run(
        *submit(head, tmp_path, HORNBEAM_WORKERS="3", HORNBEAM_START_SECONDS="4"), timeout=120
    )
    assert result.returncode != 0
    assert "3 workers of 1 CPUs were asked for" in result.stdout
    assert "the cluster has 2 CPUs on 3 nodes" in result.stdout
    assert "Traceback" not in result.stdout and not (tmp_path / "model.h5").exists()


def drain(pod):
    """Run the pod's preStop hook, as Kubernetes does before SIGTERM; return the seconds it took."""
    began = time.monotonic()
    result = pod.run(sys.executable, "-m", "hornbeam.run.drain", timeout=240)
    assert result.returncode == 0, result.stderr
    return time.monotonic() - began


def leave(pod):
    """SIGTERM to a container's first process, and wait until the pod is empty."""
    began = time.monotonic()
    pod.process.terminate()
    assert namespaces.wait_until(lambda: pod.process.poll() is not None, 60), pod.log()
    assert namespaces.wait_until(lambda: pod.processes() == [], 60)
    return time.monotonic() - began


@pytest.mark.slow
def test_pods_leave_and_the_cluster_is_lost(cluster, spec, undisturbed, tmp_path):
    """SIGTERM to a worker's pod, SIGKILL to all, SIGTERM to the driver's: the same bits."""
    head, *workers = cluster
    grace = spec["headGroupSpec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    kept = tmp_path / "checkpoint" / "fit-0" / "fit.backup"
    # Within epochs no checkpoint is due but those that the end of a pod asks for.
    cut = {"HORNBEAM_CHECKPOINT": tmp_path / "checkpoint", "HORNBEAM_SAVE_EVERY": 10**6}
    command = submit(head, tmp_path, PAUSE=4, **cut)

    job = Job(head, tmp_path, command)
    assert job.prints("Epoch 2/"), job.log()
    assert namespaces.wait_until(lambda: metric(head, "workers") == 2), job.log()
    assert_admitted(cluster)
    assert any(pod.listening() & set(range(20000, 20100)) for pod in workers)
    before = kept.stat().st_mtime_ns
    seconds = drain(workers[1])
    assert kept.stat().st_mtime_ns > before, "no checkpoint was made for the worker that leaves"
    # Within an epoch or, since most of the time is spent there, at its end.
    told = re.compile("is about to go; letting it go with (a|the epoch's) checkpoint")
    assert namespaces.wait_until(lambda: told.search(job.log())), job.log()
    assert seconds + leave(workers[1]) < grace
    # An agent on a busy machine reports late; the job takes four minutes.
    assert namespaces.wait_until(lambda: metric(head, "lost_workers_total") == 1, 150), (
        f"{metric(head, 'lost_workers_total')} workers counted as lost: {job.log()}"
    )
    assert job.runs(), f"the job did not outlive its worker: {job.log()}"
    assert namespaces.wait_until(lambda: not dashboard_metrics() - reported(cluster)), (
        dashboard_metrics() - reported(cluster)
    )
    for pod in cluster:
        pod.kill()
    assert job.end() != 0 and not (tmp_path / "model.h5").exists()

    bring_up(cluster, spec)
    assert namespaces.wait_until(lambda: cpus(head) == ["2.0"])
    job = Job(head, tmp_path, command)
    assert job.prints("goes on with epoch"), job.log()
    assert drain(head) < grace
    assert job.end() != 0 and "SIGTERM; left between two steps" in job.log()

    last = head.run(*submit(head, tmp_path, **cut), timeout=240)
    assert last.returncode == 0, last.stdout
    assert "goes on with epoch" in last.stdout and "Epoch 2/60" not in last.stdout
    assert bits(tmp_path) == bits(undisturbed[0])


def dashboard_metrics():
    """The names that Grafana's panels ask for."""
    text = (manifests.DEPLOY / "grafana" / "hornbeam.json").read_text()
    return set(re.findall(r"\bray_\w+(?=\{)", text))


def reported(pods):
    return {n for pod in pods for n in re.findall(r"^(ray_\w+)\{", metrics(pod), re.M)}


@pytest.mark.slow
def test_an_idle_worker_leaves_at_once(cluster):
    head, *_, worker = cluster
    drain(worker)
    leave(worker)
    assert namespaces.wait_until(lambda: cpus(head) == ["1.0"], 60)
