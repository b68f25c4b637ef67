"""`layer_test`: everything that must hold for any layer, checked in one call."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812

BATCH = 3


class float64:  # noqa: N801 - used as `with float64():`
    """Inside the block variables and placeholders are float64, for finite differences."""

    def __enter__(self) -> None:
        self.former = K.floatx()
        K.set_floatx("float64")

    def __exit__(self, *_: Any) -> None:
        K.set_floatx(self.former)


def make_inputs(
    shapes: Sequence[tuple[int, ...]], vocabulary: int | None = None, batch: int = BATCH
) -> list[np.ndarray]:
    """Draw inputs: floats away from the kinks at 0, or integers below `vocabulary`."""
    random = np.random.RandomState(11)
    if vocabulary is not None:
        return [random.randint(0, vocabulary, (batch, *shape)) for shape in shapes]
    xs = [random.uniform(0.1, 1.0, (batch, *shape)) for shape in shapes]
    return [x * random.choice([-1.0, 1.0], x.shape) for x in xs]


def one(items: list[Any]) -> Any:
    """The only element of a list, or the list."""
    return items[0] if len(items) == 1 else items


def symbolic(shapes: Sequence[tuple[int | None, ...]], vocabulary: int | None) -> list[Any]:
    dtype = K.floatx() if vocabulary is None else "int32"
    return [keras.layers.Input(shape=shape, dtype=dtype) for shape in shapes]


def set_random_weights(layer: Any, positive: bool = False) -> list[np.ndarray]:
    """Give a built layer weights without zeros, so that none is without effect."""
    random = np.random.RandomState(23)
    weights = []
    for w in layer.weights:
        value = random.uniform(0.2, 0.9, K.int_shape(w))
        if not positive and "variance" not in (w.name or ""):
            value *= random.choice([-1.0, 1.0], value.shape)
        weights.append(value)
    layer.set_weights(weights)
    return weights


def function_of(inputs: list[Any], outputs: list[Any]) -> Callable[..., list[np.ndarray]]:
    """A function of the inputs and the phase that draws the same random numbers every time."""
    compiled = K.function([*inputs, K.learning_phase()], outputs)

    def run(xs: Sequence[np.ndarray], training: bool) -> list[np.ndarray]:
        compiled.core.step = 0
        return compiled([*xs, int(training)])

    return run


def check_gradients(
    make: Callable[[], Any],
    xs: Sequence[np.ndarray],
    vocabulary: int | None,
    training: bool,
    tolerance: float = 1e-5,
) -> None:
    """Compare all gradients with central differences in float64."""
    with float64():
        layer = make()
        inputs = symbolic([x.shape[1:] for x in xs], vocabulary)
        outputs = layer(one(inputs))
        outputs = outputs if isinstance(outputs, list) else [outputs]
        set_random_weights(layer)
        random = np.random.RandomState(5)
        loss = K.constant(0.0)
        for y, value in zip(outputs, function_of(inputs, outputs)(xs, training), strict=True):
            loss = loss + K.sum(y * K.constant(random.randn(*value.shape)))
        sources = list(layer.trainable_weights)
        if vocabulary is None:
            sources = inputs + sources
        gradients = K.gradients(loss, sources)
        assert None not in gradients
        run = function_of(inputs, [loss, *gradients])
        xs = [np.asarray(x, dtype=K.dtype(i)) for x, i in zip(xs, inputs, strict=True)]
        found = run(xs, training)[1:]
        for source, gradient in zip(sources, found, strict=True):
            _check_one(run, xs, inputs, source, gradient, training, tolerance)


def _check_one(run, xs, inputs, source, gradient, training, tolerance) -> None:
    index = next((i for i, x in enumerate(inputs) if x is source), None)
    value = xs[index] if index is not None else K.get_value(source)
    step = 1e-5
    flat = range(value.size)
    if value.size > 40:
        flat = np.random.RandomState(1).choice(value.size, 40, replace=False)
    for position in flat:
        losses = []
        for sign in (1, -1):
            moved = value.copy()
            moved.flat[position] += sign * step
            if index is None:
                K.set_value(source, moved)
                losses.append(run(xs, training)[0])
            else:
                losses.append(run([*xs[:index], moved, *xs[index + 1 :]], training)[0])
        if index is None:
            K.set_value(source, value)
        difference = (losses[0] - losses[1]) / (2 * step)
        assert abs(difference - gradient.flat[position]) <= tolerance * max(1, abs(difference)), (
            f"gradient of {source.name} at {position}: {gradient.flat[position]}, by differences "
            f"{difference}"
        )


def check_config(layer: Any, make: Callable[[], Any], xs, outputs, training: bool) -> None:
    """The config is JSON, and gives a layer that computes the same."""
    config = json.loads(json.dumps(keras.layers.serialize(layer)))
    copy = keras.layers.deserialize(config)
    assert type(copy) is type(layer)
    inputs = symbolic([x.shape[1:] for x in xs], _vocabulary(xs))
    y = copy(one(inputs))
    y = y if isinstance(y, list) else [y]
    copy.set_weights(layer.get_weights())
    if not training:
        for a, b in zip(function_of(inputs, y)(xs, False), outputs, strict=True):
            np.testing.assert_array_equal(a, b)
    again = json.loads(json.dumps(keras.layers.serialize(copy)))
    if isinstance(layer, keras.layers.Lambda):
        # The same code may be marshalled to different bytes.
        again["config"].pop("function")
        config["config"].pop("function")
    assert again == config


def _vocabulary(xs: Sequence[np.ndarray]) -> int | None:
    return 1 if xs[0].dtype.kind == "i" else None


def check_shapes(layer, xs, outputs, known) -> None:
    """What the layer says about its output's shape is what comes out, for any batch size."""
    shapes = [(None, *x.shape[1:]) for x in xs]
    declared = layer.compute_output_shape(one(shapes))
    declared = declared if isinstance(declared, list) else [declared]
    assert len(declared) == len(outputs)
    for says, graph, y in zip(declared, known, outputs, strict=True):
        assert tuple(says) == (None, *y.shape[1:])
        assert tuple(graph) == (None, *y.shape[1:])


def check_in_a_model(make: Callable[[], Any], xs, vocabulary) -> None:
    """The layer trains inside a model, whose config and weights go round."""
    inputs = symbolic([x.shape[1:] for x in xs], vocabulary)
    layer = make()
    outputs = layer(one(inputs))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    model = keras.models.Model(inputs, outputs)
    before = model.predict(one(list(xs)))
    before = before if isinstance(before, list) else [before]
    config = json.loads(json.dumps(model.get_config()))
    copy = keras.models.Model.from_config(config)
    copy.set_weights(model.get_weights())
    after = copy.predict(one(list(xs)))
    after = after if isinstance(after, list) else [after]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    model.compile(keras.optimizers.SGD(lr=0.1), "mse")
    targets = [np.random.RandomState(3).randn(*y.shape) for y in before]
    weights = [K.get_value(w) for w in layer.trainable_weights]
    loss = model.train_on_batch(list(xs), targets)
    assert np.isfinite(np.ravel(loss)).all()
    for w, old in zip(layer.trainable_weights, weights, strict=True):
        assert (K.get_value(w) != old).any(), f"{w.name} was not trained"


def layer_test(
    cls: type,
    arguments: dict[str, Any] | None = None,
    shape: Any = (4,),
    expected: Callable[..., Any] | None = None,
    training: bool = False,
    vocabulary: int | None = None,
    gradients: bool = True,
    tolerance: float = 1e-5,
) -> Any:
    """Check a layer with one set of arguments.

    Its declared and actual output shapes, that its weights go through get and set, that its config
    gives the same layer, its outputs against `expected`, its gradients against finite differences,
    and that it trains and goes round as part of a model.

    Args:
        cls: the layer's class.
        arguments: its arguments.
        shape: the input's shape without the samples, a list of them for several inputs.
        expected: takes the inputs and the layer's weights in float64, returns the output, or a list
            of outputs.
        training: whether outputs and gradients are those of the training phase.
        vocabulary: where given, inputs are integers below it.
        gradients: whether the outputs can be differentiated.
        tolerance: relative error allowed to gradients.

    Returns:
        The layer.
    """
    # Initial weights and dropout masks are drawn from here, the same ones in every run.
    np.random.seed(7)
    shapes = shape if isinstance(shape, list) else [shape]

    def make() -> Any:
        return cls(**(arguments or {}))

    xs = make_inputs(shapes, vocabulary)
    layer = make()
    inputs = symbolic(shapes, vocabulary)
    y = layer(one(inputs))
    y = y if isinstance(y, list) else [y]
    weights = set_random_weights(layer)
    for w, value in zip(layer.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(w, value.astype(w.dtype))
    outputs = function_of(inputs, y)(xs, training)
    check_shapes(layer, xs, outputs, [K.int_shape(t) for t in y])
    if expected is not None:
        wanted = expected(*xs, *weights)
        wanted = wanted if isinstance(wanted, list) else [wanted]
        for a, b in zip(outputs, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
    check_config(layer, make, xs, outputs, training)
    if gradients:
        check_gradients(make, xs, vocabulary, training, tolerance)
        check_in_a_model(make, xs, vocabulary)
    return layer
