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
    if out.is_empty() {
        return Ok(());
    }
    let target = SendPtr::new(out.as_mut_ptr());
    work::ranges(outer, reduced * inner * 400, &|range| {
        let x = &x[range.start * reduced * inner..range.end * reduced * inner];
        // SAFETY: the results of these outer indices.
        let out = unsafe { target.slice(range.start * inner..range.end * inner) };
        match op {
            ArgOp::Max => simd::dispatch(Positions::<T, Max>(x, reduced, inner, out, PhantomData)),
            ArgOp::Min => simd::dispatch(Positions::<T, Min>(x, reduced, inner, out, PhantomData)),
        }
    });
    Ok(())
}

/// The positions of the extremes of the columns of `[reduced, inner]`, for each outer index.
struct Positions<'a, T, C>(&'a [T], usize, usize, &'a mut [i64], PhantomData<C>);

impl<T: Element, C: Combine<T>> Body for Positions<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Positions(x, reduced, inner, out, _) = self;
        if inner == 1 {
            let together = if reduced < 128 {
                out.len() / WIDTH * WIDTH
            } else {
                0
            };
            let (first, rest) = out.split_at_mut(together);
            for (g, out) in first.chunks_exact_mut(WIDTH).enumerate() {
                short_rows::<T, C>(&x[g * WIDTH * reduced..], reduced, out);
            }
            let rows = x[together * reduced..].chunks_exact(reduced);
            for (row, out) in rows.zip(rest) {
                *out = first_extreme::<T, C>(row) as i64;
            }
        } else if inner > 0 {
            for (x, out) in x
                .chunks_exact(reduced * inner)
                .zip(out.chunks_exact_mut(inner))
            {
                columns::<T, C>(x, out);
            }
        }
    }
}

/// Columns, or short rows, that are gone through side by side.
const WIDTH: usize = 64;

/// Replaces what is better, at position `r`: larger or smaller, or the first NaN.
#[inline(always)]
fn update<T: Element, C: Combine<T>>(best: &mut [T; WIDTH], v: &[T], out: &mut [i64], r: usize) {
    for ((b, o), &v) in best.iter_mut().zip(out).zip(v) {
        let join = C::join(*b, v);
        let moved = join != *b && !b.not_a_number();
        *b = if moved { join } else { *b };
        *o = if moved { r as i64 } else { *o };
    }
}

/// Rows too short to be worth a vector each: [`WIDTH`] of them at once.
#[inline(always)]
fn short_rows<T: Element, C: Combine<T>>(x: &[T], reduced: usize, out: &mut [i64]) {
    let (mut best, mut v) = ([T::NIL; WIDTH], [T::NIL; WIDTH]);
    out.fill(0);
    for r in 0..reduced {
        for (j, v) in v.iter_mut().enumerate() {
            *v = x[j * reduced + r];
        }
        if r == 0 {
            best = v;
        } else {
            update::<T, C>(&mut best, &v, out, r);
        }
    }
}

/// Goes down the columns.
#[inline(always)]
fn columns<T: Element, C: Combine<T>>(x: &[T], out: &mut [i64]) {
    let inner = out.len();
    for first in (0..inner).step_by(WIDTH) {
        let width = WIDTH.min(inner - first);
        let mut best = [T::NIL; WIDTH];
        best[..width].copy_from_slice(&x[first..first + width]);
        let out = &mut out[first..first + width];
        out.fill(0);
        for (r, row) in x.chunks_exact(inner).enumerate().skip(1) {
            update::<T, C>(&mut best, &row[first..], out, r);
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
