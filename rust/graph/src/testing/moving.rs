//! Reductions, movement and indexing.

use super::{Array, elementwise, indices, ravel, unravel};
use crate::dtype::DType;
use crate::op::{BinaryOp, CumOp, Extreme, ReduceOp, SliceAxis};
use crate::ops::values::positions;

/// The elements that each result of a reduction over `axes` comes from.
fn groups(x: &Array, axes: &[usize]) -> Vec<Vec<f64>> {
    let kept: Vec<usize> = (0..x.shape.len()).filter(|a| !axes.contains(a)).collect();
    let shape: Vec<usize> = kept.iter().map(|&a| x.shape[a]).collect();
    let mut groups = vec![Vec::new(); shape.iter().product()];
    for (i, index) in indices(&x.shape).iter().enumerate() {
        let place: Vec<usize> = kept.iter().map(|&a| index[a]).collect();
        groups[ravel(&place, &shape)].push(x.data[i]);
    }
    groups
}

pub(super) fn reduce(op: ReduceOp, x: &Array, axes: &[usize]) -> Vec<f64> {
    let one = |g: &Vec<f64>| match op {
        ReduceOp::Sum => g.iter().sum(),
        ReduceOp::Mean => g.iter().sum::<f64>() / g.len() as f64,
        ReduceOp::Prod => g.iter().product(),
        ReduceOp::Max => g.iter().copied().fold(f64::NEG_INFINITY, elementwise::max),
        ReduceOp::Min => -g
            .iter()
            .map(|v| -v)
            .fold(f64::NEG_INFINITY, elementwise::max),
        ReduceOp::Any => f64::from(u8::from(g.iter().any(|&v| v != 0.0))),
        ReduceOp::All => f64::from(u8::from(g.iter().all(|&v| v != 0.0))),
    };
    groups(x, axes).iter().map(one).collect()
}

pub(super) fn arg_reduce(op: Extreme, x: &Array, axis: usize) -> Vec<f64> {
    let first = |g: &Vec<f64>| {
        let better = |a: f64, b: f64| match op {
            Extreme::Max => a > b,
            Extreme::Min => a < b,
        };
        (1..g.len()).fold(0, |best, i| if better(g[i], g[best]) { i } else { best }) as f64
    };
    groups(x, &[axis]).iter().map(first).collect()
}

pub(super) fn cumulative(
    op: CumOp,
    x: &Array,
    axis: usize,
    exclusive: bool,
    reverse: bool,
) -> Vec<f64> {
    let n = x.shape[axis];
    let element = |index: &Vec<usize>| {
        let i = index[axis];
        let (from, to) = match (reverse, exclusive) {
            (false, false) => (0, i + 1),
            (false, true) => (0, i),
            (true, false) => (i, n),
            (true, true) => (i + 1, n),
        };
        let along = (from..to).map(|j| {
            let mut place = index.clone();
            place[axis] = j;
            x.at(&place)
        });
        match op {
            CumOp::Sum => along.sum(),
            CumOp::Prod => along.product(),
        }
    };
    indices(&x.shape).iter().map(element).collect()
}

pub(super) fn moments(x: &Array, axes: &[usize]) -> Vec<Vec<f64>> {
    let groups = groups(x, axes);
    let mean = |g: &Vec<f64>| g.iter().sum::<f64>() / g.len() as f64;
    let variance = |g: &Vec<f64>| {
        let m = mean(g);
        g.iter().map(|v| (v - m).powi(2)).sum::<f64>() / g.len() as f64
    };
    vec![
        groups.iter().map(mean).collect(),
        groups.iter().map(variance).collect(),
    ]
}

pub(super) fn sum_to(x: &Array, shape: &[usize]) -> Vec<f64> {
    let skip = x.shape.len() - shape.len();
    let mut sums = vec![0.0; shape.iter().product()];
    for (i, index) in indices(&x.shape).iter().enumerate() {
        let pairs = index[skip..].iter().zip(shape);
        let place: Vec<usize> = pairs.map(|(&i, &n)| if n == 1 { 0 } else { i }).collect();
        sums[ravel(&place, shape)] += x.data[i];
    }
    sums
}

pub(super) fn transpose(x: &Array, perm: &[usize], shape: &[usize]) -> Vec<f64> {
    let element = |index: &Vec<usize>| {
        let mut place = vec![0; perm.len()];
        perm.iter().zip(index).for_each(|(&p, &i)| place[p] = i);
        x.at(&place)
    };
    indices(shape).iter().map(element).collect()
}

/// Where an element of a slice lies in the whole.
fn places(ranges: &[SliceAxis], whole: &[usize]) -> Vec<Vec<usize>> {
    let axes = ranges.iter().zip(whole);
    axes.map(|(r, &n)| positions(r, n).collect()).collect()
}

fn place(axes: &[Vec<usize>], index: &[usize]) -> Vec<usize> {
    axes.iter().zip(index).map(|(a, &i)| a[i]).collect()
}

pub(super) fn slice(x: &Array, ranges: &[SliceAxis], shape: &[usize]) -> Vec<f64> {
    let axes = places(ranges, &x.shape);
    let element = |index: &Vec<usize>| x.at(&place(&axes, index));
    indices(shape).iter().map(element).collect()
}

pub(super) fn slice_grad(dy: &Array, ranges: &[SliceAxis], shape: &[usize]) -> Vec<f64> {
    let axes = places(ranges, shape);
    let mut dx = vec![0.0; shape.iter().product()];
    for (i, index) in indices(&dy.shape).iter().enumerate() {
        dx[ravel(&place(&axes, index), shape)] = dy.data[i];
    }
    dx
}

pub(super) fn pad(x: &Array, cells: &[(usize, usize)], value: f64, shape: &[usize]) -> Vec<f64> {
    let element = |index: &Vec<usize>| {
        let inner: Option<Vec<usize>> = index
            .iter()
            .zip(cells)
            .zip(&x.shape)
            .map(|((&i, c), &n)| i.checked_sub(c.0).filter(|&i| i < n))
            .collect();
        inner.map_or(value, |i| x.at(&i))
    };
    indices(shape).iter().map(element).collect()
}

pub(super) fn concat(parts: &[&Array], axis: usize, shape: &[usize]) -> Vec<f64> {
    let element = |index: &Vec<usize>| {
        let mut index = index.clone();
        for part in parts {
            if index[axis] < part.shape[axis] {
                return part.at(&index);
            }
            index[axis] -= part.shape[axis];
        }
        unreachable!("the sizes add up")
    };
    indices(shape).iter().map(element).collect()
}

pub(super) fn concat_grad(x: &[&Array], axis: usize, part: usize, shape: &[usize]) -> Vec<f64> {
    let start: i64 = x[1..=part].iter().map(|s| s.ints()[axis]).sum();
    let element = |index: &Vec<usize>| {
        let mut place = index.clone();
        place[axis] += start as usize;
        x[0].at(&place)
    };
    indices(shape).iter().map(element).collect()
}

pub(super) fn reverse(x: &Array, axes: &[usize]) -> Vec<f64> {
    let element = |index: &Vec<usize>| {
        let mut place = index.clone();
        axes.iter()
            .for_each(|&a| place[a] = x.shape[a] - 1 - place[a]);
        x.at(&place)
    };
    indices(&x.shape).iter().map(element).collect()
}

pub(super) fn gather(x: &Array, which: &Array, axis: usize, shape: &[usize]) -> Vec<f64> {
    let inner = which.shape.len();
    let element = |index: &Vec<usize>| {
        let pick = which.at(&index[axis..axis + inner]) as usize;
        x.at(&[&index[..axis], &[pick], &index[axis + inner..]].concat())
    };
    indices(shape).iter().map(element).collect()
}

pub(super) fn scatter_add(which: &Array, dy: &Array, axis: usize, shape: &[usize]) -> Vec<f64> {
    let inner = which.shape.len();
    let mut dx = vec![0.0; shape.iter().product()];
    for (i, index) in indices(&dy.shape).iter().enumerate() {
        let pick = which.at(&index[axis..axis + inner]) as usize;
        let place = [&index[..axis], &[pick], &index[axis + inner..]].concat();
        dx[ravel(&place, shape)] += dy.data[i];
    }
    dx
}

#[test]
fn indices_go_there_and_back() {
    let shape = [2, 3, 4];
    for flat in 0..24 {
        assert_eq!(ravel(&unravel(flat, &shape), &shape), flat);
    }
    assert_eq!(
        elementwise::binary(BinaryOp::Mod, -7.0, 3.0, DType::I32),
        2.0
    );
}
