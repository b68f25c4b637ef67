"""Spellings of Keras 3 that mean nothing else in Keras 2."""

from __future__ import annotations

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam import layers, ops
from hornbeam.models import Sequential

R = np.random.RandomState(5)
A, B = R.randn(2, 3, 4), R.randn(2, 3, 4)
POSITIVE = np.abs(A) + 0.1
P = POSITIVE / POSITIVE.sum(-1, keepdims=True)
ONE_HOT = np.eye(4)[[[0, 1, 2], [3, 0, 1]]]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


CASES = {
    "absolute": (ops.absolute, np.abs, (A,)),
    "add": (ops.add, np.add, (A, B)),
    "subtract": (ops.subtract, np.subtract, (A, B)),
    "multiply": (ops.multiply, np.multiply, (A, B)),
    "divide": (ops.divide, np.divide, (A, B)),
    "power": (lambda x: ops.power(x, 1.5), lambda x: x**1.5, (POSITIVE,)),
    "negative": (ops.negative, np.negative, (A,)),
    "sqrt": (ops.sqrt, np.sqrt, (POSITIVE,)),
    "matmul": (lambda x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))), None, (A, B)),
    "where": (lambda x, y: ops.where(ops.greater(x, y), x, y), np.maximum, (A, B)),
    "where scalar": (lambda x: ops.where(x > 0, x, 0.0), lambda x: np.maximum(x, 0), (A,)),
    "isfinite": (ops.isfinite, np.isfinite, (np.array([1.0, np.inf, np.nan]),)),
    "isnan": (ops.isnan, np.isnan, (np.array([1.0, np.inf, np.nan]),)),
    "argmax": (ops.argmax, np.argmax, (A,)),
    "argmax axis": (lambda x: ops.argmax(x, 1), lambda x: x.argmax(1), (A,)),
    "argmin": (
        lambda x: ops.argmin(x, keepdims=True),
        lambda x: x.argmin(keepdims=True),
        (A,),
    ),
    "argmin axis": (
        lambda x: ops.argmin(x, -1, keepdims=True),
        lambda x: x.argmin(-1, keepdims=True),
        (A,),
    ),
    "cumsum": (ops.cumsum, np.cumsum, (A,)),
    "cumsum axis": (lambda x: ops.cumsum(x, 1), lambda x: x.cumsum(1), (A,)),
    "cumprod": (ops.cumprod, np.cumprod, (A,)),
    "transpose": (ops.transpose, np.transpose, (A,)),
    "squeeze": (ops.squeeze, np.squeeze, (A[:1, :, None],)),
    "squeeze axes": (
        lambda x: ops.squeeze(x, (0, -2)),
        lambda x: np.squeeze(x, (0, -2)),
        (A[:1, :, None],),
    ),
    "flip": (ops.flip, np.flip, (A,)),
    "flip axis": (lambda x: ops.flip(x, 1), lambda x: np.flip(x, 1), (A,)),
    "take": (lambda x: ops.take(x, [5, 0, 7]), lambda x: x.take([5, 0, 7]), (A,)),
    "take axis 0": (lambda x: ops.take(x, [1], 0), lambda x: x.take([1], 0), (A,)),
    "take axis 1": (
        lambda x: ops.take(x, [[2, 0], [1, 1]], 1),
        lambda x: x.take([[2, 0], [1, 1]], 1),
        (A,),
    ),
    "take axis -1": (lambda x: ops.take(x, [3, 0], -1), lambda x: x.take([3, 0], -1), (A,)),
    "repeat": (lambda x: ops.repeat(x, 2), lambda x: x.repeat(2), (A,)),
    "repeat axis": (lambda x: ops.repeat(x, 3, 1), lambda x: x.repeat(3, 1), (A,)),
    "one_hot": (lambda x: ops.one_hot(ops.cast(x, "int64"), 4), None, (ONE_HOT.argmax(-1),)),
    "relu": (ops.relu, lambda x: np.maximum(x, 0), (A,)),
    "hard_sigmoid": (ops.hard_sigmoid, lambda x: np.clip(x + 3, 0, 6) / 6, (4 * A,)),
    "sigmoid": (ops.sigmoid, sigmoid, (A,)),
    "binary_crossentropy": (
        ops.binary_crossentropy,
        lambda t, p: -t * np.log(p) - (1 - t) * np.log(1 - p),
        (ONE_HOT, sigmoid(A[:, :, :4])),
    ),
    "categorical_crossentropy": (
        ops.categorical_crossentropy,
        lambda t, p: -(t * np.log(p)).sum(-1),
        (ONE_HOT, P),
    ),
    "sparse_categorical_crossentropy": (
        ops.sparse_categorical_crossentropy,
        lambda t, p: -(ONE_HOT * np.log(p)).sum(-1),
        (ONE_HOT.argmax(-1), P),
    ),
}
EXPECTED = {
    "matmul": lambda x, y: x @ y.transpose(0, 2, 1),
    "one_hot": lambda x: ONE_HOT,
}


@pytest.mark.parametrize("name", CASES)
def test_operation(name):
    function, reference, arrays = CASES[name]
    expected = (reference or EXPECTED[name])(*arrays)
    tensors = [K.placeholder(a.shape) for a in arrays]
    (found,) = K.function(tensors, [function(*tensors)])(list(arrays))
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


def test_every_operation_has_its_name():
    assert all(callable(getattr(ops, name)) for name in ops.__all__)
    assert np.isnan(ops.convert_to_numpy(ops.sqrt(ops.convert_to_tensor([-1.0]))))
    assert ops.convert_to_tensor([1, 2]).dtype == "int64"
    assert ops.convert_to_tensor(A).dtype == "float32"
    assert ops.convert_to_tensor([1, 2], "float64").dtype == "float64"
    np.testing.assert_array_equal(ops.convert_to_numpy(ops.convert_to_tensor([1, 2])), [1, 2])


def test_axes_that_operations_lack_are_refused():
    with pytest.raises(ValueError, match="last"):
        ops.one_hot(K.placeholder((2, 3)), 4, axis=0)
    for function in (ops.categorical_crossentropy, ops.sparse_categorical_crossentropy):
        with pytest.raises(ValueError, match="last axis"):
            function(K.placeholder((2, 3)), K.placeholder((2, 3)), axis=0)


def test_operations_build_models():
    a = layers.Input(shape=(3,))
    layer = layers.Lambda(lambda x: ops.softmax(ops.multiply(x, 2.0)))
    model = keras.Model(a, layer(a))
    np.testing.assert_allclose(model.predict(A[0, :, :3]).sum(-1), np.ones(3), rtol=1e-5)


def test_shape_of_the_first_layer():
    model = Sequential([layers.Dense(2, shape=(3,))])
    assert model.input_shape == (None, 3)
    assert Sequential.from_config(model.get_config()).input_shape == (None, 3)


def test_input_begins_a_sequential_model():
    model = Sequential([keras.Input(shape=(3,), batch_size=4), layers.Dense(2)])
    assert model.input_shape == (4, 3)
    assert Sequential.from_config(model.get_config()).input_shape == (4, 3)
    assert Sequential([layers.InputLayer(shape=(3,)), layers.Dense(2)]).input_shape == (None, 3)
    assert Sequential([layers.InputLayer(batch_shape=(4, 3))]).input_shape == (4, 3)
    assert keras.Layer is layers.Layer


def test_an_output_begins_no_sequential_model():
    x = layers.Dense(2)(keras.Input((3,)))
    with pytest.raises(TypeError, match="instance of class Layer"):
        Sequential([x])


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "Nadam"])
def test_learning_rate(name):
    optimizer = getattr(keras.optimizers, name)(learning_rate=0.3)
    assert K.get_value(optimizer.lr) == pytest.approx(0.3)
    optimizer.learning_rate = 0.2
    assert K.get_value(optimizer.lr) == pytest.approx(0.2)
    assert K.get_value(optimizer.learning_rate) == pytest.approx(0.2)


def test_accuracy_by_both_names():
    model = Sequential([layers.Dense(2, activation="softmax", input_shape=(3,))])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    stop = keras.callbacks.EarlyStopping(monitor="val_accuracy", patience=5)
    x, y = R.rand(8, 3), np.arange(8) % 2
    history = model.fit(x, y, epochs=2, verbose=0, validation_split=0.5, callbacks=[stop]).history
    assert sorted(history) == ["acc", "loss", "val_acc", "val_loss"]
    assert history["accuracy"] == history["acc"]
    assert history["val_accuracy"] == history["val_acc"]


def test_set_random_seed():
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        weights.append(Sequential([layers.Dense(2, input_shape=(3,))]).get_weights()[0])
    np.testing.assert_array_equal(*weights)
