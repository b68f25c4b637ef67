"""Metrics against their formulas, as functions and as `evaluate` reports them."""

from __future__ import annotations

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from parity.cases import METRICS
from parity.comparing import assert_close, golden

VALUES = [
    (name, key) for name in METRICS for key in golden("metrics", name) if key.startswith("value")
]


@pytest.mark.parametrize(("name", "key"), VALUES)
def test_function(name, key):
    arrays = golden("metrics", name)
    arguments = {"k": int(key.partition("@")[2])} if "@" in key else {}
    t, p = K.variable(arrays["t"]), K.variable(arrays["p"])
    result = K.eval(getattr(keras.metrics, name)(t, p, **arguments))
    assert_close(np.mean(result), arrays[key], name)


def identity(features: int):
    model = keras.models.Sequential()
    model.add(keras.layers.Activation("linear", input_shape=(features,)))
    return model


@pytest.mark.parametrize("name", METRICS)
def test_evaluate(name):
    arrays = golden("metrics", name)
    model = identity(arrays["p"].shape[1])
    loss = "sparse_categorical_crossentropy" if name.startswith("sparse") else "mse"
    model.compile("sgd", loss, metrics=[name])
    # The batch size divides the samples: a metric is the mean of its batches.
    values = model.evaluate(arrays["p"], arrays["t"], batch_size=8, verbose=0)
    assert model.metrics_names == ["loss", name]
    assert_close(values[1], arrays["value@5" if "top_k" in name else "value"], name)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("binary_accuracy", "binary_crossentropy"),
        ("categorical_accuracy", "categorical_crossentropy"),
        ("sparse_categorical_accuracy", "sparse_categorical_crossentropy"),
    ],
)
def test_accuracy_follows_the_loss(name, loss):
    arrays = golden("metrics", name)
    model = identity(arrays["p"].shape[1])
    model.compile("sgd", loss, metrics=["accuracy"])
    values = model.evaluate(arrays["p"], arrays["t"], batch_size=40, verbose=0)
    assert model.metrics_names == ["loss", "acc"]
    assert_close(values[1], arrays["value"], name)
