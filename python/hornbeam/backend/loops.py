"""Loops over time and over elements, as scans of the core or laid out step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import _core
from .._core import Tensor
from .control import switch
from .convert import as_tensor, dim
from .shapes import stack
from .variables import zeros_like

StepFunction = Callable[[Tensor, list[Any]], tuple[Tensor, Sequence[Tensor]]]


def rnn(
    step_function: StepFunction,
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
        unroll: lay the steps out one by one instead of looping over them: more to compile, but
            the steps can be optimised together.
        input_length: number of steps to lay out, where the shape of `inputs` does not tell.

    Returns:
        The last output, the outputs of shape (batch, time, ...), and the last states.

    Raises:
        ValueError: when steps are to be laid out and their number is unknown, the step function
            returns another number of states, or `inputs` has fewer than three axes.
    """
    x = as_tensor(inputs)
    if x.ndim < 3:
        raise ValueError(f"rnn: inputs need at least 3 axes, got the shape {tuple(x.shape)}")
    keep = None if mask is None else _time_mask(mask)
    states = [as_tensor(s) for s in initial_states]
    step = _checked(step_function, len(states), list(constants or []))
    if not unroll:
        return _scanned(step, x, states, go_backwards, keep)
    steps = x.shape[1] if x.shape[1] is not None else input_length
    if steps is None:
        raise ValueError(
            "rnn: unroll=True needs a known number of time steps. Give the input a fixed length, "
            "as in Input(shape=(10, 64)) or input_length=10."
        )
    order = range(steps)[::-1] if go_backwards else range(steps)
    return _unrolled(step, x, states, order, keep)


def _checked(step_function: StepFunction, count: int, constants: list[Any]) -> Any:
    """Return the step function with its constants bound and its results checked."""

    def step(x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        output, new_states = step_function(x, [*states, *constants])
        if len(new_states) != count:
            raise ValueError(
                f"rnn: the step function returned {len(new_states)} states, not {count}"
            )
        return output, list(new_states)

    return step


def _time_mask(mask: Any) -> Tensor:
    mask = as_tensor(as_tensor(mask), "bool")
    if mask.ndim == 3:
        return _core.reshape(mask, [dim(mask, 0), dim(mask, 1)])
    return mask


def _at(x: Tensor, t: int, axis: int) -> Tensor:
    """Return the slice of `x` at index `t` of an axis, which is dropped."""
    ranges: list[Any] = [(None, None, 1)] * x.ndim
    ranges[axis] = (t, t + 1 if t != -1 else None, 1)
    part = _core.slice(x, ranges)
    return _core.reshape(part, [dim(x, a) for a in range(x.ndim) if a != axis])


def _unrolled(
    step: Any, x: Tensor, states: list[Tensor], order: range, keep: Tensor | None
) -> tuple[Tensor, Tensor, list[Tensor]]:
    outputs: list[Tensor] = []
    for t in order:
        output, new_states = step(_at(x, t, 1), states)
        if keep is not None:
            valid = _at(keep, t, 1)
            held = states[0] if states else outputs[-1] if outputs else zeros_like(output)
            output = switch(valid, output, held)
            new_states = _kept(valid, new_states, states)
        outputs.append(output)
        states = new_states
    return outputs[-1], stack(outputs, axis=1), states


def _kept(valid: Tensor, new: list[Tensor], old: Sequence[Tensor]) -> list[Tensor]:
    return [switch(valid, n, o) for n, o in zip(new, old, strict=True)]


def _time_first(x: Tensor) -> Tensor:
    return _core.transpose(x, [1, 0, *range(2, x.ndim)])


def _placeholder_like(x: Tensor, drop: int = 0) -> Tensor:
    return _core.placeholder(tuple(x.shape)[drop:], x.dtype)


def _scanned(
    step: Any, x: Tensor, states: list[Tensor], backwards: bool, keep: Tensor | None
) -> tuple[Tensor, Tensor, list[Tensor]]:
    sequences = [_time_first(x)]
    if keep is not None:
        sequences.append(_time_first(keep))
    slices = [_placeholder_like(s, drop=1) for s in sequences]
    before = [_placeholder_like(s) for s in states]
    output, after = step(slices[0], before)
    carried, holders = list(states), list(before)
    if keep is not None and not states:
        # A masked step repeats the output before it, which then is a state of the scan.
        carried = [zeros_like(step(_at(x, 0, 1), [])[0])]
        holders = [_placeholder_like(carried[0])]
        output = switch(slices[1], output, holders[0])
        after = [output]
    elif keep is not None:
        output = switch(slices[1], output, before[0])
        after = _kept(slices[1], after, before)
    after = [as_tensor(n, s.dtype) for n, s in zip(after, carried, strict=True)]
    (outputs,), last = _core.scan(
        sequences, carried, slices, holders, [output], after, bool(backwards)
    )
    # A scan leaves each result at the index of its step, whichever way it goes.
    final = _at(outputs, 0 if backwards else -1, 0)
    ordered = _core.reverse(outputs, [0]) if backwards else outputs
    return final, _time_first(ordered), list(last)[: len(states)]


def fused_rnn(
    cell: str,
    projection: Any,
    kernel: Any,
    states: Sequence[Any],
    activation: str,
    recurrent_activation: str,
    bias: Any = None,
    mask: Any = None,
    dropout: Any = None,
    go_backwards: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Run a recurrent cell over whole sequences in one operation.

    Args:
        cell: 'simple', 'gru' or 'lstm'.
        projection: the inputs times their kernel plus bias, shape (batch, time, gates * units),
            the gates in Keras' order.
        kernel: the recurrent kernel, shape (units, gates * units).
        states: h, or h and c for 'lstm', each of shape (batch, units).
        activation: 'linear', 'relu', 'tanh', 'sigmoid' or 'hard_sigmoid'.
        recurrent_activation: the gates' activation, one of the same.
        bias: the recurrent bias, shape (3 * units,), of a 'gru' with `reset_after`.
        mask: tensor of shape (batch, time), 0 at steps to skip.
        dropout: factors of the recurrent state for each gate, shape (gates, batch, units).
        go_backwards: go from the last step to the first; outputs come in the order of the run.

    Returns:
        The outputs of shape (batch, time, units), and the last states.
    """
    x = as_tensor(projection)
    return _core.rnn(
        cell,
        x,
        as_tensor(kernel, x.dtype),
        [as_tensor(s, x.dtype) for s in states],
        activation,
        recurrent_activation,
        None if bias is None else as_tensor(bias, x.dtype),
        None if mask is None else _time_mask(mask),
        None if dropout is None else as_tensor(dropout, x.dtype),
        bool(go_backwards),
    )


def map_fn(fn: Callable[..., Any], elems: Any, name: str | None = None, dtype: Any = None) -> Any:
    """Apply a function to each slice of `elems` along axis 0 and stack the results.

    Args:
        fn: function of one tensor (of a list of them, when `elems` is a list).
        elems: a tensor or a list of tensors.
        name: accepted, not used.
        dtype: type of the results, their own for None.

    Returns:
        A tensor, or a list of them where `fn` returns a list.
    """
    sequences = _sequences(elems)
    slices = [_placeholder_like(s, drop=1) for s in sequences]
    result = fn(slices if isinstance(elems, (list, tuple)) else slices[0])
    several = isinstance(result, (list, tuple))
    outputs = [as_tensor(r, dtype) for r in (result if several else [result])]
    stacked, _ = _core.scan(sequences, [], slices, [], outputs, [], False)
    return list(stacked) if several else stacked[0]


def foldl(
    fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, name: str | None = None
) -> Any:
    """Combine the slices of `elems` from first to last: `fn(accumulated, slice)`.

    Args:
        fn: function of two arguments; its result has the shape of what is accumulated.
        elems: a tensor.
        initializer: what to begin with, the first slice for None.
        name: accepted, not used.
    """
    return _fold(fn, elems, initializer, backwards=False)


def foldr(
    fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, name: str | None = None
) -> Any:
    """Combine the slices of `elems` from last to first (see `foldl`)."""
    return _fold(fn, elems, initializer, backwards=True)


def _fold(fn: Callable[[Any, Any], Any], elems: Any, initializer: Any, backwards: bool) -> Any:
    x = as_tensor(elems)
    if initializer is None:
        initializer = _at(x, -1 if backwards else 0, 0)
        rest: list[Any] = [(None, None, 1)] * (x.ndim - 1)
        x = _core.slice(x, [(None, -1, 1) if backwards else (1, None, 1), *rest])
    start = as_tensor(initializer, x.dtype)
    element, total = _placeholder_like(x, drop=1), _placeholder_like(start)
    after = as_tensor(fn(total, element), start.dtype)
    _, last = _core.scan([x], [start], [element], [total], [], [after], backwards)
    return last[0]


def _sequences(elems: Any) -> list[Tensor]:
    tensors = list(elems) if isinstance(elems, (list, tuple)) else [elems]
    return [as_tensor(e) for e in tensors]
