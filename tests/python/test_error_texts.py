"""What an error tells a user: Keras' words first, so that they can be looked up, then a way out."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam.layers import LSTM, Dense, Embedding, Flatten, Input, Lambda, TimeDistributed
from hornbeam.models import Model, Sequential

R = np.random.RandomState(2)


def plain(**compiling):
    model = Sequential([Dense(3, input_shape=(4,), name="first"), Dense(1, name="last")])
    model.compile("sgd", "mse", **compiling)
    return model


def picture(**compiling):
    model = Sequential([Flatten(input_shape=(2, 5, 3), name="flat"), Dense(2, name="last")])
    model.compile("sgd", "mse", **compiling)
    return model


def steps(mode="temporal"):
    model = Sequential([TimeDistributed(Dense(2), input_shape=(5, 3), name="steps")])
    model.compile("sgd", "mse", sample_weight_mode=mode)
    return model


def several():
    a, b = Input((4,), name="a"), Input((3,), name="b")
    model = Model([a, b], [Dense(1, name="u")(a), Dense(2, name="v")(b)])
    model.compile("sgd", "mse")
    return model


X, Y = R.rand(6, 4), R.rand(6, 1)
A, B, U, V = R.rand(6, 4), R.rand(6, 3), R.rand(6, 1), R.rand(6, 2)

# model, arguments of train_on_batch, Keras' words, the way out
TEXTS = {
    "one sample": (
        plain,
        (X[0], Y),
        "Error when checking model input: expected first_input to have shape (None, 4) but got "
        "array with shape (4, 1)",
        "make a batch of it: `x[np.newaxis]`",
    ),
    "one picture": (
        picture,
        (R.rand(2, 5, 3), V[:1]),
        "Error when checking model input: expected flat_input to have 4 dimensions",
        "make a batch of it: `x[np.newaxis]`",
    ),
    "the other data_format": (
        picture,
        (R.rand(6, 3, 2, 5), V),
        "Error when checking model input: expected flat_input to have shape (None, 2, 5, 3) but "
        "got array with shape (6, 3, 2, 5)",
        "`np.transpose`, or `data_format`",
    ),
    "flat pictures": (
        picture,
        (R.rand(6, 30), V),
        "Error when checking model input: expected flat_input to have 4 dimensions",
        "`x.reshape((-1, 2, 5, 3))`",
    ),
    "other features": (
        plain,
        (R.rand(6, 7), Y),
        "Error when checking model input: expected first_input to have shape (None, 4) but got "
        "array with shape (6, 7)",
        "`input_shape=(7,)`",
    ),
    "other targets": (
        plain,
        (X, R.rand(6, 2)),
        "Error when checking model target: expected last to have shape (None, 1) but got array "
        "with shape (6, 2)",
        "Targets have the shape of the output",
    ),
    "no targets": (
        plain,
        (X, None),
        "Error when checking model target: no data was provided",
        "pass one array, a list with one for each, or a dictionary by name",
    ),
    "a list of samples": (
        plain,
        (list(X), Y),
        "Error when checking model input: the list of Numpy arrays that you are passing to your "
        "model is not the size the model expected. Expected to see 1 arrays but instead got the "
        "following list of 6 arrays",
        "make one array of them: `np.array(x)`",
    ),
    "arrays for inputs that are not there": (
        plain,
        ([X, R.rand(6, 2)], Y),
        "Error when checking model input: the list of Numpy arrays",
        "Pass the one array for 'first_input'",
    ),
    "one array for two": (
        several,
        (A, [U, V]),
        "The model expects 2 model input arrays, but only received one array",
        "an array for each of ['a', 'b'], or a dictionary by these names",
    ),
    "three arrays for two": (
        several,
        ([A, B, A], [U, V]),
        "Error when checking model input: the list of Numpy arrays",
        "one array for each of ['a', 'b'], in this order",
    ),
    "a name that is not there": (
        several,
        ({"a": A, "c": B}, [U, V]),
        "No data provided for \"b\". Need data for each key in: ['a', 'b']",
        "Rename or add the entry",
    ),
    "None for an input": (
        several,
        ([A, None], [U, V]),
        "Error when checking model input: expected an array for b, got None",
        "build the model without it",
    ),
    "a scalar": (
        plain,
        (3.0, Y),
        "Error when checking model input: expected first_input to be an array of samples",
        "`np.array([x])`",
    ),
    "another number of targets": (
        plain,
        (X, Y[:4]),
        "Input arrays should have the same number of samples as target arrays. Found 6 input "
        "samples and 4 target samples.",
        "The first axis counts the samples",
    ),
    "inputs of two lengths": (
        several,
        ([A, B[:2]], [U, V]),
        "All input arrays (x) should have the same number of samples. Got array shapes: "
        "[(6, 4), (2, 3)]",
        "The first axis counts the samples",
    ),
    "targets of two lengths": (
        several,
        ([A, B], [U, V[:2]]),
        "All target arrays (y) should have the same number of samples. Got array shapes: "
        "[(6, 1), (2, 2)]",
        "The first axis counts the samples",
    ),
}

WEIGHTS = {
    "a column": (
        plain,
        (X, Y, np.ones((6, 1))),
        "Found a sample_weight array with shape (6, 1) for last. In order to use timestep-wise "
        'sample weights, you should specify sample_weight_mode="temporal" in compile()',
        "of shape (samples,), here (6,)",
    ),
    "too few": (
        plain,
        (X, Y, np.ones(5)),
        "Found a sample_weight array with shape (5,) for an input with shape (6, 1). sample_weight "
        "cannot be broadcast.",
        "weights of the shape (6,): one for each sample",
    ),
    "text": (
        plain,
        (X, Y, np.array(["a"] * 6)),
        "The sample weights for last have the dtype <U1",
        "`np.ones(len(y))`",
    ),
    "one for each sample where steps are weighed": (
        steps,
        (R.rand(6, 5, 3), R.rand(6, 5, 2), np.ones(6)),
        "Found a sample_weight array with shape (6,) for steps. In order to use timestep-wise "
        "sample weighting, you should pass a 2D sample_weight array",
        "one of shape (6, 5)",
    ),
    "another number of steps": (
        steps,
        (R.rand(6, 5, 3), R.rand(6, 5, 2), np.ones((6, 4))),
        "Found a sample_weight array with shape (6, 4) for an input with shape (6, 5, 2). "
        "sample_weight cannot be broadcast.",
        "weights of the shape (6, 5): one for each step of each sample",
    ),
}


def check(model, call, words, way_out):
    with pytest.raises(ValueError) as caught:
        call()
    text = str(caught.value)
    assert text.startswith(words)
    assert way_out in text[len(words) :]
    assert text.endswith((".", "`", "]"))


@pytest.mark.parametrize("case", TEXTS)
def test_arrays(case):
    build, arguments, words, way_out = TEXTS[case]
    model = build()
    before = model.get_weights()
    check(model, lambda: model.train_on_batch(*arguments), words, way_out)
    check(model, lambda: model.fit(*arguments, verbose=0), words, way_out)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", WEIGHTS)
def test_sample_weights(case):
    build, (x, y, weights), words, way_out = WEIGHTS[case]
    model = build()
    check(model, lambda: model.evaluate(x, y, sample_weight=weights, verbose=0), words, way_out)
    check(model, lambda: model.fit(x, y, sample_weight=weights, verbose=0), words, way_out)


def test_class_weights():
    model = steps(mode=None)
    x, y = R.rand(6, 5, 3), R.rand(6, 5, 2)
    check(
        model,
        lambda: model.fit(x, y, class_weight={0: 1.0, 1: 2.0}, verbose=0),
        "`class_weight` not supported for 3+ dimensional targets.",
        "Pass `sample_weight` for steps instead",
    )
    model = plain()
    check(
        model,
        lambda: model.fit(X, np.arange(6) % 3, class_weight={0: 1.0, 1: 2.0}, verbose=0),
        "`class_weight` must contain all classes in the data. The classes [2] exist in the data",
        "Add them",
    )


def test_the_ways_out_lead_out():
    model = picture()
    model.predict(R.rand(2, 5, 3)[np.newaxis])
    model.predict(R.rand(6, 30).reshape((-1, 2, 5, 3)))
    plain().predict(X[0][np.newaxis])
    plain().predict(np.array(list(X)))
    several().predict({"a": A, "b": B})


def gathered(x):
    return K.gather(K.constant(np.eye(4)), K.cast(x[:, 0], "int32"))


def mistaken():
    """Layers in which an index may lie outside of its axis, and the operation's name."""
    words = Sequential([Embedding(4, 2, input_length=3, name="words"), Flatten(), Dense(1)])
    chosen = Sequential([Lambda(gathered, input_shape=(3,), name="chosen"), Dense(1)])
    inner = Sequential([Embedding(4, 2, input_length=3, name="words"), LSTM(2)], name="inner")
    within = Sequential([inner, Dense(1)])
    spread = Sequential([TimeDistributed(inner, input_shape=(2, 3), name="spread"), Flatten()])
    spread.add(Dense(1))
    return {
        "words": (words, (6, 3), "layer 'words': Gather"),
        "chosen": (chosen, (6, 3), "layer 'chosen': Gather"),
        "within": (within, (6, 3), "layer '[^']*words': Gather"),
        "spread": (spread, (6, 2, 3), "layer '[^']*words': Gather"),
    }


@pytest.mark.parametrize("method", ["predict", "fit", "train_on_batch", "evaluate"])
@pytest.mark.parametrize("case", sorted(mistaken()))
def test_an_index_out_of_range_names_layer_and_operation_once(case, method):
    model, shape, start = mistaken()[case]
    model.compile("sgd", "mse")
    x = np.zeros(shape)
    x[2, ..., 0] = 9
    arguments = (x,) if method == "predict" else (x, np.ones((6, 1)))
    kwargs = {} if method in ("predict", "train_on_batch") else {"verbose": 0}
    with pytest.raises(ValueError) as caught:
        getattr(model, method)(*arguments, **kwargs)
    assert re.fullmatch(
        rf"{start}: index 9 at position \d+ is out of range for an axis of 4: it must be at least "
        "0 and less than 4",
        str(caught.value),
    )


def test_operations_are_named_once():
    x, labels = K.placeholder((None, 3)), K.placeholder((None, 1))
    loss = K.sparse_categorical_crossentropy(K.softmax(x), labels)
    with pytest.raises(ValueError, match=r"^SparseSoftmaxCrossEntropy: index 7 at position 1 "):
        K.function([x, labels], [loss])([np.ones((2, 3)), np.array([[0], [7]])])
    with pytest.raises(ValueError, match=r"^Gather: index -1 at position 0 "):
        K.eval(K.gather(K.variable(np.ones((3, 2))), K.constant([-1], dtype="int32")))
    empty = K.placeholder((None, None))
    with pytest.raises(ValueError) as caught:
        K.function([empty], [K.argmax(empty)])([np.zeros((2, 0))])
    assert str(caught.value).lower().count("arg") == 1
