"""Read scanned digits pixel by pixel with a network of rectified units.

Le, Jaitly and Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units"
(2015): recurrent weights that begin as the identity let such a network remember for long.
"""

from synthetic import digits

import hornbeam as keras
from hornbeam import initializers
from hornbeam.layers import Activation, Dense, SimpleRNN
from hornbeam.models import Sequential
from hornbeam.optimizers import RMSprop

keras.utils.set_random_seed(1)

(x_train, y_train), (x_test, y_test) = digits()
x_train, x_test = x_train.reshape(-1, 64, 1), x_test.reshape(-1, 64, 1)
y_train = keras.utils.to_categorical(y_train, 10)
y_test = keras.utils.to_categorical(y_test, 10)

model = Sequential()
model.add(
    SimpleRNN(
        100,
        kernel_initializer=initializers.RandomNormal(stddev=0.05),
        recurrent_initializer=initializers.Identity(gain=1.0),
        activation="relu",
        input_shape=x_train.shape[1:],
    )
)
model.add(Dense(10))
model.add(Activation("softmax"))
model.compile(
    loss="categorical_crossentropy",
    optimizer=RMSprop(lr=3e-4, clipnorm=1.0),
    metrics=["accuracy"],
)
model.fit(x_train, y_train, batch_size=16, epochs=60, verbose=2, validation_data=(x_test, y_test))
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print("IRNN test loss:", loss)
print("IRNN test accuracy:", accuracy)
assert accuracy > 0.5
