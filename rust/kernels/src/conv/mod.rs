//! Convolutions of channels-last images and their gradients.
//!
//! Images are `[n, h, w, c]`, kernels `[kh, kw, ci, co]` (depthwise: `[kh, kw, c, multiplier]`); a 1-D
//! convolution has `h = kh = oh = 1`. A sample's result does not depend on how many samples there are;
//! sums over the batch have an order that the geometry and the instruction set fix, for any number
//! of threads. What lies outside the image counts as zero.
//!
//! May import `cpu`, `dtype`, `gemm` and `par`.

mod depthwise;
#[cfg(test)]
mod depthwise_tests;
mod direct;
mod grad_filter;
#[cfg(test)]
mod reference;
mod source;
#[cfg(test)]
mod tests;
mod winograd;

pub use crate::gemm::{Act, Epilogue};
pub use depthwise::{
    DepthwiseConv2d, depthwise_conv2d, depthwise_conv2d_grad_filter,
    depthwise_conv2d_grad_filter_scratch_len, depthwise_conv2d_grad_input,
    depthwise_conv2d_grad_input_scratch_len,
};
pub use winograd::{set_winograd, winograd};

use crate::cpu::{self, Isa};
use crate::dtype::Float;
use crate::gemm::{Portable, driver, gemm_on};

/// The geometry of a 2-D convolution. Padding at the bottom and on the right follows from the
/// output's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Samples.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Input channels.
    pub ci: usize,
    /// Kernel height.
    pub kh: usize,
    /// Kernel width.
    pub kw: usize,
    /// Output channels.
    pub co: usize,
    /// Vertical stride.
    pub sh: usize,
    /// Horizontal stride.
    pub sw: usize,
    /// Vertical dilation.
    pub dh: usize,
    /// Horizontal dilation.
    pub dw: usize,
    /// Rows of zeros above the image.
    pub pad_top: usize,
    /// Columns of zeros left of the image.
    pub pad_left: usize,
    /// Output height.
    pub oh: usize,
    /// Output width.
    pub ow: usize,
}

impl Conv2d {
    /// Elements of the input.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.ci
    }
    /// Elements of the kernel.
    pub fn w_len(&self) -> usize {
        self.kh * self.kw * self.ci * self.co
    }
    /// Elements of the output.
    pub fn y_len(&self) -> usize {
        self.n * self.oh * self.ow * self.co
    }
    /// Whether it is the product of a matrix of positions with the kernel.
    fn is_product(&self) -> bool {
        let kernel = self.kh == 1 && self.kw == 1;
        let plain = self.sh == 1 && self.sw == 1 && self.pad_top == 0 && self.pad_left == 0;
        kernel && plain && self.oh == self.h && self.ow == self.w
    }
    /// Whether there is nothing to sum or nowhere to put it.
    fn is_empty(&self) -> bool {
        self.x_len() == 0 || self.w_len() == 0 || self.y_len() == 0
    }
    fn check(&self, op: &str, x: usize, w: usize, y: usize, scratch: usize, need: usize) {
        assert!(
            self.sh > 0 && self.sw > 0 && self.dh > 0 && self.dw > 0,
            "{op}: strides and dilations must be at least 1: {self:?}"
        );
        assert_eq!(x, self.x_len(), "{op}: length of the input for {self:?}");
        assert_eq!(w, self.w_len(), "{op}: length of the kernel for {self:?}");
        assert_eq!(y, self.y_len(), "{op}: length of the output for {self:?}");
        assert!(
            scratch >= need,
            "{op}: scratch has {scratch} elements, {need} are needed for {self:?}"
        );
    }
}

/// Elements of scratch that [`conv2d`] needs.
pub fn conv2d_scratch_len<T: Float>(g: &Conv2d) -> usize {
    if winograd::applies::<T>(g) {
        winograd::forward_scratch_len(g)
    } else {
        0
    }
}

/// Elements of scratch that [`conv2d_grad_input`] needs.
pub fn conv2d_grad_input_scratch_len<T: Float>(g: &Conv2d) -> usize {
    if winograd::applies::<T>(g) {
        winograd::grad_input_scratch_len(g)
    } else if g.is_product() {
        0
    } else {
        g.w_len()
    }
}

/// Elements of scratch that [`conv2d_grad_filter`] needs.
pub fn conv2d_grad_filter_scratch_len<T: Float>(g: &Conv2d) -> usize {
    if g.is_product() || g.is_empty() {
        0
    } else if winograd::applies::<T>(g) {
        winograd::grad_filter_scratch_len(g)
    } else {
        grad_filter::scratch_len(g)
    }
}

/// `y = act(conv(x, w) [+ y] [+ bias])`.
///
/// # Panics
/// If a slice's length does not fit the geometry, or the scratch is shorter than
/// [`conv2d_scratch_len`].
pub fn conv2d<T: Float>(
    g: &Conv2d,
    x: &[T],
    w: &[T],
    y: &mut [T],
    ep: &Epilogue<'_, T>,
    scratch: &mut [T],
) {
    forward_on(cpu::isa(), g, x, w, y, ep, scratch);
}

/// [`conv2d`] on an instruction set that this CPU has.
fn forward_on<T: Float>(
    isa: Isa,
    g: &Conv2d,
    x: &[T],
    w: &[T],
    y: &mut [T],
    ep: &Epilogue<'_, T>,
    scratch: &mut [T],
) {
    let need = conv2d_scratch_len::<T>(g);
    g.check("conv2d", x.len(), w.len(), y.len(), scratch.len(), need);
    if let Some(bias) = ep.bias {
        assert_eq!(bias.len(), g.co, "conv2d: length of the bias for {g:?}");
    }
    if g.is_product() {
        let m = g.n * g.h * g.w;
        gemm_on(isa, m, g.co, g.ci, x, g.ci, 1, w, g.co, 1, y, g.co, ep);
    } else if g.is_empty() {
        if !ep.accumulate {
            y.fill(T::ZERO);
        }
        y.chunks_exact_mut(g.co.max(1))
            .for_each(|row| driver::finish(row, ep));
    } else if winograd::applies::<T>(g) {
        // SAFETY: the lengths were checked, the instruction set is there.
        unsafe {
            match isa {
                Isa::Avx512 => winograd::forward::<T::Avx512>(g, x, w, y, ep, scratch),
                Isa::Avx2 => winograd::forward::<T::Avx2>(g, x, w, y, ep, scratch),
                Isa::Portable => winograd::forward::<Portable<T>>(g, x, w, y, ep, scratch),
            }
        }
    } else {
        // SAFETY: the lengths were checked, the instruction set is there.
        unsafe {
            match isa {
                Isa::Avx512 => direct::forward::<T::Avx512>(g, x, w, y, ep),
                Isa::Avx2 => direct::forward::<T::Avx2>(g, x, w, y, ep),
                Isa::Portable => direct::forward::<Portable<T>>(g, x, w, y, ep),
            }
        }
    }
}

/// The gradient to the input: `dx` from `dy` and the kernel. `dx` is overwritten.
///
/// # Panics
/// As [`conv2d`], with [`conv2d_grad_input_scratch_len`].
pub fn conv2d_grad_input<T: Float>(g: &Conv2d, dy: &[T], w: &[T], dx: &mut [T], scratch: &mut [T]) {
    grad_input_on(cpu::isa(), g, dy, w, dx, scratch);
}

/// [`conv2d_grad_input`] on an instruction set that this CPU has.
fn grad_input_on<T: Float>(
    isa: Isa,
    g: &Conv2d,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
    scratch: &mut [T],
) {
    let need = conv2d_grad_input_scratch_len::<T>(g);
    g.check(
        "conv2d_grad_input",
        dx.len(),
        w.len(),
        dy.len(),
        scratch.len(),
        need,
    );
    if g.is_product() {
        let m = g.n * g.h * g.w;
        let ep = Epilogue::default();
        gemm_on(isa, m, g.ci, g.co, dy, g.co, 1, w, 1, g.co, dx, g.ci, &ep);
    } else if g.is_empty() {
        dx.fill(T::ZERO);
    } else if winograd::applies::<T>(g) {
        // SAFETY: the lengths were checked, the instruction set is there.
        unsafe {
            match isa {
                Isa::Avx512 => winograd::grad_input::<T::Avx512>(g, dy, w, dx, scratch),
                Isa::Avx2 => winograd::grad_input::<T::Avx2>(g, dy, w, dx, scratch),
                Isa::Portable => winograd::grad_input::<Portable<T>>(g, dy, w, dx, scratch),
            }
        }
    } else {
        let turned = &mut scratch[..g.w_len()];
        // SAFETY: the lengths were checked, the instruction set is there.
        unsafe {
            match isa {
                Isa::Avx512 => direct::grad_input::<T::Avx512>(g, dy, w, dx, turned),
                Isa::Avx2 => direct::grad_input::<T::Avx2>(g, dy, w, dx, turned),
                Isa::Portable => direct::grad_input::<Portable<T>>(g, dy, w, dx, turned),
            }
        }
    }
}

/// The gradient to the kernel: `dw` from the input and `dy`. `dw` is overwritten.
///
/// # Panics
/// As [`conv2d`], with [`conv2d_grad_filter_scratch_len`].
pub fn conv2d_grad_filter<T: Float>(
    g: &Conv2d,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    scratch: &mut [T],
) {
    grad_filter_on(cpu::isa(), g, x, dy, dw, scratch);
}

/// [`conv2d_grad_filter`] on an instruction set that this CPU has.
fn grad_filter_on<T: Float>(
    isa: Isa,
    g: &Conv2d,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    scratch: &mut [T],
) {
    let need = conv2d_grad_filter_scratch_len::<T>(g);
    g.check(
        "conv2d_grad_filter",
        x.len(),
        dw.len(),
        dy.len(),
        scratch.len(),
        need,
    );
    if g.is_product() {
        let k = g.n * g.h * g.w;
        let ep = Epilogue::default();
        gemm_on(isa, g.ci, g.co, k, x, 1, g.ci, dy, g.co, 1, dw, g.co, &ep);
    } else if g.is_empty() {
        dw.fill(T::ZERO);
    } else if winograd::applies::<T>(g) {
        // SAFETY: the lengths were checked, the instruction set is there.
        unsafe {
            match isa {
                Isa::Avx512 => {
                    winograd::grad_filter::<T::Avx512>(g, x, dy, dw, &mut scratch[..need])
                }
                Isa::Avx2 => winograd::grad_filter::<T::Avx2>(g, x, dy, dw, &mut scratch[..need]),
                Isa::Portable => {
                    winograd::grad_filter::<Portable<T>>(g, x, dy, dw, &mut scratch[..need])
                }
            }
        }
    } else {
        let scratch = &mut scratch[..need];
        // SAFETY: the lengths were checked, the instruction set is there.
        unsafe {
            match isa {
                Isa::Avx512 => grad_filter::grad_filter::<T::Avx512>(g, x, dy, dw, scratch),
                Isa::Avx2 => grad_filter::grad_filter::<T::Avx2>(g, x, dy, dw, scratch),
                Isa::Portable => grad_filter::grad_filter::<Portable<T>>(g, x, dy, dw, scratch),
            }
        }
    }
}
