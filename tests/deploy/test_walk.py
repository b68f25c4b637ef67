"""deploy/README.md: its commands exist, with these flags, and name what there is."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess

import pytest

from deploy import manifests

README = manifests.DEPLOY / "README.md"
# Flags of programs that a machine which only checks need not have, from their own documentation.
KNOWN = {
    "kind create cluster": set(),
    "kind delete cluster": set(),
    "kind load docker-image": set(),
    "helm repo add": set(),
    "helm install": {"--version", "--namespace", "--create-namespace", "--set"},
    "docker buildx bake": {"--load", "--file"},
    "docker compose up": {"--env-file", "--file", "--build", "--detach"},
    "docker compose exec": {"--file"},
    "docker compose down": {"--file", "--volumes"},
}


def commands():
    """The command lines of the page, in blocks and within the text."""
    text = README.read_text()
    blocks = re.findall(r"^```\n(.*?)^```", text, re.M | re.S)
    prose = re.sub(r"^```\n.*?^```", "", text, flags=re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`((?:kubectl|ray|python|helm)\s[^`]+)`", prose)
    found = []
    for line in lines:
        found += [inner for inner in re.findall(r"\$\(([^()]+)\)", line)]
        found.append(re.sub(r"\$\([^()]+\)", "VALUE", line.split(" | ")[0]))
    return [line for line in found if line.strip()]


def words_of(program):
    """Each command of a program as words, without assignments before it."""
    for line in commands():
        words = shlex.split(line, comments=True)
        if words and words[0] == program:
            yield words


def flags_of(words):
    """The flags of the program itself, not of what it runs."""
    end = words.index("--") if "--" in words else len(words)
    own = words[: words.index("exec")] if "compose" in words and "exec" in words else words[:end]
    return {w.split("=")[0] for w in own if w.startswith("-")}


def test_commands_are_found():
    assert {line.split()[0] for line in commands()} >= {"kubectl", "kind", "helm", "docker"}
    assert len(list(words_of("kubectl"))) > 12


def subcommand(words):
    """`create secret generic`, `wait`..."""
    plain = [w for w in words[1:] if not w.startswith("-")]
    depth = 3 if plain[0] == "create" else 1
    return plain[:depth]


@pytest.mark.parametrize("words", list(words_of("kubectl")), ids=" ".join)
def test_kubectl_knows(words):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = subcommand(words)
    shown = subprocess.run(["kubectl", *command, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    long = set(re.findall(r"(--[\w-]+)[=\s]", shown.stdout))
    short = set(re.findall(r"^\s+(-\w), --", shown.stdout, re.M))
    assert flags_of(words) <= long | short, (command, flags_of(words) - long - short)


@pytest.mark.parametrize("program", ["kind", "helm", "docker"])
def test_others_know(program):
    for words in words_of(program):
        names = [n for n in KNOWN if all(part in words for part in n.split())]
        assert len(names) == 1, words
        assert flags_of(words) <= KNOWN[names[0]], words


def test_what_is_asked_of_a_job_is_in_its_schema():
    path = manifests.SHARED / "kuberay" / "rayjobs.v1.schema.json"
    if not path.is_file():
        pytest.skip(f"KubeRay's CRD schemas are not at {path.parent} (HORNBEAM_SHARED says where)")
    schema = json.loads(path.read_text())
    asked = set(re.findall(r"rayjob[^`\n]*\{(\.status\.\w+)\}", README.read_text()))
    asked |= set(re.findall(r"\{(\.status\.\w+)\}'=\w+ rayjob", README.read_text()))
    assert asked == {".status.rayClusterName", ".status.jobDeploymentStatus"}
    for field in asked:
        assert field.split(".")[2] in schema["properties"]["status"]["properties"]


def test_selectors_and_files_exist():
    text = README.read_text()
    for overlay in re.findall(r"(?:apply|delete) -k deploy/kuberay/(\w+)", text):
        assert overlay in manifests.OVERLAYS
    for path in re.findall(r"^\| `([\w./-]+)`", text, re.M):
        if "/" in path or "." in path:
            assert (manifests.DEPLOY / path).exists(), path
    spec = manifests.cluster_spec(manifests.ray_object(manifests.rendered("kind")))
    labels = spec["headGroupSpec"]["template"]["metadata"]["labels"]
    for selector in re.findall(r"--selector (\S+?)`?$", text, re.M):
        for name, value in (part.split("=") for part in selector.split(",")):
            assert labels.get(name) == value or name.startswith("ray.io/"), selector


def test_secrets_are_those_that_manifests_ask_for():
    text = README.read_text()
    for overlay, name in (("production", "hornbeam-s3"), ("cluster", "hornbeam-redis")):
        assert f"kubectl create secret generic {name} " in text
        assert name in json.dumps(manifests.rendered(overlay))


def test_the_head_of_the_walk_makes_its_data():
    spec = manifests.cluster_spec(manifests.ray_object(manifests.rendered("kind")))
    pod = spec["headGroupSpec"]["template"]["spec"]
    (maker,), container = pod["initContainers"], pod["containers"][0]
    assert maker["image"] == container["image"]
    given = manifests.environment(maker)["HORNBEAM_DATA"]
    assert given == manifests.environment(container)["HORNBEAM_DATA"]
    mounts = {m["mountPath"] for m in maker["volumeMounts"]}
    assert mounts == {m["mountPath"] for m in container["volumeMounts"]}
    script = maker["command"][-1].removeprefix("/opt/hornbeam/job/")
    maps = manifests.of_kind(manifests.rendered("kind"), "ConfigMap")
    assert script in maps[0]["data"]
    assert maker["securityContext"] == container["securityContext"]
