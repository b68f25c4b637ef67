"""Architectures and weights that Keras 2.0.5 itself wrote give its predictions.

The files lie outside the repository: $HORNBEAM_SHARED names their folder (default: `shared` beside
the checkout).
"""

from __future__ import annotations

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
#: After five steps of training: what Keras 2.0.5 itself repeats to from run to run.
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 1e-3, 6e-3

pytestmark = pytest.mark.skipif(
    not FILES.is_dir(),
    reason=f"{FILES} is not here: set HORNBEAM_SHARED to the folder above golden/",
)
NAMES = sorted(path.stem for path in FILES.glob("*.json")) or ["none"]


def load(name):
    return keras.models.model_from_json((FILES / f"{name}.json").read_text())


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


@pytest.mark.parametrize("name", NAMES)
def test_whole_model(name):
    assert_predicts(keras.models.load_model(str(FILES / f"{name}.h5")), arrays_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_training_goes_on(name):
    """With the state of the optimizer, as with the model that Keras 2.0.5 loads from the file."""
    arrays = arrays_of(name)
    model = keras.models.load_model(str(FILES / f"{name}.h5"))
    xs, ys = numbered(arrays, "x"), numbered(arrays, "y")
    losses = []
    for _ in range(len(arrays["losses"])):
        losses.append(np.ravel(model.train_on_batch(xs, ys))[0])
        model.reset_states()
    np.testing.assert_allclose(losses, arrays["losses"], rtol=0, atol=LOSS_TOLERANCE)
    for actual, wanted in zip(model.get_weights(), numbered(arrays, "final"), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=WEIGHT_TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read(name, tmp_path):
    arrays = arrays_of(name)
    model = keras.models.load_model(str(FILES / f"{name}.h5"))
    model.save(str(tmp_path / "again.h5"))
    copy = keras.models.load_model(str(tmp_path / "again.h5"))
    assert_predicts(copy, arrays)
    for a, b in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
