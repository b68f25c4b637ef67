//! Shape inference and gradients, one file a family of operations.
//!
//! Inference works on symbolic types and serves concrete ones as well. What an operation needs to
//! know of the *values* of its shape operands comes through [`operands::Operands`].

mod backward;
pub mod conv;
mod ctc;
mod elementwise;
mod fused;
mod indexing;
mod leaf;
mod linalg;
pub(crate) mod movement;
pub(crate) mod operands;
mod over_shards;
mod pool;
mod random;
mod recurrent;
pub(crate) mod reduce;
mod sample;
pub mod scan;
mod sharded;
mod softmax;
pub(crate) mod values;

use std::sync::Arc;

use crate::dtype::DType;
use crate::error::{GraphError, Result};
use crate::literal::Literal;
use crate::node::{Node, Tensor, TensorType};
use crate::op::{Epilogue, Op};
use crate::shape::{concrete, known};
use backward::{Backward, Grads};
use operands::{Inferred, Operands};

pub(crate) use recurrent::places as rnn_places;
pub use sample::{Sample, SampleInput, Values};
pub use values::shape_hint;

/// Example calls of every operation but leaves and what fusion makes: empty, size-1, broadcast and
/// typical operands.
pub fn samples() -> Vec<Sample> {
    let families: [fn() -> Vec<Sample>; 8] = [
        elementwise::samples,
        reduce::samples,
        movement::samples,
        indexing::samples,
        linalg::samples,
        conv::samples,
        pool::samples,
        softmax::samples,
    ];
    let all = families.into_iter().flat_map(|family| family());
    all.chain(random::samples())
        .chain(recurrent::samples())
        .chain(ctc::samples())
        .chain(over_shards::samples())
        .collect()
}

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
        Op::Identity | Op::StopGradient | Op::Print { .. } => elementwise::infer_same(o),

        Op::Reduce { op, axes, keepdims } => reduce::infer_reduce(*op, axes, *keepdims, o),
        Op::ArgReduce { op: _, axis } => reduce::infer_arg_reduce(*axis, o),
        Op::Cumulative { axis, .. } => reduce::infer_cumulative(*axis, o),
        Op::Moments { axes, .. } => reduce::infer_moments(axes, o),

        Op::ShapeOf => movement::infer_shape_of(o),
        Op::Reshape => movement::infer_reshape(o),
        Op::BroadcastTo => movement::infer_broadcast_to(o),
        Op::SumTo => movement::infer_sum_to(o),
        Op::Transpose { perm } => movement::infer_transpose(perm, o),
        Op::Slice(ranges) => indexing::infer_slice(ranges, o),
        Op::SliceGrad(ranges) => indexing::infer_slice_grad(ranges, o),
        Op::Pad { cells, value: _ } => indexing::infer_pad(cells, o),
        Op::Concat { axis } => indexing::infer_concat(*axis, o),
        Op::ConcatGrad { axis, index } => indexing::infer_concat_grad(*axis, *index, o),
        Op::Reverse { axes } => indexing::infer_reverse(axes, o),
        Op::Gather { axis } => indexing::infer_gather(*axis, o),
        Op::ScatterAdd { axis } => indexing::infer_scatter_add(*axis, o),
        Op::Arange(dtype) => indexing::infer_arange(*dtype, o),

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

        Op::Rnn(attrs) => recurrent::infer_rnn(attrs, o),
        Op::RnnGrad { attrs, parts } => recurrent::infer_rnn_grad(attrs, *parts, o),
        Op::Scan(scan) => scan::infer_scan(scan, o),
        Op::CtcBeamSearch {
            beam_width,
            top_paths,
        } => ctc::infer_beam_search(*beam_width, *top_paths, o),
        Op::Random { dist, dtype, .. } => random::infer_random(*dist, *dtype, o),
        Op::Fused(region) => fused::infer_fused(region, o),
        Op::Sharded(inner) => sharded::infer_sharded(inner, o),
        Op::ShardSum(sum) => sharded::infer_sum(sum, o),
        Op::OverShards(over) => over_shards::infer(over, o),
    }
}

/// The gradients to a node's operands, as graph nodes, from those to its outputs. An operand that
/// does not need one, or through which nothing flows, gets `None`.
///
/// # Errors
/// When the operation has no gradient.
pub fn gradient(
    node: &Arc<Node>,
    grads: &[Option<Tensor>],
    needs: &[bool],
) -> Result<Vec<Option<Tensor>>> {
    debug_assert_eq!(
        (grads.len(), needs.len()),
        (node.outputs.len(), node.inputs.len())
    );
    let g = Backward::new(node, grads, needs);
    let grads = gradients_of(&g)?;
    debug_assert!(
        grads
            .iter()
            .zip(&node.inputs)
            .all(|(d, x)| d
                .as_ref()
                .is_none_or(|d| (d.dtype(), d.rank()) == (x.dtype(), x.rank()))),
        "a gradient of {} has another type or rank than its operand",
        node.op.name()
    );
    Ok(grads)
}

/// The one table from operations to their gradients.
fn gradients_of(g: &Backward<'_>) -> Grads {
    match &g.node.op {
        Op::Placeholder | Op::Variable(_) | Op::Constant(_) | Op::LearningPhase => Ok(g.none()),
        Op::StopGradient | Op::ArgReduce { .. } | Op::ShapeOf | Op::Arange(_) => Ok(g.none()),
        Op::Random { .. } | Op::CtcBeamSearch { .. } => Ok(g.none()),

        Op::Unary(op) if elementwise::is_flat(*op) => Ok(g.none()),
        Op::Unary(op) => elementwise::grad_unary(*op, g),
        Op::Binary(op) => elementwise::grad_binary(*op, g),
        Op::Select => elementwise::grad_select(g),
        Op::Cast(_) => elementwise::grad_cast(g),
        Op::SigmoidCrossEntropy => elementwise::grad_sigmoid_cross_entropy(g),
        Op::Identity | Op::Print { .. } => elementwise::grad_identity(g),

        Op::Reduce { op, axes, keepdims } => reduce::grad_reduce(*op, axes, *keepdims, g),
        Op::Cumulative {
            op,
            axis,
            exclusive,
            reverse,
        } => reduce::grad_cumulative(*op, *axis, *exclusive, *reverse, g),
        Op::Moments { axes, .. } => reduce::grad_moments(axes, g),

        Op::Reshape => movement::grad_reshape(g),
        Op::BroadcastTo => movement::grad_broadcast_to(g),
        Op::SumTo => movement::grad_sum_to(g),
        Op::Transpose { perm } => movement::grad_transpose(perm, g),
        Op::Slice(ranges) => indexing::grad_slice(ranges, g),
        Op::SliceGrad(ranges) => indexing::grad_slice_grad(ranges, g),
        Op::Pad { cells, value: _ } => indexing::grad_pad(cells, g),
        Op::Concat { axis } => indexing::grad_concat(*axis, g),
        Op::ConcatGrad { axis, index } => indexing::grad_concat_grad(*axis, *index, g),
        Op::Reverse { axes } => indexing::grad_reverse(axes, g),
        Op::Gather { axis } => indexing::grad_gather(*axis, g),
        Op::ScatterAdd { axis } => indexing::grad_scatter_add(*axis, g),

        Op::MatMul {
            transpose_a,
            transpose_b,
            epilogue,
        } if *epilogue == Epilogue::default() => linalg::grad_matmul(*transpose_a, *transpose_b, g),
        Op::Conv(attrs, epilogue) if *epilogue == Epilogue::default() => conv::grad_conv(attrs, g),
        Op::MatMul { .. } | Op::Conv(..) | Op::Fused(_) => {
            Err(g.unsupported(": it is made by fusion, after differentiation"))
        }
        Op::Sharded(_) | Op::ShardSum(_) => {
            Err(g.unsupported(": it is made for shards, after differentiation"))
        }
        Op::OverShards(over) => over_shards::grad(over, g),
        Op::ConvGradInput(attrs) => conv::grad_conv_grad_input(attrs, g),
        Op::ConvGradFilter(attrs) => conv::grad_conv_grad_filter(attrs, g),

        Op::MaxPool(attrs) => pool::grad_max_pool(attrs, g),
        Op::MaxPoolGrad(_) => pool::grad_max_pool_grad(g),
        Op::AvgPool(attrs) => pool::grad_avg_pool(attrs, g),
        Op::AvgPoolGrad(attrs) => pool::grad_avg_pool_grad(attrs, g),

        Op::Rnn(attrs) => recurrent::grad_rnn(attrs, g),
        Op::RnnGrad { .. } => Err(g.unsupported(": use a recurrent layer with unroll=True")),
        Op::Scan(scan) => scan::grad_scan(scan, g),

        Op::Softmax => softmax::grad_softmax(g),
        Op::LogSoftmax => softmax::grad_log_softmax(g),
        Op::SoftmaxCrossEntropy => softmax::grad_cross_entropy(g),
        Op::SparseSoftmaxCrossEntropy => softmax::grad_sparse_cross_entropy(g),
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod sweep;
