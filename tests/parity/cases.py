"""The cases that `make_golden.py` computes with a reference and the tests repeat with hornbeam.

Names and arguments are Keras 2's; the script translates them for the Keras it runs. This module
imports neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Training steps after which the weights are kept.
CHECKPOINTS = (1, 10, 100)


@dataclass(frozen=True)
class LayerCase:
    """One layer with its arguments.

    Args:
        name: what the case is called in the golden file.
        layer: the class's name in `keras.layers`.
        shapes: the shapes of its inputs, without the batch.
        config: its arguments.
        batch: samples in the batch.
        training: whether the outputs and gradients are those of the training phase.
        vocabulary: where given, the inputs are integers below it, else normal floats.
        inner: for a wrapper, the layer it wraps.
    """

    name: str
    layer: str
    shapes: tuple[tuple[int, ...], ...]
    config: dict[str, Any] = field(default_factory=dict)
    batch: int = 4
    training: bool = False
    vocabulary: int | None = None
    inner: LayerCase | None = None


ACTIVATIONS = (
    "softmax",
    "elu",
    "softplus",
    "softsign",
    "relu",
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "linear",
)


def _case(
    name: str, layer: str, shape: tuple[int, ...], *, training: bool = False, **config: Any
) -> LayerCase:
    return LayerCase(name, layer, (shape,), config, training=training)


def _core() -> list[LayerCase]:
    cases = [
        _case("dense", "Dense", (7,), units=5),
        _case("dense_no_bias", "Dense", (7,), units=5, use_bias=False, activation="relu"),
        _case("dense_softmax", "Dense", (7,), units=5, activation="softmax"),
        _case("dense_3d", "Dense", (6, 7), units=5, activation="tanh"),
        _case("flatten", "Flatten", (3, 4, 2)),
        _case("reshape", "Reshape", (3, 8), target_shape=(4, 6)),
        _case("reshape_inferred", "Reshape", (3, 8), target_shape=(-1, 2, 2)),
        _case("permute_2d", "Permute", (3, 5), dims=(2, 1)),
        _case("permute_3d", "Permute", (3, 5, 2), dims=(3, 1, 2)),
        _case("repeat_vector", "RepeatVector", (6,), n=3),
        _case("dropout_inference", "Dropout", (9,), rate=0.5),
        _case("activation_softmax_3d", "Activation", (4, 5), activation="softmax"),
    ]
    cases += [
        _case(f"activation_{name}", "Activation", (11,), activation=name) for name in ACTIVATIONS
    ]
    cases.append(
        LayerCase(
            "embedding", "Embedding", ((6,),), {"input_dim": 9, "output_dim": 5}, vocabulary=9
        )
    )
    return cases


def _convolutions() -> list[LayerCase]:
    one, two = {"filters": 5, "kernel_size": 3}, {"filters": 4, "kernel_size": (3, 2)}
    return [
        _case("conv1d_valid", "Conv1D", (10, 3), **one, padding="valid"),
        _case("conv1d_same", "Conv1D", (10, 3), **one, padding="same", activation="relu"),
        _case("conv1d_causal", "Conv1D", (10, 3), **one, padding="causal"),
        _case("conv1d_stride", "Conv1D", (11, 3), **one, strides=2, padding="same"),
        _case("conv1d_stride_valid", "Conv1D", (11, 3), **one, strides=3),
        _case("conv1d_dilated", "Conv1D", (12, 3), **one, dilation_rate=2, padding="same"),
        _case("conv1d_causal_dilated", "Conv1D", (12, 3), **one, dilation_rate=3, padding="causal"),
        _case("conv1d_one", "Conv1D", (6, 3), filters=5, kernel_size=1),
        _case("conv2d_valid", "Conv2D", (7, 6, 3), **two),
        _case("conv2d_same", "Conv2D", (7, 6, 3), **two, padding="same", activation="relu"),
        _case("conv2d_stride", "Conv2D", (8, 7, 3), **two, strides=(2, 1), padding="same"),
        _case("conv2d_stride_valid", "Conv2D", (8, 7, 3), **two, strides=2),
        _case("conv2d_dilated", "Conv2D", (9, 8, 2), **two, dilation_rate=(2, 3)),
        _case("conv2d_dilated_same", "Conv2D", (7, 7, 2), **two, dilation_rate=2, padding="same"),
        _case("conv2d_no_bias", "Conv2D", (6, 6, 3), **two, use_bias=False),
        _case("conv2d_one", "Conv2D", (5, 4, 3), filters=6, kernel_size=1),
        _case("conv2d_five", "Conv2D", (8, 8, 2), filters=3, kernel_size=5, padding="same"),
        _case("conv2d_wide", "Conv2D", (9, 10, 16), filters=16, kernel_size=3, padding="same"),
        _case("conv2d_wide_valid", "Conv2D", (9, 10, 16), filters=17, kernel_size=3),
        _case("conv2d_first", "Conv2D", (3, 7, 6), **two, data_format="channels_first"),
        _case(
            "conv2d_first_same_stride",
            "Conv2D",
            (3, 7, 6),
            **two,
            strides=2,
            padding="same",
            data_format="channels_first",
            activation="tanh",
        ),
    ]


def _pools() -> list[LayerCase]:
    cases = []
    shapes = {1: (9, 3), 2: (7, 6, 3), 3: (5, 6, 4, 2)}
    for rank, shape in shapes.items():
        for kind in ("Max", "Average"):
            short = f"{kind.lower()}_pool{rank}d"
            layer = f"{kind}Pooling{rank}D"
            cases += [
                _case(f"{short}_valid", layer, shape),
                _case(f"{short}_same", layer, shape, padding="same"),
                _case(f"{short}_overlap", layer, shape, pool_size=3, strides=2, padding="same"),
                _case(f"{short}_overlap_valid", layer, shape, pool_size=3, strides=1),
            ]
            if rank > 1:
                first = (shape[-1], *shape[:-1])
                cases.append(_case(f"{short}_first", layer, first, data_format="channels_first"))
            cases.append(_case(f"global_{short}", f"Global{layer}", shape))
    for kind in ("Max", "Average"):
        name = f"global_{kind.lower()}_pool2d_first"
        cases.append(_case(name, f"Global{kind}Pooling2D", (3, 5, 4), data_format="channels_first"))
    return cases


def _normalizations() -> list[LayerCase]:
    cases = []
    for phase in (False, True):
        suffix = "training" if phase else "inference"
        cases += [
            _case(f"batch_norm_{suffix}", "BatchNormalization", (6,), training=phase, momentum=0.9),
            _case(f"batch_norm_4d_{suffix}", "BatchNormalization", (4, 5, 3), training=phase),
            _case(
                f"batch_norm_axis1_{suffix}",
                "BatchNormalization",
                (3, 4, 5),
                training=phase,
                axis=1,
            ),
            _case(
                f"batch_norm_3d_axis1_{suffix}",
                "BatchNormalization",
                (4, 3),
                training=phase,
                axis=1,
                epsilon=0.01,
            ),
            _case(
                f"batch_norm_plain_{suffix}",
                "BatchNormalization",
                (6,),
                training=phase,
                center=False,
                scale=False,
            ),
        ]
    return cases


def _merges() -> list[LayerCase]:
    pair, triple = ((4, 5), (4, 5)), ((4, 5), (4, 5), (4, 5))
    cases = [
        LayerCase(name.lower(), name, triple) for name in ("Add", "Multiply", "Average", "Maximum")
    ]
    cases += [
        LayerCase("add_broadcast", "Add", ((4, 5), (1, 5))),
        LayerCase("concatenate", "Concatenate", ((4, 5), (4, 2))),
        LayerCase("concatenate_axis1", "Concatenate", ((4, 5), (2, 5), (1, 5)), {"axis": 1}),
        LayerCase("dot_vectors", "Dot", ((6,), (6,)), {"axes": 1}),
        LayerCase("dot_vectors_normalized", "Dot", ((6,), (6,)), {"axes": 1, "normalize": True}),
        LayerCase("dot_matrices", "Dot", ((4, 5), (5, 3)), {"axes": (2, 1)}),
        LayerCase("dot_last", "Dot", pair, {"axes": 2}),
        LayerCase("dot_first_normalized", "Dot", pair, {"axes": 1, "normalize": True}),
    ]
    return cases


def _recurrent() -> list[LayerCase]:
    cases = []
    for layer in ("SimpleRNN", "LSTM", "GRU"):
        short = layer.lower()
        cases += [
            _case(short, layer, (6, 4), units=5),
            _case(f"{short}_sequences", layer, (6, 4), units=5, return_sequences=True),
            _case(f"{short}_backwards", layer, (6, 4), units=3, go_backwards=True),
            _case(f"{short}_no_bias", layer, (3, 2), units=17, use_bias=False),
            _case(f"{short}_relu", layer, (4, 3), units=5, activation="relu"),
        ]
        inner = _case(short, layer, (5, 3), units=4, return_sequences=True)
        for mode in ("concat", "sum", "mul", "ave"):
            wrapped = {"merge_mode": mode}
            name = f"bidirectional_{short}_{mode}"
            cases.append(LayerCase(name, "Bidirectional", ((5, 3),), wrapped, inner=inner))
    for layer in ("LSTM", "GRU"):
        name = f"{layer.lower()}_sigmoid"
        cases.append(_case(name, layer, (6, 4), units=5, recurrent_activation="sigmoid"))
    dense = _case("dense", "Dense", (4,), units=3, activation="tanh")
    conv = _case("conv", "Conv2D", (5, 4, 2), filters=3, kernel_size=2)
    cases += [
        LayerCase("time_distributed_dense", "TimeDistributed", ((5, 4),), inner=dense),
        LayerCase("time_distributed_conv", "TimeDistributed", ((3, 5, 4, 2),), inner=conv),
    ]
    return cases


def _reshaping() -> list[LayerCase]:
    first = {"data_format": "channels_first"}
    return [
        _case("up_sampling1d", "UpSampling1D", (4, 3), size=3),
        _case("up_sampling2d", "UpSampling2D", (3, 4, 2), size=(2, 3)),
        _case("up_sampling2d_first", "UpSampling2D", (2, 3, 4), **first),
        _case("up_sampling3d", "UpSampling3D", (2, 3, 2, 2), size=(1, 2, 3)),
        _case("zero_padding1d", "ZeroPadding1D", (4, 3), padding=(2, 1)),
        _case("zero_padding2d", "ZeroPadding2D", (3, 4, 2), padding=((1, 0), (2, 3))),
        _case("zero_padding2d_first", "ZeroPadding2D", (2, 3, 4), padding=(1, 2), **first),
        _case("zero_padding3d", "ZeroPadding3D", (2, 3, 2, 2), padding=(1, 0, 2)),
        _case("cropping1d", "Cropping1D", (6, 3), cropping=(2, 1)),
        _case("cropping2d", "Cropping2D", (5, 6, 2), cropping=((1, 0), (2, 1))),
        _case("cropping2d_first", "Cropping2D", (2, 5, 6), cropping=(1, 2), **first),
        _case("cropping3d", "Cropping3D", (4, 5, 4, 2), cropping=((1, 0), (1, 2), (0, 1))),
    ]


def _further() -> list[LayerCase]:
    up, separable = {"filters": 4, "kernel_size": 3}, {"filters": 5, "kernel_size": (3, 2)}
    return [
        _case("conv3d_valid", "Conv3D", (5, 4, 5, 2), filters=3, kernel_size=(2, 3, 2)),
        _case("conv3d_same", "Conv3D", (5, 4, 3, 2), filters=3, kernel_size=2, padding="same"),
        _case("conv3d_stride", "Conv3D", (6, 5, 4, 2), filters=3, kernel_size=2, strides=(2, 1, 2)),
        _case("conv2d_transpose_valid", "Conv2DTranspose", (4, 5, 3), **up),
        _case("conv2d_transpose_same", "Conv2DTranspose", (4, 5, 3), **up, padding="same"),
        _case("conv2d_transpose_stride", "Conv2DTranspose", (4, 5, 3), **up, strides=2),
        _case(
            "conv2d_transpose_stride_same",
            "Conv2DTranspose",
            (4, 3, 3),
            **up,
            strides=(2, 3),
            padding="same",
        ),
        _case("separable_conv2d", "SeparableConv2D", (6, 5, 3), **separable, depth_multiplier=2),
        _case("separable_conv2d_same", "SeparableConv2D", (6, 5, 3), **separable, padding="same"),
        _case("leaky_relu", "LeakyReLU", (9,), alpha=0.2),
        _case("elu_layer", "ELU", (9,), alpha=0.7),
        _case("thresholded_relu", "ThresholdedReLU", (9,), theta=0.4),
        _case("prelu", "PReLU", (4, 3)),
        _case("prelu_shared", "PReLU", (4, 5, 3), shared_axes=[1, 2]),
        _case("gaussian_noise_inference", "GaussianNoise", (9,), stddev=0.5),
        _case("gaussian_dropout_inference", "GaussianDropout", (9,), rate=0.5),
        _case("spatial_dropout1d_inference", "SpatialDropout1D", (5, 3), rate=0.5),
        _case("spatial_dropout2d_inference", "SpatialDropout2D", (5, 4, 3), rate=0.5),
    ]


LAYERS: tuple[LayerCase, ...] = (
    *_core(),
    *_convolutions(),
    *_pools(),
    *_normalizations(),
    *_merges(),
    *_reshaping(),
    *_further(),
    *_recurrent(),
)

#: Loss name -> how its targets and predictions are drawn (see `make_golden.loss_data`).
LOSSES: dict[str, str] = {
    "mean_squared_error": "real",
    "mean_absolute_error": "real",
    "mean_absolute_percentage_error": "real",
    "mean_squared_logarithmic_error": "positive",
    "squared_hinge": "sign",
    "hinge": "sign",
    "categorical_hinge": "onehot",
    "logcosh": "real",
    "categorical_crossentropy": "onehot",
    "sparse_categorical_crossentropy": "sparse",
    "binary_crossentropy": "binary",
    "kullback_leibler_divergence": "distribution",
    "poisson": "positive",
    "cosine_proximity": "real",
}

METRICS: dict[str, str] = {
    "binary_accuracy": "binary",
    "categorical_accuracy": "onehot",
    "sparse_categorical_accuracy": "sparse",
    "top_k_categorical_accuracy": "onehot",
    "sparse_top_k_categorical_accuracy": "sparse",
}

#: Case name -> (class in `keras.optimizers`, its arguments). Arguments that are left out take
#: Keras 2's defaults, which the reference formulas repeat.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "sgd_momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}),
    "sgd_nesterov_decay": ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "decay": 0.01}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop_decay": ("RMSprop", {"lr": 0.002, "rho": 0.8, "decay": 0.02}),
    "adagrad": ("Adagrad", {}),
    "adagrad_decay": ("Adagrad", {"lr": 0.05, "epsilon": 1e-6, "decay": 0.01}),
    "adadelta": ("Adadelta", {}),
    "adadelta_decay": ("Adadelta", {"lr": 0.8, "rho": 0.9, "epsilon": 1e-6, "decay": 0.01}),
    "adam": ("Adam", {}),
    "adam_decay": ("Adam", {"lr": 0.01, "beta_1": 0.8, "beta_2": 0.99, "decay": 0.01}),
    "adamax": ("Adamax", {}),
    "adamax_decay": ("Adamax", {"lr": 0.01, "decay": 0.01}),
    "nadam": ("Nadam", {}),
    "nadam_schedule": ("Nadam", {"lr": 0.005, "schedule_decay": 0.01}),
    "sgd_clipnorm": ("SGD", {"lr": 0.1, "clipnorm": 0.05}),
    "sgd_clipvalue": ("SGD", {"lr": 0.1, "clipvalue": 0.01}),
    "adam_clipnorm": ("Adam", {"lr": 0.01, "clipnorm": 0.1}),
    "rmsprop_clipvalue": ("RMSprop", {"clipvalue": 0.02}),
}

#: Case name -> arguments of the two Dense layers whose training the penalty or constraint changes,
#: as {argument: (class in `keras.regularizers` or `keras.constraints`, its arguments)}.
REGULARIZERS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "kernel_l1": {"kernel_regularizer": ("L1L2", {"l1": 0.02})},
    "kernel_l2": {"kernel_regularizer": ("L1L2", {"l2": 0.05})},
    "kernel_bias_l1_l2": {
        "kernel_regularizer": ("L1L2", {"l1": 0.01, "l2": 0.02}),
        "bias_regularizer": ("L1L2", {"l2": 0.1}),
    },
    "activity_l2": {"activity_regularizer": ("L1L2", {"l2": 0.003})},
    "activity_l1_l2": {"activity_regularizer": ("L1L2", {"l1": 0.002, "l2": 0.001})},
}

CONSTRAINTS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "max_norm": {"kernel_constraint": ("MaxNorm", {"max_value": 0.8})},
    "max_norm_axis1": {"kernel_constraint": ("MaxNorm", {"max_value": 0.9, "axis": 1})},
    "non_neg": {
        "kernel_constraint": ("NonNeg", {}),
        "bias_constraint": ("NonNeg", {}),
    },
    "unit_norm": {"kernel_constraint": ("UnitNorm", {})},
    "min_max_norm": {
        "kernel_constraint": ("MinMaxNorm", {"min_value": 0.6, "max_value": 0.9, "rate": 0.7})
    },
}
