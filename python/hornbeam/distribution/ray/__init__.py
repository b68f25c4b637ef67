"""Training on the workers of a Ray cluster. Nothing imports this but what needs Ray."""

from .controller import Crew, WorkersLostError
from .strategy import RayStrategy

__all__ = ["Crew", "RayStrategy", "WorkersLostError"]
