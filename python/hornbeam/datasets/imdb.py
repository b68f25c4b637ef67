"""Film reviews as sequences of words, labelled by whether they are good: 25,000 and 25,000."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..utils.safe_pickle import load_npz
from . import reviews
from .origins import fetch

Split = tuple[np.ndarray, np.ndarray]


def load_data(
    path: str = "imdb.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
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
        maxlen: only reviews shorter than this are kept.
        seed: seeds the order of the reviews.
        start_char: the number put before each review; None puts none.
        oov_char: what stands for the words that are not kept; None leaves them out.
        index_from: added to the words' numbers in the file.
        **kwargs: `nb_words`, the Keras 1 name of `num_words`.

    Returns:
        Reviews as arrays of lists, labels (0 or 1) as integer arrays.

    Raises:
        ValueError: when no review is shorter than `maxlen`.
    """
    num_words = reviews.renamed_num_words(num_words, kwargs)
    f = load_npz(fetch(path, "imdb.npz"))
    splits = []
    for part, part_seed in (("train", seed), ("test", seed * 2)):
        xs, labels = reviews.shuffled(f[f"x_{part}"], f[f"y_{part}"], part_seed)
        xs = reviews.marked(xs, start_char, index_from)
        splits.append(reviews.without_long(xs, labels, maxlen))
    (x_train, y_train), (x_test, y_test) = splits
    xs = reviews.limited(x_train + x_test, num_words, skip_top, oov_char)
    border = len(x_train)
    return (reviews.ragged(xs[:border]), y_train), (reviews.ragged(xs[border:]), y_test)


def get_word_index(path: str = "imdb_word_index.json") -> dict[str, int]:
    """Return the number of each word, without the `index_from` that `load_data` adds.

    Args:
        path: the file's name in the cache, or the absolute path of an own copy.
    """
    return reviews.word_index(path, "imdb_word_index.json")
