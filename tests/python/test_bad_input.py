"""What a model cannot take: each case an error that says so, and the model as it was."""

from __future__ import annotations

import re

import numpy as np
import pytest

import hornbeam as keras
from hornbeam.layers import Dense, Embedding, Flatten
from hornbeam.models import Sequential


def classifier():
    """Dense(8), Dense(3), with the names that errors must show."""
    model = Sequential()
    model.add(Dense(8, activation="relu", input_shape=(5,), name="hidden"))
    model.add(Dense(3, activation="softmax", name="scores"))
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def one_hot_classifier():
    model = classifier()
    model.compile("sgd", "categorical_crossentropy")
    return model


def embedder():
    model = Sequential()
    model.add(Embedding(10, 4, input_length=3, name="words"))
    model.add(Flatten())
    model.add(Dense(1, name="score"))
    model.compile("sgd", "mse")
    return model


X = np.random.default_rng(0).normal(size=(12, 5)).astype("float32")
Y = (np.arange(12) % 3).reshape(-1, 1)
TOKENS = np.arange(36).reshape(12, 3) % 10
TARGETS = np.ones((12, 1), "float32")


# Bad inputs: (what is called, on which model, the exceptions, what the message must name).

BAD_CALLS = {
    "wrong rank": (
        classifier,
        lambda m: m.predict(np.zeros((4, 5, 2), "float32")),
        ValueError,
        "hidden",
    ),
    "wrong feature count": (
        classifier,
        lambda m: m.fit(np.zeros((12, 6), "float32"), Y, verbose=0),
        ValueError,
        r"hidden.*\b5\b.*\b6\b",
    ),
    "wrong target features": (
        embedder,
        lambda m: m.fit(TOKENS, np.ones((12, 2), "float32"), verbose=0),
        ValueError,
        r"score.*\b1\b.*\b2\b",
    ),
    "mismatched sample counts": (
        classifier,
        lambda m: m.fit(X, Y[:7], verbose=0),
        ValueError,
        r"\b12\b.*\b7\b",
    ),
    "mismatched sample weights": (
        classifier,
        lambda m: m.fit(X, Y, sample_weight=np.ones(5), verbose=0),
        ValueError,
        r"weight",
    ),
    "labels too large": (
        classifier,
        lambda m: m.fit(X, Y + 1, verbose=0),
        (ValueError, IndexError),
        r"scores|label",
    ),
    "labels negative": (
        classifier,
        lambda m: m.train_on_batch(X, Y - 1),
        (ValueError, IndexError),
        r"scores|label",
    ),
    "embedding index too large": (
        embedder,
        lambda m: m.predict(TOKENS + 1),
        (ValueError, IndexError),
        "words",
    ),
    "embedding index negative": (
        embedder,
        lambda m: m.train_on_batch(TOKENS - 1, TARGETS),
        (ValueError, IndexError),
        "words",
    ),
    "no samples": (
        classifier,
        lambda m: m.fit(X[:0], Y[:0], verbose=0),
        ValueError,
        r"sample|empty",
    ),
    "array of objects": (
        classifier,
        lambda m: m.predict(np.array([[1, 2, 3, 4, "five"]], dtype=object)),
        (ValueError, TypeError),
        r"object|dtype",
    ),
    "array of strings": (
        classifier,
        lambda m: m.predict(np.array([["a", "b", "c", "d", "e"]])),
        (ValueError, TypeError),
        r"dtype|string|str|<U",
    ),
    "ragged list": (
        classifier,
        lambda m: m.fit([[1, 2, 3, 4, 5], [1, 2]], Y[:2], verbose=0),
        (ValueError, TypeError),
        r".",
    ),
    "two inputs for one": (
        classifier,
        lambda m: m.predict([X, X]),
        ValueError,
        r"input",
    ),
    "batch size of zero": (
        classifier,
        lambda m: m.fit(X, Y, batch_size=0, verbose=0),
        ValueError,
        "batch_size",
    ),
    **{
        f"{name} of {value!r}": (
            classifier,
            lambda m, name=name, value=value: m.fit(X, Y, **{"verbose": 0, name: value}),
            ValueError,
            f"`{name}`.*{re.escape(repr(value))}",
        )
        for name, values in {
            "batch_size": (-1, 2.5, "32", True, float("nan")),
            "epochs": (-3, 1.5, "2", None),
            "initial_epoch": (-1, 0.5),
            "validation_split": (1, 1.0, 1.5, -0.2, float("nan"), "0.1", True),
            "shuffle": ("batches",),
            "verbose": (3, -1, "yes", 0.5),
        }.items()
        for value in values
    },
    "validation split that leaves nothing to train on": (
        classifier,
        lambda m: m.fit(X, Y, validation_split=0.99, verbose=0),
        ValueError,
        r"0\.99 of 12 samples",
    ),
    "validation split that leaves nothing to validate on": (
        classifier,
        lambda m: m.fit(X, Y, validation_split=1e-18, verbose=0),
        ValueError,
        "none to validate on",
    ),
    "validation data of one array": (
        classifier,
        lambda m: m.fit(X, Y, validation_data=X, verbose=0),
        ValueError,
        "validation_data.*x_val, y_val",
    ),
    "validation data of a wrong width": (
        classifier,
        lambda m: m.fit(X, Y, validation_data=(X[:, :4], Y), verbose=0),
        ValueError,
        r"hidden.*\b5\b.*\b4\b",
    ),
    "validation labels too large": (
        classifier,
        lambda m: m.fit(X, Y, validation_data=(X, Y + 1), verbose=0),
        ValueError,
        "scores.*label 3",
    ),
    **{
        f"labels {what}": (
            classifier,
            lambda m, y=y: m.fit(X, y, verbose=0),
            ValueError,
            f"scores.*{message}",
        )
        for what, y, message in (
            ("of which one is NaN", np.where(Y == 1, np.nan, Y), "label nan"),
            ("that are infinite", np.where(Y == 1, np.inf, Y), "label inf"),
            ("between classes", Y / 2, "label 0.5.*whole"),
            ("that are huge", Y * 2**40, f"label {2**41}"),
            ("that are huge integers of Python", [10**30] * 12, "label 1"),
            ("that are strings", ["cat"] * 12, "dtype"),
            ("that are one-hot", np.eye(3)[Y[:, 0]], r"\(None, 1\).*\(12, 3\).*class numbers"),
        )
    },
    "class numbers where one-hot targets are wanted": (
        one_hot_classifier,
        lambda m: m.fit(X, Y, verbose=0),
        ValueError,
        r"scores.*\(None, 3\).*\(12, 1\).*to_categorical",
    ),
    "no targets": (classifier, lambda m: m.fit(X, verbose=0), ValueError, "target.*scores"),
    **{
        f"sample weights {what}": (
            classifier,
            lambda m, w=w: m.fit(X, Y, sample_weight=w, verbose=0),
            ValueError,
            f"{message}",
        )
        for what, w, message in (
            ("for each step", np.ones((12, 2)), r"scores.*temporal.*\(samples,\)"),
            ("as a number", 2.0, "scores"),
            ("as a string", "balanced", "scores.*dtype"),
            ("of which one is NaN", [np.nan] + [1.0] * 11, "scores.*nan.*finite"),
        )
    },
    "class weights without a class": (
        classifier,
        lambda m: m.fit(X, Y, class_weight={0: 1.0, 1: 2.0}, verbose=0),
        ValueError,
        r"\[2\].*scores",
    ),
    "class weights as a list": (
        classifier,
        lambda m: m.fit(X, Y, class_weight=[1.0, 2.0, 3.0], verbose=0),
        TypeError,
        "scores.*dictionary",
    ),
    "class weights that are no numbers": (
        classifier,
        lambda m: m.fit(X, Y, class_weight={0: "a", 1: 1.0, 2: 1.0}, verbose=0),
        ValueError,
        "scores.*finite number",
    ),
    "callbacks that are none": (
        classifier,
        lambda m: m.fit(X, Y, callbacks=[1], verbose=0),
        TypeError,
        "`callbacks`.*1",
    ),
    "a class as a callback": (
        classifier,
        lambda m: m.fit(X, Y, callbacks=[keras.callbacks.EarlyStopping], verbose=0),
        TypeError,
        "`callbacks`.*EarlyStopping",
    ),
    **{
        f"steps_per_epoch of {steps!r}": (
            classifier,
            lambda m, steps=steps: m.fit_generator(iter([(X, Y)] * 9), steps, 1, verbose=0),
            ValueError,
            "`steps_per_epoch`",
        )
        for steps in (0, -1, 1.5, "2", None)
    },
    "a batch that is None": (
        classifier,
        lambda m: m.fit_generator(iter([None]), 1, verbose=0),
        ValueError,
        r"tuple `\(x, y, sample_weight\)`.*None",
    ),
    "no features": (
        classifier,
        lambda m: m.predict(np.zeros((3, 0))),
        ValueError,
        r"hidden.*\(None, 5\).*\(3, 0\)",
    ),
    "no samples in a batch": (
        classifier,
        lambda m: m.train_on_batch(X[:0], Y[:0]),
        ValueError,
        "no samples",
    ),
    "a number": (classifier, lambda m: m.predict(3), ValueError, "hidden.*scalar 3"),
    "a string": (classifier, lambda m: m.predict("hello"), ValueError, "hidden.*dtype"),
    "nothing": (classifier, lambda m: m.predict(None), ValueError, "hidden"),
    "a dictionary without the input": (
        classifier,
        lambda m: m.predict({"inputs": X}),
        ValueError,
        "hidden_input.*inputs",
    ),
    "complex numbers": (
        classifier,
        lambda m: m.predict(X.astype("complex64")),
        ValueError,
        "hidden.*complex64",
    ),
    "dates": (
        classifier,
        lambda m: m.predict(np.zeros((2, 5), "M8[s]")),
        ValueError,
        "hidden.*datetime64",
    ),
    "integers that no float holds": (
        classifier,
        lambda m: m.predict([[10**400] * 5]),
        ValueError,
        "hidden.*too large",
    ),
    "embedding index between rows": (
        embedder,
        lambda m: m.predict(TOKENS + 0.5),
        ValueError,
        r"words.*0\.5.*whole",
    ),
    "embedding index of NaN": (
        embedder,
        lambda m: m.fit(np.where(TOKENS == 3, np.nan, TOKENS), TARGETS, verbose=0),
        ValueError,
        "words.*nan.*whole",
    ),
    "embedding index that wraps around": (
        embedder,
        lambda m: m.predict(TOKENS + 2**32),
        ValueError,
        f"words.*{2**32}",
    ),
    "too few weights": (
        classifier,
        lambda m: m.set_weights(m.get_weights()[:2]),
        ValueError,
        r"\b2\b.*\b4\b",
    ),
    "weights of another shape": (
        classifier,
        lambda m: m.set_weights([w + 1 for w in m.get_weights()[:3]] + [np.ones(4)]),
        ValueError,
        r"\(3,\).*scores.*\(4,\)",
    ),
    "unknown argument of fit": (
        classifier,
        lambda m: m.fit(X, Y, epoch=3, verbose=0),
        TypeError,
        "epoch",
    ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_call(case):
    make, call, exceptions, message = BAD_CALLS[case]
    model = make()
    good = (TOKENS, TARGETS) if make is embedder else (X, np.eye(3)[Y[:, 0]])
    good = (X, Y) if make is classifier else good
    before = model.get_weights()
    with pytest.raises(exceptions) as caught:
        call(model)
    assert re.search(message, str(caught.value), re.S | re.I), str(caught.value)
    for a, b in zip(model.get_weights(), before, strict=True):
        assert np.array_equal(a, b)
    losses = model.fit(*good, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert np.isfinite(model.predict(good[0])).all()


BAD_LAYERS = {
    "unknown keyword": (lambda: Dense(4, activatoin="relu"), TypeError, "activation"),
    "unknown activation": (lambda: Dense(4, activation="rlu"), ValueError, "rlu"),
    "unknown initializer": (
        lambda: Dense(4, kernel_initializer="glorot"),
        ValueError,
        "glorot",
    ),
    "kernel larger than its input": (
        lambda: Sequential([keras.layers.Conv2D(2, 5, input_shape=(3, 3, 1), name="stem")]),
        ValueError,
        "stem|kernel",
    ),
    "wrong rank between layers": (
        lambda: Sequential([Dense(4, input_shape=(3,)), keras.layers.Conv2D(2, 3, name="late")]),
        ValueError,
        "late",
    ),
    "merged shapes": (
        lambda: keras.layers.add([keras.layers.Input(shape=(3,)), keras.layers.Input(shape=(4,))]),
        ValueError,
        r"3.*4",
    ),
    "reshape to another size": (
        lambda: Sequential([keras.layers.Reshape((4, 2), input_shape=(9,), name="fold")]),
        ValueError,
        "size|shape|fold",
    ),
}


WRONG_RANKS = {
    "Dense": ((), lambda n: keras.layers.Dense(3, name=n)),
    "Conv1D": ((5,), lambda n: keras.layers.Conv1D(3, 2, name=n)),
    "Conv2D": ((5, 5), lambda n: keras.layers.Conv2D(3, 2, name=n)),
    "Conv3D": ((5, 5, 3), lambda n: keras.layers.Conv3D(3, 2, name=n)),
    "Conv2DTranspose": ((5,), lambda n: keras.layers.Conv2DTranspose(3, 2, name=n)),
    "SeparableConv2D": ((5, 5), lambda n: keras.layers.SeparableConv2D(3, 2, name=n)),
    "LocallyConnected1D": ((5,), lambda n: keras.layers.LocallyConnected1D(3, 2, name=n)),
    "LocallyConnected2D": ((5, 5), lambda n: keras.layers.LocallyConnected2D(3, 2, name=n)),
    "SimpleRNN": ((5,), lambda n: keras.layers.SimpleRNN(3, name=n)),
    "LSTM": ((5,), lambda n: keras.layers.LSTM(3, name=n)),
    "GRU": ((5, 5, 5), lambda n: keras.layers.GRU(3, name=n)),
    "ConvLSTM2D": ((5, 5, 3), lambda n: keras.layers.ConvLSTM2D(3, 2, name=n)),
    "Bidirectional": ((5,), lambda n: keras.layers.Bidirectional(keras.layers.LSTM(2), name=n)),
    "TimeDistributed": ((5,), lambda n: keras.layers.TimeDistributed(Dense(2), name=n)),
    "MaxPooling1D": ((5,), lambda n: keras.layers.MaxPooling1D(name=n)),
    "MaxPooling2D": ((5,), lambda n: keras.layers.MaxPooling2D(name=n)),
    "AveragePooling3D": ((5, 5), lambda n: keras.layers.AveragePooling3D(name=n)),
    "GlobalMaxPooling1D": ((5,), lambda n: keras.layers.GlobalMaxPooling1D(name=n)),
    "GlobalAveragePooling2D": ((5, 5), lambda n: keras.layers.GlobalAveragePooling2D(name=n)),
    "UpSampling2D": ((5,), lambda n: keras.layers.UpSampling2D(name=n)),
    "ZeroPadding1D": ((5,), lambda n: keras.layers.ZeroPadding1D(name=n)),
    "Cropping2D": ((5,), lambda n: keras.layers.Cropping2D(name=n)),
    "Permute": ((5,), lambda n: keras.layers.Permute((2, 1), name=n)),
    "RepeatVector": ((5, 2), lambda n: keras.layers.RepeatVector(3, name=n)),
    "SpatialDropout1D": ((5,), lambda n: keras.layers.SpatialDropout1D(0.5, name=n)),
    "BatchNormalization": ((5,), lambda n: keras.layers.BatchNormalization(axis=4, name=n)),
    "Embedding": ((5,), lambda n: Embedding(10, 2, input_length=4, name=n)),
    "Concatenate": (
        (5,),
        lambda n: lambda x: keras.layers.Concatenate(name=n)([x, keras.layers.Input((5, 2))]),
    ),
    "Add": ((5,), lambda n: lambda x: keras.layers.Add(name=n)([x, keras.layers.Input((4,))])),
    "add of one": ((5,), lambda n: lambda x: keras.layers.Add(name=n)([x])),
}


@pytest.mark.parametrize("case", WRONG_RANKS)
def test_a_wrong_rank_names_the_layer(case):
    shape, make = WRONG_RANKS[case]
    x = keras.layers.Input(shape=shape)
    with pytest.raises(ValueError) as caught:
        make("this_one")(x)
    assert "this_one" in str(caught.value)
    # What came: the rank, or the shape.
    found = re.search(r"found ndim=(\d)|\(None,[^)]*\)|\d\.\.\d", str(caught.value))
    assert found, str(caught.value)


@pytest.mark.parametrize("case", BAD_LAYERS)
def test_bad_layer(case):
    make, exception, message = BAD_LAYERS[case]
    with pytest.raises(exception, match=message):
        make()


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_uncompiled(method):
    model = Sequential()
    model.add(Dense(3, input_shape=(5,)))
    with pytest.raises(RuntimeError, match="compile"):
        getattr(model, method)(X, X[:, :3])
    assert model.predict(X).shape == (12, 3)


BAD_COMPILES = {
    "optimizer": (("sdg", "mse"), ValueError, "'sdg'.*'sgd'"),
    "optimizer with swapped letters": (("Adma", "mse"), ValueError, "'Adma'.*'adam'"),
    "optimizer's class": ((keras.optimizers.SGD, "mse"), ValueError, r"SGD.*an instance"),
    "no optimizer": ((None, "mse"), ValueError, "None"),
    "loss": (("sgd", "msee"), ValueError, "'msee'.*'mse'"),
    "long loss": (
        ("sgd", "categorical_crossentrpy"),
        ValueError,
        "'categorical_crossentrpy'.*'categorical_crossentropy'",
    ),
    "no loss": (("sgd", None), ValueError, "no loss"),
    "two losses for one output": (("sgd", ["mse", "mse"]), ValueError, "1 outputs"),
    "loss of another output": (("sgd", {"nope": "mse"}), ValueError, "nope.*scores"),
    "metric": (("sgd", "mse", {"metrics": ["accurracy"]}), ValueError, "'accurracy'.*'accuracy'"),
    "metrics of another output": (
        ("sgd", "mse", {"metrics": {"nope": "acc"}}),
        ValueError,
        "nope.*scores",
    ),
    "metrics that are none": (("sgd", "mse", {"metrics": 3}), TypeError, "metrics.*3"),
    "loss weights": (("sgd", "mse", {"loss_weights": [1, 2]}), ValueError, "weights.*1 outputs"),
    "loss weights of text": (("sgd", "mse", {"loss_weights": "a"}), ValueError, "weights.*'a'"),
    "mode of weights": (
        ("sgd", "mse", {"sample_weight_mode": "tmp"}),
        ValueError,
        "temporal.*tmp",
    ),
}


@pytest.mark.parametrize("case", BAD_COMPILES)
def test_bad_compile_names_what_there_is(case):
    (optimizer, loss, *options), exception, message = BAD_COMPILES[case]
    model = classifier()
    model.fit(X, Y, epochs=1, verbose=0)
    with pytest.raises(exception) as caught:
        model.compile(optimizer, loss, **dict(*options))
    assert re.search(message, str(caught.value), re.S), str(caught.value)
    # The old settings stay.
    assert model.metrics_names == ["loss", "acc"]
    assert np.isfinite(model.fit(X, Y, epochs=1, verbose=0).history["loss"]).all()


def test_unknown_arguments_have_the_nearest_name():
    with pytest.raises(TypeError, match="'learning_rat'.*'learning_rate'"):
        keras.optimizers.SGD(learning_rat=0.1)
    with pytest.raises(TypeError, match="'metric'.*'metrics'"):
        classifier().compile("sgd", "mse", metric=["accuracy"])


def test_what_may_be_given_in_several_ways():
    """Not bad, though it looks as if: a callback alone, whole labels as floats, large batches."""
    model = classifier()
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    seen: list[int] = []
    model.fit(X, Y.astype("float64"), epochs=2, batch_size=1000, callbacks=stop, verbose=False)
    model.fit(X, Y, epochs=np.int64(1), batch_size=np.int32(5), validation_split=None, verbose=0)
    assert seen == [0, 1]
    assert model.fit(X, Y, epochs=0, verbose=0).history == {}
    assert model.fit(X, Y, epochs=2, initial_epoch=5, verbose=0).history == {}
    assert model.predict(X[:0]).shape == (0, 3)
    assert model.predict_on_batch(X[:0]).shape == (0, 3)


def test_class_weight_beside_sample_weight_is_not_dropped_silently():
    model = classifier()
    with pytest.warns(UserWarning, match="class_weight.*scores"):
        model.fit(X, Y, class_weight={0: 1, 1: 1, 2: 1}, sample_weight=np.ones(12), verbose=0)


def test_a_batch_where_nothing_counts_teaches_nothing():
    """Its loss would be zero divided by zero, and poison all weights."""
    model = classifier()
    before = model.get_weights()
    assert model.train_on_batch(X, Y, sample_weight=np.zeros(12))[0] == 0
    for a, b in zip(model.get_weights(), before, strict=True):
        assert np.array_equal(a, b)
    masked = Sequential()
    masked.add(keras.layers.Masking(0.0, input_shape=(4, 5)))
    masked.add(keras.layers.LSTM(3, return_sequences=True))
    masked.compile("sgd", "mse", metrics=["mae"])
    before = masked.get_weights()
    assert masked.train_on_batch(np.zeros((2, 4, 5)), np.ones((2, 4, 3))) == [0, 0]
    for a, b in zip(masked.get_weights(), before, strict=True):
        assert np.array_equal(a, b)


def test_inputs_are_not_changed():
    model = classifier()
    x, y = X.copy(), Y.copy()
    x.setflags(write=False)
    y.setflags(write=False)
    model.fit(x, y, epochs=2, batch_size=5, verbose=0)
    model.predict(x)
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda x: np.asfortranarray(x), id="fortran"),
        pytest.param(lambda x: x[::-1][::-1], id="reversed"),
        pytest.param(lambda x: np.repeat(x, 2, axis=1)[:, ::2], id="strided"),
        pytest.param(lambda x: x.astype("float64"), id="float64"),
        pytest.param(lambda x: x.astype(">f4"), id="big-endian"),
        pytest.param(lambda x: x.tolist(), id="list"),
    ],
)
def test_layouts_of_arrays(view):
    model = classifier()
    assert np.array_equal(model.predict(np.asarray(view(X))), model.predict(X))
