"""The base of layers that wrap another layer."""

from __future__ import annotations

from typing import Any

from ..engine import Layer
from ..engine.network_config import frozen
from ..utils.generic_utils import to_list


class Wrapper(Layer):
    """Abstract base of layers around one layer, whose weights are those of that layer.

    Args:
        layer: the wrapped layer.
        **kwargs: the keywords of `Layer`.
    """

    layer: Any = None

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        if not isinstance(layer, Layer):
            raise ValueError(
                f"{type(self).__name__}: expected a layer to wrap, got {layer!r}. "
                "Give an instance, such as Dense(8)."
            )
        # What the layer is called on -> what it then calls the wrapped one on. Losses and updates
        # of the wrapped layer are filed under the latter.
        self._inner_inputs: dict[tuple[Any, ...], list[Any]] = {}
        super().__init__(**kwargs)
        self.layer = layer
        if not self.trainable:
            layer.trainable = False

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; setting it sets it on the wrapped layer too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = value
        if self.layer is not None:
            self.layer.trainable = value

    def _wrapped(self) -> list[Any]:
        """Return the layers whose weights, losses and updates are this one's."""
        return [self.layer]

    def _build_wrapped(self, input_shape: Any) -> None:
        for layer in self._wrapped():
            if not layer.built:
                layer.weight_scope = self._scope_of(layer)
                layer.build(input_shape)
                layer.built = True

    def _scope_of(self, layer: Any) -> str:
        """Return what the names of a wrapped layer's weights begin with."""
        return self.name

    def _map_inputs(self, outer: Any, inner: Any) -> None:
        self._inner_inputs[tuple(to_list(outer, allow_tuple=True))] = to_list(inner)

    @property
    def activity_regularizer(self) -> Any:
        """The wrapped layer's penalty on its output, which is applied to this layer's."""
        return getattr(self.layer, "activity_regularizer", None)

    @property  # type: ignore[misc]  # a plain layer's can be set
    def trainable_weights(self) -> list[Any]:
        """The variables that training changes."""
        return [w for layer in self._wrapped() for w in layer.trainable_weights]

    @property  # type: ignore[misc]  # a plain layer's can be set
    def non_trainable_weights(self) -> list[Any]:
        """The variables that training leaves alone."""
        return [w for layer in self._wrapped() for w in layer.non_trainable_weights]

    @property
    def updates(self) -> list[Any]:
        """Updates that training runs."""
        return [u for layer in self._wrapped() for u in layer.updates]

    def get_updates_for(self, inputs: Any = None) -> list[Any]:
        """Return the updates that depend on these inputs (None: on no input)."""
        inner = inputs
        if inputs is not None:
            inner = self._inner_inputs.get(tuple(to_list(inputs, allow_tuple=True)), inputs)
        found = [u for layer in self._wrapped() for u in layer.get_updates_for(inner)]
        return found + super().get_updates_for(inputs)

    @property
    def losses(self) -> list[Any]:
        """Scalars that are added to the loss of a model with this layer."""
        return [loss for layer in self._wrapped() for loss in layer.losses] + self._losses

    def get_losses_for(self, inputs: Any = None) -> list[Any]:
        """Return the losses that depend on these inputs (None: on no input)."""
        inner = inputs
        if inputs is not None:
            inner = self._inner_inputs.get(tuple(to_list(inputs, allow_tuple=True)), inputs)
        found = [loss for layer in self._wrapped() for loss in layer.get_losses_for(inner)]
        return found + super().get_losses_for(inputs)

    @property  # type: ignore[misc]  # a plain layer's can be set
    def constraints(self) -> dict[Any, Any]:
        """Variable -> constraint applied after each step."""
        merged: dict[Any, Any] = {}
        for layer in self._wrapped():
            merged.update(layer.constraints)
        return merged

    def get_weights(self) -> list[Any]:
        return [w for layer in self._wrapped() for w in layer.get_weights()]

    def get_config(self) -> dict[str, Any]:
        inner = {
            "class_name": type(self.layer).__name__,
            "config": self.layer.get_config(),
            **frozen(self.layer),
        }
        return {**super().get_config(), "layer": inner}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Any:
        """Make the wrapper, and the layer in it, from what `get_config` returned."""
        from . import deserialize

        config = dict(config)
        described = config.pop("layer")
        layer = deserialize(described, custom_objects=custom_objects)
        if "trainable" in described:
            layer.trainable = described["trainable"]
        return cls(layer, **config)
