"""Sequential models of Keras 1 that begin with a `Merge` of other models."""

from __future__ import annotations

from typing import Any

from ..layers import Merge

__all__ = ["legacy_sequential_layers", "needs_legacy_support"]


def needs_legacy_support(model: Any) -> bool:
    """Tell whether a Sequential model begins with a `Merge` of branches."""
    return bool(model.layers) and isinstance(model.layers[0], Merge)


def legacy_sequential_layers(model: Any) -> list[Any]:
    """Return the layers of a Sequential model, those of merged branches before the others.

    Args:
        model: a Sequential model whose first layer may be a `Merge`.

    Returns:
        Each layer once, branch by branch; the `Merge` itself has no weights and is left out.
    """
    if not needs_legacy_support(model):
        return list(model.layers)
    layers: list[Any] = []
    for branch in model.layers[0].layers or ():
        inner = legacy_sequential_layers(branch) if hasattr(branch, "layers") else [branch]
        layers += [layer for layer in inner if layer not in layers]
    return layers + [layer for layer in model.layers[1:] if layer not in layers]
