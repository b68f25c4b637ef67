"""Pooling against plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from python.layers import references as ref
from python.layers.checking import layer_test

from hornbeam import backend as K  # noqa: N812
from hornbeam import layers

SHAPES = {1: (7, 3), 2: (5, 6, 2), 3: (4, 5, 3, 2)}
CASES = list(
    itertools.product(
        ("Max", "Average"),
        (1, 2, 3),
        ((2, None), (3, 2), (2, 1)),
        ("valid", "same"),
        ("channels_last", "channels_first"),
    )
)


@pytest.mark.parametrize(("kind", "rank", "window", "padding", "data_format"), CASES)
def test_pooling(kind, rank, window, padding, data_format):
    size, strides = window
    shape = SHAPES[rank]
    steps = (strides or size,) * rank

    def expected(x):
        first = data_format == "channels_first"
        x = ref.first_to_last(x) if first else x
        mode = "max" if kind == "Max" else "avg"
        y = ref.pool(x, (size,) * rank, steps, padding, mode)
        return ref.last_to_first(y) if first else y

    layer_test(
        getattr(layers, f"{kind}Pooling{rank}D"),
        {"pool_size": size, "strides": strides, "padding": padding, "data_format": data_format},
        shape if data_format == "channels_last" else (shape[-1], *shape[:-1]),
        expected,
    )


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_global_pooling(kind, rank, data_format):
    shape = SHAPES[rank]
    reduce = np.max if kind == "Max" else np.mean
    first = 1 if data_format == "channels_last" else 2
    layer_test(
        getattr(layers, f"Global{kind}Pooling{rank}D"),
        {"data_format": data_format},
        shape if data_format == "channels_last" else (shape[-1], *shape[:-1]),
        lambda x: reduce(x, axis=tuple(range(first, first + rank))),
    )


def test_global_average_over_what_a_mask_keeps():
    x = np.random.RandomState(1).randn(3, 4, 2)
    mask = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]], bool)
    x[~mask] = 0
    inputs = layers.Input(shape=(4, 2))
    layer = layers.GlobalAveragePooling1D()
    y = K.function([inputs], [layer(layers.Masking()(inputs))])([x])[0]
    expected = [x[0].mean(0), x[1][[1, 3]].mean(0), np.zeros(2)]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert layer.output_mask is None


def test_arguments():
    with pytest.raises(ValueError, match="must be positive"):
        layers.MaxPooling2D(0)
    with pytest.raises(ValueError, match="'valid' or 'same'"):
        layers.AveragePooling1D(padding="causal")
    with pytest.raises(ValueError, match="pool_size"):
        layers.MaxPooling2D((1, 2, 3))
    config = layers.MaxPooling1D(3).get_config()
    assert config == {
        "name": config["name"],
        "trainable": True,
        "pool_size": (3,),
        "padding": "valid",
        "strides": (3,),
    }


def test_aliases():
    for rank in (1, 2, 3):
        for short, full in (("MaxPool", "MaxPooling"), ("AvgPool", "AveragePooling")):
            assert getattr(layers, f"{short}{rank}D") is getattr(layers, f"{full}{rank}D")
            name = f"Global{short}{rank}D"
            assert getattr(layers, name) is getattr(layers, f"Global{full}{rank}D")
            assert getattr(layers.pooling, name) is getattr(layers, name)
