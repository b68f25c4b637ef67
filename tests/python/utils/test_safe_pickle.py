"""Pickled arrays are read, and pickled code is not run."""

import os
import pickle

import numpy as np
import pytest

from hornbeam.errors import UnsafeFileError
from hornbeam.utils.safe_pickle import load_arrays, load_npz


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/hornbeam-was-here",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers(tmp_path, protocol):
    value = {
        "data": np.arange(6, dtype="uint8").reshape(2, 3),
        "labels": [1, 2],
        "scalar": np.float32(0.5),
        "text": "a",
        "lists": np.array([[1, 2], [3]], dtype=object),
    }
    path = tmp_path / "a"
    path.write_bytes(pickle.dumps(value, protocol))
    with open(path, "rb") as f:
        found = load_arrays(f)
    assert list(found) == list(value)
    np.testing.assert_array_equal(found["data"], value["data"])
    assert found["lists"].tolist() == [[1, 2], [3]] and found["scalar"] == 0.5


def test_code_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(pickle.dumps({"data": Evil()}))
    with open(path, "rb") as f, pytest.raises(UnsafeFileError, match="system"):
        load_arrays(f)


def test_npz_with_and_without_objects(tmp_path):
    path = tmp_path / "a.npz"
    lists = np.empty(2, dtype=object)
    lists[:] = [[1, 2, 3], [4]]
    np.savez_compressed(path, x=lists, y=np.arange(3.0), z=np.asfortranarray(np.ones((2, 3))))
    found = load_npz(path)
    assert found["x"].tolist() == [[1, 2, 3], [4]]
    np.testing.assert_array_equal(found["y"], np.arange(3.0))
    np.testing.assert_array_equal(found["z"], np.ones((2, 3)))


def test_npz_with_code_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([Evil(), 1], dtype=object))
    with pytest.raises(UnsafeFileError):
        load_npz(path)
