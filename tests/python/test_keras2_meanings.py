"""Where Keras 2 and Keras 3 mean different things: what is meant here, and how the other is had."""

from __future__ import annotations

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import activations, layers, losses
from hornbeam import backend as K  # noqa: N812
from hornbeam.layers import GRU, LSTM, Dense, Input
from hornbeam.models import Model, Sequential

R = np.random.RandomState(4)
X = R.rand(12, 4).astype("float32")
Y = R.rand(12, 2).astype("float32")


def network(**compiled):
    model = Sequential([Dense(2, input_shape=(4,))])
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    return model


def first_step(optimizer, gradient):
    """Return how far the first step moves a weight of zero."""
    w = K.variable(np.zeros(1))
    K.function([], [], updates=optimizer.get_updates([w], {}, gradient * K.sum(w)))([])
    return K.get_value(w)[0]


class TestWhereKeras3Differs:
    def test_frozen_batch_normalization_uses_its_statistics(self):
        layer = layers.BatchNormalization(input_shape=(4,))
        layer.trainable = False
        model = Sequential([layer, Dense(2)])
        model.compile("sgd", "mse")
        before = layer.get_weights()
        model.fit(X, Y, epochs=2, verbose=0)
        for found, expected in zip(layer.get_weights(), before, strict=True):
            np.testing.assert_array_equal(found, expected)
        a = Input(shape=(4,))
        step = K.function([a, K.learning_phase()], [layer(a)])
        np.testing.assert_array_equal(step([X, 1])[0], step([X, 0])[0])

    @pytest.mark.parametrize("shape", [(12,), (12, 1)])
    def test_sparse_targets_of_both_shapes(self, shape):
        model = network(loss="sparse_categorical_crossentropy")
        classes = (np.arange(12) % 2).reshape(shape)
        assert np.isfinite(model.evaluate(X, classes, verbose=0))

    def test_class_weight_needs_every_class(self):
        model = network(loss="categorical_crossentropy")
        with pytest.raises(ValueError, match="class"):
            model.fit(X, np.eye(2)[np.arange(12) % 2], class_weight={0: 2.0}, verbose=0)

    def test_decay(self):
        optimizer = keras.optimizers.SGD(lr=0.5, decay=0.1)
        w = K.variable(np.zeros(1))
        step = K.function([], [], updates=optimizer.get_updates([w], {}, K.sum(w)))
        values = []
        for _ in range(3):
            step([])
            values.append(K.get_value(w)[0])
        rates = [0.5 / (1 + 0.1 * i) for i in range(3)]
        np.testing.assert_allclose(values, -np.cumsum(rates), rtol=1e-5)

    def test_clipnorm_is_of_all_gradients(self):
        optimizer = keras.optimizers.SGD(lr=1.0, clipnorm=1.0)
        a, b = K.variable(np.zeros(1)), K.variable(np.zeros(1))
        K.function([], [], updates=optimizer.get_updates([a, b], {}, 3 * K.sum(a) + 4 * K.sum(b)))(
            []
        )
        np.testing.assert_allclose([K.get_value(a)[0], K.get_value(b)[0]], [-0.6, -0.8], rtol=1e-5)

    def test_activity_penalty_is_summed_over_the_batch(self):
        layer = layers.ActivityRegularization(l2=1.0, input_shape=(4,))
        model = Sequential([layer])
        model.compile("sgd", "mse")
        found = model.evaluate(X, X, batch_size=12, verbose=0)
        assert found == pytest.approx((X**2).sum(), rel=1e-5)


class TestActivations:
    def test_hard_sigmoid(self):
        x = np.linspace(-4, 4, 33)
        found = K.eval(activations.hard_sigmoid(K.constant(x)))
        np.testing.assert_allclose(found, np.clip(0.2 * x + 0.5, 0, 1), atol=1e-6)
        found = K.eval(activations.hard_sigmoid_relu6(K.constant(x)))
        np.testing.assert_allclose(found, np.clip(x + 3, 0, 6) / 6, atol=1e-6)

    @pytest.mark.parametrize("cls", [GRU, LSTM])
    def test_gates(self, cls):
        assert cls(3).get_config()["recurrent_activation"] == "hard_sigmoid"
        layer = cls(3, recurrent_activation="sigmoid")
        assert layer.get_config()["recurrent_activation"] == "sigmoid"


def test_reset_after():
    for after, shape in [(False, (9,)), (True, (2, 9))]:
        layer = GRU(3, input_shape=(5, 4), **({"reset_after": True} if after else {}))
        model = Sequential([layer])
        assert model.get_weights()[2].shape == shape
        assert layer.get_config()["reset_after"] is after


class TestOptimizers:
    @pytest.mark.parametrize(
        ("name", "rate", "epsilon"),
        [
            ("SGD", 0.01, None),
            ("RMSprop", 0.001, 1e-8),
            ("Adagrad", 0.01, 1e-8),
            ("Adadelta", 1.0, 1e-8),
            ("Adam", 0.001, 1e-8),
            ("Adamax", 0.002, 1e-8),
            ("Nadam", 0.002, 1e-8),
        ],
    )
    def test_rates_and_epsilons(self, name, rate, epsilon):
        config = getattr(keras.optimizers, name)().get_config()
        assert config["lr"] == pytest.approx(rate)
        assert config.get("epsilon") == epsilon

    def test_rmsprop(self):
        v, g, epsilon = 0.1 * 4.0, 2.0, 0.5
        for inside, root in [(False, np.sqrt(v) + epsilon), (True, np.sqrt(v + epsilon))]:
            optimizer = keras.optimizers.RMSprop(1.0, epsilon=epsilon, epsilon_inside=inside)
            assert first_step(optimizer, g) == pytest.approx(-g / root, rel=1e-5)

    def test_adagrad(self):
        assert first_step(keras.optimizers.Adagrad(1.0, epsilon=0.5), 2.0) == pytest.approx(
            -2 / (2 + 0.5), rel=1e-5
        )
        later = keras.optimizers.Adagrad(
            1.0, epsilon=0.5, epsilon_inside=True, initial_accumulator_value=0.1
        )
        assert first_step(later, 2.0) == pytest.approx(-2 / np.sqrt(4.1 + 0.5), rel=1e-5)

    def test_nadam(self):
        # The first step shows the schedule's first two factors.
        def expected(power):
            one, two = (0.9 * (1 - 0.5 * 0.96 ** (power * t)) for t in (1, 2))
            mean, g = 0.1 * 2.0, 2.0
            direction = (1 - one) * g / (1 - one) + two * mean / (1 - one * two)
            return -direction / np.sqrt(0.001 * 4 / 0.001)

        optimizer = keras.optimizers.Nadam(1.0, epsilon=0.0)
        assert first_step(optimizer, 2.0) == pytest.approx(expected(0.004), rel=1e-4)
        later = keras.optimizers.Nadam(1.0, epsilon=0.0, schedule_decay=1.0)
        assert first_step(later, 2.0) == pytest.approx(expected(1.0), rel=1e-4)

    def test_a_schedule_is_a_rate_too(self):
        schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
        assert first_step(keras.optimizers.SGD(schedule), 1.0) == pytest.approx(-0.5)

    def test_clipnorm_of_each_variable(self):
        optimizer = keras.optimizers.SGD(1.0, clipnorm_per_variable=1.0)
        a, b = K.variable(np.zeros(1)), K.variable(np.zeros(1))
        loss = 3 * K.sum(a) + 0.5 * K.sum(b)
        K.function([], [], updates=optimizer.get_updates([a, b], {}, loss))([])
        np.testing.assert_allclose([K.get_value(a)[0], K.get_value(b)[0]], [-1, -0.5], rtol=1e-5)


class TestLossesAndMetrics:
    def test_cosine(self):
        a, b = R.randn(3, 4), R.randn(3, 4)
        cosines = np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        t, p = K.constant(a), K.constant(b)
        np.testing.assert_allclose(
            K.eval(losses.cosine_proximity(t, p)), -cosines / 4, rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            K.eval(losses.cosine_similarity(t, p)), -cosines, rtol=1e-4, atol=1e-5
        )

    def test_hinge_takes_labels_as_they_are(self):
        t, p = np.array([[0.0, 1.0]]), np.array([[0.5, 0.5]])
        found = K.eval(losses.hinge(K.constant(t), K.constant(p)))
        np.testing.assert_allclose(found, [np.mean(np.maximum(1 - t * p, 0))])

    def test_accuracy_beside_binary_crossentropy_counts_each_output(self):
        model = Sequential([Dense(3, activation="sigmoid", input_shape=(4,))])
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
        y = R.randint(2, size=(12, 3))
        expected = np.mean((model.predict(X) > 0.5) == y)
        assert model.evaluate(X, y, verbose=0)[1] == pytest.approx(expected)

    def test_train_on_batch_returns_the_metrics_of_its_batch(self):
        model = network(optimizer=keras.optimizers.SGD(0.0), metrics=["mae"])
        for part in (slice(0, 4), slice(4, 12)):
            expected = np.mean(np.abs(model.predict(X[part]) - Y[part]))
            assert model.train_on_batch(X[part], Y[part])[1] == pytest.approx(expected, rel=1e-5)

    def test_masked_metrics_are_means_of_means_over_batches(self):
        x = R.rand(4, 5, 3).astype("float32")
        x[0, 1:] = 0
        model = Sequential([layers.Masking(input_shape=(5, 3)), LSTM(2, return_sequences=True)])
        model.compile("sgd", "mae")
        y = R.rand(4, 5, 2)
        kept = (x != 0).any(-1)
        errors = np.abs(model.predict(x) - y).mean(-1)
        means = [errors[part][kept[part]].mean() for part in (slice(0, 2), slice(2, 4))]
        found = model.evaluate(x, y, batch_size=2, verbose=0)
        assert found == pytest.approx(np.mean(means), rel=1e-5)
        assert abs(found - errors[kept].mean()) > 1e-4


class TestLayers:
    def test_batch_normalization_counts_masked_steps(self):
        x = R.rand(6, 4, 3).astype("float32")
        x[:, 2:] = 0
        model = Sequential([layers.Masking(input_shape=(4, 3)), layers.BatchNormalization()])
        step = K.function([model.input, K.learning_phase()], [model.output])
        expected = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-3)
        np.testing.assert_allclose(step([x, 1])[0], expected, rtol=1e-3, atol=1e-4)

    def test_merged_masks_are_joined_by_and(self):
        a, b, c = Input((3,)), Input((3,)), Input((3, 2))
        table = layers.Embedding(5, 2, mask_zero=True)
        merged = layers.add([table(a), table(b), c])
        mask = K.function([a, b], [merged._keras_history[0].output_mask])
        np.testing.assert_array_equal(mask([[[1, 0, 2]], [[0, 0, 3]]])[0], [[0, 0, 1]])

    @pytest.mark.parametrize("cls", [layers.SimpleRNN, GRU, LSTM])
    def test_a_masked_first_step_emits_the_state(self, cls):
        layer = cls(2, return_sequences=True)
        a, states = Input((3, 2)), [Input((2,)) for _ in cls(2).states]
        out = layer(layers.Masking()(a), initial_state=states)
        model = Model([a, *states], out)
        x, state = R.rand(1, 3, 2), R.rand(1, 2)
        x[:, 0] = 0
        np.testing.assert_allclose(model.predict([x, *[state] * len(states)])[:, 0], state)

    def test_going_backwards_within_bidirectional_swaps_the_directions(self):
        x = R.rand(2, 5, 3)
        wrapped = [
            layers.Bidirectional(LSTM(2, go_backwards=back), input_shape=(5, 3))
            for back in (False, True)
        ]
        plain, swapped = (Sequential([layer]) for layer in wrapped)
        weights = plain.get_weights()
        swapped.set_weights(weights[3:] + weights[:3])
        found = swapped.predict(x)
        np.testing.assert_allclose(
            np.concatenate([found[:, 2:], found[:, :2]], axis=1), plain.predict(x), rtol=1e-5
        )

    def test_truncated_normals_are_not_widened(self):
        plain = keras.initializers.VarianceScaling(1.0, "fan_in", "normal", seed=1)
        # Cutting a normal at two deviations leaves 0.8796 of its deviation.
        assert K.eval(plain((400, 400))).std() == pytest.approx(0.8796 / 20, rel=0.01)
        later = keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal", seed=1)
        assert K.eval(later((400, 400))).std() == pytest.approx(1 / 20, rel=0.01)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kullback_leibler_divergence", "kl_divergence"),
        ("logcosh", "log_cosh"),
        ("acc", "accuracy"),
    ],
)
def test_names_of_losses_and_metrics(old, new):
    model = network(metrics=[old])
    other = network(metrics=[new])
    other.set_weights(model.get_weights())
    assert model.evaluate(X, Y, verbose=0) == other.evaluate(X, Y, verbose=0)


def test_slope_of_a_leaky_relu():
    for keyword in ("alpha", "negative_slope"):
        model = Sequential([layers.LeakyReLU(**{keyword: 0.25}, input_shape=(1,))])
        np.testing.assert_allclose(model.predict(np.array([[-4.0]])), [[-1.0]])
