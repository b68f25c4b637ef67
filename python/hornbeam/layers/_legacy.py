"""Layers of Keras 1 that have no place among today's: Merge, MaxoutDense, Highway, atrous names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import activations, constraints, initializers, regularizers
from .. import backend as K
from ..engine import InputSpec, Layer
from ..utils.generic_utils import has_arg
from ..utils.user_warnings import warn
from ._conv import Conv1D, Conv2D
from ._lambda import dump_function, load_function
from ._weights import known_dimension, positive_integer
from .merge import Add, Average, Concatenate, Dot, Maximum, Multiply

__all__ = [
    "AtrousConv1D",
    "AtrousConv2D",
    "AtrousConvolution1D",
    "AtrousConvolution2D",
    "Highway",
    "MaxoutDense",
    "Merge",
    "merge",
]

MODES = ("sum", "mul", "concat", "ave", "cos", "dot", "max")


class Merge(Layer):
    """Merge a list of tensors into one; `Add`, `Concatenate` and the like are today's form.

    A Sequential model may begin with it; the weights of the merged layers are then the model's.

    Args:
        layers: layers, or models, whose outputs are merged at once; without it the layer is called
            on a list of tensors.
        mode: 'sum', 'mul', 'concat', 'ave', 'cos', 'dot', 'max', or a function of the list.
        concat_axis: the axis of 'concat'.
        dot_axes: the axis, or one for each tensor, of 'dot' and 'cos'.
        output_shape: for a function: the output's shape, or a function of the inputs' shapes.
        output_mask: for a function: the output's mask, or a function of the inputs' masks.
        arguments: further keyword arguments for a function.
        node_indices: for each of `layers`, which of its calls is meant.
        tensor_indices: for each of `layers`, which output of that call is meant.
        name: the layer's name.
    """

    def __init__(
        self,
        layers: Sequence[Layer] | None = None,
        mode: str | Callable[..., Any] = "sum",
        concat_axis: int = -1,
        dot_axes: int | Sequence[int] = -1,
        output_shape: Any = None,
        output_mask: Any = None,
        arguments: Mapping[str, Any] | None = None,
        node_indices: Sequence[int] | None = None,
        tensor_indices: Sequence[int] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.layers = list(layers or ())
        if not callable(mode) and mode not in MODES:
            raise ValueError(f"Invalid merge mode: {mode!r}. Expected a function or one of {MODES}")
        _show_todays_call(mode, concat_axis, dot_axes)
        super().__init__(name=name, **kwargs)
        self.mode = mode
        self.concat_axis = concat_axis
        self.dot_axes = dot_axes
        self.arguments = dict(arguments or {})
        self.supports_masking = True
        self._output_shape = output_shape
        self._output_mask = output_mask
        self._inner: Any = None if callable(mode) else self._layer_for(mode)
        if layers:
            nodes, tensors = node_indices or [0] * len(layers), tensor_indices or [0] * len(layers)
            self(
                [
                    layer.get_output_at(node) if not hasattr(layer, "outputs") else layer.outputs[i]
                    for layer, node, i in zip(layers, nodes, tensors, strict=True)
                ]
            )

    @property  # type: ignore[misc]  # a plain layer's can be set
    def trainable_weights(self) -> list[Any]:
        """The variables of the merged layers that training changes."""
        return [w for layer in self.layers for w in layer.trainable_weights]

    @property  # type: ignore[misc]  # a plain layer's can be set
    def non_trainable_weights(self) -> list[Any]:
        """The variables of the merged layers that training leaves alone."""
        return [w for layer in self.layers for w in layer.non_trainable_weights]

    @property  # type: ignore[misc]  # a plain layer's can be set
    def constraints(self) -> dict[Any, Any]:
        """Variable of the merged layers -> constraint applied after each step."""
        return {v: c for layer in self.layers for v, c in layer.constraints.items()}

    def _layer_for(self, mode: str) -> Layer:
        if mode == "concat":
            return Concatenate(axis=self.concat_axis)
        if mode in ("dot", "cos"):
            return Dot(axes=self.dot_axes)
        return {"sum": Add, "mul": Multiply, "ave": Average, "max": Maximum}[mode]()

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list) or len(input_shape) < 2:
            raise ValueError(
                f"A Merge layer should be called on a list of at least 2 tensors, got the shapes "
                f"{input_shape}"
            )
        if self._inner is not None:
            self._inner.build(input_shape)
        self.built = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        if callable(self.mode):
            arguments = dict(self.arguments)
            if has_arg(self.mode, "mask"):
                arguments["mask"] = mask
            return self.mode(inputs, **arguments)
        if self.mode != "cos":
            return self._inner.call(inputs)
        a, b = inputs
        axes = self._inner._axes_for([K.ndim(a), K.ndim(b)])
        first, second = K.batch_dot(a, a, [axes[0]] * 2), K.batch_dot(b, b, [axes[1]] * 2)
        norms = K.maximum(K.sqrt(first * second), K.epsilon())
        return K.expand_dims(K.batch_dot(a, b, axes) / norms, 1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._inner is None:
            if callable(self._output_shape):
                return tuple(self._output_shape(input_shape))
            if self._output_shape is not None:
                return (input_shape[0][0], *self._output_shape)
            return K.int_shape(self.call([K.placeholder(shape=shape) for shape in input_shape]))
        shape = self._inner.compute_output_shape(input_shape)
        return (shape[0], 1, *shape[1:]) if self.mode == "cos" else shape

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if self._inner is not None:
            return self._inner.compute_mask(inputs, mask)
        if callable(self._output_mask):
            return self._output_mask(mask)
        return self._output_mask

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "mode": self.mode,
            "mode_type": "raw",
            "concat_axis": self.concat_axis,
            "dot_axes": self.dot_axes,
            "output_shape": self._output_shape,
            "output_shape_type": "raw",
            "output_mask": self._output_mask,
            "output_mask_type": "raw",
            "arguments": self.arguments,
        }
        for key in ("mode", "output_shape", "output_mask"):
            if callable(config[key]):
                config[key], config[f"{key}_type"] = dump_function(config[key])
        return config

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Merge:
        """Build the layer from what `get_config` returned, with 'layers' for merged ones."""
        from . import deserialize

        config = dict(config)
        if "layers" in config:
            config["layers"] = [
                deserialize(layer, custom_objects=custom_objects) for layer in config["layers"]
            ]
        for key in ("mode", "output_shape", "output_mask"):
            kind = config.pop(f"{key}_type", "raw")
            if kind != "raw":
                what = f"The Merge layer {config.get('name')!r}"
                config[key] = load_function(config[key], kind, custom_objects, what)
        return cls(**config)


def _show_todays_call(mode: Any, concat_axis: Any, dot_axes: Any) -> None:
    if callable(mode):
        call = f"Lambda({getattr(mode, '__name__', 'function')})(inputs)"
    else:
        call = {
            "sum": "add(inputs)",
            "mul": "multiply(inputs)",
            "ave": "average(inputs)",
            "max": "maximum(inputs)",
            "concat": f"concatenate(inputs, axis={concat_axis})",
            "dot": f"dot(inputs, axes={dot_axes})",
            "cos": f"dot(inputs, axes={dot_axes}, normalize=True)",
        }[mode]
    warn(f"`merge` is a form of Keras 1. Update your call to the Keras 2 API: `{call}`")


def merge(
    inputs: list[Any],
    mode: str | Callable[..., Any] = "sum",
    concat_axis: int = -1,
    dot_axes: int | Sequence[int] = -1,
    output_shape: Any = None,
    output_mask: Any = None,
    arguments: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Any:
    """Return a list of tensors merged into one (see `Merge`)."""
    layer = Merge(
        mode=mode,
        concat_axis=concat_axis,
        dot_axes=dot_axes,
        output_shape=output_shape,
        output_mask=output_mask,
        arguments=arguments,
        name=name,
    )
    return layer(inputs)


class MaxoutDense(Layer):
    """The maximum of several dense layers without activation (Goodfellow et al., 2013).

    Input: (samples, input_dim); output: (samples, output_dim).

    Weights: W (nb_feature, input_dim, output_dim), b (nb_feature, output_dim).

    Args:
        output_dim: size of the output.
        nb_feature: number of dense layers.
        init: initializer of W.
        weights: arrays to begin with.
        W_regularizer: penalty on W.
        b_regularizer: penalty on b.
        activity_regularizer: penalty on the output.
        W_constraint: constraint on W.
        b_constraint: constraint on b.
        bias: whether there is b.
        input_dim: size of the input, an alternative to input_shape.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(
        self,
        output_dim: int,
        nb_feature: int = 4,
        init: Any = "glorot_uniform",
        weights: Any = None,
        W_regularizer: Any = None,
        b_regularizer: Any = None,
        activity_regularizer: Any = None,
        W_constraint: Any = None,
        b_constraint: Any = None,
        bias: bool = True,
        input_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        if input_dim:
            kwargs["input_shape"] = (input_dim,)
        super().__init__(weights=weights, **kwargs)
        self.output_dim = positive_integer(output_dim, "MaxoutDense", "output_dim")
        self.nb_feature = positive_integer(nb_feature, "MaxoutDense", "nb_feature")
        self.init = initializers.get(init)
        self.W_regularizer = regularizers.get(W_regularizer)
        self.b_regularizer = regularizers.get(b_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.W_constraint = constraints.get(W_constraint)
        self.b_constraint = constraints.get(b_constraint)
        self.bias = bias
        self.input_dim = input_dim
        self.input_spec = InputSpec(ndim=2)

    def build(self, input_shape: Any) -> None:
        size = known_dimension(input_shape, -1, self)
        self.input_spec = InputSpec(ndim=2, axes={-1: size})
        self.W = self.add_weight(
            shape=(self.nb_feature, size, self.output_dim),
            name="W",
            initializer=self.init,
            regularizer=self.W_regularizer,
            constraint=self.W_constraint,
        )
        self.b = None
        if self.bias:
            self.b = self.add_weight(
                shape=(self.nb_feature, self.output_dim),
                name="b",
                initializer="zero",
                regularizer=self.b_regularizer,
                constraint=self.b_constraint,
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        outputs = K.dot(inputs, self.W)
        return K.max(outputs if self.b is None else outputs + self.b, axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "output_dim": self.output_dim,
            "init": initializers.serialize(self.init),
            "nb_feature": self.nb_feature,
            "W_regularizer": regularizers.serialize(self.W_regularizer),
            "b_regularizer": regularizers.serialize(self.b_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "W_constraint": constraints.serialize(self.W_constraint),
            "b_constraint": constraints.serialize(self.b_constraint),
            "bias": self.bias,
            "input_dim": self.input_dim,
        }


class Highway(Layer):
    """t * activation(dot(x, W) + b) + (1 - t) * x with a learnt t (Srivastava et al., 2015).

    t = sigmoid(dot(x, W_carry) + b_carry). Input and output: (samples, features).

    Weights: W and W_carry (features, features), b and b_carry (features,).

    Args:
        init: initializer of W and W_carry.
        activation: name or function; None for none.
        weights: arrays to begin with.
        W_regularizer: penalty on W.
        b_regularizer: penalty on b.
        activity_regularizer: penalty on the output.
        W_constraint: constraint on W.
        b_constraint: constraint on b.
        bias: whether there are b and b_carry.
        input_dim: number of features, an alternative to input_shape.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(
        self,
        init: Any = "glorot_uniform",
        activation: Any = None,
        weights: Any = None,
        W_regularizer: Any = None,
        b_regularizer: Any = None,
        activity_regularizer: Any = None,
        W_constraint: Any = None,
        b_constraint: Any = None,
        bias: bool = True,
        input_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        if input_dim:
            kwargs["input_shape"] = (input_dim,)
        super().__init__(weights=weights, **kwargs)
        self.init = initializers.get(init)
        self.activation = activations.get(activation)
        self.W_regularizer = regularizers.get(W_regularizer)
        self.b_regularizer = regularizers.get(b_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.W_constraint = constraints.get(W_constraint)
        self.b_constraint = constraints.get(b_constraint)
        self.bias = bias
        self.input_dim = input_dim
        self.input_spec = InputSpec(ndim=2)

    def build(self, input_shape: Any) -> None:
        size = known_dimension(input_shape, -1, self)
        self.input_spec = InputSpec(ndim=2, axes={-1: size})
        self.W = self.add_weight(
            shape=(size, size),
            name="W",
            initializer=self.init,
            regularizer=self.W_regularizer,
            constraint=self.W_constraint,
        )
        self.W_carry = self.add_weight(shape=(size, size), name="W_carry", initializer=self.init)
        self.b = self.b_carry = None
        if self.bias:
            self.b = self.add_weight(
                shape=(size,),
                name="b",
                initializer="zero",
                regularizer=self.b_regularizer,
                constraint=self.b_constraint,
            )
            self.b_carry = self.add_weight(shape=(size,), name="b_carry", initializer="one")
        self.built = True

    def call(self, inputs: Any) -> Any:
        gate, outputs = K.dot(inputs, self.W_carry), K.dot(inputs, self.W)
        if self.bias:
            gate, outputs = gate + self.b_carry, outputs + self.b
        gate = K.sigmoid(gate)
        return gate * self.activation(outputs) + (1.0 - gate) * inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "init": initializers.serialize(self.init),
            "activation": activations.serialize(self.activation),
            "W_regularizer": regularizers.serialize(self.W_regularizer),
            "b_regularizer": regularizers.serialize(self.b_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "W_constraint": constraints.serialize(self.W_constraint),
            "b_constraint": constraints.serialize(self.b_constraint),
            "bias": self.bias,
            "input_dim": self.input_dim,
        }


def _dilated(cls: type, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    kwargs["dilation_rate"] = kwargs.pop("atrous_rate", 1)
    warn(f"`{name}` is a form of Keras 1. Use `{cls.__name__}` with `dilation_rate` instead.")
    return cls(*args, **kwargs)


def AtrousConvolution1D(*args: Any, **kwargs: Any) -> Any:
    """Return a Conv1D whose dilation rate is the argument `atrous_rate`."""
    return _dilated(Conv1D, "AtrousConvolution1D", args, kwargs)


def AtrousConvolution2D(*args: Any, **kwargs: Any) -> Any:
    """Return a Conv2D whose dilation rate is the argument `atrous_rate`."""
    return _dilated(Conv2D, "AtrousConvolution2D", args, kwargs)


AtrousConv1D = AtrousConvolution1D
AtrousConv2D = AtrousConvolution2D
