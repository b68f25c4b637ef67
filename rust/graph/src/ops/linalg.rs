//! Matrix products.

use crate::error::GraphError;
use crate::node::Tensor;
use crate::op::{Epilogue, Op};
use crate::ops::backward::{Backward, Grads};
use crate::ops::operands::{Inferred, Operands, merge, one};
use crate::ops::sample::{Sample, float};
use crate::shape::{Dim, broadcast};

/// Rows and columns of the matrices of a shape.
fn matrix(shape: &[Dim], transpose: bool) -> (Dim, Dim) {
    let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    if transpose {
        (columns, rows)
    } else {
        (rows, columns)
    }
}

pub(super) fn infer_matmul(
    transpose_a: bool,
    transpose_b: bool,
    epilogue: &Epilogue,
    o: &Operands<'_>,
) -> Inferred {
    o.count(2 + usize::from(epilogue.bias))?;
    o.float(0, "x")?;
    let dtype = o.same_dtype(0, 1)?;
    if o.rank(0) < 2 || o.rank(1) < 2 {
        return Err(format!(
            "operands must have at least 2 axes, got shapes {} and {}; expand the vector to a \
             matrix",
            o.show(0),
            o.show(1)
        ));
    }
    let (a, b) = (o.shape(0), o.shape(1));
    let (m, k) = matrix(a, transpose_a);
    let (l, n) = matrix(b, transpose_b);
    if merge(k, l).is_none() {
        let turned = |t: bool| if t { " (transposed)" } else { "" };
        return Err(format!(
            "cannot multiply shape {}{} by shape {}{}: the first has {} columns, the second {} \
             rows",
            o.show(0),
            turned(transpose_a),
            o.show(1),
            turned(transpose_b),
            k.unwrap_or_default(),
            l.unwrap_or_default()
        ));
    }
    let lead = broadcast(&a[..a.len() - 2], &b[..b.len() - 2]).ok_or_else(|| {
        format!(
            "the leading axes of shapes {} and {} do not broadcast: sizes must be equal or 1",
            o.show(0),
            o.show(1)
        )
    })?;
    if epilogue.bias {
        check_bias(o, 2, n)?;
    }
    one(dtype, [lead.as_slice(), &[m, n]].concat())
}

/// Checks that operand `k` is a bias over an axis of size `n`.
pub(super) fn check_bias(o: &Operands<'_>, k: usize, n: Dim) -> Result<(), String> {
    o.same_dtype(0, k)?;
    if o.rank(k) == 1 && merge(o.shape(k)[0], n).is_some() {
        return Ok(());
    }
    let want = crate::shape::show(&[n]);
    Err(format!(
        "the bias must have shape {want}, got {}",
        o.show(k)
    ))
}

/// Gradients of `z = x y`: products of `dz` with the other operand, transposed as needed, summed
/// over broadcast leading axes.
pub(super) fn grad_matmul(transpose_a: bool, transpose_b: bool, g: &Backward<'_>) -> Grads {
    let (b, x, y, dz) = (&g.b, g.x(0), g.x(1), g.dy()?);
    let to_x = || {
        let dx = match transpose_a {
            false => b.matmul(dz, y, false, !transpose_b),
            true => b.matmul(y, dz, transpose_b, true),
        };
        b.sum_like(&dx?, x)
    };
    let to_y = || {
        if let (2, 3.., false) = (y.rank(), x.rank(), transpose_a)
            && let (Some(k), Some(n)) = (columns(x), columns(dz))
        {
            return weight_gradient(transpose_b, g, k, n);
        }
        let dy = match transpose_b {
            false => b.matmul(x, dz, !transpose_a, false),
            true => b.matmul(dz, x, true, transpose_a),
        };
        b.sum_like(&dy?, y)
    };
    Ok(vec![g.to(0, to_x)?, g.to(1, to_y)?])
}

/// The size of the last axis, if it is known and not 0.
fn columns(t: &Tensor) -> Option<i64> {
    t.shape()[t.rank() - 1].filter(|&n| n > 0).map(|n| n as i64)
}

/// The gradient to a matrix that many matrices of `k` columns are multiplied with, giving `n`: one
/// product over all rows of all of them, rather than a product each and a sum.
fn weight_gradient(
    transpose_b: bool,
    g: &Backward<'_>,
    k: i64,
    n: i64,
) -> Result<Tensor, GraphError> {
    let b = &g.b;
    let rows = |t: &Tensor, columns| b.op(Op::Reshape, &[t, &b.ints(&[-1, columns])?]);
    let (x, dz) = (rows(g.x(0), k)?, rows(g.dy()?, n)?);
    match transpose_b {
        false => b.matmul(&x, &dz, true, false),
        true => b.matmul(&dz, &x, true, false),
    }
}

pub(super) fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    let mut add = |x: &[usize], y: &[usize], transpose_a, transpose_b| {
        let op = Op::MatMul {
            transpose_a,
            transpose_b,
            epilogue: Epilogue::default(),
        };
        all.push(Sample::new(op, vec![float(x), float(y)]));
    };
    add(&[3, 4], &[4, 5], false, false);
    add(&[4, 3], &[4, 5], true, false);
    add(&[3, 4], &[5, 4], false, true);
    add(&[4, 3], &[5, 4], true, true);
    add(&[1, 1], &[1, 1], false, false);
    add(&[0, 4], &[4, 5], false, false);
    add(&[3, 0], &[0, 5], false, false);
    add(&[2, 3, 4], &[4, 5], false, false);
    add(&[2, 3, 4], &[5, 4], false, true);
    add(&[2, 4, 3], &[4, 5], true, false);
    add(&[2, 3, 4], &[2, 4, 2], false, false);
    add(&[2, 1, 3, 4], &[3, 5, 4], false, true);
    add(&[3, 4], &[2, 4, 5], false, false);
    add(&[40, 33], &[33, 50], false, false);
    all
}
