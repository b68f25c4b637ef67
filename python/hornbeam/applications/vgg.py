"""VGG16 and VGG19 (Simonyan and Zisserman, 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import backend as K
from ..layers import Conv2D, Dense, Flatten, MaxPooling2D
from ..models import Model
from ..utils.layer_utils import convert_dense_weights_data_format
from .imagenet_utils import Settings, WeightsFile, build_model, image_input, pooled

_FILTERS = (64, 128, 256, 512, 512)


def build_vgg(
    name: str,
    depths: Sequence[int],
    settings: Settings,
    files: tuple[WeightsFile, WeightsFile],
) -> Model:
    """Build a network of five blocks of convolutions.

    Args:
        name: the model's name.
        depths: the number of convolutions in each block.
        settings: what was asked for.
        files: the weights with the classifier and without it.
    """
    settings.check(name)
    image = image_input(settings, default_size=224, min_size=48)
    x: Any = image
    for block, (filters, depth) in enumerate(zip(_FILTERS, depths, strict=True), 1):
        for number in range(1, depth + 1):
            x = Conv2D(
                filters,
                (3, 3),
                activation="relu",
                padding="same",
                name=f"block{block}_conv{number}",
            )(x)
        x = MaxPooling2D((2, 2), strides=(2, 2), name=f"block{block}_pool")(x)
    if settings.include_top:
        x = Flatten(name="flatten")(x)
        x = Dense(4096, activation="relu", name="fc1")(x)
        x = Dense(4096, activation="relu", name="fc2")(x)
        x = Dense(settings.classes, activation="softmax", name="predictions")(x)
    else:
        x = pooled(x, settings.pooling)
    model = build_model(name, settings, image, x, files)
    first = K.image_data_format() == "channels_first"
    if first and settings.include_top and settings.weights == "imagenet":
        # The file's first dense layer expects feature maps that were flattened channels last.
        shape = model.get_layer("block5_pool").output_shape[1:]
        convert_dense_weights_data_format(model.get_layer("fc1"), shape, "channels_first")
    return model
