"""Recurrent layers with arguments drawn at random, over two batches, against Keras 2's formulas.

Each combination of mask, direction, kept or given states, wrapper and unrolling is as likely as any
other; the reference is a loop over the steps in float64.
"""

from __future__ import annotations

import numpy as np
import pytest

from hornbeam import backend as K
from hornbeam import layers as L
from hornbeam.models import Model, model_from_json


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


FUNCTIONS = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": sigmoid,
    "hard_sigmoid": lambda z: np.clip(0.2 * z + 0.5, 0, 1),
}


def step(kind, kw, weights, x, states):
    """One step: the output and the new states."""
    u, f = kw["units"], FUNCTIONS[kw["activation"]]
    kernel, recurrent = weights[:2]
    bias = weights[2] if kw["use_bias"] else np.zeros(recurrent.shape[1])
    h = states[0]
    if kind == "SimpleRNN":
        h = f(x @ kernel + bias + h @ recurrent)
        return h, [h]
    gate = FUNCTIONS[kw["recurrent_activation"]]
    if kind == "LSTM":
        i, forget, c, o = np.split(x @ kernel + bias + h @ recurrent, 4, axis=-1)
        c = gate(forget) * states[1] + gate(i) * f(c)
        h = gate(o) * f(c)
        return h, [h, c]
    if kw["reset_after"]:
        of_input, of_state = bias if kw["use_bias"] else np.zeros((2, 3 * u))
        a, b = x @ kernel + of_input, h @ recurrent + of_state
        z, r = gate(a[:, :u] + b[:, :u]), gate(a[:, u : 2 * u] + b[:, u : 2 * u])
        new = f(a[:, 2 * u :] + r * b[:, 2 * u :])
    else:
        a, b = x @ kernel + bias, h @ recurrent[:, : 2 * u]
        z, r = gate(a[:, :u] + b[:, :u]), gate(a[:, u : 2 * u] + b[:, u:])
        new = f(a[:, 2 * u :] + (r * h) @ recurrent[:, 2 * u :])
    h = z * h + (1 - z) * new
    return h, [h]


def run(kind, kw, weights, x, mask, states, backwards):
    """All steps: the outputs in the order in which they were computed, and the last states."""
    outputs = []
    for t in range(x.shape[1])[:: -1 if backwards else 1]:
        h, new = step(kind, kw, weights, x[:, t], states)
        counts = mask[:, t][:, None]
        # A masked step repeats the output before it and leaves the states alone.
        outputs.append(np.where(counts, h, outputs[-1] if outputs else states[0]))
        states = [np.where(counts, a, b) for a, b in zip(new, states, strict=True)]
    return np.stack(outputs, 1), states


def merged(mode, a, b):
    results = {"sum": a + b, "mul": a * b, "ave": (a + b) / 2, None: [a, b]}
    return results[mode] if mode in results else np.concatenate([a, b], -1)


class Case:
    """A layer, what it is fed with, and what has to come out."""

    def __init__(self, seed):
        r = np.random.RandomState(seed)
        self.kind = str(r.choice(["LSTM", "GRU", "SimpleRNN"]))
        self.batch, self.steps, self.features = r.randint(1, 5), r.randint(1, 7), r.randint(1, 5)
        self.kw = {
            "units": int(r.randint(1, 6)),
            "activation": str(r.choice(["tanh", "relu", "sigmoid"])),
            "use_bias": bool(r.randint(4)),
            "unroll": r.randint(4) == 0,
            "implementation": int(r.randint(3)),
        }
        for flag in ("return_sequences", "return_state", "go_backwards", "stateful"):
            self.kw[flag] = bool(r.randint(2))
        if self.kind != "SimpleRNN":
            self.kw["recurrent_activation"] = str(r.choice(["hard_sigmoid", "sigmoid"]))
        if self.kind == "GRU":
            self.kw["reset_after"] = bool(r.randint(2))
        self.mode = [None, "sum", "mul", "ave", "concat"][r.randint(5)]
        self.both_ways, self.masked = bool(r.randint(2)), bool(r.randint(2))
        self.kw["return_state"] &= not self.both_ways
        self.given = not self.kw["stateful"] and bool(r.randint(2))
        self.x = r.normal(size=(2 * self.batch, self.steps, self.features))
        if self.masked:
            for row in self.x:
                count = r.randint(self.steps + 1)
                row[slice(count, None) if r.randint(2) else slice(self.steps - count)] = 0
        count = (2 if self.kind == "LSTM" else 1) * (2 if self.both_ways else 1)
        self.states = r.normal(size=(count, 2 * self.batch, self.kw["units"]))
        self.random = r

    def model(self):
        x = L.Input(batch_shape=(self.batch, self.steps, self.features))
        h = L.Masking()(x) if self.masked else x
        layer = getattr(L, self.kind)(**self.kw)
        if self.both_ways:
            layer = L.Bidirectional(layer, merge_mode=self.mode)
        states = [L.Input(batch_shape=s[: self.batch].shape) for s in self.states]
        if not self.given:
            return Model(x, layer(h))
        return Model([x, *states], layer(h, initial_state=states))

    def batches(self):
        for rows in (slice(self.batch), slice(self.batch, None)):
            yield [self.x[rows], *(s[rows] for s in self.states if self.given)]

    def expected(self, weights, batches):
        """Give what a float64 loop computes for each batch."""
        both = [self.kw["go_backwards"], not self.kw["go_backwards"]]
        ways = both if self.both_ways else both[:1]
        parts = np.split(np.arange(len(weights)), len(ways))
        count = len(self.states) // len(ways)
        kept = [[np.zeros(self.states[0][: self.batch].shape)] * count for _ in ways]
        for x, *given in batches:
            mask = (x != 0).any(-1) if self.masked else np.ones(x.shape[:2], bool)
            results = []
            for k, backwards in enumerate(ways):
                start = given[k * count : (k + 1) * count] if self.given else kept[k]
                own = [weights[i] for i in parts[k]]
                outputs, states = run(self.kind, self.kw, own, x, mask, start, backwards)
                if self.kw["stateful"]:
                    kept[k] = states
                outputs = outputs[:, ::-1] if k else outputs
                last = outputs[:, 0 if k else -1]
                results.append([outputs if self.kw["return_sequences"] else last, *states])
            if self.both_ways:
                found = merged(self.mode, results[0][0], results[1][0])
                yield found if isinstance(found, list) else [found]
            else:
                yield results[0] if self.kw["return_state"] else results[0][:1]


def as_list(x):
    return x if isinstance(x, list) else [x]


@pytest.mark.parametrize("seed", range(60))
def test_against_a_loop_over_the_steps(seed):
    case = Case(seed)
    model = case.model()
    weights = [case.random.normal(scale=0.7, size=w.shape) for w in model.get_weights()]
    model.set_weights(weights)
    batches = list(case.batches())
    for rounds in range(2):
        for batch, expected in zip(batches, case.expected(weights, batches), strict=True):
            found = as_list(model.predict_on_batch(batch))
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
        if rounds == 0:
            model.reset_states()
    again = model_from_json(model.to_json())
    again.set_weights(model.get_weights())
    for a, b in zip(
        as_list(again.predict_on_batch(batches[0])),
        next(iter(case.expected(weights, batches))),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("seed", range(100, 130))
def test_gradients_against_finite_differences(seed):
    K.set_floatx("float64")
    try:
        case = Case(seed)
        # Where relu or hard_sigmoid has a kink, differences are no gradient.
        case.kw["activation"] = "tanh" if case.kw["activation"] == "relu" else "sigmoid"
        if "recurrent_activation" in case.kw:
            case.kw["recurrent_activation"] = "sigmoid"
        model = case.model()
        weights = [case.random.normal(scale=0.7, size=w.shape) for w in model.get_weights()]
        model.set_weights(weights)
        batch = next(iter(case.batches()))
        factors = [case.random.normal(size=K.int_shape(y)) for y in model.outputs]
        loss = sum(K.sum(y * K.constant(f)) for y, f in zip(model.outputs, factors, strict=True))
        wanted = [*model.inputs, *model.trainable_weights]
        found = K.function(model.inputs, K.gradients(loss, wanted))(batch)

        def value(arguments):
            count = len(batch)
            (outputs,) = case.expected(arguments[count:], [arguments[:count]])
            return sum((y * f).sum() for y, f in zip(outputs, factors, strict=True))

        arguments = [*batch, *weights]
        for k, gradient in enumerate(found):
            direction = case.random.normal(size=gradient.shape)
            if k == 0 and case.masked:
                direction *= arguments[0].any(-1, keepdims=True)
            moved = [
                value(
                    [a + (s * 1e-6 * direction if i == k else 0) for i, a in enumerate(arguments)]
                )
                for s in (1, -1)
            ]
            slope = (moved[0] - moved[1]) / 2e-6
            assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-5, abs=1e-7)
    finally:
        K.set_floatx("float32")
