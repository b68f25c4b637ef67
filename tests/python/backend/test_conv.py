import itertools

import numpy as np
import pytest
from python.backend.checking import check, check_gradient, compute
from python.backend.references import correlate, pooled

from hornbeam import backend as K

RNG = np.random.RandomState(4)


def values(*shape):
    return RNG.uniform(-1, 1, shape).astype("float32")


def first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


CASES_1D = list(itertools.product(["valid", "same", "causal"], [1, 2], [1, 2], [1, 2, 3]))


@pytest.mark.parametrize(("padding", "stride", "dilation", "window"), CASES_1D)
def test_conv1d(padding, stride, dilation, window):
    x, kernel = values(2, 9, 3), values(window, 3, 4)
    expected = correlate(x, kernel, [stride], padding, [dilation])
    options = {"strides": stride, "padding": padding, "dilation_rate": dilation}
    check(
        lambda a, k: K.conv1d(a, k, data_format="channels_last", **options),
        expected,
        x,
        kernel,
        atol=1e-5,
        known_shapes=[1],
    )
    found = compute(
        lambda a, k: K.conv1d(a, k, data_format="channels_first", **options), first(x), kernel
    )
    np.testing.assert_allclose(found, first(expected), atol=1e-5)


CASES_2D = [
    ("valid", (1, 1), (1, 1), (3, 3)),
    ("same", (1, 1), (1, 1), (3, 3)),
    ("same", (2, 2), (1, 1), (3, 2)),
    ("valid", (2, 1), (1, 1), (1, 1)),
    ("same", (1, 1), (2, 2), (3, 3)),
    ("valid", (1, 1), (1, 2), (2, 3)),
    ("same", (3, 2), (1, 1), (5, 4)),
]


@pytest.mark.parametrize(("padding", "strides", "dilation", "window"), CASES_2D)
def test_conv2d(padding, strides, dilation, window):
    x, kernel = values(2, 7, 8, 3), values(*window, 3, 4)
    expected = correlate(x, kernel, strides, padding, dilation)
    options = {"strides": strides, "padding": padding, "dilation_rate": dilation}
    check(
        lambda a, k: K.conv2d(a, k, data_format="channels_last", **options),
        expected,
        x,
        kernel,
        atol=1e-5,
        known_shapes=[1],
    )
    found = compute(
        lambda a, k: K.conv2d(a, k, data_format="channels_first", **options), first(x), kernel
    )
    np.testing.assert_allclose(found, first(expected), atol=1e-5)
    small = values(1, 5, 5, 2), values(*window, 2, 2)
    check_gradient(lambda a, k: K.conv2d(a, k, **options), *small, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 1, 2)])
def test_conv3d(padding, strides):
    x, kernel = values(1, 4, 5, 4, 2), values(2, 3, 2, 2, 3)
    expected = correlate(x, kernel, strides, padding, (1, 1, 1))
    check(lambda a, k: K.conv3d(a, k, strides, padding), expected, x, kernel, atol=1e-5)
    found = compute(
        lambda a, k: K.conv3d(a, k, strides, padding, "channels_first"), first(x), kernel
    )
    np.testing.assert_allclose(found, first(expected), atol=1e-5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    ("padding", "strides"), [("valid", (2, 2)), ("same", (2, 1)), ("same", (1, 1))]
)
def test_conv2d_transpose_is_the_gradient_of_conv2d(padding, strides, data_format):
    big, kernel = values(2, 6, 5, 3), values(3, 2, 3, 4)
    small = correlate(big, kernel, strides, padding, (1, 1))
    y = values(*small.shape)
    # The convolution is linear in its input: its transpose is all of its gradient.
    x = K.placeholder(big.shape)
    product = K.conv2d(x, K.constant(kernel), strides, padding, "channels_last")
    expected = K.function([x], K.gradients(K.sum(product * K.constant(y)), [x]))([big])[0]
    shape = big.shape
    if data_format == "channels_first":
        y, expected, shape = first(y), first(expected), first(big).shape
    for batch in (shape[0], None):
        found = compute(
            lambda a, k, batch=batch: K.conv2d_transpose(
                a, k, (batch, *shape[1:]), strides, padding, data_format
            ),
            y,
            kernel,
        )
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_conv2d_transpose_gradient():
    check_gradient(
        lambda a, k: K.conv2d_transpose(a, k, (1, 5, 5, 2), (2, 2), "valid", "channels_last"),
        values(1, 2, 2, 3),
        values(3, 3, 2, 3),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("padding", "strides"), [("valid", (1, 1)), ("same", (2, 2))])
def test_depthwise_and_separable(padding, strides, data_format):
    x, depth, point = values(2, 6, 5, 3), values(3, 2, 3, 2), values(1, 1, 6, 4)
    parts = [
        correlate(x[..., c : c + 1], depth[:, :, c : c + 1], strides, padding, (1, 1))
        for c in range(3)
    ]
    apart = np.concatenate(parts, -1)
    mixed = apart @ point[0, 0]
    given = x
    if data_format == "channels_first":
        given, apart, mixed = first(x), first(apart), first(mixed)
    found = compute(
        lambda a, d: K.depthwise_conv2d(a, d, strides, padding, data_format), given, depth
    )
    np.testing.assert_allclose(found, apart, atol=1e-5)
    found = compute(
        lambda a, d, p: K.separable_conv2d(a, d, p, strides, padding, data_format),
        given,
        depth,
        point,
    )
    np.testing.assert_allclose(found, mixed, atol=1e-5)


@pytest.mark.parametrize("mode", ["max", "avg"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("size", "strides"), [((2, 2), (2, 2)), ((3, 2), (1, 2)), ((1, 1), (1, 1))]
)
def test_pool2d(mode, padding, size, strides):
    x = values(2, 5, 6, 3)
    expected = pooled(x, size, strides, padding, mode)
    check(lambda a: K.pool2d(a, size, strides, padding, "channels_last", mode), expected, x)
    found = compute(lambda a: K.pool2d(a, size, strides, padding, "channels_first", mode), first(x))
    np.testing.assert_allclose(found, first(expected), atol=1e-6)
    check_gradient(
        lambda a: K.pool2d(a, size, strides, padding, pool_mode=mode), values(1, 3, 4, 2)
    )


@pytest.mark.parametrize("mode", ["max", "avg"])
def test_pool1d_and_pool3d(mode):
    x = values(2, 7, 3)
    check(lambda a: K.pool1d(a, 3, 2, "same", pool_mode=mode), pooled(x, [3], [2], "same", mode), x)
    x = values(1, 4, 3, 4, 2)
    expected = pooled(x, (2, 1, 2), (2, 1, 1), "valid", mode)
    check(lambda a: K.pool3d(a, (2, 1, 2), (2, 1, 1), pool_mode=mode), expected, x)


def test_local_conv1d():
    x, kernel = values(2, 7, 3), values(3, 9, 4)
    expected = np.stack(
        [x[:, 2 * i : 2 * i + 3].reshape(2, 9) @ kernel[i] for i in range(3)], axis=1
    )
    check(
        lambda a, k: K.local_conv1d(a, k, (3,), (2,)),
        expected,
        x,
        kernel,
        atol=1e-5,
        known_shapes=[1],
    )
    check_gradient(lambda a, k: K.local_conv1d(a, k, (2,), (1,)), values(1, 3, 2), values(2, 4, 2))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_local_conv2d(data_format):
    x, kernel = values(2, 5, 4, 3), values(6, 12, 2)
    rows = []
    for i in range(2):
        for j in range(3):
            window = x[:, 2 * i : 2 * i + 2, j : j + 2]
            if data_format == "channels_first":
                window = np.moveaxis(window, -1, 1)
            rows.append(window.reshape(2, 12) @ kernel[3 * i + j])
    expected = np.stack(rows, axis=1).reshape(2, 2, 3, 2)
    given = x
    if data_format == "channels_first":
        given, expected = first(x), first(expected)
    found = compute(
        lambda a, k: K.local_conv2d(a, k, (2, 2), (2, 1), (2, 3), data_format), given, kernel
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: K.conv2d(x, K.placeholder((2, 2, 3, 4)), padding="full"), "full"),
        (lambda x: K.conv1d(x, K.placeholder((2, 3, 4))), "3 axes"),
        (lambda x: K.pool2d(x, (2, 2), pool_mode="sum"), "sum"),
        (lambda x: K.pool2d(x, (2, 2, 2)), "pool_size"),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call(K.placeholder((1, 4, 4, 3)))
