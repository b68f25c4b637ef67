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
from .graph import nested_layers


@dataclass
class TrainingGraph:
    """What training computes.

    Attributes:
        outputs: the predictions.
        masks: their masks.
        found: the 'updates' and 'losses' of its calls and of the weights, None for the model's own.
    """

    outputs: list[Any]
    masks: list[Any]
    found: dict[str, list[Any]] | None = None

    def gather(self, model: Any, what: str) -> list[Any]:
        """Return the 'updates' or 'losses' of the calls and of the weights."""
        if self.found is None:
            return getattr(model, what)
        if what == "updates" and not model.trainable and not model.stateful:
            return []
        return self.found[what]


def training_graph(model: Any) -> TrainingGraph:
    """Return the graph to train: the model's own, or a new one where it would not hold."""
    dependent = dict(_dependent_layers(model.layers, model.trainable))
    masks = model.compute_mask(model.inputs, None)
    masks = masks if isinstance(masks, list) else [masks]
    if all(layer._trainable_when_called == now for layer, now in dependent.items()):
        return TrainingGraph(list(model.outputs), masks)
    with _as_frozen_now(dependent):
        found = {
            what: [
                item
                for layer in model.graph.layers
                for item in getattr(layer, f"get_{what}_for")(None)
            ]
            + model._own(getattr(model, f"_per_input_{what}"))
            for what in ("updates", "losses")
        }
        with _recorded_apart(nested_layers(model)):
            outputs, masks, _ = model.run_internal_graph(model.inputs)
            for layer, x in model._inner_calls[tuple(model.inputs)]:
                found["updates"] += layer.get_updates_for(x)
                found["losses"] += layer.get_losses_for(x)
    return TrainingGraph(outputs, masks, {key: _unique(items) for key, items in found.items()})


def _unique(items: list[Any]) -> list[Any]:
    return list({id(item): item for item in items}.values())


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


# Where layers, wrappers and models note what they computed on which inputs, and what came of it.
_RECORDS = (
    "_losses",
    "_updates",
    "_per_input_losses",
    "_per_input_updates",
    "_inner_inputs",
    "_runs",
    "_inner_calls",
)


@contextmanager
def _recorded_apart(layers: list[Any]) -> Iterator[None]:
    """Inside the block, layers have no records of earlier calls; at its end, none of new ones.

    A call on the tensors of an earlier one, as those of the model's inputs are, would otherwise add
    its losses and updates to those of the earlier call, or take its place.
    """
    saved = [
        (layer, {name: vars(layer)[name] for name in _RECORDS if name in vars(layer)})
        for layer in layers
    ]
    for layer, records in saved:
        vars(layer).update({name: type(record)() for name, record in records.items()})
    try:
        yield
    finally:
        for layer, records in saved:
            vars(layer).update(records)
