"""Parts of models that Keras 2's users reach for beside the main methods."""

from __future__ import annotations

import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam.layers import LSTM, BatchNormalization, Concatenate, Dense, Dropout, Input, Merge
from hornbeam.models import Model, Sequential, load_model

R = np.random.RandomState(8)
X = R.rand(12, 4).astype("float32")
Y = R.rand(12, 2).astype("float32")


def network(**compiled):
    model = Sequential([Dense(3, input_shape=(4,)), Dropout(0.5), Dense(2)])
    model.compile(**{"optimizer": "sgd", "loss": "mse", "metrics": ["mae"], **compiled})
    return model


class TestStepFunctions:
    """`_make_train_function` and its kin, and what they leave on the model."""

    def test_they_are_made_on_request(self):
        model = network()
        assert model.train_function is None
        assert model.test_function is None
        assert model.predict_function is None
        model._make_train_function()
        model._make_test_function()
        model._make_predict_function()
        assert len(model.train_function.inputs) == 3
        assert len(model.test_function.outputs) == 2

    @pytest.mark.parametrize("phase", [[], [1.0]], ids=["without", "with the phase"])
    def test_training(self, phase):
        model, other = network(), network()
        other.set_weights(model.get_weights())
        model._make_train_function()
        found = model.train_function([X, Y, np.ones(12), *phase])
        assert len(found) == 2
        assert np.isscalar(found[0])
        assert (model.get_weights()[0] != other.get_weights()[0]).any()

    def test_evaluation_and_prediction(self):
        model = network()
        model._make_test_function()
        model._make_predict_function()
        np.testing.assert_allclose(
            model.test_function([X, Y, np.ones(12), 0.0]), model.evaluate(X, Y, verbose=0)
        )
        np.testing.assert_array_equal(model.predict_function([X, 0])[0], model.predict(X))

    def test_none_makes_them_anew(self):
        model = network()
        model.train_on_batch(X, Y)
        model.predict(X)
        model.train_function = model.test_function = model.predict_function = None
        assert model.train_function is None
        model.train_on_batch(X, Y)
        assert model.predict(X).shape == (12, 2)

    def test_a_wrong_number_of_arrays(self):
        model = network()
        model.train_on_batch(X, Y)
        with pytest.raises(ValueError, match="takes 3 arrays"):
            model.train_function([X, Y])


class TestSummary:
    def test_lines_go_to_print_fn(self, capsys):
        lines = []
        network().summary(print_fn=lines.append)
        assert capsys.readouterr().out == ""
        assert lines[0] == "_" * 65
        assert lines[-4:] == [
            "Total params: 23",
            "Trainable params: 23",
            "Non-trainable params: 0",
            "_" * 65,
        ]

    def test_width_and_positions(self):
        lines = []
        network().summary(60, [0.5, 0.8, 1.0], lines.append)
        assert {len(line) for line in lines[:3]} == {60}
        assert lines[1].index("Output Shape") == 30

    def test_models_within(self):
        model = Model(a := Input((4,)), network()(a))
        plain, nested = [], []
        model.summary(print_fn=plain.append)
        model.summary(print_fn=nested.append, expand_nested=True)
        assert len(nested) == len(plain) + 3

    def test_the_whole_look_of_a_graph(self):
        """Columns end at 33, 55 and 67 %, names are cut, a layer with several sources has lines."""
        K.clear_session()
        inner = Sequential([Dense(4, input_shape=(3,)), BatchNormalization()], name="inner")
        a, b = Input((3,), name="an_input_whose_name_is_rather_long"), Input((3,), name="b")
        x = Concatenate(name="joined")([inner(a), inner(b)])
        model = Model([a, b], [Dense(2, name="u")(x), Dense(1, name="v")(x)])
        inner.layers[0].trainable = False
        lines = []
        model.summary(print_fn=lines.append)
        bar, edge = "_" * 100, "=" * 100
        rows = [
            ("an_input_whose_name_is_rather_lo", "(None, 3)", "0", ""),
            ("b (InputLayer)", "(None, 3)", "0", ""),
            ("inner (Sequential)", "(None, 4)", "32", "an_input_whose_name_is_rather_lon"),
            ("joined (Concatenate)", "(None, 8)", "0", "inner[1][0]"),
            ("u (Dense)", "(None, 2)", "18", "joined[0][0]"),
            ("v (Dense)", "(None, 1)", "9", "joined[0][0]"),
        ]
        text = [f"{name:33}{shape:22}{count:12}{source:33}" for name, shape, count, source in rows]
        expected = [bar, f"{'Layer (type)':33}{'Output Shape':22}{'Param #':12}{'Connected to':33}"]
        for row, separator in zip(text, [edge, *[bar] * 5], strict=True):
            expected += [separator, row]
            if row.startswith(("inner", "joined")):
                second = "b[0][0]" if row.startswith("inner") else "inner[2][0]"
                expected.append(f"{second:>{67 + len(second)}}".ljust(100))
        expected += [
            edge,
            "Total params: 59",
            "Trainable params: 35",
            "Non-trainable params: 24",
            bar,
        ]
        assert lines == expected

    def test_without_a_known_input(self, capsys):
        with pytest.raises(ValueError, match="input_shape"):
            Sequential([Dense(3)]).summary()
        assert capsys.readouterr().out == ""


class TestFixedBatches:
    """Inputs whose batch axis has a size."""

    def network(self, **kwargs):
        model = Sequential([LSTM(2, batch_input_shape=(4, 3, 4), **kwargs), Dense(2)])
        model.compile("sgd", "mse")
        return model, np.repeat(X[:, None], 3, axis=1)

    @pytest.mark.parametrize("stateful", [False, True])
    def test_the_size_that_fits(self, stateful):
        model, x = self.network(stateful=stateful)
        model.fit(x, Y, batch_size=4, epochs=1, verbose=0, validation_data=(x[:4], Y[:4]))
        assert model.predict(x, batch_size=4).shape == (12, 2)
        assert model.predict(x[:4]).shape == (4, 2)
        model.evaluate(x, Y, batch_size=4, verbose=0)

    @pytest.mark.parametrize(
        "call",
        [
            lambda m, x: m.predict(x),
            lambda m, x: m.predict(x, batch_size=3),
            lambda m, x: m.predict(x[:6], batch_size=4),
            lambda m, x: m.evaluate(x, Y, batch_size=6, verbose=0),
            lambda m, x: m.fit(x, Y, batch_size=2, verbose=0),
            lambda m, x: m.fit(x, Y, batch_size=4, validation_split=0.5, verbose=0),
        ],
    )
    def test_other_sizes(self, call):
        model, x = self.network()
        with pytest.raises(ValueError, match=r"lstm_\d+_input was made for batches of 4 samples"):
            call(model, x)
        assert int(K.get_value(model.optimizer.iterations)) == 0


class TestLegacyConfig:
    @pytest.mark.filterwarnings("ignore:`merge` is a form")
    def test_merged_branches_come_back(self):
        branches = [Sequential([Dense(3, input_shape=(4,))]) for _ in range(2)]
        model = Sequential([Merge(branches, mode="concat"), Dense(2)])
        config = model.legacy_get_config()
        assert [layer["class_name"] for layer in config] == ["Merge", "Dense"]
        again = Sequential.legacy_from_config(config)
        again.set_weights(model.get_weights())
        np.testing.assert_array_equal(again.predict([X, X]), model.predict([X, X]))

    def test_layers_from_the_cache(self):
        shared = Dense(3, input_shape=(4,), name="shared")
        model = Sequential([shared, Dense(2)])
        again = Sequential.legacy_from_config(model.legacy_get_config(), {"shared": shared})
        assert again.layers[0] is shared
        assert again.layers[1] is not model.layers[1]


def absolute(weights):
    return 0.01 * K.sum(K.abs(weights))


def clipped(weights):
    return K.clip(weights, -0.1, 0.1)


def ones(shape, dtype=None):
    return K.ones(shape, dtype=dtype)


def swish(x):
    return x * K.sigmoid(x)


def test_plain_functions_survive_saving(tmp_path):
    model = Sequential(
        [
            Dense(
                3,
                input_shape=(4,),
                kernel_initializer=ones,
                kernel_regularizer=absolute,
                kernel_constraint=clipped,
                activation=swish,
            ),
            Dense(2),
        ]
    )
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    path = str(tmp_path / "model.h5")
    model.save(path)
    known = {f.__name__: f for f in (ones, absolute, clipped, swish)}
    loaded = load_model(path, custom_objects=known)
    assert loaded.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    layer = loaded.layers[0]
    assert layer.kernel_initializer is ones
    assert layer.kernel_regularizer is absolute
    assert layer.kernel_constraint is clipped


class TestNamesOfData:
    """Dictionaries by the names of inputs and outputs."""

    def network(self):
        a, b = Input((4,), name="a"), Input((2,), name="b")
        model = Model([a, b], [Dense(2, name="p")(a), Dense(1, name="q")(b)])
        model.compile("sgd", "mse")
        return model, {"a": X, "b": Y}, {"p": Y, "q": Y[:, :1]}

    def test_what_nothing_takes_is_said(self):
        model, x, y = self.network()
        with pytest.warns(UserWarning, match=r"no use for \['c'\].*\['a', 'b'\]"):
            model.fit({**x, "c": X}, y, verbose=0)
        with pytest.warns(UserWarning, match=r"no use for \['r'\].*\['p', 'q'\]"):
            model.evaluate(x, {**y, "r": Y}, verbose=0)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"sample_weight": {"r": np.ones(12)}}, 'sample_weight dictionary: "r"'),
            ({"class_weight": {"p": {0: 1, 1: 1}, "r": {0: 1}}}, 'class_weight dictionary: "r"'),
            ({"class_weight": {"r": {0: 1}}}, "holds 'r'"),
        ],
    )
    def test_weights_of_unknown_outputs_are_refused(self, given, message):
        model, x, y = self.network()
        with pytest.raises(ValueError, match=message):
            model.fit(x, y, verbose=0, **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"shuffle": "rows"}, "'batch', got 'rows'"), ({"epochs": 2.5}, "whole number.*got 2.5")],
)
def test_settings_of_fit(given, message):
    with pytest.raises(ValueError, match=message):
        network().fit(X, Y, verbose=0, **given)


def test_a_model_on_another_input_names_the_layer():
    model = Sequential([Dense(3, input_shape=(4,), name="first"), Dense(2)])
    with pytest.raises(ValueError, match="Dense 'first'"):
        model(Input((5,)))
