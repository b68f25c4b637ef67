"""Random tensors.

Each has a key of its own. Without a seed the key is drawn from NumPy's global state, so that
`np.random.seed` at the start makes a whole run repeatable, as it does in Keras.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from .._core import Tensor
from . import common
from .convert import Shape, as_tensor, dim, is_float, shape_list, standard_dtype


def random_key(seed: int | None = None) -> int:
    """Return the key of a random operation: the seed, or a number from NumPy's global state."""
    return int(np.random.randint(10_000_000) if seed is None else seed)


def _draw(dist: str, shape: Shape | Tensor, dtype: Any, seed: int | None, p: float = 0.0) -> Tensor:
    name = standard_dtype(dtype or common.floatx())
    return _core.random(dist, shape_list(shape), name, random_key(seed), p)


def random_normal(
    shape: Shape | Tensor,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: Any = None,
    seed: int | None = None,
) -> Tensor:
    """Return a tensor with values from a normal distribution, new ones at each evaluation."""
    return _draw("normal", shape, dtype, seed) * stddev + mean


def random_uniform(
    shape: Shape | Tensor,
    minval: float = 0.0,
    maxval: float = 1.0,
    dtype: Any = None,
    seed: int | None = None,
) -> Tensor:
    """Return a tensor with values uniform on [minval, maxval); whole numbers for an int dtype."""
    name = standard_dtype(dtype or common.floatx())
    if is_float(name):
        return _draw("uniform", shape, name, seed) * (maxval - minval) + minval
    scaled = _draw("uniform", shape, "float64", seed) * float(maxval - minval) + float(minval)
    return _core.cast(_core.unary("floor", scaled), name)


def random_binomial(
    shape: Shape | Tensor, p: float = 0.0, dtype: Any = None, seed: int | None = None
) -> Tensor:
    """Return a tensor of ones with the probability `p`, else zeros."""
    return _draw("bernoulli", shape, dtype, seed, float(p))


def truncated_normal(
    shape: Shape | Tensor,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: Any = None,
    seed: int | None = None,
) -> Tensor:
    """Return values from a normal distribution, redrawn beyond two standard deviations."""
    return _draw("truncated_normal", shape, dtype, seed) * stddev + mean


def dropout(x: Any, level: float, noise_shape: Any = None, seed: int | None = None) -> Tensor:
    """Set a fraction of the elements to zero and scale up the others to keep the sum.

    Args:
        x: a float tensor.
        level: the fraction, from 0 (included) to 1.
        noise_shape: shape of the mask, which broadcasts to `x`; None in it stands for x's size.
        seed: key of the mask.

    Raises:
        ValueError: when `level` is outside [0, 1).
    """
    x = as_tensor(x)
    level = float(level)
    if not 0.0 <= level < 1.0:
        raise ValueError(f"dropout: level must be in the interval [0, 1), got {level}")
    sizes = list(x.shape) if noise_shape is None else noise_shape
    if not isinstance(sizes, Tensor):
        sizes = [dim(x, axis) if size is None else size for axis, size in enumerate(sizes)]
    keep = 1.0 - level
    mask = _core.random("bernoulli", shape_list(sizes), x.dtype, random_key(seed), keep)
    return x * (mask * (1.0 / keep))
