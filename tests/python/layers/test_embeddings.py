"""Embedding."""

from __future__ import annotations

import numpy as np
import pytest
from python.layers.checking import layer_test

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam import layers


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
@pytest.mark.parametrize("mask_zero", [False, True])
def test_embedding(mask_zero, shape):
    layer = layer_test(
        layers.Embedding,
        {"input_dim": 6, "output_dim": 3, "mask_zero": mask_zero},
        shape,
        lambda x, table: table[x],
        vocabulary=6,
    )
    assert layer.embeddings.name == f"{layer.name}/embeddings:0"


def test_arguments():
    layer = layer_test(
        layers.Embedding,
        {
            "input_dim": 6,
            "output_dim": 3,
            "embeddings_initializer": "he_normal",
            "embeddings_regularizer": "l2",
            "activity_regularizer": "l1",
            "embeddings_constraint": "unit_norm",
            "input_length": 4,
        },
        (4,),
        lambda x, table: table[x],
        vocabulary=6,
    )
    assert len(layer.losses) == 2
    assert layer.compute_output_shape((None, None)) == (None, 4, 3)
    with pytest.raises(ValueError, match="input_length is 4"):
        layers.Embedding(6, 3, input_length=4)(layers.Input(shape=(5,), dtype="int32"))
    with pytest.raises(ValueError, match="`input_dim` must be a non-negative integer"):
        layers.Embedding(-1, 3)


def test_mask():
    x = layers.Input(shape=(4,), dtype="int32")
    layer = layers.Embedding(6, 3, mask_zero=True)
    layer(x)
    mask = K.function([x], [layer.output_mask])([[[0, 1, 5, 0]]])[0]
    assert (mask == [[0, 1, 1, 0]]).all()
    assert mask.dtype == bool
    plain = layers.Embedding(6, 3)
    plain(x)
    assert plain.output_mask is None


def test_float_input_is_cast():
    x = layers.Input(shape=(4,))
    layer = layers.Embedding(6, 3)
    y = K.function([x], [layer(x)])([[[0.0, 1.0, 5.0, 2.0]]])[0]
    assert (y[0] == layer.get_weights()[0][[0, 1, 5, 2]]).all()


def test_numbers_out_of_range_raise():
    model = keras.models.Sequential([layers.Embedding(6, 3, input_length=4)])
    with pytest.raises((IndexError, ValueError), match="6"):
        model.predict(np.array([[0, 1, 6, 2]]))


def test_as_the_guide_says():
    model = keras.models.Sequential()
    model.add(layers.Embedding(1000, 64, input_length=10))
    assert model.output_shape == (None, 10, 64)
    array = np.random.RandomState(0).randint(1000, size=(32, 10))
    model.compile("rmsprop", "mse")
    assert model.predict(array).shape == (32, 10, 64)


def test_repeated_numbers_add_up_in_the_gradient():
    x = layers.Input(shape=(3,), dtype="int32")
    layer = layers.Embedding(4, 2)
    gradient = K.gradients(K.sum(layer(x)), layer.embeddings)[0]
    found = K.function([x], [gradient])([[[1, 1, 3], [1, 0, 3]]])[0]
    assert (found == [[1, 1], [3, 3], [0, 0], [2, 2]]).all()
