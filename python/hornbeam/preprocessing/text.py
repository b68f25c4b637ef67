"""Texts: cutting them into words, and numbering the words."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..utils.user_warnings import warn

DEFAULT_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
_MODES = ("binary", "count", "tfidf", "freq")


def text_to_word_sequence(
    text: str, filters: str = DEFAULT_FILTERS, lower: bool = True, split: str = " "
) -> list[str]:
    """Cut a text into words.

    Args:
        text: the text.
        filters: the characters that are replaced by `split`.
        lower: whether to turn the text to lower case.
        split: what stands between two words.

    Example:
        >>> text_to_word_sequence("Hornbeam, or ironwood.")
        ['hornbeam', 'or', 'ironwood']
    """
    if lower:
        text = text.lower()
    text = text.translate({ord(character): split for character in filters})
    return [word for word in text.split(split) if word]


def one_hot(
    text: str, n: int, filters: str = DEFAULT_FILTERS, lower: bool = True, split: str = " "
) -> list[int]:
    """Number a text's words by Python's `hash`, which differs from one process to the next.

    Args:
        text: the text.
        n: one more than the greatest number; two words may get the same one.
        filters: as for `text_to_word_sequence`.
        lower: as for `text_to_word_sequence`.
        split: as for `text_to_word_sequence`.
    """
    return hashing_trick(text, n, hash, filters, lower, split)


def hashing_trick(
    text: str,
    n: int,
    hash_function: Callable[[str], int] | str | None = None,
    filters: str = DEFAULT_FILTERS,
    lower: bool = True,
    split: str = " ",
) -> list[int]:
    """Number a text's words by a hash, from 1 to `n` - 1.

    Args:
        text: the text.
        n: one more than the greatest number; two words may get the same one.
        hash_function: a function from a word to an integer, or 'md5' for one that is the same in
            every process; `hash` by default.
        filters: as for `text_to_word_sequence`.
        lower: as for `text_to_word_sequence`.
        split: as for `text_to_word_sequence`.
    """
    if hash_function is None:
        hash_function = hash
    elif hash_function == "md5":
        hash_function = _md5
    if not callable(hash_function):
        raise ValueError(
            f"hashing_trick: expected a function, 'md5' or None as hash_function, "
            f"got {hash_function!r}"
        )
    words = text_to_word_sequence(text, filters, lower, split)
    return [abs(hash_function(word)) % (n - 1) + 1 for word in words]


def _md5(word: str) -> int:
    return int(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16)


class Tokenizer:
    """Number the words of texts by their frequency, the most frequent one first.

    Number 0 is given to no word.

    Attributes:
        word_counts: word -> how often it occurred, in the order of first occurrence.
        word_docs: word -> in how many texts it occurred.
        word_index: word -> number.
        index_word: number -> word.
        index_docs: number -> in how many texts its word occurred.
        document_count: the number of texts seen.
    """

    def __init__(
        self,
        num_words: int | None = None,
        filters: str = DEFAULT_FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Say how texts are cut and which words are kept.

        Args:
            num_words: only numbers below this are given out: `num_words` - 1 words are kept.
            filters: the characters that are replaced by `split`.
            lower: whether to turn texts to lower case.
            split: what stands between two words.
            char_level: whether each character is a word.
            oov_token: a word that stands for all those that are not kept; it gets number 1.
                Without it they are left out.
            **kwargs: `nb_words`, the Keras 1 name of `num_words`.

        Raises:
            TypeError: for an unknown keyword.
        """
        if "nb_words" in kwargs:
            warn("The `nb_words` argument in `Tokenizer` has been renamed `num_words`.")
            num_words = kwargs.pop("nb_words")
        document_count = kwargs.pop("document_count", 0)
        if kwargs:
            raise TypeError(f"Tokenizer: unrecognized keyword arguments {sorted(kwargs)}")
        self.num_words = num_words
        self.filters = filters
        self.lower = lower
        self.split = split
        self.char_level = char_level
        self.oov_token = oov_token
        self.document_count = document_count
        self.word_counts: OrderedDict[str, int] = OrderedDict()
        self.word_docs: dict[str, int] = {}
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}
        self.index_docs: dict[int, int] = {}

    def _words(self, text: str | Sequence[str]) -> Sequence[str]:
        if not isinstance(text, str):  # cut already
            return [word.lower() for word in text] if self.lower else text
        if self.char_level:
            return text.lower() if self.lower else text
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def fit_on_texts(self, texts: Iterable[str | Sequence[str]]) -> None:
        """Count the words of texts (further calls go on counting) and number them anew.

        Args:
            texts: texts, or lists of words; a generator will do.
        """
        for text in texts:
            self.document_count += 1
            words = self._words(text)
            for word in words:
                self.word_counts[word] = self.word_counts.get(word, 0) + 1
            for word in set(words):
                self.word_docs[word] = self.word_docs.get(word, 0) + 1
        # Sorting is stable: words of the same frequency stay in the order of first occurrence.
        ranked = sorted(self.word_counts, key=lambda word: -self.word_counts[word])
        if self.oov_token is not None:
            ranked = [self.oov_token, *(word for word in ranked if word != self.oov_token)]
        self.word_index = {word: number for number, word in enumerate(ranked, 1)}
        self.index_word = {number: word for word, number in self.word_index.items()}
        self.index_docs = {self.word_index[word]: n for word, n in self.word_docs.items()}

    def fit_on_sequences(self, sequences: Sequence[Sequence[int]]) -> None:
        """Count in how many of the given sequences each number occurs, afresh.

        Args:
            sequences: lists of words' numbers.
        """
        self.document_count = len(sequences)
        self.index_docs = {}
        for sequence in sequences:
            for number in set(sequence):
                self.index_docs[number] = self.index_docs.get(number, 0) + 1

    def texts_to_sequences(self, texts: Iterable[str | Sequence[str]]) -> list[list[int]]:
        """Replace the words of texts by their numbers.

        Args:
            texts: texts, or lists of words.

        Returns:
            A list of numbers for each text.
        """
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(
        self, texts: Iterable[str | Sequence[str]]
    ) -> Iterator[list[int]]:
        """Yield what `texts_to_sequences` returns, one text at a time."""
        limit = self.num_words or len(self.word_index) + 1
        unknown = None if self.oov_token is None else self.word_index.get(self.oov_token)
        for text in texts:
            numbers = (self.word_index.get(word) for word in self._words(text))
            kept = (n if n is not None and n < limit else unknown for n in numbers)
            yield [n for n in kept if n is not None]

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """Turn numbers back into words, joined by spaces; numbers of no word are left out."""
        limit = self.num_words or len(self.word_index) + 1
        texts = []
        for sequence in sequences:
            words = [
                self.index_word.get(number) if number < limit else self.oov_token
                for number in sequence
            ]
            words = [self.oov_token if word is None else word for word in words]
            texts.append(" ".join(word for word in words if word is not None))
        return texts

    def texts_to_matrix(
        self, texts: Iterable[str | Sequence[str]], mode: str = "binary"
    ) -> np.ndarray:
        """Turn texts into one row each; see `sequences_to_matrix`."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(
        self, sequences: Sequence[Sequence[int]], mode: str = "binary"
    ) -> np.ndarray:
        """Turn sequences into one row each, with one column for each number.

        Args:
            sequences: lists of words' numbers; those of `num_words` and above are left out.
            mode: 'binary' marks the words that occur, 'count' counts them, 'freq' divides the
                counts by the sequence's length, and 'tfidf' weighs (1 + ln count) with
                ln(1 + documents / (1 + documents with the word)).

        Returns:
            A float64 array of shape (number of sequences, num_words).

        Raises:
            ValueError: for another mode, or when the number of words is not known.
        """
        if mode not in _MODES:
            raise ValueError(f"Unknown vectorization mode: {mode!r}. Expected one of {_MODES}.")
        if not self.num_words and not self.word_index:
            raise ValueError(
                "Specify a dimension (num_words argument), or fit on some text data first."
            )
        if mode == "tfidf" and not self.document_count:
            raise ValueError("Fit the Tokenizer on some data before using tfidf mode.")
        num_words = self.num_words or len(self.word_index) + 1
        matrix = np.zeros((len(sequences), num_words))
        for row, sequence in zip(matrix, sequences, strict=True):
            if len(sequence) == 0:
                continue
            numbers, counts = np.unique(np.asarray(sequence, dtype="int64"), return_counts=True)
            kept = numbers < num_words
            row[numbers[kept]] = self._weigh(numbers[kept], counts[kept], len(sequence), mode)
        return matrix

    def _weigh(self, numbers: np.ndarray, counts: np.ndarray, length: int, mode: str) -> Any:
        if mode == "count":
            return counts
        if mode == "freq":
            return counts / length
        if mode == "binary":
            return 1.0
        documents = np.array([self.index_docs.get(int(n), 0) for n in numbers])
        return (1 + np.log(counts)) * np.log(1 + self.document_count / (1 + documents))

    def get_config(self) -> dict[str, Any]:
        """Return the settings and what was counted, the dictionaries as JSON text."""
        return {
            "num_words": self.num_words,
            "filters": self.filters,
            "lower": self.lower,
            "split": self.split,
            "char_level": self.char_level,
            "oov_token": self.oov_token,
            "document_count": self.document_count,
            "word_counts": json.dumps(self.word_counts),
            "word_docs": json.dumps(self.word_docs),
            "index_docs": json.dumps(self.index_docs),
            "index_word": json.dumps(self.index_word),
            "word_index": json.dumps(self.word_index),
        }

    def to_json(self, **kwargs: Any) -> str:
        """Return the tokenizer as JSON text, which `tokenizer_from_json` reads.

        Args:
            **kwargs: passed on to `json.dumps`.
        """
        return json.dumps({"class_name": "Tokenizer", "config": self.get_config()}, **kwargs)


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """Build the tokenizer that `Tokenizer.to_json` described.

    Args:
        json_string: the JSON text.
    """
    config = dict(json.loads(json_string)["config"])
    names = ("word_counts", "word_docs", "word_index", "index_word", "index_docs")
    counted = {name: json.loads(config.pop(name)) for name in names}
    tokenizer = Tokenizer(**config)
    tokenizer.word_counts = OrderedDict(counted["word_counts"])
    tokenizer.word_docs = counted["word_docs"]
    tokenizer.word_index = counted["word_index"]
    # JSON turns the keys of a dictionary into text.
    tokenizer.index_word = {int(k): v for k, v in counted["index_word"].items()}
    tokenizer.index_docs = {int(k): v for k, v in counted["index_docs"].items()}
    return tokenizer
