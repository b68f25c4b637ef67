"""Recurrent layers whose input and state are images."""

from __future__ import annotations

from typing import Any

from .. import activations, constraints, initializers, regularizers
from .. import backend as K
from ..engine import InputSpec
from ..legacy import interfaces
from ..utils import conv_utils
from ._recurrent import Recurrent
from ._weights import add_role_weight, known_dimension, positive_integer, roles_config
from .recurrent import forget_bias_of_one

__all__ = ["ConvLSTM2D", "ConvRecurrent2D"]

Shape = tuple[int | None, ...]


class ConvRecurrent2D(Recurrent):
    """Abstract base of recurrent layers over images; use `ConvLSTM2D`.

    Input: (samples, steps, rows, columns, channels), output: (samples, new_rows, new_columns,
    filters), or with `return_sequences` (samples, steps, new_rows, new_columns, filters); channels
    and filters come before rows with 'channels_first'.

    Args:
        filters: positive integer, the number of output channels.
        kernel_size: size of the window, an integer or two.
        strides: steps between windows of the input, an integer or two.
        padding: 'valid' or 'same', for the input.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        dilation_rate: distance between the window's taps on the input, an integer or two.
        return_sequences: whether to return the output of every step.
        go_backwards: whether to go from the last step to the first.
        stateful: whether states are kept from batch to batch.
        **kwargs: the other arguments of `Recurrent`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        return_sequences: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            return_sequences=return_sequences,
            go_backwards=go_backwards,
            stateful=stateful,
            **kwargs,
        )
        self.filters = positive_integer(filters, type(self).__name__, "filters")
        self.kernel_size = conv_utils.normalize_tuple(kernel_size, 2, "kernel_size")
        self.strides = conv_utils.normalize_tuple(strides, 2, "strides")
        self.padding = conv_utils.normalize_padding(padding)
        self.data_format = conv_utils.normalize_data_format(data_format)
        self.dilation_rate = conv_utils.normalize_tuple(dilation_rate, 2, "dilation_rate")
        self.input_spec = [InputSpec(ndim=5)]
        self.state_spec = [InputSpec(ndim=4)] * len(self.states)

    def _image_shape(self, shape: Shape) -> Shape:
        """Return the shape of a state for that of the input, or of one step of it."""
        rows, columns = shape[-2:] if self.data_format == "channels_first" else shape[-3:-1]
        sizes = [
            conv_utils.conv_output_length(
                length, self.kernel_size[i], self.padding, self.strides[i], self.dilation_rate[i]
            )
            for i, length in enumerate((rows, columns))
        ]
        if self.data_format == "channels_first":
            return (shape[0], self.filters, *sizes)
        return (shape[0], *sizes, self.filters)

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = tuple(input_shape[0] if isinstance(input_shape, list) else input_shape)
        image = self._image_shape(first)
        output = (image[0], first[1], *image[1:]) if self.return_sequences else image
        return [output, *(image for _ in self.states)] if self.return_state else output

    def _state_shape(self, batch: int) -> tuple[int, ...]:
        shape = self._image_shape(self.input_spec[0].shape)
        if None in shape[1:]:
            raise ValueError(
                f"Layer {self.name} is stateful and needs to know the sizes of its images, the "
                f"input's shape is {tuple(self.input_spec[0].shape)}"
            )
        return (batch, *shape[1:])  # type: ignore[arg-type]

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
        return config


class ConvLSTM2D(ConvRecurrent2D):
    """LSTM whose products are convolutions (Shi et al., 2015).

    Input: (samples, steps, rows, columns, channels); output: images of `filters` channels (see
    `ConvRecurrent2D`). The states h and c are images of the output's size.

    Weights: kernel (rows, columns, channels, 4 * filters), recurrent_kernel (rows, columns,
    filters, 4 * filters), bias (4 * filters,); gates in the order i, f, c, o.

    Args:
        filters: positive integer, the number of output channels.
        kernel_size: size of the window, an integer or two.
        strides: steps between windows of the input, an integer or two.
        padding: 'valid' or 'same', for the input; the state's convolution keeps its size.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        dilation_rate: distance between the window's taps on the input, an integer or two.
        activation: name or function for c and h; None for none.
        recurrent_activation: name or function for the gates.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel.
        recurrent_initializer: initializer of the recurrent kernel.
        bias_initializer: initializer of the bias.
        unit_forget_bias: whether the bias of f begins with 1.
        kernel_regularizer: penalty on the kernel.
        recurrent_regularizer: penalty on the recurrent kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        kernel_constraint: constraint on the kernel.
        recurrent_constraint: constraint on the recurrent kernel.
        bias_constraint: constraint on the bias.
        return_sequences: whether to return the output of every step.
        go_backwards: whether to go from the last step to the first.
        stateful: whether states are kept from batch to batch.
        dropout: fraction of the inputs to drop, the same ones at every step.
        recurrent_dropout: fraction of the state to drop, the same cells at every step.
        **kwargs: the other arguments of `Recurrent`.
    """

    @interfaces.legacy_convlstm2d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = "tanh",
        recurrent_activation: Any = "hard_sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        return_sequences: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            return_sequences=return_sequences,
            go_backwards=go_backwards,
            stateful=stateful,
            **kwargs,
        )
        self.states = [None, None]
        self.state_spec = [InputSpec(ndim=4), InputSpec(ndim=4)]
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.unit_forget_bias = unit_forget_bias
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = min(1.0, max(0.0, dropout))
        self.recurrent_dropout = min(1.0, max(0.0, recurrent_dropout))

    @property
    def _channel_axis(self) -> int:
        """The axis of the channels in one step's images."""
        return 1 if self.data_format == "channels_first" else 3

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape[0] if isinstance(input_shape, list) else input_shape)
        axis = self._channel_axis + 1
        channels = known_dimension(shape, axis, self)
        batch = shape[0] if self.stateful else None
        fixed = shape[2:] if self.stateful else [None] * 3
        spec: list[Any] = [batch, None, *fixed]
        spec[axis] = channels
        self.input_spec = [InputSpec(shape=tuple(spec)), *self.input_spec[1:]]
        self.kernel = add_role_weight(
            self, "kernel", (*self.kernel_size, channels, 4 * self.filters)
        )
        self.recurrent_kernel = self.add_weight(
            shape=(*self.kernel_size, self.filters, 4 * self.filters),
            name="recurrent_kernel",
            initializer=self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(4 * self.filters,),
                name="bias",
                initializer=forget_bias_of_one(self.bias_initializer, self.filters)
                if self.unit_forget_bias
                else self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        if self.stateful:
            self.reset_states()
        self.built = True

    def get_initial_state(self, inputs: Any) -> list[Any]:
        """Return zeros for each state, of the shape of an output image."""
        zeros = K.zeros_like(self._input_convolution(inputs[:, 0], self._gate(self.kernel, 0)))
        return [zeros for _ in self.states]

    def _gate(self, kernel: Any, i: int) -> Any:
        return kernel[..., i * self.filters : (i + 1) * self.filters]

    def _input_convolution(self, images: Any, kernel: Any) -> Any:
        return K.conv2d(
            images,
            kernel,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )

    def _state_convolution(self, images: Any, kernel: Any) -> Any:
        return K.conv2d(
            images, kernel, strides=(1, 1), padding="same", data_format=self.data_format
        )

    def _masks(self, ones: Any, rate: float, training: Any) -> list[Any]:
        if not 0.0 < rate < 1.0:
            return []
        return [
            K.in_train_phase(lambda: K.dropout(ones, rate), ones, training=training)
            for _ in range(4)
        ]

    def preprocess_input(self, inputs: Any, training: Any = None) -> Any:
        known, sizes = K.int_shape(inputs), K.shape(inputs)
        shape = [sizes[i] if size is None else size for i, size in enumerate(known)]
        masks = self._masks(K.ones_like(inputs[:, 0]), self.dropout, training)

        def convolved(x: Any, kernel: Any) -> Any:
            y = self._input_convolution(K.reshape(x, [-1, *shape[2:]]), kernel)
            out, out_sizes = K.int_shape(y), K.shape(y)
            rest = [out_sizes[i] if out[i] is None else out[i] for i in range(1, 4)]
            return K.reshape(y, [shape[0], shape[1], *rest])

        if not masks:
            projected = convolved(inputs, self.kernel)
        else:
            parts = [
                convolved(inputs * K.expand_dims(mask, 1), self._gate(self.kernel, i))
                for i, mask in enumerate(masks)
            ]
            projected = K.concatenate(parts, axis=self._channel_axis + 1)
        if self.use_bias:
            along = [1] * 5
            along[self._channel_axis + 1] = 4 * self.filters
            projected = projected + K.reshape(self.bias, along)
        return projected

    def get_constants(self, inputs: Any, training: Any = None) -> list[Any]:
        ones = K.ones_like(self.get_initial_state(inputs)[0])
        return self._masks(ones, self.recurrent_dropout, training)

    def step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        h, c, masks = states[0], states[1], states[2:]
        axis = self._channel_axis
        if masks:
            parts = [
                self._state_convolution(h * mask, self._gate(self.recurrent_kernel, i))
                for i, mask in enumerate(masks)
            ]
            z = inputs + K.concatenate(parts, axis=axis)
        else:
            z = inputs + self._state_convolution(h, self.recurrent_kernel)

        def part(i: int) -> Any:
            along = slice(i * self.filters, (i + 1) * self.filters)
            return z[:, along] if axis == 1 else z[..., along]

        i = self.recurrent_activation(part(0))
        f = self.recurrent_activation(part(1))
        c = f * c + i * self.activation(part(2))
        o = self.recurrent_activation(part(3))
        h = o * self.activation(c)
        return h, [h, c]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "activation": activations.serialize(self.activation),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "use_bias": self.use_bias,
            **roles_config(self, "kernel", "recurrent", "bias"),
            "unit_forget_bias": self.unit_forget_bias,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
        }
