//! Rules for the gradients of pooling.

use super::{New, Site, build};
use crate::error::Result;
use crate::literal::Literal;
use crate::op::{BinaryOp, Op, ReduceOp};
use crate::passes::emit::Emitter;
use crate::program::{Source, ValueId};

/// The gradient of a relu that a max pooling follows: the mask is taken of the maxima, which are
/// fewer than the relu's results. Only they receive a gradient, and each is the result at its place.
pub(super) fn mask_before_unpooling(
    e: &mut Emitter,
    site: &Site<'_>,
    dx: ValueId,
    mask: ValueId,
) -> Result<Option<New>> {
    let Some((attrs, dy, place, shape)) = e.def(dx).and_then(|def| match &def.op {
        Op::MaxPoolGrad(attrs) => {
            let [dy, place, shape] = [def.inputs[0], def.inputs[1], def.inputs[2]];
            Some((attrs.clone(), dy, place, shape))
        }
        _ => None,
    }) else {
        return Ok(None);
    };
    let Source::Inst { inst, .. } = e.program.values[place].source else {
        return Ok(None);
    };
    let pool = &e.program.insts[inst];
    let (pooled, source) = (pool.outputs[0], pool.inputs[0]);
    let same = pool.op == Op::MaxPool(attrs.clone()) && positive_of(e, mask) == Some(source);
    if !same || e.shape(dx) != site.ty.1 {
        return Ok(None);
    }
    let zero = e.constant(Literal::scalar(site.ty.0, 0.0));
    let on = build(e, Op::Binary(BinaryOp::Gt), vec![pooled, zero], site.scope)?;
    let on = build(e, Op::Cast(site.ty.0), vec![on], site.scope)?;
    let masked = build(e, Op::Binary(BinaryOp::Mul), vec![dy, on], site.scope)?;
    let op = Op::MaxPoolGrad(attrs);
    Ok(Some(New::Op(op, vec![masked, place, shape])))
}

/// The value x of a mask `cast(x > 0)`.
fn positive_of(e: &Emitter, mask: ValueId) -> Option<ValueId> {
    let cast = e.def(mask).filter(|def| matches!(def.op, Op::Cast(_)))?;
    let gt = e.def(cast.inputs[0])?;
    let zero = e.program.literal(*gt.inputs.get(1)?)?.uniform()?;
    (gt.op == Op::Binary(BinaryOp::Gt) && zero == 0.0).then(|| gt.inputs[0])
}

/// The sum of a pooling's gradient over all spatial axes is that of what came in: every window hands
/// on the whole of its own.
pub(super) fn sum_before_unpooling(
    e: &mut Emitter,
    site: &Site<'_>,
    op: ReduceOp,
    axes: &[usize],
) -> Option<New> {
    let def = e.def(site.inputs[0])?;
    let unpools = matches!(def.op, Op::MaxPoolGrad(_) | Op::AvgPoolGrad(_));
    let rank = e.shape(site.inputs[0]).len();
    if op != ReduceOp::Sum || !unpools || !(1..rank - 1).all(|a| axes.contains(&a)) {
        return None;
    }
    Some(New::Op(site.op.clone(), vec![def.inputs[0]]))
}
