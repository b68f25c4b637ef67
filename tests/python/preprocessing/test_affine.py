"""Affine transformation against scipy.ndimage, and against what a hand can check."""

import numpy as np
import pytest

from hornbeam.preprocessing import image
from hornbeam.preprocessing.image.affine import FILL_MODES, affine_transform


def random_case(seed):
    rng = np.random.RandomState(seed)
    shape = tuple(rng.randint(1, 12, 2))
    planes = rng.normal(size=(2, *shape))
    matrix = rng.normal(size=(2, 2)) * rng.choice([0.3, 1, 4])
    return planes, matrix, rng.normal(size=2) * rng.choice([0.5, 5, 40])


@pytest.mark.parametrize("mode", FILL_MODES)
@pytest.mark.parametrize("order", [0, 1])
def test_against_scipy_at_random_places(mode, order):
    ndimage = pytest.importorskip("scipy.ndimage")
    for seed in range(150):
        planes, matrix, offset = random_case(seed)
        found = affine_transform(planes, matrix, offset, order, mode, 0.25)
        for plane, result in zip(planes, found, strict=True):
            expected = ndimage.affine_transform(
                plane, matrix, offset, order=order, mode=mode, cval=0.25
            )
            np.testing.assert_allclose(result, expected, atol=1e-12)


@pytest.mark.parametrize("mode", FILL_MODES)
@pytest.mark.parametrize("order", [0, 1])
def test_against_scipy_on_exact_steps(mode, order):
    """Shifts by halves and wholes, and flips: every border rule and tie of rounding is met."""
    ndimage = pytest.importorskip("scipy.ndimage")
    plane = np.arange(12.0).reshape(3, 4)
    for scale in (1.0, -1.0, 0.5, 2.0):
        for shift in np.arange(-20, 20.5, 0.5):
            matrix, offset = np.eye(2) * scale, np.array([shift, -shift])
            found = affine_transform(plane[np.newaxis], matrix, offset, order, mode, -5.0)[0]
            expected = ndimage.affine_transform(
                plane, matrix, offset, order=order, mode=mode, cval=-5.0
            )
            np.testing.assert_allclose(found, expected, atol=1e-12, err_msg=f"{scale} {shift}")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("nearest", [1, 1, 1, 1, 2, 3]),
        ("constant", [9, 9, 9, 1, 2, 3]),
        ("reflect", [3, 2, 1, 1, 2, 3]),
        # The last pixel falls on the first: the period is one less than the length.
        ("wrap", [3, 4, 5, 1, 2, 3]),
    ],
)
def test_a_shift_by_three(mode, expected):
    row = np.array([[[1.0, 2, 3, 4, 5, 6]]])
    found = affine_transform(row, np.eye(2), np.array([0.0, -3.0]), 0, mode, 9.0)
    np.testing.assert_array_equal(found[0, 0], expected)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
@pytest.mark.parametrize("order", [0, 1])
def test_dtypes_stay(dtype, order):
    planes = np.arange(12).reshape(1, 3, 4).astype(dtype)
    found = affine_transform(planes, np.eye(2), np.array([0.0, 0.5]), order, "nearest")
    assert found.dtype == dtype
    if order == 1 and dtype == "float32":
        np.testing.assert_array_equal(found[0, 0], [0.5, 1.5, 2.5, 3.0])


def test_errors():
    planes = np.zeros((1, 2, 2))
    with pytest.raises(ValueError, match="'mirror'"):
        affine_transform(planes, np.eye(2), np.zeros(2), 0, "mirror")
    with pytest.raises(ValueError, match="order.*3"):
        affine_transform(planes, np.eye(2), np.zeros(2), 3)


def test_apply_transform_knows_its_axes():
    x = np.random.RandomState(0).rand(4, 5, 3)
    matrix = np.array([[1.0, 0, 1], [0, 1, 0], [0, 0, 1]])
    found = image.apply_transform(x, matrix, channel_axis=2)
    np.testing.assert_array_equal(found[:-1], x[1:])
    np.testing.assert_array_equal(found[-1], x[-1])
    first = image.apply_transform(x.transpose(2, 0, 1), matrix, channel_axis=0)
    np.testing.assert_array_equal(first.transpose(1, 2, 0), found)


def test_a_quarter_turn_about_the_centre():
    x = np.zeros((5, 5, 1))
    x[1, 2] = 1.0  # above the centre of the offset that Keras uses, (3, 3)
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    matrix = image.transform_matrix_offset_center(turn, 5, 5)
    np.testing.assert_allclose(matrix @ [3, 3, 1], [3, 3, 1])
    found = image.apply_transform(x, matrix, channel_axis=2, fill_mode="constant")
    # The pixel that comes from (1, 2) is the one at turn^-1 ((1, 2) - (3, 3)) + (3, 3) = (2, 5).
    assert found.sum() == 0
    x[3, 2] = 1.0
    found = image.apply_transform(x, matrix, channel_axis=2, fill_mode="constant")
    assert np.argwhere(found).tolist() == [[2, 3, 0]]
