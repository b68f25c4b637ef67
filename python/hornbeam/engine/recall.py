"""The graph that training uses, where layers were frozen or thawed after they had been called.

A layer such as batch normalisation computes something else when it is not trainable. Freezing one,
or a whole model around it, after a model was put together is what transfer learning does; when that
model is compiled its layers are called anew, with what holds at that time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .base_layer import Layer


@dataclass
class TrainingGraph:
    """What training computes.

    Attributes:
        outputs: the predictions.
        masks: their masks.
        calls: the calls of layers and their inputs, None for those of the model itself.
    """

    outputs: list[Any]
    masks: list[Any]
    calls: list[tuple[Layer, list[Any]]] | None = None

    def gather(self, model: Any, what: str) -> list[Any]:
        """Return the 'updates' or 'losses' of the calls and of the weights."""
        if self.calls is None:
            return getattr(model, what)
        if what == "updates" and not model.trainable and not model.stateful:
            return []
        getter = f"get_{what}_for"
        found = [item for layer, x in self.calls for item in getattr(layer, getter)(x)]
        for layer in model.graph.layers:
            found += getattr(layer, getter)(None)
        found += getattr(Layer, getter)(model, None)
        return list({id(item): item for item in found}.values())


def training_graph(model: Any) -> TrainingGraph:
    """Return the graph to train: the model's own, or a new one where it would not hold."""
    dependent = dict(_dependent_layers(model.layers, model.trainable))
    masks = model.compute_mask(model.inputs, None)
    masks = masks if isinstance(masks, list) else [masks]
    if all(layer._trainable_when_called == now for layer, now in dependent.items()):
        return TrainingGraph(list(model.outputs), masks)
    with _as_frozen_now(dependent), _nested_anew(model.layers):
        model._inner_calls.pop(tuple(model.inputs), None)
        outputs, masks, _ = model.run_internal_graph(model.inputs)
        calls = model._inner_calls.pop(tuple(model.inputs))
    return TrainingGraph(outputs, masks, calls)


def _dependent_layers(layers: list[Layer], trainable: bool) -> Iterator[tuple[Layer, bool]]:
    """Give the layers that compute otherwise when frozen, and whether training may change them."""
    for layer in layers:
        inner = getattr(layer, "layers", None)
        wrapped = getattr(layer, "layer", None)
        now = trainable and layer.trainable
        if inner:
            yield from _dependent_layers(inner, now)
        elif isinstance(wrapped, Layer):
            yield from _dependent_layers([wrapped], now)
        elif layer.call_depends_on_trainable:
            yield layer, now


def _nested_models(layers: list[Layer]) -> Iterator[Any]:
    for layer in layers:
        wrapped = getattr(layer, "layer", None)
        if hasattr(layer, "_inner_calls"):
            yield layer
            yield from _nested_models(layer.layers)  # type: ignore[attr-defined]
        elif isinstance(wrapped, Layer):
            yield from _nested_models([wrapped])


@contextmanager
def _as_frozen_now(dependent: dict[Layer, bool]) -> Iterator[None]:
    """Inside the block, a layer within a frozen model is frozen itself."""
    before = {layer: layer.trainable for layer in dependent}
    for layer, now in dependent.items():
        layer.trainable = now
    try:
        yield
    finally:
        for layer, trainable in before.items():
            layer.trainable = trainable


@contextmanager
def _nested_anew(layers: list[Layer]) -> Iterator[None]:
    """Inside the block, models within the model do not reuse earlier calls."""
    saved = [(m, m._runs, m._inner_calls) for m in dict.fromkeys(_nested_models(layers))]
    for model, _, _ in saved:
        model._runs, model._inner_calls = {}, {}
    try:
        yield
    finally:
        for model, runs, calls in saved:
            # The new calls say which updates training runs; earlier results stay as they were.
            model._inner_calls = {**calls, **model._inner_calls}
            model._runs = runs
