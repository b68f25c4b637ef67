"""What turns Python values into the core's tensors, and operands of two types into one.

The rules: a Python number or an array takes the type of the tensor it meets; a float that meets an
integer tensor makes both floats; two tensors meet at the wider type, floats above integers above
bool. The other modules of this package build on these functions alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from .._core import Tensor
from . import common

_RANK = {"bool": 0, "uint8": 1, "int32": 2, "int64": 3, "float32": 4, "float64": 5}
_NARROWED = {
    "int8": "int32",
    "int16": "int32",
    "uint16": "int32",
    "uint32": "int64",
    "uint64": "int64",
    "float16": "float32",
    "longdouble": "float64",
}

Shape = Sequence[Any]


def is_float(dtype: str) -> bool:
    """Tell whether a type's name is one of the floats."""
    return dtype in ("float32", "float64")


def standard_dtype(dtype: Any) -> str:
    """Return the name of a type the core has: 'int' or `np.int16` become what can hold them.

    Args:
        dtype: a name, a NumPy type or a Python type.

    Raises:
        TypeError: for a type the core has no counterpart of.
    """
    if isinstance(dtype, str) and dtype in _RANK:
        return dtype
    name = np.dtype(dtype).name
    name = _NARROWED.get(name, name)
    if name not in _RANK:
        raise TypeError(f"Unsupported dtype {dtype!r}: expected one of {', '.join(_RANK)}")
    return name


def is_tensor(x: Any) -> bool:
    """Tell whether `x` is a symbolic tensor (a variable is one)."""
    return isinstance(x, Tensor)


def as_tensor(x: Any, dtype: str | None = None) -> Tensor:
    """Return `x` as a tensor.

    Args:
        x: a tensor, a number, an array or nested lists of numbers.
        dtype: the type wanted; None keeps a tensor's or an array's own, with Python floats and
            float64 arrays at `floatx()`.
    """
    if isinstance(x, Tensor):
        return x if dtype is None or x.dtype == dtype else _core.cast(x, dtype)
    if isinstance(x, (list, tuple)) and any(isinstance(e, Tensor) for e in x):
        return _stack_scalars([as_tensor(e, dtype) for e in x])
    array = np.asarray(x)
    if dtype is None:
        dtype = common.floatx() if array.dtype.kind == "f" else standard_dtype(array.dtype)
    return _core.constant(np.ascontiguousarray(array, dtype=dtype).reshape(array.shape))


def _stack_scalars(tensors: list[Tensor]) -> Tensor:
    dtype = result_dtype(*tensors)
    return _core.concat([_core.reshape(as_tensor(t, dtype), [1, *dims(t)]) for t in tensors], 0)


def result_dtype(*operands: Any) -> str:
    """Return the type at which operands meet (see the module's rules)."""
    tensors = [x.dtype for x in operands if isinstance(x, Tensor)]
    if not tensors:
        return as_tensor(operands[0]).dtype
    dtype = max(tensors, key=_RANK.__getitem__)
    if not is_float(dtype):
        for x in operands:
            if isinstance(x, Tensor):
                continue
            kind = np.asarray(x).dtype.kind
            if kind == "f":
                return common.floatx()
            if kind in "iu" and dtype == "bool":
                dtype = "int32"
    return dtype


def promote(*operands: Any) -> list[Tensor]:
    """Return the operands as tensors of the one type at which they meet."""
    dtype = result_dtype(*operands)
    return [as_tensor(x, dtype) for x in operands]


def to_float(x: Any) -> Tensor:
    """Return `x` as a tensor of floats: integers and bools are cast to `floatx()`."""
    x = as_tensor(x)
    return x if is_float(x.dtype) else _core.cast(x, common.floatx())


def binary(op: str, x: Any, y: Any) -> Tensor:
    """Apply one of the core's binary operations to operands of any types."""
    a, b = promote(x, y)
    return _core.binary(op, a, b)


def dim(x: Tensor, axis: int) -> int | Tensor:
    """Return the size of an axis: a number where it is known, else a scalar tensor."""
    size = x.shape[axis]
    return _core.shape_of(x)[axis] if size is None else size


def dims(x: Tensor) -> list[int | Tensor]:
    """Return the size of each axis, numbers where known, else scalar tensors."""
    return [dim(x, axis) for axis in range(x.ndim)]


def shape_list(shape: Any) -> Any:
    """Return a shape as the core takes it: a vector tensor, or a list of ints and scalars."""
    if isinstance(shape, Tensor):
        return shape if shape.dtype == "int64" else _core.cast(shape, "int64")
    if isinstance(shape, (int, np.integer)):
        shape = (shape,)
    return [size if isinstance(size, Tensor) else int(size) for size in shape]


def normalize_axis(axis: int, ndim: int, what: str = "axis") -> int:
    """Return `axis` counted from the front.

    Raises:
        ValueError: when the tensor has no such axis.
    """
    axis = int(axis)
    if not -ndim <= axis < ndim:
        raise ValueError(f"{what} {axis} is out of range for a tensor with {ndim} axes")
    return axis % ndim


def axis_list(axis: Any) -> list[int] | None:
    """Return an `axis` argument (None, a number or several) as the core takes it."""
    if axis is None:
        return None
    if isinstance(axis, (list, tuple, np.ndarray)):
        return [int(a) for a in axis]
    return [int(axis)]
