//! Max pooling.

use super::PoolShape;
use crate::dtype::{Element, Float};
use crate::error::KernelError;
use crate::par::SendPtr;
use crate::simd::{self, Body};
use crate::work::{self, Part};

/// The type of a saved window position: `u8`, or `i32` for windows of more than 256 cells.
pub trait WindowIndex: Copy + Send + Sync + PartialEq + 'static {
    /// The most cells a window may have.
    const MAX_CELLS: usize;
    /// From the number of a window cell.
    fn from_cell(cell: usize) -> Self;
    /// The number of a window cell.
    fn to_cell(self) -> usize;
}

impl WindowIndex for u8 {
    const MAX_CELLS: usize = 256;
    #[inline(always)]
    fn from_cell(cell: usize) -> Self {
        cell as u8
    }
    #[inline(always)]
    fn to_cell(self) -> usize {
        self.into()
    }
}

impl WindowIndex for i32 {
    const MAX_CELLS: usize = i32::MAX as usize;
    #[inline(always)]
    fn from_cell(cell: usize) -> Self {
        cell as i32
    }
    #[inline(always)]
    fn to_cell(self) -> usize {
        self as usize
    }
}

fn check_cells<I: WindowIndex>(op: &'static str, shape: &PoolShape) -> Result<(), KernelError> {
    let cells = shape.window.iter().product::<usize>();
    if cells <= I::MAX_CELLS {
        return Ok(());
    }
    Err(KernelError::Shape {
        op,
        what: "window cells for the type of positions",
        expected: format!("at most {}, or positions of i32", I::MAX_CELLS),
        got: cells.to_string(),
    })
}

/// Channels whose running maxima are kept at a time.
const WIDTH: usize = 64;

/// Max pooling; where asked for, with the position of each maximum in its window (row-major, the
/// first of equals), which [`max_pool_backward`] needs. NaN wins. A window that is all padding
/// gives the type's lowest value.
///
/// # Errors
/// When the sizes do not fit.
pub fn max_pool<T: Element, I: WindowIndex>(
    x: &[T],
    shape: &PoolShape,
    out: &mut [T],
    indices: Option<&mut [I]>,
) -> Result<(), KernelError> {
    shape.check("max_pool", x.len(), out.len())?;
    if let Some(i) = &indices {
        KernelError::check_len("max_pool", "indices", out.len(), i.len())?;
        check_cells::<I>("max_pool", shape)?;
    }
    let out = SendPtr::new(out.as_mut_ptr());
    let indices = indices.map(|i| SendPtr::new(i.as_mut_ptr()));
    work::ranges(shape.positions().1, shape.cost(size_of::<T>()), &|range| {
        simd::dispatch(Forward {
            x,
            shape,
            range,
            out,
            indices,
        });
    });
    Ok(())
}

struct Forward<'a, T, I> {
    x: &'a [T],
    shape: &'a PoolShape,
    range: std::ops::Range<usize>,
    out: SendPtr<T>,
    indices: Option<SendPtr<I>>,
}

impl<T: Element, I: WindowIndex> Body for Forward<'_, T, I> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let c = self.shape.channels;
        let pair = self.shape.window == [1, 2, 2] && self.shape.tiles();
        let ahead = self.shape.ahead::<T>();
        for o in self.range {
            // SAFETY: each output position is one task's.
            let out = unsafe { self.out.slice(o * c..(o + 1) * c) };
            // SAFETY: as above.
            let index = self.indices.map(|i| unsafe { i.slice(o * c..(o + 1) * c) });
            if pair {
                let rows = square_rows(self.x, self.shape, o);
                if let Some(ahead) = ahead {
                    for row in [rows[0], rows[2]] {
                        simd::prefetch(row.as_ptr().wrapping_add(ahead), 2 * c);
                    }
                }
                match index {
                    Some(index) => square(rows, out, index),
                    None => square_values(rows, out),
                }
                continue;
            }
            match index {
                Some(index) => window(self.x, self.shape, o, out, index),
                None => window_values(self.x, self.shape, o, out),
            }
        }
    }
}

/// Whether `v` replaces the maximum `best`: it is larger, or the first NaN.
#[inline(always)]
fn wins<T: Element>(v: T, best: T) -> bool {
    v > best || (v.not_a_number() && !best.not_a_number())
}

/// The four cells of a 2 x 2 window.
#[inline(always)]
fn square_rows<'a, T>(x: &'a [T], shape: &PoolShape, o: usize) -> [&'a [T]; 4] {
    let (c, w) = (shape.channels, shape.output[2]);
    let first = ((o / w) * 2 * shape.input[2] + o % w * 2) * c;
    let below = first + shape.input[2] * c;
    [first, first + c, below, below + c].map(|at| &x[at..at + c])
}

#[inline(always)]
fn square<T: Element, I: WindowIndex>(rows: [&[T]; 4], out: &mut [T], index: &mut [I]) {
    let n = out.len();
    let [a, b, c, d] = rows.map(|r| &r[..n]);
    let index = &mut index[..n];
    for i in 0..n {
        let (mut best, mut at) = (a[i], 0u8);
        for (cell, v) in [(1, b[i]), (2, c[i]), (3, d[i])] {
            let better = wins(v, best);
            best = if better { v } else { best };
            at = if better { cell } else { at };
        }
        out[i] = best;
        index[i] = I::from_cell(at.into());
    }
}

#[inline(always)]
fn square_values<T: Element>(rows: [&[T]; 4], out: &mut [T]) {
    let n = out.len();
    let [a, b, c, d] = rows.map(|r| &r[..n]);
    for i in 0..n {
        // The earlier one comes second: it is kept when both are equal.
        out[i] = d[i].max_nan(c[i].max_nan(b[i].max_nan(a[i])));
    }
}

#[inline(always)]
fn window<T: Element, I: WindowIndex>(
    x: &[T],
    shape: &PoolShape,
    o: usize,
    out: &mut [T],
    index: &mut [I],
) {
    let c = shape.channels;
    for first in (0..c).step_by(WIDTH) {
        let width = WIDTH.min(c - first);
        let (out, index) = (
            &mut out[first..first + width],
            &mut index[first..first + width],
        );
        out.fill(T::LOWEST);
        index.fill(I::from_cell(0));
        let mut started = false;
        shape.for_each_cell(o, |cell, i| {
            let x = &x[i * c + first..i * c + first + width];
            let at = I::from_cell(cell);
            if !started {
                started = true;
                out.copy_from_slice(x);
                index.fill(at);
                return;
            }
            for ((o, k), &v) in out.iter_mut().zip(index.iter_mut()).zip(x) {
                let better = wins(v, *o);
                *o = if better { v } else { *o };
                *k = if better { at } else { *k };
            }
        });
    }
}

#[inline(always)]
fn window_values<T: Element>(x: &[T], shape: &PoolShape, o: usize, out: &mut [T]) {
    let c = shape.channels;
    out.fill(T::LOWEST);
    shape.for_each_cell(o, |_, i| {
        for (o, &v) in out.iter_mut().zip(&x[i * c..(i + 1) * c]) {
            *o = v.max_nan(*o);
        }
    });
}

/// The gradient of [`max_pool`] to its input: each output's gradient goes to its maximum.
///
/// # Errors
/// When the sizes do not fit.
pub fn max_pool_backward<T: Float + Element, I: WindowIndex>(
    dy: &[T],
    indices: &[I],
    shape: &PoolShape,
    dx: &mut [T],
) -> Result<(), KernelError> {
    shape.check("max_pool_backward", dx.len(), dy.len())?;
    KernelError::check_len("max_pool_backward", "indices", dy.len(), indices.len())?;
    check_cells::<I>("max_pool_backward", shape)?;
    let (image, all) = shape.positions();
    let dx = SendPtr::new(dx.as_mut_ptr());
    let job = |range: std::ops::Range<usize>, tiles: bool| {
        simd::dispatch(Backward {
            dy,
            indices,
            shape,
            range,
            tiles,
            dx,
        });
    };
    let cost = shape.cost(size_of::<T>());
    if shape.tiles() {
        work::ranges(all, cost, &|range| job(range, true));
    } else {
        work::ranges(shape.batch, cost * image, &|range| {
            let n = shape.image_len();
            // SAFETY: each image is one task's.
            unsafe { dx.slice(range.start * n..range.end * n) }.fill(T::ZERO);
            job(range.start * image..range.end * image, false);
        });
    }
    Ok(())
}

struct Backward<'a, T, I> {
    dy: &'a [T],
    indices: &'a [I],
    shape: &'a PoolShape,
    range: std::ops::Range<usize>,
    tiles: bool,
    dx: SendPtr<T>,
}

impl<T: Float + Element, I: WindowIndex> Body for Backward<'_, T, I> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let c = self.shape.channels;
        let ahead = self.shape.ahead::<T>();
        for o in self.range {
            let (dy, index) = (
                &self.dy[o * c..(o + 1) * c],
                &self.indices[o * c..(o + 1) * c],
            );
            if self.tiles
                && let Some(ahead) = ahead
            {
                self.shape.for_each_cell(o, |_, i| {
                    let at = self.dx.get().wrapping_add(i * c + ahead);
                    simd::prefetch(at.cast_const(), c);
                });
            }
            self.shape.for_each_cell(o, |cell, i| {
                // SAFETY: the element is in an image of this task's, or, where windows do not
                // overlap, in a window of this task's.
                let dx = unsafe { self.dx.slice(i * c..(i + 1) * c) };
                let at = I::from_cell(cell);
                let terms = dx.iter_mut().zip(dy.iter().zip(index));
                if self.tiles {
                    terms.for_each(|(d, (&dy, &k))| *d = if k == at { dy } else { T::ZERO });
                } else {
                    for (d, (&dy, &k)) in terms {
                        *d += if k == at { dy } else { T::ZERO };
                    }
                }
            });
        }
    }
}
