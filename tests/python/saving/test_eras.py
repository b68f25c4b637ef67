import json

import h5py
import numpy as np
import pytest

from hornbeam.layers import Conv2D, Dense
from hornbeam.models import Sequential, load_model, model_from_json
from hornbeam.saving.eras import translate, translate_metrics, translate_optimizer
from hornbeam.saving.optimizer_state import grouped

# What Keras 1.2.2 wrote for a small network.
KERAS_1 = {
    "class_name": "Sequential",
    "keras_version": "1.2.2",
    "config": [
        {
            "class_name": "Convolution2D",
            "config": {
                "name": "convolution2d_1",
                "trainable": True,
                "batch_input_shape": [None, 8, 8, 3],
                "input_dtype": "float32",
                "nb_filter": 4,
                "nb_row": 3,
                "nb_col": 2,
                "init": "glorot_uniform",
                "activation": "relu",
                "border_mode": "same",
                "subsample": [1, 1],
                "dim_ordering": "tf",
                "W_regularizer": {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.01},
                "b_regularizer": None,
                "activity_regularizer": None,
                "W_constraint": {"name": "MaxNorm", "m": 2, "axis": 0},
                "b_constraint": None,
                "bias": True,
            },
        },
        {"class_name": "Flatten", "config": {"name": "flatten_1", "trainable": True}},
        {
            "class_name": "Dense",
            "config": {
                "name": "dense_1",
                "trainable": True,
                "output_dim": 3,
                "init": "glorot_uniform",
                "activation": "linear",
                "W_regularizer": None,
                "b_regularizer": None,
                "activity_regularizer": None,
                "W_constraint": None,
                "b_constraint": {"name": "NonNeg"},
                "bias": True,
                "input_dim": 256,
            },
        },
    ],
}


@pytest.mark.filterwarnings("ignore:Update your")
def test_an_architecture_of_keras_1():
    model = model_from_json(json.dumps(KERAS_1))
    conv, _, dense = model.layers
    assert isinstance(conv, Conv2D) and conv.kernel_size == (3, 2)
    assert float(conv.kernel_regularizer.l2) == pytest.approx(0.01)
    assert conv.kernel_constraint.max_value == 2
    assert type(dense.bias_constraint).__name__ == "NonNeg"
    assert model.output_shape == (None, 3)


def tf_layer(class_name, **config):
    """A layer as TensorFlow's Keras 2.15 described it."""
    config = {"trainable": True, "dtype": "float32", **config}
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": config,
        "registered_name": None,
        "build_config": {"input_shape": [None, 4]},
    }


def test_an_architecture_of_tensorflow():
    zeros = {
        "module": "keras.initializers",
        "class_name": "Zeros",
        "config": {},
        "registered_name": None,
    }
    entry = tf_layer(
        "InputLayer", batch_input_shape=[None, 4], sparse=False, ragged=False, name="x"
    )
    dense = tf_layer("Dense", name="d", units=3, activation="relu", bias_initializer=zeros)
    calls = {"name": "d", "inbound_nodes": [[["x", 0, 0, {}]]]}
    config = {
        "class_name": "Functional",
        "config": {
            "name": "model",
            "trainable": True,
            "layers": [{**entry, "name": "x", "inbound_nodes": []}, {**dense, **calls}],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["d", 0, 0]],
        },
    }
    before = json.dumps(config)
    model = model_from_json(before)
    assert type(model).__name__ == "Model"
    assert model.predict(np.ones((2, 4))).shape == (2, 3)
    assert json.dumps(config) == before
    stack = {"class_name": "Sequential", "config": {"name": "s", "layers": [entry, dense]}}
    assert model_from_json(json.dumps(stack)).output_shape == (None, 3)


def test_what_means_something_else_is_not_dropped():
    conv = tf_layer("Conv2D", filters=4, kernel_size=[3, 3], groups=1, name="c")
    assert "groups" not in translate(conv)["config"]
    conv["config"]["groups"] = 2
    assert translate(conv)["config"]["groups"] == 2
    assert translate(tf_layer("GRU", units=3, reset_after=True))["config"]["reset_after"] is True


def test_separable_convolutions_with_the_defaults_of_their_base():
    glorot = {"module": "keras.initializers", "class_name": "GlorotUniform", "config": {"seed": 1}}
    unused = {"kernel_initializer": glorot, "kernel_regularizer": None, "kernel_constraint": None}
    config = {"name": "c", "filters": 2, "kernel_size": [3], "groups": 1, **unused}
    entry = tf_layer("SeparableConv1D", batch_input_shape=[None, 5, 2], **config)
    stack = {"class_name": "Sequential", "config": {"name": "s", "layers": [entry]}}
    assert model_from_json(json.dumps(stack)).output_shape == (None, 3, 2)


def test_the_one_implementation_of_locally_connected_layers():
    local = tf_layer("LocallyConnected1D", name="l", filters=2, kernel_size=[3], implementation=1)
    assert "implementation" not in translate(local)["config"]
    local["config"]["implementation"] = 2
    assert translate(local)["config"]["implementation"] == 2
    assert translate(tf_layer("LSTM", units=3, implementation=1))["config"]["implementation"] == 1


def test_attention_over_the_places():
    shapes = {"query_shape": [None, 3, 4], "value_shape": [None, 5, 4], "key_shape": None}
    heads = {"num_heads": 2, "key_dim": 3, "attention_axes": [1], "use_gate": False, **shapes}
    layer = tf_layer("MultiHeadAttention", name="m", **heads)
    kept = {"num_heads", "key_dim", "name", "trainable", "dtype"}
    assert set(translate(layer)["config"]) == kept
    layer["config"]["attention_axes"] = [1, 2]
    assert translate(layer)["config"]["attention_axes"] == [1, 2]


def test_a_call_without_constants():
    call = {"initial_state": None, "constants": None}
    layer = {**tf_layer("LSTM", units=3), "inbound_nodes": [[["x", 0, 0, call], ["s", 0, 0, {}]]]}
    expected = [[["x", 0, 0, {"initial_state": None}], ["s", 0, 0, {}]]]
    assert translate(layer)["inbound_nodes"] == expected


def test_policies_as_dtypes():
    policy = {"module": "keras", "class_name": "Policy", "config": {"name": "float32"}}
    assert translate(tf_layer("Dense", units=2, dtype=policy))["config"]["dtype"] == "float32"


def test_optimizers_and_metrics():
    saved = {
        "class_name": "Custom>Adam",
        "config": {
            "name": "Adam",
            "learning_rate": 0.01,
            "beta_1": 0.9,
            "clipnorm": None,
            "use_ema": False,
            "jit_compile": True,
            "is_legacy_optimizer": False,
        },
    }
    expected = {"class_name": "Adam", "config": {"learning_rate": 0.01, "beta_1": 0.9}}
    assert translate_optimizer(saved) == expected
    wrapped = {"class_name": "MeanMetricWrapper", "config": {"name": "accuracy", "fn": "x"}}
    named = {"class_name": "MeanMetricWrapper", "config": {"name": "m", "fn": "mae"}}
    assert translate_metrics([[wrapped, named]]) == [["accuracy", "mae"]]
    assert translate_metrics(["accuracy"]) == ["accuracy"]
    assert translate_metrics({"out": ["mse"]}) == {"out": ["mse"]}


def test_slots_weight_by_weight(tmp_path):
    """A model file whose optimizer lists m and v of one weight before those of the next."""
    x, y = np.ones((8, 4)), np.ones((8, 2))
    model = Sequential([Dense(3, input_shape=(4,)), Dense(2)])
    model.compile("adam", "mse")
    model.fit(x, y, epochs=3, verbose=0)
    model.save(tmp_path / "m.h5")
    state = model.optimizer.get_weights()
    interleaved = [state[0]]
    for m, v in zip(state[1:5], state[5:9], strict=True):
        interleaved += [m, v]
    with h5py.File(tmp_path / "m.h5", "r+") as f:
        f.attrs["keras_version"] = b"2.15.0"
        training = json.loads(f.attrs["training_config"])
        training["optimizer_config"]["config"]["is_legacy_optimizer"] = False
        f.attrs["training_config"] = json.dumps(training).encode()
        del f["optimizer_weights"]
        group = f.create_group("optimizer_weights")
        names = [f"w{i}".encode() for i in range(len(interleaved))]
        group.attrs["weight_names"] = names
        for name, value in zip(names, interleaved, strict=True):
            group[name] = value
    again = load_model(tmp_path / "m.h5")
    for a, b in zip(state, again.optimizer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert grouped([np.ones(3), np.ones(2)], [(2,), (3,)]) is None
