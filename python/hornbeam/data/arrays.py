"""Data that lies in memory: NumPy arrays, lists, pandas frames and series, tensors of torch.

No other package is imported for it: what pandas and torch hold is read by NumPy's own protocol.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# An array of another type than the core's is converted as a whole up to this many bytes, and batch
# by batch beyond: images as bytes would otherwise need four times their memory.
COPY_LIMIT = 1 << 30


def is_array_like(x: Any) -> bool:
    """Tell whether `x` is an array or something NumPy reads as one."""
    return isinstance(x, (np.ndarray, np.generic, list, tuple)) or hasattr(x, "__array__")


def as_array(x: Any, dtype: str, what: str) -> np.ndarray:
    """Return data as a contiguous array of a type the core takes.

    Args:
        x: an array, nested lists, a pandas frame or series, a torch tensor, a sparse matrix.
        dtype: the type wanted.
        what: what it is, for messages.

    Returns:
        The array itself where it fits already, or where a copy would be too large (`COPY_LIMIT`):
        its batches are then converted one by one.

    Raises:
        ValueError: when the data are no numbers, or rows have different lengths.
    """
    if type(x) is np.ndarray and x.dtype == dtype and x.flags.c_contiguous:
        return x
    if hasattr(x, "detach"):
        x = x.detach().cpu().numpy()
    elif hasattr(x, "toarray"):
        x = x.toarray()
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ValueError(
            f"{what} cannot be made into one array: {error}. Rows of different lengths have to "
            "be padded first, see preprocessing.sequence.pad_sequences."
        ) from None
    if array.dtype.kind == "O":
        array = _from_objects(array, what)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} has the dtype {array.dtype}, expected numbers")
    if array.dtype.name == dtype and array.flags.c_contiguous and array.dtype.isnative:
        return array
    if array.size * np.dtype(dtype).itemsize > COPY_LIMIT:
        return array
    return convert(array, dtype, what)


def convert(array: np.ndarray, dtype: str, what: str) -> np.ndarray:
    """Return an array of numbers as a contiguous one of another type.

    Args:
        array: booleans, integers or floats.
        dtype: the type wanted.
        what: what it is, for messages.

    Raises:
        ValueError: when integers are wanted, and a number is none or too large. NumPy's own
            conversion would make another number of it.
    """
    wanted = np.dtype(dtype)
    if wanted.kind in "iu" and array.size and not np.can_cast(array.dtype, wanted):
        _check_whole(array, wanted, what)
    return np.ascontiguousarray(array, dtype=wanted).reshape(array.shape)


def _check_whole(array: np.ndarray, wanted: np.dtype[Any], what: str) -> None:
    limits = np.iinfo(wanted)
    with np.errstate(invalid="ignore"):
        bad = ~((array >= limits.min) & (array <= limits.max))
        if array.dtype.kind == "f":
            bad |= array != np.floor(array)
    if bad.any():
        raise ValueError(
            f"{what} holds {array[bad].flat[0]}, expected whole numbers from {limits.min} to "
            f"{limits.max} ({wanted.name}): round them first, or encode them as such numbers"
        )


def _from_objects(array: np.ndarray, what: str) -> np.ndarray:
    """Convert an array of Python objects when all of them are numbers."""
    hint = (
        f"{what} has the dtype object, expected numbers: its elements are Python objects such as "
        "strings or lists of different lengths (see preprocessing.sequence.pad_sequences)"
    )
    if array.size and not isinstance(array.flat[0], (int, float, bool, np.number, np.bool_)):
        raise ValueError(hint)
    try:
        return array.astype("float64")
    except OverflowError:
        raise ValueError(
            f"{what} holds a number that is too large for float64: scale the data"
        ) from None
    except (TypeError, ValueError):
        raise ValueError(hint) from None
