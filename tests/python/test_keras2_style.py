"""Programs as users of Keras 2 wrote them: custom layers, losses in layers, models of models."""

from __future__ import annotations

import numpy as np
import pytest

import hornbeam as keras
from hornbeam import backend as K
from hornbeam import constraints, initializers, regularizers
from hornbeam.callbacks import Callback
from hornbeam.engine.topology import InputSpec, Layer
from hornbeam.layers import (
    GRU,
    LSTM,
    BatchNormalization,
    Bidirectional,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Input,
    Lambda,
    LeakyReLU,
    MaxPooling2D,
    TimeDistributed,
)
from hornbeam.models import Model, Sequential, load_model
from hornbeam.optimizers import SGD, Adam


@pytest.fixture(autouse=True)
def seeded():
    np.random.seed(6)


class AttentionWithMask(Layer):
    """A weighted mean over the steps; masked ones weigh nothing."""

    def __init__(self, W_regularizer=None, b_constraint=None, bias=True, **kwargs):
        self.supports_masking = True
        self.init = initializers.get("glorot_uniform")
        self.W_regularizer = regularizers.get(W_regularizer)
        self.b_constraint = constraints.get(b_constraint)
        self.bias = bias
        super(AttentionWithMask, self).__init__(**kwargs)  # noqa: UP008 - as it was written

    def build(self, input_shape):
        assert len(input_shape) == 3
        self.input_spec = InputSpec(ndim=3)
        self.W = self.add_weight(
            (input_shape[-1],),
            initializer=self.init,
            name=f"{self.name}_W",
            regularizer=self.W_regularizer,
        )
        self.b = None
        if self.bias:
            self.b = self.add_weight(
                (input_shape[1],),
                initializer="zero",
                name=f"{self.name}_b",
                constraint=self.b_constraint,
            )
        self.built = True

    def compute_mask(self, inputs, input_mask=None):
        return None

    def call(self, x, mask=None):
        size, steps = K.int_shape(x)[-1], K.int_shape(x)[1]
        scores = K.dot(K.reshape(x, (-1, size)), K.reshape(self.W, (size, 1)))
        scores = K.reshape(scores, (-1, steps))
        if self.bias:
            scores += self.b
        a = K.exp(K.tanh(scores))
        if mask is not None:
            a *= K.cast(mask, K.floatx())
        a /= K.cast(K.sum(a, axis=1, keepdims=True) + K.epsilon(), K.floatx())
        return K.sum(x * K.expand_dims(a), axis=1)

    def compute_output_shape(self, input_shape):
        return input_shape[0], input_shape[-1]

    def get_config(self):
        return {**super().get_config(), "bias": self.bias}


def test_an_attention_layer_over_masked_words(tmp_path):
    words = Input(shape=(7,), dtype="int32")
    h = Embedding(20, 8, mask_zero=True)(words)
    h = Bidirectional(LSTM(6, return_sequences=True, dropout=0.1, recurrent_dropout=0.1))(h)
    y = AttentionWithMask(W_regularizer="l2", b_constraint="nonneg", name="attend")(h)
    model = Model(inputs=words, outputs=Dense(1, activation="sigmoid")(y))
    model.compile(loss="binary_crossentropy", optimizer=Adam(0.02), metrics=["accuracy"])
    tokens = np.random.randint(1, 20, (120, 7))
    tokens[::3, 4:] = 0
    labels = (tokens[:, 0] > 10).astype(int)
    history = model.fit(tokens, labels, epochs=25, batch_size=20, verbose=0).history
    assert history["acc"][-1] > 0.9
    # By formula, from what the layer was given.
    given = Model(words, h).predict(tokens)
    w, b = model.get_layer("attend").get_weights()
    assert b.min() >= 0
    a = np.exp(np.tanh(given @ w + b)) * (tokens != 0)
    expected = ((a / a.sum(1, keepdims=True))[..., None] * given).sum(1)
    found = Model(words, y).predict(tokens)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    model.save(str(tmp_path / "m.h5"))
    again = load_model(str(tmp_path / "m.h5"), {"AttentionWithMask": AttentionWithMask})
    np.testing.assert_array_equal(again.predict(tokens), model.predict(tokens))


def test_a_variational_autoencoder_whose_loss_is_in_a_layer():
    class VariationalLoss(Layer):
        def __init__(self, **kwargs):
            self.is_placeholder = True
            super().__init__(**kwargs)

        def call(self, inputs):
            x, decoded = inputs
            entropy = 12 * keras.metrics.binary_crossentropy(x, decoded)
            kl = -0.5 * K.sum(1 + log_var - K.square(mean) - K.exp(log_var), axis=-1)
            self.add_loss(K.mean(entropy + kl), inputs=inputs)
            return x

    def sampling(args):
        mean, log_var = args
        return mean + K.exp(log_var / 2) * K.random_normal(shape=(20, 2), mean=0.0, stddev=1.0)

    x = Input(batch_shape=(20, 12))
    h = Dense(16, activation="relu")(x)
    mean, log_var = Dense(2)(h), Dense(2)(h)
    z = Lambda(sampling, output_shape=(2,))([mean, log_var])
    decoder_h, decoder = Dense(16, activation="relu"), Dense(12, activation="sigmoid")
    model = Model(x, VariationalLoss()([x, decoder(decoder_h(z))]))
    model.compile(optimizer=Adam(0.01), loss=None)
    patterns = (np.random.rand(2, 12) > 0.5).astype("float32")
    data = patterns[np.random.randint(2, size=200)]
    history = model.fit(
        data, shuffle=True, epochs=60, batch_size=20, validation_data=(data[:40], None), verbose=0
    ).history
    assert history["loss"][-1] < 0.4 * history["loss"][0]
    assert history["val_loss"][-1] < 0.4 * history["val_loss"][0]
    # The decoder alone, as a generator, draws the patterns.
    code = Input(shape=(2,))
    generator = Model(code, decoder(decoder_h(code)))
    means = Model(x, mean).predict(data[:20], batch_size=20)
    assert (np.round(generator.predict(means)) == data[:20]).mean() > 0.9


def test_a_translator_that_is_trained_at_once_and_run_step_by_step():
    source, target = Input((None, 5)), Input((None, 4))
    _, h, c = LSTM(7, return_state=True)(source)
    decode, project = LSTM(7, return_sequences=True, return_state=True), Dense(4)
    outputs, _, _ = decode(target, initial_state=[h, c])
    model = Model([source, target], project(outputs))
    model.compile(optimizer="rmsprop", loss="mse")
    xs, ys = np.random.rand(20, 6, 5), np.random.rand(20, 3, 4)
    model.fit([xs, ys], ys, batch_size=8, epochs=2, validation_split=0.2, verbose=0)
    encoder = Model(source, [h, c])
    states = [Input((7,)), Input((7,))]
    one, h2, c2 = decode(target, initial_state=states)
    decoder = Model([target, *states], [project(one), h2, c2])
    state, steps = encoder.predict(xs), []
    for t in range(3):
        output, *state = decoder.predict([ys[:, t : t + 1], *state])
        steps.append(output)
    np.testing.assert_allclose(
        np.concatenate(steps, 1), model.predict([xs, ys]), rtol=1e-4, atol=1e-5
    )


def test_a_reader_whose_loss_is_the_models_output():
    image, labels = Input((12, 5), name="image"), Input((4,), name="labels", dtype="float32")
    input_length = Input((1,), name="input_length", dtype="int64")
    label_length = Input((1,), name="label_length", dtype="int64")
    y = Dense(6, activation="softmax")(GRU(8, return_sequences=True)(image))

    def cost(args):
        y_pred, labels, input_length, label_length = args
        return K.ctc_batch_cost(labels, y_pred[:, 2:, :], input_length, label_length)

    loss = Lambda(cost, output_shape=(1,), name="ctc")([y, labels, input_length, label_length])
    model = Model(inputs=[image, labels, input_length, label_length], outputs=loss)
    sgd = SGD(lr=0.02, decay=1e-6, momentum=0.9, nesterov=True, clipnorm=5)
    model.compile(loss={"ctc": lambda y_true, y_pred: y_pred}, optimizer=sgd)
    data = [
        np.random.rand(16, 12, 5),
        np.random.randint(0, 5, (16, 4)),
        np.full((16, 1), 10),
        np.full((16, 1), 4),
    ]
    before = model.predict(data).mean()
    history = model.fit(data, np.zeros(16), batch_size=16, epochs=30, verbose=0).history
    assert history["loss"][0] == pytest.approx(before, rel=1e-5)
    assert history["loss"][-1] < 0.95 * before


def test_capsules_with_routing():
    class Capsule(Layer):
        def __init__(self, number, size, routings=3, **kwargs):
            super().__init__(**kwargs)
            self.number, self.size, self.routings = number, size, routings

        def build(self, input_shape):
            self.W = self.add_weight(
                name="W", shape=(1, input_shape[-1], self.number * self.size), trainable=True
            )
            super().build(input_shape)

        def call(self, u):
            hats = K.conv1d(u, self.W)
            rows, count = K.shape(u)[0], K.shape(u)[1]
            hats = K.reshape(hats, (rows, count, self.number, self.size))
            hats = K.permute_dimensions(hats, (0, 2, 1, 3))
            b = K.zeros_like(hats[:, :, :, 0])
            for i in range(self.routings):
                c = K.permute_dimensions(K.softmax(K.permute_dimensions(b, (0, 2, 1))), (0, 2, 1))
                o = K.batch_dot(c, hats, [2, 2])
                norm = K.sum(K.square(o), -1, keepdims=True)
                o = K.sqrt(norm) / (1 + norm) * o
                if i < self.routings - 1:
                    b = K.batch_dot(o, hats, [2, 3])
            return o

        def compute_output_shape(self, input_shape):
            return (None, self.number, self.size)

    x = Input((6, 4))
    model = Model(x, Capsule(3, 5)(x))
    data = np.random.randn(2, 6, 4)
    hats = np.einsum("bic,cnd->bnid", data, model.get_weights()[0][0].reshape(4, 3, 5))
    b = np.zeros((2, 3, 6))
    for i in range(3):
        c = np.exp(b) / np.exp(b).sum(1, keepdims=True)
        o = np.einsum("bni,bnid->bnd", c, hats)
        norm = (o**2).sum(-1, keepdims=True)
        o = np.sqrt(norm) / (1 + norm) * o
        if i < 2:
            b = np.einsum("bnd,bnid->bni", o, hats)
    np.testing.assert_allclose(model.predict(data), o, rtol=1e-4, atol=1e-6)


def test_an_image_that_is_changed_by_gradients_of_its_features():
    model = Sequential([Conv2D(4, 3, activation="relu", padding="same", input_shape=(8, 8, 3))])
    model.add(MaxPooling2D())
    model.add(Conv2D(6, 3, activation="relu"))
    base, combination = K.variable(np.random.rand(1, 8, 8, 3)), K.placeholder((1, 8, 8, 3))
    features = K.concatenate([base, combination], axis=0)
    for layer in model.layers:
        features = layer(features)

    def gram(x):
        rows = K.batch_flatten(K.permute_dimensions(x, (2, 0, 1)))
        return K.dot(rows, K.transpose(rows))

    loss = K.variable(0.0)
    loss = loss + K.sum(K.square(gram(features[0, :, :, :]) - gram(features[1, :, :, :])))
    step = K.function([combination], [loss, *K.gradients(loss, combination)])
    image = np.random.rand(1, 8, 8, 3)
    first = step([image])[0]
    for _ in range(60):
        _, gradient = step([image])
        image -= 0.01 * gradient / (np.abs(gradient).max() + 1e-8)
    assert step([image])[0] < 0.3 * first


def test_a_generator_against_a_critic():
    generator = Sequential([Dense(16, input_dim=4), LeakyReLU(0.2)])
    generator.add(BatchNormalization(momentum=0.8))
    generator.add(Dense(3, activation="tanh"))
    critic = Sequential([Dense(16, input_dim=3), LeakyReLU(alpha=0.2), Dropout(0.25)])
    critic.add(Dense(1, activation="sigmoid"))
    critic.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    noise = Input(shape=(4,))
    critic.trainable = False
    combined = Model(noise, critic(generator(noise)))
    combined.compile("adam", "binary_crossentropy")

    def weights(model):
        return [w.copy() for w in model.get_weights()]

    def same(a, b):
        return all(np.array_equal(u, v) for u, v in zip(a, b, strict=True))

    before = weights(critic), weights(generator)
    made = generator.predict(np.random.randn(8, 4))
    values = critic.train_on_batch(made, np.zeros((8, 1)))
    assert len(values) == 2
    between = weights(critic)
    assert not same(before[0], between) and same(before[1], weights(generator))
    combined.train_on_batch(np.random.randn(8, 4), np.ones((8, 1)))
    assert same(between, weights(critic)) and not same(before[1], weights(generator))


def test_a_rate_that_a_callback_moves_at_each_batch():
    class Cyclic(Callback):
        def on_train_begin(self, logs={}):  # noqa: B006 - as it was written
            self.rates = []
            K.set_value(self.model.optimizer.lr, 0.1)

        def on_batch_end(self, batch, logs=None):
            self.rates.append(float(K.get_value(self.model.optimizer.lr)))
            K.set_value(self.model.optimizer.lr, 0.1 / (len(self.rates) + 1))

    model, cyclic = Sequential([Dense(1, input_dim=3, use_bias=False)]), Cyclic()
    model.compile("sgd", "mse")
    x, y = np.random.rand(10, 3), np.random.rand(10, 1)
    w = model.get_weights()[0].astype("float64")
    model.fit(x, y, batch_size=2, epochs=1, shuffle=False, callbacks=[cyclic], verbose=0)
    np.testing.assert_allclose(cyclic.rates, [0.1 / (i + 1) for i in range(5)], rtol=1e-6)
    for i, rate in enumerate(cyclic.rates):
        rows = slice(2 * i, 2 * i + 2)
        w -= rate * 2 * x[rows].T @ (x[rows] @ w - y[rows]) / 2
    np.testing.assert_allclose(model.get_weights()[0], w, rtol=1e-5, atol=1e-6)


def test_sentences_of_a_document_through_one_model():
    sentence = Input((5,), dtype="int32")
    encoder = Model(sentence, LSTM(4)(Embedding(30, 6, input_length=5)(sentence)))
    document = Input((3, 5), dtype="int32")
    encoded = TimeDistributed(encoder)(document)
    model = Model(document, Dense(2, activation="softmax")(GRU(4)(encoded)))
    model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["acc"])
    data, labels = np.random.randint(30, size=(12, 3, 5)), np.random.randint(2, size=12)
    model.fit(data, labels, epochs=2, verbose=0)
    found = Model(document, encoded).predict(data)
    for t in range(3):
        np.testing.assert_allclose(found[:, t], encoder.predict(data[:, t]), rtol=1e-5, atol=1e-6)


def test_outputs_of_a_layer_in_both_phases():
    model = Sequential([Dense(4, activation="relu", input_dim=3, name="h"), Dropout(0.5)])
    model.add(Dense(1))
    both = K.function([model.layers[0].input, K.learning_phase()], [model.layers[1].output])
    x = np.ones((50, 3))
    plain, dropped = both([x, 0])[0], both([x, 1])[0]
    inner = Model(inputs=model.input, outputs=model.get_layer("h").output)
    np.testing.assert_allclose(inner.predict(x), plain, rtol=1e-6)
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], 2 * plain[kept], rtol=1e-6)
    assert 0.2 < kept[:, plain[0] > 0].mean() < 0.8 or not (plain > 0).any()


def test_the_top_of_a_network_first_and_then_its_last_block():
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(48, 48, 3))
    x = Flatten()(base.output)
    model = Model(inputs=base.input, outputs=Dense(2, activation="softmax")(x))
    images, labels = np.random.rand(4, 48, 48, 3), np.eye(2)[[0, 1, 0, 1]]
    for layer in base.layers:
        layer.trainable = False
    model.compile("rmsprop", "categorical_crossentropy")
    before = [w.copy() for w in model.get_weights()]
    model.fit(images, labels, epochs=1, verbose=0)
    moved = [np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert moved == [False] * (len(moved) - 2) + [True] * 2
    for layer in model.layers[15:]:
        layer.trainable = True
    model.compile(SGD(lr=1e-2, momentum=0.9), "categorical_crossentropy")
    before = [w.copy() for w in model.get_weights()]
    model.fit(images, labels, epochs=1, verbose=0)
    moved = [np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True)]
    trained = 2 * sum(isinstance(layer, (Conv2D, Dense)) for layer in model.layers[15:])
    assert moved == [False] * (len(moved) - trained) + [True] * trained
