"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import backend as K
from .base import Optimizer, flushed, number, zeros_like_all


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    v = momentum * v - lr * g; the weight moves by the velocity v, or with Nesterov's form by
    momentum * v - lr * g (Sutskever et al., 2013).

    Args:
        lr: learning rate, also called `learning_rate`; a number >= 0 or a schedule.
        momentum: number >= 0.
        decay: the learning rate is divided by 1 + decay * iterations.
        nesterov: whether to use Nesterov's form.
        **kwargs: `clipnorm`, `clipvalue` (see `Optimizer`).
    """

    def __init__(
        self,
        lr: Any = 0.01,
        momentum: float = 0.0,
        decay: float = 0.0,
        nesterov: bool = False,
        **kwargs: Any,
    ) -> None:
        self._set_lr(lr, kwargs, decay)
        super().__init__(**kwargs)
        self.momentum = K.variable(momentum, name="momentum")
        self.nesterov = nesterov

    def new_values(self, params: list[Any], gradients: list[Any]) -> Iterator[Any]:
        lr = self.decayed_lr()
        moments = zeros_like_all(params, "momentum")
        self.weights = [self.iterations, *moments]
        for p, g, m in zip(params, gradients, moments, strict=True):
            v = flushed(self.momentum * m - lr * g)
            self.updates.append(K.update(m, v))
            yield p + (self.momentum * v - lr * g if self.nesterov else v)

    def get_config(self) -> dict[str, Any]:
        return {
            "lr": number(self.lr),
            "momentum": number(self.momentum),
            "decay": number(self.decay),
            "nesterov": self.nesterov,
            **super().get_config(),
        }
