"""Newswires as sequences of words, labelled by their topic: 11,228 of 46 topics."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..utils.safe_pickle import load_npz
from . import reviews
from .origins import fetch

Split = tuple[np.ndarray, np.ndarray]


def load_data(
    path: str = "reuters.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    test_split: float = 0.2,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
    **kwargs: Any,
) -> tuple[Split, Split]:
    """Return `(x_train, y_train), (x_test, y_test)`.

    Words are numbered by their frequency.

    Args:
        path: the file's name in the cache, or the absolute path of an own copy.
        num_words: only numbers below this are kept.
        skip_top: only numbers from this on are kept.
        maxlen: only newswires shorter than this are kept.
        test_split: the fraction that is set aside for testing.
        seed: seeds the order of the newswires.
        start_char: the number put before each newswire; None puts none.
        oov_char: what stands for the words that are not kept; None leaves them out.
        index_from: added to the words' numbers in the file.
        **kwargs: `nb_words`, the Keras 1 name of `num_words`.

    Returns:
        Newswires as arrays of lists, topics as integer arrays.

    Raises:
        ValueError: when no newswire is shorter than `maxlen`.
    """
    num_words = reviews.renamed_num_words(num_words, kwargs)
    f = load_npz(fetch(path, "reuters.npz"))
    xs, labels = reviews.shuffled(f["x"], f["y"], seed)
    xs = reviews.marked(xs, start_char, index_from)
    xs, labels = reviews.without_long(xs, labels, maxlen)
    xs = reviews.limited(xs, num_words, skip_top, oov_char)
    border = int(len(xs) * (1 - test_split))
    train = reviews.ragged(xs[:border]), labels[:border]
    return train, (reviews.ragged(xs[border:]), labels[border:])


def get_word_index(path: str = "reuters_word_index.json") -> dict[str, int]:
    """Return the number of each word, without the `index_from` that `load_data` adds.

    Args:
        path: the file's name in the cache, or the absolute path of an own copy.
    """
    return reviews.word_index(path, "reuters_word_index.json")
