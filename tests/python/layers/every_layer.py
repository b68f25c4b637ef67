"""The table of layers: the parity cases, and rows of the layers that no other framework has."""

from __future__ import annotations

import inspect

import hornbeam as keras
from parity.cases import LAYERS
from parity.layer_case import LayerCase, plain

#: Layers to inherit from, and the one that `Input` makes.
ABSTRACT = ("Layer", "Wrapper", "Recurrent", "ConvRecurrent2D", "InputLayer")

_PAIR = ((4,), (4,))
#: Forms of Keras 1, and code of the user.
OWN: tuple[LayerCase, ...] = (
    LayerCase(
        "lambda",
        "Lambda",
        ((4,),),
        {"function": lambda x, factor: x * x * factor, "arguments": {"factor": 1.5}},
    ),
    plain("highway", "Highway", (4,), activation="tanh"),
    plain("highway_plain", "Highway", (4,), bias=False),
    plain("maxout", "MaxoutDense", (4,), output_dim=3, nb_feature=2),
    plain("maxout_plain", "MaxoutDense", (4,), output_dim=3, bias=False),
    *(
        LayerCase(f"merge_{mode}", "Merge", _PAIR, {"mode": mode, "dot_axes": 1})
        for mode in ("sum", "mul", "ave", "max", "concat", "dot", "cos")
    ),
)
TABLE: tuple[LayerCase, ...] = (*LAYERS, *OWN)


def public_layers() -> dict[str, type]:
    """Every class of `keras.layers` to make layers from, under its first name."""
    found: dict[type, str] = {}
    for name in sorted(dir(keras.layers)):
        value = getattr(keras.layers, name)
        if not inspect.isclass(value) or name.startswith("_"):
            continue
        if issubclass(value, keras.layers.Layer) and name not in ABSTRACT:
            found.setdefault(value, name)
    return {name: value for value, name in found.items()}


def parts_of(case: LayerCase) -> list[LayerCase]:
    """A row, and those of the layers that it wraps or has above it."""
    more = [part for part in (case.inner, case.above) if part is not None]
    return [case, *(found for part in more for found in parts_of(part))]


def cases_of(cls: type) -> list[LayerCase]:
    """The rows that exercise a class."""
    return [
        case
        for case in TABLE
        if any(getattr(keras.layers, part.layer) is cls for part in parts_of(case))
    ]
