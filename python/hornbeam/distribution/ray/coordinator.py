"""The one who says which workers form a group: generations, leases and fences.

A generation ends when one of its members says so: because a call of the core failed, or because a
worker wants to join. Every member is told, and all who answer and come form the next one; who is
silent is shut out for good, its name never comes back. While nothing happens, training needs no
coordinator but for the leases.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ..membership import Membership

# Seconds in which a worker of which others say that it is gone can prove the contrary.
_APPEAL = 0.25


class Coordinator:
    """An actor that forms generations.

    Args:
        shards: number of logical shards.
        start: workers that the first generation needs.
        minimum: workers that every later one needs.
        maximum: workers that one may have.
        silence: seconds after which a worker that does not answer is given up.
        patience: seconds that too few workers wait for more.
        lease: seconds for which a member may be silent while nobody misses it.
    """

    def __init__(
        self,
        shards: int,
        start: int,
        minimum: int,
        maximum: int,
        silence: float,
        patience: float,
        lease: float,
    ) -> None:
        self._shards, self._start, self._minimum, self._maximum = shards, start, minimum, maximum
        self._silence, self._patience, self._lease = silence, patience, lease
        self._generation = 0
        self._members: list[str] = []
        self._addresses: dict[str, str] = {}
        self._handles: dict[str, Any] = {}
        self._waiting: dict[str, asyncio.Future] = {}
        self._suspects: set[str] = set()
        self._fenced: dict[str, str] = {}
        self._seen: dict[str, float] = {}
        self._forming: asyncio.Task | None = None
        self._events: list[dict[str, Any]] = []
        self._problem: str | None = None
        self._losses_of_all = 0

    async def register(self, name: str, handle: Any) -> None:
        """Make a worker known, so that it can be told of things."""
        self._handles[name] = handle[0]

    async def join(
        self, name: str, address: str, generation: int, suspect: str | None = None
    ) -> Membership | None:
        """Wait for the next generation; None for a worker that is shut out.

        Args:
            name: the worker.
            address: where others reach it.
            generation: the one that is over.
            suspect: the address of the member on whose account it is over.
        """
        if name in self._fenced:
            return None
        self._addresses[name] = address
        self._seen[name] = time.monotonic()
        if suspect is not None and generation >= self._generation:
            self._suspects |= {n for n, a in self._addresses.items() if a == suspect}
        self._suspects.discard(name)
        future = asyncio.get_running_loop().create_future()
        before = self._waiting.get(name)
        if before is not None and not before.done():
            before.set_result(None)
        self._waiting[name] = future
        if self._forming is None or self._forming.done():
            self._forming = asyncio.ensure_future(self._form())
        return await future

    async def renew(self, name: str) -> bool:
        """Renew a worker's lease; False when it has none any more."""
        self._seen[name] = time.monotonic()
        return name not in self._fenced

    async def remove(self, name: str, reason: str) -> None:
        """Shut a worker out."""
        self._fence(name, reason)

    async def status(self) -> dict[str, Any]:
        """Return the generation, its members, who was shut out and why, and what is wrong."""
        for name in self._members:
            if time.monotonic() - self._seen[name] > self._lease:
                self._fence(name, "its lease has run out")
        return {
            "generation": self._generation,
            "members": list(self._members),
            "waiting": list(self._waiting),
            "fenced": dict(self._fenced),
            "problem": self._problem,
            "losses_of_all": self._losses_of_all,
            "events": list(self._events),
        }

    def _fence(self, name: str, reason: str) -> None:
        self._fenced.setdefault(name, reason)
        future = self._waiting.pop(name, None)
        if future is not None and not future.done():
            future.set_result(None)

    async def _form(self) -> None:
        """Form a generation of all members that come, and of the workers that want to join."""
        over, began = self._generation, time.monotonic()
        expected = [n for n in self._members if n not in self._fenced]
        tellers = {n: asyncio.ensure_future(self._tell(n, over)) for n in expected}
        while True:
            for name in expected:
                if name in self._waiting or name in self._fenced:
                    continue
                teller = tellers[name]
                waited = time.monotonic() - began
                if teller.done() and not teller.result():
                    self._fence(name, "its process is gone")
                elif not teller.done() and name in self._suspects and waited > _APPEAL:
                    self._fence(name, "others have lost it")
                elif not teller.done() and waited > self._silence:
                    self._fence(name, "it does not answer")
            late = [n for n in expected if n not in self._waiting and n not in self._fenced]
            ready = len(self._waiting)
            needed = self._start if self._generation == 0 else self._minimum
            if not late and ready >= needed:
                break
            if not late and time.monotonic() - began > self._patience:
                self._problem = (
                    f"{ready} workers are there, {needed} are needed, and no more came within "
                    f"{self._patience:g} seconds"
                )
            await asyncio.sleep(0.002)
        self._problem = None
        self._announce(expected)

    async def _tell(self, name: str, generation: int) -> bool:
        """Tell a member that its generation is over; False when its process is gone."""
        try:
            await self._handles[name].regroup.remote(generation)
        except Exception:
            return False
        return True

    def _announce(self, before: list[str]) -> None:
        kept = [n for n in before if n in self._waiting]
        new = [n for n in self._waiting if n not in kept]
        members = [*kept, *new][: self._maximum]
        lost = [n for n in self._members if n not in members]
        if self._generation > 0 and not kept:
            self._losses_of_all += 1
        self._generation += 1
        self._members, self._suspects = members, set()
        self._events.append(
            {
                "generation": self._generation,
                "members": list(members),
                "joined": [n for n in new if n in members],
                "lost": {n: self._fenced.get(n, "") for n in lost},
                "time": time.time(),
            }
        )
        addresses = [self._addresses[n] for n in members]
        for rank, name in enumerate(members):
            future = self._waiting.pop(name)
            membership = Membership.even(self._generation, rank, addresses, self._shards)
            if not future.done():
                future.set_result(membership)
