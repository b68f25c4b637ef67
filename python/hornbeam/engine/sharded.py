"""A training step in two functions, for batches that are cut into logical shards.

The *gradient* function runs once for each shard and changes nothing: it returns the gradients of
the weights, the new values of the layers' running statistics and the scalars, all as means over the
shard. Means over the batch are then the means over the shards, weighted by their samples. The
*apply* function takes those and makes the updates. With one shard the two compute what the one
function of ordinary training computes.

Statistics of a batch are each shard's own, unless they are to be synchronized: then the core
combines them over all shards while the gradient function runs, going forward and back.

What a loss over the whole batch is divided by (masks, sample weights) is not known to a shard: the
*normalizers* function computes it, and its means over the batch go into the gradient function.
Penalties that do not depend on the batch are added by the apply function, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import backend as K
from . import compiling
from .strategy import Program


@dataclass(frozen=True)
class ShardedProgram(Program):
    """A training step for shards; `function` is its gradient function.

    Attributes:
        apply: the function that makes the updates.
        normalizers: the function of what losses are divided by, None where there is nothing.
        arrays: how many inputs of the gradient function, the first ones, are arrays of samples.
        synchronized: whether all statistics of a batch are those of the whole batch.
    """

    apply: Any = None
    normalizers: Any = None
    arrays: int = 0
    synchronized: bool = False

    @property
    def dtypes(self) -> list[str]:
        """The type of each array."""
        return [x.dtype for x in self.function.inputs[: self.arrays]]


@dataclass
class StepParts:
    """What a sharded step is made of.

    Attributes:
        name: the model's name.
        inputs: placeholders of inputs, targets and sample weights.
        plans: what training does with each output.
        added: losses that layers and weights add.
        weighted: whether there are sample weights.
        updates: the layers' updates.
        optimizer: the optimizer.
        constraints: constraints of the weights.
        synchronized: whether batch normalisation uses statistics of the whole batch instead of each
            shard's; else layers that ask for it do.
    """

    name: str
    inputs: list[Any]
    plans: Sequence[compiling.OutputPlan]
    added: Sequence[Any]
    weighted: bool
    updates: Sequence[tuple[Any, Any]]
    optimizer: Any
    constraints: Any
    synchronized: bool = False


@dataclass
class _Means:
    """Means over the whole batch that a shard takes as given."""

    given: list[Any] = field(default_factory=list)
    computed: list[Any] = field(default_factory=list)

    def __call__(self, x: Any) -> Any:
        """Return a placeholder for the mean of `x` over the batch."""
        placeholder = K.placeholder(shape=(), dtype="float32", name="normalizer")
        self.given.append(placeholder)
        self.computed.append(K.cast(K.mean(x), "float32"))
        return placeholder


def sharded_program(parts: StepParts, params: Sequence[Any]) -> ShardedProgram:
    """Return the functions of a training step for shards.

    Args:
        parts: what the step is made of.
        params: the weights to train. The optimizer makes its state for them.

    Raises:
        TypeError: when a weight to train, or a statistic of the batch, is not float32.
    """
    means = _Means()
    multiple = K.placeholder(shape=(), dtype="float32", name="shards_in_batch")
    penalties = [x for x in parts.added if isinstance(x, K.Tensor)]
    of_batch = dict(zip(penalties, K.depends_on(penalties, parts.inputs), strict=True))
    within = [_per_sample(x, multiple) for x in parts.added if of_batch.get(x, False)]
    outside = [x for x in parts.added if not of_batch.get(x, False)]
    loss, rest = compiling.step_scalars(parts.plans, within, parts.weighted, means)
    updates = compiling.merge_updates(parts.updates)
    # Before differentiation, so that gradients are those through the whole batch's statistics.
    values = [loss, *rest, *(new for _, new in updates), *means.computed]
    synchronized = iter(K.synchronize(values, parts.synchronized))
    loss = next(synchronized)
    rest = [next(synchronized) for _ in rest]
    updates = [(variable, next(synchronized)) for variable, _ in updates]
    normalizers = list(synchronized)
    gradients = K.gradients(loss, list(params))
    trained = [(p, g) for p, g in zip(params, gradients, strict=True) if g is not None]
    statistics, others = _split_updates(updates, parts.inputs)
    scalars = [loss, *rest]
    outputs = [*(g for _, g in trained), *(new for _, new in statistics), *scalars]
    for variable in [*(p for p, _ in trained), *(v for v, _ in statistics)]:
        if K.dtype(variable) != "float32":
            raise TypeError(
                f"Data-parallel training sums float32 values, but {variable.name!r}, which "
                f"depends on the batch, is {K.dtype(variable)}. Train models of other types in "
                "one process."
            )
    averages = [_like(v) for v, _ in [*trained, *statistics]]
    averages += [K.placeholder(shape=(), dtype="float32") for _ in scalars]
    count = len(trained)
    total = averages[count + len(statistics)]
    for penalty in outside:
        total = total + (K.mean(penalty) if getattr(penalty, "ndim", 0) else penalty)
    surrogate = _surrogate(total, [p for p, _ in trained], averages[:count])
    moved = averages[count : count + len(statistics)]
    updates = [
        *((v, new) for (v, _), new in zip(statistics, moved, strict=True)),
        *others,
        *parts.optimizer.get_updates(list(params), parts.constraints, surrogate),
    ]
    arrays = len(parts.inputs)
    return ShardedProgram(
        K.function(
            [*parts.inputs, *means.given, multiple],
            [K.cast(x, "float32") for x in outputs],
            name=f"{parts.name} gradient",
        ),
        scalars=len(scalars),
        training=True,
        apply=K.function(
            averages,
            [total, *averages[count + len(statistics) + 1 :]],
            compiling.merge_updates(updates),
            name=f"{parts.name} apply",
        ),
        normalizers=K.function(parts.inputs, normalizers, name=f"{parts.name} normalizers")
        if means.given
        else None,
        arrays=arrays,
        synchronized=parts.synchronized,
    )


def _per_sample(penalty: Any, multiple: Any) -> Any:
    """Return a penalty as a mean over shards takes it: a sum over the batch counts in full."""
    return penalty * multiple if getattr(penalty, "sums_over_batch", False) else penalty


def _split_updates(
    updates: Sequence[tuple[Any, Any]], inputs: Sequence[Any]
) -> tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]]:
    """Return the updates that depend on the batch, and the others."""
    depends = K.depends_on([value for _, value in updates], inputs)
    statistics = [u for u, of_batch in zip(updates, depends, strict=True) if of_batch]
    others = [u for u, of_batch in zip(updates, depends, strict=True) if not of_batch]
    return statistics, others


def _like(variable: Any) -> Any:
    return K.placeholder(shape=K.int_shape(variable), dtype="float32", name=variable.name)


def _surrogate(total: Any, params: Sequence[Any], gradients: Sequence[Any]) -> Any:
    """Return a scalar with the value of the loss whose gradients are the given ones.

    So every optimizer, custom ones too, gets the averaged gradients where it asks for those of a
    loss. The gradients of penalties in `total` are added by differentiation.
    """
    products = [K.sum(p * g) for p, g in zip(params, gradients, strict=True)]
    for product in products:
        total = total + (product - K.stop_gradient(product))
    return total
