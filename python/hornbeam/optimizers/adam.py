"""Adam and its relatives: running means of the gradients and of their sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import backend as K
from .base import Optimizer, flushed, number, zeros_like_all


class _Moments(Optimizer):
    """The hyper-parameters that Adam, Adamax and Nadam share."""

    def __init__(
        self, beta_1: float, beta_2: float, epsilon: float | None, kwargs: dict[str, Any]
    ) -> None:
        super().__init__(**kwargs)
        self.beta_1 = K.variable(beta_1, name="beta_1")
        self.beta_2 = K.variable(beta_2, name="beta_2")
        self.epsilon = K.epsilon() if epsilon is None else epsilon

    def _next_step(self) -> Any:
        return K.cast(self.iterations, K.floatx()) + 1.0

    def get_config(self) -> dict[str, Any]:
        return {
            "lr": number(self.lr),
            "beta_1": number(self.beta_1),
            "beta_2": number(self.beta_2),
            "epsilon": self.epsilon,
            **super().get_config(),
        }


class Adam(_Moments):
    """Adam (Kingma and Ba, 2014).

    m = beta_1 * m + (1 - beta_1) * g; v = beta_2 * v + (1 - beta_2) * g ** 2; at step t the weight
    moves by -lr * sqrt(1 - beta_2 ** t) / (1 - beta_1 ** t) * m / (sqrt(v) + epsilon).

    Args:
        lr: learning rate, also called `learning_rate`; a number >= 0 or a schedule.
        beta_1: number in [0, 1), usually near one.
        beta_2: number in [0, 1), usually near one.
        epsilon: small number; None for `K.epsilon()`.
        decay: the learning rate is divided by 1 + decay * iterations.
        amsgrad: whether to divide by the greatest v so far (Reddi et al., 2018).
        **kwargs: `clipnorm`, `clipvalue` (see `Optimizer`).
    """

    def __init__(
        self,
        lr: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | None = 1e-8,
        decay: float = 0.0,
        amsgrad: bool = False,
        **kwargs: Any,
    ) -> None:
        self._set_lr(lr, kwargs, decay)
        super().__init__(beta_1, beta_2, epsilon, kwargs)
        self.amsgrad = amsgrad

    def new_values(self, params: list[Any], gradients: list[Any]) -> Iterator[Any]:
        t = self._next_step()
        correction = K.sqrt(1.0 - K.pow(self.beta_2, t)) / (1.0 - K.pow(self.beta_1, t))
        lr_t = self.decayed_lr() * correction
        ms, vs = zeros_like_all(params, "m"), zeros_like_all(params, "v")
        greatest = zeros_like_all(params, "vhat") if self.amsgrad else [None] * len(params)
        self.weights = [self.iterations, *ms, *vs, *(v for v in greatest if v is not None)]
        for p, g, m, v, vhat in zip(params, gradients, ms, vs, greatest, strict=True):
            m_t = flushed(self.beta_1 * m + (1.0 - self.beta_1) * g)
            v_t = flushed(self.beta_2 * v + (1.0 - self.beta_2) * K.square(g))
            self.updates += [K.update(m, m_t), K.update(v, v_t)]
            if vhat is not None:
                v_t = K.maximum(vhat, v_t)
                self.updates.append(K.update(vhat, v_t))
            yield p - lr_t * m_t / (K.sqrt(v_t) + self.epsilon)

    def set_weights(self, weights: Any) -> None:
        """Set the state (see `Optimizer.set_weights`).

        Without `amsgrad`, Keras 2.2 and later keep one array of shape (1,) a weight in its place;
        they say nothing and are left out.
        """
        count = (len(self.weights) - 1) // 2
        extra = weights[len(self.weights) :]
        if not self.amsgrad and len(extra) == count and all(np.shape(e) == (1,) for e in extra):
            weights = weights[: len(self.weights)]
        super().set_weights(weights)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "decay": number(self.decay)}
        if self.amsgrad:
            config["amsgrad"] = True
        return config


class AdamW(Adam):
    """Adam with weight decay (Loshchilov and Hutter, 2017).

    Args:
        lr: learning rate, also called `learning_rate`; a number >= 0 or a schedule.
        weight_decay: each step also takes lr * weight_decay * w off each weight w.
        **kwargs: the other arguments of `Adam`.
    """

    def __init__(self, lr: Any = 0.001, weight_decay: float = 0.004, **kwargs: Any) -> None:
        super().__init__(lr, weight_decay=weight_decay, **kwargs)


class Adamax(_Moments):
    """Adam's variant with the infinity norm (Kingma and Ba, 2014, section 7).

    m = beta_1 * m + (1 - beta_1) * g; u = max(beta_2 * u, abs(g)); at step t the weight moves by
    -lr / (1 - beta_1 ** t) * m / (u + epsilon).

    Args:
        lr: learning rate, also called `learning_rate`; a number >= 0 or a schedule.
        beta_1: number in [0, 1), usually near one.
        beta_2: number in [0, 1), usually near one.
        epsilon: small number; None for `K.epsilon()`.
        decay: the learning rate is divided by 1 + decay * iterations.
        **kwargs: `clipnorm`, `clipvalue` (see `Optimizer`).
    """

    def __init__(
        self,
        lr: Any = 0.002,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | None = 1e-8,
        decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self._set_lr(lr, kwargs, decay)
        super().__init__(beta_1, beta_2, epsilon, kwargs)

    def new_values(self, params: list[Any], gradients: list[Any]) -> Iterator[Any]:
        lr_t = self.decayed_lr() / (1.0 - K.pow(self.beta_1, self._next_step()))
        ms, us = zeros_like_all(params, "m"), zeros_like_all(params, "u")
        self.weights = [self.iterations, *ms, *us]
        for p, g, m, u in zip(params, gradients, ms, us, strict=True):
            m_t = flushed(self.beta_1 * m + (1.0 - self.beta_1) * g)
            u_t = flushed(K.maximum(self.beta_2 * u, K.abs(g)))
            self.updates += [K.update(m, m_t), K.update(u, u_t)]
            yield p - lr_t * m_t / (u_t + self.epsilon)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "decay": number(self.decay)}


class Nadam(_Moments):
    """Adam with Nesterov's momentum and a schedule that warms it up (Dozat, 2016).

    At step t the momentum is mu(t) = beta_1 * (1 - 0.5 * 0.96 ** (schedule_decay * t)).

    Args:
        lr: learning rate, also called `learning_rate`; a number >= 0 or a schedule.
        beta_1: number in [0, 1), usually near one.
        beta_2: number in [0, 1), usually near one.
        epsilon: small number; None for `K.epsilon()`.
        schedule_decay: how fast the momentum warms up.
        **kwargs: `clipnorm`, `clipvalue` (see `Optimizer`).
    """

    def __init__(
        self,
        lr: Any = 0.002,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | None = 1e-8,
        schedule_decay: float = 0.004,
        **kwargs: Any,
    ) -> None:
        self._set_lr(lr, kwargs)
        super().__init__(beta_1, beta_2, epsilon, kwargs)
        self.m_schedule = K.variable(1.0, name="m_schedule")
        self.schedule_decay = schedule_decay

    def _momentum(self, t: Any) -> Any:
        return self.beta_1 * (1.0 - 0.5 * K.pow(K.constant(0.96), t * self.schedule_decay))

    def new_values(self, params: list[Any], gradients: list[Any]) -> Iterator[Any]:
        t = self._next_step()
        mu, mu_next = self._momentum(t), self._momentum(t + 1.0)
        product = self.m_schedule * mu
        product_next = product * mu_next
        self.updates.append(K.update(self.m_schedule, product))
        lr = self.decayed_lr()
        of_gradient = (1.0 - mu) / (1.0 - product)
        of_moment = mu_next / (1.0 - product_next)
        of_size = 1.0 / (1.0 - K.pow(self.beta_2, t))
        ms, vs = zeros_like_all(params, "m"), zeros_like_all(params, "v")
        self._slots = [*ms, *vs]
        self.weights = [self.iterations, self.m_schedule, *self._slots]
        for p, g, m, v in zip(params, gradients, ms, vs, strict=True):
            m_t = flushed(self.beta_1 * m + (1.0 - self.beta_1) * g)
            v_t = flushed(self.beta_2 * v + (1.0 - self.beta_2) * K.square(g))
            self.updates += [K.update(m, m_t), K.update(v, v_t)]
            m_bar = of_gradient * g + of_moment * m_t
            yield p - lr * m_bar / (K.sqrt(v_t * of_size) + self.epsilon)

    def layouts(self) -> list[list[Any]]:
        """Return the lists of variables that `set_weights` takes values for.

        Keras 2.0 does not keep the schedule's running product, which then starts anew.
        """
        return [self.weights, [self.iterations, *self._slots]]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "schedule_decay": self.schedule_decay}
