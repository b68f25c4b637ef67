"""Tell pairs of scanned digits that are alike from others, with one network applied to both.

Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping" (2006).
"""

import numpy as np
from synthetic import digits

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam.layers import Dense, Dropout, Input, Lambda
from hornbeam.models import Model, Sequential
from hornbeam.optimizers import RMSprop

keras.utils.set_random_seed(1)


def euclidean_distance(vectors):
    x, y = vectors
    return K.sqrt(K.maximum(K.sum(K.square(x - y), axis=1, keepdims=True), K.epsilon()))


def contrastive_loss(y_true, y_pred):
    """Draw pairs that are alike together, and others apart as far as the margin."""
    margin = 1
    return K.mean(
        y_true * K.square(y_pred) + (1 - y_true) * K.square(K.maximum(margin - y_pred, 0))
    )


def create_pairs(x, labels, random):
    """Return pairs of the same digit and pairs of different ones, in turns."""
    pairs, alike = [], []
    for i, label in enumerate(labels):
        same = random.choice(np.flatnonzero(labels == label))
        other = random.choice(np.flatnonzero(labels != label))
        pairs += [[x[i], x[same]], [x[i], x[other]]]
        alike += [1, 0]
    return np.array(pairs), np.array(alike)


def accuracy(distances, alike):
    return ((distances.ravel() < 0.5) == alike).mean()


(x_train, y_train), (x_test, y_test) = digits()
random = np.random.RandomState(0)
train_pairs, train_alike = create_pairs(x_train.reshape(-1, 64), y_train, random)
test_pairs, test_alike = create_pairs(x_test.reshape(-1, 64), y_test, random)

base_network = Sequential()
base_network.add(Dense(128, input_shape=(64,), activation="relu"))
base_network.add(Dropout(0.1))
base_network.add(Dense(128, activation="relu"))
base_network.add(Dropout(0.1))
base_network.add(Dense(128, activation="relu"))

input_a, input_b = Input(shape=(64,)), Input(shape=(64,))
distance = Lambda(euclidean_distance, output_shape=(1,))(
    [base_network(input_a), base_network(input_b)]
)
model = Model([input_a, input_b], distance)
model.compile(loss=contrastive_loss, optimizer=RMSprop())
model.fit(
    [train_pairs[:, 0], train_pairs[:, 1]],
    train_alike,
    batch_size=128,
    epochs=25,
    verbose=2,
    validation_data=([test_pairs[:, 0], test_pairs[:, 1]], test_alike),
)
found = accuracy(model.predict([test_pairs[:, 0], test_pairs[:, 1]]), test_alike)
print(f"Accuracy on pairs of test digits: {found:.2%}")
assert found > 0.9
