"""The manifests: KubeRay's schemas, its operator's rules and what this project asks of a pod."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess

import pytest
import yaml

from deploy import crd_schema, manifests, operator_rules

SCHEMAS = {"RayCluster": "rayclusters.v1", "RayJob": "rayjobs.v1"}
# What an overlay needs of the operator, which deploy/README.md tells its reader.
GATES = {"production": frozenset({"RayClusterMTLS"})}


@pytest.fixture(params=manifests.OVERLAYS)
def overlay(request):
    return request.param


@pytest.fixture
def objects(overlay):
    return manifests.rendered(overlay)


@pytest.fixture
def ray(objects):
    return manifests.ray_object(objects)


@pytest.fixture
def spec(ray):
    return manifests.cluster_spec(ray)


def schema_of(manifest):
    path = manifests.SHARED / "kuberay" / f"{SCHEMAS[manifest['kind']]}.schema.json"
    if not path.is_file():
        pytest.skip(f"KubeRay's CRD schemas are not at {path.parent} (HORNBEAM_SHARED says where)")
    return json.loads(path.read_text())


def test_rendered_manifests_are_current(overlay):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which builds the overlays, is not installed")
    built = subprocess.run(
        ["kubectl", "kustomize", manifests.KUBERAY / overlay], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    current = manifests.KUBERAY / "rendered" / f"{overlay}.yaml"
    assert built.stdout == current.read_text(), "run deploy/kuberay/render"


def test_schema_accepts(ray):
    assert crd_schema.errors(ray, schema_of(ray)) == []


def test_operator_accepts(overlay, ray):
    assert operator_rules.breaches(ray, GATES.get(overlay, frozenset())) == []


def test_gates_are_needed_and_told(overlay, ray):
    needed = GATES.get(overlay, frozenset())
    for gate in needed:
        assert any(gate in b for b in operator_rules.breaches(ray, needed - {gate}))
        assert gate in (manifests.DEPLOY / "README.md").read_text()


def test_no_value_is_left_open(objects):
    assert not re.search(r"\b(SET|SCRIPT|BUCKET|MIN|MAX)\b", yaml.safe_dump(objects))


def test_every_value_is_used():
    values = yaml.safe_load((manifests.KUBERAY / "base" / "values.yaml").read_text())["data"]
    used = {
        m
        for path in manifests.KUBERAY.glob("components/*/kustomization.yaml")
        for m in re.findall(r"fieldPath: data\.(\w+)", path.read_text())
    }
    assert used == set(values)


def test_pods(spec):
    for name, group in manifests.groups(spec):
        assert list(manifests.pod_breaches(name, group["template"]["spec"])) == []


def test_containers_agree_on_ray(ray, spec):
    images = set(re.findall(r"hornbeam/hornbeam:\S+?(?=[\"'\s,}])", json.dumps(ray)))
    assert len(images) == 1
    assert images.pop().endswith(f"-ray{spec['rayVersion']}")


def test_the_network_admits_what_is_used(objects, spec):
    (policy,) = (
        p
        for p in manifests.of_kind(objects, "NetworkPolicy")
        if p["metadata"]["name"] == "hornbeam"
    )
    for direction in ("ingress", "egress"):
        admitted = manifests.policy_ports(policy, direction)
        for use, ports in manifests.used_ports(spec).items():
            assert set(ports) <= admitted, f"{direction}: {use}"


def test_the_network_admits_nothing_else(objects, spec):
    (policy,) = (
        p
        for p in manifests.of_kind(objects, "NetworkPolicy")
        if p["metadata"]["name"] == "hornbeam"
    )
    client = {10001}
    used = client.union(*manifests.used_ports(spec).values())
    assert manifests.policy_ports(policy, "ingress") == used
    egress = [r for r in policy["spec"]["egress"] if "podSelector" not in r["to"][0]]
    assert [[p["port"] for p in r["ports"]] for r in egress] == [[53, 53]]


def test_workers_listen_apart(spec):
    for name, group in manifests.groups(spec):
        env = manifests.environment(group["template"]["spec"]["containers"][0])
        collective = set(manifests.port_range(env["HORNBEAM_PORTS"]))
        others = [
            set(ports)
            for use, ports in manifests.used_ports(spec).items()
            if not use.endswith("collective")
        ]
        assert not collective & set().union(*others), name


def test_budgets_hold_for_a_custom_controller(objects):
    # Kubernetes takes only whole numbers of minAvailable where a controller cannot be scaled.
    for budget in manifests.of_kind(objects, "PodDisruptionBudget"):
        assert set(budget["spec"]) == {"minAvailable", "selector"}
        assert isinstance(budget["spec"]["minAvailable"], int)


def test_selectors_meet_the_pods(objects, spec):
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for found in manifests.of_kind(objects, kind):
            wanted = set(found["spec"][key]["matchLabels"].items())
            own = {w for w in wanted if not w[0].startswith("ray.io/")}
            for _, group in manifests.groups(spec):
                assert own <= set(group["template"]["metadata"]["labels"].items())


def test_the_spot_group_keeps_to_spot_nodes(spec):
    pod = dict(manifests.groups(spec))["spot"]["template"]["spec"]
    (toleration,) = pod["tolerations"]
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (expression,) = required["nodeSelectorTerms"][0]["matchExpressions"]
    assert toleration["key"] == expression["key"]
    assert expression["values"] == [toleration["value"]]


def test_elastic_bounds_reach_the_run(spec):
    workers = {g["groupName"]: g for g in spec["workerGroupSpecs"]}
    container = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    env = manifests.environment(container)
    elastic = workers["elastic"]
    bounds = f"{elastic['minReplicas']}-{elastic['maxReplicas']}"
    assert env["HORNBEAM_WORKERS"] == bounds
    worker = elastic["template"]["spec"]["containers"][0]
    assert env["HORNBEAM_CPUS_PER_WORKER"] == str(worker["resources"]["limits"]["cpu"])


def job_with(change):
    """The RayJob of the overlay `job` after a change."""
    job = copy.deepcopy(manifests.ray_object(manifests.rendered("job")))
    spec = job["spec"]["rayClusterSpec"]
    change(job, spec, dict(manifests.groups(spec)))
    return job


def setting(where, key, value):
    def change(job, spec, groups):
        place = {
            "job": job["spec"],
            "cluster": spec,
            "head": groups["head"]["template"]["spec"],
            "elastic": groups["elastic"]["template"]["spec"],
            "group": groups["elastic"],
            "params": groups["head"]["rayStartParams"],
            "container": groups["elastic"]["template"]["spec"]["containers"][0],
            "metadata": job["metadata"],
        }[where]
        place[key] = value

    return change


def variable(name, value):
    def change(job, spec, groups):
        container = groups["head"]["template"]["spec"]["containers"][0]
        container["env"].append({"name": name, "value": value})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("head", "restartPolicy", "Always"), "head: restartPolicy Always"),
        (setting("elastic", "restartPolicy", "OnFailure"), "elastic: restartPolicy OnFailure"),
        (setting("cluster", "rayVersion", "2.51.1"), "needs Ray 2.52"),
        (setting("cluster", "rayVersion", ""), "needs rayVersion"),
        (
            setting("cluster", "authOptions", {"mode": "disabled", "enableK8sTokenAuth": True}),
            "needs mode: token",
        ),
        (setting("cluster", "tlsOptions", {"enabled": True}), "RayClusterMTLS"),
        (setting("cluster", "networkPolicy", {"mode": "DenyAll"}), "RayClusterNetworkPolicy"),
        (
            setting("cluster", "gcsFaultToleranceOptions", {"backend": "rocksdb"}),
            "GCSFaultToleranceEmbeddedStorage",
        ),
        (setting("job", "shutdownAfterJobFinishes", False), "needs shutdownAfterJobFinishes"),
        (setting("job", "backoffLimit", -1), "backoffLimit is negative"),
        (setting("job", "activeDeadlineSeconds", 0), "activeDeadlineSeconds"),
        (setting("job", "submissionMode", "InteractiveMode"), "InteractiveMode"),
        (setting("job", "submissionMode", "SidecarMode"), "SidecarMode"),
        (setting("job", "clusterSelector", {"ray.io/cluster": "a"}), "clusterSelector"),
        (setting("job", "runtimeEnvYAML", "{"), "is no YAML"),
        (setting("group", "minReplicas", 99), "greater than maxReplicas"),
        (setting("group", "suspend", True), "cannot be suspended"),
        (setting("params", "labels", "a=b"), "labels belong"),
        (setting("metadata", "name", "hornbeam_1"), "DNS-1035"),
        (setting("metadata", "name", "h" * 48), "more than 47"),
        (variable(operator_rules.AUTOSCALER_V2, "1"), "both set"),
        (variable("RAY_REDIS_ADDRESS", "redis:6379"), "needs gcsFaultToleranceOptions"),
    ],
)
def test_operator_rules_catch(change, message):
    found = operator_rules.breaches(job_with(change))
    assert any(message in breach for breach in found), found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("job", "backoffLimit", "five"), "is not of type 'integer'"),
        (setting("job", "backofLimit", 5), "backofLimit is unknown"),
        (setting("job", "preRunningDeadlineSeconds", 0), "minimum"),
        (setting("cluster", "authOptions", {"mode": "tokens"}), "is not one of"),
        (setting("cluster", "autoscalerOptions", {"version": "v3"}), "is not one of"),
        (setting("params", "num-cpus", 0), "is not of type 'string'"),
        (setting("container", "resources", {"limits": {"cpu": "4 cores"}}), "cpu"),
        (setting("container", "livenessProbes", {}), "livenessProbes is unknown"),
        (setting("container", "name", None), "name"),
    ],
)
def test_schema_catches(change, message):
    job = job_with(change)
    found = crd_schema.errors(job, schema_of(job))
    assert any(message in error for error in found), found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("elastic", "terminationGracePeriodSeconds", 30), "under 60"),
        (setting("elastic", "terminationGracePeriodSeconds", 90), "longer than the pod's grace"),
        (setting("elastic", "securityContext", {}), "as root"),
        (setting("container", "securityContext", {}), "privileges"),
        (setting("container", "env", []), "number of threads"),
        (setting("container", "livenessProbe", {}), "livenessProbe"),
        (setting("container", "resources", {"limits": {"cpu": "1500m"}}), "no whole number"),
        (setting("container", "resources", {"limits": {"cpu": 4, "memory": "1Gi"}}), "differ"),
    ],
)
def test_pod_rules_catch(change, message):
    spec = job_with(change)["spec"]["rayClusterSpec"]
    pod = dict(manifests.groups(spec))["elastic"]["template"]["spec"]
    found = list(manifests.pod_breaches("elastic", pod))
    assert any(message in breach for breach in found), found
