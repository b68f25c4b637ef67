"""The Lambda layer and how its function is written into configs and read back."""

from __future__ import annotations

import builtins
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from .. import activations
from .. import backend as K
from ..engine import Layer
from ..legacy import interfaces
from ..utils.generic_utils import (
    deserialize_keras_object,
    func_dump,
    func_load_checked,
    has_arg,
)

Shape = tuple[int | None, ...]

# The global names of functions that this process dumped, by their code: a config that goes round
# within a process (a copied model) finds them again. A file holds the code alone.
_globals_of: dict[str, dict[str, Any]] = {}
_by_reference: ContextVar[bool] = ContextVar("by_reference", default=False)


class Lambda(Layer):
    """Turn a function of a tensor into a layer.

    The function becomes operations of the model's graph when the layer is called, as any built-in
    layer does. It must not hold weights of its own: write a `Layer` for that.

    Args:
        function: takes the input tensor (or the list of them), and `mask` if it has an argument of
            that name.
        output_shape: shape of the output without the samples, or a function from input shape to
            output shape; worked out from `function` by default.
        mask: the output's mask, or a function `(inputs, mask)` that returns it; None for no mask.
        arguments: dictionary of further keyword arguments for `function`.

    Example:
        >>> Lambda(lambda x: x ** 2).compute_output_shape((None, 3))
        (None, 3)
    """

    @interfaces.legacy_lambda_support
    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(function):
            raise ValueError(f"Lambda: `function` must be a function, got {function!r}")
        self.function = function
        self.arguments = dict(arguments) if arguments else {}
        self.mask = mask
        self.supports_masking = mask is not None
        if output_shape is not None and not callable(output_shape):
            if isinstance(output_shape, (int, np.integer)):
                output_shape = (output_shape,)
            elif not isinstance(output_shape, (list, tuple)):
                raise TypeError(
                    "Lambda: `output_shape` must be a tuple, a list or a function, got "
                    f"{output_shape!r}"
                )
            output_shape = tuple(output_shape)
        self._output_shape = output_shape

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._output_shape is None:
            several = isinstance(input_shape, list)
            shapes = input_shape if several else [input_shape]
            inputs = [K.placeholder(shape=shape) for shape in shapes]
            output = self.call(inputs if several else inputs[0])
            if isinstance(output, (list, tuple)):
                return [K.int_shape(x) for x in output]
            return K.int_shape(output)
        if callable(self._output_shape):
            shape = self._output_shape(input_shape)
            if not isinstance(shape, (list, tuple)):
                raise ValueError(
                    f"Lambda {self.name!r}: the function `output_shape` must return a tuple, it "
                    f"returned {shape!r}"
                )
            return shape if isinstance(shape, list) else tuple(shape)
        first = input_shape[0] if isinstance(input_shape, list) else input_shape
        return (first[0], *self._output_shape)

    def call(self, inputs: Any, mask: Any = None) -> Any:
        arguments = dict(self.arguments)
        if has_arg(self.function, "mask"):
            arguments["mask"] = mask
        return self.function(inputs, **arguments)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def get_config(self) -> dict[str, Any]:
        function, function_type = dump_function(self.function)
        config = {
            **super().get_config(),
            "function": function,
            "function_type": function_type,
            "output_shape": self._output_shape,
            "output_shape_type": "raw",
            "arguments": {key: _plain(value) for key, value in self.arguments.items()},
        }
        if callable(self._output_shape):
            config["output_shape"], config["output_shape_type"] = dump_function(self._output_shape)
        if callable(self.mask):
            config["mask"], config["mask_type"] = dump_function(self.mask)
        return config

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Lambda:
        """Build the layer from what `get_config` returned.

        Raises:
            UnsafeFileError: when the config holds code that this process did not write and loading
                of such code was not allowed.
        """
        config = dict(config)
        what = f"The Lambda layer {config.get('name')!r}"
        for key in ("function", "output_shape", "mask"):
            kind = config.pop(f"{key}_type", "raw" if key != "function" else "lambda")
            config.pop(f"{key}_module" if key != "function" else "module", None)
            if config.get(key) is not None and kind != "raw":
                config[key] = load_function(config[key], kind, custom_objects, what)
        arguments = config.get("arguments") or {}
        config["arguments"] = {key: _restored(value) for key, value in arguments.items()}
        return cls(**config)


@contextmanager
def functions_by_reference() -> Iterator[None]:
    """Inside the block, `dump_function` hands functions that can be imported through as they are.

    That is for `pickle`, which finds them by name, where code alone would lack its globals.
    """
    token = _by_reference.set(True)
    try:
        yield
    finally:
        _by_reference.reset(token)


def _can_be_imported(function: Any) -> bool:
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


def dump_function(function: Callable[..., Any]) -> tuple[Any, str]:
    """Return a function as data, and which kind of data: its name or its code."""
    module = getattr(function, "__module__", None) or ""
    if module.startswith("hornbeam.") or not isinstance(function, types.FunctionType):
        name = getattr(function, "__name__", None)
        if name is None:
            raise ValueError(
                f"Lambda: {function!r} cannot be written into a config: it has no name and is no "
                "Python function. Use a function, or write a Layer."
            )
        return name, "function"
    if _by_reference.get() and _can_be_imported(function):
        return function, "raw"
    dumped = func_dump(function)
    _globals_of[dumped[0]] = function.__globals__
    return dumped, "lambda"


def load_function(data: Any, kind: str, custom_objects: Mapping[str, Any] | None, what: str) -> Any:
    """Return the function that `dump_function` described.

    Args:
        data: what it returned first, perhaps by way of JSON.
        kind: what it returned second, 'lambda' or 'function'.
        custom_objects: further functions by name.
        what: the object that holds the function, for messages.

    Raises:
        UnsafeFileError: for code that this process did not write, unless that is allowed.
    """
    if isinstance(data, Mapping) and data.get("class_name") == "__lambda__":
        inner = data["config"]
        data = (inner["code"], inner.get("defaults"), inner.get("closure"))
    if isinstance(data, str) and kind == "function":
        return deserialize_keras_object(
            data,
            module_objects={**vars(activations), **vars(K)},
            custom_objects=custom_objects,
            printable_module_name="function of a Lambda layer",
        )
    code = data[0] if isinstance(data, (list, tuple)) else data
    globs = _globals_of.get(code)
    if globs is None:
        globs = {"__builtins__": builtins, "K": K, "np": np, **(custom_objects or {})}
    return func_load_checked(_tuples(data), globs=globs, what=what)


def _tuples(data: Any) -> Any:
    """Undo what JSON makes of the tuples in dumped code: defaults and closures become lists."""
    if not isinstance(data, (list, tuple)):
        return data
    code, defaults, closure = data
    return (
        code,
        None if defaults is None else tuple(defaults),
        None if closure is None else tuple(closure),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"type": "ndarray", "value": value.tolist(), "dtype": str(value.dtype)}
    return value.item() if isinstance(value, np.generic) else value


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping) and value.get("type") == "ndarray":
        return np.array(value["value"], dtype=value.get("dtype"))
    return value
