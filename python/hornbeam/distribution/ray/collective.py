"""The collective as a backend of `ray.util.collective`, for actors that exchange arrays.

On CPUs, Ray itself has torch's gloo only. This one needs no torch, takes NumPy arrays and CPU
tensors of torch, and sums float32 and float64 in an order that depends on the ranks alone.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import numpy as np
import ray
from ray.experimental import internal_kv
from ray.util.collective.backend_registry import _global_registry
from ray.util.collective.backend_registry import (
    register_collective_backend as _register_with_ray,
)
from ray.util.collective.collective_group.base_collective_group import BaseGroup
from ray.util.collective.types import ReduceOp

from ... import backend as K
from ..exchange import gather_rows
from ..membership import Membership, default_shards
from .worker import ports

NAME = "HORNBEAM"
# Seconds that the members of a group wait for each other.
_PATIENCE = 60.0

_REDUCTIONS = {
    ReduceOp.SUM: np.add,
    ReduceOp.PRODUCT: np.multiply,
    ReduceOp.MIN: np.minimum,
    ReduceOp.MAX: np.maximum,
}


def register_collective_backend() -> None:
    """Make backend="hornbeam" known to `ray.util.collective` in this process.

    Ray wants that of the driver and of every actor that is to be in a group.
    """
    if not _global_registry.is_registered(NAME):
        _register_with_ray(NAME, CollectiveGroup)


def _meet(name: str, rank: int, count: int) -> K.Group:
    """Form a group with the other ranks that meet under a name.

    Rank 0 says what the token is; whoever has come by an older one starts again.

    Raises:
        TimeoutError: when others do not come.
    """
    job = ray.get_runtime_context().get_job_id()
    root = f"hornbeam-collective/{job}/{name}"
    deadline = time.monotonic() + _PATIENCE
    if rank == 0:
        internal_kv._internal_kv_put(root, secrets.token_bytes(32))
    token, listener, keys, found = b"", None, [], []
    while True:
        told = internal_kv._internal_kv_get(root)
        if told is not None and told != token:
            token = told
            listener = K.Listener(ray.util.get_node_ip_address(), ports(), token)
            keys = [f"{root}/{token.hex()[:16]}/{r}" for r in range(count)]
            internal_kv._internal_kv_put(keys[rank], listener.address.encode())
        found = [internal_kv._internal_kv_get(key) for key in keys]
        if keys and all(found):
            break
        if time.monotonic() > deadline:
            here = [r for r, address in enumerate(found) if address]
            raise TimeoutError(
                f"The collective group {name!r} of {count} could not be formed within "
                f"{_PATIENCE:g} seconds: rank {rank} has met the ranks {here}. All actors have to "
                "call init_collective_group with the same group_name."
            )
        time.sleep(0.01)
    assert listener is not None
    addresses = [address.decode() for address in found]
    members = Membership.even(1, rank, addresses, default_shards(count)).members()
    group = K.Group.connect(listener, name, rank, members)
    # Everyone has read what it needs, and the next group of this name finds nothing old.
    internal_kv._internal_kv_del(keys[rank])
    if rank == 0:
        internal_kv._internal_kv_del(root)
    return group


class CollectiveGroup(BaseGroup):
    """A group of `ray.util.collective` (see its documentation for the calls).

    Args:
        world_size: the number of members.
        rank: this member's place.
        group_name: the group's name.
    """

    def __init__(self, world_size: int, rank: int, group_name: str) -> None:
        super().__init__(world_size, rank, group_name)
        self._group = _meet(group_name, rank, world_size)
        self._pairs: dict[int, K.Group] = {}

    @classmethod
    def backend(cls) -> str:
        """Return the backend's name."""
        return NAME

    @classmethod
    def check_backend_availability(cls) -> bool:
        """Return whether it can be used here: it is a part of hornbeam."""
        return True

    def destroy_group(self) -> None:
        """Close all connections."""
        for group in [self._group, *self._pairs.values()]:
            group.close()

    def allreduce(self, tensor: Any, allreduce_options: Any = None) -> None:
        """Replace a tensor by the sum (or product, least, most) of all members'."""
        x = _only(tensor)
        _assign(x, self._reduced(x, allreduce_options))

    def reduce(self, tensor: Any, reduce_options: Any = None) -> None:
        """Replace the root's tensor by the sum (or product, least, most) of all members'."""
        x = _only(tensor)
        result = self._reduced(x, reduce_options)
        if self.rank == getattr(reduce_options, "root_rank", 0):
            _assign(x, result)

    def barrier(self, barrier_options: Any = None) -> None:
        """Wait for all members."""
        self._group.barrier()

    def allgather(self, tensor_list: Any, tensor: Any, allgather_options: Any = None) -> None:
        """Fill a list with the tensors of all members, by rank."""
        x, places = _only(tensor), _checked_list(tensor_list, self.world_size)
        rows = gather_rows(self._group, [np.ascontiguousarray(x)[None]])[0]
        for place, row in zip(places, rows, strict=True):
            _assign(place, row)

    def broadcast(self, tensor: Any, broadcast_options: Any = None) -> None:
        """Replace a tensor by the root's."""
        self._copy(self._group, _only(tensor), getattr(broadcast_options, "root_rank", 0))

    def reducescatter(
        self, tensor: Any, tensor_list: Any, reducescatter_options: Any = None
    ) -> None:
        """Replace a tensor by the sum of all members' list entry of this rank."""
        x, parts = _only(tensor), _checked_list(tensor_list, self.world_size)
        reduced = self._reduced(np.stack(parts), reducescatter_options)
        _assign(x, reduced[self.rank])

    def send(self, tensor: Any, send_options: Any) -> None:
        """Send a tensor to another member, which calls `recv`."""
        self._copy(self._pair(send_options.dst_rank), _only(tensor), self.rank, True)

    def recv(self, tensor: Any, recv_options: Any) -> None:
        """Replace a tensor by that which another member sends."""
        self._copy(self._pair(recv_options.src_rank), _only(tensor), recv_options.src_rank, True)

    def _pair(self, other: int) -> K.Group:
        """Return the group of this member and another, formed when it is first needed."""
        if other not in self._pairs:
            low, high = sorted((self.rank, other))
            name = f"{self.group_name}/{low}-{high}"
            self._pairs[other] = _meet(name, int(self.rank == high), 2)
        return self._pairs[other]

    def _copy(self, group: K.Group, x: np.ndarray, root: int, pair: bool = False) -> None:
        sends = self.rank == root
        place = group.rank if sends else 1 - group.rank
        data = np.ascontiguousarray(x).tobytes() if sends else None
        received = group.broadcast(data, place if pair else root)
        if sends:
            return
        if len(received) != x.nbytes:
            raise ValueError(
                f"rank {self.rank} expects {x.nbytes} bytes ({x.dtype.name}, {x.shape}), rank "
                f"{root} sent {len(received)}"
            )
        _assign(x, np.frombuffer(received, dtype=x.dtype).reshape(x.shape))

    def _reduced(self, x: np.ndarray, options: Any) -> np.ndarray:
        operation = getattr(options, "reduceOp", ReduceOp.SUM)
        if operation is ReduceOp.SUM and x.dtype.name in ("float32", "float64"):
            rows = np.zeros((max(1, len(self._group.partials)), x.size), dtype=x.dtype)
            rows[0] = x.ravel()
            return np.asarray(self._group.all_reduce(rows)).reshape(x.shape)
        rows = gather_rows(self._group, [np.ascontiguousarray(x)[None]])[0]
        return _REDUCTIONS[operation].reduce(rows, dtype=x.dtype)


def _only(tensors: Any) -> np.ndarray:
    """Return the one tensor of a list as an array that shares its memory."""
    if isinstance(tensors, (list, tuple)):
        if len(tensors) != 1:
            raise ValueError(f"expected one tensor in a list, got {len(tensors)}")
        tensors = tensors[0]
    if hasattr(tensors, "detach"):
        tensors = tensors.detach().numpy()
    if not isinstance(tensors, np.ndarray):
        raise TypeError(f"expected a NumPy array or a CPU tensor, got {type(tensors).__name__}")
    return tensors


def _checked_list(tensors: Any, count: int) -> list[np.ndarray]:
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tensors[0]
    if len(tensors) != count:
        raise ValueError(f"expected {count} tensors, one for each rank, got {len(tensors)}")
    return [_only(x) for x in tensors]


def _assign(x: np.ndarray, value: np.ndarray) -> None:
    if x.shape != value.shape:
        raise ValueError(f"a tensor of shape {x.shape} cannot take one of shape {value.shape}")
    x[...] = value
