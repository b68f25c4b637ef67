"""Layers of Keras 1."""

from __future__ import annotations

import numpy as np
import pytest
from python.layers.checking import layer_test

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam import layers
from hornbeam.legacy import layers as legacy_layers

pytestmark = pytest.mark.filterwarnings("ignore:.*Keras 1")
R = np.random.RandomState(3)


def cosine(x, y):
    dots = (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)
    return dots[:, None, None]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"mode": "sum"}, np.add),
        ({"mode": "mul"}, np.multiply),
        ({"mode": "ave"}, lambda x, y: (x + y) / 2),
        ({"mode": "max"}, np.maximum),
        ({"mode": "concat"}, lambda x, y: np.concatenate([x, y], -1)),
        ({"mode": "concat", "concat_axis": 1}, lambda x, y: np.concatenate([x, y], 1)),
        ({"mode": "dot", "dot_axes": 1}, lambda x, y: (x * y).sum(-1, keepdims=True)),
        ({"mode": "cos", "dot_axes": 1}, cosine),
        ({"mode": lambda xs: xs[0] - 2 * xs[1]}, lambda x, y: x - 2 * y),
    ],
)
def test_merge(arguments, expected):
    x, y = R.randn(3, 4), R.randn(3, 4)
    a, b = layers.Input(shape=(4,)), layers.Input(shape=(4,))
    layer = layers.Merge(**arguments)
    outputs = [layer([a, b]), layers.merge([a, b], **arguments)]
    copy = layers.Merge.from_config(layer.get_config())
    outputs.append(copy([a, b]))
    for out in K.function([a, b], outputs)([x, y]):
        np.testing.assert_allclose(out, expected(x, y), rtol=1e-5, atol=1e-6)
    assert layer.compute_output_shape([(None, 4)] * 2) == (None, *expected(x, y).shape[1:])


def test_merge_warns_and_checks():
    with pytest.warns(UserWarning, match="form of Keras 1"):
        layers.Merge()
    with pytest.raises(ValueError, match="Invalid merge mode"):
        layers.Merge(mode="join")
    with pytest.raises(ValueError, match="list of at least 2"):
        layers.Merge()(layers.Input(shape=(4,)))


def test_merge_is_module_and_function():
    assert layers.merge.Add is layers.Add
    assert legacy_layers.Merge is layers.Merge
    a = layers.Input(shape=(4,))
    assert K.int_shape(layers.merge([a, a], mode="concat")) == (None, 8)


def test_merge_of_models_begins_a_sequential_model():
    left = keras.models.Sequential([layers.Dense(3, input_shape=(4,))])
    right = keras.models.Sequential([layers.Dense(2, input_shape=(5,))])
    model = keras.models.Sequential()
    model.add(layers.Merge([left, right], mode="concat"))
    model.add(layers.Dense(2))
    model.compile("sgd", "mse")
    x, y = R.randn(6, 4), R.randn(6, 5)
    expected = np.concatenate([left.predict(x), right.predict(y)], -1)
    w, b = model.layers[-1].get_weights()
    found = model.predict([x, y])
    np.testing.assert_allclose(found, expected @ w + b, rtol=1e-4, atol=1e-5)
    model.fit([x, y], R.randn(6, 2), epochs=1, verbose=0)
    assert (model.predict([x, y]) != found).any()


def test_merged_models_are_trained_and_kept(tmp_path):
    left = keras.models.Sequential([layers.Dense(3, input_shape=(4,), kernel_constraint="non_neg")])
    right = keras.models.Sequential([layers.BatchNormalization(input_shape=(5,))])
    model = keras.models.Sequential([layers.Merge([left, right], mode="concat"), layers.Dense(2)])
    assert len(model.get_weights()) == 2 + 4 + 2
    assert len(model.trainable_weights) == 2 + 2 + 2
    assert keras.legacy.models.needs_legacy_support(model)
    flat = keras.legacy.models.legacy_sequential_layers(model)
    assert flat == [*left.layers, *right.layers, model.layers[1]]
    model.compile("sgd", "mse")
    x, y = R.randn(6, 4), R.randn(6, 5)
    before = left.get_weights()[0]
    model.fit([x, y], R.randn(6, 2), epochs=2, verbose=0)
    after = left.get_weights()[0]
    assert (before != after).any()
    assert (after >= 0).all()
    with pytest.warns(UserWarning, match="Keras 1"):
        copy = keras.models.Sequential.from_config(model.get_config())
    model.save_weights(str(tmp_path / "merged.h5"))
    copy.load_weights(str(tmp_path / "merged.h5"))
    np.testing.assert_array_equal(copy.predict([x, y]), model.predict([x, y]))


def test_plain_models_need_no_legacy_support():
    model = keras.models.Sequential([layers.Dense(2, input_shape=(3,))])
    assert not keras.legacy.models.needs_legacy_support(model)
    assert keras.legacy.models.legacy_sequential_layers(model) == model.layers


def test_merge_masks():
    a = layers.Input(shape=(3, 2))
    masked = layers.Masking()(a)
    layer = layers.Merge(mode="sum")
    layer([masked, masked])
    assert layer.output_mask is not None
    free = layers.Merge(mode=lambda xs: xs[0], output_mask=lambda masks: masks[0])
    free([masked, masked])
    assert free.output_mask is not None


def test_maxout_dense():
    def expected(x, w, b):
        return (np.einsum("ni,kio->nko", x, w) + b).max(1)

    layer_test(layers.MaxoutDense, {"output_dim": 3, "nb_feature": 2}, (4,), expected)
    layer_test(
        layers.MaxoutDense,
        {"output_dim": 3, "bias": False, "W_regularizer": "l2", "input_dim": 4},
        (4,),
        lambda x, w: np.einsum("ni,kio->nko", x, w).max(1),
    )


def test_highway():
    def expected(x, w, wc, b, bc):
        t = 1 / (1 + np.exp(-(x @ wc + bc)))
        return t * np.tanh(x @ w + b) + (1 - t) * x

    layer_test(layers.Highway, {"activation": "tanh"}, (4,), expected)
    layer_test(
        layers.Highway,
        {"bias": False, "W_constraint": "unit_norm"},
        (4,),
        lambda x, w, wc: expected_plain(x, w, wc),
    )


def expected_plain(x, w, wc):
    t = 1 / (1 + np.exp(-(x @ wc)))
    return t * (x @ w) + (1 - t) * x


def test_atrous_convolutions():
    for name, cls, size in (
        ("AtrousConvolution1D", layers.Conv1D, 3),
        ("AtrousConvolution2D", layers.Conv2D, (3, 3)),
    ):
        with pytest.warns(UserWarning, match="dilation_rate"):
            layer = getattr(layers, name)(4, size, atrous_rate=2)
        assert type(layer) is cls
        assert set(layer.dilation_rate) == {2}
        short = name.replace("Convolution", "Conv")
        assert getattr(layers, short) is getattr(layers.convolutional, name)
