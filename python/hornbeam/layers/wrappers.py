"""Layers that wrap another layer."""

from __future__ import annotations

import math
from typing import Any

from .. import backend as K
from ..engine import InputSpec, Layer
from ..utils.generic_utils import has_arg
from ._bidirectional import Bidirectional
from ._wrapper import Wrapper

__all__ = ["Bidirectional", "TimeDistributed", "Wrapper"]

Shape = tuple[int | None, ...]


class TimeDistributed(Wrapper):
    """Apply a layer to every time step.

    Input: (samples, steps, ...); the layer sees (samples * steps, ...), and its output gets the
    axis of steps back. A mask is passed on.

    Args:
        layer: the layer, or a model.
        **kwargs: the keywords of `Layer`.

    Example: 16 vectors of size 8 for each of 10 steps come out of
    `TimeDistributed(Dense(8), input_shape=(10, 16))`.
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) < 3:
            raise ValueError(
                f"TimeDistributed {self.name!r}: expected an input with at least 3 axes (samples, "
                f"steps, ...), got the shape {tuple(input_shape)}"
            )
        self.input_spec = InputSpec(shape=(None, None, *input_shape[2:]))
        self._build_wrapped((None, *input_shape[2:]))
        self.built = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        inner = self.layer.compute_output_shape((input_shape[0], *input_shape[2:]))
        return (inner[0], input_shape[1], *inner[1:])

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        arguments = {}
        if training is not None and has_arg(self.layer.call, "training"):
            arguments["training"] = training
        shape, sizes = K.int_shape(inputs), K.shape(inputs)
        rest = [sizes[i] if shape[i] is None else shape[i] for i in range(2, len(shape))]
        rows = sizes[0] * (sizes[1] if shape[1] is None else shape[1])
        if None not in shape[:2]:
            rows = math.prod(shape[:2])  # type: ignore[arg-type]
        flat = K.reshape(inputs, [rows, *rest])
        self._map_inputs(inputs, flat)
        y = self.layer.call(flat, **arguments)
        out_shape, out_sizes = K.int_shape(y), K.shape(y)
        rest = [
            out_sizes[i] if out_shape[i] is None else out_shape[i] for i in range(1, len(out_shape))
        ]
        lead = [sizes[i] if shape[i] is None else shape[i] for i in range(2)]
        return K.reshape(y, [*lead, *rest])
