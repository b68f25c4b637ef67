//! The transforms of F(4x4, 3x3) on vectors of channels (Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks", 2016; interpolation at 0, 1, -1, 2, -2 and infinity).

use super::super::Epilogue;
use super::Image;
use crate::dtype::Float;
use crate::gemm::block::next_panel;
use crate::gemm::simd::{Body, Simd};
use crate::gemm::{Act, driver};

/// Numbers in the transformed domain of a tile.
pub(super) const F: usize = 36;

/// `B^T d`: six inputs to six frequencies.
#[inline(always)]
unsafe fn input<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: the CPU has `S`.
    unsafe {
        let (c2, c4, c5) = (constant::<S>(2.0), constant::<S>(4.0), constant::<S>(-5.0));
        let (m2, m4) = (constant::<S>(-2.0), constant::<S>(-4.0));
        let (e, o) = (S::fma(m4, d[2], d[4]), S::fma(m4, d[1], d[3]));
        let (a, b) = (S::sub(d[4], d[2]), S::sub(d[3], d[1]));
        [
            S::fma(c4, d[0], S::fma(c5, d[2], d[4])),
            S::add(e, o),
            S::sub(e, o),
            S::fma(c2, b, a),
            S::fma(m2, b, a),
            S::fma(c4, d[1], S::fma(c5, d[3], d[5])),
        ]
    }
}

/// `A^T m`: six frequencies to four outputs.
#[inline(always)]
unsafe fn output<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: the CPU has `S`.
    unsafe {
        let (c2, c4, c8) = (constant::<S>(2.0), constant::<S>(4.0), constant::<S>(8.0));
        let (s1, d1) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (s2, d2) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(S::add(m[0], s1), s2),
            S::fma(c2, d2, d1),
            S::fma(c4, s2, s1),
            S::add(S::fma(c8, d2, d1), m[5]),
        ]
    }
}

/// `A y`: four gradients of outputs to six frequencies.
#[inline(always)]
unsafe fn output_grad<S: Simd>(y: [S::V; 4]) -> [S::V; 6] {
    // SAFETY: the CPU has `S`.
    unsafe {
        let (c2, c4) = (constant::<S>(2.0), constant::<S>(4.0));
        let (e, o) = (S::add(y[0], y[2]), S::add(y[1], y[3]));
        let e4 = S::fma(c4, y[2], y[0]);
        let o4 = S::mul(c2, S::fma(c4, y[3], y[1]));
        [
            y[0],
            S::add(e, o),
            S::sub(e, o),
            S::add(e4, o4),
            S::sub(e4, o4),
            y[3],
        ]
    }
}

/// `G g`: three weights to six frequencies.
#[inline(always)]
unsafe fn weights<S: Simd>(g: [S::V; 3]) -> [S::V; 6] {
    // SAFETY: the CPU has `S`.
    unsafe {
        let (c4, m6) = (constant::<S>(1.0 / 4.0), constant::<S>(-1.0 / 6.0));
        let (c24, c12, c6) = (
            constant::<S>(1.0 / 24.0),
            constant::<S>(1.0 / 12.0),
            constant::<S>(1.0 / 6.0),
        );
        let (a, b) = (S::mul(m6, S::add(g[0], g[2])), S::mul(c6, g[1]));
        let (c, d) = (S::fma(c24, g[0], S::mul(c6, g[2])), S::mul(c12, g[1]));
        [
            S::mul(c4, g[0]),
            S::sub(a, b),
            S::add(a, b),
            S::add(c, d),
            S::sub(c, d),
            g[2],
        ]
    }
}

/// `G^T u`: six frequencies to three gradients of weights.
#[inline(always)]
unsafe fn weights_grad<S: Simd>(u: [S::V; 6]) -> [S::V; 3] {
    // SAFETY: the CPU has `S`.
    unsafe {
        let (c4, c6) = (constant::<S>(1.0 / 4.0), constant::<S>(1.0 / 6.0));
        let (c24, c12) = (constant::<S>(1.0 / 24.0), constant::<S>(1.0 / 12.0));
        let (s1, d1) = (S::mul(c6, S::add(u[1], u[2])), S::sub(u[2], u[1]));
        let (s3, d3) = (S::add(u[3], u[4]), S::sub(u[3], u[4]));
        [
            S::sub(S::fma(c24, s3, S::mul(c4, u[0])), s1),
            S::fma(c12, d3, S::mul(c6, d1)),
            S::add(S::sub(S::mul(c6, s3), s1), u[5]),
        ]
    }
}

#[inline(always)]
unsafe fn constant<S: Simd>(x: f64) -> S::V {
    // SAFETY: the CPU has `S`.
    unsafe { S::splat(S::T::from_f64(x)) }
}

/// Reads a vector, or its first lanes if there is a mask.
#[inline(always)]
unsafe fn load<S: Simd>(p: *const S::T, mask: Option<S::Mask>) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        match mask {
            Some(m) => S::load_mask(p, m),
            None => S::load(p),
        }
    }
}

/// Writes a vector, or its first lanes if there is a mask.
#[inline(always)]
unsafe fn store<S: Simd>(p: *mut S::T, v: S::V, mask: Option<S::Mask>) {
    // SAFETY: the caller's promise.
    unsafe {
        match mask {
            Some(m) => S::store_mask(p, m, v),
            None => S::store(p, v),
        }
    }
}

/// The computation of one vector of channels. It is a trait because a closure would not be compiled
/// with the instruction set's features.
trait Channels<T> {
    /// Computes the channels from `c` on, all lanes or those of the mask.
    unsafe fn vector<S: Simd<T = T>>(&self, c: usize, mask: Option<S::Mask>);

    /// Computes `n` channels.
    #[inline(always)]
    unsafe fn all<S: Simd<T = T>>(&self, n: usize) {
        let mut c = 0;
        // SAFETY: the caller's promise; fewer than `LANES` are left for the mask.
        unsafe {
            while c + S::LANES <= n {
                self.vector::<S>(c, None);
                c += S::LANES;
            }
            if c < n {
                self.vector::<S>(c, Some(S::mask(n - c)));
            }
        }
    }
}

/// Reads the vectors at `p`, `p + stride`, ...
#[inline(always)]
unsafe fn load_strided<S: Simd, const N: usize>(
    p: *const S::T,
    stride: usize,
    mask: Option<S::Mask>,
) -> [S::V; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut v = [S::splat(S::T::ZERO); N];
        for i in 0..N {
            v[i] = load::<S>(p.add(i * stride), mask);
        }
        v
    }
}

/// Reads channel `c` of the pixels `first`, `first + step`, ...
#[inline(always)]
unsafe fn load_pixels<S: Simd, const N: usize>(
    pixels: &[*const S::T],
    step: usize,
    c: usize,
    mask: Option<S::Mask>,
) -> [S::V; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut v = [S::splat(S::T::ZERO); N];
        for i in 0..N {
            v[i] = load::<S>(pixels.get_unchecked(i * step).add(c), mask);
        }
        v
    }
}

/// Where the transformed tiles of a block lie: number `t` of frequency `f` at `f * freq + t * tile`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freqs {
    pub(super) freq: usize,
    pub(super) tile: usize,
}

impl Freqs {
    /// The layout of `tiles` tiles of `c` channels. Frequencies are kept off multiples of 4 KB, where
    /// their cache lines would compete.
    pub(super) fn new(tiles: usize, c: usize) -> Self {
        let c = c.next_multiple_of(16);
        Freqs {
            freq: tiles * c + 16,
            tile: c,
        }
    }
    pub(super) fn len(&self) -> usize {
        F * self.freq
    }
}

/// `B^T d B` of the tiles `t0..t1`.
pub(super) struct Input<'a, T> {
    pub(super) image: &'a Image,
    pub(super) x: *const T,
    /// As many zeros as there are channels, read for what lies outside the image.
    pub(super) zeros: *const T,
    pub(super) tiles: (usize, usize),
    /// The input channels that are transformed.
    pub(super) channels: (usize, usize),
    pub(super) to: *mut T,
    pub(super) at: Freqs,
}

impl<T: Float> Body<T> for Input<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let g = self.image;
        for t in self.tiles.0..self.tiles.1 {
            let (image, ty, tx) = g.tile(t);
            let (y0, x0) = (
                4 * ty as isize - g.top as isize,
                4 * tx as isize - g.left as isize,
            );
            let base = self
                .x
                .wrapping_add(image * g.h * g.w * g.c + self.channels.0);
            let pixels: [*const T; F] = std::array::from_fn(|i| {
                let (y, x) = (y0 + (i / 6) as isize, x0 + (i % 6) as isize);
                if (0..g.h as isize).contains(&y) && (0..g.w as isize).contains(&x) {
                    base.wrapping_offset((y * g.w as isize + x) * g.c as isize)
                } else {
                    self.zeros
                }
            });
            let to = self.to.wrapping_add((t - self.tiles.0) * self.at.tile);
            // SAFETY: the pixels are inside the image or the zeros, the tile inside `to`.
            unsafe {
                InputTile {
                    pixels: &pixels,
                    to,
                    freq: self.at.freq,
                }
                .all::<S>(self.channels.1 - self.channels.0)
            };
        }
    }
}

struct InputTile<'a, T> {
    pixels: &'a [*const T; 36],
    to: *mut T,
    freq: usize,
}

impl<T: Float> Channels<T> for InputTile<'_, T> {
    #[inline(always)]
    unsafe fn vector<S: Simd<T = T>>(&self, c: usize, mask: Option<S::Mask>) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut d = [[S::splat(T::ZERO); 6]; 6];
            for j in 0..6 {
                let column = input::<S>(load_pixels::<S, 6>(&self.pixels[j..], 6, c, mask));
                for i in 0..6 {
                    d[i][j] = column[i];
                }
            }
            for i in 0..6 {
                let row = input::<S>(d[i]);
                for j in 0..6 {
                    store::<S>(self.to.add((i * 6 + j) * self.freq + c), row[j], mask);
                }
            }
        }
    }
}

/// `A dy A^T` of the tiles `t0..t1`.
pub(super) struct OutputGrad<'a, T> {
    pub(super) image: &'a Image,
    pub(super) dy: *const T,
    /// As many zeros as there are channels, read for what lies outside the image.
    pub(super) zeros: *const T,
    pub(super) tiles: (usize, usize),
    pub(super) to: *mut T,
    pub(super) at: Freqs,
}

impl<T: Float> Body<T> for OutputGrad<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let g = self.image;
        for t in self.tiles.0..self.tiles.1 {
            let (image, ty, tx) = g.tile(t);
            let base = self.dy.wrapping_add(image * g.oh * g.ow * g.co);
            let pixels: [*const T; 16] = std::array::from_fn(|i| {
                let (y, x) = (4 * ty + i / 4, 4 * tx + i % 4);
                if y < g.oh && x < g.ow {
                    base.wrapping_add((y * g.ow + x) * g.co)
                } else {
                    self.zeros
                }
            });
            let to = self.to.wrapping_add((t - self.tiles.0) * self.at.tile);
            // SAFETY: the pixels are inside the image or the zeros, the tile inside `to`.
            unsafe {
                OutputGradTile {
                    pixels: &pixels,
                    to,
                    freq: self.at.freq,
                }
                .all::<S>(g.co)
            };
        }
    }
}

struct OutputGradTile<'a, T> {
    pixels: &'a [*const T; 16],
    to: *mut T,
    freq: usize,
}

impl<T: Float> Channels<T> for OutputGradTile<'_, T> {
    #[inline(always)]
    unsafe fn vector<S: Simd<T = T>>(&self, c: usize, mask: Option<S::Mask>) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut d = [[S::splat(T::ZERO); 4]; 6];
            for j in 0..4 {
                let column = output_grad::<S>(load_pixels::<S, 4>(&self.pixels[j..], 4, c, mask));
                for i in 0..6 {
                    d[i][j] = column[i];
                }
            }
            for i in 0..6 {
                let row = output_grad::<S>(d[i]);
                for j in 0..6 {
                    store::<S>(self.to.add((i * 6 + j) * self.freq + c), row[j], mask);
                }
            }
        }
    }
}

/// `act(A^T m A [+ y] [+ bias])` of the tiles `t0..t1` for the output channels `c0..c1`.
pub(super) struct Output<'a, T> {
    pub(super) image: &'a Image,
    pub(super) from: *const T,
    pub(super) at: Freqs,
    pub(super) tiles: (usize, usize),
    pub(super) channels: (usize, usize),
    pub(super) y: *mut T,
    pub(super) ep: Epilogue<'a, T>,
}

impl<T: Float> Body<T> for Output<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let g = self.image;
        let (c0, c1) = self.channels;
        for t in self.tiles.0..self.tiles.1 {
            let (image, ty, tx) = g.tile(t);
            let (rows, columns) = ((g.oh - 4 * ty).min(4), (g.ow - 4 * tx).min(4));
            let from = self.from.wrapping_add((t - self.tiles.0) * self.at.tile);
            let y = self
                .y
                .wrapping_add(((image * g.oh + 4 * ty) * g.ow + 4 * tx) * g.co + c0);
            let tile = OutputTile {
                from,
                freq: self.at.freq,
                y,
                row: g.ow * g.co,
                pixel: g.co,
                rows,
                columns,
                bias: self.ep.bias.map_or(std::ptr::null(), |b| b[c0..].as_ptr()),
                accumulate: self.ep.accumulate,
                relu: self.ep.act == Act::Relu,
            };
            // SAFETY: the tile is inside `from`, the output's pixels inside the image.
            unsafe {
                tile.all::<S>(c1 - c0);
                if !matches!(self.ep.act, Act::None | Act::Relu) {
                    let ep = Epilogue {
                        bias: None,
                        ..self.ep
                    };
                    for i in 0..rows * columns {
                        let p = y.add((i / columns * g.ow + i % columns) * g.co);
                        driver::finish(std::slice::from_raw_parts_mut(p, c1 - c0), &ep);
                    }
                }
            }
        }
    }
}

struct OutputTile<T> {
    from: *const T,
    freq: usize,
    y: *mut T,
    row: usize,
    pixel: usize,
    rows: usize,
    columns: usize,
    bias: *const T,
    accumulate: bool,
    relu: bool,
}

impl<T: Float> Channels<T> for OutputTile<T> {
    #[inline(always)]
    unsafe fn vector<S: Simd<T = T>>(&self, c: usize, mask: Option<S::Mask>) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut d = [[S::splat(T::ZERO); 6]; 4];
            for j in 0..6 {
                let from = self.from.add(j * self.freq + c);
                let column = output::<S>(load_strided::<S, 6>(from, 6 * self.freq, mask));
                for i in 0..4 {
                    d[i][j] = column[i];
                }
            }
            let bias = if self.bias.is_null() {
                S::splat(T::ZERO)
            } else {
                load::<S>(self.bias.add(c), mask)
            };
            for i in 0..4 {
                if i >= self.rows {
                    break;
                }
                let row = output::<S>(d[i]);
                for j in 0..4 {
                    if j < self.columns {
                        let p = self.y.add(i * self.row + j * self.pixel + c);
                        let mut v = row[j];
                        if self.accumulate {
                            v = S::add(load::<S>(p, mask), v);
                        }
                        v = S::add(v, bias);
                        if self.relu {
                            v = S::relu(v);
                        }
                        store::<S>(p, v, mask);
                    }
                }
            }
        }
    }
}

/// `G w G^T` of the kernel's input channels `rows`, in the panels of a product's right side:
/// frequency `f` at `f * ci * cop`, `cop` being the padded output channels, in it one packed
/// matrix for each block of input channels.
pub(super) struct Weights<'a, T> {
    pub(super) image: &'a Image,
    pub(super) w: *const T,
    /// Reads the kernel's rows upside down.
    pub(super) flip: bool,
    pub(super) rows: (usize, usize),
    pub(super) to: *mut T,
}

impl<T: Float> Body<T> for Weights<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let g = self.image;
        let plane = g.c * g.co;
        let freq = g.c * g.cop();
        for q in self.rows.0..self.rows.1 {
            let (k0, k1) = g.block_of(q);
            for (j0, j1) in g.chunks() {
                let mut j = j0;
                while j < j1 {
                    let (nv, cols) = next_panel::<S>(j1 - j, 2);
                    let width = nv * S::LANES;
                    let at = k0 * g.cop() + j * (k1 - k0) + (q - k0) * width;
                    let row = WeightsRow {
                        from: self.w.wrapping_add(q * g.co + j),
                        plane,
                        flip: self.flip,
                        to: self.to.wrapping_add(at),
                        freq,
                    };
                    // SAFETY: the columns are the kernel's, the panel inside `to`.
                    unsafe { row.all::<S>(cols) };
                    j += cols;
                }
            }
        }
    }
}

struct WeightsRow<T> {
    from: *const T,
    plane: usize,
    flip: bool,
    to: *mut T,
    freq: usize,
}

impl<T: Float> Channels<T> for WeightsRow<T> {
    #[inline(always)]
    unsafe fn vector<S: Simd<T = T>>(&self, c: usize, mask: Option<S::Mask>) {
        // SAFETY: the caller's promise; a panel has room for whole vectors.
        unsafe {
            let mut d = [[S::splat(T::ZERO); 3]; 6];
            for x in 0..3 {
                let from = self.from.add(x * self.plane + c);
                let [a, b, z] = load_strided::<S, 3>(from, 3 * self.plane, mask);
                let column = weights::<S>(if self.flip { [z, b, a] } else { [a, b, z] });
                for i in 0..6 {
                    d[i][x] = column[i];
                }
            }
            for i in 0..6 {
                let row = weights::<S>(d[i]);
                for x in 0..6 {
                    S::store(self.to.add((i * 6 + x) * self.freq + c), row[x]);
                }
            }
        }
    }
}

/// `G^T u G` for the kernel's input channels `rows`; `u` holds a row-major matrix a frequency.
pub(super) struct WeightsGrad<T> {
    pub(super) ci: usize,
    pub(super) co: usize,
    pub(super) from: *const T,
    pub(super) rows: (usize, usize),
    pub(super) dw: *mut T,
}

impl<T: Float> Body<T> for WeightsGrad<T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let plane = self.ci * self.co;
        for q in self.rows.0..self.rows.1 {
            let row = WeightsGradRow {
                from: self.from.wrapping_add(q * self.co),
                to: self.dw.wrapping_add(q * self.co),
                plane,
            };
            // SAFETY: the row is inside `from` and `dw`.
            unsafe { row.all::<S>(self.co) };
        }
    }
}

struct WeightsGradRow<T> {
    from: *const T,
    to: *mut T,
    plane: usize,
}

impl<T: Float> Channels<T> for WeightsGradRow<T> {
    #[inline(always)]
    unsafe fn vector<S: Simd<T = T>>(&self, c: usize, mask: Option<S::Mask>) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut d = [[S::splat(T::ZERO); 6]; 3];
            for j in 0..6 {
                let from = self.from.add(j * self.plane + c);
                let column = weights_grad::<S>(load_strided::<S, 6>(from, 6 * self.plane, mask));
                for i in 0..3 {
                    d[i][j] = column[i];
                }
            }
            for i in 0..3 {
                let row = weights_grad::<S>(d[i]);
                for j in 0..3 {
                    store::<S>(self.to.add((i * 3 + j) * self.plane + c), row[j], mask);
                }
            }
        }
    }
}
