"""Batch normalisation: both phases, updates, freezing, axes."""

from __future__ import annotations

import numpy as np
import pytest
from python.layers.checking import layer_test

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam import layers

X = np.random.RandomState(3).randn(8, 5) * 2 + 3


def vector(v, x, axis):
    return v.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


def inference(axis=-1, epsilon=1e-3):
    def expected(x, gamma, beta, mean, variance):
        gamma, beta, mean, variance = (vector(v, x, axis) for v in (gamma, beta, mean, variance))
        return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta

    return expected


def training(axis=-1, epsilon=1e-3):
    def expected(x, gamma, beta, mean, variance):
        axes = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
        mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        normed = (x - mean) / np.sqrt(variance + epsilon)
        return vector(gamma, x, axis) * normed + vector(beta, x, axis)

    return expected


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((5,), -1), ((4, 3), -1), ((4, 3), 1), ((3, 4, 2), 1), ((3, 4, 2), -2), ((2, 3, 2, 2), 4)],
)
def test_values(shape, axis):
    arguments = {"axis": axis, "epsilon": 0.01, "momentum": 0.8}
    layer_test(layers.BatchNormalization, arguments, shape, inference(axis, 0.01))
    layer_test(
        layers.BatchNormalization,
        arguments,
        shape,
        training(axis, 0.01),
        training=True,
        tolerance=1e-4,
    )


def test_without_scale_or_shift():
    layer_test(
        layers.BatchNormalization,
        {"scale": False},
        (5,),
        lambda x, beta, mean, variance: (x - mean) / np.sqrt(variance + 1e-3) + beta,
    )
    layer_test(
        layers.BatchNormalization,
        {"center": False, "gamma_regularizer": "l2", "gamma_constraint": "non_neg"},
        (5,),
        lambda x, gamma, mean, variance: gamma * (x - mean) / np.sqrt(variance + 1e-3),
    )
    layer = layers.BatchNormalization(scale=False, center=False)
    layer.build((None, 5))
    assert len(layer.weights) == 2
    assert layer.trainable_weights == []


def trained(layer, x, epochs=1):
    model = keras.models.Sequential([layer])
    model.compile(keras.optimizers.SGD(lr=0.0), "mse")
    model.fit(x, x, batch_size=len(x), epochs=epochs, verbose=0)
    return model


def test_moving_statistics():
    layer = layers.BatchNormalization(momentum=0.7, input_shape=(5,))
    trained(layer, X, epochs=3)
    mean, variance = np.zeros(5), np.ones(5)
    for _ in range(3):
        mean = 0.7 * mean + 0.3 * X.mean(0)
        variance = 0.7 * variance + 0.3 * X.var(0)
    found = layer.get_weights()
    np.testing.assert_allclose(found[2], mean, rtol=1e-5)
    np.testing.assert_allclose(found[3], variance, rtol=1e-5)


def test_prediction_and_evaluation_do_not_update():
    layer = layers.BatchNormalization(input_shape=(5,))
    model = trained(layer, X)
    before = layer.get_weights()
    model.predict(X)
    model.evaluate(X, X, verbose=0)
    for a, b in zip(layer.get_weights(), before, strict=True):
        assert (a == b).all()


def test_converges_to_the_statistics_of_the_data():
    layer = layers.BatchNormalization(momentum=0.5, input_shape=(5,))
    model = trained(layer, X, epochs=30)
    y = model.predict(X)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(y.std(0), 1, atol=1e-2)


def test_phase_can_be_fixed():
    x = layers.Input(shape=(5,))
    layer = layers.BatchNormalization()
    fixed = layer(x, training=False)
    assert layer.updates == []
    assert not fixed.uses_learning_phase
    always = layer(x, training=True)
    assert len(layer.get_updates_for(x)) == 2
    test, train = K.function([x], [fixed, always])([X])
    np.testing.assert_allclose(test, X / np.sqrt(1.001), rtol=1e-5)
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-5)


def test_shared_layer_gives_each_model_its_own_updates():
    layer = layers.BatchNormalization()
    a, b = layers.Input(shape=(5,)), layers.Input(shape=(5,))
    first = keras.models.Model(a, layer(a))
    second = keras.models.Model(b, layer(b))
    assert len(layer.updates) == 4
    assert len(first.updates) == 2
    assert len(second.updates) == 2
    assert not any(u is v for u in first.updates for v in second.updates)


def test_freezing_uses_the_moving_statistics_and_keeps_them():
    layer = layers.BatchNormalization(input_shape=(5,))
    model = trained(layer, X)
    layer.trainable = False
    model.compile(keras.optimizers.SGD(lr=0.1), "mse")
    before = layer.get_weights()
    frozen = model.predict(X)
    loss = model.train_on_batch(X, X)
    for a, b in zip(layer.get_weights(), before, strict=True):
        assert (a == b).all()
    np.testing.assert_allclose(loss, ((frozen - X) ** 2).mean(), rtol=1e-5)
    layer.trainable = True
    model.compile(keras.optimizers.SGD(lr=0.1), "mse")
    model.train_on_batch(X, X)
    assert all((a != b).any() for a, b in zip(layer.get_weights(), before, strict=True))


def test_mask_passes_and_changes_nothing():
    x = np.random.RandomState(1).randn(3, 4, 2)
    x[:, 2:] = 0
    inputs = layers.Input(shape=(4, 2))
    layer = layers.BatchNormalization()
    y = layer(layers.Masking()(inputs), training=True)
    out, mask = K.function([inputs], [y, layer.output_mask])([x])
    assert (mask == [[1, 1, 0, 0]] * 3).all()
    expected = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-3)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_config():
    layer = layers.BatchNormalization(name="bn")
    assert list(layer.get_config()) == [
        "name",
        "trainable",
        "axis",
        "momentum",
        "epsilon",
        "center",
        "scale",
        "beta_initializer",
        "gamma_initializer",
        "moving_mean_initializer",
        "moving_variance_initializer",
        "beta_regularizer",
        "gamma_regularizer",
        "beta_constraint",
        "gamma_constraint",
    ]
    assert layers.BatchNormalization.from_config({"axis": [3]}).axis == 3


def test_errors():
    with pytest.raises(ValueError, match="no axis 3"):
        layers.BatchNormalization(axis=3)(layers.Input(shape=(5,)))
    with pytest.raises(ValueError, match="axis 1 of its input must be known"):
        layers.BatchNormalization(axis=1)(layers.Input(shape=(None, 5)))
