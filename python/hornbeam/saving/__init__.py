"""Reading and writing models: one module a file format."""

from __future__ import annotations

from typing import Any

from ..utils.user_warnings import warn
from .config import model_from_config, model_from_json, model_from_yaml, to_json, to_yaml

__all__ = [
    "load_model",
    "load_weights",
    "model_from_config",
    "model_from_json",
    "model_from_yaml",
    "save_model",
    "save_weights",
    "to_json",
    "to_yaml",
]


def save_model(
    model: Any, filepath: Any, overwrite: bool = True, include_optimizer: bool = True
) -> None:
    """Save a model: architecture, weights and what training needs to go on.

    Args:
        model: the model.
        filepath: where to: '.keras' at its end asks for a file of Keras 3, anything else for the
            HDF5 layout of Keras 2.
        overwrite: whether an existing file is replaced without asking.
        include_optimizer: whether the training configuration and the optimizer's state are saved.

    Raises:
        ValueError: when a file of Keras 3 cannot hold the model.
    """
    from . import hdf5, keras_file

    if model._losses or model._updates:
        warn(
            f"What was given to add_loss() or add_update() of the model {model.name!r} is a part "
            "of its graph that no file describes: a loaded model lacks it. Call add_loss() in the "
            "call() of a layer instead."
        )
    if keras_file.asks_for_keras_file(filepath):
        keras_file.save_model(model, filepath, overwrite, include_optimizer)
        return
    hdf5.save_model(model, filepath, overwrite, include_optimizer)


def load_model(
    filepath: Any,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """Load a model that `save_model` saved, or Keras 1, 2 or 3.

    Args:
        filepath: where from.
        custom_objects: name -> class or function that the package does not have.
        compile: whether the model is compiled as it was when it was saved.
        safe_mode: whether code in the file (that of Lambda layers) is refused.

    Raises:
        OSError: when there is no such file, or it is neither HDF5 nor a `.keras` file.
        ValueError: when it holds no model, or something unknown.
    """
    from . import hdf5, keras_file

    if keras_file.is_keras_file(filepath):
        return keras_file.load_model(filepath, custom_objects, compile, safe_mode)

    return hdf5.load_model(filepath, custom_objects, compile, safe_mode)


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Save the weights of a model (see `Model.save_weights`)."""
    from . import hdf5

    hdf5.save_weights(model, filepath, overwrite)


def load_weights(model: Any, filepath: Any, by_name: bool = False) -> None:
    """Load the weights of a model (see `Model.load_weights`)."""
    from . import hdf5

    hdf5.load_weights(model, filepath, by_name)
