import numpy as np
import pytest
from python.backend.checking import check, check_gradient, compute

from hornbeam import backend as K

RNG = np.random.RandomState(1)
SHAPES = [(), (1,), (7,), (3, 4), (2, 3, 4), (0, 3), (2, 1, 3, 2)]


def values(shape, low=-2.0, high=2.0, dtype="float32"):
    return RNG.uniform(low, high, shape).astype(dtype)


def logistic(x):
    return 1 / (1 + np.exp(-x))


UNARY = {
    "square": (np.square, -2, 2),
    "abs": (np.abs, -2, 2),
    "sqrt": (lambda x: np.sqrt(np.maximum(x, 0)), -1, 3),
    "exp": (np.exp, -2, 2),
    "log": (np.log, 0.1, 3),
    "log1p": (np.log1p, -0.5, 3),
    "expm1": (np.expm1, -1, 1),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 0.1, 3),
    "floor": (np.floor, -3, 3),
    "ceil": (np.ceil, -3, 3),
    "round": (np.round, -3, 3),
    "sign": (np.sign, -2, 2),
    "sin": (np.sin, -4, 4),
    "cos": (np.cos, -4, 4),
    "tan": (np.tan, -1, 1),
    "sigmoid": (logistic, -5, 5),
    "tanh": (np.tanh, -3, 3),
    "softplus": (lambda x: np.log1p(np.exp(x)), -5, 5),
    "softsign": (lambda x: x / (1 + np.abs(x)), -3, 3),
    "relu": (lambda x: np.maximum(x, 0), -2, 2),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(x)), -2, 2),
    "hard_sigmoid": (lambda x: np.clip(0.2 * x + 0.5, 0, 1), -4, 4),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", UNARY)
def test_unary(name, shape):
    reference, low, high = UNARY[name]
    x = values(shape, low, high)
    check(getattr(K, name), reference(x.astype("float64")), x, rtol=2e-5, atol=1e-5)
    check(getattr(K, name), reference(x.astype("float64")), x.astype("float64"), rtol=1e-9)


@pytest.mark.parametrize("name", UNARY)
def test_functions_keep_their_names(name):
    assert getattr(K, name).__name__ == name


SMOOTH = [n for n in UNARY if n not in ("floor", "ceil", "round", "sign")]


@pytest.mark.parametrize("name", SMOOTH)
def test_unary_gradient(name):
    _, low, high = UNARY[name]
    x = values((3, 4), low, high, "float64")
    x[np.abs(x) < 0.05] = 0.1
    x[np.abs(np.abs(x) - 2.5) < 0.05] = 2.0
    check_gradient(getattr(K, name), x)


def test_sqrt_counts_negatives_as_zero():
    x = np.array([-4.0, 0.0, 4.0], "float32")
    np.testing.assert_array_equal(compute(K.sqrt, x), [0, 0, 2])


def test_round_takes_halves_to_the_even_number():
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5], "float32")
    np.testing.assert_array_equal(compute(K.round, x), [0, 2, 2, 0, -2])


BINARY = {
    "maximum": np.maximum,
    "minimum": np.minimum,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}


@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2,))])
@pytest.mark.parametrize("name", BINARY)
def test_binary(name, shapes):
    x, y = (RNG.randint(-2, 3, s).astype("float32") for s in shapes)
    check(getattr(K, name), BINARY[name](x, y), x, y)


def test_operands_of_two_types():
    ints = np.array([1, 2, 3], "int32")
    floats = np.array([0.5, 2.0, 3.5], "float32")
    assert compute(K.maximum, ints, floats).dtype == np.float32
    np.testing.assert_array_equal(compute(K.maximum, ints, floats), [1, 2, 3.5])
    doubles = floats.astype("float64")
    assert compute(K.maximum, floats, doubles).dtype == np.float64
    halves = compute(lambda x: K.maximum(x, 1.5), ints)
    assert halves.dtype == np.float32
    np.testing.assert_array_equal(halves, [1.5, 2, 3])
    whole = compute(lambda x: K.maximum(x, 2), ints)
    assert whole.dtype == np.int32


def test_numbers_take_the_type_of_the_tensor():
    x = K.placeholder((3,), dtype="float64")
    for y in (x + 1, 2 * x, x / 3, 1 - x, x**2, K.clip(x, 0, 1), K.maximum(x, 0.5)):
        assert K.dtype(y) == "float64"


@pytest.mark.parametrize("limits", [(-1, 1), (None, 0.5), (0.25, None), (1, -1), (0, np.inf)])
def test_clip(limits):
    x = values((3, 4))
    low = -np.inf if limits[0] is None else limits[0]
    high = np.inf if limits[1] is None else max(limits[1], low)
    check(lambda t: K.clip(t, *limits), np.clip(x, low, high), x)


def test_pow():
    x = values((5,), 0.1, 2)
    check(lambda t: K.pow(t, 3), x**3, x, rtol=1e-5)
    check(lambda t: K.pow(t, 0.5), x**0.5, x, rtol=1e-5)
    check(K.pow, x ** values((5,), 0, 0) * 0 + x**x, x, x, rtol=1e-5)
    check_gradient(lambda t: K.pow(t, 2.5), x)


REDUCTIONS = {
    "sum": np.sum,
    "mean": np.mean,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "var": np.var,
    "std": np.std,
    "logsumexp": lambda x, axis, keepdims: np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims)),
}
AXES = [None, 0, -1, 1, (0, 1), [0, -1]]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name, axis, keepdims):
    x = values((3, 4, 5))
    where = tuple(axis) if isinstance(axis, list) else axis
    expected = REDUCTIONS[name](x.astype("float64"), axis=where, keepdims=keepdims)
    function = getattr(K, name)
    check(lambda t: function(t, axis=axis, keepdims=keepdims), expected, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_gradient(name, axis):
    x = values((2, 3, 2), dtype="float64")
    function = getattr(K, name)
    check_gradient(lambda t: function(t, axis=axis), x, rtol=1e-4, atol=1e-6)


def test_logsumexp_does_not_overflow():
    x = np.array([[1000.0, 1000.0], [-1000.0, -1000.0]], "float32")
    expected = np.array([1000, -1000]) + np.log(2)
    np.testing.assert_allclose(compute(lambda t: K.logsumexp(t, axis=1), x), expected, rtol=1e-6)


def test_any_and_all():
    x = np.array([[1, 0], [1, 1], [0, 0]], "float32")
    check(lambda t: K.any(t, axis=1), x.any(1), x)
    check(lambda t: K.all(t, axis=1), x.all(1), x)
    check(K.any, x.any(), x)
    check(lambda t: K.all(t, axis=0, keepdims=True), x.all(0, keepdims=True), x)


def test_mean_of_whole_numbers_is_a_float():
    x = np.array([1, 2], "int32")
    assert compute(K.mean, x) == 1.5
    assert compute(K.mean, np.array([True, False])) == 0.5


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_argmax(name):
    x = values((3, 4, 2))
    reference = getattr(np, name)
    check(getattr(K, name), reference(x, -1), x)
    check(lambda t: getattr(K, name)(t, axis=0), reference(x, 0), x)
    assert compute(getattr(K, name), x).dtype == np.int64


def test_cumulative():
    x = values((3, 4))
    check(K.cumsum, np.cumsum(x, 0), x, rtol=1e-5)
    check(lambda t: K.cumsum(t, axis=-1), np.cumsum(x, 1), x, rtol=1e-5)
    check(lambda t: K.cumprod(t, axis=1), np.cumprod(x, 1), x, rtol=1e-5)
    check_gradient(lambda t: K.cumsum(t, axis=1), x)


DOTS = [
    ((3, 4), (4, 5)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (6, 4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4,)),
    ((2, 2, 3, 4), (2, 3, 4, 5)),
    ((0, 4), (4, 5)),
]


@pytest.mark.parametrize("shapes", DOTS)
def test_dot(shapes):
    x, y = (values(s) for s in shapes)
    check(K.dot, np.dot(x.astype("float64"), y.astype("float64")), x, y, rtol=1e-4, atol=1e-5)
    if x.size:
        check_gradient(K.dot, x, y, rtol=1e-4)


def test_dot_says_which_sizes_differ():
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(5, 2\)"):
        K.dot(K.placeholder((3, 4)), K.placeholder((5, 2)))


@pytest.mark.parametrize(
    ("shapes", "axes", "formula"),
    [
        (((6, 2, 3), (6, 3, 4)), None, "bij,bjk->bik"),
        (((6, 2, 3), (6, 3, 4)), (2, 1), "bij,bjk->bik"),
        (((6, 3, 2), (6, 3, 4)), (1, 1), "bji,bjk->bik"),
        (((6, 3, 2), (6, 3, 4)), 1, "bji,bjk->bik"),
        (((6, 2, 3), (6, 4, 3)), 2, "bij,bkj->bik"),
        (((6, 3, 2), (6, 4, 3)), (1, 2), "bji,bkj->bik"),
        (((6, 2, 3), (6, 3)), (2, 1), "bij,bj->bi"),
        (((6, 3, 2), (6, 3)), 1, "bji,bj->bi"),
        (((6, 3), (6, 3, 4)), 1, "bj,bjk->bk"),
        (((6, 5, 2, 3), (6, 5, 3, 4)), None, "baij,bajk->baik"),
    ],
)
def test_batch_dot(shapes, axes, formula):
    x, y = (values(s) for s in shapes)
    check(lambda a, b: K.batch_dot(a, b, axes=axes), np.einsum(formula, x, y), x, y, atol=1e-5)


def test_batch_dot_of_matrices():
    x, y = values((5, 3)), values((5, 3))
    expected = (x * y).sum(1, keepdims=True)
    check(lambda a, b: K.batch_dot(a, b, axes=1), expected, x, y, atol=1e-5)
    expected = (x * y).sum(0)[:, None]
    check(lambda a, b: K.batch_dot(a, b, axes=0), expected, x, y, atol=1e-5)


def test_batch_dot_refuses_vectors():
    with pytest.raises(ValueError, match="two axes"):
        K.batch_dot(K.placeholder((3,)), K.placeholder((3, 2)))


def test_gather():
    x = values((5, 3))
    indices = np.array([[0, 4], [2, 2]], "int32")
    check(K.gather, x[indices], x, indices)
    check(K.gather, x[indices], x, indices.astype("float32"))
    where = K.constant(indices, dtype="int32")
    check_gradient(lambda t: K.gather(t, where), x)


def test_l2_normalize():
    x = values((3, 4))
    expected = x / np.linalg.norm(x, axis=1, keepdims=True)
    check(lambda t: K.l2_normalize(t, 1), expected, x, atol=1e-5)
    check(lambda t: K.l2_normalize(t, -1), expected, x, atol=1e-5)
    zero = np.zeros((1, 3), "float32")
    np.testing.assert_array_equal(compute(lambda t: K.l2_normalize(t, 1), zero), zero)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_in_top_k(k):
    x = RNG.permutation(40).reshape(10, 4).astype("float32")
    y = RNG.randint(0, 4, 10).astype("int32")
    expected = [(x[i] > x[i, y[i]]).sum() < k for i in range(10)]
    check(lambda a, b: K.in_top_k(a, b, k), expected, x, y)


def test_logical():
    a, b = np.array([True, True, False]), np.array([True, False, False])
    check(K.logical_and, a & b, a, b)
    check(K.logical_or, a | b, a, b)
    check(K.logical_not, ~a, a)
