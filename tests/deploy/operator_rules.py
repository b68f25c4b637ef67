"""The rules that KubeRay's operator holds a RayCluster or a RayJob to, beyond the CRD's schema.

The operator reports a breach as an event and does nothing else, so that a manifest which the API
server took just never starts. The rules are those of KubeRay 1.7 (its `ValidateRayClusterSpec` and
`ValidateRayJobSpec`), for the fields that the manifests here may use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

# Alpha features, off unless the operator is told: what asks for each in a cluster's spec.
GATES = {
    "RayClusterNetworkPolicy": lambda spec: "networkPolicy" in spec,
    "RayClusterMTLS": lambda spec: spec.get("tlsOptions", {}).get("enabled", False),
    "RayClusterHistoryServer": lambda spec: "historyServerOptions" in spec,
    "GCSFaultToleranceEmbeddedStorage": lambda spec: (
        spec.get("gcsFaultToleranceOptions", {}).get("backend") == "rocksdb"
    ),
}
# The operator appends to names, and the result has to stay a DNS label.
LONGEST_CLUSTER_NAME = 53
LONGEST_JOB_NAME = LONGEST_CLUSTER_NAME - 6
RESOURCE_PARAMS = ("num-cpus", "num-gpus", "memory", "resources")
AUTOSCALER_V2 = "RAY_enable_autoscaler_v2"

Spec = dict[str, Any]


def breaches(manifest: dict[str, Any], gates: frozenset[str] = frozenset()) -> list[str]:
    """Return what the operator would refuse a RayCluster or RayJob for.

    Args:
        manifest: the object.
        gates: the alpha feature gates that are on.
    """
    job = manifest["kind"] == "RayJob"
    longest = LONGEST_JOB_NAME if job else LONGEST_CLUSTER_NAME
    found = list(_name(manifest["metadata"]["name"], longest))
    annotations = manifest["metadata"].get("annotations", {})
    if job:
        found += _job(manifest["spec"])
    spec = manifest["spec"].get("rayClusterSpec") if job else manifest["spec"]
    if spec:
        for rule in (_groups, _autoscaler, _authentication):
            found += rule(spec)
        found += _fault_tolerance(spec, annotations)
        found += [
            f"the feature gate {gate} has to be on"
            for gate, asked in GATES.items()
            if asked(spec) and gate not in gates
        ]
    return found


def _name(name: str, longest: int) -> Iterator[str]:
    if len(name) > longest:
        yield f"the name has more than {longest} characters"
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield f"{name!r} is no DNS-1035 label"


def _job(spec: Spec) -> Iterator[str]:
    mode = spec.get("submissionMode", "K8sJobMode")
    selector = spec.get("clusterSelector")
    if not selector and "rayClusterSpec" not in spec:
        yield "one of rayClusterSpec and clusterSelector has to be set"
    for key in ("ttlSecondsAfterFinished", "backoffLimit"):
        if spec.get(key, 0) < 0:
            yield f"{key} is negative"
    if spec.get("activeDeadlineSeconds", 1) <= 0:
        yield "activeDeadlineSeconds is not positive"
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not spec.get("shutdownAfterJobFinishes"):
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if spec.get("suspend") and (selector or not spec.get("shutdownAfterJobFinishes")):
        yield "a job that is suspended needs shutdownAfterJobFinishes and a cluster of its own"
    if spec.get("backoffLimit", 0) > 0 and (selector or mode == "InteractiveMode"):
        yield "backoffLimit goes with neither clusterSelector nor InteractiveMode"
    if mode == "SidecarMode" and {"submitterPodTemplate", "submitterConfig"} & set(spec):
        yield "SidecarMode takes neither submitterPodTemplate nor submitterConfig"
    if mode == "SidecarMode" and selector:
        yield "SidecarMode takes no clusterSelector"
    if {"deletionRules"} & set(spec.get("deletionStrategy", {})) and spec.get(
        "shutdownAfterJobFinishes"
    ):
        yield "deletionRules and shutdownAfterJobFinishes exclude each other"
    try:
        yaml.safe_load(spec.get("runtimeEnvYAML", ""))
    except yaml.YAMLError as error:
        yield f"runtimeEnvYAML is no YAML: {error}"


def _groups(spec: Spec) -> Iterator[str]:
    autoscaling = spec.get("enableInTreeAutoscaling", False)
    workers = spec.get("workerGroupSpecs", [])
    for name, group in [("head", spec["headGroupSpec"]), *((w["groupName"], w) for w in workers)]:
        params = group.get("rayStartParams", {})
        if not group["template"].get("spec", {}).get("containers"):
            yield f"{name}: has no container"
        if "labels" in params:
            yield f"{name}: labels belong in the group, not in rayStartParams"
        if group.get("resources") and any(params.get(key) for key in RESOURCE_PARAMS):
            yield f"{name}: resources are set in the group and in rayStartParams"
    for group in workers:
        name, least, most = (group.get(k) for k in ("groupName", "minReplicas", "maxReplicas"))
        if not autoscaling and (least is None or most is None):
            yield f"{name}: needs minReplicas and maxReplicas without autoscaling"
        if min(least or 0, most or 0) < 0:
            yield f"{name}: a number of replicas is negative"
        if least is not None and most is not None and least > most:
            yield f"{name}: minReplicas {least} is greater than maxReplicas {most}"
        if group.get("suspend") and autoscaling:
            yield f"{name}: cannot be suspended with autoscaling"


def _autoscaler(spec: Spec) -> Iterator[str]:
    options = spec.get("autoscalerOptions", {})
    variables = _head_variables(spec)
    in_environment = variables.get(AUTOSCALER_V2) in ("1", "true")
    if options.get("idleTimeoutSeconds", 0) < 0:
        yield "autoscalerOptions.idleTimeoutSeconds is negative"
    if not spec.get("enableInTreeAutoscaling"):
        if in_environment:
            yield f"{AUTOSCALER_V2} needs enableInTreeAutoscaling"
        return
    if "version" in options and AUTOSCALER_V2 in variables:
        yield f"autoscalerOptions.version and {AUTOSCALER_V2} are both set"
    if options.get("version") != "v2" and not in_environment:
        return
    for name, group in [
        ("head", spec["headGroupSpec"]),
        *((w["groupName"], w) for w in spec.get("workerGroupSpecs", [])),
    ]:
        policy = group["template"].get("spec", {}).get("restartPolicy", "Never")
        if policy != "Never":
            yield f"{name}: restartPolicy {policy} with autoscaler v2, which wants Never"


def _authentication(spec: Spec) -> Iterator[str]:
    options = spec.get("authOptions", {})
    delegated = options.get("enableK8sTokenAuth", False)
    if options.get("mode") != "token":
        if delegated:
            yield "enableK8sTokenAuth needs mode: token"
        return
    version = str(spec.get("rayVersion", ""))
    parts = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if parts is None:
        yield f"token authentication needs rayVersion, which is {version!r}"
        return
    least = (2, 55) if delegated else (2, 52)
    if (int(parts[1]), int(parts[2])) < least:
        yield f"token authentication needs Ray {least[0]}.{least[1]}, not {version}"


def _fault_tolerance(spec: Spec, annotations: dict[str, str]) -> Iterator[str]:
    variables = _head_variables(spec)
    params = spec["headGroupSpec"].get("rayStartParams", {})
    if "redis-username" in params or "REDIS_USERNAME" in variables:
        yield "the name of Redis' user belongs in gcsFaultToleranceOptions"
    if "gcsFaultToleranceOptions" not in spec:
        if "RAY_REDIS_ADDRESS" in variables and annotations.get("ray.io/ft-enabled") != "true":
            yield "RAY_REDIS_ADDRESS needs gcsFaultToleranceOptions"
        return
    if "redis-password" in params:
        yield "redis-password belongs in gcsFaultToleranceOptions"
    for name in ("REDIS_PASSWORD", "RAY_REDIS_ADDRESS"):
        if name in variables:
            yield f"{name} belongs in gcsFaultToleranceOptions"
    for name in ("ray.io/ft-enabled", "ray.io/external-storage-namespace"):
        if annotations.get(name):
            yield f"the annotation {name} and gcsFaultToleranceOptions are both set"


def _head_variables(spec: Spec) -> dict[str, str]:
    containers = spec["headGroupSpec"]["template"].get("spec", {}).get("containers") or [{}]
    return {e["name"]: e.get("value", "") for e in containers[0].get("env", [])}
