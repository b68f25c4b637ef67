"""Padding, skip-grams, sampling tables and windows over time series."""

import random

import numpy as np
import pytest

from hornbeam.preprocessing import sequence as s


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({}, [[0, 0, 1], [0, 2, 3], [4, 5, 6]]),
        ({"maxlen": 2}, [[0, 1], [2, 3], [5, 6]]),
        ({"maxlen": 2, "truncating": "post"}, [[0, 1], [2, 3], [4, 5]]),
        ({"padding": "post"}, [[1, 0, 0], [2, 3, 0], [4, 5, 6]]),
        ({"maxlen": 4, "value": 9}, [[9, 9, 9, 1], [9, 9, 2, 3], [9, 4, 5, 6]]),
        ({"maxlen": 0}, [[], [], []]),
    ],
)
@pytest.mark.parametrize("make", [list, np.array], ids=["lists", "arrays"])
def test_pad_sequences(keywords, expected, make):
    found = s.pad_sequences([make([1]), make([2, 3]), make([4, 5, 6])], **keywords)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_pad_sequences_of_vectors_and_of_text():
    vectors = [np.ones((2, 3)), np.zeros((0, 3)), np.full((1, 3), 2.0)]
    found = s.pad_sequences(vectors, dtype="float32", padding="post")
    assert found.shape == (3, 2, 3) and found.dtype == np.float32
    np.testing.assert_array_equal(found[:, :, 0], [[1, 1], [0, 0], [2, 0]])
    words = s.pad_sequences([["a"], ["b", "c"]], dtype=object, value="-")
    assert words.tolist() == [["-", "a"], ["b", "c"]]
    assert s.pad_sequences([]).shape == (0, 0)
    assert s.pad_sequences([[], []]).shape == (2, 0)


@pytest.mark.parametrize(
    ("sequences", "keywords", "message"),
    [
        ([[1]], {"padding": "mid"}, "Padding type 'mid'"),
        ([[1]], {"truncating": "mid"}, "Truncating type 'mid'"),
        (5, {}, "must be iterable"),
        ([1, 2], {}, "list of iterables"),
        ([[[1, 2]], [[1, 2, 3]]], {}, "position 1"),
    ],
)
def test_pad_sequences_errors(sequences, keywords, message):
    with pytest.raises(ValueError, match=message):
        s.pad_sequences(sequences, **keywords)


def test_make_sampling_table():
    found = s.make_sampling_table(100, 1e-3)
    assert found.shape == (100,) and found[0] == found[1]
    assert np.all(np.diff(found[1:]) >= 0) and found.max() <= 1
    rank, gamma = 10, 0.577
    inverse = rank * (np.log(rank) + gamma) + 0.5 - 1 / (12 * rank)
    assert found[rank] == pytest.approx(np.sqrt(1e-3 * inverse))
    np.testing.assert_array_equal(s.make_sampling_table(3, 10.0), [1, 1, 1])


def test_skipgrams_pair_each_word_with_its_neighbours():
    words = [1, 2, 0, 3]
    couples, labels = s.skipgrams(words, 4, window_size=2, negative_samples=0, shuffle=False)
    assert couples == [[1, 2], [2, 1], [2, 3], [3, 2]]
    assert labels == [1] * 4


@pytest.mark.parametrize("share", [0.5, 1.0, 3.0])
def test_skipgrams_negative_samples(share):
    words = list(range(1, 9))
    couples, labels = s.skipgrams(words, 9, window_size=1, negative_samples=share, shuffle=False)
    assert labels == [1] * 14 + [0] * int(14 * share)
    assert {w for w, _ in couples[14:]} <= set(words)
    assert all(1 <= other < 9 for _, other in couples[14:])


def test_skipgrams_shuffles_pairs_and_labels_alike():
    couples, labels = s.skipgrams(range(1, 30), 1000, window_size=2, categorical=True, seed=1)
    assert [1, 0] in labels and [0, 1] in labels
    for (word, other), label in zip(couples, labels, strict=True):
        if label == [0, 1]:
            assert 0 < abs(word - other) <= 2
    assert labels != sorted(labels, reverse=True)


def test_skipgrams_follow_the_seed():
    def draw(seed):
        random.seed(seed)
        return s.skipgrams(range(1, 30), 30)

    assert draw(1) == draw(1) != draw(2)
    assert s.skipgrams(range(1, 9), 9, seed=5) == s.skipgrams(range(1, 9), 9, seed=5)


def test_skipgrams_leave_frequent_words_out():
    table = np.zeros(5)
    assert s.skipgrams([1, 2, 3, 4], 5, sampling_table=table, seed=0) == ([], [])
    table[2] = 1.0
    couples, _ = s.skipgrams([1, 2, 3], 5, sampling_table=table, negative_samples=0, seed=0)
    assert sorted(couples) == [[2, 1], [2, 3]]


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("rate", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("reverse", [False, True])
def test_time_series_windows(length, rate, stride, batch_size, reverse):
    data, targets = np.arange(20.0).reshape(20, 1), np.arange(20) * 10
    batches = s.TimeseriesGenerator(
        data,
        targets,
        length,
        sampling_rate=rate,
        stride=stride,
        start_index=2,
        end_index=15,
        batch_size=batch_size,
        reverse=reverse,
    )
    windows = np.concatenate([x for x, _ in batches])
    found = np.concatenate([y for _, y in batches])
    ends = range(2 + length, 16, stride)
    expected = [data[end - length : end : rate][:: -1 if reverse else 1] for end in ends]
    np.testing.assert_array_equal(windows, expected)
    np.testing.assert_array_equal(found, [end * 10 for end in ends])
    assert all(len(x) <= batch_size for x, _ in batches)


def test_time_series_drawn_at_random():
    data = np.arange(50)
    np.random.seed(0)
    batches = s.TimeseriesGenerator(data, data, 4, shuffle=True, batch_size=16)
    x, y = batches[0]
    np.testing.assert_array_equal(x[:, -1] + 1, y)
    assert x.shape == (16, 4) and len(set(y)) > 3 and y.min() >= 4


def test_time_series_errors():
    with pytest.raises(ValueError, match="5 and 4"):
        s.TimeseriesGenerator(range(5), range(4), 2)
    with pytest.raises(ValueError, match="no window of length 5"):
        s.TimeseriesGenerator(range(5), range(5), 5)
