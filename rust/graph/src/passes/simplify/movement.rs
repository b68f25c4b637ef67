//! Rules for reductions, shapes and matrix products.

use super::pool::sum_before_unpooling;
use super::transpose::{reduced_axes, sink_axes, transposed};
use super::{New, Site, build};
use crate::error::Result;
use crate::op::{Epilogue, Op, ReduceOp, UnaryOp};
use crate::ops::reduce::reduced;
use crate::passes::emit::Emitter;
use crate::program::ValueId;
use crate::shape::known;

/// The operand in the result's shape, its elements in the same order.
pub(super) fn reshaped(e: &mut Emitter, site: &Site<'_>, v: ValueId) -> New {
    if e.shape(v) == site.ty.1 {
        return New::Value(v);
    }
    let shape = e.sizes(&site.ty.1);
    New::Op(Op::Reshape, vec![v, shape])
}

/// Only axes larger than 1 are reduced, and they are dropped; a reshape puts back what was kept.
pub(super) fn reduce(
    e: &mut Emitter,
    site: &Site<'_>,
    op: ReduceOp,
    axes: &[usize],
    keepdims: bool,
) -> Result<Option<New>> {
    let x = site.inputs[0];
    let shape = e.shape(x).to_vec();
    let real: Vec<usize> = axes.iter().copied().filter(|&a| shape[a] != 1).collect();
    if real.is_empty() {
        return Ok(Some(reshaped(e, site, x)));
    }
    if keepdims || real.len() < axes.len() {
        let plain = Op::Reduce {
            op,
            axes: real,
            keepdims: false,
        };
        let value = build(e, plain, vec![x], site.scope)?;
        return Ok(Some(reshaped(e, site, value)));
    }
    if let (Some(def), ReduceOp::Sum | ReduceOp::Mean) = (e.def(x), op)
        && def.op == Op::Unary(UnaryOp::Neg)
    {
        // The sign is turned after the sum, where there is less to turn.
        let source = def.inputs[0];
        let value = build(e, site.op.clone(), vec![source], site.scope)?;
        return Ok(Some(New::Op(Op::Unary(UnaryOp::Neg), vec![value])));
    }
    if let Some(new) = sum_before_unpooling(e, site, op, axes) {
        return Ok(Some(new));
    }
    if let Some(def) = e.def(x)
        && def.op == Op::Reshape
        && site.ty.1.is_empty()
    {
        // All elements, in the same order.
        let source = def.inputs[0];
        let axes = (0..e.shape(source).len()).collect();
        let op = Op::Reduce { op, axes, keepdims };
        return Ok(Some(New::Op(op, vec![source])));
    }
    let Some((source, perm)) = transposed(e, x) else {
        return Ok(None);
    };
    let Some(axes) = reduced_axes(&perm, axes) else {
        return Ok(None);
    };
    let op = Op::Reduce { op, axes, keepdims };
    Ok(Some(New::Op(op, vec![source])))
}

/// A sum over axes, reshaped.
pub(super) fn sum_to(e: &mut Emitter, site: &Site<'_>) -> Result<Option<New>> {
    let x = site.inputs[0];
    let (from, to) = (e.shape(x).to_vec(), &site.ty.1);
    let lead = from.len() - to.len();
    let axes: Vec<usize> = (0..from.len())
        .filter(|&a| a < lead || (to[a - lead] == 1 && from[a] != 1))
        .collect();
    let op = Op::Reduce {
        op: ReduceOp::Sum,
        axes: axes.clone(),
        keepdims: false,
    };
    if axes.is_empty() {
        return Ok(Some(reshaped(e, site, x)));
    }
    if known(to) == reduced(&known(&from), &axes, false) {
        return Ok(Some(New::Op(op, vec![x])));
    }
    let value = build(e, op, vec![x], site.scope)?;
    Ok(Some(reshaped(e, site, value)))
}

pub(super) fn reshape(e: &mut Emitter, site: &Site<'_>) -> Result<Option<New>> {
    let (x, target) = (site.inputs[0], site.inputs[1]);
    if e.shape(x) == site.ty.1 {
        return Ok(Some(New::Value(x)));
    }
    if let Some(def) = e.def(x)
        && def.op == Op::Reshape
    {
        let source = def.inputs[0];
        return Ok(Some(reshaped(e, site, source)));
    }
    // One way to say a shape lets equal reshapes be found.
    let plain = e.sizes(&site.ty.1);
    Ok((plain != target).then(|| New::Op(Op::Reshape, vec![x, plain])))
}

pub(super) fn broadcast_to(e: &mut Emitter, site: &Site<'_>) -> Result<Option<New>> {
    let (x, target) = (site.inputs[0], site.inputs[1]);
    if e.shape(x) == site.ty.1 {
        return Ok(Some(New::Value(x)));
    }
    if let Some(def) = e.def(x)
        && def.op == Op::BroadcastTo
    {
        let source = def.inputs[0];
        return Ok(Some(New::Op(Op::BroadcastTo, vec![source, target])));
    }
    if e.shape(x).iter().product::<usize>() == site.ty.1.iter().product() {
        return Ok(Some(reshaped(e, site, x)));
    }
    Ok(None)
}

/// Slices, paddings and parts that are the whole.
pub(super) fn whole(e: &mut Emitter, site: &Site<'_>) -> Result<Option<New>> {
    let x = site.inputs[0];
    let same = match site.op {
        Op::Slice(ranges) | Op::SliceGrad(ranges) => ranges.iter().all(|r| r.step == 1),
        Op::Pad { .. } | Op::ConcatGrad { .. } => true,
        _ => false,
    };
    if same && e.shape(x) == site.ty.1 {
        return Ok(Some(New::Value(x)));
    }
    sink_axes(e, site)
}

/// Parts without elements are left out.
pub(super) fn concat(e: &mut Emitter, site: &Site<'_>, axis: usize) -> Result<Option<New>> {
    let full = |&v: &ValueId| e.shape(v)[axis] != 0;
    let parts: Vec<ValueId> = site.inputs.iter().copied().filter(full).collect();
    match parts.as_slice() {
        [only] => Ok(Some(New::Value(*only))),
        [] => Ok(None),
        some if some.len() == site.inputs.len() => sink_axes(e, site),
        _ => Ok(Some(New::Op(site.op.clone(), parts))),
    }
}

pub(super) fn reverse(e: &mut Emitter, site: &Site<'_>, axes: &[usize]) -> Result<Option<New>> {
    let x = site.inputs[0];
    let still = axes.iter().all(|&a| e.shape(x)[a] <= 1);
    if still {
        return Ok(Some(New::Value(x)));
    }
    sink_axes(e, site)
}

/// Products read transposed operands where they are.
pub(super) fn matmul(
    e: &Emitter,
    site: &Site<'_>,
    mut turned: [bool; 2],
    epilogue: Epilogue,
) -> Option<New> {
    let mut inputs = site.inputs.to_vec();
    let mut changed = false;
    for k in 0..2 {
        if let Some((source, perm)) = transposed(e, inputs[k]) {
            let n = perm.len();
            let last_two = perm[n - 2] == n - 1 && perm[n - 1] == n - 2;
            if last_two && perm[..n - 2].iter().enumerate().all(|(i, &p)| i == p) {
                inputs[k] = source;
                turned[k] = !turned[k];
                changed = true;
            }
        }
    }
    let op = Op::MatMul {
        transpose_a: turned[0],
        transpose_b: turned[1],
        epilogue,
    };
    changed.then_some(New::Op(op, inputs))
}
