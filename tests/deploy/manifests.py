"""Reading the manifests, and what holds for each of their pods."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERAY = DEPLOY / "kuberay"
OVERLAYS = ("job", "cluster", "production", "kind")
SHARED = Path(os.environ.get("HORNBEAM_SHARED", ROOT.parent / "shared"))

Manifest = dict[str, Any]


def rendered(overlay: str) -> list[Manifest]:
    """Return the objects that an overlay applies."""
    return list(yaml.safe_load_all((KUBERAY / "rendered" / f"{overlay}.yaml").read_text()))


def of_kind(objects: list[Manifest], kind: str) -> list[Manifest]:
    """Return the objects of one kind."""
    return [o for o in objects if o["kind"] == kind]


def ray_object(objects: list[Manifest]) -> Manifest:
    """Return the one RayJob or RayCluster among the objects."""
    (found,) = of_kind(objects, "RayJob") + of_kind(objects, "RayCluster")
    return found


def cluster_spec(ray: Manifest) -> Manifest:
    """Return the cluster's spec of a RayCluster or a RayJob."""
    return ray["spec"]["rayClusterSpec"] if ray["kind"] == "RayJob" else ray["spec"]


def main_policy(objects: list[Manifest]) -> Manifest:
    """Return the NetworkPolicy of the pods among themselves."""
    policies = of_kind(objects, "NetworkPolicy")
    return next(p for p in policies if p["metadata"]["name"] == "hornbeam")


def groups(spec: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Yield each group's name and description, the head's first."""
    yield "head", spec["headGroupSpec"]
    for group in spec.get("workerGroupSpecs", []):
        yield group["groupName"], group


def environment(container: Manifest) -> dict[str, Any]:
    """Return a container's plain environment variables."""
    return {e["name"]: e.get("value") for e in container.get("env", [])}


def pod_breaches(name: str, pod: Manifest) -> Iterator[str]:
    """Yield what a group's pod lacks of what every pod of Ray has here.

    Args:
        name: the group's name, for the messages.
        pod: the template's spec.
    """
    if pod.get("terminationGracePeriodSeconds", 30) < 60:
        yield f"{name}: terminationGracePeriodSeconds is under 60"
    if not pod.get("securityContext", {}).get("runAsNonRoot"):
        yield f"{name}: may run as root"
    if pod.get("securityContext", {}).get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{name}: has no seccomp profile"
    container = pod["containers"][0]
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: may escalate privileges"
    if "ALL" not in security.get("capabilities", {}).get("drop", []):
        yield f"{name}: keeps capabilities"
    yield from _resource_breaches(name, container)
    drain = float(environment(container).get("HORNBEAM_DRAIN_SECONDS") or "inf")
    if drain >= pod.get("terminationGracePeriodSeconds", 30):
        yield f"{name}: the drain takes longer than the pod's grace"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if container.get(probe, {}).get("timeoutSeconds", 1) < 2:
            yield f"{name}: {probe} waits for one second only"


def _resource_breaches(name: str, container: Manifest) -> Iterator[str]:
    limits, requests = (container.get("resources", {}).get(k, {}) for k in ("limits", "requests"))
    if limits != requests or not {"cpu", "memory"} <= set(limits):
        yield f"{name}: requests and limits differ, or leave out CPU or memory"
    if not str(limits.get("cpu", "")).isdigit():
        yield f"{name}: {limits.get('cpu')} CPUs are no whole number"
    threads = [e for e in container.get("env", []) if e["name"] == "HORNBEAM_NUM_THREADS"]
    source = threads[0].get("valueFrom", {}).get("resourceFieldRef", {}) if threads else {}
    if source != {"resource": "limits.cpu", "divisor": "1"}:
        yield f"{name}: the number of threads does not come from the CPU limit"


def policy_ports(policy: Manifest, direction: str) -> set[int]:
    """Return the TCP ports that a NetworkPolicy admits between the pods themselves."""
    peer = "from" if direction == "ingress" else "to"
    admitted: set[int] = set()
    for rule in policy["spec"][direction]:
        if any(set(p) == {"podSelector"} for p in rule.get(peer, [])):
            for port in rule["ports"]:
                if port["protocol"] == "TCP":
                    admitted |= set(range(port["port"], port.get("endPort", port["port"]) + 1))
    return admitted


def port_range(text: str) -> range:
    """Return the ports of a range written as `20000-20099`."""
    first, last = text.split("-")
    return range(int(first), int(last) + 1)


def used_ports(spec: Manifest) -> dict[str, range]:
    """Return the ports that pods of a cluster listen on for each other, by what they are for."""
    used = {"dashboard": range(8265, 8266)}
    for name, group in groups(spec):
        given = group.get("rayStartParams", {})
        for key in RAY_PORTS if name == "head" else RAY_PORTS[1:]:
            used[f"{name} {key}"] = range(int(given[key]), int(given[key]) + 1)
        used[f"{name} workers"] = range(
            int(given["min-worker-port"]), int(given["max-worker-port"]) + 1
        )
        container = group["template"]["spec"]["containers"][0]
        used[f"{name} collective"] = port_range(environment(container)["HORNBEAM_PORTS"])
    return used


# What `ray start` picks at random unless it is told; `port` is the head's.
RAY_PORTS = (
    "port",
    "node-manager-port",
    "object-manager-port",
    "runtime-env-agent-port",
    "dashboard-agent-grpc-port",
    "dashboard-agent-listen-port",
)
