"""Behaviours of Keras 2.0 that its users' scripts rely on and that are easily got wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam import layers
from hornbeam.layers import LSTM, Dense, Dropout, Input
from hornbeam.models import Model, Sequential

R = np.random.RandomState(4)
X = R.rand(12, 4).astype("float32")
Y = R.rand(12, 2).astype("float32")


def network(**compiled):
    model = Sequential([Dense(2, input_shape=(4,))])
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    return model


class TestTraining:
    def test_default_epochs(self):
        a = Input(shape=(4,))
        model = Model(a, Dense(2)(a))
        model.compile("sgd", "mse")
        assert len(model.fit(X, Y, verbose=0).epoch) == 1
        assert len(network().fit(X, Y, verbose=0).epoch) == 10

    @pytest.mark.parametrize("kind", [list, tuple])
    def test_sequential_takes_a_list_or_a_tuple(self, kind):
        model = Sequential(kind([Dense(3, input_shape=(4,)), Dense(2)]))
        assert model.output_shape == (None, 2)

    def test_evaluate_returns_a_numpy_scalar(self):
        assert network().evaluate(X, Y, verbose=0).shape == ()
        values = network(metrics=["mae"]).evaluate(X, Y, verbose=0)
        assert [value.shape for value in values] == [(), ()]

    def test_hdf5_data(self, tmp_path):
        h5py = pytest.importorskip("h5py")
        path = str(tmp_path / "data.h5")
        with h5py.File(path, "w") as f:
            f["x"], f["y"] = X, Y
        x, y = (keras.utils.HDF5Matrix(path, name) for name in "xy")
        model = network()
        model.fit(x, y, epochs=2, shuffle="batch", verbose=0)
        expected = model.evaluate(X, Y, verbose=0)
        assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-6)
        with h5py.File(path) as f:
            model.fit(f["x"], f["y"], epochs=1, shuffle="batch", verbose=0)
            assert np.isfinite(model.evaluate(f["x"], f["y"], verbose=0))

    def test_accuracy_is_logged_as_acc(self):
        model = network(loss="categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(X, Y, epochs=1, validation_data=(X, Y), verbose=0).history
        assert sorted(history) == ["acc", "loss", "val_acc", "val_loss"]

    def test_fit_without_targets(self):
        class Penalty(layers.Layer):
            def call(self, inputs):
                self.add_loss(K.mean(K.square(inputs)), inputs=inputs)
                return inputs

        a = Input(shape=(4,))
        model = Model(a, Penalty()(Dense(2)(a)))
        model.compile("sgd", loss=None)
        losses = model.fit(X, epochs=5, verbose=0).history["loss"]
        assert losses[-1] < losses[0]

    def test_validation_data_may_be_a_list(self):
        history = network().fit(X, Y, epochs=1, validation_data=[X, Y], verbose=0)
        assert "val_loss" in history.history

    def test_masked_loss_is_divided_by_the_mean_of_the_mask(self):
        x = R.rand(4, 5, 3).astype("float32")
        x[:, 3:] = 0
        y = R.rand(4, 5, 2).astype("float32")
        model = Sequential([layers.Masking(input_shape=(5, 3)), layers.TimeDistributed(Dense(2))])
        model.compile("sgd", "mse")
        expected = np.mean((model.predict(x) - y)[:, :3] ** 2)
        assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)

    def test_weighted_loss_is_divided_by_the_fraction_of_weights_that_are_not_zero(self):
        model = network()
        weights = np.array([0, 0, 0, 2, 1, 3] * 2, "float32")
        errors = ((model.predict(X) - Y) ** 2).mean(axis=1)
        expected = np.mean(errors * weights) / np.mean(weights != 0)
        found = model.evaluate(X, Y, sample_weight=weights, verbose=0)
        assert found == pytest.approx(expected, rel=1e-5)

    def test_trainable_weights_are_those_at_compile_time(self):
        discriminator = network()
        discriminator.trainable = False
        a = Input(shape=(4,))
        combined = Model(a, discriminator(Dense(4)(a)))
        combined.compile("sgd", "mse")
        before = discriminator.get_weights()[0]
        combined.train_on_batch(X, Y)
        np.testing.assert_array_equal(discriminator.get_weights()[0], before)
        discriminator.train_on_batch(X, Y)
        assert (discriminator.get_weights()[0] != before).any()

    def test_evaluate_after_a_round_trip_of_the_weights(self, tmp_path):
        model = network()
        model.fit(X, Y, verbose=0)
        before = model.evaluate(X, Y, verbose=0)
        model.save_weights(str(tmp_path / "w.h5"))
        model.set_weights([w * 0 for w in model.get_weights()])
        model.load_weights(str(tmp_path / "w.h5"))
        assert model.evaluate(X, Y, verbose=0) == before

    @pytest.mark.parametrize("name", ["rmsprop", "RMSprop", "RMSPROP", "RmsProp"])
    def test_optimizers_in_any_case(self, name):
        config = {"class_name": name, "config": {"lr": 0.5}}
        assert isinstance(keras.optimizers.deserialize(config), keras.optimizers.RMSprop)

    def test_config_is_json_with_keys_in_a_stable_order(self):
        def dumped():
            a = Input(shape=(6, 4), name="a")
            x = layers.Conv1D(3, 2, kernel_regularizer="l2", name="b")(a)
            model = Model(a, LSTM(2, name="c")(x), name="m")
            return json.dumps(model.get_config())

        assert dumped() == dumped()
        code = (
            "import json, hornbeam\n"
            "from hornbeam.layers import *\n"
            "a = Input(shape=(6, 4), name='a')\n"
            "x = Conv1D(3, 2, kernel_regularizer='l2', name='b')(a)\n"
            "print(json.dumps(hornbeam.Model(a, LSTM(2, name='c')(x), name='m').get_config()))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == dumped(), done.stderr


class TestCallbacks:
    def test_checkpoint_counts_epochs_from_zero(self, tmp_path):
        path = str(tmp_path / "{epoch:02d}.h5")
        callback = keras.callbacks.ModelCheckpoint(path, period=2)
        network().fit(X, Y, epochs=4, validation_data=(X, Y), callbacks=[callback], verbose=0)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["01.h5", "03.h5"]

    def test_reduce_lr_compares_before_it_counts(self):
        model = network()
        callback = keras.callbacks.ReduceLROnPlateau(patience=2, factor=0.5, epsilon=0)
        callback.set_model(model)
        callback.on_train_begin()
        rates = []
        for epoch in range(5):
            callback.on_epoch_end(epoch, {"val_loss": 1.0})
            rates.append(float(K.get_value(model.optimizer.lr)))
        # Best at epoch 0; then wait is 0, 1 and, at epoch 3, as much as the patience.
        np.testing.assert_allclose(rates, [0.01, 0.01, 0.01, 0.005, 0.005])

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_terminate_on_nan_stops_on_infinity_too(self, value):
        y = Y.copy()
        y[0] = value
        callback = keras.callbacks.TerminateOnNaN()
        history = network().fit(X, y, epochs=5, callbacks=[callback], verbose=0).history
        assert len(history["loss"]) == 1
        assert not np.isfinite(history["loss"][0])

    def test_validation_data_is_the_users_own(self):
        callback = keras.callbacks.Callback()
        network().fit(X, Y, epochs=1, validation_data=(X, Y), callbacks=[callback], verbose=0)
        assert callback.validation_data[0] is X
        assert callback.validation_data[1] is Y
        np.testing.assert_array_equal(callback.validation_data[2], np.ones(12))

        def batches():
            while True:
                yield X, Y

        other = keras.callbacks.Callback()
        network().fit_generator(
            batches(), 2, epochs=1, validation_data=(X, Y), callbacks=[other], verbose=0
        )
        assert other.validation_data[0] is X
        assert other.validation_data[1] is Y


class TestLayersAndGraph:
    def test_a_fixed_phase(self):
        a = Input(shape=(4,))
        model = Model(a, Dropout(0.5)(a, training=True))
        assert model.uses_learning_phase is False
        again = Model.from_config(model.get_config())
        assert again.uses_learning_phase is False
        assert (again.predict(np.ones((50, 4))) == 0).any()
        assert Model(a, Dropout(0.5)(a)).uses_learning_phase

    def test_the_phase_can_be_fed(self):
        a = Input(shape=(4,))
        step = K.function([a, K.learning_phase()], [Dropout(0.5)(a)])
        ones = np.ones((50, 4))
        assert (step([ones, 1])[0] == 0).any()
        np.testing.assert_array_equal(step([ones, 0])[0], ones)

    def test_regularisation_losses_exist_once_built(self):
        layer = Dense(2, kernel_regularizer="l2", bias_regularizer="l1")
        layer.build((None, 4))
        assert len(layer.losses) == 2

    def test_an_activity_loss_comes_with_a_call(self):
        layer = Dense(2, activity_regularizer="l2")
        layer.build((None, 4))
        assert layer.losses == []
        layer(K.variable(X))
        assert len(layer.losses) == 1

    def test_a_shared_batch_normalization_gives_each_model_its_own_updates(self):
        layer, a, b = layers.BatchNormalization(), Input(shape=(4,)), Input(shape=(4,))
        first, second = Model(a, layer(a)), Model(b, layer(b))
        assert len(first.updates) == 2
        assert len(second.updates) == 2
        assert len(layer.updates) == 4
        assert Model(a, layers.BatchNormalization()(a, training=False)).updates == []

    def test_prediction_advances_the_state(self):
        model = Sequential([LSTM(3, stateful=True, batch_input_shape=(2, 5, 4))])
        x = R.rand(2, 5, 4)
        first = model.predict(x, batch_size=2)
        assert (model.predict(x, batch_size=2) != first).any()
        model.reset_states()
        np.testing.assert_array_equal(model.predict(x, batch_size=2), first)

    @pytest.mark.parametrize("cls", [layers.SimpleRNN, layers.GRU, LSTM])
    def test_left_and_right_padding_agree(self, cls):
        model = Sequential([layers.Masking(input_shape=(6, 3)), cls(4)])
        x = R.rand(2, 4, 3)
        pads = [[(0, 0), (2, 0), (0, 0)], [(0, 0), (0, 2), (0, 0)]]
        left, right = (model.predict(np.pad(x, pad)) for pad in pads)
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)

    def test_a_masked_step_repeats_the_output(self):
        model = Sequential([layers.Masking(input_shape=(6, 3)), LSTM(4, return_sequences=True)])
        found = model.predict(np.pad(R.rand(2, 4, 3), [(0, 0), (0, 2), (0, 0)]))
        np.testing.assert_array_equal(found[:, 4], found[:, 3])
        np.testing.assert_array_equal(found[:, 5], found[:, 3])

    def test_reset_states_checks_the_count(self):
        layer = LSTM(3, stateful=True, batch_input_shape=(2, 5, 4))
        Sequential([layer])
        with pytest.raises(ValueError, match="2 states"):
            layer.reset_states([np.zeros((2, 3))])

    def test_an_initial_state_of_keras_tensors_is_an_input(self):
        a, h, c = Input(shape=(5, 4)), Input(shape=(3,)), Input(shape=(3,))
        layer = LSTM(3)
        out = layer(a, initial_state=[h, c])
        assert h in layer.inbound_nodes[0].input_tensors
        assert c in layer.inbound_nodes[0].input_tensors
        model = Model([a, h, c], out)
        x, state = R.rand(2, 5, 4), R.rand(2, 3)
        assert (model.predict([x, state, state]) != model.predict([x, 0 * state, 0 * state])).any()

    def test_an_initial_state_of_variables(self):
        a, state = Input(batch_shape=(2, 5, 4)), [K.variable(np.ones((2, 3))) for _ in range(2)]
        x = R.rand(2, 5, 4)
        layer = LSTM(3)
        found = Model(a, layer(a, initial_state=state)).predict(x)
        b, h, c = Input(shape=(5, 4)), Input(shape=(3,)), Input(shape=(3,))
        expected = Model([b, h, c], layer(b, initial_state=[h, c])).predict(
            [x, np.ones((2, 3)), np.ones((2, 3))]
        )
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    @pytest.mark.parametrize("sizes", [((4, 5), (5,)), ((None, 5), (5,)), ((None, None), (None,))])
    def test_merging_keeps_the_batch_axis_aligned(self, sizes):
        inputs = [Input(shape=shape) for shape in sizes]
        x, y = R.rand(3, 4, 5), R.rand(3, 5)
        found = Model(inputs, layers.add(inputs)).predict([x, y])
        np.testing.assert_allclose(found, x + y[:, None], rtol=1e-6)

    def test_duplicate_outputs_but_no_duplicate_inputs(self):
        a = Input(shape=(4,))
        b = Dense(2)(a)
        first, second = Model(a, [b, b]).predict(X)
        np.testing.assert_array_equal(first, second)
        with pytest.raises(TypeError, match="redundant"):
            Model([a, a], b)

    def test_embedding_casts_floats(self):
        model = Sequential([layers.Embedding(5, 2, input_length=3)])
        numbers = np.array([[0, 4, 2]])
        np.testing.assert_array_equal(
            model.predict(numbers.astype("float32")), model.get_weights()[0][numbers]
        )
        a = Input(shape=(3,), dtype="float32")
        assert Model(a, layers.Embedding(5, 2)(a)).predict(numbers).shape == (1, 3, 2)

    def test_lambda_arguments_survive_saving(self, tmp_path):
        shift = R.rand(4)
        model = Sequential(
            [layers.Lambda(shifted, arguments={"by": shift}, input_shape=(4,)), Dense(2)]
        )
        expected = model.predict(X)
        model.save(str(tmp_path / "m.h5"))
        loaded = keras.models.load_model(
            str(tmp_path / "m.h5"), custom_objects={"shifted": shifted}, compile=False
        )
        np.testing.assert_array_equal(loaded.predict(X), expected)

    @pytest.mark.parametrize("name", ["cos", "sin", "square", "softmax", "relu", "sum"])
    def test_functions_keep_their_names(self, name):
        assert getattr(K, name).__name__ == name


def shifted(x, by):
    return x + K.constant(by)


class TestBackend:
    def test_outputs_come_before_targets(self):
        p, t = np.array([[0.2, 0.8]]), np.array([[0.0, 1.0]])
        found = K.eval(K.categorical_crossentropy(K.constant(p), K.constant(t)))
        np.testing.assert_allclose(found, [-np.log(0.8)], rtol=1e-5)
        found = K.eval(K.binary_crossentropy(K.constant(p), K.constant(t)))
        np.testing.assert_allclose(found, [[-np.log(0.8), -np.log(0.8)]], rtol=1e-5)

    def test_sqrt_cuts_negative_numbers(self):
        np.testing.assert_array_equal(K.eval(K.sqrt(K.constant([-4.0, 4.0]))), [0, 2])

    def test_argmax_takes_the_last_axis(self):
        np.testing.assert_array_equal(K.eval(K.argmax(K.constant(X))), X.argmax(axis=-1))

    def test_arange_of_a_negative_number_is_empty(self):
        assert K.eval(K.arange(-20)).shape == (0,)

    def test_is_keras_tensor_refuses_arrays(self):
        with pytest.raises(ValueError):
            K.is_keras_tensor(X)

    def test_batch_dot_of_two_dimensions(self):
        found = K.eval(K.batch_dot(K.constant(X), K.constant(X), axes=1))
        np.testing.assert_allclose(found, (X * X).sum(1, keepdims=True), rtol=1e-5)
        # axes=0 counts the batch as well: one row for each column.
        square = X[:4]
        found = K.eval(K.batch_dot(K.constant(square), K.constant(square), axes=0))
        assert found.shape == (4, 1)

    def test_bias_of_full_rank(self):
        x, bias = R.rand(2, 3, 4, 5), R.rand(4, 5, 3)
        found = K.eval(K.bias_add(K.constant(x), K.constant(bias), "channels_first"))
        # Keras takes the elements in their order; it does not move the channels.
        np.testing.assert_allclose(found, x + bias.reshape(3, 4, 5), rtol=1e-5)

    def test_rnn_backwards_returns_outputs_in_reversed_order(self):
        x = R.rand(2, 5, 3)

        def step(inputs, states):
            total = inputs + states[0]
            return total, [total]

        state = K.constant(np.zeros((2, 3)))
        _, outputs, _ = K.rnn(step, K.constant(x), [state], go_backwards=True)
        np.testing.assert_allclose(K.eval(outputs), x[:, ::-1].cumsum(axis=1), rtol=1e-5)


class TestLegacy:
    def test_forget_bias_init_zero_is_ignored(self):
        with pytest.warns(UserWarning):
            layer = LSTM(3, forget_bias_init="zero", input_shape=(5, 4))
        assert layer.unit_forget_bias is True

    @pytest.mark.parametrize(("old", "new"), [("cpu", 0), ("mem", 1), ("gpu", 2)])
    def test_consume_less(self, old, new):
        with pytest.warns(UserWarning, match="implementation"):
            assert LSTM(3, consume_less=old).implementation == new

    def test_samples_per_epoch_become_steps_unchanged(self):
        steps = []

        def batches():
            while True:
                steps.append(1)
                yield X, Y

        with pytest.warns(UserWarning, match="steps_per_epoch"):
            model = network()
            model.fit_generator(batches(), samples_per_epoch=3, nb_epoch=1, verbose=0)
        assert int(K.get_value(model.optimizer.iterations)) == 3

    def test_samples_per_epoch_are_divided_by_a_known_batch_size(self):
        flow = keras.preprocessing.image.ImageDataGenerator().flow(
            R.rand(12, 4, 4, 1), Y, batch_size=4
        )
        model = Sequential([layers.Flatten(input_shape=(4, 4, 1)), Dense(2)])
        model.compile("sgd", "mse")
        with pytest.warns(UserWarning, match="steps_per_epoch"):
            model.fit_generator(flow, samples_per_epoch=12, nb_epoch=1, verbose=0)
        assert int(K.get_value(model.optimizer.iterations)) == 3

    def test_score_of_a_regressor_is_the_plain_loss(self):
        regressor = keras.wrappers.scikit_learn.KerasRegressor(regression, epochs=1, verbose=0)
        regressor.fit(X, Y[:, 0])
        predicted = regressor.predict(X)
        expected = np.mean((predicted.ravel() - Y[:, 0]) ** 2)
        assert regressor.score(X, Y[:, 0]) == pytest.approx(expected, rel=1e-5)


def regression():
    model = Sequential([Dense(1, input_shape=(4,))])
    model.compile("sgd", "mse")
    return model
