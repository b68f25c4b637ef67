"""Read scanned digits by an LSTM over the pixels of each row, and another over the rows."""

from synthetic import digits

import hornbeam as keras
from hornbeam.layers import LSTM, Dense, Input, TimeDistributed
from hornbeam.models import Model

keras.utils.set_random_seed(1)
(x_train, y_train), (x_test, y_test) = digits()
y_train = keras.utils.to_categorical(y_train, 10)
y_test = keras.utils.to_categorical(y_test, 10)

row, col, pixel = x_train.shape[1:]
x = Input(shape=(row, col, pixel))
encoded_rows = TimeDistributed(LSTM(32))(x)
encoded_columns = LSTM(64)(encoded_rows)
prediction = Dense(10, activation="softmax")(encoded_columns)
model = Model(x, prediction)
model.compile(loss="categorical_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=32, epochs=40, verbose=2, validation_data=(x_test, y_test))
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print("Test loss:", loss)
print("Test accuracy:", accuracy)
assert accuracy > 0.85
