"""Every layer, by the names of Keras 2."""

from __future__ import annotations

from typing import Any

from ..engine import Input as Input
from ..engine import InputLayer as InputLayer
from ..engine import InputSpec as InputSpec
from ..engine import Layer as Layer
from ..utils.generic_utils import deserialize_keras_object
from ._legacy import AtrousConv1D as AtrousConv1D
from ._legacy import AtrousConv2D as AtrousConv2D
from ._legacy import AtrousConvolution1D as AtrousConvolution1D
from ._legacy import AtrousConvolution2D as AtrousConvolution2D
from ._legacy import Highway as Highway
from ._legacy import MaxoutDense as MaxoutDense
from ._legacy import Merge as Merge
from .advanced_activations import *  # noqa: F403
from .attention import *  # noqa: F403
from .convolutional import *  # noqa: F403
from .convolutional_recurrent import *  # noqa: F403
from .core import *  # noqa: F403
from .embeddings import Embedding as Embedding
from .local import *  # noqa: F403
from .merge import *  # noqa: F403
from .noise import *  # noqa: F403
from .normalization import *  # noqa: F403
from .pooling import *  # noqa: F403
from .recurrent import *  # noqa: F403
from .wrappers import *  # noqa: F403


def serialize(layer: Any) -> dict[str, Any]:
    """Describe a layer by plain data, which `deserialize` turns back into a layer."""
    return {"class_name": type(layer).__name__, "config": layer.get_config()}


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """Build a layer, or a whole model, from its description.

    Args:
        config: dictionary with 'class_name' and 'config'.
        custom_objects: further classes and functions by name.

    Raises:
        ValueError: for an unknown class.
    """
    from .. import models

    known = {**globals(), "Model": models.Model, "Sequential": models.Sequential}
    known["Functional"] = models.Model
    return deserialize_keras_object(
        config,
        module_objects=known,
        custom_objects=custom_objects,
        printable_module_name="layer",
    )
