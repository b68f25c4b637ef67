"""ConvLSTM2D against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from python.layers import references as ref
from python.layers.checking import layer_test, set_random_weights

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam import layers

STEPS, ROWS, COLUMNS, CHANNELS, FILTERS = 3, 4, 5, 2, 2


def conv_lstm(x, w, u, b, strides=(1, 1), padding="valid", states=None, backwards=False):
    """Return the outputs in the order of the run, and the last states."""
    images = [ref.conv(x[:, t], w, strides, padding) + b for t in range(x.shape[1])]
    zeros = np.zeros((*images[0].shape[:-1], u.shape[-2]))
    h, c = states or (zeros, zeros)
    outputs = []
    for image in images[::-1] if backwards else images:
        i, f, g, o = np.split(image + ref.conv(h, u, padding="same"), 4, axis=-1)
        c = ref.hard_sigmoid(f) * c + ref.hard_sigmoid(i) * np.tanh(g)
        h = ref.hard_sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1), [h, c]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize(("strides", "padding"), [((1, 1), "same"), ((2, 1), "valid")])
def test_values(strides, padding, sequences, data_format):
    first = data_format == "channels_first"

    def expected(x, *weights):
        x = np.moveaxis(x, 2, -1) if first else x
        y = conv_lstm(x, *weights, strides=strides, padding=padding)[0]
        y = np.moveaxis(y, -1, 2) if first else y
        return y if sequences else y[:, -1]

    image = (CHANNELS, ROWS, COLUMNS) if first else (ROWS, COLUMNS, CHANNELS)
    layer_test(
        layers.ConvLSTM2D,
        {
            "filters": FILTERS,
            "kernel_size": (3, 2),
            "strides": strides,
            "padding": padding,
            "return_sequences": sequences,
            "data_format": data_format,
        },
        (STEPS, *image),
        expected,
    )


def test_options():
    layer_test(
        layers.ConvLSTM2D,
        {"filters": FILTERS, "kernel_size": 2, "go_backwards": True, "return_state": True},
        (STEPS, ROWS, COLUMNS, CHANNELS),
        lambda x, *w: [
            conv_lstm(x, *w, backwards=True)[1][0],
            *conv_lstm(x, *w, backwards=True)[1],
        ],
    )
    layer_test(
        layers.ConvLSTM2D,
        {"filters": FILTERS, "kernel_size": 2, "use_bias": False},
        (STEPS, ROWS, COLUMNS, CHANNELS),
        lambda x, *w: conv_lstm(x, *w, np.zeros(4 * FILTERS))[1][0],
        gradients=False,
    )
    layer = layer_test(
        layers.ConvLSTM2D,
        {
            "filters": FILTERS,
            "kernel_size": 2,
            "dropout": 0.4,
            "recurrent_dropout": 0.3,
            "kernel_regularizer": "l2",
            "recurrent_regularizer": "l2",
            "bias_regularizer": "l2",
            "kernel_constraint": "max_norm",
        },
        (STEPS, ROWS, COLUMNS, CHANNELS),
        training=True,
    )
    assert len(layer.losses) == 3


@pytest.mark.parametrize("arguments", [{"unroll": True}, {"implementation": 2}])
def test_unroll_and_implementation_change_nothing(arguments):
    layer_test(
        layers.ConvLSTM2D,
        {"filters": FILTERS, "kernel_size": 2, **arguments},
        (STEPS, ROWS, COLUMNS, CHANNELS),
        lambda x, *w: conv_lstm(x, *w)[1][0],
        gradients=False,
    )


def test_stateful():
    layer = layers.ConvLSTM2D(
        FILTERS, 2, stateful=True, batch_input_shape=(2, STEPS, ROWS, COLUMNS, CHANNELS)
    )
    model = keras.models.Sequential([layer])
    weights = set_random_weights(layer)
    x = np.random.RandomState(1).randn(2, STEPS, ROWS, COLUMNS, CHANNELS)
    _, states = conv_lstm(x, *weights)
    for expected in (states[0], conv_lstm(x, *weights, states=states)[1][0]):
        np.testing.assert_allclose(model.predict(x, batch_size=2), expected, rtol=1e-5, atol=1e-5)
    layer.reset_states()
    np.testing.assert_allclose(model.predict(x, batch_size=2), states[0], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="State 0 is incompatible"):
        layer.reset_states([np.zeros((2, 3))] * 2)


def test_initial_state():
    x = layers.Input(shape=(STEPS, ROWS, COLUMNS, CHANNELS))
    start = [layers.Input(shape=(ROWS, COLUMNS, FILTERS)) for _ in range(2)]
    layer = layers.ConvLSTM2D(FILTERS, 3, padding="same")
    y = layer(x, initial_state=start)
    weights = set_random_weights(layer)
    random = np.random.RandomState(1)
    values = random.randn(2, STEPS, ROWS, COLUMNS, CHANNELS)
    states = [random.randn(2, ROWS, COLUMNS, FILTERS) for _ in start]
    expected = conv_lstm(values, *weights, padding="same", states=states)[1][0]
    found = K.function([x, *start], [y])([values, *states])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
