"""Turning sequences, texts and images into arrays that a model takes."""

from . import image, sequence, text

__all__ = ["image", "sequence", "text"]
