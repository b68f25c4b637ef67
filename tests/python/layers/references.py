"""Layers once more as plain loops over NumPy arrays in float64, channels last."""

from __future__ import annotations

import itertools

import numpy as np


def first_to_last(x):
    return np.moveaxis(x, 1, -1)


def last_to_first(x):
    return np.moveaxis(x, -1, 1)


def geometry(sizes, window, strides, padding, dilation):
    """The output's sizes and the padding before each axis."""
    out, before = [], []
    for size, k, s, d in zip(sizes, window, strides, dilation, strict=True):
        reach = (k - 1) * d + 1
        if padding == "valid":
            out.append((size - reach) // s + 1)
            before.append(0)
        elif padding == "causal":
            out.append(-(-size // s))
            before.append(reach - 1)
        else:
            n = -(-size // s)
            total = max((n - 1) * s + reach - size, 0)
            out.append(n)
            before.append(total // 2)
    return out, before


def windows(x, window, strides, padding="valid", dilation=None):
    """Yield each output place, and for each cell inside the input its offset and its values."""
    dilation = dilation or (1,) * len(window)
    out, before = geometry(x.shape[1:-1], window, strides, padding, dilation)
    for place in itertools.product(*map(range, out)):
        cells = []
        for offset in itertools.product(*map(range, window)):
            at = [
                p * s + o * d - b
                for p, s, o, d, b in zip(place, strides, offset, dilation, before, strict=True)
            ]
            if all(0 <= a < n for a, n in zip(at, x.shape[1:-1], strict=True)):
                cells.append((offset, x[(slice(None), *at)]))
        yield out, place, cells


def conv(x, kernel, strides=None, padding="valid", dilation=None):
    window = kernel.shape[:-2]
    strides = strides or (1,) * len(window)
    result = None
    for out, place, cells in windows(x, window, strides, padding, dilation):
        if result is None:
            result = np.zeros((len(x), *out, kernel.shape[-1]))
        for offset, values in cells:
            result[(slice(None), *place)] += values @ kernel[offset]
    return result


def depthwise(x, kernel, strides=(1, 1), padding="valid", dilation=None):
    """Each channel with its own filters; kernel (rows, columns, channels, multiplier)."""
    parts = []
    for c in range(kernel.shape[2]):
        own = kernel[:, :, c : c + 1, :]
        parts.append(conv(x[..., c : c + 1], own, strides, padding, dilation))
    return np.concatenate(parts, axis=-1)


def conv_transpose(x, kernel, strides, padding):
    """The gradient of a convolution to its input; kernel (window..., filters, channels)."""
    window = kernel.shape[:-2]
    sizes = [
        n * s + (max(k - s, 0) if padding == "valid" else 0)
        for n, s, k in zip(x.shape[1:-1], strides, window, strict=True)
    ]
    out, before = geometry(sizes, window, strides, padding, (1,) * len(window))
    assert list(out) == list(x.shape[1:-1])
    result = np.zeros((len(x), *sizes, kernel.shape[-2]))
    for place in itertools.product(*map(range, out)):
        for offset in itertools.product(*map(range, window)):
            at = [p * s + o - b for p, s, o, b in zip(place, strides, offset, before, strict=True)]
            if all(0 <= a < n for a, n in zip(at, sizes, strict=True)):
                result[(slice(None), *at)] += x[(slice(None), *place)] @ kernel[offset].T
    return result


def pool(x, size, strides, padding, mode):
    result = None
    for out, place, cells in windows(x, size, strides, padding):
        if result is None:
            result = np.zeros((len(x), *out, x.shape[-1]))
        values = np.stack([v for _, v in cells])
        result[(slice(None), *place)] = values.max(0) if mode == "max" else values.mean(0)
    return result


def local(x, kernel, window, strides):
    """A kernel of its own for each place: kernel (places, cells * channels, filters)."""
    result = None
    for i, (out, place, cells) in enumerate(windows(x, window, strides)):
        if result is None:
            result = np.zeros((len(x), *out, kernel.shape[-1]))
        row = np.concatenate([v for _, v in cells], axis=-1)
        result[(slice(None), *place)] = row @ kernel[i]
    return result


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def simple_rnn_step(x, states, w, u, b, gate=None):
    h = np.tanh(x @ w + b + states[0] @ u)
    return h, [h]


def gru_step(x, states, w, u, b, gate=hard_sigmoid):
    h, n = states[0], u.shape[0]
    if b.ndim == 2:
        inner = h @ u + b[1]
        z, r = (gate(part) for part in np.split((x @ w + b[0] + inner)[:, : 2 * n], 2, axis=1))
        new = np.tanh((x @ w + b[0])[:, 2 * n :] + r * inner[:, 2 * n :])
    else:
        outer = x @ w + b
        z = gate(outer[:, :n] + h @ u[:, :n])
        r = gate(outer[:, n : 2 * n] + h @ u[:, n : 2 * n])
        new = np.tanh(outer[:, 2 * n :] + (r * h) @ u[:, 2 * n :])
    h = z * h + (1 - z) * new
    return h, [h]


def lstm_step(x, states, w, u, b, gate=hard_sigmoid):
    h, c = states
    i, f, g, o = np.split(x @ w + b + h @ u, 4, axis=1)
    c = gate(f) * c + gate(i) * np.tanh(g)
    h = gate(o) * np.tanh(c)
    return h, [h, c]


def rnn(step, x, weights, units, states=None, mask=None, backwards=False, **arguments):
    """Return the last output, all outputs in the order of the run, and the last states."""
    count = 2 if step is lstm_step else 1
    states = states or [np.zeros((len(x), units)) for _ in range(count)]
    outputs = []
    order = range(x.shape[1])
    for t in reversed(order) if backwards else order:
        output, new = step(x[:, t], states, *weights, **arguments)
        if mask is not None:
            keep = mask[:, t, None]
            output = np.where(keep, output, states[0])
            new = [np.where(keep, n, s) for n, s in zip(new, states, strict=True)]
        states = new
        outputs.append(output)
    return outputs[-1], np.stack(outputs, axis=1), states
