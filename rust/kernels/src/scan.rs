//! Cumulative sums and products.

use crate::dtype::Element;
use crate::error::KernelError;

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

#[inline(always)]
fn scan<T: Element>(
    x: &[T],
    [outer, scanned, inner]: [usize; 3],
    reverse: bool,
    exclusive: bool,
    start: T,
    join: impl Fn(T, T) -> T,
    out: &mut [T],
) {
    for o in 0..outer {
        for step in 0..scanned {
            let position = |s: usize| if reverse { scanned - 1 - s } else { s };
            let at = (o * scanned + position(step)) * inner;
            let before = (step > 0).then(|| (o * scanned + position(step - 1)) * inner);
            for i in 0..inner {
                // Exclusive: the previous result joined with the previous element.
                out[at + i] = match (exclusive, before) {
                    (true, Some(b)) => join(out[b + i], x[b + i]),
                    (true, None) => start,
                    (false, Some(b)) => join(out[b + i], x[at + i]),
                    (false, None) => x[at + i],
                };
            }
        }
    }
}
