"""Models, data and sizes of the benches, written against the Keras API alone.

The same code runs under hornbeam and under each peer: only `Api` knows them apart. The data are
synthetic, of the shapes and kinds of the data sets the models are known by.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Peer name -> (module, Keras 3 backend).
FRAMEWORKS = {
    "hornbeam": ("hornbeam", None),
    "keras-tensorflow": ("keras", "tensorflow"),
    "keras-jax": ("keras", "jax"),
    "keras-torch": ("keras", "torch"),
    "tf_keras": ("tf_keras", None),
}


class Api:
    """One framework under the names that the workloads use."""

    def __init__(self, framework: str, threads: int):
        module, backend = FRAMEWORKS[framework]
        if backend is not None:
            os.environ["KERAS_BACKEND"] = backend
        self.framework = framework
        self.keras = importlib.import_module(module)
        self.layers = self.keras.layers
        self.modern = module != "hornbeam"
        if framework == "keras-torch":
            importlib.import_module("torch").set_num_threads(threads)
        if framework in ("keras-tensorflow", "tf_keras"):
            tf = importlib.import_module("tensorflow")
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)

    def optimizer(self, name: str) -> Any:
        """The optimizer with the rate of Keras 2's examples, which Keras 3 changed for Adadelta."""
        cls = getattr(self.keras.optimizers, name)
        rate = {"Adadelta": 1.0, "RMSprop": 0.001, "Adam": 0.001}[name]
        return cls(learning_rate=rate) if self.modern else cls(lr=rate)

    def compile(self, model: Any, optimizer: str, loss: str) -> Any:
        model.compile(optimizer=self.optimizer(optimizer), loss=loss, metrics=["accuracy"])
        return model

    def sequential(self, input_shape: tuple[int, ...], layers: list, dtype: str = "float32") -> Any:
        """A Sequential model of `layers` on an input of `input_shape`."""
        inputs = self.layers.Input(shape=input_shape, dtype=dtype)
        x = inputs
        for layer in layers:
            x = layer(x)
        return self.keras.models.Model(inputs=inputs, outputs=x)


@dataclass(frozen=True)
class Workload:
    """A model, how it is trained, and how much of it one timing takes.

    Args:
        build: makes the compiled model.
        data: makes (x, y) for a number of samples.
        batch_size: samples a training step.
        steps: training steps of one timed epoch.
        predict_batch: samples a step of `predict`.
    """

    build: Callable[[Api], Any]
    data: Callable[[int], tuple[np.ndarray, np.ndarray]]
    batch_size: int
    steps: int
    predict_batch: int = 128


def _onehot(rng: np.random.Generator, samples: int, classes: int) -> np.ndarray:
    return np.eye(classes, dtype="float32")[rng.integers(0, classes, samples)]


def _features(shape: tuple[int, ...], classes: int) -> Callable[[int], tuple]:
    def data(samples: int):
        rng = np.random.default_rng(0)
        x = rng.random((samples, *shape), dtype="float32")
        if classes == 1:
            return x, rng.integers(0, 2, (samples, 1)).astype("float32")
        return x, _onehot(rng, samples, classes)

    return data


def _tokens(vocabulary: int, length: int) -> Callable[[int], tuple]:
    def data(samples: int):
        rng = np.random.default_rng(0)
        # Frequencies as in text: a word's rank is about inverse to how often it comes.
        x = np.minimum(rng.zipf(1.3, (samples, length)), vocabulary - 1).astype("int32")
        return x, rng.integers(0, 2, (samples, 1)).astype("float32")

    return data


def mlp_tiny(api: Api) -> Any:
    """The smallest network that trains: its step is all overhead."""
    dense = api.layers.Dense
    model = api.sequential((32,), [dense(32, activation="relu"), dense(1, activation="sigmoid")])
    return api.compile(model, "Adam", "binary_crossentropy")


def mlp(api: Api) -> Any:
    """Keras' mnist_mlp example."""
    dense, dropout = api.layers.Dense, api.layers.Dropout
    layers = [dense(512, activation="relu"), dropout(0.2)]
    layers += [dense(512, activation="relu"), dropout(0.2), dense(10, activation="softmax")]
    return api.compile(api.sequential((784,), layers), "RMSprop", "categorical_crossentropy")


def mnist_cnn(api: Api) -> Any:
    """Keras' mnist_cnn example."""
    make = api.layers
    layers = [
        make.Conv2D(32, (3, 3), activation="relu"),
        make.Conv2D(64, (3, 3), activation="relu"),
        make.MaxPooling2D(pool_size=(2, 2)),
        make.Dropout(0.25),
        make.Flatten(),
        make.Dense(128, activation="relu"),
        make.Dropout(0.5),
        make.Dense(10, activation="softmax"),
    ]
    model = api.sequential((28, 28, 1), layers)
    return api.compile(model, "Adadelta", "categorical_crossentropy")


def cifar_vgg(api: Api) -> Any:
    """Pairs of 3x3 convolutions with batch normalization, as in VGG, on 32x32 images."""
    make = api.layers
    layers = []
    for filters in (64, 128, 256):
        for _ in range(2):
            layers += [
                make.Conv2D(filters, (3, 3), padding="same", use_bias=False),
                make.BatchNormalization(),
                make.Activation("relu"),
            ]
        layers.append(make.MaxPooling2D())
    layers += [make.GlobalAveragePooling2D(), make.Dense(10, activation="softmax")]
    model = api.sequential((32, 32, 3), layers)
    return api.compile(model, "Adam", "categorical_crossentropy")


def resnet20(api: Api) -> Any:
    """The residual network of 20 layers for 32x32 images (He et al. 2015, section 4.2)."""
    make = api.layers

    def conv(x, filters, size=3, strides=1):
        x = make.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        return make.BatchNormalization()(x)

    inputs = make.Input(shape=(32, 32, 3))
    x = make.Activation("relu")(conv(inputs, 16))
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            strides = 2 if stage and not block else 1
            y = make.Activation("relu")(conv(x, filters, strides=strides))
            y = conv(y, filters)
            if strides > 1:
                x = conv(x, filters, size=1, strides=2)
            x = make.Activation("relu")(make.add([x, y]))
    x = make.GlobalAveragePooling2D()(x)
    outputs = make.Dense(10, activation="softmax")(x)
    model = api.keras.models.Model(inputs=inputs, outputs=outputs)
    return api.compile(model, "Adam", "categorical_crossentropy")


def imdb_cnn(api: Api) -> Any:
    """Keras' imdb_cnn example."""
    make = api.layers
    layers = [
        make.Embedding(5000, 50),
        make.Dropout(0.2),
        make.Conv1D(250, 3, padding="valid", activation="relu"),
        make.GlobalMaxPooling1D(),
        make.Dense(250),
        make.Dropout(0.2),
        make.Activation("relu"),
        make.Dense(1, activation="sigmoid"),
    ]
    return api.compile(api.sequential((400,), layers, "int32"), "Adam", "binary_crossentropy")


def imdb_lstm(api: Api) -> Any:
    """Keras' imdb_lstm example, without dropout."""
    make = api.layers
    layers = [make.Embedding(20000, 128), make.LSTM(128), make.Dense(1, activation="sigmoid")]
    return api.compile(api.sequential((80,), layers, "int32"), "Adam", "binary_crossentropy")


def char_gru(api: Api) -> Any:
    """Two GRU layers that predict the next of 64 characters."""
    make = api.layers
    layers = [
        make.GRU(256, return_sequences=True),
        make.GRU(256),
        make.Dense(64, activation="softmax"),
    ]
    return api.compile(api.sequential((64, 64), layers), "Adam", "categorical_crossentropy")


WORKLOADS: dict[str, Workload] = {
    "mlp_tiny": Workload(mlp_tiny, _features((32,), 1), 32, 600, 32),
    "mlp": Workload(mlp, _features((784,), 10), 128, 120),
    "mnist_cnn": Workload(mnist_cnn, _features((28, 28, 1), 10), 128, 24),
    "cifar_vgg": Workload(cifar_vgg, _features((32, 32, 3), 10), 64, 3, 64),
    "resnet20": Workload(resnet20, _features((32, 32, 3), 10), 64, 12, 64),
    "imdb_cnn": Workload(imdb_cnn, _tokens(5000, 400), 32, 40, 64),
    "imdb_lstm": Workload(imdb_lstm, _tokens(20000, 80), 32, 40, 64),
    "char_gru": Workload(char_gru, _features((64, 64), 64), 64, 8, 64),
}
