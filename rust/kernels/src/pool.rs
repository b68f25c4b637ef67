//! Max and average pooling of channels-last arrays with up to three spatial axes.

use crate::dtype::{DType, Element, Float};
use crate::error::KernelError;

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
        self.batch * self.input.iter().product::<usize>() * self.channels
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

    /// The input position of window cell `w` of output position `o` along an axis.
    fn position(&self, axis: usize, o: usize, w: usize) -> Option<usize> {
        let at = (o * self.stride[axis] + w).checked_sub(self.pad_low[axis])?;
        (at < self.input[axis]).then_some(at)
    }

    /// Calls `f` with the flat output position (over batch and space), the number of the window
    /// cell and the flat input position, for every cell that is within the input, in order.
    fn for_each_cell(&self, mut f: impl FnMut(usize, usize, usize)) {
        let [_, h, w] = self.window;
        let mut out = 0;
        for b in 0..self.batch {
            for od in 0..self.output[0] {
                for oh in 0..self.output[1] {
                    for ow in 0..self.output[2] {
                        for cell in 0..self.window.iter().product() {
                            let at = [
                                self.position(0, od, cell / (h * w)),
                                self.position(1, oh, cell / w % h),
                                self.position(2, ow, cell % w),
                            ];
                            if let [Some(d), Some(i), Some(j)] = at {
                                let row = (b * self.input[0] + d) * self.input[1] + i;
                                f(out, cell, row * self.input[2] + j);
                            }
                        }
                        out += 1;
                    }
                }
            }
        }
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

/// The type of a saved window position: `u8`, or `i32` for windows of more than 256 cells.
pub trait WindowIndex: Copy + Send + Sync + PartialEq + 'static {
    /// From the number of a window cell.
    fn from_cell(cell: usize) -> Self;
    /// The number of a window cell.
    fn to_cell(self) -> usize;
}

impl WindowIndex for u8 {
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
    #[inline(always)]
    fn from_cell(cell: usize) -> Self {
        cell as i32
    }
    #[inline(always)]
    fn to_cell(self) -> usize {
        self as usize
    }
}

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
    }
    let mut indices = indices;
    let c = shape.channels;
    out.fill(T::LOWEST);
    if let Some(i) = indices.as_deref_mut() {
        i.fill(I::from_cell(0));
    }
    let mut started = usize::MAX;
    shape.for_each_cell(|o, cell, i| {
        let first = started != o;
        started = o;
        for ch in 0..c {
            let (best, v) = (out[o * c + ch], x[i * c + ch]);
            if first || (!best.not_a_number() && (v > best || v.not_a_number())) {
                out[o * c + ch] = v;
                if let Some(index) = indices.as_deref_mut() {
                    index[o * c + ch] = I::from_cell(cell);
                }
            }
        }
    });
    Ok(())
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
    let c = shape.channels;
    dx.fill(T::ZERO);
    shape.for_each_cell(|o, cell, i| {
        for ch in 0..c {
            if indices[o * c + ch].to_cell() == cell {
                dx[i * c + ch] += dy[o * c + ch];
            }
        }
    });
    Ok(())
}

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
    let c = shape.channels;
    out.fill(T::ZERO);
    let mut counts = vec![0usize; out.len() / c.max(1)];
    shape.for_each_cell(|o, _, i| {
        counts[o] += 1;
        for ch in 0..c {
            out[o * c + ch] += x[i * c + ch];
        }
    });
    for (out, &n) in out.chunks_exact_mut(c.max(1)).zip(&counts) {
        let scale = T::ONE / T::from_f64(n.max(1) as f64);
        out.iter_mut().for_each(|o| *o = *o * scale);
    }
    Ok(())
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
    let c = shape.channels;
    dx.fill(T::ZERO);
    let mut counts = vec![0usize; dy.len() / c.max(1)];
    shape.for_each_cell(|o, _, _| counts[o] += 1);
    shape.for_each_cell(|o, _, i| {
        let scale = T::ONE / T::from_f64(counts[o] as f64);
        for ch in 0..c {
            dx[i * c + ch] += dy[o * c + ch] * scale;
        }
    });
    Ok(())
}
