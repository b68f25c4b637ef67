//! Names of the operations, as the Python front and error messages spell them.

use crate::op::{BinaryOp, Combine, CumOp, Distribution, Extreme, Op, ReduceOp, UnaryOp};

impl UnaryOp {
    /// All functions of one element.
    pub const ALL: [UnaryOp; 25] = [
        UnaryOp::Neg,
        UnaryOp::Abs,
        UnaryOp::Sign,
        UnaryOp::Exp,
        UnaryOp::Expm1,
        UnaryOp::Log,
        UnaryOp::Log1p,
        UnaryOp::Sqrt,
        UnaryOp::Rsqrt,
        UnaryOp::Square,
        UnaryOp::Reciprocal,
        UnaryOp::Sin,
        UnaryOp::Cos,
        UnaryOp::Tan,
        UnaryOp::Tanh,
        UnaryOp::Sigmoid,
        UnaryOp::Relu,
        UnaryOp::Softplus,
        UnaryOp::Erf,
        UnaryOp::Floor,
        UnaryOp::Ceil,
        UnaryOp::Round,
        UnaryOp::Not,
        UnaryOp::IsNan,
        UnaryOp::IsFinite,
    ];

    /// The function's name.
    pub const fn name(self) -> &'static str {
        match self {
            UnaryOp::Neg => "neg",
            UnaryOp::Abs => "abs",
            UnaryOp::Sign => "sign",
            UnaryOp::Exp => "exp",
            UnaryOp::Expm1 => "expm1",
            UnaryOp::Log => "log",
            UnaryOp::Log1p => "log1p",
            UnaryOp::Sqrt => "sqrt",
            UnaryOp::Rsqrt => "rsqrt",
            UnaryOp::Square => "square",
            UnaryOp::Reciprocal => "reciprocal",
            UnaryOp::Sin => "sin",
            UnaryOp::Cos => "cos",
            UnaryOp::Tan => "tan",
            UnaryOp::Tanh => "tanh",
            UnaryOp::Sigmoid => "sigmoid",
            UnaryOp::Relu => "relu",
            UnaryOp::Softplus => "softplus",
            UnaryOp::Erf => "erf",
            UnaryOp::Floor => "floor",
            UnaryOp::Ceil => "ceil",
            UnaryOp::Round => "round",
            UnaryOp::Not => "not",
            UnaryOp::IsNan => "isnan",
            UnaryOp::IsFinite => "isfinite",
        }
    }

    /// The function called `name`.
    pub fn parse(name: &str) -> Option<UnaryOp> {
        Self::ALL.into_iter().find(|op| op.name() == name)
    }
}

impl BinaryOp {
    /// All functions of two elements.
    pub const ALL: [BinaryOp; 17] = [
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::FloorDiv,
        BinaryOp::Mod,
        BinaryOp::Pow,
        BinaryOp::Max,
        BinaryOp::Min,
        BinaryOp::Eq,
        BinaryOp::Ne,
        BinaryOp::Lt,
        BinaryOp::Le,
        BinaryOp::Gt,
        BinaryOp::Ge,
        BinaryOp::And,
        BinaryOp::Or,
    ];

    /// The function's name.
    pub const fn name(self) -> &'static str {
        match self {
            BinaryOp::Add => "add",
            BinaryOp::Sub => "sub",
            BinaryOp::Mul => "mul",
            BinaryOp::Div => "div",
            BinaryOp::FloorDiv => "floordiv",
            BinaryOp::Mod => "mod",
            BinaryOp::Pow => "pow",
            BinaryOp::Max => "max",
            BinaryOp::Min => "min",
            BinaryOp::Eq => "eq",
            BinaryOp::Ne => "ne",
            BinaryOp::Lt => "lt",
            BinaryOp::Le => "le",
            BinaryOp::Gt => "gt",
            BinaryOp::Ge => "ge",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
        }
    }

    /// The function called `name`.
    pub fn parse(name: &str) -> Option<BinaryOp> {
        Self::ALL.into_iter().find(|op| op.name() == name)
    }

    /// Whether the result is bool whatever the operands are.
    pub const fn is_comparison(self) -> bool {
        matches!(
            self,
            BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge
        )
    }
}

impl ReduceOp {
    /// All reductions.
    pub const ALL: [ReduceOp; 7] = [
        ReduceOp::Sum,
        ReduceOp::Mean,
        ReduceOp::Prod,
        ReduceOp::Max,
        ReduceOp::Min,
        ReduceOp::Any,
        ReduceOp::All,
    ];

    /// The reduction's name.
    pub const fn name(self) -> &'static str {
        match self {
            ReduceOp::Sum => "sum",
            ReduceOp::Mean => "mean",
            ReduceOp::Prod => "prod",
            ReduceOp::Max => "max",
            ReduceOp::Min => "min",
            ReduceOp::Any => "any",
            ReduceOp::All => "all",
        }
    }

    /// The reduction called `name`.
    pub fn parse(name: &str) -> Option<ReduceOp> {
        Self::ALL.into_iter().find(|op| op.name() == name)
    }
}

impl Op {
    /// The operation's name, without its attributes.
    pub const fn name(&self) -> &'static str {
        match self {
            Op::Placeholder => "placeholder",
            Op::Variable(_) => "variable",
            Op::Constant(_) => "constant",
            Op::LearningPhase => "learning_phase",
            Op::Unary(op) => op.name(),
            Op::Binary(op) => op.name(),
            Op::Select => "select",
            Op::Cast(_) => "cast",
            Op::SigmoidCrossEntropy => "sigmoid_cross_entropy",
            Op::Identity => "identity",
            Op::StopGradient => "stop_gradient",
            Op::Reduce { op, .. } => op.name(),
            Op::ArgReduce { op, .. } => match op {
                Extreme::Max => "argmax",
                Extreme::Min => "argmin",
            },
            Op::Cumulative { op, .. } => match op {
                CumOp::Sum => "cumsum",
                CumOp::Prod => "cumprod",
            },
            Op::Moments { .. } => "moments",
            Op::ShapeOf => "shape_of",
            Op::Reshape => "reshape",
            Op::BroadcastTo => "broadcast_to",
            Op::SumTo => "sum_to",
            Op::Transpose { .. } => "transpose",
            Op::Slice(_) => "slice",
            Op::SliceGrad(_) => "slice_grad",
            Op::Pad { .. } => "pad",
            Op::Concat { .. } => "concat",
            Op::ConcatGrad { .. } => "concat_grad",
            Op::Reverse { .. } => "reverse",
            Op::Gather { .. } => "gather",
            Op::ScatterAdd { .. } => "scatter_add",
            Op::Arange(_) => "arange",
            Op::MatMul { .. } => "matmul",
            Op::Conv(..) => "conv",
            Op::ConvGradInput(_) => "conv_grad_input",
            Op::ConvGradFilter(_) => "conv_grad_filter",
            Op::MaxPool(_) => "max_pool",
            Op::MaxPoolGrad(_) => "max_pool_grad",
            Op::AvgPool(_) => "avg_pool",
            Op::AvgPoolGrad(_) => "avg_pool_grad",
            Op::Softmax => "softmax",
            Op::LogSoftmax => "log_softmax",
            Op::SoftmaxCrossEntropy => "softmax_cross_entropy",
            Op::SparseSoftmaxCrossEntropy => "sparse_softmax_cross_entropy",
            Op::Rnn(_) => "rnn",
            Op::RnnGrad { .. } => "rnn_grad",
            Op::Scan(_) => "scan",
            Op::CtcBeamSearch { .. } => "ctc_beam_search",
            Op::Print { .. } => "print",
            Op::Random { dist, .. } => match dist {
                Distribution::Uniform => "random_uniform",
                Distribution::Normal => "random_normal",
                Distribution::TruncatedNormal => "random_truncated_normal",
                Distribution::Bernoulli(_) => "random_bernoulli",
            },
            Op::OverShards(over) => match over.combine {
                Combine::Mean => "mean_over_shards",
                Combine::Moments => "moments_over_shards",
            },
            Op::Fused(_) => "fused",
            Op::Sharded(inner) => inner.op.name(),
            Op::ShardSum(_) => "shard_sum",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for op in UnaryOp::ALL {
            assert_eq!(UnaryOp::parse(op.name()), Some(op));
        }
        for op in BinaryOp::ALL {
            assert_eq!(BinaryOp::parse(op.name()), Some(op));
        }
        for op in ReduceOp::ALL {
            assert_eq!(ReduceOp::parse(op.name()), Some(op));
        }
        assert_eq!(UnaryOp::parse("nope"), None);
    }
}
