"""The record of one call of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base_layer import Layer


class Node:
    """One call of a layer: from where its inputs came and what came out.

    A node puts itself on the lists of the layer called (`inbound_nodes`) and of the layers that
    feed it (`outbound_nodes`). Attributes are the constructor's arguments.
    """

    def __init__(
        self,
        outbound_layer: Layer,
        inbound_layers: list[Layer],
        node_indices: list[int],
        tensor_indices: list[int],
        input_tensors: list[Any],
        output_tensors: list[Any],
        input_masks: list[Any],
        output_masks: list[Any],
        input_shapes: list[Any],
        output_shapes: list[Any],
        arguments: dict[str, Any] | None = None,
    ) -> None:
        """Record a call.

        Args:
            outbound_layer: the layer called.
            inbound_layers: the layers whose outputs are the inputs.
            node_indices: for each input, which node of its layer it comes from.
            tensor_indices: for each input, which output of that node it is.
            input_tensors: the inputs.
            output_tensors: the outputs.
            input_masks: masks of the inputs, None where there is none.
            output_masks: masks of the outputs, None where there is none.
            input_shapes: shapes of the inputs.
            output_shapes: shapes of the outputs.
            arguments: further keyword arguments of the call.
        """
        self.outbound_layer = outbound_layer
        self.inbound_layers = inbound_layers
        self.node_indices = node_indices
        self.tensor_indices = tensor_indices
        self.input_tensors = input_tensors
        self.output_tensors = output_tensors
        self.input_masks = input_masks
        self.output_masks = output_masks
        self.input_shapes = input_shapes
        self.output_shapes = output_shapes
        self.arguments = arguments or {}
        for layer in inbound_layers:
            if layer is not None:
                layer.outbound_nodes.append(self)
        outbound_layer.inbound_nodes.append(self)

    def get_config(self) -> dict[str, Any]:
        """Describe the connections by the names of the layers."""
        return {
            "outbound_layer": self.outbound_layer.name if self.outbound_layer else None,
            "inbound_layers": [layer.name if layer else None for layer in self.inbound_layers],
            "node_indices": self.node_indices,
            "tensor_indices": self.tensor_indices,
        }
