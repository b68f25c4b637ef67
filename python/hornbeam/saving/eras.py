"""Configurations of other Keras releases in the form of today's.

Keras 1 described penalties and limits by name and numbers; TensorFlow's Keras 2.x added keys that
say what is the case here anyway. Such keys are dropped only with the value that means so: one that
asks for something else is left for the layer to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Keys of later releases -> the values under which nothing has to be done.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "ragged": (False, None),
    "optional": (False, None),
    "groups": (1,),
    "time_major": (False,),
    "zero_output_for_mask": (False,),
    "reset_after": (False,),
    "synchronized": (False, None),
    "renorm": (False,),
    "virtual_batch_size": (None,),
    "fused": (None, True, False),
    "experimental_autocast": (True, False, None),
    "keepdims": (False,),
    "sparse": (False, None),
    "build_config": (None,),
    "output_padding": (None,),
    "batch_shape": (None,),
    "embeddings_axis": (None,),
    "negative_slope": (0, 0.0),
    "threshold": (0, 0.0),
}
# The same for keys that are other layers' own.
_NEUTRAL_OF: dict[str, dict[str, tuple[Any, ...]]] = {
    "LocallyConnected1D": {"implementation": (1,)},
    "LocallyConnected2D": {"implementation": (1,)},
    "MultiHeadAttention": {
        "attention_axes": (None, [1]),
        "sliding_window": (None,),
        "flash_attention": (None, False),
        "use_gate": (False,),
        "softmax_robust_masking": (False,),
    },
}
# Keys that repeat the shapes of inputs, which the inputs tell.
_SHAPES_OF = {"MultiHeadAttention": ("query_shape", "value_shape", "key_shape")}
# Where a key of that name is one of the layer's own.
_OWN_KEYS = {
    "GRU": ("reset_after",),
    "InputLayer": ("sparse",),
    "ReLU": ("negative_slope", "threshold"),
    "LeakyReLU": ("negative_slope",),
}
_CLASSES = {
    "Functional": "Model",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "LSTMV1": "LSTM",
    "LSTMV2": "LSTM",
    "GRUV1": "GRU",
    "GRUV2": "GRU",
}
_PENALTIES = ("WeightRegularizer", "ActivityRegularizer", "L1L2Regularizer")
_LIMITS = {
    "maxnorm": ("MaxNorm", {"m": "max_value", "axis": "axis"}),
    "unitnorm": ("UnitNorm", {"axis": "axis"}),
    "nonneg": ("NonNeg", {}),
}


def translate(config: Any) -> Any:
    """Return the configuration of a model or a layer in today's form.

    Args:
        config: a dictionary with 'class_name' and 'config', or anything else, which is returned.

    Returns:
        A new dictionary; what was given is not changed.
    """
    if not isinstance(config, Mapping) or not {"class_name", "config"} <= set(config):
        return config
    original = str(config["class_name"])
    name = _CLASSES.get(original, original)
    result = {key: value for key, value in config.items() if key not in ("module", "build_config")}
    if result.get("registered_name") in (None, name, original):
        result.pop("registered_name", None)
    if isinstance(config.get("inbound_nodes"), list):
        result["inbound_nodes"] = [_call(node) for node in config["inbound_nodes"]]
    inner = config["config"]
    if isinstance(inner, list):
        inner = [translate(layer) for layer in inner]
    elif isinstance(inner, Mapping):
        inner = _layer_config(name, inner)
    return {**result, "class_name": name, "config": inner}


def _call(node: Any) -> Any:
    """Return a call of a layer without the constants that it was not given."""
    if not isinstance(node, list):
        return node
    return [
        [*source[:3], {k: v for k, v in source[3].items() if (k, v) != ("constants", None)}]
        if isinstance(source, list) and len(source) == 4 and isinstance(source[3], Mapping)
        else source
        for source in node
    ]


def _layer_config(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    own, neutral = _OWN_KEYS.get(name, ()), {**_NEUTRAL, **_NEUTRAL_OF.get(name, {})}
    result: dict[str, Any] = {}
    for key, value in config.items():
        if key == "trainable" and name == "InputLayer" or key in _SHAPES_OF.get(name, ()):
            continue
        if key in neutral and key not in own and _is_one_of(value, neutral[key]):
            continue
        if key == "layers" and isinstance(value, list):
            result[key] = [translate(layer) for layer in value]
        elif key == "batch_shape" and name == "InputLayer":
            result["batch_input_shape"] = value
        elif key == "dtype":
            result[key] = _dtype(value)
        else:
            result[key] = translate(_penalty_or_limit(value))
    return result


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    return any(type(value) is type(v) and value == v for v in values)


def _dtype(value: Any) -> Any:
    """Return the name of a type that is described as a policy."""
    if isinstance(value, Mapping):
        return value.get("config", {}).get("name")
    return value


def _penalty_or_limit(value: Any) -> Any:
    """Return a regularizer or constraint of Keras 1 as it is described today."""
    if not isinstance(value, Mapping) or "name" not in value or "class_name" in value:
        return value
    name = value["name"]
    if name in _PENALTIES:
        numbers = {key: float(value.get(key, 0.0)) for key in ("l1", "l2")}
        return {"class_name": "L1L2", "config": numbers}
    known = _LIMITS.get(str(name).lower())
    if known is not None:
        class_name, keys = known
        arguments = {new: value[old] for old, new in keys.items() if old in value}
        return {"class_name": class_name, "config": arguments}
    return value


_OPTIMIZER_EXTRAS = {
    "name",
    "is_legacy_optimizer",
    "jit_compile",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
}


def translate_optimizer(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of an optimizer in today's form."""
    name = str(config["class_name"]).rpartition(">")[2]
    inner = {
        key: value
        for key, value in config["config"].items()
        if key not in _OPTIMIZER_EXTRAS and value is not None and value is not False
    }
    return {"class_name": name, "config": inner}


def translate_metrics(metrics: Any) -> Any:
    """Return saved metrics with wrapped functions under their names."""
    if isinstance(metrics, list):
        return [m for m in map(translate_metrics, metrics) if m is not None]
    if isinstance(metrics, Mapping) and "class_name" in metrics:
        inner = metrics.get("config", {})
        name = inner.get("name")
        return name if name in ("accuracy", "acc") else inner.get("fn", metrics)
    if isinstance(metrics, Mapping):
        return {key: translate_metrics(value) for key, value in metrics.items()}
    return metrics
