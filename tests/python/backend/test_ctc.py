import itertools

import numpy as np
import pytest
from python.backend.checking import check_gradient, compute

from hornbeam import backend as K

RNG = np.random.RandomState(6)


def collapse(path, blank):
    merged = [c for c, _ in itertools.groupby(path)]
    return tuple(c for c in merged if c != blank)


def by_enumeration(labels, p, blank):
    """The sum over every path that collapses to the labels."""
    total = sum(
        np.prod([p[t, c] for t, c in enumerate(path)])
        for path in itertools.product(range(p.shape[1]), repeat=len(p))
        if collapse(path, blank) == tuple(labels)
    )
    return -np.log(total)


def probabilities(*shape):
    x = np.exp(RNG.normal(size=shape))
    return (x / x.sum(-1, keepdims=True)).astype("float32")


LABELS = np.array([[0, 1], [1, 1], [2, 0], [0, 2], [1, 2]])
LENGTHS = np.array([[2], [2], [1], [2], [0]])
STEPS = np.array([[5], [5], [4], [2], [3]])


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_ctc_batch_cost(dtype):
    p = probabilities(5, 5, 4)
    expected = [
        by_enumeration(LABELS[i, : LENGTHS[i, 0]], p[i, : STEPS[i, 0]].astype("d"), 3)
        for i in range(5)
    ]
    found = compute(K.ctc_batch_cost, LABELS.astype(dtype), p, STEPS, LENGTHS)
    assert found.shape == (5, 1)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_ctc_gradient():
    logits = RNG.normal(size=(5, 5, 4))
    labels, steps, lengths = (K.constant(a, "int64") for a in (LABELS, STEPS, LENGTHS))
    check_gradient(
        lambda x: K.ctc_batch_cost(labels, K.softmax(x), steps, lengths), logits, atol=1e-6
    )


def test_ctc_needs_known_classes():
    with pytest.raises(ValueError, match="known"):
        K.ctc_batch_cost(
            K.placeholder((None, 2)),
            K.placeholder((None, None, None)),
            K.placeholder((None, 1)),
            K.placeholder((None, 1)),
        )


def test_ctc_decode():
    p = probabilities(6, 5, 4)
    steps = np.array([5, 5, 4, 3, 1, 0])
    expected, scores = np.full((6, 5), -1), np.zeros((6, 1))
    for i, n in enumerate(steps):
        best = p[i, :n].argmax(-1)
        labels = [k for k, _ in itertools.groupby(best) if k != 3]
        expected[i, : len(labels)] = labels
        scores[i] = -np.log(p[i, :n].max(-1)).sum()
    (labels,), score = K.ctc_decode(K.constant(p), K.constant(steps, "int64"))
    np.testing.assert_array_equal(K.eval(labels), expected)
    np.testing.assert_allclose(K.eval(score), scores, rtol=1e-5, atol=1e-6)


def labellings(p, blank):
    """Each labelling with the sum over its alignments, the likeliest first."""
    sums = {}
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        labels = collapse(path, blank)
        sums[labels] = sums.get(labels, 0.0) + np.prod([p[t, c] for t, c in enumerate(path)])
    return sorted(sums.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_beam_search_finds_what_enumeration_finds(dtype):
    p = probabilities(4, 5, 4).astype(dtype)
    steps = np.array([5, 4, 2, 1])
    paths, scores = K.ctc_decode(
        K.constant(p, dtype),
        K.constant(steps, "int64"),
        greedy=False,
        beam_width=400,
        top_paths=3,
        merge_repeated=False,
    )
    found, scores = [K.eval(path) for path in paths], K.eval(scores)
    assert scores.shape == (4, 3)
    for i, n in enumerate(steps):
        best = labellings(p[i, :n].astype("d"), 3)[:3]
        for k, (labels, probability) in enumerate(best):
            assert list(found[k][i]) == [*labels] + [-1] * (5 - len(labels))
            assert scores[i, k] == pytest.approx(np.log(probability), abs=2e-6)


def test_beam_search_beats_the_likeliest_alignment():
    # The blank is likeliest at both steps, but label 0 has three alignments.
    p = np.array([[[0.4, 0.0, 0.6], [0.4, 0.0, 0.6]]])
    lengths = K.constant([2], "int64")
    (greedy,), _ = K.ctc_decode(K.constant(p), lengths)
    (searched,), score = K.ctc_decode(K.constant(p), lengths, greedy=False)
    np.testing.assert_array_equal(K.eval(greedy), [[-1, -1]])
    np.testing.assert_array_equal(K.eval(searched), [[0, -1]])
    assert K.eval(score)[0, 0] == pytest.approx(np.log(0.64), abs=1e-6)


def test_repeated_labels_are_merged_as_in_keras_2():
    # Certain to be: label 1, blank, label 1, label 0.
    p = np.eye(3)[[[1, 2, 1, 0]]]
    lengths = np.array([4])
    for merged, expected in [(True, [1, 0, -1, -1]), (False, [1, 1, 0, -1])]:
        (labels,), _ = K.ctc_decode(
            K.constant(p), K.constant(lengths, "int64"), False, 10, merge_repeated=merged
        )
        np.testing.assert_array_equal(K.eval(labels), [expected])


def test_beam_search_in_a_function_of_unknown_sizes():
    y, n = K.placeholder((None, None, 4)), K.placeholder((None, 1), dtype="int32")
    paths, scores = K.ctc_decode(y, n, greedy=False, beam_width=5, top_paths=2)
    run = K.function([y, n], [*paths, scores])
    for samples, time in [(3, 6), (1, 2)]:
        p = probabilities(samples, time, 4)
        first, second, logs = run([p, np.full((samples, 1), time)])
        assert first.shape == second.shape == (samples, time)
        assert (np.diff(logs, axis=1) <= 0).all()


def test_what_decoding_refuses():
    y, n = K.placeholder((2, 3, 4)), K.placeholder((2,), dtype="int64")
    with pytest.raises(ValueError, match="must be known"):
        K.ctc_decode(K.placeholder((2, 3, None)), n)
    for top_paths in (0, 6):
        with pytest.raises(ValueError, match="top_paths"):
            K.ctc_decode(y, n, greedy=False, beam_width=5, top_paths=top_paths)
    (labels,), _ = K.ctc_decode(y, n, greedy=False)
    with pytest.raises((ValueError, IndexError), match="number of steps"):
        K.function([y, n], [labels])([probabilities(2, 3, 4), np.array([3, 4])])
