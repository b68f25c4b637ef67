//! Means and variances in one pass over memory.

use crate::dtype::Float;
use crate::error::KernelError;

/// The mean and the biased variance over the middle axis of `[outer, reduced, inner]`, each of
/// `[outer, inner]`. Over the leading axes of `[rows, C]` it is `[1, rows, C]`.
///
/// NaN for an empty axis.
///
/// # Errors
/// When a slice's length does not fit.
pub fn moments<T: Float>(
    x: &[T],
    dims: [usize; 3],
    mean: &mut [T],
    variance: &mut [T],
) -> Result<(), KernelError> {
    let [outer, reduced, inner] = dims;
    KernelError::check_len("moments", "input", dims.iter().product(), x.len())?;
    KernelError::check_len("moments", "mean", outer * inner, mean.len())?;
    KernelError::check_len("moments", "variance", outer * inner, variance.len())?;
    for o in 0..outer {
        for i in 0..inner {
            let column = (0..reduced).map(|r| x[(o * reduced + r) * inner + i].to_f64());
            let m = column.clone().sum::<f64>() / reduced as f64;
            let v = column.map(|v| (v - m) * (v - m)).sum::<f64>() / reduced as f64;
            mean[o * inner + i] = T::from_f64(m);
            variance[o * inner + i] = T::from_f64(v);
        }
    }
    Ok(())
}
