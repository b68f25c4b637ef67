"""Who is in a group of workers, and which logical shards each of them owns."""

from __future__ import annotations

import itertools
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

    @classmethod
    def of(
        cls, generation: int, rank: int, addresses: Sequence[str], counts: Sequence[int]
    ) -> Membership:
        """Return a membership in which each member has so many shards."""
        ends = list(itertools.accumulate(counts))
        ranges = zip([0, *ends], ends, strict=False)
        return cls(generation, rank, tuple(addresses), tuple(ranges))

    @property
    def shards(self) -> int:
        """The number of logical shards."""
        return self.ranges[-1][1]

    def members(self) -> list[tuple[str, int, int]]:
        """Return the members as the core's `Group` takes them."""
        pairs = zip(self.addresses, self.ranges, strict=True)
        return [(address, *shards) for address, shards in pairs]


class Accusations:
    """Who has lost whom although both are there: a network that lets some pairs not through.

    One loss may be a hiccup, and a new generation mends it. When a pair fails again soon, one of
    the two has to go, or no generation would last.

    Args:
        memory: seconds after which an accusation is forgotten.
    """

    def __init__(self, memory: float = 30.0) -> None:
        self._memory = memory
        self._made: list[tuple[float, int, frozenset[str]]] = []

    def add(self, now: float, generation: int, accuser: str, accused: str) -> None:
        """Note that in a generation one member has lost another."""
        if accuser != accused:
            self._made.append((now, generation, frozenset((accuser, accused))))

    def guilty(self, now: float, members: Sequence[str]) -> str | None:
        """Return the member that has to go, if one has to.

        It is the one whose pairs have failed in the most generations; of two such, the one that
        came later.
        """
        self._made = [entry for entry in self._made if now - entry[0] <= self._memory]
        failed: dict[frozenset[str], set[int]] = {}
        for _, generation, pair in self._made:
            if all(name in members for name in pair):
                failed.setdefault(pair, set()).add(generation)
        repeated = [pair for pair, generations in failed.items() if len(generations) > 1]
        if not repeated:
            return None
        weight = {name: sum(name in pair for pair in failed) for pair in repeated for name in pair}
        return max(weight, key=lambda name: (weight[name], members.index(name)))
