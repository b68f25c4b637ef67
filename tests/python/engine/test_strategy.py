import numpy as np
import pytest

from hornbeam.distribution import LocalStrategy, get_strategy, set_strategy
from hornbeam.engine.loop import batch_shuffle
from hornbeam.layers import Dense
from hornbeam.models import Sequential

X = np.random.RandomState(0).normal(size=(30, 4)).astype("float32")
Y = X[:, :1] * 2


class Recorder(LocalStrategy):
    """Runs locally and notes what it was asked for."""

    def __init__(self):
        self.asked = []

    def start(self, program, arrays, batch_size, order=None):
        kind = "train" if program.training else "predict" if program.collect else "test"
        self.asked.append((kind, len(arrays), batch_size))
        return super().start(program, arrays, batch_size, order)

    def step(self, program, arrays):
        self.asked.append(("step", len(arrays), program.training))
        return super().step(program, arrays)


@pytest.fixture
def strategy():
    recorder = Recorder()
    set_strategy(recorder)
    yield recorder
    set_strategy(None)
    assert type(get_strategy()) is LocalStrategy


def compiled():
    model = Sequential([Dense(1, input_shape=(4,))])
    model.compile("adam", "mse")
    return model


def test_everything_runs_by_the_strategy(strategy):
    model = compiled()
    model.fit(X, Y, epochs=2, batch_size=8, validation_split=0.5, verbose=0)
    assert strategy.asked == [("train", 2, 8), ("test", 2, 8)] * 2
    del strategy.asked[:]
    model.evaluate(X, Y, batch_size=5, verbose=0)
    model.predict(X)
    model.train_on_batch(X, Y)
    model.test_on_batch(X, Y)
    model.predict_on_batch(X)
    assert strategy.asked == [
        ("test", 2, 5),
        ("predict", 1, 32),
        ("step", 2, True),
        ("step", 2, False),
        ("step", 1, False),
    ]


def test_state_goes_round():
    model = compiled()
    model.fit(X, Y, epochs=2, verbose=0)
    state = get_strategy().get_state(model)
    model.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    after = model.get_weights()
    get_strategy().set_state(model, state)
    model.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(after, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("count", [10, 12, 3])
def test_batch_shuffle(count):
    np.random.seed(0)
    order = batch_shuffle(np.arange(count), 4)
    assert sorted(order) == list(range(count))
    for start in range(0, count // 4 * 4, 4):
        block = order[start : start + 4]
        assert block[0] % 4 == 0
        np.testing.assert_array_equal(block, np.arange(block[0], block[0] + 4))
    np.testing.assert_array_equal(order[count // 4 * 4 :], np.arange(count // 4 * 4, count))
