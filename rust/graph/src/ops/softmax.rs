//! Softmax over the last axis, and the cross-entropies that contain it.

use crate::dtype::DType;
use crate::error::GraphError;
use crate::literal::Literal;
use crate::node::Tensor;
use crate::op::{BinaryOp, Op, ReduceOp, UnaryOp};
use crate::ops::backward::{Backward, Grads};
use crate::ops::operands::{Inferred, Operands, merge, one};
use crate::ops::sample::{Sample, below, float, positive};
use crate::shape::show;

fn check_classes(o: &Operands<'_>) -> Result<(), String> {
    if o.rank(0) > 0 {
        return Ok(());
    }
    Err("the operand must have a last axis of classes, got a scalar".to_string())
}

pub(super) fn infer_softmax(o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    let dtype = o.float(0, "the operand")?;
    check_classes(o)?;
    one(dtype, o.shape(0).to_vec())
}

/// Operands `(logits, targets)` of one shape.
pub(super) fn infer_cross_entropy(o: &Operands<'_>) -> Inferred {
    o.count(2)?;
    o.float(0, "logits")?;
    let dtype = o.same_dtype(0, 1)?;
    check_classes(o)?;
    let (logits, targets) = (o.shape(0), o.shape(1));
    let both: Option<Vec<_>> = (logits.len() == targets.len())
        .then(|| logits.iter().zip(targets).map(|(&a, &b)| merge(a, b)))
        .and_then(Iterator::collect);
    let shape = both.ok_or_else(|| {
        format!(
            "logits and targets must have one shape, got {} and {}; integer labels take the \
             sparse form",
            o.show(0),
            o.show(1)
        )
    })?;
    one(dtype, shape[..shape.len() - 1].to_vec())
}

/// Operands `(logits, labels)`: labels lack the last axis.
pub(super) fn infer_sparse_cross_entropy(o: &Operands<'_>) -> Inferred {
    o.count(2)?;
    let dtype = o.float(0, "logits")?;
    o.integer(1, "labels")?;
    check_classes(o)?;
    let rows = &o.shape(0)[..o.rank(0) - 1];
    let labels = o.shape(1);
    let both: Option<Vec<_>> = (rows.len() == labels.len())
        .then(|| rows.iter().zip(labels).map(|(&a, &b)| merge(a, b)))
        .and_then(Iterator::collect);
    let shape = both.ok_or_else(|| {
        format!(
            "logits of shape {} take labels of shape {}, got {}",
            o.show(0),
            show(rows),
            o.show(1)
        )
    })?;
    one(dtype, shape)
}

/// The sum over the last axis, which stays with size 1.
fn row_sum(g: &Backward<'_>, t: &Tensor) -> Result<Tensor, GraphError> {
    g.b.reduce(ReduceOp::Sum, t, &[t.rank() - 1], true)
}

/// `dx = y (dy - sum(dy y))`.
pub(super) fn grad_softmax(g: &Backward<'_>) -> Grads {
    let (b, y) = (&g.b, g.y(0));
    g.first(|| {
        let dy = g.dy()?;
        let mean = row_sum(g, &b.mul(dy, &y)?)?;
        b.mul(&y, &b.sub(dy, &mean)?)
    })
}

/// `dx = dy - softmax(x) sum(dy)`.
pub(super) fn grad_log_softmax(g: &Backward<'_>) -> Grads {
    let b = &g.b;
    g.first(|| {
        let dy = g.dy()?;
        let shares = b.unary(UnaryOp::Exp, &g.y(0))?;
        b.sub(dy, &b.mul(&shares, &row_sum(g, dy)?)?)
    })
}

/// To logits `(softmax(logits) sum(targets) - targets) dy`, to targets `-log_softmax(logits) dy`.
pub(super) fn grad_cross_entropy(g: &Backward<'_>) -> Grads {
    let (b, logits, targets, dy) = (&g.b, g.x(0), g.x(1), g.dy()?);
    let rows = || b.expand_reduced(dy, logits, &[logits.rank() - 1]);
    let to_logits = || {
        let shares = b.op(Op::Softmax, &[logits])?;
        let error = b.sub(&b.mul(&shares, &row_sum(g, targets)?)?, targets)?;
        b.mul(&error, &rows()?)
    };
    let to_targets = || {
        let logs = b.op(Op::LogSoftmax, &[logits])?;
        b.mul(&b.neg(&logs)?, &rows()?)
    };
    Ok(vec![g.to(0, to_logits)?, g.to(1, to_targets)?])
}

/// `(softmax(logits) - one_hot(labels)) dy`.
pub(super) fn grad_sparse_cross_entropy(g: &Backward<'_>) -> Grads {
    let (b, logits, labels, dy) = (&g.b, g.x(0), g.x(1), g.dy()?);
    let last = [logits.rank() - 1];
    g.first(|| {
        let classes = class_indices(g, logits, labels)?;
        let column = b.expand_reduced(labels, logits, &last)?;
        let hot = b.binary(BinaryOp::Eq, &column, &classes)?;
        let hot = b.cast(&hot, logits.dtype())?;
        let error = b.sub(&b.op(Op::Softmax, &[logits])?, &hot)?;
        b.mul(&error, &b.expand_reduced(dy, logits, &last)?)
    })
}

/// `0, 1, ..` up to the number of classes, in the type of the labels.
fn class_indices(g: &Backward<'_>, logits: &Tensor, labels: &Tensor) -> Result<Tensor, GraphError> {
    let (b, dtype) = (&g.b, labels.dtype());
    if let Some(classes) = logits.shape()[logits.rank() - 1] {
        let indices: Vec<f64> = (0..classes).map(|i| i as f64).collect();
        return b.constant(Literal::from_f64(dtype, vec![classes], &indices));
    }
    let axis = b.ints(&[logits.rank() as i64 - 1])?;
    let size = b.op(Op::Gather { axis: 0 }, &[&b.shape_of(logits)?, &axis])?;
    let size = b.reduce(ReduceOp::Sum, &size, &[0], false)?;
    let (start, step) = (b.scalar(size.dtype(), 0.0)?, b.scalar(size.dtype(), 1.0)?);
    b.op(Op::Arange(dtype), &[&start, &size, &step])
}

pub(super) fn samples() -> Vec<Sample> {
    let shapes: [&[usize]; 6] = [&[4], &[3, 5], &[2, 3, 4], &[3, 1], &[0, 5], &[7, 100]];
    let mut all = Vec::new();
    for shape in shapes {
        let rows = &shape[..shape.len() - 1];
        let classes = shape[shape.len() - 1];
        all.push(Sample::new(Op::Softmax, vec![float(shape)]));
        all.push(Sample::new(Op::LogSoftmax, vec![float(shape)]));
        let inputs = vec![float(shape), positive(shape)];
        all.push(Sample::new(Op::SoftmaxCrossEntropy, inputs));
        for dtype in [DType::I32, DType::I64] {
            let inputs = vec![float(shape), below(dtype, rows, classes)];
            all.push(Sample::new(Op::SparseSoftmaxCrossEntropy, inputs));
        }
    }
    all
}
