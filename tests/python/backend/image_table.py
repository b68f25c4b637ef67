"""Rows of the table for sequences and images, for normalization and for losses."""

from __future__ import annotations

from typing import Any

import numpy as np
from python.backend.references import correlate, pooled, transposed
from python.backend.table import NUMBERS, ROWS, Call, Generator, Row, row, sizes, softmax

from hornbeam import backend as K

FORMATS = ("channels_last", "channels_first")


def image(r: Generator, rank: int, low: int = 4, high: int = 6) -> np.ndarray:
    """A batch with the channels last."""
    return r.normal(size=(*sizes(r, 1, 1, 2), *sizes(r, rank, low, high), *sizes(r, 1, 1, 3)))


def given(x: np.ndarray, data_format: str) -> np.ndarray:
    """An array with its channels where the format has them."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if data_format == FORMATS[1] else x


def last(x: np.ndarray, data_format: str) -> np.ndarray:
    return np.moveaxis(x, 1, -1) if data_format == FORMATS[1] else x


def format_of(r: Generator) -> str:
    return FORMATS[r.integers(2)]


@row
def temporal_padding(r: Generator) -> Call:
    cells = tuple(sizes(r, 2, 0, 3))
    return Call(
        lambda t: K.temporal_padding(t, cells),
        lambda a: np.pad(a, ((0, 0), cells, (0, 0))),
        [image(r, 1)],
        NUMBERS,
    )


def _padding(name: str, rank: int) -> Row:
    def make(r: Generator) -> Call:
        cells = tuple(tuple(sizes(r, 2, 0, 3)) for _ in range(rank))
        kind = format_of(r)
        around: Any = (*cells, (0, 0)) if kind == FORMATS[0] else ((0, 0), *cells)
        return Call(
            lambda t: getattr(K, name)(t, cells, kind),
            lambda a: np.pad(a, ((0, 0), *around)),
            [image(r, rank, 1, 3)],
            NUMBERS,
        )

    return make


def _resize(name: str, rank: int) -> Row:
    def make(r: Generator) -> Call:
        factors, kind = sizes(r, rank, 1, 3), format_of(r)
        start = 1 if kind == FORMATS[0] else 2

        def formula(a):
            for i, factor in enumerate(factors):
                a = np.repeat(a, factor, start + i)
            return a

        return Call(
            lambda t: getattr(K, name)(t, *factors, kind), formula, [image(r, rank, 1, 3)], NUMBERS
        )

    return make


ROWS["spatial_2d_padding"] = _padding("spatial_2d_padding", 2)
ROWS["spatial_3d_padding"] = _padding("spatial_3d_padding", 3)
ROWS["resize_images"] = _resize("resize_images", 2)
ROWS["resize_volumes"] = _resize("resize_volumes", 3)


def _options(r: Generator, rank: int, dilated: bool = True) -> dict[str, Any]:
    """A padding and either strides or dilation."""
    kinds = ["valid", "same", "causal"] if rank == 1 else ["valid", "same"]
    one = [1] * rank
    stretched = dilated and bool(r.integers(2))
    return {
        "padding": str(r.choice(kinds)),
        "strides": one if stretched else sizes(r, rank, 1, 2),
        "dilation": sizes(r, rank, 1, 2) if stretched else one,
    }


def _convolution(name: str, rank: int) -> Row:
    def make(r: Generator) -> Call:
        x, kind, options = image(r, rank), format_of(r), _options(r, rank)
        kernel = r.normal(size=(*sizes(r, rank, 1, 2), x.shape[-1], *sizes(r, 1, 1, 3)))
        strides, dilation = options["strides"], options["dilation"]
        if rank == 1:
            strides, dilation = strides[0], dilation[0]
        else:
            strides, dilation = tuple(strides), tuple(dilation)

        def function(t, k):
            return getattr(K, name)(t, k, strides, options["padding"], kind, dilation)

        return Call(
            function,
            lambda a, k: given(correlate(last(a, kind), k, **options), kind),
            [given(x, kind), kernel],
            known=(1,),
        )

    return make


for _name, _rank in (("conv1d", 1), ("conv2d", 2), ("conv3d", 3)):
    ROWS[_name] = _convolution(_name, _rank)


@row
def conv2d_transpose(r: Generator) -> Call:
    kind, options = format_of(r), _options(r, 2, dilated=False)
    padding, strides = options["padding"], options["strides"]
    window, filters = sizes(r, 2, 1, 3), int(r.integers(1, 4))
    x = image(r, 2, 1, 3)
    spatial = [
        n * s + (max(k - s, 0) if padding == "valid" else 0)
        for n, s, k in zip(x.shape[1:-1], strides, window, strict=True)
    ]
    big = (len(x), *spatial, filters)
    shape = big if kind == FORMATS[0] else (big[0], big[3], *big[1:3])
    kernel = r.normal(size=(*window, filters, x.shape[-1]))
    return Call(
        lambda t, k: K.conv2d_transpose(t, k, shape, tuple(strides), padding, kind),
        lambda a, k: given(transposed(last(a, kind), k, big, strides, padding), kind),
        [given(x, kind), kernel],
        known=(1,),
    )


@row
def separable_conv2d(r: Generator) -> Call:
    kind, options = format_of(r), _options(r, 2)
    x, multiplier = image(r, 2), int(r.integers(1, 3))
    channels = x.shape[-1]
    depth = r.normal(size=(*sizes(r, 2, 1, 2), channels, multiplier))
    point = r.normal(size=(1, 1, channels * multiplier, int(r.integers(1, 4))))

    def formula(a, d, p):
        a = last(a, kind)
        parts = [
            correlate(a[..., c : c + 1], d[:, :, c : c + 1], **options) for c in range(channels)
        ]
        return given(np.concatenate(parts, -1) @ p[0, 0], kind)

    strides, dilation = tuple(options["strides"]), tuple(options["dilation"])
    return Call(
        lambda t, d, p: K.separable_conv2d(t, d, p, strides, options["padding"], kind, dilation),
        formula,
        [given(x, kind), depth, point],
        known=(1, 2),
    )


def _pooling(name: str, rank: int) -> Row:
    def make(r: Generator) -> Call:
        kind, mode = format_of(r), str(r.choice(["max", "avg"]))
        size, strides = tuple(sizes(r, rank, 1, 3)), tuple(sizes(r, rank, 1, 3))
        padding = str(r.choice(["valid", "same"]))
        return Call(
            lambda t: getattr(K, name)(t, size, strides, padding, kind, mode),
            lambda a: given(pooled(last(a, kind), size, strides, padding, mode), kind),
            [given(image(r, rank, 3, 5), kind)],
        )

    return make


ROWS["pool2d"] = _pooling("pool2d", 2)
ROWS["pool3d"] = _pooling("pool3d", 3)


@row
def local_conv1d(r: Generator) -> Call:
    x, kind = image(r, 1), format_of(r)
    window, stride = int(r.integers(1, 4)), int(r.integers(1, 3))
    steps = (x.shape[1] - window) // stride + 1
    kernel = r.normal(size=(steps, window * x.shape[2], int(r.integers(1, 4))))

    def formula(a, k):
        a = last(a, kind)
        starts = range(0, stride * steps, stride)
        cells = [given(a[:, i : i + window], kind).reshape(len(a), -1) for i in starts]
        return given(np.stack([c @ w for c, w in zip(cells, k, strict=True)], 1), kind)

    return Call(
        lambda t, k: K.local_conv1d(t, k, (window,), (stride,), kind),
        formula,
        [given(x, kind), kernel],
        known=(0, 1),
    )


@row
def local_conv2d(r: Generator) -> Call:
    x, kind = image(r, 2), format_of(r)
    window, strides = sizes(r, 2, 1, 3), sizes(r, 2, 1, 2)
    out = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:3], window, strides, strict=True)]
    width = window[0] * window[1] * x.shape[-1]
    kernel = r.normal(size=(out[0] * out[1], width, int(r.integers(1, 4))))

    def formula(a, k):
        a = last(a, kind)
        y = np.zeros((len(a), *out, k.shape[-1]))
        for i, j in np.ndindex(*out):
            top, left = i * strides[0], j * strides[1]
            cells = a[:, top : top + window[0], left : left + window[1]]
            y[:, i, j] = given(cells, kind).reshape(len(a), -1) @ k[i * out[1] + j]
        return given(y, kind)

    return Call(
        lambda t, k: K.local_conv2d(t, k, tuple(window), tuple(strides), tuple(out), kind),
        formula,
        [given(x, kind), kernel],
        known=(0, 1),
    )


@row
def bias_add(r: Generator) -> Call:
    kind = format_of(r)
    x = image(r, int(r.integers(1, 4)), 1, 3)
    bias = r.normal(size=x.shape[-1])
    shape = (-1,) if kind == FORMATS[0] else (-1, *(1,) * (x.ndim - 2))
    return Call(
        lambda t, b: K.bias_add(t, b, kind),
        lambda a, b: a + b.reshape(shape),
        [given(x, kind), bias],
    )


@row
def batch_normalization(r: Generator) -> Call:
    x = image(r, int(r.integers(1, 3)))
    mean, beta, gamma = (r.normal(size=x.shape[-1]) for _ in range(3))
    var = r.uniform(0.2, 2, x.shape[-1])
    return Call(
        lambda t, m, v, b, g: K.batch_normalization(t, m, v, b, g, 0.01),
        lambda a, m, v, b, g: (a - m) / np.sqrt(v + 0.01) * g + b,
        [x, mean, var, beta, gamma],
    )


@row
def normalize_batch_in_training(r: Generator) -> Call:
    x = image(r, int(r.integers(1, 3)))
    gamma, beta = r.normal(size=x.shape[-1]), r.normal(size=x.shape[-1])
    axes = list(range(x.ndim - 1))

    def formula(a, g, b):
        mean, var = a.mean(tuple(axes)), a.var(tuple(axes))
        return (a - mean) / np.sqrt(var + 0.01) * g + b

    return Call(
        lambda t, g, b: K.normalize_batch_in_training(t, g, b, axes, 0.01)[0],
        formula,
        [x, gamma, beta],
    )


# Losses: the output first.


@row
def categorical_crossentropy(r: Generator) -> Call:
    shape = (*sizes(r, int(r.integers(1, 3))), int(r.integers(2, 5)))
    logits = bool(r.integers(2))
    p, y = r.normal(size=shape), softmax(r.normal(size=shape))
    if not logits:
        p = softmax(p)
    return Call(
        lambda a, b: K.categorical_crossentropy(a, b, logits),
        lambda a, b: -(b * np.log(softmax(a) if logits else a / a.sum(-1, keepdims=True))).sum(-1),
        [p, y],
    )


@row
def sparse_categorical_crossentropy(r: Generator) -> Call:
    shape = (*sizes(r, int(r.integers(1, 3))), int(r.integers(2, 5)))
    logits = bool(r.integers(2))
    p = r.normal(size=shape)
    labels = r.integers(0, shape[-1], shape[:-1]).astype("int32")

    def formula(a, b):
        q = softmax(a) if logits else a / a.sum(-1, keepdims=True)
        return -np.log(np.take_along_axis(q, b[..., None], -1))[..., 0]

    return Call(
        lambda a, b: K.sparse_categorical_crossentropy(a, b, logits),
        formula,
        [p if logits else softmax(p), labels],
    )


@row
def binary_crossentropy(r: Generator) -> Call:
    shape, logits = sizes(r, int(r.integers(1, 4))), bool(r.integers(2))
    p, y = r.normal(size=shape), r.uniform(0, 1, shape)

    def formula(a, b):
        q = 1 / (1 + np.exp(-a)) if logits else a
        return -(b * np.log(q) + (1 - b) * np.log(1 - q))

    return Call(
        lambda a, b: K.binary_crossentropy(a, b, logits),
        formula,
        [p if logits else 1 / (1 + np.exp(-p)), y],
    )


@row
def rnn(r: Generator) -> Call:
    batch, steps, features, units = sizes(r, 4)
    backwards = bool(r.integers(2))
    mask = r.integers(0, 2, (batch, steps)).astype("int32")

    def function(x, h, w, u, m):
        def step(t, states):
            new = K.tanh(K.dot(t, w) + K.dot(states[0], u))
            return new, [new]

        return K.rnn(step, x, [h], backwards, mask=K.cast(m, "bool"))[1]

    def formula(x, h, w, u, m):
        outputs = []
        for t in reversed(range(steps)) if backwards else range(steps):
            h = np.where(m[:, t, None], np.tanh(x[:, t] @ w + h @ u), h)
            outputs.append(h)
        return np.stack(outputs, 1)

    shapes = ((batch, steps, features), (batch, units), (features, units), (units, units))
    return Call(function, formula, [*(r.normal(size=s) for s in shapes), mask], known=(2, 3))
