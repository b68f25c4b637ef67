"""Whole models and weights that a real Keras 3 wrote (see make_keras3_files.py)."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hornbeam.models import load_model, model_from_json

FOLDER = Path(__file__).parent / "golden" / "keras3"
NAMES = ["recurrent", "convolutional", "sequences"]


def arrays(name, prefix):
    with np.load(FOLDER / f"{name}.npz") as f:
        found = [f[key] for key in sorted(f.files) if key.startswith(prefix)]
    return found if len(found) > 1 else found[0]


def as_lists(x):
    return x if isinstance(x, list) else [x]


@pytest.mark.parametrize("name", NAMES)
def test_predictions(name):
    model = load_model(str(FOLDER / f"{name}.keras"))
    found = as_lists(model.predict(arrays(name, "x_")))
    for a, b in zip(found, as_lists(arrays(name, "before_")), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_training_goes_on_as_it_did(name):
    """The optimizer's state, its formula, the losses and the moving statistics are Keras 3's."""
    model = load_model(str(FOLDER / f"{name}.keras"))
    x, y = arrays(name, "x_"), arrays(name, "y_")
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    found = as_lists(model.predict(x))
    before, after = as_lists(arrays(name, "before_")), as_lists(arrays(name, "after_"))
    for a, b, c in zip(found, after, before, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-4)
        assert np.abs(b - c).max() > 100 * np.abs(a - b).max()


@pytest.mark.parametrize("name", NAMES)
def test_weights_alone(name, tmp_path):
    """`.weights.h5`, into an architecture from the JSON text."""
    with zipfile.ZipFile(FOLDER / f"{name}.keras") as f:
        model = model_from_json(f.read("config.json").decode())
        path = f.extract("model.weights.h5", tmp_path)
    model.load_weights(path)
    found = as_lists(model.predict(arrays(name, "x_")))
    for a, b in zip(found, as_lists(arrays(name, "before_")), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


def test_weights_that_keras_3_saved_by_themselves():
    model = load_model(str(FOLDER / "recurrent.keras"), compile=False)
    expected = model.get_weights()
    model.set_weights([w * 0 for w in expected])
    model.load_weights(str(FOLDER / "recurrent.weights.h5"))
    for a, b in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_by_name():
    model = load_model(str(FOLDER / "recurrent.keras"), compile=False)
    expected = model.get_layer("gru").get_weights()
    model.get_layer("gru").set_weights([w * 0 for w in expected])
    model.load_weights(str(FOLDER / "recurrent.weights.h5"), by_name=True)
    for a, b in zip(model.get_layer("gru").get_weights(), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_keras_3s_meanings_are_read():
    model = load_model(str(FOLDER / "recurrent.keras"))
    gru = model.get_layer("gru")
    assert gru.reset_after
    assert not gru.zero_output_for_mask
    assert model.get_layer("bidirectional").forward_layer.zero_output_for_mask
    assert gru.recurrent_activation.__name__ == "hard_sigmoid_relu6"
    assert model.get_layer("inner").layers[0].activation.__name__ == "gelu"
    images = load_model(str(FOLDER / "convolutional.keras"))
    assert images.optimizer.epsilon_inside
    assert images.optimizer.get_config()["momentum"] == 0.9
    assert images.metrics_names == ["loss", "acc"]


def test_a_file_that_lacks_a_part(tmp_path):
    path = tmp_path / "broken.keras"
    with zipfile.ZipFile(path, "w") as f:
        f.writestr("config.json", json.dumps({}))
    with pytest.raises(ValueError, match=r"lacks \['model.weights.h5'\]"):
        load_model(str(path))
