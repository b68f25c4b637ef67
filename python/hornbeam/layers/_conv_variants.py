"""Convolutions of other kinds: transposed, depthwise and separable."""

from __future__ import annotations

from typing import Any

from .. import backend as K
from .. import constraints, initializers, regularizers
from ..legacy import interfaces
from ..utils import conv_utils
from ._conv import Conv1D, Conv2D, _Conv
from ._weights import (
    add_role_weight,
    known_dimension,
    positive_integer,
    refuse_keywords,
    roles_config,
)

Shape = tuple[int | None, ...]


def _refuse(layer: Any, *arguments: str) -> None:
    """Raise for arguments of the base class that the layer has no use for.

    Raises:
        ValueError: when one of them is not 1.
    """
    for name in arguments:
        value = getattr(layer, name)
        if (max(value) if isinstance(value, tuple) else value) != 1:
            raise ValueError(f"{type(layer).__name__}: `{name}` must be 1, got {value}")


def _refuse_kernel(layer: Any, *roles: str) -> None:
    """Raise for arguments of a kernel where a layer has kernels of other names.

    Configs of other releases carry the defaults along, which are let pass.

    Raises:
        ValueError: when one of them would have no effect; says which arguments have.
    """
    given = layer.kernel_initializer
    scaling = [getattr(given, name, None) for name in ("scale", "mode", "distribution")]
    unused = {
        # The default, by whatever name.
        "initializer": scaling != [1.0, "fan_avg", "uniform"],
        "regularizer": layer.kernel_regularizer is not None,
        "constraint": layer.kernel_constraint is not None,
    }
    for kind, is_given in unused.items():
        if is_given:
            instead = " and ".join(f"`{role}_{kind}`" for role in roles)
            raise ValueError(
                f"{type(layer).__name__}: `kernel_{kind}` would have no effect; use {instead}"
            )


def _output_padding(layer: Any, value: Any) -> tuple[int, ...] | None:
    """Check what is added to the shortest lengths that transposed convolutions give.

    Raises:
        ValueError: where it is not less than the stride, or no output has that length.
    """
    if value is None:
        return None
    sizes = conv_utils.normalize_tuple(value, layer.rank, "output_padding")
    kind = type(layer).__name__
    for size, stride, window in zip(sizes, layer.strides, layer.kernel_size, strict=True):
        if not 0 <= size < stride:
            raise ValueError(
                f"{kind}: `output_padding` must be at least 0 and less than the strides, got "
                f"{sizes} with strides {layer.strides}"
            )
        if layer.padding == "same" and window % 2 == 0 and size == 0:
            raise ValueError(
                f"{kind}: with 'same' padding and a window of even length {window} no output is "
                "shorter than that of `output_padding` 1; give at least 1, or None"
            )
    return sizes


def _row_axis(layer: Any) -> int:
    """Return where the axis of rows goes to make an image of a sequence."""
    return 2 if layer.data_format == "channels_first" else 1


class Conv2DTranspose(Conv2D):
    """Transposed convolution: maps from the shape of a Conv2D's output to that of its input.

    Input: (samples, rows, columns, channels), output: (samples, new_rows, new_columns, filters),
    where 'same' padding gives rows * stride and 'valid' adds max(window - stride, 0).

    Weights: kernel (rows, columns, filters, channels), bias (filters,).

    Args:
        filters: positive integer, the number of output channels.
        kernel_size: size of the window, an integer or two.
        strides: steps between windows in the output, an integer or two.
        padding: 'valid' or 'same'.
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
        output_padding: how much longer each axis of the output is than the shortest that the window
            gives, an integer or two, less than the strides; None for the usual length.
        **kwargs: the keywords of `Layer`.
    """

    @interfaces.legacy_deconv2d_support
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
        output_padding: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        _refuse(self, "groups", "dilation_rate")
        self.output_padding = _output_padding(self, output_padding)

    def _kernel_shape(self, channels: int) -> tuple[int, ...]:
        return (*self.kernel_size, self.filters, channels)

    def _lengths(self, sizes: Any) -> list[Any]:
        return [
            conv_utils.deconv_length(
                size,
                self.strides[i],
                self.kernel_size[i],
                self.padding,
                None if self.output_padding is None else self.output_padding[i],
            )
            for i, size in enumerate(sizes)
        ]

    def _convolve(self, inputs: Any) -> Any:
        known, sizes = K.int_shape(inputs), K.shape(inputs)
        shape: Any = tuple(sizes[i] if size is None else size for i, size in enumerate(known))
        return K.conv2d_transpose(
            inputs,
            self.kernel,
            self._shape_with(shape, self._lengths(self._spatial(shape)), self.filters),
            self.strides,
            padding=self.padding,
            data_format=self.data_format,
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self._shape_with(
            input_shape, self._lengths(self._spatial(input_shape)), self.filters
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["dilation_rate"]
        if self.output_padding is not None:
            config["output_padding"] = self.output_padding
        return config


class DepthwiseConv2D(Conv2D):
    """Convolution of each channel of images with filters of its own.

    Input: (samples, rows, columns, channels), output: (samples, new_rows, new_columns,
    channels * depth_multiplier), the results of one channel side by side.

    Weights: depthwise_kernel (rows, columns, channels, depth_multiplier), bias
    (channels * depth_multiplier,).

    Args:
        kernel_size: size of the window, an integer or two.
        strides: steps between windows, an integer or two.
        padding: 'valid' or 'same'.
        depth_multiplier: how many filters each channel has.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        depthwise_initializer: initializer of the kernel.
        bias_initializer: initializer of the bias.
        depthwise_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        depthwise_constraint: constraint on the kernel.
        bias_constraint: constraint on the bias.
        **kwargs: `dilation_rate` and the keywords of `Layer`.
    """

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        refuse_keywords(self, kwargs, "filters")
        super().__init__(
            filters=None,  # type: ignore[arg-type]  # its filters are those of its input
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        _refuse(self, "groups")
        _refuse_kernel(self, "depthwise")
        self.depth_multiplier = positive_integer(
            depth_multiplier, type(self).__name__, "depth_multiplier"
        )
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)

    def build(self, input_shape: Shape) -> None:
        channels = known_dimension(input_shape, self._channel_axis, self)
        self.depthwise_kernel = self.add_weight(
            shape=(*self.kernel_size, channels, self.depth_multiplier),
            name="depthwise_kernel",
            initializer=self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
        )
        out = channels * self.depth_multiplier
        self.bias = add_role_weight(self, "bias", (out,)) if self.use_bias else None
        self._expect_channels(channels)

    def _convolve(self, inputs: Any) -> Any:
        return K.depthwise_conv2d(
            inputs,
            self.depthwise_kernel,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        channels = known_dimension(input_shape, self._channel_axis, self)
        sizes = list(self._spatial(super().compute_output_shape(input_shape)))
        return self._shape_with(input_shape, sizes, channels * self.depth_multiplier)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in ("filters", "kernel_initializer", "kernel_regularizer", "kernel_constraint"):
            del config[key]
        config["depth_multiplier"] = self.depth_multiplier
        config.update(roles_config(self, "depthwise"))
        return config


class Conv1DTranspose(Conv1D):
    """Transposed convolution over time, from the length of a Conv1D's output to its input's.

    Input: (samples, steps, channels), output: (samples, new_steps, filters), where 'same' padding
    gives steps * stride and 'valid' adds max(window - stride, 0).

    Weights: kernel (window, filters, channels), bias (filters,).

    Args:
        filters: positive integer, the number of output channels.
        kernel_size: length of the window, an integer or a sequence of one.
        strides: step between windows in the output, an integer or a sequence of one.
        padding: 'valid' or 'same'.
        output_padding: how much longer the output is than the shortest that the window gives, an
            integer less than the stride; None for the usual length.
        **kwargs: the other arguments of `Conv1D`, without `dilation_rate` and `groups`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, strides=strides, padding=padding, **kwargs)
        _refuse(self, "groups", "dilation_rate")
        self.output_padding = _output_padding(self, output_padding)
        if self.padding == "causal":
            raise ValueError("Conv1DTranspose: `padding` must be 'valid' or 'same', got 'causal'")

    def _kernel_shape(self, channels: int) -> tuple[int, ...]:
        return (*self.kernel_size, self.filters, channels)

    def _length(self, steps: Any) -> Any:
        more = None if self.output_padding is None else self.output_padding[0]
        return conv_utils.deconv_length(
            steps, self.strides[0], self.kernel_size[0], self.padding, more
        )

    def _convolve(self, inputs: Any) -> Any:
        known, sizes = K.int_shape(inputs), K.shape(inputs)
        shape: Any = tuple(sizes[i] if size is None else size for i, size in enumerate(known))
        # As images of one row.
        axis = _row_axis(self)
        length = self._length(self._spatial(shape)[0])
        out = (shape[0], 1, length, self.filters)
        if self.data_format == "channels_first":
            out = (shape[0], self.filters, 1, length)
        outputs = K.conv2d_transpose(
            K.expand_dims(inputs, axis),
            K.expand_dims(self.kernel, 0),
            out,
            (1, *self.strides),
            padding=self.padding,
            data_format=self.data_format,
        )
        return K.squeeze(outputs, axis)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        length = self._length(self._spatial(input_shape)[0])
        return self._shape_with(input_shape, [length], self.filters)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["dilation_rate"]
        if self.output_padding is not None:
            config["output_padding"] = self.output_padding
        return config


class _Separable(_Conv):
    """What separable convolutions of any rank share: two kernels in the place of one."""

    def _take(
        self,
        depth_multiplier: int,
        depthwise: tuple[Any, Any, Any],
        pointwise: tuple[Any, Any, Any],
    ) -> None:
        """Keep the arguments: for each kernel its initializer, regularizer and constraint."""
        _refuse(self, "groups")
        _refuse_kernel(self, "depthwise", "pointwise")
        self.depth_multiplier = positive_integer(
            depth_multiplier, type(self).__name__, "depth_multiplier"
        )
        self.depthwise_initializer = initializers.get(depthwise[0])
        self.depthwise_regularizer = regularizers.get(depthwise[1])
        self.depthwise_constraint = constraints.get(depthwise[2])
        self.pointwise_initializer = initializers.get(pointwise[0])
        self.pointwise_regularizer = regularizers.get(pointwise[1])
        self.pointwise_constraint = constraints.get(pointwise[2])

    def build(self, input_shape: Shape) -> None:
        channels = known_dimension(input_shape, self._channel_axis, self)
        self.depthwise_kernel = self.add_weight(
            shape=(*self.kernel_size, channels, self.depth_multiplier),
            name="depthwise_kernel",
            initializer=self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
        )
        self.pointwise_kernel = self.add_weight(
            shape=(*(1,) * self.rank, channels * self.depth_multiplier, self.filters),
            name="pointwise_kernel",
            initializer=self.pointwise_initializer,
            regularizer=self.pointwise_regularizer,
            constraint=self.pointwise_constraint,
        )
        self.bias = add_role_weight(self, "bias", (self.filters,)) if self.use_bias else None
        self._expect_channels(channels)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in ("kernel_initializer", "kernel_regularizer", "kernel_constraint"):
            del config[key]
        config["depth_multiplier"] = self.depth_multiplier
        config.update(roles_config(self, "depthwise", "pointwise"))
        return config


class SeparableConv1D(_Separable, Conv1D):
    """Depthwise convolution over time followed by one that mixes the channels.

    Input: (samples, steps, channels), output: (samples, new_steps, filters).

    Weights: depthwise_kernel (window, channels, depth_multiplier), pointwise_kernel
    (1, channels * depth_multiplier, filters), bias (filters,).

    Args:
        filters: positive integer, the number of output channels.
        kernel_size: length of the window, an integer or a sequence of one.
        strides: step between windows, an integer or a sequence of one.
        padding: 'valid', 'same' or 'causal'.
        data_format: 'channels_last' (the default here, whatever is configured) or
            'channels_first'.
        depth_multiplier: how many filters each channel has in the depthwise part.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        depthwise_initializer: initializer of the depthwise kernel.
        pointwise_initializer: initializer of the pointwise kernel.
        bias_initializer: initializer of the bias.
        depthwise_regularizer: penalty on the depthwise kernel.
        pointwise_regularizer: penalty on the pointwise kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        depthwise_constraint: constraint on the depthwise kernel.
        pointwise_constraint: constraint on the pointwise kernel.
        bias_constraint: constraint on the bias.
        **kwargs: `dilation_rate` and the keywords of `Layer`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str = "channels_last",
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self._take(
            depth_multiplier,
            (depthwise_initializer, depthwise_regularizer, depthwise_constraint),
            (pointwise_initializer, pointwise_regularizer, pointwise_constraint),
        )

    def _convolve(self, inputs: Any) -> Any:
        padding = self.padding
        if padding == "causal":
            before = self.dilation_rate[0] * (self.kernel_size[0] - 1)
            if self.data_format == "channels_last":
                inputs = K.temporal_padding(inputs, (before, 0))
            else:
                inputs = K.permute_dimensions(inputs, (0, 2, 1))
                inputs = K.permute_dimensions(K.temporal_padding(inputs, (before, 0)), (0, 2, 1))
            padding = "valid"
        # As images of one row.
        axis = _row_axis(self)
        outputs = K.separable_conv2d(
            K.expand_dims(inputs, axis),
            K.expand_dims(self.depthwise_kernel, 0),
            K.expand_dims(self.pointwise_kernel, 0),
            strides=(1, *self.strides),
            padding=padding,
            data_format=self.data_format,
            dilation_rate=(1, *self.dilation_rate),
        )
        return K.squeeze(outputs, axis)


class SeparableConv2D(_Separable, Conv2D):
    """Depthwise convolution of images followed by one that mixes the channels.

    Input: (samples, rows, columns, channels), output: (samples, new_rows, new_columns, filters).

    Weights: depthwise_kernel (rows, columns, channels, depth_multiplier), pointwise_kernel
    (1, 1, channels * depth_multiplier, filters), bias (filters,).

    Args:
        filters: positive integer, the number of output channels.
        kernel_size: size of the window, an integer or two.
        strides: steps between windows, an integer or two.
        padding: 'valid' or 'same'.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        depth_multiplier: how many filters each channel has in the depthwise part.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        depthwise_initializer: initializer of the depthwise kernel.
        pointwise_initializer: initializer of the pointwise kernel.
        bias_initializer: initializer of the bias.
        depthwise_regularizer: penalty on the depthwise kernel.
        pointwise_regularizer: penalty on the pointwise kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        depthwise_constraint: constraint on the depthwise kernel.
        pointwise_constraint: constraint on the pointwise kernel.
        bias_constraint: constraint on the bias.
        **kwargs: `dilation_rate` and the keywords of `Layer`.
    """

    @interfaces.legacy_separable_conv2d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self._take(
            depth_multiplier,
            (depthwise_initializer, depthwise_regularizer, depthwise_constraint),
            (pointwise_initializer, pointwise_regularizer, pointwise_constraint),
        )

    def _convolve(self, inputs: Any) -> Any:
        return K.separable_conv2d(
            inputs,
            self.depthwise_kernel,
            self.pointwise_kernel,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
