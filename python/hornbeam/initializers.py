"""Initial values of weights, with the formulas of Keras 2.

An initializer is called with a shape and returns a NumPy array of that shape. With a seed it gives
the same values at every call; without one, the seed of each call is drawn from NumPy's global
generator, so that `np.random.seed` makes a whole run repeatable.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import backend as K
from .utils.generic_utils import deserialize_keras_object, serialize_keras_object

# Standard deviation of a standard normal distribution cut off at two standard deviations.
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer:
    """Base class: a callable from a shape to values."""

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(shape, dtype=None).")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """Build the initializer from what `get_config` returned."""
        # Files of other Keras versions hold the element type too, which the weight decides here.
        config = {key: value for key, value in config.items() if key != "dtype"}
        return cls(**config)


def _generator(seed: int | None) -> np.random.Generator:
    if seed is None:
        seed = np.random.randint(10_000_000)
    return np.random.Generator(np.random.PCG64(int(seed)))


def _float_dtype(dtype: str | None) -> np.dtype:
    """Return the type to draw in; NumPy's generator knows float32 and float64 only."""
    wanted = np.dtype(K.floatx() if dtype is None else dtype)
    return wanted if wanted == np.float64 else np.dtype(np.float32)


def _result(values: np.ndarray, dtype: str | None) -> np.ndarray:
    return values.astype(K.floatx() if dtype is None else dtype, copy=False)


def _uniform(
    shape: Sequence[int], low: float, high: float, dtype: str | None, seed: int | None
) -> np.ndarray:
    values = _generator(seed).random(tuple(shape), dtype=_float_dtype(dtype))
    values *= high - low
    values += low
    return _result(values, dtype)


def _normal(
    shape: Sequence[int], mean: float, stddev: float, dtype: str | None, seed: int | None
) -> np.ndarray:
    values = _generator(seed).standard_normal(tuple(shape), dtype=_float_dtype(dtype))
    values *= stddev
    values += mean
    return _result(values, dtype)


def _truncated_normal(
    shape: Sequence[int], mean: float, stddev: float, dtype: str | None, seed: int | None
) -> np.ndarray:
    """Draw from a normal distribution, redrawing what is over two standard deviations away."""
    generator = _generator(seed)
    drawn = _float_dtype(dtype)
    values = generator.standard_normal(math.prod(shape), dtype=drawn)
    outside = np.flatnonzero(np.abs(values) > 2)
    while outside.size:
        again = generator.standard_normal(outside.size, dtype=drawn)
        values[outside] = again
        outside = outside[np.abs(again) > 2]
    values *= stddev
    values += mean
    return _result(values.reshape(tuple(shape)), dtype)


class Zeros(Initializer):
    """All zeros."""

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        return np.zeros(tuple(shape), dtype or K.floatx())


class Ones(Initializer):
    """All ones."""

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        return np.ones(tuple(shape), dtype or K.floatx())


class Constant(Initializer):
    """One value everywhere.

    Args:
        value: the value, 0 by default.
    """

    def __init__(self, value: float = 0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        return np.full(tuple(shape), self.value, dtype or K.floatx())

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}


class RandomNormal(Initializer):
    """A normal distribution.

    Args:
        mean: its mean, 0 by default.
        stddev: its standard deviation, 0.05 by default.
        seed: integer for the same values at every call, or None.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = mean
        self.stddev = stddev
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        return _normal(shape, self.mean, self.stddev, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}


class RandomUniform(Initializer):
    """A uniform distribution.

    Args:
        minval: lower end, -0.05 by default.
        maxval: upper end, 0.05 by default.
        seed: integer for the same values at every call, or None.
    """

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        self.minval = minval
        self.maxval = maxval
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        return _uniform(shape, self.minval, self.maxval, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        return {"minval": self.minval, "maxval": self.maxval, "seed": self.seed}


class TruncatedNormal(Initializer):
    """A normal distribution without the values over two standard deviations from the mean.

    Args:
        mean: mean of the distribution, 0 by default.
        stddev: standard deviation before the cut, 0.05 by default.
        seed: integer for the same values at every call, or None.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = mean
        self.stddev = stddev
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        return _truncated_normal(shape, self.mean, self.stddev, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}


class VarianceScaling(Initializer):
    """Random values whose spread follows from the number of connections.

    With n the number of inputs, outputs or their average, 'normal' is a truncated normal
    distribution of standard deviation sqrt(scale / n) before the cut, and 'uniform' lies within
    sqrt(3 * scale / n) of zero.

    Args:
        scale: positive factor of the variance, 1 by default.
        mode: 'fan_in', 'fan_out' or 'fan_avg', the meaning of n.
        distribution: 'normal' or 'uniform'. Keras 3's 'truncated_normal' makes the standard
            deviation right after the cut, its 'untruncated_normal' does not cut.
        seed: integer for the same values at every call, or None.

    Raises:
        ValueError: for another mode or distribution, or a scale that is not positive.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "normal",
        seed: int | None = None,
    ) -> None:
        if scale <= 0:
            raise ValueError(f"VarianceScaling: `scale` must be positive, got {scale!r}")
        mode = str(mode).lower()
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(
                f"VarianceScaling: `mode` must be 'fan_in', 'fan_out' or 'fan_avg', got {mode!r}"
            )
        distribution = str(distribution).lower()
        if distribution not in ("normal", "uniform", "truncated_normal", "untruncated_normal"):
            raise ValueError(
                "VarianceScaling: `distribution` must be 'normal', 'uniform', 'truncated_normal' "
                f"or 'untruncated_normal', got {distribution!r}"
            )
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        fan_in, fan_out = _compute_fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return _uniform(shape, -limit, limit, dtype, self.seed)
        stddev = math.sqrt(variance)
        if self.distribution == "untruncated_normal":
            return _normal(shape, 0.0, stddev, dtype, self.seed)
        if self.distribution == "truncated_normal":
            stddev /= _TRUNCATED_STDDEV
        return _truncated_normal(shape, 0.0, stddev, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        return {
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            "seed": self.seed,
        }


class Orthogonal(Initializer):
    """A random matrix with orthonormal rows or columns (Saxe et al., 2013).

    The last axis makes the columns, all the others together the rows.

    Args:
        gain: factor of the matrix, 1 by default.
        seed: integer for the same values at every call, or None.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = gain
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        if len(shape) < 2:
            raise ValueError(
                f"Orthogonal: expected a shape with at least 2 axes, got {tuple(shape)}"
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        long, short = max(rows, columns), min(rows, columns)
        gaussian = _generator(self.seed).standard_normal((long, short))
        q, r = np.linalg.qr(gaussian)
        # QR leaves the signs to chance; with R's diagonal positive, Q is uniformly distributed.
        q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
        if rows < columns:
            q = q.T
        return _result(self.gain * q.reshape(tuple(shape)), dtype)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain, "seed": self.seed}


class Identity(Initializer):
    """The identity matrix, for square matrices only.

    Args:
        gain: factor of the matrix, 1 by default.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"Identity: expected the shape of a square matrix, got {tuple(shape)}")
        return _result(self.gain * np.identity(shape[0]), dtype)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


def lecun_uniform(seed: int | None = None) -> VarianceScaling:
    """Return the uniform distribution within sqrt(3 / fan_in) of zero (LeCun et al., 1998)."""
    return VarianceScaling(scale=1.0, mode="fan_in", distribution="uniform", seed=seed)


def lecun_normal(seed: int | None = None) -> VarianceScaling:
    """Return the truncated normal distribution of standard deviation sqrt(1 / fan_in)."""
    return VarianceScaling(scale=1.0, mode="fan_in", distribution="normal", seed=seed)


def glorot_normal(seed: int | None = None) -> VarianceScaling:
    """Return the truncated normal distribution of standard deviation sqrt(2 / (in + out)).

    Also called Xavier's (Glorot and Bengio, 2010).
    """
    return VarianceScaling(scale=1.0, mode="fan_avg", distribution="normal", seed=seed)


def glorot_uniform(seed: int | None = None) -> VarianceScaling:
    """Return the uniform distribution within sqrt(6 / (in + out)) of zero.

    Also called Xavier's (Glorot and Bengio, 2010).
    """
    return VarianceScaling(scale=1.0, mode="fan_avg", distribution="uniform", seed=seed)


def he_normal(seed: int | None = None) -> VarianceScaling:
    """Return the truncated normal distribution of standard deviation sqrt(2 / fan_in).

    From He et al., 2015.
    """
    return VarianceScaling(scale=2.0, mode="fan_in", distribution="normal", seed=seed)


def he_uniform(seed: int | None = None) -> VarianceScaling:
    """Return the uniform distribution within sqrt(6 / fan_in) of zero (He et al., 2015)."""
    return VarianceScaling(scale=2.0, mode="fan_in", distribution="uniform", seed=seed)


class _Named(VarianceScaling):
    """A class name of newer Keras versions: variance scaling with all but the seed fixed."""

    _fixed: tuple[float, str, str]

    def __init__(self, seed: int | None = None) -> None:
        scale, mode, distribution = self._fixed
        super().__init__(scale=scale, mode=mode, distribution=distribution, seed=seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class GlorotUniform(_Named):
    """The same as `glorot_uniform`."""

    _fixed = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Named):
    """As `glorot_normal`, with the standard deviation made right after the cut (Keras 3)."""

    _fixed = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Named):
    """The same as `he_uniform`."""

    _fixed = (2.0, "fan_in", "uniform")


class HeNormal(_Named):
    """As `he_normal`, with the standard deviation made right after the cut (Keras 3)."""

    _fixed = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Named):
    """The same as `lecun_uniform`."""

    _fixed = (1.0, "fan_in", "uniform")


class LecunNormal(_Named):
    """As `lecun_normal`, with the standard deviation made right after the cut (Keras 3)."""

    _fixed = (1.0, "fan_in", "truncated_normal")


zero = zeros = Zeros
one = ones = Ones
constant = Constant
uniform = random_uniform = RandomUniform
normal = random_normal = RandomNormal
truncated_normal = TruncatedNormal
identity = IdentityInitializer = Identity
orthogonal = OrthogonalInitializer = Orthogonal


def _compute_fans(shape: Sequence[int]) -> tuple[float, float]:
    """Return the numbers of inputs and outputs of a unit whose weights have this shape.

    A matrix is (inputs, outputs); the kernel of a convolution is (spatial..., inputs, outputs), its
    receptive field counting in both. For any other shape both are the root of the size.
    """
    if len(shape) == 2:
        return float(shape[0]), float(shape[1])
    if len(shape) in (3, 4, 5):
        field = math.prod(shape[:-2])
        return float(shape[-2] * field), float(shape[-1] * field)
    root = math.sqrt(math.prod(shape))
    return root, root


def serialize(initializer: Any) -> Any:
    """Describe an initializer by plain data."""
    return serialize_keras_object(initializer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """Build the initializer that `serialize` described, or find one by its name."""
    return deserialize_keras_object(
        config,
        module_objects=globals(),
        custom_objects=custom_objects,
        printable_module_name="initializer",
    )


def get(identifier: Any) -> Callable[..., Any]:
    """Return an initializer from a name, a config, a class or a callable.

    Raises:
        ValueError: for an unknown name or anything that cannot be called.
    """
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        found: Any = deserialize(identifier)
        # A name may stand for a class, for a function that makes an initializer, or, among custom
        # objects, for a function that is itself one: only that needs its arguments.
        return found if _takes_a_shape(found) else found()
    if inspect.isclass(identifier):
        made: Any = identifier()
        return made
    if callable(identifier):
        return identifier
    raise ValueError(
        f"Could not interpret initializer identifier: {identifier!r}. "
        "Expected a name, a config dictionary or a callable."
    )


def _takes_a_shape(found: Any) -> bool:
    if inspect.isclass(found):
        return False
    if isinstance(found, Initializer):
        return True
    parameters = inspect.signature(found).parameters.values()
    return any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
