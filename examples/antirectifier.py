"""A custom layer: keep the positive and the negative part of its centred input side by side."""

from synthetic import digits

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam import layers
from hornbeam.models import Sequential

keras.utils.set_random_seed(1)


class Antirectifier(layers.Layer):
    """Sample-wise centring and normalising, then both parts; twice as wide as its input.

    Nothing that comes in is lost, unlike with a rectifier, and what comes out is not negative.
    """

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        assert len(shape) == 2
        shape[-1] *= 2
        return tuple(shape)

    def call(self, inputs):
        inputs = inputs - K.mean(inputs, axis=1, keepdims=True)
        inputs = K.l2_normalize(inputs, axis=1)
        return K.concatenate([K.relu(inputs), K.relu(-inputs)], axis=1)


(x_train, y_train), (x_test, y_test) = digits()
x_train, x_test = x_train.reshape(-1, 64), x_test.reshape(-1, 64)
y_train = keras.utils.to_categorical(y_train, 10)
y_test = keras.utils.to_categorical(y_test, 10)

model = Sequential()
model.add(layers.Dense(128, input_shape=(64,)))
model.add(Antirectifier())
model.add(layers.Dropout(0.1))
model.add(layers.Dense(128))
model.add(Antirectifier())
model.add(layers.Dropout(0.1))
model.add(layers.Dense(10))
model.add(layers.Activation("softmax"))
model.compile(loss="categorical_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=20, verbose=2, validation_data=(x_test, y_test))
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print("Test accuracy:", accuracy)
assert accuracy > 0.93
