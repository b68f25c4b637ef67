"""What all optimizers share: hyper-parameters, gradients, clipping, constraints, state."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import backend as K
from ..utils.generic_utils import nearest_name
from .schedules import LearningRateSchedule

_COMMON_ARGUMENTS = (
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "clipnorm_per_variable",
    "weight_decay",
)


def clip_norm(g: Any, c: float, n: Any) -> Any:
    """Scale a gradient down when a norm exceeds a limit.

    Args:
        g: gradient.
        c: the limit; 0 or less for none.
        n: the norm, a scalar tensor (of `g` alone, or of all gradients together).

    Returns:
        g * c / n where n >= c, and g elsewhere.
    """
    if c <= 0:
        return g
    # The factor is a scalar, so that the gradient itself is passed over once.
    return g * K.switch(n >= c, c / n, K.ones_like(n))


def global_norm(gradients: Sequence[Any]) -> Any:
    """Return the Euclidean norm of all the gradients' elements together."""
    total = K.sum(K.square(gradients[0]))
    for g in gradients[1:]:
        total = total + K.sum(K.square(g))
    return K.sqrt(total)


def flushed(x: Any) -> Any:
    """Return a running mean with 0 in place of subnormal numbers, as TensorFlow's kernels leave it.

    A mean of gradients that have become 0 gets there after some hundred steps and would stay for
    good, and processors take several times as long for such numbers.

    Args:
        x: tensor of floats.
    """
    smallest = float(np.finfo(K.dtype(x)).tiny)
    return K.switch(K.less(K.abs(x), smallest), 0.0, x)


class Optimizer:
    """Base class of the optimizers.

    A subclass either overrides `new_values`, or `get_updates` as in Keras 2. Its state is in
    `weights`, the variables that `get_weights` and files hold.

    A copy (`copy.deepcopy`, `pickle`, `sklearn.clone`) has the hyper-parameters and begins anew:
    the state belongs to the weights of one model, whose own copy has it.

    A hyper-parameter that is a variable may be set to a number (`optimizer.lr = 0.1`); functions
    that were made from it see the new value.

    Args:
        clipnorm: scale the gradients down when the norm of all of them together exceeds this.
        clipvalue: limit each element of the gradients to [-clipvalue, clipvalue].
        global_clipnorm: the name of later Keras versions for `clipnorm`.
        clipnorm_per_variable: scale each weight's gradient by its own norm, which is what
            `clipnorm` means in Keras 3.
        weight_decay: each step also takes lr * weight_decay * w off each weight, beside what the
            gradient does (Loshchilov and Hutter, 2017).
        name: accepted, since configs of later Keras versions hold it, and ignored.

    Raises:
        TypeError: for any other keyword argument.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.pop("name", None)
        for key, value in kwargs.items():
            if key not in _COMMON_ARGUMENTS:
                raise TypeError(_unexpected_argument(type(self), key))
            if value is not None:
                setattr(self, key, value)
        if hasattr(self, "clipnorm") and hasattr(self, "global_clipnorm"):
            raise ValueError(
                "clipnorm and global_clipnorm are two names of one argument: give only one of "
                "them (a limit for each weight's own norm is clipnorm_per_variable)."
            )
        self.updates: list[Any] = []
        self.weights: list[Any] = []

    def __setattr__(self, name: str, value: Any) -> None:
        current: Any = self.__dict__.get(name)
        if isinstance(value, numbers.Real) and getattr(current, "is_variable", False):
            K.set_value(current, value)
        else:
            super().__setattr__(name, value)

    @property
    def learning_rate(self) -> Any:
        """The learning rate, also called `lr`: a variable, or a schedule."""
        return self.lr

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.lr = value

    def get_updates(
        self,
        params: Any = None,
        constraints: Mapping[Any, Callable[[Any], Any]] | None = None,
        loss: Any = None,
    ) -> list[Any]:
        """Return the updates of one training step.

        May also be called as `get_updates(loss, params)`, as in later Keras versions.

        Args:
            params: the weights to train.
            constraints: dictionary from weight to constraint; where it has none, the weight's own
                attribute `constraint` counts.
            loss: scalar tensor to minimise.

        Returns:
            Pairs of a variable and its new value, also kept in `updates`.
        """
        if not isinstance(params, (list, tuple)):
            params, constraints, loss = constraints, None, params
        params = list(params)
        gradients = self.get_gradients(loss, params)
        self.updates = [K.update_add(self.iterations, 1)]
        decay = getattr(self, "weight_decay", 0)
        shrink = self.decayed_lr() * decay if decay else None
        for p, new_p in zip(params, self.new_values(params, gradients), strict=True):
            new_p = new_p if shrink is None else new_p - shrink * p
            self.updates.append(K.update(p, _constrained(p, new_p, constraints)))
        return self.updates

    def new_values(self, params: list[Any], gradients: list[Any]) -> Iterator[Any]:
        """Give the new value of each weight, and append the updates of other state to `updates`.

        Args:
            params: the weights to train.
            gradients: their gradients, after clipping.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define new_values(params, gradients) or get_updates."
        )

    def get_gradients(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        """Return the gradients of the loss, clipped as the optimizer's arguments say.

        Raises:
            ValueError: when the loss does not depend on one of the weights.
        """
        gradients = K.gradients(loss, list(params))
        unused = [p.name for p, g in zip(params, gradients, strict=True) if g is None]
        if unused:
            raise ValueError(
                f"The loss does not depend on these weights: {', '.join(map(str, unused))}. Their "
                "gradient does not exist, perhaps because a layer's output is not used or an "
                "operation such as argmax, round or stop_gradient lies between. Set "
                "`trainable = False` on the layer, or let the loss use it."
            )
        limit = getattr(self, "clipnorm", 0) or getattr(self, "global_clipnorm", 0)
        if limit > 0:
            norm = global_norm(gradients)
            gradients = [clip_norm(g, limit, norm) for g in gradients]
        limit = getattr(self, "clipnorm_per_variable", 0)
        if limit > 0:
            gradients = [clip_norm(g, limit, global_norm([g])) for g in gradients]
        limit = getattr(self, "clipvalue", 0)
        if limit > 0:
            gradients = [K.clip(g, -limit, limit) for g in gradients]
        return gradients

    def decayed_lr(self) -> Any:
        """Return the learning rate of this step, a scalar: lr / (1 + decay * iterations)."""
        if isinstance(self.lr, LearningRateSchedule):
            return self.lr(K.cast(self.iterations, K.floatx()))
        if getattr(self, "initial_decay", 0) > 0:
            return self.lr * (1.0 / (1.0 + self.decay * K.cast(self.iterations, K.floatx())))
        return self.lr

    def _set_lr(self, lr: Any, kwargs: dict[str, Any], decay: float = 0.0) -> None:
        """Make the variables of the step count, the learning rate and its decay."""
        lr = kwargs.pop("learning_rate", lr)
        decay = 0.0 if decay is None else decay
        if isinstance(lr, dict):
            lr = LearningRateSchedule.from_serialized(lr)
        self.iterations = K.variable(0, dtype="int64", name="iterations")
        self.lr = lr if isinstance(lr, LearningRateSchedule) else K.variable(lr, name="lr")
        self.decay = K.variable(decay, name="decay")
        self.initial_decay = decay

    def _counts_matter(self) -> bool:
        """Tell whether the updates depend on the number of steps through the learning rate."""
        return self.initial_decay > 0 or isinstance(self.lr, LearningRateSchedule)

    def layouts(self) -> list[list[Any]]:
        """Return the lists of variables that `set_weights` takes values for.

        The first is `weights`; further ones are what other Keras versions keep in files. A variable
        that is not in the list stays as it is.
        """
        return [self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the state, such as moments and the step count.

        The optimizer must have made its state already, which `get_updates` does.

        Args:
            weights: arrays in the order of `get_weights`, or in that of the file of another Keras
                version.

        Raises:
            ValueError: when number or shapes of the arrays do not fit.
        """
        arrays = [np.asarray(w) for w in weights]
        shapes = [a.shape for a in arrays]
        for layout in self.layouts():
            if [tuple(K.int_shape(v)) for v in layout] == shapes:
                K.batch_set_value(list(zip(layout, arrays, strict=True)))
                return
        expected = [tuple(K.int_shape(v)) for v in self.weights]
        raise ValueError(
            f"{type(self).__name__}.set_weights: expected {len(expected)} arrays with the shapes "
            f"{expected}, got {len(shapes)} with the shapes {shapes}. The state of an optimizer "
            "fits only the weights it was made for."
        )

    def get_weights(self) -> list[np.ndarray]:
        """Return the state as a list of arrays (empty before the first `get_updates`)."""
        return K.batch_get_value(self.weights)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {key: getattr(self, key) for key in _COMMON_ARGUMENTS if hasattr(self, key)}

    def __reduce__(self) -> Any:
        return type(self).from_config, (self.get_config(),)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """Build the optimizer from what `get_config` returned."""
        return cls(**config)


def zeros_like_all(params: Sequence[Any], slot: str) -> list[Any]:
    """Make a variable of zeros for each weight.

    Args:
        params: the weights.
        slot: what the variables hold, for their names.
    """
    return [K.zeros(K.int_shape(p), dtype=K.dtype(p), name=f"{p.name}/{slot}") for p in params]


def number(value: Any) -> Any:
    """Return a hyper-parameter as plain data: a float, or a schedule's description."""
    if isinstance(value, LearningRateSchedule):
        return value.serialize()
    value = K.get_value(value) if getattr(value, "is_variable", False) else value
    # By way of the shortest decimal, so that a float32 of 0.01 is written 0.01.
    return float(str(value)) if isinstance(value, (np.ndarray, np.floating)) else float(value)


def _constrained(p: Any, new_p: Any, constraints: Mapping[Any, Any] | None) -> Any:
    constraint = None
    if constraints is not None and p in constraints:
        constraint = constraints[p]
    elif getattr(p, "constraint", None) is not None:
        constraint = p.constraint
    return new_p if constraint is None else constraint(new_p)


def _unexpected_argument(cls: type, key: str) -> str:
    own = inspect.signature(cls).parameters
    known = {*_COMMON_ARGUMENTS, *own, "learning_rate"} - {"self", "kwargs"}
    message = f"Unexpected keyword argument passed to optimizer {cls.__name__}: {key!r}."
    meant = nearest_name(key, known)
    return f"{message} Did you mean {meant!r}?" if meant else message
