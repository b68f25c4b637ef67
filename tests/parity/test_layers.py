"""Every layer against its reference: outputs, gradients, and its weights while they are trained."""

from __future__ import annotations

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from parity.building import COMPARED, Built, arrays_of, build, named
from parity.cases import CHECKPOINTS
from parity.comparing import assert_close, assert_weights, numbered

RATE = 0.1
CASES = [pytest.param(case, id=case.name) for case in COMPARED]
INFERENCE = [pytest.param(case, id=case.name) for case in COMPARED if not case.training]
INDEPENDENT = [param for param in INFERENCE if not param.values[0].stateful]
STATEFUL = [pytest.param(case, id=case.name) for case in COMPARED if case.calls > 1]
INITIALIZED = [pytest.param(case, id=case.name) for case in COMPARED if case.initializes]
TRAINED = [pytest.param(case, id=case.name) for case in COMPARED if "w0@1" in arrays_of(case)]


def assert_all_close(actual, expected, what):
    assert len(actual) == len(expected)
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert_close(a, e, f"{what} {i}")


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients(case):
    built, arrays = build(case)
    batch = case.batch if case.stateful else None
    shapes = [(batch, *out.shape[1:]) for out in named(arrays, "out")]
    assert [K.int_shape(y) for y in built.outputs] == shapes
    assert built.layers[-1].output_shape == (shapes if len(shapes) > 1 else shapes[0])
    weighting = [K.placeholder(shape=c.shape) for c in named(arrays, "cotangent")]
    total = sum(K.sum(y * c) for y, c in zip(built.outputs, weighting, strict=True))
    sources = list(built.model.trainable_weights)
    expected = numbered(arrays, "dw")
    if case.vocabulary is None:
        sources = built.inputs + sources
        expected = numbered(arrays, "dx") + expected
    gradients = K.gradients(total, sources)
    built.reset()
    fed = [*built.inputs, *weighting, K.learning_phase()]
    function = K.function(fed, [*built.outputs, *gradients])
    cotangents = named(arrays, "cotangent")
    results = function([*numbered(arrays, "x"), *cotangents, int(case.training)])
    count = len(built.outputs)
    assert_all_close(results[:count], named(arrays, "out"), "output")
    assert_all_close(results[count:], expected, "gradient")


@pytest.mark.parametrize("case", INFERENCE)
def test_predict(case):
    built, arrays = build(case)
    xs = numbered(arrays, "x")
    for batch_size in (case.batch,) if case.stateful else (32, 3):
        built.reset()
        results = built.predict(xs, batch_size)
        assert all(result.dtype == np.float32 for result in results)
        assert_all_close(results, named(arrays, "out"), f"in batches of {batch_size}: output")


@pytest.mark.parametrize("case", STATEFUL)
def test_a_state_goes_on_from_batch_to_batch(case):
    built, arrays = build(case)
    xs = numbered(arrays, "x")
    for _ in range(2):
        built.reset()
        assert_all_close(built.predict(xs, case.batch), named(arrays, "out"), "output")
        for call in range(2, case.calls + 1):
            expected = named(arrays, f"call{call}_out")
            assert_all_close(built.predict(xs, case.batch), expected, f"call {call}: output")


@pytest.mark.parametrize("case", INDEPENDENT)
def test_a_sample_does_not_depend_on_its_batch(case):
    """One sample alone, and none at all."""
    built, arrays = build(case)
    function = K.function([*built.inputs, K.learning_phase()], built.outputs)
    for samples in (1, 0):
        xs = [x[:samples] for x in numbered(arrays, "x")]
        expected = [y[:samples] for y in named(arrays, "out")]
        assert_all_close(function([*xs, 0]), expected, f"of {samples} samples: output")


#: Cases whose weights, or whose merged inputs, depend on every size.
SIZED = ("LocallyConnected1D", "LocallyConnected2D")


def depends_on_sizes(case):
    axis = case.config.get("axis", -1)
    normalized = case.layer.endswith("Normalization") and axis != -1
    places = case.layer == "PReLU" and "shared_axes" not in case.config
    return case.layer in SIZED or normalized or places


@pytest.mark.parametrize("case", [c for c in INDEPENDENT if max(map(len, c.values[0].shapes)) > 1])
def test_sizes_need_not_be_known(case):
    arrays = arrays_of(case)
    if depends_on_sizes(case):
        with pytest.raises(ValueError, match="must be known"):
            Built(case, sized=False)
        return
    built = Built(case, numbered(arrays, "w"), sized=False)
    for y, out in zip(built.outputs, named(arrays, "out"), strict=True):
        known = zip(K.int_shape(y), out.shape, strict=True)
        assert all(says in (None, size) for says, size in known)
    assert_all_close(built.predict(numbered(arrays, "x"), 3), named(arrays, "out"), "output")


@pytest.mark.parametrize("case", INITIALIZED)
def test_weights_begin_with_what_their_initializers_give(case):
    expected = numbered(arrays_of(case), "initial")
    assert_all_close(Built(case).model.get_weights(), expected, "weight")


@pytest.mark.parametrize("case", TRAINED)
def test_weights_while_training(case):
    built, arrays = build(case)
    model = built.model
    model.compile(keras.optimizers.SGD(lr=RATE), "mse")
    built.reset()
    xs, targets = numbered(arrays, "x"), named(arrays, "target")
    for step in range(1, CHECKPOINTS[-1] + 1):
        model.train_on_batch(xs, targets)
        if step in CHECKPOINTS:
            assert_weights(model, arrays, step)
