"""Layers of Keras 1, under the module path of Keras."""

from ..layers._legacy import (
    AtrousConvolution1D,
    AtrousConvolution2D,
    Highway,
    MaxoutDense,
    Merge,
    merge,
)

__all__ = [
    "AtrousConvolution1D",
    "AtrousConvolution2D",
    "Highway",
    "MaxoutDense",
    "Merge",
    "merge",
]
