"""The parts of a Keras 1 call that renaming keywords cannot translate.

A preprocessor takes the positional arguments (with `self` first) and the keywords of a call and
returns both anew, with the old names that it translated: any at all make the caller warn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..utils.user_warnings import warn

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Preprocessor = Callable[[Args, Kwargs], tuple[Args, Kwargs, list[str]]]

_PADS = ("top_pad", "bottom_pad", "left_pad", "right_pad")


def embedding_kwargs_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[str]]:
    """Drop `dropout`, which a layer of its own does today, with a warning that says so."""
    if kwargs.pop("dropout", None) is not None:
        warn(
            "The `dropout` argument of `Embedding` is ignored. Put a SpatialDropout1D layer right "
            "after the Embedding layer to get the same behavior."
        )
    return args, kwargs, []


def recurrent_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[str]]:
    """Translate `forget_bias_init`, and `input_dim` with `input_length` into `input_shape`."""
    converted = _forget_bias(kwargs) + _sequence_shape(kwargs)
    return args, kwargs, converted


def conv1d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[str]]:
    """Translate `input_dim` with `input_length` into `input_shape`."""
    return args, kwargs, _sequence_shape(kwargs)


def conv2d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[str]]:
    """Gather the kernel's rows and columns, positional or by keyword, into `kernel_size`."""
    if len(args) > 4:
        raise TypeError(
            f"`{type(args[0]).__name__}` takes at most 3 positional arguments, "
            f"got {list(args[1:])}. Give the others as keywords."
        )
    return _gather_kernel_size(args, kwargs, ("nb_row", "nb_col"))


def conv3d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[str]]:
    """Gather the kernel's three lengths, positional or by keyword, into `kernel_size`."""
    if len(args) > 5:
        raise TypeError(
            f"`{type(args[0]).__name__}` takes at most 4 positional arguments, "
            f"got {list(args[1:])}. Give the others as keywords."
        )
    return _gather_kernel_size(args, kwargs, ("kernel_dim1", "kernel_dim2", "kernel_dim3"))


def separable_conv2d_args_preprocessor(
    args: Args, kwargs: Kwargs
) -> tuple[Args, Kwargs, list[str]]:
    """Give `init` to both kernels; the rest as for `Conv2D`."""
    converted = []
    if "init" in kwargs:
        init = kwargs.pop("init")
        for name in ("depthwise_initializer", "pointwise_initializer"):
            if name in kwargs:
                raise TypeError(
                    f"`{type(args[0]).__name__}` received the same argument twice, as `init` and "
                    f"as `{name}`. Keep `{name}`."
                )
            kwargs[name] = init
        converted.append("init")
    args, kwargs, more = conv2d_args_preprocessor(args, kwargs)
    return args, kwargs, converted + more


def deconv2d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[str]]:
    """Drop `output_shape`, which is computed today; the rest as for `Conv2D`."""
    converted = []
    if len(args) == 5 and isinstance(args[4], (tuple, list)):
        args = args[:-1]
        converted.append("output_shape")
    if "output_shape" in kwargs:
        kwargs.pop("output_shape")
        converted.append("output_shape")
    args, kwargs, more = conv2d_args_preprocessor(args, kwargs)
    return args, kwargs, converted + more


def convlstm2d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[str]]:
    """Translate `forget_bias_init`; the rest as for `Conv2D`."""
    converted = _forget_bias(kwargs)
    args, kwargs, more = conv2d_args_preprocessor(args, kwargs)
    return args, kwargs, converted + more


def batchnorm_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[str]]:
    """Refuse positional arguments and the modes 1 and 2; `mode=0` is today's only one.

    Raises:
        TypeError: for a positional argument or another mode.
    """
    if len(args) > 1:
        raise TypeError(
            "The `BatchNormalization` layer does not accept positional arguments, got "
            f"{list(args[1:])}. Use keyword arguments instead."
        )
    if "mode" not in kwargs:
        return args, kwargs, []
    mode = kwargs.pop("mode")
    if mode != 0:
        raise TypeError(
            f"`BatchNormalization` got mode={mode!r}. The argument no longer exists, and only what "
            "mode=0 meant is supported."
        )
    return args, kwargs, ["mode"]


def zeropadding2d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[str]]:
    """Turn a dictionary of pads into `((top, bottom), (left, right))`."""
    if isinstance(kwargs.get("padding"), dict):
        kwargs["padding"] = _pads_from_dict(kwargs["padding"])
        return args, kwargs, ["padding"]
    if len(args) == 2 and isinstance(args[1], dict):
        return (args[0], _pads_from_dict(args[1])), kwargs, ["padding"]
    return args, kwargs, []


def generator_methods_args_preprocessor(
    args: Args, kwargs: Kwargs
) -> tuple[Args, Kwargs, list[str]]:
    """Turn `samples_per_epoch` into `steps_per_epoch` where the generator says its batch size."""
    if "samples_per_epoch" not in kwargs or len(args) >= 3:
        return args, kwargs, []
    if "steps_per_epoch" in kwargs:
        raise TypeError(
            "The same argument was given twice, as `samples_per_epoch` and as `steps_per_epoch`. "
            "Keep `steps_per_epoch`."
        )
    samples = kwargs.pop("samples_per_epoch")
    generator = args[1] if len(args) > 1 else kwargs.get("generator")
    batch_size = getattr(generator, "batch_size", None)
    if batch_size:
        kwargs["steps_per_epoch"] = samples // batch_size
    else:
        warn(
            "`steps_per_epoch` does not mean what `samples_per_epoch` meant in Keras 1: it is the "
            "number of batches to draw from the generator in each epoch. The number was taken over "
            "unchanged; update the call."
        )
        kwargs["steps_per_epoch"] = samples
    return args, kwargs, ["samples_per_epoch"]


def add_weight_args_preprocessing(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[str]]:
    """Accept the Keras 1 order, the shape before the name, without a warning."""
    if len(args) > 1 and isinstance(args[1], (tuple, list)):
        kwargs["shape"] = args[1]
        args = (args[0], *args[2:])
        if len(args) > 1 and isinstance(args[1], str):
            # Keras 1 had the initializer second; a name that is also given tells the two apart.
            kwargs["initializer" if "name" in kwargs else "name"] = args[1]
            args = (args[0], *args[2:])
    return args, kwargs, []


def _forget_bias(kwargs: Kwargs) -> list[str]:
    if "forget_bias_init" not in kwargs:
        return []
    if kwargs.pop("forget_bias_init") == "one":
        kwargs["unit_forget_bias"] = True
        return ["forget_bias_init"]
    warn(
        "The `forget_bias_init` argument has been ignored. "
        "Use `unit_forget_bias=True` instead to initialize with ones."
    )
    return []


def _sequence_shape(kwargs: Kwargs) -> list[str]:
    if "input_dim" not in kwargs:
        return []
    kwargs["input_shape"] = (kwargs.pop("input_length", None), kwargs.pop("input_dim"))
    return ["input_dim"]


def _gather_kernel_size(
    args: Args, kwargs: Kwargs, names: tuple[str, ...]
) -> tuple[Args, Kwargs, list[str]]:
    """Collect the window's lengths into one tuple when all of them are there.

    The lengths come first from positional integers after the number of filters, then from the
    keywords `names`. Anything incomplete is left for the layer to complain about.
    """
    given = args[2:]
    if not all(isinstance(length, (int, np.integer)) for length in given):
        return args, kwargs, []
    if len(given) == 2 and (clash := {"padding", "strides", "data_format"} & set(kwargs)):
        raise ValueError(
            f"`{type(args[0]).__name__}` got two integers {given} after the number of filters, "
            f"together with the keyword {sorted(clash)[0]!r}: that may mean a kernel size and "
            "strides, or the rows and columns of a Keras 1 kernel. Write kernel_size as a tuple, "
            "or pass `strides` as a keyword argument."
        )
    missing = names[len(given) :]
    if (not missing and not given) or any(name not in kwargs for name in missing):
        return args, kwargs, []
    kernel_size = (*map(int, given), *(kwargs.pop(name) for name in missing))
    if len(args) == 1:
        kwargs["kernel_size"] = kernel_size
    else:
        args = (*args[:2], kernel_size)
    return args, kwargs, ["kernel_size"]


def _pads_from_dict(pads: dict[str, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    unknown = sorted(set(pads) - set(_PADS))
    if unknown:
        raise ValueError(
            f"`ZeroPadding2D` got the unknown pads {unknown} in its `padding`. "
            f"Expected ((top, bottom), (left, right)), or a dictionary with {_PADS}."
        )
    top, bottom, left, right = (pads.get(name, 0) for name in _PADS)
    return (top, bottom), (left, right)
