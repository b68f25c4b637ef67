"""What preprocessing makes, as a model's input."""

import numpy as np
import pytest

from hornbeam.layers import LSTM, Conv2D, Dense, Embedding, Flatten
from hornbeam.models import Sequential
from hornbeam.preprocessing import image, sequence, text
from hornbeam.utils import set_random_seed, to_categorical


def image_model():
    set_random_seed(1)
    model = Sequential([Conv2D(3, (3, 3), input_shape=(8, 8, 1)), Flatten()])
    model.add(Dense(2, activation="softmax"))
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return model


def images(n=20):
    y = np.arange(n) % 2
    x = np.random.RandomState(0).normal(size=(n, 8, 8, 1)) * 0.1
    x[y == 1, :, 4:] += 1
    return x.astype("float32"), to_categorical(y)


def test_images_without_changes_are_the_arrays():
    x, y = images()
    flow = image.ImageDataGenerator().flow(x, y, batch_size=5, shuffle=False)
    one, other = image_model(), image_model()
    one.fit_generator(flow, steps_per_epoch=4, epochs=2, verbose=0)
    other.fit(x, y, batch_size=5, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("workers", [1, 3])
def test_transformed_images(workers):
    x, y = images()
    generator = image.ImageDataGenerator(
        width_shift_range=0.1, vertical_flip=True, featurewise_center=True
    )
    generator.fit(x)

    def run(workers):
        model = image_model()
        flow = generator.flow(x, y, batch_size=5, seed=3)
        history = model.fit_generator(
            flow,
            steps_per_epoch=4,
            epochs=8,
            workers=workers,
            validation_data=generator.flow(x, y, batch_size=5, seed=4),
            validation_steps=4,
            verbose=0,
        )
        return history.history, model

    history, model = run(workers)
    assert history["loss"][-1] < history["loss"][0]
    assert history == run(1)[0]  # a seed decides, whatever the number of workers
    assert len(model.evaluate_generator(generator.flow(x, y, batch_size=5), steps=4)) == 2
    flow = generator.flow(x, batch_size=6, shuffle=False)
    assert model.predict_generator(flow, steps=4).shape == (20, 2)


def test_texts():
    texts = ["good film", "bad film", "a good plot", "a bad plot, really bad"] * 8
    labels = np.array([1, 0, 1, 0] * 8)
    tokenizer = text.Tokenizer(num_words=20)
    tokenizer.fit_on_texts(texts)
    x = sequence.pad_sequences(tokenizer.texts_to_sequences(texts), maxlen=5)
    set_random_seed(1)
    model = Sequential(
        [Embedding(20, 8, mask_zero=True, input_length=5), LSTM(8), Dense(1, activation="sigmoid")]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(x, labels, epochs=60, batch_size=8, verbose=0)
    assert history.history["acc"][-1] == 1.0
    rows = tokenizer.texts_to_matrix(texts, mode="tfidf")
    dense = Sequential([Dense(1, activation="sigmoid", input_shape=(20,))])
    dense.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    assert dense.fit(rows, labels, epochs=300, verbose=0).history["acc"][-1] == 1.0


def test_time_series():
    series = np.sin(np.arange(200) / 5).astype("float32")
    batches = sequence.TimeseriesGenerator(series, series, length=6, batch_size=16)
    set_random_seed(1)
    model = Sequential([Dense(1, input_shape=(6,))])
    model.compile("adam", "mse")
    history = model.fit_generator(batches, steps_per_epoch=len(batches), epochs=60, verbose=0)
    assert history.history["loss"][-1] < 0.1 * history.history["loss"][0]
