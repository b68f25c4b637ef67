"""InceptionV3 (Szegedy et al., 2015): mixed blocks of parallel convolutions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend as K
from ..layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    MaxPooling2D,
    concatenate,
)
from ..models import Model
from .imagenet_utils import (
    Settings,
    WeightsFile,
    build_model,
    decode_predictions,
    image_input,
    pooled,
    scale_to_one,
)

__all__ = ["InceptionV3", "conv2d_bn", "decode_predictions", "preprocess_input"]

_BASE = "https://github.com/fchollet/deep-learning-models/releases/download/v0.5/"
WEIGHTS = (
    WeightsFile(
        f"{_BASE}inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        "9a0d58056eeedaa3f26cb7ebd46da564",
    ),
    WeightsFile(
        f"{_BASE}inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "bcbd6486424b2319ff4ef7d526e38f63",
    ),
)


def _channel_axis() -> int:
    return 3 if K.image_data_format() == "channels_last" else 1


def conv2d_bn(
    x: Any,
    filters: int,
    num_row: int,
    num_col: int,
    padding: str = "same",
    strides: Any = (1, 1),
    name: str | None = None,
) -> Any:
    """Return a convolution without bias, batch normalisation and ReLU.

    Args:
        x: the input.
        filters: number of filters.
        num_row: height of the window.
        num_col: width of the window.
        padding: padding of the convolution.
        strides: strides of the convolution.
        name: name of the activation; those of the other two get '_conv' and '_bn' after it.
    """
    x = Conv2D(
        filters,
        (num_row, num_col),
        strides=strides,
        padding=padding,
        use_bias=False,
        name=None if name is None else f"{name}_conv",
    )(x)
    x = BatchNormalization(
        axis=_channel_axis(), scale=False, name=None if name is None else f"{name}_bn"
    )(x)
    return Activation("relu", name=name)(x)


def _chain(x: Any, *windows: tuple[int, int, int]) -> Any:
    """Put convolutions `(filters, rows, columns)` one after the other."""
    for filters, rows, columns in windows:
        x = conv2d_bn(x, filters, rows, columns)
    return x


def _pool_branch(x: Any, filters: int) -> Any:
    x = AveragePooling2D((3, 3), strides=(1, 1), padding="same")(x)
    return conv2d_bn(x, filters, 1, 1)


def _join(branches: list[Any], name: str | None = None) -> Any:
    return concatenate(branches, axis=_channel_axis(), name=name)


def _mixed_35(x: Any, pool_filters: int, name: str) -> Any:
    """A block at 35 x 35."""
    branches = [
        _chain(x, (64, 1, 1)),
        _chain(x, (48, 1, 1), (64, 5, 5)),
        _chain(x, (64, 1, 1), (96, 3, 3), (96, 3, 3)),
        _pool_branch(x, pool_filters),
    ]
    return _join(branches, name)


def _mixed_17(x: Any, inner: int, name: str) -> Any:
    """A block at 17 x 17, with 7 x 7 windows cut into 1 x 7 and 7 x 1."""
    branches = [
        _chain(x, (192, 1, 1)),
        _chain(x, (inner, 1, 1), (inner, 1, 7), (192, 7, 1)),
        _chain(x, (inner, 1, 1), (inner, 7, 1), (inner, 1, 7), (inner, 7, 1), (192, 1, 7)),
        _pool_branch(x, 192),
    ]
    return _join(branches, name)


def _mixed_8(x: Any, number: int) -> Any:
    """A block at 8 x 8, whose branches fork at their ends."""
    one = _chain(x, (320, 1, 1))
    three = _chain(x, (384, 1, 1))
    three = _join([conv2d_bn(three, 384, 1, 3), conv2d_bn(three, 384, 3, 1)], f"mixed9_{number}")
    double = _chain(x, (448, 1, 1), (384, 3, 3))
    double = _join([conv2d_bn(double, 384, 1, 3), conv2d_bn(double, 384, 3, 1)])
    return _join([one, three, double, _pool_branch(x, 192)], f"mixed{9 + number}")


def _body(x: Any) -> Any:
    x = conv2d_bn(x, 32, 3, 3, strides=(2, 2), padding="valid")
    x = conv2d_bn(x, 32, 3, 3, padding="valid")
    x = conv2d_bn(x, 64, 3, 3)
    x = MaxPooling2D((3, 3), strides=(2, 2))(x)
    x = conv2d_bn(x, 80, 1, 1, padding="valid")
    x = conv2d_bn(x, 192, 3, 3, padding="valid")
    x = MaxPooling2D((3, 3), strides=(2, 2))(x)
    for number, pool_filters in enumerate((32, 64, 64)):
        x = _mixed_35(x, pool_filters, f"mixed{number}")

    single = conv2d_bn(x, 384, 3, 3, strides=(2, 2), padding="valid")
    double = _chain(x, (64, 1, 1), (96, 3, 3))
    double = conv2d_bn(double, 96, 3, 3, strides=(2, 2), padding="valid")
    x = _join([single, double, MaxPooling2D((3, 3), strides=(2, 2))(x)], "mixed3")
    for number, inner in enumerate((128, 160, 160, 192), 4):
        x = _mixed_17(x, inner, f"mixed{number}")

    single = _chain(x, (192, 1, 1))
    single = conv2d_bn(single, 320, 3, 3, strides=(2, 2), padding="valid")
    double = _chain(x, (192, 1, 1), (192, 1, 7), (192, 7, 1))
    double = conv2d_bn(double, 192, 3, 3, strides=(2, 2), padding="valid")
    x = _join([single, double, MaxPooling2D((3, 3), strides=(2, 2))(x)], "mixed8")
    for number in range(2):
        x = _mixed_8(x, number)
    return x


def InceptionV3(  # noqa: N802 - the name that Keras gives it
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """Return an InceptionV3 model.

    Args:
        include_top: whether to include the pooling and the dense layer at the end.
        weights: 'imagenet' for weights trained on ImageNet (fetched into the cache), the path of a
            weights file, or None for random ones.
        input_tensor: a tensor to take as input.
        input_shape: shape of an image, when there is no classifier; the sides are at least 139.
        pooling: without a classifier, 'avg' or 'max' pools the last feature maps.
        classes: number of classes, for weights other than ImageNet's.

    Raises:
        ValueError: for weights that are not there, or a shape that does not suit.
    """
    settings = Settings(include_top, weights, input_tensor, input_shape, pooling, classes)
    settings.check("inception_v3")
    image = image_input(settings, default_size=299, min_size=139)
    x = _body(image)
    if include_top:
        x = GlobalAveragePooling2D(name="avg_pool")(x)
        x = Dense(classes, activation="softmax", name="predictions")(x)
    else:
        x = pooled(x, pooling)
    return build_model("inception_v3", settings, image, x, WEIGHTS)


def preprocess_input(x: np.ndarray) -> np.ndarray:
    """Scale images from 0..255 to -1..1.

    Args:
        x: an array of images.

    Returns:
        A new float array.
    """
    return scale_to_one(x)
