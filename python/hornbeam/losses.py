"""Loss functions, by the names and with the formulas of Keras 2.

Each takes the targets and the predictions, tensors of one shape (samples, ..., values), and returns
one number per sample (and per step, for sequences): what it computes along the last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import backend as K
from .utils.generic_utils import deserialize_keras_object


def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """Return mean((y_pred - y_true) ** 2)."""
    return K.mean(K.square(y_pred - y_true), axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """Return mean(abs(y_pred - y_true))."""
    return K.mean(K.abs(y_pred - y_true), axis=-1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Any:
    """Return 100 * mean(abs(y_true - y_pred) / abs(y_true)), with abs(y_true) >= epsilon."""
    diff = K.abs((y_true - y_pred) / K.clip(K.abs(y_true), K.epsilon(), None))
    return 100.0 * K.mean(diff, axis=-1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Any:
    """Return mean((log(1 + y_pred) - log(1 + y_true)) ** 2), both clipped to >= epsilon."""
    first = K.log(K.clip(y_pred, K.epsilon(), None) + 1.0)
    second = K.log(K.clip(y_true, K.epsilon(), None) + 1.0)
    return K.mean(K.square(first - second), axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    """Return mean(max(1 - y_true * y_pred, 0) ** 2), for targets of -1 and 1."""
    return K.mean(K.square(K.maximum(1.0 - y_true * y_pred, 0.0)), axis=-1)


def hinge(y_true: Any, y_pred: Any) -> Any:
    """Return mean(max(1 - y_true * y_pred, 0)), for targets of -1 and 1."""
    return K.mean(K.maximum(1.0 - y_true * y_pred, 0.0), axis=-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> Any:
    """Return max(1 + (best wrong prediction) - (right prediction), 0), for one-hot targets."""
    pos = K.sum(y_true * y_pred, axis=-1)
    neg = K.max((1.0 - y_true) * y_pred, axis=-1)
    return K.maximum(neg - pos + 1.0, 0.0)


def logcosh(y_true: Any, y_pred: Any) -> Any:
    """Return mean(log(cosh(y_pred - y_true))).

    It is x ** 2 / 2 for small errors and abs(x) - log(2) for large ones; computed in a form that
    does not overflow.
    """
    # log(cosh(x)) = x + log(1 + exp(-2 x)) - log(2)
    x = y_pred - y_true
    return K.mean(x + K.softplus(-2.0 * x) - 0.6931471805599453, axis=-1)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Any:
    """Return the mean of x ** 2 / 2 where abs(x) <= delta, else delta * (abs(x) - delta / 2).

    Args:
        y_true: targets.
        y_pred: predictions.
        delta: where the loss turns from quadratic to linear.
    """
    x = K.abs(y_pred - y_true)
    quadratic = K.minimum(x, delta)
    return K.mean(0.5 * K.square(quadratic) + delta * (x - quadratic), axis=-1)


def categorical_crossentropy(y_true: Any, y_pred: Any) -> Any:
    """Return -sum(y_true * log(y_pred)), for targets and predictions that are distributions."""
    return K.categorical_crossentropy(y_pred, y_true)


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any) -> Any:
    """Return -log(y_pred[class]), for targets that are class numbers.

    Args:
        y_true: class numbers of shape (samples, ..., 1) or (samples, ...).
        y_pred: distributions of shape (samples, ..., classes).
    """
    return K.sparse_categorical_crossentropy(y_pred, y_true)


def binary_crossentropy(y_true: Any, y_pred: Any) -> Any:
    """Return mean(-y_true * log(y_pred) - (1 - y_true) * log(1 - y_pred))."""
    return K.mean(K.binary_crossentropy(y_pred, y_true), axis=-1)


def kullback_leibler_divergence(y_true: Any, y_pred: Any) -> Any:
    """Return sum(y_true * log(y_true / y_pred)), both clipped to [epsilon, 1]."""
    y_true = K.clip(y_true, K.epsilon(), 1.0)
    y_pred = K.clip(y_pred, K.epsilon(), 1.0)
    return K.sum(y_true * K.log(y_true / y_pred), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> Any:
    """Return mean(y_pred - y_true * log(y_pred + epsilon))."""
    return K.mean(y_pred - y_true * K.log(y_pred + K.epsilon()), axis=-1)


def cosine_proximity(y_true: Any, y_pred: Any) -> Any:
    """Return -mean(y_true * y_pred) of the vectors scaled to length one (Keras 2)."""
    y_true = K.l2_normalize(y_true, axis=-1)
    y_pred = K.l2_normalize(y_pred, axis=-1)
    return -K.mean(y_true * y_pred, axis=-1)


def cosine_similarity(y_true: Any, y_pred: Any) -> Any:
    """Return -sum(y_true * y_pred) of the vectors scaled to length one (Keras 3)."""
    y_true = K.l2_normalize(y_true, axis=-1)
    y_pred = K.l2_normalize(y_pred, axis=-1)
    return -K.sum(y_true * y_pred, axis=-1)


mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
kld = KLD = kl_divergence = kullback_leibler_divergence
cosine = cosine_proximity
log_cosh = logcosh


def serialize(loss: Any) -> str:
    """Return the name under which `deserialize` finds the function again."""
    return loss.__name__


def deserialize(name: Any, custom_objects: dict[str, Any] | None = None) -> Callable[..., Any]:
    """Return the loss function of that name.

    Raises:
        ValueError: for an unknown name.
    """
    return deserialize_keras_object(
        name,
        module_objects=globals(),
        custom_objects=custom_objects,
        printable_module_name="loss function",
    )


def get(identifier: Any) -> Callable[..., Any] | None:
    """Return a loss function from a name, a config, a callable or None (no loss).

    Raises:
        ValueError: for an unknown name or anything that cannot be called.
    """
    if identifier is None:
        return None
    if isinstance(identifier, (str, dict)):
        return deserialize(identifier)
    if callable(identifier):
        return identifier
    raise ValueError(
        f"Could not interpret loss function identifier: {identifier!r}. "
        "Expected a name, a function or None."
    )
