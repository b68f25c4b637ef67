"""The strategy of one process, which is the default."""

from ..engine.strategy import LocalStrategy

__all__ = ["LocalStrategy"]
