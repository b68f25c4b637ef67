//! Average pooling.

use super::PoolShape;
use crate::dtype::{Element, Float};
use crate::error::KernelError;
use crate::par::SendPtr;
use crate::simd::{self, Body};
use crate::work::{self, Part};

/// Average pooling. Padding does not count. A window that is all padding gives 0.
///
/// # Errors
/// When the sizes do not fit.
pub fn avg_pool<T: Float + Element>(
    x: &[T],
    shape: &PoolShape,
    out: &mut [T],
) -> Result<(), KernelError> {
    shape.check("avg_pool", x.len(), out.len())?;
    let out = SendPtr::new(out.as_mut_ptr());
    work::ranges(shape.positions().1, shape.cost(size_of::<T>()), &|range| {
        simd::dispatch(Forward {
            x,
            shape,
            range,
            out,
        });
    });
    Ok(())
}

struct Forward<'a, T> {
    x: &'a [T],
    shape: &'a PoolShape,
    range: std::ops::Range<usize>,
    out: SendPtr<T>,
}

impl<T: Float + Element> Body for Forward<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let c = self.shape.channels;
        for o in self.range {
            // SAFETY: each output position is one task's.
            let out = unsafe { self.out.slice(o * c..(o + 1) * c) };
            out.fill(T::ZERO);
            let mut n = 0;
            self.shape.for_each_cell(o, |_, i| {
                n += 1;
                for (o, &v) in out.iter_mut().zip(&self.x[i * c..(i + 1) * c]) {
                    *o += v;
                }
            });
            let scale = T::ONE / T::from_f64(n.max(1) as f64);
            out.iter_mut().for_each(|o| *o = *o * scale);
        }
    }
}

/// The gradient of [`avg_pool`] to its input.
///
/// # Errors
/// When the sizes do not fit.
pub fn avg_pool_backward<T: Float + Element>(
    dy: &[T],
    shape: &PoolShape,
    dx: &mut [T],
) -> Result<(), KernelError> {
    shape.check("avg_pool_backward", dx.len(), dy.len())?;
    let (image, all) = shape.positions();
    let dx = SendPtr::new(dx.as_mut_ptr());
    let cost = shape.cost(size_of::<T>());
    let job = |range: std::ops::Range<usize>, tiles: bool| {
        simd::dispatch(Backward {
            dy,
            shape,
            range,
            tiles,
            dx,
        });
    };
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

struct Backward<'a, T> {
    dy: &'a [T],
    shape: &'a PoolShape,
    range: std::ops::Range<usize>,
    tiles: bool,
    dx: SendPtr<T>,
}

impl<T: Float + Element> Body for Backward<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let c = self.shape.channels;
        for o in self.range {
            let dy = &self.dy[o * c..(o + 1) * c];
            let scale = T::ONE / T::from_f64(self.shape.count(o).max(1) as f64);
            self.shape.for_each_cell(o, |_, i| {
                // SAFETY: the element is in an image of this task's, or, where windows do not
                // overlap, in a window of this task's.
                let dx = unsafe { self.dx.slice(i * c..(i + 1) * c) };
                if self.tiles {
                    dx.iter_mut().zip(dy).for_each(|(d, &dy)| *d = dy * scale);
                } else {
                    for (d, &dy) in dx.iter_mut().zip(dy) {
                        *d += dy * scale;
                    }
                }
            });
        }
    }
}
