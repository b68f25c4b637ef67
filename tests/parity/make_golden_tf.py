"""Write the golden file of the layers for which tf_keras is the reference.

Those that depend on masks and kept states, which tf_keras treats as Keras 2 did, and those that
Keras 3 has no more. Run it as `make_golden.py`:

    .venv-peers/bin/python tests/parity/make_golden_tf.py [missing | NAME ...]
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras as keras  # noqa: E402

from parity import cases  # noqa: E402
from parity.golden_writing import (  # noqa: E402
    GOLDEN,
    LAYER_RATE,
    Arrays,
    draw,
    draw_inputs,
    draw_weight,
    keep_checkpoints,
    save_layers,
    seed_of,
)
from parity.layer_case import LayerCase, resolve  # noqa: E402

keras.backend.set_floatx("float64")


def translated(case: LayerCase) -> keras.layers.Layer:
    """The layer of tf_keras that computes what Keras 2 means by the case."""
    # tf_keras divides penalties on outputs by the size of the batch.
    given = resolve(keras, case.config, activity_scale=case.batch)
    if case.layer == "ActivityRegularization":
        given = {key: value * case.batch for key, value in given.items()}
    if case.layer in ("LSTM", "GRU", "ConvLSTM2D"):
        given.setdefault("recurrent_activation", "hard_sigmoid")
    if case.layer == "GRU":
        given.setdefault("reset_after", False)
    if case.inner is not None:
        given["layer"] = translated(case.inner)
    return getattr(keras.layers, case.layer)(**given)


class Chain:
    """The layers of a case as one function of its inputs."""

    def __init__(self, case: LayerCase, xs: list[np.ndarray]) -> None:
        self.case = case
        self.layers = [translated(case)]
        if case.above is not None:
            self.layers.append(translated(case.above))
        inputs = [keras.Input(batch_shape=x.shape, dtype=x.dtype.name) for x in xs]
        shown: list[Any] = [
            keras.layers.Masking()(i) if masked else i
            for i, masked in itertools.zip_longest(inputs, case.masked)
        ]
        if case.layer == "MultiHeadAttention":
            y = self.layers[0](*shown, **case.call)
        else:
            y = self.layers[0](shown if len(shown) > 1 else shown[0], **case.call)
        if case.above is not None:
            y = self.layers[1](y)
        self.model = keras.Model(inputs, y)

    def __call__(self, xs: Any, training: bool) -> list[Any]:
        outputs = self.model(list(xs) if len(xs) > 1 else xs[0], training=training)
        return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]

    def reset(self) -> None:
        if self.case.stateful:
            self.model.reset_states()

    def variables(self, trainable: bool) -> list[Any]:
        """Without the states that are kept."""
        if trainable:
            return [w for layer in self.layers for w in layer.trainable_weights]
        return [w for layer in self.layers for w in layer.weights]


def masked_mean(scores: Any, mask: Any) -> Any:
    """The loss of samples and steps, of which a mask leaves some out."""
    if mask is None:
        return tf.reduce_mean(scores)
    mask = tf.cast(mask, scores.dtype)
    return tf.reduce_mean(scores * mask / tf.reduce_mean(mask))


def layer_arrays(case: LayerCase) -> Arrays:
    keras.backend.clear_session()
    rng = seed_of(case.name)
    xs = draw_inputs(rng, case)
    chain = Chain(case, xs)
    weights = chain.variables(trainable=False)
    arrays: Arrays = {f"x{i}": x for i, x in enumerate(xs)}
    if case.initializes:
        arrays |= {f"initial{i}": w.numpy() for i, w in enumerate(weights)}
    for w in weights:
        w.assign(draw_weight(rng, w.name, tuple(w.shape)))
    arrays |= {f"w{i}": w.numpy() for i, w in enumerate(weights)}
    outputs = keep_outputs(arrays, chain, xs)
    cotangents = [draw(rng, out.shape) for out in outputs]
    keep_gradients(arrays, chain, xs, cotangents)
    arrays |= suffixed("cotangent", cotangents)
    if chain.variables(trainable=True) and not case.random:
        targets = [draw(rng, out.shape) for out in outputs]
        arrays |= suffixed("target", targets)
        keep_training(arrays, chain, xs, targets)
    return arrays


def suffixed(name: str, values: list[Any]) -> Arrays:
    """The first under the name alone, the others with their numbers."""
    return {f"{name}{i or ''}": np.asarray(value) for i, value in enumerate(values)}


def keep_outputs(arrays: Arrays, chain: Chain, xs: list[np.ndarray]) -> list[np.ndarray]:
    """Outputs of the first call, and those of the calls that go on from its state."""
    chain.reset()
    outputs = [y.numpy() for y in chain(xs, chain.case.training)]
    arrays |= suffixed("out", outputs)
    for call in range(2, chain.case.calls + 1):
        arrays |= suffixed(f"call{call}_out", [y.numpy() for y in chain(xs, chain.case.training)])
    return outputs


def keep_gradients(
    arrays: Arrays, chain: Chain, xs: list[np.ndarray], cotangents: list[np.ndarray]
) -> None:
    chain.reset()
    sources = chain.variables(trainable=True)
    tensors = [tf.constant(x) for x in xs]
    with tf.GradientTape() as tape:
        if chain.case.vocabulary is None:
            tape.watch(tensors)
        outputs = chain(tensors, chain.case.training)
        total = sum(tf.reduce_sum(y * c) for y, c in zip(outputs, cotangents, strict=True))
    fed = tensors if chain.case.vocabulary is None else []
    found = [tf.convert_to_tensor(g) for g in tape.gradient(total, [*fed, *sources])]
    arrays |= {f"dx{i}": g.numpy() for i, g in enumerate(found[: len(fed)])}
    arrays |= {f"dw{i}": g.numpy() for i, g in enumerate(found[len(fed) :])}


def keep_training(
    arrays: Arrays, chain: Chain, xs: list[np.ndarray], targets: list[np.ndarray]
) -> None:
    """The weights after steps of gradient descent on the masked mean squared error."""
    chain.reset()
    variables = chain.variables(trainable=True)

    @tf.function(autograph=False)
    def train() -> None:
        with tf.GradientTape() as tape:
            outputs = chain(xs, True)
            loss = tf.zeros((), "float64") + sum(chain.model.losses)
            for y, target in zip(outputs, targets, strict=True):
                scores = tf.reduce_mean((y - target) ** 2, -1)
                loss += masked_mean(scores, getattr(y, "_keras_mask", None))
        for v, g in zip(variables, tape.gradient(loss, variables), strict=True):
            v.assign_sub(LAYER_RATE * tf.convert_to_tensor(g))
            if v.constraint is not None:
                v.assign(v.constraint(v))

    def step(_: Any, __: int) -> list[np.ndarray]:
        train()
        return [w.numpy() for w in chain.variables(trainable=False)]

    keep_checkpoints(arrays, "", [], step)


def configs() -> None:
    """Write one layer of each class as the model files of tf_keras describe it."""
    found: dict[str, Any] = {}
    for case in cases.LAYERS:
        if case.layer in found or not hasattr(keras.layers, case.layer):
            continue
        # Of a batch of one, which divides no penalty.
        layer = translated(dataclasses.replace(case, batch=1))
        found[case.layer] = keras.layers.serialize(layer)
    path = GOLDEN / "configs_tf.json"
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(f"{path.name}: {len(found)} layers")


if __name__ == "__main__":
    configs()
    rows = [case for case in cases.LAYERS if case.reference == "tf_keras"]
    save_layers("layers_tf", rows, layer_arrays, sys.argv[1:])
