"""Python functions as data: dumping them, loading them, and when loading is refused.

A dumped function is marshalled bytecode. Whoever loads it runs whatever its author wrote, so code
that reads *files* must call `func_load_checked`, which refuses unless the user has asked for it or
this very process made the dump. `func_load` itself does as it is told: calling it is the request.
"""

from __future__ import annotations

import binascii
import hashlib
import marshal
import re
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ..errors import UnsafeFileError

_safe_mode: ContextVar[bool | None] = ContextVar("hornbeam_safe_mode", default=None)
_unsafe_enabled = False
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
# Digests of what this process dumped: a config that never left the process is the user's own code.
_own_dumps: set[bytes] = set()


def enable_unsafe_deserialization() -> None:
    """Let every later load in this process run code found in files (see `safe_mode_scope`)."""
    global _unsafe_enabled
    _unsafe_enabled = True


def in_safe_mode() -> bool:
    """Tell whether loading refuses to run code from files (True unless switched off)."""
    scoped = _safe_mode.get()
    return not _unsafe_enabled if scoped is None else scoped


@contextmanager
def safe_mode_scope(safe_mode: bool) -> Iterator[None]:
    """Inside the block, refuse (True) or allow (False) to run code found in files."""
    token = _safe_mode.set(bool(safe_mode))
    try:
        yield
    finally:
        _safe_mode.reset(token)


def func_dump(func: Callable[..., Any]) -> tuple[str, tuple[Any, ...] | None, tuple | None]:
    """Turn a function into plain data.

    Args:
        func: a function written in Python.

    Returns:
        `(code, defaults, closure)`: the bytecode as base64 text, the default values of the
        arguments and the values that the function closes over (None when there are none).

    Raises:
        TypeError: for a callable that has no Python bytecode, such as a builtin.
    """
    code_object = getattr(func, "__code__", None)
    if not isinstance(code_object, types.CodeType):
        raise TypeError(
            f"Cannot dump {func!r}: only functions written in Python have bytecode. "
            "Wrap it in a lambda or a def."
        )
    code = binascii.b2a_base64(marshal.dumps(code_object)).decode("ascii")
    _own_dumps.add(_digest(code))
    closure = None
    if func.__closure__:  # type: ignore[attr-defined]
        closure = tuple(cell.cell_contents for cell in func.__closure__)  # type: ignore[attr-defined]
    return code, func.__defaults__, closure  # type: ignore[attr-defined]


def func_load(
    code: str | tuple | list,
    defaults: tuple[Any, ...] | None = None,
    closure: tuple[Any, ...] | None = None,
    globs: dict[str, Any] | None = None,
) -> Callable[..., Any]:
    """Turn what `func_dump` returned back into a function, trusting the code.

    Both the base64 text written today and the 'raw_unicode_escape' text of Keras 2.0 are read; the
    bytecode must come from the same Python version.

    Args:
        code: the bytecode as text, or the whole `(code, defaults, closure)`.
        defaults: default values of the arguments.
        closure: the values that the function closes over.
        globs: the global names the function sees; those of this module by default.

    Raises:
        ValueError: when the text is not bytecode of this Python version.
    """
    if isinstance(code, (tuple, list)):
        text, defaults, closure = code
    else:
        text = code
    code_object = _unmarshal(text)
    cells = None
    if closure is not None:
        cells = tuple(
            value if isinstance(value, types.CellType) else types.CellType(value)
            for value in closure
        )
    function = types.FunctionType(
        code_object,
        globals() if globs is None else globs,
        name=code_object.co_name,
        argdefs=None if defaults is None else tuple(defaults),
        closure=cells,
    )
    return function


def func_load_checked(
    code: str | tuple | list,
    defaults: tuple[Any, ...] | None = None,
    closure: tuple[Any, ...] | None = None,
    globs: dict[str, Any] | None = None,
    what: str = "This object",
) -> Callable[..., Any]:
    """Do as `func_load`, but refuse code from elsewhere while in safe mode.

    Args:
        code: as for `func_load`, and so are `defaults`, `closure` and `globs`.
        defaults: default values of the arguments.
        closure: the values that the function closes over.
        globs: the global names the function sees.
        what: the object that holds the code, for the error message: "The Lambda layer 'scale'".

    Raises:
        UnsafeFileError: in safe mode, when this process did not dump the code itself.
    """
    text = code[0] if isinstance(code, (tuple, list)) else code
    if in_safe_mode() and _digest(text) not in _own_dumps:
        raise UnsafeFileError(
            f"{what} holds Python bytecode, and loading it would run that code. If you trust where "
            "the file comes from, load it with safe_mode=False; or give the function by name with "
            "custom_objects."
        )
    return func_load(code, defaults, closure, globs)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _unmarshal(text: str) -> types.CodeType:
    candidates = []
    packed = "".join(text.split())
    # a2b_base64 skips characters it does not know, and marshal must not see such left-overs.
    if _BASE64.fullmatch(packed) and len(packed) % 4 == 0:
        candidates.append(binascii.a2b_base64(packed))
    try:
        candidates.append(text.encode("raw_unicode_escape"))
    except UnicodeEncodeError:
        pass
    for raw in candidates:
        try:
            code_object = marshal.loads(raw)
        except (EOFError, ValueError, TypeError):
            continue
        if isinstance(code_object, types.CodeType):
            return code_object
    raise ValueError(
        "The text is no Python bytecode that this interpreter can read. Bytecode only loads in the "
        "Python version that wrote it: rebuild the function and give it with custom_objects."
    )
