import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam.layers import Dense, Input


@pytest.fixture(autouse=True)
def defaults():
    yield
    K.set_floatx("float32")
    K.clear_session()


def test_variable():
    x = K.variable(np.arange(6).reshape(2, 3), name="x")
    assert (K.int_shape(x), K.ndim(x), K.dtype(x), x.name) == ((2, 3), 2, "float32", "x")
    assert K.get_variable_shape(x) == (2, 3)
    assert K.count_params(x) == 6
    np.testing.assert_array_equal(K.get_value(x), [[0, 1, 2], [3, 4, 5]])
    K.set_value(x, np.ones((2, 3)))
    np.testing.assert_array_equal(K.eval(x), np.ones((2, 3)))
    assert K.dtype(K.variable(1, dtype="int32")) == "int32"
    assert K.eval(K.variable(K.ones((2,)) * 3)).tolist() == [3, 3]


def test_value_is_a_copy():
    given = np.zeros(3, "float32")
    x = K.variable(given)
    given[:] = 1
    K.get_value(x)[:] = 2
    np.testing.assert_array_equal(K.get_value(x), np.zeros(3))


def test_set_value_checks_the_shape():
    x = K.variable(np.zeros((2, 3)), name="kernel")
    with pytest.raises(ValueError, match=r"kernel.*\(2, 3\).*\(3, 2\)"):
        K.set_value(x, np.zeros((3, 2)))
    np.testing.assert_array_equal(K.get_value(x), np.zeros((2, 3)))


def test_batch_values():
    x, y = K.variable(1.0), K.variable(2.0)
    K.batch_set_value([(x, 3.0), (y, 4.0)])
    assert K.batch_get_value([x, y]) == [3.0, 4.0]
    K.batch_set_value([])
    assert K.batch_get_value([]) == []


def test_sparse_value_is_made_dense():
    class Sparse:
        def toarray(self):
            return np.eye(2)

    x = K.variable(Sparse())
    np.testing.assert_array_equal(K.eval(x), np.eye(2))
    assert not K.is_sparse(x)
    assert K.to_dense(x) is x


def test_makers():
    np.testing.assert_array_equal(K.eval(K.zeros((2, 3))), np.zeros((2, 3)))
    np.testing.assert_array_equal(K.eval(K.ones((2,), dtype="int32")), [1, 1])
    np.testing.assert_array_equal(K.eval(K.eye(3)), np.eye(3))
    np.testing.assert_array_equal(K.eval(K.constant([1, 2])), [1, 2])
    np.testing.assert_array_equal(K.eval(K.constant(2, shape=(2, 2))), [[2, 2], [2, 2]])
    assert K.dtype(K.constant([1, 2])) == "float32"
    uniform = K.eval(K.random_uniform_variable((1000,), -1, 3, seed=1))
    assert -1 <= uniform.min() < -0.9 and 2.9 < uniform.max() < 3
    normal = K.eval(K.random_normal_variable((4000,), 2, 0.5, seed=1))
    assert abs(normal.mean() - 2) < 0.05 and abs(normal.std() - 0.5) < 0.05


def test_floatx():
    K.set_floatx("float64")
    assert K.dtype(K.variable(1.0)) == K.dtype(K.placeholder((2,))) == "float64"
    assert K.dtype(K.random_uniform((2,))) == K.dtype(K.constant(1.0)) == "float64"


def test_placeholder():
    assert K.int_shape(K.placeholder(ndim=3)) == (None, None, None)
    assert K.int_shape(K.placeholder((None, 4))) == (None, 4)
    with pytest.raises(ValueError, match="shape"):
        K.placeholder()
    with pytest.raises(ValueError, match="sparse"):
        K.placeholder((2,), sparse=True)


def test_is_keras_tensor():
    x = Input((3,))
    assert K.is_keras_tensor(x)
    assert K.is_keras_tensor(Dense(2)(x))
    assert not K.is_keras_tensor(K.placeholder((2,)))
    assert not K.is_keras_tensor(K.variable(1.0))
    for other in (np.zeros(3), 1.0, "x"):
        with pytest.raises(ValueError, match="symbolic tensor"):
            K.is_keras_tensor(other)


def test_uids():
    assert [K.get_uid("a"), K.get_uid("a"), K.get_uid("b")] == [1, 2, 1]
    K.reset_uids()
    assert K.get_uid("a") == 1


def test_updates_are_pairs():
    x = K.variable(np.array([1.0, 2.0]))
    for update, expected in (
        (K.update(x, K.constant([5.0, 6.0])), [5, 6]),
        (K.update_add(x, 1.0), [6, 7]),
        (K.update_sub(x, K.constant([1.0, 2.0])), [5, 5]),
        (K.moving_average_update(x, K.constant([0.0, 10.0]), 0.8), [4, 6]),
    ):
        assert update[0] is x
        K.function([], [], updates=[update])([])
        np.testing.assert_allclose(K.get_value(x), expected, rtol=1e-6)


def test_eval():
    value = K.eval(K.sum(K.variable(np.ones(3))))
    assert np.isscalar(value) and value == 3
    assert K.eval(K.identity(K.constant([1.0]))).tolist() == [1]


def test_types_without_a_counterpart():
    assert K.dtype(K.variable(1, dtype="int16")) == "int32"
    with pytest.raises(TypeError, match="complex"):
        K.variable(1, dtype="complex64")


def test_no_tensor_is_sparse():
    x = K.placeholder((2, 3))
    assert not K.is_sparse(x)
    assert K.to_dense(x) is x


def test_a_function_is_a_class_too():
    x = K.placeholder((2,))
    run = K.Function([x], [x * 2], name="doubled")
    np.testing.assert_array_equal(run([[1, 2]])[0], [2, 4])
    assert isinstance(K.function([x], [x]), K.Function)
    with pytest.raises(TypeError, match="unknown arguments"):
        K.Function([x], [x], run_options=None)
