"""Convolutions, and the layers that resize, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from python.layers import references as ref
from python.layers.checking import layer_test

from hornbeam import backend as K  # noqa: N812
from hornbeam import layers


@pytest.fixture(params=["channels_last", "channels_first"])
def data_format(request):
    return request.param


def with_format(function, data_format):
    """Turn a reference on channels-last arrays into one on arrays of `data_format`."""
    if data_format == "channels_last":
        return function
    return lambda x, *w: ref.last_to_first(function(ref.first_to_last(x), *w))


def shaped(shape, data_format):
    return shape if data_format == "channels_last" else (shape[-1], *shape[:-1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Conv2D(3, 2, rank=2), "Conv2D.*'rank'"),
        (lambda: layers.LocallyConnected1D(3, 2, rank=1), "LocallyConnected1D.*'rank'"),
        (lambda: layers.DepthwiseConv2D(3, filters=2), "DepthwiseConv2D.*'filters'"),
        (
            lambda: layers.DepthwiseConv2D(3, kernel_constraint="non_neg"),
            "`kernel_constraint` would have no effect; use `depthwise_constraint`",
        ),
        (
            lambda: layers.SeparableConv2D(2, 3, kernel_regularizer="l2"),
            "use `depthwise_regularizer` and `pointwise_regularizer`",
        ),
        (
            lambda: layers.SeparableConv1D(2, 3, kernel_initializer="ones"),
            "use `depthwise_initializer` and `pointwise_initializer`",
        ),
        (
            lambda: layers.Conv2DTranspose(2, 3, strides=2, output_padding=(1, 2)),
            r"Conv2DTranspose.*less than the strides, got \(1, 2\)",
        ),
        (
            lambda: layers.Conv1DTranspose(2, 4, 2, "same", output_padding=0),
            "Conv1DTranspose.*window of even length 4",
        ),
        (lambda: layers.ZeroPadding1D(1, data_format="channels_first"), "'data_format'"),
        (lambda: layers.Cropping1D(1, data_format="channels_first"), "'data_format'"),
        (lambda: layers.UpSampling1D(2, data_format="channels_first"), "'data_format'"),
    ],
)
def test_an_argument_without_effect_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_defaults_that_other_releases_write_are_let_pass():
    config = layers.SeparableConv2D(2, 3).get_config()
    default = layers.Conv2D(2, 3).get_config()
    keys = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
    layer = layers.SeparableConv2D.from_config({**config, **{k: default[k] for k in keys}})
    assert layer.get_config() == config


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
def test_conv1d(kernel_size, strides, dilation, padding):
    layer_test(
        layers.Conv1D,
        {
            "filters": 3,
            "kernel_size": kernel_size,
            "strides": strides,
            "dilation_rate": dilation,
            "padding": padding,
        },
        (7, 2),
        lambda x, w, b: ref.conv(x, w, (strides,), padding, (dilation,)) + b,
    )


def test_conv1d_channels_first():
    layer = layer_test(
        layers.Conv1D,
        {"filters": 3, "kernel_size": 2, "data_format": "channels_first", "padding": "same"},
        (2, 7),
        lambda x, w, b: ref.last_to_first(ref.conv(ref.first_to_last(x), w, padding="same") + b),
    )
    assert layer.get_config()["data_format"] == "channels_first"
    assert "data_format" not in layers.Conv1D(3, 2).get_config()


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("strides", "dilation"), [((1, 1), (1, 1)), ((2, 1), (1, 1)), (1, (1, 2))])
def test_conv2d(strides, dilation, padding, data_format):
    pair = (strides, strides) if isinstance(strides, int) else strides
    layer_test(
        layers.Conv2D,
        {
            "filters": 3,
            "kernel_size": (3, 2),
            "strides": strides,
            "padding": padding,
            "data_format": data_format,
            "dilation_rate": dilation,
        },
        shaped((6, 5, 2), data_format),
        with_format(lambda x, w, b: ref.conv(x, w, pair, padding, dilation) + b, data_format),
    )


def test_conv2d_with_everything():
    layer = layer_test(
        layers.Conv2D,
        {
            "filters": 2,
            "kernel_size": 2,
            "activation": "tanh",
            "kernel_regularizer": "l2",
            "bias_regularizer": "l2",
            "activity_regularizer": "l2",
            "kernel_constraint": "unit_norm",
            "bias_constraint": "max_norm",
        },
        (4, 4, 2),
        lambda x, w, b: np.tanh(ref.conv(x, w) + b),
    )
    assert len(layer.losses) == 3
    layer_test(
        layers.Conv2D,
        {"filters": 2, "kernel_size": 2, "use_bias": False},
        (4, 4, 2),
        lambda x, w: ref.conv(x, w),
    )


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 1, 2)])
def test_conv3d(strides, padding, data_format):
    layer_test(
        layers.Conv3D,
        {
            "filters": 2,
            "kernel_size": (2, 3, 2),
            "strides": strides,
            "padding": padding,
            "data_format": data_format,
        },
        shaped((4, 4, 3, 2), data_format),
        with_format(lambda x, w, b: ref.conv(x, w, strides, padding) + b, data_format),
    )


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 1)])
def test_conv2d_transpose(strides, padding, data_format):
    layer = layer_test(
        layers.Conv2DTranspose,
        {
            "filters": 2,
            "kernel_size": (3, 2),
            "strides": strides,
            "padding": padding,
            "data_format": data_format,
        },
        shaped((3, 4, 3), data_format),
        with_format(lambda x, w, b: ref.conv_transpose(x, w, strides, padding) + b, data_format),
    )
    assert K.int_shape(layer.kernel) == (3, 2, 2, 3)


def test_conv2d_transpose_of_unknown_sizes():
    x = layers.Input(shape=(None, None, 2))
    y = layers.Conv2DTranspose(3, 2, strides=2)(x)
    assert K.int_shape(y) == (None, None, None, 3)
    assert K.function([x], [y])([np.ones((1, 4, 5, 2))])[0].shape == (1, 8, 10, 3)


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_separable_conv2d(padding, multiplier, data_format):
    layer_test(
        layers.SeparableConv2D,
        {
            "filters": 4,
            "kernel_size": (3, 2),
            "strides": 2,
            "padding": padding,
            "depth_multiplier": multiplier,
            "data_format": data_format,
        },
        shaped((5, 6, 3), data_format),
        with_format(
            lambda x, d, p, b: ref.conv(ref.depthwise(x, d, (2, 2), padding), p) + b, data_format
        ),
    )


@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
def test_separable_conv1d(padding, strides, dilation, data_format):
    def expected(x, d, p, b):
        parts = [
            ref.conv(x[..., c : c + 1], d[:, c : c + 1], (strides,), padding, (dilation,))
            for c in range(3)
        ]
        return ref.conv(np.concatenate(parts, axis=-1), p) + b

    layer_test(
        layers.SeparableConv1D,
        {
            "filters": 4,
            "kernel_size": 3,
            "strides": strides,
            "padding": padding,
            "depth_multiplier": 2,
            "dilation_rate": dilation,
            "data_format": data_format,
        },
        shaped((7, 3), data_format),
        with_format(expected, data_format),
    )


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_conv1d_transpose(strides, padding, data_format):
    layer_test(
        layers.Conv1DTranspose,
        {
            "filters": 2,
            "kernel_size": 3,
            "strides": strides,
            "padding": padding,
            "data_format": data_format,
        },
        shaped((4, 3), data_format),
        with_format(lambda x, w, b: ref.conv_transpose(x, w, (strides,), padding) + b, data_format),
    )


@pytest.mark.parametrize("rank", [1, 2])
def test_groups(rank, data_format):
    shape = (5, 6, 4)[-rank - 1 :]

    def expected(x, w, b):
        parts = [ref.conv(x[..., 2 * g : 2 * g + 2], w[..., 3 * g : 3 * g + 3]) for g in range(2)]
        return np.concatenate(parts, axis=-1) + b

    layer = layer_test(
        getattr(layers, f"Conv{rank}D"),
        {"filters": 6, "kernel_size": 2, "groups": 2, "data_format": data_format},
        shaped(shape, data_format),
        with_format(expected, data_format),
    )
    assert layer.get_config()["groups"] == 2
    assert "groups" not in layers.Conv2D(6, 2).get_config()


def test_arguments_without_use_are_refused():
    with pytest.raises(ValueError, match="`dilation_rate` must be 1"):
        layers.Conv2DTranspose(3, 3, dilation_rate=2)
    for cls in (layers.Conv1DTranspose, layers.SeparableConv1D, layers.SeparableConv2D):
        with pytest.raises(ValueError, match="`groups` must be 1"):
            cls(4, 3, groups=2)
    with pytest.raises(ValueError, match="5 filters cannot be divided into 2 groups"):
        layers.Conv2D(5, 3, groups=2)
    with pytest.raises(ValueError, match="3 input channels cannot be divided"):
        layers.Conv2D(4, 3, groups=2)(layers.Input(shape=(8, 8, 3)))


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_depthwise_conv2d(padding, multiplier, data_format):
    layer_test(
        layers.DepthwiseConv2D,
        {
            "kernel_size": (3, 2),
            "padding": padding,
            "depth_multiplier": multiplier,
            "data_format": data_format,
            "activation": "tanh",
        },
        shaped((5, 4, 3), data_format),
        with_format(lambda x, d, b: np.tanh(ref.depthwise(x, d, padding=padding) + b), data_format),
    )


def test_arguments():
    with pytest.raises(ValueError, match="cannot both be greater than 1"):
        layers.Conv2D(3, 3, strides=2, dilation_rate=2)
    with pytest.raises(ValueError, match="'causal' is for Conv1D"):
        layers.Conv2D(3, 3, padding="causal")
    with pytest.raises(ValueError, match="`filters` must be a positive integer"):
        layers.Conv2D(0, 3)
    with pytest.raises(ValueError, match="`strides` must be positive"):
        layers.Conv2D(3, 3, strides=0)
    with pytest.raises(ValueError, match="data_format"):
        layers.Conv2D(3, 3, data_format="channels_middle")
    with pytest.raises(ValueError, match="axis 3 of its input must be known"):
        layers.Conv2D(3, 3)(K.placeholder(shape=(None, 8, 8, None)))
    with pytest.raises(ValueError, match="expected ndim=4"):
        layers.Conv2D(3, 3)(layers.Input(shape=(8, 3)))


def test_aliases():
    assert layers.Convolution1D is layers.Conv1D
    assert layers.Convolution2D is layers.Conv2D
    assert layers.Convolution3D is layers.Conv3D
    assert layers.SeparableConvolution2D is layers.SeparableConv2D
    for name in ("Convolution2DTranspose", "Deconvolution2D", "Deconv2D"):
        assert getattr(layers, name) is layers.Conv2DTranspose
        assert getattr(layers.convolutional, name) is layers.Conv2DTranspose


def test_unknown_steps():
    x = layers.Input(shape=(None, 4))
    y = layers.Conv1D(3, 3, padding="causal")(x)
    assert K.int_shape(y) == (None, None, 3)
    assert layers.Conv1D(3, 3).compute_output_shape((None, None, 4)) == (None, None, 3)
    assert K.function([x], [y])([np.ones((2, 6, 4))])[0].shape == (2, 6, 3)


# Resizing.


def test_upsampling(data_format):
    layer_test(layers.UpSampling1D, {"size": 3}, (4, 2), lambda x: x.repeat(3, axis=1))
    layer_test(
        layers.UpSampling2D,
        {"size": (2, 3), "data_format": data_format},
        shaped((3, 4, 2), data_format),
        with_format(lambda x: x.repeat(2, axis=1).repeat(3, axis=2), data_format),
    )
    layer_test(
        layers.UpSampling3D,
        {"size": (2, 1, 3), "data_format": data_format},
        shaped((3, 2, 4, 2), data_format),
        with_format(lambda x: x.repeat(2, axis=1).repeat(3, axis=3), data_format),
    )
    with pytest.raises(ValueError, match="'bilinear' is not available"):
        layers.UpSampling2D(interpolation="bilinear")


@pytest.mark.parametrize(
    ("padding", "pairs"),
    [(2, ((2, 2), (2, 2))), ((1, 2), ((1, 1), (2, 2))), (((1, 0), (2, 3)),) * 2],
)
def test_zero_padding2d(padding, pairs, data_format):
    layer_test(
        layers.ZeroPadding2D,
        {"padding": padding, "data_format": data_format},
        shaped((3, 4, 2), data_format),
        with_format(lambda x: np.pad(x, [(0, 0), *pairs, (0, 0)]), data_format),
    )


def test_zero_padding(data_format):
    layer_test(layers.ZeroPadding1D, {}, (4, 2), lambda x: np.pad(x, [(0, 0), (1, 1), (0, 0)]))
    layer_test(
        layers.ZeroPadding1D,
        {"padding": (0, 3)},
        (4, 2),
        lambda x: np.pad(x, [(0, 0), (0, 3), (0, 0)]),
    )
    layer_test(
        layers.ZeroPadding3D,
        {"padding": ((1, 0), (2, 1), (0, 1)), "data_format": data_format},
        shaped((3, 2, 4, 2), data_format),
        with_format(lambda x: np.pad(x, [(0, 0), (1, 0), (2, 1), (0, 1), (0, 0)]), data_format),
    )


def test_cropping(data_format):
    layer_test(layers.Cropping1D, {}, (4, 2), lambda x: x[:, 1:-1])
    layer_test(layers.Cropping1D, {"cropping": (2, 0)}, (4, 2), lambda x: x[:, 2:])
    layer_test(
        layers.Cropping2D,
        {"cropping": ((1, 2), (0, 1)), "data_format": data_format},
        shaped((5, 4, 2), data_format),
        with_format(lambda x: x[:, 1:-2, :-1], data_format),
    )
    layer_test(
        layers.Cropping2D,
        {"data_format": data_format},
        shaped((5, 4, 2), data_format),
        lambda x: x,
    )
    layer_test(
        layers.Cropping3D,
        {"cropping": (1, 0, 2), "data_format": data_format},
        shaped((3, 2, 5, 2), data_format),
        with_format(lambda x: x[:, 1:-1, :, 2:-2], data_format),
    )
    with pytest.raises(ValueError, match=r"cannot crop \(3, 2\) from an axis of size 4"):
        layers.Cropping1D((3, 2))(layers.Input(shape=(4, 2)))
    with pytest.raises(ValueError, match="`cropping` must be an integer"):
        layers.Cropping2D((1, 2, 3))
    with pytest.raises(ValueError, match="must not be negative"):
        layers.ZeroPadding2D(-1)
