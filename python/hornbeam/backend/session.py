"""What TensorFlow's sessions were asked for: values of tensors, fed with arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .control import Function

_session: Session | None = None


class Session:
    """Computes tensors. There is no state behind it: variables hold their own values.

    Example:
        >>> from hornbeam import backend as K
        >>> x = K.placeholder((2,))
        >>> K.get_session().run(K.sum(x * x), feed_dict={x: [3.0, 4.0]})
        np.float32(25.0)
    """

    def __init__(self) -> None:
        self._functions: dict[tuple[Any, ...], Function] = {}

    def run(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> Any:
        """Compute tensors or read variables.

        Args:
            fetches: a tensor, or a list or tuple of them.
            feed_dict: placeholder (or `learning_phase()`) -> its value.

        Returns:
            An array (a NumPy scalar for rank 0), or a list of them.
        """
        several = isinstance(fetches, (list, tuple))
        wanted = list(fetches) if several else [fetches]
        feeds = dict(feed_dict or {})
        # The tensors themselves are kept with the function, so that their identities stay theirs.
        key = (tuple(map(id, wanted)), tuple(map(id, feeds)))
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = Function(list(feeds), wanted, [], "session")
        results = function(list(feeds.values()))
        return results if several else results[0]

    def close(self) -> None:
        """Forget what was compiled."""
        self._functions.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def get_session() -> Session:
    """Return the session that computes tensors: see `Session.run`."""
    global _session
    if _session is None:
        _session = Session()
    return _session


def set_session(session: Session) -> None:
    """Choose what `get_session` returns.

    Raises:
        TypeError: for a session of TensorFlow, of which nothing here would take notice.
    """
    global _session
    if not isinstance(session, Session):
        raise TypeError(
            f"set_session: expected a Session of hornbeam's backend, got {type(session).__name__}. "
            "Nothing here runs in TensorFlow; for the number of threads set HORNBEAM_NUM_THREADS "
            "or call backend.set_num_threads(n)."
        )
    _session = session


def clear_session_functions() -> None:
    """Forget what the session has compiled."""
    if _session is not None:
        _session.close()


def manual_variable_initialization(value: bool) -> None:
    """Do nothing: a variable has its value as soon as it is made.

    Args:
        value: accepted for the scripts that set it.
    """
