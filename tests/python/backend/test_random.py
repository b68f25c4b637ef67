import numpy as np
import pytest
from python.backend.checking import compute

from hornbeam import backend as K

N = 20_000


def test_distributions():
    x = K.eval(K.random_uniform((N,), -1, 3, seed=1))
    assert x.min() >= -1 and x.max() < 3
    np.testing.assert_allclose([x.mean(), x.std()], [1, 4 / np.sqrt(12)], atol=0.05)
    x = K.eval(K.random_normal((N,), 2, 3, seed=1))
    np.testing.assert_allclose([x.mean(), x.std()], [2, 3], atol=0.1)
    x = K.eval(K.truncated_normal((N,), 1, 2, seed=1))
    assert np.abs(x - 1).max() <= 4
    np.testing.assert_allclose([x.mean(), x.std()], [1, 2 * 0.8796], atol=0.1)
    x = K.eval(K.random_binomial((N,), 0.3, seed=1))
    assert set(np.unique(x)) == {0, 1}
    assert abs(x.mean() - 0.3) < 0.02
    x = K.eval(K.random_uniform((N,), 0, 5, dtype="int32", seed=1))
    assert set(np.unique(x)) == {0, 1, 2, 3, 4}


def test_new_numbers_at_each_evaluation_and_for_each_operation():
    a, b = K.random_uniform((5,)), K.random_uniform((5,))
    run = K.function([], [a, b])
    first, second = run([]), run([])
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], second[0])


def test_numpy_seed_makes_a_run_repeatable():
    def run():
        np.random.seed(7)
        function = K.function([], [K.random_normal((4,)), K.random_uniform((2, 2))])
        return [function([]) for _ in range(2)]

    for a, b in zip(run(), run(), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_dropout():
    x = np.ones((200, 100), "float32")
    found = compute(lambda t: K.dropout(t, 0.25, seed=3), x)
    assert set(np.unique(found)) == {0, np.float32(1 / 0.75)}
    assert abs((found == 0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(compute(lambda t: K.dropout(t, 0.0), x), x)


def test_noise_shape():
    x = np.ones((3, 50, 4), "float32")
    found = compute(lambda t: K.dropout(t, 0.5, noise_shape=(None, 1, None), seed=3), x)
    np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1], x.shape))
    for level in (-0.1, 1.0):
        with pytest.raises(ValueError, match="level"):
            K.dropout(K.placeholder((2,)), level)


def test_shape_of_a_tensor():
    x = K.placeholder((None, 3))
    run = K.function([x], [K.random_uniform(K.shape(x)), K.random_normal((K.shape(x)[0], 2))])
    a, b = run([np.zeros((5, 3))])
    assert (a.shape, b.shape) == ((5, 3), (5, 2))
