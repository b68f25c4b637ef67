"""Optimizers that divide by running means of squared gradients: RMSprop, Adagrad, Adadelta."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import backend as K
from .base import Optimizer, number, zeros_like_all


class _Accumulating(Optimizer):
    """Keeps `weights` as Keras 2.0 does, without the step count when nothing depends on it.

    Later versions put the count first, and so does this one when the learning rate depends on it.
    """

    def _keep(self, slots: list[Any]) -> None:
        self._slots = slots
        self.weights = [self.iterations, *slots] if self._counts_matter() else slots

    def layouts(self) -> list[list[Any]]:
        """Return the lists of variables that `set_weights` takes values for."""
        return [self.weights, self._slots, [self.iterations, *self._slots]]


class RMSprop(_Accumulating):
    """Divide the gradient by a running root mean square (Tieleman and Hinton, 2012).

    a = rho * a + (1 - rho) * g ** 2; the weight moves by -lr * g / (sqrt(a) + epsilon).

    Args:
        lr: learning rate, also called `learning_rate`; a number >= 0 or a schedule.
        rho: number in [0, 1).
        epsilon: small number; None for `K.epsilon()`.
        decay: the learning rate is divided by 1 + decay * iterations.
        **kwargs: `clipnorm`, `clipvalue` (see `Optimizer`).
    """

    def __init__(
        self,
        lr: Any = 0.001,
        rho: float = 0.9,
        epsilon: float | None = 1e-8,
        decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self._set_lr(lr, kwargs, decay)
        super().__init__(**kwargs)
        self.rho = K.variable(rho, name="rho")
        self.epsilon = K.epsilon() if epsilon is None else epsilon

    def new_values(self, params: list[Any], gradients: list[Any]) -> Iterator[Any]:
        lr = self.decayed_lr()
        accumulators = zeros_like_all(params, "accumulator")
        self._keep(accumulators)
        for p, g, a in zip(params, gradients, accumulators, strict=True):
            new_a = self.rho * a + (1.0 - self.rho) * K.square(g)
            self.updates.append(K.update(a, new_a))
            yield p - lr * g / (K.sqrt(new_a) + self.epsilon)

    def get_config(self) -> dict[str, Any]:
        return {
            "lr": number(self.lr),
            "rho": number(self.rho),
            "decay": number(self.decay),
            "epsilon": self.epsilon,
            **super().get_config(),
        }


class Adagrad(_Accumulating):
    """Divide the gradient by the root of the sum of squares so far (Duchi et al., 2011).

    a = a + g ** 2; the weight moves by -lr * g / (sqrt(a) + epsilon).

    Args:
        lr: learning rate, also called `learning_rate`; a number >= 0 or a schedule.
        epsilon: small number; None for `K.epsilon()`.
        decay: the learning rate is divided by 1 + decay * iterations.
        **kwargs: `clipnorm`, `clipvalue` (see `Optimizer`).
    """

    def __init__(
        self, lr: Any = 0.01, epsilon: float | None = 1e-8, decay: float = 0.0, **kwargs: Any
    ) -> None:
        self._set_lr(lr, kwargs, decay)
        super().__init__(**kwargs)
        self.epsilon = K.epsilon() if epsilon is None else epsilon

    def new_values(self, params: list[Any], gradients: list[Any]) -> Iterator[Any]:
        lr = self.decayed_lr()
        accumulators = zeros_like_all(params, "accumulator")
        self._keep(accumulators)
        for p, g, a in zip(params, gradients, accumulators, strict=True):
            new_a = a + K.square(g)
            self.updates.append(K.update(a, new_a))
            yield p - lr * g / (K.sqrt(new_a) + self.epsilon)

    def get_config(self) -> dict[str, Any]:
        return {
            "lr": number(self.lr),
            "decay": number(self.decay),
            "epsilon": self.epsilon,
            **super().get_config(),
        }


class Adadelta(_Accumulating):
    """Give updates the scale of earlier updates (Zeiler, 2012).

    a = rho * a + (1 - rho) * g ** 2; u = g * sqrt(d + epsilon) / sqrt(a + epsilon);
    d = rho * d + (1 - rho) * u ** 2; the weight moves by -lr * u.

    Args:
        lr: learning rate, also called `learning_rate`; a number >= 0 or a schedule.
        rho: number in [0, 1).
        epsilon: small number; None for `K.epsilon()`.
        decay: the learning rate is divided by 1 + decay * iterations.
        **kwargs: `clipnorm`, `clipvalue` (see `Optimizer`).
    """

    def __init__(
        self,
        lr: Any = 1.0,
        rho: float = 0.95,
        epsilon: float | None = 1e-8,
        decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self._set_lr(lr, kwargs, decay)
        super().__init__(**kwargs)
        self.rho = rho
        self.epsilon = K.epsilon() if epsilon is None else epsilon

    def new_values(self, params: list[Any], gradients: list[Any]) -> Iterator[Any]:
        lr = self.decayed_lr()
        accumulators = zeros_like_all(params, "accumulator")
        deltas = zeros_like_all(params, "delta_accumulator")
        self._keep([*accumulators, *deltas])
        rho, epsilon = self.rho, self.epsilon
        for p, g, a, d in zip(params, gradients, accumulators, deltas, strict=True):
            new_a = rho * a + (1.0 - rho) * K.square(g)
            step = g * K.sqrt(d + epsilon) / K.sqrt(new_a + epsilon)
            self.updates.append(K.update(a, new_a))
            self.updates.append(K.update(d, rho * d + (1.0 - rho) * K.square(step)))
            yield p - lr * step

    def get_config(self) -> dict[str, Any]:
        return {
            "lr": number(self.lr),
            "rho": self.rho,
            "decay": number(self.decay),
            "epsilon": self.epsilon,
            **super().get_config(),
        }
