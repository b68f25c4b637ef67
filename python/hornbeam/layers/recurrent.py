"""Recurrent layers: SimpleRNN, GRU and LSTM."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import activations, constraints, initializers, regularizers
from .. import backend as K
from ..engine import InputSpec
from ..legacy import interfaces
from ._recurrent import Recurrent, dropout_masks, project, recur
from ._weights import add_role_weight, positive_integer, roles_config

__all__ = ["GRU", "LSTM", "Recurrent", "SimpleRNN"]


# The activations that the core's operation over whole sequences knows, and its names for them.
_FUSED = {
    activations.linear: "linear",
    activations.relu: "relu",
    activations.tanh: "tanh",
    activations.sigmoid: "sigmoid",
    activations.hard_sigmoid: "hard_sigmoid",
}


class _Gated(Recurrent):
    """What the three layers share: their weights, their arguments and their dropout masks.

    Weights: kernel (features, gates * units), recurrent_kernel (units, gates * units), bias
    (gates * units,).
    """

    _cell = "simple"
    _gates = 1
    _state_count = 1

    def __init__(
        self,
        units: int,
        activation: Any,
        use_bias: bool,
        kernel_initializer: Any,
        recurrent_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        recurrent_regularizer: Any,
        bias_regularizer: Any,
        activity_regularizer: Any,
        kernel_constraint: Any,
        recurrent_constraint: Any,
        bias_constraint: Any,
        dropout: float,
        recurrent_dropout: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = positive_integer(units, type(self).__name__, "units")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = min(1.0, max(0.0, dropout))
        self.recurrent_dropout = min(1.0, max(0.0, recurrent_dropout))
        self.states = [None] * self._state_count
        self.state_spec = [InputSpec(shape=(None, self.units)) for _ in self.states]

    def build(self, input_shape: Any) -> None:
        self.input_dim = self._build_input(input_shape)
        width = self._gates * self.units
        self.kernel = add_role_weight(self, "kernel", (self.input_dim, width))
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, width),
            name="recurrent_kernel",
            initializer=self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
        )
        self.bias: Any = self._add_bias() if self.use_bias else None
        self.built = True

    def _add_bias(self) -> Any:
        return add_role_weight(self, "bias", (self._gates * self.units,))

    def _input_bias(self) -> Any:
        return self.bias

    def _mask_count(self) -> int:
        return 1 if self.implementation == 2 else self._gates

    def preprocess_input(self, inputs: Any, training: Any = None) -> Any:
        masks = dropout_masks(inputs, self.input_dim, self.dropout, self._mask_count(), training)
        return project(inputs, self.kernel, self._input_bias(), masks)

    def get_constants(self, inputs: Any, training: Any = None) -> list[Any]:
        rate = self.recurrent_dropout
        return dropout_masks(inputs, self.units, rate, self._mask_count(), training)

    def _run(self, inputs: Any, states: list[Any], mask: Any, training: Any) -> Any:
        gate = getattr(self, "recurrent_activation", activations.linear)
        # An own step function, in a subclass, or an own activation goes step by step.
        whole = type(self).step.__module__ == __name__
        if not whole or self.activation not in _FUSED or gate not in _FUSED:
            return super()._run(inputs, states, mask, training)
        masks = self.get_constants(inputs, training=training)
        if len(masks) == 1:
            masks = masks * self._gates
        outputs, last = K.fused_rnn(
            self._cell,
            self.preprocess_input(inputs, training=training),
            self.recurrent_kernel,
            states,
            _FUSED[self.activation],
            _FUSED[gate],
            bias=self._recurrent_bias(),
            mask=mask,
            dropout=K.stack(masks) if masks else None,
            go_backwards=self.go_backwards,
        )
        # The first state of each of these layers is its output.
        return last[0], outputs, last

    def _recurrent_bias(self) -> Any:
        return None

    def _part(self, x: Any, first: int, count: int = 1) -> Any:
        """Return the columns of `count` gates from the gate number `first` on."""
        return x[:, first * self.units : (first + count) * self.units]

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments between `units` and `use_bias` in the config."""
        return {"activation": activations.serialize(self.activation)}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            **self._arguments(),
            "use_bias": self.use_bias,
            **roles_config(self, "kernel", "recurrent", "bias"),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
        }


class SimpleRNN(_Gated):
    """Fully connected RNN whose output is fed back: h = activation(dot(x, W) + dot(h, U) + b).

    Input: (samples, steps, features); output: (samples, units), or the sequence (see `Recurrent`).

    Weights: kernel (features, units), recurrent_kernel (units, units), bias (units,).

    Args:
        units: positive integer, size of the output.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel.
        recurrent_initializer: initializer of the recurrent kernel.
        bias_initializer: initializer of the bias.
        kernel_regularizer: penalty on the kernel.
        recurrent_regularizer: penalty on the recurrent kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        kernel_constraint: constraint on the kernel.
        recurrent_constraint: constraint on the recurrent kernel.
        bias_constraint: constraint on the bias.
        dropout: fraction of the inputs to drop, the same ones at every step (Gal and Ghahramani,
            2016).
        recurrent_dropout: fraction of the state to drop, the same units at every step.
        **kwargs: the arguments of `Recurrent`.
    """

    @interfaces.legacy_recurrent_support
    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            recurrent_constraint,
            bias_constraint,
            dropout,
            recurrent_dropout,
            **kwargs,
        )

    def step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        h = self.activation(inputs + recur(states[0], self.recurrent_kernel, states[1:]))
        return h, [h]


class GRU(_Gated):
    """Gated recurrent unit (Cho et al., 2014).

    z and r are gates: h' = activation(dot(x, W_h) + dot(r * h, U_h) + b_h) and
    h = z * h + (1 - z) * h'.

    Input: (samples, steps, features); output: (samples, units), or the sequence (see `Recurrent`).

    Weights: kernel (features, 3 * units), recurrent_kernel (units, 3 * units), bias (3 * units,)
    or with `reset_after` (2, 3 * units); gates in the order z, r, h.

    Args:
        units: positive integer, size of the output.
        activation: name or function for h'; None for none.
        recurrent_activation: name or function for the gates.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel.
        recurrent_initializer: initializer of the recurrent kernel.
        bias_initializer: initializer of the bias.
        kernel_regularizer: penalty on the kernel.
        recurrent_regularizer: penalty on the recurrent kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        kernel_constraint: constraint on the kernel.
        recurrent_constraint: constraint on the recurrent kernel.
        bias_constraint: constraint on the bias.
        dropout: fraction of the inputs to drop, the same ones at every step.
        recurrent_dropout: fraction of the state to drop, the same units at every step.
        reset_after: whether r is applied after the product, to dot(h, U_h) + b, the form of cuDNN
            and of Keras 3's default.
        **kwargs: the arguments of `Recurrent`.
    """

    _cell = "gru"
    _gates = 3

    @interfaces.legacy_recurrent_support
    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "hard_sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            recurrent_constraint,
            bias_constraint,
            dropout,
            recurrent_dropout,
            **kwargs,
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after

    def _add_bias(self) -> Any:
        if self.reset_after:
            return add_role_weight(self, "bias", (2, 3 * self.units))
        return super()._add_bias()

    def _input_bias(self) -> Any:
        return self.bias[0] if self.use_bias and self.reset_after else self.bias

    def _recurrent_bias(self) -> Any:
        if not self.reset_after:
            return None
        return self.bias[1] if self.use_bias else K.constant(np.zeros(3 * self.units))

    def step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        h, masks = states[0], states[1:]
        if self.reset_after:
            inner = recur(h, self.recurrent_kernel, masks)
            if self.use_bias:
                inner = inner + self.bias[1]
            gates = self._part(inputs, 0, 2) + self._part(inner, 0, 2)
        else:
            # The last product has to wait for r.
            gates = self._part(inputs, 0, 2) + recur(
                h, self._part(self.recurrent_kernel, 0, 2), masks[:2]
            )
        gates = self.recurrent_activation(gates)
        z, r = self._part(gates, 0), self._part(gates, 1)
        if self.reset_after:
            candidate = r * self._part(inner, 2)
        else:
            candidate = recur(r * h, self._part(self.recurrent_kernel, 2), masks[-1:])
        new = self.activation(self._part(inputs, 2) + candidate)
        h = z * h + (1.0 - z) * new
        return h, [h]

    def _arguments(self) -> dict[str, Any]:
        return {
            **super()._arguments(),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
        }

    def get_config(self) -> dict[str, Any]:
        # Always written: versions of Keras differ in the default.
        return {**super().get_config(), "reset_after": self.reset_after}


class LSTM(_Gated):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997).

    i, f and o are gates: c = f * c + i * activation(dot(x, W_c) + dot(h, U_c) + b_c) and
    h = o * activation(c). The states are h and c.

    Input: (samples, steps, features); output: (samples, units), or the sequence (see `Recurrent`).

    Weights: kernel (features, 4 * units), recurrent_kernel (units, 4 * units), bias (4 * units,);
    gates in the order i, f, c, o.

    Args:
        units: positive integer, size of the output.
        activation: name or function for c and h; None for none.
        recurrent_activation: name or function for the gates.
        use_bias: whether there is a bias.
        kernel_initializer: initializer of the kernel.
        recurrent_initializer: initializer of the recurrent kernel.
        bias_initializer: initializer of the bias.
        unit_forget_bias: whether the bias of f begins with 1 (Jozefowicz et al., 2015).
        kernel_regularizer: penalty on the kernel.
        recurrent_regularizer: penalty on the recurrent kernel.
        bias_regularizer: penalty on the bias.
        activity_regularizer: penalty on the output.
        kernel_constraint: constraint on the kernel.
        recurrent_constraint: constraint on the recurrent kernel.
        bias_constraint: constraint on the bias.
        dropout: fraction of the inputs to drop, the same ones at every step.
        recurrent_dropout: fraction of the state to drop, the same units at every step.
        **kwargs: the arguments of `Recurrent`.
    """

    _cell = "lstm"
    _gates = 4
    _state_count = 2

    @interfaces.legacy_recurrent_support
    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "hard_sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            recurrent_constraint,
            bias_constraint,
            dropout,
            recurrent_dropout,
            **kwargs,
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def _add_bias(self) -> Any:
        return self.add_weight(
            shape=(4 * self.units,),
            name="bias",
            initializer=forget_bias_of_one(self.bias_initializer, self.units)
            if self.unit_forget_bias
            else self.bias_initializer,
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    def step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        h, c, masks = states[0], states[1], states[2:]
        z = inputs + recur(h, self.recurrent_kernel, masks)
        i = self.recurrent_activation(self._part(z, 0))
        f = self.recurrent_activation(self._part(z, 1))
        c = f * c + i * self.activation(self._part(z, 2))
        o = self.recurrent_activation(self._part(z, 3))
        h = o * self.activation(c)
        return h, [h, c]

    def _arguments(self) -> dict[str, Any]:
        return {
            **super()._arguments(),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias}


def forget_bias_of_one(initializer: Any, units: int) -> Any:
    """Return an initializer of an LSTM's bias that puts ones in the second of its four gates.

    Args:
        initializer: the one for the other gates.
        units: size of a gate.
    """

    def initialize(shape: Any, dtype: str | None = None) -> np.ndarray:
        first, rest = (initializer((units,)), initializer((2 * units,)))
        parts = [first, np.ones((units,)), rest]
        parts = [part if isinstance(part, np.ndarray) else K.eval(part) for part in parts]
        return np.concatenate(parts).astype(dtype or K.floatx())

    return initialize
