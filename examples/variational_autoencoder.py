"""Learn to describe scanned digits by two numbers, and to draw digits from such numbers.

Kingma and Welling, "Auto-Encoding Variational Bayes" (2014).
"""

import numpy as np
from synthetic import digits

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam import metrics
from hornbeam.layers import Dense, Input, Lambda, Layer
from hornbeam.models import Model

keras.utils.set_random_seed(1)
PIXELS = 64
LATENT = 2
HIDDEN = 128

x = Input(shape=(PIXELS,))
h = Dense(HIDDEN, activation="relu")(x)
z_mean = Dense(LATENT)(h)
z_log_var = Dense(LATENT)(h)


def sampling(arguments):
    mean, log_var = arguments
    noise = K.random_normal(shape=(K.shape(mean)[0], LATENT), mean=0.0, stddev=1.0)
    return mean + K.exp(log_var / 2) * noise


z = Lambda(sampling, output_shape=(LATENT,))([z_mean, z_log_var])
decoder_h = Dense(HIDDEN, activation="relu")
decoder_mean = Dense(PIXELS, activation="sigmoid")
x_decoded_mean = decoder_mean(decoder_h(z))


class VariationalLossLayer(Layer):
    """Adds the loss of an autoencoder whose code is to be normally distributed."""

    def call(self, inputs):
        x, x_decoded_mean = inputs
        xent_loss = PIXELS * metrics.binary_crossentropy(x, x_decoded_mean)
        kl_loss = -0.5 * K.sum(1 + z_log_var - K.square(z_mean) - K.exp(z_log_var), axis=-1)
        self.add_loss(K.mean(xent_loss + kl_loss), inputs=inputs)
        return x_decoded_mean

    def compute_output_shape(self, input_shape):
        return input_shape[1]


y = VariationalLossLayer()([x, x_decoded_mean])
vae = Model(x, y)
vae.compile(optimizer="rmsprop", loss=None)

(x_train, y_train), (x_test, y_test) = digits()
x_train, x_test = x_train.reshape(-1, PIXELS), x_test.reshape(-1, PIXELS)
before = vae.evaluate(x_test, None, verbose=0)
vae.fit(x_train, shuffle=True, epochs=60, batch_size=50, verbose=2, validation_data=(x_test, None))
after = vae.evaluate(x_test, None, verbose=0)
print(f"loss per digit {before:.2f} before, {after:.2f} after")
assert after < before - 10

encoder = Model(x, z_mean)
code, others = encoder.predict(x_test), encoder.predict(x_train)
nearest = np.linalg.norm(code[:, None] - others[None], axis=-1).argmin(axis=1)
alike = (y_train[nearest] == y_test).mean()
print(f"the digit with the nearest code is of the same class in {alike:.0%}")
assert alike > 0.5

decoder_input = Input(shape=(LATENT,))
generator = Model(decoder_input, decoder_mean(decoder_h(decoder_input)))
grid = np.array([[a, b] for a in (-1.5, -0.5, 0.5, 1.5) for b in (-1.5, -0.5, 0.5, 1.5)])
drawn = generator.predict(grid).reshape(4, 4, 8, 8).transpose(0, 2, 1, 3).reshape(32, 32)
for row in drawn[::2]:
    print("".join(" .:+#@"[min(5, int(value * 6))] for value in row))
