"""Layers that add noise while training; otherwise their input passes unchanged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import backend as K
from ..engine import Layer
from ..legacy import interfaces

__all__ = ["AlphaDropout", "GaussianDropout", "GaussianNoise"]

Shape = tuple[int | None, ...]


class _Noise(Layer):
    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.seed = seed

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.seed is not None:
            config["seed"] = self.seed
        return config


class GaussianNoise(_Noise):
    """Add normal noise of mean zero.

    Args:
        stddev: its standard deviation.
        **kwargs: `seed`, an integer, and the keywords of `Layer`.
    """

    @interfaces.legacy_gaussiannoise_support
    def __init__(self, stddev: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stddev = stddev

    def call(self, inputs: Any, training: Any = None) -> Any:
        def noised() -> Any:
            noise = K.random_normal(
                K.shape(inputs), 0.0, self.stddev, dtype=K.dtype(inputs), seed=self.seed
            )
            return inputs + noise

        return K.in_train_phase(noised, inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev}


class GaussianDropout(_Noise):
    """Multiply by normal noise of mean one (Srivastava et al., 2014, section 10).

    Args:
        rate: a fraction as for Dropout; the noise has the standard deviation
            sqrt(rate / (1 - rate)), as a dropout mask has.
        **kwargs: `seed`, an integer, and the keywords of `Layer`.
    """

    @interfaces.legacy_gaussiandropout_support
    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, inputs: Any, training: Any = None) -> Any:
        if not 0 < self.rate < 1:
            return inputs
        stddev = math.sqrt(self.rate / (1.0 - self.rate))

        def noised() -> Any:
            return inputs * K.random_normal(
                K.shape(inputs), 1.0, stddev, dtype=K.dtype(inputs), seed=self.seed
            )

        return K.in_train_phase(noised, inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


class AlphaDropout(_Noise):
    """Dropout that keeps mean and variance of inputs made by selu (Klambauer et al., 2017).

    Dropped values become selu's limit for negative inputs, and an affine map restores mean and
    variance.

    Args:
        rate: the fraction of values to drop.
        noise_shape: shape of the mask that is drawn, which broadcasts to the input.
        seed: integer seed of the mask.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.rate = rate
        self.noise_shape = noise_shape

    def call(self, inputs: Any, training: Any = None) -> Any:
        if not 0.0 < self.rate < 1.0:
            return inputs
        # The limit of selu for negative inputs, -alpha * scale.
        limit = -1.6732632423543772 * 1.0507009873554805
        a = ((1.0 - self.rate) * (1.0 + self.rate * limit**2)) ** -0.5
        b = -a * limit * self.rate
        sizes = K.shape(inputs)
        noise_shape = self.noise_shape or (None,) * K.ndim(inputs)
        shape = tuple(sizes[i] if s is None else s for i, s in enumerate(noise_shape))

        def dropped() -> Any:
            keep = K.random_binomial(shape, 1.0 - self.rate, dtype=K.dtype(inputs), seed=self.seed)
            return a * (inputs * keep + limit * (1.0 - keep)) + b

        return K.in_train_phase(dropped, inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "rate": self.rate}
        if self.noise_shape is not None:
            config["noise_shape"] = list(self.noise_shape)
        return config
