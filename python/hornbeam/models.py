"""`Sequential`, the model that is a stack of layers; saving and loading of models."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import backend as K
from .engine import Input, InputLayer, Layer, Model
from .engine.container import Container
from .engine.graph import get_source_inputs
from .engine.network_config import frozen
from .layers import Merge
from .saving import (
    load_model,
    model_from_config,
    model_from_json,
    model_from_yaml,
    save_model,
)
from .utils.generic_utils import to_list
from .utils.user_warnings import warn

__all__ = [
    "Model",
    "Sequential",
    "load_model",
    "model_from_config",
    "model_from_json",
    "model_from_yaml",
    "save_model",
]


class Sequential(Model):
    """A stack of layers, each fed by the one before it.

    The first layer says the shape of its input (`input_shape=(16,)`). Without that the weights are
    made when the shape is known: by `build`, or by the data of the first call.

    Attributes:
        layers: the layers that were added.

    Example:
        >>> from hornbeam.layers import Dense
        >>> model = Sequential([Dense(32, input_shape=(16,)), Dense(10, activation="softmax")])
        >>> model.output_shape
        (None, 10)
    """

    def __init__(self, layers: Sequence[Layer] | None = None, name: str | None = None) -> None:
        """Make a stack.

        Args:
            layers: list or tuple of layers to begin with.
            name: a name, unique where the model is used as a layer.
        """
        self._stack: list[Layer] = []
        self._init_layer(name)
        for layer in layers or ():
            self._push(layer)
        if self.outputs:
            self._init_graph(self.inputs, self.outputs)

    @property
    def layers(self) -> list[Layer]:  # type: ignore[override]
        """The layers that were added."""
        return self._stack

    @layers.setter
    def layers(self, value: Any) -> None:
        # A container keeps all layers of its graph; a stack shows those that were added.
        del value

    @property
    def model(self) -> Sequential:
        """The model itself, which in Keras 2 was held apart from the stack."""
        return self

    def add(self, layer: Layer) -> None:
        """Put a layer on top.

        Args:
            layer: a layer, or a model.

        Raises:
            TypeError: when it is none.
            ValueError: when it does not fit on the layer below, or has several outputs.
        """
        self._push(layer)
        if self.outputs:
            self._init_graph(self.inputs, self.outputs)
        self._forget_compilation()

    def _push(self, layer: Layer) -> None:
        entry = getattr(layer, "_keras_history", (None,))[0]
        if isinstance(entry, InputLayer):
            # What `Input` returns is a tensor; its layer is meant.
            layer = entry
        if not isinstance(layer, Layer):
            raise TypeError(
                f"The added layer must be an instance of class Layer. Found: {layer!r}"
                + (". Add an object, as in Dense(32)." if isinstance(layer, type) else "")
            )
        if self.outputs:
            outputs = to_list(layer(self.outputs[0]))
            self._check_single(layer, outputs)
            self.outputs = outputs
        elif not self._stack or isinstance(layer, InputLayer):
            self._begin(layer)
        self._stack.append(layer)

    def _begin(self, layer: Layer) -> None:
        """Make the input that the first layer asks for, if it does."""
        if self._stack:
            raise ValueError(f"The input layer {layer.name} must be the first layer of {self.name}")
        if isinstance(layer, InputLayer):
            self.inputs = list(layer.inbound_nodes[0].output_tensors)
            self.outputs = list(self.inputs)
            return
        if isinstance(layer, Merge) and layer.inbound_nodes:
            # Keras 1's way to begin with several branches: the layer was made from their models.
            self.outputs = list(layer.inbound_nodes[-1].output_tensors)
            self.inputs = get_source_inputs(self.outputs[0])
            return
        shape, dtype = _asked_input(layer)
        if shape is not None:
            self._connect_first(layer, shape, dtype)

    def _connect_first(self, layer: Layer, shape: Any, dtype: str | None) -> None:
        x = Input(batch_shape=shape, dtype=dtype, name=f"{layer.name}_input")
        outputs = to_list(layer(x))
        self._check_single(layer, outputs)
        self.inputs, self.outputs = [x], outputs

    def _check_single(self, layer: Layer, outputs: list[Any]) -> None:
        if len(outputs) != 1:
            raise ValueError(
                f"All layers in a Sequential model should have a single output tensor, but "
                f"{layer.name} has {len(outputs)}. For multi-output layers, use the functional API."
            )

    def pop(self) -> None:
        """Take the top layer off.

        Raises:
            TypeError: when there is none.
        """
        if not self._stack:
            raise TypeError("There are no layers in the model.")
        layer = self._stack.pop()
        self._forget_compilation()
        if not self.inputs:
            return
        node = layer.inbound_nodes.pop()
        for source in node.inbound_layers:
            source.outbound_nodes.remove(node)
        if not self._stack:
            self.inputs, self.outputs = [], []
            self.built = False
            self.inbound_nodes = []
            return
        self.outputs = list(self._stack[-1].inbound_nodes[-1].output_tensors)
        self._init_graph(self.inputs, self.outputs)

    def _forget_compilation(self) -> None:
        # The compiled losses belong to the former output.
        for name in ("optimizer", "_plans", "_scalars"):
            self.__dict__.pop(name, None)

    def build(self, input_shape: Any = None) -> None:
        """Make the weights.

        Args:
            input_shape: shape of the input with the batch axis, where the first layer does not
                say it.

        Raises:
            ValueError: when there is no layer, or no shape is known.
        """
        if self.built:
            return
        if not self._stack:
            raise ValueError("Sequential model cannot be built: model is empty. Add some layers.")
        if input_shape is None:
            raise ValueError(
                "The first layer in a Sequential model must get an `input_shape` or "
                "`batch_input_shape` argument, or the model be built with the shape: "
                "model.build((None, 16))."
            )
        layers, self._stack = self._stack, []
        shape = tuple(input_shape)
        first = layers[0]
        first.batch_input_shape = shape
        self._connect_first(first, shape, getattr(first, "dtype", None))
        self._stack = layers
        for layer in layers[1:]:
            outputs = to_list(layer(self.outputs[0]))
            self._check_single(layer, outputs)
            self.outputs = outputs
        self._init_graph(self.inputs, self.outputs)
        deferred = self.__dict__.pop("_deferred_compile", None)
        if deferred is not None:
            self.compile(*deferred)

    def _adapt(self, x: Any) -> None:
        """Build a model whose first layer did not say its input shape from the data."""
        if self.built:
            return
        if isinstance(x, dict):
            x = next(iter(x.values()))
        shape = np.shape(x[0] if isinstance(x, list) and len(x) == 1 else x)
        self.build((None, *(shape[1:] or (1,))))

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Apply the stack to another input."""
        return super().call(inputs, mask)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output for that of the input, by asking each layer."""
        for layer in self._stack:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def compile(
        self,
        optimizer: Any,
        loss: Any = None,
        metrics: Any = None,
        sample_weight_mode: Any = None,
        loss_weights: Any = None,
        **kwargs: Any,
    ) -> None:
        """Configure training (see `Model.compile`; the order of the arguments is Keras 2's)."""
        super().compile(
            optimizer,
            loss,
            metrics=metrics,
            loss_weights=loss_weights,
            sample_weight_mode=sample_weight_mode,
            **kwargs,
        )

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = 32,
        epochs: int = 10,
        verbose: int = 1,
        callbacks: Sequence[Any] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        **kwargs: Any,
    ) -> Any:
        """Train for a number of epochs, 10 by default (see `Model.fit`)."""
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            class_weight=class_weight,
            sample_weight=sample_weight,
            initial_epoch=initial_epoch,
            **kwargs,
        )

    def train_on_batch(
        self, x: Any, y: Any, class_weight: Any = None, sample_weight: Any = None
    ) -> Any:
        """Train on one batch (see `Model.train_on_batch`; the order of the arguments differs)."""
        return super().train_on_batch(x, y, sample_weight=sample_weight, class_weight=class_weight)

    def predict_proba(self, x: Any, batch_size: int = 32, verbose: int = 1) -> Any:
        """Return the probabilities of the classes: what `predict` returns.

        Args:
            x: array of inputs.
            batch_size: samples in a batch.
            verbose: 1 shows a progress bar.
        """
        predictions = self.predict(x, batch_size, verbose)
        if predictions.min() < 0.0 or predictions.max() > 1.0:
            warn(
                "Network returning invalid probability values. The last layer might not normalize "
                "predictions into probabilities (like softmax or sigmoid would)."
            )
        return predictions

    def predict_classes(self, x: Any, batch_size: int = 32, verbose: int = 1) -> np.ndarray:
        """Return the predicted class of each sample.

        Args:
            x: array of inputs.
            batch_size: samples in a batch.
            verbose: 1 shows a progress bar.

        Returns:
            Class numbers of shape (samples,); for one output unit 0 or 1 of shape (samples, 1).
        """
        predictions = self.predict(x, batch_size, verbose)
        if predictions.shape[-1] > 1:
            return predictions.argmax(axis=-1)
        return (predictions > 0.5).astype("int32")

    def get_config(self) -> list[dict[str, Any]]:
        """Return the layers' classes and configurations, the bottom layer first."""
        config = [_described(layer) for layer in self._stack]
        if self._stack and isinstance(self._stack[0], Merge) and self._stack[0].layers:
            # The branches are no layers of the stack; nothing else would say what is merged.
            config[0]["config"]["layers"] = [_described(x) for x in self._stack[0].layers]
        return copy.deepcopy(config)

    @classmethod
    def from_config(cls, config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
        """Make a model from what `get_config` returned, with new weights.

        Args:
            config: list of layers, or a dictionary with them under 'layers' (and a 'name').
            custom_objects: name -> class or function that the package does not have.

        Raises:
            ValueError: for the configuration of something else.
        """
        from .layers import deserialize

        name, trainable = None, True
        if isinstance(config, dict):
            if "layers" not in config or "input_layers" in config:
                raise ValueError(
                    "Sequential.from_config: this is not the configuration of a stack, which is a "
                    "list of layers. For that of a functional model use Model.from_config(config), "
                    "for one with 'class_name' and 'config' model_from_config(config)."
                )
            name, trainable = config.get("name"), config.get("trainable", True)
            config = config["layers"]
        layers = [deserialize(layer, custom_objects=custom_objects) for layer in config]
        for layer, described in zip(layers, config, strict=True):
            layer.name = described.get("name") or layer.name
            if "trainable" in described:
                layer.trainable = described["trainable"]
        model = cls(layers, name=name)
        model.trainable = trainable
        return model

    def legacy_get_config(self) -> list[dict[str, Any]]:
        """Return what `get_config` returns, which holds merged branches as well."""
        return self.get_config()

    @classmethod
    def legacy_from_config(cls, config: Any, layer_cache: dict[str, Any] | None = None) -> Any:
        """Make a model from a configuration (see `from_config`).

        Args:
            config: what `get_config` or `legacy_get_config` returned.
            layer_cache: name -> layer that is taken in the place of a new one of that name.
        """
        from .layers import deserialize

        cache = layer_cache or {}
        layers = [cache.get(c["config"].get("name")) or deserialize(c) for c in config]
        return cls(layers)


def _described(layer: Layer) -> dict[str, Any]:
    described = {
        "class_name": type(layer).__name__,
        "config": layer.get_config(),
        **frozen(layer),
    }
    # A stack's own configuration is a list of its layers and does not say its name.
    return {"name": layer.name, **described} if isinstance(layer, Sequential) else described


def _asked_input(layer: Layer) -> tuple[Any, str | None]:
    """Return the input shape and type that a first layer asks for, None for none."""
    if isinstance(layer, Container) and layer.built:
        if len(layer.inputs) != 1:
            raise ValueError(
                f"The model {layer.name} has {len(layer.inputs)} inputs, so it cannot be a layer "
                "of a Sequential model"
            )
        return K.int_shape(layer.inputs[0]), layer.inputs[0].dtype
    shape = getattr(layer, "batch_input_shape", None)
    inner = getattr(layer, "layer", None)
    if shape is None and isinstance(inner, Layer) and not isinstance(inner, Container):
        # A wrapper may be the first layer, the shape given to the layer inside it.
        shape = getattr(inner, "batch_input_shape", None)
    return shape, getattr(layer, "dtype", None)
