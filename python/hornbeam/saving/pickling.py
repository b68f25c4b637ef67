"""Models as `pickle` and `copy.deepcopy` take them.

A model is taken apart into its class, its configuration, its weights and how it was compiled, and
put together from these. Classes and functions that the package does not have go along as pickle
takes them: by the name of their module, so where the model is put together it must be importable.
Unlike a file, a pickle runs code anyway; a `Lambda` layer's code is therefore read too.
"""

from __future__ import annotations

from typing import Any

from .. import backend as K
from ..engine.graph import nested_layers
from ..utils.generic_utils import CustomObjectScope, custom_objects_of, safe_mode_scope


def taken_apart(model: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return what `__reduce__` returns: a function and its arguments that make an equal model.

    Raises:
        ValueError: when a configuration cannot say what the model is.
    """
    from ..layers._lambda import functions_by_reference

    if model._losses or model._updates:
        raise ValueError(
            f"The model {model.name!r} cannot be pickled or copied: what was given to its own "
            "add_loss() or add_update() is a part of its graph that no configuration describes. "
            "Call add_loss() in the call() of a layer instead."
        )
    with functions_by_reference():
        config = model.get_config()
    layers, optimizers = nested_layers(model), _optimizers(model)
    state = {
        "config": config,
        "custom_objects": custom_objects_of(
            [*layers, *optimizers], [config, *(o.get_config() for o in optimizers)]
        ),
        "layers": [(layer.name, layer.trainable) for layer in layers],
        "weights": model.get_weights(),
        "states": [K.batch_get_value(_states(layer)) for layer in layers],
        "compiled": _compiled(model),
    }
    return put_together, (type(model), state)


def put_together(cls: type, state: dict[str, Any]) -> Any:
    """Make the model that `taken_apart` described.

    Args:
        cls: its class.
        state: what `taken_apart` returned beside it.
    """
    with CustomObjectScope(state["custom_objects"]), safe_mode_scope(False):
        model = cls.from_config(state["config"])  # type: ignore[attr-defined]
        layers = nested_layers(model)
        for layer, (name, trainable) in zip(layers, state["layers"], strict=True):
            layer.name, layer.trainable = name, trainable
        model.set_weights(state["weights"])
        for layer, values in zip(layers, state["states"], strict=True):
            K.batch_set_value(list(zip(_states(layer), values, strict=True)))
        if state["compiled"] is not None:
            _compile(model, layers, state["compiled"])
    return model


def _states(layer: Any) -> list[Any]:
    """Return the variables in which a recurrent layer keeps its states."""
    if not getattr(layer, "stateful", False) or hasattr(layer, "layers"):
        return []
    states = getattr(layer, "states", None)
    if not isinstance(states, (list, tuple)):
        return []
    return [state for state in states if getattr(state, "is_variable", False)]


def _optimizers(model: Any) -> list[Any]:
    return [model.optimizer] if hasattr(model, "optimizer") else []


def _described(optimizer: Any) -> Any:
    """Return the class and configuration of an optimizer; its name where that is all there is."""
    if isinstance(optimizer, str):
        return optimizer
    return type(optimizer), optimizer.get_config()


def _made(optimizer: Any) -> Any:
    return optimizer if isinstance(optimizer, str) else optimizer[0].from_config(optimizer[1])


def _compiled(model: Any) -> dict[str, Any] | None:
    """Return what `compile` was given, and how far training has come."""
    deferred = getattr(model, "_deferred_compile", None)
    if deferred is not None:
        optimizer, *arguments = deferred
        return {"optimizer": _described(optimizer), "arguments": arguments, "training": None}
    if not hasattr(model, "optimizer"):
        return None
    places = {w: i for i, w in enumerate(model._weights_in_order())}
    training = model._train_program
    return {
        "optimizer": _described(model.optimizer),
        "arguments": [
            model.loss,
            model.metrics,
            model.loss_weights,
            model.sample_weight_mode,
        ],
        "trainable": model._trainable_when_compiled,
        "trained": [places[w] for w in model._collected_trainable_weights],
        "training": training
        and (training[0], training[1].function.core.step, model.optimizer.get_weights()),
    }


def _compile(model: Any, layers: list[Any], compiled: dict[str, Any]) -> None:
    loss, metrics, loss_weights, mode = compiled["arguments"]
    now = [layer.trainable for layer in layers]
    for layer, trainable in zip(layers, compiled.get("trainable", now), strict=True):
        layer.trainable = trainable
    model.compile(
        optimizer=_made(compiled["optimizer"]),
        loss=loss,
        metrics=metrics,
        loss_weights=loss_weights,
        sample_weight_mode=mode,
    )
    for layer, trainable in zip(layers, now, strict=True):
        layer.trainable = trainable
    if "trained" not in compiled:
        return
    weights = model._weights_in_order()
    model._collected_trainable_weights = [weights[i] for i in compiled["trained"]]
    if compiled["training"]:
        weighted, step, state = compiled["training"]
        program = model._make_train_function(weighted)
        model.optimizer.set_weights(state)
        program.function.core.step = step
