"""Normalisation of each sample by itself: over its features, or over groups of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import backend as K
from .. import constraints, initializers, regularizers
from ..engine import Layer
from ._weights import add_role_weight, known_dimension, positive_integer

Shape = tuple[int | None, ...]


class _SampleNormalization(Layer):
    """What both layers share: the scale gamma and the shift beta."""

    def __init__(
        self,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        beta_constraint: Any,
        gamma_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)

    def _add_weights(self, shape: Sequence[int]) -> None:
        self.gamma = add_role_weight(self, "gamma", shape) if self.scale else None
        self.beta = add_role_weight(self, "beta", shape) if self.center else None
        self.built = True

    def _normalized(self, x: Any, axes: Sequence[int]) -> Any:
        mean, variance = K.moments(x, axes)
        sizes = K.shape(x)
        along = [
            1 if i in axes else sizes[i] if size is None else size
            for i, size in enumerate(K.int_shape(x))
        ]
        mean, variance = K.reshape(mean, along), K.reshape(variance, along)
        return K.batch_normalization(x, mean, variance, None, None, epsilon=self.epsilon)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
        }
        for kind, module in (
            ("initializer", initializers),
            ("regularizer", regularizers),
            ("constraint", constraints),
        ):
            for role in ("beta", "gamma"):
                key = f"{role}_{kind}"
                config[key] = module.serialize(getattr(self, key))
        return config


class LayerNormalization(_SampleNormalization):
    """Give the features of each sample mean 0 and variance 1, then a learnt scale and shift.

    gamma * (x - mean) / sqrt(variance + epsilon) + beta (Ba et al., 2016), the statistics being
    those of one sample (and step), the same in training and outside. Input and output have one
    shape.

    Weights: gamma and beta, of the sizes of the axes.

    Args:
        axis: the axis of the features, or a list of several.
        epsilon: added to the variance.
        center: whether there is a shift beta.
        scale: whether there is a scale gamma.
        beta_initializer: initializer of beta.
        gamma_initializer: initializer of gamma.
        beta_regularizer: penalty on beta.
        gamma_regularizer: penalty on gamma.
        beta_constraint: constraint on beta.
        gamma_constraint: constraint on gamma.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            beta_regularizer,
            gamma_regularizer,
            beta_constraint,
            gamma_constraint,
            **kwargs,
        )
        self.axis = axis if isinstance(axis, int) else list(axis)

    def _axes(self, ndim: int) -> list[int]:
        axes = [self.axis] if isinstance(self.axis, int) else self.axis
        if not axes or not all(-ndim <= a < ndim and a % ndim for a in axes):
            raise ValueError(
                f"LayerNormalization {self.name!r}: `axis` {self.axis} must name axes of the "
                f"input's {ndim} other than that of the samples"
            )
        return sorted(a % ndim for a in axes)

    def build(self, input_shape: Shape) -> None:
        axes = self._axes(len(input_shape))
        self._add_weights([known_dimension(input_shape, a, self) for a in axes])

    def call(self, inputs: Any) -> Any:
        ndim = K.ndim(inputs)
        axes = self._axes(ndim)
        known = K.int_shape(inputs)
        along = [known[i] if i in axes else 1 for i in range(ndim)]
        outputs = self._normalized(inputs, axes)
        if self.scale:
            outputs = outputs * K.reshape(self.gamma, along)
        return outputs + K.reshape(self.beta, along) if self.center else outputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class GroupNormalization(_SampleNormalization):
    """Give groups of the channels of each sample mean 0 and variance 1, then scale and shift.

    From Wu and He, 2018: the statistics are those of a group's channels over all places of the
    sample. Input and output have one shape.

    Weights: gamma and beta, one for each channel.

    Args:
        groups: number of groups, which divides that of the channels; -1 for one group a channel.
        axis: the axis of the channels.
        epsilon: added to the variance.
        center: whether there is a shift beta.
        scale: whether there is a scale gamma.
        beta_initializer: initializer of beta.
        gamma_initializer: initializer of gamma.
        beta_regularizer: penalty on beta.
        gamma_regularizer: penalty on gamma.
        beta_constraint: constraint on beta.
        gamma_constraint: constraint on gamma.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            beta_regularizer,
            gamma_regularizer,
            beta_constraint,
            gamma_constraint,
            **kwargs,
        )
        self.groups = (
            -1 if groups == -1 else positive_integer(groups, "GroupNormalization", "groups")
        )
        self.axis = axis

    def build(self, input_shape: Shape) -> None:
        channels = known_dimension(input_shape, self.axis, self)
        if self.groups != -1 and channels % self.groups:
            raise ValueError(
                f"GroupNormalization {self.name!r}: {channels} channels cannot be divided into "
                f"{self.groups} groups"
            )
        self._add_weights([channels])

    def call(self, inputs: Any) -> Any:
        known, sizes = K.int_shape(inputs), K.shape(inputs)
        ndim = len(known)
        axis = self.axis % ndim
        channels = known[axis]
        groups = channels if self.groups == -1 else self.groups
        shape = [sizes[i] if size is None else size for i, size in enumerate(known)]
        split = [*shape[:axis], groups, channels // groups, *shape[axis + 1 :]]
        grouped = K.reshape(inputs, split)
        axes = [i for i in range(1, ndim + 1) if i != axis]
        outputs = K.reshape(self._normalized(grouped, axes), shape)
        along = [channels if i == axis else 1 for i in range(ndim)]
        if self.scale:
            outputs = outputs * K.reshape(self.gamma, along)
        return outputs + K.reshape(self.beta, along) if self.center else outputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups, "axis": self.axis}
