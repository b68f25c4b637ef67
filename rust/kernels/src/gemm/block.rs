//! A block of `C`: the loops over tiles, the packing of `B` and the memory they use.

use std::cell::RefCell;
use std::mem::MaybeUninit;

use super::act::activate;
use super::simd::{Body, Simd};
use super::tile::{Seg, TileArgs, mr_max, tile};
use super::{Act, Epilogue};
use crate::dtype::Float;

/// Rows that share one pass over `B`'s panels: their part of `A` stays in L2.
pub(crate) const MC: usize = 256;

/// A product (or one of its `k` blocks) of a few rows.
#[derive(Clone, Copy)]
pub(crate) struct Block<'s, T> {
    /// Base of `A`.
    pub(crate) a: *const T,
    /// Distance of neighbours in `k` within `A`.
    pub(crate) csa: usize,
    /// The stretches of `k`.
    pub(crate) segs: &'s [Seg],
    /// The length of each stretch.
    pub(crate) seg_len: usize,
    /// Base of `B` at column 0.
    pub(crate) b: *const T,
    /// How `B` lies.
    pub(crate) layout: Layout,
    /// Base of `C` at column 0.
    pub(crate) c: *mut T,
    /// Columns.
    pub(crate) n: usize,
    /// Adds what `C` holds.
    pub(crate) accumulate: bool,
    /// The bias of column 0, or null.
    pub(crate) bias: *const T,
    /// The activation.
    pub(crate) act: Act,
    /// The widest panel in vectors: 2, or more where there are few rows ([`widest`]).
    pub(crate) wide: usize,
}

/// How `B` lies in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    /// Row-major with this row stride.
    Rows(usize),
    /// In panels of `k` (the number) rows, as [`pack`] lays them.
    Panels(usize),
}

/// The widest panel for a product of `m` rows: few rows need many columns to fill the pipeline.
pub(crate) fn widest(m: usize) -> usize {
    match m {
        0 | 1 => 8,
        2..=6 => 4,
        _ => 3,
    }
}

/// The width in vectors of the next panel when `left` vectors remain.
fn panel<S: Simd>(left: usize, wide: usize) -> usize {
    let many = S::REGISTERS >= 32;
    match (wide, left) {
        (8, 8..) if many => 8,
        (4, 4..) if many => 4,
        (8, 4..) => 4,
        (_, 1) => 1,
        (3, 3 | 5..) | (_, 3) if many => 3,
        _ => 2,
    }
}

/// Vectors and columns of the next panel when `left` columns remain.
#[inline(always)]
pub(crate) fn next_panel<S: Simd>(left: usize, wide: usize) -> (usize, usize) {
    let nv = panel::<S>(left.div_ceil(S::LANES), wide);
    (nv, (nv * S::LANES).min(left))
}

/// Computes a block whose rows lie at the tabled offsets.
///
/// # Safety
/// The CPU has `S`, and what [`tile`] demands holds for all rows and columns. Both tables have the
/// same length.
pub(crate) unsafe fn block<S: Simd>(p: &Block<'_, S::T>, a_rows: &[usize], c_rows: &[usize]) {
    let m = a_rows.len();
    debug_assert_eq!(m, c_rows.len());
    let mut j = 0;
    while j < p.n {
        let (nv, cols) = next_panel::<S>(p.n - j, p.wide);
        let tiles = m.div_ceil(mr_max::<S>(nv));
        let (b, ldb) = match p.layout {
            Layout::Rows(stride) => (j, stride),
            Layout::Panels(k) => (j * k, nv * S::LANES),
        };
        let mut i = 0;
        for t in 0..tiles {
            let mr = (m - i) / (tiles - t);
            // SAFETY: the rows `i..i + mr` and the columns `j..j + cols` are the block's.
            unsafe {
                let args = TileArgs {
                    a: p.a,
                    a_rows: a_rows.as_ptr().add(i),
                    csa: p.csa,
                    segs: p.segs,
                    seg_len: p.seg_len,
                    b: p.b.add(b),
                    ldb,
                    c: p.c.add(j),
                    c_rows: c_rows.as_ptr().add(i),
                    cols,
                    accumulate: p.accumulate,
                    bias: if p.bias.is_null() {
                        p.bias
                    } else {
                        p.bias.add(j)
                    },
                    act: p.act,
                };
                tile::<S>(nv, mr, &args);
                if !matches!(p.act, Act::None | Act::Relu) {
                    for &row in &c_rows[i..i + mr] {
                        let row = std::slice::from_raw_parts_mut(p.c.add(row + j), cols);
                        activate(p.act, row);
                    }
                }
            }
            i += mr;
        }
        j += cols;
    }
}

/// [`block`] for any number of rows at regular distances.
///
/// # Safety
/// As [`block`].
pub(crate) unsafe fn rows<S: Simd>(p: &Block<'_, S::T>, m: usize, rsa: usize, rsc: usize) {
    let mut a_rows = [MaybeUninit::<usize>::uninit(); MC];
    let mut c_rows = [MaybeUninit::<usize>::uninit(); MC];
    let mut i = 0;
    while i < m {
        let len = MC.min(m - i);
        for r in 0..len {
            a_rows[r].write((i + r) * rsa);
            c_rows[r].write((i + r) * rsc);
        }
        // SAFETY: the first `len` entries were written; the rest is the caller's promise.
        unsafe {
            let a = std::slice::from_raw_parts(a_rows.as_ptr().cast(), len);
            let c = std::slice::from_raw_parts(c_rows.as_ptr().cast(), len);
            block::<S>(p, a, c);
        }
        i += len;
    }
}

/// The length of `k x n` packed by [`pack`].
pub(crate) fn packed_len<S: Simd>(k: usize, n: usize) -> usize {
    k * n.next_multiple_of(S::LANES)
}

struct Pack<T> {
    b: *const T,
    rsb: usize,
    csb: usize,
    k: usize,
    n: usize,
    wide: usize,
    to: *mut T,
}

impl<T: Float> Body<T> for Pack<T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let p = self;
        if p.csb == 1 {
            // SAFETY: `pack`'s promise.
            unsafe { p.copy::<S>() };
            return;
        }
        let mut j = 0;
        while j < p.n {
            let (nv, cols) = next_panel::<S>(p.n - j, p.wide);
            let width = nv * S::LANES;
            // SAFETY: `pack` promises that `b` holds the matrix and `to` the panels.
            unsafe {
                let to = p.to.add(j * p.k);
                let from = p.b.add(j * p.csb);
                if p.rsb == 1 {
                    transpose_panel::<S>(from, p.csb, to, width, p.k, cols);
                } else {
                    for q in 0..p.k {
                        for i in 0..cols {
                            *to.add(q * width + i) = *from.add(q * p.rsb + i * p.csb);
                        }
                    }
                }
            }
            j += cols;
        }
    }
}

impl<T: Float> Pack<T> {
    /// Packs a row-major matrix, reading it row by row.
    #[inline(always)]
    unsafe fn copy<S: Simd<T = T>>(&self) {
        for q in 0..self.k {
            let mut j = 0;
            while j < self.n {
                let (nv, cols) = next_panel::<S>(self.n - j, self.wide);
                // SAFETY: `pack` promises that `b` holds the matrix and `to` the panels.
                unsafe {
                    let to = self.to.add(j * self.k + q * nv * S::LANES);
                    copy_row::<S>(self.b.add(q * self.rsb + j), to, cols);
                }
                j += cols;
            }
        }
    }
}

#[inline(always)]
unsafe fn copy_row<S: Simd>(from: *const S::T, to: *mut S::T, len: usize) {
    let mut i = 0;
    // SAFETY: the caller's promise; the mask covers what is left.
    unsafe {
        while i + S::LANES <= len {
            S::store(to.add(i), S::load(from.add(i)));
            i += S::LANES;
        }
        if i < len {
            let m = S::mask(len - i);
            S::store_mask(to.add(i), m, S::load_mask(from.add(i), m));
        }
    }
}

/// `to[q * width + i] = from[i * lds + q]` for `q < k`, `i < cols`.
#[inline(always)]
unsafe fn transpose_panel<S: Simd>(
    from: *const S::T,
    lds: usize,
    to: *mut S::T,
    width: usize,
    k: usize,
    cols: usize,
) {
    let l = S::LANES;
    let (kf, cf) = (k - k % l, cols - cols % l);
    // SAFETY: whole squares lie inside, the edges are copied one by one.
    unsafe {
        for q in (0..kf).step_by(l) {
            for i in (0..cf).step_by(l) {
                S::transpose(from.add(i * lds + q), lds, to.add(q * width + i), width);
            }
            for i in cf..cols {
                for q in q..q + l {
                    *to.add(q * width + i) = *from.add(i * lds + q);
                }
            }
        }
        for q in kf..k {
            for i in 0..cols {
                *to.add(q * width + i) = *from.add(i * lds + q);
            }
        }
    }
}

/// Lays the `k x n` matrix at `b` in panels: each holds its columns row by row. Lanes beyond `n` are
/// left as they are.
///
/// # Safety
/// The CPU has `S`; the matrix is valid for reads and `to` for [`packed_len`] writes.
pub(crate) unsafe fn pack<S: Simd>(
    b: *const S::T,
    rsb: usize,
    csb: usize,
    k: usize,
    n: usize,
    wide: usize,
    to: *mut S::T,
) {
    // SAFETY: passed on.
    unsafe {
        S::call(Pack {
            b,
            rsb,
            csb,
            k,
            n,
            wide,
            to,
        })
    }
}

struct CopyRows<T> {
    from: *const T,
    stride: usize,
    rows: usize,
    len: usize,
    to: *mut T,
}

impl<T: Float> Body<T> for CopyRows<T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        for q in 0..self.rows {
            // SAFETY: `copy_rows` promises that the rows are valid.
            unsafe {
                copy_row::<S>(
                    self.from.add(q * self.stride),
                    self.to.add(q * self.len),
                    self.len,
                );
            }
        }
    }
}

/// Copies rows of `len` elements, `stride` apart, to lie close together.
///
/// # Safety
/// The CPU has `S`; the rows are valid for reads and `to` for `rows * len` writes.
pub(crate) unsafe fn copy_rows<S: Simd>(
    from: *const S::T,
    stride: usize,
    rows: usize,
    len: usize,
    to: *mut S::T,
) {
    // SAFETY: passed on.
    unsafe {
        S::call(CopyRows {
            from,
            stride,
            rows,
            len,
            to,
        })
    }
}

struct Transpose<T> {
    from: *const T,
    lds: usize,
    rows: usize,
    columns: usize,
    to: *mut T,
    ldd: usize,
}

impl<T: Float> Body<T> for Transpose<T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        // SAFETY: `transpose_rows` promises that both matrices are valid.
        unsafe {
            transpose_panel::<S>(
                self.from,
                self.lds,
                self.to,
                self.ldd,
                self.columns,
                self.rows,
            );
        }
    }
}

/// `to[j * rows + i] = from[i * columns + j]`.
///
/// # Safety
/// The CPU has `S`.
pub(crate) unsafe fn transpose<S: Simd>(
    from: &[S::T],
    rows: usize,
    columns: usize,
    to: &mut [S::T],
) {
    assert!(from.len() >= rows * columns && to.len() >= rows * columns);
    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
    // SAFETY: the lengths were checked.
    unsafe { transpose_rows::<S>(from, columns, rows, columns, to, rows) };
}

/// `to[j * ldd + i] = from[i * lds + j]` for `i < rows`, `j < columns`.
///
/// # Safety
/// The CPU has `S`; these elements are valid for reads and writes.
pub(crate) unsafe fn transpose_rows<S: Simd>(
    from: *const S::T,
    lds: usize,
    rows: usize,
    columns: usize,
    to: *mut S::T,
    ldd: usize,
) {
    // SAFETY: passed on.
    unsafe {
        S::call(Transpose {
            from,
            lds,
            rows,
            columns,
            to,
            ldd,
        })
    }
}

/// The epilogue's bias as a pointer, null without one.
pub(crate) fn bias_ptr<T>(ep: &Epilogue<'_, T>) -> *const T {
    ep.bias.map_or(std::ptr::null(), <[T]>::as_ptr)
}

/// A line of the cache, what thread-local memory is made of.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "only its size and alignment matter")] [u64; 8]);

thread_local! {
    static SCRATCH: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` elements of this thread's memory, aligned to 64 bytes and of any content.
/// Nested calls get memory of their own; it is kept for later calls.
pub(crate) fn with_scratch<T: Float, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
    let mut buffer = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < lines {
        buffer.resize(lines, Line([0; 8]));
    }
    // SAFETY: the buffer holds at least `len` elements, aligned to 64; any bits are a number.
    let slice = unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<T>(), len) };
    let out = f(slice);
    SCRATCH.with_borrow_mut(|stack| stack.push(buffer));
    out
}
