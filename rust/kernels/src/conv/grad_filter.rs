//! The gradient to the kernel, directly: a product of the transposed input with `dy`, whose `k` range
//! is one stretch for each row of output positions.
//!
//! The samples are cut into groups by the geometry alone; each group sums into memory of its own
//! and the groups are added in order.

use std::mem::MaybeUninit;

use super::direct::forward_source;
use super::{Act, Conv2d};
use crate::gemm::Simd;
use crate::gemm::block::{Block, Layout, MC, block, widest};
use crate::gemm::driver::SERIAL;
use crate::gemm::tile::Seg;
use crate::par::{self, SendPtr, split};

/// Positions that are summed in one go.
const KC: usize = 512;
/// The most stretches in one go.
const SEGS: usize = 64;
/// The most groups.
const GROUPS: usize = 8;

/// Into how many groups the samples are cut.
pub(super) fn groups(g: &Conv2d) -> usize {
    let by_work = g.n * g.oh * g.ow / KC;
    let by_memory = (1 << 20) / g.w_len().max(1);
    GROUPS.min(g.n).min(by_work).min(by_memory).max(1)
}

/// The gradient to the kernel; `partials` holds the kernel's length for every group but the first.
///
/// # Safety
/// The CPU has `S`; the slices have the geometry's lengths, of which none is zero.
pub(super) unsafe fn grad_filter<S: Simd>(
    g: &Conv2d,
    x: &[S::T],
    dy: &[S::T],
    dw: &mut [S::T],
    partials: &mut [S::T],
) {
    let count = groups(g);
    let rows = g.kh * g.kw * g.ci;
    let macs = g.y_len() * rows;
    let threads = if par::is_small(macs, SERIAL) {
        1
    } else {
        par::num_threads()
    };
    let parts = if threads == 1 {
        1
    } else {
        (2 * threads).div_ceil(count).min(rows.div_ceil(8))
    };
    let (first, others) = (
        SendPtr::new(dw.as_mut_ptr()),
        SendPtr::new(partials.as_mut_ptr()),
    );
    par::run(count * parts, &|t| {
        let (group, part) = (t / parts, t % parts);
        let to = if group == 0 {
            first
        } else {
            others.wrapping_add((group - 1) * g.w_len())
        };
        let images = (split(g.n, count, group), split(g.n, count, group + 1));
        // SAFETY: a task's rows of a group's memory are its own.
        unsafe {
            group_rows::<S>(
                g,
                x,
                dy,
                to,
                images,
                (split(rows, parts, part), split(rows, parts, part + 1)),
            )
        };
    });
    for p in partials.chunks_exact(g.w_len()).take(count - 1) {
        for (d, &p) in dw.iter_mut().zip(p) {
            *d += p;
        }
    }
}

/// Sums over the images `i0..i1` for the kernel's rows `r0..r1`.
unsafe fn group_rows<S: Simd>(
    g: &Conv2d,
    x: &[S::T],
    dy: &[S::T],
    to: SendPtr<S::T>,
    (i0, i1): (usize, usize),
    (r0, r1): (usize, usize),
) {
    let source = forward_source(g, x);
    // Images whose positions are summed together, and stretches that a row of positions is cut into.
    let together = (KC / (g.oh * g.ow))
        .clamp(1, SEGS.div_ceil(g.oh))
        .min(i1 - i0);
    let chunks = g.ow.div_ceil(KC);
    let mut first = true;
    for i in (i0..i1).step_by(together) {
        let end = (i + together).min(i1);
        // SAFETY: the view covers the windows of all positions.
        unsafe {
            source.with((i, end), (0, source.hp), |view| {
                let count = (end - i) * g.oh;
                for chunk in 0..chunks {
                    let (k0, k1) = (split(g.ow, chunks, chunk), split(g.ow, chunks, chunk + 1));
                    let per = (KC / (k1 - k0)).clamp(1, SEGS);
                    let blocks = count.div_ceil(per);
                    for b in 0..blocks {
                        let mut segs = [Seg { a: 0, b: 0 }; SEGS];
                        let (s0, s1) = (split(count, blocks, b), split(count, blocks, b + 1));
                        for s in s0..s1 {
                            let (image, row) = (s / g.oh, s % g.oh);
                            segs[s - s0] = Seg {
                                a: image * view.image + row * g.sh * view.row + k0 * g.sw * g.ci,
                                b: (i * g.oh + s) * g.ow + k0,
                            };
                        }
                        let block_args = Block {
                            a: view.base,
                            csa: g.sw * g.ci,
                            segs: &segs[..s1 - s0],
                            seg_len: k1 - k0,
                            b: dy.as_ptr(),
                            layout: Layout::Rows(g.co),
                            c: to.get(),
                            n: g.co,
                            accumulate: !first,
                            bias: std::ptr::null(),
                            act: Act::None,
                            wide: widest(g.kh * g.kw * g.ci),
                        };
                        kernel_rows::<S>(g, &block_args, view.row, (r0, r1));
                        first = false;
                    }
                }
            });
        }
    }
}

/// Runs a block for the kernel's rows `r0..r1`; row `(ky, kx, c)` reads the input from its tap on.
unsafe fn kernel_rows<S: Simd>(
    g: &Conv2d,
    p: &Block<'_, S::T>,
    image_row: usize,
    (r0, r1): (usize, usize),
) {
    let mut a_rows = [MaybeUninit::<usize>::uninit(); MC];
    let mut c_rows = [MaybeUninit::<usize>::uninit(); MC];
    let mut r = r0;
    while r < r1 {
        let len = MC.min(r1 - r);
        for i in 0..len {
            let (tap, c) = ((r + i) / g.ci, (r + i) % g.ci);
            let (ky, kx) = (tap / g.kw, tap % g.kw);
            a_rows[i].write(ky * g.dh * image_row + kx * g.dw * g.ci + c);
            c_rows[i].write((r + i) * g.co);
        }
        // SAFETY: the first `len` entries were written; the rest is the caller's promise.
        unsafe {
            let a = std::slice::from_raw_parts(a_rows.as_ptr().cast(), len);
            let c = std::slice::from_raw_parts(c_rows.as_ptr().cast(), len);
            block::<S>(p, a, c);
        }
        r += len;
    }
}

/// Elements of scratch for the groups' sums.
pub(super) fn scratch_len(g: &Conv2d) -> usize {
    (groups(g) - 1) * g.w_len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_depend_on_work_and_memory() {
        let g = Conv2d {
            n: 64,
            h: 32,
            w: 32,
            ci: 16,
            kh: 3,
            kw: 3,
            co: 16,
            sh: 1,
            sw: 1,
            dh: 1,
            dw: 1,
            pad_top: 1,
            pad_left: 1,
            oh: 32,
            ow: 32,
        };
        assert_eq!(groups(&g), 8);
        assert_eq!(
            groups(&Conv2d {
                ci: 512,
                co: 512,
                ..g
            }),
            1
        );
        assert_eq!(groups(&Conv2d { n: 2, ..g }), 2);
        assert_eq!(
            groups(&Conv2d {
                n: 2,
                oh: 2,
                ow: 2,
                ..g
            }),
            1
        );
        assert_eq!(scratch_len(&g), 7 * g.w_len());
    }
}
