"""Settings that the whole package reads: float type, fuzz factor, image data format.

The defaults come from ``keras.json`` in ``$KERAS_HOME`` (``~/.keras`` when that is unset), so that
a machine set up for Keras behaves alike here. The file is read once, at import, and never written.
This module imports nothing from hornbeam.
"""

from __future__ import annotations

import json
import os
import warnings
from typing import Any

import numpy as np

_FLOAT_TYPES = ("float16", "float32", "float64")
_DATA_FORMATS = ("channels_last", "channels_first")
_DIM_ORDERINGS = {"tf": "channels_last", "th": "channels_first"}

_floatx = "float32"
_epsilon = 1e-7
_image_data_format = "channels_last"


def keras_home() -> str:
    """Return the folder of settings and caches: ``$KERAS_HOME``, else ``~/.keras``."""
    return os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")


def epsilon() -> float:
    """Return the fuzz factor that keeps divisions and logarithms finite (1e-7 by default)."""
    return _epsilon


def set_epsilon(e: float) -> None:
    """Set the fuzz factor.

    Args:
        e: a number greater than or equal to zero.

    Raises:
        ValueError: when `e` is negative or not finite.
    """
    global _epsilon
    value = float(e)
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"set_epsilon: expected a finite number >= 0, got {e!r}")
    _epsilon = value


def floatx() -> str:
    """Return the default float type, 'float16', 'float32' or 'float64' ('float32' by default)."""
    return _floatx


def set_floatx(floatx: str) -> None:
    """Set the default float type of variables, placeholders and input arrays.

    Args:
        floatx: 'float16', 'float32' or 'float64'.

    Raises:
        ValueError: for any other value.
    """
    global _floatx
    if floatx not in _FLOAT_TYPES:
        raise ValueError(f"Unknown floatx type: {floatx!r}. Expected one of {_FLOAT_TYPES}.")
    _floatx = str(floatx)


def cast_to_floatx(x: Any) -> np.ndarray:
    """Convert an array (or anything NumPy turns into one) to the default float type."""
    return np.asarray(x, dtype=_floatx)


def image_data_format() -> str:
    """Return the default layout of images, 'channels_last' or 'channels_first'."""
    return _image_data_format


def set_image_data_format(data_format: str) -> None:
    """Set the default layout of images.

    Args:
        data_format: 'channels_last' (rows, columns, channels) or 'channels_first'.

    Raises:
        ValueError: for any other value.
    """
    global _image_data_format
    if data_format not in _DATA_FORMATS:
        raise ValueError(f"Unknown data_format: {data_format!r}. Expected one of {_DATA_FORMATS}.")
    _image_data_format = str(data_format)


def set_image_dim_ordering(dim_ordering: str) -> None:
    """Set the image layout by its Keras 1 name, 'tf' or 'th' (see `set_image_data_format`).

    Raises:
        ValueError: for any other value.
    """
    if dim_ordering not in _DIM_ORDERINGS:
        raise ValueError(f"Unknown dim_ordering: {dim_ordering!r}. Expected 'tf' or 'th'.")
    set_image_data_format(_DIM_ORDERINGS[dim_ordering])


def image_dim_ordering() -> str:
    """Return the image layout by its Keras 1 name: 'tf' (channels last) or 'th'."""
    return "th" if _image_data_format == "channels_first" else "tf"


def _load_config(path: str) -> None:
    """Take the settings that the file at `path` gives; a value it has wrong is left at default.

    Importing the package must not fail over a file that another tool wrote, hence a warning.
    """
    try:
        with open(path, encoding="utf-8") as f:
            config = json.load(f)
        if not isinstance(config, dict):
            raise ValueError("expected a JSON object")
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        warnings.warn(f"Ignoring {path}: {error}", stacklevel=2)
        return
    if "image_data_format" not in config and "image_dim_ordering" in config:
        ordering = config["image_dim_ordering"]
        config["image_data_format"] = _DIM_ORDERINGS.get(ordering, ordering)
    for key, setter in (
        ("floatx", set_floatx),
        ("epsilon", set_epsilon),
        ("image_data_format", set_image_data_format),
    ):
        if key in config:
            try:
                setter(config[key])
            except (TypeError, ValueError) as error:
                warnings.warn(f"Ignoring {key!r} in {path}: {error}", stacklevel=2)


_load_config(os.path.join(keras_home(), "keras.json"))
