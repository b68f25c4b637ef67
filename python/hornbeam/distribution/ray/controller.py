"""The driver's side: starting workers, replacing them, giving them orders."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from ...errors import NoClusterError, WorkersLostError
from ..parallel import DataParallel
from .coordinator import Coordinator
from .head import HeadWatch
from .losses import Losses
from .orders import Change, Order, Progress, Settings, Task
from .worker import HornbeamWorker

# Seconds in which a cluster's head has to accept a connection.
_REACH = 5.0
# Seconds after which a user is told why training has not begun.
_SILENT_START = 10.0
# Seconds between two looks at which workers there are.
_LOOK = 0.25
# Seconds between two questions whether a machine is about to go, and those after which an answer is
# no longer waited for.
_ASK, _ASK_AGAIN = 1.0, 10.0
# Seconds that a question which training does not depend on waits for a worker.
_PATIENCE = 1.0

_LOG = logging.getLogger("hornbeam")


class StateLostError(Exception):
    """All workers were lost at once; those that have replaced them know no weights."""


@dataclass
class Member:
    """A worker as the driver knows it.

    Attributes:
        name: its name.
        handle: the actor.
        ready: reference that is resolved once the actor runs.
        entered: whether it has been sent to join the group.
        loaded: numbers of the programs that it has been given.
    """

    name: str
    handle: Any
    ready: Any
    entered: bool = False
    loaded: set[int] = field(default_factory=set)


class Crew:
    """The workers of a job.

    Args:
        distribution: how many there shall be, and where.
    """

    def __init__(self, distribution: DataParallel) -> None:
        self.distribution = distribution
        self._connect()
        cpus = distribution.threads()
        self._settings = Settings(
            job=secrets.token_hex(8),
            token=secrets.token_bytes(32),
            shards=distribution.logical_shards,
            threads=cpus,
            silence=distribution.silence,
            check_kernels=distribution.check_kernels,
        )
        self._names = (f"{i}" for i in itertools.count())
        self._programs: dict[int, Any] = {}
        self._orders: dict[int, Order] = {}
        self.members: dict[str, Member] = {}
        self.losses = Losses(max(8, 3 * distribution.maximum))
        self._looked = 0.0
        self._asked: list[tuple[Member, Any]] = []
        self._asked_at = 0.0
        self._losses_of_all = 0
        self._status: dict[str, Any] = {
            "knows": True,
            "generation": 0,
            "members": [],
            "fenced": {},
            "problem": None,
            "failure": None,
            "losses_of_all": 0,
            "events": [],
        }
        self._places: dict[str, int] = {}
        self.head = HeadWatch(ray.get_runtime_context().gcs_address)
        node = ray.get_runtime_context().get_node_id()
        # Nowhere else: whoever cuts off its host must not cut the driver off from it.
        here = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        minimum, maximum = distribution.minimum, distribution.maximum
        options = {
            "num_cpus": 0,
            "scheduling_strategy": here,
            "max_concurrency": 1000,
            # It keeps nothing that workers and driver could not tell a new one.
            "max_restarts": -1,
        }
        self.coordinator: Any = (
            ray.remote(Coordinator)
            .options(**options)
            .remote(
                distribution.logical_shards,
                distribution.initial,
                minimum,
                maximum,
                distribution.silence,
                distribution.start_timeout,
                self._settings.lease,
            )
        )
        bundles = [{"CPU": cpus}] * distribution.initial
        self._group = placement_group(bundles, strategy=distribution.placement)
        for _ in range(maximum):
            self._spawn()
        self._start()

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        # Warnings at Ray's start would come between the user and the progress bar.
        options: dict[str, Any] = {"log_to_driver": True, "logging_level": "error"}
        address, origin = self.distribution.address, "address="
        if not address:
            address, origin = os.environ.get("RAY_ADDRESS"), "RAY_ADDRESS="
        if address and address != "local":
            _check_reachable(address, f"{origin}{address}")
            try:
                ray.init(address=address, **options)
            except ConnectionError as error:
                raise NoClusterError(
                    f"{error} ({origin}{address}). Where the cluster has a token, RAY_AUTH_MODE "
                    "and RAY_AUTH_TOKEN must be the same at both ends."
                ) from error
            return
        # A machine with fewer cores than workers still runs all of them.
        cpus = self.distribution.threads() * self.distribution.maximum
        cpus = max(cpus, os.cpu_count() or 1)
        # 'local', or Ray would take to any cluster that happens to run on this machine.
        ray.init("local", num_cpus=cpus, include_dashboard=False, **options)

    def _spawn(self) -> None:
        """Start a worker: in the placement group while it has room, anywhere else beyond."""
        name = next(self._names)
        taken = set(self._places.values())
        free = [b for b in range(self.distribution.initial) if b not in taken]
        options: dict[str, Any] = {
            "num_cpus": self._settings.threads,
            "max_concurrency": 16,
            "name": f"hornbeam-{self._settings.job}-{name}",
        }
        if free:
            self._places[name] = free[0]
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                placement_group=self._group, placement_group_bundle_index=free[0]
            )
        else:
            options["scheduling_strategy"] = "SPREAD"
        actor: Any = ray.remote(HornbeamWorker).options(**options)
        handle = actor.remote(name, self._settings, self.coordinator)
        self.members[name] = Member(name, handle, handle.describe.remote())

    def _start(self) -> None:
        """Wait until the first generation has been formed."""
        began = time.monotonic()
        patience = self.distribution.start_timeout
        told = False
        while len(self._status["members"]) < self.distribution.initial:
            self.look(force=True)
            waited = time.monotonic() - began
            if waited > patience:
                shortage = self._shortage()
                self.close()
                raise WorkersLostError(
                    f"Workers are missing after {patience:g} seconds: {shortage}. Ask for fewer "
                    "workers, or for fewer CPUs with cpus_per_worker; start more nodes; or end "
                    "what holds the CPUs, as another DataParallel with its close()."
                )
            if waited > _SILENT_START and not told:
                told = True
                _LOG.warning("Still waiting: %s.", self._shortage())
            time.sleep(0.005)

    def _shortage(self) -> str:
        total, free = ray.cluster_resources(), ray.available_resources()
        running = sum(m.entered for m in self.members.values())
        return (
            f"{self.distribution.initial} workers of {self._settings.threads} CPUs were asked for, "
            f"{running} could be started; the cluster has {total.get('CPU', 0):g} CPUs on "
            f"{len(ray.nodes())} nodes, of which {free.get('CPU', 0):g} are free"
        )

    def look(self, force: bool = False) -> None:
        """Let new workers in and replace lost ones.

        Raises:
            WorkersLostError: when too few are left for too long.
        """
        now = time.monotonic()
        if not force and now - self._looked < _LOOK:
            return
        self._looked = now
        self._admit()
        self._status = self._ask_status()
        for name in list(self.members):
            if name in self._status["fenced"]:
                self.losses.note(name, self.members[name].handle, self._status["fenced"][name])
                self._discard(name)
        # Without the head nothing starts, and asking for it would wait.
        missing = self.distribution.maximum - len(self.members)
        if missing and not self.head.is_lost and self.head.answers():
            for _ in range(missing):
                self._spawn()
        if verdict := self.losses.verdict():
            raise WorkersLostError(verdict)
        if self._status["failure"]:
            raise WorkersLostError(self._status["failure"])
        if self._status["problem"]:
            raise WorkersLostError(self._status["problem"])

    def _ask_status(self) -> dict[str, Any]:
        """Return the coordinator's status; one that was started anew is told what is known."""
        status = self._tell_coordinator("status")
        while not status["knows"]:
            handles = [(m.name, m.handle) for m in self.entered()]
            self._tell_coordinator("restore", self._status, handles)
            status = self._tell_coordinator("status")
        return status

    def _tell_coordinator(self, method: str, *args: Any) -> Any:
        """Call a method of the coordinator, also while it is being started anew."""
        deadline = time.monotonic() + self.distribution.start_timeout
        while True:
            asked = getattr(self.coordinator, method).remote(*args)
            try:
                return ray.get(asked, timeout=self._settings.lease / 2)
            except ray.exceptions.GetTimeoutError:
                # Before the workers' leases run out, another one takes its place.
                ray.kill(self.coordinator, no_restart=False)
                if time.monotonic() > deadline:
                    raise
            except ray.exceptions.RayActorError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _check(self) -> None:
        """Look, and tell once when all workers have been lost."""
        self.look()
        if self._status["losses_of_all"] > self._losses_of_all:
            self._losses_of_all = self._status["losses_of_all"]
            raise StateLostError

    def _admit(self) -> None:
        """Send workers that have started to join the group."""
        for member in [m for m in self.members.values() if not m.entered]:
            done, _ = ray.wait([member.ready], timeout=0)
            if not done:
                continue
            try:
                ray.get(member.ready)
            except ray.exceptions.RayActorError as error:
                if "__init__" in str(error) or isinstance(getattr(error, "cause", None), Exception):
                    raise
                self.losses.note(member.name, member.handle, "it did not start")
                self._discard(member.name)
                continue
            self._tell_coordinator("register", member.name, [member.handle])
            for number, program in self._programs.items():
                self._load(member, number, program)
            for order in self._orders.values():
                member.handle.submit.remote(order)
            member.handle.enter.remote()
            member.entered = True

    def _discard(self, name: str) -> None:
        member = self.members.pop(name, None)
        self._places.pop(name, None)
        if member is not None:
            with contextlib.suppress(Exception):
                ray.kill(member.handle, no_restart=True)

    def _remove(self, name: str) -> None:
        """Have a worker shut out whose process is gone: others may not have missed it yet."""
        self._tell_coordinator("remove", name, "its process is gone")

    def _load(self, member: Member, number: int, program: Any) -> None:
        # A reference at the top level is resolved, so that the worker gets the program itself.
        member.handle.load.remote(number, program)
        member.loaded.add(number)

    def load(self, number: int, program: Any) -> None:
        """Give all workers a program."""
        self._programs[number] = ray.put(program)
        for member in self.entered():
            self._load(member, number, self._programs[number])

    def submit(self, order: Order) -> None:
        """Give all workers an order."""
        # Orders up to the one before have been carried out: nobody has to hear of them again.
        self._orders = {n: o for n, o in self._orders.items() if n >= order.number - 1}
        self._orders[order.number] = order
        for member in self.entered():
            member.handle.submit.remote(order)

    def allow(self, number: int, steps: int, changes: tuple[Change, ...]) -> None:
        """Let all workers, those that are still to come as well, run so many steps of an order.

        Args:
            number: the order.
            steps: how many of its steps may be run.
            changes: all that variables are given between them.
        """
        known = len(self._orders[number].changes)
        self._orders[number] = replace(self._orders[number], allowed=steps, changes=changes)
        self.tell("allow", number, steps, known, changes[known:])

    def finish(self, number: int, steps: int) -> None:
        """Let an order end with the steps that have been allowed and run."""
        self._orders[number] = replace(self._orders[number], steps=steps)
        self.tell("finish", number, steps)

    def entered(self) -> list[Member]:
        """Return the workers that have been sent to join the group."""
        return [m for m in self.members.values() if m.entered]

    def current(self) -> list[Member]:
        """Return the members of the present generation, as far as is known."""
        return [self.members[n] for n in self._status["members"] if n in self.members]

    def tell(self, method: str, *args: Any) -> None:
        """Call a method of all workers without waiting for it."""
        for member in self.entered():
            getattr(member.handle, method).remote(*args)

    def ask(self, call: Callable[[Any], Any], patience: float) -> Any:
        """Return the answer of some member of the present generation.

        Args:
            call: makes the remote call of a handle.
            patience: seconds to wait for one worker before another is asked.

        Raises:
            WorkersLostError: when too few workers are left.
            StateLostError: once after all have been lost.
        """
        while True:
            self._check()
            for member in self.current() or self.entered():
                reference = call(member.handle)
                done, _ = ray.wait([reference], timeout=patience)
                if not done:
                    continue
                try:
                    return ray.get(reference)
                except ray.exceptions.RayActorError:
                    self._remove(member.name)
            self.look(force=True)
            time.sleep(0.01)

    def progress(self, number: int, steps: int, timeout: float) -> Progress:
        """Return how far the workers are with an order."""
        return self.ask(lambda h: h.progress.remote(number, steps, timeout), timeout + 1.0)

    def infer(self, tasks: list[Task], report: Callable[[int], None]) -> list[Any]:
        """Have tasks done by the workers; return their results in order."""
        results: list[Any] = [None] * len(tasks)
        open_tasks = list(range(len(tasks)))
        running: dict[Any, tuple[int, str]] = {}
        while open_tasks or running:
            self._check()
            busy = {name for _, name in running.values()}
            for member in self.current():
                if open_tasks and member.name not in busy:
                    index = open_tasks.pop(0)
                    running[member.handle.infer.remote(tasks[index])] = (index, member.name)
            done, _ = ray.wait(list(running), timeout=0.05) if running else ([], [])
            for reference in done:
                index, name = running.pop(reference)
                try:
                    results[index] = ray.get(reference)
                except ray.exceptions.RayActorError:
                    open_tasks.insert(0, index)
                    self._remove(name)
                    continue
                except ray.exceptions.RayTaskError as error:
                    raise _cause(error, name) from None
                report(index)
            for reference, (index, name) in list(running.items()):
                if name not in self.members:
                    del running[reference]
                    open_tasks.insert(0, index)
            if not running:
                time.sleep(0.005)
        return results

    def generations(self) -> list[dict[str, Any]]:
        """Return the generations so far: their members, who joined and who was lost."""
        return self._ask_status()["events"]

    def describe(self) -> list[dict[str, Any]]:
        """Return where the members of the present generation run; of those that answer soon."""
        self.look(force=True)
        asked = [m.handle.describe.remote() for m in self.current()]
        if not asked:
            return []
        # Who is silent may be gone: that is for the others to find out.
        answered, _ = ray.wait(asked, num_returns=len(asked), timeout=_PATIENCE)
        found = []
        for reference in asked:
            if reference in answered:
                with contextlib.suppress(ray.exceptions.RayActorError):
                    found.append(ray.get(reference))
        return found

    def departing(self) -> list[Member]:
        """Return the workers whose machines are about to go, without waiting for answers."""
        now = time.monotonic()
        if not self._asked and now - self._asked_at > _ASK:
            self._asked_at = now
            self._asked = [(m, m.handle.describe.remote()) for m in self.entered()]
        going = []
        for member, reference in list(self._asked):
            if ray.wait([reference], timeout=0)[0]:
                self._asked.remove((member, reference))
                with contextlib.suppress(ray.exceptions.RayError):
                    if ray.get(reference)["leaving"]:
                        going.append(member)
        if now - self._asked_at > _ASK_AGAIN:
            self._asked = []
        return going

    def let_go(self, members: list[Member]) -> None:
        """Let the machines of some workers go."""
        for member in members:
            member.handle.let_go.remote()

    def close(self) -> None:
        """End all workers."""
        self.head.close()
        if not ray.is_initialized():
            return
        with contextlib.suppress(Exception):
            self.tell("leave")
        for name in list(self.members):
            self._discard(name)
        with contextlib.suppress(Exception):
            ray.kill(self.coordinator, no_restart=True)
            remove_placement_group(self._group)


def _check_reachable(address: str, given: str) -> None:
    """Find out soon whether somebody listens at a cluster's address; Ray tries for minutes.

    Raises:
        NoClusterError: when nobody does.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        # "auto", or something that Ray itself understands.
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH).close()
    except OSError as error:
        raise NoClusterError(
            f"No Ray cluster answers at {host}:{port} ({given}): {error}. Start its head there "
            f"(ray start --head --port={port}), correct the address, or leave it out to train on "
            "a cluster that is started here."
        ) from None


def _cause(error: Any, name: str) -> Exception:
    """Return what went wrong in a worker, of the type it had there."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        with contextlib.suppress(Exception):
            return type(cause)(f"worker {name}: {cause}")
    return RuntimeError(f"worker {name}: {cause or error}")
