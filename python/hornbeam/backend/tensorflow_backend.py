"""The backend's functions under the name of the module that held TensorFlow's in Keras 2."""

from . import *  # noqa: F403
from . import __all__ as _names

__all__ = list(_names)  # noqa: PLE0605
