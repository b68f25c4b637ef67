"""Who is in a group of workers, and which logical shards each of them owns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def even_ranges(shards: int, workers: int) -> list[tuple[int, int]]:
    """Cut shards into contiguous ranges whose sizes differ by at most one.

    Args:
        shards: number of logical shards, a power of two.
        workers: number of ranges.

    Returns:
        The first shard and the one behind the last, for each worker.
    """
    cuts = [shards * rank // workers for rank in range(workers + 1)]
    return list(zip(cuts, cuts[1:], strict=False))


def default_shards(workers: int) -> int:
    """Return the smallest power of two that gives each of so many workers a shard."""
    if workers < 1:
        raise ValueError(f"A group needs at least 1 worker, got {workers}")
    return 1 << (workers - 1).bit_length()


@dataclass(frozen=True)
class Membership:
    """One generation of a group, as one of its members sees it.

    Attributes:
        generation: its number; that of a later one is higher.
        rank: this member's place.
        addresses: the members' addresses, by rank.
        ranges: the shards of each, as pairs of the first and the one behind the last.
    """

    generation: int
    rank: int
    addresses: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def even(cls, generation: int, rank: int, addresses: Sequence[str], shards: int) -> Membership:
        """Return a membership with the shards spread evenly."""
        ranges = even_ranges(shards, len(addresses))
        return cls(generation, rank, tuple(addresses), tuple(ranges))

    @property
    def shards(self) -> int:
        """The number of logical shards."""
        return self.ranges[-1][1]

    def members(self) -> list[tuple[str, int, int]]:
        """Return the members as the core's `Group` takes them."""
        pairs = zip(self.addresses, self.ranges, strict=True)
        return [(address, *shards) for address, shards in pairs]
