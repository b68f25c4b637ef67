"""Dictionaries of training quantities that answer to the names of every Keras version.

The keys stored, iterated and written to files are those of Keras 2.0 (`acc`, `val_acc`,
`mean_squared_error`, `lr`). Looking one up under its other name finds the same value.
"""

from __future__ import annotations

from typing import Any

# Pairs of names for one quantity. Either may be the stored one.
_PAIRS = (
    ("acc", "accuracy"),
    ("lr", "learning_rate"),
    ("mean_squared_error", "mse"),
    ("mean_absolute_error", "mae"),
    ("mean_absolute_percentage_error", "mape"),
    ("mean_squared_logarithmic_error", "msle"),
    ("kullback_leibler_divergence", "kl_divergence"),
    ("logcosh", "log_cosh"),
)
_OTHER = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}
_MISSING = object()


def alias(key: str) -> str | None:
    """Return the other name of a quantity, or None when it has no other.

    The name may follow a prefix: that of validation, of an output, or both.

    Example:
        >>> alias("val_acc"), alias("head_accuracy"), alias("loss")
        ('val_accuracy', 'head_acc', None)
    """
    if key in _OTHER:
        return _OTHER[key]
    for name, other in _OTHER.items():
        if key.endswith(f"_{name}"):
            return key[: -len(name)] + other
    return None


class Logs(dict):
    """A dictionary in which a quantity is found under each of its names (see `alias`).

    Example:
        >>> logs = Logs(loss=0.5, val_acc=0.9)
        >>> logs["val_accuracy"], "val_accuracy" in logs, list(logs)
        (0.9, True, ['loss', 'val_acc'])
    """

    def stored_key(self, key: Any) -> Any:
        """Return the name under which the quantity `key` is stored; `key` itself if it is not."""
        if isinstance(key, str) and not dict.__contains__(self, key):
            other = alias(key)
            if other is not None and dict.__contains__(self, other):
                return other
        return key

    def __missing__(self, key: Any) -> Any:
        stored = self.stored_key(key)
        if stored == key:
            raise KeyError(key)
        return dict.__getitem__(self, stored)

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self, self.stored_key(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        # One value to a quantity: writing under the other name must not make a second entry.
        dict.__setitem__(self, self.stored_key(key), value)

    def __delitem__(self, key: Any) -> None:
        dict.__delitem__(self, self.stored_key(key))

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a quantity under any of its names, else `default`."""
        return dict.get(self, self.stored_key(key), default)

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Remove a quantity, named in any way, and return its value (else `default`)."""
        if default is _MISSING:
            return dict.pop(self, self.stored_key(key))
        return dict.pop(self, self.stored_key(key), default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of a quantity under any of its names, storing `default` if absent."""
        return dict.setdefault(self, self.stored_key(key), default)

    def copy(self) -> Logs:
        """Return a shallow copy."""
        return Logs(self)
