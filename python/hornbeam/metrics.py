"""Metrics, by the names and with the formulas of Keras 2.

Each takes the targets and the predictions and returns numbers whose mean over the batch is logged.
Every loss function is a metric too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import backend as K
from .losses import (
    binary_crossentropy,
    categorical_crossentropy,
    categorical_hinge,
    cosine_proximity,
    cosine_similarity,
    hinge,
    huber,
    kullback_leibler_divergence,
    logcosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from .utils.generic_utils import deserialize_keras_object

__all__ = [
    "MAE",
    "MAPE",
    "MSE",
    "MSLE",
    "binary_accuracy",
    "binary_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_hinge",
    "cosine",
    "cosine_proximity",
    "cosine_similarity",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "kullback_leibler_divergence",
    "log_cosh",
    "logcosh",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
    "poisson",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
]


def binary_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return the share of values that are right when predictions are rounded to 0 and 1."""
    return K.mean(K.equal(y_true, K.round(y_pred)), axis=-1)


def categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return 1 for each sample whose greatest prediction is in the place of the target's."""
    right = K.equal(K.argmax(y_true, axis=-1), K.argmax(y_pred, axis=-1))
    return K.cast(right, K.floatx())


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return 1 for each sample whose greatest prediction is that of the target's class number.

    Args:
        y_true: class numbers of shape (samples, ..., 1) or (samples, ...).
        y_pred: predictions of shape (samples, ..., classes).
    """
    predicted = K.cast(K.argmax(y_pred, axis=-1), K.floatx())
    return K.cast(K.equal(K.cast(_classes(y_true, y_pred), K.floatx()), predicted), K.floatx())


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """Return the share of samples whose target is among the k greatest predictions, a scalar."""
    return K.mean(K.cast(K.in_top_k(y_pred, K.argmax(y_true, axis=-1), k), K.floatx()), axis=-1)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """Return the same as `top_k_categorical_accuracy` for targets that are class numbers."""
    classes = K.cast(_classes(y_true, y_pred), "int32")
    return K.mean(K.cast(K.in_top_k(y_pred, classes, k), K.floatx()), axis=-1)


def _classes(y_true: Any, y_pred: Any) -> Any:
    """Drop the last axis of class numbers given as (samples, ..., 1)."""
    if K.ndim(y_true) == K.ndim(y_pred):
        return K.max(y_true, axis=-1)
    return y_true


mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
cosine = cosine_proximity
kl_divergence = kullback_leibler_divergence
log_cosh = logcosh


def serialize(metric: Any) -> str:
    """Return the name under which `deserialize` finds the function again."""
    return metric.__name__


def deserialize(name: Any, custom_objects: dict[str, Any] | None = None) -> Callable[..., Any]:
    """Return the metric function of that name.

    Raises:
        ValueError: for an unknown name.
    """
    return deserialize_keras_object(
        name,
        module_objects=globals(),
        custom_objects=custom_objects,
        printable_module_name="metric function",
    )


def get(identifier: Any) -> Callable[..., Any]:
    """Return a metric function from a name, a config or a callable.

    Raises:
        ValueError: for an unknown name or anything that cannot be called.
    """
    if isinstance(identifier, (str, dict)):
        return deserialize(identifier)
    if callable(identifier):
        return identifier
    raise ValueError(
        f"Could not interpret metric function identifier: {identifier!r}. "
        "Expected a name or a function."
    )
