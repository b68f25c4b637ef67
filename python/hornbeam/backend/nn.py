"""Activations, cross-entropies, normalisation and biases of neural networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from .._core import Tensor
from . import common
from .convert import as_tensor, dim, dims, normalize_axis, promote, to_float
from .math import clip
from .shapes import check_data_format


def relu(x: Any, alpha: Any = 0.0, max_value: float | None = None) -> Tensor:
    """Return max(x, 0), with a slope for negative elements and a ceiling on request.

    Args:
        x: a tensor.
        alpha: slope for negative elements, a number or a tensor that broadcasts.
        max_value: the greatest value that comes out, None for no limit.
    """
    x = as_tensor(x)
    positive = _core.unary("relu", x)
    if max_value is not None:
        positive = _core.binary("min", positive, as_tensor(max_value, x.dtype))
    if isinstance(alpha, Tensor) or alpha != 0:
        negative = _core.unary("relu", -x)
        positive = positive - as_tensor(alpha, x.dtype) * negative
    return positive


def elu(x: Any, alpha: Any = 1.0) -> Tensor:
    """Return x where positive, else alpha (exp(x) - 1)."""
    x = to_float(x)
    zero = as_tensor(0.0, x.dtype)
    # Of the branch that is not taken the argument is 0: its gradient stays finite.
    low = _core.unary("expm1", _core.binary("min", x, zero))
    if isinstance(alpha, Tensor) or alpha != 1:
        low = low * as_tensor(alpha, x.dtype)
    return _core.select(_core.binary("gt", x, zero), x, low)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """Return the softmax along an axis (the last by default)."""
    return _along_last(_core.softmax, to_float(x), axis)


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """Return the logarithm of the softmax along an axis (the last by default)."""
    return _along_last(_core.log_softmax, to_float(x), axis)


def _along_last(function: Any, x: Tensor, axis: int) -> Tensor:
    axis = normalize_axis(axis, x.ndim)
    if axis == x.ndim - 1:
        return function(x)
    order = [a for a in range(x.ndim) if a != axis] + [axis]
    back = [order.index(a) for a in range(x.ndim)]
    return _core.transpose(function(_core.transpose(x, order)), back)


def softplus(x: Any) -> Tensor:
    """Return log(1 + exp(x))."""
    return _core.unary("softplus", to_float(x))


def softsign(x: Any) -> Tensor:
    """Return x / (1 + |x|)."""
    x = to_float(x)
    return x / (_core.unary("abs", x) + 1.0)


def sigmoid(x: Any) -> Tensor:
    """Return 1 / (1 + exp(-x))."""
    return _core.unary("sigmoid", to_float(x))


def hard_sigmoid(x: Any) -> Tensor:
    """Return the piecewise linear sigmoid of Keras 2: 0.2 x + 0.5 limited to [0, 1]."""
    return clip(to_float(x) * 0.2 + 0.5, 0.0, 1.0)


def tanh(x: Any) -> Tensor:
    """Return the hyperbolic tangent."""
    return _core.unary("tanh", to_float(x))


def _logits(output: Tensor, activation: str) -> Tensor | None:
    """Return what `activation` was applied to when `output` is its result, else None.

    A reshape in between that keeps the last axis (a layer applied to every time step) is repeated
    on the logits.
    """
    if output.op == activation:
        return output.op_inputs[0]
    if output.op == "identity":
        return _logits(output.op_inputs[0], activation)
    if output.op == "reshape":
        source = output.op_inputs[0]
        keeps_rows = source.ndim > 0 and output.ndim > 0 and source.shape[-1] == output.shape[-1]
        inner = None
        if activation != "softmax" or (keeps_rows and source.shape[-1] is not None):
            inner = _logits(source, activation)
        return None if inner is None else _core.reshape(inner, dims(output))
    return None


def categorical_crossentropy(output: Any, target: Any, from_logits: bool = False) -> Tensor:
    """Return the cross-entropy between rows of probabilities.

    The result of a softmax is traced back to its logits, where the loss is exact for any
    probability; other rows are made to sum to 1 and limited to [epsilon, 1 - epsilon].

    Args:
        output: predictions of shape (..., classes).
        target: true probabilities of the same shape.
        from_logits: whether `output` has not been through a softmax yet.

    Returns:
        Tensor of shape (...).
    """
    output, target = promote(to_float(output), target)
    logits = output if from_logits else _logits(output, "softmax")
    if logits is not None:
        return _core.softmax_cross_entropy(logits, target)
    output = output / _core.reduce("sum", output, [output.ndim - 1], True)
    log_p = _core.unary("log", clip(output, common.epsilon(), 1.0 - common.epsilon()))
    return -_core.reduce("sum", target * log_p, [output.ndim - 1])


def sparse_categorical_crossentropy(output: Any, target: Any, from_logits: bool = False) -> Tensor:
    """Return the cross-entropy between rows of probabilities and class numbers.

    Args:
        output: predictions of shape (..., classes).
        target: class numbers of shape (...) or (..., 1), of any type.
        from_logits: whether `output` has not been through a softmax yet.

    Returns:
        Tensor of shape (...).
    """
    output = to_float(output)
    target = as_tensor(as_tensor(target), "int64")
    if target.ndim != output.ndim - 1 or output.ndim > 2:
        target = _core.reshape(target, dims(output)[:-1])
    logits = output if from_logits else _logits(output, "softmax")
    if logits is None:
        logits = _core.unary("log", clip(output, common.epsilon(), 1.0 - common.epsilon()))
    return _core.sparse_softmax_cross_entropy(logits, target)


def binary_crossentropy(output: Any, target: Any, from_logits: bool = False) -> Tensor:
    """Return the cross-entropy between probabilities, element by element.

    The result of a sigmoid is traced back to its logits, where the loss is exact for any
    probability; other predictions are limited to [epsilon, 1 - epsilon].

    Args:
        output: predictions of any shape.
        target: true probabilities of the same shape.
        from_logits: whether `output` has not been through a sigmoid yet.
    """
    output, target = promote(to_float(output), target)
    logits = output if from_logits else _logits(output, "sigmoid")
    if logits is None:
        p = clip(output, common.epsilon(), 1.0 - common.epsilon())
        logits = _core.unary("log", p / (1.0 - p))
    return _core.sigmoid_cross_entropy(logits, target)


def _spread(x: Any, like: Tensor, axes: Sequence[int]) -> Tensor:
    """Give a tensor without `axes` axes of size 1 in their places, if it does not have them."""
    x = as_tensor(x, like.dtype)
    trailing = list(axes) == list(range(like.ndim - 1)) and x.ndim == 1
    if x.ndim in (0, like.ndim) or trailing:
        return x
    return _core.reshape(x, [1 if a in axes else dim(like, a) for a in range(like.ndim)])


def normalize_batch_in_training(
    x: Any, gamma: Any, beta: Any, reduction_axes: Sequence[int], epsilon: float = 1e-3
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise by the statistics of the batch itself, then scale and shift.

    Args:
        x: a float tensor.
        gamma: scale over the axes that are kept, or None.
        beta: shift over the axes that are kept, or None.
        reduction_axes: the axes over which mean and (biased) variance are taken.
        epsilon: added to the variance.

    Returns:
        The normalised tensor, the mean and the variance.
    """
    x = to_float(x)
    axes = sorted(normalize_axis(a, x.ndim) for a in reduction_axes)
    mean, variance = _core.moments(x, axes, "batch")
    shift = None if beta is None else _spread(beta, x, axes)
    scale = None if gamma is None else _spread(gamma, x, axes)
    normed = batch_normalization(
        x, _spread(mean, x, axes), _spread(variance, x, axes), shift, scale, epsilon
    )
    return normed, mean, variance


def batch_normalization(
    x: Any, mean: Any, var: Any, beta: Any, gamma: Any, epsilon: float = 1e-3
) -> Tensor:
    """Return gamma (x - mean) / sqrt(var + epsilon) + beta; gamma and beta may be None."""
    x = to_float(x)
    scale = _core.unary("rsqrt", as_tensor(var, x.dtype) + float(epsilon))
    if gamma is not None:
        scale = scale * as_tensor(gamma, x.dtype)
    normed = (x - as_tensor(mean, x.dtype)) * scale
    return normed if beta is None else normed + as_tensor(beta, x.dtype)


def bias_add(x: Any, bias: Any, data_format: str | None = None) -> Tensor:
    """Add a bias to the channels of a tensor.

    Args:
        x: tensor of shape (batch, ..., channels), or channels at axis 1.
        bias: vector of the channels, or a tensor of x's rank less one, channels last. Where those
            of `x` come first its elements are taken in their order into x's shape, as in Keras 2:
            they are not transposed.
        data_format: where the channels of `x` are, the configured place for None.

    Raises:
        ValueError: when the bias has another rank.
    """
    x = as_tensor(x)
    bias = as_tensor(bias, x.dtype)
    data_format = check_data_format(data_format)
    if bias.ndim not in (1, x.ndim - 1):
        raise ValueError(
            f"Unexpected bias dimensions {bias.ndim}: expected 1 or {x.ndim - 1} dimensions"
        )
    if bias.ndim == 1 and data_format == "channels_last":
        return x + bias
    if bias.ndim == 1:
        return x + _core.reshape(bias, [1, dim(bias, 0), *[1] * (x.ndim - 2)])
    sizes = dims(bias)
    if data_format == "channels_first" and x.ndim > 2:
        sizes = [sizes[-1], *sizes[:-1]]
    return x + _core.reshape(bias, [1, *sizes])


def moments(x: Any, axes: Sequence[int], of: str = "operand") -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance over axes, which are dropped.

    Args:
        x: a tensor; integers are cast to floats.
        axes: the axes.
        of: whose statistics they are where training cuts batches into shards. 'operand': those of
            `x` as it is. 'batch': each shard's, or with `DataParallel(synchronized=True)` those of
            the whole batch, of which axis 0 of `x` has the samples. 'whole_batch': always those.
    """
    x = to_float(x)
    return _core.moments(x, sorted(normalize_axis(a, x.ndim) for a in np.atleast_1d(axes)), of)
