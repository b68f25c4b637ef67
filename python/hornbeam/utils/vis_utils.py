"""Drawings of models, through pydot and Graphviz."""

from __future__ import annotations

import os
from typing import Any

from ..errors import MissingDependencyError
from .layer_utils import inbound_nodes, nodes_by_depth


def _pydot() -> Any:
    try:
        import pydot
    except ImportError as error:
        raise MissingDependencyError("pydot", "Drawing a model", "viz") from error
    return pydot


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
) -> Any:
    """Describe a model's layers and what feeds them as a Graphviz graph.

    Args:
        model: the model.
        show_shapes: whether to show the layers' input and output shapes.
        show_layer_names: whether to show the layers' names before their types.
        rankdir: 'TB' for a graph from top to bottom, 'LR' from left to right.

    Returns:
        A `pydot.Dot`.

    Raises:
        MissingDependencyError: when pydot is not installed.
    """
    pydot = _pydot()
    if type(model).__name__ == "Sequential":
        if not getattr(model, "built", True) and hasattr(model, "build"):
            model.build()
        model = getattr(model, "model", None) or model
    dot = pydot.Dot(graph_type="digraph", rankdir=rankdir, concentrate="true")
    dot.set_node_defaults(shape="record")
    for layer in model.layers:
        label = _label(layer, show_shapes, show_layer_names)
        dot.add_node(pydot.Node(str(id(layer)), label=label))
    for source, target in _edges(model):
        dot.add_edge(pydot.Edge(str(id(source)), str(id(target))))
    return dot


def plot_model(
    model: Any,
    to_file: str = "model.png",
    show_shapes: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
) -> None:
    """Draw a model into a file.

    Args:
        model: the model.
        to_file: the file; its ending says the format ('.png', '.svg', '.pdf', '.dot').
        show_shapes: whether to show the layers' input and output shapes.
        show_layer_names: whether to show the layers' names before their types.
        rankdir: 'TB' for a graph from top to bottom, 'LR' from left to right.

    Raises:
        MissingDependencyError: when pydot, or the program Graphviz, is not installed.
    """
    dot = model_to_dot(model, show_shapes, show_layer_names, rankdir)
    extension = os.path.splitext(to_file)[1][1:] or "png"
    if extension == "dot":
        dot.write(to_file, format="raw")
        return
    try:
        dot.write(to_file, format=extension)
    except FileNotFoundError as error:
        raise MissingDependencyError(
            "graphviz",
            "plot_model",
            how="install Graphviz, whose program `dot` draws (apt-get install graphviz, brew "
            "install graphviz), or write a '.dot' file",
        ) from error


def _label(layer: Any, show_shapes: bool, show_layer_names: bool) -> str:
    name, kind = layer.name, type(layer).__name__
    inner = getattr(layer, "layer", None)  # of a wrapper such as TimeDistributed
    if inner is not None:
        name, kind = f"{name}({inner.name})", f"{kind}({type(inner).__name__})"
    label = f"{name}: {kind}" if show_layer_names else kind
    if not show_shapes:
        return label
    shapes = [_shape(layer, "input_shape"), _shape(layer, "output_shape")]
    return f"{label}\n|{{input:|output:}}|{{{{{shapes[0]}}}|{{{shapes[1]}}}}}"


def _shape(layer: Any, which: str) -> str:
    try:
        return str(getattr(layer, which))
    except (AttributeError, RuntimeError):
        return "multiple"


def _edges(model: Any) -> list[tuple[Any, Any]]:
    layers = list(model.layers)
    relevant = {id(node) for nodes in nodes_by_depth(model).values() for node in nodes}
    edges = [
        (source, layer)
        for layer in layers
        for node in inbound_nodes(layer)
        if not relevant or id(node) in relevant
        for source in node.inbound_layers
    ]
    if not edges and type(model).__name__ == "Sequential":
        return list(zip(layers, layers[1:], strict=False))
    listed = {id(layer) for layer in layers}
    return [(source, target) for source, target in edges if id(source) in listed]
