"""The one who says which workers form a group: generations, leases and fences.

A generation ends when one of its members says so: because a call of the core failed, or because a
worker wants to join. Every member is told, and all who answer and come form the next one; who is
silent is shut out for good, its name never comes back. While nothing happens, training needs no
coordinator but for the leases, so that it may itself be lost and started anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from ..balance import Balance, Report
from ..membership import Accusations, Membership

# Seconds in which a worker of which others say that it is gone can prove the contrary.
_APPEAL = 0.25
# Seconds between two looks at leases and at who is slow.
_WATCH = 0.5
# Generations that are remembered.
_EVENTS = 1000

log = logging.getLogger(__name__)


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
        self._counts: list[int] = []
        self._addresses: dict[str, str] = {}
        self._handles: dict[str, Any] = {}
        self._waiting: dict[str, asyncio.Future] = {}
        self._suspects: set[str] = set()
        self._accusations = Accusations()
        self._balance = Balance()
        self._fenced: dict[str, str] = {}
        self._seen: dict[str, float] = {}
        self._forming: asyncio.Task | None = None
        self._watching: asyncio.Task | None = None
        self._events: list[dict[str, Any]] = []
        self._problem: str | None = None
        self._failure: str | None = None
        self._losses_of_all = 0
        # Whether some worker has ever known a state, who knows none, and the generation in which
        # that was last told.
        self._had_state = False
        self._ignorant: dict[str, int] = {}
        self._lost_in = 0
        # One that was started anew knows nothing until the driver has told it.
        self._knows = asyncio.Event()
        if not _is_restarted():
            self._knows.set()

    async def register(self, name: str, handle: Any) -> None:
        """Make a worker known, so that it can be told of things."""
        self._handles[name] = handle[0]
        self._seen.setdefault(name, time.monotonic())

    async def restore(self, status: Mapping[str, Any], handles: Sequence[tuple[str, Any]]) -> None:
        """Take over from a coordinator that was lost, with what the driver knew of it.

        Generations that were formed meanwhile are learned from the workers; one more is formed of
        all that are there.

        Args:
            status: the last that `status` returned.
            handles: name and handle of each worker that has been sent to join.
        """
        if self._knows.is_set():
            return
        now = time.monotonic()
        self._handles = dict(handles)
        self._seen = dict.fromkeys(self._handles, now)
        self._generation = max(self._generation, status["generation"])
        self._fenced = dict(status["fenced"])
        self._events = list(status["events"])
        self._losses_of_all = status["losses_of_all"]
        self._had_state = status["generation"] > 0
        # Workers that are members by now and are not among these come when the others do.
        known = [n for n in status["members"] if n in self._handles]
        self._members = [n for n in known if n not in self._fenced]
        self._knows.set()
        log.warning("the coordinator was lost; a new one goes on with %d workers", len(known))
        if self._members:
            self._begin_to_form()

    async def join(
        self,
        name: str,
        address: str,
        generation: int,
        suspect: str | None = None,
    ) -> Membership | None:
        """Wait for the next generation; None for a worker that is shut out.

        Args:
            name: the worker.
            address: where others reach it.
            generation: the one that is over.
            suspect: the address of the member on whose account it is over.
        """
        await self._knows.wait()
        if name in self._fenced:
            return None
        now = time.monotonic()
        self._addresses[name], self._seen[name] = address, now
        # Only one that was lost in the meantime has formed what is not known here.
        self._generation = max(self._generation, generation)
        if suspect is not None and generation >= self._generation:
            suspects = {n for n, a in self._addresses.items() if a == suspect}
            self._suspects |= suspects
            for accused in suspects:
                self._accusations.add(now, generation, name, accused)
        self._suspects.discard(name)
        future = asyncio.get_running_loop().create_future()
        before = self._waiting.get(name)
        if before is not None and not before.done():
            before.set_result(None)
        self._waiting[name] = future
        self._begin_to_form()
        return await future

    async def renew(self, name: str, report: Report | None = None) -> bool:
        """Renew a worker's lease; False when it has none any more.

        Args:
            name: the worker.
            report: what it has done in the present generation.
        """
        if self._watching is None:
            self._watching = asyncio.ensure_future(self._watch())
        self._seen[name] = time.monotonic()
        if report is not None and report.generation == self._generation:
            self._had_state |= report.order > 0
            self._ignorant.pop(name, None)
            if report.order == 0:
                self._ignorant[name] = report.generation
            self._balance.report(name, report)
        return name not in self._fenced

    async def fail(self, name: str, message: str) -> None:
        """Hear of an error that a worker should not have: the driver is told."""
        self._failure = self._failure or message
        self._fence(name, message)

    async def remove(self, name: str, reason: str) -> None:
        """Shut a worker out."""
        self._fence(name, reason)

    async def status(self) -> dict[str, Any]:
        """Return the generation, its members, who was shut out and why, and what is wrong."""
        return {
            "knows": self._knows.is_set(),
            "pid": os.getpid(),
            "generation": self._generation,
            "members": list(self._members),
            "shards": list(self._counts),
            "waiting": list(self._waiting),
            "fenced": dict(self._fenced),
            "problem": self._problem,
            "failure": self._failure,
            "losses_of_all": self._losses_of_all,
            "events": list(self._events),
        }

    async def _watch(self) -> None:
        """Shut out whose lease has run out, and let shards move away from who is slow."""
        while True:
            await asyncio.sleep(_WATCH)
            now = time.monotonic()
            late = [n for n in self._members if now - self._seen.get(n, now) > self._lease]
            for name in late:
                self._fence(name, "its lease has run out")
            if self._forming is not None and not self._forming.done() or not self._members:
                continue
            # The last who knew the state may have died while others copied it.
            nobody = all(self._ignorant.get(n) == self._generation for n in self._members)
            if self._had_state and nobody and self._lost_in < self._generation:
                self._losses_of_all += 1
                self._lost_in = self._generation
            if any(n in self._fenced for n in self._members) or self._balance.is_due(
                self._members, self._shards
            ):
                self._begin_to_form()

    def _fence(self, name: str, reason: str) -> None:
        if name not in self._fenced:
            log.warning("worker %s is shut out: %s", name, reason)
        self._fenced.setdefault(name, reason)
        future = self._waiting.pop(name, None)
        if future is not None and not future.done():
            future.set_result(None)

    def _begin_to_form(self) -> None:
        if self._forming is None or self._forming.done():
            self._forming = asyncio.ensure_future(self._form())

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
            if not late and self._settle_accusations(expected):
                continue
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

    def _settle_accusations(self, expected: Sequence[str]) -> bool:
        """Shut out a member that others lose again and again; tell whether there was one."""
        present = [n for n in expected if n in self._waiting]
        present += [n for n in self._waiting if n not in present]
        guilty = self._accusations.guilty(time.monotonic(), present)
        if guilty is not None:
            self._fence(guilty, "it and others have lost each other again and again")
        return guilty is not None

    async def _tell(self, name: str, generation: int) -> bool:
        """Tell a member that its generation is over; False when its process is gone."""
        try:
            await self._handles[name].regroup.remote(generation)
        except Exception:
            return False
        return True

    def _announce(self, before: Sequence[str]) -> None:
        kept = [n for n in before if n in self._waiting]
        new = [n for n in self._waiting if n not in kept]
        members = [*kept, *new][: self._maximum]
        lost = [n for n in self._members if n not in members]
        if self._generation > 0 and not kept:
            self._losses_of_all += 1
            self._lost_in = self._generation + 1
        self._generation += 1
        self._members, self._suspects = members, set()
        self._counts = self._balance.counts(members, self._shards)
        self._balance.begin(members, self._counts)
        self._events.append(
            {
                "generation": self._generation,
                "members": list(members),
                "shards": list(self._counts),
                "joined": [n for n in new if n in members],
                "lost": {n: self._fenced.get(n, "") for n in lost},
                "time": time.time(),
            }
        )
        del self._events[:-_EVENTS]
        addresses = [self._addresses[n] for n in members]
        for rank, name in enumerate(members):
            future = self._waiting.pop(name)
            membership = Membership.of(self._generation, rank, addresses, self._counts)
            if not future.done():
                future.set_result(membership)


def _is_restarted() -> bool:
    """Tell whether this process replaces a coordinator that was lost."""
    if not ray.is_initialized():
        return False
    with warnings.catch_warnings():
        # Ray asks by a name of its own that it has deprecated.
        warnings.simplefilter("ignore")
        return bool(ray.get_runtime_context().was_current_actor_reconstructed)
