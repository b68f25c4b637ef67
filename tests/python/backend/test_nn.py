import numpy as np
import pytest
from python.backend.checking import check, check_gradient, compute

from hornbeam import backend as K

RNG = np.random.RandomState(3)


def values(*shape, low=-2.0, high=2.0):
    return RNG.uniform(low, high, shape).astype("float32")


def soft(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def logistic(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("alpha", "ceiling"), [(0.0, None), (0.3, None), (0.0, 1.0), (0.2, 0.5)])
def test_relu(alpha, ceiling):
    x = values(3, 4)
    expected = np.where(x > 0, np.minimum(x, np.inf if ceiling is None else ceiling), alpha * x)
    check(lambda t: K.relu(t, alpha=alpha, max_value=ceiling), expected, x)
    check_gradient(lambda t: K.relu(t, alpha=alpha, max_value=ceiling), x)


def test_elu_with_alpha():
    x = values(3, 4)
    check(lambda t: K.elu(t, 0.5), np.where(x > 0, x, 0.5 * np.expm1(x)), x)
    check_gradient(lambda t: K.elu(t, 0.5), x)


def test_elu_of_large_inputs_has_a_finite_gradient():
    x = K.placeholder((2,))
    gradient = K.function([x], K.gradients(K.sum(K.elu(x)), [x]))
    np.testing.assert_array_equal(gradient([np.array([1000.0, -1000.0])])[0], [1, 0])


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax(axis):
    x = values(2, 3, 4) * 10
    check(lambda t: K.softmax(t, axis=axis), soft(x, axis), x)
    check(lambda t: K.log_softmax(t, axis=axis), np.log(soft(x.astype("d"), axis)), x, rtol=1e-5)
    check_gradient(lambda t: K.softmax(t, axis=axis), values(2, 2, 3))


def test_categorical_crossentropy_takes_the_output_first():
    p, y = soft(values(5, 4)), np.eye(4, dtype="float32")[[0, 1, 2, 3, 0]]
    check(K.categorical_crossentropy, -(y * np.log(p)).sum(-1), p, y, rtol=1e-5)
    unscaled = p * np.array([[1], [2], [3], [4], [5]], "float32")
    check(K.categorical_crossentropy, -(y * np.log(p)).sum(-1), unscaled, y, rtol=1e-5)


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4)])
def test_categorical_crossentropy_of_logits(shape):
    x = values(*shape) * 3
    y = soft(values(*shape))
    expected = -(y * np.log(soft(x))).sum(-1)
    check(
        lambda a, b: K.categorical_crossentropy(a, b, from_logits=True), expected, x, y, rtol=1e-5
    )
    check(lambda a, b: K.categorical_crossentropy(K.softmax(a), b), expected, x, y, rtol=1e-5)
    check_gradient(lambda a: K.categorical_crossentropy(K.softmax(a), K.constant(y, "float64")), x)


def test_softmax_is_traced_to_its_logits():
    """Probabilities that float32 rounds to 0 still have their exact loss and gradient."""
    x = np.array([[200.0, 0.0, -200.0]], "float32")
    y = np.array([[0.0, 0.0, 1.0]], "float32")
    assert compute(lambda a, b: K.categorical_crossentropy(K.softmax(a), b), x, y)[0] == 400
    a = K.placeholder((1, 3))
    loss = K.categorical_crossentropy(K.softmax(a), K.constant(y))
    gradient = K.function([a], K.gradients(loss, [a]))([x])[0]
    np.testing.assert_allclose(gradient, [[1, 0, -1]], atol=1e-6)
    per_step = K.placeholder((1, 1, 3))
    reshaped = K.reshape(K.softmax(K.reshape(per_step, (-1, 3))), (-1, 1, 3))
    loss = K.categorical_crossentropy(reshaped, K.constant(y[None]))
    assert K.function([per_step], [loss])([x[None]])[0] == 400


@pytest.mark.parametrize("column", [True, False])
@pytest.mark.parametrize("dtype", ["int32", "float32", "uint8"])
def test_sparse_categorical_crossentropy(column, dtype):
    x = values(5, 4)
    labels = np.array([0, 3, 2, 1, 1])
    y = labels.astype(dtype).reshape((5, 1) if column else (5,))
    expected = -np.log(soft(x))[np.arange(5), labels]
    check(K.sparse_categorical_crossentropy, expected, soft(x), y, rtol=1e-5)
    check(
        lambda a, b: K.sparse_categorical_crossentropy(K.softmax(a), b), expected, x, y, rtol=1e-5
    )


def test_sparse_categorical_crossentropy_of_sequences():
    x = values(2, 3, 4)
    labels = np.array([[0, 1, 2], [3, 2, 1]])
    expected = -np.log(np.take_along_axis(soft(x), labels[..., None], -1))[..., 0]
    for y in (labels, labels[..., None]):
        check(
            lambda a, b: K.sparse_categorical_crossentropy(a, b, from_logits=True),
            expected,
            x,
            y.astype("float32"),
            rtol=1e-5,
        )


def test_binary_crossentropy():
    x, y = values(5, 2) * 3, RNG.randint(0, 2, (5, 2)).astype("float32")
    p = logistic(x)
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    check(K.binary_crossentropy, expected, p, y, rtol=1e-4)
    check(lambda a, b: K.binary_crossentropy(K.sigmoid(a), b), expected, x, y, rtol=1e-4)
    check(lambda a, b: K.binary_crossentropy(a, b, from_logits=True), expected, x, y, rtol=1e-4)
    check_gradient(lambda a: K.binary_crossentropy(K.sigmoid(a), K.constant(y, "float64")), x)
    sure = np.array([300.0], "float32")
    wrong = np.array([0.0], "float32")
    assert compute(lambda a, b: K.binary_crossentropy(K.sigmoid(a), b), sure, wrong)[0] == 300


def test_probabilities_are_limited_by_epsilon():
    p, y = np.array([[1.0, 0.0]], "float32"), np.array([[0.0, 1.0]], "float32")
    found = compute(K.categorical_crossentropy, p, y)[0]
    np.testing.assert_allclose(found, -np.log(K.epsilon()), rtol=1e-5)


@pytest.mark.parametrize("axes", [[0], [0, 1, 2], [0, 2, 3]])
def test_normalize_batch_in_training(axes):
    x = values(4, 3, 2, 3) if len(axes) > 1 else values(6, 5)
    kept = [a for a in range(x.ndim) if a not in axes]
    size = x.shape[kept[0]]
    shape = [size if a in kept else 1 for a in range(x.ndim)]
    gamma, beta = values(size), values(size)
    mean, var = x.mean(tuple(axes)), x.var(tuple(axes))
    expected = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 1e-3)
    expected = expected * gamma.reshape(shape) + beta.reshape(shape)
    found = compute(lambda *a: K.normalize_batch_in_training(*a, axes), x, gamma, beta)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[2], var, rtol=1e-4, atol=1e-5)
    check_gradient(
        lambda *a: K.normalize_batch_in_training(*a, axes)[0], x, gamma, beta, rtol=1e-3, atol=1e-5
    )


def test_batch_normalization():
    x, mean, beta, gamma = values(4, 3), values(3), values(3), values(3)
    var = values(3, low=0.1)
    expected = gamma * (x - mean) / np.sqrt(var + 0.01) + beta
    check(
        lambda *a: K.batch_normalization(*a, epsilon=0.01),
        expected,
        x,
        mean,
        var,
        beta,
        gamma,
        rtol=1e-4,
        atol=1e-5,
    )
    plain = (x - mean) / np.sqrt(var + 0.001)
    check(
        lambda a, m, v: K.batch_normalization(a, m, v, None, None),
        plain,
        x,
        mean,
        var,
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("ndim", [3, 4, 5])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_bias_add(ndim, data_format):
    x = values(2, *range(3, ndim + 2))
    channels = x.shape[-1] if data_format == "channels_last" else x.shape[1]
    bias = values(channels)
    shape = [1] * ndim
    shape[-1 if data_format == "channels_last" else 1] = channels
    check(lambda a, b: K.bias_add(a, b, data_format), x + bias.reshape(shape), x, bias)
    # A bias for every place has the channels last, and is reshaped where those of x come first.
    full = values(*x.shape[1:])
    given = full
    if data_format == "channels_first":
        given = full.reshape(*full.shape[1:], full.shape[0])
    check(lambda a, b: K.bias_add(a, b, data_format), x + full, x, given)


def test_bias_add_to_vectors():
    x, bias = values(2, 3), values(3)
    check(K.bias_add, x + bias, x, bias)
    with pytest.raises(ValueError, match="bias dimensions"):
        K.bias_add(K.placeholder((2, 3, 4)), K.placeholder((1, 2, 3, 4)))
