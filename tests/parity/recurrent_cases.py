"""Cases of recurrent layers: masks, states, wrappers around them, and layers that pass masks on."""

from __future__ import annotations

from typing import Any

from parity.layer_case import LayerCase, initial, plain

SHAPE = (5, 3)
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "simplernn": ("SimpleRNN", {}),
    "gru": ("GRU", {}),
    "gru_after": ("GRU", {"reset_after": True}),
    "lstm": ("LSTM", {}),
}
FIRST: dict[str, Any] = {"data_format": "channels_first"}
ABOVE = plain("above", "LSTM", (), units=3)
ON = (True,)


def _tf(
    name: str, layer: str, shapes: tuple[tuple[int, ...], ...], config: Any, **more: Any
) -> LayerCase:
    return LayerCase(name, layer, shapes, config, reference="tf_keras", **more)


def _kind(short: str) -> list[LayerCase]:
    layer, own = KINDS[short]
    base = {"units": 4, **own}
    sequences = {**base, "return_sequences": True}
    whole = {**sequences, "return_state": True}
    states = ((4,),) * (2 if layer == "LSTM" else 1)
    one = (SHAPE,)
    cases = [
        _tf(f"{short}_masked", layer, one, base, masked=ON),
        _tf(f"{short}_masked_sequences", layer, one, sequences, masked=ON),
        _tf(
            f"{short}_masked_backwards", layer, one, {**sequences, "go_backwards": True}, masked=ON
        ),
        _tf(f"{short}_masked_unrolled", layer, one, {**sequences, "unroll": True}, masked=ON),
        _tf(f"{short}_state", layer, one, {**base, "return_state": True}),
        _tf(f"{short}_state_sequences", layer, one, whole),
        _tf(f"{short}_masked_state", layer, one, {**base, "return_state": True}, masked=ON),
        _tf(f"{short}_stateful", layer, one, {**base, "stateful": True}, calls=3),
        _tf(
            f"{short}_stateful_sequences",
            layer,
            one,
            {**sequences, "stateful": True, "go_backwards": True},
            calls=2,
        ),
        _tf(f"{short}_stateful_masked", layer, one, {**base, "stateful": True}, masked=ON, calls=2),
        _tf(f"{short}_unrolled", layer, one, {**sequences, "unroll": True}),
        _tf(f"{short}_initial_state", layer, (SHAPE, *states), base),
        _tf(f"{short}_initial_state_sequences", layer, (SHAPE, *states), whole),
        _tf(
            f"{short}_dropout_inference",
            layer,
            one,
            {**base, "dropout": 0.4, "recurrent_dropout": 0.3},
        ),
    ]
    cases += [
        _tf(f"{short}_implementation{i}", layer, one, {**base, "implementation": i}) for i in (1, 2)
    ]
    dropped = {**sequences, "dropout": 0.4, "recurrent_dropout": 0.3}
    cases += [
        # No other implementation draws the same numbers.
        LayerCase(
            f"{short}_dropout_training{i}",
            layer,
            one,
            {**dropped, "implementation": i},
            masked=ON,
            training=True,
            reference=None,
        )
        for i in (0, 2)
    ]
    inner = LayerCase(short, layer, one, {**base, "units": 3})
    longer = LayerCase(short, layer, one, {**base, "units": 3, "return_sequences": True})
    both = LayerCase(short, layer, one, {**longer.config, "return_state": True})
    back = LayerCase(short, layer, one, {**longer.config, "go_backwards": True})
    kept = LayerCase(short, layer, one, {**longer.config, "stateful": True})
    begin = ((3,),) * (2 * len(states))
    cases += [
        _tf(f"bidirectional_{short}_masked", "Bidirectional", one, {}, inner=inner, masked=ON),
        _tf(
            f"bidirectional_{short}_masked_sequences",
            "Bidirectional",
            one,
            {"merge_mode": "sum"},
            inner=longer,
            masked=ON,
            above=ABOVE,
        ),
        _tf(
            f"bidirectional_{short}_apart", "Bidirectional", one, {"merge_mode": None}, inner=longer
        ),
        _tf(f"bidirectional_{short}_state", "Bidirectional", one, {}, inner=both),
        _tf(f"bidirectional_{short}_initial", "Bidirectional", (SHAPE, *begin), {}, inner=longer),
        _tf(f"bidirectional_{short}_backwards", "Bidirectional", one, {}, inner=back),
        _tf(f"bidirectional_{short}_stateful", "Bidirectional", one, {}, inner=kept, calls=2),
        _tf(f"time_distributed_{short}", "TimeDistributed", ((2, *SHAPE),), {}, inner=longer),
    ]
    return cases


def _options() -> list[LayerCase]:
    gates = {"recurrent_activation": "sigmoid", "activation": "softsign"}
    forget = {"units": 3, "unit_forget_bias": False, **initial("kernel", "recurrent", "bias")}
    return [
        _tf("gru_after_no_bias", "GRU", (SHAPE,), {"units": 4, "reset_after": True, "use_bias": 0}),
        _tf("gru_after_sigmoid", "GRU", (SHAPE,), {"units": 4, "reset_after": True, **gates}),
        _tf("lstm_softsign", "LSTM", (SHAPE,), {"units": 4, **gates}, masked=ON),
        _tf("lstm_forget_bias", "LSTM", (SHAPE,), forget),
        _tf("conv_lstm_forget_bias", "ConvLSTM2D", ((2, 3, 3, 2),), {**IMAGE, **forget_of(forget)}),
    ]


def forget_of(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k != "units"}


IMAGE: dict[str, Any] = {"filters": 2, "kernel_size": 2}


def _convolutional() -> list[LayerCase]:
    shape, first = (3, 4, 5, 2), (3, 2, 4, 5)
    base: dict[str, Any] = {"filters": 3, "kernel_size": (3, 2)}
    layer = "ConvLSTM2D"
    inner = LayerCase("conv", layer, (shape,), {**IMAGE, "return_sequences": True})
    kept = {**base, "stateful": True}
    return [
        plain("conv_lstm", layer, shape, **base),
        plain("conv_lstm_sequences", layer, shape, **base, return_sequences=True, padding="same"),
        plain(
            "conv_lstm_backwards", layer, shape, **base, return_sequences=True, go_backwards=True
        ),
        plain("conv_lstm_stride", layer, shape, **base, strides=(2, 1), padding="same"),
        plain("conv_lstm_dilated", layer, (2, 6, 6, 2), **base, dilation_rate=(2, 3)),
        plain("conv_lstm_first", layer, first, **base, **FIRST),
        plain("conv_lstm_first_same", layer, first, **base, **FIRST, padding="same", strides=2),
        plain(
            "conv_lstm_gates",
            layer,
            shape,
            **base,
            activation="relu",
            recurrent_activation="sigmoid",
            use_bias=False,
        ),
        _tf(
            "conv_lstm_initial_state",
            layer,
            (shape, (4, 5, 3), (4, 5, 3)),
            {**base, "padding": "same"},
        ),
        _tf("conv_lstm_state", layer, (shape,), {**base, "return_state": True}),
        _tf("conv_lstm_stateful", layer, (shape,), {**kept, "return_sequences": True}, calls=3),
        _tf(
            "conv_lstm_dropout_inference",
            layer,
            (shape,),
            {**base, "dropout": 0.4, "recurrent_dropout": 0.3},
        ),
        LayerCase(
            "conv_lstm_dropout_training",
            layer,
            ((2, 3, 4, 2),),
            {**IMAGE, "dropout": 0.4, "recurrent_dropout": 0.3},
            training=True,
            reference=None,
        ),
        _tf("bidirectional_conv_lstm", "Bidirectional", (shape,), {}, inner=inner),
    ]


def _wrapped() -> list[LayerCase]:
    dense = plain("dense", "Dense", (3,), units=4, activation="tanh")
    lstm = plain("lstm", "LSTM", SHAPE, units=3, return_sequences=True)
    twice = LayerCase("twice", "Bidirectional", (SHAPE,), {"merge_mode": "ave"}, inner=lstm)
    conv = plain("conv", "Conv2D", (3, 4, 2), filters=2, kernel_size=2)
    rows = LayerCase("rows", "TimeDistributed", ((4, 3, 4, 2),), inner=conv)
    norm = plain("norm", "BatchNormalization", (3,))
    return [
        _tf(
            "time_distributed_masked",
            "TimeDistributed",
            (SHAPE,),
            {},
            inner=dense,
            masked=ON,
            above=ABOVE,
        ),
        _tf("time_distributed_bidirectional", "TimeDistributed", ((2, *SHAPE),), {}, inner=twice),
        _tf("time_distributed_twice", "TimeDistributed", ((2, 4, 3, 4, 2),), {}, inner=rows),
        _tf("time_distributed_norm", "TimeDistributed", (SHAPE,), {}, inner=norm),
        # Statistics over samples and steps.
        LayerCase(
            "time_distributed_norm_training",
            "TimeDistributed",
            (SHAPE,),
            inner=norm,
            training=True,
            reference=None,
        ),
    ]


#: Layers that pass a mask on, with their arguments.
PASSING: dict[str, dict[str, Any]] = {
    "Dense": {"units": 3},
    "Dropout": {"rate": 0.5},
    "SpatialDropout1D": {"rate": 0.5},
    "Activation": {"activation": "tanh"},
    "ActivityRegularization": {"l2": 0.01},
    "GaussianNoise": {"stddev": 0.5},
    "GaussianDropout": {"rate": 0.5},
    "AlphaDropout": {"rate": 0.5},
    "LeakyReLU": {"alpha": 0.2},
    "PReLU": {"shared_axes": [1]},
    "ELU": {"alpha": 0.5},
    "ThresholdedReLU": {"theta": 0.3},
    "ReLU": {"max_value": 1.0},
    "LayerNormalization": {},
}
RANDOM = ("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout")


def _masks() -> list[LayerCase]:
    pair, masked = (SHAPE, SHAPE), (True, True)
    table = {"input_dim": 5, "output_dim": 3, "mask_zero": True}
    cases = [
        _tf(f"mask_through_{layer.lower()}", layer, (SHAPE,), config, masked=ON, above=ABOVE)
        for layer, config in PASSING.items()
    ]
    cases += [
        _tf(f"mask_of_{layer.lower()}", layer, pair, {}, masked=masked, above=ABOVE)
        for layer in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    ]
    return [
        *cases,
        _tf("mask_of_one_of_two", "Add", pair, {}, masked=(True, False), above=ABOVE),
        _tf("mask_of_other", "Multiply", pair, {}, masked=(False, True), above=ABOVE),
        _tf("mask_of_features_of_one", "Concatenate", pair, {}, masked=(True, False), above=ABOVE),
        _tf("mask_of_steps", "Concatenate", pair, {"axis": 1}, masked=masked, above=ABOVE),
        _tf("masking", "Masking", (SHAPE,), {}, masked=ON, above=ABOVE),
        _tf("masking_value", "Masking", (SHAPE,), {"mask_value": 1.5}, above=ABOVE),
        _tf("embedding_masked", "Embedding", ((6,),), table, vocabulary=5, above=ABOVE),
        _tf("embedding_masked_alone", "Embedding", ((6,),), table, vocabulary=5),
    ]


RECURRENT: tuple[LayerCase, ...] = (
    *(case for short in KINDS for case in _kind(short)),
    *_options(),
    *_convolutional(),
    *_wrapped(),
    *_masks(),
)
