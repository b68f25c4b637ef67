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


def test_ctc_decode_has_no_beam_search():
    with pytest.raises(ValueError, match="no beam search"):
        K.ctc_decode(K.placeholder((2, 3, 4)), K.placeholder((2,)), greedy=False)
    with pytest.raises(ValueError, match="must be known"):
        K.ctc_decode(K.placeholder((2, 3, None)), K.placeholder((2,)))
