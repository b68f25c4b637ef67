"""Writes whole models and weights by Keras 3, with inputs, predictions and how training goes on.

Run it with the Python of an environment that has Keras 3 and JAX (`make bench-peers` makes one):

    .venv-peers/bin/python tests/parity/make_keras3_files.py [recurrent convolutional sequences]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import layers

FOLDER = Path(__file__).parent / "golden" / "keras3"


def recurrent() -> keras.Model:
    """Bidirectional and gated recurrence, and a model within the model that is used twice."""
    a, b = keras.Input((5, 3), name="a"), keras.Input((4,), name="b")
    # Within Bidirectional, Keras 3 gives zeros for the steps that a mask leaves out.
    x = layers.Masking()(a)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    x = layers.GRU(3, recurrent_activation="hard_sigmoid")(x)
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, activation="gelu"), layers.BatchNormalization()],
        name="inner",
    )
    x = layers.Concatenate()([x, inner(b), inner(layers.Activation("tanh")(b))])
    first = layers.Dense(2, name="first", kernel_regularizer=keras.regularizers.L2(0.01))(x)
    second = layers.Dense(1, name="second", activation="sigmoid")(x)
    model = keras.Model([a, b], [first, second])
    model.compile(
        keras.optimizers.Adam(0.01),
        loss=["mse", "binary_crossentropy"],
        loss_weights=[1.0, 0.5],
        metrics=[["mae"], ["accuracy"]],
    )
    return model


def convolutional() -> keras.Model:
    """Images, by RMSprop with momentum."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, padding="same", activation="relu", name="one"),
            layers.BatchNormalization(momentum=0.9),
            layers.SeparableConv2D(5, 3, depth_multiplier=2),
            layers.DepthwiseConv2D(2),
            layers.PReLU(shared_axes=[1, 2]),
            layers.Conv2DTranspose(3, 2, strides=2),
            layers.LeakyReLU(negative_slope=0.2),
            layers.MaxPooling2D(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.0),
            layers.Dense(3, activation="softmax"),
        ],
        name="images",
    )
    model.compile(
        keras.optimizers.RMSprop(0.01, momentum=0.9),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def sequences() -> keras.Model:
    """Tokens through attention and normalisation, by SGD with momentum."""
    a = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 8)(a)
    y = layers.MultiHeadAttention(2, 3)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    x = layers.TimeDistributed(layers.Dense(4, activation="silu"))(x)
    x = layers.Conv1D(4, 3, padding="causal", dilation_rate=2)(x)
    x = layers.GroupNormalization(2)(x)
    x = layers.SimpleRNN(3)(x)
    model = keras.Model(a, layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True), loss="mse")
    return model


def data(name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and targets of a model."""
    rng = np.random.RandomState(len(name))
    if name == "recurrent":
        targets = [rng.rand(16, 2), rng.randint(2, size=(16, 1))]
        steps = rng.rand(16, 5, 3)
        steps[:8, 3:] = steps[8:12, 0] = 0
        return [steps, rng.rand(16, 4)], targets
    if name == "convolutional":
        return [rng.rand(16, 8, 8, 3)], [rng.randint(3, size=(16, 1))]
    return [rng.randint(20, size=(16, 6))], [rng.rand(16, 1)]


def one(x: list[np.ndarray]) -> list[np.ndarray] | np.ndarray:
    """Return a single array without the list around it."""
    return x if len(x) > 1 else x[0]


def main() -> None:
    """Write a model file, a weights file and the numbers of each model."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for build in (recurrent, convolutional, sequences):
        name = build.__name__
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        keras.utils.set_random_seed(len(name))
        model, (x, y) = build(), data(name)
        model.fit(one(x), one(y), batch_size=8, epochs=2, shuffle=False, verbose=0)
        model.save(FOLDER / f"{name}.keras")
        if name == "recurrent":
            model.save_weights(FOLDER / f"{name}.weights.h5")
        before = model.predict(one(x), verbose=0)
        model.fit(one(x), one(y), batch_size=8, epochs=2, shuffle=False, verbose=0)
        after = model.predict(one(x), verbose=0)
        np.savez_compressed(
            FOLDER / f"{name}.npz",
            **{f"before_{k}": v for k, v in enumerate(keras.tree.flatten(before))},
            **{f"after_{k}": v for k, v in enumerate(keras.tree.flatten(after))},
            **{f"x_{k}": v for k, v in enumerate(x)},
            **{f"y_{k}": v for k, v in enumerate(y)},
        )


if __name__ == "__main__":
    main()
