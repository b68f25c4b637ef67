"""Activation layers, noise and locally connected layers."""

from __future__ import annotations

import numpy as np
import pytest
from python.layers import references as ref
from python.layers.checking import function_of, layer_test

from hornbeam import backend as K  # noqa: N812
from hornbeam import layers

# Advanced activations.


def test_leaky_relu():
    layer_test(layers.LeakyReLU, {}, (3, 4), lambda x: np.where(x > 0, x, 0.3 * x))
    layer_test(layers.LeakyReLU, {"alpha": 0.1}, (3, 4), lambda x: np.where(x > 0, x, 0.1 * x))
    assert layers.LeakyReLU(negative_slope=0.2).alpha == 0.2


@pytest.mark.parametrize(
    ("shape", "shared", "alpha"),
    [
        ((4,), None, (4,)),
        ((3, 4), None, (3, 4)),
        ((3, 4, 2), [1, 2], (1, 1, 2)),
        ((3, 4), 1, (1, 4)),
    ],
)
def test_prelu(shape, shared, alpha):
    layer = layer_test(
        layers.PReLU,
        {"shared_axes": shared, "alpha_initializer": "ones", "alpha_regularizer": "l2"},
        shape,
        lambda x, a: np.where(x > 0, x, a * x),
    )
    assert K.int_shape(layer.alpha) == alpha
    assert (layers.PReLU().alpha_initializer((2,)) == 0).all()


def test_elu():
    layer_test(layers.ELU, {}, (3, 4), lambda x: np.where(x > 0, x, np.expm1(x)))
    layer_test(layers.ELU, {"alpha": 0.5}, (3, 4), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x)))


def test_thresholded_relu():
    layer_test(layers.ThresholdedReLU, {"theta": 0.5}, (3, 4), lambda x: x * (x > 0.5))
    x = layers.Input(shape=(2,))
    y = K.function([x], [layers.ThresholdedReLU()(x)])([[[1.0, 1.5]]])[0]
    assert (y == [[0.0, 1.5]]).all()


def test_relu():
    layer_test(layers.ReLU, {}, (3, 4), lambda x: np.maximum(x, 0))
    layer_test(
        layers.ReLU,
        {"max_value": 0.6, "negative_slope": 0.1, "threshold": 0.3},
        (3, 4),
        lambda x: np.where(x >= 0.3, np.minimum(x, 0.6), 0.1 * (x - 0.3)),
    )
    layer_test(
        layers.ReLU,
        {"max_value": 0.6, "negative_slope": 0.1},
        (3, 4),
        lambda x: np.where(x > 0, np.minimum(x, 0.6), 0.1 * x),
    )


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_softmax(axis):
    def expected(x):
        e = np.exp(x)
        return e / e.sum(axis, keepdims=True)

    layer_test(layers.Softmax, {"axis": axis}, (3, 4), expected)


# Noise.


def run(layer, x, training):
    inputs = layers.Input(shape=x.shape[1:])
    return function_of([inputs], [layer(inputs)])([x], training)[0].astype("float64")


X = np.full((60, 500), 2.0)


@pytest.mark.parametrize(
    ("layer", "mean", "stddev"),
    [
        (layers.GaussianNoise(0.5), 2.0, 0.5),
        (layers.GaussianDropout(0.2), 2.0, 2.0 * np.sqrt(0.25)),
    ],
)
def test_gaussian(layer, mean, stddev):
    assert (run(layer, X, False) == X).all()
    y = run(layer, X, True)
    assert abs(y.mean() - mean) < 5 * stddev / np.sqrt(y.size)
    assert abs(y.std() - stddev) < 5 * stddev / np.sqrt(y.size)
    # A normal distribution has 68.3 % within one standard deviation.
    assert abs((np.abs(y - mean) < stddev).mean() - 0.6827) < 0.01
    assert (y[0] != y[1]).any()


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.RandomState(1).randn(60, 500)
    layer = layers.AlphaDropout(0.3)
    np.testing.assert_allclose(run(layer, x, False), x, rtol=1e-6)
    y = run(layer, x, True)
    assert abs(y.mean()) < 0.05
    assert abs(y.std() - 1) < 0.05
    values, counts = np.unique(y.round(5), return_counts=True)
    limit = -1.6732632423543772 * 1.0507009873554805
    a = (0.7 * (1 + 0.3 * limit**2)) ** -0.5
    dropped = a * limit - a * limit * 0.3
    np.testing.assert_allclose(values[counts.argmax()], dropped, atol=2e-5)
    assert abs(counts.max() / y.size - 0.3) < 0.02
    np.testing.assert_allclose(
        y[np.abs(y - dropped) > 1e-4],
        (a * x - a * limit * 0.3)[np.abs(y - dropped) > 1e-4],
        rtol=1e-4,
        atol=1e-5,
    )


def test_alpha_dropout_noise_shape():
    y = run(layers.AlphaDropout(0.3, noise_shape=(None, 1)), X, True)
    assert (y == y[:, :1]).all()
    assert len(np.unique(y.round(5))) == 2


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (layers.GaussianNoise, {"stddev": 0.3}),
        (layers.GaussianDropout, {"rate": 0.3}),
        (layers.GaussianDropout, {"rate": 0.0}),
        (layers.AlphaDropout, {"rate": 0.3, "seed": 5}),
        (layers.AlphaDropout, {"rate": 0.3, "noise_shape": (None, 1)}),
    ],
)
def test_noise_through_the_checks(cls, arguments):
    layer_test(cls, arguments, (5,), lambda x: x)
    layer_test(cls, {"seed": 3, **arguments}, (5,), training=True)


def test_noise_seed():
    def draw(seed):
        return run(layers.GaussianNoise(0.5, seed=seed), X, True)

    assert (draw(1) == draw(1)).all()
    assert (draw(1) != draw(2)).any()


# Locally connected.


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("use_bias", [True, False])
def test_locally_connected1d(strides, use_bias):
    layer = layer_test(
        layers.LocallyConnected1D,
        {"filters": 3, "kernel_size": 3, "strides": strides, "use_bias": use_bias},
        (7, 2),
        lambda x, w, b=0.0: ref.local(x, w, (3,), (strides,)) + b,
    )
    steps = 5 if strides == 1 else 3
    assert K.int_shape(layer.kernel) == (steps, 6, 3)


@pytest.mark.parametrize("strides", [(1, 1), (2, 1)])
def test_locally_connected2d(strides):
    layer = layer_test(
        layers.LocallyConnected2D,
        {"filters": 3, "kernel_size": (2, 3), "strides": strides, "activation": "tanh"},
        (4, 5, 2),
        lambda x, w, b: np.tanh(ref.local(x, w, (2, 3), strides) + b),
    )
    rows = 3 if strides[0] == 1 else 2
    assert K.int_shape(layer.kernel) == (rows * 3, 12, 3)
    assert K.int_shape(layer.bias) == (rows, 3, 3)


def test_locally_connected2d_channels_first():
    def expected(x, w, b):
        # Within a window the channels come first, then the cells.
        w = w.reshape(len(w), 2, 6, 3).swapaxes(1, 2).reshape(len(w), 12, 3)
        y = ref.last_to_first(ref.local(ref.first_to_last(x), w, (2, 3), (1, 1)))
        # Keras reshapes the bias; it does not transpose it.
        return y + b.reshape(y.shape[1:])

    layer_test(
        layers.LocallyConnected2D,
        {"filters": 3, "kernel_size": (2, 3), "data_format": "channels_first"},
        (2, 4, 5),
        expected,
    )


def test_locally_connected_errors():
    for cls in (layers.LocallyConnected1D, layers.LocallyConnected2D):
        with pytest.raises(ValueError, match="the only `padding` is 'valid'"):
            cls(3, 3, padding="same")
    with pytest.raises(ValueError, match="axis 1 of its input must be known"):
        layers.LocallyConnected1D(3, 3)(layers.Input(shape=(None, 2)))
    with pytest.raises(ValueError, match="does not fit"):
        layers.LocallyConnected1D(3, 3)(layers.Input(shape=(2, 2)))
