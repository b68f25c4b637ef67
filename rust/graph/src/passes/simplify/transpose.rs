//! Transposes move towards results, through whatever works on elements or parts of the operand
//! as well, until they meet one that undoes them. A stretch of channels-first convolutions is then
//! transposed where it begins and where it ends, and nowhere between.

use super::{New, Site, build};
use crate::error::Result;
use crate::op::Op;
use crate::ops::movement::inverse;
use crate::passes::emit::Emitter;
use crate::program::{Inst, Program, ValueId};

/// What a value is a transpose of, and the permutation.
pub(super) fn transposed(e: &Emitter, v: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let def = e.def(v)?;
    match &def.op {
        Op::Transpose { perm } => Some((def.inputs[0], perm.clone())),
        _ => None,
    }
}

pub(super) fn transpose(e: &mut Emitter, site: &Site<'_>, perm: &[usize]) -> Result<Option<New>> {
    let x = site.inputs[0];
    let shape = e.shape(x);
    let moved: Vec<usize> = perm.iter().copied().filter(|&p| shape[p] != 1).collect();
    if moved.is_sorted() {
        return Ok(Some(super::movement::reshaped(e, site, x)));
    }
    let Some((source, inner)) = transposed(e, x) else {
        return Ok(None);
    };
    let perm = perm.iter().map(|&p| inner[p]).collect();
    Ok(Some(New::Op(Op::Transpose { perm }, vec![source])))
}

/// An elementwise operation on transposed operands is computed as they were before; small operands
/// that are not transposed follow.
pub(super) fn sink(e: &mut Emitter, site: &Site<'_>) -> Result<Option<New>> {
    let len: usize = site.ty.1.iter().product();
    let size = |v: ValueId| e.shape(v).iter().product::<usize>();
    // A transposed operand that is not broadcast: the operation cannot meet itself again.
    let mut whole = site.inputs.iter().filter(|&&v| size(v) == len && len > 0);
    let Some((_, perm)) = whole.find_map(|&v| transposed(e, v)) else {
        return Ok(None);
    };
    let follows = |&v: &ValueId| match transposed(e, v) {
        Some((_, other)) => other == perm,
        None => size(v) * 8 <= len || (size(v) == 1 && len > 1),
    };
    if site.ty.1.len() != perm.len() || !site.inputs.iter().all(follows) {
        return Ok(None);
    }
    let mut sources = Vec::with_capacity(site.inputs.len());
    for &v in site.inputs {
        sources.push(match transposed(e, v) {
            Some((source, _)) => source,
            None => untransposed(e, site, v, &perm)?,
        });
    }
    let value = build(e, site.op.clone(), sources, site.scope)?;
    Ok(Some(New::Op(Op::Transpose { perm }, vec![value])))
}

/// A small operand as it broadcasts before the transpose.
fn untransposed(e: &mut Emitter, site: &Site<'_>, v: ValueId, perm: &[usize]) -> Result<ValueId> {
    if e.shape(v).is_empty() {
        return Ok(v);
    }
    let mut shape = vec![1; perm.len() - e.shape(v).len()];
    shape.extend(e.shape(v));
    let shape = e.sizes(&shape);
    let wide = build(e, Op::Reshape, vec![v, shape], site.scope)?;
    let perm = inverse(perm);
    build(e, Op::Transpose { perm }, vec![wide], site.scope)
}

/// Operations on axes name them as they were before the transpose.
pub(super) fn sink_axes(e: &mut Emitter, site: &Site<'_>) -> Result<Option<New>> {
    let all: Option<Vec<_>> = site.inputs.iter().map(|&v| transposed(e, v)).collect();
    let Some(all) = all.filter(|a| !a.is_empty()) else {
        return Ok(None);
    };
    let perm = all[0].1.clone();
    if all.iter().any(|(_, other)| *other != perm) {
        return Ok(None);
    }
    let back = inverse(&perm);
    let op = match site.op {
        Op::Concat { axis } => Op::Concat { axis: perm[*axis] },
        Op::Pad { cells, value } => Op::Pad {
            cells: back.iter().map(|&i| cells[i]).collect(),
            value: *value,
        },
        Op::Slice(ranges) => Op::Slice(back.iter().map(|&i| ranges[i]).collect()),
        Op::Reverse { axes } => Op::Reverse {
            axes: axes.iter().map(|&a| perm[a]).collect(),
        },
        _ => return Ok(None),
    };
    let sources = all.into_iter().map(|(source, _)| source).collect();
    let value = build(e, op, sources, site.scope)?;
    Ok(Some(New::Op(Op::Transpose { perm }, vec![value])))
}

/// The axes of the operand that are reduced before the transpose, if the others keep their order.
pub(super) fn reduced_axes(perm: &[usize], axes: &[usize]) -> Option<Vec<usize>> {
    let kept = (0..perm.len()).filter(|a| !axes.contains(a));
    if !kept.map(|a| perm[a]).is_sorted() {
        return None;
    }
    let mut axes: Vec<usize> = axes.iter().map(|&a| perm[a]).collect();
    axes.sort_unstable();
    Some(axes)
}

/// Mean and variance of a transposed operand; whether they could be taken of what it was before.
pub(super) fn moments(e: &mut Emitter, old: &Program, inst: &Inst) -> Result<bool> {
    let Op::Moments { axes, of } = &inst.op else {
        return Ok(false);
    };
    let x = e.mapped(&inst.inputs)[0];
    let found = transposed(e, x)
        .and_then(|(source, perm)| reduced_axes(&perm, axes).map(|axes| (source, axes)));
    let Some((source, axes)) = found else {
        return Ok(false);
    };
    let outputs = e.op(Op::Moments { axes, of: *of }, vec![source], &inst.scope)?;
    debug_assert_eq!(e.shape(outputs[0]), old.values[inst.outputs[0]].shape);
    e.bind(&inst.outputs, &outputs);
    Ok(true)
}
