import sys
import types

import h5py
import numpy as np
import pytest

from hornbeam.engine import Input
from hornbeam.layers import Dense
from hornbeam.models import Model, Sequential
from hornbeam.utils import HDF5Matrix, Sequence

RNG = np.random.RandomState(0)
X = RNG.normal(size=(50, 4)).astype("float32")
Y = RNG.normal(size=(50, 1)).astype("float32")


def regression(weights=None):
    model = Sequential([Dense(1, input_shape=(4,))])
    model.compile("sgd", "mse")
    if weights is not None:
        model.set_weights(weights)
    return model


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as f:
        f["x"], f["y"] = X, Y
    return tmp_path / "data.h5"


def forever(x=X, y=Y, size=10, weights=None):
    while True:
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            yield (x[part], y[part]) if weights is None else (x[part], y[part], weights[part])


class Batches(Sequence):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return X[10 * index : 10 * index + 10], Y[10 * index : 10 * index + 10]


@pytest.mark.parametrize("shuffle", [False, "batch", True])
def test_datasets_train_as_arrays_do(file, shuffle):
    a = regression()
    b = regression(a.get_weights())
    options = {"batch_size": 8, "epochs": 2, "shuffle": shuffle, "verbose": 0}
    np.random.seed(1)
    expected = a.fit(X, Y, validation_data=(X, Y), **options).history
    with h5py.File(file, "r") as f:
        np.random.seed(1)
        found = b.fit(f["x"], f["y"], validation_data=(f["x"], f["y"]), **options).history
        assert b.evaluate(f["x"], f["y"], verbose=0) == b.evaluate(X, Y, verbose=0)
        np.testing.assert_array_equal(b.predict(f["x"]), b.predict(X))
        assert b.test_on_batch(f["x"], f["y"]) == b.test_on_batch(X, Y)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-6)


def test_hdf5_matrix(file):
    x, y = HDF5Matrix(str(file), "x", 0, 40), HDF5Matrix(str(file), "y", 0, 40)
    model = regression()
    history = model.fit(x, y, shuffle="batch", batch_size=16, epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2
    assert model.evaluate(x, y, verbose=0) == model.evaluate(X[:40], Y[:40], verbose=0)
    np.testing.assert_array_equal(model.predict(x), model.predict(X[:40]))
    split = model.fit(x, y, validation_split=0.25, shuffle=False, epochs=1, verbose=0)
    assert np.isfinite(split.history["val_loss"][0])


@pytest.mark.parametrize("matrix", [False, True], ids=["dataset", "HDF5Matrix"])
def test_targets_in_a_file_may_lack_the_last_axis(tmp_path, matrix):
    labels = (X.sum(axis=1) > 2).astype("int64")
    path = str(tmp_path / "labels.h5")
    with h5py.File(path, "w") as f:
        f["x"], f["y"] = X, labels
    model = Sequential([Dense(2, activation="softmax", input_shape=(4,))])
    model.compile("sgd", "sparse_categorical_crossentropy")
    expected = model.evaluate(X, labels, verbose=0)
    with h5py.File(path, "r") as f:
        x, y = (HDF5Matrix(path, k) for k in "xy") if matrix else (f["x"], f["y"])
        assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-6)
        assert len(model.fit(x, y, shuffle="batch", epochs=2, verbose=0).epoch) == 2


def test_a_dataset_of_a_wrong_shape(file):
    with h5py.File(file, "r") as f, pytest.raises(ValueError, match=r"\(None, 4\).*\(50, 1\)"):
        regression().fit(f["y"], f["y"], verbose=0)


@pytest.mark.parametrize("stream", [forever, Batches])
def test_streams_train_as_arrays_do(stream):
    a = regression()
    b = regression(a.get_weights())
    a.fit(X, Y, batch_size=10, epochs=2, shuffle=False, verbose=0)
    history = b.fit_generator(stream(), steps_per_epoch=5, epochs=2, verbose=0)
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-6)
    np.testing.assert_allclose(history.history["loss"], a.history.history["loss"], rtol=1e-5)
    assert abs(b.evaluate_generator(stream(), 5) - b.evaluate(X, Y, verbose=0)) < 1e-5
    np.testing.assert_allclose(b.predict_generator(stream(), 5), b.predict(X), rtol=1e-6)


def test_streams_in_fit():
    model = regression()
    assert len(model.fit(Batches(), epochs=2, verbose=0).epoch) == 2
    assert len(model.fit(forever(), steps_per_epoch=3, epochs=2, verbose=0).epoch) == 2
    assert model.predict(Batches()).shape == (50, 1)
    assert np.isfinite(model.evaluate(Batches()))


def test_validation_of_streams():
    model = regression()
    history = model.fit_generator(
        forever(), 2, epochs=2, validation_data=forever(), validation_steps=5, verbose=0
    ).history
    assert abs(history["val_loss"][-1] - model.evaluate(X, Y, verbose=0)) < 1e-5
    history = model.fit_generator(forever(), 2, validation_data=(X, Y), verbose=0).history
    assert abs(history["val_loss"][-1] - model.evaluate(X, Y, verbose=0)) < 1e-5
    history = model.fit(Batches(), epochs=1, validation_data=Batches(), verbose=0).history
    assert abs(history["val_loss"][-1] - model.evaluate(X, Y, verbose=0)) < 1e-5


def test_weights_in_streams():
    weights = RNG.uniform(0, 1, 50)
    a = regression()
    b = regression(a.get_weights())
    a.fit(X, Y, sample_weight=weights, batch_size=10, epochs=1, shuffle=False, verbose=0)
    b.fit_generator(forever(weights=weights), 5, verbose=0)
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-6)


def test_keras_1_arguments_of_generators():
    model = regression()
    with pytest.warns(UserWarning):
        history = model.fit_generator(forever(), samples_per_epoch=3, nb_epoch=2, verbose=0)
    assert len(history.epoch) == 2


@pytest.mark.parametrize(
    ("stream", "steps", "message"),
    [
        (lambda: iter([(X, Y)] * 3), 5, "ended after 3 batches of the 5"),
        (lambda: iter([X] * 9), 5, "tuple"),
        (lambda: iter([(X, Y, 1, 2)] * 9), 5, "tuple"),
        (forever, None, "steps_per_epoch"),
        (forever, 0, "steps_per_epoch"),
    ],
)
def test_streams_that_do_not_fit(stream, steps, message):
    model = regression()
    with pytest.raises(ValueError, match=message):
        model.fit_generator(stream(), steps_per_epoch=steps, verbose=0)
    assert len(model.fit(X, Y, epochs=1, verbose=0).epoch) == 1


def test_an_error_in_a_generator_is_the_users():
    def broken():
        yield X, Y
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        regression().fit_generator(broken(), 5, verbose=0)


def test_several_inputs_in_streams():
    a, b = Input((4,), name="a"), Input((4,), name="b")
    from hornbeam.layers import add

    model = Model([a, b], Dense(1, name="out")(add([a, b])))
    model.compile("sgd", "mse")

    def stream():
        while True:
            yield {"a": X, "b": X}, {"out": Y}

    assert len(model.fit_generator(stream(), 2, epochs=1, verbose=0).epoch) == 1
    assert model.evaluate_generator(stream(), 2) == model.evaluate([X, X], Y, 50, verbose=0)


def test_a_loader_as_that_of_torch():
    class Tensor:
        def __init__(self, array):
            self.array = array

        def detach(self):
            return self

        cpu = detach

        def numpy(self):
            return self.array

    class Loader:
        def __len__(self):
            return 5

        def __iter__(self):
            for start in range(0, 50, 10):
                yield [Tensor(X[start : start + 10]), Tensor(Y[start : start + 10])]

    a = regression()
    b = regression(a.get_weights())
    a.fit(X, Y, batch_size=10, epochs=2, shuffle=False, verbose=0)
    b.fit(Loader(), epochs=2, verbose=0)
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-6)
    np.testing.assert_array_equal(b.predict(Tensor(X)), b.predict(X))


def test_frames():
    """What pandas gives: objects with `__array__` and a shape."""

    class Frame:
        def __init__(self, array):
            self.array = array
            self.shape = array.shape

        def __len__(self):
            return len(self.array)

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.array, dtype=dtype)

        def __getitem__(self, key):
            raise KeyError(key)

    model = regression()
    series = Frame(Y[:, 0].astype("float64"))
    model.fit(Frame(X.astype("float64")), series, epochs=1, verbose=0)
    np.testing.assert_array_equal(model.predict(Frame(X)), model.predict(X))


def test_lists_and_dictionaries():
    model = regression()
    expected = model.predict(X)
    np.testing.assert_array_equal(model.predict(X.tolist()), expected)
    np.testing.assert_array_equal(model.predict([X]), expected)
    np.testing.assert_array_equal(model.predict({model.input_names[0]: X}), expected)
    model.fit(X.tolist(), Y.tolist(), epochs=1, verbose=0)
    model.fit(X, Y[:, 0].tolist(), epochs=1, verbose=0)
    assert model.predict([[1, 2, 3, 4]]).shape == (1, 1)


def test_a_stateless_module_is_not_needed():
    """Neither pandas nor torch is imported for data that is not theirs."""
    assert isinstance(sys.modules.get("hornbeam"), types.ModuleType)
    assert "torch" not in sys.modules


def test_large_arrays_of_another_type_are_converted_in_batches(monkeypatch):
    from hornbeam.data import arrays

    x = RNG.randint(0, 3, (50, 4)).astype("uint8")
    a = regression()
    b = regression(a.get_weights())
    expected = a.fit(x, Y, epochs=2, batch_size=8, shuffle=False, verbose=0).history["loss"]
    monkeypatch.setattr(arrays, "COPY_LIMIT", 100)
    found = b.fit(x, Y, epochs=2, batch_size=8, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(b.predict(x), a.predict(x), rtol=1e-6)
    assert b.train_on_batch(x, Y) == a.train_on_batch(x, Y)
