"""Models through `pickle` and `copy.deepcopy`: they train on as the models they were made from."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import backend as K
from hornbeam.layers import (
    GRU,
    LSTM,
    BatchNormalization,
    Bidirectional,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Input,
    Lambda,
    Layer,
    Masking,
    TimeDistributed,
    add,
    concatenate,
)
from hornbeam.models import Model, Sequential, load_model
from hornbeam.wrappers.scikit_learn import KerasClassifier

R = np.random.RandomState(5)


@pytest.fixture(autouse=True)
def seeded():
    np.random.seed(5)


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


WAYS = [by_pickle, copy.deepcopy]


class Scale(Layer):
    """A layer of the user's, with a weight and an argument."""

    def __init__(self, start=1.0, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        self.scale = self.add_weight(
            name="scale", shape=(input_shape[-1],), initializer=keras.initializers.Constant(2.0)
        )
        super().build(input_shape)

    def call(self, inputs):
        return inputs * self.scale * self.start

    def get_config(self):
        return {**super().get_config(), "start": self.start}


class Cube(keras.regularizers.Regularizer):
    """A penalty of the user's."""

    def __init__(self, factor=0.1):
        self.factor = factor

    def __call__(self, x):
        return self.factor * K.sum(K.abs(x) ** 3)

    def get_config(self):
        return {"factor": self.factor}


class Steps(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of the user's."""

    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return self.start / (1.0 + step)

    def get_config(self):
        return {"start": self.start}


class Halving(keras.optimizers.SGD):
    """An optimizer of the user's."""

    def get_gradients(self, loss, params):
        return [g / 2.0 for g in super().get_gradients(loss, params)]


def bent(x):
    """An activation of the user's."""
    return K.tanh(x) + 0.1 * x


def lenient(y_true, y_pred):
    """A loss of the user's."""
    return K.mean(K.log(1.0 + K.square(y_true - y_pred)), axis=-1)


def far(y_true, y_pred):
    """A metric of the user's."""
    return K.max(K.abs(y_true - y_pred))


def doubled(x):
    """A function of a Lambda layer that needs this module's names."""
    return WIDE * bent(x)


WIDE = 2.0


def stack():
    model = Sequential(name="stack")
    model.add(Conv2D(4, 3, activation="relu", input_shape=(6, 6, 2)))
    model.add(BatchNormalization())
    model.add(Flatten())
    model.add(Dropout(0.4, seed=7))
    model.add(Dense(3, activation="softmax", kernel_regularizer="l2", kernel_constraint="maxnorm"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, [R.rand(20, 6, 6, 2)], [R.randint(3, size=(20, 1))]


def graph():
    a, b, words = Input((5, 3)), Input((4,)), Input((6,), dtype="int32")
    x = Bidirectional(LSTM(4, return_sequences=True), merge_mode="sum")(Masking()(a))
    x = GRU(3)(TimeDistributed(Dense(3, activation="tanh"))(x))
    inner = Sequential([Dense(4, input_shape=(4,)), BatchNormalization()], name="inner")
    y = add([inner(b), inner(Dense(4)(b))])
    z = Flatten()(Embedding(20, 2, input_length=6)(words))
    ends = concatenate([x, y, z])
    outputs = [
        Dense(2, name="first")(ends),
        Sequential([Dense(1, activation="sigmoid", input_shape=(19,))], name="second")(ends),
    ]
    model = Model([a, b, words], outputs, name="graph")
    model.compile(
        keras.optimizers.Nadam(clipnorm=1.0),
        {"first": "mse", "second": "binary_crossentropy"},
        metrics={"first": ["mae"], "second": "acc"},
        loss_weights={"first": 2.0, "second": 0.5},
    )
    xs = [R.rand(20, 5, 3), R.rand(20, 4), R.randint(20, size=(20, 6))]
    xs[0][:, 3:] = 0
    return model, xs, [R.rand(20, 2), R.randint(2, size=(20, 1))]


def custom():
    model = Sequential(name="custom")
    model.add(TimeDistributed(Dense(3, activation=bent), input_shape=(2, 3)))
    model.add(Bidirectional(LSTM(2, recurrent_regularizer=Cube(0.01))))
    model.add(Dense(4, activation=bent, kernel_regularizer=Cube(0.01)))
    model.add(Scale(2.0))
    model.add(Lambda(doubled))
    model.add(Dense(2))
    model.compile(Halving(0.002, momentum=0.9, decay=0.01), lenient, metrics=[far, "mae"])
    return model, [R.rand(20, 2, 3)], [R.rand(20, 2)]


def scheduled():
    x = Input((3,), name="x")
    model = Model(x, Dense(2, name="y")(x), name="scheduled")
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
    model.compile(keras.optimizers.RMSprop(rate), ["mse"])
    return model, [R.rand(20, 3)], [R.rand(20, 2)]


def own_schedule():
    model = Sequential([Dense(2, input_shape=(3,))], name="own_schedule")
    model.compile(keras.optimizers.SGD(Steps(0.3), momentum=0.5), "mse")
    # What no configuration names need not be found again.
    model.layers[0].note = lambda x: x
    return model, [R.rand(20, 3)], [R.rand(20, 2)]


def one(x):
    return x if len(x) > 1 else x[0]


def train(model, x, y, **kwargs):
    kwargs = {"epochs": 2, "batch_size": 8, "shuffle": False, "verbose": 0, **kwargs}
    return model.fit(one(x), one(y), **kwargs).history


def assert_same_weights(a, b):
    for left, right in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("build", [stack, graph, custom, scheduled, own_schedule])
def test_training_goes_on_with_the_same_bits(build, way):
    model, x, y = build()
    train(model, x, y)
    K.set_value(model.optimizer.lr, 0.02) if build is stack else None
    twin = way(model)
    assert type(twin) is type(model)
    assert twin.name == model.name
    assert twin.output_names == model.output_names
    assert twin.metrics_names == model.metrics_names
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    assert type(twin.optimizer) is type(model.optimizer)
    assert twin.optimizer.get_config() == model.optimizer.get_config()
    assert_same_weights(twin, model)
    before = [w.copy() for w in model.get_weights()]
    history = train(twin, x, y)
    # They share nothing: training one leaves the other as it was.
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert train(model, x, y) == history
    assert np.isfinite(history["loss"]).all()
    assert_same_weights(twin, model)


def test_a_model_that_was_never_trained_begins_like_its_twin():
    model, x, y = stack()
    twin = copy.deepcopy(model)
    assert train(twin, x, y) == train(model, x, y)
    assert_same_weights(twin, model)


def test_an_uncompiled_model():
    x = Input((4,))
    model = Model(x, Dense(3)(x))
    twin = by_pickle(model)
    rows = R.rand(5, 4)
    np.testing.assert_array_equal(twin.predict(rows), model.predict(rows))
    with pytest.raises(RuntimeError, match="compile"):
        twin.fit(rows, R.rand(5, 3))


def test_a_model_that_waits_for_its_input_shape():
    model = Sequential([Dense(4, kernel_initializer="ones"), Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.01), "mse", metrics=["mae"])
    twin = by_pickle(model)
    assert not twin.built
    x, y = [R.rand(20, 3)], [R.rand(20, 1)]
    assert train(twin, x, y) == train(model, x, y)
    assert train(by_pickle(model), x, y) == train(model, x, y)


@pytest.mark.parametrize("way", WAYS)
def test_states_between_batches_are_kept(way):
    model = Sequential([LSTM(3, stateful=True, batch_input_shape=(4, 2, 3)), Dense(1)])
    model.compile("sgd", "mse")
    x, y = R.rand(8, 2, 3), R.rand(8, 1)
    model.train_on_batch(x[:4], y[:4])
    twin = way(model)
    assert twin.train_on_batch(x[4:], y[4:]) == model.train_on_batch(x[4:], y[4:])
    model.reset_states()
    assert np.any(twin.predict(x[:4], batch_size=4) != model.predict(x[:4], batch_size=4))


@pytest.mark.parametrize("way", WAYS)
def test_what_was_trainable_when_compiled_stays_trained(way):
    critic = Sequential([Dense(4, input_shape=(2,)), BatchNormalization(), Dense(1)], name="critic")
    critic.compile("adam", "mse")
    critic.trainable = False
    noise = Input((3,))
    whole = Model(noise, critic(Dense(2)(noise)))
    whole.compile("adam", "mse")
    x, y, z = R.rand(8, 2), R.rand(8, 1), R.rand(8, 3)
    critic.train_on_batch(x, y), whole.train_on_batch(z, y)
    twins = way(critic), way(whole)
    assert not twins[0].trainable
    assert not twins[1].get_layer("critic").trainable
    for model, twin, rows in ((critic, twins[0], x), (whole, twins[1], z)):
        before = [w.copy() for w in model.get_weights()]
        if model is whole:
            # The critic went on by itself meanwhile; its twin is as it was at the time of copying.
            model.set_weights(twin.get_weights())
        assert twin.train_on_batch(rows, y) == model.train_on_batch(rows, y)
        assert_same_weights(twin, model)
        assert any(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_step_with_sample_weights():
    model, x, y = scheduled()
    weights = R.rand(20)
    train(model, x, y, sample_weight=weights)
    twin = by_pickle(model)
    assert train(twin, x, y, sample_weight=weights) == train(model, x, y, sample_weight=weights)
    assert_same_weights(twin, model)


def test_local_classes_and_functions_are_copied():
    class Local(Scale):
        pass

    def loss(y_true, y_pred):
        return K.mean(K.abs(y_true - y_pred), axis=-1)

    factor = 3.0
    model = Sequential([Local(2.0, input_shape=(3,)), Lambda(lambda x: x * factor), Dense(1)])
    model.compile("sgd", loss)
    x, y = [R.rand(20, 3)], [R.rand(20, 1)]
    twin = copy.deepcopy(model)
    assert type(twin.layers[0]) is Local
    assert train(twin, x, y) == train(model, x, y)
    with pytest.raises((pickle.PicklingError, AttributeError), match="Local|local"):
        pickle.dumps(model)


def test_a_custom_object_that_hides_behind_anothers_name():
    first = type("Scale", (Scale,), {"__module__": __name__})
    model = Sequential([Scale(input_shape=(3,)), first()])
    with pytest.raises(ValueError, match="both named 'Scale'"):
        copy.deepcopy(model)
    hidden = type("Dense", (Dense,), {"__module__": __name__})
    model = Sequential([Dense(2, input_shape=(3,)), hidden(2)])
    with pytest.raises(ValueError, match="both named 'Dense'"):
        copy.deepcopy(model)


def test_losses_that_no_configuration_describes_are_refused():
    x = Input((4,))
    y = Dense(3)(x)
    model = Model(x, y, name="vae")
    model.add_loss(K.mean(y))
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"'vae'.*add_loss"):
        pickle.dumps(model)


def test_another_process_reads_it(tmp_path):
    model = Sequential([Dense(4, input_shape=(3,)), Lambda(lambda x: K.square(x)), Dense(1)])
    model.compile("adam", "mse")
    x, y = R.rand(20, 3), R.rand(20, 1)
    train(model, [x], [y])
    with open(tmp_path / "given.pkl", "wb") as f:
        pickle.dump((model, x, y), f)
    script = """
        import pickle, sys
        with open(sys.argv[1] + "/given.pkl", "rb") as f:
            model, x, y = pickle.load(f)
        history = model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
        with open(sys.argv[1] + "/back.pkl", "wb") as f:
            pickle.dump((model, history), f)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], check=True, timeout=120
    )
    with open(tmp_path / "back.pkl", "rb") as f:
        twin, history = pickle.load(f)
    assert history.history == train(model, [x], [y])
    assert_same_weights(twin, model)


def test_loaded_models_and_estimators(tmp_path):
    model, x, y = stack()
    train(model, x, y)
    model.save(str(tmp_path / "model.h5"))
    loaded = load_model(str(tmp_path / "model.h5"))
    twin = by_pickle(loaded)
    assert train(twin, x, y) == train(loaded, x, y)

    estimator = KerasClassifier(small_classifier, epochs=2, verbose=0)
    rows, classes = R.rand(30, 3), R.randint(2, size=30)
    estimator.fit(rows, classes)
    again = by_pickle(estimator)
    np.testing.assert_array_equal(again.predict_proba(rows), estimator.predict_proba(rows))


def small_classifier():
    """Build what the estimator trains."""
    model = Sequential([Dense(2, activation="softmax", input_shape=(3,))])
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return model


def test_names_of_stacks_within_models_go_round():
    inner = Sequential([Dense(4, input_shape=(3,))], name="inner")
    model = Sequential([inner, Dense(2, name="top")])
    again = Sequential.from_config(model.get_config())
    assert [layer.name for layer in again.layers] == ["inner", "top"]
    x = Input((3,))
    model = Model(x, Sequential([Dense(2, input_shape=(3,))], name="head")(x))
    assert Model.from_config(model.get_config()).output_names == ["head"]
