"""Activations that are layers of their own, because they have weights or arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import activations, constraints, initializers, regularizers
from .. import backend as K
from ..engine import InputSpec, Layer
from ..legacy import interfaces
from ._weights import add_role_weight, roles_config

__all__ = ["ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU"]

Shape = tuple[int | None, ...]


class _Elementwise(Layer):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class LeakyReLU(_Elementwise):
    """x where x >= 0, alpha * x elsewhere.

    Args:
        alpha: slope for negative values, >= 0; later Keras versions call it `negative_slope`.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(self, alpha: float = 0.3, **kwargs: Any) -> None:
        alpha = kwargs.pop("negative_slope", alpha)
        super().__init__(**kwargs)
        self.alpha = float(alpha)

    def call(self, inputs: Any) -> Any:
        return K.relu(inputs, alpha=self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


class PReLU(_Elementwise):
    """x where x >= 0, alpha * x elsewhere, with alpha learnt (He et al., 2015).

    Weights: alpha, of the input's shape without the samples and with size 1 on shared axes.

    Args:
        alpha_initializer: initializer of alpha.
        alpha_regularizer: penalty on alpha.
        alpha_constraint: constraint on alpha.
        shared_axes: the axes along which one alpha serves; [1, 2] for images gives one to each
            channel.
        **kwargs: the keywords of `Layer`.
    """

    @interfaces.legacy_prelu_support
    def __init__(
        self,
        alpha_initializer: Any = "zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        if shared_axes is None:
            self.shared_axes = None
        else:
            self.shared_axes = [shared_axes] if isinstance(shared_axes, int) else list(shared_axes)

    def build(self, input_shape: Shape) -> None:
        shape: list[Any] = list(input_shape[1:])
        shared = set(self.shared_axes or ())
        for axis in shared:
            shape[axis - 1] = 1
        if None in shape:
            raise ValueError(
                f"PReLU {self.name!r}: the input's shape {tuple(input_shape)} must be known except "
                "for the samples and the shared_axes"
            )
        self.alpha = add_role_weight(self, "alpha", shape)
        axes: dict[int, Any] = {
            i: size for i, size in enumerate(input_shape) if i and i not in shared
        }
        self.input_spec = InputSpec(ndim=len(input_shape), axes=axes)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return K.relu(inputs, alpha=self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **roles_config(self, "alpha", activity=False),
            "shared_axes": self.shared_axes,
        }


class ELU(_Elementwise):
    """x where x >= 0, alpha * (exp(x) - 1) elsewhere (Clevert et al., 2015).

    Args:
        alpha: scale for negative values.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = float(alpha)

    def call(self, inputs: Any) -> Any:
        return K.elu(inputs, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


class ThresholdedReLU(_Elementwise):
    """x where x > theta, 0 elsewhere (Konda et al., 2015).

    Args:
        theta: the threshold, >= 0.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(self, theta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.theta = float(theta)

    def call(self, inputs: Any) -> Any:
        return inputs * K.cast(K.greater(inputs, self.theta), K.dtype(inputs))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "theta": self.theta}


class Softmax(_Elementwise):
    """The softmax along one axis.

    Args:
        axis: the axis, the last by default.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        return activations.softmax(inputs, axis=self.axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class ReLU(_Elementwise):
    """max_value where x >= max_value, x where x >= threshold, else slope * (x - threshold).

    Args:
        max_value: upper limit of the result; None for no limit.
        negative_slope: slope below the threshold.
        threshold: where the linear part begins.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else float(max_value)
        self.negative_slope = float(negative_slope)
        self.threshold = float(threshold)

    def call(self, inputs: Any) -> Any:
        if not self.threshold:
            return K.relu(inputs, alpha=self.negative_slope, max_value=self.max_value)
        above = K.greater_equal(inputs, self.threshold)
        below = self.negative_slope * (inputs - self.threshold)
        outputs = K.switch(above, inputs, below)
        return outputs if self.max_value is None else K.minimum(outputs, self.max_value)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }
