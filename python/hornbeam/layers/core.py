"""Core layers: dense, activation, dropout, reshaping, masking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import activations, constraints, initializers, regularizers
from .. import backend as K
from ..engine import InputSpec, Layer
from ..legacy import interfaces
from ..utils.conv_utils import normalize_data_format
from ._lambda import Lambda
from ._weights import add_role_weight, known_dimension, positive_integer, roles_config

__all__ = [
    "Activation",
    "ActivityRegularization",
    "Dense",
    "Dropout",
    "Flatten",
    "Lambda",
    "Masking",
    "Permute",
    "RepeatVector",
    "Reshape",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
]

Shape = tuple[int | None, ...]


class Masking(Layer):
    """Tell later layers to skip the time steps whose features all equal one value.

    Input and output: (samples, steps, features). Skipped steps come out as zeros.

    Args:
        mask_value: the value, 0 by default.

    Example: a sample shorter than the others is padded with zeros and `Masking(0.)` comes before
    the LSTM.
    """

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.mask_value = mask_value

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return K.any(K.not_equal(inputs, self.mask_value), axis=-1)

    def call(self, inputs: Any) -> Any:
        kept = K.any(K.not_equal(inputs, self.mask_value), axis=-1, keepdims=True)
        return inputs * K.cast(kept, K.dtype(inputs))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}


class Dropout(Layer):
    """Set a random fraction of the inputs to zero while training, and scale up the others.

    From Srivastava et al., 2014. Outside of training the input passes unchanged.

    Args:
        rate: the fraction, from 0 (included) to 1.
        noise_shape: shape of the mask that is drawn, which broadcasts to the input; None, whole or
            in a place, stands for the input's own size. For inputs of shape (batch, steps,
            features), (None, 1, None) gives all steps the same mask.
        seed: integer seed of the mask; drawn from NumPy's global state by default.
    """

    @interfaces.legacy_dropout_support
    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # Values outside [0, 1] were limited to it in Keras 2, and files may hold them.
        self.rate = min(1.0, max(0.0, rate))
        self.noise_shape = noise_shape
        self.seed = seed
        self.supports_masking = True

    def _get_noise_shape(self, inputs: Any) -> Any:
        if self.noise_shape is None:
            return None
        sizes = K.shape(inputs)
        return tuple(
            sizes[axis] if size is None else size for axis, size in enumerate(self.noise_shape)
        )

    def call(self, inputs: Any, training: Any = None) -> Any:
        if not 0.0 < self.rate < 1.0:
            return inputs
        noise_shape = self._get_noise_shape(inputs)

        def dropped() -> Any:
            return K.dropout(inputs, self.rate, noise_shape, seed=self.seed)

        return K.in_train_phase(dropped, inputs, training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "rate": self.rate}
        if self.noise_shape is not None:
            config["noise_shape"] = list(self.noise_shape)
        if self.seed is not None:
            config["seed"] = self.seed
        return config


class SpatialDropout1D(Dropout):
    """Dropout of whole feature maps: a feature is dropped at every step or at none.

    Input and output: (samples, steps, features).

    Args:
        rate: the fraction of features to drop.
    """

    @interfaces.legacy_spatialdropout1d_support
    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        self.input_spec = InputSpec(ndim=3)

    def _get_noise_shape(self, inputs: Any) -> Any:
        sizes = K.shape(inputs)
        return (sizes[0], 1, sizes[2])


class _SpatialDropoutND(Dropout):
    _rank: int

    def __init__(self, rate: float, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        self.data_format = normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self._rank + 2)

    def _get_noise_shape(self, inputs: Any) -> Any:
        sizes = K.shape(inputs)
        ones = (1,) * self._rank
        if self.data_format == "channels_first":
            return (sizes[0], sizes[1], *ones)
        return (sizes[0], *ones, sizes[self._rank + 1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class SpatialDropout2D(_SpatialDropoutND):
    """Dropout of whole feature maps of images (Tompson et al., 2014).

    Input and output: (samples, rows, columns, channels), or channels before rows.

    Args:
        rate: the fraction of channels to drop.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
    """

    _rank = 2

    @interfaces.legacy_spatialdropoutNd_support
    def __init__(self, rate: float, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(rate, data_format, **kwargs)


class SpatialDropout3D(_SpatialDropoutND):
    """Dropout of whole feature maps of volumes.

    Input and output: (samples, depth, rows, columns, channels), or channels before depth.

    Args:
        rate: the fraction of channels to drop.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
    """

    _rank = 3

    @interfaces.legacy_spatialdropoutNd_support
    def __init__(self, rate: float, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(rate, data_format, **kwargs)


class Activation(Layer):
    """Apply an activation function.

    Args:
        activation: name of a function in `hornbeam.activations`, or a function of a tensor.
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.activation = activations.get(activation)

    def call(self, inputs: Any) -> Any:
        return self.activation(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class Reshape(Layer):
    """Give the values of each sample another shape.

    Args:
        target_shape: tuple of integers, without the samples; one of them may be -1 and follows from
            the others.

    Example:
        >>> Reshape((-1, 2, 2)).compute_output_shape((None, 6, 2))
        (None, 3, 2, 2)
    """

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(target_shape, (int, np.integer)):
            target_shape = (target_shape,)
        self.target_shape = tuple(int(size) for size in target_shape)
        if (
            sum(size < 0 for size in self.target_shape) > 1
            or min(self.target_shape, default=1) < -1
        ):
            raise ValueError(
                f"Reshape: `target_shape` may hold one -1 and else sizes, got {self.target_shape}"
            )

    def _resolved(self, input_shape: Shape) -> Shape:
        """Return the target shape with -1 worked out, or None for it when it cannot be."""
        target = self.target_shape
        if None in input_shape:
            return tuple(None if size == -1 else size for size in target)
        total = math.prod(input_shape)  # type: ignore[arg-type]
        known = math.prod(size for size in target if size != -1)
        fits = known == total if -1 not in target else known > 0 and total % known == 0
        if not fits:
            raise ValueError(
                f"Reshape {self.name!r}: the {total} values of a sample of shape {input_shape} "
                f"cannot take the shape {target}: the total size must stay the same"
            )
        return tuple(total // known if size == -1 else size for size in target)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self._resolved(tuple(input_shape[1:])))

    def call(self, inputs: Any) -> Any:
        resolved = self._resolved(tuple(K.int_shape(inputs)[1:]))
        sizes = [-1 if size is None else size for size in resolved]
        return K.reshape(inputs, (K.shape(inputs)[0], *sizes))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": self.target_shape}


class Permute(Layer):
    """Permute the axes of each sample.

    Args:
        dims: the input's axis for each of the output's, counted from 1; the samples' axis is not
            among them. (2, 1) swaps the two axes of an input of shape (samples, a, b).
    """

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(int(d) for d in dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                f"Permute {self.name!r}: `dims` must hold each of 1..{len(self.dims)} once, got "
                f"{self.dims}"
            )
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *(input_shape[d] for d in self.dims))

    def call(self, inputs: Any) -> Any:
        return K.permute_dimensions(inputs, (0, *self.dims))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": self.dims}


class Flatten(Layer):
    """Lay the values of each sample out in one row: (samples, a, b, c) to (samples, a * b * c).

    Args:
        data_format: 'channels_first' puts the channels last before, so that the row is the same in
            either format; 'channels_last' (the default) leaves the order as it is.
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.input_spec = InputSpec(min_ndim=2)
        # Not the configured format: without the argument the order is that of memory (Keras 2).
        self.data_format = normalize_data_format(data_format or "channels_last")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes = input_shape[1:]
        flat = None if None in sizes else math.prod(sizes)  # type: ignore[arg-type]
        return (input_shape[0], flat)

    def call(self, inputs: Any) -> Any:
        ndim = K.ndim(inputs)
        if self.data_format == "channels_first" and ndim > 2:
            inputs = K.permute_dimensions(inputs, (0, *range(2, ndim), 1))
        return K.batch_flatten(inputs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.data_format == "channels_first":
            config["data_format"] = self.data_format
        return config


class RepeatVector(Layer):
    """Repeat each sample's vector: (samples, features) to (samples, n, features).

    Args:
        n: positive integer.
    """

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = positive_integer(n, "RepeatVector", "n")
        self.input_spec = InputSpec(ndim=2)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.n, input_shape[1])

    def call(self, inputs: Any) -> Any:
        return K.repeat(inputs, self.n)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


class Dense(Layer):
    """Fully connected layer: activation(dot(input, kernel) + bias).

    Input: (samples, ..., input_dim); output: (samples, ..., units). With more than two axes the
    same kernel is applied along the last one.

    Weights: kernel (input_dim, units), bias (units,).

    Args:
        units: positive integer, size of the output's last axis.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel.
        bias_initializer: initializer of the bias.
        kernel_regularizer: penalty on the kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        kernel_constraint: constraint on the kernel.
        bias_constraint: constraint on the bias.
        **kwargs: `input_dim`, an alternative to input_shape, and the keywords of `Layer`.

    Raises:
        ValueError: when `units` is not a positive integer, or the last axis has unknown size.
    """

    @interfaces.legacy_dense_support
    def __init__(
        self,
        units: int,
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
        if "input_shape" not in kwargs and "input_dim" in kwargs:
            kwargs["input_shape"] = (kwargs.pop("input_dim"),)
        super().__init__(**kwargs)
        self.units = positive_integer(units, "Dense", "units")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.input_spec = InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        input_dim = known_dimension(input_shape, -1, self)
        self.kernel = add_role_weight(self, "kernel", (input_dim, self.units))
        self.bias = add_role_weight(self, "bias", (self.units,)) if self.use_bias else None
        self.input_spec = InputSpec(min_ndim=2, axes={-1: input_dim})
        self.built = True

    def call(self, inputs: Any) -> Any:
        output = K.dot(inputs, self.kernel)
        if self.use_bias:
            output = K.bias_add(output, self.bias, data_format="channels_last")
        return self.activation(output)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            **roles_config(self, "kernel", "bias"),
        }


class ActivityRegularization(Layer):
    """Pass the input on and add a penalty on it to the loss.

    Args:
        l1: factor of the sum of absolute values.
        l2: factor of the sum of squares.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.l1 = l1
        self.l2 = l2
        self.activity_regularizer = regularizers.L1L2(l1=l1, l2=l2) if l1 or l2 else None

    def call(self, inputs: Any) -> Any:
        return inputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l1": self.l1, "l2": self.l2}
