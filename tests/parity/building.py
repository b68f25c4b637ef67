"""Making hornbeam's layers of the table's cases."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from parity.cases import LAYERS
from parity.comparing import golden, numbered
from parity.layer_case import LayerCase, resolve

GROUPS = {"keras3": "layers", "tf_keras": "layers_tf"}
#: The cases that a reference has computed.
COMPARED = [case for case in LAYERS if case.reference is not None]


def arrays_of(case: LayerCase) -> dict[str, np.ndarray]:
    """The reference's results."""
    assert case.reference is not None
    return golden(GROUPS[case.reference], case.name)


def make(case: LayerCase, **more: Any) -> Any:
    """The case's layer, and the one it wraps."""
    wrapped = () if case.inner is None else (make(case.inner),)
    return getattr(keras.layers, case.layer)(*wrapped, **resolve(keras, case.config), **more)


def unsized(case: LayerCase) -> list[tuple[int | None, ...]]:
    """The case's shapes of which no more than the channels is known."""
    axis = -1
    if case.config.get("data_format") == "channels_first":
        # Of the images, before which there are steps.
        axis = 1 if case.layer == "ConvLSTM2D" else 0
    shapes = []
    for shape in case.shapes:
        known: list[int | None] = [None] * len(shape)
        if case.vocabulary is None:
            known[axis] = shape[axis]
        shapes.append(tuple(known))
    return shapes


class Built:
    """A case's layer between its inputs and outputs.

    Args:
        case: a row of the table.
        weights: what its weights begin with; None for what its initializers give.
        sized: whether the sizes that weights need not know are known.

    Attributes:
        inputs: one a shape of the case.
        outputs: a list, also of one.
        layers: those with the case's weights: its own, and the one above.
        model: from the inputs to the outputs.
    """

    def __init__(
        self, case: LayerCase, weights: list[np.ndarray] | None = None, sized: bool = True
    ) -> None:
        self.case = case
        dtype = K.floatx() if case.vocabulary is None else "int32"
        batch = case.batch if case.stateful else None
        self.inputs = [
            keras.layers.Input(batch_shape=(batch, *s), dtype=dtype)
            for s in (case.shapes if sized else unsized(case))
        ]
        shown: list[Any] = [
            keras.layers.Masking()(x) if masked else x
            for x, masked in itertools.zip_longest(self.inputs, case.masked)
        ]
        self.layers = [make(case)]
        y = self.layers[0](shown if len(shown) > 1 else shown[0], **case.call)
        if case.above is not None:
            self.layers.append(make(case.above))
            y = self.layers[1](y)
        self.outputs = y if isinstance(y, list) else [y]
        self.model = keras.models.Model(self.inputs, y)
        if weights is not None:
            self.model.set_weights(weights)

    def reset(self) -> None:
        """Begin with the state that the reference began with."""
        if self.case.stateful:
            self.model.reset_states()

    def predict(self, xs: list[np.ndarray], batch_size: int) -> list[np.ndarray]:
        """The outputs, in batches."""
        result = self.model.predict(xs if len(xs) > 1 else xs[0], batch_size=batch_size)
        return result if isinstance(result, list) else [result]


def build(case: LayerCase) -> tuple[Built, dict[str, np.ndarray]]:
    """The case with the reference's weights, and its results."""
    arrays = arrays_of(case)
    return Built(case, numbered(arrays, "w")), arrays


def named(arrays: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    """The arrays NAME, NAME1, NAME2 and so on."""
    return [arrays[name], *numbered({f"{name}0": arrays[name], **arrays}, name)[1:]]
