"""Initializers: the moments and limits their formulas promise, seeds, shapes and names."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hornbeam import initializers

DENSE = (400, 300)
KERNEL = (3, 4, 40, 60)
# Without the tails beyond two standard deviations, a normal distribution has this one.
TRUNCATED = 0.87962566103423978


def fans(shape):
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


def check(values, mean, stddev, low, high):
    values = np.asarray(values, dtype="float64")
    n = values.size
    assert abs(values.mean() - mean) < 5 * max(stddev, 1e-12) / math.sqrt(n)
    assert abs(values.std() - stddev) < 5 * max(stddev, 1e-12) / math.sqrt(n)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert values.min() >= low - slack
    assert values.max() <= high + slack


SCALED = {
    "lecun_uniform": ("fan_in", 1.0, "uniform"),
    "lecun_normal": ("fan_in", 1.0, "normal"),
    "glorot_uniform": ("fan_avg", 1.0, "uniform"),
    "glorot_normal": ("fan_avg", 1.0, "normal"),
    "he_uniform": ("fan_in", 2.0, "uniform"),
    "he_normal": ("fan_in", 2.0, "normal"),
}


@pytest.mark.parametrize("shape", [DENSE, KERNEL])
@pytest.mark.parametrize("name", SCALED)
def test_variance_scaling(name, shape):
    mode, scale, distribution = SCALED[name]
    fan_in, fan_out = fans(shape)
    n = {"fan_in": fan_in, "fan_avg": (fan_in + fan_out) / 2}[mode]
    values = initializers.get(name)(shape)
    assert values.shape == shape
    assert values.dtype == np.float32
    if distribution == "uniform":
        limit = math.sqrt(3 * scale / n)
        check(values, 0, limit / math.sqrt(3), -limit, limit)
    else:
        stddev = math.sqrt(scale / n)
        check(values, 0, stddev * TRUNCATED, -2 * stddev, 2 * stddev)


@pytest.mark.parametrize("name", ["GlorotNormal", "HeNormal", "LecunNormal"])
def test_class_names_of_keras_3_correct_the_cut(name):
    mode, scale = {"G": ("avg", 1.0), "H": ("in", 2.0), "L": ("in", 1.0)}[name[0]]
    n = sum(DENSE) / 2 if mode == "avg" else DENSE[0]
    stddev = math.sqrt(scale / n)
    limit = 2 * stddev / TRUNCATED
    check(initializers.get(name)(DENSE), 0, stddev, -limit, limit)


def test_fan_out():
    limit = math.sqrt(3 * 0.5 / DENSE[1])
    values = initializers.VarianceScaling(0.5, "fan_out", "uniform")(DENSE)
    check(values, 0, limit / math.sqrt(3), -limit, limit)


def test_other_ranks_use_the_root_of_the_size():
    limit = math.sqrt(3 / math.sqrt(10_000))
    values = initializers.glorot_uniform()((10_000,))
    check(values, 0, limit / math.sqrt(3), -limit, limit)


def test_plain_distributions():
    check(initializers.RandomUniform(-1, 3)(DENSE), 1, 4 / math.sqrt(12), -1, 3)
    check(initializers.RandomNormal(2, 0.5)(DENSE), 2, 0.5, -9, 9)
    check(initializers.TruncatedNormal(2, 0.5)(DENSE), 2, 0.5 * TRUNCATED, 1, 3)
    check(initializers.get("uniform")(DENSE), 0, 0.1 / math.sqrt(12), -0.05, 0.05)
    untruncated = initializers.VarianceScaling(2, "fan_in", "untruncated_normal")
    check(untruncated(DENSE), 0, math.sqrt(2 / DENSE[0]), -9, 9)


def test_constants():
    assert (initializers.Zeros()((2, 3)) == 0).all()
    assert (initializers.Ones()((2, 3)) == 1).all()
    assert (initializers.Constant(2.5)((2, 3)) == 2.5).all()
    assert initializers.Ones()((2, 3), dtype="int32").dtype == np.int32
    assert (initializers.Identity(2.0)((3, 3)) == 2 * np.eye(3)).all()
    with pytest.raises(ValueError, match="square"):
        initializers.Identity()((3, 4))


@pytest.mark.parametrize("shape", [(10, 10), (10, 4), (4, 10), (3, 4, 5), (2, 3, 4, 50)])
def test_orthogonal(shape):
    q = initializers.Orthogonal(1.5)(shape, dtype="float64").reshape(-1, shape[-1])
    gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(gram, 2.25 * np.eye(len(gram)), atol=1e-12)


def test_orthogonal_has_no_preferred_sign():
    diagonals = [initializers.Orthogonal(seed=s)((4, 4)).diagonal() for s in range(200)]
    assert abs(np.mean(np.sign(diagonals))) < 0.2


def test_orthogonal_needs_a_matrix():
    with pytest.raises(ValueError, match="at least 2 axes"):
        initializers.Orthogonal()((5,))


RANDOM = ["RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Orthogonal"]


@pytest.mark.parametrize("name", RANDOM)
def test_seeds(name):
    cls = getattr(initializers, name)
    seeded = cls(seed=7)
    assert (seeded((5, 6)) == seeded((5, 6))).all()
    assert (seeded((5, 6)) == cls(seed=7)((5, 6))).all()
    assert (seeded((5, 6)) != cls(seed=8)((5, 6))).any()
    free = cls()
    assert (free((5, 6)) != free((5, 6))).any()
    np.random.seed(3)
    first = free((5, 6))
    np.random.seed(3)
    assert (free((5, 6)) == first).all()


@pytest.mark.parametrize("name", [*RANDOM, "Zeros", "Ones", "Constant", "Identity", *SCALED])
def test_configs_go_round(name):
    original = initializers.get(name)
    copy = initializers.deserialize(initializers.serialize(original))
    assert type(copy) is type(original)
    assert copy.get_config() == original.get_config()


def test_config_of_glorot_uniform_is_that_of_keras_2():
    assert initializers.serialize(initializers.get("glorot_uniform")) == {
        "class_name": "VarianceScaling",
        "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None},
    }


def test_get():
    def own(shape, dtype=None):
        return np.full(shape, 4.0)

    assert initializers.get(own) is own
    assert isinstance(initializers.get(initializers.Ones), initializers.Ones)
    with pytest.raises(ValueError, match="Did you mean 'glorot_uniform'"):
        initializers.get("glorot_unifrom")
    with pytest.raises(ValueError, match="Could not interpret"):
        initializers.get(None)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="positive"):
        initializers.VarianceScaling(scale=0)
    with pytest.raises(ValueError, match="mode"):
        initializers.VarianceScaling(mode="fan")
    with pytest.raises(ValueError, match="distribution"):
        initializers.VarianceScaling(distribution="laplace")
