"""What a row of the table of layers says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LayerCase:
    """One layer with its arguments.

    Args:
        name: what the case is called in the golden file.
        layer: the class's name in `keras.layers`.
        shapes: the shapes of its inputs, without the batch.
        config: its arguments. An initializer, a regularizer or a constraint is a pair of the name
            of its class and the arguments.
        batch: samples in the batch.
        training: whether the outputs and gradients are those of the training phase.
        vocabulary: where given, the inputs are integers below it, else normal floats.
        inner: for a wrapper, the layer it wraps.
        masked: for which of the inputs some steps are masked: they are zero, and the input goes
            through `Masking`.
        above: a layer on the output, which shows what becomes of the mask.
        call: further arguments of the call.
        calls: how often a stateful layer is called; the state goes on from one to the next.
        reference: whose results the golden file has: 'keras3' on JAX, 'tf_keras', or None for what
            neither can compute.
    """

    name: str
    layer: str
    shapes: tuple[tuple[int, ...], ...]
    config: dict[str, Any] = field(default_factory=dict)
    batch: int = 4
    training: bool = False
    vocabulary: int | None = None
    inner: LayerCase | None = None
    masked: tuple[bool, ...] = ()
    above: LayerCase | None = None
    call: dict[str, Any] = field(default_factory=dict)
    calls: int = 1
    reference: str | None = "keras3"

    @property
    def stateful(self) -> bool:
        """Whether the results of one batch depend on the batch before."""
        inner = self.inner is not None and self.inner.stateful
        return bool(self.config.get("stateful")) or inner

    @property
    def random(self) -> bool:
        """Whether the layer draws random numbers in training, which are not those of Keras."""
        return any(key in self.config for key in ("rate", "stddev", "dropout", "recurrent_dropout"))

    @property
    def initializes(self) -> bool:
        """Whether the weights that the layer begins with are compared too."""
        return any(key.endswith("_initializer") for key in self.config)


def plain(
    name: str, layer: str, shape: tuple[int, ...], *, training: bool = False, **config: Any
) -> LayerCase:
    """A layer of one input."""
    return LayerCase(name, layer, (shape,), config, training=training)


#: The suffixes of arguments that are objects, and where their classes are.
OBJECTS = {
    "_initializer": "initializers",
    "_regularizer": "regularizers",
    "_constraint": "constraints",
}


def resolve(keras: Any, config: dict[str, Any], activity_scale: float = 1.0) -> dict[str, Any]:
    """The arguments with objects of `keras` in the places of pairs.

    Args:
        keras: the package that has the modules of OBJECTS.
        config: arguments of a layer.
        activity_scale: factor of penalties on outputs.
    """
    resolved = {}
    for key, value in config.items():
        module = next((m for suffix, m in OBJECTS.items() if key.endswith(suffix)), None)
        if module is not None and isinstance(value, tuple):
            name, arguments = value
            if key == "activity_regularizer":
                arguments = {k: v * activity_scale for k, v in arguments.items()}
            value = getattr(getattr(keras, module), name)(**arguments)
        resolved[key] = value
    return resolved


def penalties(*roles: str, activity: bool = True) -> dict[str, Any]:
    """A regularizer and a constraint for each kind of weight, no two alike."""
    config: dict[str, Any] = {}
    for i, role in enumerate(roles):
        regularizer = {"l1": 0.01 * (i + 1), "l2": 0.03 / (i + 1)}
        limits = {"min_value": 0.3 + 0.1 * i, "max_value": 0.7 + 0.1 * i, "rate": 0.8 - 0.1 * i}
        config[f"{role}_regularizer"] = ("L1L2", regularizer)
        config[f"{role}_constraint"] = ("MinMaxNorm", limits)
    if activity:
        config["activity_regularizer"] = ("L1L2", {"l1": 0.002, "l2": 0.003})
    return config


def initial(*roles: str) -> dict[str, Any]:
    """An initializer for each kind of weight, no two alike."""
    return {
        f"{role}_initializer": ("Constant", {"value": 0.25 * (i + 1)})
        for i, role in enumerate(roles)
    }
