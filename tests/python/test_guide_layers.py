"""The Chinese guide to Keras, layers: each of its statements is a test that quotes it."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam.layers import (
    Activation,
    Convolution1D,
    Convolution2D,
    Dense,
    Flatten,
    Input,
    Reshape,
)
from hornbeam.models import Sequential

R = np.random.RandomState(12)
REQUIRED = inspect.Parameter.empty

SIGNATURES = {
    "core.Dense": {"units": REQUIRED, "activation": None},
    "core.Activation": {"activation": REQUIRED},
    "core.Dropout": {"rate": REQUIRED, "seed": None},
    "core.Flatten": {},
    "core.Reshape": {"target_shape": REQUIRED},
    "convolutional.Conv1D": {
        "filters": REQUIRED,
        "kernel_size": REQUIRED,
        "strides": 1,
        "padding": "valid",
        "dilation_rate": 1,
        "activation": None,
    },
    "convolutional.Conv2D": {
        "filters": REQUIRED,
        "kernel_size": REQUIRED,
        "strides": (1, 1),
        "padding": "valid",
        "data_format": None,
        "dilation_rate": (1, 1),
        "activation": None,
    },
    "pooling.MaxPooling1D": {"pool_size": 2, "strides": None, "padding": "valid"},
    "pooling.MaxPooling2D": {
        "pool_size": (2, 2),
        "strides": None,
        "padding": "valid",
        "data_format": None,
    },
    "pooling.AveragePooling1D": {"pool_size": 2, "strides": None, "padding": "valid"},
    "pooling.AveragePooling2D": {
        "pool_size": (2, 2),
        "strides": None,
        "padding": "valid",
        "data_format": None,
    },
    "pooling.GlobalMaxPooling1D": {},
    "pooling.GlobalAveragePooling1D": {},
    "pooling.GlobalMaxPooling2D": {"data_format": None},
    "pooling.GlobalAveragePooling2D": {"data_format": None},
    "recurrent.Recurrent": {"return_sequences": False, "go_backwards": False, "stateful": False},
    "recurrent.SimpleRNN": {
        "units": REQUIRED,
        "activation": "tanh",
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
    },
    "recurrent.GRU": {
        "units": REQUIRED,
        "activation": "tanh",
        "recurrent_activation": "hard_sigmoid",
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
    },
    "recurrent.LSTM": {
        "units": REQUIRED,
        "activation": "tanh",
        "recurrent_activation": "hard_sigmoid",
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
    },
    "embeddings.Embedding": {
        "input_dim": REQUIRED,
        "output_dim": REQUIRED,
        "mask_zero": False,
        "input_length": None,
    },
    "merge.Add": {},
    "merge.Multiply": {},
    "merge.Average": {},
    "merge.Maximum": {},
    "merge.Concatenate": {"axis": -1},
    "merge.Dot": {"axes": REQUIRED, "normalize": False},
}


@pytest.fixture
def channels_first():
    K.set_image_data_format("channels_first")
    yield
    K.set_image_data_format("channels_last")


@pytest.mark.parametrize("path", SIGNATURES)
def test_signature(path):
    """keras.layers.core.Dense(units, activation=None), and so on for each layer."""
    module, name = path.split(".")
    cls = getattr(getattr(keras.layers, module), name)
    assert cls is getattr(keras.layers, name)
    found = inspect.signature(cls).parameters
    for argument, default in SIGNATURES[path].items():
        assert found[argument].default == default, argument


def output_of(layer, x):
    """Apply a layer to an array."""
    return Sequential([keras.layers.InputLayer(x.shape[1:]), layer]).predict(x)


# 常用层


def test_dense_example():
    """模型输入shape为 (*, 16),输出shape (*, 32); 第一层之后,就不需要指定输入大小了."""
    model = Sequential()
    model.add(Dense(32, input_shape=(16,)))
    assert (model.input_shape, model.output_shape) == ((None, 16), (None, 32))
    model.add(Dense(32))
    assert model.output_shape == (None, 32)


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 5), (3, 2, 4, 5)])
def test_dense_is_linear_by_default(shape):
    """如果不指定该参数,将使用线性激活函数; 输入为 nD 张量,输出为形如 (nb_samples, …, units)."""
    x = R.rand(*shape).astype("float32")
    layer = Dense(7)
    y = output_of(layer, x)
    kernel, bias = layer.get_weights()
    assert y.shape == (*shape[:-1], 7)
    np.testing.assert_allclose(y, x @ kernel + bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("units", [0, -3, 2.5])
def test_dense_units_are_a_positive_integer(units):
    """units:大于 0 的整数,代表该层的输出维度."""
    with pytest.raises(ValueError, match="units"):
        Dense(units)


@pytest.mark.parametrize("function", ["tanh", K.tanh, np.tanh.__name__])
@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4)])
def test_activation(function, shape):
    """激活函数,为预定义激活函数名或一个函数; 输入 shape 任意, 输出 shape 与输入 shape 相同."""
    model = Sequential([Activation(function, input_shape=shape)])
    x = R.randn(2, *shape).astype("float32")
    assert model.output_shape == (None, *shape)
    np.testing.assert_allclose(model.predict(x), np.tanh(x), rtol=1e-5, atol=1e-6)


def test_dropout():
    """在训练过程中随机断开一定百分比(rate)的输入神经元; seed:整数,使用的随机数种子."""
    x = np.ones((100, 100), "float32")
    a = Input(shape=(100,))
    step = K.function([a], [keras.layers.core.Dropout(0.25, seed=3)(a, training=True)])
    dropped = step([x])[0]
    assert (dropped == 0).mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_allclose(dropped[dropped != 0], 1 / 0.75, rtol=1e-6)
    again = K.function([a], [keras.layers.core.Dropout(0.25, seed=3)(a, training=True)])
    np.testing.assert_array_equal(dropped, again([x])[0])
    np.testing.assert_array_equal(output_of(keras.layers.core.Dropout(0.25), x), x)


def test_flatten_example(channels_first):
    """卷积操作将 (3,32,32) 格式的图像数据转换成 (64,32,32) 格式,Flatten 的结果则是 65536.

    The guide counts the channels first here: keras.json says so, or this setting.
    """
    with pytest.warns(UserWarning, match="Keras 2 API"):
        model = Sequential()
        model.add(Convolution2D(64, 3, 3, border_mode="same", input_shape=(3, 32, 32)))
    assert model.output_shape == (None, 64, 32, 32)
    model.add(Flatten())
    assert model.output_shape == (None, 65536)
    assert model.predict(np.zeros((2, 3, 32, 32))).shape == (2, 65536)


def test_flatten_keeps_the_batch():
    """把多维的输入一维化, 不影响 batch 的大小."""
    x = R.rand(5, 2, 3, 4).astype("float32")
    np.testing.assert_array_equal(output_of(Flatten(), x), x.reshape(5, 24))


def test_reshape_example():
    """输出 shape 为 (batch_size,)+target_shape; 也支持 `-1` 作为维度."""
    model = Sequential()
    model.add(Reshape((3, 4), input_shape=(12,)))
    assert model.output_shape == (None, 3, 4)
    model.add(Reshape((6, 2)))
    assert model.output_shape == (None, 6, 2)
    model.add(Reshape((-1, 2, 2)))
    assert model.output_shape == (None, 3, 2, 2)
    x = R.rand(5, 12).astype("float32")
    np.testing.assert_array_equal(model.predict(x), x.reshape(5, 3, 2, 2))


# 卷积层


def test_conv1d_input_shape():
    """(10,128) 代表一个长为 10 的序列; (None, 128) 代表变长的 128 维向量序列."""
    fixed = Sequential([keras.layers.Conv1D(4, 3, input_shape=(10, 128))])
    assert fixed.output_shape == (None, 8, 4)
    free = Sequential([keras.layers.Conv1D(4, 3, input_shape=(None, 128))])
    assert free.output_shape == (None, None, 4)
    for steps in (5, 9):
        assert free.predict(np.zeros((2, steps, 128))).shape == (2, steps - 2, 4)


@pytest.mark.parametrize(
    ("padding", "strides", "dilation_rate", "steps"),
    [
        ("valid", 1, 1, 8),
        ("valid", 2, 1, 4),
        ("valid", (1,), [2], 6),
        ("same", 1, 1, 10),
        ("same", 3, 1, 4),
        ("causal", 1, 1, 10),
        ("causal", 1, 3, 10),
    ],
)
def test_conv1d_output_shape(padding, strides, dilation_rate, steps):
    """输出 shape 为形如 (samples,new_steps,nb_filter) 的 3D 张量."""
    layer = keras.layers.Conv1D(
        5, (3,), strides=strides, padding=padding, dilation_rate=dilation_rate
    )
    y = output_of(layer, R.rand(2, 10, 4).astype("float32"))
    assert y.shape == (2, steps, 5)
    assert layer.output_shape == (None, steps, 5)


@pytest.mark.parametrize("dilation_rate", [1, 2])
def test_causal_convolution(dilation_rate):
    """causal: output[t] 不依赖于 input[t+1:]."""
    layer = keras.layers.Conv1D(3, 3, padding="causal", dilation_rate=dilation_rate)
    model = Sequential([keras.layers.InputLayer((10, 4)), layer])
    x = R.rand(2, 10, 4).astype("float32")
    y = model.predict(x)
    x[:, 6:] = R.rand(2, 4, 4)
    changed = model.predict(x)
    np.testing.assert_array_equal(changed[:, :6], y[:, :6])
    assert (changed[:, 6:] != y[:, 6:]).any(axis=(0, 2)).all()


@pytest.mark.parametrize("name", ["Conv1D", "Conv2D"])
def test_strides_and_dilation_exclude_each_other(name):
    """任何不为 1 的 strides 均与任何不为 1 的 dilation_rata 均不兼容."""
    with pytest.raises(ValueError, match="strides"):
        getattr(keras.layers, name)(4, 3, strides=2, dilation_rate=2)


def test_conv1d_is_a_shortcut_of_conv2d():
    """对 (10,32) 的信号进行 1D 卷积相当于对其进行卷积核为 (filter_length, 32) 的 2D 卷积."""
    assert Convolution1D is keras.layers.Conv1D
    x = R.rand(2, 10, 32).astype("float32")
    one, two = keras.layers.Conv1D(6, 3), keras.layers.Conv2D(6, (3, 32))
    y = output_of(one, x)
    model = Sequential([keras.layers.InputLayer((10, 32, 1)), two])
    kernel, bias = one.get_weights()
    two.set_weights([kernel[:, :, None, :], bias])
    np.testing.assert_allclose(model.predict(x[..., None])[:, :, 0], y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Conv1D", "Conv2D"])
def test_convolutions_bias_and_activation(name):
    """use_bias=True 则还会加上一个偏置项; activation 不为 None,则输出为经过激活函数的输出."""
    shape = (8, 4) if name == "Conv1D" else (8, 8, 4)
    x = R.rand(2, *shape).astype("float32")
    plain = getattr(keras.layers, name)(5, 3, use_bias=False)
    y = output_of(plain, x)
    assert len(plain.get_weights()) == 1
    active = getattr(keras.layers, name)(5, 3, activation="relu")
    model = Sequential([keras.layers.InputLayer(shape), active])
    bias = R.randn(5).astype("float32")
    active.set_weights([*plain.get_weights(), bias])
    np.testing.assert_allclose(model.predict(x), np.maximum(y + bias, 0), rtol=1e-4, atol=1e-5)


def test_conv2d_input_shape():
    """input_shape = (128,128,3) 代表 128×128 的彩色 RGB 图像(data_format='channels_last')."""
    model = Sequential([keras.layers.Conv2D(4, 3, input_shape=(128, 128, 3))])
    assert model.layers[0].data_format == "channels_last"
    assert model.output_shape == (None, 126, 126, 4)
    assert model.get_weights()[0].shape == (3, 3, 3, 4)


@pytest.mark.parametrize(
    ("size", "strides", "padding", "dilation_rate", "rows", "columns"),
    [
        (3, 1, "valid", 1, 7, 5),
        ((2, 3), (1, 1), "valid", (1, 1), 8, 5),
        (3, 2, "valid", 1, 4, 3),
        ((3, 3), (2, 1), "same", 1, 5, 7),
        (3, 1, "same", 1, 9, 7),
        (3, 1, "valid", 2, 5, 3),
        (3, 1, "valid", (1, 2), 7, 3),
    ],
)
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_conv2d_output_shape(size, strides, padding, dilation_rate, rows, columns, data_format):
    """channels_first: (samples,nb_filter,new_rows,new_cols), channels_last: 通道在最后."""
    layer = keras.layers.Conv2D(
        5,
        size,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        data_format=data_format,
    )
    x = R.rand(2, 9, 7, 4).astype("float32")
    if data_format == "channels_first":
        x = x.transpose(0, 3, 1, 2)
        expected = (2, 5, rows, columns)
    else:
        expected = (2, rows, columns, 5)
    assert output_of(layer, x).shape == expected
    assert layer.output_shape == (None, *expected[1:])


@pytest.mark.parametrize(
    "name", ["Conv2D", "MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling2D"]
)
def test_data_format_default(name, channels_first):
    """该参数的默认值是 ~/.keras/keras.json 中设置的值,若从未设置过,则为 channels_last."""
    arguments = (4, 3) if name == "Conv2D" else ()
    assert getattr(keras.layers, name)(*arguments).data_format == "channels_first"
    K.set_image_data_format("channels_last")
    assert getattr(keras.layers, name)(*arguments).data_format == "channels_last"


# 池化层


@pytest.mark.parametrize(("name", "reduce"), [("Max", np.max), ("Average", np.mean)])
def test_pooling_1d(name, reduce):
    """strides: 下采样因子,若为 None 则默认值为 pool_size; (samples,downsampled_steps,features)."""
    cls = getattr(keras.layers, f"{name}Pooling1D")
    x = R.rand(2, 8, 3).astype("float32")
    np.testing.assert_allclose(
        output_of(cls(), x), reduce(x.reshape(2, 4, 2, 3), axis=2), rtol=1e-6
    )
    np.testing.assert_allclose(
        output_of(cls(pool_size=4), x), reduce(x.reshape(2, 2, 4, 3), axis=2), rtol=1e-6
    )
    strided = output_of(cls(pool_size=3, strides=1), x)
    expected = np.stack([reduce(x[:, i : i + 3], axis=1) for i in range(6)], axis=1)
    np.testing.assert_allclose(strided, expected, rtol=1e-6)
    assert output_of(cls(pool_size=3, padding="same"), x).shape == (2, 3, 3)


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize(("name", "reduce"), [("Max", np.max), ("Average", np.mean)])
def test_pooling_2d(name, reduce, data_format):
    """取 (2,2) 将使图片在两个维度上均变为原长的一半; (samples,pooled_rows,pooled_cols,channels)."""
    cls = getattr(keras.layers, f"{name}Pooling2D")
    x = R.rand(2, 6, 8, 3).astype("float32")
    expected = reduce(x.reshape(2, 3, 2, 4, 2, 3), axis=(2, 4))
    if data_format == "channels_first":
        x, expected = x.transpose(0, 3, 1, 2), expected.transpose(0, 3, 1, 2)
    for size in (2, (2, 2)):
        layer = cls(pool_size=size, data_format=data_format)
        np.testing.assert_allclose(output_of(layer, x), expected, rtol=1e-6)
        assert layer.output_shape == (None, *expected.shape[1:])


def test_pooling_2d_takes_border_mode():
    """border_mode:“valid”或者“same”; strides: 整数或长为 2 的整数 tuple,或者 None."""
    x = R.rand(2, 5, 5, 3).astype("float32")
    with pytest.warns(UserWarning, match="Keras 2 API"):
        layer = keras.layers.MaxPooling2D((2, 2), border_mode="same")
    assert output_of(layer, x).shape == (2, 3, 3, 3)
    assert output_of(keras.layers.MaxPooling2D(2, strides=(1, 3)), x).shape == (2, 4, 2, 3)


@pytest.mark.parametrize(("name", "reduce"), [("Max", np.max), ("Average", np.mean)])
def test_global_pooling(name, reduce):
    """输出 shape 为形如 (samples, features) 的 2D 张量; 2D: (nb_samples, channels)."""
    x = R.rand(2, 6, 3).astype("float32")
    one = getattr(keras.layers, f"Global{name}Pooling1D")()
    np.testing.assert_allclose(output_of(one, x), reduce(x, axis=1), rtol=1e-5)
    x = R.rand(2, 6, 4, 3).astype("float32")
    two = getattr(keras.layers, f"Global{name}Pooling2D")
    expected = reduce(x, axis=(1, 2))
    np.testing.assert_allclose(output_of(two(), x), expected, rtol=1e-5)
    first = two(data_format="channels_first")
    np.testing.assert_allclose(
        output_of(first, np.ascontiguousarray(x.transpose(0, 3, 1, 2))), expected, rtol=1e-5
    )
