"""Tell positive from negative reviews by the mean of the vectors of words and of pairs of words.

Joulin, Grave, Bojanowski and Mikolov, "Bag of Tricks for Efficient Text Classification" (2016).
Pairs let the mean tell "not good" from "good".
"""

from synthetic import VOCABULARY, reviews

import hornbeam as keras
from hornbeam.layers import Dense, Embedding, GlobalAveragePooling1D
from hornbeam.models import Sequential
from hornbeam.preprocessing import sequence

keras.utils.set_random_seed(1)

MAXLEN = 108


def add_pairs(texts, numbers):
    """Return the texts followed by the numbers of the pairs of neighbours that have one."""
    return [
        text + [numbers[pair] for pair in zip(text, text[1:], strict=False) if pair in numbers]
        for text in texts
    ]


x_train, y_train = reviews(12000)
x_test, y_test = reviews(1000, seed=1)
pairs = sorted({pair for text in x_train for pair in zip(text, text[1:], strict=False)})
numbers = {pair: VOCABULARY + i for i, pair in enumerate(pairs)}
x_train = sequence.pad_sequences(add_pairs(x_train, numbers), maxlen=MAXLEN)
x_test = sequence.pad_sequences(add_pairs(x_test, numbers), maxlen=MAXLEN)

model = Sequential()
model.add(Embedding(VOCABULARY + len(numbers), 16, input_length=MAXLEN))
model.add(GlobalAveragePooling1D())
model.add(Dense(1, activation="sigmoid"))
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=32, epochs=10, verbose=2, validation_data=(x_test, y_test))
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print("Test loss:", loss)
print("Test accuracy:", accuracy)
assert accuracy > 0.8
