"""The summary of a model, and conversions of its weights between conventions.

Models and layers are used by the names that Keras gives their parts, so nothing is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .conv_utils import convert_kernel

_KERNEL_LAYERS = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose")


def nodes_by_depth(model: Any) -> dict[int, list[Any]]:
    """Return the nodes of a model's graph by depth; empty when it has none (yet)."""
    for name in ("nodes_by_depth", "_nodes_by_depth"):
        nodes = getattr(model, name, None)
        if nodes is not None:
            return nodes
    return {}


def inbound_nodes(layer: Any) -> list[Any]:
    """Return the nodes that feed a layer."""
    for name in ("inbound_nodes", "_inbound_nodes"):
        nodes = getattr(layer, name, None)
        if nodes is not None:
            return list(nodes)
    return []


def is_sequential_like(model: Any) -> bool:
    """Tell whether a model's layers form one chain."""
    if type(model).__name__ == "Sequential":
        return True
    return all(
        len(nodes) <= 1 and all(len(node.inbound_layers) <= 1 for node in nodes)
        for nodes in nodes_by_depth(model).values()
    )


def print_summary(
    model: Any,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: Callable[[str], Any] | None = None,
    expand_nested: bool = False,
) -> None:
    """Print a table of a model's layers, their output shapes and parameter counts.

    Args:
        model: the model.
        line_length: characters in a line; 65, or 100 when the layers do not form a chain.
        positions: where the columns end, as fractions of the line or as characters.
        print_fn: what is called with each line; `print` by default.
        expand_nested: whether the layers of models inside the model are listed too.

    Raises:
        ValueError: when the shape of the model's input is not known yet.
    """
    if not getattr(model, "built", True):
        raise ValueError(
            f"The model {model.name} has no weights and shapes yet: give its first layer an "
            "`input_shape`, call `model.build(input_shape)`, or fit it before its summary."
        )
    chain = is_sequential_like(model)
    titles = ["Layer (type)", "Output Shape", "Param #"]
    if chain:
        line_length = line_length or 65
        positions = positions or [0.45, 0.85, 1.0]
    else:
        titles.append("Connected to")
        line_length = line_length or 100
        positions = positions or [0.33, 0.55, 0.67, 1.0]
    if positions[-1] <= 1:
        positions = [int(line_length * p) for p in positions]
    ends = [int(p) for p in positions]
    write = print_fn or print

    write("_" * line_length)
    write(_row(titles, ends))
    write("=" * line_length)
    layers = list(model.layers)
    for number, layer in enumerate(layers):
        for fields in _layer_rows(layer, model, chain, expand_nested, ""):
            write(_row(fields, ends))
        write(("=" if number == len(layers) - 1 else "_") * line_length)
    trainable = count_weights(model.trainable_weights)
    frozen = count_weights(model.non_trainable_weights)
    write(f"Total params: {trainable + frozen:,}")
    write(f"Trainable params: {trainable:,}")
    write(f"Non-trainable params: {frozen:,}")
    write("_" * line_length)


def _row(fields: Sequence[Any], ends: Sequence[int]) -> str:
    """Lay out one line: each field cut or padded to its column, a blank before the next one."""
    line = ""
    for field, end in zip(fields, ends, strict=False):
        if line:
            line = line[:-1] + " "
        line = (line + str(field))[:end].ljust(end)
    return line


def _layer_rows(
    layer: Any, model: Any, chain: bool, expand_nested: bool, indent: str
) -> list[list[Any]]:
    title = f"{indent}{layer.name} ({type(layer).__name__})"
    row = [title, _output_shape(layer), _count_params(layer)]
    if chain:
        rows = [row]
    else:
        first, *others = _connections(layer, model) or [""]
        rows = [[*row, first], *(["", "", "", other] for other in others)]
    if expand_nested and hasattr(layer, "layers"):
        for inner in layer.layers:
            rows += _layer_rows(inner, layer, chain, expand_nested, f"{indent}| ")
    return rows


def _output_shape(layer: Any) -> Any:
    try:
        return layer.output_shape
    except (AttributeError, RuntimeError):  # called more than once, or not at all
        return "multiple"


def _count_params(layer: Any) -> int:
    count = layer.count_params()
    return int(count)


def _connections(layer: Any, model: Any) -> list[str]:
    """Name what feeds a layer within a model, as `layer[node][tensor]`."""
    relevant = {id(node) for nodes in nodes_by_depth(model).values() for node in nodes}
    found = []
    for node in inbound_nodes(layer):
        if relevant and id(node) not in relevant:
            continue
        for source, node_index, tensor_index in zip(
            node.inbound_layers, node.node_indices, node.tensor_indices, strict=True
        ):
            found.append(f"{source.name}[{node_index}][{tensor_index}]")
    return found


def count_weights(weights: Sequence[Any]) -> int:
    """Return the number of elements in some weights, counting one that is listed twice once."""
    unique = {id(weight): weight for weight in weights}
    return sum(_size(weight) for weight in unique.values())


def _size(weight: Any) -> int:
    shape = getattr(weight, "shape", None)
    if isinstance(shape, (tuple, list)) and all(isinstance(n, (int, np.integer)) for n in shape):
        return int(np.prod(shape, dtype="int64"))
    from .. import backend as K

    return int(K.count_params(weight))


def convert_all_kernels_in_model(model: Any) -> None:
    """Flip the kernels of a model's convolutions, as between Theano's and today's convention.

    Args:
        model: the model, changed in place; models inside it are converted too.
    """
    from .. import backend as K

    converted = []
    for layer in model.layers:
        if type(layer).__name__ in _KERNEL_LAYERS:
            converted.append((layer.kernel, convert_kernel(K.get_value(layer.kernel))))
        elif hasattr(layer, "layers"):
            convert_all_kernels_in_model(layer)
    K.batch_set_value(converted)


def convert_dense_weights_data_format(
    dense: Any,
    previous_feature_map_shape: Sequence[int],
    target_data_format: str = "channels_first",
) -> None:
    """Reorder the rows of a Dense layer's kernel for another layout of what was flattened before.

    Args:
        dense: the layer after the Flatten layer, changed in place.
        previous_feature_map_shape: the shape that is flattened, of three integers, in the target
            layout: (512, 7, 7) when the target is channels first.
        target_data_format: the layout that the model will have, 'channels_first' or
            'channels_last'.

    Raises:
        ValueError: for another layout, or a shape that does not fit the kernel.
    """
    if target_data_format not in ("channels_first", "channels_last"):
        raise ValueError(
            "convert_dense_weights_data_format: expected the target_data_format 'channels_first' "
            f"or 'channels_last', got {target_data_format!r}"
        )
    weights = dense.get_weights()
    kernel = weights[0]
    shape = tuple(previous_feature_map_shape)
    if len(shape) != 3 or int(np.prod(shape)) != kernel.shape[0]:
        raise ValueError(
            f"convert_dense_weights_data_format: a feature map of shape {shape} does not fill the "
            f"{kernel.shape[0]} rows of the kernel"
        )
    if target_data_format == "channels_first":
        channels, height, width = shape
        old, order = (height, width, channels), (2, 0, 1, 3)
    else:
        height, width, channels = shape
        old, order = (channels, height, width), (1, 2, 0, 3)
    moved = kernel.reshape((*old, kernel.shape[1])).transpose(order)
    dense.set_weights([moved.reshape(kernel.shape), *weights[1:]])
