//! Shapes and the movement of elements: reshape, broadcast, transpose, slices, gather.

use crate::dtype::DType;
use crate::node::Tensor;
use crate::op::{Op, SliceAxis};
use crate::ops::backward::{Backward, Grads};
use crate::ops::operands::{Inferred, Operands, merge, one, show_sizes};
use crate::ops::values::{Num, span};
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

fn check_ranges(ranges: &[SliceAxis], rank: usize, shape: &str) -> Result<(), String> {
    if ranges.len() != rank {
        return Err(format!(
            "one range is needed for each of the {rank} axes of shape {shape}, got {}",
            ranges.len()
        ));
    }
    match ranges.iter().position(|r| r.step == 0) {
        Some(axis) => Err(format!("the step along axis {axis} must not be 0")),
        None => Ok(()),
    }
}

fn sliced(shape: &[Dim], ranges: &[SliceAxis]) -> Shape {
    let cut = |(d, r): (&Dim, &SliceAxis)| d.map(|n| span(r, n).1);
    shape.iter().zip(ranges).map(cut).collect()
}

pub(super) fn infer_slice(ranges: &[SliceAxis], o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    check_ranges(ranges, o.rank(0), &o.show(0))?;
    one(o.dtype(0), sliced(o.shape(0), ranges))
}

pub(super) fn infer_slice_grad(ranges: &[SliceAxis], o: &Operands<'_>) -> Inferred {
    o.count(2)?;
    let target = o.target(1)?;
    check_ranges(ranges, target.len(), &show(&target))?;
    expect_shape(o, 0, &sliced(&target, ranges), "the slice's")?;
    one(o.dtype(0), target)
}

/// Checks that operand `k` can have the shape `want`.
fn expect_shape(o: &Operands<'_>, k: usize, want: &[Dim], whose: &str) -> Result<(), String> {
    let fits = o.rank(k) == want.len()
        && o.shape(k)
            .iter()
            .zip(want)
            .all(|(&a, &b)| merge(a, b).is_some());
    if fits {
        return Ok(());
    }
    Err(format!(
        "operand {k} must have {whose} shape {}, got {}",
        show(want),
        o.show(k)
    ))
}

pub(super) fn infer_pad(cells: &[(usize, usize)], o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    if cells.len() != o.rank(0) {
        return Err(format!(
            "cells before and after are needed for each of the {} axes of shape {}, got {} pairs",
            o.rank(0),
            o.show(0),
            cells.len()
        ));
    }
    let grown = |(d, &(before, after)): (&Dim, &(usize, usize))| d.map(|n| before + n + after);
    one(
        o.dtype(0),
        o.shape(0).iter().zip(cells).map(grown).collect(),
    )
}

pub(super) fn infer_concat(axis: usize, o: &Operands<'_>) -> Inferred {
    if o.len() == 0 {
        return Err("needs at least one operand, got none".to_string());
    }
    o.axis(0, axis)?;
    let mut shape = o.shape(0).to_vec();
    for k in 1..o.len() {
        o.same_dtype(0, k)?;
        shape = joined(&shape, o.shape(k), axis).ok_or_else(|| {
            format!(
                "operand {k} of shape {} does not fit operand 0 of shape {}: all sizes but that \
                 of axis {axis} must be equal",
                o.show(k),
                o.show(0)
            )
        })?;
    }
    one(o.dtype(0), shape)
}

fn joined(a: &[Dim], b: &[Dim], axis: usize) -> Option<Shape> {
    if a.len() != b.len() {
        return None;
    }
    let join = |(i, (&x, &y)): (usize, (&Dim, &Dim))| {
        if i == axis {
            Some(x.zip(y).map(|(x, y)| x + y))
        } else {
            merge(x, y)
        }
    };
    a.iter().zip(b).enumerate().map(join).collect()
}

pub(super) fn infer_concat_grad(axis: usize, index: usize, o: &Operands<'_>) -> Inferred {
    if o.len() < 2 || index + 1 >= o.len() {
        return Err(format!(
            "needs dy and the shape of every operand of the concatenation, {index} among them, \
             got {} operands",
            o.len()
        ));
    }
    o.axis(0, axis)?;
    let mut whole = o.target(1)?;
    for k in 2..o.len() {
        let part = o.target(k)?;
        whole = joined(&whole, &part, axis)
            .ok_or_else(|| format!("shapes {} and {} do not join", show(&whole), show(&part)))?;
    }
    expect_shape(o, 0, &whole, "the concatenation's")?;
    one(o.dtype(0), o.target(index + 1)?)
}

pub(super) fn infer_reverse(axes: &[usize], o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    axes.iter().try_for_each(|&a| o.axis(0, a))?;
    one(o.dtype(0), o.shape(0).to_vec())
}

fn gathered(x: &[Dim], indices: &[Dim], axis: usize) -> Shape {
    [&x[..axis], indices, &x[axis + 1..]].concat()
}

pub(super) fn infer_gather(axis: usize, o: &Operands<'_>) -> Inferred {
    o.count(2)?;
    o.axis(0, axis)?;
    o.integer(1, "indices")?;
    one(o.dtype(0), gathered(o.shape(0), o.shape(1), axis))
}

pub(super) fn infer_scatter_add(axis: usize, o: &Operands<'_>) -> Inferred {
    o.count(3)?;
    o.integer(0, "indices")?;
    let dtype = o.number(1, "dy")?;
    let target = o.target(2)?;
    if axis >= target.len() {
        return Err(format!(
            "there is no axis {axis} in the target shape {}",
            show(&target)
        ));
    }
    expect_shape(o, 1, &gathered(&target, o.shape(0), axis), "the gathered")?;
    one(dtype, target)
}

pub(super) fn infer_arange(dtype: DType, o: &Operands<'_>) -> Inferred {
    o.count(3)?;
    if dtype == DType::Bool {
        return Err("counts in numbers, got dtype bool".to_string());
    }
    let mut ends = [None; 3];
    for (k, name) in ["start", "stop", "step"].into_iter().enumerate() {
        o.number(k, name)?;
        ends[k] = match o.scalar(k, name)? {
            Num::Int(i) => Some(i as f64),
            Num::Float(x) => Some(x),
            Num::Dim { .. } | Num::Unknown => None,
        };
    }
    if ends[2] == Some(0.0) {
        return Err("step must not be 0".to_string());
    }
    let len = match ends {
        [Some(start), Some(stop), Some(step)] => {
            Some(((stop - start) / step).ceil().max(0.0) as usize)
        }
        _ => None,
    };
    one(dtype, vec![len])
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

pub(super) fn grad_slice(ranges: &[SliceAxis], g: &Backward<'_>) -> Grads {
    let (b, op) = (&g.b, Op::SliceGrad(ranges.to_vec()));
    g.first(|| b.op(op, &[g.dy()?, &b.shape_of(g.x(0))?]))
}

pub(super) fn grad_slice_grad(ranges: &[SliceAxis], g: &Backward<'_>) -> Grads {
    g.first(|| g.b.op(Op::Slice(ranges.to_vec()), &[g.dy()?]))
}

pub(super) fn grad_pad(cells: &[(usize, usize)], g: &Backward<'_>) -> Grads {
    let inner = |&(before, after): &(usize, usize)| SliceAxis {
        start: Some(before as i64),
        stop: (after > 0).then_some(-(after as i64)),
        step: 1,
    };
    let ranges = cells.iter().map(inner).collect();
    g.first(|| g.b.op(Op::Slice(ranges), &[g.dy()?]))
}

pub(super) fn grad_concat(axis: usize, g: &Backward<'_>) -> Grads {
    let (b, dy, parts) = (&g.b, g.dy()?, &g.node.inputs);
    let mut shapes = Vec::new();
    let mut start = Some(0);
    let mut grads = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let stop = start.zip(part.shape()[axis]).map(|(s, n)| s + n);
        grads.push(g.to(index, || {
            if let (Some(start), Some(stop)) = (start, stop) {
                return b.op(Op::Slice(cut(dy.rank(), axis, start, stop)), &[dy]);
            }
            if shapes.is_empty() {
                let all = parts.iter().map(|p| b.shape_of(p));
                shapes = all.collect::<Result<Vec<_>, _>>()?;
            }
            let operands: Vec<&Tensor> = std::iter::once(dy).chain(&shapes).collect();
            b.op(Op::ConcatGrad { axis, index }, &operands)
        })?);
        start = stop;
    }
    Ok(grads)
}

/// The ranges that take `start..stop` along one axis and everything along the others.
fn cut(rank: usize, axis: usize, start: usize, stop: usize) -> Vec<SliceAxis> {
    let whole = SliceAxis {
        start: None,
        stop: None,
        step: 1,
    };
    let mut ranges = vec![whole; rank];
    ranges[axis].start = Some(start as i64);
    ranges[axis].stop = Some(stop as i64);
    ranges
}

/// Operands `(dy, shapes..)`: zeros in the place of all other parts.
pub(super) fn grad_concat_grad(axis: usize, index: usize, g: &Backward<'_>) -> Grads {
    let (b, dz) = (&g.b, g.dy()?);
    g.first(|| {
        let zero = b.scalar(dz.dtype(), 0.0)?;
        let part = |k: usize| match k == index {
            true => Ok(dz.clone()),
            false => b.op(Op::BroadcastTo, &[&zero, g.x(k + 1)]),
        };
        let parts = (0..g.node.inputs.len() - 1).map(part);
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        b.op(Op::Concat { axis }, &parts.iter().collect::<Vec<_>>())
    })
}

pub(super) fn grad_reverse(axes: &[usize], g: &Backward<'_>) -> Grads {
    let axes = axes.to_vec();
    g.first(|| g.b.op(Op::Reverse { axes }, &[g.dy()?]))
}

pub(super) fn grad_gather(axis: usize, g: &Backward<'_>) -> Grads {
    let b = &g.b;
    g.first(|| {
        let shape = b.shape_of(g.x(0))?;
        b.op(Op::ScatterAdd { axis }, &[g.x(1), g.dy()?, &shape])
    })
}

/// Operands `(indices, dy, shape)`.
pub(super) fn grad_scatter_add(axis: usize, g: &Backward<'_>) -> Grads {
    let to_dy = || g.b.op(Op::Gather { axis }, &[g.dy()?, g.x(0)]);
    Ok(vec![None, g.to(1, to_dy)?, None])
}
