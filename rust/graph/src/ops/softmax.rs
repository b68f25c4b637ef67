//! Softmax over the last axis, and the cross-entropies that contain it.

use crate::ops::operands::{Inferred, Operands, merge, one};
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
