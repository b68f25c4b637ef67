"""Models and weights in the HDF5 layout of Keras 2.

A weights group lists its layers in the attribute `layer_names`; each layer has a group with the
attribute `weight_names` and a dataset for each. A model file holds such a group as `model_weights`,
the architecture as the attribute `model_config`, and for training `training_config` and the group
`optimizer_weights`. Files are written beside their place and moved there when they are whole.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import backend as K
from ..utils.user_warnings import warn
from . import keras3, keras3_weights
from .config import BACKEND, KERAS_VERSION, model_config, model_from_config, plain
from .eras import translate_metrics, translate_optimizer
from .keras3 import from_keras3, is_keras3
from .optimizer_state import state_for_file, state_from_file
from .weights import preprocess_weights_for_loading, warn_of_names

# HDF5 keeps attributes of a fixed size in the object's header, which holds 64 KiB.
_HEADER_LIMIT = 64512


@contextmanager
def _writing(filepath: Any, overwrite: bool) -> Iterator[Any]:
    """Open a new file for writing; give None when the user does not let it replace another."""
    import h5py

    if isinstance(filepath, h5py.Group):
        yield filepath
        return
    with replacing(filepath, overwrite) as name:
        if name is None:
            yield None
            return
        with h5py.File(name, "w") as f:
            yield f


@contextmanager
def replacing(filepath: Any, overwrite: bool) -> Iterator[str | None]:
    """Give the name of a new file beside `filepath`, which takes its place when it is whole.

    Gives None when there is a file already and the user does not let it be replaced.
    """
    from ..utils.io_utils import ask_to_proceed_with_overwrite

    path = Path(os.fspath(filepath))
    if not overwrite and path.is_file() and not ask_to_proceed_with_overwrite(path):
        yield None
        return
    name = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent or ".", prefix=f".{path.name}.")
        os.close(handle)
        yield name
        # A temporary file is readable by its owner alone; the result obeys the umask.
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except (OSError, RuntimeError) as error:
        number = _errno(error)
        if number is None and not isinstance(error, OSError):
            raise
        # HDF5's own message is several lines about the temporary file.
        reason = os.strerror(number) if number else str(error)
        kept = "; the file that was there is unchanged" if path.is_file() else ""
        raise OSError(number, f"cannot write {path}: {reason}{kept}") from error
    finally:
        if name is not None and os.path.exists(name):
            os.unlink(name)


def _errno(error: Exception) -> int | None:
    """Return the number of the system's error behind an exception; HDF5 has it in its messages."""
    found = re.search(r"errno = (\d+)", str(error))
    return int(found.group(1)) if found else getattr(error, "errno", None)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _reading(filepath: Any) -> Iterator[Any]:
    import h5py

    if isinstance(filepath, h5py.Group):
        yield filepath
        return
    path = os.fspath(filepath)
    if not os.path.exists(path):
        raise OSError(f"Unable to open {path!r}: there is no such file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        text = f"Unable to open {path!r} as an HDF5 file, and it is no `.keras` file: {error}"
        # With a number it is of the kind that goes with it, such as PermissionError.
        raise (OSError(error.errno, text) if error.errno else OSError(text)) from error
    with file as f:
        yield f


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def read_names(group: Any, attribute: str) -> list[str]:
    """Return a list of names from an attribute, which may be spread over numbered ones."""
    if attribute in group.attrs:
        return [_text(name) for name in group.attrs[attribute]]
    names: list[str] = []
    chunk = 0
    while f"{attribute}{chunk}" in group.attrs:
        names += [_text(name) for name in group.attrs[f"{attribute}{chunk}"]]
        chunk += 1
    return names


def write_names(group: Any, attribute: str, names: Sequence[str]) -> None:
    """Write a list of names as an attribute, over several numbered ones if it is too long.

    Raises:
        RuntimeError: when a single name is too long.
    """
    encoded = [name.encode("utf-8") for name in names]
    too_long = [name for name in encoded if len(name) > _HEADER_LIMIT]
    if too_long:
        raise RuntimeError(f"The name {too_long[0][:50]!r}... is too long for an HDF5 attribute")
    data = np.asarray(encoded) if encoded else np.asarray([], dtype="S1")
    if data.nbytes <= _HEADER_LIMIT:
        group.attrs[attribute] = data
        return
    chunks = 1
    while any(part.nbytes > _HEADER_LIMIT for part in np.array_split(data, chunks)):
        chunks += 1
    for index, part in enumerate(np.array_split(data, chunks)):
        group.attrs[f"{attribute}{index}"] = part


def _weight_names(weights: Sequence[Any]) -> list[str]:
    """Return a name for each variable, unique in the list."""
    names: list[str] = []
    taken: set[str] = set()
    for index, weight in enumerate(weights):
        name = str(getattr(weight, "name", None) or f"param_{index}").strip("/")
        stem, _, tail = name.partition(":")
        tail = f":{tail}" if tail else ""
        count = 1
        while name in taken:
            name = f"{stem}_{count}{tail}"
            count += 1
        taken.add(name)
        names.append(name)
    return names


def _write_datasets(group: Any, weights: Sequence[Any]) -> None:
    names = _weight_names(weights)
    write_names(group, "weight_names", names)
    for name, value in zip(names, K.batch_get_value(weights), strict=True):
        group.create_dataset(name, data=np.asarray(value))


def save_weights_to_hdf5_group(f: Any, layers: Sequence[Any]) -> None:
    """Write the weights of layers into a group.

    Args:
        f: an HDF5 group or file.
        layers: the layers, in the order of the model.
    """
    write_names(f, "layer_names", [layer.name for layer in layers])
    f.attrs["backend"] = BACKEND.encode("utf-8")
    f.attrs["keras_version"] = KERAS_VERSION.encode("utf-8")
    for layer in layers:
        _write_datasets(f.create_group(layer.name), layer.weights)


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Write the weights of a model (see `Model.save_weights`)."""
    with _writing(filepath, overwrite) as f:
        if f is not None and _asks_for_keras3(filepath):
            keras3_weights.write_weights(f, model)
        elif f is not None:
            save_weights_to_hdf5_group(f, model.layers)


def _asks_for_keras3(filepath: Any) -> bool:
    """Tell whether a weights file is to have Keras 3's layout, whose files end like this."""
    return isinstance(filepath, (str, os.PathLike)) and os.fspath(filepath).endswith(".weights.h5")


def save_model(model: Any, filepath: Any, overwrite: bool, include_optimizer: bool) -> None:
    """Write a model (see `saving.save_model`)."""
    config = model_config(model)
    described = {key: config[key] for key in ("class_name", "config")}
    with _writing(filepath, overwrite) as f:
        if f is None:
            return
        f.attrs["keras_version"] = KERAS_VERSION.encode("utf-8")
        f.attrs["backend"] = BACKEND.encode("utf-8")
        f.attrs["model_config"] = json.dumps(described, default=plain).encode("utf-8")
        save_weights_to_hdf5_group(f.create_group("model_weights"), model.layers)
        if include_optimizer and hasattr(model, "optimizer"):
            _write_training(f, model)


def _write_training(f: Any, model: Any) -> None:
    optimizer = model.optimizer
    training = {
        "optimizer_config": {
            "class_name": type(optimizer).__name__,
            "config": optimizer.get_config(),
        },
        "loss": model.loss,
        "metrics": model.metrics,
        "sample_weight_mode": model.sample_weight_mode,
        "loss_weights": model.loss_weights,
    }
    f.attrs["training_config"] = json.dumps(training, default=plain).encode("utf-8")
    if getattr(optimizer, "weights", None):
        names = _names_of_weights(model.layers)
        _write_datasets(f.create_group("optimizer_weights"), state_for_file(model, names))


def _names_of_weights(layers: Sequence[Any], f: Any = None) -> dict[Any, str]:
    """Return variable -> name, as the file `f` has them or as one would be written."""
    names: dict[Any, str] = {}
    if f is None:
        for layer in layers:
            names.update(zip(layer.weights, _weight_names(layer.weights), strict=True))
        return names
    groups = [read_names(f[name], "weight_names") for name in read_names(f, "layer_names")]
    for layer, group in zip(
        (layer for layer in layers if layer.weights), (g for g in groups if g), strict=True
    ):
        names.update(zip(layer.weights, group, strict=False))
    return names


def load_model(
    filepath: Any, custom_objects: dict[str, Any] | None, compile: bool, safe_mode: bool
) -> Any:
    """Read a model (see `saving.load_model`)."""
    from ..utils.generic_utils import CustomObjectScope, safe_mode_scope

    with _reading(filepath) as f, CustomObjectScope(custom_objects):
        if "model_config" not in f.attrs:
            raise ValueError(
                f"No model found in config file {filepath}: it has no attribute `model_config`. "
                "If it holds weights alone, build the model and call load_weights()."
            )
        config = json.loads(_text(f.attrs["model_config"]))
        if is_keras3(config, _origin(f)[0]):
            config = from_keras3(config)
        with safe_mode_scope(safe_mode):
            model = model_from_config(config, custom_objects)
        group = f["model_weights"]
        if not model.built and read_names(group, "layer_names"):
            raise ValueError(
                "The file holds weights, but its configuration does not say the shape of the "
                "model's input"
            )
        load_weights_from_hdf5_group(group, model.layers)
        if compile:
            _compile_as_saved(model, f, custom_objects)
    return model


def _compile_as_saved(model: Any, f: Any, custom_objects: dict[str, Any] | None) -> None:
    from .. import optimizers

    if "training_config" not in f.attrs:
        warn(
            "No training configuration found in save file: the model was *not* compiled. Compile "
            "it manually."
        )
        return
    training = json.loads(_text(f.attrs["training_config"]))
    version = _origin(f)[0]
    in_era_3 = is_keras3(training, version)
    of_optimizer = keras3.optimizer_config if in_era_3 else translate_optimizer
    of_metrics = keras3.loss_or_metric if in_era_3 else translate_metrics
    optimizer = optimizers.deserialize(of_optimizer(training["optimizer_config"]), custom_objects)
    known = custom_objects or {}
    loss = training.get("loss")
    model.compile(
        optimizer=optimizer,
        loss=_named(keras3.loss_or_metric(loss) if in_era_3 else loss, known),
        metrics=_named(of_metrics(training.get("metrics")), known),
        loss_weights=training.get("loss_weights"),
        sample_weight_mode=training.get("sample_weight_mode"),
    )
    if "optimizer_weights" not in f:
        return
    model._make_train_function()
    group = f["optimizer_weights"]
    values = [np.asarray(group[name]) for name in read_names(group, "weight_names")]
    # Only optimizers that list all slots of a weight together say so by this key.
    by_weight = training["optimizer_config"]["config"].get("is_legacy_optimizer") is False
    try:
        if in_era_3:
            keras3_weights.set_optimizer_values(model, values)
            return
        names = _names_of_weights(model.layers, f["model_weights"])
        state = state_from_file(model, values, names, version, by_weight)
        model.optimizer.set_weights(state)
    except ValueError as error:
        warn(
            "Error in loading the saved optimizer state. As a result, your model is starting with "
            f"a freshly initialized optimizer. ({error})"
        )


def _named(x: Any, custom_objects: dict[str, Any]) -> Any:
    """Return a saved loss or metric argument with the names of custom objects resolved."""
    if isinstance(x, list):
        return [_named(one, custom_objects) for one in x]
    if isinstance(x, dict) and not {"class_name", "config"} <= set(x):
        return {key: _named(one, custom_objects) for key, one in x.items()}
    return custom_objects.get(x, x) if isinstance(x, str) else x


def load_weights(model: Any, filepath: Any, by_name: bool = False) -> None:
    """Read weights into a model (see `Model.load_weights`)."""
    with _reading(filepath) as f:
        if keras3_weights.is_weights_file(f):
            read = keras3_weights.read_weights_by_name if by_name else keras3_weights.read_weights
            read(f, model)
            return
        group = f
        if not _has_names(f) and "model_weights" in f:
            group = f["model_weights"]
        if not _has_names(group):
            raise ValueError(f"{filepath} holds no weights: it has no attribute `layer_names`")
        if by_name:
            load_weights_from_hdf5_group_by_name(group, model.layers)
        else:
            load_weights_from_hdf5_group(group, model.layers)


def _has_names(group: Any) -> bool:
    return "layer_names" in group.attrs or "layer_names0" in group.attrs


def _origin(f: Any) -> tuple[str, str | None]:
    """Return the major version of Keras and the backend that wrote a group."""
    version = _text(f.attrs["keras_version"]) if "keras_version" in f.attrs else "1"
    backend = _text(f.attrs["backend"]) if "backend" in f.attrs else None
    return version, backend


def _values(f: Any, name: str) -> list[np.ndarray]:
    group = f[name]
    return [np.asarray(group[w]) for w in read_names(group, "weight_names")]


def _pairs(
    layer: Any, index: int, name: str, values: list[np.ndarray], origin: tuple[str, str | None]
) -> list[tuple[Any, np.ndarray]]:
    """Return the variables of a layer with their values, after checking that they fit."""
    values = preprocess_weights_for_loading(layer, values, *origin)
    weights = layer.weights
    if len(weights) != len(values):
        raise ValueError(
            f'Layer #{index} (named "{layer.name}" in the current model) was found to correspond '
            f"to layer {name} in the save file. However the new layer {layer.name} expects "
            f"{len(weights)} weights, but the saved weights have {len(values)} elements."
        )
    for weight, value in zip(weights, values, strict=True):
        if tuple(weight.shape) != value.shape:
            raise ValueError(
                f'Layer #{index} (named "{layer.name}" in the current model): the weight '
                f"{weight.name} has shape {tuple(weight.shape)}, but the saved weight of layer "
                f"{name} has shape {value.shape}."
            )
    return list(zip(weights, values, strict=True))


def load_weights_from_hdf5_group(f: Any, layers: Sequence[Any]) -> None:
    """Read weights into layers, in order; layers without weights are left out on both sides.

    Raises:
        ValueError: when numbers or shapes differ; nothing is changed then.
    """
    origin = _origin(f)
    targets = [layer for layer in layers if layer.weights]
    names = [name for name in read_names(f, "layer_names") if read_names(f[name], "weight_names")]
    if len(names) != len(targets):
        raise ValueError(
            f"You are trying to load a weight file containing {len(names)} layers into a model "
            f"with {len(targets)} layers. The file has {names}, the model "
            f"{[layer.name for layer in targets]}."
        )
    pairs: list[tuple[Any, np.ndarray]] = []
    for index, (layer, name) in enumerate(zip(targets, names, strict=True)):
        pairs += _pairs(layer, index, name, _values(f, name), origin)
    K.batch_set_value(pairs)


def load_weights_from_hdf5_group_by_name(f: Any, layers: Sequence[Any]) -> None:
    """Read weights into the layers that have the names of layers in the file.

    Raises:
        ValueError: when numbers or shapes of weights differ; nothing is changed then.
    """
    origin = _origin(f)
    pairs: list[tuple[Any, np.ndarray]] = []
    names = read_names(f, "layer_names")
    for index, name in enumerate(names):
        for layer in layers:
            if layer.name == name:
                pairs += _pairs(layer, index, name, _values(f, name), origin)
    if not pairs:
        warn_of_names(names, layers)
    K.batch_set_value(pairs)
