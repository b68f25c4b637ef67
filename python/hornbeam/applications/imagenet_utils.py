"""What the models of ImageNet have in common: inputs, weights, and names of the classes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import backend as K
from ..engine.topology import Input, get_source_inputs
from ..layers import GlobalAveragePooling2D, GlobalMaxPooling2D
from ..models import Model
from ..utils.conv_utils import normalize_data_format
from ..utils.download import get_file

CLASS_INDEX_PATH = (
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
)
CLASS_INDEX_DIGEST = "c2c37ea517e94d9795004a39431a14cb"
# Means of the channels blue, green and red over ImageNet.
_BGR_MEANS = (103.939, 116.779, 123.68)


@dataclass
class WeightsFile:
    """A file of weights on the network.

    Attributes:
        url: where it is.
        digest: its MD5 digest.
    """

    url: str
    digest: str


@dataclass
class Settings:
    """What a constructor of an application was asked for.

    Attributes:
        include_top: whether the classifier is wanted.
        weights: 'imagenet', None or a file's path.
        input_tensor: the user's input, or None.
        input_shape: the shape of an image, or None.
        pooling: 'avg', 'max' or None.
        classes: the number of classes.
    """

    include_top: bool
    weights: str | os.PathLike[str] | None
    input_tensor: Any
    input_shape: Sequence[int | None] | None
    pooling: str | None
    classes: int

    def check(self, name: str) -> None:
        """Raise an error for what does not go together.

        Args:
            name: the application's name.

        Raises:
            ValueError: for weights that are not there, classes that ImageNet does not have, or an
                unknown pooling.
        """
        known = self.weights in ("imagenet", None) or os.path.exists(os.fspath(self.weights or ""))
        if not known:
            raise ValueError(
                f"{name}: the `weights` argument should be either `None` (random initialization), "
                f"'imagenet' (pre-training on ImageNet) or the path of a weights file. "
                f"Got {self.weights!r}."
            )
        if self.weights == "imagenet" and self.include_top and self.classes != 1000:
            raise ValueError(
                f"{name}: with weights='imagenet' and include_top=True, `classes` should be 1000. "
                f"Got {self.classes}."
            )
        if self.pooling not in (None, "avg", "max"):
            raise ValueError(f"{name}: expected pooling None, 'avg' or 'max', got {self.pooling!r}")


def image_input(settings: Settings, default_size: int, min_size: int) -> Any:
    """Return the input tensor of a model.

    Args:
        settings: what was asked for.
        default_size: the sides of an image that the classifier takes.
        min_size: the shortest side that leaves anything after the last pooling.
    """
    shape = obtain_input_shape(
        settings.input_shape,
        default_size,
        min_size,
        K.image_data_format(),
        settings.include_top,
    )
    tensor = settings.input_tensor
    if tensor is None:
        return Input(shape=shape)
    return tensor if K.is_keras_tensor(tensor) else Input(tensor=tensor, shape=shape)


def obtain_input_shape(
    input_shape: Sequence[int | None] | None,
    default_size: int,
    min_size: int,
    data_format: str,
    include_top: bool,
) -> tuple[int | None, ...]:
    """Return the shape of an image, checked.

    Args:
        input_shape: the shape given, or None.
        default_size: the sides of an image that the classifier takes.
        min_size: the shortest side allowed.
        data_format: where the channels are.
        include_top: whether the classifier is wanted.

    Raises:
        ValueError: when the shape does not suit the model.
    """
    first = data_format == "channels_first"

    def shape_of(side: int | None) -> tuple[int | None, ...]:
        return (3, side, side) if first else (side, side, 3)

    default = shape_of(default_size)
    if include_top:
        if input_shape is not None and tuple(input_shape) != default:
            raise ValueError(
                f"When setting `include_top=True`, `input_shape` should be {default}. "
                f"Got {tuple(input_shape)}."
            )
        return default
    if input_shape is None:
        return shape_of(None)
    shape = tuple(input_shape)
    if len(shape) != 3:
        raise ValueError(f"`input_shape` must be a tuple of three integers, got {shape}")
    if shape[0 if first else -1] != 3:
        raise ValueError(f"The input must have 3 channels; got `input_shape={shape}`")
    sides = shape[1:] if first else shape[:-1]
    if any(side is not None and side < min_size for side in sides):
        raise ValueError(
            f"Input size must be at least {min_size}x{min_size}, got `input_shape={shape}`"
        )
    return shape


def pooled(x: Any, pooling: str | None) -> Any:
    """Pool the last feature maps over the image, if that was asked for."""
    if pooling == "avg":
        return GlobalAveragePooling2D()(x)
    if pooling == "max":
        return GlobalMaxPooling2D()(x)
    return x


def build_model(
    name: str,
    settings: Settings,
    image: Any,
    output: Any,
    files: tuple[WeightsFile, WeightsFile],
) -> Model:
    """Make the model and load its weights.

    Args:
        name: the model's name.
        settings: what was asked for.
        image: the input tensor.
        output: the output tensor.
        files: the weights with the classifier and without it.
    """
    # The user's tensor may itself be computed from other inputs.
    inputs = image if settings.input_tensor is None else get_source_inputs(settings.input_tensor)
    model = Model(inputs, output, name=name)
    if settings.weights == "imagenet":
        file = files[0] if settings.include_top else files[1]
        path = get_file(
            os.path.basename(file.url), file.url, file_hash=file.digest, cache_subdir="models"
        )
        model.load_weights(path)
    elif settings.weights is not None:
        model.load_weights(os.fspath(settings.weights))
    return model


def preprocess_input(x: np.ndarray, data_format: str | None = None) -> np.ndarray:
    """Prepare RGB images (0..255) for VGG16, VGG19 and ResNet50.

    The channels are brought into the order BGR, and ImageNet's means are subtracted.

    Args:
        x: images, an array of four axes.
        data_format: where the channels are; the configured layout by default.

    Returns:
        A new float array.
    """
    axis = 1 if normalize_data_format(data_format) == "channels_first" else 3
    x = np.asarray(x)
    if x.ndim != 4 or x.shape[axis] != 3:
        raise ValueError(
            f"preprocess_input: expected a batch of RGB images with the channels on axis {axis}, "
            f"got the shape {x.shape}"
        )
    dtype = x.dtype if np.issubdtype(x.dtype, np.floating) else K.floatx()
    means = np.array(_BGR_MEANS, dtype=dtype).reshape([3 if i == axis else 1 for i in range(4)])
    return np.flip(x, axis).astype(dtype) - means


def scale_to_one(x: np.ndarray) -> np.ndarray:
    """Scale values from 0..255 to -1..1, as InceptionV3 and Xception want them."""
    x = np.asarray(x)
    dtype = x.dtype if np.issubdtype(x.dtype, np.floating) else K.floatx()
    return (x / 127.5 - 1.0).astype(dtype)


def decode_predictions(preds: np.ndarray, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Name the most likely classes of ImageNet.

    Args:
        preds: probabilities, of shape (samples, 1000).
        top: how many classes to name.

    Returns:
        For each sample a list of `(WordNet id, name, probability)`, the most likely first.

    Raises:
        ValueError: for an array of another shape.
    """
    preds = np.asarray(preds)
    if preds.ndim != 2 or preds.shape[1] != 1000:
        raise ValueError(
            "`decode_predictions` expects a batch of predictions (i.e. a 2D array of shape "
            f"(samples, 1000)). Found array with shape: {preds.shape}"
        )
    path = get_file(
        "imagenet_class_index.json",
        CLASS_INDEX_PATH,
        file_hash=CLASS_INDEX_DIGEST,
        cache_subdir="models",
    )
    with open(path, encoding="utf-8") as f:
        names = json.load(f)
    order = np.argsort(-preds, axis=1, kind="stable")[:, :top]
    return [
        [(*names[str(i)], row[i]) for i in best] for best, row in zip(order, preds, strict=True)
    ]
