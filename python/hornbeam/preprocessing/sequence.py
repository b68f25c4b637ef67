"""Sequences: padding, skip-grams, and windows over time series."""

from __future__ import annotations

import random
from collections.abc import Sequence as SequenceType
from typing import Any

import numpy as np

from ..utils.enqueuers import Sequence


def pad_sequences(
    sequences: SequenceType[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> np.ndarray:
    """Bring sequences to one length, by cutting the longer and filling up the shorter ones.

    Args:
        sequences: a list of sequences; their elements may be arrays, all of one shape.
        maxlen: the length; that of the longest sequence by default.
        dtype: dtype of the result.
        padding: whether to fill up at the beginning ('pre') or the end ('post').
        truncating: whether to cut at the beginning ('pre') or the end ('post').
        value: what to fill up with.

    Returns:
        An array of shape (number of sequences, maxlen, shape of an element...).

    Raises:
        ValueError: for another `padding` or `truncating`, an entry that is no sequence, or elements
            of different shapes.

    Example:
        >>> pad_sequences([[1, 2, 3], [4]], maxlen=2)
        array([[2, 3],
               [0, 4]], dtype=int32)
    """
    for name, given in (("padding", padding), ("truncating", truncating)):
        if given not in ("pre", "post"):
            kind = "Padding" if name == "padding" else "Truncating"
            raise ValueError(f"{kind} type {given!r} not understood: expected 'pre' or 'post'")
    if not hasattr(sequences, "__len__"):
        raise ValueError(f"`sequences` must be iterable. Found: {sequences!r}")
    for entry in sequences:
        if not hasattr(entry, "__len__"):
            raise ValueError(f"`sequences` must be a list of iterables. Found: {entry!r}")
    if maxlen is None:
        maxlen = max((len(entry) for entry in sequences), default=0)

    shape: tuple[int, ...] = next((np.shape(s)[1:] for s in sequences if len(s) > 0), ())
    padded = np.full((len(sequences), maxlen, *shape), value, dtype=dtype)
    for i, entry in enumerate(sequences):
        cut = max(0, len(entry) - maxlen)
        kept = entry[cut:] if truncating == "pre" else entry[: len(entry) - cut]
        if len(kept) == 0:
            continue
        row = np.asarray(kept, dtype=dtype)
        if row.shape[1:] != shape:
            raise ValueError(
                f"Shape of sample {row.shape[1:]} of sequence at position {i} is different from "
                f"expected shape {shape}"
            )
        if padding == "pre":
            padded[i, maxlen - len(row) :] = row
        else:
            padded[i, : len(row)] = row
    return padded


def make_sampling_table(size: int, sampling_factor: float = 1e-5) -> np.ndarray:
    """Return with which probability word2vec keeps a word, by the rank of its frequency.

    A word of relative frequency f is kept with probability min(1, sqrt(t / f)), t being the
    sampling factor (Mikolov et al., 2013). By Zipf's law the inverse of the frequency of rank r is
    about r (ln r + gamma) + 1/2 - 1/(12 r).

    Args:
        size: the number of ranks.
        sampling_factor: t.

    Returns:
        A float array of shape (size,); entry i belongs to rank i, and rank 0 counts as rank 1.
    """
    gamma = 0.577
    rank = np.maximum(np.arange(size), 1)
    inverse_frequency = rank * (np.log(rank) + gamma) + 0.5 - 1.0 / (12.0 * rank)
    return np.minimum(1.0, np.sqrt(sampling_factor * inverse_frequency))


def skipgrams(
    sequence: SequenceType[int],
    vocabulary_size: int,
    window_size: int = 4,
    negative_samples: float = 1.0,
    shuffle: bool = True,
    categorical: bool = False,
    sampling_table: Any = None,
    seed: int | None = None,
) -> tuple[list[list[int]], list[Any]]:
    """Pair each word with its neighbours (label 1) and with random words (label 0).

    Word 0 stands for no word and is left out. The draws come from Python's `random`.

    Args:
        sequence: the words' numbers.
        vocabulary_size: one more than the greatest number.
        window_size: how far a neighbour may be away.
        negative_samples: random pairs for each pair of neighbours.
        shuffle: whether the pairs are shuffled.
        categorical: whether a label is [0, 1] or [1, 0] instead of 1 or 0.
        sampling_table: probability of keeping each word (see `make_sampling_table`).
        seed: seeds the draws of this call; by default they follow the state of `random`.

    Returns:
        `(couples, labels)`.
    """
    source: Any = random if seed is None else random.Random(seed)
    couples: list[list[int]] = []
    for i, word in enumerate(sequence):
        if not word:
            continue
        if sampling_table is not None and sampling_table[word] < source.random():
            continue
        window = range(max(0, i - window_size), min(len(sequence), i + window_size + 1))
        couples += [[word, sequence[j]] for j in window if j != i and sequence[j]]
    positive, negative = ([0, 1], [1, 0]) if categorical else (1, 0)
    labels: list[Any] = [positive] * len(couples)

    if negative_samples > 0:
        count = int(len(labels) * negative_samples)
        words = [word for word, _ in couples]
        source.shuffle(words)
        couples += [
            [words[i % len(words)], source.randint(1, vocabulary_size - 1)] for i in range(count)
        ]
        labels += [negative] * count
    if shuffle:
        order_seed = source.randint(0, 10**7)
        random.Random(order_seed).shuffle(couples)
        random.Random(order_seed).shuffle(labels)
    return couples, labels


class TimeseriesGenerator(Sequence):
    """Batches of windows over a time series, each with the target that follows it."""

    def __init__(
        self,
        data: Any,
        targets: Any,
        length: int,
        sampling_rate: int = 1,
        stride: int = 1,
        start_index: int = 0,
        end_index: int | None = None,
        shuffle: bool = False,
        reverse: bool = False,
        batch_size: int = 128,
    ) -> None:
        """Take the series.

        Args:
            data: the series, time first.
            targets: what belongs to each time; as long as `data`.
            length: time steps in a window.
            sampling_rate: distance between the steps that are kept of a window.
            stride: distance between two windows.
            start_index: the first time used.
            end_index: the last time used.
            shuffle: whether windows are drawn at random.
            reverse: whether the steps of a window come in reversed order.
            batch_size: windows in a batch.

        Raises:
            ValueError: for targets of another length, or times that leave no window.
        """
        if len(data) != len(targets):
            raise ValueError(
                "TimeseriesGenerator: data and targets must have the same length, got "
                f"{len(data)} and {len(targets)}"
            )
        self.data = data
        self.targets = targets
        self.length = length
        self.sampling_rate = sampling_rate
        self.stride = stride
        self.start_index = start_index + length
        self.end_index = len(data) - 1 if end_index is None else end_index
        self.shuffle = shuffle
        self.reverse = reverse
        self.batch_size = batch_size
        if self.start_index > self.end_index:
            raise ValueError(
                f"TimeseriesGenerator: no window of length {length} fits between the times "
                f"{start_index} and {self.end_index}"
            )

    def __len__(self) -> int:
        windows = (self.end_index - self.start_index) // self.stride + 1
        return -(-windows // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the batch `(windows, targets)` at an index."""
        if self.shuffle:
            rows = np.random.randint(self.start_index, self.end_index + 1, size=self.batch_size)
        else:
            first = self.start_index + self.batch_size * self.stride * index
            end = min(first + self.batch_size * self.stride, self.end_index + 1)
            rows = np.arange(first, end, self.stride)
        step = slice(None, None, -1) if self.reverse else slice(None)
        windows = [self.data[row - self.length : row : self.sampling_rate][step] for row in rows]
        return np.array(windows), np.array([self.targets[row] for row in rows])
