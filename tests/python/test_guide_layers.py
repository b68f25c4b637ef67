"""The Chinese guide to Keras, layers: each of its statements is a test that quotes it."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam.layers import (
    GRU,
    LSTM,
    Activation,
    Convolution1D,
    Convolution2D,
    Dense,
    Embedding,
    Flatten,
    Input,
    Reshape,
    SimpleRNN,
)
from hornbeam.models import Model, Sequential

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


# 循环层

RECURRENT = [SimpleRNN, GRU, LSTM]


def test_recurrent_is_abstract():
    """这是循环层的抽象类,请不要在模型中直接应用该层(因为它是抽象类,无法实例化任何对象)."""
    with pytest.raises(TypeError, match="use LSTM, GRU or SimpleRNN"):
        keras.layers.recurrent.Recurrent()
    assert all(issubclass(cls, keras.layers.recurrent.Recurrent) for cls in RECURRENT)


@pytest.mark.parametrize("cls", RECURRENT)
def test_return_sequences(cls):
    """若为 True 则返回整个序列,否则仅返回输出序列的最后一个输出."""
    whole, last = cls(4, return_sequences=True), cls(4)
    x = R.rand(3, 5, 2).astype("float32")
    sequence = output_of(whole, x)
    model = Sequential([keras.layers.InputLayer((5, 2)), last])
    last.set_weights(whole.get_weights())
    assert sequence.shape == (3, 5, 4)
    np.testing.assert_allclose(model.predict(x), sequence[:, -1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", RECURRENT)
def test_go_backwards(cls):
    """若为 True,则逆向处理输入序列并返回逆序后的序列."""
    forward, back = cls(4, return_sequences=True), cls(4, return_sequences=True, go_backwards=True)
    x = R.rand(3, 5, 2).astype("float32")
    y = output_of(back, x)
    model = Sequential([keras.layers.InputLayer((5, 2)), forward])
    forward.set_weights(back.get_weights())
    np.testing.assert_allclose(model.predict(x[:, ::-1]), y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", RECURRENT)
def test_stateful(cls):
    """一个 batch 中下标为 i 的样本的最终状态将会用作下一个 batch 同样下标的样本的初始状态.

    在 Sequential 模型使用固定大小的 batch:通过在模型的第一层传入 batch_size=(...) 和 input_shape.
    """
    model = Sequential([cls(4, stateful=True, batch_size=3, input_shape=(5, 2))])
    x = R.rand(3, 10, 2).astype("float32")
    model.predict(x[:, :5], batch_size=3)
    continued = model.predict(x[:, 5:], batch_size=3)
    whole = cls(4)
    other = Sequential([keras.layers.InputLayer((10, 2)), whole])
    whole.set_weights(model.get_weights())
    np.testing.assert_allclose(continued, other.predict(x), rtol=1e-5, atol=1e-6)
    model.reset_states()
    assert not np.allclose(model.predict(x[:, 5:], batch_size=3), continued)


def test_a_stateful_layer_needs_the_batch_size():
    """状态 RNN ... 使用固定大小的 batch."""
    with pytest.raises(ValueError, match="batch"):
        Sequential([LSTM(4, stateful=True, input_shape=(5, 2))])


def test_stateful_functional_model():
    """在函数式模型中,对所有的输入都要指定相同的 batch_size."""
    a = Input(batch_shape=(3, 5, 2))
    model = Model(inputs=a, outputs=LSTM(4, stateful=True)(a))
    x = R.rand(3, 5, 2).astype("float32")
    first = model.predict(x, batch_size=3)
    assert not np.allclose(model.predict(x, batch_size=3), first)


def test_recurrent_example():
    """model.output_shape == (None, 32); 下面是完全相同的: input_dim=64, input_length=10."""
    model = Sequential()
    model.add(LSTM(32, input_shape=(10, 64)))
    assert model.output_shape == (None, 32)
    with pytest.warns(UserWarning, match="input_shape"):
        same = Sequential()
        same.add(LSTM(32, input_dim=64, input_length=10))
    assert (same.input_shape, same.output_shape) == (model.input_shape, model.output_shape)
    assert [w.shape for w in same.get_weights()] == [w.shape for w in model.get_weights()]


def test_stacked_recurrent_layers():
    """要堆叠循环层,必须设置输出到其他循环层的循环层 return_sequences=True."""
    with pytest.warns(UserWarning, match="input_shape"):
        model = Sequential()
        model.add(LSTM(64, input_dim=64, input_length=10, return_sequences=True))
    model.add(LSTM(32, return_sequences=True))
    assert model.output_shape == (None, 10, 32)
    model.add(LSTM(10))
    assert model.output_shape == (None, 10)
    with pytest.raises(ValueError, match="return_sequences=True"):
        model.add(LSTM(16))


@pytest.mark.filterwarnings("ignore:Update your")
def test_input_length_for_flatten_and_dense():
    """当需要在该层后连接 Flatten 层,然后又要连接 Dense 层时,需要指定该参数,否则无法计算出来."""
    model = Sequential()
    model.add(LSTM(4, input_dim=2, input_length=5, return_sequences=True))
    model.add(Flatten())
    model.add(Dense(3))
    assert model.output_shape == (None, 3)
    model = Sequential()
    model.add(LSTM(4, input_dim=2, return_sequences=True))
    with pytest.raises(ValueError, match="(?i)flatten|shape|dimension"):
        model.add(Flatten())
        model.add(Dense(3))


@pytest.mark.parametrize("cls", RECURRENT)
def test_masking_through_an_embedding(cls):
    """如果想将输入数据的一部分屏蔽掉,请使用 Embedding 层并将参数 mask_zero 设为 True."""
    model = Sequential([Embedding(9, 3, mask_zero=True), cls(4)])
    short = np.array([[3, 5, 7]])
    padded = np.array([[3, 5, 7, 0, 0]])
    np.testing.assert_allclose(model.predict(padded), model.predict(short), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", RECURRENT)
@pytest.mark.parametrize("which", ["dropout", "recurrent_dropout"])
def test_dropout_in_recurrent_layers(cls, which):
    """dropout:控制输入线性变换的神经元断开比例; recurrent_dropout:控制循环状态的线性变换."""
    a = Input(shape=(6, 3))
    layer = cls(4, **{which: 0.5})
    outputs = layer(a)
    step = K.function([a, K.learning_phase()], [outputs])
    x = R.rand(8, 6, 3).astype("float32")
    np.testing.assert_array_equal(step([x, 0])[0], step([x, 0])[0])
    assert not np.allclose(step([x, 1])[0], step([x, 1])[0])


def test_hard_sigmoid_gates():
    """recurrent_activation: 为循环步施加的激活函数 ('hard_sigmoid')."""
    layer = LSTM(1, input_shape=(1, 1), use_bias=False)
    model = Sequential([layer])
    layer.set_weights([np.ones((1, 4)), np.zeros((1, 4))])
    x = 3.0
    gate = np.clip(0.2 * x + 0.5, 0, 1)
    expected = gate * np.tanh(gate * np.tanh(x))
    np.testing.assert_allclose(model.predict(np.full((1, 1, 1), x)), [[expected]], rtol=1e-5)


# 嵌入层


def test_embedding_example():
    """模型会接收一个(batch, input_length)的整数矩阵; model.output_shape == (None, 10, 64)."""
    model = Sequential()
    model.add(Embedding(1000, 64, input_length=10))
    assert model.output_shape == (None, 10, 64)
    input_array = np.random.randint(1000, size=(32, 10))
    model.compile("rmsprop", "mse")
    output_array = model.predict(input_array)
    assert output_array.shape == (32, 10, 64)


def test_embedding_is_a_look_up():
    """将正整数(下标)转换为具有固定大小的向量,如 [[4],[20]]->[[0.25,0.1],[0.6,-0.2]]."""
    model = Sequential([Embedding(21, 2, input_length=1)])
    table = R.rand(21, 2).astype("float32")
    model.set_weights([table])
    np.testing.assert_array_equal(model.predict(np.array([[4], [20]])), table[[[4], [20]]])


def test_embedding_refuses_numbers_outside_of_its_dictionary():
    """输入中的最大的整数 (词语索引) 应该不大于 999 (词表大小)."""
    model = Sequential([Embedding(1000, 4, input_length=2)])
    model.predict(np.array([[0, 999]]))
    with pytest.raises((ValueError, IndexError), match="1000"):
        model.predict(np.array([[0, 1000]]))


def test_layers_after_a_mask_must_support_it():
    """模型中后续的层必须都支持 masking,否则会抛出异常."""
    with pytest.raises(TypeError, match="does not support masking"):
        Sequential([Embedding(9, 3, mask_zero=True, input_length=4), Flatten()])


def test_embedding_before_flatten_and_dense():
    """如果要在该层后接 Flatten 层,然后接 Dense 层,则必须指定 input_length."""
    model = Sequential([Embedding(9, 3, input_length=4), Flatten(), Dense(2)])
    assert model.output_shape == (None, 2)
    with pytest.raises(ValueError, match="(?i)flatten|shape|dimension"):
        Sequential([Embedding(9, 3), Flatten(), Dense(2)])


# 融合层

MERGES = {
    "Add": lambda xs: xs[0] + xs[1] + xs[2],
    "Multiply": lambda xs: xs[0] * xs[1] * xs[2],
    "Average": lambda xs: (xs[0] + xs[1] + xs[2]) / 3,
    "Maximum": lambda xs: np.maximum(np.maximum(xs[0], xs[1]), xs[2]),
    "Concatenate": lambda xs: np.concatenate(xs, axis=-1),
}


@pytest.mark.parametrize("name", MERGES)
def test_merging(name):
    """该层接收一个列表的同 shape 张量; 该层的函数式包装为:add(inputs)."""
    inputs = [Input(shape=(2, 4)) for _ in range(3)]
    outputs = [
        getattr(keras.layers.merge, name)()(inputs),
        getattr(keras.layers.merge, name.lower())(inputs),
    ]
    xs = [R.randn(5, 2, 4).astype("float32") for _ in inputs]
    for found in Model(inputs=inputs, outputs=outputs).predict(xs):
        np.testing.assert_allclose(found, MERGES[name](xs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MERGES)
def test_merging_needs_two_tensors(name):
    """inputs 为长度至少为 2 的张量列表."""
    with pytest.raises(ValueError, match="at least 2"):
        getattr(keras.layers, name.lower())([Input(shape=(4,))])


def test_tensor_functions_call_the_layers():
    """小写字母开头的张量函数在内部实际上是调用了大写字母开头的层."""
    out = keras.layers.add([Input(shape=(4,)), Input(shape=(4,))], name="total")
    layer = Model(inputs=keras.engine.topology.get_source_inputs(out), outputs=out).layers[-1]
    assert isinstance(layer, keras.layers.Add)
    assert layer.name == "total"


def test_concatenate_axis():
    """axis: 想接的轴."""
    a, b = Input(shape=(2, 4)), Input(shape=(3, 4))
    assert K.int_shape(keras.layers.concatenate([a, b], axis=1)) == (None, 5, 4)
    assert K.int_shape(keras.layers.merge.Concatenate(axis=1)([a, b])) == (None, 5, 4)


@pytest.mark.parametrize("axes", [1, -1, (1, 1)])
@pytest.mark.parametrize("normalize", [False, True])
def test_dot(axes, normalize):
    """输出为形如 (batch_size,1) 的张量, 每个 batch 的数据都是 a[i,:] 和 b[i,:] 的点积.

    normalize: 如果设为 True,那么乘积的输出是两个样本的余弦相似性.
    """
    a, b = Input(shape=(4,)), Input(shape=(4,))
    outputs = [
        keras.layers.merge.Dot(axes, normalize=normalize)([a, b]),
        keras.layers.merge.dot([a, b], axes, normalize=normalize),
    ]
    x, y = R.randn(6, 4).astype("float32"), R.randn(6, 4).astype("float32")
    expected = (x * y).sum(axis=1, keepdims=True)
    if normalize:
        expected /= np.linalg.norm(x, axis=1, keepdims=True)
        expected /= np.linalg.norm(y, axis=1, keepdims=True)
    for found in Model(inputs=[a, b], outputs=outputs).predict([x, y]):
        assert found.shape == (6, 1)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
