"""Layers that enlarge, pad and crop sequences, images and volumes. They have no weights."""

from __future__ import annotations

from typing import Any

from .. import backend as K
from ..engine import InputSpec, Layer
from ..legacy import interfaces
from ..utils import conv_utils
from ._weights import refuse_keywords

Shape = tuple[int | None, ...]


class _Spatial(Layer):
    """A layer that changes the sizes of the spatial axes alone."""

    _rank: int
    data_format: str

    def _first(self) -> int:
        return 2 if self.data_format == "channels_first" else 1

    def _new_size(self, size: int, i: int) -> int:
        """Return the new size of the spatial axis `i`."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape, first = list(input_shape), self._first()
        for i in range(self._rank):
            size = shape[first + i]
            if size is not None:
                shape[first + i] = self._new_size(size, i)
        return tuple(shape)


class _UpSampling(_Spatial):
    def __init__(self, size: Any, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size: Any = conv_utils.normalize_tuple(size, self._rank, "size")
        self.data_format = conv_utils.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self._rank + 2)

    def _new_size(self, size: int, i: int) -> int:
        return size * self.size[i]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "data_format": self.data_format}


class UpSampling1D(_UpSampling):
    """Repeat each time step: (samples, steps, features) to (samples, steps * size, features).

    Args:
        size: integer, how often each step is repeated.
        **kwargs: the keywords of `Layer`.
    """

    _rank = 1

    @interfaces.legacy_upsampling1d_support
    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        refuse_keywords(self, kwargs, "data_format")
        super().__init__(size, "channels_last", **kwargs)
        self.size = self.size[0]

    def _new_size(self, size: int, i: int) -> int:
        return size * self.size

    def call(self, inputs: Any) -> Any:
        return K.repeat_elements(inputs, self.size, axis=1)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["data_format"]
        return config


class UpSampling2D(_UpSampling):
    """Repeat the rows and columns of images.

    Input: (samples, rows, columns, channels), or channels before rows.

    Args:
        size: an integer or two, how often each row and each column is repeated.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        interpolation: 'nearest', the only one there is.
        **kwargs: the keywords of `Layer`.
    """

    _rank = 2

    @interfaces.legacy_upsampling2d_support
    def __init__(
        self,
        size: Any = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__(size, data_format, **kwargs)
        if interpolation != "nearest":
            raise ValueError(
                f"UpSampling2D: interpolation {interpolation!r} is not available; "
                "expected 'nearest'"
            )

    def call(self, inputs: Any) -> Any:
        rows, columns = self.size
        return K.resize_images(inputs, rows, columns, self.data_format)


class UpSampling3D(_UpSampling):
    """Repeat volumes along their three axes.

    Input: (samples, depth, rows, columns, channels), or channels before depth.

    Args:
        size: an integer or three.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    _rank = 3

    @interfaces.legacy_upsampling3d_support
    def __init__(
        self, size: Any = (2, 2, 2), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(size, data_format, **kwargs)

    def call(self, inputs: Any) -> Any:
        depth, rows, columns = self.size
        return K.resize_volumes(inputs, depth, rows, columns, self.data_format)


def _pairs(value: Any, rank: int, layer: str, name: str) -> tuple[tuple[int, int], ...]:
    """Return (before, after) for each axis from an integer, one for each axis, or the pairs.

    Raises:
        ValueError: for anything else, or a negative amount.
    """
    wanted = f"an integer, {rank} integers, or {rank} pairs of integers"
    if isinstance(value, (str, bytes)):
        raise ValueError(f"{layer}: `{name}` must be {wanted}, got {value!r}")
    items = list(value) if hasattr(value, "__len__") else [value] * rank
    if len(items) != rank:
        raise ValueError(f"{layer}: `{name}` must be {wanted}, got {value!r}")
    pairs = tuple(conv_utils.normalize_tuple(item, 2, name) for item in items)
    if any(amount < 0 for pair in pairs for amount in pair):
        raise ValueError(f"{layer}: `{name}` must not be negative, got {value!r}")
    return pairs  # type: ignore[return-value]


class _ZeroPadding(_Spatial):
    padding: Any

    def __init__(self, padding: Any, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = conv_utils.normalize_data_format(data_format)
        self.padding = _pairs(padding, self._rank, type(self).__name__, "padding")
        self.input_spec = InputSpec(ndim=self._rank + 2)

    def _new_size(self, size: int, i: int) -> int:
        return size + sum(self.padding[i])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding, "data_format": self.data_format}


class ZeroPadding1D(_ZeroPadding):
    """Add steps of zeros: (samples, steps, features) to (samples, new_steps, features).

    Args:
        padding: how many before and after, an integer or two.
        **kwargs: the keywords of `Layer`.
    """

    _rank = 1

    def __init__(self, padding: Any = 1, **kwargs: Any) -> None:
        refuse_keywords(self, kwargs, "data_format")
        super().__init__([padding], "channels_last", **kwargs)
        self.padding = self.padding[0]

    def _new_size(self, size: int, i: int) -> int:
        return size + sum(self.padding)

    def call(self, inputs: Any) -> Any:
        return K.temporal_padding(inputs, padding=self.padding)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["data_format"]
        return config


class ZeroPadding2D(_ZeroPadding):
    """Add rows and columns of zeros around images.

    Input: (samples, rows, columns, channels), or channels before rows.

    Args:
        padding: an integer; two, for rows and columns; or ((top, bottom), (left, right)).
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    _rank = 2

    @interfaces.legacy_zeropadding2d_support
    def __init__(
        self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(padding, data_format, **kwargs)

    def call(self, inputs: Any) -> Any:
        return K.spatial_2d_padding(inputs, padding=self.padding, data_format=self.data_format)


class ZeroPadding3D(_ZeroPadding):
    """Add zeros around volumes.

    Input: (samples, depth, rows, columns, channels), or channels before depth.

    Args:
        padding: an integer; three, one for each axis; or three pairs (before, after).
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    _rank = 3

    @interfaces.legacy_zeropadding3d_support
    def __init__(
        self, padding: Any = (1, 1, 1), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(padding, data_format, **kwargs)

    def call(self, inputs: Any) -> Any:
        return K.spatial_3d_padding(inputs, padding=self.padding, data_format=self.data_format)


class _Cropping(_Spatial):
    cropping: Any

    def __init__(self, cropping: Any, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = conv_utils.normalize_data_format(data_format)
        self.cropping = _pairs(cropping, self._rank, type(self).__name__, "cropping")
        self.input_spec = InputSpec(ndim=self._rank + 2)

    def _amounts(self) -> tuple[tuple[int, int], ...]:
        return self.cropping

    def _new_size(self, size: int, i: int) -> int:
        left = size - sum(self._amounts()[i])
        if left < 0:
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: cannot crop {self._amounts()[i]} from an "
                f"axis of size {size}"
            )
        return left

    def call(self, inputs: Any) -> Any:
        self.compute_output_shape(K.int_shape(inputs))
        whole = slice(None)
        parts = [slice(before, -after if after else None) for before, after in self._amounts()]
        return inputs[tuple([whole] * self._first() + parts)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cropping": self.cropping, "data_format": self.data_format}


class Cropping1D(_Cropping):
    """Drop steps at the ends: (samples, steps, features) to (samples, new_steps, features).

    Args:
        cropping: how many at the beginning and the end, an integer or two.
        **kwargs: the keywords of `Layer`.
    """

    _rank = 1

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        refuse_keywords(self, kwargs, "data_format")
        super().__init__([cropping], "channels_last", **kwargs)
        self.cropping = self.cropping[0]

    def _amounts(self) -> tuple[tuple[int, int], ...]:
        return (self.cropping,)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["data_format"]
        return config


class Cropping2D(_Cropping):
    """Drop rows and columns at the borders of images.

    Input: (samples, rows, columns, channels), or channels before rows.

    Args:
        cropping: an integer; two, for rows and columns; or ((top, bottom), (left, right)).
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    _rank = 2

    @interfaces.legacy_cropping2d_support
    def __init__(
        self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(cropping, data_format, **kwargs)


class Cropping3D(_Cropping):
    """Drop the borders of volumes.

    Input: (samples, depth, rows, columns, channels), or channels before depth.

    Args:
        cropping: an integer; three, one for each axis; or three pairs (before, after).
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    _rank = 3

    @interfaces.legacy_cropping3d_support
    def __init__(
        self,
        cropping: Any = ((1, 1), (1, 1), (1, 1)),
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cropping, data_format, **kwargs)
