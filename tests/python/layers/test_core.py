"""Core layers: dense, dropout, reshaping, masking, Lambda."""

from __future__ import annotations

import base64
import json
import marshal

import numpy as np
import pytest
from python.layers.checking import function_of, layer_test

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam import layers
from hornbeam.errors import UnsafeFileError


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    ("arguments", "shape", "expected"),
    [
        ({"units": 3}, (4,), lambda x, w, b: x @ w + b),
        ({"units": 3, "use_bias": False}, (4,), lambda x, w: x @ w),
        ({"units": 3, "activation": "tanh"}, (4,), lambda x, w, b: np.tanh(x @ w + b)),
        ({"units": 3, "activation": "softmax"}, (2, 4), lambda x, w, b: softmax(x @ w + b)),
        ({"units": 2}, (2, 3, 4), lambda x, w, b: x @ w + b),
    ],
)
def test_dense(arguments, shape, expected):
    layer_test(layers.Dense, arguments, shape, expected)


def test_dense_penalties_and_constraints():
    layer = layer_test(
        layers.Dense,
        {
            "units": 3,
            "kernel_initializer": "he_normal",
            "bias_initializer": "ones",
            "kernel_regularizer": keras.regularizers.l2(0.01),
            "bias_regularizer": "l1",
            "activity_regularizer": keras.regularizers.L1L2(l1=0.01),
            "kernel_constraint": "max_norm",
            "bias_constraint": keras.constraints.NonNeg(),
        },
    )
    assert len(layer.losses) == 3
    assert set(layer.constraints) == {layer.kernel, layer.bias}


def test_dense_regularization_exists_after_build():
    layer = layers.Dense(3, kernel_regularizer="l2", activity_regularizer="l2")
    layer.build((None, 4))
    assert len(layer.losses) == 1
    layer(K.variable(np.ones((2, 4))))
    assert len(layer.losses) == 2


def test_dense_arguments():
    for units in (0, -3, 2.5, "many", None):
        with pytest.raises(ValueError, match="`units` must be a positive integer"):
            layers.Dense(units)
    with pytest.raises(TypeError, match="Did you mean 'activation'"):
        layers.Dense(3, activatoin="relu")
    with pytest.raises(ValueError, match="axis -1 of its input must be known"):
        layers.Dense(3)(K.placeholder(shape=(None, None)))
    with pytest.raises(ValueError, match="axis -1"):
        layer = layers.Dense(3)
        layer(layers.Input(shape=(4,)))
        layer(layers.Input(shape=(5,)))
    assert layers.Dense(3, input_dim=5).batch_input_shape == (None, 5)


@pytest.mark.parametrize("name", ["relu", "softmax", "hard_sigmoid", "linear"])
def test_activation(name):
    layer_test(layers.Activation, {"activation": name}, (3, 4))


def test_activation_of_an_own_function():
    layer = layers.Activation(K.cos)
    x = layers.Input(shape=(3,))
    values = np.ones((2, 3), "float32")
    np.testing.assert_allclose(function_of([x], [layer(x)])([values], False)[0], np.cos(values))
    assert layer.get_config()["activation"] == "cos"


@pytest.mark.parametrize(
    ("cls", "arguments", "shape", "varying"),
    [
        (layers.Dropout, {"rate": 0.4}, (20, 30), (0, 1, 2)),
        (layers.Dropout, {"rate": 0.4, "noise_shape": (None, 1, None)}, (20, 30), (0, 2)),
        (layers.Dropout, {"rate": 0.4, "noise_shape": (3, 20, 1)}, (20, 30), (0, 1)),
        (layers.SpatialDropout1D, {"rate": 0.4}, (20, 300), (0, 2)),
        (
            layers.SpatialDropout2D,
            {"rate": 0.4, "data_format": "channels_last"},
            (4, 5, 300),
            (0, 3),
        ),
        (
            layers.SpatialDropout2D,
            {"rate": 0.4, "data_format": "channels_first"},
            (300, 4, 5),
            (0, 1),
        ),
        (
            layers.SpatialDropout3D,
            {"rate": 0.4, "data_format": "channels_last"},
            (2, 4, 5, 300),
            (0, 4),
        ),
        (
            layers.SpatialDropout3D,
            {"rate": 0.4, "data_format": "channels_first"},
            (300, 2, 4, 5),
            (0, 1),
        ),
    ],
)
def test_dropout(cls, arguments, shape, varying):
    layer = cls(**arguments)
    x = layers.Input(shape=shape)
    run = function_of([x], [layer(x)])
    ones = np.ones((3, *shape), "float32")
    assert (run([ones], False)[0] == ones).all()
    y = run([ones], True)[0]
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.6)}
    constant = tuple(axis for axis in range(y.ndim) if axis not in varying)
    assert (y == y.max(axis=constant, keepdims=True)).all()
    kept = (y.max(axis=constant) > 0).mean()
    assert abs(kept - 0.6) < 0.12
    # Different samples get different masks.
    assert (y[0] != y[1]).any()


def test_dropout_through_the_checks():
    layer_test(layers.Dropout, {"rate": 0.5, "seed": 3}, (4, 5), lambda x: x)
    layer_test(layers.Dropout, {"rate": 0.5, "seed": 3}, (4, 5), training=True)
    layer_test(layers.SpatialDropout1D, {"rate": 0.5}, (4, 5), lambda x: x)


def test_dropout_seed():
    x = layers.Input(shape=(50,))
    ones = np.ones((2, 50), "float32")

    def draw(seed):
        return function_of([x], [layers.Dropout(0.5, seed=seed)(x)])([ones], True)[0]

    assert (draw(3) == draw(3)).all()
    assert (draw(3) != draw(4)).any()


def test_dropout_with_a_fixed_phase():
    x = layers.Input(shape=(50,))
    always = layers.Dropout(0.5)(x, training=True)
    never = layers.Dropout(0.5)(x, training=False)
    ones = np.ones((2, 50), "float32")
    y, z = K.function([x], [always, never])([ones])
    assert (y != ones).all()
    assert (z == ones).all()
    assert not always.uses_learning_phase


def test_dropout_rate_is_limited():
    assert layers.Dropout(1.5).rate == 1.0
    assert layers.Dropout(-0.5).rate == 0.0


@pytest.mark.parametrize(
    ("target", "shape", "result"),
    [
        ((6, 4), (3, 8), (6, 4)),
        ((-1, 2, 2), (3, 8), (6, 2, 2)),
        ((24,), (3, 8), (24,)),
        ((-1,), (3, 8), (24,)),
        ((3, 4), (12,), (3, 4)),
    ],
)
def test_reshape(target, shape, result):
    layer_test(
        layers.Reshape, {"target_shape": target}, shape, lambda x: x.reshape(len(x), *result)
    )


def test_reshape_that_does_not_fit():
    for target in ((5, 5), (-1, 7)):
        with pytest.raises(ValueError, match="total size must stay the same"):
            layers.Reshape(target).compute_output_shape((None, 3, 8))
    with pytest.raises(ValueError, match="one -1"):
        layers.Reshape((-1, -1))


def test_reshape_of_an_unknown_length():
    x = layers.Input(shape=(None, 4))
    y = layers.Reshape((-1, 2))(x)
    values = np.arange(24.0).reshape(2, 3, 4)
    assert (K.function([x], [y])([values])[0] == values.reshape(2, 6, 2)).all()
    assert layers.Reshape((-1, 2)).compute_output_shape((None, None, 4)) == (None, None, 2)


def test_permute():
    layer_test(layers.Permute, {"dims": (2, 1)}, (3, 5), lambda x: x.transpose(0, 2, 1))
    layer_test(layers.Permute, {"dims": (3, 1, 2)}, (2, 3, 5), lambda x: x.transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match="each of 1..2 once"):
        layers.Permute((0, 1))


def test_flatten():
    layer_test(layers.Flatten, {}, (2, 3, 4), lambda x: x.reshape(len(x), -1))
    layer_test(layers.Flatten, {}, (5,), lambda x: x)
    layer_test(
        layers.Flatten,
        {"data_format": "channels_first"},
        (2, 3, 4),
        lambda x: x.transpose(0, 2, 3, 1).reshape(len(x), -1),
    )


def test_repeat_vector():
    layer_test(layers.RepeatVector, {"n": 3}, (4,), lambda x: np.stack([x] * 3, axis=1))
    with pytest.raises(ValueError, match="`n` must be a positive integer"):
        layers.RepeatVector(0)


def test_activity_regularization():
    layer = layer_test(layers.ActivityRegularization, {"l1": 0.1, "l2": 0.2}, (4,), lambda x: x)
    values = np.array([[1.0, -2.0, 0.5, 0.0]], "float32")
    penalty = K.function([layer.input], [layer.get_losses_for(layer.input)[0]])([values])[0]
    np.testing.assert_allclose(penalty, 0.1 * 3.5 + 0.2 * 5.25, rtol=1e-6)


def test_masking():
    x = np.array([[[1, 2], [0, 0], [0, 3], [0, 0]], [[0, 0], [4, 0], [5, 6], [7, 8]]], "float32")
    layer = layers.Masking()
    inputs = layers.Input(shape=(4, 2))
    y = layer(inputs)
    out, mask = K.function([inputs], [y, layer.output_mask])([x])
    assert (out == x).all()
    assert (mask == [[1, 0, 1, 0], [0, 1, 1, 1]]).all()
    layer_test(layers.Masking, {"mask_value": 0.5}, (4, 2), lambda x: x)
    other = layers.Masking(3.0)
    out = K.function([inputs], [other(inputs)])([np.full((1, 4, 2), 3.0)])[0]
    assert (out == 0).all()


def test_a_layer_without_masking_refuses_a_mask():
    masked = layers.Masking()(layers.Input(shape=(4, 2)))
    with pytest.raises(TypeError, match="does not support masking"):
        layers.Flatten()(masked)
    assert layers.Dense(3)(masked)._keras_history[0].output_mask is not None


# Lambda.

SCALE = 3.0


def test_lambda():
    layer_test(layers.Lambda, {"function": lambda x: x**2}, (3, 4), lambda x: x**2)
    layer_test(
        layers.Lambda,
        {"function": lambda x: x[:, :2] * SCALE, "output_shape": (2,)},
        (4,),
        lambda x: x[:, :2] * 3,
    )
    layer_test(
        layers.Lambda,
        {"function": lambda x, a, b=1.0: x * a + b, "arguments": {"a": 2.0}},
        (4,),
        lambda x: x * 2 + 1,
    )


def test_lambda_of_a_backend_function_is_written_by_name():
    layer = layer_test(layers.Lambda, {"function": K.cos}, (4,), np.cos)
    config = layer.get_config()
    assert (config["function"], config["function_type"]) == ("cos", "function")


def test_lambda_with_a_closure():
    factor = 4.0
    layer_test(layers.Lambda, {"function": lambda x: x * factor}, (4,), lambda x: x * 4)


def test_lambda_output_shape():
    doubled = layers.Lambda(
        lambda x: K.concatenate([x, x]), output_shape=lambda s: (s[0], 2 * s[1])
    )
    assert doubled.compute_output_shape((None, 3)) == (None, 6)
    assert layers.Lambda(lambda x: K.concatenate([x, x])).compute_output_shape((5, 3)) == (5, 6)
    assert layers.Lambda(lambda x: x, output_shape=(7,)).compute_output_shape((None, 3)) == (
        None,
        7,
    )
    with pytest.raises(TypeError, match="output_shape"):
        layers.Lambda(lambda x: x, output_shape="wide")
    with pytest.raises(ValueError, match="must be a function"):
        layers.Lambda(3)


def test_lambda_of_several_tensors():
    a, b = layers.Input(shape=(3,)), layers.Input(shape=(3,))
    y = layers.Lambda(lambda xs: xs[0] - xs[1])([a, b])
    values = np.ones((2, 3)), np.full((2, 3), 5.0)
    assert (K.function([a, b], [y])(values)[0] == -4).all()


def test_lambda_with_a_mask():
    x = layers.Masking()(layers.Input(shape=(4, 2)))
    seen = []

    def function(inputs, mask=None):
        seen.append(mask)
        return inputs * K.expand_dims(K.cast(mask, "float32"), -1)

    layer = layers.Lambda(function, mask=lambda inputs, mask: mask)
    layer(x)
    assert layer.output_mask is not None
    assert all(m is not None for m in seen)


def test_lambda_arguments_with_arrays_go_round():
    layer = layers.Lambda(lambda x, w: x * w, arguments={"w": np.array([1.0, 2.0, 3.0])})
    config = json.loads(json.dumps(layers.serialize(layer)))
    copy = layers.deserialize(config)
    x = layers.Input(shape=(3,))
    assert (K.function([x], [copy(x)])([np.ones((1, 3))])[0] == [[1, 2, 3]]).all()


def test_lambda_code_from_elsewhere_is_refused():
    config = layers.Lambda(lambda x: x * 17 + 4).get_config()
    # The code of a process that is not this one: 17 in it becomes another number.
    code = marshal.loads(base64.b64decode(config["function"][0]))
    constants = tuple(18 if c == 17 else c for c in code.co_consts)
    foreign = base64.b64encode(marshal.dumps(code.replace(co_consts=constants))).decode()
    config["function"] = [foreign, None, None]
    with pytest.raises(UnsafeFileError, match="safe_mode=False"):
        layers.Lambda.from_config(config)
    with keras.utils.generic_utils.safe_mode_scope(False):
        layer = layers.Lambda.from_config(config)
    x = layers.Input(shape=(3,))
    assert (K.function([x], [layer(x)])([np.ones((1, 3))])[0] == 22).all()
