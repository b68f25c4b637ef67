"""A worker: an actor that runs training steps with others, without the driver.

One thread carries out the driver's orders one after the other; the actor's other threads answer
questions. When a generation ends, that thread asks the coordinator for the next one, and all its
members take over the state of the most advanced: a step that was not finished anywhere is run
again, one that was finished by some is taken from them. Both are free of effect elsewhere, since a
step that fails changes nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray

from ... import backend as K
from ...engine.sharded import ShardedProgram
from ...engine.strategy import LocalStrategy, Program
from .. import leaving
from ..balance import Report
from ..training import TrainingPass
from . import programs
from .files import open_source
from .orders import Change, Order, Place, Progress, Settings, Task
from .spread import BatchMaker
from .wire import Standing, decode_state, describe_error, encode_state, rebuild_error

# Seconds that steps run between two looks at what else there is to do.
_SLICE = 0.02
# Seconds that an order waits for the program that was sent before it.
_ARRIVAL = 60.0


class OrderEndedError(Exception):
    """The present order is over before all its steps have run."""


class ShutOutError(Exception):
    """The worker belongs to the job no longer."""


def ports() -> tuple[int, int]:
    """Return the first and the last port to listen on: HORNBEAM_PORTS, as 20000-20099, or any.

    Raises:
        ValueError: when the variable is no such range.
    """
    given = os.environ.get("HORNBEAM_PORTS", "").strip()
    if not given:
        return (0, 0)
    first, _, last = given.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 65536):
        raise ValueError(f"HORNBEAM_PORTS={given!r}: expected a range of ports as 20000-20099")
    return (int(first), int(last))


class HornbeamWorker:
    """The actor (see the module).

    Args:
        name: the worker's name, never used twice in a job.
        settings: what it has to know.
        coordinator: the coordinator's handle.
    """

    def __init__(self, name: str, settings: Settings, coordinator: Any) -> None:
        self.name = name
        self._settings = settings
        self._coordinator = coordinator
        K.set_num_threads(settings.threads)
        self._listener = K.Listener(ray.util.get_node_ip_address(), ports(), settings.token)
        self.group: Any = None
        self._generation = 0
        self._over = -1
        self._variables: dict[int, Any] = {}
        self._programs: dict[int, Program] = {}
        self._orders: dict[int, Order] = {}
        self._order: Order | None = None
        self._pass: TrainingPass | None = None
        # How far the present order's pass has come, where others have finished it without this one.
        self._missed: Place | None = None
        self._number = 0
        self._finished = True
        self._error: tuple[str, str, str] | None = None
        self._handed: tuple[int, Place] | None = None
        self._stop_number = -1
        # By order: the step up to which it may run, changes by their number and how many there are,
        # and the step that it ends at.
        self._allowed: dict[int, int] = {}
        self._changes: dict[int, dict[int, Change]] = {}
        self._announced: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._leaving = False
        self._failure: str | None = None
        self._changed = threading.Condition()
        self._progress = Progress()
        self._renewed = time.monotonic()
        self._batches = BatchMaker()
        self._worked = (0, 0.0)
        leaving.arrive()

    # What the driver and the coordinator call, from the actor's other threads.

    def describe(self) -> dict[str, Any]:
        """Return where the worker runs."""
        return {
            "name": self.name,
            "pid": os.getpid(),
            "node": ray.get_runtime_context().get_node_id(),
            "address": self._listener.address,
            "threads": K.num_threads(),
            # The seconds that it has waited for others in the present generation.
            "blocked": 0.0 if self.group is None else self.group.stats()["blocked"],
            "leaving": leaving.is_told(),
        }

    def let_go(self) -> None:
        """Let the machine go, which was about to."""
        leaving.let_go()

    def load(self, number: int, program: Any) -> None:
        """Take a program; it is built when the first order needs it."""
        with self._changed:
            if number not in self._programs:
                self._programs[number] = programs.unpack(program, self._variables)
                self._changed.notify_all()

    def enter(self) -> None:
        """Begin to join the group and to carry out orders."""
        threading.Thread(target=self._work, name="steps", daemon=True).start()
        threading.Thread(target=self._keep_lease, name="lease", daemon=True).start()

    def submit(self, order: Order) -> None:
        """Take an order; those before it are carried out first."""
        with self._changed:
            self._orders[order.number] = order
            if order.steps is not None:
                self._ends[order.number] = order.steps
        if order.allowed is not None:
            self.allow(order.number, order.allowed, 0, order.changes)

    def allow(self, number: int, steps: int, first: int, changes: Sequence[Change]) -> None:
        """Let an order's pass run up to a step.

        Calls may come in any order: no step is run before all changes that were announced are here.

        Args:
            number: the order.
            steps: how many of the pass' steps may be run.
            first: how many changes were announced before.
            changes: those that are new.
        """
        with self._changed:
            if number < self._number:
                return
            self._allowed[number] = max(steps, self._allowed.get(number, 0))
            self._changes.setdefault(number, {}).update(enumerate(changes, first))
            announced = max(first + len(changes), self._announced.get(number, 0))
            self._announced[number] = announced
            self._changed.notify_all()

    def finish(self, number: int, steps: int) -> None:
        """Let an order end at a step of its pass that has been allowed."""
        with self._changed:
            self._ends[number] = steps
            self._changed.notify_all()

    def stop(self, number: int) -> None:
        """End an order after the step that some worker has finished last."""
        with self._changed:
            self._stop_number = number
            self._changed.notify_all()
        self._end_generation("the driver stops the training")

    def regroup(self, generation: int) -> bool:
        """Hear from the coordinator that a generation is over."""
        if generation >= self._generation:
            self._over = generation
            self._listener.abort("a new generation is being formed", generation)
            with self._changed:
                self._changed.notify_all()
        return True

    def progress(self, number: int, steps: int, timeout: float) -> Progress:
        """Return how far the worker is, at once when an order or its step is done, or in time."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                now = self._progress
                done = now.order > number or (
                    now.order == number and (now.finished or now.steps_done >= steps)
                )
                left = deadline - time.monotonic()
                if done or left <= 0 or self._failure:
                    break
                self._changed.wait(left)
        if self._failure:
            raise RuntimeError(self._failure)
        return now

    def values(self, after: int, steps: int | None) -> dict[int, np.ndarray]:
        """Return the variables' values after an order, or after the steps that it stands at."""
        self._await(after, steps)
        return programs.values_of(self._variables)

    def infer(self, task: Task) -> tuple[list[tuple[int, list[float]]], list[np.ndarray]]:
        """Evaluate or predict batches; return size and scalars of each, and the outputs kept."""
        self._await(task.after)
        program = self._program(task.program)
        arrays = [open_source(x) for x in task.arrays]
        samples = None if task.samples is None else ray.get(task.samples)
        begin, end = task.first * task.batch_size, min(task.stop * task.batch_size, task.count)
        if samples is None:
            samples = np.arange(begin, end, dtype=np.int64)
        else:
            samples = samples[begin:end]
        run = LocalStrategy().start(program, arrays, task.batch_size, samples)
        results = []
        while run.steps_done < run.steps:
            before = run.samples_done
            run.run(max_steps=1)
            results.append((run.samples_done - before, run.last()[: program.scalars]))
        return results, run.collected()

    def make_batch(self, sent: list[Any], index: int, seed: np.ndarray) -> Any:
        """Return a batch of a user's `Sequence` (see `spread`)."""
        return self._batches.make(sent, index, seed)

    def leave(self) -> None:
        """End all work."""
        self._leaving = True
        self._end_generation("the job ends")
        with self._changed:
            self._changed.notify_all()

    # The thread that works.

    def _work(self) -> None:
        try:
            self.recover(None)
            while not self._leaving:
                order = self._next_order()
                if order is not None:
                    self._carry_out(order)
        except ShutOutError:
            os._exit(1)
        except BaseException as error:
            if not self._leaving:
                with self._changed:
                    self._failure = f"worker {self.name}: {type(error).__name__}: {error}"
                    self._changed.notify_all()
                self._coordinator.fail.remote(self.name, self._failure)

    def _next_order(self) -> Order | None:
        """Return the next order; None after the group has been formed anew, or to leave."""
        with self._changed:
            while not self._leaving:
                whole = [n for n, o in self._orders.items() if o.complete and self._number == 0]
                if whole and max(whole) > 1:
                    # Others of this generation may know less and begin with another: so all
                    # agree first that what lies before this order is done.
                    self._number = max(whole) - 1
                    self._end_generation("training begins in the midst of its orders")
                    break
                if self._number + 1 in self._orders:
                    return self._orders.pop(self._number + 1)
                for old in [n for n in self._orders if n <= self._number]:
                    del self._orders[old]
                if self._over >= self._generation or self.group.failure is not None:
                    break
                self._changed.wait(0.1)
        if not self._leaving:
            self.recover(None)
        return None

    def _carry_out(self, order: Order) -> None:
        handed, self._handed = self._handed, None
        if handed is not None and handed[0] != order.number:
            handed = None
        if order.values is not None and handed is None:
            self._assign(ray.get(order.values))
        with self._changed:
            self._number, self._order, self._finished = order.number, order, False
            self._error = self._pass = self._missed = None
            for kept in (self._allowed, self._changes, self._announced, self._ends):
                for old in [n for n in kept if n < order.number]:
                    del kept[old]
        try:
            if order.program is not None:
                self._train(order, handed)
        except OrderEndedError:
            pass
        except (K.CollectiveError, ShutOutError):
            raise
        except Exception as error:
            self._fail(error)
        self._publish(finished=True)

    def _assign(self, values: dict[int, np.ndarray]) -> None:
        """Give variables values, also those of programs that have not arrived yet."""
        with self._changed:
            for number, value in values.items():
                if number in self._variables:
                    self._variables[number].set_value(value)
                else:
                    self._variables[number] = K.Variable(value)

    def _train(self, order: Order, handed: tuple[int, Place] | None) -> None:
        assert order.program is not None
        program = self._program(order.program)
        assert isinstance(program, ShardedProgram)
        arrays = [open_source(x) for x in order.arrays]
        samples = None if order.samples is None else ray.get(order.samples)
        run = TrainingPass(self, program, arrays, order.batch_size, samples)  # type: ignore[arg-type]
        self._pass = run
        assert order.begin is not None
        self._resume(order.begin if handed is None else handed[1])
        self._publish()
        while not run.has_ended and run.steps_done != self._ends.get(order.number):
            if self._over >= self._generation or self._stop_number == order.number:
                self.recover(None)
            limit = self._limit(order, run.steps_done)
            if limit == 0:
                continue
            self._run_slice(run, limit)
            self._publish()

    def _run_slice(self, run: TrainingPass, limit: int | None) -> None:
        """Run steps for a short time, and note how long they took without waiting for others."""
        generation, steps, began = self._generation, run.steps_done, time.monotonic()
        blocked = self.group.stats()["blocked"]
        run.run(limit, _SLICE)
        if self._generation != generation:
            return
        worked = time.monotonic() - began - (self.group.stats()["blocked"] - blocked)
        with self._changed:
            steps_before, seconds = self._worked
            done = run.steps_done - steps
            self._worked = (steps_before + done, seconds + max(0.0, worked))

    def _resume(self, place: Place) -> None:
        run, order = self._pass, self._order
        assert run is not None and order is not None and order.program is not None
        run.resume(place.steps_done, place.sums, place.last)
        self._programs[order.program].function.core.step = order.first_step + place.steps_done

    def _place(self) -> Place | None:
        """Return how far the present order's pass has come, None where it has none."""
        run = self._pass
        if run is None:
            return self._missed
        return Place(run.steps_done, run.samples_done, run.sums(), run.last())

    def _limit(self, order: Order, done: int) -> int | None:
        """Return how many steps may be run now, after a short wait if none may.

        Variables get what they are to be given before the first of them.
        """
        if order.allowed is None:
            return None
        with self._changed:
            changes = self._changes[order.number]
            allowed = self._allowed[order.number]
            if allowed <= done or len(changes) < self._announced[order.number]:
                self._changed.wait(0.05)
                return 0
            now = [change for _, change in sorted(changes.items()) if change.before == done]
            later = [change.before for change in changes.values() if change.before > done]
        for change in now:
            self._assign(change.values)
        return min([allowed, *later]) - done

    def _publish(self, finished: bool = False) -> None:
        with self._changed:
            self._finished = finished
            self._progress = Progress(
                self._number,
                finished,
                self._place(),
                None if self._error is None else rebuild_error(self._error),
                self._generation,
            )
            self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        """Let all workers know of an error that ends the order."""
        self._error = describe_error(error, self.name)
        self._end_generation(str(error))
        try:
            self.recover(None)
        except OrderEndedError:
            pass

    def _program(self, number: int) -> Program:
        """Return a program; it may arrive after the order that needs it."""
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._programs, _ARRIVAL):
                raise RuntimeError(f"program {number} has not arrived within {_ARRIVAL:g} seconds")
            return self._programs[number]

    def _await(self, after: int, steps: int | None = None) -> None:
        """Wait until an order has been carried out, or so many steps of it."""
        with self._changed:
            while not self._failure:
                now = self._progress
                if self._number > after or self._leaving:
                    raise RuntimeError(f"worker {self.name} is at order {self._number}")
                enough = steps is not None and steps <= now.steps_done
                if now.order == after and (now.finished or enough):
                    return
                self._changed.wait(1.0)
        raise RuntimeError(self._failure)

    # Generations.

    def conclude(self, work: Callable[[], Any]) -> None:
        """Do nothing at the end of a pass: a worker that waits for orders still regroups."""

    def _end_generation(self, reason: str) -> None:
        self._listener.abort(reason, self._generation)
        self._over = max(self._over, self._generation)

    def recover(self, error: Any) -> None:
        """Form the next generation with the others, and take over the most advanced state.

        Raises:
            OrderEndedError: when the present order does not go on.
        """
        while not self._leaving:
            suspect = getattr(error, "peer", None)
            if getattr(error, "kind", "lost") not in ("lost", "formation", "timeout"):
                suspect = None
            membership = self._next_membership(suspect)
            if membership is None:
                raise ShutOutError(self.name)
            with self._changed:
                self._generation = membership.generation
                self._worked = (0, 0.0)
            try:
                self._connect(membership)
                self._align()
                return
            except K.CollectiveError as another:
                error = another
        raise OrderEndedError

    def _next_membership(self, suspect: str | None) -> Any:
        """Ask for the next generation, of a coordinator that may be starting anew."""
        address, over = self._listener.address, self._generation
        while True:
            asked = self._coordinator.join.remote(self.name, address, over, suspect)
            try:
                return ray.get(asked)
            except ray.exceptions.RayActorError:
                # Without a coordinator for too long, the lease ends this process.
                time.sleep(0.1)

    def _connect(self, membership: Any) -> None:
        if self.group is not None:
            self.group.regroup(membership.rank, membership.generation, membership.members())
            return
        self.group = K.Group.connect(
            self._listener,
            self._settings.job,
            membership.rank,
            membership.members(),
            generation=membership.generation,
            refuse_mismatch=self._settings.check_kernels,
            timeouts=self._settings.timeouts(),
        )

    def _align(self) -> None:
        """Bring all members to the most advanced state among them."""
        place = self._place()
        done = 0 if place is None else place.steps_done
        stops = self._stop_number == self._number and not self._finished
        own = Standing(self._number, done, self._finished, stops, self._error)
        told = [Standing.decode(p) for p in self.group.all_gather(own.encode())]
        newest = max((t.number, t.steps_done) for t in told)
        root = next(i for i, t in enumerate(told) if (t.number, t.steps_done) == newest)
        there = [t for t in told if t.number == newest[0]]
        error = next((t.error for t in there if t.error is not None), None)
        if any((t.number, t.steps_done) != newest for t in told):
            sent = self._state() if self.group.rank == root else None
            received = self.group.broadcast(sent, root)
            if (self._number, done) != newest:
                self._take(*decode_state(received), error)
        stopped = any(t.stops for t in there)
        if self._number == newest[0] and not self._finished and (error or stopped):
            self._error = error
            raise OrderEndedError

    def _state(self) -> bytes:
        place = self._place()
        facts = {
            "number": self._number,
            "finished": self._finished,
            "place": None if place is None else vars(place),
        }
        return encode_state(facts, programs.values_of(self._variables))

    def _take(self, state: dict[str, Any], values: dict[int, np.ndarray], error: Any) -> None:
        """Take over another worker's state, and the error that ended its order, if one did."""
        self._assign(values)
        number = state["number"]
        place = None if state["place"] is None else Place(**state["place"])
        if number == self._number and self._pass is not None and not self._finished and place:
            self._resume(place)
            return
        if state["finished"]:
            busy = not self._finished
            with self._changed:
                self._number, self._pass, self._missed = number, None, place
                self._error = error
            self._publish(finished=True)
            if busy:
                raise OrderEndedError
            return
        self._handed = None if place is None else (number, place)
        busy, self._number = not self._finished, number - 1
        if busy:
            raise OrderEndedError

    def _keep_lease(self) -> None:
        """Renew the lease; end the process when there is none any more."""
        while not self._leaving:
            asked_at = time.monotonic()
            try:
                asked = self._coordinator.renew.remote(self.name, self._report())
                valid = ray.get(asked, timeout=self._settings.lease / 4)
            except Exception:
                valid = None
            if valid:
                # Counted from the question: the coordinator counts from when it was heard.
                self._renewed = asked_at
            if valid is False or not self.has_lease():
                os._exit(1)
            time.sleep(1.0)

    def has_lease(self) -> bool:
        """Tell whether the worker still belongs to the job, as far as it can know.

        Whatever others shall see of it, a checkpoint for example, may be written only while it has.
        """
        return time.monotonic() - self._renewed <= self._settings.lease

    def _report(self) -> Report:
        """Return what it has done in the present generation."""
        with self._changed:
            return Report(self._generation, *self._worked, self._number)
