"""Translation of Keras 1 spellings."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # Imported when it is first asked for: it needs more than its package.
    if name in ("layers", "models"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
