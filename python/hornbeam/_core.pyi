"""The compute core: symbolic tensors, functions compiled from them, and the step loop.

Everything here is written in Rust. Only `hornbeam.backend` imports it.
"""

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

__version__: str

@disjoint_base
class Tensor:
    """A symbolic tensor. Instances carry further attributes (Keras metadata) in their dict.

    Python's arithmetic, comparison (`<`, `<=`, `>`, `>=`), `@`, `abs`, unary minus and indexing
    operators build graph nodes; `==` is identity, as in Keras 2. The other operand may be a tensor,
    a Python number or an array, which takes this tensor's dtype.
    """

    # Keeps NumPy's arrays from taking over `array + tensor`.
    __array_ufunc__: None
    @property
    def shape(self) -> tuple[int | None, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def ndim(self) -> int: ...
    @property
    def op(self) -> str: ...
    @property
    def op_inputs(self) -> list[Tensor]: ...
    @property
    def name(self) -> str: ...
    @property
    def uses_learning_phase(self) -> bool: ...
    @property
    def is_variable(self) -> bool: ...
    def __add__(self, other: Any, /) -> Tensor: ...
    def __radd__(self, other: Any, /) -> Tensor: ...
    def __sub__(self, other: Any, /) -> Tensor: ...
    def __rsub__(self, other: Any, /) -> Tensor: ...
    def __mul__(self, other: Any, /) -> Tensor: ...
    def __rmul__(self, other: Any, /) -> Tensor: ...
    def __truediv__(self, other: Any, /) -> Tensor: ...
    def __rtruediv__(self, other: Any, /) -> Tensor: ...
    def __floordiv__(self, other: Any, /) -> Tensor: ...
    def __rfloordiv__(self, other: Any, /) -> Tensor: ...
    def __mod__(self, other: Any, /) -> Tensor: ...
    def __rmod__(self, other: Any, /) -> Tensor: ...
    def __pow__(self, other: Any, modulo: None = None, /) -> Tensor: ...
    def __rpow__(self, other: Any, modulo: None = None, /) -> Tensor: ...
    def __matmul__(self, other: Any, /) -> Tensor: ...
    def __rmatmul__(self, other: Any, /) -> Tensor: ...
    def __neg__(self) -> Tensor: ...
    def __abs__(self) -> Tensor: ...
    def __invert__(self) -> Tensor: ...
    def __and__(self, other: Any, /) -> Tensor: ...
    def __or__(self, other: Any, /) -> Tensor: ...
    def __rand__(self, other: Any, /) -> Tensor: ...
    def __ror__(self, other: Any, /) -> Tensor: ...
    def __lt__(self, other: Any, /) -> Tensor: ...
    def __le__(self, other: Any, /) -> Tensor: ...
    def __gt__(self, other: Any, /) -> Tensor: ...
    def __ge__(self, other: Any, /) -> Tensor: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Tensor: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...

@disjoint_base
class Variable(Tensor):
    """A tensor with a value that functions read and update in place."""

    def __new__(cls, value: NDArray[Any], name: str | None = None) -> Variable: ...
    @property
    def id(self) -> int:
        """What all handles on one variable have in common, and no other of the process."""

    @property
    def version(self) -> int:
        """A number that is another one once the value has been written."""

    def get_value(self) -> NDArray[Any]: ...
    def set_value(self, value: NDArray[Any]) -> None: ...

# Leaves. `dtype` is NumPy's name: bool, uint8, int32, int64, float32 or float64.
def placeholder(
    shape: Sequence[int | None], dtype: str = "float32", name: str | None = None
) -> Tensor: ...
def constant(value: NDArray[Any], name: str | None = None) -> Tensor: ...
def learning_phase() -> Tensor: ...

# Elementwise, with broadcasting. Operands of `binary` and the branches of `select` have one dtype.
def unary(op: str, x: Tensor) -> Tensor:
    """One of neg abs sign exp expm1 log log1p sqrt rsqrt square reciprocal sin cos tan tanh
    sigmoid relu softplus erf floor ceil round not isnan isfinite.
    """

def binary(op: str, x: Tensor, y: Tensor) -> Tensor:
    """One of add sub mul div floordiv mod pow max min eq ne lt le gt ge and or."""

def select(condition: Tensor, x: Tensor, y: Tensor) -> Tensor: ...
def cast(x: Tensor, dtype: str) -> Tensor: ...
def identity(x: Tensor) -> Tensor: ...
def stop_gradient(x: Tensor) -> Tensor: ...

# Reductions. Axes may be negative; None is all of them.
def reduce(op: str, x: Tensor, axes: Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """One of sum mean prod max min any all."""

def arg_reduce(op: str, x: Tensor, axis: int) -> Tensor:
    """`max` or `min`; int64."""

def cumulative(
    op: str, x: Tensor, axis: int, exclusive: bool = False, reverse: bool = False
) -> Tensor:
    """`sum` or `prod`."""

def moments(x: Tensor, axes: Sequence[int], of: str = "operand") -> tuple[Tensor, Tensor]:
    """Mean and biased variance over `axes`, which are dropped.

    In training on shards they are those of the `operand`, of a `batch` (each shard's, unless all
    are synchronized) or of the `whole_batch`.
    """

# Shape and movement. A shape is a sequence of ints and scalar tensors, or an int64 vector tensor;
# `reshape` takes one -1.
def shape_of(x: Tensor) -> Tensor: ...
def reshape(x: Tensor, shape: Sequence[int | Tensor] | Tensor) -> Tensor: ...
def broadcast_to(x: Tensor, shape: Sequence[int | Tensor] | Tensor) -> Tensor: ...
def transpose(x: Tensor, perm: Sequence[int]) -> Tensor: ...
def slice(x: Tensor, ranges: Sequence[tuple[int | None, int | None, int]]) -> Tensor:
    """`(start, stop, step)` for each axis, as Python's slices."""

def pad(x: Tensor, cells: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor: ...
def concat(xs: Sequence[Tensor], axis: int) -> Tensor: ...
def reverse(x: Tensor, axes: Sequence[int]) -> Tensor: ...
def gather(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor: ...
def arange(
    start: int | float | Tensor, stop: int | float | Tensor, step: int | float | Tensor, dtype: str
) -> Tensor: ...

# Linear algebra, convolution and pooling: channels last, kernels (spatial.., in / groups, out).
# `padding` is "valid", "same" or a (before, after) pair for each spatial axis.
def matmul(
    x: Tensor, y: Tensor, transpose_a: bool = False, transpose_b: bool = False
) -> Tensor: ...
def conv(
    x: Tensor,
    kernel: Tensor,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int = 1,
) -> Tensor: ...
def conv_transpose(
    x: Tensor,
    kernel: Tensor,
    output_shape: Sequence[int | Tensor] | Tensor,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int = 1,
) -> Tensor:
    """The gradient of `conv` to its input; `kernel` is (spatial.., out / groups, in)."""

def pool(
    mode: str,
    x: Tensor,
    size: Sequence[int],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
) -> Tensor:
    """`max` or `avg`; padded cells count neither in a maximum nor in an average."""

# Along the last axis.
def softmax(x: Tensor) -> Tensor: ...
def log_softmax(x: Tensor) -> Tensor: ...
def softmax_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor: ...
def sparse_softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor: ...
def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor: ...
def ctc_beam_search(
    log_p: Tensor, lengths: Tensor, beam_width: int, top_paths: int
) -> tuple[Tensor, Tensor]:
    """Labels (samples, top_paths, steps), filled up with -1, and the logarithms of their
    probabilities (samples, top_paths). The last class is the blank; lengths are int64."""

def print(x: Tensor, message: str, key: int) -> Tensor:
    """The same value, written to `sys.stderr` behind a message each time that it is computed."""

# Random numbers: a function of key, step, index of the sample (axis 0) and element.
def random(
    dist: str,
    shape: Sequence[int | Tensor] | Tensor,
    dtype: str,
    key: int,
    p: float = 0.0,
) -> Tensor:
    """`uniform` on [0, 1), standard `normal`, `truncated_normal`, or `bernoulli` with `p`."""

def rnn(
    cell: str,
    projection: Tensor,
    kernel: Tensor,
    states: Sequence[Tensor],
    activation: str,
    recurrent_activation: str,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    dropout: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """A fused recurrence: outputs `(batch, steps, units)` and the last states.

    `cell` is simple, gru or lstm; `projection` `(batch, steps, gates * units)` is the input times
    its kernel plus bias (gates in Keras' order), `kernel` `(units, gates * units)` the recurrent
    one; `states` are h or, for lstm, h and c. A gru with `bias` (its recurrent one, `(3 * units,)`)
    is one with `reset_after`. `mask` is bool `(batch, steps)`; `dropout` `(gates, batch, units)`
    multiplies the recurrent state. Activations: linear, relu, tanh, sigmoid, hard_sigmoid. With
    `reverse` step s reads time `steps - 1 - s`; outputs and last states are in the order of steps.
    """

def scan(
    sequences: Sequence[Tensor],
    initial_states: Sequence[Tensor],
    slices: Sequence[Tensor],
    states: Sequence[Tensor],
    outputs: Sequence[Tensor],
    next_states: Sequence[Tensor],
    reverse: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """Runs a sub-graph over axis 0 of `sequences` (at least one): all outputs, last states.

    `slices` and `states` are placeholders from which `outputs` and `next_states` were built; other
    tensors that those read are captured, and gradients flow to them.
    """

def gradients(
    outputs: Sequence[Tensor], wrt: Sequence[Tensor], seeds: Sequence[Tensor] | None = None
) -> list[Tensor | None]: ...
def write_graph(tensors: Sequence[Tensor]) -> tuple[bytes, list[Variable]]:
    """A graph as bytes, for another process of this version; and handles on its variables."""

def read_graph(data: bytes, variables: Sequence[Variable]) -> list[Tensor]:
    """The tensors that were written, computed from these variables."""

def set_scope(name: str | None) -> str | None:
    """Names the layer that nodes built from now on belong to; returns the former name."""

@final
class Function:
    """A compiled function: arguments in, results out, variables updated in place.

    Plans are made for the concrete shapes of the arguments and kept for the latest of them.
    """

    def __new__(
        cls,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        updates: Sequence[tuple[Variable, Tensor]] = ...,
        name: str | None = None,
        plan_cache: int = 16,
    ) -> Function: ...
    def __call__(
        self, arrays: Sequence[NDArray[Any]], training: bool = False
    ) -> list[NDArray[Any]]: ...
    @property
    def step(self) -> int: ...
    @step.setter
    def step(self, value: int) -> None: ...
    def describe(self, shapes: Sequence[Sequence[int]], training: bool = False) -> str: ...
    def peak_bytes(self, shapes: Sequence[Sequence[int]], training: bool = False) -> int: ...
    def profile(
        self, arrays: Sequence[NDArray[Any]], training: bool = False, repeats: int = 10
    ) -> list[tuple[str, str, str, float, int]]:
        """`(operation, layer, shape, microseconds, bytes)` for each call of a plan."""

@final
class Loop:
    """One pass over arrays in batches: gathers a batch, runs the function, adds up the results.

    `order` is a permutation (int64) of the samples, or None for their own order. Of each output
    that is a scalar the loop keeps the mean over batches weighted by their numbers of samples, and
    the last value; the outputs named in `collect` are written one after the other into one array
    each, in the order in which samples are visited.
    """

    def __new__(
        cls,
        function: Function,
        arrays: Sequence[NDArray[Any]],
        batch_size: int,
        order: NDArray[np.int64] | None = None,
        collect: Sequence[int] = ...,
        training: bool = False,
    ) -> Loop: ...
    def run(self, max_steps: int | None = None, max_seconds: float | None = None) -> int:
        """Runs steps until all are done or a limit is reached; returns how many it ran."""

    def watch(self, index: int) -> None:
        """From now on a run ends behind a step whose output `index` is NaN or infinite."""

    @property
    def steps(self) -> int: ...
    @property
    def steps_done(self) -> int: ...
    @property
    def samples_done(self) -> int: ...
    def means(self) -> list[float]: ...
    def last(self) -> list[float]: ...
    def sums(self) -> list[float]:
        """Each output's sum over the batches so far, each counted with its samples."""

    def resume(
        self, steps_done: int, sums: Sequence[float], last: Sequence[float] | None = None
    ) -> None:
        """Puts the loop before a step, with the sums over those before it and the last results."""

    def collected(self) -> list[NDArray[Any]]: ...

@final
class Listener:
    """The place where a process is reached by others of its group.

    Binds the first free port from `ports[0]` to `ports[1]` ((0, 0) for any) at the node's own
    address; members prove to each other that they know the token.
    """

    def __new__(cls, ip: str, ports: tuple[int, int], token: bytes) -> Listener: ...
    @property
    def address(self) -> str: ...
    def abort(self, reason: str, generation: int | None = None) -> None:
        """Makes the group that is being formed with it, or was, fail at once; from any thread."""

class CollectiveError(RuntimeError):
    """A group could not be formed, or has failed and must be formed anew.

    `rank` and `peer` (an address) say which member it happened to, None where it is none's.
    """

    kind: str
    rank: int | None
    peer: str | None

@final
class Group:
    """A process' membership in a group that computes collectively.

    Members are `(address, first shard, shard behind the last)` by rank; their ranges of shards
    follow each other from 0 to a power of two. All members make the same calls in the same order.
    After a `CollectiveError` the generation is over for all of them, until `regroup` has formed the
    next, which has a higher number. Every call releases the interpreter's lock.
    """

    @staticmethod
    def connect(
        listener: Listener,
        job: str,
        rank: int,
        members: Sequence[tuple[str, int, int]],
        generation: int = 1,
        fingerprint: str | None = None,
        refuse_mismatch: bool = True,
        timeouts: dict[str, float] | None = None,
    ) -> Group:
        """Forms a group; a listener whose group could not be formed can be used again.

        Timeouts in seconds: formation, handshake, operation, silence, heartbeat, farewell.
        """

    def regroup(
        self, rank: int, generation: int, members: Sequence[tuple[str, int, int]]
    ) -> None: ...
    def close(self) -> None: ...
    def abort(self, reason: str, generation: int | None = None) -> None:
        """Makes all calls that are under way fail at once, from any thread."""

    @property
    def rank(self) -> int: ...
    @property
    def ranks(self) -> int: ...
    @property
    def generation(self) -> int: ...
    @property
    def total_shards(self) -> int: ...
    @property
    def shards(self) -> tuple[int, int]: ...
    @property
    def partials(self) -> list[tuple[int, int]]:
        """The aligned subtrees of shards whose sums this member delivers."""

    @property
    def failure(self) -> str | None: ...
    def all_reduce(self, array: NDArray[Any]) -> NDArray[Any]:
        """Sums over all shards, float32 or float64: a row for each of `partials` in (one row, of
        any content, for a member without shards), one row out.
        """

    def all_gather(self, payload: bytes) -> list[bytes]:
        """Gathers up to 64 MiB of each member at all members, in the order of the ranks."""

    def broadcast(self, data: bytes | None, root: int) -> bytes:
        """Copies the root's bytes to all members; the others give None."""

    def barrier(self) -> None: ...
    def stats(self) -> dict[str, float]: ...

@final
class ShardedLoop:
    """One pass of data-parallel training over arrays, in batches that are cut into shards.

    Shard v of V of a batch of n has the rows from n * v // V to n * (v + 1) // V. The process'
    own shards are those of its group at the step's beginning, or all of `shards`. `gradient` takes
    the arrays, the results of `normalizers` averaged over the batch, and the number of times the
    shard's samples go into the batch's; `apply` takes the averages of the gradient function's
    results. A step that fails has changed nothing and can be run again. As for `Loop`, nobody may
    write to the arrays meanwhile.
    """

    def __new__(
        cls,
        normalizers: Function | None,
        gradient: Function,
        apply: Function,
        arrays: Sequence[NDArray[Any]],
        batch_size: int,
        order: NDArray[np.int64] | None = None,
        group: Group | None = None,
        shards: int | None = None,
    ) -> ShardedLoop: ...
    def run(self, max_steps: int | None = None, max_seconds: float | None = None) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def steps_done(self) -> int: ...
    @property
    def steps_at_once(self) -> int:
        """How many of the steps done here ran all own shards at once."""

    def set_at_once(self, at_once: bool) -> None:
        """Says whether own shards that are equally large run at once, as by default.

        One after the other they give the same bits.
        """

    @property
    def buckets(self) -> int:
        """In how many buckets gradients are summed over the workers."""

    @property
    def early_sums(self) -> int:
        """How many buckets' sums were started while the gradient function still ran."""

    @property
    def partitioned_steps(self) -> int:
        """In how many steps workers shared updates, each computing a part of the large weights."""

    def set_overlap(self, overlap: bool | None) -> None:
        """Says whether sums of buckets are started as soon as they are computed.

        By default, or with None, they are where some member is on another machine, unless
        HORNBEAM_OVERLAP says 0 or 1. The bits are the same.
        """

    @property
    def samples_done(self) -> int: ...
    @property
    def step_number(self) -> int:
        """The number of the next step over all passes."""

    def means(self) -> list[float]: ...
    def last(self) -> list[float]: ...
    def sums(self) -> list[float]:
        """Each scalar's sum over the samples so far."""

    def times(self) -> dict[str, float]:
        """Seconds that steps took here: `gradient`, `reduce` (waiting included) and `apply`."""

    def resume(
        self, steps_done: int, sums: Sequence[float], last: Sequence[float] | None = None
    ) -> None:
        """Puts the loop before a step, with the sums over those before it and the last results."""

    def averages(self) -> NDArray[np.float32] | None:
        """What the latest step applied."""

    def catch_up(self, averages: NDArray[np.float32]) -> None:
        """Runs the next step with averages that others computed and this process missed."""

def depends_on(tensors: Sequence[Tensor], sources: Sequence[Tensor]) -> list[bool]:
    """For each tensor, whether one of `sources` is among its ancestors."""

def synchronize(tensors: Sequence[Tensor], every: bool) -> list[Tensor]:
    """The tensors with the statistics of the whole batch in place of shards'.

    Those of layers that ask for it, or `every` batch's.
    """

def fingerprint() -> str:
    """Names the kernels: processes of one fingerprint compute the same bits."""

def set_read_hook(hook: Callable[[int | None], None] | None) -> None:
    """Set what is called before variables are read.

    It gets a variable's id before its value is copied, and None before a function runs.
    """

def set_num_threads(n: int) -> None: ...
def num_threads() -> int: ...
def isa() -> str: ...
