"""Between image files, Pillow images and arrays."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from ...errors import MissingDependencyError
from ...utils.conv_utils import normalize_data_format


def pillow(purpose: str) -> Any:
    """Return the module `PIL.Image`.

    Args:
        purpose: what needs it, for the error.

    Raises:
        MissingDependencyError: when Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError("pillow", purpose, "image") from error
    return Image


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True) -> Any:
    """Turn an array into a Pillow image.

    Args:
        x: an array of three axes, with 1 (grey), 3 (RGB) or 4 (RGBA) channels.
        data_format: where the channels are; the configured layout by default.
        scale: whether the values are stretched to 0..255.

    Returns:
        A `PIL.Image.Image`.

    Raises:
        ValueError: for another number of axes or channels.
    """
    image = pillow("`array_to_img`")
    from ...backend import common

    x = np.array(x, dtype=common.floatx())
    if x.ndim != 3:
        raise ValueError(
            "array_to_img: expected an image array with 3 axes (a single image), got the shape "
            f"{x.shape}"
        )
    if normalize_data_format(data_format) == "channels_first":
        x = x.transpose(1, 2, 0)
    if scale:
        x = x + max(-np.min(x), 0)
        top = np.max(x)
        x = x * (255 / top) if top != 0 else x
    if x.shape[2] not in (1, 3, 4):
        raise ValueError(f"array_to_img: expected 1, 3 or 4 channels, got {x.shape[2]}")
    pixels = x.astype("uint8")
    return image.fromarray(pixels[:, :, 0] if x.shape[2] == 1 else pixels)


def img_to_array(img: Any, data_format: str | None = None) -> np.ndarray:
    """Turn a Pillow image into a float array of three axes.

    Args:
        img: the image.
        data_format: where the channels go; the configured layout by default.

    Raises:
        ValueError: for an image with another number of axes.
    """
    from ...backend import common

    x = np.asarray(img, dtype=common.floatx())
    if x.ndim == 2:
        x = x[:, :, np.newaxis]
    if x.ndim != 3:
        raise ValueError(f"img_to_array: unsupported image shape {x.shape}")
    if normalize_data_format(data_format) == "channels_first":
        x = x.transpose(2, 0, 1)
    return x


def load_img(
    path: str | os.PathLike[str],
    grayscale: bool = False,
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
) -> Any:
    """Read an image file.

    Args:
        path: the file.
        grayscale: whether to turn the image grey; it is turned to RGB otherwise.
        target_size: (height, width) to resize to; the image's own by default.
        interpolation: how to resize: 'nearest', 'bilinear', 'bicubic', 'lanczos', 'box' or
            'hamming'.

    Returns:
        A `PIL.Image.Image`.

    Raises:
        ValueError: for another interpolation.
    """
    image = pillow("`load_img`")
    names = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
    if interpolation not in names:
        raise ValueError(f"load_img: unknown interpolation {interpolation!r}; expected {names}")
    with image.open(path) as opened:
        img = opened.convert("L" if grayscale else "RGB")
    if target_size and img.size != (target_size[1], target_size[0]):
        method = getattr(image.Resampling, interpolation.upper())
        img = img.resize((target_size[1], target_size[0]), method)
    return img


def list_pictures(directory: str | os.PathLike[str], ext: str = "jpg|jpeg|bmp|png") -> list[str]:
    """Return the paths of the image files in a folder and those below it, sorted.

    Args:
        directory: the folder.
        ext: the endings to look for, separated by `|`.
    """
    wanted = re.compile(rf".+\.(?:{ext})", re.IGNORECASE)
    return sorted(
        os.path.join(root, name)
        for root, _, names in os.walk(directory)
        for name in names
        if wanted.fullmatch(name)
    )
