//! Convolutions of channels-last images and their gradients.
//!
//! Images are `[n, h, w, c]`, kernels `[kh, kw, ci, co]` (depthwise: `[kh, kw, c, multiplier]`); a 1-D
//! convolution has `h = kh = oh = 1`. A sample's result does not depend on how many samples there are;
//! sums over the batch have an order that the geometry and the instruction set fix, for any number
//! of threads. What lies outside the image counts as zero.
//!
//! May import `cpu`, `dtype`, `gemm` and `par`.

mod reference;

pub use crate::gemm::{Act, Epilogue};

use crate::dtype::Float;

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
pub fn conv2d_scratch_len<T: Float>(_g: &Conv2d) -> usize {
    0
}

/// Elements of scratch that [`conv2d_grad_input`] needs.
pub fn conv2d_grad_input_scratch_len<T: Float>(_g: &Conv2d) -> usize {
    0
}

/// Elements of scratch that [`conv2d_grad_filter`] needs.
pub fn conv2d_grad_filter_scratch_len<T: Float>(_g: &Conv2d) -> usize {
    0
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
    let need = conv2d_scratch_len::<T>(g);
    g.check("conv2d", x.len(), w.len(), y.len(), scratch.len(), need);
    reference::forward(g, x, w, y, ep);
}

/// The gradient to the input: `dx` from `dy` and the kernel. `dx` is overwritten.
///
/// # Panics
/// As [`conv2d`], with [`conv2d_grad_input_scratch_len`].
pub fn conv2d_grad_input<T: Float>(g: &Conv2d, dy: &[T], w: &[T], dx: &mut [T], scratch: &mut [T]) {
    let need = conv2d_grad_input_scratch_len::<T>(g);
    g.check(
        "conv2d_grad_input",
        dx.len(),
        w.len(),
        dy.len(),
        scratch.len(),
        need,
    );
    reference::grad_input(g, dy, w, dx);
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
    let need = conv2d_grad_filter_scratch_len::<T>(g);
    g.check(
        "conv2d_grad_filter",
        x.len(),
        dw.len(),
        dy.len(),
        scratch.len(),
        need,
    );
    reference::grad_filter(g, x, dy, dw);
}
