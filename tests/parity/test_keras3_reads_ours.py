"""Keras 3 opens the files that are written here, where there is an environment with it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import hornbeam as keras
from hornbeam.layers import (
    GRU,
    LSTM,
    Activation,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    GaussianNoise,
    GlobalAveragePooling2D,
    GroupNormalization,
    Input,
    LayerNormalization,
    LeakyReLU,
    MaxPooling2D,
    MultiHeadAttention,
    PReLU,
    SeparableConv2D,
    SimpleRNN,
    SpatialDropout2D,
    ThresholdedReLU,
    TimeDistributed,
    ZeroPadding2D,
    add,
    concatenate,
)
from hornbeam.models import Model, Sequential

ROOT = Path(__file__).parents[2]
PEERS = Path(os.environ.get("HORNBEAM_PEERS_PYTHON", ROOT / ".venv-peers/bin/python"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PEERS.exists(), reason=f"{PEERS} is not there: make bench-peers"),
]
R = np.random.RandomState(6)


def recurrent():
    a, b, state = Input((5, 3), name="a"), Input((4,), name="b"), Input((3,), name="s")
    x = Bidirectional(LSTM(4, return_sequences=True, recurrent_activation="sigmoid"))(a)
    x = GRU(3, recurrent_activation="hard_sigmoid_relu6")(x, initial_state=state)
    inner = Sequential([Dense(4, activation="swish", input_shape=(4,)), BatchNormalization()])
    x = concatenate([x, inner(b), inner(Activation("tanh")(b))])
    first = Dense(2, name="first", kernel_regularizer="l2", kernel_constraint="nonneg")(x)
    second = Dense(1, name="second", activation="sigmoid")(x)
    model = Model([a, b, state], [first, second])
    model.compile(
        keras.optimizers.Adam(0.01),
        ["mse", "binary_crossentropy"],
        loss_weights=[1.0, 0.5],
        metrics=["mae"],
    )
    x = [R.rand(16, 5, 3), R.rand(16, 4), R.rand(16, 3)]
    return model, x, [R.rand(16, 2), R.randint(2, size=(16, 1))]


def convolutional():
    model = Sequential(
        [
            Conv2D(4, 3, padding="same", activation="relu", input_shape=(8, 8, 3)),
            BatchNormalization(),
            SeparableConv2D(5, 3, depth_multiplier=2),
            DepthwiseConv2D(2),
            PReLU(shared_axes=[1, 2]),
            Conv2DTranspose(3, 2, strides=2),
            LeakyReLU(0.2),
            ZeroPadding2D(),
            MaxPooling2D(),
            Dropout(0.0),
            SpatialDropout2D(0.0),
            GaussianNoise(0.0),
            ThresholdedReLU(0.01),
            GlobalAveragePooling2D(),
            Dense(3, activation="softmax", kernel_initializer="he_normal"),
        ]
    )
    rate = keras.optimizers.RMSprop(0.01, momentum=0.9, epsilon_inside=True)
    model.compile(rate, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, [R.rand(16, 8, 8, 3)], [R.randint(3, size=(16, 1))]


def sequences():
    a = Input((6,), dtype="int32")
    x = Embedding(20, 8, input_length=6)(a)
    x = LayerNormalization()(add([x, MultiHeadAttention(2, 3)(x, x)]))
    x = TimeDistributed(Dense(4, activation="elu"))(x)
    x = GroupNormalization(2)(Conv1D(4, 3, padding="causal", dilation_rate=2)(x))
    model = Model(a, Dense(1)(SimpleRNN(3)(x)))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True), "mse")
    return model, [R.randint(20, size=(16, 6))], [R.rand(16, 1)]


READER = """
import os, sys
os.environ["KERAS_BACKEND"] = "jax"
import keras, numpy as np
path = sys.argv[1]
with np.load(path + ".npz") as f:
    x, y = ([f[k] for k in sorted(f.files) if k[0] == c] for c in "xy")
x, y = (v if len(v) > 1 else v[0] for v in (x, y))
model = keras.models.load_model(path + ".keras")
found = {"p": model.predict(x, verbose=0)}
model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
found["q"] = model.predict(x, verbose=0)
model.load_weights(path + ".weights.h5")
found["w"] = model.predict(x, verbose=0)
flat = {f"{k}{i}": v for k, t in found.items() for i, v in enumerate(keras.tree.flatten(t))}
np.savez(path + ".found.npz", **flat)
"""


@pytest.mark.parametrize("build", [recurrent, convolutional, sequences])
def test_keras_3_predicts_and_trains_the_same(build, tmp_path):
    model, x, y = build()
    path = str(tmp_path / "model")
    np.savez(
        f"{path}.npz",
        **{f"x{i}": v for i, v in enumerate(x)},
        **{f"y{i}": v for i, v in enumerate(y)},
    )
    x, y = (v if len(v) > 1 else v[0] for v in (x, y))
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    model.save(f"{path}.keras")
    model.save_weights(f"{path}.weights.h5")
    done = subprocess.run([PEERS, "-c", READER, path], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    before = model.predict(x)
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    after = model.predict(x)
    expected = {"p": (before, 2e-6), "q": (after, 3e-4), "w": (before, 2e-6)}
    with np.load(f"{path}.found.npz") as f:
        for key, (values, tolerance) in expected.items():
            for i, value in enumerate(values if isinstance(values, list) else [values]):
                np.testing.assert_allclose(f[f"{key}{i}"], value, rtol=0, atol=tolerance)
