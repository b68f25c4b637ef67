"""Xception (Chollet, 2016): depthwise separable convolutions with shortcuts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import backend as K
from ..layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    MaxPooling2D,
    SeparableConv2D,
    add,
)
from ..models import Model
from ..utils.user_warnings import warn
from .imagenet_utils import (
    Settings,
    WeightsFile,
    build_model,
    decode_predictions,
    image_input,
    pooled,
    scale_to_one,
)

__all__ = ["Xception", "decode_predictions", "preprocess_input"]

_BASE = "https://github.com/fchollet/deep-learning-models/releases/download/v0.4/"
WEIGHTS = (
    WeightsFile(
        f"{_BASE}xception_weights_tf_dim_ordering_tf_kernels.h5",
        "0a58e3b7378bc2990ea3b43d5981f1f6",
    ),
    WeightsFile(
        f"{_BASE}xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "b0042744bf5b25fce3cb969f33bebb97",
    ),
)


@contextmanager
def _channels_last() -> Iterator[None]:
    if K.image_data_format() == "channels_last":
        yield
        return
    warn("The Xception model takes images with the channels last, whatever the configured layout.")
    K.set_image_data_format("channels_last")
    try:
        yield
    finally:
        K.set_image_data_format("channels_first")


def _separable(x: Any, filters: int, name: str) -> Any:
    x = SeparableConv2D(filters, (3, 3), padding="same", use_bias=False, name=name)(x)
    return BatchNormalization(name=f"{name}_bn")(x)


def _down_block(x: Any, number: int, filters: tuple[int, int]) -> Any:
    """Two separable convolutions and a pooling, with a convolution as shortcut."""
    residual = Conv2D(filters[1], (1, 1), strides=(2, 2), padding="same", use_bias=False)(x)
    residual = BatchNormalization()(residual)
    prefix = f"block{number}_sepconv"
    if number > 2:
        x = Activation("relu", name=f"{prefix}1_act")(x)
    x = _separable(x, filters[0], f"{prefix}1")
    x = Activation("relu", name=f"{prefix}2_act")(x)
    x = _separable(x, filters[1], f"{prefix}2")
    x = MaxPooling2D((3, 3), strides=(2, 2), padding="same", name=f"block{number}_pool")(x)
    return add([x, residual])


def _middle_block(x: Any, number: int) -> Any:
    residual = x
    for i in (1, 2, 3):
        name = f"block{number}_sepconv{i}"
        x = Activation("relu", name=f"{name}_act")(x)
        x = _separable(x, 728, name)
    return add([x, residual])


def _body(x: Any) -> Any:
    for number, (filters, strides) in enumerate(((32, (2, 2)), (64, (1, 1))), 1):
        name = f"block1_conv{number}"
        x = Conv2D(filters, (3, 3), strides=strides, use_bias=False, name=name)(x)
        x = BatchNormalization(name=f"{name}_bn")(x)
        x = Activation("relu", name=f"{name}_act")(x)
    for number, filters in ((2, 128), (3, 256), (4, 728)):
        x = _down_block(x, number, (filters, filters))
    for number in range(5, 13):
        x = _middle_block(x, number)
    x = _down_block(x, 13, (728, 1024))
    for number, filters in ((1, 1536), (2, 2048)):
        name = f"block14_sepconv{number}"
        x = _separable(x, filters, name)
        x = Activation("relu", name=f"{name}_act")(x)
    return x


def Xception(  # noqa: N802 - the name that Keras gives it
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """Return an Xception model; its images have the channels last.

    Args:
        include_top: whether to include the pooling and the dense layer at the end.
        weights: 'imagenet' for weights trained on ImageNet (fetched into the cache), the path of a
            weights file, or None for random ones.
        input_tensor: a tensor to take as input.
        input_shape: shape of an image, when there is no classifier; the sides are at least 71.
        pooling: without a classifier, 'avg' or 'max' pools the last feature maps.
        classes: number of classes, for weights other than ImageNet's.

    Raises:
        ValueError: for weights that are not there, or a shape that does not suit.
    """
    settings = Settings(include_top, weights, input_tensor, input_shape, pooling, classes)
    settings.check("xception")
    with _channels_last():
        image = image_input(settings, default_size=299, min_size=71)
        x = _body(image)
        if include_top:
            x = GlobalAveragePooling2D(name="avg_pool")(x)
            x = Dense(classes, activation="softmax", name="predictions")(x)
        else:
            x = pooled(x, pooling)
        return build_model("xception", settings, image, x, WEIGHTS)


def preprocess_input(x: np.ndarray) -> np.ndarray:
    """Scale images from 0..255 to -1..1.

    Args:
        x: an array of images.

    Returns:
        A new float array.
    """
    return scale_to_one(x)
