"""The Chinese guide to Keras, models: each of its statements is a test that quotes it.

The layers' part is in test_guide_layers.py and test_guide_sequences.py.
"""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import layers
from hornbeam.layers import Dense, Input
from hornbeam.models import Model, Sequential

R = np.random.RandomState(11)
X = R.rand(40, 8).astype("float32")
LABELS = (X.sum(axis=1) * 1e4).astype(int) % 3
Y = np.eye(3, dtype="float32")[LABELS]


def classifier(compiled=True):
    model = Sequential()
    model.add(Dense(6, activation="relu", input_shape=(8,)))
    model.add(Dense(3, activation="softmax"))
    if compiled:
        model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return model


def defaults(function):
    """Return an argument -> default dictionary; a required argument has the default `empty`."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.name != "self"}


# 两类模型有一些方法是相同的


def both_kinds():
    a = Input(shape=(8,))
    return [classifier(compiled=False), Model(inputs=a, outputs=Dense(3)(a))]


@pytest.mark.parametrize("model", both_kinds(), ids=["Sequential", "Model"])
def test_summary(model, capsys):
    """model.summary():打印出模型概况."""
    model.summary()
    printed = capsys.readouterr().out
    assert f"{model.count_params():,}" in printed
    assert all(layer.name in printed for layer in model.layers)


def test_get_config():
    """模型也可以从它的 config 信息中重构回去: Model.from_config, Sequential.from_config."""
    for model in both_kinds():
        config = model.get_config()
        again = type(model).from_config(config)
        again.set_weights(model.get_weights())
        np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("model", both_kinds(), ids=["Sequential", "Model"])
def test_get_layer(model):
    """model.get_layer():依据层名或下标获得层对象."""
    for index, layer in enumerate(model.layers):
        assert model.get_layer(layer.name) is layer
        assert model.get_layer(index=index) is layer
    with pytest.raises(ValueError, match="No such layer"):
        model.get_layer("absent")


def test_get_and_set_weights():
    """model.get_weights():返回模型权重张量的列表,类型为 numpy array; set_weights 要求形状相同."""
    model = classifier()
    weights = model.get_weights()
    assert [type(w) for w in weights] == [np.ndarray] * 4
    assert [w.shape for w in weights] == [(8, 6), (6,), (6, 3), (3,)]
    model.set_weights([w + 1 for w in weights])
    np.testing.assert_array_equal(model.get_weights()[2], weights[2] + 1)
    with pytest.raises(ValueError, match="shape"):
        model.set_weights([w[:-1] for w in weights])


def test_save_and_load_weights(tmp_path):
    """save_weights(filepath) 文件类型是 HDF5; load_weights(filepath, by_name=False)."""
    h5py = pytest.importorskip("h5py")
    path = str(tmp_path / "weights.h5")
    model = classifier()
    model.save_weights(path)
    assert h5py.is_hdf5(path)
    other = classifier()
    other.load_weights(path)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert defaults(Model.load_weights)["by_name"] is False


def test_load_weights_by_name(tmp_path):
    """将权重载入不同的模型(有些层相同)中,则设置 by_name=True,只有名字匹配的层才会载入权重."""
    path = str(tmp_path / "weights.h5")
    model = Sequential([Dense(4, input_shape=(8,), name="same"), Dense(3, name="first")])
    model.save_weights(path)
    other = Sequential([Dense(4, input_shape=(8,), name="same"), Dense(5, name="second")])
    kept = other.layers[1].get_weights()
    other.load_weights(path, by_name=True)
    np.testing.assert_array_equal(other.layers[0].get_weights()[0], model.get_weights()[0])
    np.testing.assert_array_equal(other.layers[1].get_weights()[0], kept[0])


# Sequential 模型接口


def test_layers_of_a_sequential_model():
    """model.layers 是添加到模型上的层的 list."""
    added = [Dense(4, input_shape=(8,)), Dense(3)]
    model = Sequential()
    for layer in added:
        model.add(layer)
    assert isinstance(model.layers, list)
    assert model.layers == added


def test_add_and_pop():
    """add(self, layer) 向模型中添加一个层; pop(self) 弹出模型最后的一层,无返回值."""
    model = classifier(compiled=False)
    assert list(defaults(Sequential.add)) == ["layer"]
    assert defaults(Sequential.pop) == {}
    assert model.pop() is None
    assert len(model.layers) == 1
    assert model.output_shape == (None, 6)
    model.add(Dense(2))
    assert model.predict(X).shape == (40, 2)


def test_compile_signature():
    """compile(self, optimizer, loss, metrics=None)."""
    found = defaults(Sequential.compile)
    assert list(found)[:3] == ["optimizer", "loss", "metrics"]
    assert found["metrics"] is None


def test_compile_example():
    """optimizer:字符串(预定义优化器名)或优化器对象; loss:字符串(预定义损失函数名)或目标函数."""
    model = Sequential()
    model.add(Dense(32, input_shape=(500,)))
    model.add(Dense(10, activation="softmax"))
    model.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    assert isinstance(model.optimizer, keras.optimizers.RMSprop)
    assert model.metrics_names == ["loss", "acc"]
    optimizer = keras.optimizers.SGD(lr=0.1)
    model.compile(optimizer=optimizer, loss=keras.losses.mean_squared_error)
    assert model.optimizer is optimizer
    x, y = R.rand(4, 500), R.rand(4, 10)
    np.testing.assert_allclose(
        model.evaluate(x, y, verbose=0), ((model.predict(x) - y) ** 2).mean(), rtol=1e-5
    )


def test_a_model_must_be_compiled_before_it_is_fitted():
    """模型在使用前必须编译,否则在调用 fit 或 evaluate 时会抛出异常."""
    model = classifier(compiled=False)
    with pytest.raises(RuntimeError, match="compile"):
        model.fit(X, Y)
    with pytest.raises(RuntimeError, match="compile"):
        model.evaluate(X, Y)


def test_predict_needs_no_compile():
    """如果你只是载入模型并利用其 predict,可以不用进行 compile."""
    np.testing.assert_allclose(
        classifier(compiled=False).predict(X).sum(axis=1), np.ones(40), rtol=1e-5
    )


def test_fit_signature():
    """fit(self, x, y, batch_size=32, epochs=10, verbose=1, validation_split=0.0, ...)."""
    found = defaults(Sequential.fit)
    assert list(found)[:2] == ["x", "y"]
    expected = {
        "batch_size": 32,
        "epochs": 10,
        "verbose": 1,
        "validation_split": 0.0,
        "validation_data": None,
        "shuffle": True,
    }
    assert {name: found[name] for name in expected} == expected


def test_nb_epoch():
    """将模型训练 nb_epoch 轮."""
    with pytest.warns(UserWarning, match="epochs"):
        history = classifier().fit(X, Y, nb_epoch=3, verbose=0)
    assert len(history.epoch) == 3


def test_several_inputs_are_a_list():
    """如果模型有多个输入,那么 x 的类型应当为 list,list 的元素是对应于各个输入的 numpy array."""
    a, b = Input(shape=(8,)), Input(shape=(2,))
    model = Model(inputs=[a, b], outputs=Dense(3)(layers.concatenate([a, b])))
    model.compile("sgd", "mse")
    other = R.rand(40, 2)
    model.fit([X, other], Y, verbose=0)
    assert np.isscalar(model.evaluate([X, other], Y, verbose=0))
    assert model.predict([X, other]).shape == (40, 3)


@pytest.mark.parametrize(("size", "steps"), [(None, 2), (10, 4), (40, 1)])
def test_batch_size(size, steps):
    """batch_size:整数,指定进行梯度下降时每个 batch 包含的样本数,使目标函数优化一步."""
    model = classifier()
    given = {} if size is None else {"batch_size": size}
    model.fit(X, Y, epochs=1, verbose=0, **given)
    assert int(keras.backend.get_value(model.optimizer.iterations)) == steps


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_verbose(verbose, capsys):
    """0 为不在标准输出流输出日志信息,1 为输出进度条记录,2 为每个epoch输出一行记录."""
    classifier().fit(X, Y, epochs=2, verbose=verbose)
    printed = capsys.readouterr().out
    if verbose == 0:
        assert printed == ""
    if verbose == 1:
        assert "40/40 [====" in printed
    if verbose == 2:
        assert [line for line in printed.splitlines() if "acc" in line]
        assert sum("loss" in line for line in printed.splitlines()) == 2
        assert "[" not in printed


def test_validation_split():
    """指定训练集的一定比例数据作为验证集; validation_split 的划分在 shuffle 之前."""
    model = classifier()
    callback = keras.callbacks.Callback()
    history = model.fit(X, Y, epochs=2, validation_split=0.25, verbose=0, callbacks=[callback])
    np.testing.assert_array_equal(callback.validation_data[0], X[30:])
    np.testing.assert_array_equal(callback.validation_data[1], Y[30:])
    expected = model.evaluate(X[30:], Y[30:], verbose=0)
    assert history.history["val_loss"][-1] == pytest.approx(expected[0], rel=1e-5)


def test_samples_that_validate_are_not_trained_on():
    """验证集将不参与训练."""
    poisoned = X.copy()
    poisoned[30:] = np.nan
    model = classifier()
    model.fit(poisoned, Y, epochs=2, validation_split=0.25, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_validation_data_overrides_the_split():
    """validation_data:形式为 (X,y) 的 tuple,此参数将覆盖 validation_spilt."""
    model = classifier()
    history = model.fit(
        X, Y, epochs=1, validation_split=0.5, validation_data=(X[:6], Y[:6]), verbose=0
    )
    expected = model.evaluate(X[:6], Y[:6], verbose=0)
    assert history.history["val_loss"][-1] == pytest.approx(expected[0], rel=1e-5)
    assert int(keras.backend.get_value(model.optimizer.iterations)) == 2


@pytest.mark.parametrize("shuffle", [True, False, "batch"])
def test_shuffle(shuffle):
    """shuffle:布尔值或字符串; 若为字符串"batch",它将在batch内部将数据打乱."""
    model = Sequential([Dense(3, input_shape=(8,))])
    model.compile("sgd", "mse")
    weights = model.get_weights()
    np.random.seed(1)
    model.fit(X, Y, epochs=2, batch_size=10, shuffle=shuffle, verbose=0)
    fitted = model.get_weights()
    model.set_weights(weights)
    for _ in range(2):
        for start in range(0, 40, 10):
            model.train_on_batch(X[start : start + 10], Y[start : start + 10])
    same = np.allclose(fitted[0], model.get_weights()[0], rtol=1e-5, atol=1e-7)
    assert same == (shuffle is False)


def test_shuffle_batch_takes_hdf5(tmp_path):
    """若为字符串"batch",则是用来处理HDF5数据的特殊情况."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data.h5", "w") as f:
        f["x"], f["y"] = X, Y
        history = classifier().fit(f["x"], f["y"], epochs=2, shuffle="batch", verbose=0)
    assert len(history.history["loss"]) == 2


def test_history():
    """History.history 属性记录了损失函数和其他指标的数值随 epoch 变化的情况, 也包含了验证集的."""
    history = classifier().fit(X, Y, epochs=3, validation_data=(X, Y), verbose=0)
    assert isinstance(history, keras.callbacks.History)
    assert sorted(history.history) == ["acc", "loss", "val_acc", "val_loss"]
    assert {len(values) for values in history.history.values()} == {3}
    alone = classifier().fit(X, Y, epochs=1, verbose=0)
    assert sorted(alone.history) == ["acc", "loss"]


def test_fit_has_ten_epochs():
    """epochs:整数,训练的轮数,每个 epoch 会把训练集轮一遍 (epochs=10)."""
    assert classifier().fit(X, Y, verbose=0).epoch == list(range(10))


def test_evaluate_signature():
    """evaluate(self, x, y, batch_size=32, verbose=1)."""
    found = defaults(Sequential.evaluate)
    assert list(found)[:4] == ["x", "y", "batch_size", "verbose"]
    assert (found["batch_size"], found["verbose"]) == (32, 1)


def test_evaluate():
    """返回一个测试误差的标量值,或一个标量的 list; model.metrics_names 将给出各个值的含义."""
    model = classifier()
    loss, accuracy = model.evaluate(X, Y, batch_size=7, verbose=0)
    assert model.metrics_names == ["loss", "acc"]
    p = model.predict(X)
    assert loss == pytest.approx(-np.log(p[np.arange(40), LABELS]).mean(), rel=1e-4)
    assert accuracy == pytest.approx((p.argmax(axis=1) == LABELS).mean())
    model.compile("sgd", "mse")
    assert np.shape(model.evaluate(X, Y, verbose=0)) == ()


def test_evaluate_verbose(capsys):
    """verbose:日志显示,0 为不在标准输出流输出日志信息,1 为输出进度条记录."""
    classifier().evaluate(X, Y, verbose=0)
    assert capsys.readouterr().out == ""
    classifier().evaluate(X, Y)
    assert "40/40 [====" in capsys.readouterr().out


def test_predict():
    """predict(self, x, batch_size=32, verbose=0) 返回各个类别的可能性结果,是一个 n 维向量."""
    found = defaults(Sequential.predict)
    assert (found["batch_size"], found["verbose"]) == (32, 0)
    probabilities = classifier().predict(X)
    assert probabilities.shape == (40, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), np.ones(40), rtol=1e-5)


def test_predict_classes():
    """predict_classes(self, x, batch_size=32, verbose=1) 返回的是最可能的类别名称."""
    assert defaults(Sequential.predict_classes)["verbose"] == 1
    assert defaults(Sequential.predict_classes)["batch_size"] == 32
    model = classifier()
    np.testing.assert_array_equal(
        model.predict_classes(X, verbose=0), model.predict(X).argmax(axis=1)
    )


# 函数式模型接口


def test_functional_model():
    """我们的模型以 a 为输入,以 b 为输出."""
    a = Input(shape=(32,))
    b = Dense(32)(a)
    model = Model(inputs=a, outputs=b)
    assert (model.input_shape, model.output_shape) == ((None, 32), (None, 32))


def test_model_with_several_inputs_and_outputs():
    """model = Model(inputs=[a1, a2], outputs=[b1, b3, b3])."""
    a1, a2 = Input(shape=(4,)), Input(shape=(5,))
    b1 = Dense(2)(a1)
    b3 = Dense(3)(layers.concatenate([a1, a2]))
    model = Model(inputs=[a1, a2], outputs=[b1, b3, b3])
    outputs = model.predict([R.rand(6, 4), R.rand(6, 5)])
    assert [out.shape for out in outputs] == [(6, 2), (6, 3), (6, 3)]
    np.testing.assert_array_equal(outputs[1], outputs[2])


def test_attributes_of_a_model():
    """model.layers:组成模型图的各个层; model.inputs, model.outputs:模型的输入/输出张量列表."""
    a = Input(shape=(32,))
    dense = Dense(4)
    b = dense(a)
    model = Model(inputs=a, outputs=b)
    assert model.layers[1:] == [dense]
    assert isinstance(model.layers[0], layers.InputLayer)
    assert model.inputs == [a]
    assert model.outputs == [b]


def test_a_model_has_no_add():
    """Model 模型的方法除了没有 add、pop 方法外与 Sequential 模型几乎是相同的."""
    assert not hasattr(Model, "add")
    assert not hasattr(Model, "pop")
    for name in ("compile", "fit", "evaluate", "predict", "train_on_batch", "fit_generator"):
        assert hasattr(Model, name)


# Keras 层


def test_weights_and_config_of_a_layer():
    """layer.get_weights, layer.set_weights(weights) 要求 numpy array 的形状相同."""
    layer = Dense(3)
    Sequential([layers.InputLayer((4,)), layer])
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel * 2, bias + 1])
    np.testing.assert_array_equal(layer.get_weights()[0], kernel * 2)
    with pytest.raises(ValueError, match="shape"):
        layer.set_weights([kernel.T, bias])


def test_layer_from_its_config():
    """层也可以借由配置信息重构."""
    layer = Dense(32)
    config = layer.get_config()
    reconstructed_layer = Dense.from_config(config)
    assert reconstructed_layer.get_config() == config
    layer = layers.deserialize({"class_name": layer.__class__.__name__, "config": config})
    assert isinstance(layer, Dense)
    assert layer.get_config() == config


def test_a_layer_with_one_node():
    """如果层仅有一个计算节点,可以获得输入张量、输出张量、输入数据的形状和输出数据的形状."""
    layer, a = Dense(32), Input(shape=(16,))
    b = layer(a)
    assert layer.input is a
    assert layer.output is b
    assert layer.input_shape == (None, 16)
    assert layer.output_shape == (None, 32)


def test_a_layer_with_several_nodes():
    """如果该层有多个计算节点, 可以使用 get_input_at(node_index) 等方法."""
    layer, a, b = layers.Activation("relu"), Input(shape=(3,)), Input(shape=(4, 5))
    outputs = [layer(a), layer(b)]
    for index, x in enumerate([a, b]):
        assert layer.get_input_at(index) is x
        assert layer.get_output_at(index) is outputs[index]
        assert layer.get_input_shape_at(index) == keras.backend.int_shape(x)
        assert layer.get_output_shape_at(index) == keras.backend.int_shape(x)
    with pytest.raises(AttributeError, match="node"):
        _ = layer.output


# The guide's own text, where it is at hand


SHARED = Path(os.environ.get("HORNBEAM_SHARED", Path(__file__).parents[3] / "shared"))
GUIDE = SHARED / "docs" / "keras-guide.zh.txt"


@pytest.mark.skipif(not GUIDE.exists(), reason=f"the guide is not at {GUIDE}")
def test_every_signature_that_the_guide_writes():
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    written = [line for line in lines if line.startswith("keras.layers.") and line.endswith(")")]
    assert len(written) == 26
    for line in written:
        path, arguments = line[:-1].split("(", 1)
        cls = keras
        for name in path.split(".")[1:]:
            cls = getattr(cls, name)
        # Evaluating the arguments as a call's gives those with a default; the rest are required.
        names = [part.split("=")[0].strip() for part in _split(arguments)]
        given = [part for part in _split(arguments) if "=" in part]
        expected = eval(f"dict({', '.join(given)})")
        found = defaults(cls)
        assert set(names) <= set(found), line
        assert {name: found[name] for name in expected} == expected, line
        required = [name for name in names if name not in expected]
        assert list(found)[: len(required)] == required, line
        assert all(found[name] is inspect.Parameter.empty for name in required), line


def _split(arguments):
    """Cut at the commas that are not inside of a tuple."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]
