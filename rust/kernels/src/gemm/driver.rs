//! One product: the blocks of `k`, what is packed, and who computes what.
//!
//! `k` is cut into blocks of at most [`KC`] and these are grouped into stretches of about [`KG`], by
//! `k` alone. A block is one chain of multiply-adds, a group adds its blocks in order, and `C` adds
//! its groups in order. Groups may be computed by different threads.

use super::act::activate;
use super::block::{
    Block, Layout, MC, bias_ptr, copy_rows, pack, packed_len, rows, transpose_rows, widest,
    with_scratch,
};
use super::column::column;
use super::simd::Simd;
use super::tile::Seg;
use super::{Act, Epilogue};
use crate::dtype::Float;
use crate::par::{self, SendPtr, split};

/// The longest chain of multiply-adds.
pub(crate) const KC: usize = 256;
/// The longest stretch of `k` that is summed in one go.
const KG: usize = 4096;
/// Columns of `B` that are packed at a time.
const NC: usize = 1024;
/// Work below this many multiply-adds stays on the calling thread.
pub(crate) const SERIAL: usize = 150_000;

/// The operands of a product.
#[derive(Clone, Copy)]
pub(crate) struct Gemm<T> {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: SendPtr<T>,
    pub(crate) rsa: usize,
    pub(crate) csa: usize,
    pub(crate) b: SendPtr<T>,
    pub(crate) rsb: usize,
    pub(crate) csb: usize,
    pub(crate) c: SendPtr<T>,
    pub(crate) rsc: usize,
}

/// Into how many groups `k` is cut.
fn groups(k: usize) -> usize {
    k.div_ceil(KG).max(1)
}

impl<T: Float> Gemm<T> {
    /// The same product of a part of the rows and columns.
    fn part(mut self, (i0, i1): (usize, usize), (j0, j1): (usize, usize)) -> Self {
        // SAFETY: the parts lie inside the operands.
        unsafe {
            self.a = self.a.add(i0 * self.rsa);
            self.b = self.b.add(j0 * self.csb);
            self.c = self.c.add(i0 * self.rsc + j0);
        }
        self.m = i1 - i0;
        self.n = j1 - j0;
        self
    }

    /// The same product of a part of `k`.
    fn stretch(mut self, (k0, k1): (usize, usize)) -> Self {
        // SAFETY: the parts lie inside the operands.
        unsafe {
            self.a = self.a.add(k0 * self.csa);
            self.b = self.b.add(k0 * self.rsb);
        }
        self.k = k1 - k0;
        self
    }

    fn macs(&self) -> usize {
        self.m * self.n * self.k
    }
}

/// The whole product.
///
/// # Safety
/// The CPU has `S`, the operands are valid for their shapes and strides, `C` is nobody else's, and
/// `ep.bias` has at least `n` elements.
pub(crate) unsafe fn gemm<S: Simd>(g: &Gemm<S::T>, ep: &Epilogue<'_, S::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        if g.n == 1 && column::<S>(g, ep) {
            return;
        }
        if groups(g.k) == 1 {
            tasks::<S>(g, ep);
        } else {
            grouped::<S>(g, ep);
        }
    }
}

/// A product of several groups: every group but the first goes to memory of its own, and a pass over
/// `C` adds them.
unsafe fn grouped<S: Simd>(g: &Gemm<S::T>, ep: &Epilogue<'_, S::T>) {
    let count = groups(g.k);
    let mn = g.m * g.n;
    let first = Epilogue {
        bias: None,
        act: Act::None,
        accumulate: ep.accumulate,
    };
    let other = Epilogue {
        accumulate: false,
        ..first
    };
    let group = |i: usize, buffer: SendPtr<S::T>| {
        let mut part = g.stretch((split(g.k, count, i), split(g.k, count, i + 1)));
        if i > 0 {
            part.c = buffer;
            part.rsc = g.n;
        }
        // SAFETY: the caller's promise; the buffer holds `m * n` elements.
        unsafe { tasks::<S>(&part, if i == 0 { &first } else { &other }) };
    };
    // Groups run side by side where a group alone is too little for all threads.
    if mn * (count - 1) <= 1 << 20 {
        with_scratch::<S::T, _>(mn * (count - 1), |buffer| {
            let base = SendPtr::new(buffer.as_mut_ptr());
            let at = |i: usize| base.wrapping_add(i.saturating_sub(1) * mn);
            par::run(count, &|i| group(i, at(i)));
            // SAFETY: the groups are done; the buffers hold them.
            unsafe { combine::<S::T>(g, ep, count - 1, at(1)) };
        });
    } else {
        with_scratch::<S::T, _>(mn, |buffer| {
            let base = SendPtr::new(buffer.as_mut_ptr());
            group(0, base);
            for i in 1..count {
                group(i, base);
                let ep = if i + 1 == count { ep } else { &other };
                // SAFETY: the group is done; the buffer holds it.
                unsafe { combine::<S::T>(g, ep, 1, base) };
            }
        });
    }
}

/// `C = act(C + sum of the buffers in order + bias)`.
unsafe fn combine<T: Float>(g: &Gemm<T>, ep: &Epilogue<'_, T>, buffers: usize, from: SendPtr<T>) {
    let parts = if par::is_small(g.m * g.n * buffers, 1 << 15) {
        1
    } else {
        g.m.min(par::num_threads())
    };
    par::run(parts, &|t| {
        for i in split(g.m, parts, t)..split(g.m, parts, t + 1) {
            // SAFETY: row `i` of `C` and of the buffers is this task's.
            unsafe {
                let c = std::slice::from_raw_parts_mut(g.c.get().add(i * g.rsc), g.n);
                for p in 0..buffers {
                    let row = from.get().add((p * g.m + i) * g.n);
                    let row = std::slice::from_raw_parts(row, g.n);
                    for (c, &r) in c.iter_mut().zip(row) {
                        *c += r;
                    }
                }
                finish(c, ep);
            }
        }
    });
}

/// Adds the bias to a row and applies the activation.
pub(crate) fn finish<T: Float>(c: &mut [T], ep: &Epilogue<'_, T>) {
    if let Some(bias) = ep.bias {
        for (c, &b) in c.iter_mut().zip(bias) {
            *c += b;
        }
    }
    if ep.act != Act::None {
        activate(ep.act, c);
    }
}

/// Splits a product of one group over the threads.
unsafe fn tasks<S: Simd>(g: &Gemm<S::T>, ep: &Epilogue<'_, S::T>) {
    let threads = par::num_threads();
    if threads == 1 || par::is_small(g.macs(), SERIAL) {
        // SAFETY: the caller's promise.
        unsafe { part::<S>(g, ep) };
        return;
    }
    let (mt, nt) = grid::<S>(g, threads);
    par::run(mt * nt, &|t| {
        let (i, j) = (t / nt, t % nt);
        let rows = (split(g.m, mt, i), split(g.m, mt, i + 1));
        let unit = 2 * S::LANES;
        let units = g.n.div_ceil(unit);
        let col = |j| (split(units, nt, j) * unit).min(g.n);
        let cols = (col(j), col(j + 1));
        let ep = Epilogue {
            bias: ep.bias.map(|b| &b[cols.0..]),
            ..*ep
        };
        // SAFETY: the parts are disjoint pieces of `C`.
        unsafe { part::<S>(&g.part(rows, cols), &ep) };
    });
}

/// Into how many parts rows and columns are cut.
fn grid<S: Simd>(g: &Gemm<S::T>, threads: usize) -> (usize, usize) {
    let panels = g.n.div_ceil(2 * S::LANES);
    let tiles = g.m.div_ceil(8);
    // A few parts a thread even out what else the machine does, when they are not too small.
    let want = if g.macs() < 4 * SERIAL * threads {
        threads
    } else {
        2 * threads
    };
    if panels >= want && (panels.is_multiple_of(want) || panels >= tiles) {
        (1, want)
    } else if tiles >= want {
        (want, 1)
    } else {
        let nt = panels.min(want);
        (tiles.min(want.div_ceil(nt)), nt)
    }
}

/// Elements of packed `B` that may stay in L2 while the rows pass by.
const RESIDENT: usize = 256 * 1024;
/// Rows of a transposed `A` that are gathered at a time.
const MA: usize = 96;
/// Columns of `C` that [`Part::flipped`] computes at a time.
const NF: usize = 192;

/// A product of one group on one thread.
struct Part<'a, T> {
    g: &'a Gemm<T>,
    ep: &'a Epilogue<'a, T>,
    blocks: usize,
    wide: usize,
    /// Whether blocks of `A` are copied together: its neighbours in `k` are far apart.
    gathers: bool,
}

/// A product of one group on this thread.
unsafe fn part<S: Simd>(g: &Gemm<S::T>, ep: &Epilogue<'_, S::T>) {
    let blocks = g.k.div_ceil(KC).max(1);
    let kc = g.k.div_ceil(blocks);
    let gathers = g.rsa == 1 && g.csa > 2 * MA && g.m >= 8 && g.n > 2 * S::LANES;
    let part = Part {
        g,
        ep,
        blocks,
        wide: widest(g.m),
        gathers,
    };
    if part.can_flip::<S>() {
        // SAFETY: the caller's promise.
        unsafe { part.flipped::<S>() };
        return;
    }
    // Rows of `B` far apart cost L1 and TLB misses for every tile; a copy pays after a few.
    let packs = g.csb != 1 || (g.n > 2 * S::LANES && (g.m > 192 || (g.m > 24 && g.rsb > 1024)));
    let (a_len, whole) = (if gathers { MA * kc } else { 0 }, packed_len::<S>(g.k, g.n));
    // SAFETY: the caller's promise; the buffers have the packed lengths.
    unsafe {
        if !packs && !gathers {
            part.by_rows::<S>(std::ptr::null(), std::ptr::null_mut());
        } else if !packs || whole <= RESIDENT {
            let len = if packs { whole } else { 0 };
            with_scratch::<S::T, _>(a_len + len, |buffer| {
                let (a, b) = buffer.split_at_mut(a_len);
                if packs {
                    for p in 0..blocks {
                        let to = b[packed_len::<S>(part.k(p).0, g.n)..].as_mut_ptr();
                        part.pack::<S>(p, (0, g.n), to);
                    }
                }
                let b = if packs { b.as_ptr() } else { std::ptr::null() };
                part.by_rows::<S>(b, a.as_mut_ptr());
            });
        } else {
            with_scratch::<S::T, _>(a_len + packed_len::<S>(kc, g.n.min(NC)), |buffer| {
                let (a, b) = buffer.split_at_mut(a_len);
                part.by_blocks::<S>(b.as_mut_ptr(), a.as_mut_ptr());
            });
        }
    }
}

impl<T: Float> Part<'_, T> {
    /// The range of a block of `k`.
    fn k(&self, p: usize) -> (usize, usize) {
        (
            split(self.g.k, self.blocks, p),
            split(self.g.k, self.blocks, p + 1),
        )
    }

    unsafe fn pack<S: Simd<T = T>>(&self, p: usize, (j0, j1): (usize, usize), to: *mut T) {
        let (k0, k1) = self.k(p);
        let g = self.g;
        // SAFETY: the caller's promise.
        unsafe {
            let b = g.b.get().add(k0 * g.rsb + j0 * g.csb);
            pack::<S>(b, g.rsb, g.csb, k1 - k0, j1 - j0, self.wide, to);
        }
    }

    /// Whether [`Self::flipped`] turns less around than packing `B` would.
    fn can_flip<S: Simd<T = T>>(&self) -> bool {
        let (g, ep) = (self.g, self.ep);
        let plain = ep.bias.is_none() && ep.act == Act::None && !ep.accumulate;
        g.rsb == 1
            && g.csb != 1
            && plain
            && g.m.is_multiple_of(S::LANES)
            && g.m * (g.k + g.n) < g.k * g.n
            && packed_len::<S>(g.k, g.m) <= RESIDENT
    }

    /// `C` as the transpose of `B`'s times `A`'s, for a transposed `B`: that is read once, row by row as
    /// it lies, and what is turned around is the smaller `A` and `C`. A product has the same bits
    /// whichever factor is broadcast.
    unsafe fn flipped<S: Simd<T = T>>(&self) {
        let g = self.g;
        let turned = packed_len::<S>(g.k, g.m);
        with_scratch::<S::T, _>(turned + NF * g.m, |buffer| {
            let (a, c) = buffer.split_at_mut(turned);
            for p in 0..self.blocks {
                let (k0, k1) = self.k(p);
                let to = a[packed_len::<S>(k0, g.m)..].as_mut_ptr();
                // SAFETY: the block lies inside `A`, and there is room for it.
                unsafe {
                    let a = g.a.get().add(k0 * g.csa);
                    pack::<S>(a, g.csa, g.rsa, k1 - k0, g.m, self.wide, to);
                }
            }
            for j in (0..g.n).step_by(NF) {
                let columns = NF.min(g.n - j);
                for p in 0..self.blocks {
                    let (k0, k1) = self.k(p);
                    // SAFETY: the block lies inside the operands.
                    unsafe {
                        let block = Block {
                            a: g.b.get().add(k0 * g.rsb + j * g.csb),
                            csa: g.rsb,
                            segs: &[Seg { a: 0, b: 0 }],
                            seg_len: k1 - k0,
                            b: a[packed_len::<S>(k0, g.m)..].as_ptr(),
                            layout: Layout::Panels(k1 - k0),
                            c: c.as_mut_ptr(),
                            n: g.m,
                            accumulate: p > 0,
                            bias: std::ptr::null(),
                            act: Act::None,
                            wide: self.wide,
                        };
                        rows::<S>(&block, columns, g.csb, g.m);
                    }
                }
                // SAFETY: these columns of `C` are the caller's.
                unsafe {
                    let to = g.c.get().add(j);
                    transpose_rows::<S>(c.as_ptr(), g.m, columns, g.m, to, g.rsc);
                }
            }
        });
    }

    /// A few rows at a time through all of `k`: `A` and `C` come from memory once. `packed` holds the
    /// blocks of `B`, or is null.
    unsafe fn by_rows<S: Simd<T = T>>(&self, packed: *const T, buffer: *mut T) {
        let g = self.g;
        for i in (0..g.m).step_by(MC) {
            for p in 0..self.blocks {
                let (k0, k1) = self.k(p);
                // SAFETY: the caller's promise.
                unsafe {
                    let (b, layout) = if packed.is_null() {
                        (g.b.get().cast_const().add(k0 * g.rsb), Layout::Rows(g.rsb))
                    } else {
                        (
                            packed.add(packed_len::<S>(k0, g.n)),
                            Layout::Panels(k1 - k0),
                        )
                    };
                    self.block::<S>(p, (i, (i + MC).min(g.m)), (0, g.n), b, layout, buffer);
                }
            }
        }
    }

    /// A block of `B` at a time, packed when its turn comes.
    unsafe fn by_blocks<S: Simd<T = T>>(&self, packed: *mut T, buffer: *mut T) {
        let g = self.g;
        for p in 0..self.blocks {
            let (k0, k1) = self.k(p);
            for j in (0..g.n).step_by(NC) {
                let columns = (j, (j + NC).min(g.n));
                // SAFETY: the caller's promise.
                unsafe {
                    self.pack::<S>(p, columns, packed);
                    let layout = Layout::Panels(k1 - k0);
                    self.block::<S>(p, (0, g.m), columns, packed, layout, buffer);
                }
            }
        }
    }

    /// Block `p` of `k` for some rows and columns; `b` points at the first of these.
    unsafe fn block<S: Simd<T = T>>(
        &self,
        p: usize,
        (i0, i1): (usize, usize),
        (j0, j1): (usize, usize),
        b: *const T,
        layout: Layout,
        buffer: *mut T,
    ) {
        let (g, ep) = (self.g, self.ep);
        let (k0, k1) = self.k(p);
        let last = p + 1 == self.blocks;
        let step = if self.gathers { MA } else { i1 - i0 };
        for i in (i0..i1).step_by(step) {
            let m = step.min(i1 - i);
            // SAFETY: the block lies inside the operands.
            unsafe {
                let a = g.a.get().add(i * g.rsa + k0 * g.csa);
                if self.gathers {
                    copy_rows::<S>(a, g.csa, k1 - k0, m, buffer);
                }
                let bias = if last { bias_ptr(ep) } else { std::ptr::null() };
                let block = Block {
                    a: if self.gathers { buffer } else { a },
                    csa: if self.gathers { m } else { g.csa },
                    segs: &[Seg { a: 0, b: 0 }],
                    seg_len: k1 - k0,
                    b,
                    layout,
                    c: g.c.get().add(i * g.rsc + j0),
                    n: j1 - j0,
                    accumulate: ep.accumulate || p > 0,
                    bias: if bias.is_null() { bias } else { bias.add(j0) },
                    act: if last { ep.act } else { Act::None },
                    wide: self.wide,
                };
                rows::<S>(&block, m, g.rsa, g.rsc);
            }
        }
    }
}
