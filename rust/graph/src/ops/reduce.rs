//! Reductions: sums, means, extremes, moments, and running sums.

use crate::dtype::DType;
use crate::node::TensorType;
use crate::op::ReduceOp;
use crate::ops::operands::{Inferred, Operands, one};
use crate::shape::{Dim, Shape};

/// The shape that is left when `axes` are reduced.
pub(crate) fn reduced(shape: &[Dim], axes: &[usize], keepdims: bool) -> Shape {
    shape
        .iter()
        .enumerate()
        .filter_map(|(i, &d)| match (axes.contains(&i), keepdims) {
            (true, true) => Some(Some(1)),
            (true, false) => None,
            (false, _) => Some(d),
        })
        .collect()
}

fn check_axes(axes: &[usize], o: &Operands<'_>) -> Result<(), String> {
    if !axes.is_sorted_by(|a, b| a < b) {
        return Err(format!(
            "axes must be sorted and given once each, got {axes:?}"
        ));
    }
    axes.iter().try_for_each(|&a| o.axis(0, a))
}

pub(super) fn infer_reduce(
    op: ReduceOp,
    axes: &[usize],
    keepdims: bool,
    o: &Operands<'_>,
) -> Inferred {
    o.count(1)?;
    check_axes(axes, o)?;
    let dtype = match op {
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min => {
            o.number(0, "the operand")?
        }
        ReduceOp::Mean => o.float(0, "the operand")?,
        ReduceOp::Any | ReduceOp::All => {
            o.boolean(0, "the operand")?;
            DType::Bool
        }
    };
    if matches!(op, ReduceOp::Max | ReduceOp::Min) && axes.iter().any(|&a| o.shape(0)[a] == Some(0))
    {
        return Err(format!(
            "there is no extreme over an axis of size 0, got shape {} and axes {axes:?}",
            o.show(0)
        ));
    }
    one(dtype, reduced(o.shape(0), axes, keepdims))
}

pub(super) fn infer_arg_reduce(axis: usize, o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    o.number(0, "the operand")?;
    o.axis(0, axis)?;
    if o.shape(0)[axis] == Some(0) {
        return Err(format!(
            "there is no extreme along axis {axis}, which has size 0 in shape {}",
            o.show(0)
        ));
    }
    one(DType::I64, reduced(o.shape(0), &[axis], false))
}

pub(super) fn infer_cumulative(axis: usize, o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    let dtype = o.number(0, "the operand")?;
    o.axis(0, axis)?;
    one(dtype, o.shape(0).to_vec())
}

pub(super) fn infer_moments(axes: &[usize], o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    check_axes(axes, o)?;
    let dtype = o.float(0, "the operand")?;
    let shape = reduced(o.shape(0), axes, false);
    let moment = TensorType { dtype, shape };
    Ok(vec![moment.clone(), moment])
}
