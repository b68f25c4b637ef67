"""Regularizers and constraints against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from hornbeam import backend as K  # noqa: N812
from hornbeam import constraints, regularizers

W = np.random.RandomState(5).randn(3, 4, 5, 6).astype("float32")


def evaluate(function, w=W):
    return K.eval(K.identity(function(K.variable(w))))


@pytest.mark.parametrize(
    ("regularizer", "l1", "l2"),
    [
        (regularizers.l1(), 0.01, 0.0),
        (regularizers.l2(), 0.0, 0.01),
        (regularizers.l1_l2(), 0.01, 0.01),
        (regularizers.l1(0.3), 0.3, 0.0),
        (regularizers.l2(l=0.2), 0.0, 0.2),
        (regularizers.L1L2(0.1, 0.2), 0.1, 0.2),
        (regularizers.get("L1"), 0.01, 0.0),
        (regularizers.get("L2"), 0.0, 0.01),
    ],
)
def test_penalty(regularizer, l1, l2):
    w = W.astype("float64")
    expected = l1 * np.abs(w).sum() + l2 * (w**2).sum()
    np.testing.assert_allclose(evaluate(regularizer), expected, rtol=1e-5)


def test_no_penalty():
    assert regularizers.L1L2()(K.variable(W)) == 0
    assert regularizers.get(None) is None


def norms(w, axis):
    return np.sqrt((w**2).sum(axis=axis, keepdims=True))


@pytest.mark.parametrize("axis", [0, 1, [0, 1, 2]])
def test_norm_constraints(axis):
    w, axes = W.astype("float64"), tuple(np.atleast_1d(axis))
    n = norms(w, axes)
    np.testing.assert_allclose(
        evaluate(constraints.MaxNorm(1.5, axis)),
        w * np.minimum(n, 1.5) / (n + 1e-7),
        rtol=1e-5,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        evaluate(constraints.UnitNorm(axis)), w / (n + 1e-7), rtol=1e-5, atol=1e-6
    )
    desired = 0.7 * np.clip(n, 0.5, 1.2) + 0.3 * n
    np.testing.assert_allclose(
        evaluate(constraints.MinMaxNorm(0.5, 1.2, 0.7, axis)),
        w * desired / (n + 1e-7),
        rtol=1e-5,
        atol=1e-6,
    )


def test_non_negative():
    assert (evaluate(constraints.NonNeg()) == np.maximum(W, 0)).all()


@pytest.mark.parametrize(
    "name",
    [
        "MaxNorm",
        "NonNeg",
        "UnitNorm",
        "MinMaxNorm",
        "max_norm",
        "non_neg",
        "unit_norm",
        "min_max_norm",
        "maxnorm",
        "nonneg",
        "unitnorm",
    ],
)
def test_constraints_by_name(name):
    constraint = constraints.get(name)
    copy = constraints.deserialize(constraints.serialize(constraint))
    assert type(copy) is type(constraint)
    assert copy.get_config() == constraint.get_config()


def test_regularizer_configs_go_round():
    for regularizer in (regularizers.l1(0.2), regularizers.L1(0.2), regularizers.L2(0.3)):
        copy = regularizers.deserialize(regularizers.serialize(regularizer))
        assert type(copy) is type(regularizer)
        assert (copy.l1, copy.l2) == (regularizer.l1, regularizer.l2)


@pytest.mark.parametrize("module", [regularizers, constraints])
def test_unknown(module):
    assert module.get(None) is None
    assert module.get(abs) is abs
    with pytest.raises(ValueError, match="Unknown"):
        module.get("nothing_like_it")
    with pytest.raises(ValueError, match="Could not interpret"):
        module.get(3)
