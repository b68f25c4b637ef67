"""Arrays on their way between the members of a group, as their bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

# Bytes that a member contributes to one round.
_ROUND = 32 << 20


def gather_rows(group: Any, columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return arrays with the rows of all members, in the order of the ranks, at every member.

    Args:
        group: the group.
        columns: this member's arrays; none from a member that has no rows.
    """
    shapes = [(c.dtype.name, list(c.shape)) for c in columns]
    described = [json.loads(p) for p in group.all_gather(json.dumps(shapes).encode())]
    payload = b"".join(c.tobytes() for c in columns)
    received = [bytearray() for _ in described]
    rounds = -(-max(_bytes(shapes) for shapes in described) // _ROUND)
    for k in range(rounds):
        pieces = group.all_gather(payload[k * _ROUND : (k + 1) * _ROUND])
        for buffer, piece in zip(received, pieces, strict=True):
            buffer += piece
    members = [
        _unpack(buffer, shapes)
        for buffer, shapes in zip(received, described, strict=True)
        if shapes
    ]
    return [np.concatenate(parts) for parts in zip(*members, strict=True)]


def gather_counts(group: Any, count: int) -> list[int]:
    """Return a number of each member, in the order of the ranks."""
    return [int.from_bytes(p, "little") for p in group.all_gather(count.to_bytes(8, "little"))]


def digest(parts: Sequence[bytes]) -> bytes:
    """Return a digest of some bytes."""
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


def _bytes(shapes: Sequence[tuple[str, list[int]]]) -> int:
    return sum(np.dtype(name).itemsize * int(np.prod(shape)) for name, shape in shapes)


def _unpack(buffer: bytearray, shapes: Sequence[tuple[str, list[int]]]) -> list[np.ndarray]:
    arrays, at = [], 0
    for name, shape in shapes:
        count = int(np.prod(shape))
        arrays.append(np.frombuffer(buffer, name, count, at).reshape(shape))
        at += arrays[-1].nbytes
    return arrays
