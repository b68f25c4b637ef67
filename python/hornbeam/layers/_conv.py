"""Convolutions over one, two and three axes."""

from __future__ import annotations

from typing import Any

from .. import activations, constraints, initializers, regularizers
from .. import backend as K
from ..engine import InputSpec, Layer
from ..legacy import interfaces
from ..utils import conv_utils
from ._weights import (
    add_role_weight,
    known_dimension,
    positive_integer,
    refuse_keywords,
    roles_config,
)

Shape = tuple[int | None, ...]


class _Conv(Layer):
    """What convolutions of any rank share: activation(conv(input, kernel) + bias).

    Weights: kernel (window..., channels, filters), bias (filters,).

    Args:
        rank: number of spatial axes.
        filters: positive integer, the number of output channels.
        kernel_size: integer, or one for each spatial axis.
        strides: integer, or one for each spatial axis.
        padding: 'valid', 'same', or for one axis 'causal'.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        dilation_rate: integer, or one for each spatial axis; not together with strides.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel.
        bias_initializer: initializer of the bias.
        kernel_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        kernel_constraint: constraint on the kernel.
        bias_constraint: constraint on the bias.
        groups: into how many groups the channels are divided, each with its share of the filters;
            the kernel's channels are then those of one group.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        kind = type(self).__name__
        self.rank = rank
        self.filters = None if filters is None else positive_integer(filters, kind, "filters")
        self.kernel_size = conv_utils.normalize_tuple(kernel_size, rank, "kernel_size")
        self.strides = conv_utils.normalize_tuple(strides, rank, "strides")
        self.padding = conv_utils.normalize_padding(padding)
        self.data_format = conv_utils.normalize_data_format(data_format)
        self.dilation_rate = conv_utils.normalize_tuple(dilation_rate, rank, "dilation_rate")
        self.groups = positive_integer(groups, kind, "groups")
        if self.filters is not None and self.filters % self.groups:
            raise ValueError(
                f"{kind}: {self.filters} filters cannot be divided into {self.groups} groups"
            )
        _check_window(kind, self)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.input_spec = InputSpec(ndim=rank + 2)

    @property
    def _channel_axis(self) -> int:
        return 1 if self.data_format == "channels_first" else self.rank + 1

    def _expect_channels(self, channels: int) -> None:
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={self._channel_axis: channels})
        self.built = True

    def _kernel_shape(self, channels: int) -> tuple[int, ...]:
        if channels % self.groups:
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: {channels} input channels cannot be divided "
                f"into {self.groups} groups"
            )
        return (*self.kernel_size, channels // self.groups, self.filters)

    def build(self, input_shape: Shape) -> None:
        channels = known_dimension(input_shape, self._channel_axis, self)
        self.kernel = add_role_weight(self, "kernel", self._kernel_shape(channels))
        self.bias = add_role_weight(self, "bias", (self.filters,)) if self.use_bias else None
        self._expect_channels(channels)

    def _convolve(self, inputs: Any) -> Any:
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        outputs = self._convolve(inputs)
        if self.use_bias:
            outputs = K.bias_add(outputs, self.bias, data_format=self.data_format)
        return self.activation(outputs)

    def _shape_with(self, input_shape: Shape, sizes: list[int | None], channels: int) -> Shape:
        """Put the output's sizes and channels where the data format has them."""
        if self.data_format == "channels_first":
            return (input_shape[0], channels, *sizes)
        return (input_shape[0], *sizes, channels)

    def _spatial(self, input_shape: Shape) -> Shape:
        first = 2 if self.data_format == "channels_first" else 1
        return tuple(input_shape[first : first + self.rank])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes = [
            conv_utils.conv_output_length(
                length, self.kernel_size[i], self.padding, self.strides[i], self.dilation_rate[i]
            )
            for i, length in enumerate(self._spatial(input_shape))
        ]
        return self._shape_with(input_shape, sizes, self.filters)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in (
            "filters",
            "kernel_size",
            "strides",
            "padding",
            "data_format",
            "dilation_rate",
        ):
            config[key] = getattr(self, key)
        config["activation"] = activations.serialize(self.activation)
        config["use_bias"] = self.use_bias
        config.update(roles_config(self, "kernel", "bias"))
        if self.groups != 1:
            config["groups"] = self.groups
        return config


def _check_window(kind: str, layer: _Conv) -> None:
    for name in ("kernel_size", "strides", "dilation_rate"):
        value = getattr(layer, name)
        if min(value) < 1:
            raise ValueError(f"{kind}: `{name}` must be positive, got {value}")
    if max(layer.strides) > 1 and max(layer.dilation_rate) > 1:
        raise ValueError(
            f"{kind}: strides {layer.strides} and dilation_rate {layer.dilation_rate} cannot both "
            "be greater than 1; leave one of them at 1"
        )
    if layer.padding == "causal" and layer.rank != 1:
        raise ValueError(f"{kind}: padding 'causal' is for Conv1D; use 'valid' or 'same'")


class Conv1D(_Conv):
    """Convolution over time.

    Input: (samples, steps, channels); output: (samples, new_steps, filters). As a model's first
    layer it takes `input_shape=(steps, channels)`, or (None, channels) for any number of steps.

    Weights: kernel (window, channels, filters), bias (filters,).

    Args:
        filters: positive integer, the number of output channels.
        kernel_size: length of the window, an integer or a sequence of one.
        strides: step between windows, an integer or a sequence of one.
        padding: 'valid' (no padding), 'same' (zeros on both sides, as many steps out as in with
            stride 1) or 'causal' (zeros before the first step: output t sees no input after t).
        dilation_rate: distance between the window's taps, not together with strides.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel.
        bias_initializer: initializer of the bias.
        kernel_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        kernel_constraint: constraint on the kernel.
        bias_constraint: constraint on the bias.
        groups: into how many groups the channels are divided, each with its share of the filters;
            the kernel's channels are then those of one group.
        data_format: 'channels_last' (the default here, whatever is configured) or
            'channels_first'.
        **kwargs: the keywords of `Layer`.
    """

    @interfaces.legacy_conv1d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        data_format: str = "channels_last",
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        refuse_keywords(self, kwargs, "rank")
        super().__init__(
            rank=1,
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            groups=groups,
            **kwargs,
        )

    def _convolve(self, inputs: Any) -> Any:
        return K.conv1d(
            inputs,
            self.kernel,
            strides=self.strides[0],
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate[0],
            groups=self.groups,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.data_format == "channels_last":
            del config["data_format"]
        return config


class Conv2D(_Conv):
    """Convolution of images.

    Input: (samples, rows, columns, channels), output: (samples, new_rows, new_columns, filters);
    channels and filters come before rows with 'channels_first'.

    Weights: kernel (rows, columns, channels, filters) in either format, bias (filters,).

    Args:
        filters: positive integer, the number of output channels.
        kernel_size: size of the window, an integer or two.
        strides: steps between windows, an integer or two.
        padding: 'valid' (no padding) or 'same' (zeros around, as large an output as input with
            stride 1).
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        dilation_rate: distance between the window's taps, an integer or two; not together with
            strides.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel.
        bias_initializer: initializer of the bias.
        kernel_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        kernel_constraint: constraint on the kernel.
        bias_constraint: constraint on the bias.
        groups: into how many groups the channels are divided, each with its share of the filters;
            the kernel's channels are then those of one group.
        **kwargs: the keywords of `Layer`.
    """

    @interfaces.legacy_conv2d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        refuse_keywords(self, kwargs, "rank")
        super().__init__(
            rank=2,
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            groups=groups,
            **kwargs,
        )

    def _convolve(self, inputs: Any) -> Any:
        return K.conv2d(
            inputs,
            self.kernel,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
            groups=self.groups,
        )


class Conv3D(_Conv):
    """Convolution of volumes.

    Input: (samples, depth, rows, columns, channels), output the same with new sizes and filters in
    the channels' place; both come before depth with 'channels_first'.

    Weights: kernel (depth, rows, columns, channels, filters), bias (filters,).

    Args:
        filters: positive integer, the number of output channels.
        kernel_size: size of the window, an integer or three.
        strides: steps between windows, an integer or three.
        padding: 'valid' or 'same'.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        dilation_rate: distance between the window's taps, an integer or three; not together with
            strides.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel.
        bias_initializer: initializer of the bias.
        kernel_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        kernel_constraint: constraint on the kernel.
        bias_constraint: constraint on the bias.
        groups: into how many groups the channels are divided, each with its share of the filters;
            the kernel's channels are then those of one group.
        **kwargs: the keywords of `Layer`.
    """

    @interfaces.legacy_conv3d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1, 1),
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        refuse_keywords(self, kwargs, "rank")
        super().__init__(
            rank=3,
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            groups=groups,
            **kwargs,
        )

    def _convolve(self, inputs: Any) -> Any:
        return K.conv3d(
            inputs,
            self.kernel,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
            groups=self.groups,
        )
