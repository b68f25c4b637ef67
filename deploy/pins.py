"""Carry the versions of versions.env to where they are used: `python deploy/pins.py [--check]`.

Docker, pip and kustomize each read a format of their own, so each keeps a copy; this writes them,
and with --check tells which differ instead (status 1).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
ROOT = DEPLOY.parent


def versions() -> dict[str, str]:
    """Return the names and values of versions.env."""
    lines = (DEPLOY / "versions.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def places(v: dict[str, str]) -> list[tuple[Path, str, str]]:
    """Return each copy: its file, a pattern with the value as the one group, and the value."""
    tag = f"{v['HORNBEAM_VERSION']}-ray{v['RAY_VERSION']}"
    dockerfile, bake, compose = (
        DEPLOY / name for name in ("Dockerfile", "docker-bake.hcl", "compose.yaml")
    )
    values = DEPLOY / "kuberay" / "base" / "values.yaml"
    found = [
        (ROOT / "pyproject.toml", r'"ray\[default\]==([^"]+)"', v["RAY_VERSION"]),
        (DEPLOY / "requirements.txt", r"^ray==(\S+)", v["RAY_VERSION"]),
        (values, r"^  image: (\S+)", f"{v['IMAGE']}:{tag}"),
        (values, r"^  rayVersion: (\S+)", v["RAY_VERSION"]),
        (DEPLOY / "README.md", r"kuberay-operator --version (\S+)", v["KUBERAY_VERSION"]),
        (compose, r"RAY_VERSION:-([^}]+)", v["RAY_VERSION"]),
        (compose, r"HORNBEAM_VERSION:-([^}]+)", v["HORNBEAM_VERSION"]),
        (compose, r"IMAGE:-([^}]+)", v["IMAGE"]),
    ]
    for name in ("RUST_VERSION", "PYTHON_VERSION", "DEBIAN_RELEASE", "MATURIN_VERSION"):
        found.append((dockerfile, rf"^ARG {name}=(\S+)", v[name]))
    for name in ("IMAGE", "HORNBEAM_VERSION", "RAY_VERSION"):
        found.append((bake, rf'variable "{name}" {{ default = "([^"]+)"', v[name]))
    return found


def differences(write: bool = False) -> list[str]:
    """Return what differs from versions.env, one line each.

    Args:
        write: whether to put it right.
    """
    found = []
    for path, pattern, value in places(versions()):
        text = path.read_text()
        matches = list(re.finditer(pattern, text, re.M))
        if not matches:
            found.append(f"{path.relative_to(ROOT)}: nothing matches {pattern}")
        for match in reversed(matches):
            if match[1] != value:
                found.append(f"{path.relative_to(ROOT)}: {match[1]} instead of {value}")
                text = text[: match.start(1)] + value + text[match.end(1) :]
        if write:
            path.write_text(text)
    return found


if __name__ == "__main__":
    check = sys.argv[1:] == ["--check"]
    lines = differences(write=not check)
    print("\n".join(lines) or "all versions agree")
    sys.exit(1 if check and lines else 0)
