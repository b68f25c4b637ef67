"""What deploy/README.md says that an overlay has, looked for in what the overlay applies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deploy import manifests

Manifest = dict[str, Any]

# What each overlay has beside what all have.
JOBS = ("job", "production", "kind")
EXTRAS = {
    "job": ("volume",),
    "kind": ("volume",),
    "cluster": ("volume", "fault tolerance"),
    "production": ("bucket", "TLS", "pod monitor"),
}


def breaches(overlay: str, objects: list[Manifest]) -> list[str]:
    """Return what an overlay lacks.

    Args:
        overlay: its name.
        objects: what it applies.
    """
    ray = manifests.ray_object(objects)
    spec = manifests.cluster_spec(ray)
    found = [*_scaling(spec), *_access(objects, spec), *_probes(spec), *_scraping(spec)]
    if overlay in JOBS:
        found += _job(ray)
    checks = {
        "volume": lambda: _volume(objects, spec),
        "bucket": lambda: _bucket(objects, spec),
        "fault tolerance": lambda: _fault_tolerance(objects, spec),
        "TLS": lambda: _tls(spec),
        "pod monitor": lambda: _pod_monitor(objects, spec),
    }
    for extra in EXTRAS[overlay]:
        found += checks[extra]()
    return found


def _pods(spec: Manifest) -> Iterator[tuple[str, Manifest, Manifest]]:
    for name, group in manifests.groups(spec):
        pod = group["template"]["spec"]
        yield name, pod, pod["containers"][0]


def _job(ray: Manifest) -> Iterator[str]:
    spec = ray["spec"]
    if ray["kind"] != "RayJob" or not spec.get("shutdownAfterJobFinishes"):
        yield "the cluster outlives the job"
    for key in ("backoffLimit", "ttlSecondsAfterFinished", "activeDeadlineSeconds"):
        if spec.get(key, 0) <= 0:
            yield f"{key} is not set"
    if not 0 < spec.get("preRunningDeadlineSeconds", 0) < spec.get("activeDeadlineSeconds", 0):
        yield "preRunningDeadlineSeconds does not lie within the job's deadline"
    if not spec.get("entrypoint", "").startswith("python -m hornbeam.run "):
        yield "the entrypoint is not hornbeam.run"
    for name, _, container in _pods(ray["spec"]["rayClusterSpec"]):
        given = manifests.environment(container)
        if not given.get("HORNBEAM_CHECKPOINT") or not given.get("HORNBEAM_OUTPUT"):
            yield f"{name}: a retry has no checkpoint to resume from, or no place for the model"


def _scaling(spec: Manifest) -> Iterator[str]:
    options = spec.get("autoscalerOptions", {})
    if not spec.get("enableInTreeAutoscaling") or options.get("version") != "v2":
        yield "there is no autoscaler v2"
    workers = {g["groupName"]: g for g in spec["workerGroupSpecs"]}
    if not 0 < workers["elastic"]["minReplicas"] <= workers["elastic"]["maxReplicas"]:
        yield "the group elastic has no room to grow"
    if workers["spot"]["minReplicas"] != 0:
        yield "the group spot cannot be empty"
    pod = workers["spot"]["template"]["spec"]
    if not pod.get("tolerations") or "nodeAffinity" not in pod.get("affinity", {}):
        yield "the group spot does not go to spot nodes"
    if dict(manifests.groups(spec))["head"]["rayStartParams"].get("num-cpus") != "0":
        yield "workers may be placed on the head"


def _access(objects: list[Manifest], spec: Manifest) -> Iterator[str]:
    if spec.get("authOptions", {}).get("mode") != "token":
        yield "Ray asks for no token"
    if not manifests.of_kind(objects, "NetworkPolicy"):
        yield "there is no NetworkPolicy"
    budgets = manifests.of_kind(objects, "PodDisruptionBudget")
    guarded = {b["spec"]["selector"]["matchLabels"].get("ray.io/node-type") for b in budgets}
    if guarded != {"head", "worker"}:
        yield "head and workers have no PodDisruptionBudget each"


def _probes(spec: Manifest) -> Iterator[str]:
    for name, _, container in _pods(spec):
        given = manifests.environment(container)
        for key in ("period_ms", "timeout_ms", "failure_threshold"):
            if not given.get(f"RAY_health_check_{key}", "").isdecimal():
                yield f"{name}: RAY_health_check_{key} is not set"
        live, start = container.get("livenessProbe", {}), container.get("startupProbe", {})
        for probe, least in ((live, 60), (start, 180)):
            if probe.get("periodSeconds", 0) * probe.get("failureThreshold", 0) < least:
                yield f"{name}: a probe gives up within {least} seconds"
        hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
        if hook[-2:] != ["-m", "hornbeam.run.drain"]:
            yield f"{name}: is not drained before it ends"


def _scraping(spec: Manifest) -> Iterator[str]:
    for name, group in manifests.groups(spec):
        notes = group["template"]["metadata"].get("annotations", {})
        port = group["rayStartParams"].get("metrics-export-port")
        open_ports = group["template"]["spec"]["containers"][0].get("ports", [])
        if notes.get("prometheus.io/scrape") != "true" or notes.get("prometheus.io/port") != port:
            yield f"{name}: Prometheus is not told of port {port}"
        if port not in [str(p["containerPort"]) for p in open_ports if p["name"] == "metrics"]:
            yield f"{name}: has no port named metrics"


def _volume(objects: list[Manifest], spec: Manifest) -> Iterator[str]:
    claims = {c["metadata"]["name"] for c in manifests.of_kind(objects, "PersistentVolumeClaim")}
    for name, pod, container in _pods(spec):
        volumes = {v["name"]: v for v in pod["volumes"]}
        mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
        claim = volumes.get(mounts.get("/mnt/hornbeam"), {}).get("persistentVolumeClaim", {})
        if claim.get("claimName") not in claims:
            yield f"{name}: does not mount the claim"
        for key in ("DATA", "CHECKPOINT", "OUTPUT"):
            if not manifests.environment(container)[f"HORNBEAM_{key}"].startswith("/mnt/hornbeam/"):
                yield f"{name}: HORNBEAM_{key} is not on the volume"


def _bucket(objects: list[Manifest], spec: Manifest) -> Iterator[str]:
    if manifests.of_kind(objects, "PersistentVolumeClaim"):
        yield "there is a claim that nothing needs"
    for name, _, container in _pods(spec):
        for key in ("DATA", "CHECKPOINT", "OUTPUT"):
            if not manifests.environment(container)[f"HORNBEAM_{key}"].startswith("s3://"):
                yield f"{name}: HORNBEAM_{key} is not in the bucket"
        if {"secretRef": {"name": "hornbeam-s3"}} not in container.get("envFrom", []):
            yield f"{name}: has no keys to the bucket"
    ports = {
        port["port"]
        for policy in manifests.of_kind(objects, "NetworkPolicy")
        for rule in policy["spec"].get("egress", [])
        for port in rule["ports"]
        if "ray.io/node-type" not in policy["spec"]["podSelector"]["matchLabels"]
    }
    if 443 not in ports:
        yield "the network does not let pods reach the bucket"


def _fault_tolerance(objects: list[Manifest], spec: Manifest) -> Iterator[str]:
    options = spec.get("gcsFaultToleranceOptions", {})
    services = {s["metadata"]["name"] for s in manifests.of_kind(objects, "Service")}
    if options.get("redisAddress", "").split("://")[-1].split(":")[0] not in services:
        yield "the head's state is kept nowhere"
    if "secretKeyRef" not in options.get("redisPassword", {}).get("valueFrom", {}):
        yield "Redis' password is no Secret"


def _tls(spec: Manifest) -> Iterator[str]:
    if spec.get("tlsOptions", {}).get("enabled") is not True:
        yield "Ray's channels are not encrypted"


def _pod_monitor(objects: list[Manifest], spec: Manifest) -> Iterator[str]:
    monitors = manifests.of_kind(objects, "PodMonitor")
    endpoints = {e["port"] for m in monitors for e in m["spec"]["podMetricsEndpoints"]}
    open_ports = {p["name"] for _, _, c in _pods(spec) for p in c.get("ports", [])}
    if "metrics" not in endpoints or not endpoints <= open_ports:
        yield "the Prometheus operator is not told of the ports"
