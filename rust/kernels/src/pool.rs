//! Max and average pooling of channels-last arrays with up to three spatial axes.
//!
//! The innermost loops run over channels. Where windows tile the input, the backward pass writes
//! every element once; elsewhere it adds up, an image a task.

mod avg;
mod max;
#[cfg(test)]
mod tests;

pub use avg::{avg_pool, avg_pool_backward};
pub use max::{WindowIndex, max_pool, max_pool_backward};

use crate::dtype::DType;
use crate::error::KernelError;

/// Bytes that are asked for in advance at most: they have to stay in the first-level cache.
const AHEAD: usize = 16 << 10;
/// An input of so many bytes may be in a second-level cache.
const CACHED: usize = 1 << 20;

/// The sizes of a pooling operation. One and two spatial axes are three with sizes of 1 in front:
/// window 1, stride 1, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Images.
    pub batch: usize,
    /// Spatial sizes of the input.
    pub input: [usize; 3],
    /// Channels, the innermost axis.
    pub channels: usize,
    /// Spatial sizes of the output.
    pub output: [usize; 3],
    /// The window.
    pub window: [usize; 3],
    /// The distance between windows.
    pub stride: [usize; 3],
    /// Padding before the first element of each axis; what is needed behind follows.
    pub pad_low: [usize; 3],
}

impl PoolShape {
    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.image_len()
    }

    /// Elements of one image of the input.
    fn image_len(&self) -> usize {
        self.input.iter().product::<usize>() * self.channels
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.output.iter().product::<usize>() * self.channels
    }

    /// The element type of window positions: `U8` for windows of up to 256 cells, else `I32`.
    pub fn index_dtype(&self) -> DType {
        if self.window.iter().product::<usize>() <= 256 {
            DType::U8
        } else {
            DType::I32
        }
    }

    /// The cells of a window that lie within the input along an axis: window offsets, and the
    /// input position of offset 0 (which may be negative).
    #[inline(always)]
    fn span(&self, axis: usize, o: usize) -> (std::ops::Range<usize>, isize) {
        let origin = (o * self.stride[axis]) as isize - self.pad_low[axis] as isize;
        let low = (-origin).clamp(0, self.window[axis] as isize) as usize;
        let room =
            (self.input[axis] as isize - origin).clamp(low as isize, self.window[axis] as isize);
        (low..room as usize, origin)
    }

    /// Calls `f` with the number of each window cell within the input and its flat input position
    /// (over batch and space), for output position `o` (over batch and space), in order.
    #[inline(always)]
    fn for_each_cell(&self, o: usize, mut f: impl FnMut(usize, usize)) {
        let [_, oh, ow] = self.output;
        let (b, d, h, w) = (
            o / (self.output[0] * oh * ow),
            o / (oh * ow) % self.output[0],
            o / ow % oh,
            o % ow,
        );
        let (ds, d0) = self.span(0, d);
        let (hs, h0) = self.span(1, h);
        let (ws, w0) = self.span(2, w);
        for kd in ds {
            let plane = b * self.input[0] + (d0 + kd as isize) as usize;
            for kh in hs.clone() {
                let row = plane * self.input[1] + (h0 + kh as isize) as usize;
                for kw in ws.clone() {
                    let cell = (kd * self.window[1] + kh) * self.window[2] + kw;
                    f(cell, row * self.input[2] + (w0 + kw as isize) as usize);
                }
            }
        }
    }

    /// How many cells of a window lie within the input.
    #[inline(always)]
    fn count(&self, o: usize) -> usize {
        let mut n = 0;
        self.for_each_cell(o, |_, _| n += 1);
        n
    }

    /// Output positions of an image, and of the whole batch.
    fn positions(&self) -> (usize, usize) {
        let image = self.output.iter().product::<usize>();
        (image, image * self.batch)
    }

    /// Whether windows do not overlap and cover the input exactly: every input element belongs to
    /// one window.
    fn tiles(&self) -> bool {
        (0..3).all(|a| {
            self.stride[a] == self.window[a]
                && self.pad_low[a] == 0
                && self.input[a] == self.output[a] * self.stride[a]
        })
    }

    /// How many elements ahead of a window memory is asked for, if the input is not in a cache anyway:
    /// where the next row of windows is, or within this one where rows are long. What moves along
    /// several rows at a time does without the processor's own foresight on some machines, and waits
    /// for each line.
    fn ahead<T>(&self) -> Option<usize> {
        let row = self.stride[1] * self.input[2] * self.channels;
        let is_far = self.batch * self.image_len() * size_of::<T>() > CACHED;
        is_far.then(|| row.min(AHEAD / size_of::<T>()))
    }

    /// Rough cost of an output position in picoseconds.
    fn cost(&self, element: usize) -> usize {
        self.window.iter().product::<usize>() * self.channels * element * 25
    }

    fn check(&self, op: &'static str, input: usize, output: usize) -> Result<(), KernelError> {
        KernelError::check_len(op, "input", self.input_len(), input)?;
        KernelError::check_len(op, "output", self.output_len(), output)?;
        if self.stride.contains(&0) || self.window.contains(&0) {
            return Err(KernelError::Shape {
                op,
                what: "window or stride",
                expected: "at least 1 an axis".into(),
                got: format!("{:?}, {:?}", self.window, self.stride),
            });
        }
        Ok(())
    }
}
