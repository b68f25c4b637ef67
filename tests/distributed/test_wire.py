"""What workers tell each other as bytes, and that nothing on that way is unpickled."""

import ast
from pathlib import Path

import numpy as np
import pytest

import hornbeam

pytest.importorskip("ray")

from hornbeam.distribution.ray.wire import (  # noqa: E402
    Standing,
    decode_state,
    describe_error,
    encode_state,
    rebuild_error,
)

PACKAGE = Path(hornbeam.__file__).parent


def test_standings_survive_the_wire():
    for standing in (
        Standing(3, 17, False, True),
        Standing(0, 0, True, False, ("2", "ValueError", 'layer "words": \u00fcber\n')),
    ):
        assert Standing.decode(standing.encode()) == standing


def test_states_survive_the_wire():
    rng = np.random.RandomState(0)
    values = {
        7: rng.randn(3, 4).astype("float32"),
        2: np.float64(np.pi),
        11: np.zeros((0, 5), dtype="int64"),
        1: np.asarray([True, False]),
        5: np.asarray([np.nan, -0.0, np.inf, 5e-324]),
        6: rng.randn(4, 6)[:, ::2],
    }
    facts = {"number": 3, "finished": False, "sums": [0.1 + 0.2, float("inf")]}
    got_facts, got = decode_state(encode_state(facts, values))
    assert got_facts == facts
    assert list(got) == list(values)
    for number, value in values.items():
        value = np.asarray(value)
        assert got[number].dtype == value.dtype and got[number].shape == value.shape
        assert got[number].tobytes() == value.tobytes()


def test_states_that_are_none_are_refused():
    good = encode_state({}, {0: np.zeros(3)})
    for bad in (b"", b"{}", good[:-1], good + b"x", good.replace(b"<f8", b"|O8")):
        with pytest.raises((ValueError, KeyError)):
            decode_state(bad)
    hostile = b'{"facts": {}, "arrays": [[0, "<f8", [-1]]]}\n' + bytes(8)
    with pytest.raises(ValueError):
        decode_state(hostile)


class HomemadeError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("layer words"), ValueError),
        (hornbeam.errors.ChecksumError("x"), hornbeam.errors.ChecksumError),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), RuntimeError),
        (HomemadeError("x"), RuntimeError),
        (SystemExit("x"), RuntimeError),
    ],
)
def test_errors_keep_their_type_where_they_can(error, kind):
    again = rebuild_error(describe_error(error, "4"))
    assert type(again) is kind
    assert "worker 4" in str(again) and str(error) in str(again)


def _calls(path):
    """Return what a module imports and the methods that it calls."""
    tree = ast.parse(path.read_text())
    imported, called = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call):
            called.add(ast.unparse(node.func))
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            called.add(f"allow_pickle={ast.unparse(node.value)}")
    return imported, called


def test_nothing_is_unpickled_from_a_socket():
    """Where the group's bytes are read, there is nothing that could run code in them."""
    readers = ("all_gather", "broadcast")
    found = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        imported, called = _calls(path)
        reads = any(name.split(".")[-1] in readers for name in called)
        if not reads and PACKAGE / "distribution" not in path.parents:
            continue
        found += reads
        forbidden = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
        if "socket" in imported:
            # Only to see whether somebody listens.
            methods = {name.split(".")[-1] for name in called}
            assert not methods & {"recv", "recv_into", "recvfrom", "makefile", "bind"}, path
        assert not imported & forbidden, path
        assert not called & {"eval", "exec", "allow_pickle=True"}, path
        if "np.load" in called:
            assert "allow_pickle=False" in called, path
    assert found >= 3
