"""One-hot rows and normalisation."""

import random

import numpy as np
import pytest

from hornbeam.utils import normalize, set_random_seed, to_categorical


@pytest.mark.parametrize("shape", [(6,), (6, 1), (2, 3)])
def test_to_categorical(shape):
    labels = np.array([0, 2, 1, 2, 0, 3]).reshape(shape)
    found = to_categorical(labels)
    assert found.shape == (6, 4) and found.dtype == np.float64
    np.testing.assert_array_equal(found.argmax(axis=1), labels.ravel())
    np.testing.assert_array_equal(found.sum(axis=1), np.ones(6))
    assert to_categorical(labels, 7).shape == (6, 7)


def test_to_categorical_errors():
    for labels, classes in (([0, 3], 3), ([-1, 0], 2), ([], None)):
        with pytest.raises(ValueError, match="to_categorical"):
            to_categorical(labels, classes)
    assert to_categorical([], 3).shape == (0, 3)


@pytest.mark.parametrize("order", [1, 2, np.inf])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_normalize(order, axis):
    x = np.random.RandomState(0).normal(size=(4, 5))
    norms = np.linalg.norm(normalize(x, axis, order), order, axis)
    np.testing.assert_allclose(norms, np.ones_like(norms))


def test_normalize_leaves_zeros_and_takes_vectors():
    np.testing.assert_array_equal(normalize(np.zeros((2, 3))), np.zeros((2, 3)))
    np.testing.assert_allclose(normalize([3.0, 4.0]), [[0.6, 0.8]])


def test_set_random_seed():
    def draw():
        return random.random(), np.random.rand()

    set_random_seed(3)
    first = draw()
    set_random_seed(3)
    assert draw() == first
    set_random_seed(4)
    assert draw() != first
    with pytest.raises(ValueError, match="-1"):
        set_random_seed(-1)
