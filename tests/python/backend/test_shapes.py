import numpy as np
import pytest
from python.backend.checking import check, check_gradient, compute

from hornbeam import backend as K

RNG = np.random.RandomState(2)


def values(*shape):
    return RNG.uniform(-2, 2, shape).astype("float32")


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenate(axis):
    x, y = values(3, 3), values(3, 3)
    check(lambda a, b: K.concatenate([a, b], axis), np.concatenate([x, y], axis), x, y)
    check_gradient(lambda a, b: K.concatenate([a, b], axis), x, y)


@pytest.mark.parametrize("shape", [(12,), (-1,), (4, 3), (2, -1), (2, 3, 2), [6, 2]])
def test_reshape(shape):
    x = values(3, 4)
    check(lambda t: K.reshape(t, shape), x.reshape(shape), x)


def test_reshape_by_the_shape_of_another_tensor():
    x, y = values(3, 4), values(6, 2)
    check(lambda a, b: K.reshape(a, K.shape(b)), x.reshape(6, 2), x, y)
    check(lambda a, b: K.reshape(a, (K.shape(b)[0], -1)), x.reshape(6, 2), x, y)


def test_reshape_keeps_what_is_known():
    x = K.placeholder((None, 4, 5))
    assert K.int_shape(K.reshape(x, (-1, 20))) == (None, 20)
    assert K.int_shape(K.batch_flatten(x)) == (None, 20)
    assert K.int_shape(K.expand_dims(x, 1)) == (None, 1, 4, 5)
    assert K.int_shape(K.repeat_elements(x, 3, 1)) == (None, 12, 5)
    assert K.int_shape(K.dropout(x, 0.5)) == (None, 4, 5)
    assert K.int_shape(K.dot(x, K.placeholder((5, 7)))) == (None, 4, 7)
    assert K.int_shape(K.zeros_like(x)) == (None, 4, 5)


def test_permute_and_transpose():
    x = values(2, 3, 4)
    check(lambda t: K.permute_dimensions(t, (2, 0, 1)), x.transpose(2, 0, 1), x)
    check(K.transpose, x.T, x)
    check_gradient(lambda t: K.permute_dimensions(t, (2, 0, 1)), x)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_repeat_elements(axis):
    x = values(2, 3, 2)
    check(lambda t: K.repeat_elements(t, 3, axis), np.repeat(x, 3, axis), x)
    check_gradient(lambda t: K.repeat_elements(t, 3, axis), x)


def test_repeat():
    x = values(2, 3)
    check(lambda t: K.repeat(t, 4), np.repeat(x[:, None], 4, 1), x)
    with pytest.raises(ValueError, match="two axes"):
        K.repeat(K.placeholder((2, 3, 4)), 2)


@pytest.mark.parametrize("factors", [(2, 3), [1, 2], 2])
def test_tile(factors):
    x = values(2, 3)
    check(lambda t: K.tile(t, factors), np.tile(x, factors), x)
    check_gradient(lambda t: K.tile(t, factors), x)


def test_arange():
    np.testing.assert_array_equal(K.eval(K.arange(4)), np.arange(4))
    assert K.dtype(K.arange(4)) == "int32"
    np.testing.assert_array_equal(K.eval(K.arange(2, 9, 3)), [2, 5, 8])
    np.testing.assert_array_equal(K.eval(K.arange(5, 1, -2)), [5, 3])
    assert K.eval(K.arange(-20)).shape == (0,)
    assert K.eval(K.arange(3, dtype="float32")).dtype == np.float32
    x = K.placeholder((None, 2))
    steps = K.function([x], [K.arange(K.shape(x)[0], dtype="int64")])
    np.testing.assert_array_equal(steps([values(5, 2)])[0], np.arange(5))


def test_flatten():
    x = values(2, 3, 4)
    check(K.flatten, x.ravel(), x)
    check(K.batch_flatten, x.reshape(2, 12), x)
    check(K.batch_flatten, np.zeros((0, 12)), np.zeros((0, 3, 4), "float32"))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_expand_and_squeeze(axis):
    x = values(2, 3)
    expanded = np.expand_dims(x, axis)
    check(lambda t: K.expand_dims(t, axis), expanded, x)
    check(lambda t: K.squeeze(t, axis), x, expanded)


def test_squeeze_refuses_other_sizes():
    with pytest.raises(ValueError, match="axis 1"):
        K.squeeze(K.placeholder((2, 3)), 1)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_stack(axis):
    x, y = values(2, 3), values(2, 3)
    check(lambda a, b: K.stack([a, b], axis), np.stack([x, y], axis), x, y)


def test_reverse():
    x = values(2, 3, 2)
    check(lambda t: K.reverse(t, 1), x[:, ::-1], x)
    check(lambda t: K.reverse(t, [0, 2]), x[::-1, :, ::-1], x)
    check_gradient(lambda t: K.reverse(t, 1), x)


def test_one_hot():
    x = np.array([[0, 2], [1, 5]], "int32")
    expected = np.eye(6)[x][..., :3]
    check(lambda t: K.one_hot(t, 3), expected, x)


def test_padding():
    x = values(2, 3, 4)
    check(lambda t: K.temporal_padding(t, (1, 2)), np.pad(x, ((0, 0), (1, 2), (0, 0))), x)
    x = values(2, 3, 4, 2)
    cells = ((1, 0), (2, 1))
    check(
        lambda t: K.spatial_2d_padding(t, cells, "channels_last"),
        np.pad(x, ((0, 0), *cells, (0, 0))),
        x,
    )
    check(
        lambda t: K.spatial_2d_padding(t, cells, "channels_first"),
        np.pad(x, ((0, 0), (0, 0), *cells)),
        x,
    )
    x = values(1, 2, 2, 2, 2)
    cells = ((1, 0), (0, 1), (2, 2))
    check(
        lambda t: K.spatial_3d_padding(t, cells, "channels_first"),
        np.pad(x, ((0, 0), (0, 0), *cells)),
        x,
    )
    check_gradient(lambda t: K.temporal_padding(t, (2, 1)), values(1, 2, 2))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_resize(data_format):
    first = 1 if data_format == "channels_last" else 2
    x = values(2, 3, 4, 2)
    expected = np.repeat(np.repeat(x, 2, first), 3, first + 1)
    check(lambda t: K.resize_images(t, 2, 3, data_format), expected, x)
    check_gradient(lambda t: K.resize_images(t, 2, 3, data_format), values(1, 2, 2, 2))
    x = values(1, 2, 3, 2, 2)
    expected = np.repeat(np.repeat(np.repeat(x, 2, first), 1, first + 1), 3, first + 2)
    check(lambda t: K.resize_volumes(t, 2, 1, 3, data_format), expected, x)


def test_unknown_data_format():
    with pytest.raises(ValueError, match="channels_middle"):
        K.spatial_2d_padding(K.placeholder((1, 2, 2, 1)), data_format="channels_middle")


def test_slice():
    x = values(4, 5)
    check(lambda t: K.slice(t, (1, 2), (2, -1)), x[1:3, 2:], x)


@pytest.mark.parametrize(
    "key", [0, -1, slice(1, 3), (slice(None), 2), (..., 0), slice(None, None, -1)]
)
def test_indexing(key):
    x = values(4, 5, 3)
    check(lambda t: t[key], x[key], x)


def test_like():
    x = values(2, 3)
    check(K.zeros_like, np.zeros((2, 3)), x)
    check(K.ones_like, np.ones((2, 3)), x)
    assert compute(lambda t: K.ones_like(t, dtype="int32"), x).dtype == np.int32


def test_cast_truncates():
    x = np.array([-1.7, 0.2, 1.9], "float32")
    np.testing.assert_array_equal(compute(lambda t: K.cast(t, "int32"), x), [-1, 0, 1])
    np.testing.assert_array_equal(compute(lambda t: K.cast(t, "bool"), x), [True] * 3)
