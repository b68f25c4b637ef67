//! Matrix products, convolutions and pooling.

use super::{Array, elementwise, indices, ravel, unravel};
use crate::op::{ConvAttrs, Epilogue, EpilogueActivation, Padding, PoolAttrs, UnaryOp};
use crate::ops::conv::extent;

pub(super) fn epilogue(mut z: Vec<f64>, e: &Epilogue, x: &[&Array]) -> Vec<f64> {
    if e.bias {
        let bias = &x[2].data;
        z.iter_mut()
            .enumerate()
            .for_each(|(i, v)| *v += bias[i % bias.len()]);
    }
    let f = e.activation.map(|a| match a {
        EpilogueActivation::Relu => UnaryOp::Relu,
        EpilogueActivation::Sigmoid => UnaryOp::Sigmoid,
        EpilogueActivation::Tanh => UnaryOp::Tanh,
    });
    match f {
        Some(f) => z.into_iter().map(|v| elementwise::unary(f, v)).collect(),
        None => z,
    }
}

pub(super) fn matmul(x: &Array, y: &Array, ta: bool, tb: bool, shape: &[usize]) -> Vec<f64> {
    let (rank, rx) = (shape.len(), x.shape.len());
    let depth = x.shape[rx - if ta { 2 } else { 1 }];
    let element = |index: &Vec<usize>| {
        let (lead, m, n) = (&index[..rank - 2], index[rank - 2], index[rank - 1]);
        let at = |t: &Array, i: usize, j: usize, turn: bool| {
            let lead = &lead[rank - t.shape.len()..];
            let last = if turn { [j, i] } else { [i, j] };
            // Matrix axes never broadcast, so an index into a size of 1 is 0 anyway.
            t.at(&[lead, &last].concat())
        };
        (0..depth).map(|k| at(x, m, k, ta) * at(y, k, n, tb)).sum()
    };
    indices(shape).iter().map(element).collect()
}

/// Calls `f(cell, window cell)` for every cell of the input that the window at `at` covers.
fn cover(
    at: &[usize],
    input: &[usize],
    window: &[usize],
    padding: &Padding,
    strides: &[usize],
    dilation: &[usize],
    mut f: impl FnMut(&[usize], &[usize]),
) {
    for k in indices(window) {
        let cell: Option<Vec<usize>> = (0..input.len())
            .map(|a| {
                let span = extent(window[a], dilation[a]);
                let before = padding
                    .windows(a, input[a], span, strides[a])
                    .unwrap()
                    .before;
                let i = at[a] * strides[a] + k[a] * dilation[a];
                i.checked_sub(before).filter(|&i| i < input[a])
            })
            .collect();
        if let Some(cell) = cell {
            f(&cell, &k);
        }
    }
}

/// Calls `f(x's index, kernel's index, y's index)` for every product of a convolution.
fn products(
    a: &ConvAttrs,
    x: &[usize],
    kernel: &[usize],
    y: &[usize],
    mut f: impl FnMut(usize, usize, usize),
) {
    let s = kernel.len() - 2;
    let (per_group, filters) = (kernel[s], kernel[s + 1]);
    for index in indices(y) {
        let (n, at, co) = (index[0], &index[1..=s], index[s + 1]);
        let group = co / (filters / a.groups);
        let to = ravel(&index, y);
        let window = &kernel[..s];
        cover(
            at,
            &x[1..=s],
            window,
            &a.padding,
            &a.strides,
            &a.dilation,
            |cell, k| {
                for ci in 0..per_group {
                    let from = [&[n], cell, &[group * per_group + ci]].concat();
                    let weight = [k, &[ci, co]].concat();
                    f(ravel(&from, x), ravel(&weight, kernel), to);
                }
            },
        );
    }
}

pub(super) fn conv(a: &ConvAttrs, x: &Array, kernel: &Array, shape: &[usize]) -> Vec<f64> {
    let mut y = vec![0.0; shape.iter().product()];
    products(a, &x.shape, &kernel.shape, shape, |i, k, o| {
        y[o] += x.data[i] * kernel.data[k];
    });
    y
}

pub(super) fn conv_grad_input(
    a: &ConvAttrs,
    dy: &Array,
    kernel: &Array,
    shape: &[usize],
) -> Vec<f64> {
    let mut dx = vec![0.0; shape.iter().product()];
    products(a, shape, &kernel.shape, &dy.shape, |i, k, o| {
        dx[i] += dy.data[o] * kernel.data[k];
    });
    dx
}

pub(super) fn conv_grad_filter(a: &ConvAttrs, x: &Array, dy: &Array, shape: &[usize]) -> Vec<f64> {
    let mut dk = vec![0.0; shape.iter().product()];
    products(a, &x.shape, shape, &dy.shape, |i, k, o| {
        dk[k] += x.data[i] * dy.data[o];
    });
    dk
}

/// For each output of a pooling: the flat indices of its cells, and their places in the window.
fn windows(a: &PoolAttrs, x: &[usize], y: &[usize]) -> Vec<Vec<(usize, usize)>> {
    let s = a.size.len();
    let ones = vec![1; s];
    let of = |index: &Vec<usize>| {
        let (n, c) = (index[0], index[s + 1]);
        let mut cells = Vec::new();
        let at = &index[1..=s];
        cover(
            at,
            &x[1..=s],
            &a.size,
            &a.padding,
            &a.strides,
            &ones,
            |cell, k| {
                let from = [&[n], cell, &[c]].concat();
                cells.push((ravel(&from, x), ravel(k, &a.size)));
            },
        );
        cells
    };
    indices(y).iter().map(of).collect()
}

pub(super) fn max_pool(a: &PoolAttrs, x: &Array, shape: &[usize]) -> Vec<Vec<f64>> {
    let (mut top, mut place) = (Vec::new(), Vec::new());
    for cells in windows(a, &x.shape, shape) {
        let best = |b: (usize, usize), c: (usize, usize)| match x.data[c.0] > x.data[b.0] {
            true => c,
            false => b,
        };
        let best = cells.into_iter().reduce(best).expect("no window is empty");
        top.push(x.data[best.0]);
        place.push(best.1 as f64);
    }
    vec![top, place]
}

pub(super) fn max_pool_grad(a: &PoolAttrs, dy: &Array, place: &Array, shape: &[usize]) -> Vec<f64> {
    let mut dx = vec![0.0; shape.iter().product()];
    for (o, cells) in windows(a, shape, &dy.shape).iter().enumerate() {
        let chosen = cells.iter().find(|c| c.1 as f64 == place.data[o]);
        dx[chosen.expect("the place is in the window").0] += dy.data[o];
    }
    dx
}

pub(super) fn avg_pool(a: &PoolAttrs, x: &Array, shape: &[usize]) -> Vec<f64> {
    let mean = |cells: &Vec<(usize, usize)>| {
        cells.iter().map(|c| x.data[c.0]).sum::<f64>() / cells.len() as f64
    };
    windows(a, &x.shape, shape).iter().map(mean).collect()
}

pub(super) fn avg_pool_grad(a: &PoolAttrs, dy: &Array, shape: &[usize]) -> Vec<f64> {
    let mut dx = vec![0.0; shape.iter().product()];
    for (o, cells) in windows(a, shape, &dy.shape).iter().enumerate() {
        cells
            .iter()
            .for_each(|c| dx[c.0] += dy.data[o] / cells.len() as f64);
    }
    dx
}

#[test]
fn a_window_covers_what_it_should() {
    let mut seen = Vec::new();
    cover(&[0], &[3], &[3], &Padding::Same, &[1], &[1], |c, k| {
        seen.push((c[0], k[0]));
    });
    assert_eq!(seen, [(0, 1), (1, 2)]);
    assert_eq!(unravel(5, &[2, 3]), [1, 2]);
}
