"""Configurations of Keras 3 in the form of Keras 2, with Keras 3's meanings written out.

What is left behind is read by `eras`, as a configuration of TensorFlow's Keras 2 is.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from .eras import translate_optimizer

_CONTAINERS = ("Functional", "Model", "Sequential")
# Keys that ask for nothing with these values; None stands for any value.
_NEUTRAL: dict[str, tuple[Any, ...] | None] = {
    "quantization_config": (None,),
    "input_axes": (None,),
    "output_axes": (None,),
    "rms_scaling": (False,),
    "use_gate": (False,),
    "sliding_window": (None,),
    "flash_attention": (None, False),
    "lora_rank": (None,),
    "lora_alpha": (None,),
    "renorm_clipping": (None,),
    "renorm_momentum": None,
    "shared_object_id": None,
    "build_input_shape": None,
}
_RECURRENT = ("SimpleRNN", "GRU", "LSTM", "ConvLSTM2D")
_MASK_OPERATIONS = ("NotEqual", "Any")
# Tensors that are given by keyword and are inputs here, in their order.
_INPUT_KEYWORDS = ("value", "key", "initial_state")

# Optimizers of one formula in both, where these arguments have these values.
SHARED_OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"decay": 0.0},
    "Adam": {"decay": 0.0},
    "AdamW": {"decay": 0.0},
    "Adamax": {"decay": 0.0},
    "Adadelta": {"decay": 0.0},
    "RMSprop": {"decay": 0.0, "epsilon_inside": True},
    "Adagrad": {"decay": 0.0, "epsilon_inside": True},
}


def has_counterpart(optimizer: Any) -> bool:
    """Tell whether Keras 3 has an optimizer of the same formula."""
    values = SHARED_OPTIMIZERS.get(type(optimizer).__name__)
    config = optimizer.get_config()
    return values is not None and all(config.get(key) == v for key, v in values.items())


def is_keras3(config: Any, version: str | None = None) -> bool:
    """Tell whether a configuration was written by Keras 3.

    Args:
        config: the configuration of a model.
        version: the release that a file names, where it names one.
    """
    if version is not None:
        return version.split(".")[0].isdigit() and int(version.split(".")[0]) >= 3
    if not isinstance(config, Mapping) or "keras_version" in config:
        return isinstance(config, Mapping) and is_keras3(config, str(config["keras_version"]))
    return "registered_name" in config and str(config.get("module", "")).startswith("keras")


def from_keras3(data: Any) -> Any:
    """Return a configuration of Keras 3, or a part of one, in the form of Keras 2.

    Raises:
        ValueError: for something that has no counterpart.
    """
    if isinstance(data, list):
        return [from_keras3(item) for item in data]
    if not isinstance(data, Mapping):
        return data
    if not {"class_name", "config"} <= set(data):
        if data.get("class_name") == "__tuple__":
            return [from_keras3(item) for item in data["items"]]
        return {key: from_keras3(value) for key, value in data.items() if key != "build_config"}
    name, inner = str(data["class_name"]), data["config"]
    if name == "function":
        return inner
    if name == "DTypePolicy":
        return inner["name"]
    if not isinstance(inner, Mapping) or name == "__lambda__":
        return dict(data)
    config = _inner_config(name, inner)
    if name in _CONTAINERS:
        _translate_container(config, inner, data.get("build_config"))
    kept = {key: data[key] for key in ("name", "registered_name") if key in data}
    if "inbound_nodes" in data:
        kept["inbound_nodes"] = copy.deepcopy(data["inbound_nodes"])
    return {**kept, "class_name": name, "config": config}


def _inner_config(name: str, inner: Mapping[str, Any]) -> dict[str, Any]:
    config = {}
    for key, value in inner.items():
        if key in _NEUTRAL:
            harmless = _NEUTRAL[key]
            if harmless is None or any(value is h for h in harmless):
                continue
        if key == "seed" and name in _RECURRENT:
            continue
        if key == "attention_axes" and value in (None, [1]):
            continue
        if key == "zero_output_for_mask" and value is False:
            continue
        if key == "backward_layer":
            _check_mirrored(inner["layer"], value)
            continue
        if value == "hard_sigmoid" and key.endswith("activation"):
            config[key] = "hard_sigmoid_relu6"
            continue
        config[key] = from_keras3(value)
    if name == "LayerNormalization" and isinstance(config.get("axis"), list):
        axes = config["axis"]
        config["axis"] = axes[0] if len(axes) == 1 else axes
    return config


def _check_mirrored(layer: Mapping[str, Any], backward: Mapping[str, Any]) -> None:
    """Check that a Bidirectional's second layer is the first one's mirror image."""
    ignored = ("name", "go_backwards", "dtype", "seed")

    def described(x: Mapping[str, Any]) -> Any:
        return x["class_name"], {
            key: from_keras3(value) for key, value in x["config"].items() if key not in ignored
        }

    if described(layer) != described(backward):
        raise ValueError(
            "A Bidirectional layer has a backward layer of its own, which differs from the forward "
            "layer by more than its direction: that cannot be read"
        )


def _translate_container(config: dict[str, Any], inner: Mapping[str, Any], built: Any) -> None:
    """Write the calls of a functional model's layers, or a stack's input shape, as Keras 2 does."""
    _drop_mask_operations(config["layers"], inner["layers"])
    layers = config["layers"]
    containers = {x["config"].get("name") for x in layers if x["class_name"] in _CONTAINERS}
    for layer in layers:
        if layer.get("inbound_nodes") is not None:
            layer["inbound_nodes"] = [_call(n, containers) for n in layer["inbound_nodes"]]
    for key in ("input_layers", "output_layers"):
        if key in config:
            config[key] = [
                [name, node + (name in containers), tensor]
                for name, node, tensor in _coordinates(config[key])
            ]
    if "input_layers" not in config and len(layers) > 1 and layers[0]["class_name"] == "InputLayer":
        _move_input(layers)
    first: dict[str, Any] = layers[0] if layers else {"class_name": "InputLayer", "config": {}}
    shape = inner.get("build_input_shape") or (built or {}).get("input_shape")
    known = {"batch_input_shape", "batch_shape"} & set(first["config"])
    if "input_layers" not in config and shape and not known and first["class_name"] != "InputLayer":
        first["config"]["batch_input_shape"] = shape


def _drop_mask_operations(layers: list[dict[str, Any]], raw: list[Any]) -> None:
    """Leave out the operations that make masks: layers hand masks on by themselves here.

    Keras 3 writes the masks that Masking and Embedding make, and who takes them, as calls of
    operations.

    Raises:
        ValueError: for a mask that is made in another way.
    """
    operations = {
        x["config"]["name"]: x for x in raw if str(x.get("module", "")).startswith("keras.src.ops")
    }
    making = set()
    for layer in layers:
        if layer["config"].get("name") in operations:
            continue
        for node in layer.get("inbound_nodes") or []:
            if isinstance(node, Mapping) and _holds_tensor(node["kwargs"].get("mask")):
                mask = node["kwargs"].pop("mask")
                making |= _operations_behind(mask, operations, layer["config"].get("name"))
    layers[:] = [x for x in layers if x["config"].get("name") not in making]


def _operations_behind(mask: Any, operations: Mapping[str, Any], layer: Any) -> set[str]:
    found: set[str] = set()
    waiting = list(_histories(mask))
    while waiting:
        name = waiting.pop()
        if name not in operations:
            continue
        if operations[name]["class_name"] not in _MASK_OPERATIONS:
            raise ValueError(
                f"The layer {layer!r} takes a mask that {operations[name]['class_name']} makes: "
                "only masks of Masking and Embedding can be read"
            )
        found.add(name)
        for node in operations[name]["inbound_nodes"]:
            waiting += _histories(node["args"])
    if not found:
        raise ValueError(f"The layer {layer!r} takes a mask that is the output of a layer")
    return found


def _histories(value: Any) -> list[str]:
    """Return the names of the layers whose outputs are in a list of arguments."""
    if isinstance(value, list):
        return [name for item in value for name in _histories(item)]
    return [value["config"]["keras_history"][0]] if _holds_tensor(value) else []


def _move_input(layers: list[dict[str, Any]]) -> None:
    """Give the input of a stack to its first layer: the input layer is not among its layers."""
    if layers[1]["class_name"] in _CONTAINERS:
        return
    entry, config = layers[0]["config"], layers[1]["config"]
    config["batch_input_shape"] = entry.get("batch_shape", entry.get("batch_input_shape"))
    config.setdefault("dtype", entry.get("dtype"))
    del layers[0]


def _coordinates(data: Any) -> list[Any]:
    """Return [layer, call, tensor] triples, of which one may stand alone, or under a name."""
    if isinstance(data, Mapping):
        return [c for value in data.values() for c in _coordinates(value)]
    if data and isinstance(data[0], str):
        return [data]
    return [c for value in data for c in _coordinates(value)]


def _call(node: Any, containers: set[Any]) -> Any:
    """Return a call as the triples of its input tensors with the keyword arguments."""
    if not isinstance(node, Mapping):
        return node
    inputs: list[list[Any]] = []
    kwargs: dict[str, Any] = {}
    for argument in node["args"]:
        _collect(argument, inputs, containers)
    for key, value in sorted(node["kwargs"].items(), key=lambda item: _rank(item[0])):
        if value is None or (key == "training" and value is False):
            continue
        found: list[list[Any]] = []
        if _holds_tensor(value):
            _collect(value, found, containers)
            if key not in _INPUT_KEYWORDS:
                raise ValueError(f"A layer is called with the tensor {key!r}: give it by position")
            inputs += found
        else:
            kwargs[key] = from_keras3(value)
    return [[*triple, kwargs] for triple in inputs]


def _rank(keyword: str) -> int:
    return _INPUT_KEYWORDS.index(keyword) if keyword in _INPUT_KEYWORDS else -1


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_holds_tensor, value))
    return isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__"


def _collect(value: Any, inputs: list[list[Any]], containers: set[Any]) -> None:
    if value is None:
        return
    if isinstance(value, Mapping) and value.get("class_name") == "__tuple__":
        value = value["items"]
    if isinstance(value, list):
        for item in value:
            _collect(item, inputs, containers)
        return
    if not _holds_tensor(value):
        raise ValueError(f"A layer is called with {value!r}, which is no tensor, by position")
    name, node, tensor = value["config"]["keras_history"]
    # Here the first node of a model within a model is its own graph, and not a call.
    inputs.append([name, node + (name in containers), tensor])


def optimizer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of an optimizer of Keras 3, with its formulas written out.

    Raises:
        ValueError: for averaged weights, which there are none of here.
    """
    if str(config.get("module", "")).startswith("hornbeam."):
        return {"class_name": config["class_name"], "config": dict(config["config"])}
    if config["config"].get("use_ema"):
        raise ValueError("The optimizer averages the weights (use_ema), which cannot be read")
    result = translate_optimizer(config)
    inner, name = result["config"], result["class_name"]
    if "clipnorm" in inner:
        inner["clipnorm_per_variable"] = inner.pop("clipnorm")
    if name in ("RMSprop", "Adagrad"):
        inner["epsilon_inside"] = True
    if name == "Nadam":
        inner["schedule_decay"] = 1.0
    return result


_FUNCTIONS = {"LogCosh": "log_cosh", "KLDivergence": "kl_divergence"}


def loss_or_metric(data: Any) -> Any:
    """Return what `compile` takes for a loss or metrics that Keras 3 described.

    Raises:
        ValueError: for an object that does more than the function of its name.
    """
    if isinstance(data, list):
        return [loss_or_metric(item) for item in data]
    if not isinstance(data, Mapping):
        return data
    if not {"class_name", "config"} <= set(data):
        return {key: loss_or_metric(value) for key, value in data.items()}
    name, inner = str(data["class_name"]), data["config"]
    if name == "function":
        return inner
    asked = {
        key: value
        for key, value in inner.items()
        if key not in ("name", "dtype", "reduction", "fn") and value not in (None, False, 0.0, -1)
    }
    if asked.get("axis") == [-1]:
        del asked["axis"]
    if asked or inner.get("reduction") not in (None, "sum_over_batch_size", "auto"):
        raise ValueError(f"{name} was configured as {dict(inner)}, which has no counterpart here")
    if isinstance(inner.get("fn"), Mapping):
        return loss_or_metric(inner["fn"])
    return inner.get("fn") or _FUNCTIONS.get(name) or snake_case(name)


def snake_case(name: str) -> str:
    """Return the name of a class as Keras 3 writes it into files.

    Example:
        >>> snake_case("Conv2DTranspose"), snake_case("PReLU"), snake_case("SimpleRNN")
        ('conv2d_transpose', 'p_re_lu', 'simple_rnn')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
