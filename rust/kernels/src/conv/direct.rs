//! Direct convolution: a product whose rows are output positions and whose `k` range is one stretch
//! of the input for each row of the kernel, read in place.
//!
//! The gradient to the input is the same with roles exchanged: a stride splits it into phases, in
//! each of which the contributing taps are the same for all positions.

use std::mem::MaybeUninit;

use super::source::{Source, View};
use super::{Act, Conv2d, Epilogue};
use crate::dtype::Float;
use crate::gemm::Simd;
use crate::gemm::block::{
    Block, Layout, MC, bias_ptr, block, pack, packed_len, transpose, widest, with_scratch,
};
use crate::gemm::driver::{KC, SERIAL};
use crate::gemm::tile::Seg;
use crate::par::{self, SendPtr, split};

/// The most stretches in one block of `k`.
const SEGS: usize = 32;

/// The taps that contribute to every position of a phase: tap `(y, x)` starts `a + y * ay + x * ax`
/// into the view and at row `b + y * by + x * bx` of the weights.
#[derive(Clone, Copy, Debug)]
struct Taps {
    ny: usize,
    nx: usize,
    a: usize,
    ay: isize,
    ax: isize,
    b: usize,
    by: usize,
    bx: usize,
    len: usize,
}

impl Taps {
    fn seg(&self, i: usize) -> Seg {
        let (y, x) = (i / self.nx, i % self.nx);
        let a = self.a as isize + y as isize * self.ay + x as isize * self.ax;
        Seg {
            a: a as usize,
            b: self.b + y * self.by + x * self.bx,
        }
    }
}

/// Output positions and where they lie: `(y, x)` reads from `y * ay + x * ax` and is written to
/// `c + y * cy + x * cx`.
#[derive(Clone, Copy, Debug)]
struct Positions {
    y0: usize,
    y1: usize,
    nx: usize,
    ay: usize,
    ax: usize,
    c: usize,
    cy: usize,
    cx: usize,
}

/// What all phases of a convolution share.
struct Conv<'a, T> {
    source: Source<T>,
    weights: SendPtr<T>,
    layout: Layout,
    /// Distance of images in the output.
    image: usize,
    out: SendPtr<T>,
    channels: usize,
    ep: Epilogue<'a, T>,
    wide: usize,
}

/// Calls `f` with the weights, `k` rows of `n`, packed if the positions are worth it.
unsafe fn with_weights<S: Simd, R>(
    w: &[S::T],
    (k, n): (usize, usize),
    positions: usize,
    f: impl FnOnce(SendPtr<S::T>, Layout, usize) -> R,
) -> R {
    // Short sums are bound by what surrounds them: four vectors halve the tiles of 64 columns.
    let short = k <= 128 && n.is_multiple_of(4 * S::LANES);
    let wide = if short { 4 } else { widest(positions) };
    if n <= 2 * S::LANES || positions < 64 {
        return f(SendPtr::from_const(w.as_ptr()), Layout::Rows(n), wide);
    }
    with_scratch::<S::T, R>(packed_len::<S>(k, n), |to| {
        // SAFETY: the weights are `k x n`, and the buffer has the packed length.
        unsafe { pack::<S>(w.as_ptr(), n, 1, k, n, wide, to.as_mut_ptr()) };
        f(SendPtr::new(to.as_mut_ptr()), Layout::Panels(k), wide)
    })
}

impl<T: Float> Conv<'_, T> {
    /// Computes one phase of the images `i0..i1`.
    unsafe fn phase<S: Simd<T = T>>(
        &self,
        view: View<T>,
        (i0, i1): (usize, usize),
        taps: &Taps,
        at: &Positions,
    ) {
        let mut a_rows = [MaybeUninit::<usize>::uninit(); MC];
        let mut c_rows = [MaybeUninit::<usize>::uninit(); MC];
        let mut len = 0;
        for i in i0..i1 {
            for y in at.y0..at.y1 {
                for x in 0..at.nx {
                    a_rows[len].write((i - i0) * view.image + (y - at.y0) * at.ay + x * at.ax);
                    c_rows[len].write(i * self.image + at.c + y * at.cy + x * at.cx);
                    len += 1;
                    if len == MC || (i + 1 == i1 && y + 1 == at.y1 && x + 1 == at.nx) {
                        // SAFETY: the first `len` entries were written; the rest is the caller's
                        // promise.
                        unsafe {
                            let a = std::slice::from_raw_parts(a_rows.as_ptr().cast(), len);
                            let c = std::slice::from_raw_parts(c_rows.as_ptr().cast(), len);
                            self.rows::<S>(view, taps, a, c);
                        }
                        len = 0;
                    }
                }
            }
        }
    }

    /// Computes up to `MC` positions: all blocks of `k` in order.
    unsafe fn rows<S: Simd<T = T>>(
        &self,
        view: View<T>,
        taps: &Taps,
        a_rows: &[usize],
        c_rows: &[usize],
    ) {
        let count = taps.ny * taps.nx;
        let chunks = taps.len.div_ceil(KC).max(1);
        let per = (KC * chunks / taps.len.max(1)).clamp(1, SEGS);
        let blocks = count.div_ceil(per).max(1);
        for chunk in 0..chunks {
            let k0 = split(taps.len, chunks, chunk);
            let k1 = split(taps.len, chunks, chunk + 1);
            for p in 0..blocks {
                let mut segs = [Seg { a: 0, b: 0 }; SEGS];
                let (s0, s1) = (split(count, blocks, p), split(count, blocks, p + 1));
                for s in s0..s1 {
                    let seg = taps.seg(s);
                    segs[s - s0] = Seg {
                        a: seg.a + k0,
                        b: seg.b + k0,
                    };
                }
                let last = chunk + 1 == chunks && p + 1 == blocks;
                let block_args = Block {
                    a: view.base,
                    csa: 1,
                    segs: &segs[..s1 - s0],
                    seg_len: k1 - k0,
                    b: self.weights.get(),
                    layout: self.layout,
                    c: self.out.get(),
                    n: self.channels,
                    accumulate: self.ep.accumulate || chunk > 0 || p > 0,
                    bias: if last {
                        bias_ptr(&self.ep)
                    } else {
                        std::ptr::null()
                    },
                    act: if last { self.ep.act } else { Act::None },
                    wide: self.wide,
                };
                // SAFETY: the caller's promise.
                unsafe { block::<S>(&block_args, a_rows, c_rows) };
            }
        }
    }
}

/// Cuts `n` images of `ny` rows of positions into tasks and calls `f(images, rows)` for each.
/// `positions` counts those of an image, `macs` the work of all.
fn tasks(
    n: usize,
    ny: usize,
    positions: usize,
    macs: usize,
    f: impl Fn((usize, usize), (usize, usize)) + Sync,
) {
    // Images that share a pass over the weights.
    let together = (MC / positions.max(1)).clamp(1, n.max(1));
    let threads = if par::is_small(macs, SERIAL) {
        1
    } else {
        par::num_threads()
    };
    let units = n.div_ceil(together);
    if threads == 1 || units >= 2 * threads {
        let parts = if threads == 1 {
            1
        } else {
            (4 * threads).min(units)
        };
        par::run(parts, &|t| {
            for u in split(units, parts, t)..split(units, parts, t + 1) {
                f((u * together, ((u + 1) * together).min(n)), (0, ny));
            }
        });
        return;
    }
    // Few images: each is cut into bands.
    let bands = (2 * threads).div_ceil(n).min(ny);
    par::run(n * bands, &|t| {
        let (i, band) = (t / bands, t % bands);
        f(
            (i, i + 1),
            (split(ny, bands, band), split(ny, bands, band + 1)),
        );
    });
}

/// The images that [`super::conv2d`] reads.
pub(super) fn forward_source<T: Float>(g: &Conv2d, x: &[T]) -> Source<T> {
    Source {
        base: SendPtr::from_const(x.as_ptr()),
        h: g.h,
        w: g.w,
        c: g.ci,
        top: g.pad_top,
        left: g.pad_left,
        hp: (g.oh - 1) * g.sh + (g.kh - 1) * g.dh + 1,
        wp: (g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1,
    }
}

/// The convolution itself.
///
/// # Safety
/// The CPU has `S`; the slices have the geometry's lengths, of which none is zero.
pub(super) unsafe fn forward<S: Simd>(
    g: &Conv2d,
    x: &[S::T],
    w: &[S::T],
    y: &mut [S::T],
    ep: &Epilogue<'_, S::T>,
) {
    let source = forward_source(g, x);
    let positions = g.n * g.oh * g.ow;
    let body = |weights, layout, wide| {
        let conv = Conv {
            source,
            weights,
            layout,
            image: g.oh * g.ow * g.co,
            out: SendPtr::new(y.as_mut_ptr()),
            channels: g.co,
            ep: *ep,
            wide,
        };
        let macs = g.y_len() * g.kh * g.kw * g.ci;
        tasks(g.n, g.oh, g.oh * g.ow, macs, |images, (y0, y1)| {
            let window = (y0 * g.sh, (y1 - 1) * g.sh + (g.kh - 1) * g.dh + 1);
            // SAFETY: the view covers what the taps of the band's positions read; outputs of tasks
            // are disjoint.
            unsafe {
                conv.source.with(images, window, |view| {
                    let merge = g.dw == 1;
                    let taps = Taps {
                        ny: g.kh,
                        nx: if merge { 1 } else { g.kw },
                        a: 0,
                        ay: (g.dh * view.row) as isize,
                        ax: (g.dw * g.ci) as isize,
                        b: 0,
                        by: g.kw * g.ci,
                        bx: g.ci,
                        len: if merge { g.kw * g.ci } else { g.ci },
                    };
                    let at = Positions {
                        y0,
                        y1,
                        nx: g.ow,
                        ay: g.sh * view.row,
                        ax: g.sw * g.ci,
                        c: 0,
                        cy: g.ow * g.co,
                        cx: g.co,
                    };
                    conv.phase::<S>(view, images, &taps, &at);
                });
            }
        });
    };
    // SAFETY: the weights have this shape.
    unsafe { with_weights::<S, _>(w, (g.kh * g.kw * g.ci, g.co), positions, body) };
}

/// One direction of the gradient to the input: a padded input coordinate is `q * stride + phase`,
/// and tap `first + t * step` takes output `q - (e + t * de)`.
#[derive(Clone, Copy, Debug)]
struct Phase {
    taps: usize,
    first: usize,
    step: usize,
    e: usize,
    de: usize,
    /// The first `q` inside the image, and how many there are.
    q0: usize,
    count: usize,
}

impl Phase {
    fn new(phase: usize, k: usize, stride: usize, dilation: usize, pad: usize, len: usize) -> Self {
        let hits = |t: usize| (t * dilation) % stride == phase;
        let first = (0..k).find(|&t| hits(t));
        let step = (1..=stride)
            .find(|&s| (s * dilation).is_multiple_of(stride))
            .unwrap_or(1);
        let q0 = pad.saturating_sub(phase).div_ceil(stride);
        let end = (pad + len).saturating_sub(phase).div_ceil(stride);
        Phase {
            taps: first.map_or(0, |f| (k - f).div_ceil(step)),
            first: first.unwrap_or(0),
            step,
            e: first.map_or(0, |f| (f * dilation - phase) / stride),
            de: step * dilation / stride,
            q0,
            count: end.saturating_sub(q0),
        }
    }
}

/// The gradient to the input; `turned` has room for the weights.
///
/// # Safety
/// The CPU has `S`; the slices have the geometry's lengths, of which none is zero.
pub(super) unsafe fn grad_input<S: Simd>(
    g: &Conv2d,
    dy: &[S::T],
    w: &[S::T],
    dx: &mut [S::T],
    turned: &mut [S::T],
) {
    // SAFETY: the caller's promise.
    unsafe { turn::<S>(g, w, turned) };
    let (ey, ex) = ((g.kh - 1) * g.dh / g.sh, (g.kw - 1) * g.dw / g.sw);
    let (qh, qw) = (
        (g.pad_top + g.h - 1) / g.sh + 1,
        (g.pad_left + g.w - 1) / g.sw + 1,
    );
    let source = Source {
        base: SendPtr::from_const(dy.as_ptr()),
        h: g.oh,
        w: g.ow,
        c: g.co,
        top: ey,
        left: ex,
        hp: qh + ey,
        wp: qw + ex,
    };
    let positions = g.n * qh * qw;
    let body = |weights, layout, wide| {
        let conv = Conv {
            source,
            weights,
            layout,
            image: g.h * g.w * g.ci,
            out: SendPtr::new(dx.as_mut_ptr()),
            channels: g.ci,
            ep: Epilogue::default(),
            wide,
        };
        let macs = g.y_len() * g.kh * g.kw * g.ci;
        tasks(g.n, qh, qh * qw, macs, |images, (b0, b1)| {
            // SAFETY: the view covers what the taps of the band's positions read; outputs of tasks
            // are disjoint.
            unsafe {
                conv.source.with(images, (b0, b1 + ey), |view| {
                    for py in 0..g.sh {
                        let v = Phase::new(py, g.kh, g.sh, g.dh, g.pad_top, g.h);
                        let (y0, y1) = (b0.max(v.q0), b1.min(v.q0 + v.count));
                        if y0 >= y1 {
                            continue;
                        }
                        for px in 0..g.sw {
                            let h = Phase::new(px, g.kw, g.sw, g.dw, g.pad_left, g.w);
                            let taps = turned_taps(g, &view, (ey + y0 - b0, ex + h.q0), &v, &h);
                            let row = y0 * g.sh + py - g.pad_top;
                            let column = h.q0 * g.sw + px - g.pad_left.min(h.q0 * g.sw + px);
                            let at = Positions {
                                y0: 0,
                                y1: y1 - y0,
                                nx: h.count,
                                ay: view.row,
                                ax: g.co,
                                c: (row * g.w + column) * g.ci,
                                cy: g.sh * g.w * g.ci,
                                cx: g.sw * g.ci,
                            };
                            conv.phase::<S>(view, images, &taps, &at);
                        }
                    }
                });
            }
        });
    };
    // SAFETY: the weights have this shape.
    unsafe { with_weights::<S, _>(turned, (g.kh * g.kw * g.co, g.ci), positions, body) };
}

/// The taps of a phase of the gradient to the input, seen from output `(y, x)` of the view.
fn turned_taps<T>(
    g: &Conv2d,
    view: &View<T>,
    (y, x): (usize, usize),
    v: &Phase,
    h: &Phase,
) -> Taps {
    let row = g.kw * g.co;
    let merge = g.sw == 1 && g.dw == 1;
    // Columns of the weights are reversed, so the last tap comes first.
    let last = h.first + h.taps.saturating_sub(1) * h.step;
    let e_last = h.e + h.taps.saturating_sub(1) * h.de;
    Taps {
        ny: v.taps,
        nx: if merge { 1 } else { h.taps },
        a: (y - v.e) * view.row + (x - e_last) * g.co,
        ay: -((v.de * view.row) as isize),
        ax: (h.de * g.co) as isize,
        b: v.first * row + (g.kw - 1).saturating_sub(last) * g.co,
        by: v.step * row,
        bx: h.step * g.co,
        len: if merge { h.taps * g.co } else { g.co },
    }
}

/// Writes the weights as `[kh, kw (reversed), co, ci]`.
///
/// # Safety
/// The CPU has `S`.
pub(super) unsafe fn turn<S: Simd>(g: &Conv2d, w: &[S::T], to: &mut [S::T]) {
    let plane = g.ci * g.co;
    for ky in 0..g.kh {
        for kx in 0..g.kw {
            let from = &w[(ky * g.kw + kx) * plane..][..plane];
            let to = &mut to[(ky * g.kw + g.kw - 1 - kx) * plane..][..plane];
            // SAFETY: the caller's promise.
            unsafe { transpose::<S>(from, g.ci, g.co, to) };
        }
    }
}
