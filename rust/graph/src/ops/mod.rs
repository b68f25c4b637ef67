//! Shape inference and gradients, one file a family of operations.
//!
//! Inference works on symbolic types and serves concrete ones as well. What an operation needs to
//! know of the *values* of its shape operands comes through [`operands::Operands`].

pub mod conv;
mod elementwise;
mod fused;
mod leaf;
mod linalg;
mod movement;
pub(crate) mod operands;
mod pool;
mod random;
pub(crate) mod reduce;
mod softmax;
pub(crate) mod values;

use crate::dtype::DType;
use crate::error::{GraphError, Result};
use crate::literal::Literal;
use crate::node::{Tensor, TensorType};
use crate::op::Op;
use crate::shape::{concrete, known};
use operands::{Inferred, Operands};

pub use values::shape_hint;

/// The output types of an operation on these operands.
///
/// # Errors
/// When the operands do not fit.
pub fn infer(op: &Op, inputs: &[Tensor], scope: Option<&str>) -> Result<Vec<TensorType>> {
    let types: Vec<TensorType> = inputs
        .iter()
        .map(|t| t.node.outputs[t.index].clone())
        .collect();
    let hints = |k: usize| values::values(&inputs[k]);
    let tensors = |k: usize| Some(inputs[k].key());
    infer_types(op, &Operands::new(&types, &hints, &tensors))
        .map_err(|message| operands_error(op, scope, message))
}

/// The output types of an operation on operands of concrete types. Operands that say a shape (and
/// those of [`Op::Arange`]) must be among `constants`.
///
/// # Errors
/// When the operands do not fit, or a needed constant is missing.
pub fn infer_concrete(
    op: &Op,
    inputs: &[(DType, &[usize])],
    constants: &[Option<&Literal>],
) -> Result<Vec<(DType, Vec<usize>)>> {
    let types: Vec<TensorType> = inputs
        .iter()
        .map(|&(dtype, dims)| TensorType {
            dtype,
            shape: known(dims),
        })
        .collect();
    let constant = |k: usize| constants.get(k).copied().flatten();
    let hints = |k: usize| constant(k).and_then(values::literal_values);
    let outputs = infer_types(op, &Operands::new(&types, &hints, &|_| None))
        .map_err(|message| operands_error(op, None, message))?;
    let complete = |t: TensorType| concrete(&t.shape).map(|shape| (t.dtype, shape));
    let outputs: Option<Vec<_>> = outputs.into_iter().map(complete).collect();
    outputs.ok_or_else(|| {
        let message = "its shape depends on values that are only known when it runs; compute \
                       shapes from constants and from shapes of other tensors";
        operands_error(op, None, message.to_string())
    })
}

fn operands_error(op: &Op, scope: Option<&str>, message: String) -> GraphError {
    GraphError::Operands {
        op: op.name().to_string(),
        scope: scope.map(str::to_string),
        message,
    }
}

/// The one table from operations to their inference.
fn infer_types(op: &Op, o: &Operands<'_>) -> Inferred {
    match op {
        Op::Placeholder | Op::Variable(_) => leaf::infer_given(o),
        Op::Constant(literal) => leaf::infer_constant(literal, o),
        Op::LearningPhase => leaf::infer_learning_phase(o),

        Op::Unary(op) => elementwise::infer_unary(*op, o),
        Op::Binary(op) => elementwise::infer_binary(*op, o),
        Op::Select => elementwise::infer_select(o),
        Op::Cast(dtype) => elementwise::infer_cast(*dtype, o),
        Op::SigmoidCrossEntropy => elementwise::infer_sigmoid_cross_entropy(o),
        Op::Identity | Op::StopGradient => elementwise::infer_same(o),

        Op::Reduce { op, axes, keepdims } => reduce::infer_reduce(*op, axes, *keepdims, o),
        Op::ArgReduce { op: _, axis } => reduce::infer_arg_reduce(*axis, o),
        Op::Cumulative { axis, .. } => reduce::infer_cumulative(*axis, o),
        Op::Moments { axes } => reduce::infer_moments(axes, o),

        Op::ShapeOf => movement::infer_shape_of(o),
        Op::Reshape => movement::infer_reshape(o),
        Op::BroadcastTo => movement::infer_broadcast_to(o),
        Op::SumTo => movement::infer_sum_to(o),
        Op::Transpose { perm } => movement::infer_transpose(perm, o),
        Op::Slice(ranges) => movement::infer_slice(ranges, o),
        Op::SliceGrad(ranges) => movement::infer_slice_grad(ranges, o),
        Op::Pad { cells, value: _ } => movement::infer_pad(cells, o),
        Op::Concat { axis } => movement::infer_concat(*axis, o),
        Op::ConcatGrad { axis, index } => movement::infer_concat_grad(*axis, *index, o),
        Op::Reverse { axes } => movement::infer_reverse(axes, o),
        Op::Gather { axis } => movement::infer_gather(*axis, o),
        Op::ScatterAdd { axis } => movement::infer_scatter_add(*axis, o),
        Op::Arange(dtype) => movement::infer_arange(*dtype, o),

        Op::MatMul {
            transpose_a,
            transpose_b,
            epilogue,
        } => linalg::infer_matmul(*transpose_a, *transpose_b, epilogue, o),
        Op::Conv(attrs, epilogue) => conv::infer_conv(attrs, epilogue, o),
        Op::ConvGradInput(attrs) => conv::infer_conv_grad_input(attrs, o),
        Op::ConvGradFilter(attrs) => conv::infer_conv_grad_filter(attrs, o),

        Op::MaxPool(attrs) => pool::infer_max_pool(attrs, o),
        Op::MaxPoolGrad(attrs) => pool::infer_max_pool_grad(attrs, o),
        Op::AvgPool(attrs) => pool::infer_avg_pool(attrs, o),
        Op::AvgPoolGrad(attrs) => pool::infer_avg_pool_grad(attrs, o),

        Op::Softmax | Op::LogSoftmax => softmax::infer_softmax(o),
        Op::SoftmaxCrossEntropy => softmax::infer_cross_entropy(o),
        Op::SparseSoftmaxCrossEntropy => softmax::infer_sparse_cross_entropy(o),

        Op::Random { dist, dtype, .. } => random::infer_random(*dist, *dtype, o),
        Op::Fused(region) => fused::infer_fused(region, o),
    }
}

#[cfg(test)]
mod tests;
