"""Locally connected layers: convolutions whose weights differ from place to place."""

from __future__ import annotations

import math
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

__all__ = ["LocallyConnected1D", "LocallyConnected2D"]

Shape = tuple[int | None, ...]


class _LocallyConnected(Layer):
    """What both ranks share: activation(local_conv(input, kernel) + bias).

    Args:
        rank: number of spatial axes.
        filters: positive integer, the number of output channels.
        kernel_size: integer, or one for each spatial axis.
        strides: integer, or one for each spatial axis.
        padding: 'valid', the only mode there is.
        data_format: 'channels_last' or 'channels_first'.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel.
        bias_initializer: initializer of the bias.
        kernel_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        kernel_constraint: constraint on the kernel.
        bias_constraint: constraint on the bias.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        activation: Any,
        use_bias: bool,
        kernel_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        bias_regularizer: Any,
        activity_regularizer: Any,
        kernel_constraint: Any,
        bias_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        kind = type(self).__name__
        self.rank = rank
        self.filters = positive_integer(filters, kind, "filters")
        self.kernel_size = conv_utils.normalize_tuple(kernel_size, rank, "kernel_size")
        self.strides = conv_utils.normalize_tuple(strides, rank, "strides")
        self.padding = conv_utils.normalize_padding(padding)
        if self.padding != "valid":
            raise ValueError(
                f"{kind}: the only `padding` is 'valid', got {padding!r}; put a ZeroPadding layer "
                "before this one"
            )
        self.data_format = conv_utils.normalize_data_format(data_format)
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

    def _axes(self) -> tuple[int, int]:
        """Return the axis of the channels and the first spatial one."""
        return (1, 2) if self.data_format == "channels_first" else (self.rank + 1, 1)

    def _output_sizes(self, input_shape: Shape) -> list[int | None]:
        first = self._axes()[1]
        return [
            conv_utils.conv_output_length(
                input_shape[first + i], self.kernel_size[i], self.padding, self.strides[i]
            )
            for i in range(self.rank)
        ]

    def build(self, input_shape: Shape) -> None:
        channel_axis, first = self._axes()
        axes = [channel_axis, *range(first, first + self.rank)]
        fixed = {axis: known_dimension(input_shape, axis, self) for axis in axes}
        sizes = [int(size or 0) for size in self._output_sizes(input_shape)]
        if min(sizes) < 1:
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: the window {self.kernel_size} does not fit "
                f"into the input's shape {tuple(input_shape)}"
            )
        places = math.prod(sizes)
        cells = math.prod(self.kernel_size) * fixed[channel_axis]
        self.kernel = add_role_weight(self, "kernel", (places, cells, self.filters))
        self.bias = None
        if self.use_bias:
            self.bias = add_role_weight(self, "bias", (*sizes, self.filters))
        self.input_spec = InputSpec(ndim=self.rank + 2, axes=fixed)
        self.built = True

    def _convolve(self, inputs: Any) -> Any:
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        outputs = self._convolve(inputs)
        if self.use_bias:
            outputs = K.bias_add(outputs, self.bias, data_format=self.data_format)
        return self.activation(outputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes = self._output_sizes(input_shape)
        if self.data_format == "channels_first":
            return (input_shape[0], self.filters, *sizes)
        return (input_shape[0], *sizes, self.filters)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in ("filters", "kernel_size", "strides", "padding", "data_format"):
            config[key] = getattr(self, key)
        config["activation"] = activations.serialize(self.activation)
        config["use_bias"] = self.use_bias
        config.update(roles_config(self, "kernel", "bias"))
        return config


class LocallyConnected1D(_LocallyConnected):
    """Convolution over time with weights of its own for every output step.

    Input: (samples, steps, channels), steps known; output: (samples, new_steps, filters).

    Weights: kernel (new_steps, window * channels, filters), bias (new_steps, filters).

    Args:
        filters: positive integer, the number of output channels.
        kernel_size: length of the window, an integer or a sequence of one.
        strides: step between windows, an integer or a sequence of one.
        padding: 'valid', the only mode there is.
        data_format: 'channels_last' (the default here, whatever is configured) or
            'channels_first'.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel.
        bias_initializer: initializer of the bias.
        kernel_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        kernel_constraint: constraint on the kernel.
        bias_constraint: constraint on the bias.
        **kwargs: the keywords of `Layer`.
    """

    @interfaces.legacy_conv1d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        refuse_keywords(self, kwargs, "rank")
        super().__init__(
            1,
            filters,
            kernel_size,
            strides,
            padding,
            data_format or "channels_last",
            activation,
            use_bias,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            bias_constraint,
            **kwargs,
        )

    def _convolve(self, inputs: Any) -> Any:
        return K.local_conv1d(inputs, self.kernel, self.kernel_size, self.strides, self.data_format)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.data_format == "channels_last":
            del config["data_format"]
        return config


class LocallyConnected2D(_LocallyConnected):
    """Convolution of images with weights of its own for every place of the output.

    Input: (samples, rows, columns, channels), sizes known; output: (samples, new_rows, new_columns,
    filters); channels and filters come before rows with 'channels_first'.

    Weights: kernel (new_rows * new_columns, window cells * channels, filters), bias (new_rows,
    new_columns, filters).

    Args:
        filters: positive integer, the number of output channels.
        kernel_size: size of the window, an integer or two.
        strides: steps between windows, an integer or two.
        padding: 'valid', the only mode there is.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel.
        bias_initializer: initializer of the bias.
        kernel_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        kernel_constraint: constraint on the kernel.
        bias_constraint: constraint on the bias.
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
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        refuse_keywords(self, kwargs, "rank")
        super().__init__(
            2,
            filters,
            kernel_size,
            strides,
            padding,
            data_format,
            activation,
            use_bias,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            bias_constraint,
            **kwargs,
        )

    def _convolve(self, inputs: Any) -> Any:
        return K.local_conv2d(
            inputs,
            self.kernel,
            self.kernel_size,
            self.strides,
            [int(size or 0) for size in self._output_sizes(K.int_shape(inputs))],
            self.data_format,
        )
