//! Sums over the logical shards of a batch: always the complete binary tree above the shards, each
//! multiplied by a factor first, `left + right`.
//!
//! Shards come in groups of a power of two, each with a sum of its own. What a sum over shards holds
//! does not depend on whether it was computed here, block by block while the parts are in the cache, or from
//! all shards' whole results.
//!
//! May import `gemm`, `gather`, `par`, `scratch`, `simd` and `work`.

use std::ops::Range;

use crate::error::KernelError;
use crate::gather::{Index, check_indices};
use crate::gemm::{Epilogue, gemm};
use crate::par::{self, SendPtr};
use crate::scratch::Scratch;
use crate::simd::{self, Body};
use crate::work;

#[cfg(test)]
mod tests;

/// Elements of a block of sums.
const BLOCK: usize = 4096;

/// The heights of the trees above groups of shards, and the highest one.
fn height(groups: &[usize]) -> usize {
    let heights = groups.iter().map(|g| {
        assert!(
            g.is_power_of_two(),
            "groups of shards are powers of two: {groups:?}"
        );
        g.trailing_zeros() as usize
    });
    heights.max().unwrap_or(0)
}

/// The groups as ranges of shards.
fn ranges(groups: &[usize]) -> impl Iterator<Item = Range<usize>> + '_ {
    groups.iter().scan(0, |at, &g| {
        *at += g;
        Some(*at - g..*at)
    })
}

/// `to = to * factor`.
struct Scale<'a>(&'a mut [f32], f32);

impl Body for Scale<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for x in self.0 {
            *x *= self.1;
        }
    }
}

/// `to = to + from`.
struct Add<'a>(&'a mut [f32], &'a [f32]);

impl Body for Add<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (left, right) in self.0.iter_mut().zip(self.1) {
            *left += right;
        }
    }
}

/// `to = to * factor + from * factor`.
struct AddScaled<'a>(&'a mut [f32], &'a [f32], f32);

impl Body for AddScaled<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (left, right) in self.0.iter_mut().zip(self.1) {
            *left = *left * self.2 + right * self.2;
        }
    }
}

/// Elements from which on several threads share a pass.
const PARALLEL: usize = 1 << 17;

/// Calls `f` with equal stretches of both, by several threads if they are long.
fn pass(to: &mut [f32], from: &[f32], f: impl Fn(&mut [f32], &[f32]) + Sync) {
    let n = to.len();
    assert_eq!(n, from.len(), "elements of a sum's operands");
    let parts = if n < PARALLEL { 1 } else { par::num_threads() };
    let target = SendPtr::new(to.as_mut_ptr());
    par::run(parts, &|p| {
        let (start, end) = (n * p / parts, n * (p + 1) / parts);
        // SAFETY: the parts of `to` do not overlap, and it is borrowed mutably all the while.
        let own = unsafe { std::slice::from_raw_parts_mut(target.get().add(start), end - start) };
        f(own, &from[start..end]);
    });
}

/// `to = to * factor`.
pub fn scale(to: &mut [f32], factor: f32) {
    let n = to.len();
    let parts = if n < PARALLEL { 1 } else { par::num_threads() };
    let target = SendPtr::new(to.as_mut_ptr());
    par::run(parts, &|p| {
        let (start, end) = (n * p / parts, n * (p + 1) / parts);
        // SAFETY: the parts do not overlap, and `to` is borrowed mutably all the while.
        let own = unsafe { std::slice::from_raw_parts_mut(target.get().add(start), end - start) };
        simd::dispatch(Scale(own, factor));
    });
}

/// `left = left + right`.
///
/// # Panics
/// When they are not equally long.
pub fn add(left: &mut [f32], right: &[f32]) {
    pass(left, right, |l, r| simd::dispatch(Add(l, r)));
}

/// `left = left * factor + right * factor`.
///
/// # Panics
/// When they are not equally long.
pub fn add_scaled(left: &mut [f32], right: &[f32], factor: f32) {
    pass(left, right, |l, r| simd::dispatch(AddScaled(l, r, factor)));
}

/// A block of a sum: rows of `width` elements.
#[derive(Clone, Copy)]
struct Rows {
    to: SendPtr<f32>,
    /// Distance of rows.
    stride: usize,
    rows: usize,
    width: usize,
}

impl Rows {
    /// Calls `f` with each stretch of this block and of another of the same size.
    ///
    /// # Safety
    /// Both blocks are there, apart from each other and nobody else's.
    #[inline]
    unsafe fn with(self, other: Rows, f: impl Fn(&mut [f32], &mut [f32])) {
        let whole = self.stride == self.width && other.stride == other.width;
        let (rows, width) = if whole {
            (1, self.rows * self.width)
        } else {
            (self.rows, self.width)
        };
        for r in 0..rows {
            // SAFETY: the caller's promise.
            unsafe {
                let a = self.to.get().add(r * self.stride);
                let b = other.to.get().add(r * other.stride);
                f(
                    std::slice::from_raw_parts_mut(a, width),
                    std::slice::from_raw_parts_mut(b, width),
                );
            }
        }
    }
}

/// Computes the sum of a subtree: `leaf(shard, block)` writes a shard's part.
struct Tree<'a> {
    leaf: &'a dyn Fn(usize, Rows),
    factor: f32,
    /// A block for the right operand of each height but the lowest's, from 1 on.
    spare: &'a [Rows],
}

impl Tree<'_> {
    /// Writes the sum of the `1 << level` shards from `first` on.
    ///
    /// # Safety
    /// The blocks are there and nobody else's.
    unsafe fn sum(&self, first: usize, level: usize, to: Rows) {
        if level == 0 {
            (self.leaf)(first, to);
            // SAFETY: passed on; the second block is not touched.
            unsafe {
                for r in 0..to.rows {
                    let row = to.to.get().add(r * to.stride);
                    let row = std::slice::from_raw_parts_mut(row, to.width);
                    simd::dispatch(Scale(row, self.factor));
                }
            }
            return;
        }
        let right = self.spare[level - 1];
        if level == 1 {
            (self.leaf)(first, to);
            (self.leaf)(first + 1, right);
            // SAFETY: passed on.
            unsafe {
                to.with(right, |a, b| simd::dispatch(AddScaled(a, b, self.factor)));
            }
            return;
        }
        // SAFETY: passed on.
        unsafe {
            self.sum(first, level - 1, to);
            self.sum(first + (1 << (level - 1)), level - 1, right);
            to.with(right, |a, b| simd::dispatch(Add(a, b)));
        }
    }
}

/// Memory for the right operands of a tree over blocks of `len` elements.
struct Spare {
    _memory: Scratch,
    at: SendPtr<f32>,
    len: usize,
}

impl Spare {
    fn new(height: usize, len: usize) -> Spare {
        let len = len.next_multiple_of(16);
        let memory = Scratch::take(height * len * size_of::<f32>());
        let at = SendPtr::new(memory.ptr().cast::<f32>());
        Spare {
            _memory: memory,
            at,
            len,
        }
    }

    fn blocks(&self, height: usize, rows: usize, width: usize) -> Vec<Rows> {
        let block = |level: usize| Rows {
            to: self.at.wrapping_add(level * self.len),
            stride: width,
            rows,
            width,
        };
        (0..height).map(block).collect()
    }
}

/// Sums over shards: `x` holds `len` elements for each, `out` gets `len` for each group.
///
/// # Panics
/// When a slice's length does not fit, or a group is no power of two.
pub fn sum(x: &[f32], groups: &[usize], factor: f32, out: &mut [f32]) {
    let shards: usize = groups.iter().sum();
    let len = out.len() / groups.len().max(1);
    assert_eq!(x.len(), shards * len, "elements of {shards} shards");
    assert_eq!(out.len(), groups.len() * len, "sums of {groups:?}");
    let height = height(groups);
    let target = SendPtr::new(out.as_mut_ptr());
    let blocks = len.div_ceil(BLOCK);
    let cost = BLOCK.min(len) * shards * 80;
    work::ranges(blocks, cost, &|range| {
        let spare = Spare::new(height, BLOCK);
        for b in range {
            let (first, last) = (b * BLOCK, ((b + 1) * BLOCK).min(len));
            let width = last - first;
            let leaf = |shard: usize, to: Rows| {
                let from = &x[shard * len + first..shard * len + last];
                // SAFETY: the block is the tree's.
                let to = unsafe { std::slice::from_raw_parts_mut(to.to.get(), width) };
                to.copy_from_slice(from);
            };
            let tree = Tree {
                leaf: &leaf,
                factor,
                spare: &spare.blocks(height, 1, width),
            };
            for (g, shards) in ranges(groups).enumerate() {
                let to = Rows {
                    to: target.wrapping_add(g * len + first),
                    stride: width,
                    rows: 1,
                    width,
                };
                // SAFETY: the block of the sum is this task's.
                unsafe { tree.sum(shards.start, shards.len().trailing_zeros() as usize, to) };
            }
        }
    });
}

/// A product for each shard: `[m, k]` times `[k, n]`, given by row and column strides.
#[derive(Clone, Copy, Debug)]
pub struct Products {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// What a shard sums over.
    pub k: usize,
    /// Row and column strides of the left matrices.
    pub a: (usize, usize),
    /// Row and column strides of the right matrices.
    pub b: (usize, usize),
}

impl Products {
    /// Into how many parts rows and columns are cut, each of which is summed while it lies in the
    /// cache.
    fn parts(&self) -> (usize, usize) {
        // A product with one column has an order of its own, which must not come from a cut.
        if self.n == 1 {
            return (1, 1);
        }
        // Short sums are soon done: their parts should stay in the first-level cache.
        let rows = if self.k < 64 { 16 } else { 96 };
        (self.m.div_ceil(rows), self.n.div_ceil(512))
    }

    /// The border before part `j` of `parts` of the columns: whole vectors, and more than one column.
    fn column(&self, parts: usize, j: usize) -> usize {
        (par::split(self.n.div_ceil(64), parts, j) * 64).min(self.n)
    }
}

/// Sums over shards of products: shard `v` multiplies `a[v * m * k..]` with `b[v * k * n..]`; `c` gets
/// `[m, n]` for each group.
///
/// # Panics
/// When a slice's length does not fit, or a group is no power of two.
pub fn products(p: &Products, a: &[f32], b: &[f32], groups: &[usize], factor: f32, c: &mut [f32]) {
    let shards: usize = groups.iter().sum();
    let (asize, bsize, csize) = (p.m * p.k, p.k * p.n, p.m * p.n);
    assert_eq!(a.len(), shards * asize, "left matrices of {p:?}");
    assert_eq!(b.len(), shards * bsize, "right matrices of {p:?}");
    assert_eq!(c.len(), groups.len() * csize, "sums of {p:?}");
    if csize == 0 {
        return;
    }
    let height = height(groups);
    let (down, across) = p.parts();
    let target = SendPtr::new(c.as_mut_ptr());
    let work = shards * asize * p.n;
    let body = |t: usize, spare: &Spare| {
        let (row, column) = (t / across, t % across);
        let (i, j) = (par::split(p.m, down, row), p.column(across, column));
        let m = par::split(p.m, down, row + 1) - i;
        let n = p.column(across, column + 1) - j;
        let leaf = |shard: usize, to: Rows| {
            let a = &a[shard * asize..(shard + 1) * asize];
            let b = &b[shard * bsize..(shard + 1) * bsize];
            let (a, b) = if p.k == 0 {
                (a, b)
            } else {
                (&a[i * p.a.0..], &b[j * p.b.1..])
            };
            let len = (m - 1) * to.stride + n;
            // SAFETY: the block is the tree's.
            let c = unsafe { std::slice::from_raw_parts_mut(to.to.get(), len) };
            let plain = Epilogue::default();
            gemm(
                m, n, p.k, a, p.a.0, p.a.1, b, p.b.0, p.b.1, c, to.stride, &plain,
            );
        };
        let tree = Tree {
            leaf: &leaf,
            factor,
            spare: &spare.blocks(height, m, n),
        };
        for (g, shards) in ranges(groups).enumerate() {
            let to = Rows {
                to: target.wrapping_add(g * csize + i * p.n + j),
                stride: p.n,
                rows: m,
                width: n,
            };
            // SAFETY: the block of the sum is this task's.
            unsafe { tree.sum(shards.start, shards.len().trailing_zeros() as usize, to) };
        }
    };
    // A multiply-add takes some ten picoseconds; what follows it is of the same order.
    work::ranges(down * across, work / (down * across) * 20, &|range| {
        let largest = p.m.div_ceil(down) * p.column(across, 1);
        let spare = Spare::new(height, largest);
        range.for_each(|t| body(t, &spare));
    });
}

/// Sums over shards of tables to which each shard adds its rows: `values` holds rows of `inner` elements
/// and `indices` the row of the table that each is added to, those of all shards one after the
/// other; `out` gets a table of `[bound, inner]` for each group.
///
/// # Errors
/// When an index is out of range, or a length does not fit.
///
/// # Panics
/// When a group is no power of two.
pub fn scatter_add<I: Index>(
    values: &[f32],
    indices: &[I],
    [bound, inner]: [usize; 2],
    groups: &[usize],
    factor: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let shards: usize = groups.iter().sum();
    let op = "scatter_add";
    KernelError::check_len(op, "table", groups.len() * bound * inner, out.len())?;
    KernelError::check_len(op, "values", indices.len() * inner, values.len())?;
    check_indices(op, indices, bound)?;
    if out.is_empty() || shards == 0 {
        return Ok(());
    }
    let lists = Lists::new(indices, bound);
    let each = indices.len() / shards;
    let target = SendPtr::new(out.as_mut_ptr());
    // Some rows come much more often than others: columns are shared, where there are enough.
    let units = inner.div_ceil(16);
    let parts = if units > 1 { units } else { bound };
    let cost = (indices.len() * 3 + out.len() / inner.max(1)) * inner * 40 / parts;
    work::ranges_of_threads(parts, cost, &|range| {
        let (rows, columns) = if units > 1 {
            (0..bound, range.start * 16..(range.end * 16).min(inner))
        } else {
            (range, 0..inner)
        };
        for (g, shards) in ranges(groups).enumerate() {
            let table = AddRows {
                values,
                lists: &lists,
                each,
                inner,
                rows: rows.clone(),
                columns: columns.clone(),
                shards,
                factor,
                table: target.wrapping_add(g * bound * inner),
            };
            simd::dispatch(table);
        }
    });
    Ok(())
}

/// For each row of a table, the places in which it is named, in order.
struct Lists {
    /// Where each row's places begin, and where the last one's end.
    starts: Vec<u32>,
    places: Vec<u32>,
}

impl Lists {
    fn new<I: Index>(indices: &[I], bound: usize) -> Lists {
        let mut starts = vec![0u32; bound + 1];
        for i in indices {
            starts[i.to_i64() as usize + 1] += 1;
        }
        for row in 0..bound {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut places = vec![0u32; indices.len()];
        for (place, i) in indices.iter().enumerate() {
            let at = &mut next[i.to_i64() as usize];
            places[*at as usize] = place as u32;
            *at += 1;
        }
        Lists { starts, places }
    }

    fn of(&self, row: usize) -> &[u32] {
        &self.places[self.starts[row] as usize..self.starts[row + 1] as usize]
    }
}

/// Some rows and columns of a group's table.
struct AddRows<'a> {
    values: &'a [f32],
    lists: &'a Lists,
    /// Places of a shard.
    each: usize,
    inner: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    shards: Range<usize>,
    factor: f32,
    table: SendPtr<f32>,
}

impl Body for AddRows<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let width = self.columns.len();
        let height = self.shards.len().trailing_zeros() as usize;
        // The sums of subtrees that wait for what lies to their right; the first one is the result.
        let mut waiting = vec![0.0; (height + 1) * width];
        let first = (self.shards.start * self.each) as u32;
        let last = (self.shards.end * self.each) as u32;
        for row in self.rows.clone() {
            let places = self.lists.of(row);
            let from = places.partition_point(|&p| p < first);
            let to = places.partition_point(|&p| p < last);
            // SAFETY: these columns of this row are the task's.
            let out = unsafe {
                let at = self.table.get().add(row * self.inner + self.columns.start);
                std::slice::from_raw_parts_mut(at, width)
            };
            if from == to {
                out.fill(0.0);
            } else {
                self.row(&places[from..to], &mut waiting);
                out.copy_from_slice(&waiting[..width]);
            }
        }
    }
}

impl AddRows<'_> {
    /// Leaves the sum of a row that shards name in `places` in the first of the `waiting` sums.
    #[inline(always)]
    fn row(&self, mut places: &[u32], waiting: &mut [f32]) {
        let width = self.columns.len();
        // Bit `d`: the sum at depth `d` is not zero throughout.
        let mut present = 0u64;
        let mut depth = 0;
        for (leaf, shard) in self.shards.clone().enumerate() {
            let end = ((shard + 1) * self.each) as u32;
            let count = places.partition_point(|&p| p < end);
            if count > 0 {
                let own = &mut waiting[depth * width..(depth + 1) * width];
                self.leaf(&places[..count], own);
                places = &places[count..];
                present |= 1 << depth;
            }
            depth += 1;
            for _ in 0..(leaf + 1).trailing_zeros() {
                depth -= 1;
                let (left, right) = waiting.split_at_mut(depth * width);
                let (left, right) = (&mut left[(depth - 1) * width..], &right[..width]);
                match (present >> (depth - 1) & 1, present >> depth & 1) {
                    (0, 0) => {}
                    // Adding zero turns a negative zero into a positive one.
                    (_, 0) => left.iter_mut().for_each(|l| *l += 0.0),
                    (0, _) => left.iter_mut().zip(right).for_each(|(l, r)| *l = 0.0 + r),
                    (_, _) => left.iter_mut().zip(right).for_each(|(l, r)| *l += r),
                }
                present |= (present >> depth & 1) << (depth - 1);
                present &= !(1 << depth);
            }
        }
    }

    /// What a shard adds to the row.
    #[inline(always)]
    fn leaf(&self, places: &[u32], own: &mut [f32]) {
        own.fill(0.0);
        for &place in places {
            let at = place as usize * self.inner;
            let from = &self.values[at + self.columns.start..at + self.columns.end];
            own.iter_mut().zip(from).for_each(|(o, v)| *o += v);
        }
        own.iter_mut().for_each(|o| *o *= self.factor);
    }
}
