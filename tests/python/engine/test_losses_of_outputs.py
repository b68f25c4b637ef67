"""What `compile` and `fit` make of losses, metrics and weights for several outputs, by formula."""

from __future__ import annotations

import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam.layers import (
    LSTM,
    BatchNormalization,
    Dense,
    Embedding,
    Input,
    Lambda,
    TimeDistributed,
)
from hornbeam.models import Model, Sequential
from hornbeam.optimizers import SGD

R = np.random.RandomState(4)
N = 14
X = R.normal(size=(N, 3))
A = R.normal(size=(N, 2))
CLASSES = R.randint(3, size=N)
B = np.eye(3)[CLASSES]
SEQUENCE = R.normal(size=(N, 4, 3))
C = R.normal(size=(N, 4, 2))


def model(**compiling):
    x, s = Input((3,), name="x"), Input((4, 3), name="s")
    outputs = [
        Dense(2, name="a")(x),
        Dense(3, activation="softmax", name="b")(x),
        TimeDistributed(Dense(2), name="c")(s),
    ]
    built = Model([x, s], outputs)
    compiling = {"loss": ["mse", "categorical_crossentropy", "mae"], **compiling}
    built.compile(SGD(0.1), **compiling)
    return built


def losses(built):
    """Return the three losses of each sample (and step), in float64."""
    a, b, c = (p.astype("float64") for p in built.predict([X, SEQUENCE]))
    return (
        ((a - A) ** 2).mean(-1),
        -np.log((B * b).sum(-1)),
        np.abs(c - C).mean(-1),
    )


def weighted(score, weights):
    """Keras 2's formula: the mean over the samples that count."""
    return (score * weights).mean() / (weights != 0).mean()


def evaluate(built, **given):
    values = built.evaluate([X, SEQUENCE], [A, B, C], batch_size=N, verbose=0, **given)
    return dict(zip(built.metrics_names, map(float, values), strict=True))


FORMS = {
    "lists": (
        {"loss_weights": [0.5, 2.0, 3.0], "metrics": [["mae"], ["acc", "mse"], []]},
        lambda u, v, w: [u, v, w],
    ),
    "dictionaries": (
        {
            "loss": {"c": "mae", "a": "mse", "b": "categorical_crossentropy"},
            "loss_weights": {"b": 2.0, "c": 3.0, "a": 0.5},
            "metrics": {"b": ["acc", "mse"], "a": "mae"},
        },
        lambda u, v, w: {"b": v, "a": u, "c": w},
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("temporal", [False, True])
def test_losses_weights_and_metrics_of_each_output(form, temporal):
    compiling, spread = FORMS[form]
    mode = spread(None, None, "temporal") if temporal else None
    built = model(**compiling, sample_weight_mode=mode)
    u, v = R.uniform(0, 2, N), R.randint(0, 2, N).astype("float64")
    w = R.uniform(0, 1, (N, 4) if temporal else N)
    w[:3] = 0
    scores = losses(built)
    if not temporal:
        scores = (*scores[:2], scores[2].mean(-1))
    parts = [weighted(s, k) for s, k in zip(scores, (u, v, w), strict=True)]
    got = evaluate(built, sample_weight=spread(u, v, w))
    p, q, _ = built.predict([X, SEQUENCE])
    expected = {
        "loss": 0.5 * parts[0] + 2 * parts[1] + 3 * parts[2],
        "a_loss": parts[0],
        "b_loss": parts[1],
        "c_loss": parts[2],
        "a_mean_absolute_error": np.abs(p - A).mean(),
        "b_acc": (q.argmax(-1) == CLASSES).mean(),
        "b_mean_squared_error": ((q - B) ** 2).mean(),
    }
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("form", [lambda c: {"b": c}, lambda c: [None, c, None]])
def test_class_weights_of_one_output(form):
    built = model()
    built.compile(SGD(0.0), built.loss)
    factors = {0: 0.25, 1: 0.0, 2: 3.0}
    a, b, c = losses(built)
    expected = a.mean() + weighted(b, np.array([factors[k] for k in CLASSES])) + c.mean()
    targets = [A, B, C]
    history = built.fit(
        [X, SEQUENCE], targets, batch_size=N, epochs=1, class_weight=form(factors), verbose=0
    ).history
    assert history["loss"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_size", [4, 5])
def test_a_short_last_batch_counts_by_its_samples(batch_size):
    built = model(loss_weights=[1.0, 0.5, 2.0], metrics={"b": "acc"})
    a, b, c = losses(built)
    values = built.evaluate([X, SEQUENCE], [A, B, C], batch_size=batch_size, verbose=0)
    q = built.predict([X, SEQUENCE])[1]
    expected = [
        a.mean() + 0.5 * b.mean() + 2 * c.mean(),
        a.mean(),
        b.mean(),
        c.mean(),
        (q.argmax(-1) == CLASSES).mean(),
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    one = built.evaluate([X[:1], SEQUENCE[:1]], [A[:1], B[:1], C[:1]], verbose=0)
    np.testing.assert_allclose(one[1:4], [a[0], b[0], c[0].mean()], rtol=1e-5)


def test_sample_weights_of_a_masked_sequence():
    words = Input((5,), dtype="int32")
    h = Embedding(9, 3, mask_zero=True)(words)
    built = Model(words, TimeDistributed(Dense(2))(LSTM(4, return_sequences=True)(h)))
    built.compile("sgd", "mse", sample_weight_mode="temporal", metrics=["mae"])
    tokens = R.randint(1, 9, (N, 5))
    tokens[: N // 2, 3:] = 0
    y, w = R.normal(size=(N, 5, 2)), R.uniform(0, 2, (N, 5))
    w[0, 0] = 0
    mask = (tokens != 0).astype("float64")
    p = built.predict(tokens)
    score = ((p - y) ** 2).mean(-1) * mask / mask.mean()
    loss, mae = built.evaluate(tokens, y, sample_weight=w, batch_size=N, verbose=0)
    assert loss == pytest.approx((score * w).mean() / (w != 0).mean(), rel=1e-5)
    assert mae == pytest.approx((np.abs(p - y).mean(-1) * mask).mean() / mask.mean(), rel=1e-5)


def test_a_loss_that_the_model_is_given():
    """The variational autoencoder's way: a loss of the model's own tensors."""
    x = Input((3,), name="x")
    h = Dense(2, name="h")(x)
    y = Dense(3, name="y")(h)
    built = Model(x, y)
    built.add_loss(0.5 * K.mean(K.square(h)))
    built.add_loss(K.mean(K.square(x - y)), x)
    built.compile(SGD(0.1))
    assert built.metrics_names == ["loss"]
    v, b, w, c = (weight.astype("float64") for weight in built.get_weights())
    hidden = X @ v + b
    error = hidden @ w + c - X
    expected = 0.5 * (hidden**2).mean() + (error**2).mean()
    assert built.test_on_batch(X, None) == pytest.approx(expected, rel=1e-5)
    built.fit(X, batch_size=N, epochs=1, verbose=0)
    gradient = 2 * error / error.size
    np.testing.assert_allclose(built.get_weights()[2], w - 0.1 * hidden.T @ gradient, rtol=1e-4)
    through = gradient @ w.T + hidden / hidden.size
    np.testing.assert_allclose(built.get_weights()[0], v - 0.1 * X.T @ through, rtol=1e-4)
    # Beside a loss of the output the two add up.
    built.compile(SGD(0.0), "mae")
    y_now = built.predict(X).astype("float64")
    v, b = (weight.astype("float64") for weight in built.get_weights()[:2])
    expected = np.abs(y_now - A @ np.ones((2, 3))).mean()
    expected += 0.5 * ((X @ v + b) ** 2).mean() + ((y_now - X) ** 2).mean()
    assert built.evaluate(X, A @ np.ones((2, 3)), batch_size=N, verbose=0) == pytest.approx(
        expected, rel=1e-5
    )


def test_an_update_that_the_model_is_given():
    x = Input((3,))
    built = Model(x, Dense(1)(x))
    seen, steps = K.variable(np.zeros(3)), K.variable(0.0)
    built.add_update(K.update_add(seen, K.sum(x, axis=0)), x)
    built.add_update([K.update_add(steps, 1.0)])
    built.compile("sgd", "mse")
    assert len(built.updates) == 2
    built.fit(X, A[:, :1], batch_size=4, epochs=2, verbose=0)
    np.testing.assert_allclose(K.get_value(seen), 2 * X.sum(0), rtol=1e-4, atol=1e-5)
    assert K.get_value(steps) == 2 * 4
    built.evaluate(X, A[:, :1], verbose=0)
    built.predict(X)
    assert K.get_value(steps) == 8


def test_what_is_trainable_counts_when_compiled():
    body = Sequential([Dense(4, input_shape=(3,)), BatchNormalization(), Dense(2)], name="body")
    x = Input((3,))
    built = Model(x, Dense(2, name="head")(body(x)))

    def moved():
        layers = [*body.layers, built.get_layer("head")]
        before = [layer.get_weights() for layer in layers]
        built.train_on_batch(X, A)
        return [
            "".join(
                "-+"[bool(np.any(u != v))] for u, v in zip(was, layer.get_weights(), strict=True)
            )
            for was, layer in zip(before, layers, strict=True)
        ]

    built.compile(SGD(0.1), "mse")
    assert moved() == ["++", "++++", "++", "++"]
    body.trainable = False
    assert built.trainable_weights == built.get_layer("head").weights
    # Not compiled again: the weights go on being trained.
    assert moved() == ["++", "++++", "++", "++"]
    built.compile(SGD(0.1), "mse")
    assert moved() == ["--", "----", "--", "++"]
    body.trainable = True
    body.layers[0].trainable = False
    built.compile(SGD(0.1), "mse")
    assert moved() == ["--", "++++", "++", "++"]
    assert len(built.non_trainable_weights) == 4
    built.trainable = False
    assert built.trainable_weights == []
    assert len(built.non_trainable_weights) == 10


def test_shared_layers_are_trained_by_all_their_uses():
    shared = Dense(2, name="shared")
    a, b = Input((3,)), Input((3,))
    built = Model([a, b], Lambda(lambda t: t[0] - t[1])([shared(a), shared(b)]))
    built.compile(SGD(0.1), "mse")
    w, c = (v.astype("float64") for v in built.get_weights())
    other = R.normal(size=(N, 3))
    gradient = 2 * ((X - other) @ w - A) / A.size
    built.train_on_batch([X, other], A)
    np.testing.assert_allclose(
        built.get_weights()[0], w - 0.1 * (X - other).T @ gradient, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(built.get_weights()[1], c, atol=1e-7)


def test_what_is_asked_about_a_call():
    layer = TimeDistributed(Dense(2))
    a, b = Input((4, 3)), Input((5, 3))
    first, second = layer(a), layer(b)
    assert (layer.get_input_at(0), layer.get_output_at(1)) == (a, second)
    assert (layer.get_input_shape_at(0), layer.get_input_shape_at(1)) == (
        (None, 4, 3),
        (None, 5, 3),
    )
    assert layer.get_output_shape_at(0) == (None, 4, 2)
    assert K.int_shape(first) == (None, 4, 2)
    with pytest.raises(AttributeError, match="different input shape"):
        _ = layer.input_shape
    words = Input((4,), dtype="int32")
    masked = layer(Embedding(7, 3, mask_zero=True)(words))
    assert layer.get_output_mask_at(0) is None
    masks = [layer.get_input_mask_at(2), layer.get_output_mask_at(2)]
    assert masked is layer.get_output_at(2)
    for mask in K.function([words], masks)([[[3, 0, 5, 0]]]):
        np.testing.assert_array_equal(mask, [[True, False, True, False]])


def test_a_metric_that_knows_its_name():
    def upper(y_true, y_pred):
        return K.max(K.abs(y_true - y_pred), axis=-1)

    built = Sequential([Dense(2, input_shape=(3,))])
    built.compile("sgd", "mse", metrics=[upper, "mae"])
    assert built.metrics_names == ["loss", "upper", "mean_absolute_error"]
    history = built.fit(X, A, batch_size=5, epochs=1, validation_data=(X, A), verbose=0).history
    error = np.abs(built.predict(X) - A)
    assert history["val_upper"][0] == pytest.approx(error.max(-1).mean(), rel=1e-5)
    assert history["val_mean_absolute_error"][0] == pytest.approx(error.mean(), rel=1e-5)


def normalizing(kind):
    """Return a layer around a batch normalization, and the normalization."""
    norm = BatchNormalization(momentum=0.9)
    body = Sequential([Dense(3, input_shape=(3,), activity_regularizer="l2"), norm, Dense(2)])
    if kind == "plain":
        return norm, norm
    if kind == "distributed":
        return TimeDistributed(body), norm
    return body, norm


@pytest.mark.parametrize("kind", ["plain", "nested", "distributed"])
def test_freezing_and_thawing_leave_no_trace(kind):
    """Losses and updates count once, however often a model was compiled and in whichever order."""
    layer, norm = normalizing(kind)
    x = Input((4, 3) if kind == "distributed" else (3,))
    first = Dense(3, activity_regularizer="l2")
    h = TimeDistributed(first)(x) if kind == "distributed" else first(x)
    built = Model(x, Dense(2)(layer(h)))
    data, y = (SEQUENCE, C) if kind == "distributed" else (X, A)
    start = built.get_weights()

    def step(trainable):
        layer.trainable = trainable
        built.compile(SGD(0.1), "mse")
        built.set_weights(start)
        loss = built.train_on_batch(data, y)
        return loss, [w.copy() for layer in (first, norm) for w in layer.get_weights()]

    thawed, frozen = step(True), step(False)
    # Kernel and bias, gamma and beta, then the moving statistics.
    for before, after in zip(thawed[1][4:], frozen[1][4:], strict=True):
        assert np.any(before != after)
    np.testing.assert_array_equal(frozen[1][4], np.zeros(3))
    for trainable in (False, True, True, False, True):
        loss, weights = step(trainable)
        expected_loss, expected = thawed if trainable else frozen
        assert loss == expected_loss
        for a, b in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_normalization_that_was_frozen_from_the_start():
    norm = BatchNormalization(momentum=0.9, trainable=False)
    x = Input((3,))
    built = Model(x, Dense(2)(norm(x)))
    norm.trainable = True
    start = built.get_weights()
    for _ in range(3):
        built.compile(SGD(0.0), "mse")
        built.set_weights(start)
        built.train_on_batch(X, A)
        np.testing.assert_allclose(norm.get_weights()[2], 0.1 * X.mean(0), rtol=1e-4)
