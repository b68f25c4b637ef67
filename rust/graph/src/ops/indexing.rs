//! Parts of tensors: slices, padding, joining, gathering, counting.

use crate::dtype::DType;
use crate::node::Tensor;
use crate::op::{Op, SliceAxis};
use crate::ops::backward::{Backward, Grads};
use crate::ops::operands::{Inferred, Operands, merge, one};
use crate::ops::sample::{Sample, SampleInput, Values, below, float, sizes};
use crate::ops::values::{Num, span};
use crate::shape::{Dim, Shape, show};

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

pub(super) fn samples() -> Vec<Sample> {
    let mut all = slice_samples();
    let mut add = |op: Op, inputs: Vec<SampleInput>| all.push(Sample::new(op, inputs));
    let value = 1.5f64.to_bits();
    for (shape, cells) in [
        (&[2, 3][..], vec![(1, 0), (0, 2)]),
        (&[0], vec![(1, 1)]),
        (&[1, 2, 2, 1], vec![(0, 0), (1, 1), (2, 0), (0, 0)]),
    ] {
        add(Op::Pad { cells, value }, vec![float(shape)]);
    }
    for (parts, axis) in [
        (vec![&[2, 3][..], &[1, 3]], 0),
        (vec![&[2, 3], &[2, 1], &[2, 0]], 1),
        (vec![&[2]], 0),
    ] {
        let inputs: Vec<SampleInput> = parts.iter().map(|p| float(p)).collect();
        add(Op::Concat { axis }, inputs);
        let total = parts.iter().map(|p| p[axis]).sum();
        let mut whole = parts[0].to_vec();
        whole[axis] = total;
        let of = |p: &&[usize]| sizes(&p.iter().map(|&n| n as i64).collect::<Vec<_>>());
        for index in 0..parts.len() {
            let mut inputs = vec![float(&whole)];
            inputs.extend(parts.iter().map(of));
            add(Op::ConcatGrad { axis, index }, inputs);
        }
    }
    for (shape, axes) in [
        (&[3][..], vec![0]),
        (&[2, 3, 2], vec![0, 2]),
        (&[0, 2], vec![1]),
    ] {
        add(Op::Reverse { axes }, vec![float(shape)]);
    }
    for (x, indices, axis) in [
        (&[5, 3][..], &[4][..], 0),
        (&[5, 3], &[2, 2], 0),
        (&[2, 4, 3], &[6], 1),
        (&[5, 3], &[], 0),
        (&[5, 3], &[0], 0),
    ] {
        for dtype in [DType::I32, DType::I64] {
            let indices = below(dtype, indices, x[axis]);
            let dy = [&x[..axis], &indices.shape, &x[axis + 1..]].concat();
            let shape = sizes(&x.iter().map(|&n| n as i64).collect::<Vec<_>>());
            add(
                Op::ScatterAdd { axis },
                vec![indices.clone(), float(&dy), shape],
            );
            add(Op::Gather { axis }, vec![float(x), indices]);
        }
    }
    for (dtype, ends) in [
        (DType::I64, [0.0, 7.0, 2.0]),
        (DType::I32, [5.0, 0.0, -2.0]),
        (DType::F32, [0.0, 1.0, 0.25]),
        (DType::F32, [3.0, 1.0, 1.0]),
    ] {
        let scalar = |v: f64| SampleInput {
            constant: true,
            ..SampleInput::new(dtype, &[], Values::Given(vec![v]))
        };
        let inputs = ends.into_iter().map(scalar).collect();
        all.push(Sample::new(Op::Arange(dtype), inputs).without_gradient());
    }
    all
}

fn slice_samples() -> Vec<Sample> {
    let range = |start, stop, step| SliceAxis { start, stop, step };
    let all = range(None, None, 1);
    let cases: [(&[usize], Vec<SliceAxis>); 6] = [
        (&[5], vec![range(Some(1), Some(-1), 1)]),
        (&[4, 6], vec![all, range(None, None, 2)]),
        (
            &[4, 6],
            vec![range(Some(-1), None, 1), range(None, None, -1)],
        ),
        (
            &[3, 2, 5],
            vec![all, range(Some(0), Some(1), 1), range(Some(4), Some(0), -3)],
        ),
        (&[3], vec![range(Some(2), Some(2), 1)]),
        (&[0, 2], vec![all, range(Some(1), None, 1)]),
    ];
    let both = |(shape, ranges): (&[usize], Vec<SliceAxis>)| {
        let cut: Vec<usize> = shape
            .iter()
            .zip(&ranges)
            .map(|(&n, r)| span(r, n).1)
            .collect();
        let target = sizes(&shape.iter().map(|&n| n as i64).collect::<Vec<_>>());
        let grad = Op::SliceGrad(ranges.clone());
        [
            Sample::new(Op::Slice(ranges), vec![float(shape)]),
            Sample::new(grad, vec![float(&cut), target]),
        ]
    };
    cases.into_iter().flat_map(both).collect()
}
