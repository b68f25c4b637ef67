//! Rules for elementwise operations.

use super::pool::mask_before_unpooling;
use super::transpose::sink;
use super::{New, Site, build};
use crate::dtype::DType;
use crate::error::Result;
use crate::literal::Literal;
use crate::op::{BinaryOp, Op, UnaryOp};
use crate::passes::emit::Emitter;
use crate::program::ValueId;

pub(super) fn unary(e: &mut Emitter, site: &Site<'_>, op: UnaryOp) -> Result<Option<New>> {
    let x = site.inputs[0];
    if let Some(def) = e.def(x) {
        let inner = def.inputs.clone();
        match (op, &def.op) {
            (UnaryOp::Neg, Op::Unary(UnaryOp::Neg)) | (UnaryOp::Not, Op::Unary(UnaryOp::Not)) => {
                return Ok(Some(New::Value(inner[0])));
            }
            (UnaryOp::Neg, Op::Binary(BinaryOp::Sub)) => {
                let swapped = vec![inner[1], inner[0]];
                return Ok(Some(New::Op(Op::Binary(BinaryOp::Sub), swapped)));
            }
            (UnaryOp::Abs, Op::Unary(UnaryOp::Abs | UnaryOp::Relu))
            | (UnaryOp::Relu, Op::Unary(UnaryOp::Relu)) => return Ok(Some(New::Value(x))),
            (UnaryOp::Abs | UnaryOp::Square, Op::Unary(UnaryOp::Neg))
            | (UnaryOp::Square, Op::Unary(UnaryOp::Abs)) => {
                return Ok(Some(New::Op(Op::Unary(op), inner)));
            }
            _ => {}
        }
    }
    narrow(e, site)
}

pub(super) fn binary(e: &mut Emitter, site: &Site<'_>, op: BinaryOp) -> Result<Option<New>> {
    if let Some(new) = with_constant(e, site, op)? {
        return Ok(Some(new));
    }
    let (x, y) = (site.inputs[0], site.inputs[1]);
    if op == BinaryOp::Mul {
        for (dx, mask) in [(x, y), (y, x)] {
            if let Some(new) = mask_before_unpooling(e, site, dx, mask)? {
                return Ok(Some(new));
            }
        }
    }
    let negated = |v: ValueId| match e.def(v) {
        Some(def) if def.op == Op::Unary(UnaryOp::Neg) => Some(def.inputs[0]),
        _ => None,
    };
    let new = match (op, negated(x), negated(y)) {
        (BinaryOp::Add, _, Some(y)) => Some((BinaryOp::Sub, x, y)),
        (BinaryOp::Add, Some(x), _) => Some((BinaryOp::Sub, y, x)),
        (BinaryOp::Sub, _, Some(y)) => Some((BinaryOp::Add, x, y)),
        (BinaryOp::Mul | BinaryOp::Div, Some(x), Some(y)) => Some((op, x, y)),
        _ => None,
    };
    if let Some((op, x, y)) = new {
        return Ok(Some(New::Op(Op::Binary(op), vec![x, y])));
    }
    narrow(e, site)
}

/// Rules for an operand that is the same number everywhere.
fn with_constant(e: &mut Emitter, site: &Site<'_>, op: BinaryOp) -> Result<Option<New>> {
    let (x, y) = (site.inputs[0], site.inputs[1]);
    let uniform = |v: ValueId| e.program.literal(v).and_then(Literal::uniform);
    let (a, b) = (uniform(x), uniform(y));
    let float = site.ty.0.is_float();
    let is = |v: Option<f64>, n: f64| v == Some(n);
    let function = |f: UnaryOp, v: ValueId| Ok(Some(Found::Op(Op::Unary(f), vec![v])));
    let found: Result<Option<Found>> = match op {
        BinaryOp::Add if is(b, 0.0) => Ok(Some(Found::Same(x))),
        BinaryOp::Add if is(a, 0.0) => Ok(Some(Found::Same(y))),
        BinaryOp::Sub if is(b, 0.0) => Ok(Some(Found::Same(x))),
        BinaryOp::Sub if is(a, 0.0) && site.ty.0 != DType::U8 => function(UnaryOp::Neg, y),
        BinaryOp::Mul if is(b, 1.0) => Ok(Some(Found::Same(x))),
        BinaryOp::Mul if is(a, 1.0) => Ok(Some(Found::Same(y))),
        BinaryOp::Mul if is(b, -1.0) => function(UnaryOp::Neg, x),
        BinaryOp::Mul if is(a, -1.0) => function(UnaryOp::Neg, y),
        // Not for floats: infinities and NaN times 0 are NaN.
        BinaryOp::Mul if !float && is(b, 0.0) => Ok(Some(Found::Same(y))),
        BinaryOp::Mul if !float && is(a, 0.0) => Ok(Some(Found::Same(x))),
        BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Pow if is(b, 1.0) && op_keeps(op, float) => {
            Ok(Some(Found::Same(x)))
        }
        BinaryOp::Pow if is(b, 2.0) => function(UnaryOp::Square, x),
        BinaryOp::Pow if is(b, 0.5) => function(UnaryOp::Sqrt, x),
        BinaryOp::Pow if float && is(b, -1.0) => function(UnaryOp::Reciprocal, x),
        BinaryOp::Pow if is(b, -0.5) => function(UnaryOp::Rsqrt, x),
        BinaryOp::Div => {
            return Ok(b.and_then(exact_inverse).map(|inverse| {
                let factor = e.constant(Literal::scalar(site.ty.0, inverse));
                New::Op(Op::Binary(BinaryOp::Mul), vec![x, factor])
            }));
        }
        _ => Ok(None),
    };
    match found? {
        None => Ok(None),
        Some(Found::Same(v)) => spread(e, site, v),
        Some(Found::Op(op, inputs)) => {
            let value = build(e, op, inputs, site.scope)?;
            spread(e, site, value)
        }
    }
}

enum Found {
    Same(ValueId),
    Op(Op, Vec<ValueId>),
}

/// Whether an operation with 1 leaves any number as it is.
fn op_keeps(op: BinaryOp, float: bool) -> bool {
    op != BinaryOp::FloorDiv || !float
}

/// `1 / n` where multiplying with it rounds as dividing by `n` does: powers of two.
fn exact_inverse(n: f64) -> Option<f64> {
    let mantissa = n.to_bits() & ((1 << 52) - 1);
    (mantissa == 0 && n.abs() >= 1e-30 && n.abs() <= 1e30).then(|| 1.0 / n)
}

/// A value, broadcast where the operation's result was larger.
pub(super) fn spread(e: &mut Emitter, site: &Site<'_>, v: ValueId) -> Result<Option<New>> {
    if e.shape(v) == site.ty.1 {
        return Ok(Some(New::Value(v)));
    }
    let shape = e.sizes(&site.ty.1);
    Ok(Some(New::Op(Op::BroadcastTo, vec![v, shape])))
}

pub(super) fn select(e: &mut Emitter, site: &Site<'_>) -> Result<Option<New>> {
    let [condition, x, y] = [site.inputs[0], site.inputs[1], site.inputs[2]];
    if x == y {
        return spread(e, site, x);
    }
    match e.program.literal(condition).and_then(Literal::uniform) {
        Some(n) => spread(e, site, if n != 0.0 { x } else { y }),
        None => narrow(e, site),
    }
}

pub(super) fn cast(e: &mut Emitter, site: &Site<'_>, to: DType) -> Result<Option<New>> {
    let x = site.inputs[0];
    let (between, _) = e.ty(x);
    if between == to {
        return Ok(Some(New::Value(x)));
    }
    if let Some(def) = e.def(x)
        && let Op::Cast(_) = def.op
    {
        let source = def.inputs[0];
        if holds(between, e.ty(source).0) {
            return Ok(Some(New::Op(Op::Cast(to), vec![source])));
        }
    }
    narrow(e, site)
}

/// Whether every value of type `small` has one of type `large`.
fn holds(large: DType, small: DType) -> bool {
    match small {
        DType::Bool => true,
        DType::U8 => large != DType::Bool,
        DType::I32 => matches!(large, DType::I32 | DType::I64 | DType::F64),
        DType::I64 => large == DType::I64,
        DType::F32 => matches!(large, DType::F32 | DType::F64),
        DType::F64 => large == DType::F64,
    }
}

/// Elementwise operations broadcast by themselves: operands that are broadcasts are read where
/// they come from. If all that made the result large were broadcasts, it is computed small and
/// broadcast itself.
pub(super) fn narrow(e: &mut Emitter, site: &Site<'_>) -> Result<Option<New>> {
    let mut inputs = site.inputs.to_vec();
    let mut changed = false;
    for k in 0..inputs.len() {
        if let Some(source) = broadcast_source(e, inputs[k]) {
            let wide = std::mem::replace(&mut inputs[k], source);
            if common_shape(e, &inputs) == site.ty.1 {
                changed = true;
            } else {
                inputs[k] = wide;
            }
        }
    }
    if changed {
        return Ok(Some(New::Op(site.op.clone(), inputs)));
    }
    let mut sources = inputs.clone();
    for v in &mut sources {
        if let Some(source) = broadcast_source(e, *v) {
            *v = source;
        }
    }
    let small = common_shape(e, &sources);
    let len = |shape: &[usize]| shape.iter().product::<usize>();
    let fewer_axes = small.len() < site.ty.1.len() && len(&small) == len(&site.ty.1);
    if sources == inputs || !(fewer_axes || len(&small) < len(&site.ty.1)) {
        return sink(e, site);
    }
    let value = build(e, site.op.clone(), sources, site.scope)?;
    spread(e, site, value)
}

/// The value that `v` is a broadcast of, if only to axes of size 1.
fn broadcast_source(e: &mut Emitter, v: ValueId) -> Option<ValueId> {
    if let Some(def) = e.def(v) {
        let source = *def.inputs.first()?;
        let adds_axes = || {
            let (from, to) = (e.shape(source), e.shape(v));
            let new = to.len().checked_sub(from.len());
            new.is_some_and(|n| &to[n..] == from && to[..n].iter().all(|&d| d == 1))
        };
        let repeats = def.op == Op::BroadcastTo || (def.op == Op::Reshape && adds_axes());
        return repeats.then_some(source);
    }
    let literal = e.program.literal(v)?;
    if literal.shape.is_empty() {
        return None;
    }
    literal.uniform()?;
    let scalar = literal.bytes[..literal.dtype.size()].to_vec();
    let scalar = Literal::new(literal.dtype, vec![], scalar);
    Some(e.constant(scalar))
}

/// The shape that values broadcast to together.
fn common_shape(e: &Emitter, values: &[ValueId]) -> Vec<usize> {
    let rank = values.iter().map(|&v| e.shape(v).len()).max().unwrap_or(0);
    let mut shape = vec![1; rank];
    for &v in values {
        let own = e.shape(v);
        for (s, &n) in shape[rank - own.len()..].iter_mut().zip(own) {
            if n != 1 {
                *s = n;
            }
        }
    }
    shape
}
