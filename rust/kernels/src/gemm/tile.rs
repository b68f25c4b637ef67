//! The micro-kernel: a tile of `C` in registers, broadcast `A` times vectors of `B`.
//!
//! It serves plain products and convolutions alike: the rows of `A` and of `C` lie at tabled
//! offsets, and the `k` range is a list of segments, in each of which `A` and `B` are strided.
//! Every element is one chain of multiply-adds in the order of the segments and, within one, of `k`.

use super::Act;
use super::simd::{Body, Simd};
use crate::dtype::Float;

/// A stretch of `k`: where it starts in `A` (relative to a row) and in `B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seg {
    /// Offset in `A`, relative to the row's.
    pub(crate) a: usize,
    /// Rows of `B` before it.
    pub(crate) b: usize,
}

/// What a tile is computed from. Offsets and strides count elements.
#[derive(Clone, Copy)]
pub(crate) struct TileArgs<'s, T> {
    /// Base of `A`.
    pub(crate) a: *const T,
    /// Offsets of the tile's rows in `A`; at least as many as the tile has rows.
    pub(crate) a_rows: *const usize,
    /// Distance of neighbours in `k` within `A`.
    pub(crate) csa: usize,
    /// The stretches of `k`.
    pub(crate) segs: &'s [Seg],
    /// The length of every stretch.
    pub(crate) seg_len: usize,
    /// Base of `B`, at the tile's first column.
    pub(crate) b: *const T,
    /// Distance of neighbours in `k` within `B`.
    pub(crate) ldb: usize,
    /// Base of `C`, at the tile's first column.
    pub(crate) c: *mut T,
    /// Offsets of the tile's rows in `C`.
    pub(crate) c_rows: *const usize,
    /// Columns that are computed: more than `NV - 1` vectors, at most `NV`.
    pub(crate) cols: usize,
    /// Adds what `C` holds.
    pub(crate) accumulate: bool,
    /// The bias at the tile's first column, or null.
    pub(crate) bias: *const T,
    /// The activation.
    pub(crate) act: Act,
}

struct Tile<'a, 's, T, const NV: usize, const MR: usize, const TAIL: bool>(&'a TileArgs<'s, T>);

impl<T: Float, const NV: usize, const MR: usize, const TAIL: bool> Body<T>
    for Tile<'_, '_, T, NV, MR, TAIL>
{
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        // Combinations that `tile` never asks for are compiled to nothing.
        if MR > mr_max::<S>(NV) || (S::FREE_MASKS && !TAIL) {
            unreachable!("no tile of {MR} rows and {NV} vectors");
        }
        let t = self.0;
        // SAFETY: `tile` promises that the tabled rows, the segments and the columns are valid.
        unsafe {
            let last = S::mask(t.cols - (NV - 1) * S::LANES);
            let mut acc = [[S::splat(T::ZERO); NV]; MR];
            for seg in t.segs {
                let rows: [*const T; MR] =
                    std::array::from_fn(|r| t.a.add(*t.a_rows.add(r) + seg.a));
                let mut b = t.b.add(seg.b * t.ldb);
                let mut ka = 0;
                for _ in 0..t.seg_len {
                    let bv = load_row::<S, NV, TAIL>(b, last);
                    for r in 0..MR {
                        let av = S::splat(*rows[r].add(ka));
                        for v in 0..NV {
                            acc[r][v] = S::fma(av, bv[v], acc[r][v]);
                        }
                    }
                    b = b.add(t.ldb);
                    ka += t.csa;
                }
            }
            // Each loop is short enough to be unrolled: an index that is not a constant would put all
            // sums on the stack.
            let c: [*mut T; MR] = std::array::from_fn(|r| t.c.add(*t.c_rows.add(r)));
            if t.accumulate {
                for r in 0..MR {
                    let old = load_row::<S, NV, TAIL>(c[r], last);
                    for v in 0..NV {
                        acc[r][v] = S::add(old[v], acc[r][v]);
                    }
                }
            }
            if !t.bias.is_null() {
                let bias = load_row::<S, NV, TAIL>(t.bias, last);
                for r in 0..MR {
                    for v in 0..NV {
                        acc[r][v] = S::add(acc[r][v], bias[v]);
                    }
                }
            }
            if t.act == Act::Relu {
                for r in 0..MR {
                    for v in 0..NV {
                        acc[r][v] = S::relu(acc[r][v]);
                    }
                }
            }
            for r in 0..MR {
                store_row::<S, NV, TAIL>(c[r], acc[r], last);
            }
        }
    }
}

/// Reads `NV` vectors, the last one through the mask if there is a tail.
///
/// # Safety
/// The CPU has `S`; the lanes are valid for reads.
#[inline(always)]
pub(crate) unsafe fn load_row<S: Simd, const NV: usize, const TAIL: bool>(
    p: *const S::T,
    last: S::Mask,
) -> [S::V; NV] {
    std::array::from_fn(|v| {
        // SAFETY: the caller's promise.
        unsafe {
            let p = p.add(v * S::LANES);
            if TAIL && v == NV - 1 {
                S::load_mask(p, last)
            } else {
                S::load(p)
            }
        }
    })
}

/// Writes `NV` vectors, the last one through the mask if there is a tail.
///
/// # Safety
/// The CPU has `S`; the lanes are valid for writes.
#[inline(always)]
pub(crate) unsafe fn store_row<S: Simd, const NV: usize, const TAIL: bool>(
    p: *mut S::T,
    x: [S::V; NV],
    last: S::Mask,
) {
    for v in 0..NV {
        // SAFETY: the caller's promise.
        unsafe {
            let p = p.add(v * S::LANES);
            if TAIL && v == NV - 1 {
                S::store_mask(p, last, x[v]);
            } else {
                S::store(p, x[v]);
            }
        }
    }
}

/// The most rows of a tile that is `nv` vectors wide; 0 if no tile is.
pub(crate) const fn mr_max<S: Simd>(nv: usize) -> usize {
    match (S::REGISTERS >= 32, nv) {
        (true, 1) => 14,
        (true, 2) => 12,
        (true, 3) => 8,
        (true, 4) => 6,
        (true, 8) => 1,
        (false, 1 | 2) => 6,
        (false, 4) => 1,
        _ => 0,
    }
}

/// Computes one tile of `mr` rows and `nv` vectors; the activation only if it is [`Act::Relu`].
///
/// # Safety
/// The CPU has `S`. For every row of the tile, every segment and every `k` in it the element of `A`
/// is valid for reads, as is the row of `cols` elements of `B`, of the bias if there is one, and
/// of `C`, which is valid for writes too and which nobody else uses meanwhile.
/// `1 <= mr <= mr_max::<S>(nv)`.
pub(crate) unsafe fn tile<S: Simd>(nv: usize, mr: usize, args: &TileArgs<'_, S::T>) {
    debug_assert!(args.cols > (nv - 1) * S::LANES && args.cols <= nv * S::LANES);
    let tail = S::FREE_MASKS || args.cols % S::LANES != 0;
    // SAFETY: passed on.
    unsafe {
        if tail {
            by_width::<S, true>(nv, mr, args);
        } else {
            by_width::<S, false>(nv, mr, args);
        }
    }
}

#[inline(always)]
unsafe fn by_width<S: Simd, const TAIL: bool>(nv: usize, mr: usize, args: &TileArgs<'_, S::T>) {
    // SAFETY: passed on.
    unsafe {
        match nv {
            1 => by_height::<S, 1, TAIL>(mr, args),
            2 => by_height::<S, 2, TAIL>(mr, args),
            3 => by_height::<S, 3, TAIL>(mr, args),
            4 => by_height::<S, 4, TAIL>(mr, args),
            8 => S::call(Tile::<_, 8, 1, TAIL>(args)),
            _ => unreachable!("no tile is {nv} vectors wide"),
        }
    }
}

#[inline(always)]
unsafe fn by_height<S: Simd, const NV: usize, const TAIL: bool>(
    mr: usize,
    args: &TileArgs<'_, S::T>,
) {
    // SAFETY: passed on.
    unsafe {
        match mr {
            1 => S::call(Tile::<_, NV, 1, TAIL>(args)),
            2 => S::call(Tile::<_, NV, 2, TAIL>(args)),
            3 => S::call(Tile::<_, NV, 3, TAIL>(args)),
            4 => S::call(Tile::<_, NV, 4, TAIL>(args)),
            5 => S::call(Tile::<_, NV, 5, TAIL>(args)),
            6 => S::call(Tile::<_, NV, 6, TAIL>(args)),
            7 => S::call(Tile::<_, NV, 7, TAIL>(args)),
            8 => S::call(Tile::<_, NV, 8, TAIL>(args)),
            9 => S::call(Tile::<_, NV, 9, TAIL>(args)),
            10 => S::call(Tile::<_, NV, 10, TAIL>(args)),
            11 => S::call(Tile::<_, NV, 11, TAIL>(args)),
            12 => S::call(Tile::<_, NV, 12, TAIL>(args)),
            13 => S::call(Tile::<_, NV, 13, TAIL>(args)),
            14 => S::call(Tile::<_, NV, 14, TAIL>(args)),
            _ => unreachable!("no tile is {mr} rows high"),
        }
    }
}
