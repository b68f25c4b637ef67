"""Arrays in HDF5 files, and the question before a file is overwritten."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import h5py
import numpy as np


class HDF5Matrix:
    """A window on the rows of an HDF5 dataset, usable where a model takes an array.

    Rows are read when they are asked for. A pickled matrix holds the file's path and opens it anew.

    Attributes:
        refs: the files that are open, by path; matrices on one file share it.
    """

    refs: WeakValueDictionary[str, h5py.File] = WeakValueDictionary()

    def __init__(
        self,
        datapath: str | os.PathLike[str],
        dataset: str,
        start: int = 0,
        end: int | None = None,
        normalizer: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """Open a dataset.

        Args:
            datapath: the HDF5 file.
            dataset: the dataset's name in it.
            start: the first row of the window.
            end: one past its last row; the dataset's length by default.
            normalizer: a function that each array read is passed through.

        Raises:
            ValueError: when the window does not lie in the dataset.
        """
        self.datapath = os.fspath(datapath)
        self.dataset = dataset
        self._open()
        rows = self.data.shape[0]
        self.start = start
        self.end = rows if end is None else end
        if not 0 <= self.start <= self.end <= rows:
            raise ValueError(
                f"HDF5Matrix: the window {start}..{end} does not lie in the {rows} rows of "
                f"{dataset!r} in {self.datapath}"
            )
        self.normalizer = normalizer

    def _open(self) -> None:
        path = os.path.abspath(self.datapath)
        file = self.refs.get(path)
        if not file:  # none, or one that somebody closed
            file = h5py.File(path, "r")
            self.refs[path] = file
        self._file = file
        if self.dataset not in file:
            raise KeyError(
                f"HDF5Matrix: no dataset {self.dataset!r} in {self.datapath}; it has {sorted(file)}"
            )
        self.data = file[self.dataset]

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, slice):
            rows = self.data[self._slice(key)]
        elif isinstance(key, (int, np.integer)):
            rows = self.data[int(self._positions(np.array([key]))[0])]
        elif isinstance(key, (list, tuple, range, np.ndarray)):
            rows = self._gather(np.asarray(key))
        else:
            raise IndexError(
                f"HDF5Matrix takes an integer, a slice, or a list or array of rows, not {key!r}"
            )
        return rows if self.normalizer is None else self.normalizer(rows)

    def _slice(self, key: slice) -> slice:
        for bound in (key.start, key.stop):
            if bound is not None and bound > len(self):
                raise IndexError(f"HDF5Matrix: row {bound} is past its {len(self)} rows")
        start, stop, step = key.indices(len(self))
        if step < 1:
            raise IndexError(f"HDF5Matrix: a slice's step must be positive, got {step}")
        return slice(start + self.start, max(start, stop) + self.start, step)

    def _positions(self, key: np.ndarray) -> np.ndarray:
        if key.dtype == bool:
            if key.shape != (len(self),):
                raise IndexError(f"HDF5Matrix: a mask must have {len(self)} elements")
            key = np.flatnonzero(key)
        if key.size and key.dtype.kind not in "iu":
            raise IndexError(f"HDF5Matrix: rows must be integers, got the dtype {key.dtype}")
        if key.size and (key.max() >= len(self) or key.min() < -len(self)):
            raise IndexError(f"HDF5Matrix: a row is outside its {len(self)} rows")
        return np.where(key < 0, key + len(self), key).astype("int64") + self.start

    def _gather(self, key: np.ndarray) -> np.ndarray:
        # h5py wants rows in increasing order and each once.
        unique, inverse = np.unique(self._positions(key), return_inverse=True)
        return self.data[unique][inverse.reshape(-1)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the window."""
        return (len(self), *self.data.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the dataset, before the normalizer."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements in the window."""
        return int(np.prod(self.shape))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        del state["_file"], state["data"]
        state["datapath"] = os.path.abspath(self.datapath)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def ask_to_proceed_with_overwrite(filepath: str | os.PathLike[str]) -> bool:
    """Ask on the terminal whether a file may be overwritten.

    Args:
        filepath: the file.

    Returns:
        Whether the answer was yes.

    Raises:
        FileExistsError: when there is nobody to ask, as in a job without a terminal.
    """
    answer = _asked(f"[WARNING] {filepath} already exists - overwrite? [y/n]", filepath)
    while answer not in ("y", "n"):
        answer = _asked('Enter "y" (overwrite) or "n" (cancel).', filepath)
    if answer == "n":
        return False
    print("[TIP] Next time specify overwrite=True!")
    return True


def _asked(question: str, filepath: str | os.PathLike[str]) -> str:
    try:
        return input(question).strip().lower()
    except (EOFError, OSError, RuntimeError) as error:
        # What `input` raises where standard input is at its end, closed or not there.
        raise FileExistsError(
            f"{os.fspath(filepath)!r} already exists, and with overwrite=False that has to be "
            f"asked about, but there is no terminal to ask on ({type(error).__name__}). The file "
            "is unchanged. Save with overwrite=True, under another name, or move the file away."
        ) from error
