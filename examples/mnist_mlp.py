"""Train a perceptron with dropout on scanned digits."""

from synthetic import digits

import hornbeam as keras
from hornbeam.layers import Dense, Dropout
from hornbeam.models import Sequential
from hornbeam.optimizers import RMSprop

keras.utils.set_random_seed(1)

(x_train, y_train), (x_test, y_test) = digits()
x_train, x_test = x_train.reshape(-1, 64), x_test.reshape(-1, 64)
y_train = keras.utils.to_categorical(y_train, 10)
y_test = keras.utils.to_categorical(y_test, 10)

model = Sequential()
model.add(Dense(256, activation="relu", input_shape=(64,)))
model.add(Dropout(0.2))
model.add(Dense(256, activation="relu"))
model.add(Dropout(0.2))
model.add(Dense(10, activation="softmax"))
model.summary()
model.compile(loss="categorical_crossentropy", optimizer=RMSprop(), metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=20, verbose=2, validation_data=(x_test, y_test))
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print("Test loss:", loss)
print("Test accuracy:", accuracy)
assert accuracy > 0.95
