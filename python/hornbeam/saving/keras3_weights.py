"""Weights in the layout of Keras 3: `.weights.h5`, and what is in a `.keras` file.

Each object has a group with its own variables in `vars`, numbered; what it holds lies in groups
below, by attribute or, for the layers of a model, by class and number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import backend as K
from ..engine.container import Container
from .keras3 import has_counterpart, snake_case
from .optimizer_state import slot_offset
from .weights import warn_of_names

_CLASSES = {"Model": "functional"}
_PROJECTIONS = ("query", "key", "value", "output")


@dataclass(frozen=True)
class Part:
    """The variables that lie in one group.

    Attributes:
        path: the group.
        variables: the variables, in the order of their numbers.
        name: what the group's attribute `name` says.
        owner: the layer or model, for messages.
    """

    path: str
    variables: list[Any]
    name: str
    owner: Any


def parts_of(layer: Any, path: str, group: Any = None) -> Iterator[Part]:
    """Give the parts of a layer or a model, in the order of the file.

    Args:
        layer: the layer or model.
        path: the group of the layer; '' for the file.
        group: the file that is read, whose names of layers say which group is whose.
    """
    base = f"{path}/" if path else ""
    if isinstance(layer, Container):
        for inner, name in _names_of_layers(layer, f"{base}layers", group):
            yield from parts_of(inner, f"{base}layers/{name}", group)
        yield Part(path, [], layer.name, layer)
    elif hasattr(layer, "forward_layer"):
        for which in ("backward_layer", "forward_layer"):
            yield from parts_of(getattr(layer, which), f"{base}{which}", group)
        yield Part(path, [], layer.name, layer)
    elif getattr(layer, "layer", None) is not None and hasattr(layer.layer, "weights"):
        yield from parts_of(layer.layer, f"{base}layer", group)
        yield Part(path, [], layer.name, layer)
    elif hasattr(layer, "go_backwards"):
        kind = f"{snake_case(type(layer).__name__)}_cell"
        yield Part(f"{base}cell", list(layer.weights), kind, layer)
        yield Part(path, [], layer.name, layer)
    elif type(layer).__name__ == "MultiHeadAttention":
        size = 2 if layer.use_bias else 1
        for k, name in enumerate(_PROJECTIONS):
            own = list(layer.weights)[size * k : size * (k + 1)]
            yield Part(f"{base}{name}_dense", own, name, layer)
        yield Part(path, [], layer.name, layer)
    else:
        yield Part(path, list(layer.weights), layer.name, layer)


def _names_of_layers(model: Any, path: str, group: Any) -> list[tuple[Any, str]]:
    """Return the layers of a model with the names of their groups."""
    layers = list(model.layers)
    if group is not None and path in group:
        named = {_name_of(group[path][child]): child for child in group[path]}
        if all(layer.name in named for layer in layers if layer.weights):
            return [(layer, named[layer.name]) for layer in layers if layer.name in named]
    used: dict[str, int] = {}
    result = []
    for layer in layers:
        kind = _CLASSES.get(type(layer).__name__) or snake_case(type(layer).__name__)
        used[kind] = used.get(kind, -1) + 1
        result.append((layer, f"{kind}_{used[kind]}" if used[kind] else kind))
    return result


def _name_of(group: Any) -> str | None:
    name = group["vars"].attrs.get("name") if "vars" in group else None
    return name.decode("utf-8") if isinstance(name, bytes) else name


def is_weights_file(f: Any) -> bool:
    """Tell whether a file has the layout of Keras 3."""
    return "layers" in f and "layer_names" not in f.attrs and "layer_names0" not in f.attrs


def read_weights(f: Any, model: Any) -> None:
    """Read the weights of a model.

    Raises:
        ValueError: when something is missing or has another shape; nothing is changed then.
    """
    _assign(f, parts_of(model, "", f))


def read_weights_by_name(f: Any, model: Any) -> None:
    """Read the weights of those layers of a model whose names the file has.

    Raises:
        ValueError: as for `read_weights`, or when the file does not say the names of its layers.
    """
    groups = {_name_of(f["layers"][child]): f"layers/{child}" for child in f["layers"]}
    if None in groups:
        raise ValueError("The file does not say the names of its layers: load it without by_name")
    found = [layer for layer in model.layers if layer.name in groups]
    if not any(layer.weights for layer in found):
        warn_of_names([name for name in groups if name], model.layers)
    _assign(f, (part for x in found for part in parts_of(x, groups[x.name], f)))


def _assign(f: Any, parts: Iterable[Part]) -> None:
    pairs: list[tuple[Any, np.ndarray]] = []
    for part in parts:
        if not part.variables:
            continue
        path = f"{part.path}/vars"
        values = _values(f[path]) if path in f else []
        if len(values) != len(part.variables):
            raise ValueError(
                f"The layer {part.owner.name} has {len(part.variables)} weights at {path!r}, the "
                f"file has {len(values)}. The file was written for another architecture."
            )
        for variable, value in zip(part.variables, values, strict=True):
            if tuple(variable.shape) != value.shape:
                raise ValueError(
                    f"The weight {variable.name} of the layer {part.owner.name} has the shape "
                    f"{tuple(variable.shape)}, the file has {value.shape} at {path!r}"
                )
            pairs.append((variable, value))
    K.batch_set_value(pairs)


def _values(group: Any) -> list[np.ndarray]:
    return [np.asarray(group[str(k)]) for k in range(len(group))]


def write_weights(f: Any, model: Any, with_optimizer: bool = True) -> None:
    """Write the weights of a model, and its optimizer's state if it has some.

    Args:
        f: an open HDF5 file.
        model: the model.
        with_optimizer: whether the optimizer's state is written.
    """
    for part in parts_of(model, ""):
        group = f.create_group(f"{part.path}/vars" if part.path else "vars")
        group.attrs["name"] = part.name
        for k, value in enumerate(K.batch_get_value(part.variables)):
            group.create_dataset(str(k), data=value)
    values = _optimizer_values(model) if with_optimizer else []
    if values:
        group = f.create_group("optimizer/vars")
        group.attrs["name"] = snake_case(type(model.optimizer).__name__)
        for k, value in enumerate(values):
            group.create_dataset(str(k), data=value)


def _trained(model: Any) -> list[Any]:
    return list(model._collected_trainable_weights)


def _interleaved(optimizer: Any) -> bool:
    """Tell whether Keras 3 lists all slots of one weight before those of the next."""
    return type(optimizer).__name__ not in ("RMSprop", "Adagrad", "SGD")


def _slots(model: Any) -> tuple[list[Any], int]:
    """Return the optimizer's slots, one group for each kind, and the number of kinds."""
    weights, params = list(model.optimizer.weights), _trained(model)
    shapes = [tuple(w.shape) for w in weights], [tuple(p.shape) for p in params]
    start = slot_offset(*shapes)
    if start is None:
        return [], 0
    return weights[start:], (len(weights) - start) // len(params)


def _optimizer_values(model: Any) -> list[Any]:
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not getattr(optimizer, "weights", None):
        return []
    values = [K.get_value(optimizer.iterations)]
    if not has_counterpart(optimizer):
        return values + optimizer.get_weights()
    if getattr(optimizer.lr, "is_variable", False):
        values.append(K.get_value(optimizer.lr))
    slots, kinds = _slots(model)
    count = len(_trained(model))
    if type(optimizer).__name__ == "SGD" and not K.get_value(optimizer.momentum):
        return values
    if _interleaved(optimizer):
        slots = [slots[kind * count + k] for k in range(count) for kind in range(kinds)]
    return values + K.batch_get_value(slots)


def read_optimizer(f: Mapping[str, Any], model: Any, own: bool) -> None:
    """Read the state of a compiled model's optimizer (see `set_optimizer_values`)."""
    set_optimizer_values(model, _values(f["optimizer/vars"]), own)


def set_optimizer_values(model: Any, values: Sequence[np.ndarray], own: bool = False) -> None:
    """Give the optimizer of a compiled model the state of Keras 3's.

    Args:
        model: a model whose training step is made.
        values: steps done, learning rate (unless a schedule says it), slots.
        own: whether they are of an optimizer that Keras 3 does not have: steps done, and what its
            `get_weights` returned.

    Raises:
        ValueError: when it does not fit; nothing is changed then.
    """
    optimizer = model.optimizer
    if own:
        optimizer.set_weights(values[1:])
        K.set_value(optimizer.iterations, values[0])
        return
    pairs: list[tuple[Any, Any]] = [(optimizer.iterations, values[0])]
    scalars = 1
    if getattr(optimizer.lr, "is_variable", False):
        pairs.append((optimizer.lr, values[1]))
        scalars = 2
    rest = values[scalars:]
    slots, kinds = _slots(model)
    count = len(_trained(model))
    if rest:
        if len(rest) != len(slots):
            raise ValueError(
                f"the file holds {len(rest)} slots, {type(optimizer).__name__} has {len(slots)} "
                f"for the {count} weights that are trained"
            )
        if _interleaved(optimizer):
            rest = [rest[k * kinds + kind] for kind in range(kinds) for k in range(count)]
        _check_shapes(slots, rest)
        pairs += zip(slots, rest, strict=True)
    K.batch_set_value(pairs)


def _check_shapes(slots: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    for slot, value in zip(slots, values, strict=True):
        if tuple(slot.shape) != value.shape:
            raise ValueError(
                f"the slot {slot.name} has the shape {tuple(slot.shape)}, the file has "
                f"{value.shape}"
            )
