"""Evaluating backend functions and their gradients against NumPy."""

from __future__ import annotations

import numpy as np

from hornbeam import backend as K


def compute(function, *arrays, training=False, **kwargs):
    """The result of a backend function of placeholders fed with arrays."""
    xs = [K.placeholder(shape=a.shape, dtype=a.dtype.name) for a in arrays]
    outputs = function(*xs, **kwargs)
    several = isinstance(outputs, (list, tuple))
    results = K.function([*xs, K.learning_phase()], list(outputs) if several else [outputs])(
        [*arrays, int(training)]
    )
    return results if several else results[0]


def check(function, reference, *arrays, rtol=1e-6, atol=1e-6, known_shapes=(), **kwargs):
    """Compare with NumPy: with sizes known, unknown, and as the static shape says.

    `known_shapes` are the arguments whose sizes a function has to know in any case.
    """
    expected = np.asarray(reference)
    known = compute(function, *arrays, **kwargs)
    assert np.shape(known) == expected.shape
    np.testing.assert_allclose(known, expected, rtol=rtol, atol=atol)
    xs = [
        K.placeholder(
            shape=a.shape if index in known_shapes else (None,) * a.ndim, dtype=a.dtype.name
        )
        for index, a in enumerate(arrays)
    ]
    y = function(*xs, **kwargs)
    for said, size in zip(K.int_shape(y), expected.shape, strict=True):
        assert said in (None, size)
    unknown = K.function(xs, [y])(list(arrays))[0]
    np.testing.assert_allclose(unknown, expected, rtol=rtol, atol=atol)


def check_gradient(function, *arrays, eps=1e-6, rtol=1e-5, atol=1e-7, **kwargs):
    """Compare gradients with central differences, in float64, for a random weighting."""
    arrays = [np.asarray(a, dtype="float64") for a in arrays]
    xs = [K.placeholder(shape=a.shape, dtype="float64") for a in arrays]
    y = function(*xs, **kwargs)
    weights = np.random.RandomState(0).normal(size=np.shape(compute(function, *arrays, **kwargs)))
    loss = K.sum(y * K.constant(weights, dtype="float64"))
    gradients = K.gradients(loss, xs)
    assert all(g is not None for g in gradients)
    run = K.function(xs, [loss, *gradients])
    found = run(arrays)[1:]
    for index, (a, g) in enumerate(zip(arrays, found, strict=True)):
        numeric = np.zeros_like(a)
        for place in np.ndindex(a.shape):
            values = []
            for step in (eps, -eps):
                moved = [b.copy() for b in arrays]
                moved[index][place] += step
                values.append(run(moved)[0])
            numeric[place] = (values[0] - values[1]) / (2 * eps)
        np.testing.assert_allclose(g, numeric, rtol=rtol, atol=atol)
