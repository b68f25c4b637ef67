"""Write the golden files: reference results in float64, stored as float32.

Run it where Keras 3 and JAX are installed (`make bench-peers` makes such an environment):

    .venv-peers/bin/python tests/parity/make_golden.py [layers losses metrics optimizers penalties]
        [missing | NAME ...]

`missing` computes those layers' cases that the file lacks; names of cases are computed anew too.

Layers are Keras 3's own on JAX. Losses, optimizers, regularizers and constraints are `formulas.py`,
because Keras 3 changed several of them; where the two agree, one is checked against the other here.
"""

from __future__ import annotations

import inspect
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")

import formulas  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402

from parity import cases  # noqa: E402
from parity.cases import CHECKPOINTS  # noqa: E402
from parity.golden_writing import (  # noqa: E402
    LAYER_RATE,
    Arrays,
    draw,
    draw_inputs,
    draw_weight,
    keep_checkpoints,
    save,
    save_layers,
    seed_of,
)
from parity.layer_case import LayerCase, resolve  # noqa: E402

keras.config.set_floatx("float64")

BATCH = 8

# Layers.


# Keras 3 has another hard_sigmoid, and its tanh on JAX answers float64 with float32. Registered,
# because Bidirectional copies the layer it wraps through its config.


@keras.saving.register_keras_serializable()
def hard_sigmoid(x):
    return formulas.hard_sigmoid(x)


@keras.saving.register_keras_serializable()
def tanh(x):
    return jnp.tanh(x)


def translated(case: LayerCase) -> keras.layers.Layer:
    """The Keras 3 layer that computes what Keras 2 means by the case."""
    if case.layer == "ThresholdedReLU":
        theta = case.config["theta"]
        return keras.layers.Activation(lambda x: x * (x > theta))
    # Keras 3 divides penalties on outputs by the size of the batch.
    given = resolve(keras, case.config, activity_scale=case.batch)
    if case.layer in ("SimpleRNN", "LSTM", "GRU", "ConvLSTM2D"):
        given.setdefault("activation", "tanh")
    if case.layer in ("LSTM", "GRU", "ConvLSTM2D"):
        given.setdefault("recurrent_activation", "hard_sigmoid")
    if case.layer == "GRU":
        given.setdefault("reset_after", False)
    if case.layer == "LeakyReLU":
        given["negative_slope"] = given.pop("alpha")
    if case.layer == "Embedding":
        given.pop("input_length", None)
    if case.layer == "ActivityRegularization":
        given = {key: value * case.batch for key, value in given.items()}
    if case.inner is not None:
        given["layer"] = translated(case.inner)
    replaced = {"hard_sigmoid": hard_sigmoid, "tanh": tanh}
    config = {k: replaced.get(v, v) if k.endswith("activation") else v for k, v in given.items()}
    if case.layer.startswith("AveragePooling"):
        config.setdefault("pool_size", 2)
    return getattr(keras.layers, case.layer)(**config)


def layer_arrays(case: LayerCase) -> Arrays:
    rng = seed_of(case.name)
    xs = draw_inputs(rng, case)
    inputs = [keras.Input(batch_shape=x.shape, dtype=str(x.dtype)) for x in xs]
    layer = translated(case)
    shown = [
        keras.layers.Masking()(i) if masked else i
        for i, masked in itertools.zip_longest(inputs, case.masked)
    ]
    if case.layer == "MultiHeadAttention":
        outputs = layer(*shown, **case.call)
    else:
        outputs = layer(shown if len(shown) > 1 else shown[0], **case.call)
    chain = [layer]
    if case.above is not None:
        chain.append(translated(case.above))
        outputs = chain[-1](outputs)
    model = keras.Model(inputs, outputs)
    arrays: Arrays = {f"x{i}": x for i, x in enumerate(xs)}
    weights = [w for layer in chain for w in layer.weights]
    if case.initializes:
        arrays |= {f"initial{i}": np.asarray(w) for i, w in enumerate(weights)}
    for w in weights:
        w.assign(draw_weight(rng, w.name, tuple(w.shape)))

    variables = [v for layer in chain for v in layer.trainable_variables]
    trainable = [np.asarray(v) for v in variables]
    other = [np.asarray(v) for v in model.non_trainable_variables]

    def call(weights, inputs, state, training):
        return model.stateless_call(weights, state, inputs, training=training, return_losses=True)

    out, vjp = jax.vjp(lambda w, x: call(w, x, other, case.training)[0], trainable, xs)
    cotangent = draw(rng, out.shape)
    dw, dx = vjp(jnp.asarray(cotangent))
    arrays |= {f"w{i}": np.asarray(w) for i, w in enumerate(weights)}
    arrays |= {f"dw{i}": np.asarray(g) for i, g in enumerate(dw)}
    if case.vocabulary is None:
        arrays |= {f"dx{i}": np.asarray(g) for i, g in enumerate(dx)}
    arrays |= {"out": np.asarray(out), "cotangent": cotangent}
    if trainable and not case.random:
        target = arrays["target"] = draw(rng, out.shape)

        def loss(weights, state):
            out, state, penalties = call(weights, xs, state, True)
            return jnp.mean((out - target) ** 2) + sum(penalties), state

        gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))

        def step(weights, _):
            now, state = weights[: len(trainable)], weights[len(trainable) :]
            (_, state), g = gradient(now, state)
            new = [w - LAYER_RATE * d for w, d in zip(now, g, strict=True)]
            return [constrained(v, w) for v, w in zip(variables, new, strict=True)] + list(state)

        # Keras 3 appends the states of its random generators, which are no weights.
        keep_checkpoints(arrays, "", trainable + other, step, kept=len(weights))
    return arrays


def constrained(variable, value):
    return value if variable.constraint is None else np.asarray(variable.constraint(value))


def layers(only: list[str]) -> None:
    chosen = [case for case in cases.LAYERS if case.reference == "keras3"]
    save_layers("layers", chosen, layer_arrays, only)


# Losses and metrics.


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype("float32").astype("float64")


def loss_data(rng: np.random.Generator, kind: str, shape: tuple[int, ...]):
    """Targets, predictions, and the activation whose range the predictions have."""
    z = draw(rng, shape)
    classes = rng.integers(0, shape[-1], shape[:-1])
    if kind == "real":
        # Away from zero, where the percentage error has its pole.
        t = draw(rng, shape)
        return t + np.sign(t) * 0.5, z, "linear"
    if kind == "positive":
        return np.abs(draw(rng, shape)) + 0.25, np.abs(z) + 0.25, "softplus"
    if kind == "sign":
        return np.sign(draw(rng, shape)), z, "tanh"
    if kind == "binary":
        p = (1 / (1 + np.exp(-z))).astype("float32").astype("float64")
        return (draw(rng, shape) > 0).astype("float64"), p, "sigmoid"
    if kind == "distribution":
        return softmax(draw(rng, shape)), softmax(z), "softmax"
    if kind == "onehot":
        return np.eye(shape[-1])[classes], softmax(z), "softmax"
    if kind == "sparse":
        return classes[..., None].astype("float64"), softmax(z), "softmax"
    raise ValueError(f"no data of kind {kind!r}")


ACTIVATION_FORMULAS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: x,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "softmax": jax.nn.softmax,
}


def check_loss(name: str, t: np.ndarray, p: np.ndarray, value: np.ndarray) -> None:
    """Hold a formula against Keras 3's, where Keras 3 kept the meaning."""
    renamed = {"kullback_leibler_divergence": "kl_divergence", "logcosh": "log_cosh"}
    if name == "cosine_proximity":
        return
    other = getattr(keras.losses, renamed.get(name, name))(t, p)
    np.testing.assert_allclose(np.asarray(other), value, rtol=1e-6, atol=1e-7, err_msg=name)


def loss_arrays(name: str, kind: str) -> Arrays:
    rng = seed_of(name)
    formula = getattr(formulas, name)
    t, p, activation = loss_data(rng, kind, (BATCH, 6))
    t = t.astype("float32").astype("float64")
    each = np.asarray(formula(t, jnp.asarray(p)))
    check_loss(name, t, p, each)
    slope = jax.grad(lambda q: jnp.mean(formula(t, q)))(p)
    arrays: Arrays = {"t": t, "p": p, "each": each, "dp": np.asarray(slope)}

    x, kernel, bias = draw(rng, (BATCH, 5)), draw(rng, (5, 6), 0.5), draw(rng, (6,), 0.5)
    arrays |= {"x": x, "w0": kernel, "w1": bias}
    sample_weights = np.array([1, 0, 2, 0.5, 1, 0, 3, 0.25])
    variants: dict[str, np.ndarray | None] = {"plain": None, "sample": sample_weights}
    if kind in ("onehot", "sparse"):
        labels = t[:, 0].astype(int) if kind == "sparse" else t.argmax(-1)
        arrays["class_weights"] = np.array([1, 2, 0.5, 1, 0, 3.0])
        variants["class"] = arrays["class_weights"][labels]
    arrays["sample_weights"] = sample_weights
    rate = arrays["rate"] = np.float64(np.float32(1e-3 if "percentage" in name else 0.05))
    act = ACTIVATION_FORMULAS[activation]
    for variant, weights in variants.items():

        def loss(w, weights=weights):
            return formulas.weighted(formula(t, act(x @ w[0] + w[1])), weights)

        gradient = jax.jit(jax.value_and_grad(loss))
        arrays[f"{variant}/loss"] = np.asarray(loss([kernel, bias]))

        def step(w, _, gradient=gradient):
            return [a - rate * b for a, b in zip(w, gradient(w)[1], strict=True)]

        keep_checkpoints(arrays, f"{variant}/", [kernel, bias], step)
    return arrays


def temporal_arrays() -> Arrays:
    """A loss over (samples, steps, features) whose weights are (samples, steps)."""
    rng = seed_of("temporal")
    t, x = draw(rng, (BATCH, 4, 3)), draw(rng, (BATCH, 4, 5))
    weights = np.abs(draw(rng, (BATCH, 4))) * (draw(rng, (BATCH, 4)) > -0.5)
    kernel, bias = draw(rng, (5, 3)), draw(rng, (3,))
    rate = np.float64(np.float32(0.05))

    def loss(w):
        scores = formulas.mean_squared_error(t, x @ w[0] + w[1])
        return formulas.weighted(scores, weights)

    arrays = {"t": t, "x": x, "w0": kernel, "w1": bias, "weights": weights, "rate": rate}
    arrays["loss"] = np.asarray(loss([kernel, bias]))
    gradient = jax.jit(jax.grad(loss))
    keep_checkpoints(
        arrays,
        "",
        [kernel, bias],
        lambda w, _: [a - rate * b for a, b in zip(w, gradient(w), strict=True)],
    )
    return arrays


def losses(only: list[str]) -> None:
    arrays = {name: loss_arrays(name, kind) for name, kind in cases.LOSSES.items()}
    save("losses", arrays | {"temporal": temporal_arrays()})


def metrics(only: list[str]) -> None:
    arrays = {}
    for name, kind in cases.METRICS.items():
        t, p, _ = loss_data(seed_of(name), kind, (40, 7))
        arrays[name] = {"t": t, "p": p}
        for k in (1, 2, 3, 5) if "top_k" in name else (None,):
            arguments = {} if k is None else {"k": k}
            value = getattr(formulas, name)(t, p, **arguments)
            if name != "sparse_top_k_categorical_accuracy":
                other = np.mean(getattr(keras.metrics, name)(t, p, **arguments))
                np.testing.assert_allclose(other, value, err_msg=name)
            arrays[name]["value" if k is None else f"value@{k}"] = np.float64(value)
    save("metrics", arrays)


# Training of a small network: optimizers, regularizers, constraints.


def network(rng: np.random.Generator) -> tuple[Arrays, list[np.ndarray]]:
    """Data and weights of Dense(8, tanh), Dense(3): four batches, the last of them smaller."""
    weights = [draw(rng, s, 0.6) for s in ((5, 8), (8,), (8, 3), (3,))]
    data = {"x": draw(rng, (28, 5)), "t": draw(rng, (28, 3))}
    return data | {f"w{i}": w for i, w in enumerate(weights)}, weights


def forward(w, x):
    hidden = jnp.tanh(x @ w[0] + w[1])
    return hidden, hidden @ w[2] + w[3]


def train(
    arrays: Arrays,
    weights: list[np.ndarray],
    optimizer: formulas.Optimizer,
    penalty: Callable[[Any, Any], Any] = lambda w, outputs: 0.0,
    constraints: list | None = None,
) -> None:
    """Keep the loss of the first batch and the weights at CHECKPOINTS of training in order."""

    def loss(w, x, t):
        outputs = forward(w, x)
        return jnp.mean((outputs[1] - t) ** 2) + penalty(w, outputs)

    gradient = jax.jit(jax.value_and_grad(loss))
    x, t = arrays["x"], arrays["t"]
    batches = [slice(i, i + BATCH) for i in range(0, len(x), BATCH)]
    arrays["loss"] = np.asarray(gradient(weights, x[batches[0]], t[batches[0]])[0])

    def step(w, i):
        rows = batches[i % len(batches)]
        return optimizer.step(w, gradient(w, x[rows], t[rows])[1], constraints)

    keep_checkpoints(arrays, "", weights, step)


def kept_by_keras3(name: str, config: dict[str, Any]) -> bool:
    """Whether Keras 3 has the optimizer with this meaning."""
    if "decay" in config:
        return False
    if name in ("RMSprop", "Adagrad"):
        return "epsilon_inside" in config
    return name != "Nadam"


def check_optimizer(name: str, config: dict[str, Any], arrays: Arrays) -> None:
    """Hold a formula against Keras 3's optimizer, where Keras 3 kept the meaning."""
    if not kept_by_keras3(name, config):
        return
    parameters = inspect.signature(formulas.OPTIMIZERS[name]).parameters
    arguments = {"lr": parameters["lr"].default, **config}
    if "epsilon" in parameters:
        arguments.setdefault("epsilon", parameters["epsilon"].default)
    if name == "Adagrad":
        arguments.setdefault("initial_accumulator_value", 0.0)
    arguments.pop("epsilon_inside", None)
    renamed = {
        "lr": "learning_rate",
        "clipnorm": "global_clipnorm",
        "clipnorm_per_variable": "clipnorm",
    }
    arguments = {renamed.get(k, k): v for k, v in arguments.items()}
    x, t = arrays["x"], arrays["t"]
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(3)]
    )
    model.set_weights([arrays[f"w{i}"] for i in range(4)])
    model.compile(getattr(keras.optimizers, name)(**arguments), "mse")
    model.fit(x, t, batch_size=BATCH, epochs=CHECKPOINTS[-1] // 4, shuffle=False, verbose=0)
    for i, w in enumerate(model.get_weights()):
        np.testing.assert_allclose(w, arrays[f"w{i}@{CHECKPOINTS[-1]}"], rtol=1e-5, atol=1e-7)


def optimizers(only: list[str]) -> None:
    arrays = {}
    for case, (name, config) in cases.OPTIMIZERS.items():
        arrays[case], weights = network(seed_of(case))
        train(arrays[case], weights, formulas.Optimizer(name, **config))
        check_optimizer(name, config, arrays[case])
    save("optimizers", arrays)


def penalties(only: list[str]) -> None:
    """Regularizers and constraints, each on both layers."""
    arrays = {}
    for case, arguments in cases.REGULARIZERS.items():
        kernel, bias, activity = (
            arguments.get(f"{part}_regularizer", (None, {}))[1]
            for part in ("kernel", "bias", "activity")
        )

        def penalty(w, outputs, kernel=kernel, bias=bias, activity=activity):
            total = sum(formulas.l1_l2(v, **kernel) for v in (w[0], w[2]))
            total += sum(formulas.l1_l2(v, **bias) for v in (w[1], w[3]))
            return total + sum(formulas.l1_l2(v, **activity) for v in outputs)

        arrays[case], weights = network(seed_of(case))
        train(arrays[case], weights, formulas.Optimizer("SGD", lr=0.05), penalty)
    for case, arguments in cases.CONSTRAINTS.items():
        functions = []
        for part in ("kernel", "bias"):
            name, config = arguments.get(f"{part}_constraint", (None, {}))
            functions.append(
                None
                if name is None
                else lambda w, n=name, c=config: formulas.CONSTRAINTS[n](w, **c)
            )
        arrays[case], weights = network(seed_of(case))
        train(arrays[case], weights, formulas.Optimizer("SGD", lr=0.05), constraints=functions * 2)
    save("penalties", arrays)


GROUPS = {f.__name__: f for f in (layers, losses, metrics, optimizers, penalties)}

if __name__ == "__main__":
    names = [name for name in sys.argv[1:] if name in GROUPS]
    for group in names or GROUPS:
        GROUPS[group]([name for name in sys.argv[1:] if name not in GROUPS])
