"""Learn to write like a text: here Python's Zen, letter by letter."""

import codecs
import contextlib
import io

import numpy as np

import hornbeam as keras
from hornbeam.layers import LSTM, Activation, Dense
from hornbeam.models import Sequential
from hornbeam.optimizers import RMSprop

keras.utils.set_random_seed(1)
MAXLEN = 20
EPOCHS = 60

with contextlib.redirect_stdout(io.StringIO()):
    import this

text = codecs.decode(this.s, "rot13").lower()
chars = sorted(set(text))
number = {char: i for i, char in enumerate(chars)}
starts = range(len(text) - MAXLEN)
x = np.zeros((len(starts), MAXLEN, len(chars)), dtype=bool)
y = np.zeros((len(starts), len(chars)), dtype=bool)
for i in starts:
    x[i, np.arange(MAXLEN), [number[char] for char in text[i : i + MAXLEN]]] = True
    y[i, number[text[i + MAXLEN]]] = True

model = Sequential()
model.add(LSTM(128, input_shape=(MAXLEN, len(chars))))
model.add(Dense(len(chars)))
model.add(Activation("softmax"))
model.compile(loss="categorical_crossentropy", optimizer=RMSprop(lr=0.01))


def sample(probabilities, temperature):
    """Draw a letter; a low temperature prefers the likely ones."""
    logits = np.log(np.maximum(probabilities, 1e-30)).astype("float64") / temperature
    weights = np.exp(logits - logits.max())
    return np.random.choice(len(chars), p=weights / weights.sum())


def write(seed, length, temperature):
    """Return the text that the model writes after a seed."""
    written = seed
    for _ in range(length):
        window = np.zeros((1, MAXLEN, len(chars)))
        window[0, np.arange(MAXLEN), [number[char] for char in written[-MAXLEN:]]] = 1
        written += chars[sample(model.predict(window)[0], temperature)]
    return written[len(seed) :]


for _ in range(EPOCHS // 10):
    history = model.fit(x, y, batch_size=64, epochs=10, verbose=0)
    print(f"loss {history.history['loss'][-1]:.3f}")
    if history.history["loss"][-1] < 0.1:
        break

seed = text[:MAXLEN]
for temperature in (0.2, 1.0):
    print(f"----- temperature {temperature}: {seed!r} goes on")
    print(write(seed, 200, temperature))
words = write(seed, 200, 0.2).split()[1:-1]
known = sum(word in text.split() for word in words) / len(words)
print(f"{known:.0%} of the words are words of the text")
assert known > 0.8
