import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam import losses
from hornbeam.callbacks import Callback, EarlyStopping, LambdaCallback, TerminateOnNaN
from hornbeam.engine import Input, Layer
from hornbeam.layers import (
    Activation,
    BatchNormalization,
    Dense,
    Dropout,
    Embedding,
    Lambda,
    Masking,
    TimeDistributed,
)
from hornbeam.models import Model, Sequential
from hornbeam.optimizers import SGD, Adam

RNG = np.random.RandomState(0)
X = RNG.normal(size=(50, 4)).astype("float32")
Y = (X @ np.array([[1.0], [-2.0], [0.5], [0.0]]) + 0.3).astype("float32")
LABELS = RNG.randint(0, 3, 50)
ONE_HOT = np.eye(3, dtype="float32")[LABELS]


def regression(optimizer="sgd", **kwargs):
    model = Sequential([Dense(1, input_shape=(4,), name="out")])
    model.compile(optimizer, "mse", **kwargs)
    return model


def classifier(loss="categorical_crossentropy", metrics=("accuracy",)):
    model = Sequential([Dense(3, input_shape=(4,), activation="softmax")])
    model.compile("sgd", loss, metrics=list(metrics))
    return model


def two_outputs(**kwargs):
    x = Input((4,))
    h = Dense(5, activation="tanh")(x)
    model = Model(x, [Dense(1, name="a")(h), Dense(3, activation="softmax", name="b")(h)])
    model.compile("sgd", ["mse", "categorical_crossentropy"], **kwargs)
    return model


def mse(model, x=X, y=Y):
    return float(np.mean((model.predict(x) - y) ** 2))


def test_epochs_by_default():
    assert len(regression().fit(X, Y, verbose=0).epoch) == 10
    x = Input((4,))
    model = Model(x, Dense(1)(x))
    model.compile("sgd", "mse")
    assert len(model.fit(X, Y, verbose=0).epoch) == 1
    assert len(regression().fit(X, Y, 32, 3, 0).epoch) == 3
    with pytest.warns(UserWarning, match="nb_epoch"):
        assert len(regression().fit(X, Y, nb_epoch=2, verbose=0).epoch) == 2


def test_a_step_of_sgd_by_hand():
    model = regression(SGD(lr=0.1))
    kernel, bias = model.get_weights()
    error = X @ kernel + bias - Y
    loss = model.train_on_batch(X, Y)
    assert abs(loss - np.mean(error**2)) < 1e-5
    np.testing.assert_allclose(
        model.get_weights()[0], kernel - 0.1 * 2 * X.T @ error / 50, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(model.get_weights()[1], bias - 0.1 * 2 * error.mean(0), rtol=1e-4)


def test_fit_is_steps_in_order():
    a, b = regression(), regression()
    b.set_weights(a.get_weights())
    a.fit(X, Y, batch_size=20, epochs=2, shuffle=False, verbose=0)
    losses = []
    for _ in range(2):
        for start in (0, 20, 40):
            losses.append(b.train_on_batch(X[start : start + 20], Y[start : start + 20]))
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-6)
    mean = (losses[0] * 20 + losses[1] * 20 + losses[2] * 10) / 50
    assert abs(a.history.history["loss"][0] - mean) < 1e-6


@pytest.mark.parametrize("shuffle", [True, "batch", False])
def test_numpy_seed_repeats_a_run(shuffle):
    def run():
        np.random.seed(3)
        model = Sequential([Dense(6, input_shape=(4,)), Dropout(0.5), Dense(1)])
        model.compile("adam", "mse")
        history = model.fit(X, Y, epochs=3, batch_size=8, shuffle=shuffle, verbose=0)
        return history.history["loss"], model.get_weights()

    (a, u), (b, v) = run(), run()
    assert a == b
    for w, z in zip(u, v, strict=True):
        np.testing.assert_array_equal(w, z)


def test_shuffling_visits_each_sample_once():
    seen = []
    x = Input((1,))
    y = Lambda(lambda t: t)(x)
    model = Model(x, y)
    total = K.variable(0.0)

    def loss(y_true, y_pred):
        return y_true * 0 + y_pred

    model.layers[1].add_update(K.update_add(total, K.sum(x)), x)
    model.compile("sgd", loss)
    data = np.arange(50.0)[:, None]
    record = LambdaCallback(on_batch_end=lambda i, logs: seen.append(logs["loss"] * logs["size"]))
    model.fit(data, data, epochs=1, batch_size=7, verbose=0, callbacks=[record])
    assert K.get_value(total) == data.sum()
    assert abs(sum(seen) - data.sum()) < 1e-2
    assert abs(seen[0] - data[:7].sum()) > 1
    np.random.seed(0)
    model.fit(data, data, batch_size=10, shuffle="batch", verbose=0, callbacks=[record])
    blocks = sorted(round(s) for s in seen[8:])
    assert blocks == [45, 145, 245, 345, 445]


def test_metrics_names_and_values():
    model = classifier(metrics=["accuracy", "mse", losses.mae])
    assert model.metrics_names == ["loss", "acc", "mean_squared_error", "mean_absolute_error"]
    values = model.evaluate(X, ONE_HOT, verbose=0)
    p = model.predict(X)
    expected = [
        -np.log(p[np.arange(50), LABELS]).mean(),
        (p.argmax(1) == LABELS).mean(),
        ((p - ONE_HOT) ** 2).mean(),
        np.abs(p - ONE_HOT).mean(),
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    history = model.fit(X, ONE_HOT, epochs=1, verbose=0, validation_split=0.2).history
    assert list(history)[:4] == model.metrics_names
    assert list(history)[4:] == [f"val_{n}" for n in model.metrics_names]
    assert history["val_accuracy"] == history["val_acc"]


@pytest.mark.parametrize("shape", [(50,), (50, 1)])
@pytest.mark.parametrize("dtype", ["int32", "uint8", "float64"])
def test_sparse_targets(shape, dtype):
    model = classifier("sparse_categorical_crossentropy")
    loss, accuracy = model.evaluate(X, LABELS.reshape(shape).astype(dtype), verbose=0)
    p = model.predict(X)
    assert abs(loss + np.log(p[np.arange(50), LABELS]).mean()) < 1e-5
    assert abs(accuracy - (p.argmax(1) == LABELS).mean()) < 1e-6


def test_binary_accuracy():
    model = Sequential([Dense(1, input_shape=(4,), activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=["acc"])
    y = (Y > 0).astype("float32")
    assert abs(model.evaluate(X, y, verbose=0)[1] - ((model.predict(X) > 0.5) == y).mean()) < 1e-6


def test_several_outputs():
    model = two_outputs(metrics={"b": "accuracy"}, loss_weights={"a": 0.5, "b": 2.0})
    assert model.metrics_names == ["loss", "a_loss", "b_loss", "b_acc"]
    total, a, b, accuracy = model.evaluate(X, [Y, ONE_HOT], verbose=0)
    assert abs(total - (0.5 * a + 2 * b)) < 1e-5
    p, q = model.predict(X)
    assert abs(a - ((p - Y) ** 2).mean()) < 1e-5
    assert abs(accuracy - (q.argmax(1) == LABELS).mean()) < 1e-6
    by_name = model.evaluate(X, {"b": ONE_HOT, "a": Y}, verbose=0)
    np.testing.assert_allclose(by_name, [total, a, b, accuracy])
    same_for_both = two_outputs(metrics=["mse"])
    assert same_for_both.metrics_names[3:] == ["a_mean_squared_error", "b_mean_squared_error"]


def test_an_output_without_a_loss():
    x = Input((4,))
    model = Model(x, [Dense(1, name="a")(x), Dense(2, name="b")(x)])
    with pytest.warns(UserWarning, match='"b" missing from loss'):
        model.compile("sgd", {"a": "mse"})
    assert model.metrics_names == ["loss", "a_loss"]
    history = model.fit(X, Y, epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2
    assert len(model.predict(X)) == 2


def test_a_loss_of_layers_alone():
    class Penalty(Layer):
        def call(self, inputs):
            self.add_loss(K.mean(K.square(inputs)), inputs)
            return inputs

    x = Input((4,))
    model = Model(x, Penalty()(Dense(2)(x)))
    model.compile("sgd", None)
    before = np.mean(model.predict(X) ** 2)
    history = model.fit(X, epochs=5, verbose=0)
    assert abs(history.history["loss"][0] - before) < before
    assert np.mean(model.predict(X) ** 2) < before
    assert model.evaluate(X, verbose=0) < before
    with pytest.raises(ValueError, match="no loss to optimize"):
        Model(x, Dense(2)(x)).compile("sgd", None)


def test_regularization_joins_the_loss():
    model = Sequential([Dense(1, input_shape=(4,), kernel_regularizer="l2")])
    model.compile("sgd", "mse")
    kernel = model.get_weights()[0]
    expected = mse(model) + 0.01 * (kernel**2).sum()
    assert abs(model.evaluate(X, Y, verbose=0) - expected) < 1e-5


def test_sample_weights():
    model = regression()
    weights = RNG.uniform(0, 1, 50)
    weights[:10] = 0
    error = ((model.predict(X) - Y) ** 2)[:, 0]
    expected = (error * weights).mean() / (weights != 0).mean()
    found = model.evaluate(X, Y, batch_size=50, sample_weight=weights, verbose=0)
    assert abs(found - expected) < 1e-5
    assert abs(model.test_on_batch(X, Y, sample_weight=weights) - expected) < 1e-5
    assert abs(model.train_on_batch(X, Y, sample_weight=weights) - expected) < 1e-5


def test_weights_of_one_change_nothing():
    a, b = regression("adam"), regression("adam")
    b.set_weights(a.get_weights())
    a.fit(X, Y, epochs=3, batch_size=16, shuffle=False, verbose=0)
    b.fit(X, Y, epochs=3, batch_size=16, shuffle=False, verbose=0, sample_weight=np.ones(50))
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-5, atol=1e-7)


def test_the_optimizer_keeps_its_state_when_weights_come():
    a, b = regression("adam"), regression("adam")
    b.set_weights(a.get_weights())
    a.train_on_batch(X, Y)
    a.train_on_batch(X, Y)
    a.train_on_batch(X, Y, sample_weight=np.ones(50))
    a.train_on_batch(X, Y)
    for _ in range(4):
        b.train_on_batch(X, Y)
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-5, atol=1e-7)
    for u, v in zip(a.optimizer.get_weights(), b.optimizer.get_weights(), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-7)


def test_class_weights():
    model = classifier()
    per_class = {0: 0.5, 1: 2.0, 2: 0.0}
    weights = np.array([per_class[c] for c in LABELS])
    a = model.train_on_batch(X, ONE_HOT, class_weight=per_class)[0]
    other = classifier()
    other.set_weights(model.get_weights())
    loss = -np.log(other.predict(X)[np.arange(50), LABELS])
    b = other.train_on_batch(X, ONE_HOT, sample_weight=weights)[0]
    assert abs(b - (loss * weights).mean() / (weights != 0).mean()) < 1e-5
    assert np.isfinite(a)
    with pytest.raises(ValueError, match=r"must contain all classes.*\[2\]"):
        model.fit(X, ONE_HOT, class_weight={0: 1, 1: 1}, verbose=0)


def test_temporal_weights():
    x = Input((5, 4))
    model = Model(x, TimeDistributed(Dense(2))(x))
    model.compile("sgd", "mse", sample_weight_mode="temporal")
    data, y = RNG.normal(size=(6, 5, 4)), RNG.normal(size=(6, 5, 2))
    weights = RNG.uniform(0, 1, (6, 5))
    weights[:, 3:] = 0
    error = ((model.predict(data) - y) ** 2).mean(-1)
    expected = (error * weights).mean() / (weights != 0).mean()
    assert abs(model.evaluate(data, y, sample_weight=weights, verbose=0) - expected) < 1e-5
    with pytest.raises(ValueError, match="2D sample_weight"):
        model.fit(data, y, sample_weight=np.ones(6), verbose=0)
    with pytest.raises(ValueError, match="temporal"):
        regression(sample_weight_mode="temporal")


def test_masked_loss_is_that_of_the_steps_that_count():
    model = Sequential([Masking(0.0, input_shape=(5, 4)), TimeDistributed(Dense(2, name="d"))])
    model.compile("sgd", "mse", metrics=["mae"])
    data, y = RNG.normal(size=(6, 5, 4)), RNG.normal(size=(6, 5, 2))
    data[:, 3:] = 0
    loss, mae = model.evaluate(data, y, verbose=0)
    p = model.predict(data)
    assert abs(loss - ((p - y) ** 2)[:, :3].mean()) < 1e-5
    assert abs(mae - np.abs(p - y)[:, :3].mean()) < 1e-5


def test_trainable_weights_are_collected_when_compiled():
    x = Input((4,))
    body, head = Dense(3), Dense(1)
    first = Model(x, head(body(x)))
    first.compile("sgd", "mse")
    body.trainable = False
    second = Model(x, head(body(x)))
    second.compile("sgd", "mse")
    before = body.get_weights()
    second.train_on_batch(X, Y)
    np.testing.assert_array_equal(before[0], body.get_weights()[0])
    first.train_on_batch(X, Y)
    assert not np.array_equal(before[0], body.get_weights()[0])


@pytest.mark.parametrize("nested", [False, True])
def test_frozen_normalization_uses_its_moving_statistics(nested):
    layer = BatchNormalization()
    x = Input((4,))
    if nested:
        base = Sequential([Activation("linear", input_shape=(4,)), layer])
        model = Model(x, Dense(1)(base(x)))
    else:
        base = layer
        model = Model(x, Dense(1)(layer(x)))
    data = X * 3 + 1
    model.compile("sgd", "mse")
    assert abs(model.test_on_batch(data, Y) - model.train_on_batch(data, Y)) > 1e-3
    base.trainable = False
    model.compile("sgd", "mse")
    before = layer.get_weights()
    assert abs(model.test_on_batch(data, Y) - model.train_on_batch(data, Y)) < 1e-4
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    base.trainable = True
    model.compile("sgd", "mse")
    model.train_on_batch(data, Y)
    assert not np.array_equal(before[2], layer.get_weights()[2])


def test_a_layer_called_twice_updates_twice():
    layer = BatchNormalization(momentum=0.9)
    a, b = Input((4,)), Input((4,))
    model = Model([a, b], Lambda(lambda t: t[0] + t[1])([layer(a), layer(b)]))
    model.compile(SGD(lr=0.0), "mse")
    model.train_on_batch([X, X + 1], X)
    change = 0.1 * X.mean(0) + 0.1 * (X + 1).mean(0)
    np.testing.assert_allclose(layer.get_weights()[2], change, rtol=1e-4, atol=1e-6)


def test_validation_is_the_end_before_shuffling():
    seen = []

    class Keep(Callback):
        def on_train_begin(self, logs=None):
            seen.append(self.validation_data)

    model = regression(SGD(lr=0.0))
    history = model.fit(X, Y, epochs=1, validation_split=0.2, verbose=0, callbacks=[Keep()]).history
    assert abs(history["val_loss"][0] - mse(model, X[40:], Y[40:])) < 1e-5
    assert abs(history["loss"][0] - mse(model, X[:40], Y[:40])) < 1e-5
    np.testing.assert_array_equal(seen[0][0], X[40:])


def test_validation_data_are_the_users_own_arrays():
    seen = []

    class Keep(Callback):
        def on_train_begin(self, logs=None):
            seen.append(self.validation_data)

    x, y, w = X[:10].astype("float64"), Y[:10].astype("float64"), np.ones(10)
    model = regression()
    model.fit(X, Y, epochs=1, validation_data=[x, y, w], verbose=0, callbacks=[Keep()])
    assert seen[0][0] is x and seen[0][1] is y and seen[0][2] is w
    model.fit(X, Y, epochs=1, validation_data=(x, y), verbose=0, callbacks=[Keep()])
    np.testing.assert_array_equal(seen[1][2], w)

    def stream():
        while True:
            yield X, Y

    model.fit_generator(stream(), 2, validation_data=(x, y, w), verbose=0, callbacks=[Keep()])
    assert seen[2][0] is x and seen[2][2] is w
    with pytest.raises(ValueError, match="contains 1 items"):
        model.fit(X, Y, validation_data=(x,), verbose=0)


def test_callbacks_of_each_batch():
    seen = []

    class Spy(Callback):
        def on_batch_begin(self, batch, logs=None):
            seen.append(("begin", batch, logs["size"]))

        def on_batch_end(self, batch, logs=None):
            seen.append(("end", batch, sorted(logs)))

    model = classifier()
    model.fit(X, ONE_HOT, epochs=1, batch_size=20, verbose=0, callbacks=[Spy()])
    assert [s[:2] for s in seen] == [(k, i) for i in range(3) for k in ("begin", "end")]
    assert [s[2] for s in seen if s[0] == "begin"] == [20, 20, 10]
    assert seen[1][2] == ["acc", "batch", "loss", "size"]


def test_hooks_for_batches_change_no_result():
    quiet, told = regression(), regression()
    told.set_weights(quiet.get_weights())
    runs = []
    for model, callbacks in (
        (quiet, []),
        (told, [LambdaCallback(on_batch_end=lambda batch, logs: None)]),
    ):
        np.random.seed(1)
        runs.append(model.fit(X, Y, epochs=3, verbose=0, callbacks=callbacks).history["loss"])
    assert runs[0] == runs[1]


def test_stop_training():
    class Stop(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    model = regression()
    assert len(model.fit(X, Y, epochs=10, verbose=0, callbacks=[Stop()]).epoch) == 2
    assert len(model.fit(X, Y, epochs=3, verbose=0).epoch) == 3
    early = EarlyStopping(monitor="loss", min_delta=1e9, patience=1)
    assert len(model.fit(X, Y, epochs=10, verbose=0, callbacks=[early]).epoch) == 3


def test_terminate_on_nan_stops_at_once():
    model = regression(SGD(lr=1e30))
    history = model.fit(X, Y, epochs=9, batch_size=10, verbose=0, callbacks=[TerminateOnNaN()])
    assert len(history.epoch) == 1
    assert not np.isfinite(history.history["loss"][0])


def test_initial_epoch():
    history = regression().fit(X, Y, epochs=5, initial_epoch=2, verbose=0)
    assert history.epoch == [2, 3, 4]


def test_evaluate_returns_numpy_scalars():
    assert regression().evaluate(X, Y, verbose=0).shape == ()
    assert all(v.shape == () for v in classifier().evaluate(X, ONE_HOT, verbose=0))


def test_the_last_batch_counts_by_its_size():
    model = regression()
    assert abs(model.evaluate(X, Y, batch_size=32, verbose=0) - mse(model)) < 1e-5


def test_predict():
    model = regression()
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(
        model.predict(X, batch_size=7), X @ kernel + bias, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(model.predict_on_batch(X), model.predict(X, batch_size=50))
    assert model.predict(X[:0]).shape == (0, 1)
    assert model.predict(X, verbose=1).shape == (50, 1)


def test_predict_classes():
    model = classifier()
    np.testing.assert_array_equal(model.predict_classes(X, verbose=0), model.predict(X).argmax(1))
    np.testing.assert_array_equal(model.predict_proba(X, verbose=0), model.predict(X))
    single = Sequential([Dense(1, input_shape=(4,), activation="sigmoid")])
    assert single.predict_classes(X, verbose=0).shape == (50, 1)
    with pytest.warns(UserWarning, match="invalid probability"):
        regression().predict_proba(X * 100, verbose=0)


def test_predict_needs_no_compilation():
    model = Sequential([Dense(1, input_shape=(4,))])
    assert model.predict(X).shape == (50, 1)
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(RuntimeError, match="compile"):
            call(X, Y)


def test_progress_bar(capsys):
    model = classifier()
    model.fit(X, ONE_HOT, epochs=2, validation_split=0.2, verbose=1)
    out = capsys.readouterr().out
    assert out.startswith("Train on 40 samples, validate on 10 samples\nEpoch 1/2\n")
    assert "Epoch 2/2" in out and "40/40" in out and "val_acc" in out
    model.fit(X, ONE_HOT, epochs=1, verbose=2)
    assert capsys.readouterr().out.count("\n") == 2
    model.evaluate(X, ONE_HOT, verbose=1)
    assert "50/50" in capsys.readouterr().out
    model.fit(X, ONE_HOT, epochs=1, verbose=0)
    model.evaluate(X, ONE_HOT, verbose=0)
    assert capsys.readouterr().out == ""


def test_stateful_samples_fill_batches():
    class Count(Layer):
        stateful = True

        def build(self, input_shape):
            self.total = self.add_weight("total", (), initializer="zeros", trainable=False)
            super().build(input_shape)

        def call(self, inputs):
            self.add_update(K.update_add(self.total, 1.0), inputs)
            return inputs + self.total

        def reset_states(self):
            K.set_value(self.total, 0)

    layer = Count(batch_input_shape=(10, 4))
    model = Sequential([layer, Dense(1)])
    model.compile("sgd", "mse")
    assert model.stateful
    model.predict(X, batch_size=10)
    assert K.get_value(layer.total) == 5
    model.evaluate(X, Y, batch_size=10, verbose=0)
    model.fit(X, Y, batch_size=10, epochs=1, verbose=0)
    assert K.get_value(layer.total) == 15
    model.reset_states()
    assert K.get_value(layer.total) == 0
    with pytest.raises(ValueError, match="divided by the batch size"):
        model.fit(X[:45], Y[:45], batch_size=10, verbose=0)


def test_float64_models():
    K.set_floatx("float64")
    try:
        model = regression()
        assert model.predict(X).dtype == np.float64
        model.fit(X, Y, epochs=1, verbose=0)
        kernel, bias = model.get_weights()
        assert kernel.dtype == np.float64
        np.testing.assert_allclose(model.predict(X), X.astype("d") @ kernel + bias, rtol=1e-12)
    finally:
        K.set_floatx("float32")


def test_whole_numbers_as_inputs():
    model = Sequential([Embedding(10, 3, input_length=2)])
    tokens = RNG.randint(0, 10, (5, 2))
    for dtype in ("int32", "int64", "float32", "uint8"):
        found = model.predict(tokens.astype(dtype))
        np.testing.assert_array_equal(found, model.get_weights()[0][tokens])


def test_custom_loss_and_metric():
    def loss(y_true, y_pred):
        return K.mean(K.abs(y_true - y_pred) * 2.0, axis=-1)

    def top(y_true, y_pred):
        return K.max(y_pred)

    model = Sequential([Dense(1, input_shape=(4,))])
    model.compile(Adam(), loss, metrics=[top])
    assert model.metrics_names == ["loss", "top"]
    value, highest = model.evaluate(X, Y, batch_size=50, verbose=0)
    assert abs(value - 2 * np.abs(model.predict(X) - Y).mean()) < 1e-5
    assert abs(highest - model.predict(X).max()) < 1e-5


def test_total_loss_is_a_function_of_the_documented_tensors():
    model = regression()
    inputs = model.inputs + model.targets + model.sample_weights
    gradients = K.gradients(model.total_loss, model.trainable_weights)
    kernel_gradient, _ = K.function(inputs, gradients)([X, Y, np.ones(50)])
    error = X @ model.get_weights()[0] + model.get_weights()[1] - Y
    np.testing.assert_allclose(kernel_gradient, 2 * X.T @ error / 50, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        (lambda m: m.compile("sgd", {"nothing": "mse"}), ValueError, "Unknown entry in loss"),
        (lambda m: m.compile("sgd", ["mse", "mse"]), ValueError, "model has 1 outputs"),
        (lambda m: m.compile("sgd", "mse", metric=["acc"]), TypeError, "Did you mean 'metrics'"),
        (lambda m: m.compile("sgd", "mse", loss_weights=[1, 2]), ValueError, "loss_weights"),
        (lambda m: m.compile("sgd", "mse", sample_weight_mode="tmp"), ValueError, "temporal"),
        (lambda m: m.fit(X, Y, epoch=1), TypeError, "Did you mean 'epochs'"),
        (lambda m: m.fit(X, Y, batch_size=2.5), ValueError, "batch_size"),
        (lambda m: m.fit([X, X], Y), ValueError, "2 arrays"),
        (lambda m: m.fit({"x": X}, Y), ValueError, "out_input"),
        (lambda m: m.fit(X, None), ValueError, "target"),
        (lambda m: m.fit(X, Y, validation_split=0.99), ValueError, "leaves none"),
        (lambda m: m.fit(X, Y, validation_split=1.5), ValueError, "less than 1, got 1.5"),
        (lambda m: m.fit(X, Y, validation_split=-0.1), ValueError, "at least 0"),
        (lambda m: m.predict(5.0), ValueError, "scalar"),
        (lambda m: m.predict(None), ValueError, "no data"),
    ],
)
def test_bad_arguments(call, exception, message):
    model = regression()
    with pytest.raises(exception, match=message):
        call(model)
    assert len(model.fit(X, Y, epochs=2, verbose=0).epoch) == 2


def test_one_hot_hint():
    for labels in (LABELS, LABELS[:, None]):
        with pytest.raises(ValueError, match=r"\(None, 3\).*\(50, 1\).*to_categorical"):
            classifier().fit(X, labels, verbose=0)
    with pytest.raises(ValueError, match="binary matrices use `categorical_crossentropy`"):
        classifier("sparse_categorical_crossentropy").fit(X, ONE_HOT, verbose=0)


def test_profile(capsys):
    model = two_outputs()
    before = model.get_weights()
    rows = model.profile(X, [Y, ONE_HOT], batch_size=16, repeats=2)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert {"a", "b"} & {row.layer for row in rows}
    assert all(row.microseconds >= 0 and row.bytes >= 0 for row in rows)
    out = capsys.readouterr().out
    assert "total" in out and len(out.splitlines()) == len(rows) + 2
    assert len(model.profile(X, repeats=1, verbose=0)) < len(rows)
    assert capsys.readouterr().out == ""
