"""The layer where data enters a model, and `Input`, which makes one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import backend as K
from ..legacy import interfaces
from .base_layer import Layer


class InputLayer(Layer):
    """The entry of a model: a placeholder, or a given tensor, as a layer without inputs."""

    @interfaces.legacy_input_support
    def __init__(
        self,
        input_shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        batch_input_shape: Sequence[int | None] | None = None,
        dtype: str | None = None,
        input_tensor: Any = None,
        sparse: bool = False,
        name: str | None = None,
    ) -> None:
        """Make an entry.

        Args:
            input_shape: shape without the batch axis.
            batch_size: number of samples in a batch, None where it varies.
            batch_input_shape: shape with the batch axis, in place of the two above.
            dtype: type of the elements, `floatx()` by default.
            input_tensor: a tensor to use; unless it is a placeholder, nothing is fed here.
            sparse: must be False: tensors are dense.
            name: name of the layer.

        Raises:
            ValueError: when no shape is given, or two.
        """
        if input_shape is not None and batch_input_shape is not None:
            raise ValueError(
                "Only provide the input_shape OR batch_input_shape argument to InputLayer, not "
                "both at the same time."
            )
        if batch_input_shape is None and input_shape is not None:
            batch_input_shape = (batch_size, *input_shape)
        if input_tensor is not None:
            dtype = dtype or K.dtype(input_tensor)
            batch_input_shape = batch_input_shape or K.int_shape(input_tensor)
        if batch_input_shape is None:
            raise ValueError(
                "An Input layer should be passed either a `batch_input_shape` or an `input_shape`."
            )
        super().__init__(
            name=name or f"input_{K.get_uid('input')}",
            batch_input_shape=tuple(batch_input_shape),
            dtype=dtype or K.floatx(),
            trainable=False,
        )
        self.built = True
        self.sparse = sparse
        self.is_placeholder = input_tensor is None or input_tensor.op == "placeholder"
        if input_tensor is None:
            input_tensor = K.placeholder(
                self.batch_input_shape, dtype=self.dtype, sparse=sparse, name=self.name
            )
        self._add_inbound_node(
            [input_tensor],
            [input_tensor],
            [None],
            [None],
            [self.batch_input_shape],
            [self.batch_input_shape],
        )
        # An entry is where the graph of layers begins: its node has no layers before it.
        node = self.inbound_nodes[0]
        node.inbound_layers, node.node_indices, node.tensor_indices = [], [], []

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain data."""
        return {
            "batch_input_shape": self.batch_input_shape,
            "dtype": self.dtype,
            "sparse": self.sparse,
            "name": self.name,
        }


def Input(
    shape: Sequence[int | None] | int | None = None,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
    dtype: str | None = None,
    sparse: bool = False,
    tensor: Any = None,
    *,
    batch_size: int | None = None,
) -> Any:
    """Make the symbolic tensor at which a model begins.

    Args:
        shape: shape without the batch axis: `(32,)` for vectors of 32 numbers.
        batch_shape: shape with the batch axis, in place of `shape`: `(10, 32)`, `(None, 32)`.
        name: name of the layer behind it, unique in a model.
        dtype: type of the elements, `floatx()` by default.
        sparse: must be False: tensors are dense.
        tensor: a tensor to use in place of a new placeholder.
        batch_size: number of samples in a batch, None where it varies.

    Returns:
        A tensor that layers can be called on.

    Raises:
        ValueError: when no shape is given.
    """
    if batch_shape is None and tensor is None and shape is None:
        raise ValueError(
            "Please provide to Input either a `shape` or a `batch_shape` argument. Note that "
            "`shape` does not include the batch dimension."
        )
    if shape is not None and batch_shape is None:
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        batch_shape = (batch_size, *sizes)
    layer = InputLayer(
        batch_input_shape=batch_shape, name=name, dtype=dtype, sparse=sparse, input_tensor=tensor
    )
    return layer.inbound_nodes[0].output_tensors[0]
