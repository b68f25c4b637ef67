"""The container: a graph of layers between given inputs and outputs, itself a layer.

It owns no arithmetic. `run_internal_graph` repeats the calls of its layers on other inputs, so that
a model can be called, shared and nested like any layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import backend as K
from ..legacy import interfaces
from ..utils.generic_utils import has_arg, nearest_name, to_list, unpack_singleton
from .base_layer import Layer, Node, scope, set_weights_checked, shortened
from .graph import LayerGraph, check_connected
from .input_layer import InputLayer


class Container(Layer):
    """A directed acyclic graph of layers.

    Attributes:
        layers: the layers, in the order in which files list them.
        inputs: the input tensors.
        outputs: the output tensors.
        input_names: names of the input layers.
        output_names: names of the layers that the outputs come from.
    """

    @interfaces.legacy_model_constructor_support
    def __init__(self, inputs: Any, outputs: Any, name: str | None = None) -> None:
        """Make a container.

        Args:
            inputs: tensor or list of tensors, made by `Input`.
            outputs: tensor or list of tensors that layers computed from them.
            name: a name, unique where the container is used as a layer.

        Raises:
            TypeError: for inputs or outputs that no layer made, or an input given twice.
            RuntimeError: when an output needs more than the inputs, or two layers share a name.
        """
        self._init_layer(name)
        self._init_graph(to_list(inputs, allow_tuple=True), to_list(outputs, allow_tuple=True))

    def _init_layer(self, name: str | None) -> None:
        prefix = type(self).__name__.lower()
        super().__init__(name=name or f"{prefix}_{K.get_uid(prefix)}")
        self.layers: list[Layer] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def _init_graph(self, inputs: list[Any], outputs: list[Any]) -> None:
        _check_tensors(inputs, outputs)
        graph = LayerGraph(outputs)
        check_connected(graph, inputs)
        _check_names(graph.layers)
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.graph = graph
        self.layers = graph.layers
        self.layers_by_depth = graph.layers_by_depth
        self.nodes_by_depth = graph.nodes_by_depth
        self.container_nodes = graph.node_keys
        self.input_coordinates = [x._keras_history for x in inputs]
        self.output_coordinates = [x._keras_history for x in outputs]
        self.input_layers = [c[0] for c in self.input_coordinates]
        self.output_layers = [c[0] for c in self.output_coordinates]
        self.input_names = [layer.name for layer in self.input_layers]
        self.output_names = [layer.name for layer in self.output_layers]
        self.internal_input_shapes = [K.int_shape(x) for x in inputs]
        self.internal_output_shapes = [K.int_shape(x) for x in outputs]
        fed = [i for i, layer in enumerate(self.input_layers) if _is_fed(layer)]
        self._feed_inputs = [inputs[i] for i in fed]
        self._feed_input_dtypes = [x.dtype for x in self._feed_inputs]
        self._feed_input_names = [self.input_names[i] for i in fed]
        self._feed_input_shapes = [self.internal_input_shapes[i] for i in fed]
        masks = [layer.inbound_nodes[n].output_masks[t] for layer, n, t in self.output_coordinates]
        self._runs: dict[Any, tuple[list[Any], list[Any]]] = {
            _run_key(inputs, [None] * len(inputs)): (list(outputs), masks)
        }
        self._inner_calls: dict[Any, list[tuple[Layer, list[Any]]]] = {}
        self.built = True
        self.inbound_nodes = []
        Node(
            self,
            inbound_layers=[],
            node_indices=[],
            tensor_indices=[],
            input_tensors=self.inputs,
            output_tensors=self.outputs,
            input_masks=[None] * len(inputs),
            output_masks=masks,
            input_shapes=self.internal_input_shapes,
            output_shapes=self.internal_output_shapes,
        )

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return a layer by its name or its place in `layers`.

        Raises:
            ValueError: when there is none, or neither is given.
        """
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(
                    f"Was asked to retrieve layer at index {index} but model only has "
                    f"{len(self.layers)} layers."
                )
            return self.layers[index]
        if not name:
            raise ValueError("Provide either a layer name or layer index.")
        for layer in self.layers:
            if layer.name == name:
                return layer
        meant = nearest_name(name, [layer.name for layer in self.layers])
        raise ValueError(f"No such layer: {name}" + (f". Did you mean {meant}?" if meant else ""))

    def _own_calls(self) -> list[tuple[Layer, Node]]:
        """Return the calls of layers that belong to this container."""
        return [
            (layer, node)
            for layer in self.graph.layers
            for index, node in enumerate(layer.inbound_nodes)
            if self.graph.has(layer, index)
        ]

    def _gather(self, getter: Callable[[Layer, Any], list[Any]]) -> list[Any]:
        found: list[Any] = []
        done: set[Layer] = set()
        for layer, node in self._own_calls():
            found += getter(layer, node.input_tensors)
            if layer not in done:
                found += getter(layer, None)
                done.add(layer)
        return found

    @property
    def updates(self) -> list[Any]:
        """Updates that training runs: those of the layers' calls that belong to the model."""
        if not self.inputs or (not self.trainable and not self.stateful):
            return []
        updates = self._gather(lambda layer, x: layer.get_updates_for(x))
        return _unique(updates + self._own(self._per_input_updates))

    @property
    def losses(self) -> list[Any]:
        """Losses of the layers' calls that belong to the model, and of the layers' weights."""
        if not self.inputs:
            return []
        losses = self._gather(lambda layer, x: layer.get_losses_for(x))
        return _unique(losses + self._own(self._per_input_losses))

    def _own(self, by_input: dict[Any, list[Any]]) -> list[Any]:
        """Return what the model itself was given, for no input or for tensors of its graph."""
        within = {x for node in self.graph.nodes() for x in node.output_tensors} if by_input else ()
        return [
            item
            for key, items in by_input.items()
            if key is None or all(x in within for x in key)
            for item in items
        ]

    def get_updates_for(self, inputs: Any) -> list[Any]:
        """Return the updates that depend on these inputs (None: on no input)."""
        if not self.trainable and not self.stateful:
            return []
        return self._inner(lambda layer, x: layer.get_updates_for(x), inputs) + (
            Layer.get_updates_for(self, inputs)
        )

    def get_losses_for(self, inputs: Any) -> list[Any]:
        """Return the losses that depend on these inputs (None: on no input)."""
        return self._inner(lambda layer, x: layer.get_losses_for(x), inputs) + (
            Layer.get_losses_for(self, inputs)
        )

    def _inner(self, getter: Callable[[Layer, Any], list[Any]], inputs: Any) -> list[Any]:
        if inputs is None:
            return [item for layer in self.graph.layers for item in getter(layer, None)]
        calls = self._inner_calls.get(tuple(to_list(inputs)), [])
        if not calls and list(to_list(inputs)) == self.inputs:
            calls = [(layer, node.input_tensors) for layer, node in self._own_calls()]
        return [item for layer, x in calls for item in getter(layer, x)]

    @property
    def uses_learning_phase(self) -> bool:
        """Whether the outputs differ between training and inference."""
        return any(x.uses_learning_phase for x in self.outputs)

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        """Whether a layer keeps state from batch to batch."""
        return any(getattr(layer, "stateful", False) for layer in self.layers)

    def reset_states(self) -> None:
        """Reset the state of the layers that keep one."""
        for layer in self.layers:
            if getattr(layer, "stateful", False) and hasattr(layer, "reset_states"):
                layer.reset_states()

    @property
    def state_updates(self) -> list[Any]:
        """The updates of the layers that keep state, which prediction runs too."""
        if not self.inputs:
            return []
        updates = self._gather(
            lambda layer, x: layer.get_updates_for(x) if getattr(layer, "stateful", False) else []
        )
        return _unique(updates)

    @property
    def constraints(self) -> dict[Any, Any]:
        """Variable -> constraint of all layers."""
        return {v: c for layer in self.layers for v, c in layer.constraints.items()}

    @constraints.setter
    def constraints(self, constraints: dict[Any, Any]) -> None:
        raise AttributeError("Set the constraints of the layers instead of the model's")

    @property
    def trainable_weights(self) -> list[Any]:
        """The variables that training changes, in the order of the layers."""
        if not self.trainable:
            return []
        return _unique([w for layer in self.layers for w in layer.trainable_weights])

    @trainable_weights.setter
    def trainable_weights(self, weights: list[Any]) -> None:
        raise AttributeError("Set the weights of the layers instead of the model's")

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The variables that training leaves alone."""
        weights = [w for layer in self.layers for w in layer.non_trainable_weights]
        if not self.trainable:
            weights = [w for layer in self.layers for w in layer.trainable_weights] + weights
        return _unique(weights)

    @non_trainable_weights.setter
    def non_trainable_weights(self, weights: list[Any]) -> None:
        raise AttributeError("Set the weights of the layers instead of the model's")

    def _weights_in_order(self) -> list[Any]:
        return [w for layer in self.layers for w in layer.weights]

    def get_weights(self) -> list[np.ndarray]:
        """Return the values of all variables, layer by layer."""
        return K.batch_get_value(self._weights_in_order())

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Give all variables new values, in the order of `get_weights`.

        Raises:
            ValueError: when their number or a shape is another; nothing is changed then.
        """
        set_weights_checked(f'model "{self.name}"', self._weights_in_order(), weights)

    @property
    def input_spec(self) -> Any:
        """One entry for each input; sizes are left to the layers to check."""
        return [None] * len(self.inputs)

    @input_spec.setter
    def input_spec(self, value: Any) -> None:
        if value is not None:
            raise AttributeError("The input_spec of a model follows from its layers")

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Apply the graph to other inputs.

        Args:
            inputs: a tensor, or a list with one for each input.
            mask: mask of the input, or a list of masks.
        """
        outputs, _ = self._run(inputs, mask)
        return unpack_singleton(list(outputs))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return the masks of the outputs for these inputs."""
        _, masks = self._run(inputs, mask)
        return unpack_singleton(list(masks))

    def _run(self, inputs: Any, mask: Any) -> tuple[list[Any], list[Any]]:
        inputs = to_list(inputs)
        masks = [None] * len(inputs) if mask is None else to_list(mask)
        key = _run_key(inputs, masks)
        if key not in self._runs:
            self._runs[key] = self.run_internal_graph(inputs, masks)[:2]
        return self._runs[key]

    def run_internal_graph(
        self, inputs: Sequence[Any], masks: Sequence[Any] | None = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Repeat the calls of the layers on other inputs.

        Args:
            inputs: one tensor for each input.
            masks: one mask or None for each input.

        Returns:
            The outputs, their masks and their shapes.
        """
        masks = [None] * len(inputs) if masks is None else masks
        computed = {x: (y, m) for x, y, m in zip(self.inputs, inputs, masks, strict=True)}
        calls: list[tuple[Layer, list[Any]]] = []
        for node in self.graph.nodes():
            layer = node.outbound_layer
            if not node.inbound_layers:
                # Where a graph begins, with a tensor of its own unless it is an input.
                for x in node.output_tensors:
                    computed.setdefault(x, (x, None))
                continue
            given = [computed.get(x, (x, None)) for x in node.input_tensors]
            tensors = [tensor for tensor, _ in given]
            outputs, output_masks = _repeat_call(layer, node, tensors, [m for _, m in given])
            calls.append((layer, tensors))
            for x, y, m in zip(node.output_tensors, outputs, output_masks, strict=True):
                computed[x] = (y, m)
        self._inner_calls.setdefault(tuple(inputs), []).extend(calls)
        results = [computed[x] for x in self.outputs]
        tensors = [tensor for tensor, _ in results]
        return tensors, [m for _, m in results], [K.int_shape(x) for x in tensors]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shapes of the outputs for those of the inputs, by asking each layer."""
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        if len(shapes) != len(self.inputs):
            raise ValueError(
                f"Model {self.name} has {len(self.inputs)} inputs, got the shapes {shapes}"
            )
        known: dict[Any, Any] = {x: tuple(s) for x, s in zip(self.inputs, shapes, strict=True)}
        for node in self.graph.nodes():
            if not node.inbound_layers:
                for x in node.output_tensors:
                    known.setdefault(x, K.int_shape(x))
                continue
            given = [known.get(x, K.int_shape(x)) for x in node.input_tensors]
            result = node.outbound_layer.compute_output_shape(unpack_singleton(given))
            for x, s in zip(
                node.output_tensors, result if isinstance(result, list) else [result], strict=True
            ):
                known[x] = tuple(s)
        return unpack_singleton([known[x] for x in self.outputs])

    def get_config(self) -> Any:
        """Return the layers, their configurations and their connections as plain data."""
        from .network_config import container_config

        return container_config(self)

    @classmethod
    def from_config(cls, config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
        """Make a model from what `get_config` returned, with new weights.

        Args:
            config: the configuration.
            custom_objects: name -> class or function that the package does not have.
        """
        from .network_config import container_from_config

        return container_from_config(cls, config, custom_objects)

    def save(self, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
        """Save the architecture, the weights and what training needs to go on.

        Args:
            filepath: where to.
            overwrite: whether an existing file is replaced without asking.
            include_optimizer: whether the optimizer's state is saved too.
        """
        from ..saving import save_model

        save_model(self, filepath, overwrite, include_optimizer)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Save the weights as HDF5.

        Args:
            filepath: where to.
            overwrite: whether an existing file is replaced without asking.
        """
        from ..saving import save_weights

        save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: Any, by_name: bool = False) -> None:
        """Load weights from a file.

        Args:
            filepath: where from.
            by_name: whether layers take the weights of the layers of their name in the file, and
                others keep theirs; otherwise layers and file must agree in order.

        Raises:
            ValueError: when the file does not fit; nothing is changed then.
        """
        from ..saving import load_weights

        load_weights(self, filepath, by_name)

    def __reduce__(self) -> Any:
        from ..saving.pickling import taken_apart

        return taken_apart(self)

    def to_json(self, **kwargs: Any) -> str:
        """Return the architecture as JSON; keywords go to `json.dumps`."""
        from ..saving import to_json

        return to_json(self, **kwargs)

    def to_yaml(self, **kwargs: Any) -> str:
        """Return the architecture as YAML; keywords go to `yaml.dump`."""
        from ..saving import to_yaml

        return to_yaml(self, **kwargs)

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
    ) -> None:
        """Print a table of the layers, their output shapes and numbers of weights.

        Args:
            line_length: width of the table.
            positions: where the columns end, as fractions of the width or in characters.
            print_fn: what is called with each line; `print` by default.
            expand_nested: whether the layers of models inside the model are listed too.

        Raises:
            ValueError: when the shape of the input is not known yet.
        """
        from ..utils.layer_utils import print_summary

        print_summary(self, line_length, positions, print_fn, expand_nested)


def _repeat_call(
    layer: Layer, node: Node, tensors: list[Any], masks: list[Any]
) -> tuple[list[Any], list[Any]]:
    """Call a layer as `node` records, on other inputs; no new node is recorded."""
    kwargs = dict(node.arguments)
    several = len(tensors) > 1
    inputs: Any = tensors if several else tensors[0]
    mask: Any = masks if several else masks[0]
    given = any(m is not None for m in masks)
    if given and "mask" not in kwargs and has_arg(layer.call, "mask"):
        kwargs["mask"] = mask
    with scope(layer.name), _naming(layer):
        outputs = to_list(layer.call(inputs, **kwargs), allow_tuple=True)
        mask = node.arguments.get("mask", mask if given or not several else None)
        output_masks = to_list(layer.compute_mask(inputs, mask), allow_tuple=True)
        if len(output_masks) == 1:
            output_masks = output_masks * len(outputs)
        layer._add_activity_loss(outputs, inputs)
        for x, reference in zip(outputs, node.output_tensors, strict=True):
            _declare_shape(x, reference)
    return outputs, output_masks


@contextmanager
def _naming(layer: Layer) -> Iterator[None]:
    """Inside the block, an error about values says which layer it comes from."""
    try:
        yield
    except ValueError as error:
        if type(error) is not ValueError or repr(layer.name) in str(error):
            raise
        raise ValueError(f"{type(layer).__name__} {layer.name!r}: {error}") from error


def _declare_shape(x: Any, reference: Any) -> None:
    """Complete what the graph knows of a shape by what the layer said of its first call."""
    if hasattr(x, "_keras_shape") or None not in x.shape[1:]:
        return
    declared = K.int_shape(reference) or ()
    source = tuple(reference.shape)
    if len(declared) == x.ndim:
        x._keras_shape = tuple(
            d if s is None and known is None else s
            for s, d, known in zip(x.shape, declared, source, strict=True)
        )


def _check_tensors(inputs: list[Any], outputs: list[Any]) -> None:
    for kind, tensors in (("Input", inputs), ("Output", outputs)):
        for x in tensors:
            if not hasattr(x, "_keras_history"):
                raise TypeError(
                    f"{kind} tensors to a Model must be Keras tensors. Found: {shortened(x)} "
                    "(missing Keras metadata). An input comes from Input(); an output from a "
                    "layer, so wrap backend functions in a Lambda layer."
                )
    if len(set(inputs)) != len(inputs):
        raise TypeError(
            "The list of inputs passed to the model is redundant. All inputs should only appear "
            f"once. Found: {inputs}"
        )
    for x in inputs:
        layer, _, _ = x._keras_history
        if layer.inbound_nodes and layer.inbound_nodes[0].inbound_layers:
            raise TypeError(
                f"Model inputs must come from an Input layer, but the tensor {x} is the output of "
                f'the layer "{layer.name}". Start the model with Input(shape=...), or with '
                "Input(tensor=...)."
            )


def _check_names(layers: Sequence[Layer]) -> None:
    seen: set[str] = set()
    for layer in layers:
        if layer.name in seen:
            count = sum(other.name == layer.name for other in layers)
            raise RuntimeError(
                f'The name "{layer.name}" is used {count} times in the model. All layer names '
                "should be unique."
            )
        seen.add(layer.name)


def _is_fed(layer: Layer) -> bool:
    return not isinstance(layer, InputLayer) or layer.is_placeholder


def _run_key(inputs: Sequence[Any], masks: Sequence[Any]) -> tuple[Any, ...]:
    return (tuple(inputs), tuple(masks))


def _unique(items: Sequence[Any]) -> list[Any]:
    """Return the items, each object once, in order."""
    return list({id(item): item for item in items}.values())
