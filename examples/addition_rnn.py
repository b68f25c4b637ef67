"""Learn to add: read "37+8" letter by letter and write "45"."""

import numpy as np

import hornbeam as keras
from hornbeam.layers import LSTM, Activation, Dense, RepeatVector, TimeDistributed
from hornbeam.models import Sequential

keras.utils.set_random_seed(1)

DIGITS = 2
LETTERS = "0123456789+ "
MAXLEN = 2 * DIGITS + 1
EPOCHS = 60


def encode(text, length):
    """Return a text as one-hot rows."""
    rows = np.zeros((length, len(LETTERS)), "float32")
    rows[np.arange(length), [LETTERS.index(letter) for letter in text]] = 1
    return rows


def decode(rows):
    return "".join(LETTERS[i] for i in rows.argmax(axis=-1)).strip()


random = np.random.RandomState(0)
pairs = [(a, b) for a in range(100) for b in range(100)]
random.shuffle(pairs)
# A question is written backwards, which brings the units' digits near to the answer.
questions = [f"{a}+{b}".ljust(MAXLEN)[::-1] for a, b in pairs]
answers = [str(a + b).ljust(DIGITS + 1) for a, b in pairs]
x = np.array([encode(question, MAXLEN) for question in questions])
y = np.array([encode(answer, DIGITS + 1) for answer in answers])
held_out = 1000

model = Sequential()
model.add(LSTM(128, input_shape=(MAXLEN, len(LETTERS))))
model.add(RepeatVector(DIGITS + 1))
model.add(LSTM(128, return_sequences=True))
model.add(TimeDistributed(Dense(len(LETTERS))))
model.add(Activation("softmax"))
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])

right = 0.0
for epoch in range(EPOCHS):
    history = model.fit(x[held_out:], y[held_out:], batch_size=64, epochs=1, verbose=0)
    guesses = model.predict(x[:held_out])
    right = (guesses.argmax(-1) == y[:held_out].argmax(-1)).all(axis=1).mean()
    print(f"epoch {epoch + 1}: loss {history.history['loss'][0]:.3f}, sums right {right:.1%}")
    if right > 0.9:
        break
for i in range(5):
    guess = decode(guesses[i])
    print(questions[i][::-1], "=", guess, "" if guess == answers[i].strip() else "?")
assert right > 0.9
