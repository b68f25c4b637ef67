"""Optimizers, regularizers and constraints against their formulas, over 100 steps."""

from __future__ import annotations

import numpy as np
import pytest

import hornbeam as keras
from parity.cases import CHECKPOINTS, CONSTRAINTS, OPTIMIZERS, REGULARIZERS
from parity.comparing import assert_close, assert_weights, golden, numbered

BATCH = 8
PENALTIES = {
    name: {key: getattr(module, cls)(**config) for key, (cls, config) in arguments.items()}
    for module, table in (
        (keras.regularizers, REGULARIZERS),
        (keras.constraints, CONSTRAINTS),
    )
    for name, arguments in table.items()
}


def network(arrays, optimizer, **arguments):
    """Dense(8, tanh), Dense(3) with the reference's weights."""
    model = keras.models.Sequential()
    model.add(keras.layers.Dense(8, activation="tanh", input_shape=(5,), **arguments))
    model.add(keras.layers.Dense(3, **arguments))
    model.set_weights(numbered(arrays, "w"))
    model.compile(optimizer, "mse")
    return model


def optimizer_of(case):
    name, config = OPTIMIZERS[case]
    return getattr(keras.optimizers, name)(**config)


def check_steps(model, arrays):
    """Train batch by batch, in order, and compare at each checkpoint."""
    x, t = arrays["x"], arrays["t"]
    starts = range(0, len(x), BATCH)
    for step in range(1, CHECKPOINTS[-1] + 1):
        start = starts[(step - 1) % len(starts)]
        loss = model.train_on_batch(x[start : start + BATCH], t[start : start + BATCH])
        if step == 1:
            assert_close(loss, arrays["loss"], "loss of the first batch")
        if step in CHECKPOINTS:
            assert_weights(model, arrays, step)


def check_fit(model, arrays):
    """The same steps as epochs of `fit`."""
    epochs = CHECKPOINTS[-1] // 4
    model.fit(arrays["x"], arrays["t"], BATCH, epochs=epochs, shuffle=False, verbose=0)
    assert_weights(model, arrays, CHECKPOINTS[-1])


@pytest.mark.parametrize("case", OPTIMIZERS)
def test_optimizer(case):
    arrays = golden("optimizers", case)
    check_steps(network(arrays, optimizer_of(case)), arrays)


@pytest.mark.parametrize("case", OPTIMIZERS)
def test_optimizer_in_fit(case):
    arrays = golden("optimizers", case)
    check_fit(network(arrays, optimizer_of(case)), arrays)


@pytest.mark.parametrize("case", PENALTIES)
def test_penalty(case):
    arrays = golden("penalties", case)
    model = network(arrays, keras.optimizers.SGD(lr=0.05), **PENALTIES[case])
    check_steps(model, arrays)


@pytest.mark.parametrize("case", PENALTIES)
def test_penalty_in_fit(case):
    arrays = golden("penalties", case)
    model = network(arrays, keras.optimizers.SGD(lr=0.05), **PENALTIES[case])
    check_fit(model, arrays)


@pytest.mark.parametrize("case", OPTIMIZERS)
def test_a_table_is_trained_as_a_kernel_of_one_hot_inputs(case):
    """Rows that a batch asks for twice, and rows that it does not ask for."""
    random = np.random.default_rng(3)
    words = random.integers(0, 7, (24, 5))
    target = random.normal(size=(24, 2))
    # Row 0 is never asked for.
    words[words == 0] = 3

    def model(first, shape):
        built = keras.models.Sequential([first, keras.layers.Flatten(), keras.layers.Dense(2)])
        assert built.input_shape[1:] == shape
        random = np.random.default_rng(4)
        built.set_weights([random.normal(size=w.shape) for w in built.get_weights()])
        built.compile(optimizer_of(case), "mse")
        return built

    table = model(keras.layers.Embedding(7, 3, input_length=5), (5,))
    kernel = model(keras.layers.Dense(3, use_bias=False, input_shape=(5, 7)), (5, 7))
    one_hot = np.eye(7)[words]
    for _ in range(5):
        for rows in (slice(0, 8), slice(8, 24)):
            a = table.train_on_batch(words[rows], target[rows])
            b = kernel.train_on_batch(one_hot[rows], target[rows])
            assert_close(a, b, "loss", steps=10)
    table.fit(words, target, 8, epochs=3, shuffle=False, verbose=0)
    kernel.fit(one_hot, target, 8, epochs=3, shuffle=False, verbose=0)
    for a, b in zip(table.get_weights(), kernel.get_weights(), strict=True):
        assert_close(a, b, "weights", steps=10)
