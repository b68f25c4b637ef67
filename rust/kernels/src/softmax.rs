//! Softmax, log-softmax, log-sum-exp and the cross-entropy of logits, over the last axis.
//!
//! A row is gone through in groups of [`LANES`] elements, the last one padded, so that rows of ten
//! are as fast as rows of sixteen. Sums run in lanes that are combined pairwise: a row's result
//! depends on nothing but the row.

mod cross_entropy;
#[cfg(test)]
mod tests;

pub use cross_entropy::{softmax_cross_entropy, sparse_softmax_cross_entropy};

use crate::error::KernelError;
use crate::math::Math;
use crate::par::SendPtr;
use crate::reduce::{Max, Sum, fold_lanes};
use crate::simd::{self, Body};
use crate::work::{self, Part};

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

/// Elements that are computed side by side.
const LANES: usize = 16;

/// The group of elements that starts at `at`, padded with `fill`.
#[inline(always)]
fn load<T: Math>(row: &[T], at: usize, fill: T) -> [T; LANES] {
    let mut group = [fill; LANES];
    if let Some(whole) = row.get(at..at + LANES) {
        group.copy_from_slice(whole);
    } else {
        group[..row.len() - at].copy_from_slice(&row[at..]);
    }
    group
}

/// Combines the lanes pairwise.
#[inline(always)]
fn across<T: Math>(mut lanes: [T; LANES], join: impl Fn(T, T) -> T) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = join(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest element, or 0 if that is infinite, so that differences are defined; NaN for NaN.
#[inline(always)]
fn row_max<T: Math>(row: &[T]) -> T {
    let max = fold_lanes::<T, Max>(row);
    if max.absolute() == T::HIGHEST {
        T::ZERO
    } else {
        max
    }
}

/// Exponentials relative to `max`. The number of elements must not be known when this is compiled:
/// LLVM unrolls short loops of known length before it could vectorise them, and never does.
#[inline(always)]
fn exp_all<T: Math>(x: &[T], max: T, out: &mut [T]) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = (x - max).exp();
    }
}

/// Writes the exponentials relative to `max` and returns their sum.
#[inline(always)]
fn write_exp<T: Math>(row: &[T], max: T, out: &mut [T], lanes: usize) -> T {
    let whole = row.len() / LANES * LANES;
    exp_all(&row[..whole], max, &mut out[..whole]);
    let (mut tail, mut result) = ([T::LOWEST; LANES], [T::ZERO; LANES]);
    if whole < row.len() {
        tail[..row.len() - whole].copy_from_slice(&row[whole..]);
        exp_all(&tail[..lanes], max, &mut result[..lanes]);
        let n = row.len() - whole;
        out[whole..].copy_from_slice(&result[..n]);
    }
    fold_lanes::<T, Sum>(out)
}

/// The sum of exponentials relative to `max`.
#[inline(always)]
fn exp_sum<T: Math>(row: &[T], max: T, lanes: usize) -> T {
    let mut buffer = [T::ZERO; 512];
    let mut sum = T::ZERO;
    for part in row.chunks(buffer.len()) {
        sum += write_exp(part, max, &mut buffer[..part.len()], lanes);
    }
    sum
}

/// What is done with a row; implementations are `#[inline(always)]`.
trait Rows: Sync {
    /// Works on rows `range`; `lanes` is [`LANES`], as a variable.
    fn rows(&self, range: std::ops::Range<usize>, lanes: usize);
}

struct Job<'a, R>(&'a R, std::ops::Range<usize>);

impl<R: Rows> Body for Job<'_, R> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        self.0.rows(self.1, std::hint::black_box(LANES));
    }
}

/// Spreads rows over the threads; an element costs some `cost` picoseconds.
fn for_rows<R: Rows>(rows: usize, columns: usize, cost: usize, job: &R) {
    work::ranges(rows, columns.next_multiple_of(LANES) * cost, &|range| {
        simd::dispatch(Job(job, range));
    });
}

struct Softmax<'a, T> {
    x: &'a [T],
    columns: usize,
    out: SendPtr<T>,
}

impl<T: Math> Rows for Softmax<'_, T> {
    #[inline(always)]
    fn rows(&self, range: std::ops::Range<usize>, lanes: usize) {
        for row in range {
            let range = row * self.columns..(row + 1) * self.columns;
            let x = &self.x[range.clone()];
            // SAFETY: each row is one task's.
            let out = unsafe { self.out.slice(range) };
            let max = row_max(x);
            let scale = T::ONE / write_exp(x, max, out, lanes);
            for o in out {
                *o = *o * scale;
            }
        }
    }
}

/// Softmax of each row of `columns` elements.
///
/// # Errors
/// When the lengths do not fit.
pub fn softmax<T: Math>(x: &[T], columns: usize, out: &mut [T]) -> Result<(), KernelError> {
    let lengths = [("input", x.len()), ("output", out.len())];
    let rows = check_rows("softmax", columns, &lengths)?;
    let out = SendPtr::new(out.as_mut_ptr());
    for_rows(rows, columns, 500, &Softmax { x, columns, out });
    Ok(())
}

struct SoftmaxBackward<'a, T> {
    y: &'a [T],
    dy: &'a [T],
    columns: usize,
    dx: SendPtr<T>,
}

impl<T: Math> Rows for SoftmaxBackward<'_, T> {
    #[inline(always)]
    fn rows(&self, range: std::ops::Range<usize>, _lanes: usize) {
        for row in range {
            let range = row * self.columns..(row + 1) * self.columns;
            let (y, dy) = (&self.y[range.clone()], &self.dy[range.clone()]);
            // SAFETY: each row is one task's.
            let dx = unsafe { self.dx.slice(range) };
            let mut dots = [T::ZERO; LANES];
            for at in (0..y.len()).step_by(LANES) {
                let (a, b) = (load(y, at, T::ZERO), load(dy, at, T::ZERO));
                for i in 0..LANES {
                    dots[i] = a[i].mul_add(b[i], dots[i]);
                }
            }
            let dot = across(dots, |a, b| a + b);
            for (d, (&y, &dy)) in dx.iter_mut().zip(y.iter().zip(dy)) {
                *d = y * (dy - dot);
            }
        }
    }
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
    let rows = check_rows("softmax_backward", columns, &lengths)?;
    let dx = SendPtr::new(dx.as_mut_ptr());
    for_rows(rows, columns, 300, &SoftmaxBackward { y, dy, columns, dx });
    Ok(())
}

struct LogSoftmax<'a, T> {
    x: &'a [T],
    columns: usize,
    out: SendPtr<T>,
}

impl<T: Math> Rows for LogSoftmax<'_, T> {
    #[inline(always)]
    fn rows(&self, range: std::ops::Range<usize>, lanes: usize) {
        for row in range {
            let range = row * self.columns..(row + 1) * self.columns;
            let x = &self.x[range.clone()];
            // SAFETY: each row is one task's.
            let out = unsafe { self.out.slice(range) };
            let max = row_max(x);
            let log = exp_sum(x, max, lanes).ln();
            for (o, &x) in out.iter_mut().zip(x) {
                *o = (x - max) - log;
            }
        }
    }
}

/// The logarithm of softmax of each row of `columns` elements.
///
/// # Errors
/// When the lengths do not fit.
pub fn log_softmax<T: Math>(x: &[T], columns: usize, out: &mut [T]) -> Result<(), KernelError> {
    let lengths = [("input", x.len()), ("output", out.len())];
    let rows = check_rows("log_softmax", columns, &lengths)?;
    let out = SendPtr::new(out.as_mut_ptr());
    for_rows(rows, columns, 500, &LogSoftmax { x, columns, out });
    Ok(())
}

struct LogSoftmaxBackward<'a, T> {
    y: &'a [T],
    dy: &'a [T],
    columns: usize,
    dx: SendPtr<T>,
}

impl<T: Math> Rows for LogSoftmaxBackward<'_, T> {
    #[inline(always)]
    fn rows(&self, range: std::ops::Range<usize>, _lanes: usize) {
        for row in range {
            let range = row * self.columns..(row + 1) * self.columns;
            let (y, dy) = (&self.y[range.clone()], &self.dy[range.clone()]);
            // SAFETY: each row is one task's.
            let dx = unsafe { self.dx.slice(range) };
            let sum = fold_lanes::<T, Sum>(dy);
            exp_all(y, T::ZERO, dx);
            for (d, &dy) in dx.iter_mut().zip(dy) {
                *d = (-*d).mul_add(sum, dy);
            }
        }
    }
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
    let rows = check_rows("log_softmax_backward", columns, &lengths)?;
    let dx = SendPtr::new(dx.as_mut_ptr());
    for_rows(
        rows,
        columns,
        400,
        &LogSoftmaxBackward { y, dy, columns, dx },
    );
    Ok(())
}

struct LogSumExp<'a, T> {
    x: &'a [T],
    columns: usize,
    out: SendPtr<T>,
}

impl<T: Math> Rows for LogSumExp<'_, T> {
    #[inline(always)]
    fn rows(&self, range: std::ops::Range<usize>, lanes: usize) {
        for row in range {
            let x = &self.x[row * self.columns..(row + 1) * self.columns];
            let max = row_max(x);
            let log = max + exp_sum(x, max, lanes).ln();
            // SAFETY: each row is one task's.
            unsafe { self.out.slice(row..row + 1)[0] = log };
        }
    }
}

/// `ln(sum(exp(x)))` of each row of `columns` elements; negative infinity for empty rows.
///
/// # Errors
/// When the lengths do not fit.
pub fn log_sum_exp<T: Math>(x: &[T], columns: usize, out: &mut [T]) -> Result<(), KernelError> {
    KernelError::check_len("log_sum_exp", "input", out.len() * columns, x.len())?;
    let rows = out.len();
    let out = SendPtr::new(out.as_mut_ptr());
    for_rows(rows, columns, 400, &LogSumExp { x, columns, out });
    Ok(())
}
