//! The cross-entropy of logits, with dense and with integer targets.

use super::{LANES, Rows, across, exp_sum, for_rows, load, row_max, write_exp};
use crate::error::KernelError;
use crate::gather::{Index, check_indices};
use crate::math::Math;
use crate::par::SendPtr;
use crate::reduce::{Sum, fold_lanes};
use crate::work::Part;

struct Dense<'a, T> {
    logits: &'a [T],
    targets: &'a [T],
    columns: usize,
    loss: SendPtr<T>,
    gradient: Option<SendPtr<T>>,
}

impl<T: Math> Rows for Dense<'_, T> {
    #[inline(always)]
    fn rows(&self, range: std::ops::Range<usize>, lanes: usize) {
        for row in range {
            let range = row * self.columns..(row + 1) * self.columns;
            let (x, t) = (&self.logits[range.clone()], &self.targets[range.clone()]);
            let max = row_max(x);
            // SAFETY: each row is one task's.
            let gradient = self.gradient.map(|g| unsafe { g.slice(range) });
            let weight = fold_lanes::<T, Sum>(t);
            let sum = match gradient {
                None => exp_sum(x, max, lanes),
                Some(g) => {
                    let sum = write_exp(x, max, g, lanes);
                    let scale = weight / sum;
                    for (g, &t) in g.iter_mut().zip(t) {
                        *g = g.mul_add(scale, -t);
                    }
                    sum
                }
            };
            let log = sum.ln();
            let loss = expected_loss(x, t, max, log);
            // SAFETY: as above.
            unsafe { self.loss.slice(row..row + 1)[0] = loss };
        }
    }
}

/// The sum of `t * (log - (x - max))`.
#[inline(always)]
fn expected_loss<T: Math>(x: &[T], t: &[T], max: T, log: T) -> T {
    let mut sums = [T::ZERO; LANES];
    for at in (0..t.len()).step_by(LANES) {
        let (x, t) = (load(x, at, T::ZERO), load(t, at, T::ZERO));
        for i in 0..LANES {
            // A target of 0 takes no part, even where the logit is infinite.
            let v = t[i] * (log - (x[i] - max));
            sums[i] += if t[i] == T::ZERO { T::ZERO } else { v };
        }
    }
    across(sums, |a, b| a + b)
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
    let job = Dense {
        logits,
        targets,
        columns,
        loss: SendPtr::new(loss.as_mut_ptr()),
        gradient: gradient.map(|g| SendPtr::new(g.as_mut_ptr())),
    };
    for_rows(loss.len(), columns, 600, &job);
    Ok(())
}

struct Sparse<'a, T, I> {
    logits: &'a [T],
    targets: &'a [I],
    columns: usize,
    loss: SendPtr<T>,
    gradient: Option<SendPtr<T>>,
}

impl<T: Math, I: Index> Rows for Sparse<'_, T, I> {
    #[inline(always)]
    fn rows(&self, range: std::ops::Range<usize>, lanes: usize) {
        for row in range {
            let range = row * self.columns..(row + 1) * self.columns;
            let x = &self.logits[range.clone()];
            let target = self.targets[row].to_i64() as usize;
            let max = row_max(x);
            // SAFETY: each row is one task's.
            let gradient = self.gradient.map(|g| unsafe { g.slice(range) });
            let sum = match gradient {
                None => exp_sum(x, max, lanes),
                Some(g) => {
                    let sum = write_exp(x, max, g, lanes);
                    let scale = T::ONE / sum;
                    g.iter_mut().for_each(|g| *g = *g * scale);
                    g[target] = g[target] - T::ONE;
                    sum
                }
            };
            // SAFETY: as above.
            unsafe { self.loss.slice(row..row + 1)[0] = sum.ln() - (x[target] - max) };
        }
    }
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
    let job = Sparse {
        logits,
        targets,
        columns,
        loss: SendPtr::new(loss.as_mut_ptr()),
        gradient: gradient.map(|g| SendPtr::new(g.as_mut_ptr())),
    };
    for_rows(loss.len(), columns, 500, &job);
    Ok(())
}
