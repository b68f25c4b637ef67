"""The public names of Keras 2.0.5, each with its arguments and defaults.

The table lies outside of the repository, in the folder that HORNBEAM_SHARED names.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(os.environ.get("HORNBEAM_SHARED", Path(__file__).parents[3] / "shared"))
ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"
TABLE = SHARED / "docs" / "keras2-api.md"

# ARCHITECTURE.md says why.
MISSING = {
    "hornbeam.backend.ctc_label_dense_to_sparse",
    "hornbeam.backend.tensorflow_backend.ctc_label_dense_to_sparse",
    "hornbeam.models.Sequential.regularizers",
    "hornbeam.optimizers.TFOptimizer",
}


@dataclass(frozen=True)
class Row:
    """One line of the table: a class, a function or an alias."""

    module: str
    name: str
    signature: str
    methods: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}"


def read_rows() -> list[Row]:
    if not TABLE.exists():
        return []
    rows: list[Row] = []
    module = ""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            found = re.match(r"## (keras[\w.]*)", line)
            module = found[1].replace("keras", "hornbeam", 1) if found else ""
        elif module and (found := re.match(r"\| (?:class )?`(\w+)`[^|]*\| (.*) \|$", line)):
            # A bar inside a cell is written \| in the table.
            cells = re.split(r"(?<!\\)\|", found[2])
            methods = cells[1] if len(cells) > 1 else ""
            rows.append(
                Row(
                    module,
                    found[1],
                    _unquoted(cells[0]),
                    tuple(re.findall(r"`(\w+(?:\(.*?\))?)`", methods)),
                )
            )
    return rows


def _unquoted(cell: str) -> str:
    cell = cell.strip()
    found = re.match(r"^(= )?`(.*)`$", cell)
    assert found, cell
    return (found[1] or "") + found[2].replace("\\|", "|")


def read_reexports() -> list[tuple[str, str, str]]:
    """Return (package, module, name) for each name that a package offers from a module of it."""
    if not TABLE.exists():
        return []
    section = TABLE.read_text(encoding="utf-8").split("## Re-exports")[1].split("\n## ")[0]
    result = []
    for package, module, names in re.findall(
        r"^\| (keras[\w.]*) \| (\S+) \| (.*) \|$", section, re.M
    ):
        package = package.replace("keras", "hornbeam", 1)
        source = f"{package}.{module}"
        if module in ("engine", "legacy.layers", "utils.generic_utils") and "utils" not in package:
            source = f"hornbeam.{module}"
        listed = names.split(", ")
        if names == "everything public":
            listed = [row.name for row in ROWS if row.module == source]
        result += [(package, source, name) for name in listed]
    return result


ROWS = read_rows()
REEXPORTS = read_reexports()
PRESENT = [row for row in ROWS if row.path not in MISSING]
METHODS = [
    (row, method)
    for row in PRESENT
    for method in row.methods
    if f"{row.path}.{method.split('(')[0]}" not in MISSING
]
needs_table = pytest.mark.skipif(not ROWS, reason=f"the table of Keras' API is not at {TABLE}")


def resolve(path: str) -> Any:
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def expected_arguments(signature: str) -> tuple[list[tuple[str, Any]], bool]:
    """Return the (name, default) pairs of a signature's source, and whether it ends in **kwargs."""
    arguments = ast.parse(f"def f{signature}: pass").body[0].args  # type: ignore[attr-defined]
    names = [argument.arg for argument in arguments.args]
    defaults: list[Any] = [inspect.Parameter.empty] * (len(names) - len(arguments.defaults))
    defaults += [_value(node) for node in arguments.defaults]
    return list(zip(names, defaults, strict=True)), arguments.kwarg is not None


def _value(node: ast.expr) -> Any:
    # The only default that is not a literal is K.floatx(), which None stands for.
    return None if isinstance(node, ast.Call) else ast.literal_eval(node)


def check_signature(function: Any, signature: str, where: str) -> None:
    """Hold a callable against the table: its arguments, their order, their defaults."""
    expected, _ = expected_arguments(signature)
    found = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    positional = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for parameter, (name, default) in zip(positional, expected, strict=False):
        assert parameter.name == name or name == "_", where
        # An argument that Keras requires may be optional here.
        assert parameter.default == default or default is parameter.empty, f"{where}: {name}"
    assert len(positional) >= len(expected), where
    for parameter in positional[len(expected) :]:
        assert parameter.default is not parameter.empty, f"{where}: {parameter.name} is required"


@needs_table
def test_the_table_was_read_to_its_end():
    classes, functions, aliases = map(
        int,
        re.search(
            r"(\d+) classes, (\d+) functions, (\d+) aliases", TABLE.read_text(encoding="utf-8")
        ).groups(),
    )
    assert len(ROWS) == classes + functions + aliases


@pytest.mark.parametrize("path", sorted(MISSING))
def test_what_is_missing_is_said(path):
    owner, name = path.rsplit(".", 1)
    owner = resolve(owner)
    assert not hasattr(owner, name)
    assert f"{name}`" in ARCHITECTURE.read_text(encoding="utf-8")


@needs_table
def test_modules_are_attributes_of_the_package():
    modules = sorted({row.module for row in ROWS})
    # In a new process, where nothing else has imported them.
    code = "\n".join(["import hornbeam", *modules])
    subprocess.run([sys.executable, "-c", code], check=True)


def test_both_names_of_the_backend_are_one():
    from hornbeam import backend
    from hornbeam.backend import tensorflow_backend

    assert backend.tensorflow_backend is tensorflow_backend
    for name in backend.__all__:
        assert getattr(tensorflow_backend, name) is getattr(backend, name)


@needs_table
@pytest.mark.parametrize("row", PRESENT, ids=lambda row: row.path)
def test_name(row):
    found = resolve(row.path)
    if row.name.startswith("py_"):
        assert found is getattr(builtins, row.signature[2:])
    elif row.signature.startswith("= "):
        assert found is resolve(f"{row.module}.{row.signature[2:]}")
    else:
        check_signature(found, row.signature, row.path)


@needs_table
@pytest.mark.parametrize(
    ("row", "method"),
    METHODS,
    ids=[f"{row.path}.{method.split('(')[0]}" for row, method in METHODS],
)
def test_method(row, method):
    name = method.split("(")[0]
    owner = resolve(row.path)
    if "(" not in method:
        assert hasattr(owner, name) or name in _assigned_attributes(owner)
        return
    check_signature(getattr(owner, name), method[len(name) :], f"{row.path}.{name}")


@functools.cache
def _assigned_attributes(owner: type) -> frozenset[str]:
    """Return the attributes that the classes' own code sets on self."""
    names: set[str] = set()
    for cls in owner.__mro__[:-1]:
        names.update(re.findall(r"self\.(\w+)(?::[^=\n]+)? = ", inspect.getsource(cls)))
    return frozenset(names)


@needs_table
@pytest.mark.parametrize(("package", "module", "name"), REEXPORTS)
def test_reexport(package, module, name):
    found = getattr(importlib.import_module(package), name)
    if name == "merge":
        # The name of a module too: the module can be called like the function.
        assert callable(found) and inspect.ismodule(found)
        return
    assert found is getattr(importlib.import_module(module), name)
