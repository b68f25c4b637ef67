"""Attention layers against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from python.layers.checking import function_of, layer_test, set_random_weights

import hornbeam as keras
from hornbeam import backend as K  # noqa: N812
from hornbeam import layers

R = np.random.RandomState(4)
QUERY, VALUE, KEY = (3, 4), (5, 2), (5, 4)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def dot_scores(q, k, scale=1.0):
    return scale * np.einsum("nmf,nsf->nms", q, k)


def sum_scores(q, k, scale=1.0):
    return (scale * np.tanh(q[:, :, None] + k[:, None])).sum(-1)


def test_attention():
    layer_test(
        layers.Attention,
        {},
        [QUERY, KEY],
        lambda q, v: softmax(dot_scores(q, v)) @ v,
    )
    layer_test(
        layers.Attention,
        {"use_scale": True},
        [QUERY, VALUE, KEY],
        lambda q, v, k, scale: softmax(dot_scores(q, k, scale)) @ v,
    )
    layer_test(
        layers.Attention,
        {"score_mode": "concat"},
        [QUERY, VALUE, KEY],
        lambda q, v, k, weight: softmax(weight * sum_scores(q, k)) @ v,
    )
    with pytest.raises(ValueError, match="score_mode"):
        layers.Attention(score_mode="cosine")
    with pytest.raises(ValueError, match="list of query, value"):
        layers.Attention()(layers.Input(shape=QUERY))


def test_additive_attention():
    layer_test(
        layers.AdditiveAttention,
        {},
        [QUERY, VALUE, KEY],
        lambda q, v, k, scale: softmax(sum_scores(q, k, scale)) @ v,
    )
    layer_test(
        layers.AdditiveAttention,
        {"use_scale": False},
        [QUERY, KEY],
        lambda q, v: softmax(sum_scores(q, v)) @ v,
    )


def test_attention_masks():
    q, v = R.randn(2, 3, 4), R.randn(2, 5, 4)
    q[0, 1], v[0, 3:], v[1, 0] = 0, 0, 0
    a, b = layers.Input(shape=(3, 4)), layers.Input(shape=(5, 4))
    masking = layers.Masking()
    layer = layers.Attention()
    y, weights = layer([masking(a), masking(b)], return_attention_scores=True, use_causal_mask=True)
    keep = np.ones((2, 5), bool)
    keep[0, 3:], keep[1, 0] = False, False
    causal = np.tri(3, 5, dtype=bool)
    allowed = keep[:, None] & causal
    scores = np.where(allowed, dot_scores(q, v), -1e9)
    # A row without any place left attends to all of them by their own scores.
    lost = ~allowed.any(-1, keepdims=True)
    expected = softmax(scores)
    outputs = [y, weights, layer.output_mask[0]]
    found, found_weights, mask = K.function([a, b], outputs)([q, v])
    assert layer.output_mask[1] is None
    rows = np.broadcast_to(~lost, expected.shape)
    np.testing.assert_allclose(found_weights[rows], expected[rows], rtol=1e-4, atol=1e-6)
    ok = ~lost[..., 0]
    ok[0, 1] = False
    np.testing.assert_allclose(found[ok], (expected @ v)[ok], rtol=1e-4, atol=1e-5)
    assert (found[0, 1] == 0).all()
    assert (mask == [[1, 0, 1], [1, 1, 1]]).all()


def heads(q, v, k, wq, bq, wk, bk, wv, bv, wo, bo, keep=None):
    """Return output and weights of several heads."""
    q = np.einsum("nmf,fhs->nhms", q, wq) + bq[:, None]
    k = np.einsum("nmf,fhs->nhms", k, wk) + bk[:, None]
    v = np.einsum("nmf,fhs->nhms", v, wv) + bv[:, None]
    scores = np.einsum("nhms,nhts->nhmt", q, k) / np.sqrt(q.shape[-1])
    if keep is not None:
        scores = np.where(keep[:, None], scores, -1e9)
    weights = softmax(scores)
    return np.einsum("nhms,hso->nmo", weights @ v, wo) + bo, weights


def test_multi_head_attention():
    layer = layer_test(
        layers.MultiHeadAttention,
        {"num_heads": 2, "key_dim": 3},
        [QUERY, VALUE, KEY],
        lambda q, v, k, *w: heads(q, v, k, *w)[0],
    )
    assert [K.int_shape(w) for w in layer.weights] == [
        (4, 2, 3),
        (2, 3),
        (4, 2, 3),
        (2, 3),
        (2, 2, 3),
        (2, 3),
        (2, 3, 4),
        (4,),
    ]
    layer_test(
        layers.MultiHeadAttention,
        {"num_heads": 3, "key_dim": 2, "value_dim": 4, "output_shape": 5},
        [QUERY, KEY],
        lambda q, v, *w: heads(q, v, v, *w)[0],
    )


def test_multi_head_attention_without_bias():
    def expected(q, v, wq, wk, wv, wo):
        zeros = np.zeros((2, 3))
        return heads(q, v, v, wq, zeros, wk, zeros, wv, zeros, wo, np.zeros(4))[0]

    layer_test(
        layers.MultiHeadAttention,
        {"num_heads": 2, "key_dim": 3, "use_bias": False, "kernel_regularizer": "l2"},
        [QUERY, KEY],
        expected,
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("steps", [4, None])
def test_multi_head_attention_masks(steps, causal):
    x = R.randn(3, 4, 5)
    x[0, 2:] = 0
    allowed = R.uniform(size=(3, 4, 4)) < 0.7
    allowed |= np.eye(4, dtype=bool)
    a, m = layers.Input(shape=(steps, 5)), layers.Input(shape=(steps, steps), dtype="bool")
    layer = layers.MultiHeadAttention(2, 3)
    h = layers.Masking()(a)
    y, scores = layer(h, h, attention_mask=m, use_causal_mask=causal, return_attention_scores=True)
    weights = set_random_weights(layer)
    keep = (x != 0).any(-1)
    keep = keep[:, :, None] & keep[:, None] & allowed & (np.tri(4, dtype=bool) | (not causal))
    expected, expected_scores = heads(x, x, x, *weights, keep=keep)
    found, found_scores = K.function([a, m], [y, scores])([x, allowed])
    rows = keep.any(-1)
    np.testing.assert_allclose(found[rows], expected[rows], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        found_scores.swapaxes(1, 2)[rows], expected_scores.swapaxes(1, 2)[rows], atol=1e-5
    )


def test_dropout_of_the_weights():
    a = layers.Input(shape=(6, 4))
    for layer in (layers.MultiHeadAttention(2, 3, dropout=0.5), layers.Attention(dropout=0.5)):
        run = function_of([a], [layer([a, a])])
        x = R.randn(2, 6, 4)
        assert (run([x], False)[0] == run([x], False)[0]).all()
        assert (run([x], True)[0] != run([x], False)[0]).any()


def test_in_a_model_of_the_functional_api():
    a, b = layers.Input(shape=(3, 4)), layers.Input(shape=(5, 4))
    y = layers.MultiHeadAttention(2, 3)(a, b)
    model = keras.models.Model([a, b], layers.LayerNormalization()(layers.add([a, y])))
    copy = keras.models.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    xs = [R.randn(2, 3, 4), R.randn(2, 5, 4)]
    assert (copy.predict(xs) == model.predict(xs)).all()
    with pytest.raises(ValueError, match="expected a query, a value"):
        layers.MultiHeadAttention(2, 3)(a)
    with pytest.raises(ValueError, match=r"\(samples, places, features\)"):
        layers.MultiHeadAttention(2, 3)(layers.Input(shape=(4,)), b)


@pytest.mark.parametrize(
    ("axis", "shape"),
    [(-1, (5,)), (-1, (3, 4)), ([1, 2], (3, 4)), (1, (3, 4)), ([-2, -1], (2, 3, 4))],
)
def test_layer_normalization(axis, shape):
    def expected(x, gamma, beta):
        axes = sorted(a % x.ndim for a in np.atleast_1d(axis))
        along = [x.shape[i] if i in axes else 1 for i in range(x.ndim)]
        axes = tuple(axes)
        normed = x - x.mean(axes, keepdims=True)
        normed /= np.sqrt(x.var(axes, keepdims=True) + 0.01)
        return normed * gamma.reshape(along) + beta.reshape(along)

    layer_test(
        layers.LayerNormalization, {"axis": axis, "epsilon": 0.01}, shape, expected, tolerance=1e-4
    )


def test_layer_normalization_options():
    layer = layer_test(
        layers.LayerNormalization,
        {"scale": False, "center": False},
        (6,),
        lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3),
        tolerance=1e-4,
    )
    assert layer.weights == []
    with pytest.raises(ValueError, match="other than that of the samples"):
        layers.LayerNormalization(axis=0)(layers.Input(shape=(6,)))


@pytest.mark.parametrize(
    ("groups", "axis", "shape"),
    [(2, -1, (6,)), (3, -1, (4, 6)), (2, 1, (4, 3, 5)), (-1, -1, (4, 6)), (1, -1, (3, 2, 4))],
)
def test_group_normalization(groups, axis, shape):
    def expected(x, gamma, beta):
        x = np.moveaxis(x, axis, -1)
        count = x.shape[-1] if groups == -1 else groups
        split = x.reshape(len(x), -1, count, x.shape[-1] // count)
        normed = split - split.mean((1, 3), keepdims=True)
        normed /= np.sqrt(split.var((1, 3), keepdims=True) + 0.01)
        return np.moveaxis(normed.reshape(x.shape) * gamma + beta, -1, axis)

    layer_test(
        layers.GroupNormalization,
        {"groups": groups, "axis": axis, "epsilon": 0.01},
        shape,
        expected,
        tolerance=1e-4,
    )


def test_group_normalization_errors():
    with pytest.raises(ValueError, match="6 channels cannot be divided into 4 groups"):
        layers.GroupNormalization(4)(layers.Input(shape=(6,)))
    with pytest.raises(ValueError, match="`groups` must be a positive integer"):
        layers.GroupNormalization(0)
