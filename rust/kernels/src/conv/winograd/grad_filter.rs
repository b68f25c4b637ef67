//! The gradient to the kernel in the transformed domain: 36 products of the transposed input tiles
//! with the tiles of `dy`, summed over all tiles and transformed back once.
//!
//! The tiles are cut into groups, and these into blocks, by the geometry alone; a group sums its blocks in
//! order into memory of its own and the groups are added in order.

use super::super::Conv2d;
use super::Image;
use super::transform::{F, Freqs, Input, OutputGrad, WeightsGrad};
use crate::dtype::Float;
use crate::gemm::Act;
use crate::gemm::Simd;
use crate::gemm::block::{Block, Layout, rows, with_scratch};
use crate::gemm::tile::Seg;
use crate::par::{self, SendPtr, split};

/// The most groups.
const GROUPS: usize = 4;
/// Elements that all groups' sums may take.
const SUMS: usize = 6 << 20;

/// Into how many groups the tiles are cut.
fn groups(g: &Image) -> usize {
    let by_memory = SUMS / (F * g.c * g.co);
    (g.tiles() / (2 * block_tiles(g)))
        .min(by_memory)
        .clamp(1, GROUPS)
}

/// The tiles of a block.
fn block_tiles(g: &Image) -> usize {
    match F * g.c * g.co / (256 * 1024) {
        // The sums stay in L2 beside a block's tiles.
        0 => ((320 * 1024) / (F * (g.c + g.co))).clamp(32, 128) / 8 * 8,
        // The sums come from further away at every block: fewer, larger blocks.
        1..4 => 64,
        _ => 128,
    }
}

/// Elements of scratch that [`grad_filter`] needs.
pub(in super::super) fn scratch_len(g: &Conv2d) -> usize {
    groups(&Image::forward(g)) * F * g.ci * g.co
}

/// The gradient to the kernel.
///
/// # Safety
/// The CPU has `S`, [`super::applies`] holds; the slices have the geometry's lengths, of which none is
/// zero, and the scratch [`scratch_len`].
pub(in super::super) unsafe fn grad_filter<S: Simd>(
    g: &Conv2d,
    x: &[S::T],
    dy: &[S::T],
    dw: &mut [S::T],
    scratch: &mut [S::T],
) {
    let image = Image::forward(g);
    let count = groups(&image);
    let len = F * g.ci * g.co;
    let (x, dy) = (
        SendPtr::from_const(x.as_ptr()),
        SendPtr::from_const(dy.as_ptr()),
    );
    let (sums, dw) = (
        SendPtr::new(scratch.as_mut_ptr()),
        SendPtr::new(dw.as_mut_ptr()),
    );
    let threads = par::num_threads();
    // Groups are too few for many threads: the input channels are shared too, in whole vectors.
    let slices = if count >= threads {
        1
    } else {
        threads.div_ceil(count).min(g.ci.div_ceil(16))
    };
    par::run(count * slices, &|t| {
        let (group, slice) = (t / slices, t % slices);
        let tiles = image.tiles();
        let range = (split(tiles, count, group), split(tiles, count, group + 1));
        let units = g.ci.div_ceil(16);
        let border = |i| (split(units, slices, i) * 16).min(g.ci);
        let channels = (border(slice), border(slice + 1));
        // SAFETY: every task has its rows of its group's sums.
        unsafe {
            let to = sums.get().add(group * len);
            group_sums::<S>(&image, x.get(), dy.get(), to, range, channels);
        }
    });
    let parts = if len < 1 << 15 {
        1
    } else {
        (4 * threads).min(g.ci)
    };
    par::run(parts, &|t| {
        let rows = (split(g.ci, parts, t), split(g.ci, parts, t + 1));
        // SAFETY: every row of the kernel is one task's.
        unsafe {
            for f in 0..F {
                let (at, row) = (f * g.ci * g.co + rows.0 * g.co, (rows.1 - rows.0) * g.co);
                let first = std::slice::from_raw_parts_mut(sums.get().add(at), row);
                for group in 1..count {
                    let other = sums.get().add(group * len + at);
                    for (a, &b) in first.iter_mut().zip(std::slice::from_raw_parts(other, row)) {
                        *a += b;
                    }
                }
            }
            S::call(WeightsGrad {
                ci: g.ci,
                co: g.co,
                from: sums.get(),
                rows,
                dw: dw.get(),
            });
        }
    });
}

/// Sums of the tiles `t0..t1` for the input channels `c0..c1`.
unsafe fn group_sums<S: Simd>(
    g: &Image,
    x: *const S::T,
    dy: *const S::T,
    to: *mut S::T,
    (t0, t1): (usize, usize),
    (c0, c1): (usize, usize),
) {
    let blocks = (t1 - t0).div_ceil(block_tiles(g));
    let most = (t1 - t0).div_ceil(blocks);
    let (v, z) = (Freqs::new(most, c1 - c0), Freqs::new(most, g.co));
    let zeros = g.c.max(g.co).next_multiple_of(16);
    with_scratch::<S::T, _>(v.len() + z.len() + zeros, |buffer| {
        let (zeros, buffer) = buffer.split_at_mut(zeros);
        zeros.fill(S::T::ZERO);
        let (vs, zs) = buffer.split_at_mut(v.len());
        for b in 0..blocks {
            let tiles = (
                t0 + split(t1 - t0, blocks, b),
                t0 + split(t1 - t0, blocks, b + 1),
            );
            let zeros = zeros.as_ptr();
            // SAFETY: the caller's promise; the buffers have the layouts' lengths.
            unsafe {
                S::call(Input {
                    image: g,
                    x,
                    zeros,
                    tiles,
                    channels: (c0, c1),
                    to: vs.as_mut_ptr(),
                    at: v,
                });
                S::call(OutputGrad {
                    image: g,
                    dy,
                    zeros,
                    tiles,
                    to: zs.as_mut_ptr(),
                    at: z,
                });
                for f in 0..F {
                    let args = Block {
                        a: vs.as_ptr().add(f * v.freq),
                        csa: v.tile,
                        segs: &[Seg { a: 0, b: 0 }],
                        seg_len: tiles.1 - tiles.0,
                        b: zs.as_ptr().add(f * z.freq),
                        layout: Layout::Rows(z.tile),
                        c: to.add((f * g.c + c0) * g.co),
                        n: g.co,
                        accumulate: b > 0,
                        bias: std::ptr::null(),
                        act: Act::None,
                        wide: 2,
                    };
                    rows::<S>(&args, c1 - c0, 1, g.co);
                }
            }
        }
    });
}
