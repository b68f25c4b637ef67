"""The cases that `make_golden.py` computes with a reference and the tests repeat with hornbeam.

Names and arguments are Keras 2's; the script translates them for the Keras it runs. This module
imports neither.
"""

from __future__ import annotations

from typing import Any

from parity.argument_cases import ARGUMENTS
from parity.layer_case import LayerCase, plain
from parity.recurrent_cases import RECURRENT

#: Training steps after which the weights are kept.
CHECKPOINTS = (1, 10, 100)


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
    "selu",
    "gelu",
    "swish",
    "relu6",
    "exponential",
)


def _core() -> list[LayerCase]:
    cases = [
        plain("dense", "Dense", (7,), units=5),
        plain("dense_no_bias", "Dense", (7,), units=5, use_bias=False, activation="relu"),
        plain("dense_softmax", "Dense", (7,), units=5, activation="softmax"),
        plain("dense_3d", "Dense", (6, 7), units=5, activation="tanh"),
        plain("flatten", "Flatten", (3, 4, 2)),
        plain("reshape", "Reshape", (3, 8), target_shape=(4, 6)),
        plain("reshape_inferred", "Reshape", (3, 8), target_shape=(-1, 2, 2)),
        plain("permute_2d", "Permute", (3, 5), dims=(2, 1)),
        plain("permute_3d", "Permute", (3, 5, 2), dims=(3, 1, 2)),
        plain("repeat_vector", "RepeatVector", (6,), n=3),
        plain("dropout_inference", "Dropout", (9,), rate=0.5),
        plain("activation_softmax_3d", "Activation", (4, 5), activation="softmax"),
    ]
    cases += [
        plain(f"activation_{name}", "Activation", (11,), activation=name) for name in ACTIVATIONS
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
        plain("conv1d_valid", "Conv1D", (10, 3), **one, padding="valid"),
        plain("conv1d_same", "Conv1D", (10, 3), **one, padding="same", activation="relu"),
        plain("conv1d_causal", "Conv1D", (10, 3), **one, padding="causal"),
        plain("conv1d_stride", "Conv1D", (11, 3), **one, strides=2, padding="same"),
        plain("conv1d_stride_valid", "Conv1D", (11, 3), **one, strides=3),
        plain("conv1d_dilated", "Conv1D", (12, 3), **one, dilation_rate=2, padding="same"),
        plain("conv1d_causal_dilated", "Conv1D", (12, 3), **one, dilation_rate=3, padding="causal"),
        plain("conv1d_one", "Conv1D", (6, 3), filters=5, kernel_size=1),
        plain("conv2d_valid", "Conv2D", (7, 6, 3), **two),
        plain("conv2d_same", "Conv2D", (7, 6, 3), **two, padding="same", activation="relu"),
        plain("conv2d_stride", "Conv2D", (8, 7, 3), **two, strides=(2, 1), padding="same"),
        plain("conv2d_stride_valid", "Conv2D", (8, 7, 3), **two, strides=2),
        plain("conv2d_dilated", "Conv2D", (9, 8, 2), **two, dilation_rate=(2, 3)),
        plain("conv2d_dilated_same", "Conv2D", (7, 7, 2), **two, dilation_rate=2, padding="same"),
        plain("conv2d_no_bias", "Conv2D", (6, 6, 3), **two, use_bias=False),
        plain("conv2d_one", "Conv2D", (5, 4, 3), filters=6, kernel_size=1),
        plain("conv2d_five", "Conv2D", (8, 8, 2), filters=3, kernel_size=5, padding="same"),
        plain("conv2d_wide", "Conv2D", (9, 10, 16), filters=16, kernel_size=3, padding="same"),
        plain("conv2d_wide_valid", "Conv2D", (9, 10, 16), filters=17, kernel_size=3),
        plain("conv2d_first", "Conv2D", (3, 7, 6), **two, data_format="channels_first"),
        plain(
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
                plain(f"{short}_valid", layer, shape),
                plain(f"{short}_same", layer, shape, padding="same"),
                plain(f"{short}_overlap", layer, shape, pool_size=3, strides=2, padding="same"),
                plain(f"{short}_overlap_valid", layer, shape, pool_size=3, strides=1),
            ]
            if rank > 1:
                first = (shape[-1], *shape[:-1])
                cases.append(plain(f"{short}_first", layer, first, data_format="channels_first"))
            cases.append(plain(f"global_{short}", f"Global{layer}", shape))
    for kind in ("Max", "Average"):
        name = f"global_{kind.lower()}_pool2d_first"
        cases.append(plain(name, f"Global{kind}Pooling2D", (3, 5, 4), data_format="channels_first"))
    return cases


def _normalizations() -> list[LayerCase]:
    cases = []
    for phase in (False, True):
        suffix = "training" if phase else "inference"
        cases += [
            plain(f"batch_norm_{suffix}", "BatchNormalization", (6,), training=phase, momentum=0.9),
            plain(f"batch_norm_4d_{suffix}", "BatchNormalization", (4, 5, 3), training=phase),
            plain(
                f"batch_norm_axis1_{suffix}",
                "BatchNormalization",
                (3, 4, 5),
                training=phase,
                axis=1,
            ),
            plain(
                f"batch_norm_3d_axis1_{suffix}",
                "BatchNormalization",
                (4, 3),
                training=phase,
                axis=1,
                epsilon=0.01,
            ),
            plain(
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
            plain(short, layer, (6, 4), units=5),
            plain(f"{short}_sequences", layer, (6, 4), units=5, return_sequences=True),
            plain(f"{short}_backwards", layer, (6, 4), units=3, go_backwards=True),
            plain(f"{short}_no_bias", layer, (3, 2), units=17, use_bias=False),
            plain(f"{short}_relu", layer, (4, 3), units=5, activation="relu"),
        ]
        inner = plain(short, layer, (5, 3), units=4, return_sequences=True)
        for mode in ("concat", "sum", "mul", "ave"):
            wrapped = {"merge_mode": mode}
            name = f"bidirectional_{short}_{mode}"
            cases.append(LayerCase(name, "Bidirectional", ((5, 3),), wrapped, inner=inner))
    for layer in ("LSTM", "GRU"):
        name = f"{layer.lower()}_sigmoid"
        cases.append(plain(name, layer, (6, 4), units=5, recurrent_activation="sigmoid"))
    dense = plain("dense", "Dense", (4,), units=3, activation="tanh")
    conv = plain("conv", "Conv2D", (5, 4, 2), filters=3, kernel_size=2)
    cases += [
        LayerCase("time_distributed_dense", "TimeDistributed", ((5, 4),), inner=dense),
        LayerCase("time_distributed_conv", "TimeDistributed", ((3, 5, 4, 2),), inner=conv),
    ]
    return cases


def _reshaping() -> list[LayerCase]:
    first = {"data_format": "channels_first"}
    return [
        plain("up_sampling1d", "UpSampling1D", (4, 3), size=3),
        plain("up_sampling2d", "UpSampling2D", (3, 4, 2), size=(2, 3)),
        plain("up_sampling2d_first", "UpSampling2D", (2, 3, 4), **first),
        plain("up_sampling3d", "UpSampling3D", (2, 3, 2, 2), size=(1, 2, 3)),
        plain("zero_padding1d", "ZeroPadding1D", (4, 3), padding=(2, 1)),
        plain("zero_padding2d", "ZeroPadding2D", (3, 4, 2), padding=((1, 0), (2, 3))),
        plain("zero_padding2d_first", "ZeroPadding2D", (2, 3, 4), padding=(1, 2), **first),
        plain("zero_padding3d", "ZeroPadding3D", (2, 3, 2, 2), padding=(1, 0, 2)),
        plain("cropping1d", "Cropping1D", (6, 3), cropping=(2, 1)),
        plain("cropping2d", "Cropping2D", (5, 6, 2), cropping=((1, 0), (2, 1))),
        plain("cropping2d_first", "Cropping2D", (2, 5, 6), cropping=(1, 2), **first),
        plain("cropping3d", "Cropping3D", (4, 5, 4, 2), cropping=((1, 0), (1, 2), (0, 1))),
    ]


def _further() -> list[LayerCase]:
    up, separable = {"filters": 4, "kernel_size": 3}, {"filters": 5, "kernel_size": (3, 2)}
    return [
        plain("conv3d_valid", "Conv3D", (5, 4, 5, 2), filters=3, kernel_size=(2, 3, 2)),
        plain("conv3d_same", "Conv3D", (5, 4, 3, 2), filters=3, kernel_size=2, padding="same"),
        plain("conv3d_stride", "Conv3D", (6, 5, 4, 2), filters=3, kernel_size=2, strides=(2, 1, 2)),
        plain("conv2d_transpose_valid", "Conv2DTranspose", (4, 5, 3), **up),
        plain("conv2d_transpose_same", "Conv2DTranspose", (4, 5, 3), **up, padding="same"),
        plain("conv2d_transpose_stride", "Conv2DTranspose", (4, 5, 3), **up, strides=2),
        plain(
            "conv2d_transpose_stride_same",
            "Conv2DTranspose",
            (4, 3, 3),
            **up,
            strides=(2, 3),
            padding="same",
        ),
        plain("separable_conv2d", "SeparableConv2D", (6, 5, 3), **separable, depth_multiplier=2),
        plain("separable_conv2d_same", "SeparableConv2D", (6, 5, 3), **separable, padding="same"),
        plain("leaky_relu", "LeakyReLU", (9,), alpha=0.2),
        plain("elu_layer", "ELU", (9,), alpha=0.7),
        plain("thresholded_relu", "ThresholdedReLU", (9,), theta=0.4),
        plain("prelu", "PReLU", (4, 3)),
        plain("prelu_shared", "PReLU", (4, 5, 3), shared_axes=[1, 2]),
        plain("gaussian_noise_inference", "GaussianNoise", (9,), stddev=0.5),
        plain("gaussian_dropout_inference", "GaussianDropout", (9,), rate=0.5),
        plain("spatial_dropout1d_inference", "SpatialDropout1D", (5, 3), rate=0.5),
        plain("spatial_dropout2d_inference", "SpatialDropout2D", (5, 4, 3), rate=0.5),
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
    *ARGUMENTS,
    *RECURRENT,
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
    "huber": "real",
    "cosine_similarity": "real",
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
    "sgd_nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "sgd_decay": ("SGD", {"lr": 0.1, "decay": 0.05}),
    "sgd_momentum_clipnorm": ("SGD", {"lr": 0.1, "momentum": 0.9, "clipnorm": 0.1}),
    "rmsprop_clipnorm": ("RMSprop", {"clipnorm": 0.05}),
    "rmsprop_epsilon": ("RMSprop", {"lr": 0.01, "epsilon": 0.01}),
    "adagrad_clipnorm": ("Adagrad", {"clipnorm": 0.05}),
    "adagrad_clipvalue": ("Adagrad", {"clipvalue": 0.02}),
    "adadelta_clipnorm": ("Adadelta", {"clipnorm": 0.05}),
    "adadelta_clipvalue": ("Adadelta", {"clipvalue": 0.02}),
    "adam_clipvalue": ("Adam", {"clipvalue": 0.02}),
    "adam_epsilon": ("Adam", {"lr": 0.01, "epsilon": 0.01}),
    "adamax_clipnorm": ("Adamax", {"clipnorm": 0.05}),
    "adamax_clipvalue": ("Adamax", {"clipvalue": 0.02}),
    "adamax_betas": ("Adamax", {"beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-4}),
    "nadam_clipnorm": ("Nadam", {"clipnorm": 0.05}),
    "nadam_clipvalue": ("Nadam", {"clipvalue": 0.02}),
    "nadam_betas": ("Nadam", {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-4}),
    # Of later releases of Keras.
    "adam_amsgrad": ("Adam", {"lr": 0.01, "beta_2": 0.9, "amsgrad": True}),
    "adamw": ("AdamW", {"lr": 0.01, "weight_decay": 0.02}),
    "sgd_clipnorm_per_variable": ("SGD", {"lr": 0.1, "clipnorm_per_variable": 0.05}),
    "rmsprop_momentum": ("RMSprop", {"momentum": 0.8, "epsilon_inside": True}),
    "rmsprop_centered": ("RMSprop", {"centered": True, "epsilon_inside": True, "epsilon": 1e-4}),
    "adagrad_inside": ("Adagrad", {"epsilon_inside": True, "initial_accumulator_value": 0.1}),
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
