//! Means and variances in one pass over memory.
//!
//! Blocks that fit the first-level cache are gone through twice: for their mean, and for the
//! squared distances from it. Blocks are merged in order, in f64 (Chan, Golub, LeVeque 1979), so
//! that nothing cancels however large the mean is.

use crate::error::KernelError;
use crate::math::Math;
use crate::par::SendPtr;
use crate::reduce::blocks::{Blocks, CHUNK};
use crate::reduce::{Sum, fold_rows};
use crate::scratch::Scratch;
use crate::simd::{self, Body};
use crate::work::{self, Part};

/// Rows of a chunk in a block: 32 KB of f32.
const DEPTH: usize = 16;

/// The mean and the biased variance over the middle axis of `[outer, reduced, inner]`, each of
/// `[outer, inner]`. Over the leading axes of `[rows, C]` it is `[1, rows, C]`.
///
/// NaN for an empty axis.
///
/// # Errors
/// When a slice's length does not fit.
pub fn moments<T: Math>(
    x: &[T],
    dims: [usize; 3],
    mean: &mut [T],
    variance: &mut [T],
) -> Result<(), KernelError> {
    let [outer, reduced, inner] = dims;
    KernelError::check_len("moments", "input", dims.iter().product(), x.len())?;
    KernelError::check_len("moments", "mean", outer * inner, mean.len())?;
    KernelError::check_len("moments", "variance", outer * inner, variance.len())?;
    if reduced == 0 || mean.is_empty() {
        mean.fill(T::from_f64(f64::NAN));
        variance.fill(T::from_f64(f64::NAN));
        return Ok(());
    }
    let cut = Blocks::new(reduced, inner, DEPTH);
    // Some blocks are merged by whoever computes them: that many make a partial result.
    let merged = 8;
    let parts = cut.blocks.div_ceil(merged);
    let units = parts * cut.chunks;
    let memory = Scratch::take(outer * parts * inner * 2 * size_of::<f64>());
    let partials = SendPtr::new(memory.ptr().cast::<f64>());
    let cost = reduced * inner * size_of::<T>() * 25 / units;
    work::ranges(outer * units, cost, &|range| {
        for t in range {
            let (o, part, c) = (t / units, t % units / cut.chunks, t % cut.chunks);
            let columns = cut.columns_of(c);
            let at = (o * parts + part) * 2 * inner;
            // SAFETY: the unit's own partial results.
            let (means, squares) = unsafe {
                (
                    partials.slice(at + columns.start..at + columns.end),
                    partials.slice(at + inner + columns.start..at + inner + columns.end),
                )
            };
            simd::dispatch(Unit {
                x: &x[o * reduced * inner..][..reduced * inner],
                cut: &cut,
                blocks: part * merged..((part + 1) * merged).min(cut.blocks),
                first: columns.start,
                means,
                squares,
            });
        }
    });
    for k in 0..outer * inner {
        let (o, i) = (k / inner, k % inner);
        let mut total = Moments::default();
        for part in 0..parts {
            let at = (o * parts + part) * 2 * inner + i;
            let rows = ((part + 1) * merged * cut.rows).min(reduced) - part * merged * cut.rows;
            // SAFETY: written by the unit of this part.
            let (mean, squares) =
                unsafe { (*partials.add(at).get(), *partials.add(at + inner).get()) };
            total = total.merge(rows as f64, mean, squares);
        }
        mean[k] = T::from_f64(total.mean);
        let v = total.squares / reduced as f64;
        // Rounding may leave a constant column just below 0.
        variance[k] = T::from_f64(if v < 0.0 { 0.0 } else { v });
    }
    Ok(())
}

/// Count, mean and sum of squared distances from the mean.
#[derive(Clone, Copy, Default)]
struct Moments {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    #[inline(always)]
    fn merge(self, n: f64, mean: f64, squares: f64) -> Moments {
        let total = self.n + n;
        let delta = mean - self.mean;
        let weight = n / total;
        Moments {
            n: total,
            mean: self.mean + delta * weight,
            squares: self.squares + squares + delta * delta * self.n * weight,
        }
    }
}

/// Some blocks of a chunk of columns.
struct Unit<'a, T> {
    x: &'a [T],
    cut: &'a Blocks,
    blocks: std::ops::Range<usize>,
    first: usize,
    means: &'a mut [f64],
    squares: &'a mut [f64],
}

impl<T: Math> Body for Unit<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let (inner, width) = (self.cut.inner, self.means.len());
        let mut done = 0.0;
        for b in self.blocks {
            let rows = self.cut.rows_of(b);
            let n = rows.len() as f64;
            let block = &self.x[rows.start * inner..rows.end * inner];
            let (mean, rest, squares) =
                block_moments(block, inner, self.first, width, self.cut.group);
            let total = done + n;
            let (weight, cross) = (n / total, done * n / total);
            for i in 0..width {
                // The block's mean was rounded; `rest` is the sum of distances from it.
                let rest = rest[i].to_f64();
                let exact = mean[i].to_f64() + rest / n;
                let square = squares[i].to_f64() - rest * rest / n;
                if done == 0.0 {
                    (self.means[i], self.squares[i]) = (exact, square);
                } else {
                    let delta = exact - self.means[i];
                    self.means[i] += delta * weight;
                    self.squares[i] += square + delta * delta * cross;
                }
            }
            done = total;
        }
    }
}

/// The rounded mean of each column, and the sums of distances and squared distances from it.
#[inline(always)]
fn block_moments<T: Math>(
    block: &[T],
    inner: usize,
    first: usize,
    width: usize,
    group: usize,
) -> ([T; CHUNK], [T; CHUNK], [T; CHUNK]) {
    let rows = block.len() / inner;
    let lanes = (width * group).min(rows * width);
    let step = inner * group;
    let zero = [T::ZERO; CHUNK];
    let (mut mean, mut rest, mut squares) = (zero, zero, zero);
    for row in block.chunks(step) {
        let n = lanes.min(row.len() - first);
        for (m, &v) in mean[..n].iter_mut().zip(&row[first..first + n]) {
            *m += v;
        }
    }
    fold_rows::<T, Sum>(&mut mean[..lanes], width);
    let scale = T::ONE / T::from_f64(rows as f64);
    for m in &mut mean[..width] {
        *m = *m * scale;
    }
    // Every row of a group has the same means.
    for i in width..lanes {
        mean[i] = mean[i - width];
    }
    for row in block.chunks(step) {
        let n = lanes.min(row.len() - first);
        let sums = rest[..n].iter_mut().zip(&mut squares[..n]);
        for ((r, s), (&m, &v)) in sums.zip(mean[..n].iter().zip(&row[first..first + n])) {
            let d = v - m;
            *r += d;
            *s = d.mul_add(d, *s);
        }
    }
    fold_rows::<T, Sum>(&mut rest[..lanes], width);
    fold_rows::<T, Sum>(&mut squares[..lanes], width);
    (mean, rest, squares)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::par;

    proptest! {
        #[test]
        fn moments_match_two_passes(
            dims in prop_oneof![
                [0usize..4, 0usize..40, 0usize..40],
                [1usize..3, 1usize..400, 1usize..700],
                (1usize..4, 1usize..40_000).prop_map(|(a, b)| [a, b, 1]),
            ],
            offset in prop_oneof![Just(0.0f64), Just(1e4), Just(-3e6)],
            seed in any::<u32>(),
        ) {
            let hash = |i: usize| (i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 12;
            let n = dims.iter().product();
            let x: Vec<f32> = (0..n).map(|i| (f64::from(hash(i)) * 1e-5 + offset) as f32).collect();
            let results = dims[0] * dims[2];
            let (mut mean, mut variance) = (vec![7.0; results], vec![7.0; results]);
            moments(&x, dims, &mut mean, &mut variance).expect("fits");
            for k in 0..results {
                let (o, i) = (k / dims[2], k % dims[2]);
                let column = (0..dims[1]).map(|r| f64::from(x[(o * dims[1] + r) * dims[2] + i]));
                let m = column.clone().sum::<f64>() / dims[1] as f64;
                let v = column.map(|v| (v - m).powi(2)).sum::<f64>() / dims[1] as f64;
                if dims[1] == 0 {
                    prop_assert!(mean[k].is_nan() && variance[k].is_nan());
                    continue;
                }
                prop_assert!((f64::from(mean[k]) - m).abs() <= 1e-7 * m.abs().max(1e-3));
                let error = (f64::from(variance[k]) - v).abs();
                prop_assert!(error <= 2e-6 * v + 1e-12 * m * m * 1e-2, "{} {v}", variance[k]);
                prop_assert!(variance[k] >= 0.0);
            }
        }
    }

    #[test]
    fn constants_have_no_variance_and_threads_do_not_matter() {
        let x: Vec<f32> = (0..500_000).map(|i| (i % 10) as f32 * 1.1 + 0.1).collect();
        let mut first = None;
        for threads in 1..=3 {
            let _guard = par::tests::threads(threads);
            let (mut mean, mut variance) = ([0.0; 10], [7.0; 10]);
            moments(&x, [1, 50_000, 10], &mut mean, &mut variance).expect("fits");
            for i in 0..10 {
                assert_eq!(mean[i], x[i]);
                assert!(variance[i] < 1e-12, "{}", variance[i]);
            }
            assert_eq!(first.get_or_insert((mean, variance)), &(mean, variance));
        }
        let (mut mean, mut variance) = ([0.0f32], [0.0f32]);
        moments(&[1.0, f32::NAN], [1, 2, 1], &mut mean, &mut variance).expect("fits");
        assert!(mean[0].is_nan() && variance[0].is_nan());
        assert!(moments(&[1.0f32], [1, 2, 1], &mut mean, &mut variance).is_err());
    }
}
