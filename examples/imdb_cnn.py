"""Tell positive from negative reviews with a convolution over three words at a time."""

from synthetic import VOCABULARY, reviews

import hornbeam as keras
from hornbeam.layers import Activation, Conv1D, Dense, Dropout, Embedding, GlobalAveragePooling1D
from hornbeam.models import Sequential
from hornbeam.preprocessing import sequence

keras.utils.set_random_seed(1)

MAXLEN = 54
x_train, y_train = reviews(4000)
x_test, y_test = reviews(1000, seed=1)
x_train = sequence.pad_sequences(x_train, maxlen=MAXLEN)
x_test = sequence.pad_sequences(x_test, maxlen=MAXLEN)

model = Sequential()
model.add(Embedding(VOCABULARY, 32, input_length=MAXLEN))
model.add(Dropout(0.2))
model.add(Conv1D(64, 3, padding="valid", activation="relu", strides=1))
model.add(GlobalAveragePooling1D())
model.add(Dense(64))
model.add(Dropout(0.2))
model.add(Activation("relu"))
model.add(Dense(1))
model.add(Activation("sigmoid"))
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=32, epochs=8, verbose=2, validation_data=(x_test, y_test))
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print("Test loss:", loss)
print("Test accuracy:", accuracy)
assert accuracy > 0.85
