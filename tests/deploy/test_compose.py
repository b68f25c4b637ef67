"""Three Ray nodes on one machine: compose.yaml."""

from __future__ import annotations

import copy
import os
import re

import pytest
import yaml

from deploy import manifests

COMPOSE = manifests.DEPLOY / "compose.yaml"


def interpolated(environ):
    """The file's text with ${NAME}, ${NAME:-default} and ${NAME:?message} replaced."""

    def value(match):
        name, _, rest = match[1].partition(":")
        if environ.get(name):
            return environ[name]
        if rest.startswith("-"):
            return rest[1:]
        raise ValueError(match[0])

    return re.sub(r"\$\{([^}]+)\}", value, COMPOSE.read_text())


@pytest.fixture
def compose():
    return yaml.safe_load(interpolated({"RAY_AUTH_TOKEN": "secret"}))


@pytest.fixture
def accepts():
    """What is wrong with a file by the compose specification, or with its references; or None."""
    package = pytest.importorskip("compose_spec", reason="compose-spec is not installed")

    def check(compose):
        try:
            package.PyCompose.from_yaml(yaml.safe_dump(compose)).validate()
        except ValueError as error:
            return str(error)
        services, volumes = compose["services"], compose.get("volumes", {})
        for name, service in services.items():
            for other in service.get("depends_on", {}):
                if other not in services:
                    return f"{name} depends on {other}, which is no service"
            for mount in service.get("volumes", []):
                source = mount.split(":")[0]
                if not source.startswith((".", "/")) and source not in volumes:
                    return f"{name} mounts {source}, which is no volume"
        return None

    return check


def test_the_specification_accepts(compose, accepts):
    assert accepts(compose) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda services: services["head"].update(comand="ray"), "comand"),
        (lambda services: services["head"].update(ports=["a:b"]), "ports"),
        (lambda services: services["worker"]["deploy"].update(replicas="two"), "replicas"),
        (lambda services: services["head"]["healthcheck"].update(interval="5 min"), "interval"),
        (
            lambda services: services["head"]["depends_on"]["storage"].update(condition="ready"),
            "condition",
        ),
        (
            lambda services: services["head"].update(depends_on={"disk": {}}),
            "disk",
        ),
        (lambda services: services["worker"].update(volumes=["disk:/mnt"]), "no volume"),
    ],
)
def test_what_is_wrong_is_found(compose, accepts, change, message):
    wrong = copy.deepcopy(compose)
    change(wrong["services"])
    assert message in (accepts(wrong) or "")


def test_a_token_has_to_be_given():
    with pytest.raises(ValueError, match="RAY_AUTH_TOKEN:."):
        interpolated({})


def test_mounted_files_exist(compose):
    for service in compose["services"].values():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            assert not source.startswith(".") or (manifests.DEPLOY / source).is_file(), source
    build = compose["services"]["head"]["build"]
    context = manifests.DEPLOY / build["context"]
    assert os.path.samefile(context / build["dockerfile"], manifests.DEPLOY / "Dockerfile")


def test_local_nodes_start_as_the_manifests_say(compose):
    spec = manifests.cluster_spec(manifests.ray_object(manifests.rendered("cluster")))
    groups = dict(manifests.groups(spec))
    services = compose["services"]
    for service, group in (("head", "head"), ("worker", "elastic")):
        given = dict(re.findall(r"--([\w-]+)=(\S+)", services[service]["command"]))
        for key, value in groups[group]["rayStartParams"].items():
            assert given[key] == value, (service, key)
        assert services[service]["environment"]["RAY_AUTH_MODE"] == "token"
        assert services[service]["cap_drop"] == ["ALL"]
    assert services["worker"]["deploy"]["replicas"] + 1 == 3
    assert services["head"]["image"] == services["worker"]["image"]
    assert services["head"]["image"] == groups["head"]["template"]["spec"]["containers"][0]["image"]
