"""Draw digits on demand with an auxiliary classifier generative adversarial network.

Odena, Olah and Shlens, "Conditional Image Synthesis With Auxiliary Classifier GANs" (2017). A
classifier that only saw scanned digits judges the drawn ones at the end.
"""

import numpy as np
from synthetic import digits

import hornbeam as keras
from hornbeam import layers
from hornbeam.layers import (
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Input,
    LeakyReLU,
    Reshape,
    UpSampling2D,
)
from hornbeam.models import Model, Sequential
from hornbeam.optimizers import Adam

keras.utils.set_random_seed(1)
LATENT = 32
BATCH_SIZE = 64
EPOCHS = 60


def build_generator():
    """Return the model that draws a digit of a class from noise."""
    cnn = Sequential()
    cnn.add(Dense(128, input_dim=LATENT, activation="relu"))
    cnn.add(Dense(4 * 4 * 64, activation="relu"))
    cnn.add(Reshape((4, 4, 64)))
    cnn.add(UpSampling2D(size=(2, 2)))
    cnn.add(Conv2D(32, 3, padding="same", activation="relu"))
    cnn.add(Conv2D(1, 3, padding="same", activation="tanh"))
    latent = Input(shape=(LATENT,))
    image_class = Input(shape=(1,), dtype="int32")
    cls = Flatten()(Embedding(10, LATENT, embeddings_initializer="glorot_normal")(image_class))
    return Model([latent, image_class], cnn(layers.multiply([latent, cls])))


def build_discriminator():
    """Return the model that says whether a digit is real, and which it is."""
    cnn = Sequential()
    cnn.add(Conv2D(32, 3, padding="same", input_shape=(8, 8, 1)))
    cnn.add(LeakyReLU())
    cnn.add(Dropout(0.3))
    cnn.add(Conv2D(64, 3, padding="same", strides=2))
    cnn.add(LeakyReLU())
    cnn.add(Dropout(0.3))
    cnn.add(Flatten())
    image = Input(shape=(8, 8, 1))
    features = cnn(image)
    fake = Dense(1, activation="sigmoid", name="generation")(features)
    aux = Dense(10, activation="softmax", name="auxiliary")(features)
    return Model(image, [fake, aux])


def judge(x, y):
    """Return a classifier of scanned digits."""
    model = Sequential()
    model.add(Flatten(input_shape=(8, 8, 1)))
    model.add(Dense(128, activation="relu"))
    model.add(Dense(10, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=30, verbose=0)
    return model


(x_train, y_train), (x_test, y_test) = digits()
x_train, x_test = x_train * 2 - 1, x_test * 2 - 1

discriminator = build_discriminator()
discriminator.compile(
    optimizer=Adam(lr=0.0005, beta_1=0.5),
    loss=["binary_crossentropy", "sparse_categorical_crossentropy"],
)
generator = build_generator()
latent = Input(shape=(LATENT,))
image_class = Input(shape=(1,), dtype="int32")
# The discriminator was compiled before, so that alone it goes on being trained.
discriminator.trainable = False
fake, aux = discriminator(generator([latent, image_class]))
combined = Model([latent, image_class], [fake, aux])
combined.compile(
    optimizer=Adam(lr=0.0005, beta_1=0.5),
    loss=["binary_crossentropy", "sparse_categorical_crossentropy"],
)


def noise(count):
    return np.random.uniform(-1, 1, (count, LATENT)), np.random.randint(0, 10, (count, 1))


for epoch in range(EPOCHS):
    order = np.random.permutation(len(x_train))
    losses = []
    for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
        batch = order[start : start + BATCH_SIZE]
        z, classes = noise(BATCH_SIZE)
        drawn = generator.predict([z, classes])
        x = np.concatenate([x_train[batch], drawn])
        # Real ones count 0.95, which keeps the discriminator from being too sure.
        y = np.array([0.95] * BATCH_SIZE + [0.0] * BATCH_SIZE)
        aux_y = np.concatenate([y_train[batch].reshape(-1, 1), classes])
        seen = discriminator.train_on_batch(x, [y, aux_y])[0]
        z, classes = noise(2 * BATCH_SIZE)
        trick = np.full(2 * BATCH_SIZE, 0.95)
        losses.append((seen, combined.train_on_batch([z, classes], [trick, classes])[0]))
    if epoch % 10 == 9:
        seen, fooled = np.mean(losses, axis=0)
        print(f"epoch {epoch + 1}: discriminator {seen:.3f}, generator {fooled:.3f}")

classes = np.repeat(np.arange(10), 20).reshape(-1, 1)
drawn = generator.predict([noise(200)[0], classes])
recognised = (judge(x_train, y_train).predict(drawn).argmax(axis=1) == classes[:, 0]).mean()
print(f"{recognised:.0%} of the drawn digits are taken for what they should be")
for row in drawn[::20, :, :, 0].transpose(1, 0, 2).reshape(8, 80):
    print("".join(" .:+#@"[min(5, int((value + 1) * 3))] for value in row))
# The drawings are varied: no two of a class are the same.
assert drawn.reshape(10, 20, 64).std(axis=1).mean() > 0.05
assert recognised > 0.8
