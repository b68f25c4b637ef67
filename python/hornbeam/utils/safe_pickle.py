"""Reading arrays and plain containers from pickles without running what else a pickle may hold.

Some public data sets are pickles, or `.npz` files whose arrays hold lists and are pickled inside.
A pickle can name any function to call; this reader knows NumPy's array types and nothing more.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from typing import Any, BinaryIO

import numpy as np

from ..errors import UnsafeFileError

_ALLOWED = {
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UnsafeFileError(
                f"The pickle asks for {module}.{name}, which has no place in a file of arrays; "
                "it was not loaded."
            )
        # Files written before NumPy 2 name the module by its old path, and later ones vice versa.
        core = "_core" if hasattr(np, "_core") else "core"
        for old in ("numpy.core.", "numpy._core."):
            if module.startswith(old):
                module = f"numpy.{core}.{module[len(old) :]}"
        return super().find_class(module, name)


def load_arrays(f: BinaryIO, encoding: str = "ASCII") -> Any:
    """Unpickle arrays, scalars and plain containers.

    Args:
        f: a file opened for reading bytes.
        encoding: how text of Python 2 is decoded; 'bytes' leaves it as bytes.

    Raises:
        UnsafeFileError: when the pickle asks for anything else.
    """
    return _ArrayUnpickler(f, encoding=encoding).load()


def load_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read all arrays of an `.npz` file, arrays of Python lists included.

    Args:
        path: the file.

    Raises:
        UnsafeFileError: when an array of objects holds anything but numbers, text and containers.
    """
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as member:
                    arrays[name[: -len(".npy")]] = _read_npy(member.read())
    return arrays


def _read_npy(data: bytes) -> np.ndarray:
    f = io.BytesIO(data)
    version = np.lib.format.read_magic(f)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is not None:
        shape, _, dtype = read_header(f)
        if dtype.hasobject:
            return np.asarray(load_arrays(f, encoding="bytes")).reshape(shape)
    f.seek(0)
    return np.lib.format.read_array(f, allow_pickle=False)
