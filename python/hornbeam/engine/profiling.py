"""Where the time of a step goes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import checks
from .strategy import Program, get_strategy


class OperationTime(NamedTuple):
    """One operation of a plan.

    Attributes:
        operation: what is computed, fused operations as one.
        layer: the layer it belongs to.
        shape: shapes of its operands and results.
        microseconds: the shortest time of several runs.
        bytes: what it reads and writes.
    """

    operation: str
    layer: str
    shape: str
    microseconds: float
    bytes: int


def profile_step(
    model: Any, x: Any, y: Any, batch_size: int, repeats: int, verbose: int
) -> list[OperationTime]:
    """Time one step operation by operation (see `Model.profile`)."""
    batch_size = checks.check_positive(batch_size, "batch_size")
    program: Program
    if y is None:
        arrays = model._standardize_inputs(x)
        program = model._make_predict_function()
    else:
        xs, ys, _ = model._standardize_user_data(x, y)
        program = model._make_train_function()
        weighted = model._train_program[0]
        arrays = model._dataset(xs, ys, None, weighted, len((xs or ys)[0])).arrays
    batch = [
        np.ascontiguousarray(a[:batch_size], dtype=dtype)
        for a, dtype in zip(arrays, program.dtypes, strict=True)
    ]
    core = program.function.core
    strategy, step = get_strategy(), core.step
    state = strategy.get_state(model)
    try:
        timed = core.profile(batch, program.training, repeats)
    finally:
        # A training step that is timed trains.
        strategy.set_state(model, state)
        core.step = step
    rows = [OperationTime(*row) for row in timed]
    if verbose:
        print(format_profile(rows))
    return rows


def format_profile(rows: list[OperationTime], width: int = 100) -> str:
    """Return a table of the operations, the slowest first, with the share of each."""
    total = sum(row.microseconds for row in rows) or 1.0
    lines = [f"{'us':>9} {'%':>5} {'MB':>8}  {'layer':<20} operation and shapes"]
    for row in sorted(rows, key=lambda r: -r.microseconds):
        line = (
            f"{row.microseconds:9.1f} {100 * row.microseconds / total:5.1f} "
            f"{row.bytes / 1e6:8.2f}  {row.layer[:20]:<20} {row.operation} {row.shape}"
        )
        lines.append(line[:width])
    lines.append(f"{total:9.1f} 100.0 {sum(r.bytes for r in rows) / 1e6:8.2f}  total")
    return "\n".join(lines)
