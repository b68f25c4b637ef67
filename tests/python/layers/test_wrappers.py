"""TimeDistributed and Bidirectional."""

from __future__ import annotations

import numpy as np
import pytest
from python.layers import references as ref
from python.layers.checking import layer_test, set_random_weights

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam import layers


def distributed(inner):
    def make(**kwargs):
        return layers.TimeDistributed(inner(), **kwargs)

    make.__name__ = "TimeDistributed"
    return make


def test_time_distributed_dense():
    layer = layer_test(
        distributed(lambda: layers.Dense(3, activation="tanh")),
        {},
        (5, 4),
        lambda x, w, b: np.tanh(x @ w + b),
    )
    assert [w.name for w in layer.weights] == [f"{layer.name}/kernel:0", f"{layer.name}/bias:0"]


def test_time_distributed_convolution():
    def expected(x, w, b):
        flat = x.reshape(-1, *x.shape[2:])
        y = ref.conv(flat, w) + b
        return y.reshape(*x.shape[:2], *y.shape[1:])

    layer_test(distributed(lambda: layers.Conv2D(2, 2)), {}, (3, 4, 3, 2), expected)


def test_time_distributed_model():
    inner = keras.models.Sequential([layers.Dense(3, input_shape=(4,)), layers.Dense(2)])
    x = layers.Input(shape=(5, 4))
    y = layers.TimeDistributed(inner)(x)
    model = keras.models.Model(x, y)
    values = np.random.RandomState(1).randn(2, 5, 4)
    w, b, v, c = model.get_weights()
    np.testing.assert_allclose(
        model.predict(values), (values @ w + b) @ v + c, rtol=1e-4, atol=1e-5
    )
    copy = keras.models.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    assert (copy.predict(values) == model.predict(values)).all()


def test_time_distributed_of_unknown_steps():
    x = layers.Input(shape=(None, 4))
    layer = layers.TimeDistributed(layers.Dense(3))
    y = layer(x)
    assert K.int_shape(y) == (None, None, 3)
    values = np.random.RandomState(1).randn(2, 6, 4)
    w, b = layer.get_weights()
    np.testing.assert_allclose(
        K.function([x], [y])([values])[0], values @ w + b, rtol=1e-4, atol=1e-5
    )


def test_time_distributed_batch_normalization_is_updated():
    inner = layers.BatchNormalization(momentum=0.5)
    layer = layers.TimeDistributed(inner, input_shape=(4, 3))
    model = keras.models.Sequential([layer])
    model.compile(keras.optimizers.SGD(lr=0.0), "mse")
    x = np.random.RandomState(1).randn(6, 4, 3) + 2
    assert len(model.updates) == 2
    model.train_on_batch(x, x)
    np.testing.assert_allclose(inner.get_weights()[2], 0.5 * x.mean((0, 1)), rtol=1e-5)
    fixed = layers.TimeDistributed(layers.BatchNormalization())
    fixed(layers.Input(shape=(4, 3)), training=False)
    assert fixed.updates == []


def test_time_distributed_penalties():
    for argument, count in (
        ("kernel_regularizer", 1),
        ("activity_regularizer", 1),
    ):
        layer = layers.TimeDistributed(layers.Dense(2, **{argument: "l1"}), input_shape=(3, 4))
        model = keras.models.Sequential([layer])
        assert len(model.losses) == count
    x = np.random.RandomState(1).randn(5, 3, 4)
    model.compile(keras.optimizers.SGD(), "mse")
    y = model.predict(x)
    penalty = 0.01 * np.abs(y).sum()
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0, batch_size=5), penalty, rtol=1e-5)


def test_time_distributed_constraints_are_applied():
    layer = layers.TimeDistributed(
        layers.Dense(2, kernel_constraint=lambda w: w * 0 + 3.0), input_shape=(3, 4)
    )
    model = keras.models.Sequential([layer])
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((2, 3, 4)), np.ones((2, 3, 2)))
    assert (layer.get_weights()[0] == 3).all()


def test_time_distributed_dropout_and_mask():
    x = layers.Input(shape=(4, 50))
    layer = layers.TimeDistributed(layers.Dropout(0.5))
    y = layer(layers.Masking()(x), training=True)
    values = np.ones((2, 4, 50))
    out, mask = K.function([x], [y, layer.output_mask])([values])
    assert set(np.unique(out)) == {0.0, 2.0}
    assert mask.all()
    assert mask.shape == (2, 4)


def test_trainable_reaches_the_wrapped_layer():
    layer = layers.TimeDistributed(layers.Dense(2))
    layer.build((None, 3, 4))
    assert len(layer.trainable_weights) == 2
    layer.trainable = False
    assert layer.trainable_weights == []
    assert len(layer.non_trainable_weights) == 2
    copy = layers.deserialize(layers.serialize(layer))
    assert copy.trainable is False
    assert copy.layer.trainable is False


def test_wrapper_errors():
    with pytest.raises(ValueError, match="expected a layer to wrap"):
        layers.TimeDistributed(layers.Dense)
    with pytest.raises(ValueError, match="at least 3 axes"):
        layers.TimeDistributed(layers.Dense(3))(layers.Input(shape=(4,)))
    with pytest.raises(ValueError, match="invalid merge mode"):
        layers.Bidirectional(layers.LSTM(3), merge_mode="max")
    with pytest.raises(ValueError, match="expected a recurrent layer"):
        layers.Bidirectional(layers.Dense(3))


def merged(mode, forward, backward):
    return {
        "concat": lambda: np.concatenate([forward, backward], axis=-1),
        "sum": lambda: forward + backward,
        "mul": lambda: forward * backward,
        "ave": lambda: (forward + backward) / 2,
        None: lambda: [forward, backward],
    }[mode]()


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize(
    ("cls", "step"), [(layers.SimpleRNN, ref.simple_rnn_step), (layers.LSTM, ref.lstm_step)]
)
def test_bidirectional(cls, step, mode, sequences):
    def make(**kwargs):
        return layers.Bidirectional(cls(2, return_sequences=sequences), merge_mode=mode, **kwargs)

    def expected(x, *weights):
        forward = ref.rnn(step, x, weights[:3], 2)
        backward = ref.rnn(step, x, weights[3:], 2, backwards=True)
        if sequences:
            return merged(mode, forward[1], backward[1][:, ::-1])
        return merged(mode, forward[0], backward[0])

    layer_test(make, {}, (4, 3), expected)


def test_bidirectional_with_a_mask():
    x = np.random.RandomState(1).randn(3, 4, 3)
    mask = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0]], bool)
    x *= mask[:, :, None]
    inputs = layers.Input(shape=(4, 3))
    layer = layers.Bidirectional(layers.GRU(2, return_sequences=True), merge_mode="sum")
    y = layer(layers.Masking()(inputs))
    weights = set_random_weights(layer)
    out, out_mask = K.function([inputs], [y, layer.output_mask])([x])
    forward = ref.rnn(ref.gru_step, x, weights[:3], 2, mask=mask)[1]
    backward = ref.rnn(ref.gru_step, x, weights[3:], 2, mask=mask, backwards=True)[1]
    np.testing.assert_allclose(out, forward + backward[:, ::-1], rtol=1e-5, atol=1e-5)
    assert (out_mask == mask).all()


def test_bidirectional_states():
    inputs = layers.Input(shape=(4, 3))
    start = [layers.Input(shape=(2,)) for _ in range(4)]
    layer = layers.Bidirectional(layers.LSTM(2, return_state=True))
    outputs = layer(inputs, initial_state=start)
    weights = set_random_weights(layer)
    random = np.random.RandomState(1)
    x, states = random.randn(3, 4, 3), [random.randn(3, 2) for _ in start]
    model = keras.models.Model([inputs, *start], outputs)
    found = model.predict([x, *states])
    forward = ref.rnn(ref.lstm_step, x, weights[:3], 2, states=states[:2])
    backward = ref.rnn(ref.lstm_step, x, weights[3:], 2, states=states[2:], backwards=True)
    expected = [np.concatenate([forward[0], backward[0]], -1), *forward[2], *backward[2]]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="expected 4 initial states"):
        layer(inputs, initial_state=start[:2])


def test_bidirectional_names_weights_and_configs():
    layer = layers.Bidirectional(layers.LSTM(2, name="memory"), name="both", input_shape=(4, 3))
    model = keras.models.Sequential([layer])
    assert layer.forward_layer.name == "forward_memory"
    assert layer.backward_layer.name == "backward_memory"
    assert layer.backward_layer.go_backwards
    assert [w.name for w in layer.weights][:4] == [
        "both/forward_memory/kernel:0",
        "both/forward_memory/recurrent_kernel:0",
        "both/forward_memory/bias:0",
        "both/backward_memory/kernel:0",
    ]
    other = layers.Bidirectional(layers.LSTM(2), weights=model.get_weights(), input_shape=(4, 3))
    again = keras.models.Sequential([other])
    x = np.random.RandomState(1).randn(3, 4, 3)
    assert (again.predict(x) == model.predict(x)).all()


def test_bidirectional_of_a_layer_with_functions_of_the_users():
    def bent(x):
        return K.tanh(x) + 0.1 * x

    def penalty(w):
        return 0.5 * K.sum(K.abs(w))

    inner = layers.SimpleRNN(3, activation=bent, kernel_regularizer=penalty)
    layer = layers.Bidirectional(inner, merge_mode="sum", input_shape=(1, 2))
    model = keras.models.Sequential([layer])
    x = np.random.RandomState(1).randn(4, 1, 2)
    w, _, b, v, _, c = set_random_weights(layer)
    one, two = x[:, 0] @ w + b, x[:, 0] @ v + c
    expected = np.tanh(one) + 0.1 * one + np.tanh(two) + 0.1 * two
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4, atol=1e-5)
    penalties = sum(K.eval(loss) for loss in layer.losses)
    assert penalties == pytest.approx(0.5 * (np.abs(w).sum() + np.abs(v).sum()), rel=1e-5)
    with pytest.raises(ValueError, match="both named '<lambda>'"):
        layers.Bidirectional(
            layers.LSTM(2, activation=lambda x: x, recurrent_activation=lambda x: x)
        )


def test_bidirectional_stateful():
    layer = layers.Bidirectional(layers.SimpleRNN(2, stateful=True), batch_input_shape=(3, 4, 2))
    model = keras.models.Sequential([layer])
    x = np.random.RandomState(1).randn(3, 4, 2)
    first = model.predict(x, batch_size=3)
    second = model.predict(x, batch_size=3)
    assert np.abs(first - second).max() > 1e-4
    model.reset_states()
    assert (model.predict(x, batch_size=3) == first).all()


def test_bidirectional_penalties():
    layer = layers.Bidirectional(layers.SimpleRNN(2, kernel_regularizer="l1"), input_shape=(4, 3))
    model = keras.models.Sequential([layer])
    assert len(model.losses) == 2
    layer.trainable = False
    assert model.trainable_weights == []
