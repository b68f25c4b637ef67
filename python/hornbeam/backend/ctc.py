"""Connectionist temporal classification: the loss of a labelling without an alignment.

The probability of a labelling is the sum over all alignments of it to the time steps, with repeats
merged and blanks dropped; the forward recursion of Graves et al. (2006) sums them step by step,
here on logarithms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from .._core import Tensor
from .convert import as_tensor, dim, to_float
from .loops import rnn
from .math import argmax, cumsum, logsumexp, max, sum
from .nn import log_softmax
from .shapes import concatenate, expand_dims, one_hot, squeeze, stack

# Stands for the logarithm of 0: sums of a few stay finite, and its exponential is 0.
_NEVER = -1e30


def ctc_batch_cost(y_true: Any, y_pred: Any, input_length: Any, label_length: Any) -> Tensor:
    """Return the CTC loss of each sample.

    Args:
        y_true: class numbers of shape (samples, max_labels), of which the first `label_length`
            count.
        y_pred: probabilities of shape (samples, time, classes), the last class being the blank.
        input_length: number of time steps of each sample, shape (samples, 1).
        label_length: number of labels of each sample, shape (samples, 1).

    Returns:
        Tensor of shape (samples, 1): minus the logarithm of the labelling's probability.

    Raises:
        ValueError: when the number of classes or of labels is not known.
    """
    y_pred = to_float(y_pred)
    labels = as_tensor(as_tensor(y_true), "int64")
    classes, count = y_pred.shape[-1], labels.shape[-1]
    if classes is None or count is None:
        raise ValueError(
            "ctc_batch_cost: the numbers of classes and of labels must be known, got the shapes "
            f"{tuple(y_pred.shape)} and {tuple(labels.shape)}"
        )
    log_p = log_softmax(_core.unary("log", y_pred + 1e-8))
    path = _with_blanks(labels, count, classes - 1)
    # What each state of the path emits at each step: (samples, time, 2 labels + 1).
    choice = as_tensor(one_hot(path, classes), y_pred.dtype)
    emitted = _core.matmul(log_p, choice, transpose_b=True)
    jump = _may_jump(path, classes - 1, y_pred.dtype)
    steps = squeeze(as_tensor(as_tensor(input_length), "int64"), -1)
    times = _core.arange(0, dim(y_pred, 1), 1, "int64")
    running = _core.binary("lt", _core.reshape(times, [1, dim(y_pred, 1)]), expand_dims(steps, -1))

    def step(now: Tensor, states: list[Any]) -> tuple[Tensor, list[Tensor]]:
        alpha, jumps = states
        one, two = _shifted(alpha, 1), _shifted(alpha, 2) + jumps
        total = logsumexp(stack([alpha, one, two], axis=-1), axis=-1) + now
        return total, [total]

    # Before the first step the path is in a state before the first, one step from the first two.
    start = _start(emitted)
    padded = concatenate([_column(emitted, _NEVER), emitted], axis=-1)
    jumps = concatenate([_row(jump, 0.0), jump], axis=-1)
    _, _, (alpha,) = rnn(step, padded, [start], mask=running, constants=[jumps])
    return _final(alpha, label_length)


def ctc_decode(
    y_pred: Any,
    input_length: Any,
    greedy: bool = True,
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
) -> tuple[list[Tensor], Tensor]:
    """Return the likeliest labellings of each sample.

    Args:
        y_pred: probabilities of shape (samples, time, classes), the last class being the blank.
        input_length: number of time steps of each sample, shape (samples,).
        greedy: True takes the likeliest class of each step; False searches the labellings whose
            alignments are likeliest together (prefix beam search).
        beam_width: labellings that the search keeps at each step.
        top_paths: labellings that the search returns, the likeliest first.
        merge_repeated: whether the search drops a label that equals the one before it, even where
            a blank came between, as Keras 2 does; False returns the labellings as they were found.

    Returns:
        A list of tensors of class numbers, each of shape (samples, time), filled up with -1: one
        if greedy, else `top_paths`. And a tensor: if greedy, minus the sum of the logarithms of
        the chosen probabilities, shape (samples, 1); else the logarithm of each labelling's
        probability, shape (samples, top_paths), minus infinity where there are not so many.

    Raises:
        ValueError: when the number of classes is not known, or is 0; when `top_paths` is less than
            1 or more than `beam_width`.
    """
    y_pred = to_float(y_pred)
    classes = y_pred.shape[-1]
    if classes is None:
        raise ValueError(f"ctc_decode: the classes must be known, got shape {y_pred.shape}")
    if greedy:
        return _likeliest_alignment(y_pred, classes, input_length)
    log_p = log_softmax(_core.unary("log", y_pred + 1e-8))
    steps = _core.reshape(as_tensor(as_tensor(input_length), "int64"), [dim(y_pred, 0)])
    found, scores = _core.ctc_beam_search(log_p, steps, int(beam_width), int(top_paths))
    if merge_repeated:
        found = _without_repeats(found)
    everything = (None, None, 1)
    paths = [_core.slice(found, [everything, (k, k + 1, 1), everything]) for k in range(top_paths)]
    return [squeeze(path, 1) for path in paths], scores


def _likeliest_alignment(
    y_pred: Tensor, classes: int, input_length: Any
) -> tuple[list[Tensor], Tensor]:
    """Return the labelling of the likeliest alignment (see `ctc_decode`)."""
    samples, length = dim(y_pred, 0), dim(y_pred, 1)
    best = argmax(y_pred, axis=-1)
    times = _core.arange(0, length, 1, "int64")
    steps = _core.reshape(as_tensor(as_tensor(input_length), "int64"), [samples, 1])
    running = _core.binary("lt", _core.reshape(times, [1, length]), steps)
    log_p = _core.unary("log", max(y_pred, axis=-1) + 1e-8)
    score = -sum(_core.select(running, log_p, as_tensor(0.0, y_pred.dtype)), axis=1, keepdims=True)
    # A class counts where it is no blank and differs from that of the step before.
    kept = _core.binary("and", running, _differs_from_the_last(best))
    kept = _core.binary("and", kept, _core.binary("ne", best, as_tensor(classes - 1, best.dtype)))
    return [_moved_up(best, kept)], score


def _without_repeats(found: Tensor) -> Tensor:
    """Return labellings (samples, paths, time) without labels that equal the one before."""
    samples, paths, length = (dim(found, axis) for axis in range(3))
    rows = _core.reshape(found, [samples * paths, length])
    label = _core.binary("ge", rows, as_tensor(0, rows.dtype))
    kept = _core.binary("and", label, _differs_from_the_last(rows))
    return _core.reshape(_moved_up(rows, kept), [samples, paths, length])


def _differs_from_the_last(classes: Tensor) -> Tensor:
    """Tell for each step of (rows, time) whether its class is not that of the step before."""
    every = (None, None, 1)
    before = _core.slice(_core.pad(classes, [(0, 0), (1, 0)], -1.0), [every, (None, -1, 1)])
    return _core.binary("ne", classes, before)


def _moved_up(classes: Tensor, kept: Tensor) -> Tensor:
    """Return the classes that are kept, (rows, time), one behind the other, and -1 behind them."""
    rows, length = dim(classes, 0), dim(classes, 1)
    times = _core.arange(0, length, 1, "int64")
    # The k-th class that counts goes to place k - 1; for each place the one there is summed out.
    rank = cumsum(_core.cast(kept, "int64"), axis=1) - 1
    here = _core.binary(
        "eq",
        _core.reshape(rank, [rows, length, 1]),
        _core.reshape(times, [1, 1, length]),
    )
    here = _core.binary("and", here, expand_dims(kept, -1))
    none = as_tensor(0, classes.dtype)
    return sum(_core.select(here, expand_dims(classes + 1, -1), none), axis=1) - 1


def _with_blanks(labels: Tensor, count: int, blank: int) -> Tensor:
    """Return the labels with a blank before, between and after them."""
    filler = _core.constant(np.asarray(blank, dtype="int64"))
    blanks = _core.broadcast_to(filler, [dim(labels, 0), count])
    pairs = _core.reshape(stack([blanks, labels], axis=-1), [dim(labels, 0), 2 * count])
    return concatenate([pairs, _core.broadcast_to(filler, [dim(labels, 0), 1])], axis=-1)


def _may_jump(path: Tensor, blank: int, dtype: str) -> Tensor:
    """Return 0 where a state may follow the one before the last, else 'never'."""
    size = path.shape[-1] or 0
    here = _core.slice(path, [(None, None, 1), (2, None, 1)])
    before = _core.slice(path, [(None, None, 1), (None, size - 2, 1)])
    label = _core.binary("ne", here, as_tensor(blank, "int64"))
    allowed = _core.binary("and", label, _core.binary("ne", here, before))
    never = as_tensor(_NEVER, dtype)
    rest = _core.select(allowed, as_tensor(0.0, dtype), never)
    # The first label may be reached from before the path; the first blank is one step from there.
    first = _core.broadcast_to(as_tensor(np.asarray([_NEVER, 0.0]), dtype), [dim(path, 0), 2])
    return concatenate([first, rest], axis=-1)


def _shifted(alpha: Tensor, by: int) -> Tensor:
    """Return the states moved up by some places, 'never' in those that are left."""
    kept = _core.slice(alpha, [(None, None, 1), (None, -by, 1)])
    return _core.pad(kept, [(0, 0), (by, 0)], _NEVER)


def _column(x: Tensor, value: float) -> Tensor:
    return _core.broadcast_to(as_tensor(value, x.dtype), [dim(x, 0), dim(x, 1), 1])


def _row(x: Tensor, value: float) -> Tensor:
    return _core.broadcast_to(as_tensor(value, x.dtype), [dim(x, 0), 1])


def _start(emitted: Tensor) -> Tensor:
    """Return the logarithms before the first step: certain to be before the path."""
    size = emitted.shape[-1] or 0
    values = np.full(size + 1, _NEVER)
    values[0] = 0.0
    return _core.broadcast_to(as_tensor(values, emitted.dtype), [dim(emitted, 0), size + 1])


def _final(alpha: Tensor, label_length: Any) -> Tensor:
    """Return minus the logarithm of ending in the last label or in the blank behind it."""
    last = as_tensor(as_tensor(label_length), "int64") * 2
    places = _core.reshape(_core.arange(0, dim(alpha, 1), 1, "int64"), [1, dim(alpha, 1)])
    # Place 0 is before the path, so the blank behind the labels is at 2 n + 1.
    at_end = _core.binary(
        "or", _core.binary("eq", places, last), _core.binary("eq", places, last + 1)
    )
    counted = _core.binary("and", at_end, _core.binary("gt", places, as_tensor(0, "int64")))
    kept = _core.select(counted, alpha, as_tensor(_NEVER, alpha.dtype))
    return -logsumexp(kept, axis=-1, keepdims=True)
