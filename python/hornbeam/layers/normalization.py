"""Normalisation layers."""

from __future__ import annotations

from typing import Any

from .. import backend as K
from .. import constraints, initializers, regularizers
from ..engine import InputSpec, Layer
from ..legacy import interfaces
from ._layer_normalization import GroupNormalization, LayerNormalization
from ._weights import add_role_weight, known_dimension

__all__ = ["BatchNormalization", "GroupNormalization", "LayerNormalization"]

Shape = tuple[int | None, ...]


class BatchNormalization(Layer):
    """Give each feature mean 0 and variance 1, then a learnt scale and shift.

    gamma * (x - mean) / sqrt(variance + epsilon) + beta (Ioffe and Szegedy, 2015). While training,
    mean and variance are those of the batch, and running means of them are updated; otherwise, and
    when the layer is not trainable, the running means are used. Input and output have one shape,
    any. A mask is passed on and does not change the statistics.

    Weights: gamma, beta, moving_mean, moving_variance, each of the size of the axis.

    Args:
        axis: the axis of the features, which keep statistics of their own; 1 after a convolution
            with 'channels_first'.
        momentum: moving = momentum * moving + (1 - momentum) * batch.
        epsilon: added to the variance.
        center: whether there is a shift beta.
        scale: whether there is a scale gamma.
        beta_initializer: initializer of beta.
        gamma_initializer: initializer of gamma.
        moving_mean_initializer: initializer of the running mean.
        moving_variance_initializer: initializer of the running variance.
        beta_regularizer: penalty on beta.
        gamma_regularizer: penalty on gamma.
        beta_constraint: constraint on beta.
        gamma_constraint: constraint on gamma.
        synchronized: whether training on several workers uses the mean and variance of the whole
            batch for this layer, as `DataParallel(synchronized=True)` does for all of them, instead
            of each shard's.
        **kwargs: the keywords of `Layer`.
    """

    call_depends_on_trainable = True

    @interfaces.legacy_batchnorm_support
    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        # Later versions write the axis as a list of one.
        self.axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.synchronized = bool(synchronized)

    def build(self, input_shape: Shape) -> None:
        ndim = len(input_shape)
        if not -ndim <= self.axis < ndim:
            raise ValueError(
                f"BatchNormalization {self.name!r}: there is no axis {self.axis} in the input's "
                f"shape {tuple(input_shape)}"
            )
        size = known_dimension(input_shape, self.axis, self)
        self.input_spec = InputSpec(ndim=ndim, axes={self.axis: size})
        self.gamma = add_role_weight(self, "gamma", (size,)) if self.scale else None
        self.beta = add_role_weight(self, "beta", (size,)) if self.center else None
        self.moving_mean = self.add_weight(
            shape=(size,),
            name="moving_mean",
            initializer=self.moving_mean_initializer,
            trainable=False,
        )
        self.moving_variance = self.add_weight(
            shape=(size,),
            name="moving_variance",
            initializer=self.moving_variance_initializer,
            trainable=False,
        )
        self.built = True

    def _along_axis(self, vector: Any, ndim: int) -> Any:
        """Shape a vector of the features so that it broadcasts over an input with `ndim` axes."""
        if vector is None or self.axis % ndim == ndim - 1:
            return vector
        return K.reshape(vector, [-1 if i == self.axis % ndim else 1 for i in range(ndim)])

    def call(self, inputs: Any, training: Any = None) -> Any:
        ndim = K.ndim(inputs)
        mean: Any = self.moving_mean
        variance: Any = self.moving_variance
        fixed = training is not None and not hasattr(training, "op") and not training
        if self.trainable and not fixed:
            axes = [i for i in range(ndim) if i != self.axis % ndim]
            of_batch = K.moments(inputs, axes, "whole_batch" if self.synchronized else "batch")
            self.add_update(
                [
                    K.moving_average_update(mean, of_batch[0], self.momentum),
                    K.moving_average_update(variance, of_batch[1], self.momentum),
                ],
                inputs,
            )
            # The phase chooses between statistics, not between outputs: those are two numbers a
            # channel, and one graph of the normalisation serves both phases.
            mean = K.in_train_phase(of_batch[0], mean, training=training)
            variance = K.in_train_phase(of_batch[1], variance, training=training)
        return K.batch_normalization(
            inputs,
            self._along_axis(mean, ndim),
            self._along_axis(variance, ndim),
            self._along_axis(self.beta, ndim),
            self._along_axis(self.gamma, ndim),
            epsilon=self.epsilon,
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
            "beta_constraint": constraints.serialize(self.beta_constraint),
            "gamma_constraint": constraints.serialize(self.gamma_constraint),
            # Keras 2 knows no such argument.
            **({"synchronized": True} if self.synchronized else {}),
        }
