"""The steps of a model as Keras 2 lets its users call them: `model.train_function` and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.control import to_array
from .strategy import Program, get_strategy


class StepFunction:
    """A compiled step that is called with the arrays of a batch.

    Attributes:
        inputs: the tensors that are fed: inputs, targets and sample weights.
        outputs: the tensors that are computed.
    """

    def __init__(self, program: Program) -> None:
        """Take the step.

        Args:
            program: the step.
        """
        self._program = program
        self.inputs = list(program.function.inputs)
        self.outputs = list(program.function.outputs)

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Run the step.

        Args:
            inputs: an array for each of `inputs`, and perhaps the learning phase behind them: it is
                that of the step, whatever is given.

        Returns:
            An array (a NumPy scalar for rank 0) for each of `outputs`.

        Raises:
            ValueError: when they are not as many.
        """
        given = list(inputs)
        if len(given) == len(self.inputs) + 1 and np.ndim(given[-1]) == 0:
            del given[-1]
        if len(given) != len(self.inputs):
            raise ValueError(
                f"The step takes {len(self.inputs)} arrays (inputs, targets, sample weights) and "
                f"perhaps the learning phase, {len(given)} were given"
            )
        arrays = [to_array(x, like) for x, like in zip(given, self.inputs, strict=True)]
        results = get_strategy().step(self._program, arrays)
        return [r[()] if isinstance(r, np.ndarray) and r.ndim == 0 else r for r in results]
