"""The model: a container that can be compiled, trained, evaluated and asked for predictions.

A training step is one compiled function of inputs, targets and (where they are given) sample
weights; its updates are the optimizer's and the layers'. The loops over it are in `loop` and
`generators`; where steps run is up to the strategy (`strategy`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend as K
from ..data import is_stream
from ..legacy import interfaces
from ..utils.generic_utils import unpack_singleton
from ..utils.user_warnings import warn
from . import checks, generators, loop
from .compiled import CompiledModel, unknown_argument
from .loop import Dataset, FitPlan
from .profiling import profile_step
from .strategy import Program, fitting_on, get_strategy, in_memory

_STREAM_ARGUMENTS = (
    "steps_per_epoch",
    "validation_steps",
    "max_q_size",
    "max_queue_size",
    "workers",
    "pickle_safe",
    "use_multiprocessing",
)


class Model(CompiledModel):
    """A graph of layers that can be trained.

    Attributes:
        optimizer: the optimizer, once compiled.
        metrics_names: names of the values that `evaluate` returns.
        stop_training: set by callbacks to end training after the epoch.
        history: the record of the latest `fit`.
    """

    history: Any

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = 32,
        epochs: int = 1,
        verbose: int = 1,
        callbacks: Sequence[Any] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        distribution: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Train for a number of epochs.

        Args:
            x: array (a list or a dictionary for several inputs), or a stream of batches, which
                `fit_generator` is then called with.
            y: array of targets (a list or a dictionary for several outputs).
            batch_size: samples in a step.
            epochs: the epoch to stop before.
            verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch.
            callbacks: callbacks of this run.
            validation_split: the fraction of the samples, from the end and before shuffling, that
                is validated on instead of trained on.
            validation_data: `(x, y)` or `(x, y, sample_weights)` to validate on.
            shuffle: whether samples are shuffled before each epoch; 'batch' shuffles whole
                batches, for data in HDF5 files.
            class_weight: class number -> weight in the loss.
            sample_weight: weight of each sample in the loss.
            initial_epoch: the epoch to begin with.
            distribution: where steps run, a `distribution.DataParallel`; by default as
                `set_distribution` or the environment variable HORNBEAM_WORKERS has it, else here.
            **kwargs: `nb_epoch`, the name of `epochs` in Keras 1.

        Returns:
            The `History` of the run.

        Raises:
            RuntimeError: when the model is not compiled.
            ValueError: when the data do not fit.
        """
        epochs, stream = self._fit_keywords(epochs, kwargs, is_stream(x))
        epochs = checks.check_count(epochs, "epochs")
        initial_epoch = checks.check_count(initial_epoch, "initial_epoch")
        verbose = checks.check_verbose(verbose)
        with fitting_on(distribution):
            return self._fit(
                x,
                y,
                batch_size,
                epochs,
                verbose,
                callbacks,
                validation_split,
                validation_data,
                shuffle,
                class_weight,
                sample_weight,
                initial_epoch,
                stream,
            )

    def _fit(
        self,
        x: Any,
        y: Any,
        batch_size: int | None,
        epochs: int,
        verbose: int,
        callbacks: Sequence[Any] | None,
        validation_split: float,
        validation_data: Any,
        shuffle: bool | str,
        class_weight: Any,
        sample_weight: Any,
        initial_epoch: int,
        stream: dict[str, Any],
    ) -> Any:
        self._adapt(x)
        if is_stream(x):
            return self.fit_generator(
                x,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_data=validation_data,
                class_weight=class_weight,
                initial_epoch=initial_epoch,
                **stream,
            )
        batch_size = checks.check_positive(batch_size, "batch_size")
        fraction = checks.check_fraction(validation_split, "validation_split")
        checks.check_shuffle(shuffle)
        xs, ys, ws = self._standardize_user_data(
            x, y, sample_weight, class_weight, batch_size=batch_size
        )
        count = len((xs or ys)[0])
        validation = self._validation_arrays(validation_data, batch_size)
        kept: Any = None
        if validation is not None:
            kept = checks.user_arrays(validation_data, validation)
        elif fraction:
            count, validation = _split(xs, ys, ws, fraction)
            self._check_batches(batch_size, count)
            kept = [*validation[0], *validation[1], *checks.weights_or_ones(validation)]
        program = self._make_train_function(ws is not None)
        data = self._dataset(xs, ys, ws, self._train_program[0], count)  # type: ignore[index]
        validate = None
        if validation is not None:
            validate = self._validator(*validation, batch_size=batch_size)
            if verbose and loop.shows_progress():
                held_out = len((validation[0] or validation[1])[0])
                print(f"Train on {count} samples, validate on {held_out} samples")
        names = list(self.metrics_names)
        params = {
            "batch_size": batch_size,
            "epochs": epochs,
            "steps": None,
            "samples": count,
            "verbose": verbose,
            "do_validation": validate is not None,
            "metrics": names + ([f"val_{n}" for n in names] if validate else []),
        }
        every, history = loop.prepare_callbacks(self, callbacks, verbose, params, "samples", kept)
        plan = FitPlan(
            self, program, data, names, batch_size, epochs, initial_epoch, shuffle, validate
        )
        loop.fit_loop(plan, every)
        return history

    def _fit_keywords(
        self, epochs: int, kwargs: dict[str, Any], stream: bool
    ) -> tuple[int, dict[str, Any]]:
        if "nb_epoch" in kwargs:
            warn("The `nb_epoch` argument in `fit` has been renamed `epochs`.")
            epochs = kwargs.pop("nb_epoch")
        taken = {key: kwargs.pop(key) for key in list(kwargs) if key in _STREAM_ARGUMENTS}
        for key in [k for k, v in taken.items() if v is None and not stream]:
            del taken[key]
        if kwargs or (taken and not stream):
            raise TypeError(unknown_argument(kwargs or taken, "fit", _arguments(Model.fit)))
        return epochs, taken

    def _validation_arrays(
        self, validation_data: Any, batch_size: int | None
    ) -> tuple[list[Any], list[Any], list[Any] | None] | None:
        if validation_data is None or (
            isinstance(validation_data, (list, tuple)) and not validation_data
        ):
            return None
        if not isinstance(validation_data, (list, tuple)) or len(validation_data) not in (2, 3):
            size = len(validation_data) if hasattr(validation_data, "__len__") else validation_data
            raise ValueError(
                "When passing validation_data, it must contain 2 (x_val, y_val) or 3 (x_val, "
                f"y_val, val_sample_weights) items, however it contains {size} items"
            )
        weights = validation_data[2] if len(validation_data) == 3 else None
        return self._standardize_user_data(
            validation_data[0], validation_data[1], weights, batch_size=batch_size
        )

    def _validator(
        self, xs: list[Any], ys: list[Any], ws: list[Any] | None, batch_size: int
    ) -> Any:
        program = self._make_test_function(ws is not None)
        data = self._dataset(xs, ys, ws, ws is not None, len((xs or ys)[0]))
        return lambda: loop.run_through(program, data, batch_size).means()

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = 32,
        verbose: int = 1,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Return the loss and the metrics, averaged over samples in batches.

        Args:
            x: array (a list or a dictionary for several inputs), or a stream of batches.
            y: array of targets (a list or a dictionary for several outputs).
            batch_size: samples in a batch.
            verbose: 1 shows a progress bar.
            sample_weight: weight of each sample.
            **kwargs: `steps`, where x is a stream.

        Returns:
            A NumPy scalar, or a list of them in the order of `metrics_names`.
        """
        if is_stream(x):
            return self.evaluate_generator(x, **kwargs)
        if kwargs and any(v is not None for v in kwargs.values()):
            raise TypeError(unknown_argument(kwargs, "evaluate", _arguments(Model.evaluate)))
        self._adapt(x)
        batch_size = checks.check_positive(batch_size, "batch_size")
        xs, ys, ws = self._standardize_user_data(x, y, sample_weight, batch_size=batch_size)
        program = self._make_test_function(ws is not None)
        data = self._dataset(xs, ys, ws, ws is not None, len((xs or ys)[0]))
        run = loop.run_through(program, data, batch_size, verbose)
        return unpack_singleton([np.float64(value) for value in run.means()])

    def predict(self, x: Any, batch_size: int | None = 32, verbose: int = 0, **kwargs: Any) -> Any:
        """Return the outputs for inputs, computed in batches.

        Args:
            x: array (a list or a dictionary for several inputs), or a stream of batches.
            batch_size: samples in a batch.
            verbose: 1 shows a progress bar.
            **kwargs: `steps`, where x is a stream.

        Returns:
            An array, or a list with one for each output.
        """
        if is_stream(x):
            return self.predict_generator(x, **kwargs)
        if kwargs and any(v is not None for v in kwargs.values()):
            raise TypeError(unknown_argument(kwargs, "predict", _arguments(Model.predict)))
        self._adapt(x)
        batch_size = checks.check_positive(batch_size, "batch_size")
        xs = self._standardize_inputs(x)
        count = checks.check_lengths(xs, [])
        program = self._make_predict_function()
        if count == 0:
            return unpack_singleton([_no_rows(t) for t in self.outputs])
        checks.check_batches(
            self._feed_inputs,
            self._feed_input_names,
            batch_size,
            count,
            self.stateful and count > batch_size,
        )
        run = loop.run_through(program, Dataset(xs, count), batch_size, verbose)
        return unpack_singleton(run.collected())

    def train_on_batch(
        self, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None
    ) -> Any:
        """Train on one batch.

        Args:
            x: array, or a list or dictionary of arrays.
            y: array of targets, or a list or dictionary of arrays.
            sample_weight: weight of each sample.
            class_weight: class number -> weight.

        Returns:
            The loss, or a list of the values in `metrics_names`, of this batch before the update.
        """
        self._adapt(x)
        xs, ys, ws = self._standardize_user_data(x, y, sample_weight, class_weight, True)
        program = self._make_train_function(ws is not None)
        data = self._dataset(xs, ys, ws, self._train_program[0], len((xs or ys)[0]))  # type: ignore[index]
        return _scalars(get_strategy().step(program, _in_memory(data.arrays, program)))

    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        """Return the loss and metrics of one batch (see `train_on_batch`)."""
        self._adapt(x)
        xs, ys, ws = self._standardize_user_data(x, y, sample_weight, None, True)
        program = self._make_test_function(ws is not None)
        data = self._dataset(xs, ys, ws, ws is not None, len((xs or ys)[0]))
        return _scalars(get_strategy().step(program, _in_memory(data.arrays, program)))

    def predict_on_batch(self, x: Any) -> Any:
        """Return the outputs for one batch of inputs."""
        self._adapt(x)
        xs = self._standardize_inputs(x, check_batch_axis=True)
        checks.check_lengths(xs, [])
        program = self._make_predict_function()
        return unpack_singleton(get_strategy().step(program, _in_memory(xs, program)))

    @interfaces.legacy_generator_methods_support
    def fit_generator(
        self,
        generator: Any,
        steps_per_epoch: int | None = None,
        epochs: int = 1,
        verbose: int = 1,
        callbacks: Sequence[Any] | None = None,
        validation_data: Any = None,
        validation_steps: int | None = None,
        class_weight: Any = None,
        max_q_size: int = 10,
        workers: int = 1,
        pickle_safe: bool = False,
        initial_epoch: int = 0,
    ) -> Any:
        """Train on batches as they come.

        Args:
            generator: gives `(x, y)` or `(x, y, sample_weights)`: a generator without end, a
                `Sequence`, or an iterable of batches such as a data loader.
            steps_per_epoch: batches in an epoch; its length by default, where it has one.
            epochs: the epoch to stop before.
            verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch.
            callbacks: callbacks of this run.
            validation_data: `(x, y)`, `(x, y, sample_weights)` or a stream of batches.
            validation_steps: batches to validate on, where validation data is a stream.
            class_weight: class number -> weight in the loss.
            max_q_size: batches made ahead.
            workers: threads (or processes) that make batches.
            pickle_safe: whether processes make them instead of threads.
            initial_epoch: the epoch to begin with.

        Returns:
            The `History` of the run.
        """
        options = generators.Options(max_q_size, workers, pickle_safe)
        with fitting_on(None):
            return generators.fit_generator(
                self,
                generator,
                generators.Schedule(steps_per_epoch, epochs, initial_epoch),
                verbose,
                callbacks,
                validation_data,
                validation_steps,
                class_weight,
                options,
            )

    @interfaces.legacy_generator_methods_support
    def evaluate_generator(
        self,
        generator: Any,
        steps: int | None = None,
        max_q_size: int = 10,
        workers: int = 1,
        pickle_safe: bool = False,
    ) -> Any:
        """Return the loss and the metrics over batches as they come (see `fit_generator`)."""
        options = generators.Options(max_q_size, workers, pickle_safe)
        return generators.evaluate_generator(self, generator, steps, options)

    @interfaces.legacy_generator_methods_support
    def predict_generator(
        self,
        generator: Any,
        steps: int | None = None,
        max_q_size: int = 10,
        workers: int = 1,
        pickle_safe: bool = False,
        verbose: int = 0,
    ) -> Any:
        """Return the outputs for batches as they come (see `fit_generator`)."""
        options = generators.Options(max_q_size, workers, pickle_safe)
        return generators.predict_generator(self, generator, steps, options, verbose)

    def profile(
        self, x: Any, y: Any = None, batch_size: int = 32, repeats: int = 10, verbose: int = 1
    ) -> Any:
        """Time one step operation by operation.

        Nothing is trained: the weights stay as they are.

        Args:
            x: inputs, of which the first batch is used.
            y: targets, for a training step; None for a prediction.
            batch_size: samples in the step.
            repeats: how often it runs; the shortest times count.
            verbose: 1 prints a table, the slowest operations first.

        Returns:
            List of `OperationTime`, in the order in which the operations run.
        """
        return profile_step(self, x, y, batch_size, repeats, verbose)


def _arguments(function: Any) -> tuple[str, ...]:
    code = function.__code__
    return code.co_varnames[1 : code.co_argcount]


def _scalars(results: Sequence[Any]) -> Any:
    return unpack_singleton([r[()] if isinstance(r, np.ndarray) else r for r in results])


def _in_memory(arrays: Sequence[Any], program: Program) -> list[np.ndarray]:
    if in_memory(arrays, program.dtypes):
        return list(arrays)
    pairs = zip(arrays, program.dtypes, strict=True)
    return [np.ascontiguousarray(x[:], dtype=dtype) for x, dtype in pairs]


def _no_rows(tensor: Any) -> np.ndarray:
    shape = K.int_shape(tensor) or (0,)
    return np.zeros((0, *(size or 0 for size in shape[1:])), dtype=K.dtype(tensor))


def _split(
    xs: list[Any], ys: list[Any], ws: list[Any] | None, fraction: float
) -> tuple[int, tuple[list[Any], list[Any], list[Any] | None]]:
    """Cut the last `fraction` of the samples off; return what is left and the part cut off.

    The training arrays are not sliced: the loop visits their first rows only.
    """
    count = len((xs or ys)[0])
    at = int(count * (1.0 - fraction))
    if at in (0, count):
        rest = "train" if at == 0 else "validate"
        raise ValueError(f"validation_split={fraction} of {count} samples leaves none to {rest} on")
    cut = [[x[at:] for x in part] if part is not None else None for part in (xs, ys, ws)]
    return at, (cut[0], cut[1], cut[2])  # type: ignore[return-value]


def __getattr__(name: str) -> Any:
    # Keras 2 has this class here; it brings processes with it, which most programs do not need.
    if name == "GeneratorEnqueuer":
        from ..utils.enqueuers import GeneratorEnqueuer

        return GeneratorEnqueuer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
