//! Matrix products.

use crate::op::Epilogue;
use crate::ops::operands::{Inferred, Operands, merge, one};
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
