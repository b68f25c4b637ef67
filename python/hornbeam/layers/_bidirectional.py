"""The wrapper that runs a recurrent layer in both directions."""

from __future__ import annotations

from typing import Any

from .. import backend as K
from ..utils.generic_utils import CustomObjectScope, custom_objects_of, has_arg
from ._wrapper import Wrapper

MERGE_MODES = ("sum", "mul", "ave", "concat", None)


class Bidirectional(Wrapper):
    """Run a recurrent layer from both ends and merge the results (Schuster and Paliwal, 1997).

    With `return_sequences` the backward outputs are put into the order of the input's steps first.

    Weights: those of the forward layer, then those of the backward one.

    Args:
        layer: a recurrent layer; the forward one is made from its config, as is the backward one
            with `go_backwards` flipped.
        merge_mode: 'concat' (the features side by side), 'sum', 'mul', 'ave', or None for a list of
            both results.
        weights: arrays to begin with, the first half for the forward layer.
        **kwargs: the keywords of `Layer`.

    Raises:
        ValueError: for another merge mode, or a layer that is not recurrent.
    """

    def __init__(
        self, layer: Any, merge_mode: str | None = "concat", weights: Any = None, **kwargs: Any
    ) -> None:
        if merge_mode not in MERGE_MODES:
            raise ValueError(
                f"Bidirectional: invalid merge mode {merge_mode!r}. Merge mode should be one of "
                f"{MERGE_MODES}"
            )
        if not hasattr(layer, "go_backwards"):
            raise ValueError(
                f"Bidirectional: expected a recurrent layer, such as LSTM(8), got {layer!r}"
            )
        super().__init__(layer, **kwargs)
        self.merge_mode = merge_mode
        config = layer.get_config()
        # Where the wrapper begins a model, the wrapped layer's input is the wrapper's.
        for key in ("batch_input_shape", "dtype"):
            if key in config and not hasattr(self, key):
                setattr(self, key, config[key])
        forward = {**config, "name": f"forward_{layer.name}"}
        backward = {**config, "name": f"backward_{layer.name}"}
        backward["go_backwards"] = not config["go_backwards"]
        with CustomObjectScope(custom_objects_of([layer], config)):
            self.forward_layer = type(layer).from_config(forward)
            self.backward_layer = type(layer).from_config(backward)
        self._initial_weights = weights
        self.stateful = layer.stateful
        self.return_sequences = layer.return_sequences
        self.return_state = getattr(layer, "return_state", False)
        self.supports_masking = True
        self.input_spec = layer.input_spec

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; setting it sets it on both layers."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = value
        for name in ("layer", "forward_layer", "backward_layer"):
            if getattr(self, name, None) is not None:
                getattr(self, name).trainable = value

    def _wrapped(self) -> list[Any]:
        return [self.forward_layer, self.backward_layer]

    def _scope_of(self, layer: Any) -> str:
        return f"{self.name}/{layer.name}"

    def build(self, input_shape: Any) -> None:
        self._build_wrapped(input_shape)
        self.built = True

    def set_weights(self, weights: Any) -> None:
        half = len(weights) // 2
        self.forward_layer.set_weights(weights[:half])
        self.backward_layer.set_weights(weights[half:])

    def compute_output_shape(self, input_shape: Any) -> Any:
        inner = self.forward_layer.compute_output_shape(input_shape)
        output, states = (inner[0], inner[1:]) if self.return_state else (inner, [])
        if self.merge_mode == "concat":
            output = (*output[:-1], 2 * output[-1])
        outputs = [output, output] if self.merge_mode is None else [output]
        outputs += [*states, *states]
        return outputs if len(outputs) > 1 else outputs[0]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        mask = mask[0] if isinstance(mask, list) else mask
        mask = mask if self.return_sequences else None
        masks = [mask, mask] if self.merge_mode is None else [mask]
        if self.return_state:
            masks += [None] * (2 * len(self.forward_layer.states))
        return masks if len(masks) > 1 else masks[0]

    def __call__(self, inputs: Any, initial_state: Any = None, **kwargs: Any) -> Any:
        """Apply the layer.

        Args:
            inputs: the sequence, or a list of it and the initial states.
            initial_state: a list, first the forward layer's states, then the backward layer's.
            **kwargs: `mask`, `training`.
        """
        if isinstance(inputs, (list, tuple)) and len(inputs) > 1 and initial_state is None:
            inputs, initial_state = inputs[0], list(inputs[1:])
        if initial_state is None:
            return super().__call__(inputs, **kwargs)
        states = list(initial_state)
        expected = 2 * len(self.forward_layer.states)
        if len(states) != expected:
            raise ValueError(
                f"Bidirectional {self.name!r}: expected {expected} initial states, those of the "
                f"forward layer and then those of the backward one, got {len(states)}"
            )
        if not all(hasattr(state, "_keras_history") for state in states):
            return super().__call__(inputs, initial_state=states, **kwargs)
        spec, self.input_spec = self.input_spec, None
        try:
            return super().__call__([inputs, *states], **kwargs)
        finally:
            self.input_spec = spec

    def call(
        self, inputs: Any, training: Any = None, mask: Any = None, initial_state: Any = None
    ) -> Any:
        if isinstance(inputs, list):
            inputs, initial_state = inputs[0], inputs[1:]
        arguments: dict[str, Any] = {"mask": mask[0] if isinstance(mask, list) else mask}
        if has_arg(self.layer.call, "training"):
            arguments["training"] = training
        results = []
        half = len(self.forward_layer.states)
        for i, layer in enumerate(self._wrapped()):
            own = dict(arguments)
            if initial_state:
                own["initial_state"] = initial_state[i * half : (i + 1) * half]
            result = layer.call(inputs, **own)
            results.append(result if isinstance(result, list) else [result])
        (forward, *states), (backward, *more) = results
        if self.return_sequences:
            backward = K.reverse(backward, 1)
        merged = (
            [forward, backward] if self.merge_mode is None else [self._merged(forward, backward)]
        )
        outputs = [*merged, *states, *more]
        return outputs if len(outputs) > 1 else outputs[0]

    def _merged(self, forward: Any, backward: Any) -> Any:
        if self.merge_mode == "concat":
            return K.concatenate([forward, backward])
        if self.merge_mode == "mul":
            return forward * backward
        total = forward + backward
        return total / 2.0 if self.merge_mode == "ave" else total

    def reset_states(self) -> None:
        """Set the kept states of both layers back to zeros."""
        for layer in self._wrapped():
            layer.reset_states()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "merge_mode": self.merge_mode}
