"""Activation functions, by the names and with the formulas of Keras 2.

Each takes a tensor and returns one of the same shape and dtype. Layers accept the function itself
or its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import backend as K
from .utils.generic_utils import deserialize_keras_object


def softmax(x: Any, axis: int = -1) -> Any:
    """Return exp(x) / sum(exp(x)) along one axis.

    Args:
        x: tensor with two axes or more.
        axis: the axis along which the values add up to one; the last by default.

    Raises:
        ValueError: when `x` has fewer than two axes, or no axis `axis`.
    """
    ndim = K.ndim(x)
    if ndim < 2:
        raise ValueError(
            f"softmax: expected a tensor with at least 2 axes, got shape {K.int_shape(x)}"
        )
    if not -ndim <= axis < ndim:
        raise ValueError(f"softmax: there is no axis {axis} in shape {K.int_shape(x)}")
    return K.softmax(x, axis)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """Return x where x > 0 and alpha * (exp(x) - 1) elsewhere (Clevert et al., 2015)."""
    return K.elu(x, alpha)


def selu(x: Any) -> Any:
    """Return the scaled elu whose fixed point has mean 0 and variance 1 (Klambauer et al., 2017).

    It belongs with the initializer 'lecun_normal' and the layer AlphaDropout.
    """
    alpha = 1.6732632423543772
    scale = 1.0507009873554805
    return scale * K.elu(x, alpha)


def softplus(x: Any) -> Any:
    """Return log(1 + exp(x))."""
    return K.softplus(x)


def softsign(x: Any) -> Any:
    """Return x / (1 + abs(x))."""
    return K.softsign(x)


def relu(x: Any, alpha: float = 0.0, max_value: float | None = None) -> Any:
    """Return max(x, 0), or with arguments a leaky or a saturating form of it.

    Args:
        x: tensor.
        alpha: slope for negative values.
        max_value: upper limit of the result; None for no limit.
    """
    return K.relu(x, alpha=alpha, max_value=max_value)


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""
    return K.tanh(x)


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x))."""
    return K.sigmoid(x)


def hard_sigmoid(x: Any) -> Any:
    """Return clip(0.2 x + 0.5, 0, 1), the piecewise linear sigmoid of Keras 2."""
    return K.hard_sigmoid(x)


def hard_sigmoid_relu6(x: Any) -> Any:
    """Return relu6(x + 3) / 6, which is Keras 3's `hard_sigmoid`."""
    return relu6(x + 3.0) / 6.0


def linear(x: Any) -> Any:
    """Return x itself."""
    return x


def exponential(x: Any) -> Any:
    """Return exp(x)."""
    return K.exp(x)


def swish(x: Any) -> Any:
    """Return x * sigmoid(x) (Ramachandran et al., 2017), also known as silu."""
    return x * K.sigmoid(x)


def gelu(x: Any, approximate: bool = False) -> Any:
    """Return x * P(X <= x) for a standard normal X (Hendrycks and Gimpel, 2016).

    Args:
        x: tensor.
        approximate: whether to use the form with a tanh instead of the error function.
    """
    if approximate:
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)
        return 0.5 * x * (1.0 + K.tanh(inner))
    return 0.5 * x * (1.0 + K.erf(x * math.sqrt(0.5)))


def relu6(x: Any) -> Any:
    """Return min(max(x, 0), 6)."""
    return K.relu(x, max_value=6.0)


silu = swish


def serialize(activation: Callable[..., Any]) -> str:
    """Return the name under which `deserialize` finds the function again."""
    return activation.__name__


def deserialize(name: Any, custom_objects: dict[str, Any] | None = None) -> Callable[..., Any]:
    """Return the activation function of that name.

    Args:
        name: name of a function of this module or of a custom object; a dictionary with
            'class_name' and 'config' builds an activation layer.
        custom_objects: further names.

    Raises:
        ValueError: for an unknown name.
    """
    return deserialize_keras_object(
        name,
        module_objects=globals(),
        custom_objects=custom_objects,
        printable_module_name="activation function",
    )


def get(identifier: Any) -> Callable[..., Any]:
    """Return an activation function from a name, a function or None (the identity).

    Raises:
        ValueError: for an unknown name or anything that cannot be called.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, (str, dict)):
        return deserialize(identifier)
    if callable(identifier):
        return identifier
    raise ValueError(
        f"Could not interpret activation function identifier: {identifier!r}. "
        "Expected a name, a function or None."
    )
