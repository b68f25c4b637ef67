"""What holds for every layer: its gradients, and that config, weights and files go round."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from python.layers.checking import float64, function_of
from python.layers.every_layer import TABLE, cases_of, public_layers

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from parity.building import Built, make
from parity.golden_writing import draw_inputs, seed_of

pytestmark = pytest.mark.filterwarnings("ignore:.*Keras 1")
ROWS = [pytest.param(case, id=case.name) for case in TABLE]
PHASES = [
    pytest.param(case, training, id=f"{case.name}-{'training' if training else 'inference'}")
    for case in TABLE
    for training in sorted({case.training, case.training or case.random})
]
CLASSES = [pytest.param(cls, id=name) for name, cls in public_layers().items()]
STEP = 1e-6


@pytest.mark.parametrize("cls", CLASSES)
def test_no_layer_is_missing(cls):
    assert cases_of(cls), f"{cls.__name__} needs a row in the table of layers"


def randomly_weighted(case):
    """A built case whose weights are not zero, and variances greater than zero."""
    random = np.random.default_rng(5)
    # The random masks of layers are drawn from here, the same ones in every run.
    np.random.seed(7)
    built = Built(case)
    values = []
    for w in built.model.weights:
        value = random.uniform(0.2, 0.8, K.int_shape(w))
        if "variance" not in w.name:
            value = value * random.choice([-1.0, 1.0], value.shape)
        values.append(value)
    built.model.set_weights(values)
    return built, draw_inputs(seed_of(case.name), case)


@pytest.mark.parametrize(("case", "training"), PHASES)
def test_gradients_are_those_of_finite_differences(case, training):
    """Of every input and weight, along directions drawn at random, in float64."""
    with float64():
        built, xs = randomly_weighted(case)
        random = np.random.default_rng(6)
        shapes = [y.shape for y in function_of(built.inputs, built.outputs)(xs, training)]
        loss = K.constant(0.0)
        for y, shape in zip(built.outputs, shapes, strict=True):
            loss = loss + K.sum(y * K.constant(random.normal(size=shape)))
        fed = built.inputs if case.vocabulary is None else []
        weights = list(built.model.trainable_weights)
        gradients = K.gradients(loss, [*fed, *weights])
        run = function_of(built.inputs, [loss, *gradients])
        found = run(xs, training)[1:]
        for i, gradient in enumerate(found):
            for _ in range(2):
                direction = random.normal(size=gradient.shape)
                if i < len(fed):
                    # A step that is masked stays so.
                    direction *= (xs[i] != 0) & (xs[i] != case.config.get("mask_value"))
                losses = [
                    moved_loss(run, xs, weights, i - len(fed), sign * direction, training)
                    for sign in (STEP, -STEP)
                ]
                difference = (losses[0] - losses[1]) / (2 * STEP)
                slope = float((gradient * direction).sum())
                assert abs(difference - slope) <= 1e-6 * max(1, abs(difference)), (
                    f"gradient {i}: {slope}, by differences {difference}"
                )


def moved_loss(run, xs, weights, index, change, training):
    """The loss where a weight, or for a negative index an input, is moved."""
    if index < 0:
        index += len(xs)
        return run([*xs[:index], xs[index] + change, *xs[index + 1 :]], training)[0]
    value = K.get_value(weights[index])
    K.set_value(weights[index], value + change)
    result = run(xs, training)[0]
    K.set_value(weights[index], value)
    return result


def predictions(model, xs, case):
    if case.stateful:
        model.reset_states()
    results = model.predict(xs if len(xs) > 1 else xs[0], batch_size=case.batch)
    return results if isinstance(results, list) else [results]


def assert_same(copy, built, xs, case):
    """The same weights, and the same bits of the predictions."""
    for a, b in zip(copy.get_weights(), built.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    expected = predictions(built.model, xs, case)
    for a, b in zip(predictions(copy, xs, case), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def through_json(config):
    return json.loads(json.dumps(config))


@pytest.mark.parametrize("case", ROWS)
def test_config_goes_round(case):
    layer = make(case)
    config = through_json(layer.get_config())
    assert set(case.config) <= set(config)
    copy = type(layer).from_config(through_json(config))
    again = through_json(copy.get_config())
    if case.layer == "Lambda":
        # The same code may be marshalled to different bytes.
        again.pop("function")
        config.pop("function")
    assert again == config


@pytest.mark.parametrize("case", ROWS)
def test_a_model_with_it_goes_round(case, tmp_path):
    """Through config and weights, and through a file."""
    built, xs = randomly_weighted(case)
    copy = keras.models.Model.from_config(through_json(built.model.get_config()))
    copy.set_weights(built.model.get_weights())
    assert_same(copy, built, xs, case)
    path = str(tmp_path / "model.h5")
    built.model.compile("sgd", "mse")
    built.model.save(path)
    loaded = keras.models.load_model(path, **unsafe(case))
    assert_same(loaded, built, xs, case)
    copy.set_weights([0 * w for w in copy.get_weights()])
    copy.load_weights(path)
    assert_same(copy, built, xs, case)


def unsafe(case):
    return {"safe_mode": False} if case.layer == "Lambda" else {}


@pytest.mark.parametrize("cls", CLASSES)
def test_a_nested_model_with_it_goes_round(cls, tmp_path):
    case = cases_of(cls)[0]
    built, xs = randomly_weighted(case)
    inputs = [keras.layers.Input(batch_shape=K.int_shape(x), dtype=x.dtype) for x in built.inputs]
    y = built.model(inputs if len(inputs) > 1 else inputs[0])
    outer = keras.models.Model(inputs, y)
    copy = keras.models.Model.from_config(through_json(outer.get_config()))
    copy.set_weights(outer.get_weights())
    assert_same(copy, built, xs, case)
    path = str(tmp_path / "model.h5")
    outer.compile("sgd", "mse")
    outer.save(path)
    assert_same(keras.models.load_model(path, **unsafe(case)), built, xs, case)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_unknown_keyword_is_refused_by_name(cls):
    case = next(case for case in TABLE if getattr(keras.layers, case.layer) is cls)
    names = [*case.config, "name", "trainable"]
    for name in names:
        with pytest.raises(TypeError, match=re.escape(cls.__name__)) as caught:
            make(case, **{f"{name}z": 1})
        assert f"'{name}z'" in str(caught.value)
        assert f"Did you mean '{name}'?" in str(caught.value)
