"""Functions compiled from tensors, gradients, branches, and loops over time and elements."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _core
from .._core import Tensor, Variable
from .convert import as_tensor, dim, dims, promote
from .shapes import stack
from .variables import learning_phase, phase_tensor


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


def rnn(
    step_function: Callable[[Tensor, list[Any]], tuple[Tensor, list[Tensor]]],
    inputs: Any,
    initial_states: Sequence[Any],
    go_backwards: bool = False,
    mask: Any = None,
    constants: Sequence[Any] | None = None,
    unroll: bool = False,
    input_length: int | None = None,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Run a step function over the time axis, one step after the other.

    At a masked step the states stay as they are, and the output is the first state (that of the
    step before, when there are no states).

    Args:
        step_function: takes the input of a step, shape (batch, ...), and the list of states
            followed by the constants; returns the output and the list of new states.
        inputs: tensor of shape (batch, time, ...).
        initial_states: the states before the first step.
        go_backwards: go from the last step to the first; outputs come in the order of the run.
        mask: tensor of shape (batch, time) or (batch, time, 1), 0 at steps to skip.
        constants: tensors that every step gets.
        unroll: accepted; the steps are laid out one by one in any case.
        input_length: number of steps, where the shape of `inputs` does not tell.

    Returns:
        The last output, the outputs of shape (batch, time, ...), and the last states.

    Raises:
        ValueError: when the number of steps is not known, or the ranks are too small.
    """
    x = as_tensor(inputs)
    if x.ndim < 3:
        raise ValueError(f"rnn: inputs need at least 3 axes, got the shape {tuple(x.shape)}")
    steps = x.shape[1] if x.shape[1] is not None else input_length
    if steps is None:
        raise ValueError(
            "rnn: the number of time steps must be known. Give the input a fixed length, as in "
            "Input(shape=(10, 64)) or input_length=10."
        )
    order = range(steps)[::-1] if go_backwards else range(steps)
    keep = None if mask is None else _time_mask(mask)
    states = [as_tensor(s) for s in initial_states]
    constants = list(constants or [])
    outputs: list[Tensor] = []
    for t in order:
        output, new_states = step_function(_step(x, t), [*states, *constants])
        if len(new_states) != len(states):
            raise ValueError(
                f"rnn: the step function returned {len(new_states)} states, not {len(states)}"
            )
        if keep is not None:
            valid = _step(keep, t)
            output = switch(valid, output, _held_output(output, states, outputs))
            new_states = [switch(valid, n, s) for n, s in zip(new_states, states, strict=True)]
        outputs.append(output)
        states = list(new_states)
    return outputs[-1], stack(outputs, axis=1), states


def _time_mask(mask: Any) -> Tensor:
    mask = as_tensor(as_tensor(mask), "bool")
    if mask.ndim == 3:
        return _core.reshape(mask, [dim(mask, 0), dim(mask, 1)])
    return mask


def _step(x: Tensor, t: int) -> Tensor:
    part = _core.slice(x, [(None, None, 1), (t, t + 1, 1)] + [(None, None, 1)] * (x.ndim - 2))
    return _core.reshape(part, [dim(x, a) for a in range(x.ndim) if a != 1])


def _held_output(output: Tensor, states: list[Tensor], outputs: list[Tensor]) -> Tensor:
    if states:
        return states[0]
    return outputs[-1] if outputs else output * 0


def map_fn(fn: Callable[..., Any], elems: Any, name: str | None = None, dtype: Any = None) -> Any:
    """Apply a function to each slice of `elems` along axis 0 and stack the results.

    Args:
        fn: function of one tensor (of a list of them, when `elems` is a list).
        elems: a tensor or a list of tensors, whose axis 0 has a known size.
        name: accepted, not used.
        dtype: type of the results, their own for None.
    """
    results = [as_tensor(fn(e), dtype) for e in _elements(elems, "map_fn")]
    return stack(results, axis=0)


def foldl(
    fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, name: str | None = None
) -> Any:
    """Combine the slices of `elems` from first to last: `fn(accumulated, slice)`.

    Args:
        fn: function of two arguments.
        elems: a tensor whose axis 0 has a known size.
        initializer: what to begin with, the first slice for None.
        name: accepted, not used.
    """
    return _fold(fn, _elements(elems, "foldl"), initializer)


def foldr(
    fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, name: str | None = None
) -> Any:
    """Combine the slices of `elems` from last to first (see `foldl`)."""
    return _fold(fn, _elements(elems, "foldr")[::-1], initializer)


def _fold(fn: Callable[[Any, Any], Any], parts: list[Any], initializer: Any) -> Any:
    total = initializer
    for part in parts:
        total = part if total is None else fn(total, part)
    return total


def _elements(elems: Any, what: str) -> list[Any]:
    if isinstance(elems, (list, tuple)):
        columns = [_elements(e, what) for e in elems]
        return [list(row) for row in zip(*columns, strict=True)]
    x = as_tensor(elems)
    count = x.shape[0] if x.ndim else None
    if count is None:
        raise ValueError(f"{what}: the size of axis 0 must be known, got {tuple(x.shape)}")
    rest = [(None, None, 1)] * (x.ndim - 1)
    return [
        _core.reshape(_core.slice(x, [(i, i + 1, 1), *rest]), dims(x)[1:]) for i in range(count)
    ]
