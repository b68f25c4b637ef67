"""Training, evaluation and prediction on batches that come one by one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import batches_of, is_stream
from ..data.stream import as_batch, is_loader, is_sequence
from ..utils.generic_utils import to_list, unpack_singleton
from . import checks, loop
from .strategy import get_strategy

# What a stream without batches gives: a batch may be anything, and None is one that makes no sense.
_END = object()


@dataclass
class Options:
    """How batches are made ahead.

    Attributes:
        queue: how many batches wait.
        workers: threads or processes that make them.
        processes: whether they are processes.
    """

    queue: int = 10
    workers: int = 1
    processes: bool = False


@dataclass
class Schedule:
    """How long training goes on.

    Attributes:
        steps: batches in an epoch, None for the length of the stream.
        epochs: the epoch to stop before.
        initial_epoch: the epoch to begin with.
    """

    steps: int | None
    epochs: int
    initial_epoch: int = 0


def step_count(stream: Any, steps: int | None, what: str) -> int:
    """Return the number of batches asked for, the length of the stream where none is.

    Raises:
        ValueError: when neither tells.
    """
    if steps is None:
        if not hasattr(stream, "__len__"):
            raise ValueError(
                f"`{what}` must be given for a generator: it has no length. Say how many batches "
                "to draw from it."
            )
        steps = len(stream)
    return checks.check_positive(steps, what)


@contextmanager
def batches(stream: Any, options: Options) -> Iterator[Iterator[Any]]:
    """Inside the block, give the batches of a stream, made ahead by workers."""
    from ..utils.data_utils import GeneratorEnqueuer, OrderedEnqueuer

    if is_loader(stream) or options.workers == 0:
        # A loader has workers of its own.
        yield batches_of(stream) if hasattr(stream, "__len__") else map(as_batch, stream)
        return
    enqueuer: Any
    spread = getattr(get_strategy(), "spread", None)
    if is_sequence(stream) and options.processes and spread is not None:
        # Threads wait for processes that there are elsewhere.
        enqueuer = OrderedEnqueuer(spread(stream))
    elif is_sequence(stream):
        enqueuer = OrderedEnqueuer(stream, use_multiprocessing=options.processes)
    else:
        enqueuer = GeneratorEnqueuer(stream, pickle_safe=options.processes)
    try:
        enqueuer.start(workers=options.workers, max_q_size=options.queue)
        yield map(as_batch, enqueuer.get())
    finally:
        enqueuer.stop()


def draw(source: Iterator[Any], done: int, steps: int) -> Any:
    """Return the next batch.

    Raises:
        ValueError: when there is none.
    """
    batch = next(source, _END)
    if batch is _END:
        raise ValueError(
            f"The generator ended after {done} batches of the {steps} that were expected. Let it "
            "loop without end, or ask for fewer steps."
        )
    return batch


def split_batch(batch: Any, needs_targets: bool = True) -> tuple[Any, Any, Any]:
    """Return inputs, targets and weights of a batch.

    Raises:
        ValueError: when it is no tuple of two or three.
    """
    if isinstance(batch, (list, tuple)) and len(batch) in (2, 3):
        return batch[0], batch[1], batch[2] if len(batch) == 3 else None
    if not needs_targets:
        if isinstance(batch, (list, tuple)) and len(batch) == 1:
            return batch[0], None, None
        return batch, None, None
    raise ValueError(
        "Output of generator should be a tuple `(x, y, sample_weight)` or `(x, y)`. Found: "
        f"{str(batch)[:200]}"
    )


def batch_length(x: Any) -> int:
    """Return the number of samples in the inputs of a batch."""
    if isinstance(x, dict):
        x = next(iter(x.values()))
    elif isinstance(x, (list, tuple)):
        x = x[0]
    return len(x)


def fit_generator(
    model: Any,
    stream: Any,
    schedule: Schedule,
    verbose: int,
    callbacks: Sequence[Any] | None,
    validation_data: Any,
    validation_steps: int | None,
    class_weight: Any,
    options: Options,
) -> Any:
    """Train on a stream (see `Model.fit_generator`)."""
    checks.check_count(schedule.epochs, "epochs")
    checks.check_count(schedule.initial_epoch, "initial_epoch")
    verbose = checks.check_verbose(verbose)
    steps = step_count(stream, schedule.steps, "steps_per_epoch")
    if is_stream(validation_data):
        step_count(validation_data, validation_steps, "validation_steps")
    with batches(stream, options) as source:
        if not model.built:
            # The first batch tells the shape of the input.
            first = draw(source, 0, steps)
            model._adapt(split_batch(first)[0])
            source = itertools.chain([first], source)
        model._require_compiled()
        validate, kept = _validation(model, validation_data, validation_steps, options)
        names = list(model.metrics_names)
        params = {
            "batch_size": getattr(stream, "batch_size", None),
            "epochs": schedule.epochs,
            "steps": steps,
            "samples": steps,
            "verbose": verbose,
            "do_validation": validate is not None,
            "metrics": names + ([f"val_{n}" for n in names] if validate else []),
        }
        every, history = loop.prepare_callbacks(model, callbacks, verbose, params, "steps", kept)
        program = model._make_train_function()
        position = loop.FitPosition(schedule.initial_epoch, program, list(every))
        every.set_position(position)
        every.on_train_begin()
        while position.epoch < schedule.epochs and not position.stopped:
            epoch = position.epoch
            every.on_epoch_begin(epoch)
            logs, size = _run_epoch(model, source, steps, class_weight, every)
            check = None if validate is None else functools.partial(validate, size)
            logs = loop.finish_epoch(logs, check)
            position.epoch = epoch + 1
            every.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        get_strategy().fetch()
        every.on_train_end()
    return history


def _run_epoch(
    model: Any, source: Iterator[Any], steps: int, class_weight: Any, every: Any
) -> tuple[dict[str, float], int]:
    """Train on one epoch's batches; return the means and the size of the last batch."""
    names = model.metrics_names
    totals, samples, size = np.zeros(len(names)), 0, 1
    for index in range(steps):
        x, y, weights = split_batch(draw(source, index, steps))
        size = batch_length(x)
        logs: dict[str, Any] = {"batch": index, "size": size}
        every.on_batch_begin(index, logs)
        values = to_list(
            model.train_on_batch(x, y, sample_weight=weights, class_weight=class_weight)
        )
        logs.update(zip(names, values, strict=True))
        every.on_batch_end(index, logs)
        everywhere = get_strategy().step_samples(size)
        totals += np.multiply(values, everywhere)
        samples += everywhere
        if model.stop_training:
            break
    means = totals / max(1, samples)
    return {name: float(m) for name, m in zip(names, means, strict=True)}, size


def _validation(
    model: Any, data: Any, steps: int | None, options: Options
) -> tuple[Callable[[int], list[float]] | None, Any]:
    """Return the function that validates, given a batch size, and the arrays callbacks see."""
    if data is None:
        return None, None
    if is_stream(data):

        def by_stream(size: int) -> list[float]:
            values = to_list(evaluate_generator(model, data, steps, options))
            return [float(value) for value in values]

        return by_stream, None
    arrays = model._validation_arrays(data, None)

    def by_arrays(size: int) -> list[float]:
        return list(model._validator(*arrays, batch_size=size)())

    return by_arrays, checks.user_arrays(data, arrays)


def evaluate_generator(model: Any, stream: Any, steps: int | None, options: Options) -> Any:
    """Evaluate on a stream (see `Model.evaluate_generator`)."""
    steps = step_count(stream, steps, "steps")
    results, sizes = [], []
    with batches(stream, options) as source:
        for index in range(steps):
            x, y, weights = split_batch(draw(source, index, steps))
            results.append(to_list(model.test_on_batch(x, y, sample_weight=weights)))
            sizes.append(batch_length(x))
    totals = np.dot(sizes, np.asarray(results, dtype="float64"))
    sums = get_strategy().sum_over_members(np.append(totals, float(sum(sizes))))
    means = sums[:-1] / sums[-1]
    return unpack_singleton([np.float64(value) for value in means])


def predict_generator(
    model: Any, stream: Any, steps: int | None, options: Options, verbose: int = 0
) -> Any:
    """Predict on a stream (see `Model.predict_generator`)."""
    from ..utils.progbar import Progbar

    steps = step_count(stream, steps, "steps")
    parts: list[list[Any]] = []
    bar = Progbar(target=steps) if verbose else None
    with batches(stream, options) as source:
        for index in range(steps):
            x, _, _ = split_batch(draw(source, index, steps), needs_targets=False)
            parts.append(to_list(model.predict_on_batch(x)))
            if bar is not None:
                bar.update(index + 1)
    return unpack_singleton([np.concatenate(column) for column in zip(*parts, strict=True)])
