"""Train a convolutional network on small colour images that are moved and mirrored on the way."""

from synthetic import textures

import hornbeam as keras
from hornbeam.layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from hornbeam.models import Sequential
from hornbeam.preprocessing.image import ImageDataGenerator

keras.utils.set_random_seed(1)

BATCH_SIZE = 32
x_train, y_train = textures(1500)
x_test, y_test = textures(500, seed=1)
y_train = keras.utils.to_categorical(y_train, 10)
y_test = keras.utils.to_categorical(y_test, 10)

model = Sequential()
model.add(Conv2D(32, (3, 3), padding="same", input_shape=x_train.shape[1:]))
model.add(Activation("relu"))
model.add(Conv2D(32, (3, 3)))
model.add(Activation("relu"))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Dropout(0.25))
model.add(Conv2D(64, (3, 3), padding="same"))
model.add(Activation("relu"))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Dropout(0.25))
model.add(Flatten())
model.add(Dense(128))
model.add(Activation("relu"))
model.add(Dropout(0.5))
model.add(Dense(10))
model.add(Activation("softmax"))
model.compile(
    loss="categorical_crossentropy",
    optimizer=keras.optimizers.rmsprop(lr=0.001, decay=1e-6),
    metrics=["accuracy"],
)

augment = ImageDataGenerator(width_shift_range=0.1, height_shift_range=0.1)
augment.fit(x_train)
model.fit_generator(
    augment.flow(x_train, y_train, batch_size=BATCH_SIZE),
    steps_per_epoch=len(x_train) // BATCH_SIZE,
    epochs=4,
    verbose=2,
    validation_data=(x_test, y_test),
)
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print("Test loss:", loss)
print("Test accuracy:", accuracy)
assert accuracy > 0.8
