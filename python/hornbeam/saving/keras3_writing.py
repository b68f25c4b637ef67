"""Configurations as Keras 3 writes them.

What Keras 3 has no counterpart of is written under the name of this package, so that Keras 3 says
that it does not know it instead of computing something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import backend as K
from ..engine.container import Container
from .config import plain
from .keras3 import SHARED_OPTIMIZERS, has_counterpart

_FUNCTION = "function"
_DROPPED = ("batch_input_shape", "input_dtype", "implementation", "input_length")
_MODULES = {"regularizer": "keras.regularizers", "constraint": "keras.constraints"}
_OWN = "hornbeam"


def described(layer: Any) -> dict[str, Any]:
    """Return the description of a layer or a model.

    Raises:
        ValueError: for what a file of Keras 3 cannot hold.
    """
    name = type(layer).__name__
    result: dict[str, Any] = {
        "module": "keras.layers",
        "class_name": name,
        "config": {},
        "registered_name": None,
    }
    if isinstance(layer, Container):
        functional = name != "Sequential"
        result["module"] = "keras.src.models.functional" if functional else "keras"
        result["class_name"] = "Functional" if functional else name
        result["config"] = _functional(layer) if functional else _sequential(layer)
        return result
    if name == "Lambda":
        raise ValueError(
            f"The Lambda layer {layer.name!r} holds code, which is not written into .keras files: "
            "write a Layer, or save the model as .h5"
        )
    if not type(layer).__module__.startswith("hornbeam."):
        result["module"], result["registered_name"] = None, f"Custom>{name}"
    result["config"] = _layer_config(layer, result)
    return result


def _layer_config(layer: Any, result: dict[str, Any]) -> dict[str, Any]:
    name, config = type(layer).__name__, layer.get_config()
    if name == "InputLayer":
        return {
            "batch_shape": list(config["batch_input_shape"]),
            "dtype": config["dtype"],
            "sparse": config["sparse"],
            "name": config["name"],
        }
    written = {key: _value(key, value) for key, value in config.items() if key not in _DROPPED}
    if name == "GRU":
        written["reset_after"] = bool(getattr(layer, "reset_after", False))
    if name == "LeakyReLU" and "alpha" in written:
        written["negative_slope"] = written.pop("alpha")
    if name == "ThresholdedReLU":
        result["class_name"] = "ReLU"
        written["threshold"] = written.pop("theta")
    if "layer" in written:
        written["layer"] = described(layer.layer)
    if name == "Bidirectional":
        written["backward_layer"] = described(layer.backward_layer)
    # Some layers of Keras 3 take neither of these.
    if layer.trainable or not layer.weights:
        written.pop("trainable", None)
    if str(written.get("dtype", "float")).startswith("int"):
        del written["dtype"]
    return written


def _value(key: str, value: Any) -> Any:
    if key.endswith("activation") and isinstance(value, str):
        return _activation(value)
    if isinstance(value, Mapping) and {"class_name", "config"} <= set(value):
        return _object(key, value)
    if isinstance(value, (tuple, list)):
        return [_value("", item) for item in value]
    return value


def _activation(name: str) -> Any:
    if name == "hard_sigmoid_relu6":
        return "hard_sigmoid"
    from .. import activations

    if name == "hard_sigmoid" or not hasattr(activations, name):
        # Keras 3 has another function of this name, or none.
        return {
            "module": f"{_OWN}.activations",
            "class_name": _FUNCTION,
            "config": name,
            "registered_name": _FUNCTION,
        }
    return name


def _object(key: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an initializer, a regularizer or a constraint."""
    config = dict(value["config"])
    if value["class_name"] == "VarianceScaling" and config.get("distribution") == "normal":
        config["distribution"] = "truncated_normal"
    module = next((m for end, m in _MODULES.items() if key.endswith(end)), "keras.initializers")
    return {
        "module": module,
        "class_name": value["class_name"],
        "config": config,
        "registered_name": None,
    }


def _sequential(model: Any) -> dict[str, Any]:
    layers = [described(layer) for layer in model.layers]
    if not layers or layers[0]["class_name"] != "InputLayer":
        x = model.inputs[0]
        entry = {
            "batch_shape": list(K.int_shape(x)),
            "dtype": K.dtype(x),
            "sparse": False,
            "name": f"{model.name}_input",
        }
        first = {
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": entry,
            "registered_name": None,
        }
        layers.insert(0, first)
    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": layers,
        "build_input_shape": list(K.int_shape(model.inputs[0])),
    }


def _functional(model: Any) -> dict[str, Any]:
    config = model.get_config()
    containers = {x.name for x in model.layers if isinstance(x, Container)}

    def triple(coordinate: list[Any]) -> list[Any]:
        name, node, tensor = coordinate[:3]
        return [name, node - (name in containers), tensor]

    layers = []
    for layer, data in zip(model.layers, config["layers"], strict=True):
        entry = described(layer)
        entry["name"] = layer.name
        entry["inbound_nodes"] = [
            _call(model, layer, call, triple) for call in data["inbound_nodes"]
        ]
        layers.append(entry)
    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": layers,
        "input_layers": [triple(c) for c in config["input_layers"]],
        "output_layers": [triple(c) for c in config["output_layers"]],
    }


def _call(model: Any, layer: Any, call: list[Any], triple: Any) -> dict[str, Any]:
    by_name = {x.name: x for x in model.layers}

    def tensor(coordinate: list[Any]) -> dict[str, Any]:
        name, node, index = coordinate[:3]
        source = by_name[name].inbound_nodes
        own = [n for k, n in enumerate(source) if model.graph.has(by_name[name], k)]
        # The first node of a model within a model is its own graph, and not a call.
        nodes = [source[0], *own] if isinstance(by_name[name], Container) else own
        x = nodes[node].output_tensors[index]
        shape = list(K.int_shape(x))
        config = {"shape": shape, "dtype": K.dtype(x), "keras_history": triple(coordinate)}
        return {"class_name": "__keras_tensor__", "config": config}

    kwargs = dict(call[0][3]) if call and len(call[0]) > 3 else {}
    tensors = [tensor(coordinate) for coordinate in call]
    if hasattr(layer, "go_backwards") or hasattr(layer, "forward_layer"):
        if len(tensors) > 1:
            kwargs["initial_state"] = tensors[1:]
        return {"args": tensors[:1], "kwargs": kwargs}
    if type(layer).__name__ == "MultiHeadAttention":
        return {"args": tensors, "kwargs": kwargs}
    return {"args": tensors if len(tensors) == 1 else [tensors], "kwargs": kwargs}


def compile_config(model: Any) -> dict[str, Any]:
    """Return how a model was compiled."""
    return {
        "optimizer": _optimizer(model.optimizer),
        "loss": _names(model.loss),
        "loss_weights": model.loss_weights,
        "metrics": _metrics(model),
        "weighted_metrics": None,
        "run_eagerly": False,
        "steps_per_execution": 1,
        "jit_compile": False,
    }


def _optimizer(optimizer: Any) -> dict[str, Any]:
    name, config = type(optimizer).__name__, dict(optimizer.get_config())
    if not has_counterpart(optimizer):
        return {
            "module": f"{_OWN}.optimizers",
            "class_name": name,
            "config": config,
            "registered_name": None,
        }
    for key in SHARED_OPTIMIZERS[name]:
        del config[key]
    config["learning_rate"] = config.pop("lr")
    if "clipnorm" in config:
        config["global_clipnorm"] = config.pop("clipnorm")
    if "clipnorm_per_variable" in config:
        config["clipnorm"] = config.pop("clipnorm_per_variable")
    return {
        "module": "keras.optimizers",
        "class_name": name,
        "config": config,
        "registered_name": None,
    }


def _metrics(model: Any) -> Any:
    """Return the metrics: where there are several outputs, a list for each of them."""
    metrics = model.metrics
    flat = isinstance(metrics, (list, tuple)) and not any(isinstance(m, list) for m in metrics)
    if len(model.outputs) > 1 and flat and metrics:
        return [_names(metrics) for _ in model.outputs]
    return _names(metrics)


def _names(x: Any) -> Any:
    """Return a loss or metrics with functions as Keras 3 describes them."""
    if isinstance(x, (list, tuple)):
        return [_names(item) for item in x]
    if isinstance(x, Mapping):
        return {key: _names(value) for key, value in x.items()}
    if x is None or isinstance(x, str):
        return x
    name = plain(x)
    if getattr(x, "__module__", "").startswith(f"{_OWN}."):
        return name
    return {
        "module": "builtins",
        "class_name": _FUNCTION,
        "config": name,
        "registered_name": _FUNCTION,
    }
