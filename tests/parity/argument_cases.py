"""Cases of the arguments of layers without recurrence that `cases.py` does not show otherwise."""

from __future__ import annotations

from typing import Any

from parity.layer_case import LayerCase, initial, penalties, plain

FIRST: dict[str, Any] = {"data_format": "channels_first"}
SAME: dict[str, Any] = {"padding": "same"}

#: Layer -> an input's shape, arguments, and the kinds of its weights.
WEIGHTED: dict[str, tuple[tuple[int, ...], dict[str, Any], tuple[str, ...]]] = {
    "Dense": ((5,), {"units": 4}, ("kernel", "bias")),
    "Conv1D": ((5, 2), {"filters": 3, "kernel_size": 2}, ("kernel", "bias")),
    "Conv2D": ((4, 3, 2), {"filters": 3, "kernel_size": 2}, ("kernel", "bias")),
    "Conv3D": ((3, 2, 3, 2), {"filters": 2, "kernel_size": 2}, ("kernel", "bias")),
    "Conv1DTranspose": ((4, 2), {"filters": 3, "kernel_size": 2}, ("kernel", "bias")),
    "Conv2DTranspose": ((3, 2, 2), {"filters": 3, "kernel_size": 2}, ("kernel", "bias")),
    "DepthwiseConv2D": ((4, 3, 2), {"kernel_size": 2}, ("depthwise", "bias")),
    "SeparableConv1D": (
        (5, 2),
        {"filters": 3, "kernel_size": 2},
        ("depthwise", "pointwise", "bias"),
    ),
    "SeparableConv2D": (
        (4, 3, 2),
        {"filters": 3, "kernel_size": 2},
        ("depthwise", "pointwise", "bias"),
    ),
    "LocallyConnected1D": ((5, 2), {"filters": 3, "kernel_size": 2}, ("kernel", "bias")),
    "LocallyConnected2D": ((4, 3, 2), {"filters": 3, "kernel_size": 2}, ("kernel", "bias")),
    "SimpleRNN": ((3, 2), {"units": 3}, ("kernel", "recurrent", "bias")),
    "GRU": ((3, 2), {"units": 3}, ("kernel", "recurrent", "bias")),
    "LSTM": ((3, 2), {"units": 3}, ("kernel", "recurrent", "bias")),
    "ConvLSTM2D": (
        (2, 3, 4, 2),
        {"filters": 2, "kernel_size": 2},
        ("kernel", "recurrent", "bias"),
    ),
    "BatchNormalization": ((5,), {}, ("gamma", "beta")),
    "LayerNormalization": ((5,), {}, ("gamma", "beta")),
    "GroupNormalization": ((6,), {"groups": 3}, ("gamma", "beta")),
    "PReLU": ((3, 2), {}, ("alpha",)),
}
#: Those that have no penalty on the output of their own.
WITHOUT_ACTIVITY = ("BatchNormalization", "LayerNormalization", "GroupNormalization", "PReLU")


def reference_of(layer: str) -> str:
    """Keras 3 has no locally connected layers, and ignores these layers' penalty on the output."""
    ignoring = ("SimpleRNN", "ConvLSTM2D")
    return "tf_keras" if layer.startswith("LocallyConnected") or layer in ignoring else "keras3"


def _weighted() -> list[LayerCase]:
    cases = []
    for layer, (shape, config, roles) in WEIGHTED.items():
        short, reference = layer.lower(), reference_of(layer)
        penalty = penalties(*roles, activity=layer not in WITHOUT_ACTIVITY)
        begin = initial(*roles)
        if layer == "BatchNormalization":
            begin |= initial("moving_mean", "moving_variance")
        cases += [
            LayerCase(
                f"{short}_penalties", layer, (shape,), {**config, **penalty}, reference=reference
            ),
            LayerCase(
                f"{short}_initial", layer, (shape,), {**config, **begin}, reference=reference
            ),
        ]
    table = {"input_dim": 7, "output_dim": 3}
    heads = {"num_heads": 2, "key_dim": 3}
    cases += [
        LayerCase(
            "embedding_penalties",
            "Embedding",
            ((4,),),
            {**table, **penalties("embeddings")},
            vocabulary=7,
        ),
        LayerCase(
            "embedding_initial",
            "Embedding",
            ((4,),),
            {**table, **initial("embeddings")},
            vocabulary=7,
        ),
        LayerCase(
            "multi_head_penalties",
            "MultiHeadAttention",
            ((3, 4), (5, 2)),
            {**heads, **penalties("kernel", "bias")},
        ),
        LayerCase(
            "multi_head_initial",
            "MultiHeadAttention",
            ((3, 4), (5, 2)),
            {**heads, **initial("kernel", "bias")},
        ),
    ]
    return cases


def _constraints() -> list[LayerCase]:
    """Norms over the axes that mean one filter, one word, one unit."""
    two = {"filters": 3, "kernel_size": 2}
    return [
        plain(
            "conv2d_max_norm",
            "Conv2D",
            (4, 3, 2),
            **two,
            kernel_constraint=("MaxNorm", {"max_value": 0.6, "axis": [0, 1, 2]}),
            bias_constraint=("NonNeg", {}),
        ),
        plain(
            "conv1d_unit_norm",
            "Conv1D",
            (5, 2),
            **two,
            kernel_constraint=("UnitNorm", {"axis": [0, 1]}),
        ),
        plain(
            "lstm_constraints",
            "LSTM",
            (3, 2),
            units=3,
            kernel_constraint=("NonNeg", {}),
            recurrent_constraint=("UnitNorm", {"axis": 1}),
            bias_constraint=("MaxNorm", {"max_value": 0.5}),
        ),
        LayerCase(
            "embedding_unit_norm",
            "Embedding",
            ((4,),),
            {
                "input_dim": 7,
                "output_dim": 3,
                "embeddings_constraint": ("UnitNorm", {"axis": 1}),
            },
            vocabulary=7,
        ),
    ]


def _convolutions() -> list[LayerCase]:
    one, two = {"filters": 4, "kernel_size": 3}, {"filters": 4, "kernel_size": (3, 2)}
    three = {"filters": 3, "kernel_size": (2, 3, 2)}
    depth = {"kernel_size": (3, 2)}
    return [
        plain("conv1d_no_bias", "Conv1D", (6, 3), **one, use_bias=False),
        plain("conv1d_first", "Conv1D", (3, 7), **one, **FIRST, padding="same", strides=2),
        plain("conv1d_first_causal", "Conv1D", (3, 7), **one, **FIRST, padding="causal"),
        plain("conv1d_groups", "Conv1D", (6, 4), **one, groups=2),
        plain("conv2d_groups", "Conv2D", (5, 4, 4), **two, groups=2, padding="same"),
        plain("conv2d_groups_first", "Conv2D", (4, 5, 4), **two, groups=4, **FIRST),
        plain("conv2d_dilated_first", "Conv2D", (2, 7, 6), **two, dilation_rate=2, **FIRST),
        plain("conv3d_first", "Conv3D", (2, 4, 3, 4), **three, **FIRST, padding="same"),
        plain("conv3d_first_stride", "Conv3D", (2, 4, 5, 4), **three, **FIRST, strides=(1, 2, 2)),
        plain("conv3d_dilated", "Conv3D", (5, 6, 4, 2), **three, dilation_rate=(1, 2, 3)),
        plain("conv3d_dilated_same", "Conv3D", (3, 4, 3, 2), **three, **SAME, dilation_rate=2),
        plain("conv3d_tanh", "Conv3D", (3, 4, 3, 2), **three, activation="tanh", use_bias=False),
        plain("conv3d_groups", "Conv3D", (3, 4, 3, 2), filters=4, kernel_size=2, groups=2),
        plain("conv1d_transpose", "Conv1DTranspose", (5, 2), **one),
        plain("conv1d_transpose_same", "Conv1DTranspose", (5, 2), **one, **SAME, strides=2),
        plain(
            "conv1d_transpose_stride",
            "Conv1DTranspose",
            (4, 2),
            **one,
            strides=3,
            activation="tanh",
            use_bias=False,
        ),
        plain("conv1d_transpose_first", "Conv1DTranspose", (2, 4), **one, **FIRST, strides=2),
        plain(
            "conv2d_transpose_first",
            "Conv2DTranspose",
            (2, 3, 4),
            **two,
            **FIRST,
            strides=2,
            activation="tanh",
            use_bias=False,
        ),
        plain("conv2d_transpose_first_same", "Conv2DTranspose", (2, 3, 4), **two, **FIRST, **SAME),
        *_output_padding(),
        plain("depthwise", "DepthwiseConv2D", (5, 4, 3), **depth),
        plain("depthwise_same", "DepthwiseConv2D", (5, 4, 3), **depth, **SAME, depth_multiplier=2),
        plain("depthwise_stride", "DepthwiseConv2D", (6, 5, 2), **depth, strides=2),
        plain("depthwise_dilated", "DepthwiseConv2D", (7, 6, 2), **depth, dilation_rate=2),
        plain(
            "depthwise_first",
            "DepthwiseConv2D",
            (3, 5, 4),
            **depth,
            **FIRST,
            activation="tanh",
            use_bias=False,
        ),
        plain("separable_conv1d", "SeparableConv1D", (6, 3), **one, depth_multiplier=2),
        plain("separable_conv1d_same", "SeparableConv1D", (6, 3), **one, **SAME, strides=2),
        plain("separable_conv1d_dilated", "SeparableConv1D", (8, 3), **one, dilation_rate=2),
        plain(
            "separable_conv1d_first",
            "SeparableConv1D",
            (3, 6),
            **one,
            **FIRST,
            activation="tanh",
            use_bias=False,
        ),
        plain("separable_conv2d_stride", "SeparableConv2D", (6, 5, 3), **two, strides=2),
        plain("separable_conv2d_dilated", "SeparableConv2D", (7, 6, 2), **two, dilation_rate=2),
        plain(
            "separable_conv2d_first",
            "SeparableConv2D",
            (3, 5, 4),
            **two,
            **FIRST,
            activation="tanh",
            use_bias=False,
        ),
        *_local(one, two),
    ]


def _output_padding() -> list[LayerCase]:
    rows: tuple[tuple[str, str, tuple[int, ...], dict[str, Any]], ...] = (
        ("1d", "Conv1DTranspose", (4, 2), {"kernel_size": 3, "strides": 2, "output_padding": 1}),
        (
            "2d",
            "Conv2DTranspose",
            (3, 4, 2),
            {"kernel_size": (3, 2), "strides": (3, 2), "output_padding": (2, 0)},
        ),
        (
            "2d_same",
            "Conv2DTranspose",
            (3, 4, 2),
            {"kernel_size": (3, 2), "strides": (3, 2), "output_padding": (1, 1), **SAME},
        ),
        (
            "2d_same_none",
            "Conv2DTranspose",
            (3, 4, 2),
            {"kernel_size": 3, "strides": 2, "output_padding": 0, **SAME},
        ),
    )
    return [
        LayerCase(
            f"output_padding_{name}",
            layer,
            (shape,),
            {"filters": 3, **config},
            reference="tf_keras",
        )
        for name, layer, shape, config in rows
    ]


def _local(one: dict[str, Any], two: dict[str, Any]) -> list[LayerCase]:
    rows: list[tuple[str, str, tuple[int, ...], dict[str, Any]]] = [
        ("local1d", "LocallyConnected1D", (6, 2), one),
        ("local1d_stride", "LocallyConnected1D", (7, 2), {**one, "strides": 2}),
        (
            "local1d_tanh",
            "LocallyConnected1D",
            (5, 2),
            {**one, "activation": "tanh", "use_bias": False},
        ),
        ("local1d_first", "LocallyConnected1D", (2, 6), {**one, **FIRST}),
        ("local2d", "LocallyConnected2D", (4, 5, 2), two),
        ("local2d_stride", "LocallyConnected2D", (5, 4, 2), {**two, "strides": (2, 1)}),
        (
            "local2d_tanh",
            "LocallyConnected2D",
            (4, 3, 2),
            {**two, "activation": "tanh", "use_bias": False},
        ),
        ("local2d_first", "LocallyConnected2D", (2, 4, 5), {**two, **FIRST, "strides": 2}),
    ]
    return [
        LayerCase(name, layer, (shape,), config, reference="tf_keras")
        for name, layer, shape, config in rows
    ]


def _pools() -> list[LayerCase]:
    cases = []
    for kind in ("Max", "Average"):
        short = kind.lower()
        cases += [
            plain(
                f"{short}_pool1d_first",
                f"{kind}Pooling1D",
                (3, 7),
                **FIRST,
                pool_size=3,
                strides=2,
                padding="same",
            ),
            plain(
                f"{short}_pool2d_first_same",
                f"{kind}Pooling2D",
                (2, 5, 4),
                **FIRST,
                pool_size=(3, 2),
                strides=(2, 1),
                padding="same",
            ),
            plain(f"global_{short}_pool1d_first", f"Global{kind}Pooling1D", (3, 5), **FIRST),
            plain(f"global_{short}_pool3d_first", f"Global{kind}Pooling3D", (2, 3, 2, 4), **FIRST),
        ]
    return cases


def _reshaping() -> list[LayerCase]:
    return [
        plain("flatten_first", "Flatten", (2, 3, 4), **FIRST),
        plain("up_sampling3d_first", "UpSampling3D", (2, 2, 3, 2), size=(1, 2, 3), **FIRST),
        plain("zero_padding3d_first", "ZeroPadding3D", (2, 2, 3, 2), padding=(1, 0, 2), **FIRST),
        plain(
            "cropping3d_first",
            "Cropping3D",
            (2, 4, 5, 4),
            cropping=((1, 0), (1, 2), (0, 1)),
            **FIRST,
        ),
        LayerCase(
            "embedding_length",
            "Embedding",
            ((6,),),
            {"input_dim": 9, "output_dim": 2, "input_length": 6},
            vocabulary=9,
        ),
    ]


def _normalizations() -> list[LayerCase]:
    return [
        plain("layer_norm", "LayerNormalization", (6,)),
        plain("layer_norm_axes", "LayerNormalization", (3, 4), axis=[1, 2], epsilon=0.02),
        plain("layer_norm_axis1", "LayerNormalization", (3, 4), axis=1),
        plain("layer_norm_plain", "LayerNormalization", (5,), center=False, scale=False),
        plain("group_norm", "GroupNormalization", (4, 6), groups=3),
        plain("group_norm_all", "GroupNormalization", (3, 2, 4), groups=-1, epsilon=0.02),
        plain("group_norm_axis1", "GroupNormalization", (6, 4), groups=2, axis=1),
        plain(
            "group_norm_plain", "GroupNormalization", (4, 4), groups=2, center=False, scale=False
        ),
    ]


def _activations_and_noise() -> list[LayerCase]:
    return [
        plain("relu_layer", "ReLU", (11,)),
        plain("relu_all", "ReLU", (21,), max_value=1.2, negative_slope=0.1, threshold=0.3),
        plain("softmax_layer", "Softmax", (4, 5)),
        plain("softmax_axis1", "Softmax", (4, 5), axis=1),
        plain("alpha_dropout_inference", "AlphaDropout", (9,), rate=0.4),
        plain("spatial_dropout3d_inference", "SpatialDropout3D", (2, 3, 2, 2), rate=0.5),
        plain("spatial_dropout2d_first", "SpatialDropout2D", (2, 3, 2), rate=0.5, **FIRST),
        plain("spatial_dropout3d_first", "SpatialDropout3D", (2, 3, 2, 2), rate=0.5, **FIRST),
        LayerCase(
            "activity_regularization",
            "Dense",
            ((4,),),
            {"units": 3},
            above=plain("top", "ActivityRegularization", (), l1=0.01, l2=0.02),
        ),
    ]


def _merges() -> list[LayerCase]:
    pair = ((4, 5), (4, 5))
    return [
        LayerCase("subtract", "Subtract", pair),
        LayerCase("minimum", "Minimum", (*pair, (4, 5))),
    ]


def _attention() -> list[LayerCase]:
    query, value, key = (3, 4), (5, 2), (5, 4)
    both, three = (query, key), (query, value, key)
    heads = {"num_heads": 2, "key_dim": 3}
    masked, causal = (True, True), {"use_causal_mask": True}
    return [
        LayerCase("attention", "Attention", both),
        LayerCase("attention_scale", "Attention", three, {"use_scale": True}),
        LayerCase("attention_concat", "Attention", three, {"score_mode": "concat"}),
        LayerCase("attention_masked", "Attention", both, masked=masked),
        LayerCase("attention_causal", "Attention", (query, query), call=causal),
        LayerCase("attention_dropout_inference", "Attention", both, {"dropout": 0.5}),
        LayerCase("additive_attention", "AdditiveAttention", three),
        LayerCase("additive_plain", "AdditiveAttention", both, {"use_scale": False}),
        LayerCase(
            "additive_masked", "AdditiveAttention", both, masked=masked, reference="tf_keras"
        ),
        LayerCase("additive_dropout_inference", "AdditiveAttention", both, {"dropout": 0.5}),
        LayerCase("multi_head", "MultiHeadAttention", both, heads),
        LayerCase(
            "multi_head_sizes",
            "MultiHeadAttention",
            three,
            {**heads, "value_dim": 2, "output_shape": 5, "use_bias": False},
            # Keras 3 on JAX fails where values and keys differ in size.
            reference="tf_keras",
        ),
        LayerCase("multi_head_masked", "MultiHeadAttention", both, heads, masked=(False, True)),
        LayerCase("multi_head_causal", "MultiHeadAttention", (query, query), heads, call=causal),
        LayerCase(
            "multi_head_dropout_inference", "MultiHeadAttention", both, {**heads, "dropout": 0.5}
        ),
    ]


ARGUMENTS: tuple[LayerCase, ...] = (
    *_weighted(),
    *_constraints(),
    *_convolutions(),
    *_pools(),
    *_reshaping(),
    *_normalizations(),
    *_activations_and_noise(),
    *_merges(),
    *_attention(),
)
