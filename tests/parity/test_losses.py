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


def sequence_data(name):
    """Targets (samples, steps, ...) and inputs of which some steps are zero."""
    arrays = golden("losses", name)
    random = np.random.default_rng(list(name.encode()))
    t = np.stack([random.permutation(arrays["t"]) for _ in range(4)], 1)
    x = random.normal(size=(len(t), 4, 5))
    x[random.random(x.shape[:2]) < 0.3] = 0
    return x, t, random


@pytest.mark.parametrize("mode", [None, "sample", "temporal"])
@pytest.mark.parametrize("name", LOSSES)
def test_masks_and_sample_weights(name, mode):
    """Each divides by the fraction that is left: of steps for masks, of weights that are not 0."""
    x, t, random = sequence_data(name)
    arrays = golden("losses", name)
    inputs = keras.layers.Input(shape=x.shape[1:])
    dense = keras.layers.Dense(arrays["w1"].size, activation=ACTIVATION[LOSSES[name]])
    model = keras.models.Model(inputs, dense(keras.layers.Masking()(inputs)))
    model.set_weights(numbered(arrays, "w"))
    temporal = "temporal" if mode == "temporal" else None
    model.compile("sgd", name, sample_weight_mode=temporal)
    scores = K.eval(
        getattr(keras.losses, name)(K.constant(t), K.constant(model.predict(x)))
    ).astype("float64")
    mask = (x != 0).any(-1)
    scores = scores * mask / mask.mean()
    weights = None
    if mode is not None:
        shape = mask.shape if mode == "temporal" else len(x)
        weights = random.uniform(0.5, 2, shape) * (random.random(shape) < 0.7)
        weighted = scores if mode == "temporal" else scores.mean(1)
        scores = weighted * weights / (weights != 0).mean()
    found = model.test_on_batch(x, t, sample_weight=weights)
    assert_close(found, scores.mean(), "loss")
    assert_close(model.train_on_batch(x, t, sample_weight=weights), scores.mean(), "loss")
