"""Lengths of convolutions against counting the windows, and the arguments' checks."""

import itertools

import numpy as np
import pytest

from hornbeam.backend import common
from hornbeam.utils import conv_utils as c


def count_windows(length, window, padding, stride, dilation):
    """Count the positions at which a window fits, after padding."""
    reach = (window - 1) * dilation + 1
    padded = (
        length
        + {"valid": 0, "same": reach - 1, "causal": reach - 1, "full": 2 * (reach - 1)}[padding]
    )
    return sum(1 for start in range(0, padded, stride) if start + reach <= padded)


def test_output_length_counts_windows():
    for length, window, padding, stride, dilation in itertools.product(
        range(6, 13), (1, 2, 3), ("valid", "same", "causal", "full"), (1, 2, 3), (1, 2)
    ):
        found = c.conv_output_length(length, window, padding, stride, dilation)
        assert found == count_windows(length, window, padding, stride, dilation)
    assert c.conv_output_length(None, 3, "same", 1) is None


def test_input_length_leads_back():
    for output, window, padding, stride in itertools.product(
        range(1, 8), (1, 3, 5), ("valid", "same", "full"), (1, 2)
    ):
        back = c.conv_input_length(output, window, padding, stride)
        if back is not None and back > 0:
            assert c.conv_output_length(back, window, padding, stride) == output
    assert c.conv_input_length(None, 3, "same", 1) is None


def test_deconv_length():
    assert c.deconv_length(None, 2, 3, "same") is None
    assert c.deconv_length(4, 2, 3, "same") == 8
    assert c.deconv_length(4, 2, 3, "valid") == 9
    assert c.deconv_length(4, 3, 2, "valid") == 12
    assert c.deconv_length(4, 1, 3, "full") == 2
    assert [c.deconv_length(4, 3, 5, "same", more) for more in (0, 2)] == [10, 12]
    assert [c.deconv_length(4, 3, 2, "valid", more) for more in (0, 1)] == [11, 12]
    for length, stride, window in itertools.product(range(1, 6), (1, 2, 3), (1, 2, 3, 5)):
        out = c.deconv_length(length, stride, window, "valid")
        assert c.conv_output_length(out, window, "valid", stride) == length


def test_unknown_padding_raises():
    for call in (
        lambda: c.conv_output_length(4, 3, "some", 1),
        lambda: c.conv_input_length(4, 3, "causal", 1),
        lambda: c.deconv_length(4, 1, 3, "some"),
        lambda: c.normalize_padding("some"),
        lambda: c.normalize_padding(3),
    ):
        with pytest.raises(ValueError, match="padding"):
            call()
    assert [c.normalize_padding(p) for p in ("SAME", "valid", "Causal")] == [
        "same",
        "valid",
        "causal",
    ]


@pytest.mark.parametrize(
    ("value", "n", "expected"),
    [
        (3, 2, (3, 3)),
        (np.int64(3), 1, (3,)),
        ((1, 2), 2, (1, 2)),
        ([np.int32(1), 2.0, 3], 3, (1, 2, 3)),
        (iter([4, 5]), 2, (4, 5)),
    ],
)
def test_normalize_tuple(value, n, expected):
    found = c.normalize_tuple(value, n, "strides")
    assert found == expected and all(type(x) is int for x in found)


@pytest.mark.parametrize("value", ["3", 2.5, None, (1,), (1, 2, 3), (1, "x"), (1, 2.5), (1, None)])
def test_normalize_tuple_errors(value):
    with pytest.raises(ValueError, match="`strides` argument must be a tuple of 2 integers"):
        c.normalize_tuple(value, 2, "strides")


def test_normalize_data_format(monkeypatch):
    assert c.normalize_data_format("Channels_First") == "channels_first"
    monkeypatch.setattr(common, "_image_data_format", "channels_first")
    assert c.normalize_data_format(None) == "channels_first"
    with pytest.raises(ValueError, match="'tf'"):
        c.normalize_data_format("tf")


@pytest.mark.parametrize("shape", [(3, 2, 4), (3, 5, 2, 4), (2, 3, 4, 2, 3)])
def test_convert_kernel_turns_convolution_into_correlation(shape):
    kernel = np.random.RandomState(0).normal(size=shape)
    flipped = c.convert_kernel(kernel)
    for place in np.ndindex(*shape[:-2]):
        mirrored = tuple(n - 1 - i for n, i in zip(shape, place, strict=False))
        np.testing.assert_array_equal(flipped[place], kernel[mirrored])
    np.testing.assert_array_equal(c.convert_kernel(flipped), kernel)
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        c.convert_kernel(np.zeros((3, 2)))
