"""Every layer against its reference: outputs, gradients, and its weights while they are trained."""

from __future__ import annotations

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from parity.cases import CHECKPOINTS, LAYERS, LayerCase
from parity.comparing import assert_close, assert_weights, golden, numbered

RATE = 0.1
CASES = [pytest.param(case, id=case.name) for case in LAYERS]
TRAINED = [
    pytest.param(case, id=case.name) for case in LAYERS if "w0@1" in golden("layers", case.name)
]


def make(case: LayerCase):
    """The case's layer, and the one it wraps."""
    wrapped = () if case.inner is None else (make(case.inner),)
    return getattr(keras.layers, case.layer)(*wrapped, **case.config)


def build(case: LayerCase):
    """The case's layer with the reference's weights, called on inputs of its shapes."""
    arrays = golden("layers", case.name)
    dtype = "float32" if case.vocabulary is None else "int32"
    inputs = [keras.layers.Input(shape=s, dtype=dtype) for s in case.shapes]
    layer = make(case)
    outputs = layer(inputs if len(inputs) > 1 else inputs[0])
    layer.set_weights(numbered(arrays, "w"))
    return inputs, layer, outputs, arrays


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients(case):
    inputs, layer, outputs, arrays = build(case)
    cotangent = K.placeholder(shape=arrays["cotangent"].shape)
    sources = list(layer.trainable_weights)
    expected = numbered(arrays, "dw")
    if case.vocabulary is None:
        sources = inputs + sources
        expected = numbered(arrays, "dx") + expected
    gradients = K.gradients(K.sum(outputs * cotangent), sources)
    function = K.function([*inputs, cotangent, K.learning_phase()], [outputs, *gradients])
    results = function([*numbered(arrays, "x"), arrays["cotangent"], int(case.training)])
    assert_close(results[0], arrays["out"], "output")
    assert len(results) == 1 + len(expected)
    for i, (actual, wanted) in enumerate(zip(results[1:], expected, strict=True)):
        assert_close(actual, wanted, f"gradient {i}")


@pytest.mark.parametrize("case", CASES)
def test_output_shape_is_inferred(case):
    _, layer, _, arrays = build(case)
    assert layer.output_shape == (None, *arrays["out"].shape[1:])


@pytest.mark.parametrize("case", [c for c in CASES if not c.values[0].training])
def test_predict(case):
    inputs, _, outputs, arrays = build(case)
    model = keras.models.Model(inputs, outputs)
    xs = numbered(arrays, "x")
    for batch_size in (32, 3):
        result = model.predict(xs if len(xs) > 1 else xs[0], batch_size=batch_size)
        assert result.dtype == np.float32
        assert_close(result, arrays["out"], f"prediction in batches of {batch_size}")


@pytest.mark.parametrize("case", [c for c in CASES if not c.values[0].training])
def test_a_sample_does_not_depend_on_its_batch(case):
    """One sample alone, and none at all."""
    inputs, _, outputs, arrays = build(case)
    function = K.function([*inputs, K.learning_phase()], [outputs])
    for samples in (1, 0):
        xs = [x[:samples] for x in numbered(arrays, "x")]
        (result,) = function([*xs, 0])
        assert_close(result, arrays["out"][:samples], f"output of {samples} samples")


@pytest.mark.parametrize("case", TRAINED)
def test_weights_while_training(case):
    inputs, _, outputs, arrays = build(case)
    model = keras.models.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(lr=RATE), "mse")
    xs = numbered(arrays, "x")
    for step in range(1, CHECKPOINTS[-1] + 1):
        model.train_on_batch(xs, arrays["target"])
        if step in CHECKPOINTS:
            assert_weights(model, arrays, step)
