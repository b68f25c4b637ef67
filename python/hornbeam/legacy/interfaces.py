"""Keras 1 spellings of layer and method arguments, translated into today's with a warning.

`generate_legacy_interface` makes a decorator out of a few tables; every `legacy_*_support` below is
one such decorator, to be put on an `__init__` or a method:

    class Dense(Layer):
        @interfaces.legacy_dense_support
        def __init__(self, units, activation=None, ...):

Rewriting that a table of names cannot express is a preprocessor's work (`preprocessors.py`).
Nothing here needs the compute core.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ..utils.generic_utils import nearest_name
from ..utils.user_warnings import warn
from .preprocessors import (
    Preprocessor,
    add_weight_args_preprocessing,
    batchnorm_args_preprocessor,
    conv1d_args_preprocessor,
    conv2d_args_preprocessor,
    conv3d_args_preprocessor,
    convlstm2d_args_preprocessor,
    deconv2d_args_preprocessor,
    embedding_kwargs_preprocessor,
    generator_methods_args_preprocessor,
    recurrent_args_preprocessor,
    separable_conv2d_args_preprocessor,
    zeropadding2d_args_preprocessor,
)

# The modules whose objects are written as the calls that make them.
_DESCRIBED = tuple(f"hornbeam.{m}" for m in ("constraints", "initializers", "regularizers"))
F = TypeVar("F", bound=Callable[..., Any])

# What every layer takes through **kwargs, whatever its own signature names.
LAYER_KEYWORDS = frozenset(
    {
        "batch_input_shape",
        "batch_size",
        "dtype",
        "input_dim",
        "input_dtype",
        "input_length",
        "input_shape",
        "name",
        "shape",
        "trainable",
        "weights",
    }
)


def generate_legacy_interface(
    allowed_positional_args: Sequence[str] | None = None,
    conversions: Sequence[tuple[str, str]] = (),
    preprocessor: Preprocessor | None = None,
    value_conversions: Mapping[str, Mapping[Any, Any]] | None = None,
    object_type: str = "class",
    aliases: Sequence[tuple[str, str]] = (),
) -> Callable[[F], F]:
    """Make a decorator that accepts the Keras 1 form of a call.

    Args:
        allowed_positional_args: names of the arguments that may be positional; None allows all.
        conversions: `(old, new)` keyword names. Each use warns and shows the new call.
        preprocessor: called first with `(args, kwargs)`; see `preprocessors.py`.
        value_conversions: old keyword name -> {old value: new value}.
        object_type: 'class' when the decorated function is an `__init__`, else 'method'. Only
            classes have unknown keywords reported here; methods state theirs.
        aliases: `(name, new)` keyword names of later Keras versions, accepted without a warning.

    Returns:
        The decorator. A call then raises TypeError for too many positional arguments, for an
        argument given under both names and for a keyword that is unknown.
    """
    values = value_conversions or {}

    def decorate(func: F) -> F:
        own = inspect.signature(func).parameters

        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            target = type(args[0]).__name__ if object_type == "class" else func.__name__
            converted: list[str] = []
            if preprocessor is not None:
                args, kwargs, converted = preprocessor(args, kwargs)
            _check_positional(target, args, allowed_positional_args)
            for old, new in aliases:
                if old in kwargs and old not in own:
                    _rename(target, kwargs, old, new)
            for old, new in conversions:
                if old in kwargs:
                    kwargs[old] = _convert_value(kwargs[old], values.get(old))
                    _rename(target, kwargs, old, new)
                    converted.append(old)
            if converted:
                warn(
                    f"Update your `{target}` call to the Keras 2 API: "
                    f"`{format_call(target, args[1:], kwargs)}`"
                )
            if object_type == "class":
                _check_keywords(type(args[0]), target, own, kwargs)
            return func(*args, **kwargs)

        return wrapper  # type: ignore[return-value]

    return decorate


generate_legacy_method_interface = functools.partial(
    generate_legacy_interface, object_type="method"
)


def format_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Write a call as source text, arrays and long values abbreviated.

    Example:
        >>> format_call("Conv2D", (64, (3, 3)), {"padding": "same"})
        'Conv2D(64, (3, 3), padding="same")'
    """
    parts = [_format_value(value) for value in args]
    parts += [f"{key}={_format_value(value)}" for key, value in kwargs.items()]
    return f"{name}({', '.join(parts)})"


def _format_value(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, np.ndarray):
        return "array"
    if type(value) is list:
        return f"[{', '.join(map(_format_value, value[:8]))}{', ...' * (len(value) > 8)}]"
    if type(value).__module__.startswith(_DESCRIBED):
        return format_call(type(value).__name__, (), value.get_config())
    text = str(value)
    if text.startswith("<"):
        # A function, a generator, a tensor: its name says more than where it is kept.
        text = str(getattr(value, "__name__", None) or getattr(value, "name", None) or text)
    return text if len(text) <= 40 else text[:37] + "..."


def _check_positional(target: str, args: Sequence[Any], allowed: Sequence[str] | None) -> None:
    if allowed is not None and len(args) > len(allowed) + 1:
        raise TypeError(
            f"`{target}` can accept only {len(allowed)} positional arguments {tuple(allowed)}, but "
            f"you passed the following positional arguments: {list(args[1:])}. "
            "Give the others as keywords."
        )


def _convert_value(value: Any, table: Mapping[Any, Any] | None) -> Any:
    # Only strings are ever listed, and other values (arrays, lists) may not be hashable.
    if table is None or not isinstance(value, str):
        return value
    return table.get(value, value)


def _rename(target: str, kwargs: dict[str, Any], old: str, new: str) -> None:
    if new in kwargs:
        raise TypeError(
            f"`{target}` received the same argument twice, as `{old}` and as `{new}`. Keep `{new}`."
        )
    # Rebuilt, so that the warning shows the arguments in the order in which they were given.
    items = [(new if key == old else key, value) for key, value in kwargs.items()]
    kwargs.clear()
    kwargs.update(items)


def _check_keywords(
    cls: type, target: str, own: Mapping[str, inspect.Parameter], kwargs: Mapping[str, Any]
) -> None:
    unknown = [key for key in kwargs if key not in own and key not in LAYER_KEYWORDS]
    if not unknown:
        return
    # Cooperative subclasses may pass keywords on to a class further along the MRO.
    known = set(own) | LAYER_KEYWORDS | _mro_keywords(cls)
    known -= {"self", "args", "kwargs"}
    for key in unknown:
        if key not in known:
            meant = nearest_name(key, known)
            hint = f" Did you mean {meant!r}?" if meant else ""
            raise TypeError(f"`{target}` got an unknown keyword argument {key!r}.{hint}")


@functools.cache
def _mro_keywords(cls: type) -> frozenset[str]:
    names: set[str] = set()
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is not None and base is not object:
            names.update(inspect.signature(init).parameters)
    return frozenset(names)


_DIM_ORDERING = {
    "dim_ordering": {"tf": "channels_last", "th": "channels_first", "default": None},
}
_TO_DATA_FORMAT = ("dim_ordering", "data_format")
_TO_PADDING = ("border_mode", "padding")
_WEIGHTS = (
    ("init", "kernel_initializer"),
    ("W_regularizer", "kernel_regularizer"),
    ("b_regularizer", "bias_regularizer"),
    ("W_constraint", "kernel_constraint"),
    ("b_constraint", "bias_constraint"),
    ("bias", "use_bias"),
)
_IMAGE_CONV = (("nb_filter", "filters"), ("subsample", "strides"), _TO_PADDING, _TO_DATA_FORMAT)
_RECURRENT = (
    ("init", "kernel_initializer"),
    ("inner_init", "recurrent_initializer"),
    ("inner_activation", "recurrent_activation"),
    ("W_regularizer", "kernel_regularizer"),
    ("b_regularizer", "bias_regularizer"),
    ("U_regularizer", "recurrent_regularizer"),
    ("dropout_W", "dropout"),
    ("dropout_U", "recurrent_dropout"),
)

legacy_dense_support = generate_legacy_interface(["units"], [("output_dim", "units"), *_WEIGHTS])

legacy_dropout_support = generate_legacy_interface(["rate", "noise_shape", "seed"], [("p", "rate")])

legacy_embedding_support = generate_legacy_interface(
    ["input_dim", "output_dim"],
    [
        ("init", "embeddings_initializer"),
        ("W_regularizer", "embeddings_regularizer"),
        ("W_constraint", "embeddings_constraint"),
    ],
    preprocessor=embedding_kwargs_preprocessor,
)

legacy_pooling1d_support = generate_legacy_interface(
    ["pool_size", "strides", "padding"],
    [("pool_length", "pool_size"), ("stride", "strides"), _TO_PADDING],
)

legacy_prelu_support = generate_legacy_interface(
    ["alpha_initializer"], [("init", "alpha_initializer")]
)

legacy_gaussiannoise_support = generate_legacy_interface(["stddev"], [("sigma", "stddev")])

legacy_recurrent_support = generate_legacy_interface(
    ["units"],
    [("output_dim", "units"), *_RECURRENT, ("consume_less", "implementation")],
    preprocessor=recurrent_args_preprocessor,
    value_conversions={"consume_less": {"cpu": 0, "mem": 1, "gpu": 2}},
)

legacy_gaussiandropout_support = generate_legacy_interface(["rate"], [("p", "rate")])

legacy_pooling2d_support = generate_legacy_interface(
    ["pool_size", "strides", "padding"],
    [_TO_PADDING, _TO_DATA_FORMAT],
    value_conversions=_DIM_ORDERING,
)

legacy_pooling3d_support = legacy_pooling2d_support

legacy_global_pooling_support = generate_legacy_interface(
    None, [_TO_DATA_FORMAT], value_conversions=_DIM_ORDERING
)

legacy_upsampling1d_support = generate_legacy_interface(["size"], [("length", "size")])

legacy_upsampling2d_support = generate_legacy_interface(
    ["size"], [_TO_DATA_FORMAT], value_conversions=_DIM_ORDERING
)

legacy_upsampling3d_support = legacy_upsampling2d_support

legacy_conv1d_support = generate_legacy_interface(
    ["filters", "kernel_size"],
    [
        ("nb_filter", "filters"),
        ("filter_length", "kernel_size"),
        ("subsample_length", "strides"),
        _TO_PADDING,
        *_WEIGHTS,
    ],
    preprocessor=conv1d_args_preprocessor,
)

legacy_conv2d_support = generate_legacy_interface(
    ["filters", "kernel_size"],
    [*_IMAGE_CONV, *_WEIGHTS],
    preprocessor=conv2d_args_preprocessor,
    value_conversions=_DIM_ORDERING,
)

legacy_separable_conv2d_support = generate_legacy_interface(
    ["filters", "kernel_size"],
    [
        *_IMAGE_CONV,
        ("b_regularizer", "bias_regularizer"),
        ("b_constraint", "bias_constraint"),
        ("bias", "use_bias"),
    ],
    preprocessor=separable_conv2d_args_preprocessor,
    value_conversions=_DIM_ORDERING,
)

legacy_deconv2d_support = generate_legacy_interface(
    ["filters", "kernel_size"],
    [*_IMAGE_CONV, *_WEIGHTS],
    preprocessor=deconv2d_args_preprocessor,
    value_conversions=_DIM_ORDERING,
)

legacy_conv3d_support = generate_legacy_interface(
    ["filters", "kernel_size"],
    [*_IMAGE_CONV, *_WEIGHTS],
    preprocessor=conv3d_args_preprocessor,
    value_conversions=_DIM_ORDERING,
)

legacy_convlstm2d_support = generate_legacy_interface(
    ["filters", "kernel_size"],
    [*_IMAGE_CONV, *_RECURRENT, ("bias", "use_bias")],
    preprocessor=convlstm2d_args_preprocessor,
    value_conversions=_DIM_ORDERING,
)

legacy_batchnorm_support = generate_legacy_interface(
    [],
    [("beta_init", "beta_initializer"), ("gamma_init", "gamma_initializer")],
    preprocessor=batchnorm_args_preprocessor,
)

legacy_zeropadding2d_support = generate_legacy_interface(
    ["padding"],
    [_TO_DATA_FORMAT],
    preprocessor=zeropadding2d_args_preprocessor,
    value_conversions=_DIM_ORDERING,
)

legacy_zeropadding3d_support = generate_legacy_interface(
    ["padding"], [_TO_DATA_FORMAT], value_conversions=_DIM_ORDERING
)

legacy_cropping2d_support = generate_legacy_interface(
    ["cropping"], [_TO_DATA_FORMAT], value_conversions=_DIM_ORDERING
)

legacy_cropping3d_support = legacy_cropping2d_support

legacy_spatialdropout1d_support = generate_legacy_interface(["rate"], [("p", "rate")])

legacy_spatialdropoutNd_support = generate_legacy_interface(
    ["rate"], [("p", "rate"), _TO_DATA_FORMAT], value_conversions=_DIM_ORDERING
)

legacy_lambda_support = generate_legacy_interface(["function", "output_shape"])

legacy_generator_methods_support = generate_legacy_method_interface(
    ["generator", "steps_per_epoch", "epochs"],
    [
        ("samples_per_epoch", "steps_per_epoch"),
        ("val_samples", "steps"),
        ("nb_epoch", "epochs"),
        ("nb_val_samples", "validation_steps"),
        ("nb_worker", "workers"),
    ],
    preprocessor=generator_methods_args_preprocessor,
    aliases=[("max_queue_size", "max_q_size"), ("use_multiprocessing", "pickle_safe")],
)

legacy_model_constructor_support = generate_legacy_interface(
    None, [("input", "inputs"), ("output", "outputs")]
)

legacy_input_support = generate_legacy_interface(
    None,
    [("input_dtype", "dtype")],
    aliases=[("shape", "input_shape"), ("batch_shape", "batch_input_shape")],
)

legacy_add_weight_support = generate_legacy_method_interface(
    ["name", "shape"], preprocessor=add_weight_args_preprocessing
)
