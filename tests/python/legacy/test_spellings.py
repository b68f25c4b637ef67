"""Each Keras 1 spelling of the table in the shared folder, on the layers that it applies to."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from hornbeam import layers, regularizers
from hornbeam.layers import Dense, Input
from hornbeam.models import Model, Sequential

SHARED = Path(os.environ.get("HORNBEAM_SHARED", Path(__file__).parents[4] / "shared"))
TABLE = SHARED / "docs" / "keras2-api.md"
# What a layer is made from, beside the argument under test.
REQUIRED = {
    "Dense": {"units": 3},
    "Dropout": {"rate": 0.5},
    "Embedding": {"input_dim": 4, "output_dim": 3},
    "GaussianNoise": {"stddev": 0.5},
    "GaussianDropout": {"rate": 0.5},
    "SimpleRNN": {"units": 3},
    "GRU": {"units": 3},
    "LSTM": {"units": 3},
    "Conv1D": {"filters": 3, "kernel_size": 2},
    "LocallyConnected1D": {"filters": 3, "kernel_size": 2},
    "Conv2D": {"filters": 3, "kernel_size": (2, 2)},
    "LocallyConnected2D": {"filters": 3, "kernel_size": (2, 2)},
    "SeparableConv2D": {"filters": 3, "kernel_size": (2, 2)},
    "Conv2DTranspose": {"filters": 3, "kernel_size": (2, 2)},
    "Conv3D": {"filters": 3, "kernel_size": (2, 2, 2)},
    "ConvLSTM2D": {"filters": 3, "kernel_size": (2, 2)},
    "SpatialDropout1D": {"rate": 0.5},
    "SpatialDropout2D": {"rate": 0.5},
    "SpatialDropout3D": {"rate": 0.5},
}
PENALTY = regularizers.l1_l2(0.25, 0.5)
ABSTRACT = {
    "_GlobalPooling2D": ["GlobalMaxPooling2D", "GlobalAveragePooling2D"],
    "_GlobalPooling3D": ["GlobalMaxPooling3D", "GlobalAveragePooling3D"],
}


def sample(new, cls):
    """Return a value for an argument, and what the configuration then holds."""
    if new.endswith("_initializer"):
        return "ones", lambda found: found["class_name"] == "Ones"
    if new.endswith("_regularizer"):
        return PENALTY, lambda found: found["config"]["l1"] == 0.25
    if new.endswith("_constraint"):
        return "nonneg", lambda found: found["class_name"] == "NonNeg"
    if new == "data_format":
        return "th", lambda found: found == "channels_first"
    if new == "implementation":
        return "gpu", lambda found: found == 2
    if new == "padding":
        return (
            "valid" if cls.startswith("Locally") else "same"
        ), lambda found: found in ("valid" if cls.startswith("Locally") else "same",)
    if new in ("use_bias", "activation", "recurrent_activation"):
        value = False if new == "use_bias" else "relu"
        return value, lambda found: found == value
    if new in ("rate", "stddev", "dropout", "recurrent_dropout"):
        return 0.25, lambda found: found == 0.25
    size = 2
    return size, lambda found: set(np.ravel(found)) == {size}


def read_cases():
    if not TABLE.exists():
        return []
    section = TABLE.read_text(encoding="utf-8").split("## Keras-1 spellings")[1]
    cases = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| legacy_") or "->" not in cells[2]:
            continue
        for name in cells[1].split(", "):
            for cls in ABSTRACT.get(name, [name]):
                pairs = re.findall(r"(\w+) -> (\w+)", cells[2])
                # A layer without gates has none of their activation.
                cases += [
                    (cls, old, new)
                    for old, new in pairs
                    if hasattr(layers, cls) and (cls, old) != ("SimpleRNN", "inner_activation")
                ]
    return cases


CASES = read_cases()
needs_table = pytest.mark.skipif(not CASES, reason=f"the table of Keras' API is not at {TABLE}")


@needs_table
def test_the_table_was_read():
    assert len(CASES) > 150
    assert len({cls for cls, _, _ in CASES}) > 35


@needs_table
@pytest.mark.parametrize(("cls", "old", "new"), [c for c in CASES if c[0] != "InputLayer"])
def test_spelling(cls, old, new):
    value, holds = sample(new, cls)
    given = {key: v for key, v in REQUIRED.get(cls, {}).items() if key != new}
    with pytest.warns(UserWarning, match=rf"Keras 2 API.*{new}") as caught:
        layer = getattr(layers, cls)(**given, **{old: value})
    assert len(caught) == 1
    assert holds(layer.get_config()[new])


def test_input_dtype():
    with pytest.warns(UserWarning, match="dtype"):
        layer = layers.InputLayer((3,), input_dtype="int32")
    assert layer.dtype == "int32"


def test_input_and_output_of_a_model():
    a = Input((3,))
    b = Dense(2)(a)
    with pytest.warns(UserWarning, match="inputs=.*outputs="):
        model = Model(input=a, output=b)
    assert model.inputs == [a]


def test_arguments_of_generator_methods():
    def batches():
        while True:
            yield np.zeros((2, 3)), np.zeros((2, 1))

    model = Sequential([Dense(1, input_shape=(3,))])
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning) as caught:
        history = model.fit_generator(
            batches(),
            samples_per_epoch=2,
            nb_epoch=2,
            validation_data=batches(),
            nb_val_samples=1,
            nb_worker=1,
            verbose=0,
        )
    said = [str(warning.message) for warning in caught]
    assert any("taken over unchanged" in text for text in said)
    assert any("epochs=2" in text and "validation_steps=1" in text for text in said)
    assert len(history.epoch) == 2
    with pytest.warns(UserWarning, match="steps=2"):
        model.evaluate_generator(batches(), val_samples=2)
    with pytest.warns(UserWarning, match="steps=2"):
        assert model.predict_generator(batches(), val_samples=2).shape == (4, 1)
