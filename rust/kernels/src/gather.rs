//! Rows by index: gather, and its inverse that adds.

use crate::dtype::Element;
use crate::error::KernelError;

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
    for o in 0..outer {
        for (k, i) in indices.iter().enumerate() {
            let from = (o * bound + i.to_i64() as usize) * inner;
            let to = (o * indices.len() + k) * inner;
            out[to..to + inner].copy_from_slice(&table[from..from + inner]);
        }
    }
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
    for o in 0..outer {
        for (k, i) in indices.iter().enumerate() {
            let to = (o * bound + i.to_i64() as usize) * inner;
            let from = (o * indices.len() + k) * inner;
            let row = &values[from..from + inner];
            for (t, &v) in table[to..to + inner].iter_mut().zip(row) {
                *t = t.plus(v);
            }
        }
    }
    Ok(())
}
