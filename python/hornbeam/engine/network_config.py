"""Containers as plain data, in the format of Keras 2, and back.

Each layer lists, for each of its calls within the model, where the inputs came from: [layer, which
call of it within the model, which output, keyword arguments].
"""

from __future__ import annotations

import copy
import json
from typing import Any

from ..utils.generic_utils import unpack_singleton
from ..utils.user_warnings import warn
from .base_layer import Layer, Node


def container_config(model: Any) -> dict[str, Any]:
    """Return the configuration of a functional model."""
    from .container import Container

    kept: dict[tuple[int, int], int] = {}
    for layer in model.layers:
        # A container's first node links its own inputs and outputs, and is no call.
        count = 1 if isinstance(layer, Container) else 0
        for index in range(len(layer.inbound_nodes)):
            if model.graph.has(layer, index):
                kept[(id(layer), index)] = count
                count += 1
    layers = []
    for layer in model.layers:
        nodes = [
            _node_config(model, layer, node, kept)
            for index, node in enumerate(layer.inbound_nodes)
            if model.graph.has(layer, index) and node.inbound_layers
        ]
        layers.append(
            {
                "name": layer.name,
                "class_name": type(layer).__name__,
                "config": layer.get_config(),
                "inbound_nodes": nodes,
                **frozen(layer),
            }
        )

    def coordinates(tensors: list[tuple[Layer, int, int]]) -> list[list[Any]]:
        return [[layer.name, kept[(id(layer), node)], t] for layer, node, t in tensors]

    config = {
        "name": model.name,
        "layers": layers,
        "input_layers": coordinates(model.input_coordinates),
        "output_layers": coordinates(model.output_coordinates),
    }
    return copy.deepcopy(config)


def frozen(layer: Layer) -> dict[str, Any]:
    """Return what describes a model within a model beside its class and configuration.

    In Keras 2 the configuration of a model does not say that it is frozen; saved and loaded, a base
    that was not to be trained would be.
    """
    from .container import Container

    return {"trainable": False} if isinstance(layer, Container) and not layer.trainable else {}


def _node_config(
    model: Any, layer: Layer, node: Node, kept: dict[tuple[int, int], int]
) -> list[list[Any]]:
    kwargs = _plain_arguments(layer, node)
    data = []
    for source, node_index, tensor_index in zip(
        node.inbound_layers, node.node_indices, node.tensor_indices, strict=True
    ):
        if source is None:
            raise ValueError(
                f'Layer "{layer.name}" was called on a tensor that no layer made; the model '
                "cannot be described by a configuration. Use Input(tensor=...) for it."
            )
        data.append([source.name, kept[(id(source), node_index)], tensor_index, kwargs])
    return data


def _plain_arguments(layer: Layer, node: Node) -> dict[str, Any]:
    if not node.arguments:
        return {}
    try:
        json.dumps(node.arguments)
    except TypeError:
        warn(
            f"Layer {layer.name} was passed non-serializable keyword arguments: {node.arguments}. "
            "They will not be included in the serialized model (and thus will be missing at "
            "deserialization time)."
        )
        return {}
    return node.arguments


def container_from_config(
    cls: type, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
) -> Any:
    """Build a functional model from its configuration.

    Args:
        cls: the class of the model.
        config: what `container_config` returned, or a file holds.
        custom_objects: name -> class or function that the package does not have.

    Raises:
        ValueError: when it is no such configuration, or its calls refer to layers that do not exist
            or never get their inputs.
    """
    from ..layers import deserialize

    if not isinstance(config, dict) or "input_layers" not in config:
        raise ValueError(
            f"{cls.__name__}.from_config: this is not the configuration of a functional model, "
            "which is a dictionary with 'layers', 'input_layers' and 'output_layers'. A list of "
            "layers is that of a stack: use Sequential.from_config(config)."
        )
    layers: dict[str, Layer] = {}
    waiting: list[tuple[Layer, list[Any]]] = []
    for data in config["layers"]:
        layer = deserialize(data, custom_objects=custom_objects)
        name = data.get("name") or data["config"]["name"]
        # The configuration of a stack within the model does not say its name.
        layer.name = name
        if "trainable" in data:
            layer.trainable = data["trainable"]
        layers[name] = layer
        waiting += [(layer, call) for call in data.get("inbound_nodes", [])]
    while waiting:
        # A call has to wait for those that make its inputs; calls of one layer keep their order.
        later: list[tuple[Layer, list[Any]]] = []
        held: set[int] = set()
        for layer, call in waiting:
            if id(layer) in held or not _ready(layers, call):
                held.add(id(layer))
                later.append((layer, call))
            else:
                _repeat(layers, layer, call)
        if len(later) == len(waiting):
            names = sorted({layer.name for layer, _ in later})
            raise ValueError(f"The model's configuration does not say where {names} get inputs")
        waiting = later
    inputs = [_tensor(layers, c) for c in _coordinates(config["input_layers"])]
    outputs = [_tensor(layers, c) for c in _coordinates(config["output_layers"])]
    model = cls(inputs=inputs, outputs=outputs, name=config.get("name"))
    # Models of Keras 3 say it of themselves.
    model.trainable = config.get("trainable", model.trainable)
    return model


def _coordinates(data: list[Any]) -> list[Any]:
    # A single tensor may stand without a list around it.
    return [data] if data and isinstance(data[0], str) else data


def _ready(layers: dict[str, Layer], call: list[Any]) -> bool:
    for name, node_index, *_ in call:
        if name not in layers:
            raise ValueError(f"The model's configuration refers to an unknown layer {name!r}")
        if len(layers[name].inbound_nodes) <= node_index:
            return False
    return True


def _tensor(layers: dict[str, Layer], coordinate: list[Any]) -> Any:
    name, node_index, tensor_index = coordinate[:3]
    if name not in layers:
        raise ValueError(f"The model's configuration refers to an unknown layer {name!r}")
    return layers[name].inbound_nodes[node_index].output_tensors[tensor_index]


def _repeat(layers: dict[str, Layer], layer: Layer, call: list[Any]) -> None:
    kwargs: dict[str, Any] = {}
    for coordinate in call:
        # Keras 1 wrote no keyword arguments.
        if len(coordinate) > 3:
            kwargs = coordinate[3] or {}
    layer(unpack_singleton([_tensor(layers, c) for c in call]), **kwargs)
