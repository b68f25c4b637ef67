"""What compiling a model adds to a container: its programs, and data in the form they take.

A training step is one compiled function of inputs, targets and (where they are given) sample
weights; its updates are the optimizer's and the layers'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend as K
from ..utils.generic_utils import nearest_name
from . import checks, compiling
from .container import Container
from .graph import nested_layers
from .loop import Dataset
from .recall import training_graph
from .sharded import ShardedProgram, StepParts, sharded_program
from .step_function import StepFunction
from .strategy import Program, get_strategy


class CompiledModel(Container):
    """A container that can be compiled for training.

    Attributes:
        optimizer: the optimizer, once compiled.
        metrics_names: names of the scalars that steps compute, the total loss first.
        targets: placeholders of the targets.
        sample_weights: placeholders of the sample weights.
    """

    stop_training: bool
    _predict_program: Program | None = None

    def compile(
        self,
        optimizer: Any,
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        sample_weight_mode: Any = None,
        **kwargs: Any,
    ) -> None:
        """Configure training.

        The weights that are trainable now are those that training will change.

        Args:
            optimizer: name or object.
            loss: name or function, a list with one for each output, or a dictionary by name of
                the output; None for a model whose layers add its loss.
            metrics: list of names or functions, or a dictionary by name of the output.
            loss_weights: factors of the outputs' losses, as a list or dictionary.
            sample_weight_mode: 'temporal' for a weight for each time step, None for each sample.
            **kwargs: none is known; a misspelt name is an error.

        Raises:
            ValueError: when an argument cannot be understood, or there is no loss.
        """
        if kwargs:
            raise TypeError(
                unknown_argument(
                    kwargs, "compile", ("optimizer", "loss", "metrics", "loss_weights")
                )
            )
        from .. import optimizers

        if not self.built:
            # A model whose input shape comes with the data is compiled when that is known.
            self._deferred_compile = (optimizer, loss, metrics, loss_weights, sample_weight_mode)
            return
        chosen = optimizers.get(optimizer)
        graph = training_graph(self)
        plans = compiling.plan_outputs(
            graph.outputs,
            self.output_names,
            graph.masks,
            loss,
            metrics,
            loss_weights,
            sample_weight_mode,
        )
        added = graph.gather(self, "losses")
        scalars = compiling.step_scalars(plans, added, weighted=False)
        self.optimizer = chosen
        self.loss, self.metrics = loss, metrics or []
        self.loss_weights, self.sample_weight_mode = loss_weights, sample_weight_mode
        self._training_graph = graph
        self._plans = plans
        self._trained = [plan for plan in plans if plan.loss is not None]
        self._target_specs = (
            [plan.name for plan in self._trained],
            [plan.target_shape() for plan in self._trained],
            [plan.target.dtype for plan in self._trained],
            [checks.hint_for(plan.loss) for plan in self._trained],
            [K.int_shape(plan.tensor) for plan in self._trained],
            [plan.loss for plan in self._trained],
        )
        self._added_losses = added
        self._scalars = {False: scalars}
        self.metrics_names = compiling.metric_names(plans)
        self.loss_functions = [plan.loss for plan in plans]
        self.targets = [plan.target for plan in self._trained]
        self.sample_weights = [plan.weight for plan in self._trained]
        self._collected_trainable_weights = list(self.trainable_weights)
        self._trainable_when_compiled = [layer.trainable for layer in nested_layers(self)]
        self._train_program: tuple[bool, Program] | None = None
        self._test_programs: dict[bool, Program] = {}
        self.stop_training = False

    @property
    def total_loss(self) -> Any:
        """The loss that training minimises, a function of inputs, targets and sample weights."""
        self._require_compiled()
        return self._step_scalars(True)[0]

    @property
    def metrics_tensors(self) -> list[Any]:
        """The scalars behind the total loss in `metrics_names`."""
        self._require_compiled()
        return self._step_scalars(False)[1]

    @property
    def train_function(self) -> StepFunction | None:
        """The training step, once `_make_train_function` or training made one.

        It takes inputs, targets and sample weights, and returns what `metrics_names` names. Setting
        None has the next training make another.
        """
        if getattr(self, "_train_program", None) is None:
            return None
        return StepFunction(self._make_train_function(weighted=True))

    @train_function.setter
    def train_function(self, value: None) -> None:
        self._train_program = value

    @property
    def test_function(self) -> StepFunction | None:
        """The evaluation step, once `_make_test_function` or an evaluation made one."""
        if not getattr(self, "_test_programs", None):
            return None
        return StepFunction(self._make_test_function(weighted=True))

    @test_function.setter
    def test_function(self, value: None) -> None:
        self._test_programs = {}

    @property
    def predict_function(self) -> StepFunction | None:
        """The prediction step, once `_make_predict_function` or a prediction made one."""
        if self._predict_program is None:
            return None
        return StepFunction(self._predict_program)

    @predict_function.setter
    def predict_function(self, value: None) -> None:
        self._predict_program = None

    def _require_compiled(self) -> None:
        if not hasattr(self, "optimizer"):
            raise RuntimeError(
                "The model needs to be compiled before being used for training or evaluation: "
                "call `model.compile(optimizer, loss)` first."
            )

    def _step_scalars(self, weighted: bool) -> tuple[Any, list[Any]]:
        if weighted not in self._scalars:
            self._scalars[weighted] = compiling.step_scalars(
                self._plans, self._added_losses, weighted
            )
        return self._scalars[weighted]

    def _program_inputs(self, weighted: bool) -> list[Any]:
        weights = self.sample_weights if weighted else []
        return [*self._feed_inputs, *self.targets, *weights]

    def _make_train_function(self, weighted: bool = False) -> Program:
        """Return the training step, compiling it when needed.

        Without sample weights the step has no inputs for them. Once they have been given, the step
        that takes them is the only one, since the optimizer's state belongs to one step.
        """
        self._require_compiled()
        sharded = getattr(get_strategy(), "sharded", False)
        current = self._train_program
        if current is not None:
            if current[0] >= weighted and _is_for(current[1], get_strategy()):
                return current[1]
            weighted = current[0] or weighted
        state = self.optimizer.get_weights() if current is not None else None
        total, _ = self._step_scalars(weighted)
        self._collected_trainable_weights = params = self._weights_in_loss(total)
        build = self._sharded_train_program if sharded else self._local_train_program
        program = build(weighted, params)
        if state:
            self.optimizer.set_weights(state)
        if current is not None:
            # Random numbers go on where they were.
            program.function.core.step = current[1].function.core.step
        self._train_program = (weighted, program)
        return program

    def _local_train_program(self, weighted: bool, params: list[Any]) -> Program:
        total, rest = self._step_scalars(weighted)
        updates = self._training_graph.gather(self, "updates") + list(
            self.optimizer.get_updates(params, self.constraints, total)
        )
        scalars = [total, *rest]
        function = K.function(
            self._program_inputs(weighted),
            scalars,
            compiling.merge_updates(updates),
            name=f"{self.name} train",
        )
        return Program(function, scalars=len(scalars), training=True)

    def _sharded_train_program(self, weighted: bool, params: list[Any]) -> Program:
        if self.stateful:
            raise ValueError(
                f"The model {self.name!r} is stateful: its layers keep a state for each sample of "
                "a batch, which shards of a batch cannot. Train it in one process."
            )
        parts = StepParts(
            self.name,
            self._program_inputs(weighted),
            self._plans,
            self._added_losses,
            weighted,
            self._training_graph.gather(self, "updates"),
            self.optimizer,
            self.constraints,
            getattr(get_strategy(), "synchronized", False),
        )
        return sharded_program(parts, params)

    def _weights_in_loss(self, total: Any) -> list[Any]:
        """Return the weights to train; those behind outputs without a loss are left out."""
        weights = self._collected_trainable_weights
        if len(self._trained) == len(self._plans) or not weights:
            return weights
        gradients = K.gradients(total, weights)
        return [w for w, g in zip(weights, gradients, strict=True) if g is not None]

    def _make_test_function(self, weighted: bool = False) -> Program:
        """Return the evaluation step, compiling it when needed."""
        self._require_compiled()
        if weighted not in self._test_programs:
            total, rest = self._step_scalars(weighted)
            function = K.function(
                self._program_inputs(weighted),
                [total, *rest],
                compiling.merge_updates(self.state_updates),
                name=f"{self.name} test",
            )
            self._test_programs[weighted] = Program(function, scalars=1 + len(rest))
        return self._test_programs[weighted]

    def _make_predict_function(self) -> Program:
        """Return the prediction step, compiling it when needed."""
        program = self._predict_program
        if program is None:
            outputs = list(self.outputs)
            function = K.function(
                self._feed_inputs,
                outputs,
                compiling.merge_updates(self.state_updates),
                name=f"{self.name} predict",
            )
            program = Program(function, collect=tuple(range(len(outputs))))
            self._predict_program = program
        return program

    def _init_graph(self, inputs: list[Any], outputs: list[Any]) -> None:
        super()._init_graph(inputs, outputs)
        self._predict_program = None

    def _standardize_inputs(self, x: Any, check_batch_axis: bool = False) -> list[Any]:
        return checks.standardize_data(
            x,
            self._feed_input_names,
            self._feed_input_shapes,
            self._feed_input_dtypes,
            "model input",
            check_batch_axis,
        )

    def _standardize_user_data(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Any = None,
        check_batch_axis: bool = False,
        batch_size: int | None = None,
    ) -> tuple[list[Any], list[Any], list[Any] | None]:
        """Return inputs, targets and weights as the steps take them; None for no weights.

        Raises:
            RuntimeError: when the model is not compiled.
            ValueError: when the data do not fit the model.
        """
        self._require_compiled()
        names, shapes, dtypes, hints, output_shapes, losses = self._target_specs
        xs = self._standardize_inputs(x, check_batch_axis)
        ys = checks.standardize_data(
            y, names, shapes, dtypes, "model target", check_batch_axis, hints
        )
        checks.check_lengths(xs, ys)
        checks.check_targets(ys, losses, output_shapes, names)
        weights = self._standardize_weights(ys, sample_weight, class_weight, names)
        count = checks.check_lengths(xs, ys, weights or ())
        if count == 0:
            raise ValueError("The arrays hold no samples: at least one is needed")
        if batch_size:
            self._check_batches(batch_size, count)
        return xs, ys, weights

    def _check_batches(self, batch_size: int, count: int) -> None:
        checks.check_batches(
            self._feed_inputs, self._feed_input_names, batch_size, count, self.stateful
        )

    def _standardize_weights(
        self, ys: list[Any], sample_weight: Any, class_weight: Any, names: list[str]
    ) -> list[Any] | None:
        samples = checks.per_output(sample_weight, names, "sample_weight")
        if len(names) == 1 or (
            isinstance(class_weight, dict) and not any(name in class_weight for name in names)
        ):
            classes = [class_weight] * len(names)
        else:
            classes = checks.per_output(class_weight, names, "class_weight")
        given = [
            checks.standardize_weights(y, sw, cw, plan.mode, plan.name)
            for y, sw, cw, plan in zip(ys, samples, classes, self._trained, strict=True)
        ]
        if all(w is None for w in given):
            return None
        return [
            np.ones(y.shape[: plan.weight.ndim], dtype=plan.weight.dtype)
            if w is None
            else np.ascontiguousarray(w, dtype=plan.weight.dtype)
            for w, y, plan in zip(given, ys, self._trained, strict=True)
        ]

    def _adapt(self, x: Any) -> None:
        """Let a model that waits for its input shape see the data; others have all they need."""

    def _dataset(
        self, xs: list[Any], ys: list[Any], ws: list[Any] | None, weighted: bool, count: int
    ) -> Dataset:
        arrays = [*xs, *ys]
        if weighted:
            arrays += ws if ws is not None else self._unit_weights(ys)
        return Dataset(arrays, count)

    def _unit_weights(self, ys: list[Any]) -> list[np.ndarray]:
        return [
            np.ones(tuple(y.shape[: plan.weight.ndim]), dtype=plan.weight.dtype)
            for y, plan in zip(ys, self._trained, strict=True)
        ]


def unknown_argument(kwargs: dict[str, Any], method: str, known: Sequence[str]) -> str:
    """Return the message about a keyword that a method does not have."""
    name = next(iter(kwargs))
    meant = nearest_name(name, known)
    hint = f" Did you mean {meant!r}?" if meant else ""
    return f"{method}() got an unexpected keyword argument {name!r}.{hint}"


def _is_for(program: Program, strategy: Any) -> bool:
    """Tell whether a training step is one that the strategy runs."""
    if not getattr(strategy, "sharded", False):
        return not isinstance(program, ShardedProgram)
    synchronized = getattr(strategy, "synchronized", False)
    return isinstance(program, ShardedProgram) and program.synchronized == synchronized
