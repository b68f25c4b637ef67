"""Custom objects, their (de)serialisation, small helpers on functions and lists.

The names here are the ones that `keras.utils.generic_utils` has; the progress bar and the dumping
of functions live in modules of their own and are re-exported. Nothing here needs the compute core.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from .func_utils import (
    enable_unsafe_deserialization,
    func_dump,
    func_load,
    func_load_checked,
    in_safe_mode,
    safe_mode_scope,
)
from .progbar import Progbar

__all__ = [
    "CustomObjectScope",
    "Progbar",
    "custom_object_scope",
    "custom_objects_of",
    "deserialize_keras_object",
    "enable_unsafe_deserialization",
    "func_dump",
    "func_load",
    "func_load_checked",
    "get_custom_objects",
    "has_arg",
    "in_safe_mode",
    "nearest_name",
    "object_list_uid",
    "register_keras_serializable",
    "safe_mode_scope",
    "serialize_keras_object",
    "to_list",
    "unpack_singleton",
]

_custom_objects: dict[str, Any] = {}
_PACKAGE = __name__.split(".")[0]


class CustomObjectScope:
    """Make custom objects known by name inside a `with` block.

    What is added to or removed from the global dictionary inside the block is undone at its end.

    Example:
        >>> def swish(x):
        ...     return x
        >>> with CustomObjectScope({"swish": swish}):
        ...     "swish" in get_custom_objects()
        True
        >>> "swish" in get_custom_objects()
        False
    """

    def __init__(self, *args: Mapping[str, Any] | None) -> None:
        """Take any number of dictionaries from name to object; later ones win."""
        self.custom_objects = args
        # A stack, so that one scope object may be entered again inside itself.
        self._backups: list[dict[str, Any]] = []

    def __enter__(self) -> CustomObjectScope:
        self._backups.append(dict(_custom_objects))
        for objects in self.custom_objects:
            _custom_objects.update(objects or {})
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        backup = self._backups.pop()
        _custom_objects.clear()
        _custom_objects.update(backup)


def custom_object_scope(*args: Mapping[str, Any] | None) -> CustomObjectScope:
    """Return a `CustomObjectScope` over the given dictionaries."""
    return CustomObjectScope(*args)


def get_custom_objects() -> dict[str, Any]:
    """Return the live global dictionary from name to custom object."""
    return _custom_objects


def register_keras_serializable(
    package: str = "Custom", name: str | None = None
) -> Callable[[Any], Any]:
    """Return a decorator that makes a class or function known by name when configs are read.

    It is registered both as `name` (what a Keras 2 config holds) and as `package>name` (what a
    Keras 3 config holds).

    Args:
        package: the namespace for the long name.
        name: the name to register under; the object's own by default.
    """

    def register(target: Any) -> Any:
        short = name or target.__name__
        _custom_objects[short] = target
        _custom_objects[f"{package}>{short}"] = target
        return target

    return register


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the entry of `known` that `name` most likely meant, or None when nothing is close.

    Example:
        >>> nearest_name("kernal_size", ["filters", "kernel_size"])
        'kernel_size'
    """
    name = str(name)
    # Of names that differ in case alone, the one in the case that was typed comes last, and stays.
    by_case = sorted(map(str, known), key=lambda k: (k.islower() == name.islower(), k))
    candidates = {k.lower(): k for k in by_case}
    close = difflib.get_close_matches(name.lower(), list(candidates), n=3, cutoff=0.6)
    # Letters that changed places make a likelier slip than letters left out.
    close.sort(key=lambda k: sorted(k) != sorted(name.lower()))
    return candidates[close[0]] if close else None


def serialize_keras_object(instance: Any) -> dict[str, Any] | str | None:
    """Describe a layer, function or the like by plain data.

    Args:
        instance: an object with `get_config()`, a function or class, or None.

    Returns:
        `{'class_name': ..., 'config': ...}` for an object, the name for a function, None for None.

    Raises:
        ValueError: when the object has neither a `get_config` method nor a name.
    """
    if instance is None:
        return None
    if hasattr(instance, "get_config") and not inspect.isclass(instance):
        return {"class_name": type(instance).__name__, "config": instance.get_config()}
    if hasattr(instance, "__name__"):
        return instance.__name__
    raise ValueError(
        f"Cannot serialize {instance!r}: it has neither get_config() nor __name__. "
        "Give the class a get_config() method that returns the arguments of its constructor."
    )


def deserialize_keras_object(
    identifier: dict[str, Any] | str,
    module_objects: Mapping[str, Any] | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    printable_module_name: str = "object",
) -> Any:
    """Build the object that `serialize_keras_object` described, or find a function by its name.

    A name is looked up in `custom_objects`, then in the global custom objects, then in
    `module_objects`.

    Args:
        identifier: a dictionary with 'class_name' and 'config', or a name.
        module_objects: the names that the calling module offers.
        custom_objects: names that the user gave for this call.
        printable_module_name: the kind of object, for error messages.

    Returns:
        A new object for a dictionary; for a name the very function (or class) of that name.

    Raises:
        ValueError: for an unknown name, or a dictionary without those two keys.
    """
    if isinstance(identifier, Mapping):
        if "class_name" not in identifier or "config" not in identifier:
            raise ValueError(
                f"Improper config format for a serialized {printable_module_name}: {identifier!r}. "
                "Expected a dictionary with the keys 'class_name' and 'config'."
            )
        name = identifier.get("registered_name") or ""
        if not _is_known(name, custom_objects):
            name = identifier["class_name"]
        cls = _find(name, module_objects, custom_objects, printable_module_name)
        return _build(cls, identifier["config"], custom_objects)
    if isinstance(identifier, str):
        return _find(identifier, module_objects, custom_objects, printable_module_name)
    raise ValueError(
        f"Could not interpret serialized {printable_module_name}: {identifier!r}. "
        "Expected a name or a dictionary with the keys 'class_name' and 'config'."
    )


def _is_known(name: str, custom_objects: Mapping[str, Any] | None) -> bool:
    return bool(name) and (name in (custom_objects or {}) or name in _custom_objects)


def _find(
    name: str,
    module_objects: Mapping[str, Any] | None,
    custom_objects: Mapping[str, Any] | None,
    kind: str,
) -> Any:
    scopes = [custom_objects or {}, _custom_objects, module_objects or {}]
    for scope in scopes:
        if scope.get(name) is not None:
            return scope[name]
    message = f"Unknown {kind}: {name!r}."
    public = {key for scope in scopes for key in scope if not key.startswith("_")}
    meant = nearest_name(name, public)
    if meant:
        message += f" Did you mean {meant!r}?"
    raise ValueError(f"{message} An own {kind} is made known with `custom_objects`.")


def _build(cls: Any, config: Any, custom_objects: Mapping[str, Any] | None) -> Any:
    with CustomObjectScope(custom_objects):
        if not hasattr(cls, "from_config"):
            return cls if not config and _wants_arguments(cls) else cls(**config)
        if has_arg(cls.from_config, "custom_objects"):
            return cls.from_config(config, custom_objects=dict(_custom_objects))
        return cls.from_config(config)


def _wants_arguments(function: Any) -> bool:
    """Tell whether a function is what its name means, and does not make it when it is called."""
    if inspect.isclass(function):
        return False
    try:
        inspect.signature(function).bind()
    except TypeError:
        return True
    except ValueError:  # some callables of C extensions carry no signature
        return False
    return False


def has_arg(fn: Callable[..., Any], name: str, accept_all: bool = False) -> bool:
    """Tell whether a callable can be given `name` as a keyword argument.

    Args:
        fn: a function, method, class or object with `__call__`.
        name: the argument's name.
        accept_all: whether a `**kwargs` parameter counts as accepting it.
    """
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError):  # some callables of C extensions carry no signature
        return accept_all
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if name in parameters and parameters[name].kind in kinds:
        return True
    variadic = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return accept_all and variadic


def to_list(x: Any, allow_tuple: bool = False) -> list[Any]:
    """Wrap `x` in a list unless it is one (or, with `allow_tuple`, a tuple to turn into one)."""
    if isinstance(x, list):
        return x
    if allow_tuple and isinstance(x, tuple):
        return list(x)
    return [x]


def unpack_singleton(x: Any) -> Any:
    """Return the only element of a list or tuple of length one, and anything else as it is."""
    if isinstance(x, (list, tuple)) and len(x) == 1:
        return x[0]
    return x


def object_list_uid(object_list: Any) -> str:
    """Return a string that identifies the very objects in a list, in their order."""
    return ", ".join(str(id(x)) for x in to_list(object_list, allow_tuple=True))


def custom_objects_of(holders: Sequence[Any], config: Any) -> dict[str, Any]:
    """Return name -> class or function of what a configuration names and the package lacks.

    Args:
        holders: the objects that are configured so, such as layers; what they hold is looked at.
        config: the configuration, plain data.

    Raises:
        ValueError: when two of them share a name.
    """
    names = set(_strings(config))
    found: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    seen: set[int] = set()

    def add(x: Any) -> None:
        name, is_ours = x.__name__, (x.__module__ or "").split(".")[0] == _PACKAGE
        if name not in names:
            return
        other = (found if is_ours else {**ours, **found}).get(name, x)
        if other is not x:
            raise ValueError(
                f"A copy would mistake one for the other: {other!r} and {x!r} are both named "
                f"{name!r}. Rename one of them."
            )
        (ours if is_ours else found)[name] = x

    def visit(x: Any) -> None:
        if id(x) in seen:
            return
        seen.add(id(x))
        if isinstance(x, (list, tuple)):
            for item in x:
                visit(item)
        elif inspect.isclass(x) or inspect.isfunction(x):
            add(x)
        elif hasattr(x, "get_config"):
            add(type(x))
            for value in vars(x).values():
                visit(value)

    for holder in holders:
        visit(holder)
    return found


def _strings(x: Any) -> Iterator[str]:
    if isinstance(x, str):
        yield x
    elif isinstance(x, dict):
        for value in x.values():
            yield from _strings(value)
    elif isinstance(x, (list, tuple)):
        for value in x:
            yield from _strings(value)
