"""Whole models in the files of Keras 3: a zip archive with the architecture and the weights."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from collections.abc import Mapping
from typing import Any

from ..utils.user_warnings import warn
from . import keras3_writing
from .config import model_from_config, plain
from .hdf5 import replacing
from .keras3 import from_keras3, is_keras3, loss_or_metric, optimizer_config
from .keras3_weights import read_optimizer, read_weights, write_weights

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


# What the files say they are.
KERAS_VERSION = "3.0.0"


def save_model(model: Any, filepath: Any, overwrite: bool, include_optimizer: bool) -> None:
    """Write a model (see `saving.save_model`)."""
    import h5py

    config = keras3_writing.described(model)
    compiled = include_optimizer and hasattr(model, "optimizer")
    if compiled:
        config["compile_config"] = keras3_writing.compile_config(model)
    saved = time.strftime("%Y-%m-%d@%H:%M:%S")
    metadata = {"keras_version": KERAS_VERSION, "date_saved": saved}
    stream = io.BytesIO()
    with h5py.File(stream, "w") as f:
        write_weights(f, model, compiled)
    with replacing(filepath, overwrite) as name:
        if name is None:
            return
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr(METADATA, json.dumps(metadata))
            archive.writestr(CONFIG, json.dumps(config, default=plain))
            archive.writestr(WEIGHTS, stream.getvalue())


def asks_for_keras_file(filepath: Any) -> bool:
    """Tell whether a path is that of such a file to be written."""
    return isinstance(filepath, (str, os.PathLike)) and os.fspath(filepath).endswith(".keras")


def is_keras_file(filepath: Any) -> bool:
    """Tell whether a path leads to such a file."""
    return isinstance(filepath, (str, os.PathLike)) and zipfile.is_zipfile(os.fspath(filepath))


def load_model(
    filepath: Any, custom_objects: dict[str, Any] | None, compile: bool, safe_mode: bool
) -> Any:
    """Read a model (see `saving.load_model`)."""
    import h5py

    from ..utils.generic_utils import CustomObjectScope, safe_mode_scope

    with zipfile.ZipFile(os.fspath(filepath)) as archive:
        missing = {CONFIG, WEIGHTS} - set(archive.namelist())
        if missing:
            raise ValueError(f"{filepath} is no model file: it lacks {sorted(missing)}")
        config = json.loads(archive.read(CONFIG))
        metadata = json.loads(archive.read(METADATA)) if METADATA in archive.namelist() else {}
        stream = io.BytesIO(archive.read(WEIGHTS))
    version = metadata.get("keras_version")
    with CustomObjectScope(custom_objects), safe_mode_scope(safe_mode):
        described = from_keras3(config) if is_keras3(config, version) else config
        model = model_from_config(described, custom_objects)
        with h5py.File(stream, "r") as f:
            read_weights(f, model)
            if compile:
                _compile_as_saved(model, config.get("compile_config"), f)
    return model


def _compile_as_saved(model: Any, config: Mapping[str, Any] | None, f: Any) -> None:
    from .. import optimizers

    if not config:
        warn(
            "No training configuration found in save file: the model was *not* compiled. Compile "
            "it manually."
        )
        return
    try:
        optimizer = optimizers.deserialize(optimizer_config(config["optimizer"]))
        model.compile(
            optimizer=optimizer,
            loss=loss_or_metric(config.get("loss")),
            metrics=loss_or_metric(config.get("metrics")),
            loss_weights=config.get("loss_weights"),
        )
    except (TypeError, ValueError) as error:
        warn(f"The model was *not* compiled as it was saved. Compile it manually. ({error})")
        return
    if "optimizer" not in f or not len(f["optimizer/vars"]):
        return
    model._make_train_function()
    try:
        own = str(config["optimizer"].get("module", "")).startswith("hornbeam.")
        read_optimizer(f, model, own)
    except ValueError as error:
        warn(
            "Error in loading the saved optimizer state. As a result, your model is starting with "
            f"a freshly initialized optimizer. ({error})"
        )
