"""Kinds of input: one module for each, behind `as_array` and `is_lazy`."""

from .arrays import as_array, is_array_like
from .hdf5 import LazyRun, is_lazy, read_rows
from .stream import batches_of, is_stream

__all__ = [
    "LazyRun",
    "as_array",
    "batches_of",
    "is_array_like",
    "is_lazy",
    "is_stream",
    "read_rows",
]
