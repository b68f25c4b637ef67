"""A step's functions on their way to another process.

What travels is the graph that the core runs. The receiver needs no model, and none of the user's
code that made it: custom layers, losses and lambdas are in the graph, as are the keys of the random
numbers. Variables travel apart, by the numbers that they have in the sender.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import backend as K
from ...engine.sharded import ShardedProgram
from ...engine.strategy import Program


@dataclass(frozen=True)
class FunctionLayout:
    """How many of a graph's tensors belong to a function, and in which role.

    Attributes:
        name: the function's name.
        inputs: its inputs.
        outputs: its outputs.
        updated: numbers of the variables that it updates.
    """

    name: str
    inputs: int
    outputs: int
    updated: tuple[int, ...]


@dataclass(frozen=True)
class SentProgram:
    """A program as plain data.

    Attributes:
        graph: the graph of all functions.
        layouts: the functions, by their attribute in the program.
        variables: number, shape and type of each variable, in the order that the graph needs.
        settings: the program's other attributes.
        sharded: whether it is a training step for shards.
    """

    graph: bytes
    layouts: dict[str, FunctionLayout]
    variables: tuple[tuple[int, tuple[int, ...], str], ...]
    settings: dict[str, Any]
    sharded: bool


class LoadedFunction:
    """A function that came from another process.

    Attributes:
        inputs: its placeholders.
        core: the core's function.
    """

    def __init__(self, inputs: list[Any], outputs: list[Any], updates: Any, name: str) -> None:
        self.inputs = inputs
        self.core = K.CoreFunction(inputs, outputs, updates, name)


def pack(program: Program) -> tuple[SentProgram, dict[int, Any]]:
    """Return a program as plain data, and its variables by number."""
    sharded = isinstance(program, ShardedProgram)
    functions = {"function": program.function}
    settings: dict[str, Any] = {
        "scalars": program.scalars,
        "collect": program.collect,
        "training": program.training,
    }
    if isinstance(program, ShardedProgram):
        functions["apply"] = program.apply
        if program.normalizers is not None:
            functions["normalizers"] = program.normalizers
        settings["arrays"] = program.arrays
    tensors: list[Any] = []
    layouts: dict[str, FunctionLayout] = {}
    variables: dict[int, Any] = {}
    for role, function in functions.items():
        inputs = [x for x in function.inputs if hasattr(x, "op_inputs")]
        updates = list(function.updates)
        tensors += [*inputs, *function.outputs, *(new for _, new in updates)]
        variables.update((v.id, v) for v, _ in updates)
        numbers = tuple(v.id for v, _ in updates)
        layouts[role] = FunctionLayout(role, len(inputs), len(function.outputs), numbers)
    graph, read = K.write_graph(tensors)
    order = [v.id for v in read]
    variables.update((v.id, v) for v in read)
    order += [number for number in variables if number not in order]
    described = tuple(
        (number, tuple(variables[number].shape), variables[number].dtype) for number in order
    )
    return SentProgram(graph, layouts, described, settings, sharded), variables


def unpack(sent: SentProgram, variables: dict[int, Any]) -> Program:
    """Return a program that runs here.

    Args:
        sent: what `pack` returned.
        variables: the variables known here, by their numbers in the sender; those that are missing
            are made, with zeros, and added.
    """
    for number, shape, dtype in sent.variables:
        if number not in variables:
            variables[number] = K.Variable(np.zeros(shape, dtype=dtype))
    # The graph numbers the variables that it reads; those behind them are only updated.
    tensors = K.read_graph(sent.graph, [variables[number] for number, *_ in sent.variables])
    functions, at = {}, 0
    for role, layout in sent.layouts.items():
        ends = [at, at + layout.inputs, at + layout.inputs + layout.outputs]
        ends.append(ends[-1] + len(layout.updated))
        inputs, outputs, new = (tensors[a:b] for a, b in zip(ends, ends[1:], strict=False))
        updates = [(variables[n], x) for n, x in zip(layout.updated, new, strict=True)]
        functions[role] = LoadedFunction(inputs, outputs, updates, layout.name)
        at = ends[-1]
    kind: Any = ShardedProgram if sent.sharded else Program
    return kind(**functions, **sent.settings)


def values_of(variables: Mapping[int, Any]) -> dict[int, np.ndarray]:
    """Return the values of variables."""
    return {number: variable.get_value() for number, variable in variables.items()}
