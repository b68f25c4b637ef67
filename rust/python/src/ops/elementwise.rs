//! Elementwise operations, reductions and what goes along the last axis.

use hornbeam_graph::op::{BinaryOp, CumOp, Extreme, ReduceOp, UnaryOp};
use hornbeam_graph::{Op, Tensor};
use pyo3::prelude::*;

use super::{Built, T, axes_of, axis_of, build, dtype_named, node, unknown};
use crate::tensor::{PyTensor, cast_to};

/// A function of one element.
#[pyfunction]
pub(crate) fn unary(op: &str, x: &T<'_>) -> Built {
    build(
        Op::Unary(UnaryOp::parse(op).ok_or_else(|| unknown("unary operation", op))?),
        &[x],
    )
}

/// A function of two elements.
#[pyfunction]
pub(crate) fn binary(op: &str, x: &T<'_>, y: &T<'_>) -> Built {
    build(
        Op::Binary(BinaryOp::parse(op).ok_or_else(|| unknown("binary operation", op))?),
        &[x, y],
    )
}

/// x where the condition holds, else y.
#[pyfunction]
pub(crate) fn select(condition: &T<'_>, x: &T<'_>, y: &T<'_>) -> Built {
    build(Op::Select, &[condition, x, y])
}

/// Conversion to another type.
#[pyfunction]
pub(crate) fn cast(x: &T<'_>, dtype: &str) -> Built {
    Ok(cast_to(&x.get().tensor, dtype_named(dtype)?)?.into())
}

/// The same value.
#[pyfunction]
pub(crate) fn identity(x: &T<'_>) -> Built {
    build(Op::Identity, &[x])
}

/// The same value, through which no gradient flows.
#[pyfunction]
pub(crate) fn stop_gradient(x: &T<'_>) -> Built {
    build(Op::StopGradient, &[x])
}

/// A reduction over axes.
#[pyfunction]
#[pyo3(signature = (op, x, axes = None, keepdims = false))]
pub(crate) fn reduce(op: &str, x: &T<'_>, axes: Option<Vec<i64>>, keepdims: bool) -> Built {
    let kind = ReduceOp::parse(op).ok_or_else(|| unknown("reduction", op))?;
    let axes = axes_of(axes, x.get().tensor.rank())?;
    build(
        Op::Reduce {
            op: kind,
            axes,
            keepdims,
        },
        &[x],
    )
}

/// Index of the first extreme along an axis.
#[pyfunction]
pub(crate) fn arg_reduce(op: &str, x: &T<'_>, axis: i64) -> Built {
    let kind = match op {
        "max" => Extreme::Max,
        "min" => Extreme::Min,
        _ => return Err(unknown("extreme", op)),
    };
    build(
        Op::ArgReduce {
            op: kind,
            axis: axis_of(axis, x.get().tensor.rank())?,
        },
        &[x],
    )
}

/// Running sum or product.
#[pyfunction]
#[pyo3(signature = (op, x, axis, exclusive = false, reverse = false))]
pub(crate) fn cumulative(op: &str, x: &T<'_>, axis: i64, exclusive: bool, reverse: bool) -> Built {
    let kind = match op {
        "sum" => CumOp::Sum,
        "prod" => CumOp::Prod,
        _ => return Err(unknown("cumulative operation", op)),
    };
    let axis = axis_of(axis, x.get().tensor.rank())?;
    build(
        Op::Cumulative {
            op: kind,
            axis,
            exclusive,
            reverse,
        },
        &[x],
    )
}

/// Mean and biased variance.
#[pyfunction]
pub(crate) fn moments(x: &T<'_>, axes: Vec<i64>) -> PyResult<(PyTensor, PyTensor)> {
    let axes = axes_of(Some(axes), x.get().tensor.rank())?;
    let mean = node(Op::Moments { axes }, vec![x.get().tensor.clone()])?;
    let variance = Tensor {
        node: mean.node.clone(),
        index: 1,
    };
    Ok((mean.into(), variance.into()))
}

/// Softmax over the last axis.
#[pyfunction]
pub(crate) fn softmax(x: &T<'_>) -> Built {
    build(Op::Softmax, &[x])
}

/// Its logarithm.
#[pyfunction]
pub(crate) fn log_softmax(x: &T<'_>) -> Built {
    build(Op::LogSoftmax, &[x])
}

/// Cross-entropy of softmax(logits) for each row.
#[pyfunction]
pub(crate) fn softmax_cross_entropy(logits: &T<'_>, targets: &T<'_>) -> Built {
    build(Op::SoftmaxCrossEntropy, &[logits, targets])
}

/// The same with integer labels.
#[pyfunction]
pub(crate) fn sparse_softmax_cross_entropy(logits: &T<'_>, labels: &T<'_>) -> Built {
    build(Op::SparseSoftmaxCrossEntropy, &[logits, labels])
}

/// Binary cross-entropy of sigmoid(logits).
#[pyfunction]
pub(crate) fn sigmoid_cross_entropy(logits: &T<'_>, targets: &T<'_>) -> Built {
    build(Op::SigmoidCrossEntropy, &[logits, targets])
}
