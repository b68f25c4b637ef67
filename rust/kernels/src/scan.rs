//! Cumulative sums and products.

use crate::dtype::Element;
use crate::error::KernelError;
use crate::par::SendPtr;
use crate::work::{self, Part};

/// How a cumulative operation combines elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScanOp {
    /// Cumulative sum.
    Sum,
    /// Cumulative product.
    Prod,
}

/// The cumulative sum or product along the middle axis of `[outer, scanned, inner]`, of the same
/// shape, from the end if `reverse` is set, without the element itself if `exclusive` is set.
///
/// Elements combine one after the other in the element type.
///
/// # Errors
/// When a slice's length does not fit.
pub fn cumulative<T: Element>(
    op: ScanOp,
    x: &[T],
    dims: [usize; 3],
    reverse: bool,
    exclusive: bool,
    out: &mut [T],
) -> Result<(), KernelError> {
    let total = dims.iter().product();
    KernelError::check_len("cumulative", "input", total, x.len())?;
    KernelError::check_len("cumulative", "output", total, out.len())?;
    match op {
        ScanOp::Sum => scan(x, dims, reverse, exclusive, T::NIL, T::plus, out),
        ScanOp::Prod => scan(x, dims, reverse, exclusive, T::UNIT, T::times, out),
    }
    Ok(())
}

fn scan<T: Element>(
    x: &[T],
    dims: [usize; 3],
    reverse: bool,
    exclusive: bool,
    start: T,
    join: impl Fn(T, T) -> T + Sync,
    out: &mut [T],
) {
    let [outer, scanned, inner] = dims;
    let n = scanned * inner;
    let target = SendPtr::new(out.as_mut_ptr());
    work::ranges(outer, n * 1500, &|range| {
        for o in range {
            // SAFETY: each outer index is one task's.
            let out = unsafe { target.slice(o * n..(o + 1) * n) };
            let x = &x[o * n..(o + 1) * n];
            let place = |step: usize| if reverse { scanned - 1 - step } else { step } * inner;
            for step in 0..scanned {
                let at = place(step);
                if step == 0 {
                    for i in at..at + inner {
                        out[i] = if exclusive { start } else { x[i] };
                    }
                    continue;
                }
                let before = place(step - 1);
                // Exclusive: the result before joined with the element before.
                let from = if exclusive { before } else { at };
                for i in 0..inner {
                    out[at + i] = join(out[before + i], x[from + i]);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::par;

    proptest! {
        #[test]
        fn scans_match_their_definition(
            dims in [0usize..4, 0usize..9, 0usize..9],
            reverse in any::<bool>(),
            exclusive in any::<bool>(),
            product in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let [_, scanned, inner] = dims;
            let n = dims.iter().product();
            let value = |i: usize| (seed.wrapping_mul(i as u64 * 2 + 1) >> 40) as i64 - (1 << 23);
            let x: Vec<i64> = (0..n).map(value).collect();
            let op = if product { ScanOp::Prod } else { ScanOp::Sum };
            let mut out = vec![7; n];
            cumulative(op, &x, dims, reverse, exclusive, &mut out).expect("fits");
            for k in 0..n {
                let (o, r, i) = (k / inner / scanned, k / inner % scanned, k % inner);
                let part = (0..scanned).filter(|&s| match (reverse, exclusive) {
                    (false, false) => s <= r,
                    (false, true) => s < r,
                    (true, false) => s >= r,
                    (true, true) => s > r,
                });
                let part = part.map(|s| x[(o * scanned + s) * inner + i]);
                let want = match op {
                    ScanOp::Sum => part.fold(0, i64::wrapping_add),
                    ScanOp::Prod => part.fold(1, i64::wrapping_mul),
                };
                prop_assert_eq!(out[k], want);
            }
        }
    }

    #[test]
    fn threads_do_not_change_bits() {
        let x: Vec<f32> = (0..120_000).map(|i| (i % 17) as f32 * 0.1).collect();
        let mut first = None;
        for threads in 1..=3 {
            let _guard = par::tests::threads(threads);
            let mut out = vec![0.0; x.len()];
            cumulative(ScanOp::Sum, &x, [60, 200, 10], false, false, &mut out).expect("fits");
            assert_eq!(first.get_or_insert_with(|| out.clone()), &out);
        }
        assert!(cumulative(ScanOp::Sum, &x, [1, 1, 1], false, false, &mut []).is_err());
    }
}
