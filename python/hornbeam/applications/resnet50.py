"""ResNet50 (He et al., 2015): 50 layers with weights, in blocks with shortcuts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .. import backend as K
from ..layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    MaxPooling2D,
    ZeroPadding2D,
    add,
)
from ..models import Model
from .imagenet_utils import (
    Settings,
    WeightsFile,
    build_model,
    decode_predictions,
    image_input,
    pooled,
    preprocess_input,
)

__all__ = ["ResNet50", "conv_block", "decode_predictions", "identity_block", "preprocess_input"]

_BASE = "https://github.com/fchollet/deep-learning-models/releases/download/v0.2/"
WEIGHTS = (
    WeightsFile(
        f"{_BASE}resnet50_weights_tf_dim_ordering_tf_kernels.h5",
        "a7b3fe01876f51b976af0dea6bc144eb",
    ),
    WeightsFile(
        f"{_BASE}resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "a268eb855778b3df3c7506639542a6af",
    ),
)
# (filters of the three convolutions, number of blocks) of the stages 2 to 5.
_STAGES = (
    ((64, 64, 256), 3),
    ((128, 128, 512), 4),
    ((256, 256, 1024), 6),
    ((512, 512, 2048), 3),
)


def _channel_axis() -> int:
    return 3 if K.image_data_format() == "channels_last" else 1


def _main_path(
    x: Any, kernel_size: Any, filters: Sequence[int], stage: int, block: str, strides: Any
) -> Any:
    """Three convolutions with batch normalisation, the last without an activation."""
    windows = ((1, 1), kernel_size, (1, 1))
    for letter, count, window in zip("abc", filters, windows, strict=True):
        branch = f"{stage}{block}_branch2{letter}"
        x = Conv2D(
            count,
            window,
            strides=strides if letter == "a" else (1, 1),
            padding="same" if letter == "b" else "valid",
            name=f"res{branch}",
        )(x)
        x = BatchNormalization(axis=_channel_axis(), name=f"bn{branch}")(x)
        if letter != "c":
            x = Activation("relu")(x)
    return x


def identity_block(
    input_tensor: Any, kernel_size: Any, filters: Sequence[int], stage: int, block: str
) -> Any:
    """Return the output of a block whose shortcut is its input itself.

    Args:
        input_tensor: the input.
        kernel_size: window of the middle convolution.
        filters: filters of the three convolutions.
        stage: number of the stage, for the layers' names.
        block: letter of the block, for the layers' names.
    """
    x = _main_path(input_tensor, kernel_size, filters, stage, block, (1, 1))
    return Activation("relu")(add([x, input_tensor]))


def conv_block(
    input_tensor: Any,
    kernel_size: Any,
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: Any = (2, 2),
) -> Any:
    """Return the output of a block whose shortcut is a convolution.

    Args:
        input_tensor: the input.
        kernel_size: window of the middle convolution.
        filters: filters of the three convolutions.
        stage: number of the stage, for the layers' names.
        block: letter of the block, for the layers' names.
        strides: of the first convolution and of the shortcut.
    """
    x = _main_path(input_tensor, kernel_size, filters, stage, block, strides)
    branch = f"{stage}{block}_branch1"
    shortcut = Conv2D(filters[2], (1, 1), strides=strides, name=f"res{branch}")(input_tensor)
    shortcut = BatchNormalization(axis=_channel_axis(), name=f"bn{branch}")(shortcut)
    return Activation("relu")(add([x, shortcut]))


def ResNet50(  # noqa: N802 - the name that Keras gives it
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """Return a ResNet50 model.

    Args:
        include_top: whether to include the dense layer at the end.
        weights: 'imagenet' for weights trained on ImageNet (fetched into the cache), the path of a
            weights file, or None for random ones.
        input_tensor: a tensor to take as input.
        input_shape: shape of an image, when there is no classifier; the sides are at least 197.
        pooling: without a classifier, 'avg' or 'max' pools the last feature maps.
        classes: number of classes, for weights other than ImageNet's.

    Raises:
        ValueError: for weights that are not there, or a shape that does not suit.
    """
    settings = Settings(include_top, weights, input_tensor, input_shape, pooling, classes)
    settings.check("resnet50")
    image = image_input(settings, default_size=224, min_size=197)
    x = ZeroPadding2D((3, 3))(image)
    x = Conv2D(64, (7, 7), strides=(2, 2), name="conv1")(x)
    x = BatchNormalization(axis=_channel_axis(), name="bn_conv1")(x)
    x = Activation("relu")(x)
    x = MaxPooling2D((3, 3), strides=(2, 2))(x)
    for stage, (filters, count) in enumerate(_STAGES, 2):
        x = conv_block(x, 3, filters, stage, "a", strides=(1, 1) if stage == 2 else (2, 2))
        for letter in "bcdef"[: count - 1]:
            x = identity_block(x, 3, filters, stage, letter)
    x = AveragePooling2D((7, 7), name="avg_pool")(x)
    if include_top:
        x = Flatten()(x)
        x = Dense(classes, activation="softmax", name="fc1000")(x)
    else:
        x = pooled(x, pooling)
    return build_model("resnet50", settings, image, x, WEIGHTS)
