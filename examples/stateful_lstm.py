"""Follow a slow wave with a stateful LSTM that sees one number at a time.

Each number belongs to the sequence of those before it, which only the state between batches knows:
the target is the mean of the last eight.
"""

import numpy as np

import hornbeam as keras
from hornbeam.layers import LSTM, Dense
from hornbeam.models import Sequential

keras.utils.set_random_seed(1)

BATCH_SIZE = 25
EPOCHS = 100
LAGS = 8

time = np.arange(2000)
wave = np.cos(2 * np.pi * time / 100) * np.exp(-time / 4000)
noisy = wave + np.random.RandomState(0).normal(0, 0.3, size=wave.shape)
target = np.convolve(noisy, np.ones(LAGS) / LAGS)[: len(noisy)]
# Row i of each batch goes on where row i of the batch before it stopped.
x = noisy.reshape(BATCH_SIZE, -1).T.reshape(-1, 1, 1)
y = target.reshape(BATCH_SIZE, -1).T.reshape(-1, 1)

model = Sequential()
model.add(LSTM(32, input_shape=(1, 1), batch_size=BATCH_SIZE, return_sequences=True, stateful=True))
model.add(LSTM(32, stateful=True))
model.add(Dense(1))
model.compile(loss="mse", optimizer="rmsprop")

for epoch in range(EPOCHS):
    history = model.fit(x, y, batch_size=BATCH_SIZE, epochs=1, verbose=0, shuffle=False)
    model.reset_states()
    if epoch % 10 == 0:
        print(f"epoch {epoch + 1}: loss {history.history['loss'][0]:.5f}")

predicted = model.predict(x, batch_size=BATCH_SIZE)
model.reset_states()
remembered = np.mean((predicted - y)[LAGS * BATCH_SIZE :] ** 2)
# What a line through each number alone, without memory, leaves over.
slope, offset = np.polyfit(x[:, 0, 0], y[:, 0], 1)
alone = np.mean((slope * x[:, 0] + offset - y)[LAGS * BATCH_SIZE :] ** 2)
print(f"mean squared error {remembered:.5f}; without memory {alone:.5f}")
assert remembered < alone / 4
