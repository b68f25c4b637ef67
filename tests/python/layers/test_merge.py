"""Merging layers: values, broadcasting, masks, and the functions that apply them."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from python.layers.checking import layer_test

from hornbeam import backend as K  # noqa: N812
from hornbeam import layers


def over(function):
    return lambda *xs: functools.reduce(function, xs)


REFERENCES = {
    "Add": over(np.add),
    "Multiply": over(np.multiply),
    "Average": lambda *xs: sum(xs) / len(xs),
    "Maximum": over(np.maximum),
    "Minimum": over(np.minimum),
}
SHAPES = [[(3, 4)] * 2, [(3, 4)] * 3, [(3, 4), (1, 4)], [(3, 1), (1, 4), (3, 4)]]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("name", REFERENCES)
def test_elementwise(name, shapes):
    layer_test(getattr(layers, name), {}, shapes, REFERENCES[name])
    inputs = [layers.Input(shape=s) for s in shapes]
    y = getattr(layers, name.lower())(inputs, name="merged")
    assert y._keras_history[0].name == "merged"
    assert K.int_shape(y) == (None, 3, 4)


def test_subtract():
    layer_test(layers.Subtract, {}, [(3, 4), (3, 4)], np.subtract)
    a = layers.Input(shape=(3,))
    assert K.int_shape(layers.subtract([a, layers.Input(shape=(3,))])) == (None, 3)
    with pytest.raises(ValueError, match="exactly 2 inputs"):
        layers.Subtract()([a, a, a])


@pytest.mark.parametrize("name", REFERENCES)
def test_ranks_are_aligned_after_the_batch(name):
    random = np.random.RandomState(1)
    x, y = random.randn(6, 4, 5), random.randn(6, 5)
    for shape in ((4, 5), (None, None)):
        a, b = layers.Input(shape=shape), layers.Input(shape=(shape[1],))
        for order in (1, -1):
            merged = getattr(layers, name)()([a, b][::order])
            result = K.function([a, b], [merged])([x, y])[0]
            expected = REFERENCES[name](x, y[:, None])
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    assert getattr(layers, name)().compute_output_shape([(None, 4, 5), (None, 5)]) == (None, 4, 5)


@pytest.mark.parametrize(
    ("axis", "shapes"),
    [
        (-1, [(3, 4), (3, 2)]),
        (1, [(3, 4), (2, 4), (1, 4)]),
        (2, [(3, 4), (3, 2)]),
        (-1, [(3,)] * 2),
    ],
)
def test_concatenate(axis, shapes):
    layer_test(
        layers.Concatenate,
        {"axis": axis},
        shapes,
        lambda *xs: np.concatenate(xs, axis=axis),
    )
    inputs = [layers.Input(shape=s) for s in shapes]
    assert layers.concatenate(inputs, axis=axis)._keras_history[0].axis == axis


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("axes", "shapes", "equation"),
    [
        (1, [(4,), (4,)], "na,na->n"),
        (-1, [(4,), (4,)], "na,na->n"),
        (2, [(3, 4), (5, 4)], "nab,ncb->nac"),
        (1, [(4, 3), (4, 5)], "nba,nbc->nac"),
        ((2, 1), [(3, 4), (4, 5)], "nab,nbc->nac"),
        ((-1, 1), [(3, 4), (4, 5)], "nab,nbc->nac"),
    ],
)
def test_dot(axes, shapes, equation, normalize):
    pair = (axes, axes) if isinstance(axes, int) else axes

    def expected(x, y):
        if normalize:
            x = x / np.linalg.norm(x, axis=pair[0], keepdims=True)
            y = y / np.linalg.norm(y, axis=pair[1], keepdims=True)
        result = np.einsum(equation, x, y)
        return result[:, None] if result.ndim == 1 else result

    layer_test(layers.Dot, {"axes": axes, "normalize": normalize}, shapes, expected)
    inputs = [layers.Input(shape=s) for s in shapes]
    assert layers.dot(inputs, axes, normalize=normalize)._keras_history[0].normalize == normalize


def masked(shape):
    return layers.Masking()(layers.Input(shape=shape))


def test_masks_are_joined_by_and():
    a, b, c = (layers.Input(shape=(4, 2)) for _ in range(3))
    masking = layers.Masking()
    layer = layers.Add()
    layer([masking(a), c, masking(b)])
    x = np.array([[[1, 1], [0, 0], [1, 1], [0, 0]]], "float32")
    y = np.array([[[1, 1], [1, 1], [0, 0], [0, 0]]], "float32")
    mask = K.function([a, b], [layer.output_mask])([x, y])[0]
    assert (mask == [[1, 0, 0, 0]]).all()
    plain = layers.Add()
    plain([c, c])
    assert plain.output_mask is None


def test_masks_of_concatenation():
    a, b = layers.Input(shape=(3, 2)), layers.Input(shape=(3, 2))
    masking = layers.Masking()
    x = np.array([[[1, 1], [0, 0], [1, 1]]], "float32")
    y = np.array([[[1, 1], [1, 1], [0, 0]]], "float32")
    for axis, second, expected in (
        (-1, True, [[1, 0, 0]]),
        (-1, False, [[1, 0, 1]]),
        (1, True, [[1, 0, 1, 1, 1, 0]]),
        (1, False, [[1, 0, 1, 1, 1, 1]]),
    ):
        layer = layers.Concatenate(axis=axis)
        layer([masking(a), masking(b) if second else b])
        assert (K.function([a, b], [layer.output_mask])([x, y])[0] == expected).all()


def test_dot_has_no_mask():
    layer = layers.Dot(axes=1)
    layer([masked((3, 2)), masked((3, 2))])
    assert layer.output_mask is None


def test_errors():
    a, b = layers.Input(shape=(4,)), layers.Input(shape=(5,))
    with pytest.raises(ValueError, match="list of at least 2 inputs"):
        layers.Add()(a)
    with pytest.raises(ValueError, match="list of at least 2 inputs"):
        layers.Add()([a])
    with pytest.raises(ValueError, match="could not be broadcast|broadcast"):
        layers.Add().compute_output_shape([(None, 4), (None, 5)])
    with pytest.raises(ValueError):
        layers.Add()([a, b])
    with pytest.raises(ValueError, match="different batch sizes"):
        layers.Add()([layers.Input(batch_shape=(2, 4)), layers.Input(batch_shape=(3, 4))])
    with pytest.raises(ValueError, match="matching shapes except for the concat axis"):
        layers.Concatenate(axis=1)([layers.Input(shape=(2, 3)), layers.Input(shape=(2, 4))])
    with pytest.raises(ValueError, match="dimension incompatibility 4 != 5"):
        layers.Dot(axes=1)([a, b])
    with pytest.raises(ValueError, match="list of 2 inputs"):
        layers.Dot(axes=1)([a, a, a])
    with pytest.raises(ValueError, match="`axes` must be"):
        layers.Dot(axes=(1, 2, 3))
    with pytest.raises(ValueError, match="should be a list"):
        layers.Add().compute_mask([a, a], a)
    with pytest.raises(ValueError, match="same length"):
        layers.Add().compute_mask([a, a], [None])
