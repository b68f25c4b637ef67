"""Pooling layers: windows, or whole sequences and images, reduced to one value a channel."""

from __future__ import annotations

from typing import Any

from .. import backend as K
from ..engine import InputSpec, Layer
from ..legacy import interfaces
from ..utils import conv_utils

Shape = tuple[int | None, ...]


class _Pooling(Layer):
    """What pooling of any rank shares.

    Args:
        pool_size: integer, or one for each spatial axis.
        strides: the same; None for the window's size.
        padding: 'valid' or 'same'; padded cells count neither in a maximum nor in an average.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    _rank: int
    _mode: str

    def __init__(
        self, pool_size: Any, strides: Any, padding: str, data_format: str | None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        kind = type(self).__name__
        strides = pool_size if strides is None else strides
        self.pool_size = conv_utils.normalize_tuple(pool_size, self._rank, "pool_size")
        self.strides = conv_utils.normalize_tuple(strides, self._rank, "strides")
        if min(self.pool_size) < 1 or min(self.strides) < 1:
            raise ValueError(
                f"{kind}: `pool_size` and `strides` must be positive, got {self.pool_size} and "
                f"{self.strides}"
            )
        self.padding = conv_utils.normalize_padding(padding)
        if self.padding == "causal":
            raise ValueError(f"{kind}: `padding` must be 'valid' or 'same', got 'causal'")
        self.data_format = conv_utils.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self._rank + 2)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape, first = list(input_shape), 2 if self.data_format == "channels_first" else 1
        for i in range(self._rank):
            shape[first + i] = conv_utils.conv_output_length(
                shape[first + i], self.pool_size[i], self.padding, self.strides[i]
            )
        return tuple(shape)

    def call(self, inputs: Any) -> Any:
        pool: Any = (K.pool1d, K.pool2d, K.pool3d)[self._rank - 1]
        return pool(
            inputs,
            self.pool_size,
            self.strides,
            self.padding,
            self.data_format,
            pool_mode=self._mode,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "padding": self.padding,
            "strides": self.strides,
            "data_format": self.data_format,
        }


class _Pooling1D(_Pooling):
    _rank = 1

    @interfaces.legacy_pooling1d_support
    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str = "channels_last",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **kwargs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.data_format == "channels_last":
            del config["data_format"]
        return config


class _Pooling2D(_Pooling):
    _rank = 2

    @interfaces.legacy_pooling2d_support
    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **kwargs)


class _Pooling3D(_Pooling):
    _rank = 3

    @interfaces.legacy_pooling3d_support
    def __init__(
        self,
        pool_size: Any = (2, 2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **kwargs)


class MaxPooling1D(_Pooling1D):
    """The maximum of windows over time.

    (samples, steps, features) to (samples, new_steps, features).

    Args:
        pool_size: length of the window, 2 by default.
        strides: step between windows; None for the window's length.
        padding: 'valid' or 'same'.
        **kwargs: the keywords of `Layer`.
    """

    _mode = "max"


class AveragePooling1D(_Pooling1D):
    """The mean of windows over time.

    (samples, steps, features) to (samples, new_steps, features).

    Args:
        pool_size: length of the window, 2 by default.
        strides: step between windows; None for the window's length.
        padding: 'valid' or 'same'; padded steps do not count in the mean.
        **kwargs: the keywords of `Layer`.
    """

    _mode = "avg"


class MaxPooling2D(_Pooling2D):
    """The maximum of windows of images.

    Input: (samples, rows, columns, channels), or channels before rows.

    Args:
        pool_size: an integer or two, (2, 2) by default.
        strides: an integer or two; None for the window's size.
        padding: 'valid' or 'same'.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    _mode = "max"


class AveragePooling2D(_Pooling2D):
    """The mean of windows of images.

    Input: (samples, rows, columns, channels), or channels before rows.

    Args:
        pool_size: an integer or two, (2, 2) by default.
        strides: an integer or two; None for the window's size.
        padding: 'valid' or 'same'; padded cells do not count in the mean.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    _mode = "avg"


class MaxPooling3D(_Pooling3D):
    """The maximum of windows of volumes.

    Input: (samples, depth, rows, columns, channels), or channels before depth.

    Args:
        pool_size: an integer or three, (2, 2, 2) by default.
        strides: an integer or three; None for the window's size.
        padding: 'valid' or 'same'.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    _mode = "max"


class AveragePooling3D(_Pooling3D):
    """The mean of windows of volumes.

    Input: (samples, depth, rows, columns, channels), or channels before depth.

    Args:
        pool_size: an integer or three, (2, 2, 2) by default.
        strides: an integer or three; None for the window's size.
        padding: 'valid' or 'same'; padded cells do not count in the mean.
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    _mode = "avg"


class _GlobalPooling(Layer):
    _rank: int
    data_format: str

    def _axes(self) -> list[int]:
        first = 2 if self.data_format == "channels_first" else 1
        return list(range(first, first + self._rank))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        axes = self._axes()
        return tuple(size for i, size in enumerate(input_shape) if i not in axes)


class _GlobalPooling1D(_GlobalPooling):
    _rank = 1

    def __init__(self, data_format: str = "channels_last", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = conv_utils.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=3)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.data_format == "channels_first":
            config["data_format"] = self.data_format
        return config


class _GlobalPoolingND(_GlobalPooling):
    @interfaces.legacy_global_pooling_support
    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = conv_utils.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self._rank + 2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class _GlobalPooling2D(_GlobalPoolingND):
    _rank = 2


class _GlobalPooling3D(_GlobalPoolingND):
    _rank = 3


class GlobalAveragePooling1D(_GlobalPooling1D):
    """The mean over time: (samples, steps, features) to (samples, features).

    With a mask, the steps that it leaves out do not count.
    """

    def __init__(self, data_format: str = "channels_last", **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        axis = self._axes()[0]
        if mask is None:
            return K.mean(inputs, axis=axis)
        kept = K.expand_dims(K.cast(mask, K.dtype(inputs)), 1 if axis == 2 else 2)
        # A sample without any step left gives zeros instead of 0 / 0.
        return K.sum(inputs * kept, axis=axis) / K.maximum(K.sum(kept, axis=axis), 1.0)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None


class GlobalMaxPooling1D(_GlobalPooling1D):
    """The maximum over time: (samples, steps, features) to (samples, features)."""

    def call(self, inputs: Any) -> Any:
        return K.max(inputs, axis=self._axes())


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean of each channel of images.

    (samples, rows, columns, channels) to (samples, channels).

    Args:
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    def call(self, inputs: Any) -> Any:
        return K.mean(inputs, axis=self._axes())


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The maximum of each channel of images.

    (samples, rows, columns, channels) to (samples, channels).

    Args:
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    def call(self, inputs: Any) -> Any:
        return K.max(inputs, axis=self._axes())


class GlobalAveragePooling3D(_GlobalPooling3D):
    """The mean of each channel of volumes.

    (samples, depth, rows, columns, channels) to (samples, channels).

    Args:
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    def call(self, inputs: Any) -> Any:
        return K.mean(inputs, axis=self._axes())


class GlobalMaxPooling3D(_GlobalPooling3D):
    """The maximum of each channel of volumes.

    (samples, depth, rows, columns, channels) to (samples, channels).

    Args:
        data_format: 'channels_last' or 'channels_first'; the configured one by default.
        **kwargs: the keywords of `Layer`.
    """

    def call(self, inputs: Any) -> Any:
        return K.max(inputs, axis=self._axes())


AvgPool1D = AveragePooling1D
MaxPool1D = MaxPooling1D
AvgPool2D = AveragePooling2D
MaxPool2D = MaxPooling2D
AvgPool3D = AveragePooling3D
MaxPool3D = MaxPooling3D
GlobalMaxPool1D = GlobalMaxPooling1D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalMaxPool3D = GlobalMaxPooling3D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalAvgPool3D = GlobalAveragePooling3D
