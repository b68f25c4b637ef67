"""Utilities on real models and in real training runs."""

import h5py
import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam import utils
from hornbeam.errors import UnsafeFileError
from hornbeam.layers import Conv2D, Dense, Dropout, Flatten, Input, Lambda, TimeDistributed, add
from hornbeam.models import Model, Sequential
from hornbeam.utils import layer_utils


def data(n=40):
    rng = np.random.RandomState(0)
    x = rng.normal(size=(n, 4)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


def model():
    utils.set_random_seed(2)
    made = Sequential([Dense(3, input_shape=(4,)), Dropout(0.3), Dense(1)])
    made.compile("sgd", "mse")
    return made


def test_a_seed_repeats_weights_masks_and_order():
    def run():
        made = model()
        history = made.fit(*data(), epochs=2, batch_size=8, verbose=0)
        return history.history["loss"], made.get_weights()

    first, second = run(), run()
    assert first[0] == second[0]
    for a, b in zip(first[1], second[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shuffle", [False, "batch", True])
def test_training_on_rows_of_a_file(tmp_path, shuffle):
    x, y = data()
    path = tmp_path / "rows.h5"
    with h5py.File(path, "w") as f:
        f["x"], f["y"] = np.vstack([x * 0, x]), np.vstack([y, y])
    rows = utils.HDF5Matrix(path, "x", 40, 80, normalizer=lambda a: a * 2)
    targets = utils.HDF5Matrix(path, "y", 40)

    def run(x, y):
        made = model()
        made.fit(x, y, epochs=2, batch_size=8, shuffle=shuffle, verbose=0)
        return made.evaluate(x, y, verbose=0), made.predict(x)

    (loss, found), (expected_loss, expected) = run(rows, targets), run(x * 2, y)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


class Batches(utils.Sequence):
    def __init__(self, size=8):
        self.x, self.y = data()
        self.size = size

    def __len__(self):
        return len(self.x) // self.size

    def __getitem__(self, index):
        rows = slice(index * self.size, (index + 1) * self.size)
        return self.x[rows], self.y[rows]


@pytest.mark.parametrize("keywords", [{}, {"workers": 3}, {"workers": 2, "pickle_safe": True}])
def test_training_on_a_sequence_is_training_on_its_arrays(keywords):
    made = model()
    made.fit_generator(Batches(), steps_per_epoch=5, epochs=2, verbose=0, **keywords)
    other = model()
    other.fit(*data(), batch_size=8, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(made.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_an_error_in_a_generator_ends_training_with_it():
    def batches():
        yield data(8)
        raise KeyError("no more rows")

    with pytest.raises(KeyError, match="no more rows"):
        model().fit_generator(batches(), steps_per_epoch=4, epochs=1, verbose=0)


def test_the_summary_of_a_real_graph(capsys):
    a = Input((4,), name="a")
    b = Dense(3, name="b")(a)
    c = Dense(3, name="c")(a)
    frozen = Dense(3, name="frozen", trainable=False)
    made = Model(a, frozen(add([b, c], name="sum")))
    made.summary()
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("sum (Add)") and line.rstrip().endswith("b[0][0]") for line in lines)
    assert "Total params: 42" in lines and "Non-trainable params: 12" in lines
    collected = []
    layer_utils.print_summary(made, print_fn=collected.append)
    assert collected == lines


def test_drawings_of_real_models():
    pytest.importorskip("pydot")
    a = Input((5, 4))
    made = Model(a, TimeDistributed(Dense(2, name="inner"))(a))
    dot = utils.model_to_dot(made, show_shapes=True)
    text = dot.to_string()
    assert "TimeDistributed(Dense)" in text and "(None, 5, 2)" in text
    assert len(dot.get_edges()) == 1
    chain = utils.model_to_dot(model(), show_layer_names=False)
    assert len(chain.get_edges()) == 2 and "Dropout" in chain.to_string()


def test_kernels_of_the_other_convention():
    made = Sequential([Conv2D(2, (3, 2), input_shape=(5, 5, 1)), Flatten(), Dense(1)])
    before = made.get_weights()
    utils.convert_all_kernels_in_model(made)
    after = made.get_weights()
    np.testing.assert_array_equal(after[0], before[0][::-1, ::-1])
    for a, b in zip(after[1:], before[1:], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("target", ["channels_first", "channels_last"])
def test_dense_weights_after_a_change_of_layout(target):
    shape = (3, 4, 2) if target == "channels_last" else (2, 3, 4)
    old = Sequential([Dense(5, input_shape=(24,))])
    images = np.random.RandomState(0).normal(size=(6, 3, 4, 2)).astype("float32")
    last, first = images.reshape(6, 24), images.transpose(0, 3, 1, 2).reshape(6, 24)
    before, after = (last, first) if target == "channels_first" else (first, last)
    expected = old.predict(before)
    layer_utils.convert_dense_weights_data_format(old.layers[0], shape, target)
    np.testing.assert_allclose(old.predict(after), expected, rtol=1e-4, atol=1e-5)


def test_code_of_a_lambda_layer_from_elsewhere_is_refused():
    made = Sequential([Lambda(lambda x: x * 3, input_shape=(4,))])
    config = made.get_config()
    again = Sequential.from_config(config)  # this process's own code
    x, _ = data()
    np.testing.assert_allclose(again.predict(x), x * 3, rtol=1e-6)
    from hornbeam.utils import func_utils

    known = set(func_utils._own_dumps)
    func_utils._own_dumps.clear()
    try:
        with pytest.raises(UnsafeFileError, match="safe_mode=False"):
            Sequential.from_config(config)
        with func_utils.safe_mode_scope(False):
            assert Sequential.from_config(config).predict(x).shape == x.shape
    finally:
        func_utils._own_dumps.update(known)


def test_custom_objects_reach_layers():
    def double(x):
        return K.relu(x) * 2

    made = Sequential([Dense(2, activation=double, input_shape=(4,))])
    config = made.get_config()
    with pytest.raises(ValueError, match="double"):
        Sequential.from_config(config)
    with utils.custom_object_scope({"double": double}):
        assert Sequential.from_config(config).layers[0].activation is double
