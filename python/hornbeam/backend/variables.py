"""Tensors and variables: making them, asking about them, reading and writing values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import _core
from .._core import Tensor, Variable
from . import common
from .convert import as_tensor, standard_dtype

_uids: defaultdict[str, int] = defaultdict(int)
_phase_tensor: Tensor | None = None
_phase_value: int | None = None


def backend() -> str:
    """Return the name of the backend, 'hornbeam'."""
    return "hornbeam"


def get_uid(prefix: str = "") -> int:
    """Return the next number for a name that starts with `prefix`, counted from 1."""
    _uids[prefix] += 1
    return _uids[prefix]


def reset_uids() -> None:
    """Start the numbering of names afresh."""
    _uids.clear()


def clear_session() -> None:
    """Forget what is kept between models: the numbering of names and a fixed learning phase."""
    global _phase_value
    from .session import clear_session_functions

    reset_uids()
    clear_session_functions()
    _phase_value = None


def learning_phase() -> Tensor | int:
    """Return the learning phase: a symbolic bool scalar, or the number set for the process.

    The symbolic one is true while training. It may be among the inputs of `function`, where 0 or 1
    is then fed for it.
    """
    return phase_tensor() if _phase_value is None else _phase_value


def phase_tensor() -> Tensor:
    """Return the symbolic learning phase, of which there is one."""
    global _phase_tensor
    if _phase_tensor is None:
        _phase_tensor = _core.learning_phase()
    return _phase_tensor


def set_learning_phase(value: int) -> None:
    """Fix the learning phase for everything built from now on.

    Args:
        value: 0 (inference) or 1 (training).

    Raises:
        ValueError: for anything else.
    """
    global _phase_value
    if value not in (0, 1):
        raise ValueError(f"Expected learning phase to be 0 or 1. Received: {value!r}")
    _phase_value = int(value)


def is_sparse(tensor: Any) -> bool:
    """Tell whether a tensor is sparse; none here is."""
    return False


def to_dense(tensor: Any) -> Any:
    """Return a tensor as it is, since every tensor is dense."""
    return tensor


def variable(value: Any, dtype: Any = None, name: str | None = None) -> Variable:
    """Make a variable.

    Args:
        value: an array, a number, a scipy.sparse matrix (made dense) or a tensor that needs no
            inputs (evaluated).
        dtype: type of the elements, `floatx()` by default.
        name: a name for messages and files.
    """
    if isinstance(value, Tensor):
        value = eval(value)
    elif hasattr(value, "toarray"):
        value = value.toarray()
    array = np.array(value, dtype=standard_dtype(dtype or common.floatx()), order="C")
    return Variable(array, name)


def constant(
    value: Any, dtype: Any = None, shape: Sequence[int] | None = None, name: str | None = None
) -> Tensor:
    """Make a constant.

    Args:
        value: a number or an array.
        dtype: type of the elements, `floatx()` by default.
        shape: the shape to fill or to give the values; by default the value's own.
        name: a name for messages.
    """
    array = np.array(value, dtype=standard_dtype(dtype or common.floatx()), order="C")
    if shape is not None:
        array = np.full(shape, array) if array.size == 1 else array.reshape(shape)
    return _core.constant(array, name)


def is_keras_tensor(x: Any) -> bool:
    """Tell whether a tensor came out of a layer (or `Input`).

    Raises:
        ValueError: when `x` is no symbolic tensor at all.
    """
    if not isinstance(x, Tensor):
        raise ValueError(
            f"Unexpectedly found an instance of type `{type(x)}`. Expected a symbolic tensor "
            "instance."
        )
    return hasattr(x, "_keras_history")


def placeholder(
    shape: Sequence[int | None] | None = None,
    ndim: int | None = None,
    dtype: Any = None,
    sparse: bool = False,
    name: str | None = None,
) -> Tensor:
    """Make an input of functions.

    Args:
        shape: sizes, None where unknown.
        ndim: the number of axes, when `shape` is not given.
        dtype: type of the elements, `floatx()` by default.
        sparse: must be False: tensors here are dense.
        name: a name for messages.

    Raises:
        ValueError: when neither `shape` nor `ndim` is given, or `sparse` is asked for.
    """
    if sparse:
        raise ValueError("placeholder: sparse tensors are not supported; use sparse=False")
    if shape is None:
        if ndim is None:
            raise ValueError("placeholder: give `shape` or `ndim`")
        shape = (None,) * ndim
    sizes = tuple(None if size is None else int(size) for size in shape)
    return _core.placeholder(sizes, standard_dtype(dtype or common.floatx()), name)


def is_placeholder(x: Any) -> bool:
    """Tell whether `x` is an input of functions."""
    return isinstance(x, Tensor) and x.op == "placeholder"


def shape(x: Any) -> Tensor:
    """Return the shape as an int64 vector, whose elements serve as sizes in other functions."""
    return _core.shape_of(as_tensor(x))


def int_shape(x: Any) -> Any:
    """Return the shape as a tuple with None where a size is unknown; None without a shape.

    The type is open, because every tensor has a shape: a check for None would be noise.
    """
    declared = getattr(x, "_keras_shape", None)
    if declared is not None:
        return declared
    return tuple(x.shape) if hasattr(x, "shape") else None


def ndim(x: Any) -> int:
    """Return the number of axes."""
    return int(x.ndim)


def dtype(x: Any) -> str:
    """Return the name of the type of the elements."""
    return x.dtype if isinstance(x, Tensor) else np.dtype(x.dtype).name


def eval(x: Any) -> Any:
    """Compute a tensor that needs no inputs; return an array (a NumPy scalar for rank 0)."""
    if isinstance(x, Variable):
        value = x.get_value()
    elif isinstance(x, Tensor):
        value = _core.Function([], [x])([])[0]
    else:
        return np.asarray(x)
    return value[()] if np.ndim(value) == 0 else value


def zeros(shape: Sequence[int], dtype: Any = None, name: str | None = None) -> Variable:
    """Make a variable of zeros."""
    return variable(np.zeros(_known(shape)), dtype, name)


def ones(shape: Sequence[int], dtype: Any = None, name: str | None = None) -> Variable:
    """Make a variable of ones."""
    return variable(np.ones(_known(shape)), dtype, name)


def _known(shape: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(shape)
    if any(size is None for size in sizes):
        raise ValueError(f"A variable needs a known shape, got {sizes}")
    return tuple(int(size) for size in sizes)


def eye(size: int, dtype: Any = None, name: str | None = None) -> Variable:
    """Make a variable that holds an identity matrix."""
    return variable(np.eye(int(size)), dtype, name)


def zeros_like(x: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Return zeros of the shape of `x` (and of its type, unless `dtype` is given)."""
    return _filled_like(x, 0, dtype)


def ones_like(x: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Return ones of the shape of `x` (and of its type, unless `dtype` is given)."""
    return _filled_like(x, 1, dtype)


def _filled_like(x: Any, value: int, dtype: Any) -> Tensor:
    from .convert import dims

    x = as_tensor(x)
    filler = _core.constant(np.asarray(value, dtype=standard_dtype(dtype or x.dtype)))
    return _core.broadcast_to(filler, dims(x))


def identity(x: Any, name: str | None = None) -> Tensor:
    """Return a tensor with the same value and an identity of its own."""
    return _core.identity(as_tensor(x))


def random_uniform_variable(
    shape: Sequence[int],
    low: float,
    high: float,
    dtype: Any = None,
    name: str | None = None,
    seed: int | None = None,
) -> Variable:
    """Make a variable with values drawn uniformly from [low, high)."""
    return variable(_generator(seed).uniform(low, high, _known(shape)), dtype, name)


def random_normal_variable(
    shape: Sequence[int],
    mean: float,
    scale: float,
    dtype: Any = None,
    name: str | None = None,
    seed: int | None = None,
) -> Variable:
    """Make a variable with values drawn from a normal distribution."""
    return variable(_generator(seed).normal(mean, scale, _known(shape)), dtype, name)


def _generator(seed: int | None) -> np.random.RandomState:
    # Without a seed, one is drawn from NumPy's global state: `np.random.seed` fixes a whole run.
    return np.random.RandomState(np.random.randint(10_000_000) if seed is None else seed)


def count_params(x: Tensor) -> int:
    """Return the number of elements of a tensor of known shape."""
    return int(np.prod([int(size) for size in x.shape], dtype=np.int64))  # type: ignore[arg-type]


def cast(x: Any, dtype: Any) -> Tensor:
    """Convert the elements to another type; floats are truncated on the way to integers."""
    return as_tensor(as_tensor(x), standard_dtype(dtype))


def update(x: Variable, new_x: Any) -> tuple[Variable, Tensor]:
    """Return the update that gives `x` the value of `new_x` after a function has run."""
    return (x, as_tensor(new_x, x.dtype))


def update_add(x: Variable, increment: Any) -> tuple[Variable, Tensor]:
    """Return the update that adds `increment` to `x`."""
    return (x, _core.binary("add", x, as_tensor(increment, x.dtype)))


def update_sub(x: Variable, decrement: Any) -> tuple[Variable, Tensor]:
    """Return the update that subtracts `decrement` from `x`."""
    return (x, _core.binary("sub", x, as_tensor(decrement, x.dtype)))


def moving_average_update(x: Variable, value: Any, momentum: float) -> tuple[Variable, Tensor]:
    """Return the update `x <- momentum x + (1 - momentum) value`."""
    return (x, x * momentum + as_tensor(value, x.dtype) * (1.0 - momentum))


def get_value(x: Any) -> Any:
    """Return a variable's value as a new array; another tensor is evaluated."""
    return x.get_value() if isinstance(x, Variable) else eval(x)


def batch_get_value(ops: Iterable[Any]) -> list[Any]:
    """Return the values of several variables."""
    return [get_value(x) for x in ops]


def set_value(x: Variable, value: Any) -> None:
    """Give a variable a new value.

    Raises:
        ValueError: when the shapes differ.
    """
    array = np.ascontiguousarray(value, dtype=x.dtype).reshape(np.shape(value))
    if array.shape != tuple(x.shape):
        raise ValueError(
            f"Cannot give the variable {x.name!r} of shape {tuple(x.shape)} a value of shape "
            f"{array.shape}"
        )
    x.set_value(array)


def batch_set_value(tuples: Iterable[tuple[Variable, Any]]) -> None:
    """Give several variables new values, from pairs of a variable and its value."""
    for x, value in tuples:
        set_value(x, value)


def get_variable_shape(x: Variable) -> tuple[int | None, ...]:
    """Return the shape of a variable."""
    return tuple(x.shape)
