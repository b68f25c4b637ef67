"""What a layer expects of an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import backend as K


class InputSpec:
    """What a layer expects of one of its inputs; None stands for anything.

    Attributes:
        dtype: type of the elements.
        shape: the whole shape, None where a size does not matter.
        ndim: the number of axes.
        max_ndim: the greatest number of axes.
        min_ndim: the least number of axes.
        axes: axis -> size.
    """

    def __init__(
        self,
        dtype: str | None = None,
        shape: Sequence[int | None] | None = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: dict[int, int] | None = None,
    ) -> None:
        """Keep the expectations; `shape` implies `ndim`."""
        self.dtype = dtype
        self.shape = shape
        self.ndim = len(shape) if shape is not None else ndim
        self.max_ndim = max_ndim
        self.min_ndim = min_ndim
        self.axes = axes or {}

    def __repr__(self) -> str:
        told = {k: v for k, v in vars(self).items() if v not in (None, {})}
        return f"InputSpec({', '.join(f'{k}={v!r}' for k, v in told.items())})"

    def problem(self, x: Any) -> str | None:
        """Say what is wrong with the tensor `x`, or None when it fits."""
        shape = K.int_shape(x) or ()
        ndim = len(shape)
        if self.ndim is not None and ndim != self.ndim:
            return f"expected ndim={self.ndim}, found ndim={ndim}"
        if self.max_ndim is not None and ndim > self.max_ndim:
            return f"expected max_ndim={self.max_ndim}, found ndim={ndim}"
        if self.min_ndim is not None and ndim < self.min_ndim:
            return f"expected min_ndim={self.min_ndim}, found ndim={ndim}"
        if self.dtype is not None and K.dtype(x) != self.dtype:
            return f"expected dtype={self.dtype}, found dtype={K.dtype(x)}"
        for axis, size in self.axes.items():
            if size is not None and shape[int(axis)] not in (size, None):
                return (
                    f"expected axis {axis} of input shape to have value {size} "
                    f"but got shape {shape}"
                )
        for expected, found in zip(self.shape or (), shape, strict=False):
            if expected is not None and found is not None and expected != found:
                return f"expected shape={tuple(self.shape or ())}, found shape={shape}"
        return None
