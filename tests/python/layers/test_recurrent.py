"""Recurrent layers against plain loops: values, masks, states, directions, dropout."""

from __future__ import annotations

import numpy as np
import pytest
from python.layers import references as ref
from python.layers.checking import function_of, layer_test, set_random_weights

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam import layers

STEPS, FEATURES, UNITS = 4, 3, 2
KINDS = {
    "SimpleRNN": (layers.SimpleRNN, ref.simple_rnn_step, {}),
    "GRU": (layers.GRU, ref.gru_step, {}),
    "GRU reset after": (
        layers.GRU,
        lambda *a: ref.gru_step(*a, gate=ref.sigmoid),
        {"reset_after": True, "recurrent_activation": "sigmoid"},
    ),
    "LSTM": (layers.LSTM, ref.lstm_step, {}),
    "LSTM sigmoid": (
        layers.LSTM,
        lambda *a: ref.lstm_step(*a, gate=ref.sigmoid),
        {"recurrent_activation": "sigmoid"},
    ),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def states_of(cls):
    return 2 if cls is layers.LSTM else 1


def loop(kind, x, weights, **arguments):
    cls, step, _ = kind
    states = arguments.pop("states", None)
    states = states or [np.zeros((len(x), UNITS)) for _ in range(states_of(cls))]
    return ref.rnn(step, x, weights, UNITS, states=states, **arguments)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
def test_values(kind, sequences, backwards):
    cls, _, arguments = kind

    def expected(x, *weights):
        last, outputs, _ = loop(kind, x, weights, backwards=backwards)
        return outputs if sequences else last

    arguments = {
        "units": UNITS,
        "return_sequences": sequences,
        "go_backwards": backwards,
        **arguments,
    }
    layer_test(cls, arguments, (STEPS, FEATURES), expected)


@pytest.mark.parametrize("implementation", [0, 1, 2])
@pytest.mark.parametrize("unroll", [False, True])
def test_implementation_and_unroll_change_nothing(kind, implementation, unroll):
    cls, _, arguments = kind
    arguments = {"implementation": implementation, "unroll": unroll, **arguments}
    layer_test(
        cls,
        {"units": UNITS, **arguments},
        (STEPS, FEATURES),
        lambda x, *w: loop(kind, x, w)[0],
        gradients=False,
    )


def test_without_bias(kind):
    cls, _, arguments = kind
    gates = {layers.SimpleRNN: 1, layers.GRU: 3, layers.LSTM: 4}[cls]
    shape = (2, gates * UNITS) if arguments.get("reset_after") else (gates * UNITS,)
    layer = layer_test(
        cls,
        {"units": UNITS, "use_bias": False, **arguments},
        (STEPS, FEATURES),
        lambda x, w, u: loop(kind, x, (w, u, np.zeros(shape)))[0],
    )
    assert len(layer.weights) == 2


def test_return_state(kind):
    cls, _, arguments = kind

    def expected(x, *weights):
        _, outputs, states = loop(kind, x, weights)
        return [outputs, *states]

    layer_test(
        cls,
        {"units": UNITS, "return_state": True, "return_sequences": True, **arguments},
        (STEPS, FEATURES),
        expected,
    )


def test_penalties_and_constraints(kind):
    cls, _, arguments = kind
    layer = layer_test(
        cls,
        {
            "units": UNITS,
            "kernel_regularizer": "l2",
            "recurrent_regularizer": "l2",
            "bias_regularizer": "l2",
            "activity_regularizer": "l2",
            "kernel_constraint": "max_norm",
            "recurrent_constraint": "max_norm",
            "bias_constraint": "max_norm",
            **arguments,
        },
        (STEPS, FEATURES),
        gradients=False,
    )
    assert len(layer.losses) == 4
    assert set(layer.constraints) == {layer.kernel, layer.recurrent_kernel, layer.bias}


X = np.random.RandomState(1).randn(3, STEPS, FEATURES)
MASK = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0]], bool)


def build(kind, inputs=None, mask=True, **arguments):
    cls, _, own = kind
    x = layers.Input(shape=(STEPS, FEATURES)) if inputs is None else inputs
    layer = cls(UNITS, **own, **arguments)
    y = layer(layers.Masking()(x) if mask else x)
    return x, layer, y, set_random_weights(layer)


@pytest.mark.parametrize("backwards", [False, True])
def test_masked_steps_carry_output_and_state_over(kind, backwards):
    x, layer, y, weights = build(kind, return_sequences=True, go_backwards=backwards)
    values = X * MASK[:, :, None]
    out, mask = K.function([x], [y, layer.output_mask])([values])
    expected = loop(kind, values, weights, mask=MASK, backwards=backwards)[1]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    assert (mask == MASK).all()
    x, layer, y, weights = build(kind, return_state=True)
    out = K.function([x], y)([values])
    last, _, states = loop(kind, values, weights, mask=MASK)
    for a, b in zip(out, [last, *states], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert layer.output_mask == [None] * (1 + len(states))


def test_padding_on_either_side_gives_the_same(kind):
    x, _, y, _ = build(kind)
    short = X[:, :2]
    left, right = np.zeros_like(X), np.zeros_like(X)
    left[:, 2:], right[:, :2] = short, short
    run = K.function([x], [y])
    np.testing.assert_allclose(run([left])[0], run([right])[0], rtol=1e-6)


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_an_own_activation_goes_step_by_step(kind, backwards, unroll):
    options = {"return_sequences": True, "go_backwards": backwards}
    x, whole, y, weights = build(kind, return_state=True, **options)
    own = {"activation": lambda t: K.tanh(t), "unroll": unroll, "return_state": True}
    _, steps, z, _ = build(kind, inputs=x, **own, **options)
    steps.set_weights(weights)
    values = X * MASK[:, :, None]
    found = K.function([x], [*y, *z])([values])
    for a, b in zip(found[: len(y)], found[len(y) :], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_an_own_step_function_is_used(kind):
    cls, _, arguments = kind

    class Doubled(cls):
        def step(self, inputs, states):
            output, states = super().step(inputs, states)
            return 2.0 * output, states

    x = layers.Input(shape=(STEPS, FEATURES))
    plain, doubled = (c(UNITS, return_sequences=True, **arguments) for c in (cls, Doubled))
    y, z = plain(x), doubled(x)
    doubled.set_weights(plain.get_weights())
    a, b = K.function([x], [y, z])([X])
    np.testing.assert_allclose(2 * a, b, rtol=1e-5, atol=1e-6)


def test_any_number_of_steps(kind):
    cls, _, arguments = kind
    x = layers.Input(shape=(None, FEATURES))
    layer = cls(UNITS, return_sequences=True, **arguments)
    y = layer(layers.Masking()(x))
    assert K.int_shape(y) == (None, None, UNITS)
    weights = set_random_weights(layer)
    run = K.function([x], [y])
    for steps in (1, 3, 7):
        values = np.random.RandomState(steps).randn(2, steps, FEATURES)
        expected = loop(kind, values, weights)[1]
        np.testing.assert_allclose(run([values])[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("source", ["layers", "variables"])
def test_initial_state(kind, source):
    cls, _, arguments = kind
    count = states_of(cls)
    start = [np.random.RandomState(i).randn(3, UNITS) for i in range(count)]
    x = layers.Input(shape=(STEPS, FEATURES))
    layer = cls(UNITS, **arguments)
    if source == "layers":
        states = [layers.Input(shape=(UNITS,)) for _ in start]
        fed, values = [x, *states], [X, *start]
    else:
        states = [K.variable(s) for s in start]
        fed, values = [x], [X]
    y = layer(x, initial_state=states)
    weights = set_random_weights(layer)
    expected = loop(kind, X, weights, states=list(start))[0]
    np.testing.assert_allclose(K.function(fed, [y])(values)[0], expected, rtol=1e-5, atol=1e-5)
    if source == "layers":
        assert all(any(s is t for t in layer.inbound_nodes[0].input_tensors) for s in states)
        model = keras.models.Model(fed, y)
        np.testing.assert_allclose(model.predict(values), expected, rtol=1e-5, atol=1e-5)
        copy = keras.models.Model.from_config(model.get_config())
        copy.set_weights(model.get_weights())
        assert (copy.predict(values) == model.predict(values)).all()
    # A later call without states begins with zeros again.
    z = layer(x)
    np.testing.assert_allclose(
        K.function([x], [z])([X])[0], loop(kind, X, weights)[0], rtol=1e-5, atol=1e-5
    )


def test_masked_first_step_emits_the_initial_state(kind):
    cls, _, arguments = kind
    start = [np.random.RandomState(i).randn(3, UNITS) for i in range(states_of(cls))]
    x = layers.Input(shape=(STEPS, FEATURES))
    layer = cls(UNITS, return_sequences=True, **arguments)
    y = layer(layers.Masking()(x), initial_state=[K.variable(s) for s in start])
    values = X.copy()
    values[:, 0] = 0
    np.testing.assert_allclose(K.function([x], [y])([values])[0][:, 0], start[0], rtol=1e-6)


def test_mix_of_initial_states_is_refused():
    x = layers.Input(shape=(STEPS, FEATURES))
    with pytest.raises(ValueError, match="mix of Keras tensors"):
        layers.LSTM(UNITS)(
            x, initial_state=[layers.Input(shape=(UNITS,)), K.variable(np.zeros((3, UNITS)))]
        )
    with pytest.raises(ValueError, match="has 2 states but was passed 1"):
        layers.LSTM(UNITS)(x, initial_state=K.variable(np.zeros((3, UNITS))))


def stateful_model(kind):
    cls, _, arguments = kind
    layer = cls(UNITS, stateful=True, batch_input_shape=(3, STEPS, FEATURES), **arguments)
    model = keras.models.Sequential([layer])
    weights = set_random_weights(layer)
    model.compile(keras.optimizers.SGD(lr=0.0), "mse")
    return model, layer, weights


def test_stateful(kind):
    model, layer, weights = stateful_model(kind)
    _, _, states = loop(kind, X, weights)
    first = loop(kind, X, weights)[0]
    second = loop(kind, X, weights, states=states)[0]
    np.testing.assert_allclose(model.predict(X, batch_size=3), first, rtol=1e-5, atol=1e-5)
    for variable, state in zip(layer.states, states, strict=True):
        np.testing.assert_allclose(K.get_value(variable), state, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.predict(X, batch_size=3), second, rtol=1e-5, atol=1e-5)
    model.reset_states()
    np.testing.assert_allclose(model.predict(X, batch_size=3), first, rtol=1e-5, atol=1e-5)
    layer.reset_states()
    model.train_on_batch(X, first)
    np.testing.assert_allclose(model.predict(X, batch_size=3), second, rtol=1e-5, atol=1e-5)
    layer.reset_states(states)
    np.testing.assert_allclose(model.predict(X, batch_size=3), second, rtol=1e-5, atol=1e-5)


def test_reset_states_checks():
    model, layer, _ = stateful_model(KINDS["LSTM"])
    with pytest.raises(ValueError, match="expects 2 states, but it received 1"):
        layer.reset_states([np.zeros((3, UNITS))])
    with pytest.raises(ValueError, match="State 0 is incompatible"):
        layer.reset_states([np.zeros((4, UNITS))] * 2)
    with pytest.raises(AttributeError, match="must be stateful"):
        layers.LSTM(UNITS).reset_states()
    with pytest.raises(ValueError, match="needs to know its batch size"):
        layers.LSTM(UNITS, stateful=True)(layers.Input(shape=(STEPS, FEATURES)))


ONES = np.ones((40, 5, 8))


def constant_layer(cls, **arguments):
    """A layer whose gates depend on the input alone, through kernels of equal columns."""
    x = layers.Input(shape=ONES.shape[1:])
    layer = cls(UNITS, **arguments)
    y = layer(x)
    return layer, function_of([x], [y])


@pytest.mark.parametrize("cls", [layers.SimpleRNN, layers.GRU, layers.LSTM])
def test_dropout_acts_in_training_alone(cls):
    for arguments in ({"dropout": 0.5}, {"recurrent_dropout": 0.5}):
        layer, run = constant_layer(cls, **arguments)
        plain, other = constant_layer(cls)
        plain.set_weights(layer.get_weights())
        np.testing.assert_allclose(run([ONES], False)[0], other([ONES], False)[0], rtol=1e-5)
        dropped = run([ONES], True)[0]
        assert len(np.unique(dropped.round(5), axis=0)) >= 4
        assert (dropped == run([ONES], True)[0]).all()


def test_input_dropout_is_the_same_at_every_step():
    x = layers.Input(shape=ONES.shape[1:])
    layer = layers.SimpleRNN(1, activation="linear", dropout=0.5, return_sequences=True)
    y = layer(x)
    layer.set_weights([np.ones((8, 1)), np.zeros((1, 1)), np.zeros(1)])
    out = function_of([x], [y])([ONES], True)[0]
    # Each step sums the inputs that are kept, scaled by 2.
    assert (out == out[:, :1]).all()
    kept = out[:, 0, 0] / 2
    assert set(kept) <= set(range(9))
    assert abs(kept.mean() - 4) < 1


def test_recurrent_dropout_is_the_same_at_every_step():
    x = layers.Input(shape=(5, 1))
    layer = layers.SimpleRNN(
        1, activation="linear", recurrent_dropout=0.5, return_sequences=True, use_bias=False
    )
    y = layer(x)
    layer.set_weights([np.ones((1, 1)), np.ones((1, 1))])
    out = function_of([x], [y])([np.ones((40, 5, 1))], True)[0][:, :, 0]
    # Dropped at every step, h stays at the input; kept, it is doubled and added each time.
    rows = {tuple(row) for row in out}
    assert rows == {(1, 1, 1, 1, 1), (1, 3, 7, 15, 31)}


def open_layer(cls, implementation, own, **dropout):
    """A layer that passes a sum on: its gates are open, but what would keep the old state is shut.

    `own` makes it go step by step. Each unit has an input and a state of its own, times 0.5.
    """
    gates = {layers.SimpleRNN: 1, layers.GRU: 3, layers.LSTM: 4}[cls]
    # GRU: z = 0 and r = 1; LSTM: i = 1, f = 0 and o = 1.
    bias = {1: [0], 3: [-9, 9, 0], 4: [9, -9, 0, 9]}[gates]
    summing = {1: 0, 3: 2, 4: 2}[gates]
    units = ONES.shape[2]
    x = layers.Input(shape=ONES.shape[1:])
    layer = cls(
        units,
        activation=(lambda t: t * 1.0) if own else "linear",
        return_sequences=True,
        implementation=implementation,
        **dropout,
    )
    y = layer(x)
    kernel = np.zeros((units, gates * units))
    kernel[:, summing * units : (summing + 1) * units] = 0.5 * np.eye(units)
    layer.set_weights([kernel, kernel, np.repeat(bias, units)])
    return function_of([x], [y])


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("implementation", [0, 2])
@pytest.mark.parametrize("cls", [layers.SimpleRNN, layers.GRU, layers.LSTM])
def test_one_mask_for_the_whole_sequence(cls, implementation, own):
    run = open_layer(cls, implementation, own, dropout=0.25)
    out = run([ONES], True)[0]
    # The first step shows the input's mask; without a state h(t) = 0.5 * mask + 0.5 * h(t - 1).
    mask = out[:, 0] / 0.5
    assert set(np.unique(mask.round(4))) == {0, np.float32(1.3333)}
    assert abs((mask == 0).mean() - 0.25) < 0.1
    assert (mask[0] != mask[1]).any()
    halves = 2 - 0.5 ** np.arange(ONES.shape[1])
    np.testing.assert_allclose(out, 0.5 * mask[:, None] * halves[:, None], rtol=1e-5, atol=1e-6)
    run = open_layer(cls, implementation, own, recurrent_dropout=0.25)
    out = run([ONES], True)[0]
    # h(1) = 0.5, and h(t) = 0.5 + 0.5 * mask * h(t - 1).
    mask = (out[:, 1] - 0.5) / 0.25
    assert set(np.unique(mask.round(4))) == {0, np.float32(1.3333)}
    assert abs((mask == 0).mean() - 0.25) < 0.1
    for t in range(1, ONES.shape[1]):
        expected = 0.5 + 0.5 * mask * out[:, t - 1]
        np.testing.assert_allclose(out[:, t], expected, rtol=1e-4, atol=1e-5)
    assert (run([ONES], False)[0] == open_layer(cls, implementation, own)([ONES], True)[0]).all()


@pytest.mark.parametrize("implementation", [0, 2])
@pytest.mark.parametrize(("cls", "gates"), [(layers.GRU, 3), (layers.LSTM, 4)])
def test_masks_of_the_gates(cls, gates, implementation):
    layer = cls(UNITS, dropout=0.5, recurrent_dropout=0.5, implementation=implementation)
    x = layers.Input(shape=(STEPS, FEATURES))
    layer(x)
    constants = layer.get_constants(x, training=True)
    assert len(constants) == (1 if implementation == 2 else gates)
    masks = K.function([x], constants)([np.ones((200, STEPS, FEATURES))])
    assert all(set(np.unique(m)) == {0.0, 2.0} for m in masks)
    assert not any((masks[0] == m).all() for m in masks[1:])
    layer_test(
        cls,
        {
            "units": UNITS,
            "dropout": 0.5,
            "recurrent_dropout": 0.3,
            "implementation": implementation,
        },
        (STEPS, FEATURES),
        training=True,
    )


def test_unit_forget_bias():
    layer = layers.LSTM(3, bias_initializer="he_normal")
    layer.build((None, STEPS, FEATURES))
    bias = layer.get_weights()[2]
    assert (bias[3:6] == 1).all()
    assert (np.delete(bias, [3, 4, 5]) != 0).all()
    layer = layers.LSTM(3, unit_forget_bias=False)
    layer.build((None, STEPS, FEATURES))
    assert (layer.get_weights()[2] == 0).all()


def test_configs():
    assert layers.LSTM(3).get_config()["recurrent_activation"] == "hard_sigmoid"
    assert layers.GRU(3).get_config()["reset_after"] is False
    config = layers.SimpleRNN(3, dropout=2.0).get_config()
    assert config["dropout"] == 1.0
    with pytest.raises(ValueError, match="`implementation` must be 0, 1 or 2"):
        layers.LSTM(3, implementation=3)
    with pytest.raises(ValueError, match="`units` must be a positive integer"):
        layers.GRU(0)
    with pytest.raises(ValueError, match="number of features must be known"):
        layers.GRU(2)(layers.Input(shape=(4, None)))


def test_as_the_guide_says():
    model = keras.models.Sequential()
    model.add(layers.LSTM(32, input_shape=(10, 64)))
    assert model.output_shape == (None, 32)
    model.add(layers.RepeatVector(2))
    with pytest.warns(UserWarning, match="input_shape"):
        first = layers.LSTM(32, input_dim=64, input_length=10)
    assert first.batch_input_shape == (None, 10, 64)
    model = keras.models.Sequential()
    model.add(layers.LSTM(6, input_shape=(10, 4), return_sequences=True))
    model.add(layers.LSTM(5, return_sequences=True))
    model.add(layers.LSTM(3))
    assert model.output_shape == (None, 3)
    assert model.predict(np.ones((2, 10, 4))).shape == (2, 3)


def test_an_own_recurrent_layer():
    class Sum(layers.Recurrent):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units

        def build(self, input_shape):
            self._build_input(input_shape)
            self.built = True

        def step(self, inputs, states):
            total = states[0] + inputs
            return total, [total]

    x = layers.Input(shape=(STEPS, FEATURES))
    y = Sum(FEATURES, return_sequences=True)(x)
    np.testing.assert_allclose(K.function([x], [y])([X])[0], X.cumsum(axis=1), rtol=1e-5, atol=1e-6)
