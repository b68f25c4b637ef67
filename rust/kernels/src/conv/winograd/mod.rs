//! 3x3 convolutions of stride 1 as Winograd's F(4x4, 3x3): a tile of 4x4 outputs costs 36
//! multiplications for each pair of channels instead of 144.
//!
//! The transformed tiles of a block stay in L2: transform, 36 products, transform back with bias and
//! activation. Whether it is used depends on the kernel's shape, the element type and the switch, never on
//! the number of samples.

mod grad_filter;
mod transform;

use std::sync::atomic::{AtomicU8, Ordering};

pub(super) use grad_filter::{grad_filter, scratch_len as grad_filter_scratch_len};
use transform::{F, Freqs, Input, Output, Weights};

use super::{Act, Conv2d, Epilogue};
use crate::dtype::{DType, Float};
use crate::gemm::Simd;
use crate::gemm::block::{Block, Layout, block, with_scratch};
use crate::gemm::driver::KC;
use crate::gemm::tile::Seg;
use crate::par::{self, SendPtr, split};

/// Not decided, off, on.
static SWITCH: AtomicU8 = AtomicU8::new(0);

/// Switches Winograd's algorithm on or off for the whole process.
///
/// It is on unless the environment says `HORNBEAM_WINOGRAD=0`. Scratch lengths depend on it: change
/// it before they are asked for. Its results differ from direct convolution's by rounding.
pub fn set_winograd(on: bool) {
    SWITCH.store(1 + u8::from(on), Ordering::Relaxed);
}

/// Whether Winograd's algorithm is switched on.
pub fn winograd() -> bool {
    match SWITCH.load(Ordering::Relaxed) {
        0 => {
            let on = std::env::var("HORNBEAM_WINOGRAD").as_deref() != Ok("0");
            set_winograd(on);
            on
        }
        v => v == 2,
    }
}

/// Whether a convolution is computed this way.
pub(super) fn applies<T: Float>(g: &Conv2d) -> bool {
    T::DTYPE == DType::F32
        && (g.kh, g.kw) == (3, 3)
        && (g.sh, g.sw, g.dh, g.dw) == (1, 1, 1, 1)
        && g.ci >= 16
        && g.co >= 16
        && g.pad_top <= 2
        && g.pad_left <= 2
        && winograd()
}

/// The images on both sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image {
    pub(super) n: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) c: usize,
    pub(super) oh: usize,
    pub(super) ow: usize,
    pub(super) co: usize,
    pub(super) top: usize,
    pub(super) left: usize,
}

/// Output channels whose products share a block of transformed outputs.
const CHUNK: usize = 64;
/// Elements of a block's transformed input: with the outputs' they stay in L2.
const BLOCK: usize = 256 * 1024;

impl Image {
    /// The images of a convolution.
    fn forward(g: &Conv2d) -> Self {
        Image {
            n: g.n,
            h: g.h,
            w: g.w,
            c: g.ci,
            oh: g.oh,
            ow: g.ow,
            co: g.co,
            top: g.pad_top,
            left: g.pad_left,
        }
    }
    /// The images of its gradient to the input, a convolution as well.
    fn backward(g: &Conv2d) -> Self {
        Image {
            n: g.n,
            h: g.oh,
            w: g.ow,
            c: g.co,
            oh: g.h,
            ow: g.w,
            co: g.ci,
            top: 2 - g.pad_top,
            left: 2 - g.pad_left,
        }
    }
    fn tiles(&self) -> usize {
        self.n * self.oh.div_ceil(4) * self.ow.div_ceil(4)
    }
    /// Image, row and column of a tile.
    fn tile(&self, t: usize) -> (usize, usize, usize) {
        let (th, tw) = (self.oh.div_ceil(4), self.ow.div_ceil(4));
        (t / (th * tw), t / tw % th, t % tw)
    }
    /// Output channels, padded.
    fn cop(&self) -> usize {
        self.co.next_multiple_of(16)
    }
    /// Ranges of output channels.
    fn chunks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let co = self.co;
        (0..co)
            .step_by(CHUNK)
            .map(move |j| (j, (j + CHUNK).min(co)))
    }
    /// Into how many blocks the input channels are cut.
    fn blocks(&self) -> usize {
        self.c.div_ceil(KC)
    }
    fn block(&self, i: usize) -> (usize, usize) {
        (
            split(self.c, self.blocks(), i),
            split(self.c, self.blocks(), i + 1),
        )
    }
    /// The block of an input channel.
    fn block_of(&self, q: usize) -> (usize, usize) {
        (0..self.blocks())
            .map(|i| self.block(i))
            .find(|b| q < b.1)
            .unwrap_or((0, self.c))
    }
    fn weights_len(&self) -> usize {
        F * self.c * self.cop()
    }
}

/// Elements of scratch that [`forward`] needs.
pub(super) fn forward_scratch_len(g: &Conv2d) -> usize {
    Image::forward(g).weights_len()
}

/// Elements of scratch that [`grad_input`] needs.
pub(super) fn grad_input_scratch_len(g: &Conv2d) -> usize {
    Image::backward(g).weights_len() + g.w_len()
}

/// The convolution.
///
/// # Safety
/// The CPU has `S`, [`applies`] holds; the slices have the geometry's lengths, of which none is zero.
pub(super) unsafe fn forward<S: Simd>(
    g: &Conv2d,
    x: &[S::T],
    w: &[S::T],
    y: &mut [S::T],
    ep: &Epilogue<'_, S::T>,
    scratch: &mut [S::T],
) {
    // SAFETY: passed on.
    unsafe { convolve::<S>(&Image::forward(g), x, w, false, y, ep, scratch) };
}

/// The gradient to the input.
///
/// # Safety
/// As [`forward`].
pub(super) unsafe fn grad_input<S: Simd>(
    g: &Conv2d,
    dy: &[S::T],
    w: &[S::T],
    dx: &mut [S::T],
    scratch: &mut [S::T],
) {
    let (turned, scratch) = scratch.split_at_mut(g.w_len());
    let ep = Epilogue::default();
    // SAFETY: passed on.
    unsafe {
        super::direct::turn::<S>(g, w, turned);
        convolve::<S>(&Image::backward(g), dy, turned, true, dx, &ep, scratch);
    }
}

unsafe fn convolve<S: Simd>(
    image: &Image,
    x: &[S::T],
    w: &[S::T],
    flip: bool,
    y: &mut [S::T],
    ep: &Epilogue<'_, S::T>,
    scratch: &mut [S::T],
) {
    let u = SendPtr::new(scratch[..image.weights_len()].as_mut_ptr());
    let (x, w) = (
        SendPtr::from_const(x.as_ptr()),
        SendPtr::from_const(w.as_ptr()),
    );
    let y = SendPtr::new(y.as_mut_ptr());
    let threads = par::num_threads();
    let parts = if par::is_small(image.c * image.co, 1 << 12) {
        1
    } else {
        (4 * threads).min(image.c)
    };
    par::run(parts, &|t| {
        let rows = (split(image.c, parts, t), split(image.c, parts, t + 1));
        let body = Weights {
            image,
            w: w.get(),
            flip,
            rows,
            to: u.get(),
        };
        // SAFETY: every row of the kernel is one task's.
        unsafe { S::call(body) };
    });

    let tiles = image.tiles();
    let most = (BLOCK / (F * image.c)).clamp(12, 96);
    let blocks = tiles.div_ceil(most);
    // Few blocks are shared by channels of the output as well.
    let chunks = image.co.div_ceil(CHUNK);
    let by = if blocks >= 2 * threads {
        1
    } else {
        chunks.min(threads)
    };
    par::run(blocks * by, &|t| {
        let (b, c) = (t / by, t % by);
        let range = (split(tiles, blocks, b), split(tiles, blocks, b + 1));
        let chunks = (split(chunks, by, c), split(chunks, by, c + 1));
        // SAFETY: tasks write tiles and channels of their own.
        unsafe { tile_block::<S>(image, x.get(), u.get(), y.get(), ep, range, chunks) };
    });
}

/// The tiles `t0..t1` for the given chunks of output channels.
unsafe fn tile_block<S: Simd>(
    g: &Image,
    x: *const S::T,
    u: *const S::T,
    y: *mut S::T,
    ep: &Epilogue<'_, S::T>,
    tiles: (usize, usize),
    chunks: (usize, usize),
) {
    let count = tiles.1 - tiles.0;
    let (v, m) = (Freqs::new(count, g.c), Freqs::new(count, g.co.min(CHUNK)));
    let zeros = g.c.next_multiple_of(16);
    with_scratch::<S::T, _>(v.len() + m.len() + zeros, |buffer| {
        let (zeros, buffer) = buffer.split_at_mut(zeros);
        zeros.fill(S::T::ZERO);
        let (vs, ms) = buffer.split_at_mut(v.len());
        let body = Input {
            image: g,
            x,
            zeros: zeros.as_ptr(),
            tiles,
            channels: (0, g.c),
            to: vs.as_mut_ptr(),
            at: v,
        };
        // SAFETY: the caller's promise; the buffers have the layouts' lengths.
        unsafe { S::call(body) };
        for (c0, c1) in g.chunks().take(chunks.1).skip(chunks.0) {
            // SAFETY: as above; the frequencies' weights lie at `u`.
            unsafe {
                products::<S>(g, vs.as_ptr(), v, u, ms.as_mut_ptr(), m, count, (c0, c1));
                S::call(Output {
                    image: g,
                    from: ms.as_ptr(),
                    at: m,
                    tiles,
                    channels: (c0, c1),
                    y,
                    ep: *ep,
                });
            }
        }
    });
}

/// The 36 products of a block's tiles with the weights of the output channels `c0..c1`.
unsafe fn products<S: Simd>(
    g: &Image,
    vs: *const S::T,
    v: Freqs,
    u: *const S::T,
    ms: *mut S::T,
    m: Freqs,
    count: usize,
    (c0, c1): (usize, usize),
) {
    let a_rows: [usize; 96] = std::array::from_fn(|t| t * v.tile);
    let c_rows: [usize; 96] = std::array::from_fn(|t| t * m.tile);
    for f in 0..F {
        for i in 0..g.blocks() {
            let (k0, k1) = g.block(i);
            // SAFETY: the caller's promise.
            unsafe {
                let args = Block {
                    a: vs.add(f * v.freq + k0),
                    csa: 1,
                    segs: &[Seg { a: 0, b: 0 }],
                    seg_len: k1 - k0,
                    b: u.add(f * g.c * g.cop() + k0 * g.cop() + c0 * (k1 - k0)),
                    layout: Layout::Panels(k1 - k0),
                    c: ms.add(f * m.freq),
                    n: c1 - c0,
                    accumulate: i > 0,
                    bias: std::ptr::null(),
                    act: Act::None,
                    wide: 2,
                };
                block::<S>(&args, &a_rows[..count], &c_rows[..count]);
            }
        }
    }
}
