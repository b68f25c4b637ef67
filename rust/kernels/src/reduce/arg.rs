//! The position of the largest or smallest element.

use std::marker::PhantomData;

use super::combine::{Combine, Max, Min, fold_lanes};
use crate::dtype::Element;
use crate::error::KernelError;
use crate::par::SendPtr;
use crate::simd::{self, Body};
use crate::work::{self, Part};

/// Which position [`arg_reduce`] looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgOp {
    /// The largest element's.
    Max,
    /// The smallest element's.
    Min,
}

/// The position of the largest or smallest element along the middle axis of `[outer, reduced,
/// inner]`: the first one if several are equal, that of the first NaN if there is one.
///
/// # Errors
/// When a slice's length does not fit, or the axis is empty.
pub fn arg_reduce<T: Element>(
    op: ArgOp,
    x: &[T],
    dims: [usize; 3],
    out: &mut [i64],
) -> Result<(), KernelError> {
    KernelError::check_len("argmax/argmin", "input", dims.iter().product(), x.len())?;
    KernelError::check_len("argmax/argmin", "output", dims[0] * dims[2], out.len())?;
    let [outer, reduced, inner] = dims;
    if reduced == 0 && !out.is_empty() {
        return Err(KernelError::Shape {
            op: "argmax/argmin",
            what: "reduced axis",
            expected: "at least one element".into(),
            got: "0".into(),
        });
    }
    let target = SendPtr::new(out.as_mut_ptr());
    work::ranges(outer, reduced * inner * 400, &|range| {
        for o in range {
            let x = &x[o * reduced * inner..][..reduced * inner];
            // SAFETY: the results of this outer index.
            let out = unsafe { target.slice(o * inner..(o + 1) * inner) };
            match op {
                ArgOp::Max => simd::dispatch(Positions::<T, Max>(x, out, PhantomData)),
                ArgOp::Min => simd::dispatch(Positions::<T, Min>(x, out, PhantomData)),
            }
        }
    });
    Ok(())
}

/// The positions of the extremes of the columns of `[reduced, inner]`.
struct Positions<'a, T, C>(&'a [T], &'a mut [i64], PhantomData<C>);

impl<T: Element, C: Combine<T>> Body for Positions<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        const WIDTH: usize = 64;
        let (x, out) = (self.0, self.1);
        let inner = out.len();
        if inner == 1 {
            out[0] = first_extreme::<T, C>(x) as i64;
            return;
        }
        for first in (0..inner).step_by(WIDTH) {
            let width = WIDTH.min(inner - first);
            let mut best = [T::NIL; WIDTH];
            best[..width].copy_from_slice(&x[first..first + width]);
            let out = &mut out[first..first + width];
            out.fill(0);
            for (r, row) in x.chunks_exact(inner).enumerate().skip(1) {
                for ((b, o), &v) in best.iter_mut().zip(out.iter_mut()).zip(&row[first..]) {
                    // The extreme of both differs from the best so far: by value, or as the
                    // first NaN.
                    let join = C::join(*b, v);
                    let moved = join != *b && !b.not_a_number();
                    *b = if moved { join } else { *b };
                    *o = if moved { r as i64 } else { *o };
                }
            }
        }
    }
}

/// The position of the first element that equals the extreme of all, or of the first NaN.
#[inline(always)]
fn first_extreme<T: Element, C: Combine<T>>(x: &[T]) -> usize {
    let best = fold_lanes::<T, C>(x);
    let nan = best.not_a_number();
    let hit = |v: T| if nan { v.not_a_number() } else { v == best };
    let mut at = 0;
    for chunk in x.chunks(64) {
        if chunk.iter().fold(false, |any, &v| any | hit(v)) {
            return at + chunk.iter().position(|&v| hit(v)).unwrap_or(0);
        }
        at += chunk.len();
    }
    0
}
