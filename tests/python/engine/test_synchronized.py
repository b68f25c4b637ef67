"""Batch normalisation with the statistics of the whole batch, all shards in this process."""

import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam.distribution import set_strategy
from hornbeam.engine.sharded import ShardedProgram
from hornbeam.engine.strategy import LocalStrategy
from hornbeam.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    Input,
    Lambda,
    LayerNormalization,
    Masking,
    SimpleRNN,
    TimeDistributed,
    add,
)
from hornbeam.models import Model, Sequential, load_model

ROWS = 44
BATCH = 16


class ShardsHere(LocalStrategy):
    """All logical shards in this process."""

    sharded = True

    def __init__(self, shards, synchronized=True, at_once=True):
        self.shards, self.synchronized, self.at_once = shards, synchronized, at_once

    def start(self, program, arrays, batch_size, order=None):
        if not isinstance(program, ShardedProgram):
            return super().start(program, arrays, batch_size, order)
        functions = (program.normalizers, program.function, program.apply)
        compiled = [None if f is None else f.core for f in functions]
        loop = K.ShardedLoop(*compiled, list(arrays), batch_size, order, None, self.shards)
        loop.set_at_once(self.at_once)
        return loop


@pytest.fixture(autouse=True)
def local_afterwards():
    yield
    set_strategy(LocalStrategy())


def rng():
    return np.random.RandomState(3)


def numbers(*shape):
    return rng().normal(2.0, 3.0, size=(ROWS, *shape)).astype("float32")


def features():
    layers = [
        Dense(7, input_shape=(5,)),
        BatchNormalization(scale=False),
        Dense(6, activation="tanh"),
        BatchNormalization(center=False),
        Dense(4),
        BatchNormalization(scale=False, center=False),
        LayerNormalization(),
        Dense(2),
    ]
    return Sequential(layers), numbers(5), numbers(2)


def images():
    x = Input((6, 6, 3))
    y = BatchNormalization(axis=1, momentum=0.8)(Conv2D(4, 3, padding="same")(x))
    z = BatchNormalization(axis=2)(Conv2D(4, 3, padding="same")(x))
    y = BatchNormalization()(Activation("relu")(add([y, z])))
    return Model(x, Dense(3)(Flatten()(y))), numbers(6, 6, 3), numbers(3)


def residual():
    """Branches whose statistics do not depend on each other, fused with each other's neighbours."""
    x = y = Input((6, 6, 4))
    for _ in range(2):
        deep = Activation("relu")(BatchNormalization()(Conv2D(4, 3, padding="same")(y)))
        deep = BatchNormalization()(Conv2D(4, 3, padding="same")(deep))
        shortcut = BatchNormalization()(Conv2D(4, 1)(y))
        y = Activation("relu")(add([deep, shortcut]))
    return Model(x, Dense(3)(Flatten()(y))), numbers(6, 6, 4), numbers(3)


def twice():
    """One layer called twice, of which each call has statistics of its own."""
    x = Input((5,))
    layer = BatchNormalization(momentum=0.5)
    y = layer(Dense(5)(layer(x)))
    return Model(x, Dense(2)(y)), numbers(5), numbers(2)


def sequences():
    """Statistics of masked steps, and behind them a mask that depends on them."""
    layers = [
        Masking(input_shape=(6, 4)),
        TimeDistributed(Dense(3)),
        BatchNormalization(beta_initializer="ones"),
        Lambda(lambda x: K.relu(x)),
        Masking(),
        SimpleRNN(5, return_sequences=True),
        TimeDistributed(Dense(1)),
    ]
    x = numbers(6, 4)
    x[np.arange(6) >= rng().randint(1, 7, (ROWS, 1))] = 0.0
    return Sequential(layers), x, numbers(6, 1)


def backend():
    """The backend's function alone, as custom layers use it."""

    def normalize(x):
        return K.normalize_batch_in_training(x, None, None, [0])[0]

    layers = [Dense(5, input_shape=(5,)), Lambda(normalize), Dense(2)]
    return Sequential(layers), numbers(5), numbers(2)


CASES = {f.__name__: f for f in (features, images, residual, twice, sequences, backend)}


def trained(case, strategy, weighted=False):
    np.random.seed(1)
    set_strategy(strategy)
    model, x, y = CASES[case]()
    model.compile("sgd", "mse", sample_weight_mode=None)
    model.optimizer.lr = 0.02
    weights = (np.arange(ROWS) % 3).astype("float32") if weighted and y.ndim == 2 else None
    np.random.seed(2)
    history = model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0, sample_weight=weights)
    return model.get_weights(), history.history["loss"], model.predict(x)


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("shards", [2, 4, 16])
def test_training_is_that_of_one_process(case, shards):
    """Last batches of 12 rows are 8 shards of one row or two, and of 16 some have none."""
    expected = trained(case, LocalStrategy(), weighted=True)
    found = trained(case, ShardsHere(shards), weighted=True)
    for a, b in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    np.testing.assert_allclose(found[2], expected[2], rtol=2e-3, atol=2e-4)
    apart = trained(case, ShardsHere(shards, synchronized=False), weighted=True)
    assert abs(apart[1][1] - expected[1][1]) > 1e-4 * expected[1][1]


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("shards", [1, 4, 8])
def test_shards_in_turns_have_the_same_bits(case, shards):
    found = trained(case, ShardsHere(shards))
    turns = trained(case, ShardsHere(shards, at_once=False))
    for a, b in zip(found[0], turns[0], strict=True):
        assert a.tobytes() == b.tobytes()
    assert found[1] == turns[1]


def model_of(**options):
    np.random.seed(1)
    model = Sequential([Dense(5, input_shape=(5,)), BatchNormalization(**options), Dense(2)])
    model.compile("sgd", "mse")
    return model


def test_a_layer_asks_for_itself():
    def end(strategy, **options):
        set_strategy(strategy)
        model = model_of(**options)
        model.fit(numbers(5), numbers(2), batch_size=BATCH, verbose=0, shuffle=False)
        return [w.tobytes() for w in model.get_weights()]

    asked = end(ShardsHere(4, synchronized=False), synchronized=True)
    assert asked == end(ShardsHere(4))
    assert asked != end(ShardsHere(4, synchronized=False))
    layer = BatchNormalization(synchronized=True)
    assert BatchNormalization.from_config(layer.get_config()).synchronized
    assert "synchronized" not in BatchNormalization().get_config()


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_files_keep_what_a_layer_asks_for(name, tmp_path):
    model_of(synchronized=True).save(str(tmp_path / name))
    assert load_model(str(tmp_path / name)).layers[1].synchronized


def test_a_model_takes_the_distribution_that_it_is_trained_with():
    x, y = numbers(5), numbers(2)
    model = model_of()
    ends = []
    for strategy in (ShardsHere(4), ShardsHere(4, synchronized=False), ShardsHere(4)):
        set_strategy(strategy)
        model.set_weights(model_of().get_weights())
        model.fit(x, y, batch_size=BATCH, verbose=0, shuffle=False)
        ends.append([w.tobytes() for w in model.get_weights()])
    assert ends[0] == ends[2] != ends[1]


@pytest.mark.parametrize("at_once", [True, False])
def test_an_error_behind_an_exchange_changes_nothing(at_once):
    set_strategy(ShardsHere(4, at_once=at_once))
    np.random.seed(1)
    table = K.variable(np.ones((3, 2)))
    x, numbers_in = Input((5,)), Input((1,), dtype="int32")
    normed = BatchNormalization()(Dense(2)(x))

    def look_up(inputs):
        rows, index = inputs
        shift = K.cast(K.round(0.0 * K.sum(rows, axis=1, keepdims=True)), "int32")
        return rows + K.sum(K.gather(table, index + shift), axis=1)

    model = Model([x, numbers_in], Lambda(look_up)([normed, numbers_in]))
    model.compile("sgd", "mse")
    index = np.zeros((ROWS, 1), dtype="int32")
    index[20] = 7

    def fit():
        model.fit([numbers(5), index], numbers(2), batch_size=BATCH, verbose=0, shuffle=False)

    before = [w.tobytes() for w in model.get_weights()]
    with pytest.raises(Exception, match="7"):
        fit()
    # The first batch was trained.
    after = [w.tobytes() for w in model.get_weights()]
    assert before != after
    index[20] = 0
    fit()
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_statistics_within_a_recurrence_are_refused():
    def step(x, states):
        state = K.normalize_batch_in_training(x, None, None, [0])[0] + states[0]
        return state, [state]

    recurrence = Lambda(lambda x: K.rnn(step, x, [0.0 * K.sum(x, axis=1)])[0])
    model = Sequential([Dense(3, input_shape=(4, 5)), recurrence])
    model.compile("sgd", "mse")
    set_strategy(ShardsHere(4))
    with pytest.raises(ValueError, match="synchronized=False"):
        model.fit(numbers(4, 5), numbers(3), batch_size=BATCH, verbose=0)
    set_strategy(ShardsHere(4, synchronized=False))
    model.fit(numbers(4, 5), numbers(3), batch_size=BATCH, verbose=0)
