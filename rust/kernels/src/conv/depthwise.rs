//! Depthwise convolution: every input channel has kernels of its own.
//!
//! With a channel multiplier the input's channels are repeated while the window is copied, so that
//! the kernels below see as many input channels as output channels. The gradient to the input is the
//! convolution of `dy`, spread out by the stride, with the kernel turned by 180 degrees.

use super::source::Source;
use super::{Act, Epilogue};
use crate::cpu::{self, Isa};
use crate::dtype::Float;
use crate::gemm::Portable;
use crate::gemm::block::{bias_ptr, with_scratch};
use crate::gemm::driver::{SERIAL, finish};
use crate::gemm::simd::{Body, Simd};
use crate::par::{self, SendPtr, split};

/// The geometry of a 2-D depthwise convolution: kernel `[kh, kw, c, multiplier]`, output channel
/// `channel * multiplier + i`. Padding at the bottom and on the right follows from the output's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DepthwiseConv2d {
    /// Samples.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Input channels.
    pub c: usize,
    /// Output channels for each input channel.
    pub multiplier: usize,
    /// Kernel height.
    pub kh: usize,
    /// Kernel width.
    pub kw: usize,
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

/// The most samples' groups whose sums are kept apart in the gradient to the kernel.
const GROUPS: usize = 8;

impl DepthwiseConv2d {
    /// Elements of the input.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }
    /// Elements of the kernel.
    pub fn w_len(&self) -> usize {
        self.kh * self.kw * self.channels()
    }
    /// Elements of the output.
    pub fn y_len(&self) -> usize {
        self.n * self.oh * self.ow * self.channels()
    }
    fn channels(&self) -> usize {
        self.c * self.multiplier
    }
    fn groups(&self) -> usize {
        GROUPS.min(self.n).max(1)
    }
    fn is_empty(&self) -> bool {
        self.x_len() == 0 || self.w_len() == 0 || self.y_len() == 0
    }
    fn macs(&self) -> usize {
        self.y_len() * self.kh * self.kw
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
    /// The padded input, channels not yet repeated.
    fn source<T: Float>(&self, x: &[T]) -> Source<T> {
        Source {
            base: SendPtr::from_const(x.as_ptr()),
            h: self.h,
            w: self.w,
            c: self.c,
            top: self.pad_top,
            left: self.pad_left,
            hp: (self.oh - 1) * self.sh + (self.kh - 1) * self.dh + 1,
            wp: (self.ow - 1) * self.sw + (self.kw - 1) * self.dw + 1,
        }
    }
    /// Calls `f` with the window of image `i`, channels repeated, and the distance of its rows.
    unsafe fn window<T: Float>(
        &self,
        source: &Source<T>,
        i: usize,
        f: impl FnOnce(*const T, usize),
    ) {
        // SAFETY: the image is valid; the repeated window has `hp * wp * channels` elements.
        unsafe {
            source.with((i, i + 1), (0, source.hp), |view| {
                if self.multiplier == 1 {
                    return f(view.base, view.row);
                }
                let row = source.wp * self.channels();
                with_scratch::<T, _>(source.hp * row, |wide| {
                    for (y, to) in wide.chunks_exact_mut(row).enumerate() {
                        let from = view.base.add(y * view.row);
                        let from = std::slice::from_raw_parts(from, source.wp * self.c);
                        for (to, &x) in to.chunks_exact_mut(self.multiplier).zip(from) {
                            to.fill(x);
                        }
                    }
                    f(wide.as_ptr(), row);
                });
            });
        }
    }
}

/// Elements of scratch that [`depthwise_conv2d_grad_input`] needs.
pub fn depthwise_conv2d_grad_input_scratch_len<T: Float>(g: &DepthwiseConv2d) -> usize {
    g.w_len()
}

/// Elements of scratch that [`depthwise_conv2d_grad_filter`] needs.
pub fn depthwise_conv2d_grad_filter_scratch_len<T: Float>(g: &DepthwiseConv2d) -> usize {
    (g.groups() - 1) * g.w_len()
}

/// `y = act(depthwise_conv(x, w) [+ y] [+ bias])`.
///
/// # Panics
/// If a slice's length does not fit the geometry.
pub fn depthwise_conv2d<T: Float>(
    g: &DepthwiseConv2d,
    x: &[T],
    w: &[T],
    y: &mut [T],
    ep: &Epilogue<'_, T>,
) {
    forward_on(cpu::isa(), g, x, w, y, ep);
}

/// [`depthwise_conv2d`] on an instruction set that this CPU has.
pub(super) fn forward_on<T: Float>(
    isa: Isa,
    g: &DepthwiseConv2d,
    x: &[T],
    w: &[T],
    y: &mut [T],
    ep: &Epilogue<'_, T>,
) {
    g.check("depthwise_conv2d", x.len(), w.len(), y.len(), 0, 0);
    if let Some(bias) = ep.bias {
        assert_eq!(
            bias.len(),
            g.channels(),
            "depthwise_conv2d: length of the bias for {g:?}"
        );
    }
    if g.is_empty() {
        if !ep.accumulate {
            y.fill(T::ZERO);
        }
        y.chunks_exact_mut(g.channels().max(1))
            .for_each(|row| finish(row, ep));
        return;
    }
    let source = g.source(x);
    let to = SendPtr::new(y.as_mut_ptr());
    let row = g.ow * g.channels();
    each_image(g.n, g.macs(), |i| {
        // SAFETY: an image's rows are its task's; the window covers what the taps read.
        unsafe {
            g.window(&source, i, |base, stride| {
                for oy in 0..g.oh {
                    let y = to.get().add((i * g.oh + oy) * row);
                    let args = Row {
                        x: base.add(oy * g.sh * stride),
                        w: w.as_ptr(),
                        y,
                        channels: g.channels(),
                        count: g.ow,
                        step: g.sw * g.channels(),
                        kh: g.kh,
                        kw: g.kw,
                        row: g.dh * stride,
                        tap: g.dw * g.channels(),
                        accumulate: ep.accumulate,
                        bias: bias_ptr(ep),
                        relu: ep.act == Act::Relu,
                    };
                    call::<T, _>(isa, args);
                    if !matches!(ep.act, Act::None | Act::Relu) {
                        let ep = Epilogue { bias: None, ..*ep };
                        finish(std::slice::from_raw_parts_mut(y, row), &ep);
                    }
                }
            });
        }
    });
}

/// The gradient to the input; `dx` is overwritten.
///
/// # Panics
/// If a slice's length does not fit the geometry, or the scratch is shorter than
/// [`depthwise_conv2d_grad_input_scratch_len`].
pub fn depthwise_conv2d_grad_input<T: Float>(
    g: &DepthwiseConv2d,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
    scratch: &mut [T],
) {
    grad_input_on(cpu::isa(), g, dy, w, dx, scratch);
}

/// [`depthwise_conv2d_grad_input`] on an instruction set that this CPU has.
pub(super) fn grad_input_on<T: Float>(
    isa: Isa,
    g: &DepthwiseConv2d,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
    scratch: &mut [T],
) {
    let need = depthwise_conv2d_grad_input_scratch_len::<T>(g);
    g.check(
        "depthwise_conv2d_grad_input",
        dx.len(),
        w.len(),
        dy.len(),
        scratch.len(),
        need,
    );
    if g.is_empty() {
        dx.fill(T::ZERO);
        return;
    }
    let cm = g.channels();
    let turned = &mut scratch[..need];
    let taps = g.kh * g.kw;
    for t in 0..taps {
        turned[t * cm..][..cm].copy_from_slice(&w[(taps - 1 - t) * cm..][..cm]);
    }
    let turned = &*turned;
    let to = SendPtr::new(dx.as_mut_ptr());
    // In padded coordinates dx[u] sums dy[(u - tap) / stride]: the window begins one kernel's span
    // before the image.
    let (ey, ex) = ((g.kh - 1) * g.dh, (g.kw - 1) * g.dw);
    let (hp, wp) = (g.h + ey, g.w + ex);
    each_image(g.n, g.macs(), |i| {
        let dy = &dy[i * g.oh * g.ow * cm..][..g.oh * g.ow * cm];
        with_scratch::<T, _>(hp * wp * cm + g.w * cm, |buffer| {
            let (spread, line) = buffer.split_at_mut(hp * wp * cm);
            spread.fill(T::ZERO);
            for (oy, row) in dy.chunks_exact(g.ow * cm).enumerate() {
                let Some(y) = (oy * g.sh + ey).checked_sub(g.pad_top).filter(|&y| y < hp) else {
                    continue;
                };
                for (ox, from) in row.chunks_exact(cm).enumerate() {
                    let x = (ox * g.sw + ex).checked_sub(g.pad_left).filter(|&x| x < wp);
                    if let Some(x) = x {
                        spread[(y * wp + x) * cm..][..cm].copy_from_slice(from);
                    }
                }
            }
            for iy in 0..g.h {
                // SAFETY: an image's rows are its task's; the window covers what the taps read.
                unsafe {
                    let row = to.get().add((i * g.h + iy) * g.w * g.c);
                    let args = Row {
                        x: spread.as_ptr().add(iy * wp * cm),
                        w: turned.as_ptr(),
                        y: if g.multiplier == 1 {
                            row
                        } else {
                            line.as_mut_ptr()
                        },
                        channels: cm,
                        count: g.w,
                        step: cm,
                        kh: g.kh,
                        kw: g.kw,
                        row: g.dh * wp * cm,
                        tap: g.dw * cm,
                        accumulate: false,
                        bias: std::ptr::null(),
                        relu: false,
                    };
                    call::<T, _>(isa, args);
                    if g.multiplier > 1 {
                        let row = std::slice::from_raw_parts_mut(row, g.w * g.c);
                        for (to, from) in row.iter_mut().zip(line.chunks_exact(g.multiplier)) {
                            *to = from.iter().fold(T::ZERO, |sum, &v| sum + v);
                        }
                    }
                }
            }
        });
    });
}

/// The gradient to the kernel; `dw` is overwritten.
///
/// # Panics
/// If a slice's length does not fit the geometry, or the scratch is shorter than
/// [`depthwise_conv2d_grad_filter_scratch_len`].
pub fn depthwise_conv2d_grad_filter<T: Float>(
    g: &DepthwiseConv2d,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    scratch: &mut [T],
) {
    grad_filter_on(cpu::isa(), g, x, dy, dw, scratch);
}

/// [`depthwise_conv2d_grad_filter`] on an instruction set that this CPU has.
pub(super) fn grad_filter_on<T: Float>(
    isa: Isa,
    g: &DepthwiseConv2d,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    scratch: &mut [T],
) {
    let need = depthwise_conv2d_grad_filter_scratch_len::<T>(g);
    g.check(
        "depthwise_conv2d_grad_filter",
        x.len(),
        dw.len(),
        dy.len(),
        scratch.len(),
        need,
    );
    dw.fill(T::ZERO);
    if g.is_empty() {
        return;
    }
    let partials = &mut scratch[..need];
    partials.fill(T::ZERO);
    let (groups, len) = (g.groups(), g.w_len());
    let source = g.source(x);
    let dy = SendPtr::from_const(dy.as_ptr());
    let (first, others) = (
        SendPtr::new(dw.as_mut_ptr()),
        SendPtr::new(partials.as_mut_ptr()),
    );
    each_image(groups, g.macs(), |group| {
        let to = if group == 0 {
            first
        } else {
            others.wrapping_add((group - 1) * len)
        };
        for i in split(g.n, groups, group)..split(g.n, groups, group + 1) {
            // SAFETY: a group's sums are its task's; the window covers what the taps read.
            unsafe {
                g.window(&source, i, |base, stride| {
                    for oy in 0..g.oh {
                        let args = GradRow {
                            x: base.add(oy * g.sh * stride),
                            dy: dy.get().add((i * g.oh + oy) * g.ow * g.channels()),
                            dw: to.get(),
                            channels: g.channels(),
                            count: g.ow,
                            step: g.sw * g.channels(),
                            kh: g.kh,
                            kw: g.kw,
                            row: g.dh * stride,
                            tap: g.dw * g.channels(),
                        };
                        call::<T, _>(isa, args);
                    }
                });
            }
        }
    });
    for p in partials.chunks_exact(len) {
        for (d, &p) in dw.iter_mut().zip(p) {
            *d += p;
        }
    }
}

/// Calls `f` for every image, on all threads if there is enough to do.
fn each_image(n: usize, macs: usize, f: impl Fn(usize) + Sync) {
    // A tap costs more than a product's: memory bounds it.
    let parts = if par::is_small(macs, SERIAL / 4) {
        1
    } else {
        (4 * par::num_threads()).min(n)
    };
    par::run(parts, &|t| {
        (split(n, parts, t)..split(n, parts, t + 1)).for_each(&f)
    });
}

/// Runs a body on an instruction set.
///
/// # Safety
/// The CPU has it, and the body's conditions hold.
unsafe fn call<T: Float, B: Body<T>>(isa: Isa, body: B) -> B::Out {
    // SAFETY: passed on.
    unsafe {
        match isa {
            Isa::Avx512 => T::Avx512::call(body),
            Isa::Avx2 => T::Avx2::call(body),
            Isa::Portable => Portable::<T>::call(body),
        }
    }
}

/// Positions that share a load of the weights.
const XB: usize = 6;

/// A row of outputs. Position `p` of tap `(y, x)` reads `p * step + y * row + x * tap`.
struct Row<T> {
    x: *const T,
    w: *const T,
    y: *mut T,
    channels: usize,
    count: usize,
    step: usize,
    kh: usize,
    kw: usize,
    row: usize,
    tap: usize,
    accumulate: bool,
    bias: *const T,
    relu: bool,
}

impl<T: Float> Body<T> for Row<T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let mut c = 0;
        while c < self.channels {
            let lanes = (self.channels - c).min(S::LANES);
            let mut p = 0;
            // SAFETY: the caller's promise.
            unsafe {
                while p + XB <= self.count {
                    self.positions::<S, XB>(p, c, lanes);
                    p += XB;
                }
                while p < self.count {
                    self.positions::<S, 1>(p, c, lanes);
                    p += 1;
                }
            }
            c += lanes;
        }
    }
}

/// Reads a vector, or its first lanes.
#[inline(always)]
unsafe fn load<S: Simd>(p: *const S::T, lanes: usize, mask: S::Mask) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        if lanes == S::LANES {
            S::load(p)
        } else {
            S::load_mask(p, mask)
        }
    }
}

/// Writes a vector, or its first lanes.
#[inline(always)]
unsafe fn store<S: Simd>(p: *mut S::T, v: S::V, lanes: usize, mask: S::Mask) {
    // SAFETY: the caller's promise.
    unsafe {
        if lanes == S::LANES {
            S::store(p, v)
        } else {
            S::store_mask(p, mask, v)
        }
    }
}

impl<T: Float> Row<T> {
    #[inline(always)]
    unsafe fn positions<S: Simd<T = T>, const N: usize>(&self, p: usize, c: usize, lanes: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let mask = S::mask(lanes);
            let mut acc = [S::splat(T::ZERO); N];
            let mut w = self.w.add(c);
            for y in 0..self.kh {
                let mut x = self.x.add(p * self.step + y * self.row + c);
                for _ in 0..self.kw {
                    let wv = load::<S>(w, lanes, mask);
                    for i in 0..N {
                        acc[i] = S::fma(load::<S>(x.add(i * self.step), lanes, mask), wv, acc[i]);
                    }
                    w = w.add(self.channels);
                    x = x.wrapping_add(self.tap);
                }
            }
            for i in 0..N {
                let to = self.y.add((p + i) * self.channels + c);
                let mut v = acc[i];
                if self.accumulate {
                    v = S::add(load::<S>(to, lanes, mask), v);
                }
                if !self.bias.is_null() {
                    v = S::add(v, load::<S>(self.bias.add(c), lanes, mask));
                }
                if self.relu {
                    v = S::relu(v);
                }
                store::<S>(to, v, lanes, mask);
            }
        }
    }
}

/// Taps whose sums are kept in registers.
const TAPS: usize = 3;

/// What a row of `dy` adds to the kernel's gradient.
struct GradRow<T> {
    x: *const T,
    dy: *const T,
    dw: *mut T,
    channels: usize,
    count: usize,
    step: usize,
    kh: usize,
    kw: usize,
    row: usize,
    tap: usize,
}

impl<T: Float> Body<T> for GradRow<T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let mut c = 0;
        while c < self.channels {
            let lanes = (self.channels - c).min(S::LANES);
            for y in 0..self.kh {
                let mut x = 0;
                // SAFETY: the caller's promise.
                unsafe {
                    while x + TAPS <= self.kw {
                        self.taps::<S, TAPS>(y, x, c, lanes);
                        x += TAPS;
                    }
                    while x < self.kw {
                        self.taps::<S, 1>(y, x, c, lanes);
                        x += 1;
                    }
                }
            }
            c += lanes;
        }
    }
}

impl<T: Float> GradRow<T> {
    #[inline(always)]
    unsafe fn taps<S: Simd<T = T>, const N: usize>(
        &self,
        y: usize,
        x: usize,
        c: usize,
        lanes: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mask = S::mask(lanes);
            let mut acc = [S::splat(T::ZERO); N];
            let from = self.x.add(y * self.row + x * self.tap + c);
            for p in 0..self.count {
                let d = load::<S>(self.dy.add(p * self.channels + c), lanes, mask);
                for i in 0..N {
                    let v = load::<S>(from.add(p * self.step + i * self.tap), lanes, mask);
                    acc[i] = S::fma(v, d, acc[i]);
                }
            }
            for i in 0..N {
                let to = self.dw.add((y * self.kw + x + i) * self.channels + c);
                store::<S>(to, S::add(load::<S>(to, lanes, mask), acc[i]), lanes, mask);
            }
        }
    }
}
