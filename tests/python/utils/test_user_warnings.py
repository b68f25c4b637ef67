"""Warnings name the user's line, and those of Keras 1 forms the call of today."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import hornbeam as keras
from hornbeam.layers import (
    AtrousConvolution2D,
    Convolution2D,
    Dense,
    Embedding,
    Input,
    Merge,
    add,
    merge,
)
from hornbeam.models import Model, Sequential, load_model

X, Y = np.zeros((4, 3)), np.zeros((4, 1))


def model(loss="mse"):
    built = Sequential([Dense(1, input_shape=(3,), name="out")])
    built.compile("sgd", loss)
    return built


def graph(loss):
    x = Input((3,))
    built = Model(x, [Dense(1, name="a")(x), Dense(1, name="b")(x)])
    built.compile("sgd", loss)
    return built


def batches():
    while True:
        yield X, Y


def saved(tmp_path, name):
    built = Sequential([Dense(1, input_shape=(3,))])
    built.save(str(tmp_path / name))
    return load_model(str(tmp_path / name))


def pair():
    return [Input((3,)), Input((3,))]


# what is called, and what the warning says
CALLS = {
    "layer": (lambda p: Dense(output_dim=2), r"`Dense\(units=2\)`"),
    "penalty": (
        lambda p: Dense(2, W_regularizer=keras.regularizers.l2(0.1)),
        r"`Dense\(2, kernel_regularizer=L1L2\(l1=0.0, l2=0.1\)\)`",
    ),
    "convolution": (
        lambda p: Convolution2D(4, 3, 3, border_mode="same"),
        r'`Conv2D\(4, \(3, 3\), padding="same"\)`',
    ),
    "atrous": (lambda p: AtrousConvolution2D(4, (3, 3), atrous_rate=2), "`dilation_rate`"),
    "embedding": (lambda p: Embedding(4, 2, dropout=0.1), "SpatialDropout1D"),
    "sum": (lambda p: merge(pair()), r"`add\(inputs\)`"),
    "concat": (
        lambda p: merge(pair(), mode="concat", concat_axis=1),
        r"`concatenate\(inputs, axis=1\)",
    ),
    "cos": (
        lambda p: merge(pair(), mode="cos", dot_axes=1),
        r"`dot\(inputs, axes=1, normalize=True\)`",
    ),
    "function": (lambda p: merge(pair(), mode=add), r"`Lambda\(add\)\(inputs\)`"),
    "layer of merge": (
        lambda p: Merge([Sequential([Dense(2, input_shape=(3,))]) for _ in "ab"], mode="mul"),
        r"`multiply\(inputs\)`",
    ),
    "model": (
        lambda p: (lambda x: Model(input=x, output=x))(Input((3,), name="x")),
        r"`Model\(inputs=x.*, outputs=x",
    ),
    "nb_epoch": (lambda p: model().fit(X, Y, nb_epoch=1, verbose=0), "renamed `epochs`"),
    "nb_epoch of a graph": (
        lambda p: graph("mse").fit(X, [Y, Y], nb_epoch=1, verbose=0),
        "renamed `epochs`",
    ),
    "generator": (
        lambda p: model().fit_generator(batches(), steps_per_epoch=1, nb_epoch=1, verbose=0),
        r"`fit_generator\(batches, steps_per_epoch=1, epochs=1, verbose=0\)`",
    ),
    "val_samples": (
        lambda p: model().evaluate_generator(batches(), val_samples=2),
        r"`evaluate_generator\(batches, steps=2\)`",
    ),
    "no loss": (lambda p: graph({"a": "mse"}), '"b" missing from loss'),
    "no use": (
        lambda p: model().fit({"out_input": X, "z": X}, Y, verbose=0),
        r"no use for \['z'\]",
    ),
    "two weights": (
        lambda p: model().fit(
            X, Y, class_weight={0: 1.0}, sample_weight=np.ones(4), epochs=1, verbose=0
        ),
        "`class_weight` is not used",
    ),
    "not compiled": (lambda p: saved(p, "m.h5"), "No training configuration"),
    "not compiled, Keras 3": (lambda p: saved(p, "m.keras"), "No training configuration"),
    "no probabilities": (
        lambda p: Sequential(
            [keras.layers.Lambda(lambda x: x - 1.0, input_shape=(3,))]
        ).predict_proba(X, verbose=0),
        "invalid probability",
    ),
    "a missing quantity": (
        lambda p: model().fit(
            X, Y, verbose=0, epochs=1, callbacks=[keras.callbacks.EarlyStopping("val_loss")]
        ),
        "val_loss",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_the_line_and_the_text(case, tmp_path):
    call, text = CALLS[case]
    with pytest.warns((UserWarning, RuntimeWarning), match=text) as caught:
        call(tmp_path)
    places = [(w.filename, w.lineno) for w in caught]
    assert {filename for filename, _ in places} == {__file__}
    lines = {n for f in (call, graph, saved) for *_, n in f.__code__.co_lines() if n}
    assert {lineno for _, lineno in places} <= set(range(min(lines), max(lines) + 1))


def test_todays_calls_are_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keras.layers.Conv2D(4, (3, 3), padding="same", kernel_regularizer="l2")
        built = model()
        built.fit(X, Y, epochs=1, verbose=0)
        built.fit_generator(batches(), steps_per_epoch=1, epochs=1, verbose=0)


def test_a_subclass_is_where_its_call_is():
    class Own(Dense):
        def __init__(self):
            super().__init__(output_dim=3)

    with pytest.warns(UserWarning, match="units=3") as caught:
        Own()
    line = inspect.getsourcelines(Own.__init__)[1] + 1
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line)]
