"""Attention over sequences: dot-product, additive, and with several heads."""

from __future__ import annotations

import math
from typing import Any

from .. import backend as K
from .. import constraints, initializers, regularizers
from ..engine import Layer
from ._weights import known_dimension, positive_integer, roles_config

__all__ = ["AdditiveAttention", "Attention", "MultiHeadAttention"]

Shape = tuple[int | None, ...]

# Added to the scores of places that are masked: exp of it is 0 beside any other score.
_MASKED = -1e9


def _hide(scores: Any, keep: Any) -> Any:
    """Lower the scores where the boolean tensor `keep`, which broadcasts to them, is False."""
    return scores if keep is None else scores + (1.0 - K.cast(keep, K.dtype(scores))) * _MASKED


def _and(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return K.logical_and(a, b)


def _causal(queries: Any, values: Any) -> Any:
    """Return the mask (1, queries, values) that lets a place see itself and earlier ones."""
    rows = K.arange(0, K.shape(queries)[1], dtype="int64")
    columns = K.arange(0, K.shape(values)[1], dtype="int64")
    keep = K.greater_equal(K.expand_dims(rows, 1), K.expand_dims(columns, 0))
    return K.expand_dims(keep, 0)


def _dropped(x: Any, rate: float, seed: int | None, training: Any) -> Any:
    if not 0.0 < rate < 1.0:
        return x
    return K.in_train_phase(lambda: K.dropout(x, rate, seed=seed), x, training=training)


class _ScoredAttention(Layer):
    """Attention of the places of one sequence to those of another, by a score for each pair.

    Called on a list of query (samples, m, features), value (samples, n, values) and perhaps key
    (samples, n, features), the value by default. Output: (samples, m, values): for each place of
    the query the mean of the value's places, weighted by the softmax of their scores.

    A mask of the value hides its places; a mask of the query sets the output to zero there and is
    passed on.
    """

    def __init__(self, dropout: float, seed: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dropout = dropout
        self.seed = seed
        self.supports_masking = True
        # Of the latest call, whose mask is asked for right after it.
        self._with_scores = False

    def _tensors(self, inputs: Any) -> tuple[Any, Any, Any]:
        if not isinstance(inputs, (list, tuple)) or len(inputs) not in (2, 3):
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: expected a list of query, value and perhaps "
                f"key, got {inputs!r}"
            )
        query, value = inputs[0], inputs[1]
        return query, value, inputs[2] if len(inputs) == 3 else value

    def _scores(self, query: Any, key: Any) -> Any:
        raise NotImplementedError

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        query, value, key = self._tensors(inputs)
        query_mask, value_mask = (mask[0], mask[1]) if isinstance(mask, list) else (None, None)
        keep = None if value_mask is None else K.expand_dims(value_mask, 1)
        if use_causal_mask:
            keep = _and(keep, _causal(query, value))
        weights = K.softmax(_hide(self._scores(query, key), keep))
        result = _dropped(weights, self.dropout, self.seed, training) @ value
        if query_mask is not None:
            result = result * K.expand_dims(K.cast(query_mask, K.dtype(result)), -1)
        self._with_scores = return_attention_scores
        return [result, weights] if return_attention_scores else result

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        own = mask[0] if isinstance(mask, list) else None
        return [own, None] if self._with_scores else own

    def compute_output_shape(self, input_shape: Any) -> Shape:
        query, value, _ = self._tensors(input_shape)
        return (*query[:-1], value[-1])

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "dropout": self.dropout}
        if self.seed is not None:
            config["seed"] = self.seed
        return config


class Attention(_ScoredAttention):
    """Dot-product attention (Luong et al., 2015).

    Called on a list of query (samples, m, features), value (samples, n, values) and perhaps key
    (samples, n, features), the value by default. Output: (samples, m, values), and with
    `return_attention_scores=True` at the call the weights (samples, m, n) too. With
    `use_causal_mask=True` a place sees itself and earlier ones.

    Weights: scale, a scalar, with `use_scale`; concat_score_weight, a scalar, with 'concat'.

    Args:
        use_scale: whether the scores are multiplied by a number that is learnt.
        score_mode: 'dot' for dot(query, key), 'concat' for weight * sum(tanh(query + key)).
        dropout: fraction of the weights to drop while training.
        seed: integer seed of the dropout mask.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dropout, seed, **kwargs)
        if score_mode not in ("dot", "concat"):
            raise ValueError(
                f"Attention: `score_mode` must be 'dot' or 'concat', got {score_mode!r}"
            )
        self.use_scale = use_scale
        self.score_mode = score_mode

    def build(self, input_shape: Any) -> None:
        self._tensors(input_shape)
        self.scale = self.concat_score_weight = None
        if self.use_scale:
            self.scale = self.add_weight(shape=(), name="scale", initializer="ones")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight(
                shape=(), name="concat_score_weight", initializer="ones"
            )
        self.built = True

    def _scores(self, query: Any, key: Any) -> Any:
        if self.score_mode == "dot":
            scores = query @ K.permute_dimensions(key, (0, 2, 1))
            return scores if self.scale is None else scores * self.scale
        pairs = K.expand_dims(query, 2) + K.expand_dims(key, 1)
        pairs = pairs if self.scale is None else pairs * self.scale
        return self.concat_score_weight * K.sum(K.tanh(pairs), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            "score_mode": self.score_mode,
        }


class AdditiveAttention(_ScoredAttention):
    """Additive attention (Bahdanau et al., 2014): the score is sum(scale * tanh(query + key)).

    Called as `Attention` is.

    Weights: scale (features,), with `use_scale`.

    Args:
        use_scale: whether there is a scale that is learnt.
        dropout: fraction of the weights to drop while training.
        seed: integer seed of the dropout mask.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(
        self,
        use_scale: bool = True,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dropout, seed, **kwargs)
        self.use_scale = use_scale

    def build(self, input_shape: Any) -> None:
        query, _, _ = self._tensors(input_shape)
        self.scale = None
        if self.use_scale:
            size = known_dimension(query, -1, self)
            self.scale = self.add_weight(shape=(size,), name="scale", initializer="glorot_uniform")
        self.built = True

    def _scores(self, query: Any, key: Any) -> Any:
        pairs = K.tanh(K.expand_dims(query, 2) + K.expand_dims(key, 1))
        return K.sum(pairs if self.scale is None else pairs * self.scale, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "use_scale": self.use_scale}


class MultiHeadAttention(Layer):
    """Dot-product attention in several subspaces at once (Vaswani et al., 2017).

    Called as `layer(query, value, key=None)`, or on a list of them: query (samples, m, features),
    value and key (samples, n, features); the key is the value by default. Output: (samples, m,
    output size). Further arguments of the call: `attention_mask`, a boolean tensor (samples, m, n)
    that is False where a place is hidden; `use_causal_mask`; `return_attention_scores`. Masks of
    the inputs hide their places.

    Weights: for query, key and value a kernel (features, heads, size) and a bias (heads, size),
    then output_kernel (heads, size, output size) and output_bias (output size,).

    Args:
        num_heads: number of subspaces.
        key_dim: size of a head's queries and keys.
        value_dim: size of a head's values, `key_dim` by default.
        dropout: fraction of the weights to drop while training.
        use_bias: whether there are biases.
        output_shape: size of the output, that of the query by default.
        kernel_initializer: initializer of the kernels.
        bias_initializer: initializer of the biases.
        kernel_regularizer: penalty on the kernels.
        bias_regularizer: penalty on the biases.
        activity_regularizer: penalty on the output, and on the projected query, key and value.
        kernel_constraint: constraint on the kernels.
        bias_constraint: constraint on the biases.
        seed: integer seed of the dropout mask.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        kind = type(self).__name__
        self.supports_masking = True
        # Of the latest call, whose mask is asked for right after it.
        self._with_scores = False
        self.num_heads = positive_integer(num_heads, kind, "num_heads")
        self.key_dim = positive_integer(key_dim, kind, "key_dim")
        self.value_dim = positive_integer(value_dim or key_dim, kind, "value_dim")
        self.dropout = dropout
        self.use_bias = use_bias
        size = output_shape
        if isinstance(size, (list, tuple)) and len(size) == 1:
            size = size[0]
        self.output_size = None if size is None else positive_integer(size, kind, "output_shape")
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.seed = seed

    def __call__(self, query: Any, value: Any = None, key: Any = None, **kwargs: Any) -> Any:
        """Apply the layer.

        Args:
            query: tensor (samples, m, features), or a list of query, value and perhaps key.
            value: tensor (samples, n, features).
            key: tensor (samples, n, features), the value by default.
            **kwargs: `attention_mask`, `use_causal_mask`, `return_attention_scores`, `training`.

        Raises:
            ValueError: when the value is missing, or a tensor does not have three axes.
        """
        inputs = list(query) if isinstance(query, (list, tuple)) else [query, value]
        inputs += [] if key is None else [key]
        if len(inputs) not in (2, 3) or inputs[1] is None:
            raise ValueError(
                f"MultiHeadAttention {self.name!r}: expected a query, a value and perhaps a key"
            )
        for x in inputs:
            if K.ndim(x) != 3:
                raise ValueError(
                    f"MultiHeadAttention {self.name!r}: expected tensors (samples, places, "
                    f"features), got the shape {K.int_shape(x)}"
                )
        return super().__call__(inputs, **kwargs)

    def _add(self, name: str, kernel: tuple[int, ...], bias: tuple[int, ...]) -> tuple[Any, Any]:
        weights = (
            self.add_weight(
                shape=kernel,
                name=f"{name}_kernel",
                initializer=self.kernel_initializer,
                regularizer=self.kernel_regularizer,
                constraint=self.kernel_constraint,
            ),
            None,
        )
        if not self.use_bias:
            return weights
        return weights[0], self.add_weight(
            shape=bias,
            name=f"{name}_bias",
            initializer=self.bias_initializer,
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    def build(self, input_shape: Any) -> None:
        query, value = input_shape[0], input_shape[1]
        key = input_shape[-1]
        sizes = (
            ("query", query, self.key_dim),
            ("key", key, self.key_dim),
            ("value", value, self.value_dim),
        )
        self._projections = {}
        for name, shape, size in sizes:
            features = known_dimension(shape, -1, self)
            head = (self.num_heads, size)
            self._projections[name] = self._add(name, (features, *head), head)
        out = self.output_size or known_dimension(query, -1, self)
        kernel = (self.num_heads, self.value_dim, out)
        self._projections["output"] = self._add("output", kernel, (out,))
        self.built = True

    def _heads(self, name: str, x: Any, size: int) -> Any:
        """Return (samples, heads, places, size)."""
        kernel, bias = self._projections[name]
        flat = K.dot(x, K.reshape(kernel, (K.int_shape(kernel)[0], self.num_heads * size)))
        if bias is not None:
            flat = flat + K.reshape(bias, (self.num_heads * size,))
        known = K.int_shape(x)
        places = K.shape(x)[1] if known[1] is None else known[1]
        heads = K.reshape(flat, (K.shape(x)[0], places, self.num_heads, size))
        return K.permute_dimensions(heads, (0, 2, 1, 3))

    def _keep(self, inputs: Any, mask: Any, attention_mask: Any, use_causal_mask: bool) -> Any:
        """Return where attention is allowed, a tensor that broadcasts to (samples, m, n)."""
        keep = None if attention_mask is None else K.cast(attention_mask, "bool")
        masks = mask if isinstance(mask, list) else [None] * len(inputs)
        if masks[0] is not None:
            keep = _and(keep, K.expand_dims(masks[0], 2))
        for m in masks[1:]:
            if m is not None:
                keep = _and(keep, K.expand_dims(m, 1))
        if use_causal_mask:
            keep = _and(keep, _causal(inputs[0], inputs[1]))
        return keep

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        query = self._heads("query", inputs[0], self.key_dim)
        key = self._heads("key", inputs[-1], self.key_dim)
        value = self._heads("value", inputs[1], self.value_dim)
        self._add_activity_loss([query, key, value], inputs)
        scores = (query / math.sqrt(self.key_dim)) @ K.permute_dimensions(key, (0, 1, 3, 2))
        keep = self._keep(inputs, mask, attention_mask, use_causal_mask)
        # The same places are hidden from every head.
        weights = K.softmax(_hide(scores, None if keep is None else K.expand_dims(keep, 1)))
        mixed = _dropped(weights, self.dropout, self.seed, training) @ value
        kernel, bias = self._projections["output"]
        width = self.num_heads * self.value_dim
        known = K.int_shape(inputs[0])
        places = K.shape(inputs[0])[1] if known[1] is None else known[1]
        rows = K.permute_dimensions(mixed, (0, 2, 1, 3))
        rows = K.reshape(rows, (K.shape(inputs[0])[0], places, width))
        result = K.dot(rows, K.reshape(kernel, (width, K.int_shape(kernel)[2])))
        result = result if bias is None else result + bias
        self._with_scores = return_attention_scores
        return [result, weights] if return_attention_scores else result

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        own = mask[0] if isinstance(mask, list) else None
        return [own, None] if self._with_scores else own

    def compute_output_shape(self, input_shape: Any) -> Shape:
        query = input_shape[0]
        return (*query[:-1], self.output_size or query[-1])

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "output_shape": self.output_size,
            **roles_config(self, "kernel", "bias"),
        }
        if self.seed is not None:
            config["seed"] = self.seed
        return config
