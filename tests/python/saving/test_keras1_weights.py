import h5py
import numpy as np
import pytest

from hornbeam.engine import Input
from hornbeam.layers import GRU, LSTM, Conv1D, Conv2D, Conv2DTranspose, Conv3D, Dense
from hornbeam.models import Model, Sequential
from hornbeam.saving.weights import preprocess_weights_for_loading as convert

RNG = np.random.RandomState(0)


def values(*shape):
    return RNG.normal(size=shape).astype("float32")


def test_recurrent_gates():
    gates = [values(4, 3), values(3, 3), values(3)]
    w = [values(*a.shape) for _ in range(4) for a in gates]
    i, c, f, o = (w[3 * k : 3 * k + 3] for k in range(4))
    kernel, recurrent, bias = convert(LSTM(3), w, "1", None)
    np.testing.assert_array_equal(kernel, np.concatenate([i[0], f[0], c[0], o[0]], 1))
    np.testing.assert_array_equal(recurrent, np.concatenate([i[1], f[1], c[1], o[1]], 1))
    np.testing.assert_array_equal(bias, np.concatenate([i[2], f[2], c[2], o[2]]))
    z, r, h = (w[3 * k : 3 * k + 3] for k in range(3))
    kernel, recurrent, bias = convert(GRU(3), w[:9], "1.2.2", None)
    np.testing.assert_array_equal(kernel, np.concatenate([z[0], r[0], h[0]], 1))
    np.testing.assert_array_equal(bias, np.concatenate([z[2], r[2], h[2]]))


def test_convolutions():
    kernel, bias = values(3, 1, 4, 5), values(5)
    found = convert(Conv1D(5, 3), [kernel, bias], "1", None)
    np.testing.assert_array_equal(found[0], kernel[:, 0])
    oldest = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(convert(Conv1D(5, 3), [oldest, bias], "1", None)[0], kernel[:, 0])
    kernel = values(2, 3, 4, 5)
    first = Conv2D(5, (2, 3), data_format="channels_first")
    old = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(convert(first, [old, bias], "1", None)[0], kernel)
    last = Conv2D(5, (2, 3), data_format="channels_last")
    np.testing.assert_array_equal(convert(last, [kernel, bias], "1", None)[0], kernel)
    transposed = Conv2DTranspose(5, (2, 3), data_format="channels_last")
    old = np.ascontiguousarray(kernel.transpose(0, 1, 3, 2))
    np.testing.assert_array_equal(convert(transposed, [old, bias], "1", None)[0], kernel)
    kernel = values(2, 2, 2, 3, 4)
    first = Conv3D(4, 2, data_format="channels_first")
    old = np.ascontiguousarray(kernel.transpose(4, 3, 0, 1, 2))
    np.testing.assert_array_equal(convert(first, [old], "1", None)[0], kernel)


@pytest.mark.parametrize("version", ["1", "2.0.4"])
def test_kernels_of_theano_are_flipped(version):
    kernel, bias = values(2, 3, 4, 5), values(5)
    found = convert(Conv2D(5, (2, 3)), [kernel, bias], version, "theano")
    np.testing.assert_array_equal(found[0], kernel[::-1, ::-1])
    np.testing.assert_array_equal(found[1], bias)
    kept = convert(Conv2D(5, (2, 3)), [kernel, bias], version, "tensorflow")
    np.testing.assert_array_equal(kept[0], kernel)


def test_models_within_models():
    block = Sequential([Conv2D(2, 3, input_shape=(5, 5, 1)), Conv2D(1, 2)])
    block.layers[0].trainable = False
    weights = [values(*w.shape) for w in block.weights]
    found = convert(block, weights, "2.0.2", "theano")
    # Trainable weights come first: those of the second layer.
    np.testing.assert_array_equal(found[0], weights[0][::-1, ::-1])
    np.testing.assert_array_equal(found[1], weights[1])
    np.testing.assert_array_equal(found[2], weights[2][::-1, ::-1])


def test_a_weights_file_of_keras_1(tmp_path):
    """Groups without versions, as 1.x wrote them."""
    x = Input((6, 4))
    model = Model(x, Dense(2, name="out")(LSTM(3, name="lstm", implementation=2)(x)))
    gates = [values(*s) for _ in range(4) for s in ((4, 3), (3, 3), (3,))]
    dense = [values(3, 2), values(2)]
    with h5py.File(tmp_path / "w.h5", "w") as f:
        f.attrs["layer_names"] = [b"input_1", b"lstm_1", b"dense_1"]
        f.create_group("input_1").attrs["weight_names"] = []
        for name, arrays in (("lstm_1", gates), ("dense_1", dense)):
            group = f.create_group(name)
            names = [f"{name}_{i}".encode() for i in range(len(arrays))]
            group.attrs["weight_names"] = names
            for n, a in zip(names, arrays, strict=True):
                group[n] = a
    model.load_weights(tmp_path / "w.h5")
    found = model.get_weights()
    np.testing.assert_array_equal(found[0][:, 3:6], gates[6])
    np.testing.assert_array_equal(found[3], dense[0])
