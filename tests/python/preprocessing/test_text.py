"""Words and their numbers."""

import numpy as np
import pytest

from hornbeam.preprocessing import text as t

TEXTS = ["The cat sat on the mat.", "The dog sat on the log!", "Dogs and cats, living together..."]


@pytest.mark.parametrize(
    ("text", "keywords", "expected"),
    [
        ("A, b;  C\td", {}, ["a", "b", "c", "d"]),
        ("A, b", {"lower": False}, ["A", "b"]),
        ("it's", {}, ["it's"]),
        ("a.b", {"filters": ""}, ["a.b"]),
        ("a-b c", {"split": "-", "filters": ""}, ["a", "b c"]),
        ("hi?there!you", {"split": "stop", "filters": "?!"}, ["hi", "there", "you"]),
        ("Ä ω 中文", {}, ["ä", "ω", "中文"]),
        ("", {}, []),
    ],
)
def test_text_to_word_sequence(text, keywords, expected):
    assert t.text_to_word_sequence(text, **keywords) == expected


def test_hashing():
    numbers = t.one_hot(TEXTS[0], 5)
    assert len(numbers) == 6 and numbers[0] == numbers[4]
    assert all(1 <= n <= 4 for n in numbers)
    assert t.hashing_trick(TEXTS[0], 5) == numbers
    # The MD5 of "a" is 0cc175b9c0f1b6a831c399e269772661.
    assert t.hashing_trick("a", 1000, "md5") == [0x0CC175B9C0F1B6A831C399E269772661 % 999 + 1]
    assert t.hashing_trick("ab c", 9, len) == [3, 2]
    with pytest.raises(ValueError, match="'sha'"):
        t.hashing_trick("a", 5, "sha")


def fitted(**keywords):
    tokenizer = t.Tokenizer(**keywords)
    tokenizer.fit_on_texts(TEXTS)
    return tokenizer


def test_numbers_go_by_frequency_then_first_occurrence():
    tokenizer = fitted()
    assert list(tokenizer.word_index)[:6] == ["the", "sat", "on", "cat", "mat", "dog"]
    assert list(tokenizer.word_index.values()) == list(range(1, 13))
    assert tokenizer.word_counts["the"] == 4 and tokenizer.word_docs["the"] == 2
    assert tokenizer.index_docs[1] == 2 and tokenizer.document_count == 3
    assert tokenizer.index_word[1] == "the"


def test_sequences():
    tokenizer = fitted(num_words=4)
    assert tokenizer.texts_to_sequences(["The cat sat", "unknown", ""]) == [[1, 2], [], []]
    assert list(tokenizer.texts_to_sequences_generator(["on on"])) == [[3, 3]]
    assert fitted().texts_to_sequences([["THE", "cat"]]) == [[1, 4]]


def test_a_word_for_the_unknown_ones():
    tokenizer = fitted(num_words=4, oov_token="<unk>")
    assert tokenizer.word_index["<unk>"] == 1 and tokenizer.word_index["the"] == 2
    assert tokenizer.texts_to_sequences(["the cat sat", "what"]) == [[2, 1, 3], [1]]
    assert tokenizer.sequences_to_texts([[2, 1, 3], [9]]) == ["the <unk> sat", "<unk>"]


def test_back_to_texts():
    tokenizer = fitted()
    sequences = tokenizer.texts_to_sequences(TEXTS)
    assert tokenizer.sequences_to_texts(sequences)[0] == "the cat sat on the mat"
    assert tokenizer.sequences_to_texts([[1, 99, 0]]) == ["the"]


@pytest.mark.parametrize(("lower", "counts"), [(True, {"a": 2, "b": 1}), (False, {"A": 1, "a": 1})])
def test_characters(lower, counts):
    tokenizer = t.Tokenizer(char_level=True, lower=lower)
    tokenizer.fit_on_texts(["Aab"])
    assert counts.items() <= tokenizer.word_counts.items()
    assert len(tokenizer.texts_to_sequences(["aab"])[0]) == 3


def test_fitting_goes_on():
    tokenizer = t.Tokenizer()
    for text in TEXTS:
        tokenizer.fit_on_texts(iter([text]))
    once = fitted()
    assert tokenizer.word_index == once.word_index and tokenizer.index_docs == once.index_docs
    assert tokenizer.document_count == once.document_count


@pytest.mark.parametrize("mode", ["binary", "count", "freq", "tfidf"])
def test_matrices(mode):
    tokenizer = fitted()
    matrix = tokenizer.texts_to_matrix(TEXTS, mode)
    assert matrix.shape == (3, 13) and matrix.dtype == np.float64
    for row, text in zip(matrix, TEXTS, strict=True):
        words = t.text_to_word_sequence(text)
        expected = np.zeros(13)
        for word in set(words):
            count, documents = words.count(word), tokenizer.word_docs[word]
            expected[tokenizer.word_index[word]] = {
                "binary": 1,
                "count": count,
                "freq": count / len(words),
                "tfidf": (1 + np.log(count)) * np.log(1 + 3 / (1 + documents)),
            }[mode]
        np.testing.assert_allclose(row, expected)


def test_matrices_of_sequences():
    tokenizer = t.Tokenizer(num_words=4)
    np.testing.assert_array_equal(
        tokenizer.sequences_to_matrix([[1, 1, 9], []], "count"), [[0, 2, 0, 0], [0, 0, 0, 0]]
    )
    with pytest.raises(ValueError, match="tfidf"):
        tokenizer.sequences_to_matrix([[1]], "tfidf")
    tokenizer.fit_on_sequences([[1, 2], [1]])
    assert tokenizer.index_docs == {1: 2, 2: 1} and tokenizer.document_count == 2
    found = tokenizer.sequences_to_matrix([[2, 2]], "tfidf")[0, 2]
    assert found == pytest.approx((1 + np.log(2)) * np.log(1 + 2 / 2))
    with pytest.raises(ValueError, match="'tf'"):
        tokenizer.sequences_to_matrix([[1]], "tf")
    with pytest.raises(ValueError, match="num_words"):
        t.Tokenizer().sequences_to_matrix([[1]])


def test_arguments():
    with pytest.warns(UserWarning, match="num_words"):
        assert t.Tokenizer(nb_words=5).num_words == 5
    with pytest.raises(TypeError, match="words"):
        t.Tokenizer(words=5)


def test_json():
    tokenizer = fitted(num_words=5, oov_token="?")
    made = t.tokenizer_from_json(tokenizer.to_json(indent=1))
    assert made.get_config() == tokenizer.get_config()
    assert made.texts_to_sequences(TEXTS) == tokenizer.texts_to_sequences(TEXTS)
    np.testing.assert_array_equal(
        made.texts_to_matrix(TEXTS, "tfidf"), tokenizer.texts_to_matrix(TEXTS, "tfidf")
    )
