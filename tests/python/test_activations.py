"""Activation functions against NumPy in float64, their names and their gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hornbeam import activations
from hornbeam import backend as K  # noqa: N812

X = np.concatenate([np.linspace(-6, 6, 60), [-50.0, 50.0, 0.3, 1e-3]]).reshape(8, 8)
_erf = np.vectorize(math.erf)


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


REFERENCES = {
    "softmax": _softmax,
    "elu": _elu,
    "selu": lambda x: 1.0507009873554805 * _elu(x, 1.6732632423543772),
    "softplus": lambda x: np.logaddexp(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "linear": lambda x: x,
    "swish": lambda x: x / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / np.sqrt(2))),
    "relu6": lambda x: np.clip(x, 0, 6),
}


def run(function, x):
    placeholder = K.placeholder(shape=np.shape(x))
    return K.function([placeholder], [function(placeholder)])([x])[0]


@pytest.mark.parametrize("name", REFERENCES)
def test_values(name):
    np.testing.assert_allclose(
        run(activations.get(name), X), REFERENCES[name](X), rtol=2e-6, atol=2e-6
    )


def test_exponential():
    x = np.clip(X, -6, 6)
    np.testing.assert_allclose(run(activations.get("exponential"), x), np.exp(x), rtol=2e-6)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_softmax_along_any_axis(axis):
    x = np.random.RandomState(1).randn(3, 4, 5)
    result = run(lambda t: activations.softmax(t, axis=axis), x)
    np.testing.assert_allclose(result, _softmax(x, axis), rtol=1e-5)


def test_softmax_needs_two_axes():
    with pytest.raises(ValueError, match="at least 2 axes"):
        activations.softmax(K.placeholder(shape=(4,)))
    with pytest.raises(ValueError, match="no axis 2"):
        activations.softmax(K.placeholder(shape=(4, 3)), axis=2)


def test_relu_with_slope_and_ceiling():
    result = run(lambda t: activations.relu(t, alpha=0.1, max_value=2.0), X)
    np.testing.assert_allclose(result, np.where(X > 0, np.minimum(X, 2), 0.1 * X), rtol=1e-6)


@pytest.mark.parametrize("name", REFERENCES)
def test_names_go_round(name):
    function = activations.get(name)
    assert activations.get(activations.serialize(function)) is function


def test_get():
    assert activations.get(None) is activations.linear
    own = lambda x: x * 2  # noqa: E731
    assert activations.get(own) is own
    with pytest.raises(ValueError, match="Did you mean 'softmax'"):
        activations.get("softmx")
    with pytest.raises(ValueError, match="Could not interpret"):
        activations.get(6)
