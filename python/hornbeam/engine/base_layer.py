"""The layer: weights, building, calling, and the record of where it was called.

A tensor that leaves a layer carries `_keras_history` (layer, node index, tensor index) and
`_keras_shape`; a `Node` records one call. Containers read the graph of layers from these alone.
This module knows nothing of models.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import backend as K
from ..legacy import interfaces
from ..utils.generic_utils import has_arg, nearest_name, to_list, unpack_singleton
from .input_spec import InputSpec
from .node import Node

__all__ = ["InputSpec", "Layer", "Node", "scope", "set_weights_checked", "to_snake_case"]

_KEYWORDS = (
    "input_shape",
    "batch_input_shape",
    "batch_size",
    "dtype",
    "name",
    "trainable",
    "weights",
    "input_dtype",
)


class Layer:
    """A function of tensors with weights. Layers derive from it and give `build` and `call`.

    Attributes:
        name: unique within a model.
        trainable: whether training changes the weights.
        built: whether the weights exist.
        input_spec: an `InputSpec`, or one for each input, that calls are checked against.
        supports_masking: whether a mask passes through unchanged by default.
        inbound_nodes: the calls of this layer.
        outbound_nodes: the calls of other layers on this one's outputs.
    """

    stateful = False
    # Whether what `call` computes depends on `trainable`, as batch normalisation does: a model
    # that is compiled after the attribute was changed then calls the layer anew.
    call_depends_on_trainable = False
    _trainable_when_called = True
    # The first part of the weights' names where it is not the layer's own name: a wrapper's.
    weight_scope: str | None = None

    def __init__(self, **kwargs: Any) -> None:
        """Take the keywords that every layer has.

        Args:
            **kwargs: `name`; `trainable` (True by default); `dtype` of the input (`floatx()`);
                `input_shape` (or `shape`) or `batch_input_shape` (and `batch_size`) where the
                layer begins a model; `weights`, a list of arrays to begin with.

        Raises:
            TypeError: for any other keyword.
        """
        self.input_spec: Any = None
        self.supports_masking = False
        self._trainable_weights: list[Any] = []
        self._non_trainable_weights: list[Any] = []
        self._constraints: dict[Any, Any] = {}
        self._losses: list[Any] = []
        self._updates: list[Any] = []
        self._per_input_losses: dict[Any, list[Any]] = {}
        self._per_input_updates: dict[Any, list[Any]] = {}
        self._built = False
        self.inbound_nodes: list[Node] = []
        self.outbound_nodes: list[Node] = []
        if "shape" in kwargs:
            kwargs.setdefault("input_shape", kwargs.pop("shape"))
        _check_keywords(type(self), kwargs)
        self.name: str = kwargs.get("name") or _default_name(type(self).__name__)
        self.trainable: bool = kwargs.get("trainable", True)
        dtype = kwargs.get("dtype") or kwargs.get("input_dtype")
        if "batch_input_shape" in kwargs:
            self.batch_input_shape = tuple(kwargs["batch_input_shape"])
        elif "input_shape" in kwargs:
            shape = kwargs["input_shape"]
            shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
            self.batch_input_shape = (kwargs.get("batch_size"), *shape)
        if dtype is not None or hasattr(self, "batch_input_shape"):
            self.dtype = dtype or K.floatx()
        self._initial_weights = kwargs.get("weights")

    @property
    def losses(self) -> list[Any]:
        """Scalars that are added to the loss of a model with this layer."""
        return self._losses

    @property
    def updates(self) -> list[Any]:
        """Updates that training runs, none when the layer is frozen (and keeps no state)."""
        return self._updates if self.trainable or self.stateful else []

    @property
    def built(self) -> bool:
        """Whether the weights exist."""
        return self._built

    @built.setter
    def built(self, value: bool) -> None:
        self._built = value

    @property
    def constraints(self) -> dict[Any, Any]:
        """Variable -> constraint applied after each step."""
        return self._constraints

    @constraints.setter
    def constraints(self, constraints: dict[Any, Any]) -> None:
        self._constraints = constraints

    @property
    def trainable_weights(self) -> list[Any]:
        """The variables that training changes; none when the layer is frozen."""
        return self._trainable_weights if self.trainable else []

    @trainable_weights.setter
    def trainable_weights(self, weights: list[Any]) -> None:
        self._trainable_weights = weights

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The variables that training leaves alone."""
        if self.trainable:
            return self._non_trainable_weights
        return self._trainable_weights + self._non_trainable_weights

    @non_trainable_weights.setter
    def non_trainable_weights(self, weights: list[Any]) -> None:
        self._non_trainable_weights = weights

    @property
    def weights(self) -> list[Any]:
        """All variables, trainable ones first."""
        return self.trainable_weights + self.non_trainable_weights

    @interfaces.legacy_add_weight_support
    def add_weight(
        self,
        name: str | None = None,
        shape: Sequence[int] | None = None,
        dtype: str | None = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool = True,
        constraint: Any = None,
    ) -> Any:
        """Make a variable that belongs to the layer.

        Args:
            name: its name within the layer.
            shape: its shape, all sizes known; () for a scalar.
            dtype: type of the elements, `floatx()` by default.
            initializer: name, object or function of the shape; 'glorot_uniform' by default.
            regularizer: name, object or function of the variable; its result joins the losses.
            trainable: whether training changes the variable.
            constraint: name, object or function applied after each training step.

        Returns:
            The variable.

        Raises:
            ValueError: when a size is unknown.
        """
        from .. import constraints, initializers, regularizers

        shape = tuple(() if shape is None else shape)
        if any(size is None for size in shape):
            raise ValueError(
                f"Layer {self.name}: the weight {name!r} needs a known shape, got {shape}. "
                "Give the input a known size on the axes that weights depend on."
            )
        dtype = dtype or K.floatx()
        initializer = initializers.get("glorot_uniform" if initializer is None else initializer)
        value = _initial_value(initializer, shape, dtype)
        weight = K.variable(
            value, dtype=dtype, name=f"{self.weight_scope or self.name}/{name or 'weight'}:0"
        )
        if tuple(weight.shape) != shape:
            raise ValueError(
                f"Layer {self.name}: the initializer of {name!r} returned the shape "
                f"{tuple(weight.shape)}, expected {shape}"
            )
        penalty = regularizers.get(regularizer)
        if penalty is not None:
            self.add_loss(penalty(weight))
        if constraint is not None:
            self.constraints[weight] = constraints.get(constraint)
        (self._trainable_weights if trainable else self._non_trainable_weights).append(weight)
        return weight

    def assert_input_compatibility(self, inputs: Any) -> None:
        """Check that inputs are tensors and fit `input_spec`.

        Raises:
            ValueError: when they do not, with the layer's name and what was expected.
        """
        inputs = to_list(inputs)
        for x in inputs:
            if not isinstance(x, K.Tensor):
                raise ValueError(
                    f"Layer {self.name} was called with an input that isn't a symbolic tensor. "
                    f"Received type: {type(x)}. Full input: {shortened(inputs)}. All inputs to the "
                    "layer should be tensors: wrap arrays in K.constant or feed them through Input."
                )
        if not self.input_spec:
            return
        specs = to_list(self.input_spec, allow_tuple=True)
        if len(inputs) != len(specs):
            raise ValueError(
                f"Layer {self.name} expects {len(specs)} inputs, but it received {len(inputs)} "
                f"input tensors. Input received: {inputs}"
            )
        for index, (x, spec) in enumerate(zip(inputs, specs, strict=True)):
            problem = None if spec is None else spec.problem(x)
            if problem:
                raise ValueError(f"Input {index} is incompatible with layer {self.name}: {problem}")

    def build(self, input_shape: Any) -> None:
        """Make the weights; layers with weights override it.

        Args:
            input_shape: shape of the input with the batch axis, a list of shapes for several.
        """
        self.built = True

    def call(self, inputs: Any, **kwargs: Any) -> Any:
        """Compute the outputs; layers override it.

        Args:
            inputs: a tensor, a list of tensors for several.
            **kwargs: `mask` and `training` where a layer's own `call` has them, and others.
        """
        return inputs

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return the mask of the output.

        Raises:
            TypeError: when there is a mask and the layer does not support masking.
        """
        if self.supports_masking:
            return mask
        if any(m is not None for m in to_list(mask)):
            raise TypeError(
                f"Layer {self.name} does not support masking, but was passed an input_mask: {mask}"
            )
        return None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output for that of the input; layers override it."""
        return input_shape

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Apply the layer: build it on the first call, compute, record the call.

        Args:
            inputs: a tensor, a list of tensors for several.
            **kwargs: passed on to `call`; `mask` is taken from the inputs where it is not given.

        Returns:
            A tensor, or a list of tensors.
        """
        with scope(self.name):
            self.assert_input_compatibility(inputs)
            if not self.built:
                self.build(unpack_singleton(_shapes_of(inputs)))
                self.built = True
                if self._initial_weights is not None:
                    self.set_weights(self._initial_weights)
                    self._initial_weights = None
                # Building may have narrowed what the layer expects.
                self.assert_input_compatibility(inputs)
            self._trainable_when_called = self.trainable
            arguments = dict(kwargs)
            previous_mask = _masks_of(inputs)
            given = any(m is not None for m in to_list(previous_mask))
            if given and "mask" not in kwargs and has_arg(self.call, "mask"):
                kwargs["mask"] = previous_mask
            output = self.call(inputs, **kwargs)
            if output is None:
                raise ValueError(f"Layer {self.name}: call() returned None, expected a tensor")
            output_mask = self.compute_mask(inputs, arguments.get("mask", previous_mask))
            # A tensor has one history, so an input that is handed through gets a new identity.
            passed = to_list(inputs)
            outputs = [
                K.identity(x) if any(x is i for i in passed) else x
                for x in to_list(output, allow_tuple=True)
            ]
            shapes = self._output_shapes(inputs, outputs)
            self._add_inbound_node(
                inputs, outputs, previous_mask, output_mask, _shapes_of(inputs), shapes, arguments
            )
            self._add_activity_loss(outputs, inputs)
        if isinstance(output, (list, tuple)):
            return outputs
        return outputs[0]

    def _add_activity_loss(self, outputs: list[Any], inputs: Any) -> None:
        regularizer = getattr(self, "activity_regularizer", None)
        if regularizer is not None:
            penalties = [regularizer(x) for x in outputs]
            for penalty in penalties:
                if isinstance(penalty, K.Tensor):
                    sums = getattr(regularizer, "sums_over_batch", False)
                    penalty.sums_over_batch = sums  # type: ignore[attr-defined]
            self.add_loss(penalties, to_list(inputs))

    def _output_shapes(self, inputs: Any, outputs: list[Any]) -> list[tuple[int | None, ...]]:
        """Return the shapes of outputs: what the graph knows, completed by what the layer says."""
        shapes = [tuple(x.shape) for x in outputs]
        if type(self).compute_output_shape is Layer.compute_output_shape:
            return shapes
        input_shapes = _shapes_of(inputs)
        batch_known = any(s and s[0] is not None for s in input_shapes)
        if all(None not in (s if batch_known else s[1:]) for s in shapes):
            return shapes
        declared = self.compute_output_shape(unpack_singleton(input_shapes))
        declared = declared if isinstance(declared, list) else [declared]
        if len(declared) != len(shapes):
            return shapes
        return [
            tuple(s if s is not None else d for s, d in zip(shape, says, strict=True))
            if len(shape) == len(says)
            else shape
            for shape, says in zip(shapes, declared, strict=True)
        ]

    def _add_inbound_node(
        self,
        input_tensors: Any,
        output_tensors: Any,
        input_masks: Any,
        output_masks: Any,
        input_shapes: Any,
        output_shapes: Any,
        arguments: dict[str, Any] | None = None,
    ) -> None:
        """Record a call in a new `Node` and write the history into the outputs."""
        inputs, outputs = to_list(input_tensors), to_list(output_tensors)
        unknown = (None, None, None)
        histories: list[Any] = [getattr(x, "_keras_history", unknown) for x in inputs]
        Node(
            self,
            inbound_layers=[h[0] for h in histories],
            node_indices=[h[1] for h in histories],
            tensor_indices=[h[2] for h in histories],
            input_tensors=inputs,
            output_tensors=outputs,
            input_masks=_spread_masks(input_masks, len(inputs)),
            output_masks=_spread_masks(output_masks, len(outputs)),
            input_shapes=list(input_shapes),
            output_shapes=list(output_shapes),
            arguments=arguments,
        )
        for index, x in enumerate(outputs):
            x._keras_shape = tuple(output_shapes[index])
            x._keras_history = (self, len(self.inbound_nodes) - 1, index)

    def _node_attribute(self, node_index: int, attribute: str, what: str) -> Any:
        if not self.inbound_nodes:
            raise RuntimeError(f"The layer has never been called and thus has no defined {what}.")
        if not -len(self.inbound_nodes) <= node_index < len(self.inbound_nodes):
            raise ValueError(
                f"Asked to get {what} at node {node_index}, but the layer has only "
                f"{len(self.inbound_nodes)} inbound nodes."
            )
        return unpack_singleton(getattr(self.inbound_nodes[node_index], attribute))

    def get_input_shape_at(self, node_index: int) -> Any:
        """Return the shape of the input of a call, a list of shapes for several inputs."""
        return self._node_attribute(node_index, "input_shapes", "input shape")

    def get_output_shape_at(self, node_index: int) -> Any:
        """Return the shape of the output of a call, a list of shapes for several outputs."""
        return self._node_attribute(node_index, "output_shapes", "output shape")

    def get_input_at(self, node_index: int) -> Any:
        """Return the input tensor of a call, a list for several."""
        return self._node_attribute(node_index, "input_tensors", "input")

    def get_output_at(self, node_index: int) -> Any:
        """Return the output tensor of a call, a list for several."""
        return self._node_attribute(node_index, "output_tensors", "output")

    def get_input_mask_at(self, node_index: int) -> Any:
        """Return the mask of the input of a call, a list for several."""
        return self._node_attribute(node_index, "input_masks", "input mask")

    def get_output_mask_at(self, node_index: int) -> Any:
        """Return the mask of the output of a call, a list for several."""
        return self._node_attribute(node_index, "output_masks", "output mask")

    def _only_call(self, attribute: str, what: str, getter: str) -> Any:
        if len(self.inbound_nodes) > 1:
            raise AttributeError(
                f"Layer {self.name} has multiple inbound nodes, hence the notion of "
                f'"layer {what}" is ill-defined. Use `{getter}(node_index)` instead.'
            )
        if not self.inbound_nodes:
            raise AttributeError(f"Layer {self.name} is not connected, no {what} to return.")
        return self._node_attribute(0, attribute, what)

    @property
    def input(self) -> Any:
        """The input tensor (a list for several) of the only call.

        Raises:
            AttributeError: when the layer was called never, or several times.
        """
        return self._only_call("input_tensors", "input", "get_input_at")

    @property
    def output(self) -> Any:
        """The output tensor (a list for several) of the only call; see `input`."""
        return self._only_call("output_tensors", "output", "get_output_at")

    @property
    def input_mask(self) -> Any:
        """The mask of the input (a list for several) of the only call; see `input`."""
        return self._only_call("input_masks", "input mask", "get_input_mask_at")

    @property
    def output_mask(self) -> Any:
        """The mask of the output (a list for several) of the only call; see `input`."""
        return self._only_call("output_masks", "output mask", "get_output_mask_at")

    def _common_shape(self, attribute: str, what: str, getter: str) -> Any:
        if not self.inbound_nodes:
            raise AttributeError(f"The layer has never been called and thus has no defined {what}.")
        shapes = [getattr(node, attribute) for node in self.inbound_nodes]
        if any(s != shapes[0] for s in shapes):
            raise AttributeError(
                f'The layer "{self.name}" has multiple inbound nodes, with different {what}s. '
                f'Hence the notion of "{what}" is ill-defined for the layer. '
                f"Use `{getter}(node_index)` instead."
            )
        return unpack_singleton(shapes[0])

    @property
    def input_shape(self) -> Any:
        """The shape of the input, the same in all calls, a list of shapes for several inputs.

        Raises:
            AttributeError: when the layer was never called, or with inputs of different shapes.
        """
        return self._common_shape("input_shapes", "input shape", "get_input_shape_at")

    @property
    def output_shape(self) -> Any:
        """The shape of the output, the same in all calls; see `input_shape`."""
        return self._common_shape("output_shapes", "output shape", "get_output_shape_at")

    def add_loss(self, losses: Any, inputs: Any = None) -> None:
        """Add scalars to the loss of every model with this layer.

        Args:
            losses: a scalar tensor, or a list of them.
            inputs: the input tensors that the losses depend on; None for losses that depend on
                the weights alone.
        """
        _append(self._losses, self._per_input_losses, losses, inputs)

    def add_update(self, updates: Any, inputs: Any = None) -> None:
        """Add updates that training runs.

        Args:
            updates: a pair (variable, new value), or a list of pairs.
            inputs: the input tensors that the updates depend on, None for none.
        """
        if isinstance(updates, tuple) and len(updates) == 2 and isinstance(updates[0], K.Variable):
            updates = [updates]
        _append(self._updates, self._per_input_updates, updates, inputs)

    def get_updates_for(self, inputs: Any) -> list[Any]:
        """Return the updates that depend on these inputs (None: on no input)."""
        if not self.trainable and not self.stateful:
            return []
        return list(self._per_input_updates.get(_inputs_key(inputs), ()))

    def get_losses_for(self, inputs: Any) -> list[Any]:
        """Return the losses that depend on these inputs (None: on no input)."""
        return list(self._per_input_losses.get(_inputs_key(inputs), ()))

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Give the variables new values.

        Args:
            weights: arrays of the shapes that `get_weights` returns, in the same order.

        Raises:
            ValueError: when their number or a shape is another; nothing is changed then.
        """
        set_weights_checked(f'layer "{self.name}"', self.weights, weights)

    def get_weights(self) -> list[np.ndarray]:
        """Return the values of the variables as new arrays."""
        return K.batch_get_value(self.weights)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain data; layers add their own."""
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable}
        if hasattr(self, "batch_input_shape"):
            config["batch_input_shape"] = self.batch_input_shape
        if hasattr(self, "dtype"):
            config["dtype"] = self.dtype
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Make a layer from what `get_config` returned."""
        return cls(**config)

    def count_params(self) -> int:
        """Return the number of elements of all weights.

        Raises:
            RuntimeError: when the layer has not been built.
        """
        if not self.built:
            raise RuntimeError(
                f"You tried to call `count_params` on {self.name}, but the layer isn't built. "
                f"You can build it manually via: `{self.name}.build(batch_input_shape)`."
            )
        return sum(K.count_params(w) for w in self.weights)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Inside the block, graph nodes belong to the layer `name` (shown in errors and profiles)."""
    former = K.set_scope(name)
    try:
        yield
    finally:
        K.set_scope(former)


def set_weights_checked(owner: str, variables: Sequence[Any], weights: Sequence[Any]) -> None:
    """Give variables new values after checking all of them, so that an error changes nothing.

    Args:
        owner: whose variables they are, for messages.
        variables: the variables.
        weights: an array for each.

    Raises:
        ValueError: when their number or a shape does not fit.
    """
    if len(variables) != len(weights):
        raise ValueError(
            f"You called `set_weights(weights)` on {owner} with a  weight list of length "
            f"{len(weights)}, but it was expecting {len(variables)} weights. "
            f"Provided weights: {str(weights)[:50]}..."
        )
    pairs = []
    for variable, value in zip(variables, weights, strict=True):
        array = np.asarray(value)
        if tuple(variable.shape) != array.shape:
            raise ValueError(
                f"Weight shape {tuple(variable.shape)} of {variable.name!r} in {owner} is not "
                f"compatible with provided weight shape {array.shape}"
            )
        pairs.append((variable, array))
    K.batch_set_value(pairs)


def _check_keywords(cls: type, kwargs: dict[str, Any]) -> None:
    for key in kwargs:
        if key not in _KEYWORDS:
            known = set(_KEYWORDS)
            for base in cls.__mro__:
                code = getattr(getattr(base, "__init__", None), "__wrapped__", None)
                code = getattr(code or getattr(base, "__init__", None), "__code__", None)
                if code is not None:
                    known.update(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])
            meant = nearest_name(key, known)
            hint = f". Did you mean {meant!r}?" if meant else ""
            raise TypeError(f"{cls.__name__}: Keyword argument not understood: {key!r}{hint}")


def _default_name(class_name: str) -> str:
    prefix = to_snake_case(class_name)
    return f"{prefix}_{K.get_uid(prefix)}"


def to_snake_case(name: str) -> str:
    """Return a class name as the prefix of layer names: 'Conv2D' gives 'conv2d'."""
    split = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", split).lower()
    # A private class must not give names that start with an underscore.
    return "private" + snake if snake.startswith("_") else snake


def _initial_value(initializer: Callable[..., Any], shape: tuple[int, ...], dtype: str) -> Any:
    if has_arg(initializer, "dtype", accept_all=True):
        return initializer(shape, dtype=dtype)
    return initializer(shape)


def _shapes_of(inputs: Any) -> list[tuple[int | None, ...]]:
    return [tuple(K.int_shape(x) or ()) for x in to_list(inputs)]


def _masks_of(inputs: Any) -> Any:
    """Return the masks that came with tensors: one, or a list for a list."""
    masks: list[Any] = []
    for x in to_list(inputs):
        history = getattr(x, "_keras_history", None)
        if history is None:
            masks.append(None)
        else:
            layer, node_index, tensor_index = history
            masks.append(layer.inbound_nodes[node_index].output_masks[tensor_index])
    return masks if isinstance(inputs, list) and len(masks) > 1 else masks[0]


def _spread_masks(masks: Any, count: int) -> list[Any]:
    masks = to_list(masks, allow_tuple=True)
    return masks * count if len(masks) == 1 and count > 1 and masks[0] is None else masks


def shortened(x: Any) -> str:
    """Return what something looks like, on one line of limited length."""
    text = " ".join(repr(x).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def _inputs_key(inputs: Any) -> tuple[Any, ...] | None:
    # The tensors themselves, not their ids: an id may be taken again by a later tensor.
    return None if inputs is None or inputs == [] else tuple(to_list(inputs, allow_tuple=True))


def _append(all_items: list[Any], by_input: dict[Any, list[Any]], items: Any, inputs: Any) -> None:
    if items is None:
        return
    items = to_list(items)
    if items:
        all_items += items
        by_input.setdefault(_inputs_key(inputs), []).extend(items)
