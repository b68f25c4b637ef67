"""VGG16 (Simonyan and Zisserman, 2014): 16 layers with weights, 3 x 3 convolutions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..models import Model
from .imagenet_utils import Settings, WeightsFile, decode_predictions, preprocess_input
from .vgg import build_vgg

__all__ = ["VGG16", "decode_predictions", "preprocess_input"]

_BASE = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
WEIGHTS = (
    WeightsFile(
        f"{_BASE}vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "64373286793e3c8b2b4e3219cbf3544b",
    ),
    WeightsFile(
        f"{_BASE}vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
)


def VGG16(  # noqa: N802 - the name that Keras gives it
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """Return a VGG16 model.

    Args:
        include_top: whether to include the three dense layers at the end.
        weights: 'imagenet' for weights trained on ImageNet (fetched into the cache), the path of a
            weights file, or None for random ones.
        input_tensor: a tensor to take as input.
        input_shape: shape of an image, when there is no classifier; the sides are at least 48.
        pooling: without a classifier, 'avg' or 'max' pools the last feature maps.
        classes: number of classes, for weights other than ImageNet's.

    Raises:
        ValueError: for weights that are not there, or a shape that does not suit.
    """
    settings = Settings(include_top, weights, input_tensor, input_shape, pooling, classes)
    return build_vgg("vgg16", (2, 2, 3, 3, 3), settings, WEIGHTS)
