"""The module `losses` under the name that Keras 1 gave it."""

from .losses import *  # noqa: F403
