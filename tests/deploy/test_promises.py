"""Each thing that the manifests are said to have is there, and is missed when it is not."""

from __future__ import annotations

import copy

import pytest

from deploy import manifests, promises

# The oldest and the newest Kubernetes of KubeRay's users, as far as the schemas go.
KUBERNETES = ("1.29", "1.37")
# Kinds of others than Kubernetes, whose schemas are elsewhere.
FOREIGN = ("RayJob", "RayCluster", "PodMonitor")


@pytest.mark.parametrize("overlay", manifests.OVERLAYS)
def test_overlays_have_what_is_promised(overlay):
    assert promises.breaches(overlay, manifests.rendered(overlay)) == []


def changed(overlay, change):
    objects = copy.deepcopy(manifests.rendered(overlay))
    spec = manifests.cluster_spec(manifests.ray_object(objects))
    change(objects, spec, {n: g for n, g in manifests.groups(spec)})
    return objects


def without(*path):
    """A change that leaves out a field of the RayJob or RayCluster."""

    def change(objects, spec, groups):
        place = manifests.ray_object(objects)["spec"]
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


def group(name, *path, value=None):
    """A change that leaves out a field of a group, or gives it another value."""

    def change(objects, spec, groups):
        place = groups[name]
        for key in path[:-1]:
            place = place[key]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value

    return change


def variable(name, value):
    def change(objects, spec, groups):
        container = groups["elastic"]["template"]["spec"]["containers"][0]
        for given in container["env"]:
            if given["name"] == name:
                given["value"] = value

    return change


def no_object(kind, name=None):
    def change(objects, spec, groups):
        objects[:] = [
            o for o in objects if o["kind"] != kind or name not in (None, o["metadata"]["name"])
        ]

    return change


CLUSTER = "rayClusterSpec"
CONTAINER = ("template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("overlay", "change", "message"),
    [
        ("job", without("shutdownAfterJobFinishes"), "outlives the job"),
        ("job", without("backoffLimit"), "backoffLimit"),
        ("job", without("ttlSecondsAfterFinished"), "ttlSecondsAfterFinished"),
        ("job", without("activeDeadlineSeconds"), "activeDeadlineSeconds"),
        ("job", without("preRunningDeadlineSeconds"), "preRunningDeadlineSeconds"),
        ("job", variable("HORNBEAM_CHECKPOINT", ""), "no checkpoint to resume from"),
        ("job", without(CLUSTER, "enableInTreeAutoscaling"), "no autoscaler v2"),
        ("cluster", without("autoscalerOptions", "version"), "no autoscaler v2"),
        ("job", group("elastic", "minReplicas", value=0), "no room to grow"),
        ("job", group("spot", "minReplicas", value=1), "cannot be empty"),
        ("job", group("spot", "template", "spec", "tolerations"), "does not go to spot nodes"),
        ("job", group("spot", "template", "spec", "affinity"), "does not go to spot nodes"),
        ("job", group("head", "rayStartParams", "num-cpus"), "placed on the head"),
        ("job", without(CLUSTER, "authOptions"), "asks for no token"),
        ("job", no_object("NetworkPolicy"), "no NetworkPolicy"),
        ("job", no_object("PodDisruptionBudget", "hornbeam-head"), "PodDisruptionBudget"),
        ("job", variable("RAY_health_check_period_ms", ""), "RAY_health_check_period_ms"),
        ("job", group("head", *CONTAINER, "livenessProbe"), "gives up within 60 seconds"),
        ("job", group("elastic", *CONTAINER, "startupProbe"), "gives up within 180 seconds"),
        ("job", group("spot", *CONTAINER, "lifecycle"), "spot: is not drained"),
        ("job", group("spot", "template", "metadata", "annotations"), "Prometheus is not told"),
        ("job", group("spot", *CONTAINER, "ports"), "no port named metrics"),
        ("job", no_object("PersistentVolumeClaim"), "does not mount the claim"),
        ("job", variable("HORNBEAM_OUTPUT", "/tmp/m.h5"), "not on the volume"),
        ("production", variable("HORNBEAM_DATA", "/tmp/data"), "not in the bucket"),
        ("production", group("elastic", *CONTAINER, "envFrom"), "no keys to the bucket"),
        ("production", no_object("NetworkPolicy", "hornbeam-s3"), "reach the bucket"),
        ("production", without(CLUSTER, "tlsOptions"), "not encrypted"),
        ("production", no_object("PodMonitor"), "Prometheus operator"),
        ("cluster", without("gcsFaultToleranceOptions"), "kept nowhere"),
        ("cluster", no_object("Service"), "kept nowhere"),
        (
            "cluster",
            without("gcsFaultToleranceOptions", "redisPassword", "valueFrom"),
            "password is no Secret",
        ),
    ],
)
def test_what_is_missing_is_found(overlay, change, message):
    found = promises.breaches(overlay, changed(overlay, change))
    assert any(message in breach for breach in found), found


def flawed(change):
    (policy,) = (
        o
        for o in copy.deepcopy(manifests.rendered("job"))
        if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] == "hornbeam"
    )
    change(policy["spec"])
    return policy


@pytest.fixture(params=KUBERNETES)
def accepts(request):
    """What Kubernetes' own schema finds wrong with an object, or None."""
    package = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    )

    def check(manifest):
        try:
            package.validate(manifest, request.param, strict=True)
        except package.ValidationError as error:
            return str(error.message)
        return None

    return check


@pytest.mark.parametrize("overlay", manifests.OVERLAYS)
def test_kubernetes_accepts(overlay, accepts):
    for found in manifests.rendered(overlay):
        if found["kind"] not in FOREIGN:
            assert accepts(found) is None, found["metadata"]["name"]


def test_kubernetes_schema_catches(accepts):
    assert accepts(flawed(lambda spec: None)) is None
    for change in (
        lambda spec: spec.update(policyTypes="Ingress"),
        lambda spec: spec["podSelector"].update(matchLabel={}),
        lambda spec: spec.update(podSelectors={}),
        lambda spec: spec["ingress"][0]["ports"][0].update(endPort="6383"),
    ):
        assert accepts(flawed(change)) is not None


@pytest.mark.parametrize("overlay", manifests.OVERLAYS)
def test_pods_of_ray_are_valid_pods(overlay, accepts):
    """KubeRay's CRDs describe pods loosely; Kubernetes will see the pods themselves."""
    spec = manifests.cluster_spec(manifests.ray_object(manifests.rendered(overlay)))
    for name, group_spec in manifests.groups(spec):
        pod = {"apiVersion": "v1", "kind": "Pod", **group_spec["template"]}
        pod["metadata"] = {"name": name, **pod["metadata"]}
        assert accepts(pod) is None, name
