"""The base of the recurrent layers: states, masks, directions, and the run over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend as K
from ..engine import InputSpec, Layer

Shape = tuple[int | None, ...]


class Recurrent(Layer):
    """Abstract base of recurrent layers; use `LSTM`, `GRU` or `SimpleRNN`.

    Input: (samples, steps, features). Output: (samples, units), that of the last step, or with
    `return_sequences` (samples, steps, units). With `return_state` the output is a list of that and
    the last states, each (samples, units).

    Steps that a mask leaves out (from `Masking`, or `Embedding` with `mask_zero`) carry output and
    states over. Initial states are zeros, or given at the call: `layer(x, initial_state=[...])`.

    A stateful layer begins each batch with the last states of the batch before: sample i goes on
    where sample i left off. It needs a batch of known size (`batch_input_shape`, or `batch_size`),
    and `reset_states` sets the states back.

    Args:
        return_sequences: whether to return the output of every step.
        return_state: whether to return the last states too.
        go_backwards: whether to go from the last step to the first; the outputs come in the order
            in which they are computed.
        stateful: whether states are kept from batch to batch.
        unroll: accepted for compatibility; it does not change any result.
        implementation: 0, 1 or 2. With 2 one dropout mask serves all gates, else each gate has its
            own; without dropout it changes nothing.
        zero_output_for_mask: whether the output of a step that a mask leaves out is 0 among those
            of all steps, as within Keras 3's `Bidirectional`, instead of the one before.
        **kwargs: `input_dim` and `input_length`, an alternative to input_shape, and the keywords of
            `Layer`.

    A subclass defines `step`, `get_constants` and `preprocess_input`, and sets `units` and `states`
    (a list with one None for each state) in its constructor.
    """

    units: int

    def __init__(
        self,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        implementation: int = 0,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        if type(self) is Recurrent:
            raise TypeError(
                "Recurrent is the abstract base of the recurrent layers: use LSTM, GRU or SimpleRNN"
            )
        super().__init__(**kwargs)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        if implementation not in (0, 1, 2):
            raise ValueError(
                f"{type(self).__name__}: `implementation` must be 0, 1 or 2, got {implementation!r}"
            )
        self.implementation = implementation
        self.zero_output_for_mask = zero_output_for_mask
        self.supports_masking = True
        self.input_spec: Any = [InputSpec(ndim=3)]
        self.state_spec: Any = None
        self.states: list[Any] = [None]
        self.dropout = 0.0
        self.recurrent_dropout = 0.0

    def assert_input_compatibility(self, inputs: Any) -> None:
        """Check the inputs' shapes, and say what is missing below a layer that needs a sequence."""
        try:
            super().assert_input_compatibility(inputs)
        except ValueError as error:
            if "found ndim=2" not in str(error):
                raise
            raise ValueError(
                f"{error}. A recurrent layer reads a sequence: give the recurrent layer below it "
                "return_sequences=True, or its input the shape (samples, timesteps, features)."
            ) from error

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = input_shape[0] if isinstance(input_shape, list) else input_shape
        output: Shape = (first[0], self.units)
        if self.return_sequences:
            output = (first[0], first[1], self.units)
        if self.return_state:
            return [output] + [(first[0], self.units) for _ in self.states]
        return output

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        mask = mask[0] if isinstance(mask, list) else mask
        output_mask = mask if self.return_sequences else None
        return [output_mask, *(None for _ in self.states)] if self.return_state else output_mask

    def step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """Compute one step.

        Args:
            inputs: what `preprocess_input` made of the step's input.
            states: the states, followed by the constants.

        Returns:
            The output and the new states.
        """
        raise NotImplementedError(f"{type(self).__name__} must define step(inputs, states).")

    def get_constants(self, inputs: Any, training: Any = None) -> list[Any]:
        """Return tensors that are the same at every step, such as dropout masks."""
        return []

    def preprocess_input(self, inputs: Any, training: Any = None) -> Any:
        """Return what the steps get: the part of the work that all steps can do at once."""
        return inputs

    def get_initial_state(self, inputs: Any) -> list[Any]:
        """Return zeros for each state, of shape (samples, units)."""
        column = K.zeros_like(inputs[:, 0, :1], dtype=K.floatx())
        return [K.tile(column, (1, self.units)) for _ in self.states]

    def __call__(self, inputs: Any, initial_state: Any = None, **kwargs: Any) -> Any:
        """Apply the layer.

        Args:
            inputs: the sequence, or a list of it and the initial states.
            initial_state: a tensor or a list, one for each state; either all outputs of layers,
                which then are inputs of this one, or all other tensors, such as variables.
            **kwargs: `mask`, `training`.

        Raises:
            ValueError: when the initial states are of both kinds.
        """
        if isinstance(inputs, (list, tuple)) and len(inputs) > 1 and initial_state is None:
            inputs, initial_state = inputs[0], list(inputs[1:])
        if initial_state is None:
            return super().__call__(inputs, **kwargs)
        states = (
            list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        )
        from_layers = {hasattr(state, "_keras_history") for state in states}
        if len(from_layers) > 1:
            raise ValueError(
                f"{self.name}: the initial state of an RNN layer cannot be specified with a mix of "
                "Keras tensors and non-Keras tensors"
            )
        if from_layers == {False}:
            return super().__call__(inputs, initial_state=states, **kwargs)
        spec, state_spec = self.input_spec, self.state_spec
        self.input_spec = [
            *(spec if isinstance(spec, list) else [spec]),
            *(state_spec if isinstance(state_spec, list) else [state_spec]),
        ]
        try:
            return super().__call__([inputs, *states], **kwargs)
        finally:
            # The layer may be called again without states.
            self.input_spec = self.input_spec[:1]

    def _build_input(self, input_shape: Any) -> int:
        """Fix what the layer expects of its input and make kept states; return the features."""
        shape = input_shape[0] if isinstance(input_shape, list) else input_shape
        if shape[2] is None:
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: the number of features must be known, the "
                f"input's shape is {tuple(shape)}"
            )
        batch = shape[0] if self.stateful else None
        first = InputSpec(shape=(batch, None, shape[2]))
        self.input_spec = [first, *self.input_spec[1:]]
        if self.stateful:
            self.reset_states()
        return int(shape[2])

    def call(
        self, inputs: Any, mask: Any = None, training: Any = None, initial_state: Any = None
    ) -> Any:
        if isinstance(inputs, list):
            inputs, initial_state = inputs[0], inputs[1:]
        if not initial_state:
            initial_state = self.states if self.stateful else self.get_initial_state(inputs)
        mask = mask[0] if isinstance(mask, list) else mask
        if len(initial_state) != len(self.states):
            raise ValueError(
                f"Layer {self.name} has {len(self.states)} states but was passed "
                f"{len(initial_state)} initial states."
            )
        last, outputs, states = self._run(inputs, list(initial_state), mask, training)
        if self.stateful:
            self.add_update(
                [K.update(old, new) for old, new in zip(self.states, states, strict=True)], inputs
            )
        if self.return_sequences and self.zero_output_for_mask and mask is not None:
            # Outputs come in the order of the steps; the mask is in that of time.
            counts = K.reverse(mask, 1) if self.go_backwards else mask
            shown = K.cast(counts, K.dtype(outputs))
            outputs *= K.reshape(shown, [*(K.shape(shown)[i] for i in (0, 1)), *_ones(outputs)])
        output = outputs if self.return_sequences else last
        return [output, *states] if self.return_state else output

    def _run(self, inputs: Any, states: list[Any], mask: Any, training: Any) -> Any:
        """Go over time: return the last output, all outputs and the last states.

        Every step function takes this way. A layer for which the core has an operation over whole
        sequences overrides it and falls back on this where the operation does not apply.
        """
        return K.rnn(
            self.step,
            self.preprocess_input(inputs, training=training),
            states,
            go_backwards=self.go_backwards,
            mask=mask,
            constants=self.get_constants(inputs, training=training),
            unroll=self.unroll,
            input_length=K.int_shape(inputs)[1],
        )

    def _state_shape(self, batch: int) -> tuple[int, ...]:
        """Return the shape of a kept state."""
        return (batch, self.units)

    def reset_states(self, states: Any = None) -> None:
        """Set the kept states of a stateful layer.

        Args:
            states: an array, or a list with one for each state, of a state's shape; zeros by
                default.

        Raises:
            AttributeError: when the layer is not stateful.
            ValueError: when the batch size is unknown, or number or shapes do not fit.
        """
        if not self.stateful:
            raise AttributeError(f"Layer {self.name} must be stateful to have its states reset.")
        batch = self.input_spec[0].shape[0] if self.input_spec[0].shape else None
        if not batch:
            raise ValueError(
                f"Layer {self.name} is stateful and needs to know its batch size. Give it: in a "
                "Sequential model by `batch_input_shape` of the first layer, with the functional "
                "API by `batch_shape` of Input."
            )
        shape = self._state_shape(batch)
        if self.states[0] is None:
            self.states = [K.zeros(shape) for _ in self.states]
        if states is None:
            values: Sequence[Any] = [np.zeros(shape) for _ in self.states]
        else:
            values = list(states) if isinstance(states, (list, tuple)) else [states]
        if len(values) != len(self.states):
            raise ValueError(
                f"Layer {self.name} expects {len(self.states)} states, but it received "
                f"{len(values)} state values."
            )
        for i, value in enumerate(values):
            if np.shape(value) != shape:
                raise ValueError(
                    f"State {i} is incompatible with layer {self.name}: expected shape={shape}, "
                    f"found shape={np.shape(value)}"
                )
        K.batch_set_value(list(zip(self.states, values, strict=True)))

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "implementation": self.implementation,
        }
        if self.zero_output_for_mask:
            config["zero_output_for_mask"] = True
        return config


def _ones(outputs: Any) -> list[int]:
    """Return a 1 for each axis behind samples and steps."""
    return [1] * (K.ndim(outputs) - 2)


def dropout_masks(like: Any, size: int, rate: float, count: int, training: Any) -> list[Any]:
    """Draw dropout masks that hold for all steps of a sequence.

    Args:
        like: tensor whose first axis is that of the samples.
        size: features of a mask.
        rate: fraction that is dropped.
        count: how many masks.
        training: the phase, as `call` gets it.

    Returns:
        Tensors of shape (samples, size), all ones outside of training; none when `rate` is 0.
    """
    if not 0.0 < rate < 1.0:
        return []
    ones = K.tile(K.ones_like(like[:, 0, :1], dtype=K.floatx()), (1, size))
    return [
        K.in_train_phase(lambda: K.dropout(ones, rate), ones, training=training)
        for _ in range(count)
    ]


def project(inputs: Any, kernel: Any, bias: Any, masks: list[Any]) -> Any:
    """Apply the input's part of all gates to all steps in one product.

    Args:
        inputs: (samples, steps, features).
        kernel: (features, gates * units).
        bias: (gates * units,), or None.
        masks: no dropout mask, one for all gates, or one for each, of shape (samples, features).

    Returns:
        (samples, steps, gates * units).
    """
    if len(masks) <= 1:
        if masks:
            inputs = inputs * K.expand_dims(masks[0], 1)
        projected = K.dot(inputs, kernel)
    else:
        units = K.int_shape(kernel)[1] // len(masks)
        parts = [
            K.dot(inputs * K.expand_dims(mask, 1), kernel[:, i * units : (i + 1) * units])
            for i, mask in enumerate(masks)
        ]
        projected = K.concatenate(parts, axis=-1)
    return projected if bias is None else K.bias_add(projected, bias, data_format="channels_last")


def recur(state: Any, kernel: Any, masks: list[Any]) -> Any:
    """Apply the state's part of gates in one product.

    Args:
        state: (samples, units).
        kernel: (units, gates * units).
        masks: no dropout mask, one for all gates, or one for each, of shape (samples, units).

    Returns:
        (samples, gates * units).
    """
    if not masks:
        return K.dot(state, kernel)
    if len(masks) == 1:
        return K.dot(state * masks[0], kernel)
    units = K.int_shape(kernel)[1] // len(masks)
    parts = [
        K.dot(state * mask, kernel[:, i * units : (i + 1) * units]) for i, mask in enumerate(masks)
    ]
    return K.concatenate(parts, axis=-1)
