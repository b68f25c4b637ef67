"""Arrays that enter a model: made into the form it takes, or refused with the reason.

Everything is checked once, before the first step. Messages name the layer, what came and what was
expected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data import as_array, is_lazy
from ..utils.user_warnings import warn

Shape = tuple[int | None, ...] | None


def standardize_data(
    data: Any,
    names: Sequence[str],
    shapes: Sequence[Shape],
    dtypes: Sequence[str],
    prefix: str,
    check_batch_axis: bool = True,
    hints: Sequence[str] | None = None,
) -> list[Any]:
    """Return one array for each name, of the type and rank that is expected.

    Args:
        data: an array, a list with one for each name, or a dictionary from name to array.
        names: names of the inputs or outputs.
        shapes: shape expected of each, None for any.
        dtypes: type expected of each.
        prefix: what is checked, for messages ('model input', 'model target').
        check_batch_axis: whether the first axis is checked too.
        hints: for each, what may help when its shape is wrong.

    Returns:
        List of contiguous arrays, or of objects that are read in slices (HDF5).

    Raises:
        ValueError: when something does not fit.
    """
    if not names:
        _check_nothing(data, prefix)
        return []
    arrays = _one_for_each(data, names, prefix)
    hints = hints or [""] * len(names)
    return [
        _standardize_one(array, name, shape, dtype, prefix, check_batch_axis, hint)
        for array, name, shape, dtype, hint in zip(
            arrays, names, shapes, dtypes, hints, strict=True
        )
    ]


def _check_nothing(data: Any, prefix: str) -> None:
    empty = data is None or (isinstance(data, (list, tuple, Mapping)) and not len(data))
    if not empty:
        raise ValueError(
            f"Error when checking {prefix}: no data was expected, but got {_describe(data)}. Leave "
            "it out, or pass None."
        )


def _one_for_each(data: Any, names: Sequence[str], prefix: str) -> list[Any]:
    if data is None:
        raise ValueError(
            f"Error when checking {prefix}: no data was provided. Expected arrays for "
            f"{list(names)}: pass one array, a list with one for each, or a dictionary by name."
        )
    if isinstance(data, Mapping):
        missing = [name for name in names if name not in data]
        if missing:
            raise ValueError(
                f'No data provided for "{missing[0]}". Need data for each key in: {list(names)}; '
                f"the dictionary has {list(data)}. Rename or add the entry, or pass the arrays in "
                "a list in this order."
            )
        unused = [key for key in data if key not in names]
        if unused:
            warn(f"The {prefix} has no use for {unused}: the model takes {list(names)}")
        return [data[name] for name in names]
    if isinstance(data, (list, tuple)):
        return _from_list(list(data), names, prefix)
    if len(names) > 1:
        raise ValueError(
            f"The model expects {len(names)} {prefix} arrays, but only received one array. "
            f"Found: {_describe(data)}. Pass a list with an array for each of {list(names)}, or a "
            "dictionary by these names."
        )
    return [data]


def _from_list(data: list[Any], names: Sequence[str], prefix: str) -> list[Any]:
    holds_arrays = bool(data) and all(np.ndim(_peek(a)) > 0 and not _is_list(a) for a in data)
    if len(data) == len(names) and (holds_arrays or len(names) > 1):
        return data
    if not holds_arrays and len(names) == 1:
        # One input given as nested lists of numbers.
        return data if len(data) == 1 and np.ndim(_peek(data[0])) > 1 else [data]
    if holds_arrays or len(names) > 1:
        shown = ", ".join(_describe(a) for a in data[:4])
        raise ValueError(
            f"Error when checking {prefix}: the list of Numpy arrays that you are passing to your "
            f"model is not the size the model expected. Expected to see {len(names)} arrays but "
            f"instead got the following list of {len(data)} arrays: {shown}"
            f"{_how_to_pass(data, names)}"
        )
    return [data]


def _how_to_pass(data: list[Any], names: Sequence[str]) -> str:
    """Return what may be meant by a list that has not one array for each name."""
    if len(names) > 1:
        return f". Pass one array for each of {list(names)}, in this order."
    if len({getattr(a, "shape", None) for a in data}) == 1 and hasattr(data[0], "shape"):
        return (
            ". If each is one sample, make one array of them: `np.array(x)`; if they are parts of "
            "one data set: `np.concatenate(x)`."
        )
    return f". Pass the one array for {names[0]!r}."


def _is_list(x: Any) -> bool:
    return isinstance(x, (list, tuple, int, float, bool, np.generic))


def _peek(x: Any) -> Any:
    """Return something with the rank of `x` without converting a large object."""
    if hasattr(x, "shape"):
        return np.empty((0,) * len(x.shape))
    if isinstance(x, (list, tuple)):
        return np.empty((0,) * (1 + np.ndim(_peek(x[0])) if x else 1))
    return x


def _describe(x: Any) -> str:
    if hasattr(x, "shape"):
        return f"array with shape {tuple(x.shape)}"
    return f"{type(x).__name__} {str(x)[:40]!r}"


def _standardize_one(
    x: Any, name: str, shape: Shape, dtype: str, prefix: str, check_batch_axis: bool, hint: str
) -> Any:
    where = f"Error when checking {prefix}: "
    if x is None:
        raise ValueError(
            f"{where}expected an array for {name}, got None. Pass one, or build the model without "
            "it."
        )
    if is_lazy(x) and len(x.shape) == 1 and (shape is None or len(shape) > 1):
        # Samples of one number lack an axis, which a file cannot be given; they are small.
        x = x[:]
    array = x if is_lazy(x) else as_array(x, dtype, f"{where}the array for {name}")
    if len(array.shape) == 0:
        raise ValueError(
            f"{where}expected {name} to be an array of samples, got the scalar {x!r}. A batch of "
            "one sample is `np.array([x])`."
        )
    if shape is None:
        return array if len(array.shape) > 1 or is_lazy(array) else array[:, None]
    if len(array.shape) == len(shape) - 1 and shape[-1] == 1 and not is_lazy(array):
        # Samples of one number may come without the axis for it.
        array = array[..., None]
    elif len(array.shape) == 1 and not is_lazy(array) and len(shape) > 1:
        array = array[:, None]
    if len(array.shape) != len(shape):
        raise ValueError(
            f"{where}expected {name} to have {len(shape)} dimensions (shape {tuple(shape)}), but "
            f"got array with shape {tuple(array.shape)}{hint or _how_to_fit(array, shape, prefix)}"
        )
    for axis, (size, expected) in enumerate(zip(array.shape, shape, strict=True)):
        if expected is None or size == expected or (axis == 0 and not check_batch_axis):
            continue
        raise ValueError(
            f"{where}expected {name} to have shape {tuple(shape)} but got array with shape "
            f"{tuple(array.shape)}{hint or _how_to_fit(array, shape, prefix)}"
        )
    return array


def _how_to_fit(array: Any, shape: tuple[int | None, ...], prefix: str) -> str:
    """Return how an array of another shape may be brought to fit, or the model made for it."""
    came, sizes = tuple(array.shape), tuple(shape[1:])
    one_sample = came[:-1] if len(came) == 2 and came[-1] == 1 else came
    if len(one_sample) == len(sizes) and all(
        want in (None, got) for want, got in zip(sizes, one_sample, strict=True)
    ):
        return ". If this is one sample, make a batch of it: `x[np.newaxis]`."
    if sorted(came[1:]) == sorted(size or 0 for size in sizes):
        return ". If only the axes are in another order, use `np.transpose`, or `data_format`."
    known = [size for size in sizes if size is not None]
    if len(came) > 1 and len(known) == len(sizes) and np.prod(came[1:]) == np.prod(known):
        return f". If only the shape is another, use `x.reshape({(-1, *known)})`."
    if prefix == "model target":
        return ". Targets have the shape of the output: change them, or the model's last layer."
    return f". Change the data, or make the model for them: `input_shape={came[1:]}`."


def check_lengths(
    inputs: Sequence[Any], targets: Sequence[Any], weights: Sequence[Any] = ()
) -> int:
    """Check that all arrays hold the same number of samples; return it.

    Raises:
        ValueError: when they do not.
    """
    xs = {len(x) for x in inputs}
    ys = {len(y) for y in targets}
    ws = {len(w) for w in weights if w is not None}
    if len(xs) > 1:
        raise ValueError(
            "All input arrays (x) should have the same number of samples. Got array shapes: "
            f"{[tuple(x.shape) for x in inputs]}. The first axis counts the samples."
        )
    if len(ys) > 1:
        raise ValueError(
            "All target arrays (y) should have the same number of samples. Got array shapes: "
            f"{[tuple(y.shape) for y in targets]}. The first axis counts the samples."
        )
    if xs and ys and xs != ys:
        raise ValueError(
            "Input arrays should have the same number of samples as target arrays. Found "
            f"{min(xs)} input samples and {min(ys)} target samples. The first axis counts the "
            "samples: each needs one entry in x and one in y."
        )
    counts = xs or ys
    if ws and ws != counts:
        raise ValueError(
            "Sample_weight arrays should have the same number of samples as input arrays. Found "
            f"{min(counts) if counts else 0} input samples and {sorted(ws)} sample weights. Give "
            "each sample one weight, 0 for one that does not count."
        )
    return next(iter(counts)) if counts else 0


def check_targets(
    targets: Sequence[Any],
    losses: Sequence[Any],
    outputs: Sequence[Any],
    names: Sequence[str],
) -> None:
    """Check the ranges of class numbers.

    Args:
        targets: arrays.
        losses: the loss function of each.
        outputs: shape of each output.
        names: name of each output's layer.

    Raises:
        ValueError: when a loss cannot mean these targets.
    """
    for y, loss, shape, name in zip(targets, losses, outputs, names, strict=True):
        kind = getattr(loss, "__name__", "")
        if kind == "sparse_categorical_crossentropy" and not is_lazy(y):
            check_labels(y, shape[-1], name)


_HINTS = {
    "categorical_crossentropy": (
        ". You are using the loss `categorical_crossentropy`, which expects targets to be binary "
        "matrices (1s and 0s) of shape (samples, classes). If your targets are integer classes, "
        "convert them by `keras.utils.to_categorical(y)`, or use the loss "
        "`sparse_categorical_crossentropy` instead, which does expect integer targets."
    ),
    "sparse_categorical_crossentropy": (
        ". You are using the loss `sparse_categorical_crossentropy`, which expects class numbers. "
        "For binary matrices use `categorical_crossentropy`."
    ),
}


def hint_for(loss: Any) -> str:
    """Return what may help when targets of a wrong shape come for a loss."""
    return _HINTS.get(getattr(loss, "__name__", ""), "")


def check_labels(y: np.ndarray, classes: int | None, name: str) -> None:
    """Check that class numbers are whole and lie in 0..classes-1.

    Raises:
        ValueError: when one does not.
    """
    if classes is None or y.size == 0:
        return
    low, high = y.min(), y.max()
    if not (low >= 0 and high < classes):
        wrong = high if low >= 0 else low
        raise ValueError(
            f"The targets for {name} hold the label {wrong:.17g}, but its output has {classes} "
            f"classes: labels must lie in 0..{classes - 1}"
        )
    if y.dtype.kind == "f" and (y != np.floor(y)).any():
        raise ValueError(
            f"The targets for {name} hold the label {y[y != np.floor(y)].flat[0]:.17g}, but the "
            "loss `sparse_categorical_crossentropy` expects class numbers, which are whole"
        )


def check_positive(value: Any, name: str) -> int:
    """Return a whole number of at least 1.

    Raises:
        ValueError: for anything else.
    """
    number = 32 if value is None and name == "batch_size" else value
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
        raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}")
    return int(number)


def check_count(value: Any, name: str) -> int:
    """Return a whole number of at least 0.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"`{name}` must be a whole number of at least 0, got {value!r}")
    return int(value)


def check_fraction(value: Any, name: str) -> float:
    """Return a number that is at least 0 and less than 1; None counts as 0.

    Raises:
        ValueError: for anything else.
    """
    number = 0.0 if value is None else value
    is_number = isinstance(number, (int, float, np.number)) and not isinstance(number, bool)
    if not is_number or not 0.0 <= number < 1.0:
        raise ValueError(
            f"`{name}` must be a fraction of the samples, at least 0 and less than 1, got {value!r}"
        )
    return float(number)


def check_verbose(value: Any) -> int:
    """Return 0, 1 or 2; booleans and None count as what they are, and 'auto' as 1.

    Raises:
        ValueError: for anything else.
    """
    if value is None or value == "auto":
        return 1 if value else 0
    if not isinstance(value, (bool, int, np.integer)) or value not in (0, 1, 2):
        raise ValueError(
            "`verbose` must be 0 (silence), 1 (a progress bar) or 2 (a line for each epoch), got "
            f"{value!r}"
        )
    return int(value)


def check_shuffle(value: Any) -> None:
    """Check `fit`'s argument.

    Raises:
        ValueError: for a string other than 'batch'.
    """
    if isinstance(value, str) and value != "batch":
        raise ValueError(f"`shuffle` must be True, False or 'batch', got {value!r}")


def check_batches(
    inputs: Sequence[Any], names: Sequence[str], batch_size: int, count: int, stateful: bool
) -> None:
    """Check that samples can be cut into batches of the size that a model was made for.

    Args:
        inputs: the model's input tensors.
        names: the names of their layers.
        batch_size: samples in a batch.
        count: all samples.
        stateful: whether states pass from one batch to the next.

    Raises:
        ValueError: when they cannot.
    """
    if stateful and count % batch_size:
        raise ValueError(
            "In a stateful network, you should only pass inputs with a number of samples that can "
            f"be divided by the batch size. Found: {count} samples. Batch size: {batch_size}."
        )
    sizes = {min(batch_size, count), count % batch_size or min(batch_size, count)}
    for tensor, name in zip(inputs, names, strict=True):
        fixed = tensor.shape[0]
        if fixed is not None and sizes != {fixed}:
            raise ValueError(
                f"The input {name} was made for batches of {fixed} samples (its shape is "
                f"{tuple(tensor.shape)}), but {count} samples with batch_size={batch_size} give "
                f"batches of {sorted(sizes)}. Pass batch_size={fixed} and a number of samples that "
                f"{fixed} divides."
            )


def standardize_weights(
    y: Any,
    sample_weight: Any = None,
    class_weight: Mapping[Any, float] | None = None,
    mode: str | None = None,
    name: str = "output",
) -> np.ndarray | None:
    """Return the weights of an output's samples, or None when all are 1.

    Args:
        y: the targets.
        sample_weight: an array (samples,), or (samples, steps) in temporal mode.
        class_weight: class number -> weight.
        mode: None, or 'temporal' for a weight for each step.
        name: the output, for messages.

    Raises:
        ValueError: when the weights do not fit the targets.
    """
    if mode not in (None, "temporal"):
        raise ValueError(f'sample_weight_mode should be None or "temporal". Found: {mode!r}')
    if sample_weight is not None:
        if class_weight is not None:
            warn(
                f"`class_weight` is not used for {name}, which has a sample_weight as well: "
                "multiply the weights of the samples by those of their classes."
            )
        return _sample_weights(y, np.asarray(sample_weight), mode, name)
    if class_weight is None or (hasattr(class_weight, "__len__") and not len(class_weight)):
        return None
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"`class_weight` for {name} must be a dictionary from class number to weight, such as "
            f"{{0: 1.0, 1: 2.5}}, got {class_weight!r}"
        )
    return _class_weights(y, class_weight, mode, name)


def _sample_weights(y: Any, weights: np.ndarray, mode: str | None, name: str) -> np.ndarray:
    if weights.dtype.kind not in "biuf":
        raise ValueError(
            f"The sample weights for {name} have the dtype {weights.dtype}. Pass numbers, such as "
            "`np.ones(len(y))`."
        )
    if mode is None and weights.ndim != 1:
        raise ValueError(
            f"Found a sample_weight array with shape {weights.shape} for {name}. In order to use "
            'timestep-wise sample weights, you should specify sample_weight_mode="temporal" in '
            f"compile(); otherwise weights must be of shape (samples,), here {(len(y),)}."
        )
    if mode == "temporal" and len(y.shape) < 3:
        raise ValueError(
            f"Found a sample_weight array for an input with shape {tuple(y.shape)}. Timestep-wise "
            'sample weighting (use of sample_weight_mode="temporal") is restricted to outputs '
            "that are at least 3D, i.e. that have a time dimension. Compile the model without "
            "sample_weight_mode to weigh whole samples."
        )
    if mode == "temporal" and weights.ndim != 2:
        raise ValueError(
            f"Found a sample_weight array with shape {weights.shape} for {name}. In order to use "
            "timestep-wise sample weighting, you should pass a 2D sample_weight array: one of "
            f"shape {tuple(y.shape[:2])}, a weight for each step of each sample."
        )
    if tuple(y.shape[: weights.ndim]) != weights.shape:
        raise ValueError(
            f"Found a sample_weight array with shape {weights.shape} for an input with shape "
            f"{tuple(y.shape)}. sample_weight cannot be broadcast. Give {name} weights of the "
            f"shape {tuple(y.shape[: weights.ndim])}"
            + (": one for each sample." if mode is None else ": one for each step of each sample.")
        )
    if weights.dtype.kind == "f" and not np.isfinite(weights).all():
        raise ValueError(
            f"The sample weights for {name} hold {weights[~np.isfinite(weights)].flat[0]}, which "
            "would make the loss and all weights of the model that too: every one must be finite"
        )
    return weights


def _class_weights(
    y: Any, class_weight: Mapping[Any, float], mode: str | None, name: str
) -> np.ndarray:
    if mode == "temporal" or len(y.shape) > 2:
        raise ValueError(
            "`class_weight` not supported for 3+ dimensional targets. Pass `sample_weight` for "
            f'{name} instead; with sample_weight_mode="temporal" in compile() it may have a weight '
            "for each step."
        )
    y = np.asarray(y)
    classes = y.argmax(axis=1) if y.shape[1] > 1 else y.reshape(-1)
    present, places = np.unique(classes, return_inverse=True)
    strange = [key for key in class_weight if isinstance(key, str)]
    if strange:
        raise ValueError(
            f"`class_weight` must map class numbers to weights; it holds {strange[0]!r}, which is "
            "neither a class nor an output"
        )
    missing = [int(c) for c in present if c not in class_weight]
    if missing:
        raise ValueError(
            f"`class_weight` must contain all classes in the data. The classes {missing} exist in "
            f"the data for {name} but not in `class_weight`. Add them; a class of weight 1 counts "
            "as it is."
        )
    numbers = [class_weight[c] for c in present]
    if not all(isinstance(w, (int, float, np.number)) and np.isfinite(w) for w in numbers):
        raise ValueError(
            f"`class_weight` for {name} must hold a finite number for each class, got "
            f"{dict(class_weight)}"
        )
    return np.asarray(numbers, dtype="float64")[places]


def per_output(value: Any, names: Sequence[str], what: str) -> list[Any]:
    """Return `sample_weight` or `class_weight` for each output.

    Args:
        value: None, one for a single output, a list, or a dictionary by name of the output.
        names: names of the outputs.
        what: which of the two, for messages.

    Raises:
        ValueError: when a list has another length.
        TypeError: for anything else.
    """
    if value is None or (isinstance(value, (list, tuple, Mapping)) and not len(value)):
        return [None] * len(names)
    if len(names) == 1:
        if isinstance(value, (list, tuple)) and len(value) == 1 and np.ndim(value[0]) != 0:
            return [value[0]]
        if isinstance(value, (list, tuple)) and value[0] is None and len(value) == 1:
            return [None]
        if isinstance(value, Mapping) and names[0] in value:
            return [value[names[0]]]
        return [value]
    if isinstance(value, (list, tuple)):
        if len(value) != len(names):
            raise ValueError(
                f"Provided `{what}` was a list of {len(value)} elements, but the model has "
                f"{len(names)} outputs. You should provide one `{what}` array per model output."
            )
        return list(value)
    if isinstance(value, Mapping):
        unknown = [key for key in value if key not in names]
        if unknown:
            raise ValueError(
                f'Unknown entry in {what} dictionary: "{unknown[0]}". Only expected the following '
                f"keys: {list(names)}."
            )
        return [value.get(name) for name in names]
    raise TypeError(
        f"The model has multiple outputs, so `{what}` should be either a list or a dict. Provided "
        f"`{what}` type not understood: {type(value).__name__}"
    )


def weights_or_ones(validation: tuple[list[Any], list[Any], list[Any] | None]) -> list[Any]:
    """Return the weights of standard data, ones where there are none."""
    _, ys, ws = validation
    return ws if ws is not None else [np.ones(len(y)) for y in ys]


def user_arrays(given: Any, standard: tuple[list[Any], list[Any], list[Any] | None]) -> list[Any]:
    """Return validation data as callbacks see it: the user's own arrays where they are some."""
    parts: list[Any] = []
    for user, own in zip(given[:2], standard[:2], strict=True):
        if isinstance(user, (list, tuple)) and len(user) == len(own) and own:
            parts += user if all(hasattr(u, "shape") for u in user) else own
        elif hasattr(user, "shape") and len(own) == 1:
            parts.append(user)
        else:
            parts += own
    weights = given[2] if len(given) == 3 and hasattr(given[2], "shape") else None
    return [*parts, weights] if weights is not None else [*parts, *weights_or_ones(standard)]
