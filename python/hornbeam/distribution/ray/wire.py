"""What workers tell each other over the group's sockets, as plain data.

Nothing that arrives there is unpickled: a message is a line of JSON and, behind it, the bytes of
arrays whose types and shapes the line gives.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ... import errors


@dataclass(frozen=True)
class Standing:
    """Where a worker stands when a generation begins.

    Attributes:
        number: the order that it is at.
        steps_done: steps of it that have been applied.
        finished: whether it has done with it.
        stops: whether the driver has told it to end the order.
        error: the error that ended it, as (worker, type, message), or None.
    """

    number: int
    steps_done: int
    finished: bool
    stops: bool
    error: tuple[str, str, str] | None = None

    def encode(self) -> bytes:
        """Return it as bytes."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Standing:
        """Return what `encode` was given."""
        given = json.loads(data)
        if given["error"] is not None:
            given["error"] = tuple(given["error"])
        return cls(**given)


def describe_error(error: BaseException, worker: str) -> tuple[str, str, str]:
    """Return an error of a worker as text."""
    return worker, type(error).__name__, str(error)


def rebuild_error(described: tuple[str, str, str]) -> Exception:
    """Return an error like the one described, of its type if that is Python's or hornbeam's."""
    worker, name, message = described
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(f"worker {worker}: {message}")
        except TypeError:
            pass
    return RuntimeError(f"worker {worker}: {name}: {message}")


def encode_state(facts: Mapping[str, Any], values: Mapping[int, np.ndarray]) -> bytes:
    """Return facts that JSON knows, and arrays by number, as bytes."""
    arrays = {number: np.asarray(value) for number, value in values.items()}
    layout = [[n, a.dtype.str, list(a.shape)] for n, a in arrays.items()]
    head = json.dumps({"facts": dict(facts), "arrays": layout}).encode()
    return b"".join([head, b"\n", *(a.tobytes() for a in arrays.values())])


def decode_state(data: bytes) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """Return what `encode_state` was given; the arrays share the memory of `data`.

    Raises:
        ValueError: when the bytes are no such message.
    """
    end = data.index(b"\n")
    head, at, arrays = json.loads(data[:end]), end + 1, {}
    for number, dtype, shape in head["arrays"]:
        # Counted here, since NumPy takes a count of -1 for everything.
        count = int(np.prod([int(n) for n in shape], dtype=np.int64))
        if count < 0 or np.dtype(dtype).hasobject:
            raise ValueError(f"a state has an array of type {dtype} and shape {shape}")
        if count:
            array = np.frombuffer(data, dtype, count, at).reshape(shape)
        else:
            array = np.zeros(shape, dtype)
        arrays[int(number)] = array
        at += array.nbytes
    if at != len(data):
        raise ValueError(f"a state has {len(data)} bytes, its arrays end at {at}")
    return head["facts"], arrays
