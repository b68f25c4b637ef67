//! The images that a convolution reads, with zeros around them where it reads beyond the border.

use crate::dtype::Float;
use crate::gemm::block::with_scratch;
use crate::par::SendPtr;

/// Images and the window that is read from each: `top` rows and `left` columns of zeros before the
/// image, `hp x wp` positions in all.
#[derive(Clone, Copy)]
pub(super) struct Source<T> {
    pub(super) base: SendPtr<T>,
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) c: usize,
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) hp: usize,
    pub(super) wp: usize,
}

/// Where a [`Source`]'s positions lie once zeros surround them.
#[derive(Clone, Copy)]
pub(super) struct View<T> {
    pub(super) base: *const T,
    /// Distance of rows.
    pub(super) row: usize,
    /// Distance of images.
    pub(super) image: usize,
}

impl<T: Float> Source<T> {
    /// Whether nothing beyond the images is read, so that no copy is needed.
    pub(super) fn plain(&self) -> bool {
        self.top == 0 && self.left == 0 && self.hp <= self.h && self.wp <= self.w
    }

    /// Elements of the window's rows `y0..y1`.
    pub(super) fn window_len(&self, y0: usize, y1: usize) -> usize {
        (y1 - y0) * self.wp * self.c
    }

    /// Calls `f` with a view of the images `i0..i1`, the window's rows `y0..y1` of each.
    ///
    /// # Safety
    /// The images are valid for reads.
    pub(super) unsafe fn with<R>(
        &self,
        (i0, i1): (usize, usize),
        (y0, y1): (usize, usize),
        f: impl FnOnce(View<T>) -> R,
    ) -> R {
        let image = self.h * self.w * self.c;
        if self.plain() {
            let row = self.w * self.c;
            let base = self.base.wrapping_add(i0 * image + y0 * row).get();
            return f(View { base, row, image });
        }
        let len = self.window_len(y0, y1);
        with_scratch::<T, R>((i1 - i0) * len, |to| {
            for i in i0..i1 {
                // SAFETY: image `i` is valid.
                let from =
                    unsafe { std::slice::from_raw_parts(self.base.get().add(i * image), image) };
                self.copy(from, (y0, y1), &mut to[(i - i0) * len..][..len]);
            }
            f(View {
                base: to.as_ptr(),
                row: self.wp * self.c,
                image: len,
            })
        })
    }

    /// Copies the window's rows `y0..y1` of one image.
    fn copy(&self, from: &[T], (y0, y1): (usize, usize), to: &mut [T]) {
        let left = self.left.min(self.wp) * self.c;
        let inner = self.wp.saturating_sub(self.left).min(self.w) * self.c;
        for (y, row) in (y0..y1).zip(to.chunks_exact_mut(self.wp * self.c)) {
            if y < self.top || y - self.top >= self.h {
                row.fill(T::ZERO);
                continue;
            }
            row[..left].fill(T::ZERO);
            row[left..left + inner]
                .copy_from_slice(&from[(y - self.top) * self.w * self.c..][..inner]);
            row[left + inner..].fill(T::ZERO);
        }
    }
}
