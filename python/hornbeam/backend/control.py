"""Functions compiled from tensors, gradients and branches."""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from .._core import Tensor, Variable
from .convert import as_tensor, dims, promote
from .variables import learning_phase, phase_tensor

# Each call of `print_tensor` is an operation of its own.
_prints = itertools.count()


class Function:
    """A compiled function from arrays to arrays, which may update variables.

    Attributes:
        inputs: the tensors that are fed, in the order of the arguments.
        outputs: the tensors that are computed.
        core: the core's function behind it.
    """

    def __init__(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Tensor],
        updates: Sequence[tuple[Variable, Tensor]] | None = None,
        name: str | None = None,
        **session_kwargs: Any,
    ) -> None:
        """Compile a function (see `function`)."""
        if session_kwargs:
            raise TypeError(f"function: unknown arguments {sorted(session_kwargs)}")
        updates = [] if updates is None else updates
        for what, given in (("inputs", inputs), ("outputs", outputs), ("updates", updates)):
            if not isinstance(given, (list, tuple)):
                raise TypeError(f"`{what}` to a function must be a list or tuple, got {given!r}")
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.updates = check_updates(updates)
        phase = phase_tensor()
        # The phase selects a plan instead of being computed with; a fixed phase (an int) is no
        # input at all, but code written for either passes a value for it.
        self._phases = [
            i for i, x in enumerate(self.inputs) if x is phase or not isinstance(x, Tensor)
        ]
        self._fed = [(i, x) for i, x in enumerate(self.inputs) if i not in self._phases]
        self.core = _core.Function([x for _, x in self._fed], self.outputs, self.updates, name)

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Run the function on one array for each input; return one array for each output."""
        if not isinstance(inputs, (list, tuple)):
            raise TypeError("`inputs` should be a list or tuple.")
        if len(inputs) != len(self.inputs):
            raise ValueError(
                f"The function takes {len(self.inputs)} inputs, {len(inputs)} were given"
            )
        arrays = [to_array(inputs[i], x) for i, x in self._fed]
        training = builtins.any(builtins.bool(np.any(inputs[i])) for i in self._phases)
        results = self.core(arrays, training)
        return [r[()] if r.ndim == 0 else r for r in results]


def to_array(value: Any, like: Tensor) -> np.ndarray:
    """Return `value` as a contiguous array of the type of the placeholder `like`."""
    if hasattr(value, "toarray"):
        value = value.toarray()
    array = np.asarray(value)
    return np.ascontiguousarray(array, dtype=like.dtype).reshape(array.shape)


def check_updates(updates: Sequence[Any]) -> list[tuple[Variable, Tensor]]:
    """Return updates as pairs of a variable and its new value, of one type.

    Raises:
        TypeError: for anything that is no such pair.
    """
    checked = []
    for pair in updates:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise TypeError(f"An update is a pair (variable, new value), got {pair!r}")
        x, value = pair
        if not isinstance(x, Variable):
            raise TypeError(f"Only a variable can be updated, got {x!r}")
        checked.append((x, as_tensor(value, x.dtype)))
    return checked


def function(
    inputs: Sequence[Any],
    outputs: Sequence[Tensor],
    updates: Sequence[tuple[Variable, Tensor]] | None = None,
    **kwargs: Any,
) -> Function:
    """Compile a function.

    Args:
        inputs: list of placeholders (and, on request, `learning_phase()`).
        outputs: list of tensors to compute.
        updates: pairs of a variable and the value it gets after each call.
        **kwargs: `name`, for messages.
    """
    return Function(inputs, outputs, updates, **kwargs)


def gradients(loss: Any, variables: Any) -> list[Tensor | None]:
    """Return the gradients of a loss (or the sum of several).

    Args:
        loss: a tensor or a list of tensors; the elements of each are summed.
        variables: a tensor or a list of tensors, not only variables.

    Returns:
        A tensor for each, None where the loss does not depend on it.
    """
    losses = list(loss) if isinstance(loss, (list, tuple)) else [loss]
    wrt = list(variables) if isinstance(variables, (list, tuple)) else [variables]
    return _core.gradients(losses, wrt)


def stop_gradient(variables: Any) -> Any:
    """Return the same values, as constants to any gradient; a list gives a list."""
    if isinstance(variables, (list, tuple)):
        return [_core.stop_gradient(as_tensor(x)) for x in variables]
    return _core.stop_gradient(as_tensor(variables))


def print_tensor(x: Any, message: str = "") -> Tensor:
    """Return the same values, and show them each time that they are computed.

    Each run of a function (a training step, a prediction) that needs the result writes a line to
    `sys.stderr`: the message and the values, as NumPy writes an array. So the result has to be
    used: what the function does not need is not computed, and not shown. Gradients pass through.

    Args:
        x: tensor.
        message: what is written before the values.
    """
    return _core.print(as_tensor(x), str(message), next(_prints))


def _value(expression: Any) -> Any:
    return expression() if callable(expression) else expression


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Tensor:
    """Choose between two tensors, as a whole or element by element.

    Args:
        condition: a scalar, or a tensor whose axes are the first ones of the branches.
        then_expression: tensor, or a function that returns it, taken where the condition holds.
        else_expression: tensor, or a function that returns it, taken elsewhere.
    """
    condition = as_tensor(as_tensor(condition), "bool")
    x, y = promote(_value(then_expression), _value(else_expression))
    rank = builtins.max(x.ndim, y.ndim)
    if 0 < condition.ndim < rank:
        condition = _core.reshape(condition, dims(condition) + [1] * (rank - condition.ndim))
    return _core.select(condition, x, y)


def in_train_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """Return `x` while training, else `alt`.

    Args:
        x: tensor, or a function that returns it.
        alt: tensor, or a function that returns it.
        training: True or 1, False or 0, or a tensor; the learning phase for None.
    """
    phase = learning_phase() if training is None else training
    if not isinstance(phase, Tensor):
        return _value(x) if phase else _value(alt)
    train, test = _value(x), _value(alt)
    return train if train is test else switch(phase, train, test)


def in_test_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """Return `x` outside of training, else `alt` (see `in_train_phase`)."""
    return in_train_phase(alt, x, training)
