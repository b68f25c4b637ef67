"""Keras 2.0.5's formulas in float64, written down once more as the reference of the golden files.

Losses and activations are over `jax.numpy`, so that their gradients come from JAX; optimizers and
constraints are plain NumPy. The behaviours that Keras 3 changed (see ARCHITECTURE.md) are why this
is not Keras 3 throughout. Only `make_golden.py` imports this module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

EPSILON = 1e-7  # K.epsilon()


# Activations.


def hard_sigmoid(x):
    return jnp.clip(0.2 * x + 0.5, 0.0, 1.0)


# Losses: (y_true, y_pred) -> one value for every sample (and time step), before weights.


def mean_squared_error(t, p):
    return jnp.mean((p - t) ** 2, -1)


def mean_absolute_error(t, p):
    return jnp.mean(jnp.abs(p - t), -1)


def mean_absolute_percentage_error(t, p):
    return 100.0 * jnp.mean(jnp.abs((t - p) / jnp.clip(jnp.abs(t), EPSILON)), -1)


def mean_squared_logarithmic_error(t, p):
    return jnp.mean((_log1(p) - _log1(t)) ** 2, -1)


def _log1(x):
    return jnp.log(jnp.clip(x, EPSILON) + 1.0)


def squared_hinge(t, p):
    return jnp.mean(jnp.maximum(1.0 - t * p, 0.0) ** 2, -1)


def hinge(t, p):
    return jnp.mean(jnp.maximum(1.0 - t * p, 0.0), -1)


def categorical_hinge(t, p):
    positive = jnp.sum(t * p, -1)
    negative = jnp.max((1.0 - t) * p, -1)
    return jnp.maximum(0.0, negative - positive + 1.0)


def logcosh(t, p):
    return jnp.mean(jnp.log(jnp.cosh(p - t)), -1)


def categorical_crossentropy(t, p):
    p = jnp.clip(p / jnp.sum(p, -1, keepdims=True), EPSILON, 1.0 - EPSILON)
    return -jnp.sum(t * jnp.log(p), -1)


def sparse_categorical_crossentropy(t, p):
    p = jnp.clip(p, EPSILON, 1.0 - EPSILON)
    p = p / jnp.sum(p, -1, keepdims=True)
    return -jnp.log(jnp.take_along_axis(p, t.astype("int32"), -1))[..., 0]


def binary_crossentropy(t, p):
    p = jnp.clip(p, EPSILON, 1.0 - EPSILON)
    return -jnp.mean(t * jnp.log(p) + (1.0 - t) * jnp.log(1.0 - p), -1)


def kullback_leibler_divergence(t, p):
    t, p = jnp.clip(t, EPSILON, 1.0), jnp.clip(p, EPSILON, 1.0)
    return jnp.sum(t * jnp.log(t / p), -1)


def poisson(t, p):
    return jnp.mean(p - t * jnp.log(p + EPSILON), -1)


def cosine_proximity(t, p):
    return -jnp.mean(_unit(t) * _unit(p), -1)


def cosine_similarity(t, p):
    return -jnp.sum(_unit(t) * _unit(p), -1)


def huber(t, p):
    x = jnp.abs(p - t)
    return jnp.mean(jnp.where(x <= 1.0, 0.5 * x**2, x - 0.5), -1)


def _unit(x):
    return x / jnp.sqrt(jnp.maximum(jnp.sum(x**2, -1, keepdims=True), 1e-12))


def weighted(scores, weights=None):
    """Reduce the values of samples to the loss that is trained and reported.

    Sample weights multiply, and the mean is then divided by the fraction of weights that are not
    zero. Axes that the weights do not have (time, image rows) are averaged first.
    """
    if weights is None:
        return jnp.mean(scores)
    scores = jnp.mean(scores, tuple(range(weights.ndim, scores.ndim)))
    return jnp.mean(scores * weights / np.mean(weights != 0))


# Metrics, as means over the batch.


def binary_accuracy(t, p):
    return np.mean(t == np.round(p))


def categorical_accuracy(t, p):
    return np.mean(t.argmax(-1) == p.argmax(-1))


def sparse_categorical_accuracy(t, p):
    return np.mean(t.max(-1) == p.argmax(-1))


def top_k_categorical_accuracy(t, p, k=5):
    return sparse_top_k_categorical_accuracy(t.argmax(-1)[..., None], p, k)


def sparse_top_k_categorical_accuracy(t, p, k=5):
    best = np.argsort(-p, -1, kind="stable")[..., :k]
    return np.mean(np.any(best == t.astype(int), -1))


# Regularizers.


def l1_l2(x, l1=0.0, l2=0.0):
    return l1 * jnp.sum(jnp.abs(x)) + l2 * jnp.sum(x**2)


# Constraints: weights -> weights.


def _norms(w, axis):
    return np.sqrt(np.sum(w**2, axis, keepdims=True))


def max_norm(w, max_value=2, axis=0):
    norms = _norms(w, axis)
    return w * np.clip(norms, 0, max_value) / (EPSILON + norms)


def non_neg(w):
    return w * (w >= 0)


def unit_norm(w, axis=0):
    return w / (EPSILON + _norms(w, axis))


def min_max_norm(w, min_value=0.0, max_value=1.0, rate=1.0, axis=0):
    norms = _norms(w, axis)
    desired = rate * np.clip(norms, min_value, max_value) + (1 - rate) * norms
    return w * desired / (EPSILON + norms)


CONSTRAINTS: dict[str, Callable[..., Any]] = {
    "MaxNorm": max_norm,
    "NonNeg": non_neg,
    "UnitNorm": unit_norm,
    "MinMaxNorm": min_max_norm,
}


# Optimizers: each returns (its slots at the start, the update of one parameter).


def sgd(lr=0.01, momentum=0.0, nesterov=False):
    def update(p, g, slots, rate, t):
        velocity = slots["v"] = momentum * slots["v"] - rate * g
        return p + momentum * velocity - rate * g if nesterov else p + velocity

    return ("v",), update


def _root(a, epsilon, inside):
    """Keras 3 takes the root of the sum."""
    return np.sqrt(a + epsilon) if inside else np.sqrt(a) + epsilon


def rmsprop(lr=0.001, rho=0.9, epsilon=1e-8, momentum=0.0, centered=False, epsilon_inside=False):
    def update(p, g, slots, rate, t):
        a = slots["a"] = rho * slots["a"] + (1 - rho) * g**2
        if centered:
            mean = slots["mean"] = rho * slots["mean"] + (1 - rho) * g
            a = a - mean**2
        slots["m"] = momentum * slots["m"] + rate * g / _root(a, epsilon, epsilon_inside)
        return p - slots["m"]

    return ("a", "mean", "m"), update


def adagrad(lr=0.01, epsilon=1e-8, initial_accumulator_value=0.0, epsilon_inside=False):
    def update(p, g, slots, rate, t):
        begin = initial_accumulator_value if t == 1 else 0.0
        a = slots["a"] = slots["a"] + begin + g**2
        return p - rate * g / _root(a, epsilon, epsilon_inside)

    return ("a",), update


def adadelta(lr=1.0, rho=0.95, epsilon=1e-8):
    def update(p, g, slots, rate, t):
        a = slots["a"] = rho * slots["a"] + (1 - rho) * g**2
        step = g * np.sqrt(slots["d"] + epsilon) / np.sqrt(a + epsilon)
        slots["d"] = rho * slots["d"] + (1 - rho) * step**2
        return p - rate * step

    return ("a", "d"), update


def adam(lr=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8, amsgrad=False):
    def update(p, g, slots, rate, t):
        m = slots["m"] = beta_1 * slots["m"] + (1 - beta_1) * g
        v = slots["v"] = beta_2 * slots["v"] + (1 - beta_2) * g**2
        if amsgrad:
            v = slots["greatest"] = np.maximum(slots["greatest"], v)
        rate = rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        return p - rate * m / (np.sqrt(v) + epsilon)

    return ("m", "v", "greatest"), update


def adamax(lr=0.002, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    def update(p, g, slots, rate, t):
        m = slots["m"] = beta_1 * slots["m"] + (1 - beta_1) * g
        u = slots["u"] = np.maximum(beta_2 * slots["u"], np.abs(g))
        return p - rate / (1 - beta_1**t) * m / (u + epsilon)

    return ("m", "u"), update


def nadam(lr=0.002, beta_1=0.9, beta_2=0.999, epsilon=1e-8, schedule_decay=0.004):
    def momentum(t):
        return beta_1 * (1 - 0.5 * 0.96 ** (t * schedule_decay))

    def update(p, g, slots, rate, t):
        schedule = np.prod([momentum(i) for i in range(1, t + 1)])
        m = slots["m"] = beta_1 * slots["m"] + (1 - beta_1) * g
        v = slots["v"] = beta_2 * slots["v"] + (1 - beta_2) * g**2
        m_hat = m / (1 - schedule * momentum(t + 1))
        g_hat = g / (1 - schedule)
        m_bar = (1 - momentum(t)) * g_hat + momentum(t + 1) * m_hat
        return p - rate * m_bar / (np.sqrt(v / (1 - beta_2**t)) + epsilon)

    return ("m", "v"), update


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "SGD": sgd,
    "RMSprop": rmsprop,
    "Adagrad": adagrad,
    "Adadelta": adadelta,
    "Adam": adam,
    "AdamW": adam,
    "Adamax": adamax,
    "Nadam": nadam,
}


class Optimizer:
    """Runs one of `OPTIMIZERS` over a list of arrays, with decay and clipping around it."""

    def __init__(
        self,
        name: str,
        *,
        decay=0.0,
        clipnorm=None,
        clipvalue=None,
        clipnorm_per_variable=None,
        weight_decay=0.0,
        **config: Any,
    ):
        formula = OPTIMIZERS[name]
        self.names, self.update = formula(**config)
        self.lr = config.get("lr", inspect.signature(formula).parameters["lr"].default)
        self.decay, self.clipnorm, self.clipvalue = decay, clipnorm, clipvalue
        self.clipnorm_per_variable, self.weight_decay = clipnorm_per_variable, weight_decay
        self.iterations = 0
        self.slots: list[dict[str, Any]] | None = None

    def step(self, parameters, gradients, constraints=None):
        """Return the parameters after one step; `constraints` has a function or None for each."""
        gradients = [np.asarray(g) for g in gradients]
        if self.clipnorm is not None:
            norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
            if norm >= self.clipnorm:
                gradients = [g * self.clipnorm / norm for g in gradients]
        if self.clipnorm_per_variable is not None:
            limit = self.clipnorm_per_variable
            gradients = [g * min(1.0, limit / np.sqrt(np.sum(g**2))) for g in gradients]
        if self.clipvalue is not None:
            gradients = [np.clip(g, -self.clipvalue, self.clipvalue) for g in gradients]
        if self.slots is None:
            self.slots = [{n: np.zeros_like(p) for n in self.names} for p in parameters]
        rate = self.lr / (1 + self.decay * self.iterations)
        self.iterations += 1
        new = [
            self.update(p, g, slots, rate, self.iterations) - rate * self.weight_decay * p
            for p, g, slots in zip(parameters, gradients, self.slots, strict=True)
        ]
        if constraints is None:
            return new
        return [c(p) if c else p for p, c in zip(new, constraints, strict=True)]
