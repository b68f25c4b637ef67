"""Every loss against its formula: values, gradients, and training with and without weights."""

from __future__ import annotations

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from parity.cases import CHECKPOINTS, LOSSES
from parity.comparing import assert_close, assert_weights, golden, numbered

ACTIVATION = {
    "real": "linear",
    "positive": "softplus",
    "sign": "tanh",
    "onehot": "softmax",
    "sparse": "softmax",
    "distribution": "softmax",
    "binary": "sigmoid",
}
VARIANTS = [
    (name, variant)
    for name in LOSSES
    for variant in ("plain", "sample", "class")
    if f"{variant}/loss" in golden("losses", name)
]


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradient(name):
    arrays = golden("losses", name)
    t, p = K.placeholder(shape=arrays["t"].shape), K.placeholder(shape=arrays["p"].shape)
    each = getattr(keras.losses, name)(t, p)
    function = K.function([t, p], [each, *K.gradients(K.mean(each), [p])])
    values, gradient = function([arrays["t"], arrays["p"]])
    assert_close(values, arrays["each"], "loss")
    assert_close(gradient, arrays["dp"], "gradient")


def dense(name: str, sample_weight_mode=None):
    arrays = golden("losses", name)
    activation = ACTIVATION[LOSSES[name]] if name in LOSSES else "linear"
    model = keras.models.Sequential()
    model.add(
        keras.layers.Dense(
            arrays["w1"].size, activation=activation, input_shape=arrays["x"].shape[1:]
        )
    )
    model.set_weights(numbered(arrays, "w"))
    model.compile(
        keras.optimizers.SGD(lr=float(arrays["rate"])),
        name if name in LOSSES else "mse",
        sample_weight_mode=sample_weight_mode,
    )
    return model, arrays


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_training(name, variant):
    model, arrays = dense(name)
    x, t = arrays["x"], arrays["t"]
    arguments = {}
    if variant == "sample":
        arguments["sample_weight"] = arrays["sample_weights"]
    elif variant == "class":
        arguments["class_weight"] = dict(enumerate(arrays["class_weights"].tolist()))
    for step in range(1, CHECKPOINTS[-1] + 1):
        loss = model.train_on_batch(x, t, **arguments)
        if step == 1:
            assert_close(loss, arrays[f"{variant}/loss"], "loss of the first batch")
        if step in CHECKPOINTS:
            assert_weights(model, arrays, step, f"{variant}/")


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_fit_reports_the_weighted_loss(name, variant):
    model, arrays = dense(name)
    arguments = {}
    if variant == "sample":
        arguments["sample_weight"] = arrays["sample_weights"]
    elif variant == "class":
        arguments["class_weight"] = dict(enumerate(arrays["class_weights"].tolist()))
    x, t = arrays["x"], arrays["t"]
    history = model.fit(x, t, batch_size=len(x), epochs=1, shuffle=False, verbose=0, **arguments)
    assert_close(history.history["loss"][0], arrays[f"{variant}/loss"], "loss of the epoch")
    assert_weights(model, arrays, 1, f"{variant}/")


@pytest.mark.parametrize("variant", ["plain", "sample"])
@pytest.mark.parametrize("name", LOSSES)
def test_evaluate(name, variant):
    model, arrays = dense(name)
    weights = arrays["sample_weights"] if variant == "sample" else None
    value = model.evaluate(arrays["x"], arrays["t"], sample_weight=weights, verbose=0)
    assert_close(value, arrays[f"{variant}/loss"], "evaluated loss")


def test_temporal_sample_weights():
    model, arrays = dense("temporal", sample_weight_mode="temporal")
    x, t, weights = arrays["x"], arrays["t"], arrays["weights"]
    value = model.test_on_batch(x, t, sample_weight=weights)
    assert_close(value, arrays["loss"], "loss")
    for step in range(1, CHECKPOINTS[-1] + 1):
        model.train_on_batch(x, t, sample_weight=weights)
        if step in CHECKPOINTS:
            assert_weights(model, arrays, step)


def test_class_weights_need_every_class():
    model, arrays = dense("categorical_crossentropy")
    before = model.get_weights()
    with pytest.raises(ValueError, match="class"):
        model.fit(arrays["x"], arrays["t"], class_weight={0: 1.0}, epochs=1, verbose=0)
    for a, b in zip(model.get_weights(), before, strict=True):
        assert np.array_equal(a, b)
