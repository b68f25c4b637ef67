"""Train a classifier on the arrays `x` (images) and `y` (numbers of classes) of an .npz file.

The file is HORNBEAM_DATA, on this machine or in any store that fsspec knows. Everything else about
the run (workers, checkpoints, the finished model) is `python -m hornbeam.run`'s business.
"""

import io
import os

import numpy as np

import hornbeam as keras
from hornbeam.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from hornbeam.models import Sequential
from hornbeam.run import open_file

EPOCHS = int(os.environ.get("EPOCHS", "20"))
BATCH_SIZE = 64


def load_data(path):
    with open_file(path) as f, np.load(io.BytesIO(f.read())) as arrays:
        return arrays["x"].astype("float32"), arrays["y"]


def build_model(shape, classes):
    model = Sequential()
    model.add(Conv2D(16, (3, 3), padding="same", activation="relu", input_shape=shape))
    model.add(MaxPooling2D(pool_size=(2, 2)))
    model.add(Flatten())
    model.add(Dense(64, activation="relu"))
    model.add(Dropout(0.25))
    model.add(Dense(classes, activation="softmax"))
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


np.random.seed(0)
x, y = load_data(os.environ["HORNBEAM_DATA"])
classes = int(y.max()) + 1
model = build_model(x.shape[1:], classes)
model.fit(
    x,
    keras.utils.to_categorical(y, classes),
    batch_size=BATCH_SIZE,
    epochs=EPOCHS,
    validation_split=0.1,
    verbose=2,
)
