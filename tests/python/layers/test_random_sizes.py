"""Layers of random sizes in float32, whose kernels have many paths, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from python.layers.checking import float64, function_of

from hornbeam import backend as K  # noqa: N812
from hornbeam import layers

DRAWS = 5
Drawn = tuple[dict[str, Any], tuple[int, ...]]


class Draw:
    """Random arguments."""

    def __init__(self, *seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def size(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def one(self, *values: Any) -> Any:
        return values[self.size(0, len(values) - 1)]


def recurrent(d: Draw) -> Drawn:
    arguments = {
        "units": d.size(1, 70),
        "return_sequences": d.one(True, False),
        "go_backwards": d.one(True, False),
        "use_bias": d.one(True, False),
    }
    return arguments, (d.size(1, 25), d.size(1, 40))


def gated(d: Draw) -> Drawn:
    arguments, shape = recurrent(d)
    return {**arguments, "recurrent_activation": d.one("sigmoid", "hard_sigmoid")}, shape


def gru(d: Draw) -> Drawn:
    arguments, shape = gated(d)
    return {**arguments, "reset_after": d.one(True, False)}, shape


def conv1d(d: Draw) -> Drawn:
    strides = d.size(1, 3)
    arguments = {
        "filters": d.size(1, 60),
        "kernel_size": d.size(1, 7),
        "strides": strides,
        "dilation_rate": d.size(1, 4) if strides == 1 else 1,
        "padding": d.one("same", "valid", "causal"),
    }
    return arguments, (d.size(26, 80), d.size(1, 40))


def conv2d(d: Draw) -> Drawn:
    groups, strides = d.one(1, 1, 2), d.size(1, 3)
    data_format = d.one("channels_last", "channels_first")
    arguments = {
        "filters": groups * d.size(1, 40),
        "kernel_size": d.one(3, (d.size(1, 5), d.size(1, 4))),
        "strides": strides,
        "dilation_rate": d.size(1, 3) if strides == 1 else 1,
        "padding": d.one("same", "valid"),
        "data_format": data_format,
        "activation": d.one("linear", "tanh"),
        "groups": groups,
    }
    channels, image = groups * d.size(1, 40), (d.size(13, 24), d.size(13, 24))
    last = data_format == "channels_last"
    return arguments, (*image, channels) if last else (channels, *image)


def wide(d: Draw) -> Drawn:
    """Three by three over many channels, which has an algorithm of its own."""
    arguments = {"filters": d.size(16, 48), "kernel_size": 3, "padding": d.one("same", "valid")}
    return arguments, (d.size(5, 20), d.size(5, 20), d.size(16, 48))


def conv3d(d: Draw) -> Drawn:
    window = (d.size(1, 3), d.size(1, 3), d.size(1, 3))
    arguments = {
        "filters": d.size(1, 20),
        "kernel_size": window,
        "strides": d.size(1, 2),
        "padding": d.one("same", "valid"),
    }
    return arguments, (*(d.size(4, 9) for _ in window), d.size(1, 17))


def images(d: Draw) -> Drawn:
    arguments = {
        "filters": d.size(1, 30),
        "kernel_size": (d.size(1, 4), d.size(1, 4)),
        "strides": d.size(1, 2),
        "padding": d.one("same", "valid"),
    }
    return arguments, (d.size(8, 16), d.size(8, 16), d.size(1, 33))


def pooling(d: Draw) -> Drawn:
    arguments = {
        "pool_size": (d.size(1, 4), d.size(1, 4)),
        "strides": d.size(1, 3),
        "padding": d.one("same", "valid"),
        "data_format": d.one("channels_last", "channels_first"),
    }
    return arguments, (d.size(8, 30), d.size(8, 30), d.size(8, 40))


def dense(d: Draw) -> Drawn:
    arguments = {"units": d.size(1, 200), "activation": d.one("softmax", "tanh", "elu", "linear")}
    return arguments, d.one((d.size(1, 300),), (d.size(1, 20), d.size(1, 100)))


def normalization(d: Draw) -> Drawn:
    return {"axis": d.one(-1, 1)}, d.one((d.size(2, 300),), (d.size(2, 9), 5, d.size(2, 70)))


def conv_lstm(d: Draw) -> Drawn:
    arguments = {
        "filters": d.size(1, 17),
        "kernel_size": (d.size(1, 3), d.size(1, 3)),
        "padding": d.one("same", "valid"),
        "return_sequences": d.one(True, False),
    }
    return arguments, (d.size(1, 5), d.size(5, 12), d.size(5, 12), d.size(1, 9))


LAYERS = [
    (layers.SimpleRNN, recurrent),
    (layers.GRU, gru),
    (layers.LSTM, gated),
    (layers.Conv1D, conv1d),
    (layers.Conv2D, conv2d),
    (layers.Conv2D, wide),
    (layers.Conv2DTranspose, images),
    (layers.SeparableConv2D, images),
    (layers.Conv3D, conv3d),
    (layers.MaxPooling2D, pooling),
    (layers.AveragePooling2D, pooling),
    (layers.Dense, dense),
    (layers.BatchNormalization, normalization),
    (layers.LayerNormalization, normalization),
    (layers.ConvLSTM2D, conv_lstm),
]


def results(cls, arguments, x, weights, cotangent, masked):
    """Outputs and gradients of the training phase, in the configured type."""
    inputs = layers.Input(shape=x.shape[1:])
    layer = cls(**arguments)
    y = layer(layers.Masking()(inputs) if masked else inputs)
    layer.set_weights(weights(layer))
    if cotangent is None:
        return function_of([inputs], [y])([x], True)
    weighting = K.placeholder(shape=cotangent.shape)
    gradients = K.gradients(K.sum(y * weighting), [inputs, *layer.trainable_weights])
    return function_of([inputs, weighting], [y, *gradients])([x, cotangent], True)


@pytest.mark.parametrize("draw", range(DRAWS))
@pytest.mark.parametrize(("cls", "arguments"), LAYERS, ids=lambda v: getattr(v, "__name__", None))
def test_float32_agrees_with_float64(cls, arguments, draw):
    d = Draw(draw, LAYERS.index((cls, arguments)))
    config, shape = arguments(d)
    x = d.random.normal(size=(d.size(2, 40), *shape)).astype("float32")
    masked = len(shape) == 2 and arguments in (recurrent, gated, gru) and d.one(True, False)
    if masked:
        x[d.random.random(x.shape[:2]) < 0.3] = 0
    drawn: list[np.ndarray] = []

    def weights(layer):
        for w in layer.weights[len(drawn) :]:
            shape = K.int_shape(w)
            fan = max(1, int(np.prod(shape[:-1]))) if len(shape) > 1 else 1
            value = d.random.normal(size=shape) / np.sqrt(fan)
            value = np.abs(value) + 0.3 if "variance" in w.name else value
            drawn.append(value.astype("float32"))
        return drawn

    (y,) = results(cls, config, x, weights, None, masked)
    cotangent = d.random.normal(size=y.shape).astype("float32")
    found = results(cls, config, x, weights, cotangent, masked)
    with float64():
        expected = results(cls, config, x, weights, cotangent, masked)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        allowed = 3e-5 * max(1e-3, float(np.abs(b).max(initial=0.0)))
        assert np.abs(a - b).max(initial=0.0) <= allowed, f"result {i} of {config} on {x.shape}"
