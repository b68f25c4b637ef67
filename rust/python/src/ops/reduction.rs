//! Reductions, running sums and statistics over axes.

use hornbeam_graph::op::{CumOp, Extreme, MomentsOf, ReduceOp};
use hornbeam_graph::{Op, Tensor};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{Built, T, axes_of, axis_of, build, node, unknown};
use crate::tensor::PyTensor;

/// A reduction over axes.
#[pyfunction]
#[pyo3(signature = (op, x, axes = None, keepdims = false))]
pub(crate) fn reduce(op: &str, x: &T<'_>, axes: Option<Vec<i64>>, keepdims: bool) -> Built {
    let kind = match op {
        "sum" => ReduceOp::Sum,
        "mean" => ReduceOp::Mean,
        "prod" => ReduceOp::Prod,
        "max" => ReduceOp::Max,
        "min" => ReduceOp::Min,
        "any" => ReduceOp::Any,
        "all" => ReduceOp::All,
        _ => return Err(unknown("reduction", op)),
    };
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

/// Mean and biased variance, in training on shards of the operand, the batch or the whole batch.
#[pyfunction]
#[pyo3(signature = (x, axes, of = "operand"))]
pub(crate) fn moments(x: &T<'_>, axes: Vec<i64>, of: &str) -> PyResult<(PyTensor, PyTensor)> {
    let axes = axes_of(Some(axes), x.get().tensor.rank())?;
    let of = match of {
        "operand" => MomentsOf::Operand,
        "batch" => MomentsOf::Batch,
        "whole_batch" => MomentsOf::WholeBatch,
        _ => {
            return Err(PyValueError::new_err(format!(
                "of must be 'operand', 'batch' or 'whole_batch', got {of:?}"
            )));
        }
    };
    let mean = node(Op::Moments { axes, of }, vec![x.get().tensor.clone()])?;
    let variance = Tensor {
        node: mean.node.clone(),
        index: 1,
    };
    Ok((mean.into(), variance.into()))
}
