"""What `compile` makes of its arguments: losses, metrics and the scalars that steps compute.

The formulas are those of Keras 2: a masked loss is divided by the mean of its mask, a weighted one
by the fraction of weights that are not 0, so that neither padding nor ignored samples dilute it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import backend as K
from ..utils.generic_utils import get_custom_objects, nearest_name
from ..utils.user_warnings import warn


@dataclass
class OutputPlan:
    """What training does with one output.

    Attributes:
        name: name of the output's layer.
        tensor: the predictions.
        mask: their mask, or None.
        loss: the loss function, None where the output is not trained.
        loss_weight: factor of the loss in the total.
        mode: None, or 'temporal' for a sample weight for each step.
        metrics: pairs of a name and a function of targets and predictions.
        target: the placeholder of the targets.
        weight: the placeholder of the sample weights.
    """

    name: str
    tensor: Any
    mask: Any
    loss: Callable[..., Any] | None
    loss_weight: float
    mode: str | None
    metrics: list[tuple[str, Callable[..., Any]]] = field(default_factory=list)
    target: Any = None
    weight: Any = None

    def make_placeholders(self) -> None:
        """Make the placeholders of the targets and weights."""
        ndim = len(K.int_shape(self.tensor) or ())
        self.target = K.placeholder(
            ndim=ndim, dtype=K.dtype(self.tensor), name=f"{self.name}_target"
        )
        self.weight = K.placeholder(
            ndim=2 if self.mode == "temporal" else 1, name=f"{self.name}_sample_weights"
        )

    def target_shape(self) -> tuple[int | None, ...] | None:
        """Return the shape that targets must have, None where the loss alone can tell."""
        from .. import losses

        shape = K.int_shape(self.tensor) or ()
        name = getattr(self.loss, "__name__", None)
        if name == "sparse_categorical_crossentropy":
            return (*shape[:-1], 1)
        if name is None or getattr(losses, name, None) is None:
            return None
        return shape


def plan_outputs(
    tensors: Sequence[Any],
    names: Sequence[str],
    masks: Sequence[Any],
    loss: Any,
    metrics: Any,
    loss_weights: Any,
    sample_weight_mode: Any,
) -> list[OutputPlan]:
    """Spread the arguments of `compile` over the outputs.

    Raises:
        ValueError: for names of outputs, losses or metrics that do not exist, or a list of another
            length than the outputs.
    """
    functions = _loss_functions(loss, names)
    factors = _spread(loss_weights, names, "loss_weights", default=1.0)
    if not all(isinstance(f, (int, float, np.number)) for f in factors):
        raise ValueError(f"`loss_weights` must hold a number for each output, got {loss_weights!r}")
    modes = _spread(sample_weight_mode, names, "sample_weight_mode", same_for_all=True)
    for mode in modes:
        if mode not in (None, "temporal"):
            raise ValueError(f'sample_weight_mode should be None or "temporal". Found: {mode!r}')
    plans = []
    for x, name, mask, function, factor, mode, asked in zip(
        tensors, names, masks, functions, factors, modes, _metrics(metrics, names), strict=True
    ):
        plan = OutputPlan(name, x, mask, function, float(factor), mode)
        if function is not None:
            if mode == "temporal" and x.ndim < 3:
                raise ValueError(
                    f'Output {name} has the shape {K.int_shape(x)}: sample_weight_mode="temporal" '
                    "needs an axis of time steps, at least 3 axes in all."
                )
            plan.metrics = [_metric(metric, plan) for metric in asked]
            plan.make_placeholders()
        plans.append(plan)
    return plans


def _loss_functions(loss: Any, names: Sequence[str]) -> list[Callable[..., Any] | None]:
    from .. import losses

    if loss is None or (isinstance(loss, Mapping) and not loss):
        return [None] * len(names)
    if isinstance(loss, Mapping):
        _check_names(loss, names, "loss")
        for name in names:
            if name not in loss:
                warn(
                    f'Output "{name}" missing from loss dictionary. We assume this was done on '
                    "purpose, and we will not be expecting any data to be passed to "
                    f'"{name}" during training.'
                )
        given = [loss.get(name) for name in names]
    elif isinstance(loss, (list, tuple)):
        if len(loss) != len(names):
            raise ValueError(
                "When passing a list as loss, it should have one entry per model outputs. The "
                f"model has {len(names)} outputs, but you passed loss={loss}"
            )
        given = list(loss)
    else:
        given = [loss] * len(names)
    return [None if one is None else losses.get(one) for one in given]


def _check_names(given: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    for name in given:
        if name not in names:
            meant = nearest_name(name, names)
            hint = f" Did you mean {meant!r}?" if meant else ""
            raise ValueError(
                f'Unknown entry in {what} dictionary: "{name}". Only expected the following keys: '
                f"{list(names)}.{hint}"
            )


def _spread(
    value: Any, names: Sequence[str], what: str, default: Any = None, same_for_all: bool = False
) -> list[Any]:
    if value is None:
        return [default] * len(names)
    if isinstance(value, Mapping):
        _check_names(value, names, what)
        return [value.get(name, default) for name in names]
    if isinstance(value, (list, tuple)):
        if len(value) != len(names):
            raise ValueError(
                f"When passing a list as {what}, it should have one entry per model outputs. The "
                f"model has {len(names)} outputs, but you passed {what}={value}"
            )
        return list(value)
    if same_for_all or len(names) == 1:
        return [value] * len(names)
    raise TypeError(f"Could not interpret {what} argument: {value!r}. Expected a list or a dict.")


def _metrics(metrics: Any, names: Sequence[str]) -> list[list[Any]]:
    if not metrics:
        return [[] for _ in names]
    if isinstance(metrics, Mapping):
        _check_names(metrics, names, "metrics")
        return [_as_list(metrics.get(name, [])) for name in names]
    if isinstance(metrics, (list, tuple)):
        if any(isinstance(m, (list, tuple)) for m in metrics):
            if len(metrics) != len(names):
                raise ValueError(
                    "When passing a list of lists as metrics, it should have one entry per model "
                    f"outputs. The model has {len(names)} outputs, but you passed {metrics!r}"
                )
            return [_as_list(m) for m in metrics]
        return [list(metrics) for _ in names]
    if isinstance(metrics, str) or callable(metrics):
        return [[metrics] for _ in names]
    raise TypeError(
        "Type of `metrics` argument not understood. Expected a list or dictionary, found: "
        f"{metrics!r}"
    )


def _as_list(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (list, tuple)) else [x]


def _metric(metric: Any, plan: OutputPlan) -> tuple[str, Callable[..., Any]]:
    from .. import metrics as available

    if metric in ("accuracy", "acc"):
        return "acc", _accuracy_for(plan)
    if isinstance(metric, str):
        known = {*vars(available), "accuracy", *get_custom_objects()}
        if metric not in known and nearest_name(metric, known) == "accuracy":
            raise ValueError(f"Unknown metric function: {metric!r}. Did you mean 'accuracy'?")
    function = available.get(metric)
    name = getattr(function, "__name__", None) or getattr(function, "name", None)
    return name or type(function).__name__, function


def _accuracy_for(plan: OutputPlan) -> Callable[..., Any]:
    """Choose the accuracy that fits the loss and the shape of an output."""
    from .. import metrics

    shape = K.int_shape(plan.tensor) or ()
    loss = getattr(plan.loss, "__name__", "")
    if (shape and shape[-1] == 1) or loss == "binary_crossentropy":
        return metrics.binary_accuracy
    if loss == "sparse_categorical_crossentropy":
        return metrics.sparse_categorical_accuracy
    return metrics.categorical_accuracy


def metric_names(plans: Sequence[OutputPlan]) -> list[str]:
    """Return the names of the scalars of `step_scalars`, in their order."""
    trained = [plan for plan in plans if plan.loss is not None]
    names = ["loss"]
    several = len(plans) > 1
    if several:
        names += [f"{plan.name}_loss" for plan in trained]
    for plan in trained:
        names += [f"{plan.name}_{name}" if several else name for name, _ in plan.metrics]
    return names


def step_scalars(
    plans: Sequence[OutputPlan],
    added: Sequence[Any],
    weighted: bool,
    batch_mean: Callable[[Any], Any] = K.mean,
) -> tuple[Any, list[Any]]:
    """Return the total loss and, behind it, the scalars of `metric_names` without it.

    Args:
        plans: the outputs.
        added: scalars that layers add to the loss.
        weighted: whether sample weights are fed; without them no step computes with ones.
        batch_mean: function that gives the mean over the batch of what a loss is divided by.

    Raises:
        ValueError: when there is nothing to minimise.
    """
    total: Any = None
    parts: list[Any] = []
    trained = [plan for plan in plans if plan.loss is not None]
    for plan in trained:
        weight = plan.weight if weighted else None
        part = weighted_loss(plan.loss, plan.target, plan.tensor, weight, plan.mask, batch_mean)
        parts.append(part)
        scaled = part if plan.loss_weight == 1.0 else part * plan.loss_weight
        total = scaled if total is None else total + scaled
    for extra in added:
        scalar = extra
        if isinstance(extra, K.Tensor) and extra.ndim > 0:
            scalar = K.mean(extra)
        total = scalar if total is None else total + scalar
    if total is None:
        raise ValueError("The model cannot be compiled because it has no loss to optimize.")
    metrics = [
        masked_mean(function(plan.target, plan.tensor), plan.mask, batch_mean)
        for plan in trained
        for _, function in plan.metrics
    ]
    several = len(plans) > 1
    return total, [*(parts if several else []), *metrics]


def weighted_loss(
    function: Any,
    y_true: Any,
    y_pred: Any,
    weights: Any = None,
    mask: Any = None,
    batch_mean: Callable[[Any], Any] = K.mean,
) -> Any:
    """Return the scalar loss of an output.

    Args:
        function: function of targets and predictions with a value for each sample (and step).
        y_true: targets.
        y_pred: predictions.
        weights: a weight for each sample (and step), or None.
        mask: which steps count, or None.
        batch_mean: function that gives the mean over the batch of what the loss is divided by.
    """
    score = function(y_true, y_pred)
    if mask is not None:
        mask = K.cast(mask, K.dtype(score))
        score = _over_mean(score * mask, batch_mean(mask))
    if weights is not None:
        score = K.mean(score, axis=list(range(weights.ndim, score.ndim)))
        weights = K.cast(weights, K.dtype(score))
        counted = K.cast(K.not_equal(weights, 0), K.dtype(score))
        score = _over_mean(score * weights, batch_mean(counted))
    return K.mean(score)


def _over_mean(score: Any, mean: Any) -> Any:
    """Divide by the fraction that counts; where nothing counts, zeros stay zeros."""
    return score / K.maximum(mean, 1e-30)


def masked_mean(score: Any, mask: Any = None, batch_mean: Callable[[Any], Any] = K.mean) -> Any:
    """Return the mean of a metric's values, of those that the mask lets count."""
    if mask is not None:
        mask = K.cast(mask, K.dtype(score))
        score = _over_mean(score * mask, batch_mean(mask))
    return K.mean(score)


def merge_updates(updates: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return updates with one entry for each variable.

    A layer that is called twice updates its variables twice: the changes add up.
    """
    merged: dict[Any, list[Any]] = {}
    for variable, value in updates:
        values = merged.setdefault(variable, [])
        if not any(value is other for other in values):
            values.append(value)
    result = []
    for variable, values in merged.items():
        value = values[0]
        for other in values[1:]:
            value = value + (other - variable)
        result.append((variable, value))
    return result
