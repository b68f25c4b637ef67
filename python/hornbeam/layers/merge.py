"""Layers that merge several tensors into one, and functions that apply them.

In Keras 2 `layers.merge` was both this module and, after it, the function of Keras 1 of that name.
So that either use works, the module itself can be called like that function.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from typing import Any

from .. import backend as K
from ..engine import Layer

__all__ = [
    "Add",
    "Average",
    "Concatenate",
    "Dot",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
    "add",
    "average",
    "concatenate",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]

Shape = tuple[int | None, ...]


class _Merge(Layer):
    """What merging layers share: checks, and masks that keep what every masked input keeps."""

    _least = 2

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def _check_inputs(self, inputs: Any, what: str) -> None:
        if not isinstance(inputs, list) or len(inputs) < self._least:
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: A {type(self).__name__} layer should be "
                f"called on a list of at least {self._least} inputs. Got {what}: {inputs}"
            )

    def build(self, input_shape: Any) -> None:
        self._check_inputs(input_shape, "the shapes")
        batches = {shape[0] for shape in input_shape if shape[0] is not None}
        if len(batches) > 1:
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: cannot merge tensors with different batch "
                f"sizes. Got tensors with shapes: {input_shape}"
            )
        self.built = True

    def _aligned(self, tensors: list[Any]) -> list[Any]:
        """Give all tensors as many axes, by new ones after the batch axis."""
        ndim = max(K.ndim(x) for x in tensors)
        aligned = []
        for x in tensors:
            for _ in range(ndim - K.ndim(x)):
                x = K.expand_dims(x, 1)
            aligned.append(x)
        return aligned

    def _merge(self, inputs: list[Any]) -> Any:
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        self._check_inputs(inputs, "the inputs")
        return self._merge(self._aligned(inputs))

    def compute_output_shape(self, input_shape: Any) -> Shape:
        self._check_inputs(input_shape, "the shapes")
        ndim = max(len(shape) for shape in input_shape)
        result: Shape = (None,) * ndim
        for i, shape in enumerate(input_shape):
            padded = (shape[0], *(1,) * (ndim - len(shape)), *shape[1:])
            result = padded if i == 0 else self._broadcast(result, padded, input_shape)
        return result

    def _broadcast(self, a: Shape, b: Shape, shapes: Any) -> Shape:
        sizes: list[int | None] = []
        for x, y in zip(a, b, strict=True):
            if x == 1 or x == y:
                sizes.append(y)
            elif y == 1:
                sizes.append(x)
            elif x is None or y is None:
                sizes.append(y if x is None else x)
            else:
                raise ValueError(
                    f"{type(self).__name__} {self.name!r}: operands could not be broadcast "
                    f"together with shapes {shapes}"
                )
        return tuple(sizes)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        masks = self._masks(inputs, mask)
        return _all_of([m for m in masks if m is not None])

    def _masks(self, inputs: Any, mask: Any) -> list[Any]:
        """Return one mask, or None, for each input.

        Raises:
            ValueError: when masks and inputs do not go together.
        """
        if mask is None:
            return [None] * len(inputs)
        if not isinstance(mask, list):
            raise ValueError(f"{type(self).__name__}: `mask` should be a list, got {mask!r}")
        if len(mask) != len(inputs):
            raise ValueError(
                f"{type(self).__name__}: the lists of inputs and masks should have the same "
                f"length, got {len(inputs)} inputs and {len(mask)} masks"
            )
        return mask


def _all_of(masks: list[Any]) -> Any:
    if not masks:
        return None
    result = masks[0]
    for m in masks[1:]:
        result = K.logical_and(result, m)
    return result


class Add(_Merge):
    """The sum of a list of tensors, of one shape or of shapes that broadcast."""

    def _merge(self, inputs: list[Any]) -> Any:
        total = inputs[0]
        for x in inputs[1:]:
            total = total + x
        return total


class Subtract(_Merge):
    """The first of two tensors minus the second."""

    def _merge(self, inputs: list[Any]) -> Any:
        if len(inputs) != 2:
            raise ValueError(f"A Subtract layer takes exactly 2 inputs, got {len(inputs)}")
        return inputs[0] - inputs[1]


class Multiply(_Merge):
    """The product, element by element, of a list of tensors."""

    def _merge(self, inputs: list[Any]) -> Any:
        product = inputs[0]
        for x in inputs[1:]:
            product = product * x
        return product


class Average(_Merge):
    """The mean, element by element, of a list of tensors."""

    def _merge(self, inputs: list[Any]) -> Any:
        total = inputs[0]
        for x in inputs[1:]:
            total = total + x
        return total / len(inputs)


class Maximum(_Merge):
    """The maximum, element by element, of a list of tensors."""

    def _merge(self, inputs: list[Any]) -> Any:
        result = inputs[0]
        for x in inputs[1:]:
            result = K.maximum(result, x)
        return result


class Minimum(_Merge):
    """The minimum, element by element, of a list of tensors."""

    def _merge(self, inputs: list[Any]) -> Any:
        result = inputs[0]
        for x in inputs[1:]:
            result = K.minimum(result, x)
        return result


class Concatenate(_Merge):
    """The tensors of a list side by side along one axis; their other sizes must agree.

    Args:
        axis: the axis, the last by default.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self._check_shapes(input_shape)

    def _check_shapes(self, shapes: Any) -> None:
        ndim = len(shapes[0])
        fits = all(len(s) == ndim for s in shapes) and -ndim <= self.axis < ndim
        others = [i for i in range(ndim) if i != self.axis % ndim]
        for i in others if fits else ():
            fits = fits and len({s[i] for s in shapes if s[i] is not None}) <= 1
        if not fits:
            raise ValueError(
                f"Concatenate {self.name!r}: A Concatenate layer requires inputs with matching "
                f"shapes except for the concat axis {self.axis}. Got inputs shapes: {shapes}"
            )

    def call(self, inputs: Any) -> Any:
        self._check_inputs(inputs, "the inputs")
        return K.concatenate(inputs, axis=self.axis)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        self._check_inputs(input_shape, "the shapes")
        self._check_shapes(input_shape)
        shape = [
            next((s for s in sizes if s is not None), None)
            for sizes in zip(*input_shape, strict=True)
        ]
        joined = [s[self.axis] for s in input_shape]
        shape[self.axis] = None if None in joined else sum(joined)
        return tuple(shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        masks = self._masks(inputs, mask)
        given = [m for m in masks if m is not None]
        axis = self.axis % K.ndim(inputs[0])
        if not given or axis >= K.ndim(given[0]):
            return _all_of(given)
        # Joined along an axis that masks have: theirs are joined too, all of it kept where none is.
        rank = K.ndim(given[0])
        full = [_kept_all(x, rank) if m is None else m for x, m in zip(inputs, masks, strict=True)]
        return K.concatenate(full, axis=axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def _kept_all(x: Any, rank: int) -> Any:
    """Return a mask with the first `rank` axes of `x` that keeps everything."""
    index = (*[slice(None)] * rank, *[0] * (K.ndim(x) - rank))
    return K.ones_like(x[index], dtype="bool")


class Dot(_Merge):
    """The product of two tensors, sample by sample, summed over one axis of each.

    For inputs of shape (samples, n) and axes=1 the output is (samples, 1): the dot products.

    Args:
        axes: the axis summed over, an integer for both tensors or one for each.
        normalize: whether the tensors are first scaled to length one along those axes, which makes
            the result the cosine of the angle between samples.
        **kwargs: the keywords of `Layer`.
    """

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        integers = [axes] if isinstance(axes, int) else list(axes)
        if len(integers) > 2 or not all(isinstance(a, int) for a in integers):
            raise ValueError(f"Dot: `axes` must be an integer or two integers, got {axes!r}")
        self.axes = axes
        self.normalize = normalize

    def _axes_for(self, ndims: Sequence[int]) -> list[int]:
        pair = [self.axes] * 2 if isinstance(self.axes, int) else list(self.axes)
        return [axis % ndim for axis, ndim in zip(pair, ndims, strict=True)]

    def _check_two(self, inputs: Any) -> None:
        if not isinstance(inputs, list) or len(inputs) != 2:
            raise ValueError(
                f"Dot {self.name!r}: A Dot layer should be called on a list of 2 inputs. "
                f"Got: {inputs}"
            )

    def build(self, input_shape: Any) -> None:
        self._check_two(input_shape)
        super().build(input_shape)
        first, second = input_shape
        a, b = self._axes_for([len(first), len(second)])
        if first[a] != second[b] and None not in (first[a], second[b]):
            raise ValueError(
                f"Dot {self.name!r}: dimension incompatibility {first[a]} != {second[b]}. Layer "
                f"shapes: {first}, {second}, axes: {self.axes}"
            )

    def call(self, inputs: Any) -> Any:
        self._check_two(inputs)
        axes = self._axes_for([K.ndim(x) for x in inputs])
        if self.normalize:
            inputs = [K.l2_normalize(x, axis=a) for x, a in zip(inputs, axes, strict=True)]
        return K.batch_dot(inputs[0], inputs[1], axes)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        self._check_two(input_shape)
        first, second = list(input_shape[0]), list(input_shape[1])
        a, b = self._axes_for([len(first), len(second)])
        del first[a], second[b], second[0]
        shape = (*first, *second)
        return shape if len(shape) > 1 else (*shape, 1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def add(inputs: list[Any], **kwargs: Any) -> Any:
    """Return the sum of at least two tensors (see `Add`)."""
    return Add(**kwargs)(inputs)


def subtract(inputs: list[Any], **kwargs: Any) -> Any:
    """Return the first of two tensors minus the second (see `Subtract`)."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: list[Any], **kwargs: Any) -> Any:
    """Return the product of at least two tensors, element by element (see `Multiply`)."""
    return Multiply(**kwargs)(inputs)


def average(inputs: list[Any], **kwargs: Any) -> Any:
    """Return the mean of at least two tensors, element by element (see `Average`)."""
    return Average(**kwargs)(inputs)


def maximum(inputs: list[Any], **kwargs: Any) -> Any:
    """Return the maximum of at least two tensors, element by element (see `Maximum`)."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: list[Any], **kwargs: Any) -> Any:
    """Return the minimum of at least two tensors, element by element (see `Minimum`)."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: list[Any], axis: int = -1, **kwargs: Any) -> Any:
    """Return at least two tensors side by side along an axis (see `Concatenate`)."""
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(
    inputs: list[Any], axes: int | Sequence[int], normalize: bool = False, **kwargs: Any
) -> Any:
    """Return the product of two tensors, sample by sample (see `Dot`)."""
    return Dot(axes=axes, normalize=normalize, **kwargs)(inputs)


class _CallableModule(types.ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from ._legacy import merge

        return merge(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
