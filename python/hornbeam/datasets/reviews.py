"""What the data sets of word sequences have in common."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..utils.user_warnings import warn
from .origins import fetch


def renamed_num_words(num_words: int | None, kwargs: dict[str, Any]) -> int | None:
    """Accept the Keras 1 name of `num_words`.

    Args:
        num_words: the argument under its own name.
        kwargs: the other keywords of the call.

    Raises:
        TypeError: when there are others than `nb_words`.
    """
    if "nb_words" in kwargs:
        warn("The `nb_words` argument in `load_data` has been renamed `num_words`.")
        num_words = kwargs.pop("nb_words")
    if kwargs:
        raise TypeError(f"load_data: unrecognized keyword arguments {sorted(kwargs)}")
    return num_words


def shuffled(xs: np.ndarray, labels: np.ndarray, seed: int) -> tuple[list, np.ndarray]:
    """Bring sequences and their labels into an order that depends on the seed alone."""
    order = np.arange(len(xs))
    np.random.RandomState(seed).shuffle(order)
    return [list(xs[i]) for i in order], np.asarray(labels)[order]


def marked(xs: list[list[int]], start_char: int | None, index_from: int) -> list[list[int]]:
    """Raise the words' numbers, and put a number at the start of each sequence."""
    start = [] if start_char is None else [start_char]
    return [start + [word + index_from for word in x] for x in xs]


def without_long(
    xs: list[list[int]], labels: np.ndarray, maxlen: int | None
) -> tuple[list[list[int]], np.ndarray]:
    """Leave out the sequences of `maxlen` words and more.

    Raises:
        ValueError: when none is left.
    """
    if not maxlen:
        return xs, labels
    kept = [i for i, x in enumerate(xs) if len(x) < maxlen]
    if not kept:
        raise ValueError(
            f"After filtering for sequences shorter than maxlen={maxlen}, no sequence was kept. "
            "Increase maxlen."
        )
    return [xs[i] for i in kept], labels[kept]


def limited(
    xs: list[list[int]], num_words: int | None, skip_top: int, oov_char: int | None
) -> list[list[int]]:
    """Replace the words outside [skip_top, num_words) by `oov_char`, or leave them out.

    By default `num_words` is the greatest number there is, as in Keras: that one word counts as
    outside.
    """
    limit = num_words or max(max(x) for x in xs if x)
    if oov_char is None:
        return [[w for w in x if skip_top <= w < limit] for x in xs]
    return [[w if skip_top <= w < limit else oov_char for w in x] for x in xs]


def ragged(xs: list[list[int]]) -> np.ndarray:
    """Return sequences of different lengths as an array of lists."""
    array = np.empty(len(xs), dtype=object)
    array[:] = xs
    return array


def word_index(path: str, key: str) -> dict[str, int]:
    """Read a file of word numbers."""
    with open(fetch(path, key), encoding="utf-8") as f:
        return json.load(f)
