//! Algebraic clean-up: an operation that another one, or none, does the work of.
//!
//! Operands are clean by the time an operation is looked at, so that one walk is enough. Rules
//! keep results but for the sign of zeros and, where sums are taken of less, their rounding.

mod elementwise;
mod movement;
mod nothing;
mod pool;
mod transpose;

use std::sync::Arc;

use super::emit::{Emitter, Type};
use crate::error::Result;
use crate::op::{BinaryOp, Op, UnaryOp};
use crate::program::{Inst, Program, ValueId};

/// Rewrites of one operation before they are given up: each makes progress, so few are needed.
const MAX_REWRITES: usize = 32;

/// What takes an operation's place.
enum New {
    /// A value that is there already.
    Value(ValueId),
    /// Another operation.
    Op(Op, Vec<ValueId>),
}

/// An operation that rules look at.
struct Site<'a> {
    op: &'a Op,
    inputs: &'a [ValueId],
    /// The type of its only result.
    ty: &'a Type,
    scope: &'a Option<Arc<str>>,
}

/// The program, cleaned up.
///
/// # Errors
/// When a rule builds something that does not fit: a fault of this library.
pub(super) fn clean(old: &Program) -> Result<Program> {
    let mut e = Emitter::new(old);
    for inst in &old.insts {
        if inst.outputs.len() != 1 {
            if !transpose::moments(&mut e, old, inst)? {
                e.copy(old, inst);
            }
            continue;
        }
        let value = simplified(&mut e, old, inst)?;
        e.bind(&inst.outputs, &[value]);
    }
    Ok(e.finish(old))
}

fn simplified(e: &mut Emitter, old: &Program, inst: &Inst) -> Result<ValueId> {
    let result = &old.values[inst.outputs[0]];
    let ty = (result.dtype, result.shape.clone());
    let inputs = e.mapped(&inst.inputs);
    resolve(e, inst.op.clone(), inputs, ty, &inst.scope)
}

/// The value of an operation that a rule builds on the way, cleaned up itself.
fn build(
    e: &mut Emitter,
    op: Op,
    inputs: Vec<ValueId>,
    scope: &Option<Arc<str>>,
) -> Result<ValueId> {
    let ty = e.infer(&op, &inputs)?.remove(0);
    resolve(e, op, inputs, ty, scope)
}

fn resolve(
    e: &mut Emitter,
    mut op: Op,
    mut inputs: Vec<ValueId>,
    ty: Type,
    scope: &Option<Arc<str>>,
) -> Result<ValueId> {
    for _ in 0..MAX_REWRITES {
        let site = Site {
            op: &op,
            inputs: &inputs,
            ty: &ty,
            scope,
        };
        match rewrite(e, &site)? {
            None => break,
            Some(New::Value(v)) => {
                debug_assert_eq!(e.ty(v), ty, "a rewrite of {op:?} keeps its type");
                return Ok(v);
            }
            Some(New::Op(new, operands)) => (op, inputs) = (new, operands),
        }
    }
    Ok(e.typed(op, inputs, vec![ty], scope)[0])
}

fn rewrite(e: &mut Emitter, site: &Site<'_>) -> Result<Option<New>> {
    if let Some(new) = nothing::vanish(e, site)? {
        return Ok(Some(new));
    }
    match site.op {
        Op::Unary(op) => elementwise::unary(e, site, *op),
        Op::Binary(op) => elementwise::binary(e, site, *op),
        Op::Select => elementwise::select(e, site),
        Op::Cast(dtype) => elementwise::cast(e, site, *dtype),
        Op::SigmoidCrossEntropy => elementwise::narrow(e, site),
        Op::Identity | Op::StopGradient => Ok(Some(New::Value(site.inputs[0]))),
        Op::Reduce { op, axes, keepdims } => movement::reduce(e, site, *op, axes, *keepdims),
        Op::SumTo => movement::sum_to(e, site),
        Op::Reshape => movement::reshape(e, site),
        Op::BroadcastTo => movement::broadcast_to(e, site),
        Op::Transpose { perm } => transpose::transpose(e, site, perm),
        Op::Slice(_) | Op::SliceGrad(_) | Op::Pad { .. } | Op::ConcatGrad { .. } => {
            movement::whole(e, site)
        }
        Op::Concat { axis } => movement::concat(e, site, *axis),
        Op::Reverse { axes } => movement::reverse(e, site, axes),
        Op::MatMul {
            transpose_a,
            transpose_b,
            epilogue,
        } => Ok(movement::matmul(
            e,
            site,
            [*transpose_a, *transpose_b],
            *epilogue,
        )),
        Op::Placeholder
        | Op::Variable(_)
        | Op::Constant(_)
        | Op::LearningPhase
        | Op::ArgReduce { .. }
        | Op::Cumulative { .. }
        | Op::Moments { .. }
        | Op::ShapeOf
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Arange(_)
        | Op::Conv(..)
        | Op::ConvGradInput(_)
        | Op::ConvGradFilter(_)
        | Op::MaxPool(_)
        | Op::MaxPoolGrad(_)
        | Op::AvgPool(_)
        | Op::AvgPoolGrad(_)
        | Op::Softmax
        | Op::LogSoftmax
        | Op::SoftmaxCrossEntropy
        | Op::SparseSoftmaxCrossEntropy
        | Op::Rnn(_)
        | Op::RnnGrad { .. }
        | Op::Scan(_)
        | Op::CtcBeamSearch { .. }
        | Op::Print { .. }
        | Op::Random { .. }
        | Op::OverShards(_)
        | Op::Fused(_)
        | Op::Sharded(_)
        | Op::ShardSum(_) => Ok(None),
    }
}

/// The program with composite operations written out in primitives that can be fused.
///
/// # Errors
/// As [`clean`].
pub(super) fn expand(old: &Program) -> Result<Program> {
    if !old.insts.iter().any(|i| i.op == Op::SigmoidCrossEntropy) {
        return Ok(old.clone());
    }
    let mut e = Emitter::new(old);
    for inst in &old.insts {
        if inst.op == Op::SigmoidCrossEntropy {
            let value = sigmoid_cross_entropy(&mut e, inst)?;
            e.bind(&inst.outputs, &[value]);
        } else {
            e.copy(old, inst);
        }
    }
    Ok(e.finish(old))
}

/// `max(x, 0) - x t + log(1 + exp(-|x|))`: overflows for no logits.
fn sigmoid_cross_entropy(e: &mut Emitter, inst: &Inst) -> Result<ValueId> {
    let operands = e.mapped(&inst.inputs);
    let (x, t) = (operands[0], operands[1]);
    let mut unary = |op, v| e.one(Op::Unary(op), vec![v], &inst.scope);
    let positive = unary(UnaryOp::Relu, x)?;
    let size = unary(UnaryOp::Abs, x)?;
    let decay = unary(UnaryOp::Neg, size)?;
    let decay = unary(UnaryOp::Exp, decay)?;
    let rest = unary(UnaryOp::Log1p, decay)?;
    let mut binary = |op, a, b| e.one(Op::Binary(op), vec![a, b], &inst.scope);
    let hit = binary(BinaryOp::Mul, x, t)?;
    let linear = binary(BinaryOp::Sub, positive, hit)?;
    binary(BinaryOp::Add, linear, rest)
}
