"""The embedding layer."""

from __future__ import annotations

from typing import Any

from .. import backend as K
from .. import constraints, initializers, regularizers
from ..engine import Layer
from ..legacy import interfaces
from ._weights import add_role_weight, positive_integer, roles_config

Shape = tuple[int | None, ...]


class Embedding(Layer):
    """Turn whole numbers into vectors that are learnt.

    Input: (samples, steps) of integers from 0 to input_dim - 1; output: (samples, steps,
    output_dim). A number outside that range raises when the model runs. Float input is truncated.

    Weights: embeddings (input_dim, output_dim).

    Args:
        input_dim: size of the vocabulary, the greatest number plus one; at least 0.
        output_dim: size of the vectors.
        embeddings_initializer: initializer of the vectors.
        embeddings_regularizer: penalty on the vectors.
        activity_regularizer: penalty on the output.
        embeddings_constraint: constraint on the vectors.
        mask_zero: whether 0 is padding that later layers skip; it then stands for no word.
        input_length: number of steps where it is fixed, which a Flatten and Dense after this layer
            need; a tuple for more axes.
        **kwargs: the keywords of `Layer`.
    """

    @interfaces.legacy_embedding_support
    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        activity_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        input_length: Any = None,
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "int32"
        if "input_shape" not in kwargs and "batch_input_shape" not in kwargs:
            several = isinstance(input_length, (list, tuple))
            kwargs["input_shape"] = tuple(input_length) if several else (input_length,)
        super().__init__(**kwargs)
        self.input_dim = positive_integer(input_dim, "Embedding", "input_dim", least=0)
        self.output_dim = positive_integer(output_dim, "Embedding", "output_dim")
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = mask_zero
        self.input_length = input_length

    def build(self, input_shape: Shape) -> None:
        shape = (self.input_dim, self.output_dim)
        self.embeddings = add_role_weight(self, "embeddings", shape)
        self.built = True

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return K.not_equal(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.input_length is None:
            return (*input_shape, self.output_dim)
        several = isinstance(self.input_length, (list, tuple))
        declared = tuple(self.input_length) if several else (self.input_length,)
        found = tuple(input_shape[1:])
        fits = len(declared) == len(found) and all(
            d == f or None in (d, f) for d, f in zip(declared, found, strict=False)
        )
        if not fits:
            raise ValueError(
                f"Embedding {self.name!r}: input_length is {self.input_length}, but received input "
                f"has shape {tuple(input_shape)}"
            )
        sizes = [f if d is None else d for d, f in zip(declared, found, strict=True)]
        return (input_shape[0], *sizes, self.output_dim)

    def call(self, inputs: Any) -> Any:
        self.compute_output_shape(K.int_shape(inputs))
        if K.dtype(inputs) not in ("int32", "int64"):
            inputs = K.cast(inputs, "int32")
        return K.gather(self.embeddings, inputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            **roles_config(self, "embeddings"),
            "mask_zero": self.mask_zero,
            "input_length": self.input_length,
        }
