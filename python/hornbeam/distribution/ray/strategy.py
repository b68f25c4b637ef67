"""The strategy of a driver whose steps run on workers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray

from ... import backend as K
from ...engine.sharded import ShardedProgram
from ...engine.strategy import LocalStrategy, Program, Run
from . import programs
from .controller import Crew, StateLostError, WorkersLostError
from .files import send
from .orders import Change, Order, Place, Progress, Task
from .spread import SpreadSequence

# Changes between two steps that are sent as a part of a message, and how many an order may have.
_FEW_BYTES = 64 << 10
_MANY = 1000


class RayStrategy:
    """Runs training steps, evaluation and prediction on a crew of workers.

    The weights live on the workers while they train; whoever reads them here, a callback for
    example, gets the workers'. What is changed here, a learning rate for example, reaches the
    workers with the next step that the driver lets them run.

    Args:
        crew: the workers.
    """

    sharded = True

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.shards = crew.distribution.logical_shards
        self.synchronized = crew.distribution.synchronized
        self._local = LocalStrategy()
        self._numbers: dict[int, tuple[Program, int]] = {}
        self._variables: dict[int, Any] = {}
        # Those that training changes.
        self._moving: set[int] = set()
        # The version that each variable had here when the workers had its value, and small values.
        self._versions: dict[int, int] = {}
        self._known: dict[int, np.ndarray] = {}
        self._order = 0
        self._behind = False
        self._driving = 0
        self._sent: dict[int, tuple[Any, Any]] = {}
        self._keeping = 0
        # Two threads of the driver take turns.
        self._turn = threading.RLock()
        self._open: TrainingRun | None = None
        self._latest: TrainingRun | None = None

    def start(
        self,
        program: Program,
        arrays: Sequence[Any],
        batch_size: int,
        order: np.ndarray | None = None,
    ) -> Run:
        """Prepare a pass over arrays (see `Strategy.start`)."""
        if isinstance(program, ShardedProgram):
            return TrainingRun(self, program, arrays, batch_size, order)
        if program.function.updates:
            # Layers with a state see the batches one after the other.
            self.fetch()
            return self._local.start(program, arrays, batch_size, order)
        return InferenceRun(self, program, arrays, batch_size, order)

    def step(self, program: Program, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Run one batch; return all outputs."""
        with self._turn, self._unless_lost():
            return self._step(program, arrays)

    def _step(self, program: Program, arrays: Sequence[np.ndarray]) -> list[Any]:
        if not isinstance(program, ShardedProgram):
            self.fetch()
            return self._local.step(program, arrays)
        run = TrainingRun(self, program, arrays, max(1, len(arrays[0])), None)
        run.run()
        if not self._keeping:
            self.fetch()
        return [np.float32(value) for value in run.last()]

    def get_state(self, model: Any) -> dict[str, list[np.ndarray]]:
        """Return the weights of a model and of its optimizer."""
        self.fetch()
        return self._local.get_state(model)

    def set_state(self, model: Any, state: dict[str, list[np.ndarray]]) -> None:
        """Give a model and its optimizer weights that `get_state` returned."""
        self.fetch()
        self._local.set_state(model, state)

    def fetch(self) -> None:
        """Bring the variables of this process up to date with the workers'."""
        if not self._behind:
            return
        self._driving = 0
        while True:
            run = self._open
            steps = run.steps_done if run is not None and run.stands() else None
            try:
                values = self.crew.ask(_values_of(self._order, steps), 60.0)
                break
            except StateLostError:
                if self._latest is not None:
                    self._latest.replay()
        self._set_behind(False)
        for number, value in values.items():
            if number in self._variables:
                self._take_value(number, value)
        if self._open is not None:
            self._open.note_values()

    @contextlib.contextmanager
    def fitting(self) -> Any:
        """Inside the block, arrays are sent once, and weights stay on the workers."""
        with self._turn, self._unless_lost():
            self._keeping += 1
            try:
                with self._unless_lost():
                    yield
            finally:
                self._keeping -= 1
                if not self._keeping:
                    self._sent.clear()
                    self.close_open()
                    self.fetch()

    @contextlib.contextmanager
    def _unless_lost(self) -> Any:
        """Once no workers are left, what was fetched last is what there is."""
        try:
            yield
        except WorkersLostError:
            self._open = None
            self._set_behind(False)
            raise

    @property
    def alarm(self) -> str | None:
        """What threatens the whole training, or None."""
        return "the cluster's head does not answer" if self.crew.head.is_lost else None

    def step_samples(self, samples: int) -> int:
        """Return the samples of the latest step: all are given here."""
        return samples

    def sum_over_members(self, sums: np.ndarray) -> np.ndarray:
        """Return the sums: they are those of all batches."""
        return sums

    def spread(self, sequence: Any) -> Any:
        """Return a sequence of the same batches, made by the workers' processes."""
        return SpreadSequence(self.crew, sequence)

    def turn(self) -> Any:
        """Return what keeps the driver's other threads from giving orders meanwhile."""
        return self._turn

    def number_of(self, program: Program) -> int:
        """Return the number that the workers know a program by."""
        key = id(program)
        if key not in self._numbers:
            sent, variables = programs.pack(program)
            for number, variable in variables.items():
                self._variables.setdefault(number, variable)
            self._moving.update(n for layout in sent.layouts.values() for n in layout.updated)
            self._numbers[key] = (program, len(self._numbers))
            self.crew.load(self._numbers[key][1], sent)
        return self._numbers[key][1]

    def submit(self, instead: Mapping[int, np.ndarray] | None = None, **what: Any) -> int:
        """Give the workers an order, with what has been changed here; return its number.

        Args:
            instead: values that are given instead of those here.
            what: the order's other attributes.
        """
        self.close_open()
        # What the workers begin with is kept here, should all of them be lost.
        self.fetch()
        changed = {**self.take_changes()[0], **(instead or {})}
        for number, value in (instead or {}).items():
            # What is here is still to be told.
            self._known[number] = value
            self._versions.pop(number, None)
        values = ray.put(changed) if changed else None
        complete = len(changed) == len(self._variables)
        self._order += 1
        self.crew.submit(Order(self._order, values=values, complete=complete, **what))
        return self._order

    def forget(self) -> None:
        """Take the workers for ignorant: the next order gives them all values."""
        self._known.clear()
        self._versions.clear()
        self._open = None
        self._set_behind(False)

    def settle(self) -> int:
        """Make the workers' weights those of this process; return the order that does."""
        self.close_open()
        self.fetch()
        if self.changes():
            number = self.submit()
            while not self.crew.progress(number, 0, 1.0).order >= number:
                pass
        return self._order

    def changes(self) -> dict[int, np.ndarray]:
        """Return the values of variables here that the workers have not been told of."""
        driving, self._driving = self._driving, 0
        written = [n for n, v in self._variables.items() if v.version != self._versions.get(n)]
        values = {number: self._variables[number].get_value() for number in written}
        self._driving = driving
        return {n: x for n, x in values.items() if not _same(x, self._known.get(n))}

    def take_changes(self) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
        """Return `changes()`, which the workers are told of now, and what they knew instead."""
        changed = self.changes()
        known = {n: self._known[n] for n in changed if n in self._known}
        for number, value in changed.items():
            self._versions[number] = self._variables[number].version
            self._remember(number, value)
        return changed, known

    def _take_value(self, number: int, value: np.ndarray) -> None:
        """Give a variable here the workers' value, unless another one is still to be told them."""
        variable = self._variables[number]
        if variable.version == self._versions.get(number):
            if not _same(value, self._known.get(number)):
                variable.set_value(np.array(value))
            self._versions[number] = variable.version
        self._remember(number, value)

    def _remember(self, number: int, value: np.ndarray) -> None:
        if value.nbytes <= _FEW_BYTES:
            self._known[number] = np.array(value)

    def _set_behind(self, behind: bool) -> None:
        """Note whether the workers' weights are newer than those here."""
        self._behind, self._driving = behind, threading.get_ident() if behind else 0
        K.set_read_hook(self._before_read if behind else None)

    def _before_read(self, number: int | None) -> None:
        """Fetch the weights for a callback that is about to read some.

        Other threads than the one that trains, those that make batches for example, find what was
        fetched last.
        """
        if threading.get_ident() != self._driving or not (number is None or number in self._moving):
            return
        with self._unless_lost():
            if self._open is None:
                self.fetch()
            else:
                self._driving = 0
                self._open.hold()

    def begun(self, run: TrainingRun) -> None:
        """Remember that the workers are at a pass, and their weights ahead of those here."""
        self._open = self._latest = run
        self._set_behind(True)

    def close_open(self) -> None:
        """End the order of a pass of which not all steps have run."""
        run, self._open = self._open, None
        if run is not None:
            run.pause()

    def send(self, x: Any) -> Any:
        """Return what workers open an array by; during `fit` each array is sent once."""
        if not self._keeping:
            return send(x)
        if id(x) not in self._sent:
            self._sent[id(x)] = (x, send(x))
        return self._sent[id(x)][1]


def _values_of(number: int, steps: int | None) -> Any:
    return lambda handle: handle.values.remote(number, steps)


def _same(a: np.ndarray, b: np.ndarray | None) -> bool:
    return b is not None and a.dtype == b.dtype and a.tobytes() == b.tobytes()


class TrainingRun:
    """A pass of training on the workers (see `engine.strategy.Run`).

    What is changed here between two steps, a learning rate for example, goes to the workers with
    the steps that they may run next. Where much is changed, the rest of the pass is another order.
    """

    def __init__(
        self,
        strategy: RayStrategy,
        program: ShardedProgram,
        arrays: Sequence[Any],
        batch_size: int,
        order: np.ndarray | None,
    ) -> None:
        self._strategy = strategy
        self._program = program
        self._arrays = arrays
        self._batch_size = batch_size
        # As it is now: the caller shuffles its array in place for the next epoch, when this one may
        # have to be repeated.
        self._samples = None if order is None else ray.put(np.array(order))
        self._count = len(arrays[0]) if order is None else len(order)
        self._first_step = program.function.core.step
        self._number = 0
        self._allowed: int | None = None
        self._finished = False
        self._place = Place(0, 0, [0.0] * program.scalars, [float("nan")] * program.scalars)
        # The order's changes, the place that the values here belong to, and what was there before
        # the changes since then.
        self._changes: tuple[Change, ...] = ()
        self._noted = self._place
        self._unchanged: dict[int, np.ndarray] = {}

    @property
    def steps(self) -> int:
        """The number of batches."""
        return -(-self._count // self._batch_size)

    @property
    def steps_done(self) -> int:
        """How many batches have run."""
        return self._place.steps_done

    @property
    def samples_done(self) -> int:
        """How many samples they held."""
        return self._place.samples_done

    def resume(
        self, steps_done: int, sums: Sequence[float], last: Sequence[float] | None = None
    ) -> None:
        """Stand before a step, with the sums over those before it and the scalars of the last."""
        samples = min(steps_done * self._batch_size, self._count)
        last = [float("nan")] * len(sums) if last is None else list(last)
        self._place = Place(steps_done, samples, list(sums), last)
        self._first_step = self._program.function.core.step - steps_done

    def run(self, max_steps: int | None = None, max_seconds: float | None = None) -> int:
        """Run steps until all are done or a limit is reached; return how many ran."""
        before = self.steps_done
        goal = self.steps if max_steps is None else min(self.steps, before + max_steps)
        self._begin(goal, max_steps is not None)
        while self.steps_done < goal:
            self._look(goal, 0.05 if max_seconds is None else max(0.001, max_seconds))
            if max_seconds is not None:
                break
        while self.steps_done == self.steps and not self._finished:
            self._look(self.steps + 1, 1.0)
        return self.steps_done - before

    def _begin(self, goal: int, stepwise: bool) -> None:
        strategy = self._strategy
        if self.stands() and self.steps_done < self.steps:
            self._take_changes()
        if not self._number:
            self._submit(goal if stepwise else None)
        elif self._allowed is not None and goal > self._allowed:
            self._allowed = goal
            strategy.crew.allow(self._number, goal, self._changes)
            strategy.begun(self)

    def _submit(self, allowed: int | None, instead: Mapping[int, np.ndarray] | None = None) -> None:
        """Let the rest of the pass be an order."""
        strategy = self._strategy
        program = strategy.number_of(self._program)
        self._allowed = allowed
        self._number = strategy.submit(
            instead,
            program=program,
            arrays=[strategy.send(x) for x in self._arrays],
            batch_size=self._batch_size,
            samples=self._samples,
            first_step=self._first_step,
            begin=self._place,
            allowed=allowed,
            changes=self._changes,
        )
        self._noted = self._place
        strategy.begun(self)

    def stands(self) -> bool:
        """Tell whether the workers stand still, since no more steps are allowed."""
        return bool(self._number) and self.steps_done == self._allowed

    def _take_changes(self) -> None:
        """Let what has been changed here be known to the workers before the next step."""
        size = sum(value.nbytes for value in self._strategy.changes().values())
        if size > _FEW_BYTES or size and len(self._changes) >= _MANY:
            self._split()
        elif size:
            changed, before = self._strategy.take_changes()
            self._unchanged = {**before, **self._unchanged}
            self._changes += (Change(self.steps_done, changed),)

    def note_values(self) -> None:
        """Note that the workers' values have been fetched: should all be lost, they begin there."""
        if self.stands():
            self._noted, self._unchanged = self._place, {}

    def hold(self) -> None:
        """Stand still between two steps, with the weights here; `run` goes on with the rest."""
        if not self.stands():
            self.pause()
        self._strategy.fetch()

    def pause(self) -> None:
        """Let the workers be free for something else; `run` goes on with the rest."""
        if self._number and not (self._finished and self.steps_done == self.steps):
            self._split()

    def _split(self) -> None:
        """Let the rest of the pass be another order."""
        self.close()
        # Should all workers be lost before that, this order is repeated, and then closed again.
        self._strategy.fetch()
        self.close()
        self._changes, self._unchanged = (), {}
        self._finished, self._number = False, 0

    def _look(self, goal: int, timeout: float) -> None:
        try:
            now = self._strategy.crew.progress(self._number, goal, timeout)
        except StateLostError:
            self._restart()
            return
        if now.order != self._number:
            return
        self._take(now)
        if now.error is not None:
            raise now.error
        if now.finished and self.steps_done < min(goal, self.steps):
            raise RuntimeError(f"the workers ended a pass at step {self.steps_done} of {goal}")

    def _restart(self, goal: int | None = None) -> None:
        """Have the order done again, by workers that know nothing of it.

        They begin with the values that are here, and what has been changed since goes to them as it
        did before.

        Args:
            goal: the step of the pass to go on to; None for as far as was allowed.
        """
        strategy = self._strategy
        strategy.crew.tell("stop", self._number)
        strategy.forget()
        self._place = self._noted
        self._changes = tuple(c for c in self._changes if c.before >= self.steps_done)
        self._finished, self._number = False, 0
        self._submit(self._allowed if goal is None else goal, self._unchanged)

    def replay(self) -> None:
        """Run again what had run of the latest order when all workers were lost."""
        goal = self.steps_done
        self._restart(goal)
        while self.steps_done < goal:
            self._look(goal, 1.0)

    def _take(self, now: Progress) -> None:
        self._finished = now.finished
        if now.place is not None:
            self._place = now.place
        step = self._first_step + self.steps_done
        self._program.function.core.step = step
        self._strategy.crew.losses.stepped(id(self._program), step)

    def close(self) -> None:
        """End the pass, if it has not ended, after the step that a worker has finished last."""
        if not self._number:
            return
        if self._finished:
            return
        if self.stands():
            self._strategy.crew.finish(self._number, self.steps_done)
        else:
            self._strategy.crew.tell("stop", self._number)
        while not self._finished:
            try:
                now = self._strategy.crew.progress(self._number, self.steps + 1, 1.0)
            except StateLostError:
                self.replay()
                self._strategy.crew.tell("stop", self._number)
                continue
            if now.order == self._number:
                self._take(now)

    def means(self) -> list[float]:
        """Return the mean of each scalar so far."""
        samples = self.samples_done
        return [total / samples if samples else float("nan") for total in self._place.sums]

    def last(self) -> list[float]:
        """Return each scalar of the latest batch."""
        return list(self._place.last)

    def sums(self) -> list[float]:
        """Return each scalar's sum over the samples so far."""
        return list(self._place.sums)

    def collected(self) -> list[np.ndarray]:
        """Return nothing: training keeps no outputs."""
        return []


class InferenceRun:
    """A pass of evaluation or prediction, its batches spread over the workers."""

    def __init__(
        self,
        strategy: RayStrategy,
        program: Program,
        arrays: Sequence[Any],
        batch_size: int,
        order: np.ndarray | None,
    ) -> None:
        self._strategy, self._program, self._arrays = strategy, program, arrays
        self._batch_size, self._samples = batch_size, order
        self._count = len(arrays[0]) if order is None else len(order)
        self._results: list[Any] | None = None
        self.steps_done = 0
        self.samples_done = 0

    @property
    def steps(self) -> int:
        """The number of batches."""
        return -(-self._count // self._batch_size)

    def run(self, max_steps: int | None = None, max_seconds: float | None = None) -> int:
        """Run all batches."""
        if self._results is not None:
            return 0
        with self._strategy.turn():
            while self._results is None:
                try:
                    self._results = self._infer()
                except StateLostError:
                    self._strategy.forget()
        self.steps_done, self.samples_done = self.steps, self._count
        return self.steps

    def _infer(self) -> list[Any]:
        strategy = self._strategy
        program = strategy.number_of(self._program)
        after = strategy.settle()
        arrays = [strategy.send(x) for x in self._arrays]
        samples = None if self._samples is None else ray.put(np.array(self._samples))
        parts = min(self.steps, max(1, len(strategy.crew.current())))
        cuts = [self.steps * k // parts for k in range(parts + 1)]
        tasks = [
            Task(after, program, arrays, self._batch_size, samples, a, b, self._count)
            for a, b in zip(cuts, cuts[1:], strict=False)
        ]
        return strategy.crew.infer(tasks, lambda index: None)

    def means(self) -> list[float]:
        """Return the mean of each scalar, added up in the order of the batches."""
        sums, samples = [0.0] * self._program.scalars, 0
        for size, values in self._batches():
            sums = [total + value * size for total, value in zip(sums, values, strict=True)]
            samples += size
        return [total / samples for total in sums]

    def last(self) -> list[float]:
        """Return each scalar of the latest batch."""
        return self._batches()[-1][1]

    def _batches(self) -> list[tuple[int, list[float]]]:
        self.run()
        assert self._results is not None
        return [batch for batches, _ in self._results for batch in batches]

    def collected(self) -> list[np.ndarray]:
        """Return the outputs that are kept, of all samples."""
        self.run()
        assert self._results is not None
        columns = zip(*(kept for _, kept in self._results), strict=True)
        return [np.concatenate(parts) for parts in columns]
