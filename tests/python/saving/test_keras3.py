"""Models in the files of Keras 3; those that Keras 3 itself wrote are in tests/parity."""

from __future__ import annotations

import json
import zipfile

import h5py
import numpy as np
import pytest

import hornbeam as keras
from hornbeam import backend as K
from hornbeam.layers import (
    GRU,
    LSTM,
    Activation,
    Add,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Dense,
    Embedding,
    Input,
    Lambda,
    Layer,
    LeakyReLU,
    Masking,
    MultiHeadAttention,
    ThresholdedReLU,
    TimeDistributed,
    concatenate,
)
from hornbeam.models import Model, Sequential, load_model, model_from_json
from hornbeam.saving.keras3 import from_keras3, is_keras3, loss_or_metric, optimizer_config

R = np.random.RandomState(3)


def shared():
    """A model within a model, called twice, beside recurrence that begins with a given state."""
    a, b, state = Input((5, 3)), Input((4,)), Input((3,))
    x = Bidirectional(LSTM(4, return_sequences=True))(Masking()(a))
    x = GRU(3, reset_after=True)(x, initial_state=state)
    inner = Sequential([Dense(4, activation="swish", input_shape=(4,)), BatchNormalization()])
    x = concatenate([x, inner(b), inner(Activation("tanh")(b))])
    outputs = [
        Dense(2, name="first", kernel_regularizer="l2", kernel_constraint="nonneg")(x),
        Dense(1, name="second", activation="sigmoid")(x),
    ]
    model = Model([a, b, state], outputs)
    model.compile("nadam", ["mse", "binary_crossentropy"], metrics=["mae"], loss_weights=[1.0, 0.5])
    xs = [R.rand(16, 5, 3), R.rand(16, 4), R.rand(16, 3)]
    xs[0][:, 3:] = 0
    return model, xs, [R.rand(16, 2), R.randint(2, size=(16, 1))]


def attention():
    a = Input((6,), dtype="int32")
    x = Embedding(20, 8, input_length=6)(a)
    x = Add()([x, MultiHeadAttention(2, 3)(x, x)])
    x = TimeDistributed(Dense(4))(x)
    x = LeakyReLU(0.2)(Conv1D(4, 3, padding="causal", kernel_initializer="he_normal")(x))
    model = Model(a, Dense(1)(LSTM(3)(x)))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, decay=0.01), "mse")
    return model, [R.randint(20, size=(16, 6))], [R.rand(16, 1)]


def stack():
    model = Sequential([Dense(4, input_shape=(3,)), ThresholdedReLU(0.1), Dense(2)], name="stack")
    model.compile("rmsprop", "mse", metrics=["mae"])
    return model, [R.rand(16, 3)], [R.rand(16, 2)]


def one(x):
    return x if len(x) > 1 else x[0]


def train(model, x, y):
    model.fit(one(x), one(y), batch_size=8, epochs=2, shuffle=False, verbose=0)


@pytest.mark.parametrize("build", [shared, attention, stack])
def test_a_round_trip_goes_on_with_the_same_bits(build, tmp_path):
    model, x, y = build()
    train(model, x, y)
    path = str(tmp_path / "model.keras")
    model.save(path)
    loaded = load_model(path)
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    for fitted in (model, loaded):
        train(fitted, x, y)
    assert model.evaluate(one(x), one(y), verbose=0) == loaded.evaluate(one(x), one(y), verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_in_the_file(tmp_path):
    model, x, y = shared()
    train(model, x, y)
    path = str(tmp_path / "model.keras")
    model.save(path)
    with zipfile.ZipFile(path) as f:
        assert set(f.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
        assert json.loads(f.read("metadata.json"))["keras_version"].startswith("3")
        config = json.loads(f.read("config.json"))
        f.extract("model.weights.h5", tmp_path)
    assert config["class_name"] == "Functional"
    layers = {layer["name"]: layer for layer in config["config"]["layers"]}
    (gru,) = (layer for layer in layers.values() if layer["class_name"] == "GRU")
    assert gru["config"]["reset_after"] is True
    # Keras 3 has another hard_sigmoid: the file says whose this is.
    assert gru["config"]["recurrent_activation"]["module"] == "hornbeam.activations"
    (call,) = gru["inbound_nodes"]
    assert len(call["args"]) == 1
    assert len(call["kwargs"]["initial_state"]) == 1
    with h5py.File(tmp_path / "model.weights.h5") as f:
        assert f["layers/gru/cell/vars/0"].shape == (8, 9)
        assert f["layers/sequential/layers/dense/vars/0"].shape == (4, 4)
        assert f["layers/bidirectional/backward_layer/cell/vars/2"].shape == (16,)
        assert f["layers/dense_1/vars"].attrs["name"] == "second"


def test_without_the_optimizer(tmp_path):
    model, x, y = stack()
    train(model, x, y)
    path = str(tmp_path / "model.keras")
    model.save(path, include_optimizer=False)
    with pytest.warns(UserWarning, match="not\\* compiled"):
        loaded = load_model(path)
    np.testing.assert_array_equal(loaded.predict(x[0]), model.predict(x[0]))
    assert not hasattr(load_model(path, compile=False), "optimizer")


def test_an_existing_file_is_asked_about(tmp_path, monkeypatch):
    model, _, _ = stack()
    path = tmp_path / "model.keras"
    path.write_text("mine")
    monkeypatch.setattr("builtins.input", lambda *prompt: "n")
    model.save(str(path), overwrite=False)
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]


class Scale(Layer):
    def __init__(self, by=1.0, **kwargs):
        super().__init__(**kwargs)
        self.by = by

    def build(self, input_shape):
        self.factor = self.add_weight("factor", (input_shape[-1],), initializer="ones")
        super().build(input_shape)

    def call(self, x):
        return x * self.factor * self.by

    def get_config(self):
        return {**super().get_config(), "by": self.by}


def own_loss(y_true, y_pred):
    return K.mean(K.square(y_true - y_pred), axis=-1) * 3.0


def test_own_layers_and_losses(tmp_path):
    model = Sequential([Scale(2.0, input_shape=(3,)), Dense(2)])
    model.compile("adam", own_loss, metrics=[own_loss])
    x, y = R.rand(8, 3), R.rand(8, 2)
    model.fit(x, y, epochs=2, verbose=0)
    path = str(tmp_path / "model.keras")
    model.save(path)
    with pytest.raises(ValueError, match="Unknown layer: 'Scale'"):
        load_model(path)
    loaded = load_model(path, custom_objects={"Scale": Scale, "own_loss": own_loss})
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    assert loaded.layers[0].by == 2.0


def test_code_is_not_written(tmp_path):
    model = Sequential([Lambda(lambda x: x + 1, input_shape=(3,))])
    with pytest.raises(ValueError, match=r"save the model as \.h5"):
        model.save(str(tmp_path / "model.keras"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("build", [shared, attention, stack])
def test_weights_files(build, tmp_path):
    model, x, y = build()
    train(model, x, y)
    path = str(tmp_path / "model.weights.h5")
    model.save_weights(path)
    with h5py.File(path) as f:
        assert "layer_names" not in f.attrs
        assert "layers" in f
    expected = model.get_weights()
    for by_name in (False, True):
        model.set_weights([w * 0 for w in expected])
        model.load_weights(path, by_name=by_name)
        for a, b in zip(model.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_weights_of_another_architecture_change_nothing(tmp_path):
    model, _, _ = stack()
    path = str(tmp_path / "model.weights.h5")
    model.save_weights(path)
    other = Sequential([Dense(4, input_shape=(3,), name="a"), Dense(5, name="b")])
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"\(4, 5\).*\(4, 2\)"):
        other.load_weights(path)
    deeper = Sequential([Dense(4, input_shape=(3,)), Dense(2), Dense(2)])
    with pytest.raises(ValueError, match="another architecture"):
        deeper.load_weights(path)
    for a, b in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_which_configurations_are_keras_3s():
    dense = {"class_name": "Dense", "config": {}}
    assert is_keras3({**dense, "module": "keras.layers", "registered_name": None})
    assert not is_keras3(dense)
    assert not is_keras3({**dense, "keras_version": "2.15.0", "module": "keras"})
    assert is_keras3(dense, "3.15.1")
    assert not is_keras3({"module": "keras", "registered_name": None}, "2.15.0")


def test_a_stack_that_was_built_from_data():
    """Without an input layer the shape is beside the layers."""
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "registered_name": None,
        "config": {
            "name": "s",
            "layers": [
                {
                    "module": "keras.layers",
                    "class_name": "Dense",
                    "config": {"name": "d", "units": 2, "activation": "hard_sigmoid"},
                    "registered_name": None,
                }
            ],
            "build_input_shape": [None, 7],
        },
    }
    model = model_from_json(json.dumps(config))
    assert model.input_shape == (None, 7)
    x = 4 * R.randn(5, 7)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(
        model.predict(x), np.clip(x @ kernel + bias + 3, 0, 6) / 6, rtol=1e-4, atol=1e-5
    )


def test_a_backward_layer_of_its_own_is_refused():
    layer = {"class_name": "LSTM", "config": {"units": 3, "name": "f", "go_backwards": False}}
    other = {"class_name": "LSTM", "config": {"units": 4, "name": "b", "go_backwards": True}}
    with pytest.raises(ValueError, match="backward layer of its own"):
        from_keras3(
            {"class_name": "Bidirectional", "config": {"layer": layer, "backward_layer": other}}
        )


def test_masks_of_unknown_origin_are_refused():
    def tensor(name):
        config = {"shape": [None, 3], "dtype": "bool", "keras_history": [name, 0, 0]}
        return {"class_name": "__keras_tensor__", "config": config}

    def model(made_by):
        operation = {
            "module": "keras.src.ops.numpy",
            "class_name": made_by,
            "config": {"name": "op"},
            "inbound_nodes": [{"args": [tensor("a"), 0.0], "kwargs": {}}],
        }
        taking = {
            "module": "keras.layers",
            "class_name": "LSTM",
            "config": {"name": "l", "units": 2},
            "inbound_nodes": [{"args": [tensor("a")], "kwargs": {"mask": tensor("op")}}],
        }
        entry = {"module": "keras.layers", "class_name": "InputLayer", "config": {"name": "a"}}
        inner = {
            "layers": [entry, operation, taking],
            "input_layers": [["a", 0, 0]],
            "output_layers": [["l", 0, 0]],
        }
        return {"class_name": "Functional", "config": inner}

    given = model("NotEqual")
    before = json.dumps(given)
    read = from_keras3(given)
    assert json.dumps(given) == before
    assert [layer["config"]["name"] for layer in read["config"]["layers"]] == ["a", "l"]
    with pytest.raises(ValueError, match="mask that LogicalOr makes"):
        from_keras3(model("LogicalOr"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("mse", "mse"),
        ({"class_name": "MeanSquaredError", "config": {"name": "m"}}, "mean_squared_error"),
        (
            {"class_name": "KLDivergence", "config": {"reduction": "sum_over_batch_size"}},
            "kl_divergence",
        ),
        ({"module": "builtins", "class_name": "function", "config": "own"}, "own"),
        ([["mae"], {"a": "acc"}], [["mae"], {"a": "acc"}]),
    ],
)
def test_losses_and_metrics(data, expected):
    assert loss_or_metric(data) == expected


def test_losses_that_do_more_are_refused():
    config = {"from_logits": True, "label_smoothing": 0.0}
    with pytest.raises(ValueError, match="from_logits"):
        loss_or_metric({"class_name": "BinaryCrossentropy", "config": config})


def test_optimizers_have_keras_3s_formulas():
    def read(name, **config):
        return keras.optimizers.deserialize(
            optimizer_config({"class_name": name, "config": config})
        )

    assert read("RMSprop", learning_rate=0.1).epsilon_inside
    assert read("Adagrad", initial_accumulator_value=0.1).initial_accumulator_value == 0.1
    assert read("Nadam").schedule_decay == 1.0
    assert read("SGD", clipnorm=1.0).clipnorm_per_variable == 1.0
    with pytest.raises(ValueError, match="use_ema"):
        read("SGD", use_ema=True)
