"""Optimizers that divide by running means of squared gradients: RMSprop, Adagrad, Adadelta."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import backend as K
from .base import Optimizer, flushed, number, zeros_like_all


def root(a: Any, epsilon: float, inside: bool) -> Any:
    """Return sqrt(a) + epsilon, or with `inside` sqrt(a + epsilon)."""
    return K.sqrt(a + epsilon) if inside else K.sqrt(a) + epsilon


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
        momentum: where positive, the weight moves by -m with m = momentum * m + the step above.
        centered: whether the square of the running mean of g is taken off a (Graves, 2013).
        epsilon_inside: whether to divide by sqrt(a + epsilon) instead, as Keras 3 does.
        **kwargs: `clipnorm`, `clipvalue` (see `Optimizer`).
    """

    def __init__(
        self,
        lr: Any = 0.001,
        rho: float = 0.9,
        epsilon: float | None = 1e-8,
        decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        epsilon_inside: bool = False,
        **kwargs: Any,
    ) -> None:
        self._set_lr(lr, kwargs, decay)
        super().__init__(**kwargs)
        self.rho = K.variable(rho, name="rho")
        self.epsilon = K.epsilon() if epsilon is None else epsilon
        self.momentum = momentum
        self.centered = centered
        self.epsilon_inside = epsilon_inside

    def new_values(self, params: list[Any], gradients: list[Any]) -> Iterator[Any]:
        lr = self.decayed_lr()
        accumulators = zeros_like_all(params, "accumulator")
        moments = zeros_like_all(params, "momentum") if self.momentum else []
        means = zeros_like_all(params, "mean") if self.centered else []
        self._keep([*accumulators, *moments, *means])
        for i, (p, g, a) in enumerate(zip(params, gradients, accumulators, strict=True)):
            new_a = flushed(self.rho * a + (1.0 - self.rho) * K.square(g))
            self.updates.append(K.update(a, new_a))
            if self.centered:
                mean = flushed(self.rho * means[i] + (1.0 - self.rho) * g)
                self.updates.append(K.update(means[i], mean))
                new_a = new_a - K.square(mean)
            step = lr * g / root(new_a, self.epsilon, self.epsilon_inside)
            if self.momentum:
                step = flushed(self.momentum * moments[i] + step)
                self.updates.append(K.update(moments[i], step))
            yield p - step

    def get_config(self) -> dict[str, Any]:
        config = {
            "lr": number(self.lr),
            "rho": number(self.rho),
            "decay": number(self.decay),
            "epsilon": self.epsilon,
            **super().get_config(),
        }
        for key in ("momentum", "centered", "epsilon_inside"):
            if getattr(self, key):
                config[key] = getattr(self, key)
        return config


class Adagrad(_Accumulating):
    """Divide the gradient by the root of the sum of squares so far (Duchi et al., 2011).

    a = a + g ** 2; the weight moves by -lr * g / (sqrt(a) + epsilon).

    Args:
        lr: learning rate, also called `learning_rate`; a number >= 0 or a schedule.
        epsilon: small number; None for `K.epsilon()`.
        decay: the learning rate is divided by 1 + decay * iterations.
        initial_accumulator_value: what a begins with.
        epsilon_inside: whether to divide by sqrt(a + epsilon) instead, as Keras 3 does.
        **kwargs: `clipnorm`, `clipvalue` (see `Optimizer`).
    """

    def __init__(
        self,
        lr: Any = 0.01,
        epsilon: float | None = 1e-8,
        decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        epsilon_inside: bool = False,
        **kwargs: Any,
    ) -> None:
        self._set_lr(lr, kwargs, decay)
        super().__init__(**kwargs)
        self.epsilon = K.epsilon() if epsilon is None else epsilon
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon_inside = epsilon_inside

    def new_values(self, params: list[Any], gradients: list[Any]) -> Iterator[Any]:
        lr = self.decayed_lr()
        accumulators = zeros_like_all(params, "accumulator")
        for a in accumulators if self.initial_accumulator_value else ():
            K.set_value(a, np.full(K.int_shape(a), self.initial_accumulator_value))
        self._keep(accumulators)
        for p, g, a in zip(params, gradients, accumulators, strict=True):
            new_a = a + K.square(g)
            self.updates.append(K.update(a, new_a))
            yield p - lr * g / root(new_a, self.epsilon, self.epsilon_inside)

    def get_config(self) -> dict[str, Any]:
        config = {
            "lr": number(self.lr),
            "decay": number(self.decay),
            "epsilon": self.epsilon,
            **super().get_config(),
        }
        for key in ("initial_accumulator_value", "epsilon_inside"):
            if getattr(self, key):
                config[key] = getattr(self, key)
        return config


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
            new_a = flushed(rho * a + (1.0 - rho) * K.square(g))
            # The same with one root for two: roots and quotients take an update longest.
            step = g * K.sqrt((d + epsilon) / (new_a + epsilon))
            self.updates.append(K.update(a, new_a))
            self.updates.append(K.update(d, flushed(rho * d + (1.0 - rho) * K.square(step))))
            yield p - lr * step

    def get_config(self) -> dict[str, Any]:
        return {
            "lr": number(self.lr),
            "rho": self.rho,
            "decay": number(self.decay),
            "epsilon": self.epsilon,
            **super().get_config(),
        }
