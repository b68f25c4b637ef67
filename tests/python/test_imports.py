"""Which package may import which, and what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hornbeam

ROOT = Path(hornbeam.__file__).parent


def imported(path):
    """The modules of the package that a file imports, as dotted names within it."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = list(package[: len(package) - node.level + 1])
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                yield ".".join([*base, alias.name])
            yield ".".join(base)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hornbeam"):
            yield node.module.removeprefix("hornbeam").lstrip(".")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("hornbeam."):
                    yield alias.name.removeprefix("hornbeam.")


def files(folder=""):
    return sorted((ROOT / folder).rglob("*.py"))


def breaches(paths, forbidden):
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imported(path)
        if any(name == f or name.startswith(f"{f}.") for f in forbidden)
    ]


def test_only_the_backend_imports_the_core():
    # The root takes the version alone.
    others = [p for p in files() if p.parent != ROOT / "backend" and p != ROOT / "__init__.py"]
    assert breaches(others, ["_core"]) == []


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("backend", ["engine", "layers", "models", "optimizers", "losses", "saving", "utils"]),
        ("engine", ["distribution", "models", "wrappers", "datasets", "preprocessing"]),
        ("data", ["engine", "backend", "layers", "models", "distribution"]),
        ("layers", ["saving", "distribution", "callbacks"]),
    ],
)
def test_direction(folder, forbidden):
    assert breaches(files(folder), forbidden) == []


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_the_root_imports_little():
    loaded = run("import sys, hornbeam; print(*sys.modules)")
    assert not {"h5py", "yaml", "hornbeam.layers", "hornbeam.callbacks"} & set(loaded)


def test_the_root_leads_everywhere():
    code = (
        "import hornbeam as k; print(*[getattr(k, n).__name__ for n in k.__all__ if n[0] != '_'])"
    )
    names = run(code)
    assert "hornbeam.layers" in names and "Sequential" in names and "Input" in names
    with pytest.raises(AttributeError, match="layer"):
        _ = hornbeam.layer
