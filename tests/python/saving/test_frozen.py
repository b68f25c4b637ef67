"""A frozen model within a model stays frozen through configurations and files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hornbeam.layers import BatchNormalization, Dense, Flatten, Input, TimeDistributed
from hornbeam.models import Model, Sequential, load_model, model_from_json

R = np.random.RandomState(7)
X, STEPS, Y = R.rand(12, 3), R.rand(12, 2, 3), R.rand(12, 1)


def stack():
    return Sequential([Dense(4, input_shape=(3,)), BatchNormalization()], name="base")


def graph():
    x = Input((3,))
    return Model(x, BatchNormalization()(Dense(4)(x)), name="base")


def in_a_stack(base):
    return Sequential([base, Dense(1)]), X


def in_a_graph(base):
    x = Input((3,))
    return Model(x, Dense(1)(base(x))), X


def two_deep(base):
    x = Input((3,))
    return Model(x, Dense(1)(Sequential([base, Dense(2)], name="middle")(x))), X


def at_each_step(base):
    return Sequential([TimeDistributed(base, input_shape=(2, 3)), Flatten(), Dense(1)]), STEPS


def base_of(model):
    for layer in model.layers:
        if layer.name == "base" or not hasattr(layer, "layers") and hasattr(layer, "layer"):
            return getattr(layer, "layer", layer)
    return base_of(model.get_layer("middle"))


@pytest.mark.parametrize("ending", [".h5", ".keras"])
@pytest.mark.parametrize("outer", [in_a_stack, in_a_graph, two_deep, at_each_step])
@pytest.mark.parametrize("inner", [stack, graph])
def test_training_goes_on_without_the_base(inner, outer, ending, tmp_path):
    base = inner()
    model, x = outer(base)
    model.compile("adam", "mse")
    model.fit(x, Y, epochs=1, verbose=0)
    base.trainable = False
    model.compile("adam", "mse")
    model.fit(x, Y, epochs=2, verbose=0, shuffle=False)
    path = str(tmp_path / f"model{ending}")
    model.save(path)
    loaded = load_model(path)
    assert base_of(loaded).trainable is False
    assert len(loaded.trainable_weights) == len(model.trainable_weights)
    before = base_of(loaded).get_weights()
    for trained in (model, loaded):
        trained.fit(x, Y, epochs=2, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(before, base_of(loaded).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # It can be thawed as the original can.
    base_of(loaded).trainable = True
    loaded.compile("adam", "mse")
    loaded.fit(x, Y, epochs=1, verbose=0)
    for a, b in zip(before, base_of(loaded).get_weights(), strict=True):
        assert np.any(a != b)


def test_only_what_is_frozen_is_written():
    base = stack()
    model, _ = in_a_graph(base)
    plain = json.loads(model.to_json())
    assert not any("trainable" in layer for layer in plain["config"]["layers"])
    base.trainable = False
    marked = json.loads(model.to_json())
    assert [layer["name"] for layer in marked["config"]["layers"] if "trainable" in layer] == [
        "base"
    ]
    again = model_from_json(json.dumps(marked))
    assert again.get_layer("base").trainable is False
    assert again.trainable


def test_a_model_that_is_frozen_as_a_whole_is_a_models_own_in_keras_2(tmp_path):
    """A critic is frozen for the model around it; its own file trains on."""
    critic = Sequential([Dense(2, input_shape=(3,)), Dense(1)])
    critic.compile("adam", "mse")
    critic.trainable = False
    critic.fit(X, Y, epochs=1, verbose=0, shuffle=False)
    critic.save(str(tmp_path / "critic.h5"))
    loaded = load_model(str(tmp_path / "critic.h5"))
    for trained in (critic, loaded):
        trained.fit(X, Y, epochs=1, verbose=0, shuffle=False)
    for a, b in zip(critic.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
