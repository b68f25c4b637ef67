"""Architectures as JSON and YAML."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .eras import translate
from .keras3 import from_keras3, is_keras3

# What the files say they are: the layout is that of this release, written with channels and
# kernels as TensorFlow orders them, and readers convert by these two values.
KERAS_VERSION = "2.0.5"
BACKEND = "tensorflow"


def model_config(model: Any) -> dict[str, Any]:
    """Return the class and the configuration of a model, with the versions readers look at."""
    return {
        "class_name": type(model).__name__,
        "config": model.get_config(),
        "keras_version": KERAS_VERSION,
        "backend": BACKEND,
    }


def plain(x: Any) -> Any:
    """Return what JSON can hold for what it cannot: for `json.dumps(default=)`.

    Raises:
        TypeError: when there is nothing.
    """
    if isinstance(x, np.ndarray):
        return x.tolist()
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, (set, frozenset)):
        return sorted(x)
    if isinstance(x, np.dtype):
        return x.name
    if hasattr(x, "__name__"):
        return x.__name__
    if hasattr(x, "get_config"):
        return {"class_name": type(x).__name__, "config": x.get_config()}
    raise TypeError(f"Not JSON serializable: {x!r} of type {type(x)}")


def to_json(model: Any, **kwargs: Any) -> str:
    """Return the architecture of a model as JSON."""
    return json.dumps(model_config(model), default=plain, **kwargs)


def to_yaml(model: Any, **kwargs: Any) -> str:
    """Return the architecture of a model as YAML.

    Raises:
        MissingDependencyError: when PyYAML is not installed.
    """
    # By way of JSON, so that the text holds plain types only.
    return _yaml("to_yaml").safe_dump(json.loads(to_json(model)), **kwargs)


def _yaml(purpose: str) -> Any:
    try:
        import yaml
    except ImportError:
        from ..errors import MissingDependencyError

        raise MissingDependencyError("pyyaml", purpose) from None
    return yaml


def model_from_config(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """Make a model, with new weights, from its class and configuration.

    Args:
        config: dictionary with 'class_name' and 'config'.
        custom_objects: name -> class or function that the package does not have.

    Raises:
        TypeError: for a list, the configuration of a `Sequential` without its class.
    """
    if isinstance(config, list):
        raise TypeError(
            "`model_from_config` expects a dictionary, not a list. Maybe you meant to use "
            "`Sequential.from_config(config)`?"
        )
    from ..layers import deserialize

    if is_keras3(config):
        config = from_keras3(config)
    return deserialize(translate(config), custom_objects=custom_objects)


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """Make a model, with new weights, from JSON (see `model_from_config`)."""
    return model_from_config(json.loads(json_string), custom_objects)


def model_from_yaml(yaml_string: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """Make a model, with new weights, from YAML (see `model_from_config`)."""
    # The safe loader: a file must not be able to run code.
    config = _yaml("model_from_yaml").safe_load(yaml_string)
    return model_from_config(config, custom_objects)
