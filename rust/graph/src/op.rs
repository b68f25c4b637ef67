//! The operation enum: every primitive with its typed attributes.
//!
//! Few primitives, many composites: what can be written with these at no cost is written so, in
//! Python's backend or in a gradient. A shape that an operation needs but that is not one of its
//! operands' (the target of a broadcast, the input of a convolution whose gradient is taken) is an
//! operand of its own: an `int64` vector, usually [`Op::ShapeOf`] something, which is a constant
//! by the time a plan is made.

mod shards;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::literal::Literal;
use crate::node::Tensor;
use crate::program::Program;
pub use shards::{Combine, MomentsOf, OverShards, ShardSum, Sharded};

/// Identity of a variable.
pub type VarId = u64;

/// Functions of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum UnaryOp {
    Neg,
    Abs,
    Sign,
    Exp,
    Expm1,
    Log,
    Log1p,
    Sqrt,
    Rsqrt,
    Square,
    Reciprocal,
    Sin,
    Cos,
    Tan,
    Tanh,
    Sigmoid,
    Relu,
    Softplus,
    Erf,
    Floor,
    Ceil,
    /// Half to even.
    Round,
    Not,
    IsNan,
    IsFinite,
}

/// Functions of two elements of one type; comparisons give bool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    /// Rounds toward minus infinity.
    FloorDiv,
    /// Has the sign of the divisor, as Python's `%`.
    Mod,
    Pow,
    Max,
    Min,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
}

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ReduceOp {
    Sum,
    Mean,
    Prod,
    Max,
    Min,
    Any,
    All,
}

/// Which of two extremes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Extreme {
    Max,
    Min,
}

/// What is accumulated along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CumOp {
    Sum,
    Prod,
}

/// Padding of a convolution or pooling window.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Padding {
    /// No padding: windows lie inside the input.
    Valid,
    /// TensorFlow's SAME: `ceil(n / stride)` outputs, the odd cell of padding at the end.
    Same,
    /// Explicit cells before and after, for each spatial axis.
    Explicit(Vec<(usize, usize)>),
}

/// Attributes of a convolution over channels-last tensors.
///
/// Input `(n, spatial.., ci)`, kernel `(spatial.., ci / groups, co)`, output `(n, spatial.., co)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvAttrs {
    /// Stride of each spatial axis.
    pub strides: Vec<usize>,
    /// Padding.
    pub padding: Padding,
    /// Dilation of each spatial axis.
    pub dilation: Vec<usize>,
    /// Groups of channels that are convolved apart (`ci` groups: depthwise).
    pub groups: usize,
}

/// Attributes of a pooling over channels-last tensors `(n, spatial.., c)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PoolAttrs {
    /// Window of each spatial axis.
    pub size: Vec<usize>,
    /// Stride of each spatial axis.
    pub strides: Vec<usize>,
    /// Padding; padded cells count neither in a maximum nor in an average.
    pub padding: Padding,
}

/// A part of one axis, with Python's meaning of `start:stop:step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SliceAxis {
    /// First index; negative counts from the end; `None` is the natural end.
    pub start: Option<i64>,
    /// Index to stop before.
    pub stop: Option<i64>,
    /// Step, not 0.
    pub step: i64,
}

/// The distribution of a random tensor; parameters in `f64` bits so that they hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Distribution {
    /// Uniform on [0, 1).
    Uniform,
    /// Standard normal.
    Normal,
    /// Standard normal, cut at two standard deviations (redrawn).
    TruncatedNormal,
    /// 1 with the probability whose `f64::to_bits` is given, else 0.
    Bernoulli(u64),
}

/// What is applied to the accumulators of a matrix product or convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Epilogue {
    /// A bias over the last axis is added; it is the last operand.
    pub bias: bool,
    /// Activation applied last.
    pub activation: Option<EpilogueActivation>,
}

/// Activations that an epilogue can apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum EpilogueActivation {
    Relu,
    Sigmoid,
    Tanh,
}

/// The kind of a fused recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RnnCell {
    /// `h' = act(x + h U)`.
    Simple,
    /// Gated recurrent unit, gates z, r, h.
    Gru {
        /// Whether the reset gate is applied after the recurrent product, which then has a bias.
        reset_after: bool,
    },
    /// Long short-term memory, gates i, f, c, o.
    Lstm,
}

impl RnnCell {
    /// Number of gates.
    pub const fn gates(self) -> usize {
        match self {
            RnnCell::Simple => 1,
            RnnCell::Gru { .. } => 3,
            RnnCell::Lstm => 4,
        }
    }

    /// Blocks of columns that the forward pass keeps for the backward pass.
    pub const fn kept(self) -> usize {
        match self {
            RnnCell::Simple => 1,
            RnnCell::Gru { reset_after: false } => 3,
            RnnCell::Gru { reset_after: true } | RnnCell::Lstm => 4,
        }
    }
}

/// Activations of a fused recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum RnnActivation {
    Linear,
    Relu,
    Tanh,
    Sigmoid,
    /// `clip(0.2 x + 0.5, 0, 1)`.
    HardSigmoid,
}

/// Attributes of a fused recurrence over `[batch, steps, gates * units]` projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RnnAttrs {
    /// The recurrence.
    pub cell: RnnCell,
    /// Activation of candidate and output.
    pub activation: RnnActivation,
    /// Activation of the gates.
    pub gate_activation: RnnActivation,
    /// Whether step s reads time `steps - 1 - s`; outputs are in the order of the steps.
    pub reverse: bool,
    /// Whether there is a mask operand.
    pub mask: bool,
    /// Whether there is an operand with factors of the recurrent state.
    pub dropout: bool,
}

/// A primitive operation. Operands are listed in the order of a node's inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    // Leaves.
    /// An input of a function.
    Placeholder,
    /// The value of a variable before the function's updates.
    Variable(VarId),
    /// A constant.
    Constant(Literal),
    /// A bool scalar: training (true) or inference; a constant in every plan.
    LearningPhase,

    // Elementwise, with broadcasting.
    /// `f(x)`.
    Unary(UnaryOp),
    /// `f(x, y)`.
    Binary(BinaryOp),
    /// `(condition, x, y)`: x where the condition holds, else y.
    Select,
    /// Conversion; float to integer truncates.
    Cast(DType),
    /// `(logits, targets)`: binary cross-entropy of `sigmoid(logits)`, in the stable form.
    SigmoidCrossEntropy,
    /// The same value; a name of its own.
    Identity,
    /// The same value, through which no gradient flows.
    StopGradient,

    // Reductions.
    /// Over `axes` (sorted, not negative).
    Reduce {
        /// What is computed.
        op: ReduceOp,
        /// The axes reduced.
        axes: Vec<usize>,
        /// Whether they stay, with size 1.
        keepdims: bool,
    },
    /// Index (`int64`) of the first extreme along an axis, which is dropped.
    ArgReduce {
        /// Maximum or minimum.
        op: Extreme,
        /// The axis.
        axis: usize,
    },
    /// Running sum or product along an axis.
    Cumulative {
        /// Sum or product.
        op: CumOp,
        /// The axis.
        axis: usize,
        /// Whether an element itself is left out of its own result.
        exclusive: bool,
        /// Whether it runs from the end.
        reverse: bool,
    },
    /// Two outputs: mean and biased variance over `axes`, which are dropped.
    Moments {
        /// The axes reduced.
        axes: Vec<usize>,
        /// Whose statistics they are.
        of: MomentsOf,
    },

    // Shape and movement.
    /// The shape as an `int64` vector.
    ShapeOf,
    /// `(x, shape)`; one size may be -1.
    Reshape,
    /// `(x, shape)`: NumPy's broadcast_to.
    BroadcastTo,
    /// `(x, shape)`: the sum over what a broadcast from `shape` to x's shape repeated.
    SumTo,
    /// Axis i of the result is axis `perm[i]` of x.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// One range for each axis.
    Slice(Vec<SliceAxis>),
    /// `(dy, shape of x)`: zeros of that shape with dy in the slice's place.
    SliceGrad(Vec<SliceAxis>),
    /// Constant cells before and after each axis.
    Pad {
        /// Cells before and after, for each axis.
        cells: Vec<(usize, usize)>,
        /// `f64::to_bits` of the constant.
        value: u64,
    },
    /// All operands, one after the other along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// `(dy, shape of operand 0, ..)`: the part of dy that came from operand `index`.
    ConcatGrad {
        /// The axis.
        axis: usize,
        /// Which operand.
        index: usize,
    },
    /// Reversed order along axes.
    Reverse {
        /// The axes.
        axes: Vec<usize>,
    },
    /// `(x, indices)`: x's slices along an axis; the axis is replaced by the shape of indices.
    Gather {
        /// The axis.
        axis: usize,
    },
    /// `(indices, dy, shape of x)`: zeros of that shape, dy's slices added at the indices.
    ScatterAdd {
        /// The axis.
        axis: usize,
    },
    /// `(start, stop, step)` scalars: a vector, as NumPy's arange.
    Arange(DType),

    // Linear algebra.
    /// `(x, y[, bias])`: product over the last two axes, the leading ones broadcast.
    MatMul {
        /// Use x's last two axes swapped.
        transpose_a: bool,
        /// Use y's last two axes swapped.
        transpose_b: bool,
        /// Added by fusion.
        epilogue: Epilogue,
    },
    /// `(x, kernel[, bias])`.
    Conv(ConvAttrs, Epilogue),
    /// `(dy, kernel, shape of x)`: gradient to x; also the transposed convolution.
    ConvGradInput(ConvAttrs),
    /// `(x, dy, shape of kernel)`: gradient to the kernel.
    ConvGradFilter(ConvAttrs),

    // Pooling.
    /// Two outputs: the maximum of each window, and the place of the maximum in the window
    /// (`int32`, row-major within the window).
    MaxPool(PoolAttrs),
    /// `(dy, place, shape of x)`.
    MaxPoolGrad(PoolAttrs),
    /// The average of the cells of each window that lie in the input.
    AvgPool(PoolAttrs),
    /// `(dy, shape of x)`.
    AvgPoolGrad(PoolAttrs),

    // Along the last axis.
    /// Softmax over the last axis.
    Softmax,
    /// Its logarithm.
    LogSoftmax,
    /// `(logits, targets)`: for each row `-sum(targets * log_softmax(logits))`.
    SoftmaxCrossEntropy,
    /// `(logits, labels)`: the same with integer labels; a label out of range is an error.
    SparseSoftmaxCrossEntropy,

    // Recurrence.
    /// `(projection, kernel, h0[, c0][, bias][, mask][, dropout])`: c0 for the LSTM, the bias for
    /// the GRU with `reset_after`, the mask bool `[batch, steps]`, dropout `[gates, batch, units]`.
    /// Outputs `(h of all steps, kept for the gradient[, c of all steps, last c])`; what is only
    /// for the gradient is `[steps, batch, ..]`.
    Rnn(RnnAttrs),
    /// `(the operands and first outputs of Rnn: h, kept[, c], then dh[, gradient to the last c])`.
    /// Outputs: gradients to `(projection, kernel, h0[, c0][, bias])`.
    RnnGrad {
        /// The recurrence's attributes.
        attrs: RnnAttrs,
        /// Into how many equal parts the batch is cut for the sums over it: with more than one, the
        /// gradients to kernel and bias have an axis of parts in front.
        parts: usize,
    },
    /// `(sequences.., states.., captured..)`: a sub-graph run for each index of axis 0 of the
    /// sequences. Outputs: the sub-graph's outputs for all steps, the final states, and the states
    /// before each step.
    Scan(Scan),

    /// `(log-probabilities [samples, steps, classes], int64 lengths [samples])`: the likeliest
    /// labellings of a connectionist temporal classifier, whose last class is the blank. Outputs:
    /// `int64` labels `[samples, top_paths, steps]`, filled up with -1, and the logarithms of their
    /// probabilities `[samples, top_paths]`.
    CtcBeamSearch {
        /// Labellings kept at each step.
        beam_width: usize,
        /// Labellings returned.
        top_paths: usize,
    },

    // With an effect.
    /// The same value, shown each time that it is computed.
    Print {
        /// What is shown before the value.
        message: String,
        /// Two nodes are never one unless they share a key.
        key: u64,
    },

    // Random numbers.
    /// `(shape)`: a random tensor. Two nodes never share numbers unless they share a key.
    Random {
        /// The distribution.
        dist: Distribution,
        /// Element type (Bernoulli: bool or a number type holding 0 and 1).
        dtype: DType,
        /// The operation's key.
        key: u64,
    },

    // Between the shards of a batch.
    /// A vector of each shard, several as the operands, combined over all shards of the batch, which
    /// all get the same results.
    OverShards(OverShards),

    // Made by passes only.
    /// A fused chain of elementwise operations, with reductions at its end.
    Fused(Box<FusedRegion>),
    /// An operation that runs once for each shard of a batch.
    Sharded(Box<Sharded>),
    /// `(x)`: sums over the shards, axis 0 of x, along their tree.
    ShardSum(ShardSum),
}

/// A sub-graph that is run step by step, compiled once its operands' shapes are known.
#[derive(Clone)]
pub struct Scan {
    /// The sub-graph.
    pub body: Arc<ScanBody>,
    /// The program of a step, once shapes are known.
    pub step: Option<Arc<Program>>,
}

/// What a scan runs at each step.
pub struct ScanBody {
    /// Identity.
    pub id: u64,
    /// Placeholders of the sequences' slices.
    pub slices: Vec<Tensor>,
    /// Placeholders of the states.
    pub states: Vec<Tensor>,
    /// Tensors of the graph around that the sub-graph reads.
    pub captured: Vec<Tensor>,
    /// Results of a step.
    pub outputs: Vec<Tensor>,
    /// The states after it.
    pub next: Vec<Tensor>,
    /// Whether steps go from the last index to the first. Results lie at the index of their step.
    pub reverse: bool,
}

impl PartialEq for Scan {
    fn eq(&self, other: &Scan) -> bool {
        self.body.id == other.body.id
    }
}
impl Eq for Scan {}
impl std::hash::Hash for Scan {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.body.id.hash(state);
    }
}
impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scan({})", self.body.id)
    }
}

/// A fused elementwise region: a straight-line program over the elements of one iteration space.
///
/// Operand k of the node is value k; instruction i defines value `inputs + i`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FusedRegion {
    /// Sizes of the iteration space; every operand broadcasts to it.
    pub space: Vec<usize>,
    /// Number of operands.
    pub inputs: usize,
    /// The instructions, in order.
    pub insts: Vec<FusedInst>,
    /// The values that are written out whole, in the order of the node's first outputs.
    pub outputs: Vec<usize>,
    /// Reductions of values, in the order of the node's remaining outputs.
    pub reductions: Vec<FusedReduction>,
    /// Whether what is written is not read again soon, and should not take the place of what is.
    pub streams: bool,
}

/// One instruction of a fused region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FusedInst {
    /// The operation.
    pub op: FusedOp,
    /// The values it reads.
    pub args: Vec<usize>,
    /// The type of the result.
    pub dtype: DType,
}

/// The operations of a fused region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "they are the elementwise operations of the graph"
)]
pub enum FusedOp {
    Unary(UnaryOp),
    Binary(BinaryOp),
    Select,
    Cast,
    /// A scalar constant of the instruction's type (`f64::to_bits`).
    Const(u64),
}

/// A reduction at the end of a fused region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FusedReduction {
    /// Sum, Mean, Max, Min or Prod.
    pub op: ReduceOp,
    /// The value reduced.
    pub value: usize,
    /// The part of the space reduced.
    pub over: ReduceOver,
}

/// Which axes of a region's space a reduction goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReduceOver {
    /// All of them: a scalar.
    All,
    /// The last `n`: a value for each row.
    Inner(usize),
    /// The first `n`: a value for each column.
    Outer(usize),
}
