"""What the golden files do not hold: names, classes, shapes, numerical safety, further losses."""

from __future__ import annotations

import numpy as np
import pytest

from hornbeam import backend as K  # noqa: N812
from hornbeam import losses, metrics, objectives

R = np.random.RandomState(2)
ALL = [
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "squared_hinge",
    "hinge",
    "categorical_hinge",
    "logcosh",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "binary_crossentropy",
    "kullback_leibler_divergence",
    "poisson",
    "cosine_proximity",
]
ALIASES = {
    "mse": "mean_squared_error",
    "MSE": "mean_squared_error",
    "mae": "mean_absolute_error",
    "MAE": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "MAPE": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "MSLE": "mean_squared_logarithmic_error",
    "kld": "kullback_leibler_divergence",
    "KLD": "kullback_leibler_divergence",
    "kl_divergence": "kullback_leibler_divergence",
    "cosine": "cosine_proximity",
    "log_cosh": "logcosh",
}


def evaluate(function, y_true, y_pred, **arguments):
    return K.eval(function(K.variable(y_true), K.variable(y_pred), **arguments))


def one_hot(classes, count):
    return np.eye(count)[classes]


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("name", ALL)
def test_a_loss_has_one_value_for_each_row(name, shape):
    y_pred = R.uniform(0.1, 0.9, shape)
    if name == "sparse_categorical_crossentropy":
        y_true = R.randint(0, shape[-1], (*shape[:-1], 1))
    else:
        y_true = R.uniform(0.1, 0.9, shape)
    values = evaluate(losses.get(name), y_true, y_pred)
    assert values.shape == shape[:-1]
    assert np.isfinite(values).all()


def test_names():
    for alias, name in ALIASES.items():
        assert losses.get(alias) is getattr(losses, name)
        assert getattr(metrics, alias, losses.get(alias)) is losses.get(alias)
    for name in ALL:
        assert losses.get(losses.serialize(losses.get(name))) is getattr(losses, name)
        assert metrics.get(name) is getattr(losses, name)
        assert getattr(objectives, name) is getattr(losses, name)
    assert losses.get(None) is None
    own = lambda t, p: p  # noqa: E731
    assert losses.get(own) is own
    assert metrics.get(own) is own


@pytest.mark.parametrize("module", [losses, metrics])
def test_unknown(module):
    with pytest.raises(ValueError, match="Did you mean 'mean_squared_error'"):
        module.get("mean_squared_eror")
    with pytest.raises(ValueError, match="Could not interpret"):
        module.get(17)


def test_logcosh_of_large_errors():
    values = evaluate(losses.logcosh, [[0.0], [0.0], [0.0]], [[1e4], [-1e4], [1e-3]])
    np.testing.assert_allclose(
        values, [1e4 - np.log(2), 1e4 - np.log(2), 5e-7], atol=2e-7, rtol=1e-6
    )


def test_huber():
    y_true, y_pred = R.randn(4, 6), 3 * R.randn(4, 6)
    x = np.abs(y_pred - y_true)
    expected = np.where(x <= 1.5, x**2 / 2, 1.5 * (x - 0.75)).mean(-1)
    np.testing.assert_allclose(
        evaluate(losses.huber, y_true, y_pred, delta=1.5), expected, rtol=1e-5
    )


def test_cosine_similarity_is_the_sum():
    y_true, y_pred = R.randn(4, 6), R.randn(4, 6)
    cosine = (y_true * y_pred).sum(-1) / np.linalg.norm(y_true, axis=-1)
    cosine /= np.linalg.norm(y_pred, axis=-1)
    np.testing.assert_allclose(
        evaluate(losses.cosine_similarity, y_true, y_pred), -cosine, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        evaluate(losses.cosine_proximity, y_true, y_pred), -cosine / 6, rtol=1e-4, atol=1e-6
    )


def test_sparse_classes_with_and_without_the_last_axis():
    classes, y_pred = R.randint(0, 5, (8,)), R.uniform(0.1, 1, (8, 5))
    y_pred /= y_pred.sum(-1, keepdims=True)
    expected = -np.log(y_pred[np.arange(8), classes])
    for y_true in (classes, classes[:, None]):
        values = evaluate(losses.sparse_categorical_crossentropy, y_true, y_pred)
        np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_binary_accuracy():
    y_pred = np.array([[0.2, 0.8, 0.51], [0.5, 0.9, 0.1]])
    y_true = np.array([[0, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(evaluate(metrics.binary_accuracy, y_true, y_pred), [2 / 3, 2 / 3])


def test_categorical_accuracies():
    scores = R.permutation(60).reshape(12, 5).astype("float32")
    classes = R.randint(0, 5, (12,))
    right = (scores.argmax(-1) == classes).astype("float32")
    for function, y_true in (
        (metrics.categorical_accuracy, one_hot(classes, 5)),
        (metrics.sparse_categorical_accuracy, classes),
        (metrics.sparse_categorical_accuracy, classes[:, None]),
    ):
        assert (evaluate(function, y_true, scores) == right).all()


@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_top_k(k):
    scores = R.permutation(60).reshape(12, 5).astype("float32")
    classes = R.randint(0, 5, (12,))
    best = np.argsort(-scores, axis=-1)[:, :k]
    expected = np.mean([c in b for c, b in zip(classes, best, strict=True)])
    for function, y_true in (
        (metrics.top_k_categorical_accuracy, one_hot(classes, 5)),
        (metrics.sparse_top_k_categorical_accuracy, classes[:, None]),
    ):
        value = evaluate(function, y_true, scores, k=k)
        assert np.shape(value) == ()
        np.testing.assert_allclose(value, expected, rtol=1e-6)
