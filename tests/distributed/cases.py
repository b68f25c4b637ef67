"""Models and data for training on several workers; the same in every process."""

from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from hornbeam import regularizers
from hornbeam.layers import (
    LSTM,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GaussianNoise,
    MaxPooling2D,
)
from hornbeam.models import Sequential
from hornbeam.optimizers import Optimizer


@dataclass
class Case:
    model: Any
    data: tuple
    batch_size: int
    options: dict = field(default_factory=dict)
    epochs: int = 3

    def fit(self, callbacks=(), initial_epoch=0):
        x, y = self.data
        return self.model.fit(
            x,
            y,
            batch_size=self.batch_size,
            epochs=self.epochs,
            verbose=0,
            callbacks=list(callbacks),
            initial_epoch=initial_epoch,
            **self.options,
        )


def one_hot(rng, count, classes):
    return np.eye(classes, dtype="float32")[rng.randint(0, classes, count)]


def mlp():
    """Dropout, noise, penalties, a last batch that does not divide, validation."""
    np.random.seed(5)
    rng = np.random.RandomState(1)
    model = Sequential(
        [
            Dense(24, activation="relu", input_shape=(12,), kernel_regularizer="l2"),
            Dropout(0.4),
            GaussianNoise(0.1),
            Dense(16, activation="tanh", activity_regularizer=regularizers.l2(1e-3)),
            Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    data = rng.rand(101, 12).astype("float32"), one_hot(rng, 101, 3)
    return Case(model, data, 16, {"validation_split": 0.2})


def wide():
    """A weight of several pages of memory, whose optimizer keeps two values for each number."""
    case = mlp()
    np.random.seed(5)
    case.model = Sequential(
        [
            Dense(40, activation="relu", input_shape=(12,), kernel_regularizer="l2"),
            Dropout(0.4),
            Dense(120, activation="tanh"),
            Dense(3, activation="softmax"),
        ]
    )
    case.model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    return case


def linear():
    """Nothing random, no statistics: any number of shards computes the same but for rounding."""
    np.random.seed(5)
    rng = np.random.RandomState(1)
    model = Sequential(
        [
            Dense(
                8,
                activation="tanh",
                input_shape=(6,),
                kernel_regularizer="l2",
                activity_regularizer=regularizers.l2(1e-3),
            ),
            Dense(1),
        ]
    )
    model.compile("sgd", "mse", metrics=["mae"])
    data = rng.rand(50, 6).astype("float32"), rng.rand(50, 1).astype("float32")
    return Case(model, data, 16)


def weighted():
    """Sample weights of which whole shards are zero, and a clipped norm."""
    case = linear()
    case.model.compile("sgd", "mse", metrics=["mae"])
    case.model.optimizer.clipnorm = 0.5
    weights = np.random.RandomState(2).rand(50).astype("float32")
    weights[2:14] = 0.0
    case.options = {"sample_weight": weights, "shuffle": False}
    return case


def cnn():
    """Convolution and batch normalisation, with less rows in the last batch than shards."""
    np.random.seed(5)
    rng = np.random.RandomState(1)
    model = Sequential(
        [
            Conv2D(8, 3, padding="same", activation="relu", input_shape=(8, 8, 3)),
            BatchNormalization(),
            MaxPooling2D(),
            Conv2D(16, 3, activation="relu"),
            BatchNormalization(momentum=0.9),
            Flatten(),
            Dense(4, activation="softmax"),
        ]
    )
    model.compile("rmsprop", "categorical_crossentropy", metrics=["acc"])
    data = rng.rand(50, 8, 8, 3).astype("float32"), one_hot(rng, 50, 4)
    return Case(model, data, 12)


def statistics():
    """Batch normalisation over any axis, with and without scale and shift, one behind the other."""
    np.random.seed(5)
    rng = np.random.RandomState(1)
    model = Sequential(
        [
            Conv2D(6, 3, padding="same", input_shape=(6, 6, 3)),
            BatchNormalization(axis=1, momentum=0.8),
            Conv2D(10, 3, activation="relu"),
            BatchNormalization(scale=False, momentum=0.7),
            Flatten(),
            Dense(12, activation="relu", kernel_regularizer="l2"),
            BatchNormalization(center=False),
            Dropout(0.2),
            Dense(3),
            BatchNormalization(scale=False, center=False),
        ]
    )
    model.compile("sgd", "mse", metrics=["mae"])
    data = rng.normal(3.0, 2.0, (53, 6, 6, 3)).astype("float32"), one_hot(rng, 53, 3)
    return Case(model, data, 16)


def lstm():
    """Masked sequences of very different lengths, with dropout."""
    np.random.seed(5)
    rng = np.random.RandomState(1)
    words = rng.randint(1, 20, (45, 7))
    words[np.arange(7) >= rng.randint(1, 8, (45, 1))] = 0
    model = Sequential(
        [
            Embedding(20, 6, mask_zero=True, input_length=7),
            LSTM(8, dropout=0.2, recurrent_dropout=0.2, return_sequences=True),
            LSTM(5),
            Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["acc"])
    return Case(model, (words, rng.randint(0, 2, (45, 1)).astype("float32")), 16)


def masked():
    """A masked loss of every step: shards hold different numbers of valid steps."""
    np.random.seed(5)
    rng = np.random.RandomState(1)
    words = rng.randint(1, 20, (40, 7))
    words[np.arange(7) >= rng.randint(1, 8, (40, 1))] = 0
    model = Sequential(
        [
            Embedding(20, 6, mask_zero=True, input_length=7),
            LSTM(5, return_sequences=True),
            LSTM(1, return_sequences=True),
        ]
    )
    model.compile("sgd", "mse", metrics=["mae"])
    return Case(model, (words, rng.rand(40, 7, 1).astype("float32")), 16, {"shuffle": False})


class SignDescent(Optimizer):
    """A custom optimizer as Keras 2 has them: `get_updates` alone."""

    def __init__(self, **kwargs):
        from hornbeam import backend as K

        super().__init__(**kwargs)
        self.lr = K.variable(0.01)

    def get_updates(self, params=None, constraints=None, loss=None):
        from hornbeam import backend as K

        self.updates = []
        for p, g in zip(params, self.get_gradients(loss, params), strict=True):
            mean = K.zeros(K.int_shape(p))
            self.weights.append(mean)
            new = 0.9 * mean + 0.1 * g
            self.updates += [K.update(mean, new), K.update_sub(p, self.lr * K.tanh(new))]
        return self.updates


def stored():
    """Data in a file, of which each worker reads its own rows."""
    case = mlp()
    file = h5py.File("stored", "w", driver="core", backing_store=False)
    x, y = (
        file.create_dataset(n, data=a.astype("float64"))
        for n, a in zip("xy", case.data, strict=True)
    )
    case.data, case.options = (x, y), {"shuffle": "batch"}
    return case


def custom():
    """A custom optimizer."""
    case = linear()
    case.model.compile(SignDescent(), "mse", metrics=["mae"])
    return case


class Remembering(SignDescent):
    """Keeps the latest gradients, too."""

    def get_updates(self, params=None, constraints=None, loss=None):
        from hornbeam import backend as K

        super().get_updates(params, constraints, loss)
        for p, g in zip(params, self.get_gradients(loss, params), strict=True):
            self.weights.append(K.zeros(K.int_shape(p)))
            self.updates.append(K.update(self.weights[-1], g))
        return self.updates


def remembering():
    """An optimizer whose state has the gradients themselves."""
    case = linear()
    case.model.compile(Remembering(), "mse", metrics=["mae"])
    return case


# Of batch statistics, which are those of the whole batch only where they are synchronized.
STATISTICS = {function.__name__: function for function in (cnn, statistics)}
# Of updates that workers share, or must not.
LARGE = {function.__name__: function for function in (wide, remembering)}
CASES = {
    function.__name__: function
    for function in (mlp, linear, weighted, cnn, lstm, masked, stored, custom)
}
