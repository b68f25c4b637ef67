"""HDF5Matrix against NumPy indexing of the same rows, and the question about overwriting."""

import pickle

import h5py
import numpy as np
import pytest

from hornbeam.utils.io_utils import HDF5Matrix, ask_to_proceed_with_overwrite

ROWS = np.arange(60.0).reshape(20, 3)


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as f:
        f["rows"] = ROWS
    return tmp_path / "data.h5"


@pytest.mark.parametrize(("start", "end"), [(0, None), (5, 15), (5, None), (0, 8)])
@pytest.mark.parametrize(
    "key",
    [
        slice(None),
        slice(2, 5),
        slice(None, 3),
        slice(4, None),
        slice(0, 8, 3),
        slice(-3, None),
        slice(5, 2),
        0,
        7,
        -1,
        np.int64(3),
        [0, 3, 5],
        [5, 0, 3, 0],
        [-1, 0],
        [],
        range(2, 6),
        np.array([6, 2, 2]),
    ],
    ids=str,
)
def test_indexing_is_that_of_the_window(path, start, end, key):
    matrix, window = HDF5Matrix(path, "rows", start, end), ROWS[start:end]
    expected = window[np.array(key, dtype=int) if isinstance(key, (list, range)) else key]
    np.testing.assert_array_equal(matrix[key], expected)
    assert matrix.shape == window.shape and len(matrix) == len(window)
    assert (matrix.ndim, matrix.size, matrix.dtype) == (2, window.size, window.dtype)


def test_a_mask(path):
    matrix = HDF5Matrix(path, "rows", 5, 10)
    mask = np.array([True, False, False, True, True])
    np.testing.assert_array_equal(matrix[mask], ROWS[5:10][mask])
    with pytest.raises(IndexError, match="mask"):
        matrix[np.ones(4, dtype=bool)]
    np.testing.assert_array_equal(np.asarray(matrix), ROWS[5:10])


@pytest.mark.parametrize(
    "key",
    [
        10,
        -11,
        slice(10, 11),
        slice(0, 11),
        [9, 10],
        range(10, 11),
        np.array([10]),
        None,
        "a",
        [0.5],
    ],
)
def test_what_is_outside_the_window_raises(path, key):
    with pytest.raises(IndexError):
        HDF5Matrix(path, "rows", 5, 15)[key]


def test_normalizer(path):
    matrix = HDF5Matrix(path, "rows", normalizer=lambda rows: rows / 2)
    np.testing.assert_array_equal(matrix[1:3], ROWS[1:3] / 2)
    np.testing.assert_array_equal(matrix[[3, 1]], ROWS[[3, 1]] / 2)


def test_matrices_share_a_file_and_let_it_go(path):
    one, two = HDF5Matrix(path, "rows"), HDF5Matrix(str(path), "rows", 5)
    assert one.data.file == two.data.file
    assert HDF5Matrix.refs[str(path)] is one._file is two._file
    one.data.file.close()
    np.testing.assert_array_equal(HDF5Matrix(path, "rows")[0], ROWS[0])


def test_a_pickled_matrix_opens_its_file_anew(path):
    matrix = pickle.loads(pickle.dumps(HDF5Matrix(path, "rows", 5, 15)))
    np.testing.assert_array_equal(matrix[:], ROWS[5:15])


def test_errors(path):
    with pytest.raises(KeyError, match="'columns'.*'rows'"):
        HDF5Matrix(path, "columns")
    with pytest.raises(ValueError, match="5..21"):
        HDF5Matrix(path, "rows", 5, 21)


@pytest.mark.parametrize(
    ("answers", "expected", "asked"),
    [(["y"], True, 1), (["n"], False, 1), (["maybe", "", "Y"], True, 3)],
)
def test_overwriting(monkeypatch, capsys, answers, expected, asked):
    prompts = []
    replies = iter(answers)

    def answer(prompt):
        prompts.append(prompt)
        return next(replies)

    monkeypatch.setattr("builtins.input", answer)
    assert ask_to_proceed_with_overwrite("m.h5") is expected
    assert prompts[0] == "[WARNING] m.h5 already exists - overwrite? [y/n]"
    assert len(prompts) == asked
    assert ("[TIP]" in capsys.readouterr().out) is expected
