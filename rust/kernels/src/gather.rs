//! Rows by index: gather, and its inverse that adds.

use std::ops::Range;

use crate::dtype::Element;
use crate::error::KernelError;
use crate::par::SendPtr;
use crate::simd::{self, Body};
use crate::work::{self, Part};

/// The element types of indices: `i32` and `i64`.
pub trait Index: Copy + Send + Sync + 'static {
    /// The index as a 64-bit integer.
    fn to_i64(self) -> i64;
}

impl Index for i32 {
    #[inline(always)]
    fn to_i64(self) -> i64 {
        self.into()
    }
}

impl Index for i64 {
    #[inline(always)]
    fn to_i64(self) -> i64 {
        self
    }
}

/// Finds the first index outside of `0..bound`. Nothing is written before this has passed.
///
/// # Errors
/// [`KernelError::Index`] with the index, its position and the bound.
pub fn check_indices<I: Index>(
    op: &'static str,
    indices: &[I],
    bound: usize,
) -> Result<(), KernelError> {
    let outside = |i: &I| i.to_i64() as u64 >= bound as u64;
    // Without a way out the loop is vectorised.
    if !indices.iter().fold(false, |any, i| any | outside(i)) {
        return Ok(());
    }
    match indices.iter().position(outside) {
        None => Ok(()),
        Some(position) => Err(KernelError::Index {
            op,
            index: indices[position].to_i64(),
            position,
            bound,
        }),
    }
}

/// Takes `indices` of the middle axis of `table` of `[outer, bound, inner]` into `out` of
/// `[outer, indices, inner]`. Rows along axis 0 are `[1, rows, row length]`.
///
/// # Errors
/// When an index is out of range (`out` is unchanged), or a length does not fit.
pub fn gather<T: Element, I: Index>(
    table: &[T],
    dims: [usize; 3],
    indices: &[I],
    out: &mut [T],
) -> Result<(), KernelError> {
    let [outer, bound, inner] = dims;
    KernelError::check_len("gather", "input", dims.iter().product(), table.len())?;
    KernelError::check_len("gather", "output", outer * indices.len() * inner, out.len())?;
    check_indices("gather", indices, bound)?;
    let rows = outer * indices.len();
    let target = SendPtr::new(out.as_mut_ptr());
    work::ranges(rows, inner * size_of::<T>() * 40 + 3000, &|range| {
        let (mut o, mut k) = (
            range.start / indices.len().max(1),
            range.start % indices.len().max(1),
        );
        for r in range {
            let from = (o * bound + indices[k].to_i64() as usize) * inner;
            // SAFETY: each row is one task's.
            let to = unsafe { target.slice(r * inner..(r + 1) * inner) };
            to.copy_from_slice(&table[from..from + inner]);
            k += 1;
            if k == indices.len() {
                (o, k) = (o + 1, 0);
            }
        }
    });
    Ok(())
}

/// Adds `values` of `[outer, indices, inner]` to `table` of `[outer, bound, inner]`, at `indices`
/// of the middle axis: the gradient of [`gather`]. Values for one index add up in their order.
///
/// # Errors
/// When an index is out of range (`table` is unchanged), or a length does not fit.
pub fn scatter_add<T: Element, I: Index>(
    values: &[T],
    indices: &[I],
    dims: [usize; 3],
    table: &mut [T],
) -> Result<(), KernelError> {
    let [outer, bound, inner] = dims;
    KernelError::check_len("scatter_add", "table", dims.iter().product(), table.len())?;
    KernelError::check_len(
        "scatter_add",
        "values",
        outer * indices.len() * inner,
        values.len(),
    )?;
    check_indices("scatter_add", indices, bound)?;
    // A task owns some rows of the table, or some columns where rows are long, and goes through all
    // indices: whoever adds, values for one row are added in their order.
    let cost = indices.len() * (inner * size_of::<T>() * 60 + 3000);
    let wide = inner >= 1024;
    let parts = if wide { inner.div_ceil(64) } else { bound };
    let table = SendPtr::new(table.as_mut_ptr());
    work::ranges_of_threads(parts, cost * outer / parts.max(1), &|range| {
        let (rows, columns) = match wide {
            true => (0..bound, range.start * 64..(range.end * 64).min(inner)),
            false => (range, 0..inner),
        };
        simd::dispatch(Add {
            values,
            indices,
            dims,
            rows,
            columns,
            table,
        });
    });
    Ok(())
}

/// Adds the values for some rows of the table, of which it owns some columns.
struct Add<'a, T, I> {
    values: &'a [T],
    indices: &'a [I],
    dims: [usize; 3],
    rows: Range<usize>,
    columns: Range<usize>,
    table: SendPtr<T>,
}

impl<T: Element, I: Index> Body for Add<'_, T, I> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let [outer, bound, inner] = self.dims;
        for o in 0..outer {
            for (k, i) in self.indices.iter().enumerate() {
                let row = i.to_i64() as usize;
                if row < self.rows.start || row >= self.rows.end {
                    continue;
                }
                let to = (o * bound + row) * inner;
                let from = (o * self.indices.len() + k) * inner;
                let Range { start, end } = self.columns;
                // SAFETY: these columns of this row are one task's.
                let to = unsafe { self.table.slice(to + start..to + end) };
                for (t, &v) in to.iter_mut().zip(&self.values[from + start..from + end]) {
                    *t = t.plus(v);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::par;

    fn value(i: usize) -> f32 {
        ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 * 1e-4
    }

    proptest! {
        #[test]
        fn rows_are_taken_and_added_in_order(
            outer in 1usize..4,
            bound in 1usize..30,
            inner in prop_oneof![0usize..20, 1000usize..1100],
            indices in prop::collection::vec(0usize..1000, 0..60),
        ) {
            let narrow: Vec<i32> = indices.iter().map(|&i| (i % bound) as i32).collect();
            let wide: Vec<i64> = narrow.iter().map(|&i| i.into()).collect();
            let n = narrow.len();
            let table: Vec<f32> = (0..outer * bound * inner).map(value).collect();
            let mut want = vec![0.0; outer * n * inner];
            let mut sums = table.clone();
            for o in 0..outer {
                for k in 0..n {
                    for c in 0..inner {
                        let at = (o * bound + narrow[k] as usize) * inner + c;
                        want[(o * n + k) * inner + c] = table[at];
                        sums[at] += value((o * n + k) * inner + c + 7);
                    }
                }
            }
            let dims = [outer, bound, inner];
            let mut out = vec![0.0; want.len()];
            gather(&table, dims, &narrow, &mut out).expect("in range");
            prop_assert_eq!(&out, &want);
            gather(&table, dims, &wide, &mut out).expect("in range");
            prop_assert_eq!(&out, &want);
            let values: Vec<f32> = (0..want.len()).map(|i| value(i + 7)).collect();
            let mut added = table.clone();
            scatter_add(&values, &wide, dims, &mut added).expect("in range");
            prop_assert_eq!(&added, &sums);
        }
    }

    #[test]
    fn threads_do_not_change_bits() {
        let indices: Vec<i32> = (0..20_000).map(|i| (i * i) % 997).collect();
        for inner in [3, 64, 1025] {
            let values: Vec<f32> = (0..indices.len() * inner).map(value).collect();
            let mut first = None;
            for threads in 1..=3 {
                let _guard = par::tests::threads(threads);
                let mut table = vec![0.0; 1000 * inner];
                scatter_add(&values, &indices, [1, 1000, inner], &mut table).expect("in range");
                let mut back = vec![0.0; values.len()];
                gather(&table, [1, 1000, inner], &indices, &mut back).expect("in range");
                let all = (table, back);
                assert!(first.get_or_insert_with(|| all.clone()) == &all);
            }
        }
    }

    #[test]
    fn bad_indices_are_reported_and_change_nothing() {
        let mut out = [5i32; 3];
        for bad in [-1i64, 4, i64::MAX, i64::MIN] {
            let indices = [0, 3, bad];
            let error = gather(&[1, 2, 3, 4], [1, 4, 1], &indices, &mut out).expect_err("range");
            let want = KernelError::Index {
                op: "gather",
                index: bad,
                position: 2,
                bound: 4,
            };
            assert_eq!(error, want);
            assert!(error.to_string().contains(&bad.to_string()));
            let mut table = [5i32; 4];
            assert!(scatter_add(&[1, 1, 1], &indices, [1, 4, 1], &mut table).is_err());
            assert_eq!((out, table), ([5; 3], [5; 4]));
        }
    }
}
