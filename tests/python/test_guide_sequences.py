"""The Chinese guide to Keras, recurrent, embedding and merging layers: tests that quote it."""

from __future__ import annotations

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam.layers import (
    GRU,
    LSTM,
    Dense,
    Embedding,
    Flatten,
    Input,
    SimpleRNN,
)
from hornbeam.models import Model, Sequential

R = np.random.RandomState(12)


def output_of(layer, x):
    """Apply a layer to an array."""
    return Sequential([keras.layers.InputLayer(x.shape[1:]), layer]).predict(x)


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


def test_sizes_of_an_embedding():
    """input_dim:大或等于 0 的整数,字典长度; output_dim:大于 0 的整数,代表全连接嵌入的维度."""
    empty = Sequential([Embedding(0, 3, input_length=2)])
    assert empty.get_weights()[0].shape == (0, 3)
    with pytest.raises((ValueError, IndexError)):
        empty.predict(np.array([[0, 0]]))
    with pytest.raises(ValueError, match="input_dim"):
        Embedding(-1, 3)
    for size in (0, -2, 1.5):
        with pytest.raises(ValueError, match="output_dim"):
            Embedding(5, size)


def test_an_embedding_reads_a_matrix_of_integers():
    """该层输入 shape 为形如 (samples,sequence_length) 的 2D 张量,输出为 3D 张量."""
    model = Sequential([Embedding(5, 3)])
    assert (model.input_shape, model.output_shape) == ((None, None), (None, None, 3))
    assert model.predict(np.zeros((4, 7), "int32")).shape == (4, 7, 3)


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
