//! Gradients that are zero because training or inference did not take the branch.
//!
//! A branch of a select on the learning phase is known once a plan is made; what flows back into the
//! other is the *structural zero*, written as the constant `-0.0` (which, unlike `0.0`, adds to
//! nothing a change). It may be dropped where a computed zero may not: infinities and NaN of a branch
//! that was not taken do not count.

use super::{New, Site};
use crate::error::Result;
use crate::literal::Literal;
use crate::op::{BinaryOp, CumOp, Epilogue, Op, ReduceOp, UnaryOp};
use crate::passes::emit::Emitter;
use crate::program::ValueId;

/// Whether a value is the structural zero, of whatever shape.
pub(super) fn is_nothing(e: &Emitter, v: ValueId) -> bool {
    let v = match e.def(v) {
        Some(def) if def.op == Op::BroadcastTo => def.inputs[0],
        _ => v,
    };
    let literal = e.program.literal(v).filter(|l| l.dtype.is_float());
    let number = literal.and_then(Literal::uniform);
    number.is_some_and(|n| n == 0.0 && n.is_sign_negative())
}

/// Drops what is linear in the structural zero.
pub(super) fn vanish(e: &mut Emitter, site: &Site<'_>) -> Result<Option<New>> {
    if !site.inputs.iter().any(|&v| is_nothing(e, v)) {
        return Ok(None);
    }
    let nothing = |k: usize| site.inputs.get(k).is_some_and(|&v| is_nothing(e, v));
    let (first, second) = (nothing(0), nothing(1));
    let vanishes = match site.op {
        Op::Binary(BinaryOp::Add) if first || second => {
            let other = site.inputs[usize::from(first)];
            return super::elementwise::spread(e, site, other);
        }
        Op::Binary(BinaryOp::Sub) if second => {
            return super::elementwise::spread(e, site, site.inputs[0]);
        }
        Op::Binary(BinaryOp::Sub) if first => {
            let value = super::build(e, Op::Unary(UnaryOp::Neg), vec![site.inputs[1]], site.scope)?;
            return super::elementwise::spread(e, site, value);
        }
        Op::Binary(BinaryOp::Mul) => first || second,
        Op::MatMul { epilogue, .. } | Op::Conv(_, epilogue) => {
            *epilogue == Epilogue::default() && (first || second)
        }
        Op::ConvGradInput(_) | Op::ConvGradFilter(_) => first || second,
        Op::Select => second && nothing(2),
        Op::ScatterAdd { .. } => second,
        Op::Concat { .. } => (0..site.inputs.len()).all(nothing),
        Op::Cast(dtype) => first && dtype.is_float(),
        Op::Pad { value, .. } => first && f64::from_bits(*value) == 0.0,
        Op::Reduce { op, .. } => first && matches!(op, ReduceOp::Sum | ReduceOp::Mean),
        Op::Cumulative { op, .. } => first && *op == CumOp::Sum,
        Op::Unary(UnaryOp::Neg) | Op::Binary(BinaryOp::Div) => first,
        Op::SumTo
        | Op::Reshape
        | Op::Transpose { .. }
        | Op::Slice(_)
        | Op::SliceGrad(_)
        | Op::ConcatGrad { .. }
        | Op::Reverse { .. }
        | Op::Gather { .. }
        | Op::MaxPoolGrad(_)
        | Op::AvgPool(_)
        | Op::AvgPoolGrad(_) => first,
        _ => false,
    };
    if !vanishes {
        return Ok(None);
    }
    let zero = e.constant(Literal::scalar(site.ty.0, -0.0));
    super::elementwise::spread(e, site, zero)
}
