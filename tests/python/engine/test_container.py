import json

import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam.engine import Input, get_source_inputs
from hornbeam.layers import (
    BatchNormalization,
    Concatenate,
    Dense,
    Dropout,
    Lambda,
    Masking,
    TimeDistributed,
    concatenate,
)
from hornbeam.models import Model, Sequential, model_from_json, model_from_yaml

X = np.random.RandomState(0).normal(size=(6, 4)).astype("float32")


@pytest.fixture(autouse=True)
def names():
    K.clear_session()


def two_towers():
    a, b = Input((4,), name="a"), Input((4,), name="b")
    shared = Dense(3, activation="tanh", name="shared")
    merged = concatenate([shared(a), shared(b)], name="merged")
    return Model([a, b], [Dense(2, name="left")(merged), Dense(1, name="right")(merged)])


def test_layers_and_names():
    model = two_towers()
    assert model.input_names == ["a", "b"]
    assert model.output_names == ["left", "right"]
    assert [layer.name for layer in model.layers] == ["a", "b", "shared", "merged", "left", "right"]
    assert model.get_layer("shared") is model.get_layer(index=2)
    assert len(model.weights) == 6
    assert model.count_params() == 15 + 14 + 7
    assert model.input_shape == [(None, 4), (None, 4)]
    assert model.output_shape == [(None, 2), (None, 1)]
    assert model.inputs[0] is model.input[0]
    with pytest.raises(ValueError, match="No such layer: shard.*shared"):
        model.get_layer("shard")
    with pytest.raises(ValueError, match="index 9"):
        model.get_layer(index=9)
    with pytest.raises(ValueError, match="name or layer index"):
        model.get_layer()


def test_config_round_trip():
    model = two_towers()
    config = model.get_config()
    text = json.dumps(config)
    again = Model.from_config(json.loads(text))
    assert json.dumps(again.get_config()) == text
    again.set_weights(model.get_weights())
    for a, b in zip(model.predict([X, X]), again.predict([X, X]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert json.dumps(model.get_config()) == json.dumps(two_towers_again(model))


def two_towers_again(model):
    return model_from_json(model.to_json()).get_config()


def test_configurations_of_the_other_kind():
    stack = Sequential([Dense(2, input_shape=(4,))])
    with pytest.raises(ValueError, match=r"use Sequential.from_config\(config\)"):
        Model.from_config(stack.get_config())
    with pytest.raises(ValueError, match=r"use Model.from_config\(config\)"):
        Sequential.from_config(two_towers().get_config())
    with pytest.raises(ValueError, match="model_from_config"):
        Sequential.from_config(json.loads(stack.to_json()))


def test_yaml():
    pytest.importorskip("yaml")
    model = two_towers()
    again = model_from_yaml(model.to_yaml())
    assert again.to_json() == model.to_json()


def test_config_is_the_users_to_change():
    model = two_towers()
    model.get_config()["layers"][2]["config"]["units"] = 99
    assert model.get_config()["layers"][2]["config"]["units"] == 3


def test_nested_and_called_again():
    inner = two_towers()
    p, q = Input((4,)), Input((4,))
    left, right = inner([p, q])
    outer = Model([p, q], Concatenate()([left, right]))
    np.testing.assert_allclose(
        outer.predict([X, X + 1]), np.concatenate(inner.predict([X, X + 1]), 1), rtol=1e-6
    )
    assert outer.count_params() == inner.count_params()
    again = Model.from_config(outer.get_config())
    again.set_weights(outer.get_weights())
    np.testing.assert_array_equal(again.predict([X, X]), outer.predict([X, X]))
    twice = Model(p, inner([p, p])[0])
    np.testing.assert_allclose(twice.predict(X), inner.predict([X, X])[0], rtol=1e-6)


def test_model_of_models_with_sequential():
    block = Sequential([Dense(4, input_shape=(4,)), Dense(4)])
    x = Input((4,))
    model = Model(x, block(block(x)))
    expected = block.predict(block.predict(X))
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-5, atol=1e-6)
    again = Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_time_distributed_model():
    block = Sequential([Dense(2, input_shape=(4,))])
    x = Input((5, 4))
    model = Model(x, TimeDistributed(block)(x))
    data = np.random.RandomState(1).normal(size=(3, 5, 4)).astype("float32")
    expected = np.stack([block.predict(data[:, t]) for t in range(5)], 1)
    np.testing.assert_allclose(model.predict(data), expected, rtol=1e-5, atol=1e-6)


def test_duplicate_outputs_are_allowed_and_inputs_are_not():
    x = Input((4,))
    y = Dense(2)(x)
    a, b, c = Model(x, [y, y, y]).predict(X)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a, c)
    with pytest.raises(TypeError, match="redundant"):
        Model([x, x], y)


def test_an_input_may_be_an_output():
    x = Input((4,))
    np.testing.assert_array_equal(Model(x, x).predict(X), X)
    first, second = Model(x, [x, Dense(2)(x)]).predict(X)
    np.testing.assert_array_equal(first, X)
    assert second.shape == (6, 2)


def test_tensors_without_a_layer_are_refused():
    x = Input((4,))
    with pytest.raises(TypeError, match="Output tensors.*Lambda"):
        Model(x, Dense(2)(x) * 2)
    with pytest.raises(TypeError, match="Input tensors"):
        Model(K.placeholder((None, 4)), Dense(2)(x))
    with pytest.raises(TypeError, match="Input layer"):
        y = Dense(2)(x)
        Model(y, Dense(2)(y))


def test_disconnected():
    x, z = Input((4,), name="x"), Input((4,), name="z")
    y = concatenate([Dense(2, name="d")(x), z])
    with pytest.raises(RuntimeError, match="Graph disconnected.*z"):
        Model(x, y)


def test_names_must_be_unique():
    x = Input((4,))
    with pytest.raises(RuntimeError, match='"same" is used 2 times'):
        Model(x, Dense(2, name="same")(Dense(2, name="same")(x)))


def test_keras_1_names_of_arguments():
    x = Input((4,))
    y = Dense(2)(x)
    with pytest.warns(UserWarning, match="Keras 2 API"):
        model = Model(input=x, output=y)
    assert model.output_shape == (None, 2)


def test_source_inputs():
    a, b = Input((4,)), Input((4,))
    y = Dense(2)(concatenate([Dense(3)(a), b]))
    assert get_source_inputs(y) == [a, b]
    assert get_source_inputs(a) == [a]


def test_input_from_a_tensor_is_not_fed():
    x = Input((4,))
    constant = Input(tensor=K.variable(np.full((6, 4), 2.0)))
    model = Model([x, constant], Lambda(lambda t: t[0] * t[1])([x, constant]))
    np.testing.assert_allclose(model.predict(X), X * 2)


def test_deep_graphs_do_not_recurse():
    x = Input((2,))
    y = x
    for _ in range(1500):
        y = Lambda(lambda t: t + 1.0)(y)
    model = Model(x, y)
    assert len(model.layers) == 1501
    np.testing.assert_allclose(model.predict(np.zeros((1, 2))), [[1500, 1500]])


def test_compute_output_shape():
    model = two_towers()
    assert model.compute_output_shape([(7, 4), (7, 4)]) == [(7, 2), (7, 1)]
    assert model.compute_mask(model.inputs, None) == [None, None]


def test_masks_go_through_nested_models():
    inner = Sequential([Masking(0.0, input_shape=(5, 3)), TimeDistributed(Dense(2))])
    x = Input((5, 3))
    y = inner(x)
    mask = y._keras_history[0].get_output_mask_at(1)
    data = np.ones((1, 5, 3))
    data[:, 3:] = 0
    np.testing.assert_array_equal(K.function([x], [mask])([data])[0], [[1, 1, 1, 0, 0]])


def test_shared_normalization_gives_a_model_only_its_own_updates():
    layer = BatchNormalization()
    a, b = Input((4,)), Input((4,))
    first, second = Model(a, layer(a)), Model(b, layer(b))
    assert len(layer.updates) == 4
    assert len(first.updates) == len(second.updates) == 2
    assert len(layer.get_updates_for(a)) == len(layer.get_updates_for(b)) == 2
    c = Input((4,))
    assert len(Model(c, layer(c, training=False)).updates) == 0
    d, e = Input((4,)), Input((4,))
    both = Model([d, e], [layer(d), layer(e)])
    assert len(both.updates) == 4
    layer.trainable = False
    assert both.updates == first.updates == []


def test_nested_updates_and_losses():
    inner = Sequential([Dense(4, input_shape=(4,), kernel_regularizer="l2"), BatchNormalization()])
    x = Input((4,))
    y = inner(x)
    outer = Model(x, Dense(1, activity_regularizer="l1")(y))
    assert len(inner.updates) == len(outer.updates) == 2
    assert not set(map(id, inner.updates)) & set(map(id, outer.updates))
    assert len(inner.losses) == 1
    assert len(outer.losses) == 2
    inner.trainable = False
    assert outer.updates == []
    assert len(outer.trainable_weights) == 2


def test_weights_round_trip_by_model():
    model = two_towers()
    weights = model.get_weights()
    model.set_weights([w + 1 for w in weights])
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a + 1, b)
    with pytest.raises(ValueError, match="expecting 6"):
        model.set_weights(weights[:-1])
    with pytest.raises(ValueError, match="shared"):
        model.set_weights([weights[0].T, *weights[1:]])


def test_sequential():
    model = Sequential(name="stack")
    model.add(Dense(3, input_shape=(4,), name="first"))
    model.add(Dropout(0.5))
    model.add(Dense(2, name="last"))
    assert [layer.name for layer in model.layers][::2] == ["first", "last"]
    assert model.output_shape == (None, 2)
    assert model.input_names == ["first_input"]
    assert model.name == "stack" and model.uses_learning_phase
    model.pop()
    assert model.output_shape == (None, 3)
    assert len(model.weights) == 2
    model.add(Dense(5))
    assert model.predict(X).shape == (6, 5)
    config = model.get_config()
    assert [c["class_name"] for c in config] == ["Dense", "Dropout", "Dense"]
    again = Sequential.from_config(config)
    assert again.get_config() == config
    while model.layers:
        model.pop()
    with pytest.raises(TypeError, match="no layers"):
        model.pop()


def test_sequential_takes_tuples_and_refuses_others():
    assert Sequential((Dense(3, input_shape=(4,)), Dense(2))).output_shape == (None, 2)
    with pytest.raises(TypeError, match="instance of class Layer"):
        Sequential([Dense(3, input_shape=(4,)), "dense"])
    with pytest.raises(TypeError, match="Add an object"):
        Sequential().add(Dense)
    with pytest.raises(ValueError, match="empty"):
        Sequential().build((None, 3))


def test_sequential_without_an_input_shape():
    model = Sequential([Dense(3), Dense(2)])
    assert not model.built
    assert model.weights == []
    with pytest.raises(ValueError, match="input_shape"):
        model.build()
    model.build((None, 4))
    assert model.output_shape == (None, 2)
    again = Sequential.from_config(model.get_config())
    assert again.built
    by_data = Sequential([Dense(3), Dense(2)])
    assert by_data.predict(X).shape == (6, 2)
    in_a_graph = Sequential([Dense(3)])
    x = Input((4,))
    assert K.int_shape(in_a_graph(x)) == (None, 3)


def test_sequential_compiled_before_its_shape_is_known():
    model = Sequential([Dense(3), Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(X, X[:, :1], epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2


def test_model_as_first_layer():
    x = Input((4,))
    base = Model(x, Dense(3)(x))
    model = Sequential([base, Dense(2)])
    assert model.output_shape == (None, 2)
    assert len(model.weights) == 4


def test_summary(capsys):
    two_towers().summary()
    out = capsys.readouterr().out
    assert "shared" in out and "Total params: 36" in out
