"""All of a worker's logical shards in one run have the bits of one shard after the other."""

import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam.distribution import set_strategy
from hornbeam.engine.sharded import ShardedProgram
from hornbeam.engine.strategy import LocalStrategy
from hornbeam.layers import (
    GRU,
    LSTM,
    Activation,
    AveragePooling1D,
    AveragePooling2D,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    ConvLSTM2D,
    Cropping2D,
    Dense,
    Dot,
    Dropout,
    Embedding,
    Flatten,
    GaussianDropout,
    GaussianNoise,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    GroupNormalization,
    Input,
    Lambda,
    LocallyConnected1D,
    Masking,
    MaxPooling2D,
    Permute,
    PReLU,
    RepeatVector,
    Reshape,
    SeparableConv2D,
    SimpleRNN,
    Softmax,
    SpatialDropout1D,
    TimeDistributed,
    UpSampling2D,
    ZeroPadding2D,
    add,
    multiply,
)
from hornbeam.models import Model, Sequential

ROWS = 44
BATCH = 16


class ShardsHere(LocalStrategy):
    """All logical shards in this process."""

    sharded = True

    def __init__(self, shards, at_once):
        self.shards, self.at_once, self.loops = shards, at_once, []

    def start(self, program, arrays, batch_size, order=None):
        if not isinstance(program, ShardedProgram):
            return super().start(program, arrays, batch_size, order)
        functions = (program.normalizers, program.function, program.apply)
        compiled = [None if f is None else f.core for f in functions]
        loop = K.ShardedLoop(*compiled, list(arrays), batch_size, order, None, self.shards)
        loop.set_at_once(self.at_once)
        self.loops.append(loop)
        return loop


@pytest.fixture(autouse=True)
def local_afterwards():
    yield
    set_strategy(LocalStrategy())


def rng():
    return np.random.RandomState(3)


def numbers(*shape):
    return rng().normal(size=(ROWS, *shape)).astype("float32")


def words(length, vocabulary=20):
    return rng().randint(0, vocabulary, (ROWS, length))


def classes(n):
    return np.eye(n, dtype="float32")[rng().randint(0, n, ROWS)]


def dense():
    layers = [
        Dense(24, activation="relu", input_shape=(12,), kernel_regularizer="l2"),
        Dropout(0.4),
        GaussianNoise(0.1),
        Dense(16, activation="tanh", activity_regularizer="l2"),
        PReLU(),
        GaussianDropout(0.2),
        Dense(3, activation="softmax"),
    ]
    return Sequential(layers), numbers(12), classes(3), "categorical_crossentropy"


def wide():
    """Large enough for several threads and packed products."""
    layers = [Dense(300, activation="relu", input_shape=(400,)), Dense(70), Dense(1)]
    return Sequential(layers), numbers(400), numbers(1), "mse"


def images():
    layers = [
        Conv2D(16, 3, padding="same", input_shape=(12, 12, 3), use_bias=False),
        BatchNormalization(),
        Activation("relu"),
        Conv2D(20, 3, padding="same", activation="relu"),
        MaxPooling2D(),
        Conv2D(8, 5, strides=2, padding="same"),
        BatchNormalization(momentum=0.9),
        Dropout(0.25),
        Flatten(),
        Dense(4, activation="softmax"),
    ]
    return Sequential(layers), numbers(12, 12, 3), classes(4), "categorical_crossentropy"


def more_images():
    x = Input((8, 8, 4))
    y = SeparableConv2D(6, 3, padding="same")(x)
    y = ZeroPadding2D(1)(Cropping2D(1)(y))
    y = Conv2DTranspose(4, 3, strides=2, padding="same")(y)
    y = AveragePooling2D(2)(y)
    y = add([y, x])
    y = UpSampling2D(2)(y)
    y = Concatenate(axis=-1)([y, UpSampling2D(2)(x)])
    y = Dense(2)(GlobalAveragePooling2D()(Permute((2, 1, 3))(y)))
    return Model(x, y), numbers(8, 8, 4), numbers(2), "mae"


def volumes():
    layers = [Conv3D(4, 2, activation="relu", input_shape=(5, 6, 5, 2)), Flatten(), Dense(1)]
    return Sequential(layers), numbers(5, 6, 5, 2), numbers(1), "mse"


def lstm():
    layers = [
        Embedding(20, 6, mask_zero=True, input_length=7),
        SpatialDropout1D(0.2),
        LSTM(9, return_sequences=True, dropout=0.2, recurrent_dropout=0.3),
        LSTM(5),
        Dense(1, activation="sigmoid"),
    ]
    return Sequential(layers), words(7), rng().randint(0, 2, (ROWS, 1)), "binary_crossentropy"


def gru():
    layers = [
        Masking(0.0, input_shape=(6, 5)),
        Bidirectional(GRU(7, return_sequences=True)),
        GRU(6, reset_after=True, return_sequences=True, recurrent_dropout=0.2),
        SimpleRNN(4, return_sequences=True),
        TimeDistributed(Dense(2)),
    ]
    x = numbers(6, 5)
    x[:, 4:] *= rng().randint(0, 2, (ROWS, 2, 1))
    return Sequential(layers), x, numbers(6, 2), "mse"


def scans():
    layers = [ConvLSTM2D(3, 2, input_shape=(3, 4, 4, 2), unroll=False), Flatten(), Dense(1)]
    return Sequential(layers), numbers(3, 4, 4, 2), numbers(1), "mse"


def sequences():
    layers = [
        Embedding(30, 8, input_length=12),
        Conv1D(10, 3, activation="relu"),
        AveragePooling1D(2),
        LocallyConnected1D(6, 2),
        GlobalMaxPooling1D(),
        RepeatVector(3),
        Reshape((9, 2)),
        GlobalAveragePooling1D(),
        Dense(5, activation="softmax"),
    ]
    y = rng().randint(0, 5, (ROWS, 1))
    return Sequential(layers), words(12, 30), y, "sparse_categorical_crossentropy"


def attention():
    x = Input((6, 8))
    q, k, v = Dense(8)(x), Dense(8)(x), Dense(8)(x)
    weights = Softmax()(Dot(axes=2)([q, k]))
    y = multiply([Dot(axes=(2, 1))([weights, v]), x])
    y = Lambda(lambda t: K.sum(t, axis=1) / (1 + K.max(K.abs(t), axis=(1, 2))[:, None]))(y)
    y = Dense(3)(y)
    return Model(x, y), numbers(6, 8), numbers(3), "logcosh"


def groups():
    """Group normalization, and statistics over the whole shard."""

    def normalized(t):
        t = K.reshape(t, (-1, 4, 4, 2, 3))
        mean = K.mean(t, axis=(1, 2, 4), keepdims=True)
        t = (t - mean) / K.sqrt(K.mean(K.square(t - mean), axis=(1, 2, 4), keepdims=True) + 1e-3)
        return K.reshape(t, (-1, 4, 4, 6))

    layers = [
        Conv2D(6, 3, padding="same", input_shape=(4, 4, 2)),
        Lambda(normalized),
        Lambda(lambda t: t - K.mean(t) + K.max(K.abs(t), axis=0)),
        GroupNormalization(2),
        Flatten(),
        Dense(2),
    ]
    return Sequential(layers), numbers(4, 4, 2), numbers(2), "mse"


CASES = [
    dense, wide, images, more_images, volumes, lstm, gru, scans, sequences, attention, groups,
]  # fmt: skip


def train(model, x, y, shards, at_once, **options):
    """Train two epochs; return all bits of what comes of it, and the loops."""
    strategy = ShardsHere(shards, at_once)
    set_strategy(strategy)
    history = model.fit(
        x, y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, **options
    ).history
    state = [a.tobytes() for a in [*model.get_weights(), *model.optimizer.get_weights()]]
    return (state, history), strategy.loops


def beginning(model, shards, weighted=False):
    """Return a function that puts the model back to where it is now."""
    set_strategy(ShardsHere(shards, True))
    program = model._make_train_function(weighted)
    start = model.get_weights(), model.optimizer.get_weights()

    def restore():
        model.set_weights(start[0])
        model.optimizer.set_weights(start[1])
        program.function.core.step = 0

    return restore


def check(model, x, y, shards, **options):
    """Compare both ways of running shards; return how many steps ran at once."""
    restore = beginning(model, shards, "sample_weight" in options)
    results = []
    for at_once in (False, True):
        restore()
        found, loops = train(model, x, y, shards, at_once, **options)
        assert np.isfinite(found[1]["loss"]).all()
        results.append(found)
    assert results[0] == results[1]
    return sum(loop.steps_at_once for loop in loops)


@pytest.mark.parametrize("case", CASES)
def test_the_bits_are_those_of_one_shard_after_the_other(case):
    np.random.seed(1)
    model, x, y, loss = case()
    model.compile("adam", loss, metrics=["mae"])
    # The last of the three batches has 12 rows, which eight shards do not divide.
    for shards in (1, 2, 4, 8):
        assert check(model, x, y, shards) == (4 if shards == 8 else 6)


def test_sample_weights_and_masks_count_over_the_batch():
    np.random.seed(1)
    model, x, y, loss = lstm()
    model.compile("rmsprop", loss, metrics=["acc"])
    weights = rng().rand(ROWS).astype("float32")
    weights[3:9] = 0.0
    for shards in (2, 4):
        assert check(model, x, y, shards, sample_weight=weights) == 6


def test_threads_do_not_show():
    np.random.seed(1)
    model, x, y, loss = wide()
    model.compile("sgd", loss)
    before, results = K.num_threads(), []
    restore = beginning(model, 4)
    try:
        for threads in (1, 2, 3):
            K.set_num_threads(threads)
            restore()
            results.append(train(model, x, y, 4, True)[0])
    finally:
        K.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_a_label_out_of_range_is_named_and_changes_nothing():
    np.random.seed(1)
    model, x, y, loss = sequences()
    model.compile("sgd", loss)
    before = [w.tobytes() for w in model.get_weights()]
    x[BATCH - 1, 2] = 31
    messages = []
    for at_once in (False, True):
        with pytest.raises((ValueError, IndexError)) as caught:
            train(model, x, y, 4, at_once)
        messages.append(str(caught.value))
    assert messages[0] == messages[1] and "31" in messages[0]
    assert [w.tobytes() for w in model.get_weights()] == before
