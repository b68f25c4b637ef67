"""Architectures and weights that Keras 2.0.5 itself wrote give its predictions.

The files lie outside the repository: $HORNBEAM_SHARED names their folder (default: `shared` beside
the checkout).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import hornbeam as keras
from parity.comparing import numbered

SHARED = Path(os.environ.get("HORNBEAM_SHARED") or Path(__file__).resolve().parents[3] / "shared")
FILES = SHARED / "golden" / "keras-2.0.5"
#: Between two float32 implementations of a small network.
TOLERANCE = 2e-5

pytestmark = pytest.mark.skipif(
    not FILES.is_dir(),
    reason=f"{FILES} is not here: set HORNBEAM_SHARED to the folder above golden/",
)
NAMES = sorted(path.stem for path in FILES.glob("*.json")) or ["none"]


def class_names(config) -> set[str]:
    """Every `class_name` of a layer in an architecture's JSON."""
    if isinstance(config, list):
        return set().union(*(class_names(item) for item in config)) if config else set()
    if not isinstance(config, dict):
        return set()
    own = {config["class_name"]} if "inbound_nodes" in config or "name" in _inner(config) else set()
    return own.union(*(class_names(value) for value in config.values()))


def _inner(config) -> dict:
    inner = config.get("config")
    return inner if isinstance(inner, dict) and "class_name" in config else {}


def load(name):
    text = (FILES / f"{name}.json").read_text()
    wanted = class_names(json.loads(text)["config"])
    missing = sorted(c for c in wanted if not hasattr(keras.layers, c))
    if missing:
        pytest.skip(f"hornbeam has no layer {', '.join(missing)} yet")
    return keras.models.model_from_json(text)


def arrays_of(name):
    with np.load(FILES / f"{name}.npz") as file:
        return dict(file)


def assert_predicts(model, arrays):
    xs = numbered(arrays, "x")
    results = model.predict(xs if len(xs) > 1 else xs[0], batch_size=len(xs[0]))
    results = results if isinstance(results, list) else [results]
    expected = numbered(arrays, "pred")
    assert len(results) == len(expected) > 0
    for actual, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_weights_file(name):
    model = load(name)
    model.load_weights(str(FILES / f"{name}.weights.h5"))
    assert_predicts(model, arrays_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_weights_within_a_model_file(name):
    model = load(name)
    model.load_weights(str(FILES / f"{name}.h5"))
    assert_predicts(model, arrays_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_weights_have_the_order_and_shapes_of_keras(name):
    model = load(name)
    initial = numbered(arrays_of(name), "initial")
    assert [w.shape for w in model.get_weights()] == [w.shape for w in initial]
