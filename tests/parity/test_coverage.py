"""Every argument of every layer, and every loss, optimizer and so on, has some case."""

from __future__ import annotations

import inspect

import pytest
from python.layers.every_layer import OWN, cases_of, parts_of, public_layers

import hornbeam as keras
from parity.building import make
from parity.cases import ACTIVATIONS, CONSTRAINTS, LOSSES, METRICS, OPTIMIZERS, REGULARIZERS

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
    ("*", "zero_output_for_mask"): "in files of Keras 3: tests/parity/test_keras3_files.py",
    ("Bidirectional", "weights"): "set as by set_weights: tests/python/layers/test_wrappers.py",
    ("BatchNormalization", "synchronized"): "on workers: tests/python/engine/test_synchronized.py",
    ("UpSampling2D", "interpolation"): "has one value, which configs of later releases write",
    ("LocallyConnected1D", "padding"): "'valid' alone, as in Keras 2.0",
    ("LocallyConnected2D", "padding"): "'valid' alone, as in Keras 2.0",
    (
        "ConvLSTM2D",
        "unroll",
    ): "changes nothing: tests/python/layers/test_convolutional_recurrent.py",
    ("ConvLSTM2D", "implementation"): "as unroll",
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


def functions_of(module) -> dict[str, object]:
    """The functions that a module defines, under their own names."""
    found = [getattr(module, name) for name in dir(module) if not name.startswith("_")]
    own = [f for f in found if inspect.isfunction(f) and f.__module__ == module.__name__]
    return {f.__name__: f for f in own}


def classes_in(module, base: type) -> list[type]:
    """The classes that a module has, in the order of their names."""
    found = {c for _, c in inspect.getmembers(module, inspect.isclass)}
    classes = [c for c in found if issubclass(c, base) and c is not base]
    return sorted(classes, key=lambda c: c.__name__)


def first_parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)[:2]


def test_every_loss_and_metric_is_compared():
    scores = {
        name
        for module in (keras.losses, keras.metrics)
        for name, function in functions_of(module).items()
        if first_parameters(function) == ["y_true", "y_pred"]
    }
    assert scores == {*LOSSES, *METRICS}


def test_every_activation_is_compared():
    activations = {
        name
        for name, function in functions_of(keras.activations).items()
        if first_parameters(function)[:1] == ["x"]
    }
    # Keras 3's own form of hard_sigmoid: tests/parity/test_keras3_files.py.
    assert activations - {"hard_sigmoid_relu6"} == set(ACTIVATIONS)


@pytest.mark.parametrize("cls", classes_in(keras.optimizers, keras.optimizers.Optimizer))
def test_every_argument_of_an_optimizer_has_a_case(cls):
    given = [config for name, config in OPTIMIZERS.values() if name == cls.__name__]
    assert given, f"{cls.__name__} has no case"
    if cls is keras.optimizers.AdamW:
        # The others are handed on to Adam.
        assert any("weight_decay" in config for config in given)
        return
    arguments = [
        parameter.name
        for base in cls.__mro__
        if base is not keras.optimizers.Optimizer and "__init__" in vars(base)
        for parameter in list(inspect.signature(base.__init__).parameters.values())[1:]
        if parameter.default is not parameter.empty
    ]
    for argument in {*arguments, "clipnorm", "clipvalue"}:
        assert any(argument in config for config in given), argument


@pytest.mark.parametrize(
    ("module", "base", "table"),
    [
        (keras.regularizers, keras.regularizers.Regularizer, REGULARIZERS),
        (keras.constraints, keras.constraints.Constraint, CONSTRAINTS),
    ],
)
def test_every_penalty_and_constraint_is_compared(module, base, table):
    compared = {name for row in table.values() for name, _ in row.values()}
    # L1 and L2 are L1L2 with one factor.
    assert {c.__name__ for c in classes_in(module, base)} - {"L1", "L2"} == compared
