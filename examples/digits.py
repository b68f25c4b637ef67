"""Train a small convolutional network on handwritten digits.

The 1,797 digits of 8x8 pixels come with scikit-learn, so nothing is downloaded. A fifth of them is
held out for the test; of the rest, a tenth validates each epoch. The script prints the accuracy on
the test digits and a table of confusions, and writes weights and figures to the folder `out`.

With HORNBEAM_WORKERS=2 in the environment, two workers of a Ray cluster train; then one trains the
same network again, and the weights are compared bit by bit.
"""

import os

import matplotlib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hornbeam as keras
from hornbeam.distribution import DataParallel, get_distribution
from hornbeam.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from hornbeam.models import Sequential

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

CLASSES = 10
EPOCHS = 20
BATCH_SIZE = 64
OUT = "out"


def load_data():
    """Return training, validation and test digits, each as (images, one-hot labels)."""
    digits = load_digits()
    x = (digits.images / 16).astype("float32").reshape(-1, 8, 8, 1)
    y = keras.utils.to_categorical(digits.target, CLASSES)
    x, x_test, y, y_test = train_test_split(
        x, y, test_size=0.2, stratify=digits.target, random_state=0
    )
    x, x_val, y, y_val = train_test_split(
        x, y, test_size=0.1, stratify=y.argmax(axis=1), random_state=0
    )
    return (x, y), (x_val, y_val), (x_test, y_test)


def shifted(x, y):
    """Return the images, and copies moved by one pixel up, down, left and right."""
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    corners = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]
    moved = [padded[:, row : row + 8, column : column + 8] for row, column in corners]
    return np.concatenate(moved), np.concatenate([y] * len(moved))


def build_model():
    model = Sequential()
    model.add(Conv2D(16, (3, 3), padding="same", activation="relu", input_shape=(8, 8, 1)))
    model.add(Conv2D(32, (3, 3), padding="same", activation="relu"))
    model.add(MaxPooling2D(pool_size=(2, 2)))
    model.add(Dropout(0.25))
    model.add(Flatten())
    model.add(Dense(128, activation="relu"))
    model.add(Dropout(0.5))
    model.add(Dense(CLASSES, activation="softmax"))
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def print_confusions(truth, predicted):
    """Print how often each digit (row) was taken for each (column); a dot is zero."""
    counts = np.zeros((CLASSES, CLASSES), int)
    np.add.at(counts, (truth, predicted), 1)
    print("\ndigit  taken for" + "".join(f"{digit:4d}" for digit in range(CLASSES)))
    for digit, row in enumerate(counts):
        print(f"{digit:5d}           " + "".join(f"{n:4d}" if n else "   ." for n in row))


def plot(history, x, truth, probabilities, path):
    """Draw the learning curves and the misclassified digits, or else the least certain ones."""
    figure, (loss, accuracy, hard) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    for axes, key, title in ((loss, "loss", "loss"), (accuracy, "acc", "accuracy")):
        axes.plot(epochs, history[key], label="training (with dropout)")
        axes.plot(epochs, history["val_" + key], label="validation")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    predicted = probabilities.argmax(axis=1)
    sure = probabilities[np.arange(len(truth)), truth]
    mistakes = np.flatnonzero(predicted != truth)
    shown = mistakes if len(mistakes) else np.argsort(sure)
    title = f"{len(mistakes)} of {len(truth)} test digits misclassified"
    hard.set(title=title + ("" if len(mistakes) else "\nthe least certain:"))
    hard.axis("off")
    for place, i in enumerate(shown[:12]):
        inset = hard.inset_axes(
            [place % 4 / 4 + 0.02, 0.68 - place // 4 * 0.33, 0.2, 0.25], xticks=[], yticks=[]
        )
        inset.imshow(x[i, :, :, 0], cmap="gray_r")
        wrong = predicted[i] != truth[i]
        caption = f"{truth[i]} taken for {predicted[i]}" if wrong else f"{truth[i]}: {sure[i]:.0%}"
        inset.set_title(caption, fontsize=7)
    figure.savefig(path, dpi=120)


def train(model, data, validation, **options):
    return model.fit(
        *data, batch_size=BATCH_SIZE, epochs=EPOCHS, validation_data=validation, **options
    )


def compare_with_one_worker(model, history, random_state, data, validation):
    """Train again on one worker, and compare every bit of the weights and every logged number."""
    workers = get_distribution()
    members = len(workers.generations()[-1]["members"])
    workers.close()
    np.random.set_state(random_state)
    again = build_model()
    with DataParallel(1, shards=workers.logical_shards) as one:
        history_again = train(again, data, validation, verbose=0, distribution=one)
    state = [*model.get_weights(), *model.optimizer.get_weights()]
    state_again = [*again.get_weights(), *again.optimizer.get_weights()]
    count = sum(a.size for a in state)
    same = all(a.tobytes() == b.tobytes() for a, b in zip(state, state_again, strict=True))
    if not same or history.history != history_again.history:
        raise SystemExit(f"{members} workers trained other weights than 1 worker")
    print(
        f"{members} workers trained the weights that 1 worker trains: all {count:,} numbers of "
        f"weights and optimizer are bit-identical, and so is the history of {EPOCHS} epochs"
    )


def main():
    np.random.seed(0)
    os.makedirs(OUT, exist_ok=True)
    data, validation, (x_test, y_test) = load_data()
    data = shifted(*data)

    random_state = np.random.get_state()
    model = build_model()
    model.summary()
    history = train(model, data, validation)
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)

    weights = os.path.join(OUT, "digits.h5")
    model.save_weights(weights)
    loaded = build_model()
    loaded.load_weights(weights)
    probabilities = model.predict(x_test)
    if not np.array_equal(loaded.predict(x_test), probabilities):
        raise SystemExit("the weights that were saved and loaded predict something else")

    truth, predicted = y_test.argmax(axis=1), probabilities.argmax(axis=1)
    print_confusions(truth, predicted)
    plot(history.history, x_test, truth, probabilities, os.path.join(OUT, "digits.png"))
    print(f"\nTest loss {loss:.4f}, test accuracy {accuracy:.2%} on {len(x_test)} digits")
    print(f"Weights in {weights}; learning curves and mistakes in {OUT}/digits.png")
    if get_distribution() is not None:
        compare_with_one_worker(model, history, random_state, data, validation)


if __name__ == "__main__":
    main()
