"""Weights of older files in the order and shapes that layers have here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..utils.user_warnings import warn

Weights = list[np.ndarray]

_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "ConvLSTM2D")


def preprocess_weights_for_loading(
    layer: Any,
    weights: Weights,
    original_keras_version: str | None = None,
    original_backend: str | None = None,
) -> Weights:
    """Convert the weights of a layer from how a file holds them.

    Args:
        layer: the layer that will take them.
        weights: arrays from a file.
        original_keras_version: version of Keras that wrote the file; '1' for any of 1.x.
        original_backend: backend under which it did: Theano's kernels are flipped.

    Returns:
        New list of arrays, in the order of `layer.weights`.
    """
    era_1 = original_keras_version is not None and original_keras_version.startswith("1")
    origin = (original_keras_version, original_backend)
    kind = type(layer).__name__
    weights = list(weights)
    if hasattr(layer, "layers"):
        return _nested(layer, weights, origin)
    if kind == "Bidirectional":
        half = len(weights) // 2
        return preprocess_weights_for_loading(
            layer.forward_layer, weights[:half], *origin
        ) + preprocess_weights_for_loading(layer.backward_layer, weights[half:], *origin)
    if kind == "TimeDistributed":
        return preprocess_weights_for_loading(layer.layer, weights, *origin)
    if era_1 and kind in _FROM_KERAS_1 and weights:
        weights = _FROM_KERAS_1[kind](layer, weights)
    if original_backend == "theano" and kind in _CONVOLUTIONS and weights:
        weights = _flip_kernels(kind, weights)
    return weights


def _nested(model: Any, weights: Weights, origin: tuple[str | None, str | None]) -> Weights:
    """Convert the weights of a model within a model: all trainable ones come first."""
    trainable: Weights = []
    fixed: Weights = []
    parts: list[tuple[Any, Weights, Weights]] = []
    position = 0
    for layer in model.layers:
        count = len(layer.trainable_weights)
        parts.append((layer, weights[position : position + count], []))
        position += count
    for index, layer in enumerate(model.layers):
        count = len(layer.non_trainable_weights)
        parts[index][2].extend(weights[position : position + count])
        position += count
    for layer, first, second in parts:
        converted = preprocess_weights_for_loading(layer, first + second, *origin)
        trainable += converted[: len(layer.trainable_weights)]
        fixed += converted[len(layer.trainable_weights) :]
    return trainable + fixed + weights[position:]


def _flip_kernels(kind: str, weights: Weights) -> Weights:
    from ..utils.conv_utils import convert_kernel

    count = 2 if kind == "ConvLSTM2D" else 1
    return [convert_kernel(w) for w in weights[:count]] + weights[count:]


def _conv1d(layer: Any, weights: Weights) -> Weights:
    kernel = weights[0]
    if kernel.ndim != 4:
        return weights
    if kernel.shape[:2] != (layer.kernel_size[0], 1) or kernel.shape[3] != layer.filters:
        # Before 1.2: (filters, channels, length, 1).
        kernel = np.transpose(kernel, (2, 3, 1, 0))
    return [kernel[:, 0], *weights[1:]]


def _conv2d(layer: Any, weights: Weights) -> Weights:
    if layer.data_format == "channels_first":
        weights[0] = np.transpose(weights[0], (2, 3, 1, 0))
    return weights


def _conv2d_transpose(layer: Any, weights: Weights) -> Weights:
    axes = (0, 1, 3, 2) if layer.data_format == "channels_last" else (2, 3, 0, 1)
    weights[0] = np.transpose(weights[0], axes)
    return weights


def _conv3d(layer: Any, weights: Weights) -> Weights:
    if layer.data_format == "channels_first":
        weights[0] = np.transpose(weights[0], (2, 3, 4, 1, 0))
    return weights


def _joined(weights: Weights, gates: tuple[int, ...]) -> Weights:
    """Join the kernels, recurrent kernels and biases of the gates, in the order given."""
    return [np.concatenate([weights[3 * g + part] for g in gates], axis=-1) for part in range(3)]


def _gru(layer: Any, weights: Weights) -> Weights:
    return _joined(weights, (0, 1, 2)) if len(weights) == 9 else weights


def _lstm(layer: Any, weights: Weights) -> Weights:
    # Keras 1 kept input, cell, forget, output; today's order is input, forget, cell, output.
    return _joined(weights, (0, 2, 1, 3)) if len(weights) == 12 else weights


def _conv_lstm(layer: Any, weights: Weights) -> Weights:
    if len(weights) != 12:
        return weights
    if layer.data_format == "channels_first":
        weights = [np.transpose(w, (2, 3, 1, 0)) if w.ndim == 4 else w for w in weights]
    return _joined(weights, (0, 2, 1, 3))


_FROM_KERAS_1: dict[str, Callable[[Any, Weights], Weights]] = {
    "Conv1D": _conv1d,
    "Conv2D": _conv2d,
    "Conv2DTranspose": _conv2d_transpose,
    "Conv3D": _conv3d,
    "ConvLSTM2D": _conv_lstm,
    "GRU": _gru,
    "LSTM": _lstm,
}


def warn_of_names(names: Sequence[str], layers: Sequence[Any]) -> None:
    """Warn that loading by name found no layer.

    Args:
        names: those of the layers in the file.
        layers: those of the model.
    """
    warn(
        f"No weights were loaded: the file has layers named {names}, and the model's are "
        f"{[layer.name for layer in layers]}. Give layers the names in the file, or load without "
        "by_name=True."
    )
