//! Softmax, log-softmax, log-sum-exp and the cross-entropy of logits, over the last axis.

use crate::error::KernelError;
use crate::gather::{Index, check_indices};
use crate::math::Math;

fn check_rows(
    op: &'static str,
    columns: usize,
    lengths: &[(&'static str, usize)],
) -> Result<usize, KernelError> {
    let total = lengths[0].1;
    if columns == 0 && total == 0 {
        return Ok(0);
    }
    if columns == 0 || !total.is_multiple_of(columns) {
        return Err(KernelError::Shape {
            op,
            what: lengths[0].0,
            expected: format!("rows of {columns} elements"),
            got: total.to_string(),
        });
    }
    for &(what, n) in &lengths[1..] {
        KernelError::check_len(op, what, total, n)?;
    }
    Ok(total / columns)
}

fn row_max<T: Math>(row: &[T]) -> T {
    row.iter().fold(T::LOWEST, |a, &b| a.max_nan(b))
}

/// The largest element (0 if that is infinite, so that differences are defined) and the logarithm
/// of the sum of exponentials relative to it.
fn log_sum<T: Math>(row: &[T]) -> (T, T) {
    let max = row_max(row);
    let max = if max.absolute() == T::HIGHEST {
        T::ZERO
    } else {
        max
    };
    let sum = row.iter().fold(T::ZERO, |s, &x| s + (x - max).exp());
    (max, sum.ln())
}

/// Softmax of each row of `columns` elements.
///
/// # Errors
/// When the lengths do not fit.
pub fn softmax<T: Math>(x: &[T], columns: usize, out: &mut [T]) -> Result<(), KernelError> {
    let lengths = [("input", x.len()), ("output", out.len())];
    if check_rows("softmax", columns, &lengths)? == 0 {
        return Ok(());
    }
    for (x, out) in x.chunks_exact(columns).zip(out.chunks_exact_mut(columns)) {
        let max = row_max(x);
        let mut sum = T::ZERO;
        for (o, &x) in out.iter_mut().zip(x) {
            *o = (x - max).exp();
            sum += *o;
        }
        out.iter_mut().for_each(|o| *o = *o / sum);
    }
    Ok(())
}

/// The gradient of [`softmax`] to its input, from its output `y` and the gradient `dy` to it:
/// `y * (dy - sum(dy * y))`.
///
/// # Errors
/// When the lengths do not fit.
pub fn softmax_backward<T: Math>(
    y: &[T],
    dy: &[T],
    columns: usize,
    dx: &mut [T],
) -> Result<(), KernelError> {
    let lengths = [
        ("output", y.len()),
        ("gradient", dy.len()),
        ("result", dx.len()),
    ];
    if check_rows("softmax_backward", columns, &lengths)? == 0 {
        return Ok(());
    }
    let rows = y.chunks_exact(columns).zip(dy.chunks_exact(columns));
    for ((y, dy), dx) in rows.zip(dx.chunks_exact_mut(columns)) {
        let dot = y.iter().zip(dy).fold(T::ZERO, |s, (&y, &d)| s + y * d);
        for (d, (&y, &dy)) in dx.iter_mut().zip(y.iter().zip(dy)) {
            *d = y * (dy - dot);
        }
    }
    Ok(())
}

/// The logarithm of softmax of each row of `columns` elements.
///
/// # Errors
/// When the lengths do not fit.
pub fn log_softmax<T: Math>(x: &[T], columns: usize, out: &mut [T]) -> Result<(), KernelError> {
    let lengths = [("input", x.len()), ("output", out.len())];
    if check_rows("log_softmax", columns, &lengths)? == 0 {
        return Ok(());
    }
    for (x, out) in x.chunks_exact(columns).zip(out.chunks_exact_mut(columns)) {
        let (max, log) = log_sum(x);
        for (o, &x) in out.iter_mut().zip(x) {
            *o = (x - max) - log;
        }
    }
    Ok(())
}

/// The gradient of [`log_softmax`] to its input, from its output `y` and the gradient `dy` to it:
/// `dy - exp(y) * sum(dy)`.
///
/// # Errors
/// When the lengths do not fit.
pub fn log_softmax_backward<T: Math>(
    y: &[T],
    dy: &[T],
    columns: usize,
    dx: &mut [T],
) -> Result<(), KernelError> {
    let lengths = [
        ("output", y.len()),
        ("gradient", dy.len()),
        ("result", dx.len()),
    ];
    if check_rows("log_softmax_backward", columns, &lengths)? == 0 {
        return Ok(());
    }
    let rows = y.chunks_exact(columns).zip(dy.chunks_exact(columns));
    for ((y, dy), dx) in rows.zip(dx.chunks_exact_mut(columns)) {
        let sum = dy.iter().fold(T::ZERO, |s, &d| s + d);
        for (d, (&y, &dy)) in dx.iter_mut().zip(y.iter().zip(dy)) {
            *d = dy - y.exp() * sum;
        }
    }
    Ok(())
}

/// `ln(sum(exp(x)))` of each row of `columns` elements; negative infinity for empty rows.
///
/// # Errors
/// When the lengths do not fit.
pub fn log_sum_exp<T: Math>(x: &[T], columns: usize, out: &mut [T]) -> Result<(), KernelError> {
    KernelError::check_len("log_sum_exp", "input", out.len() * columns, x.len())?;
    for (row, o) in out.iter_mut().enumerate() {
        let (max, log) = log_sum(&x[row * columns..(row + 1) * columns]);
        *o = max + log;
    }
    Ok(())
}

/// The cross-entropy of each row's logits with target probabilities,
/// `sum(t) * logsumexp(x) - sum(t * x)`, and, where asked for, its gradient to the logits,
/// `sum(t) * softmax(x) - t`.
///
/// # Errors
/// When the lengths do not fit.
pub fn softmax_cross_entropy<T: Math>(
    logits: &[T],
    targets: &[T],
    columns: usize,
    loss: &mut [T],
    gradient: Option<&mut [T]>,
) -> Result<(), KernelError> {
    let op = "softmax_cross_entropy";
    KernelError::check_len(op, "logits", loss.len() * columns, logits.len())?;
    KernelError::check_len(op, "targets", logits.len(), targets.len())?;
    if let Some(g) = &gradient {
        KernelError::check_len(op, "gradient", logits.len(), g.len())?;
    }
    let mut gradient = gradient;
    for (row, l) in loss.iter_mut().enumerate() {
        let range = row * columns..(row + 1) * columns;
        let (x, t) = (&logits[range.clone()], &targets[range.clone()]);
        let (max, log) = log_sum(x);
        let mut sum = T::ZERO;
        let mut weight = T::ZERO;
        for (&x, &t) in x.iter().zip(t) {
            weight += t;
            // A target of 0 takes no part, even where the logit is infinite.
            sum += if t == T::ZERO {
                T::ZERO
            } else {
                t * (log - (x - max))
            };
        }
        *l = sum;
        if let Some(g) = gradient.as_deref_mut() {
            for (g, (&x, &t)) in g[range].iter_mut().zip(x.iter().zip(t)) {
                *g = weight * ((x - max) - log).exp() - t;
            }
        }
    }
    Ok(())
}

/// The cross-entropy of each row's logits with an integer target,
/// `logsumexp(x) - x[target]`, and, where asked for, its gradient to the logits.
///
/// # Errors
/// When a target is not within `0..columns` (nothing is written), or a length does not fit.
pub fn sparse_softmax_cross_entropy<T: Math, I: Index>(
    logits: &[T],
    targets: &[I],
    columns: usize,
    loss: &mut [T],
    gradient: Option<&mut [T]>,
) -> Result<(), KernelError> {
    let op = "sparse_softmax_cross_entropy";
    KernelError::check_len(op, "logits", loss.len() * columns, logits.len())?;
    KernelError::check_len(op, "targets", loss.len(), targets.len())?;
    if let Some(g) = &gradient {
        KernelError::check_len(op, "gradient", logits.len(), g.len())?;
    }
    check_indices(op, targets, columns)?;
    let mut gradient = gradient;
    for (row, l) in loss.iter_mut().enumerate() {
        let range = row * columns..(row + 1) * columns;
        let x = &logits[range.clone()];
        let target = targets[row].to_i64() as usize;
        let (max, log) = log_sum(x);
        *l = log - (x[target] - max);
        if let Some(g) = gradient.as_deref_mut() {
            let g = &mut g[range];
            for (g, &x) in g.iter_mut().zip(x) {
                *g = ((x - max) - log).exp();
            }
            g[target] = g[target] - T::ONE;
        }
    }
    Ok(())
}
