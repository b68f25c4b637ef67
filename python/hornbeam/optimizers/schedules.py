"""Learning rates that depend on the number of training steps.

A schedule may be given to an optimizer as `lr`. It is called with the step count as a scalar float
tensor and returns the learning rate as a scalar tensor, so that nothing in Python runs in a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import backend as K
from ..utils.generic_utils import deserialize_keras_object


class LearningRateSchedule:
    """Base class: a callable from a step count to a learning rate."""

    def __call__(self, step: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(step).")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        raise NotImplementedError(f"{type(self).__name__} must define get_config().")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """Build the schedule from what `get_config` returned."""
        config = {key: value for key, value in config.items() if key != "name"}
        return cls(**config)

    def serialize(self) -> dict[str, Any]:
        """Describe the schedule by plain data."""
        return {"class_name": type(self).__name__, "config": self.get_config()}

    @staticmethod
    def from_serialized(config: dict[str, Any]) -> LearningRateSchedule:
        """Build the schedule that `serialize` described."""
        return deserialize_keras_object(
            config, module_objects=globals(), printable_module_name="learning rate schedule"
        )


class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate * decay_rate ** (step / decay_steps).

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: the steps after which the rate has been multiplied once.
        decay_rate: the factor.
        staircase: whether the exponent is rounded down, so that the rate falls in steps.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase

    def __call__(self, step: Any) -> Any:
        exponent = step / float(self.decay_steps)
        if self.staircase:
            exponent = exponent // 1.0
        return self.initial_learning_rate * K.exp(math.log(self.decay_rate) * exponent)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
        }


class InverseTimeDecay(LearningRateSchedule):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps).

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: the unit in which steps are counted.
        decay_rate: how fast the divisor grows.
        staircase: whether step / decay_steps is rounded down.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase

    def __call__(self, step: Any) -> Any:
        units = step / float(self.decay_steps)
        if self.staircase:
            units = units // 1.0
        return self.initial_learning_rate / (1.0 + self.decay_rate * units)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
        }


class PolynomialDecay(LearningRateSchedule):
    """From the initial to the end rate along (1 - step / decay_steps) ** power.

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: the step at which the end rate is reached, and kept.
        end_learning_rate: the end rate.
        power: 1 for a straight line.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.end_learning_rate = end_learning_rate
        self.power = power

    def __call__(self, step: Any) -> Any:
        left = 1.0 - K.minimum(step, float(self.decay_steps)) / float(self.decay_steps)
        span = self.initial_learning_rate - self.end_learning_rate
        return span * K.pow(left, self.power) + self.end_learning_rate

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "end_learning_rate": self.end_learning_rate,
            "power": self.power,
        }


class CosineDecay(LearningRateSchedule):
    """Half a period of a cosine from the initial rate down to alpha times it, after a warm-up.

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: length of the decay.
        alpha: the rate at the end, as a fraction of the rate at the decay's beginning.
        warmup_target: the rate to which a straight line leads first; None for no warm-up.
        warmup_steps: length of the warm-up.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.alpha = alpha
        self.warmup_target: Any = warmup_target
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        warm = self.warmup_steps if self.warmup_target is not None else 0
        start = self.initial_learning_rate if not warm else self.warmup_target
        done = K.clip((step - float(warm)) / float(self.decay_steps), 0.0, 1.0)
        cosine = 0.5 * (1.0 + K.cos(math.pi * done))
        rate = start * ((1.0 - self.alpha) * cosine + self.alpha)
        if not warm:
            return rate
        line = self.initial_learning_rate + step * (
            (self.warmup_target - self.initial_learning_rate) / warm
        )
        return K.switch(step < float(warm), line, rate)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "alpha": self.alpha,
            "warmup_target": self.warmup_target,
            "warmup_steps": self.warmup_steps,
        }


class PiecewiseConstantDecay(LearningRateSchedule):
    """Constant between boundaries.

    Args:
        boundaries: increasing step counts; `values[i]` holds up to and including `boundaries[i]`.
        values: the rates, one more than boundaries.

    Raises:
        ValueError: when the numbers of boundaries and values do not fit.
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float]) -> None:
        if len(values) != len(boundaries) + 1:
            raise ValueError(
                "PiecewiseConstantDecay: expected one value more than boundaries, got "
                f"{len(boundaries)} boundaries and {len(values)} values"
            )
        self.boundaries = list(boundaries)
        self.values = list(values)

    def __call__(self, step: Any) -> Any:
        rate = K.zeros_like(step) + self.values[-1]
        for boundary, value in zip(
            reversed(self.boundaries), reversed(self.values[:-1]), strict=True
        ):
            rate = K.switch(step <= float(boundary), K.zeros_like(step) + value, rate)
        return rate

    def get_config(self) -> dict[str, Any]:
        return {"boundaries": self.boundaries, "values": self.values}
