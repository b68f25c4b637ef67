//! Shapes and the movement of elements: reshape, broadcast, transpose.

use crate::dtype::DType;
use crate::op::Op;
use crate::ops::backward::{Backward, Grads};
use crate::ops::operands::{Inferred, Operands, one, show_sizes};
use crate::ops::sample::{Sample, SampleInput, float, sizes};
use crate::ops::values::Num;
use crate::shape::{Dim, Shape, show, size};

pub(super) fn infer_shape_of(o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    one(DType::I64, vec![Some(o.rank(0))])
}

pub(super) fn infer_reshape(o: &Operands<'_>) -> Inferred {
    o.count(2)?;
    let sizes = o.sizes(1)?;
    let shape = reshaped(o, &sizes)?;
    if let (Some(from), Some(to)) = (size(o.shape(0)), size(&shape))
        && from != to
    {
        return Err(format!(
            "cannot reshape {} ({from} elements) to {} ({to} elements)",
            o.show(0),
            show_sizes(&sizes)
        ));
    }
    one(o.dtype(0), shape)
}

/// The target of a reshape, its -1 worked out where that is possible: unknown sizes that are
/// certainly the operand's own cancel.
fn reshaped(o: &Operands<'_>, sizes: &[Num]) -> Result<Shape, String> {
    let bad = |why: &str| {
        let (from, to) = (o.show(0), show_sizes(sizes));
        Err(format!("cannot reshape {from} to {to}: {why}"))
    };
    let mut rest: Vec<Dim> = o.shape(0).to_vec();
    let mut own = |n: Num| (0..rest.len()).find(|&a| o.is_dim(n, 0, a) && rest[a].take_dim());
    let mut shape = Vec::with_capacity(sizes.len());
    let (mut wanted, mut unknown, mut free) = (1usize, 0, None);
    for (i, &n) in sizes.iter().enumerate() {
        shape.push(match n {
            Num::Int(-1) if free.is_some() => return bad("only one size may be -1"),
            Num::Int(-1) => {
                free = Some(i);
                None
            }
            Num::Int(n) if n < 0 => return bad("sizes must not be negative"),
            Num::Int(n) => {
                wanted *= n as usize;
                Some(n as usize)
            }
            Num::Float(_) | Num::Dim { .. } | Num::Unknown => {
                if own(n).is_none() {
                    unknown += 1;
                }
                None
            }
        });
    }
    let (Some(free), 0, Some(total)) = (free, unknown, size(&rest)) else {
        return Ok(shape);
    };
    if wanted == 0 {
        return bad("-1 has no meaning beside a size of 0");
    }
    if total % wanted != 0 {
        return bad(&format!("{total} elements do not divide by {wanted}"));
    }
    shape[free] = Some(total / wanted);
    Ok(shape)
}

trait TakeDim {
    /// Counts an unknown size as 1 from now on; whether it still was unknown.
    fn take_dim(&mut self) -> bool;
}

impl TakeDim for Dim {
    fn take_dim(&mut self) -> bool {
        self.replace(1).is_none()
    }
}

pub(super) fn infer_broadcast_to(o: &Operands<'_>) -> Inferred {
    o.count(2)?;
    let target = o.target(1)?;
    let shape = fit(o.shape(0), &target).ok_or_else(|| {
        format!(
            "shape {} does not broadcast to {}: aligned at the last axis, its sizes must be equal \
             or 1",
            o.show(0),
            show(&target)
        )
    })?;
    one(o.dtype(0), shape)
}

pub(super) fn infer_sum_to(o: &Operands<'_>) -> Inferred {
    o.count(2)?;
    let dtype = o.number(0, "the operand")?;
    let target = o.target(1)?;
    if fit(&target, o.shape(0)).is_none() {
        return Err(format!(
            "shape {} is not a broadcast of the target {}",
            o.show(0),
            show(&target)
        ));
    }
    let drop = o.rank(0) - target.len();
    let shape = target
        .iter()
        .zip(&o.shape(0)[drop..])
        .map(|(&t, &x)| if x == Some(1) { x } else { t })
        .collect();
    one(dtype, shape)
}

/// The broadcast of `from` to exactly the rank and sizes of `to`; `None` when it does not fit.
fn fit(from: &[Dim], to: &[Dim]) -> Option<Shape> {
    let new = to.len().checked_sub(from.len())?;
    let mut shape = to.to_vec();
    for (f, t) in from.iter().zip(&mut shape[new..]) {
        match (*f, *t) {
            (Some(1) | None, _) => {}
            (Some(n), Some(m)) if n != m => return None,
            (Some(_), _) => *t = *f,
        }
    }
    Some(shape)
}

pub(super) fn infer_transpose(perm: &[usize], o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    let mut seen = vec![false; o.rank(0)];
    let valid = perm.len() == seen.len()
        && perm
            .iter()
            .all(|&p| p < seen.len() && !std::mem::replace(&mut seen[p], true));
    if !valid {
        return Err(format!(
            "the permutation must name each of the {} axes of shape {} once, got {perm:?}",
            o.rank(0),
            o.show(0)
        ));
    }
    one(o.dtype(0), perm.iter().map(|&p| o.shape(0)[p]).collect())
}

/// The operand's own shape again: reshapes, whose elements keep their order.
pub(super) fn grad_reshape(g: &Backward<'_>) -> Grads {
    g.first(|| g.b.reshape_like(g.dy()?, g.x(0)))
}

pub(super) fn grad_broadcast_to(g: &Backward<'_>) -> Grads {
    g.first(|| g.b.sum_like(g.dy()?, g.x(0)))
}

pub(super) fn grad_sum_to(g: &Backward<'_>) -> Grads {
    g.first(|| g.b.broadcast_like(g.dy()?, g.x(0)))
}

pub(super) fn grad_transpose(perm: &[usize], g: &Backward<'_>) -> Grads {
    let perm = inverse(perm);
    g.first(|| g.b.op(Op::Transpose { perm }, &[g.dy()?]))
}

/// The permutation that undoes `perm`.
pub(crate) fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, &p)| inverse[p] = i);
    inverse
}

pub(super) fn samples() -> Vec<Sample> {
    let mut all = vec![
        Sample::new(Op::ShapeOf, vec![float(&[2, 0, 3])]).without_gradient(),
        Sample::new(Op::ShapeOf, vec![float(&[])]).without_gradient(),
    ];
    let mut add = |op: Op, inputs: Vec<SampleInput>| all.push(Sample::new(op, inputs));
    for (x, to) in [
        (&[2, 6][..], &[3, -1][..]),
        (&[2, 6], &[12]),
        (&[1], &[]),
        (&[0, 3], &[0, 5]),
    ] {
        add(Op::Reshape, vec![float(x), sizes(to)]);
    }
    for (x, to) in [
        (&[3][..], &[2, 3][..]),
        (&[2, 1], &[4, 2, 3]),
        (&[], &[2]),
        (&[1], &[0]),
        (&[2, 3], &[2, 3]),
    ] {
        add(Op::BroadcastTo, vec![float(x), sizes(to)]);
        let wide: Vec<usize> = to.iter().map(|&n| n as usize).collect();
        let narrow: Vec<i64> = x.iter().map(|&n| n as i64).collect();
        add(Op::SumTo, vec![float(&wide), sizes(&narrow)]);
    }
    for (shape, perm) in [
        (&[2, 3][..], &[1, 0][..]),
        (&[2, 3, 4], &[2, 0, 1]),
        (&[2, 3, 4, 5], &[0, 3, 1, 2]),
        (&[0, 3], &[1, 0]),
        (&[], &[]),
    ] {
        let perm = perm.to_vec();
        add(Op::Transpose { perm }, vec![float(shape)]);
    }
    all
}
