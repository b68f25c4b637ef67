"""Every argument of every layer is held against a reference by some case."""

from __future__ import annotations

import inspect

import pytest
from python.layers.every_layer import OWN, cases_of, parts_of, public_layers

import hornbeam as keras
from parity.building import make

pytestmark = pytest.mark.filterwarnings("ignore:.*Keras 1")

#: Layers that no other framework computes today, and where they are tested instead.
WITHOUT_REFERENCE = {
    "Lambda": "its code is the user's: tests/python/layers/test_core.py",
    "Highway": "of Keras 1, against NumPy: tests/python/layers/test_legacy_layers.py",
    "MaxoutDense": "of Keras 1, against NumPy: tests/python/layers/test_legacy_layers.py",
    "Merge": "of Keras 1, against NumPy: tests/python/layers/test_legacy_layers.py",
}
#: Arguments without a case, and why. '*' is any layer.
WITHOUT_CASE = {
    ("*", "seed"): "no other framework draws these numbers",
    ("*", "noise_shape"): "shape of the random masks: tests/python/layers/test_core.py",
    ("Bidirectional", "weights"): "set as by set_weights: tests/python/layers/test_wrappers.py",
    ("UpSampling2D", "interpolation"): "has one value, which configs of later releases write",
    ("LocallyConnected1D", "padding"): "'valid' alone, as in Keras 2.0",
    ("LocallyConnected2D", "padding"): "'valid' alone, as in Keras 2.0",
    (
        "ConvLSTM2D",
        "unroll",
    ): "changes nothing: tests/python/layers/test_convolutional_recurrent.py",
    ("ConvLSTM2D", "implementation"): "chooses the random masks of the gates",
    ("SeparableConv1D", "kernel_initializer"): "refused where it would have no effect",
    ("SeparableConv1D", "kernel_regularizer"): "refused",
    ("SeparableConv1D", "kernel_constraint"): "refused",
    ("SeparableConv1D", "groups"): "refused",
    ("SeparableConv2D", "kernel_initializer"): "refused where it would have no effect",
    ("SeparableConv2D", "kernel_regularizer"): "refused",
    ("SeparableConv2D", "kernel_constraint"): "refused",
    ("SeparableConv2D", "groups"): "refused",
    ("DepthwiseConv2D", "kernel_initializer"): "refused where it would have no effect",
    ("DepthwiseConv2D", "kernel_regularizer"): "refused",
    ("DepthwiseConv2D", "kernel_constraint"): "refused",
    ("DepthwiseConv2D", "groups"): "refused",
    ("Conv1DTranspose", "groups"): "refused",
    ("Conv1DTranspose", "dilation_rate"): "refused",
    ("Conv2DTranspose", "groups"): "refused",
    ("Conv2DTranspose", "dilation_rate"): "refused",
}
LAYERS = {name: cls for name, cls in public_layers().items() if name not in WITHOUT_REFERENCE}


def arguments_of(cls: type) -> dict[str, object]:
    """The arguments of a layer's constructor, those of its bases too, and their defaults."""
    found: dict[str, object] = {}
    row = next(case for case in cases_of(cls) if getattr(keras.layers, case.layer) is cls)
    for base in cls.__mro__:
        if base is keras.layers.Layer:
            break
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(inspect.unwrap(base.__init__)).parameters
        for name, parameter in list(parameters.items())[1:]:
            if name in found or parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
                continue
            if base is not cls and name not in row.config and not taken(row, parameter):
                continue
            found[name] = parameter.default
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            break
    return found


def taken(row, parameter) -> bool:
    """Whether the class hands an argument of its base on."""
    default = parameter.default
    try:
        make(row, **{parameter.name: None if default is parameter.empty else default})
    except TypeError:
        return False
    return True


def exercised(cls: type, argument: str, default: object) -> bool:
    """Whether a case with a reference gives the argument another value."""
    parts = [part for row in cases_of(cls) if row.reference for part in parts_of(row)]
    own = [part for part in parts if getattr(keras.layers, part.layer) is cls]
    if argument == "layer":
        return any(part.inner is not None for part in own)
    return any(argument in part.config and part.config[argument] != default for part in own)


ARGUMENTS = [
    (name, argument, default)
    for name, cls in LAYERS.items()
    for argument, default in arguments_of(cls).items()
]


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_is_compared(layer):
    compared = [case for case in cases_of(LAYERS[layer]) if case.reference is not None]
    assert compared, f"{layer} has no case with a reference"


@pytest.mark.parametrize(
    ("layer", "argument", "default"), ARGUMENTS, ids=[f"{n}-{a}" for n, a, _ in ARGUMENTS]
)
def test_every_argument_has_a_case(layer, argument, default):
    if (layer, argument) in WITHOUT_CASE or ("*", argument) in WITHOUT_CASE:
        return
    assert exercised(LAYERS[layer], argument, default), (
        f"no case in tests/parity gives {layer} another {argument!r} than {default!r}"
    )


def test_reasons_are_of_arguments_without_cases():
    known = {(name, argument): default for name, argument, default in ARGUMENTS}
    for (layer, argument), reason in WITHOUT_CASE.items():
        assert reason
        if layer == "*":
            assert any(name == argument for _, name in known)
        else:
            assert not exercised(LAYERS[layer], argument, known[layer, argument])
    assert set(WITHOUT_REFERENCE) == {case.layer for case in OWN}
