"""The functions of Keras 2's backend, each with its NumPy formula over random shapes.

A row takes a random generator and gives a `Call`: the function, its formula, and arguments drawn
from the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hornbeam import backend as K

FLOATS = ("float32", "float64")
NUMBERS = (*FLOATS, "int32", "int64")
Generator = np.random.Generator


@dataclass(frozen=True)
class Call:
    """One call.

    Args:
        function: takes tensors.
        formula: takes arrays.
        arrays: what both get, cast to each of `dtypes`; those of integers stay as they are.
        dtypes: the types to try.
        gradient: whether the function has a gradient.
        known: the arguments whose shapes a graph has to know.
    """

    function: Callable[..., Any]
    formula: Callable[..., Any]
    arrays: list[np.ndarray] = field(default_factory=list)
    dtypes: tuple[str, ...] = FLOATS
    gradient: bool = True
    known: tuple[int, ...] = ()


Row = Callable[[Generator], Call]
ROWS: dict[str, Row] = {}


def row(function: Row) -> Row:
    """Enter a row under its function's name."""
    ROWS[function.__name__.removesuffix("_")] = function
    return function


def shape_of(r: Generator, low: int = 1, high: int = 4) -> tuple[int, ...]:
    """Between `low` and `high` axes of 1 to 4 elements."""
    return tuple(r.integers(1, 5, r.integers(low, high + 1)).tolist())


def sizes(r: Generator, count: int, low: int = 1, high: int = 4) -> list[int]:
    return r.integers(low, high + 1, count).tolist()


def axis_of(r: Generator, shape: Sequence[int]) -> int:
    return int(r.integers(-len(shape), len(shape)))


def logistic(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


# Element by element: formula, range of the argument, types, and whether there is a gradient.
_UNARY: dict[str, tuple[Callable[[Any], Any], float, float, tuple[str, ...], bool]] = {
    "square": (np.square, -3, 3, NUMBERS, True),
    "abs": (np.abs, -3, 3, NUMBERS, True),
    "sqrt": (lambda x: np.sqrt(np.maximum(x, 0)), 0.1, 3, FLOATS, True),
    "exp": (np.exp, -3, 3, FLOATS, True),
    "log": (np.log, 0.1, 5, FLOATS, True),
    "round": (np.round, -5, 5, FLOATS, False),
    "sign": (np.sign, -3, 3, NUMBERS, False),
    "sin": (np.sin, -5, 5, FLOATS, True),
    "cos": (np.cos, -5, 5, FLOATS, True),
    "sigmoid": (logistic, -6, 6, FLOATS, True),
    "hard_sigmoid": (lambda x: np.clip(0.2 * x + 0.5, 0, 1), -4, 4, FLOATS, True),
    "tanh": (np.tanh, -4, 4, FLOATS, True),
    "softplus": (lambda x: np.log1p(np.exp(x)), -6, 6, FLOATS, True),
    "softsign": (lambda x: x / (1 + np.abs(x)), -4, 4, FLOATS, True),
    "identity": (lambda x: x, -3, 3, NUMBERS, True),
    "zeros_like": (np.zeros_like, -3, 3, NUMBERS, False),
    "ones_like": (np.ones_like, -3, 3, NUMBERS, False),
    "stop_gradient": (lambda x: x, -3, 3, NUMBERS, False),
    "flatten": (np.ravel, -3, 3, NUMBERS, True),
    "batch_flatten": (lambda x: x.reshape(len(x), -1), -3, 3, NUMBERS, True),
    "transpose": (np.transpose, -3, 3, NUMBERS, True),
    "shape": (lambda x: np.array(x.shape), -3, 3, NUMBERS, False),
    "ndim": (lambda x: np.array(x.ndim), -3, 3, NUMBERS, False),
    "count_params": (lambda x: np.array(x.size), -3, 3, NUMBERS, False),
    "to_dense": (lambda x: x, -3, 3, NUMBERS, False),
}
# What answers with a plain number.
_PLAIN = ("ndim", "count_params")


def _unary(name: str) -> Row:
    formula, low, high, dtypes, gradient = _UNARY[name]

    def make(r: Generator) -> Call:
        x = r.uniform(low, high, shape_of(r))
        function = getattr(K, name)
        if name in _PLAIN:
            return Call(
                lambda t: K.constant(function(t)), formula, [x], dtypes, gradient, known=(0,)
            )
        return Call(function, formula, [x], dtypes, gradient)

    return make


_REDUCTIONS: dict[str, tuple[Callable[..., Any], tuple[str, ...], bool]] = {
    "max": (np.max, NUMBERS, True),
    "min": (np.min, NUMBERS, True),
    "sum": (np.sum, NUMBERS, True),
    "prod": (np.prod, NUMBERS, True),
    "mean": (np.mean, FLOATS, True),
    "var": (np.var, FLOATS, True),
    "std": (np.std, FLOATS, True),
    "any": (np.any, NUMBERS, False),
    "all": (np.all, NUMBERS, False),
    "logsumexp": (lambda x, **a: np.log(np.sum(np.exp(x), **a)), FLOATS, True),
}


def _reduction(name: str) -> Row:
    formula, dtypes, gradient = _REDUCTIONS[name]

    def make(r: Generator) -> Call:
        shape = shape_of(r, 2)
        # A standard deviation of one element has no gradient.
        x = r.uniform(-2, 2, tuple(n + 1 for n in shape))
        axis: Any = [None, axis_of(r, shape), (0, len(shape) - 1)][r.integers(3)]
        keepdims = bool(r.integers(2))
        return Call(
            lambda t: getattr(K, name)(t, axis=axis, keepdims=keepdims),
            lambda a: formula(a, axis=axis, keepdims=keepdims),
            [x],
            dtypes,
            gradient,
        )

    return make


_BINARY: dict[str, tuple[Callable[..., Any], bool]] = {
    "equal": (np.equal, False),
    "not_equal": (np.not_equal, False),
    "greater": (np.greater, False),
    "greater_equal": (np.greater_equal, False),
    "less": (np.less, False),
    "less_equal": (np.less_equal, False),
    "maximum": (np.maximum, True),
    "minimum": (np.minimum, True),
}


def _binary(name: str) -> Row:
    formula, gradient = _BINARY[name]

    def make(r: Generator) -> Call:
        shape = shape_of(r)
        # The other has axes of one element, or fewer axes.
        other = tuple(n if r.integers(2) else 1 for n in shape)[r.integers(len(shape)) :]
        x, y = r.uniform(-3, 3, shape), r.uniform(-3, 3, other)
        if not gradient:
            x, y = x.round(), y.round()
        return Call(getattr(K, name), formula, [x, y], NUMBERS, gradient)

    return make


ROWS.update({name: _unary(name) for name in _UNARY})
ROWS.update({name: _reduction(name) for name in _REDUCTIONS})
ROWS.update({name: _binary(name) for name in _BINARY})


@row
def pow_(r: Generator) -> Call:
    a = float(r.choice([2, 3, 0.5, -1.5]))
    return Call(lambda t: K.pow(t, a), lambda x: x**a, [r.uniform(0.2, 2, shape_of(r))])


@row
def clip(r: Generator) -> Call:
    low, high = sorted(r.uniform(-2, 2, 2).tolist())
    x = r.uniform(-3, 3, shape_of(r))
    return Call(lambda t: K.clip(t, low, high), lambda a: np.clip(a, low, high), [x])


@row
def relu(r: Generator) -> Call:
    alpha, top = float(r.choice([0.0, 0.3])), r.choice([None, 1.0])
    x = r.uniform(-2, 2, shape_of(r))
    return Call(
        lambda t: K.relu(t, alpha=alpha, max_value=top),
        lambda a: np.where(a > 0, np.minimum(a, np.inf if top is None else top), alpha * a),
        [x],
    )


@row
def elu(r: Generator) -> Call:
    alpha = float(r.uniform(0.2, 1.5))
    x = r.uniform(-2, 2, shape_of(r))
    return Call(lambda t: K.elu(t, alpha), lambda a: np.where(a > 0, a, alpha * np.expm1(a)), [x])


@row
def softmax_(r: Generator) -> Call:
    return Call(K.softmax, softmax, [r.uniform(-4, 4, shape_of(r, 2))])


@row
def l2_normalize(r: Generator) -> Call:
    shape = shape_of(r)
    axis = axis_of(r, shape)
    return Call(
        lambda t: K.l2_normalize(t, axis),
        lambda a: a / np.sqrt((a**2).sum(axis, keepdims=True)),
        [r.uniform(0.2, 2, shape)],
    )


@row
def cast(r: Generator) -> Call:
    to = str(r.choice(NUMBERS))
    x = r.uniform(-5, 5, shape_of(r))
    return Call(lambda t: K.cast(t, to), lambda a: a.astype(to), [x], NUMBERS, gradient=False)


def _cumulative(name: str) -> Row:
    def make(r: Generator) -> Call:
        shape = shape_of(r)
        axis = axis_of(r, shape)
        function, formula = getattr(K, name), getattr(np, name)
        x = r.uniform(-2, 2, shape)
        return Call(lambda t: function(t, axis), lambda a: formula(a, axis), [x], NUMBERS)

    return make


def _arg(name: str) -> Row:
    def make(r: Generator) -> Call:
        shape = shape_of(r)
        axis = axis_of(r, shape)
        x = r.permutation(int(np.prod(shape))).reshape(shape).astype("float64")
        function, formula = getattr(K, name), getattr(np, name)
        return Call(lambda t: function(t, axis), lambda a: formula(a, axis), [x], NUMBERS, False)

    return make


ROWS.update({name: _cumulative(name) for name in ("cumsum", "cumprod")})
ROWS.update({name: _arg(name) for name in ("argmax", "argmin")})


# Products.


@row
def dot(r: Generator) -> Call:
    inner = int(r.integers(1, 5))
    left = (*shape_of(r, 1, 2), inner)
    right = (inner, *shape_of(r, 1, 1))
    if r.integers(2):
        right = (*shape_of(r, 1, 1), *right)
    return Call(K.dot, np.dot, [r.normal(size=left), r.normal(size=right)])


@row
def batch_dot(r: Generator) -> Call:
    b, i, j, k = sizes(r, 4)
    axes, left, right, formula = [
        ((2, 1), (b, i, j), (b, j, k), "bij,bjk->bik"),
        ((1, 2), (b, j, i), (b, k, j), "bji,bkj->bik"),
        (1, (b, j, i), (b, j), "bji,bj->bi"),
        (None, (b, i, j), (b, j, k), "bij,bjk->bik"),
    ][r.integers(4)]
    return Call(
        lambda x, y: K.batch_dot(x, y, axes=axes),
        lambda x, y: np.einsum(formula, x, y),
        [r.normal(size=left), r.normal(size=right)],
    )


@row
def gather(r: Generator) -> Call:
    shape = shape_of(r)
    where = r.integers(0, shape[0], shape_of(r, 1, 2)).astype("int32")
    return Call(K.gather, lambda a, i: a[i], [r.normal(size=shape), where], NUMBERS)


@row
def in_top_k(r: Generator) -> Call:
    n, classes = sizes(r, 2, 2, 6)
    k = int(r.integers(1, classes + 1))
    p, y = r.permutation(n * classes).reshape(n, classes), r.integers(0, classes, n)
    return Call(
        lambda a, b: K.in_top_k(a, b, k),
        lambda a, b: (a > a[np.arange(n), b][:, None]).sum(1) < k,
        [p.astype("float64"), y.astype("int32")],
        gradient=False,
    )


# Shapes.


@row
def concatenate(r: Generator) -> Call:
    shape = list(shape_of(r))
    axis = axis_of(r, shape)
    arrays = []
    for _ in range(r.integers(1, 4)):
        shape[axis] = int(r.integers(1, 4))
        arrays.append(r.normal(size=shape))
    return Call(
        lambda *ts: K.concatenate(list(ts), axis), lambda *a: np.concatenate(a, axis), arrays
    )


@row
def stack(r: Generator) -> Call:
    shape = shape_of(r)
    axis = int(r.integers(-len(shape) - 1, len(shape) + 1))
    arrays = [r.normal(size=shape) for _ in range(r.integers(1, 4))]
    return Call(lambda *ts: K.stack(list(ts), axis), lambda *a: np.stack(a, axis), arrays)


@row
def reshape(r: Generator) -> Call:
    shape = shape_of(r, 2)
    new = (-1, *r.permutation(shape[1:]).tolist())
    return Call(
        lambda t: K.reshape(t, new), lambda a: a.reshape(new), [r.normal(size=shape)], NUMBERS
    )


@row
def permute_dimensions(r: Generator) -> Call:
    shape = shape_of(r)
    order = tuple(r.permutation(len(shape)).tolist())
    return Call(
        lambda t: K.permute_dimensions(t, order),
        lambda a: a.transpose(order),
        [r.normal(size=shape)],
        NUMBERS,
    )


@row
def expand_dims(r: Generator) -> Call:
    shape = shape_of(r)
    axis = int(r.integers(-len(shape) - 1, len(shape) + 1))
    return Call(
        lambda t: K.expand_dims(t, axis),
        lambda a: np.expand_dims(a, axis),
        [r.normal(size=shape)],
        NUMBERS,
    )


@row
def squeeze(r: Generator) -> Call:
    shape = list(shape_of(r, 2))
    axis = axis_of(r, shape)
    shape[axis] = 1
    return Call(
        lambda t: K.squeeze(t, axis), lambda a: a.squeeze(axis), [r.normal(size=shape)], NUMBERS
    )


@row
def repeat_elements(r: Generator) -> Call:
    shape = shape_of(r)
    axis, n = axis_of(r, shape), int(r.integers(1, 4))
    return Call(
        lambda t: K.repeat_elements(t, n, axis),
        lambda a: np.repeat(a, n, axis),
        [r.normal(size=shape)],
        NUMBERS,
    )


@row
def repeat(r: Generator) -> Call:
    n = int(r.integers(1, 4))
    return Call(
        lambda t: K.repeat(t, n),
        lambda a: np.repeat(a[:, None], n, 1),
        [r.normal(size=sizes(r, 2))],
        NUMBERS,
    )


@row
def tile(r: Generator) -> Call:
    shape = shape_of(r)
    n = sizes(r, len(shape), 1, 3)
    return Call(lambda t: K.tile(t, n), lambda a: np.tile(a, n), [r.normal(size=shape)], NUMBERS)


@row
def reverse(r: Generator) -> Call:
    shape = shape_of(r)
    axes = sorted(set(sizes(r, 2, 0, len(shape) - 1)))
    return Call(
        lambda t: K.reverse(t, axes), lambda a: np.flip(a, axes), [r.normal(size=shape)], NUMBERS
    )


@row
def one_hot(r: Generator) -> Call:
    classes = int(r.integers(2, 6))
    x = r.integers(0, classes, shape_of(r)).astype("int32")
    return Call(lambda t: K.one_hot(t, classes), lambda a: np.eye(classes)[a], [x], gradient=False)


@row
def arange(r: Generator) -> Call:
    start, stop = sizes(r, 2, -5, 9)
    step = int(r.choice([1, 2, 3])) * (1 if stop >= start else -1)
    return Call(
        lambda: K.arange(start, stop, step), lambda: np.arange(start, stop, step), gradient=False
    )


def _made(name: str, formula: Callable[..., Any]) -> Row:
    def make(r: Generator) -> Call:
        shape = shape_of(r, 2, 2)
        argument = shape[0] if name == "eye" else shape
        return Call(lambda: getattr(K, name)(argument), lambda: formula(argument), gradient=False)

    return make


ROWS.update({name: _made(name, getattr(np, name)) for name in ("zeros", "ones", "eye")})


@row
def constant(r: Generator) -> Call:
    x = r.normal(size=shape_of(r))
    return Call(lambda: K.constant(x, "float64"), lambda: x, gradient=False)


@row
def switch(r: Generator) -> Call:
    shape = shape_of(r, 2)
    condition = r.integers(0, 2, shape[0]).astype("int32")
    return Call(
        lambda c, x, y: K.switch(K.cast(c, "bool"), x, y),
        lambda c, x, y: np.where(c.reshape(-1, *(1,) * (len(shape) - 1)), x, y),
        [condition, r.normal(size=shape), r.normal(size=shape)],
    )


@row
def in_train_phase(r: Generator) -> Call:
    x = r.normal(size=shape_of(r))
    return Call(lambda t: K.in_train_phase(2 * t, t), lambda a: a, [x])


@row
def in_test_phase(r: Generator) -> Call:
    x = r.normal(size=shape_of(r))
    return Call(lambda t: K.in_test_phase(2 * t, t), lambda a: 2 * a, [x])


@row
def map_fn(r: Generator) -> Call:
    x = r.normal(size=shape_of(r, 2))
    return Call(
        lambda t: K.map_fn(lambda e: K.tanh(e) * K.sum(e), t),
        lambda a: np.stack([np.tanh(e) * e.sum() for e in a]),
        [x],
    )


def _fold(name: str) -> Row:
    def formula(a):
        items = list(a) if name == "foldl" else list(a)[::-1]
        total = items[0]
        for item in items[1:]:
            total = np.tanh(total) + item
        return total

    def make(r: Generator) -> Call:
        function = getattr(K, name)
        x = r.normal(size=shape_of(r, 2))
        return Call(lambda t: function(lambda s, e: K.tanh(s) + e, t), formula, [x])

    return make


ROWS.update({name: _fold(name) for name in ("foldl", "foldr")})
