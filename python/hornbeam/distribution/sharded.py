"""The strategy of one worker in a group of processes that train one model together.

Every worker runs the same program: the same model, data, order of samples and callbacks. A batch is
cut into V logical shards, each worker computes those that it owns, and sums are taken along a fixed
tree over the shards. So weights and logs have the same bits for any number of workers.

A worker that is lost, or one that joins, ends the group's present *generation* on all members: a
call of the core raises `CollectiveError`. The strategy then asks its `regroup` function, which
knows whoever coordinates the group, to form the next one, brings all members to the same step, and
repeats what had failed.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from .. import backend as K
from ..engine.sharded import ShardedProgram
from ..engine.strategy import LocalStrategy, Program, Run
from .inference import InferencePass
from .training import TrainingPass

_JOINING = -1


class ShardedStrategy:
    """Runs the steps of one worker's shards.

    Args:
        group: the group, formed.
        regroup: function that forms the group's next generation (`group.regroup`) after the error
            it is given, and returns when that has been formed. Without one, errors are the
            caller's to handle.
        model: the model that is trained; its state is what a member that joins is given.
        synchronized: whether batch normalisation uses statistics of the whole batch instead of each
            shard's.
    """

    sharded = True

    def __init__(
        self,
        group: K.Group,
        regroup: Callable[[K.CollectiveError], None] | None = None,
        model: Any = None,
        synchronized: bool = False,
    ) -> None:
        self.group = group
        self.synchronized = synchronized
        self.model = model
        self.passes = 0
        self.phase = 0
        self._regroup = regroup
        self._pass: TrainingPass | None = None
        self._handed: dict[str, np.ndarray] | None = None
        self._local = LocalStrategy()

    def start(
        self,
        program: Program,
        arrays: Sequence[Any],
        batch_size: int,
        order: np.ndarray | None = None,
    ) -> Run:
        """Prepare a pass over arrays (see `Strategy.start`)."""
        if not isinstance(program, ShardedProgram):
            return InferencePass(self, program, arrays, batch_size, order)
        self._pass = TrainingPass(self, program, arrays, batch_size, order)
        if self._handed is not None:
            handed, self._handed = self._handed, None
            self._pass.take_over(handed)
        else:
            self.passes += 1
        return self._pass

    def step(self, program: Program, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Run one batch and return all outputs; only training is shared by the workers."""
        if not isinstance(program, ShardedProgram):
            return self._local.step(program, arrays)
        run = TrainingPass(self, program, arrays, max(1, len(arrays[0])), None)
        self._pass = run
        run.run()
        return [np.float32(value) for value in run.last()]

    def get_state(self, model: Any) -> dict[str, list[np.ndarray]]:
        """Return the weights of a model, of its optimizer, and the number of the next step."""
        state = self._local.get_state(model)
        program = model._train_program
        step = program[1].function.core.step if program else 0
        return {**state, "step": [np.asarray(step)]}

    def set_state(self, model: Any, state: dict[str, list[np.ndarray]]) -> None:
        """Give a model and its optimizer what `get_state` returned."""
        program = model._make_train_function()
        self._local.set_state(model, state)
        for step in state.get("step", ()):
            program.function.core.step = int(step)

    def fetch(self) -> None:
        """Do nothing: this worker's weights are here."""

    def fitting(self) -> AbstractContextManager[Any]:
        """Do nothing (see `Strategy.fitting`)."""
        return nullcontext()

    def step_samples(self, samples: int) -> int:
        """Return the samples of the latest step: all are given here."""
        return samples

    def sum_over_members(self, sums: np.ndarray) -> np.ndarray:
        """Return the sums: they are those of all batches."""
        return sums

    def conclude(self, work: Callable[[], Any]) -> None:
        """Do `work` until all members have done it, in whatever generations that takes.

        A member that has come out of the barrier behind it has gone on to other work, and the
        barrier tells it that all have done this. So whoever hears of such a member is done too.
        """
        phase = self.phase
        while self.phase == phase:
            try:
                work()
                self.group.barrier()
                self.phase = phase + 1
            except K.CollectiveError as error:
                self.recover(error)

    def recover(self, error: K.CollectiveError) -> None:
        """Form the next generation after an error, and bring all its members to one step.

        The function that regroups is called again with whatever error ends a generation before its
        members are of one step, or keeps it from being formed.

        Raises:
            CollectiveError: the error itself, when there is no function that regroups.
        """
        while True:
            if self._regroup is None:
                raise error
            try:
                self._regroup(error)
                self.synchronize()
            except K.CollectiveError as another:
                error = another
            else:
                return

    def synchronize(self) -> None:
        """Bring all members to the same step; all call it at the beginning of a generation.

        A member whose last step was finished by others gets the averages of that step from one of
        them. Who owns shards is one step behind at most, since a step needs what all owners
        computed; who owns none may be farther behind, and gets the whole state.
        """
        step = self._step_number()
        steps = self._all_steps(step)
        newest = max(steps)
        root = steps.index(newest)
        behind = [s for s in steps if s not in (newest, _JOINING)]
        if any(s == newest - 1 for s in behind):
            mine = self._pass.averages() if self._pass is not None and step == newest else None
            sent = mine.tobytes() if mine is not None and self.group.rank == root else None
            averages = np.frombuffer(self.group.broadcast(sent, root), dtype="float32")
            if step == newest - 1 and self._pass is not None:
                self._pass.catch_up(averages)
        if _JOINING in steps or any(s < newest - 1 for s in behind):
            sent = self._hand_over() if self.group.rank == root else None
            received = self.group.broadcast(sent, root)
            if step < newest - 1 and self._pass is not None:
                handed = _unpacked(received)
                self._take(handed, self.model)
                self._pass.resume_at(handed)

    def join(self, model: Any) -> int:
        """Take over the state of a group in training; called instead of `synchronize`.

        Returns:
            How many training passes the group has begun: call `fit` with `initial_epoch` one less,
            and it goes on in the midst of the epoch.
        """
        self.model = model
        steps = self._all_steps(_JOINING)
        newest = max(steps)
        if newest == _JOINING:
            raise RuntimeError("All members of the group want to join it: nobody has its state.")
        root = steps.index(newest)
        if any(s == newest - 1 != _JOINING for s in steps):
            self.group.broadcast(None, root)
        handed = _unpacked(self.group.broadcast(None, root))
        if not int(handed["in_pass"]):
            raise RuntimeError("A worker can only join a group in the midst of a training pass.")
        self._take(handed, model)
        self.passes = int(handed["passes"])
        self._handed = handed
        return self.passes

    def _take(self, handed: dict[str, np.ndarray], model: Any) -> None:
        """Give the model the values that another member has."""
        values = [handed[f"value_{i}"] for i in range(int(handed["values"]))]
        program = model._make_train_function(bool(handed["weighted"]))
        K.batch_set_value(zip(_variables(model), values, strict=True))
        program.function.core.step = int(handed["step"])

    def _step_number(self) -> int:
        return self._pass.step_number if self._pass is not None else 0

    def _all_steps(self, step: int) -> list[int]:
        """Return the members' steps; the phase becomes that of the one that has come farthest."""
        gathered = self.group.all_gather(struct.pack("<qq", step, self.phase))
        told = [struct.unpack("<qq", payload) for payload in gathered]
        self.phase = max(phase for _, phase in told)
        return [theirs for theirs, _ in told]

    def _hand_over(self) -> bytes:
        if self.model is None:
            raise RuntimeError(
                "A worker needs the whole state, but the strategy does not know the model: "
                "use ShardedStrategy(group, regroup, model)."
            )
        values = [K.get_value(v) for v in _variables(self.model)]
        numpy_state = np.random.get_state(legacy=False)
        handed = {f"value_{i}": value for i, value in enumerate(values)}
        handed |= {
            "values": np.asarray(len(values)),
            "weighted": np.asarray(self.model._train_program[0]),
            "step": np.asarray(self._step_number()),
            "passes": np.asarray(self.passes),
            "random_key": numpy_state["state"]["key"],
            "random_position": np.asarray(numpy_state["state"]["pos"]),
            "in_pass": np.asarray(int(self._pass is not None and not self._pass.has_ended)),
            **(self._pass.position() if self._pass is not None else {}),
        }
        out = io.BytesIO()
        np.savez(out, **handed)
        return out.getvalue()


def _unpacked(data: bytes) -> dict[str, np.ndarray]:
    """Return what `_hand_over` packed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return dict(archive)


def _variables(model: Any) -> list[Any]:
    """Return the variables of a model and of its optimizer, hyper-parameters too."""
    optimizer = model.optimizer
    hyper = [v for _, v in sorted(vars(optimizer).items()) if isinstance(v, K.Variable)]
    every = [*model.weights, *optimizer.weights, *hyper]
    return list({id(v): v for v in every}.values())
