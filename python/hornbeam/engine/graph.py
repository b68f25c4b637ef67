"""The graph of layers behind a set of tensors: which nodes, at which depth, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..utils.generic_utils import to_list
from .base_layer import Layer, Node

NodeKey = tuple[int, int]


class LayerGraph:
    """What lies between the inputs and the outputs of a model.

    The depth of a node is its distance from the outputs, the longest way counted. Layers stand in
    order of decreasing depth, those of one depth in the order in which a walk from the outputs
    meets them; files list weights in this order.

    Attributes:
        node_keys: (id of the layer, index of the node) of every node.
        nodes_by_depth: depth -> nodes.
        layers_by_depth: depth -> layers.
        layers: all layers, the deepest first.
    """

    def __init__(self, outputs: Sequence[Any], stop: Sequence[Any] = ()) -> None:
        """Walk from the outputs to where the graph begins.

        Args:
            outputs: tensors with a history.
            stop: tensors whose history is not followed.
        """
        self.node_keys: set[NodeKey] = set()
        order, seen = self._walk(outputs)
        depths, layer_depths = _depths(order)
        self.nodes_by_depth: dict[int, list[Node]] = {}
        for node in order:
            self.nodes_by_depth.setdefault(depths[node], []).append(node)
        self.layers_by_depth: dict[int, list[Layer]] = {}
        for layer in sorted(layer_depths, key=seen.__getitem__):
            self.layers_by_depth.setdefault(layer_depths[layer], []).append(layer)
        self.layers = [
            layer
            for depth in sorted(self.layers_by_depth, reverse=True)
            for layer in self.layers_by_depth[depth]
        ]

    def _walk(self, outputs: Sequence[Any]) -> tuple[list[Node], dict[Layer, int]]:
        """Return the nodes, each after all before it, and the order in which layers are met.

        The walk keeps its own stack: a model may be deeper than Python's.
        """
        finished: set[Node] = set()
        order: list[Node] = []
        seen: dict[Layer, int] = {}
        for x in outputs:
            layer, node_index, _ = x._keras_history
            stack = [(layer.inbound_nodes[node_index], iter(_sources(layer, node_index)))]
            self._enter(layer, node_index, seen)
            if stack[0][0] in finished:
                continue
            in_progress = {stack[0][0]}
            while stack:
                node, sources = stack[-1]
                step = next(sources, None)
                if step is None:
                    stack.pop()
                    in_progress.discard(node)
                    finished.add(node)
                    order.append(node)
                    continue
                layer, node_index = step
                source = layer.inbound_nodes[node_index]
                if source in in_progress:
                    raise RuntimeError(f'Layer "{layer.name}" is part of a cycle.')
                if source not in finished:
                    self._enter(layer, node_index, seen)
                    in_progress.add(source)
                    stack.append((source, iter(_sources(layer, node_index))))
        return order, seen

    def _enter(self, layer: Layer, node_index: int, seen: dict[Layer, int]) -> None:
        self.node_keys.add((id(layer), node_index))
        seen.setdefault(layer, len(seen))

    def nodes(self) -> Iterator[Node]:
        """Return the nodes, each after all that it depends on."""
        for depth in sorted(self.nodes_by_depth, reverse=True):
            yield from self.nodes_by_depth[depth]

    def has(self, layer: Layer, node_index: int) -> bool:
        """Tell whether the call `node_index` of a layer is part of the graph."""
        return (id(layer), node_index) in self.node_keys


def _sources(layer: Layer, node_index: int) -> list[tuple[Layer, int]]:
    node = layer.inbound_nodes[node_index]
    pairs = zip(node.inbound_layers, node.node_indices, strict=True)
    return [(source, index) for source, index in pairs if source is not None]


def _depths(order: list[Node]) -> tuple[dict[Node, int], dict[Layer, int]]:
    depths: dict[Node, int] = {}
    layer_depths: dict[Layer, int] = {}
    for node in reversed(order):
        # A layer that is shared stands where its deepest call does.
        depth = max(depths.get(node, 0), layer_depths.get(node.outbound_layer, 0))
        depths[node] = layer_depths[node.outbound_layer] = depth
        for layer, index in zip(node.inbound_layers, node.node_indices, strict=True):
            if layer is not None:
                source = layer.inbound_nodes[index]
                depths[source] = max(depth + 1, depths.get(source, 0))
    return depths, layer_depths


def check_connected(graph: LayerGraph, inputs: Sequence[Any]) -> None:
    """Check that every tensor of a graph can be computed from the inputs.

    Raises:
        RuntimeError: naming the first tensor that cannot, and the layers before it.
    """
    computable = set(inputs)
    passed: list[str] = []
    for node in graph.nodes():
        layer = node.outbound_layer
        for x, source in zip(node.input_tensors, node.inbound_layers, strict=False):
            if x not in computable and source is not None:
                raise RuntimeError(
                    f"Graph disconnected: cannot obtain value for tensor {x} at layer "
                    f'"{layer.name}". The following previous layers were accessed without issue: '
                    f"{passed}"
                )
        begins = not node.inbound_layers
        if begins and node.output_tensors[0] not in computable and _is_fed(layer):
            raise RuntimeError(
                f"Graph disconnected: cannot obtain value for tensor {node.output_tensors[0]} at "
                f'layer "{layer.name}". The following previous layers were accessed without '
                f"issue: {passed}"
            )
        computable.update(node.output_tensors)
        passed.append(layer.name)


def _is_fed(layer: Layer) -> bool:
    return getattr(layer, "is_placeholder", False)


def get_source_inputs(
    tensor: Any, layer: Layer | None = None, node_index: int | None = None
) -> list[Any]:
    """Return the input tensors that a tensor depends on.

    Args:
        tensor: a tensor with a history (one without is its own source).
        layer: the layer it comes from, by default as its history says.
        node_index: the call of the layer it comes from, by default as its history says.
    """
    if not hasattr(tensor, "_keras_history"):
        return [tensor]
    if layer is None or node_index is None:
        layer, node_index, _ = tensor._keras_history
    if not layer.inbound_nodes:  # type: ignore[union-attr]
        return [tensor]
    found: dict[Any, None] = {}
    stack = [layer.inbound_nodes[node_index]]  # type: ignore[union-attr, index]
    visited: set[Node] = set()
    while stack:
        node = stack.pop()
        if node in visited:
            continue
        visited.add(node)
        if not node.inbound_layers:
            found.update(dict.fromkeys(to_list(node.input_tensors)))
        for source, index in reversed(
            list(zip(node.inbound_layers, node.node_indices, strict=True))
        ):
            if source is not None:
                stack.append(source.inbound_nodes[index])
    return list(found)


def nested_layers(layer: Any) -> list[Any]:
    """Return a layer and all layers within it, each once.

    Rebuilding the layer from its configuration gives the same order.
    """
    found: dict[int, Any] = {}

    def walk(layer: Any) -> None:
        if id(layer) in found:
            return
        found[id(layer)] = layer
        for part in _parts(layer):
            walk(part)

    walk(layer)
    return list(found.values())


def _parts(layer: Any) -> Iterator[Any]:
    """Give the layers that a model, a wrapper or a user's layer holds."""
    # A model's other attributes are about the same layers.
    attributes = {"": layer.layers} if hasattr(layer, "layers") else vars(layer)
    for _, value in sorted(attributes.items()):
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, Layer):
                yield item
