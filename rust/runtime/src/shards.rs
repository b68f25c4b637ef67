//! Logical shards: how a batch is cut, and sums over the fixed binary tree above the shards.
//!
//! The sum over V shards is that of the complete binary tree with the shards as leaves, always
//! `left + right`. A process that owns a range of them adds up the range's maximal aligned
//! subtrees; joining those gives the same bits however the shards are spread. Imports the buffer
//! and the thread pool alone.

use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use hornbeam_kernels::par::{self, SendPtr};

use crate::buffer::Buffer;
use crate::error::Result;

/// Elements from which on several threads share a pass over a payload.
const PARALLEL: usize = 1 << 17;

/// The rows of shard `shard` in a batch of `rows`.
pub(crate) fn shard_rows(rows: usize, shards: u32, shard: u32) -> Range<usize> {
    let cut = |v: u32| (rows as u128 * u128::from(v) / u128::from(shards)) as usize;
    cut(shard)..cut(shard + 1)
}

/// The maximal aligned subtrees of a range of shards, each by its first shard and its height.
pub(crate) fn subtrees(shards: Range<u32>) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    let mut at = shards.start;
    while at < shards.end {
        let level = at.trailing_zeros().min((shards.end - at).ilog2());
        found.push((at, level));
        at += 1 << level;
    }
    found
}

/// The numbers of shards of a range's maximal aligned subtrees, in order.
pub(crate) fn groups(shards: Range<u32>) -> Vec<usize> {
    let found = subtrees(shards);
    found.iter().map(|&(_, level)| 1 << level).collect()
}

/// Memory for numbers, 64-byte aligned.
pub type Memory = Box<dyn DerefMut<Target = [f32]> + Send>;

/// Gives memory for so many numbers, all zero, that a reducer is quicker with; none if it has none.
pub type Allocate = Arc<dyn Fn(usize) -> Option<Memory> + Send + Sync>;

/// Numbers in memory of this process' own.
struct Own {
    buffer: Buffer,
    len: usize,
}

impl Deref for Own {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: the buffer holds that many numbers, initialised with zeros and borrowed with self.
        unsafe { std::slice::from_raw_parts(self.buffer.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Own {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above; self is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.as_ptr().cast(), self.len) }
    }
}

/// Numbers in aligned memory.
pub(crate) struct Floats(Memory);

impl Floats {
    pub(crate) fn zeroed(len: usize) -> Result<Floats> {
        let buffer = Buffer::zeroed(len * size_of::<f32>(), "the sums over shards")?;
        Ok(Floats(Box::new(Own { buffer, len })))
    }
}

impl Deref for Floats {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

/// Memory for the sums over a process' own shards.
pub(crate) struct TreeSum {
    length: usize,
    allocate: Option<Allocate>,
    /// One sum for each subtree, one after the other.
    data: Floats,
    /// One right operand for each height.
    levels: Vec<Floats>,
}

/// Writes what one shard adds.
type Leaf<'a> = dyn FnMut(u32, &mut [f32]) -> Result<()> + 'a;

impl TreeSum {
    /// Room for sums of `length` numbers; grows when a range needs more.
    pub(crate) fn new(length: usize) -> Result<TreeSum> {
        Ok(TreeSum {
            length,
            allocate: None,
            data: Floats::zeroed(length)?,
            levels: Vec::new(),
        })
    }

    /// The same in memory that `allocate` gives.
    pub(crate) fn within(length: usize, allocate: Option<Allocate>) -> Result<TreeSum> {
        let mut tree = TreeSum::new(0)?;
        (tree.length, tree.allocate) = (length, allocate);
        tree.data = tree.memory_for(length)?;
        Ok(tree)
    }

    /// Memory as the sums are in.
    pub(crate) fn memory_for(&self, len: usize) -> Result<Floats> {
        match self.allocate.as_ref().and_then(|allocate| allocate(len)) {
            Some(memory) => Ok(Floats(memory)),
            None => Floats::zeroed(len),
        }
    }

    /// The sums of the range's maximal subtrees, one after the other; room for the result where
    /// the range is empty.
    pub(crate) fn sum(&mut self, shards: Range<u32>, leaf: &mut Leaf<'_>) -> Result<&mut [f32]> {
        let found = subtrees(shards);
        self.room(found.len())?;
        let height = found.iter().map(|&(_, level)| level).max().unwrap_or(0);
        while self.levels.len() < height as usize {
            self.levels.push(Floats::zeroed(self.length)?);
        }
        for (k, &(first, level)) in found.iter().enumerate() {
            let out = &mut self.data[k * self.length..(k + 1) * self.length];
            subtree(first, level, out, &mut self.levels, leaf)?;
        }
        Ok(&mut self.data)
    }

    /// Room for the sums of as many subtrees, which the caller writes.
    pub(crate) fn room(&mut self, subtrees: usize) -> Result<&mut [f32]> {
        let needed = self.length * subtrees.max(1);
        if self.data.len() != needed {
            self.data = self.memory_for(needed)?;
        }
        Ok(&mut self.data)
    }

    /// The latest sums, one for each subtree.
    pub(crate) fn sums(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The latest sums.
    pub(crate) fn result(&self) -> &[f32] {
        &self.data
    }

    /// Takes the latest sums out and gives memory for the next.
    pub(crate) fn replace(&mut self, other: Floats) -> Floats {
        std::mem::replace(&mut self.data, other)
    }
}

fn subtree(
    first: u32,
    level: u32,
    out: &mut [f32],
    levels: &mut [Floats],
    leaf: &mut Leaf<'_>,
) -> Result<()> {
    if level == 0 {
        return leaf(first, out);
    }
    let (below, right) = levels.split_at_mut(level as usize - 1);
    subtree(first, level - 1, out, below, leaf)?;
    subtree(
        first + (1 << (level - 1)),
        level - 1,
        &mut right[0],
        below,
        leaf,
    )?;
    pass(out, &right[0], |left, right| *left += right);
    Ok(())
}

/// Writes `factor * from` to `to`.
pub(crate) fn scale(to: &mut [f32], from: &[f32], factor: f32) {
    pass(to, from, |to, from| *to = from * factor);
}

/// Writes `from` to `to`.
pub(crate) fn copy(to: &mut [f32], from: &[f32]) {
    pass(to, from, |to, from| *to = from);
}

/// Calls `f` on pairs of elements, by several threads if there are many.
fn pass(to: &mut [f32], from: &[f32], f: impl Fn(&mut f32, f32) + Sync) {
    let n = to.len().min(from.len());
    let parts = if par::is_small(n, PARALLEL) {
        1
    } else {
        par::num_threads()
    };
    let target = SendPtr::new(to.as_mut_ptr());
    par::run(parts, &|p| {
        let (start, end) = (n * p / parts, n * (p + 1) / parts);
        // SAFETY: the parts of `to` do not overlap, and it is borrowed mutably all the while.
        let own = unsafe { std::slice::from_raw_parts_mut(target.get().add(start), end - start) };
        for (to, &from) in own.iter_mut().zip(&from[start..end]) {
            f(to, from);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(shard: u32, k: usize) -> f32 {
        (f64::from(shard) * 1.37 + k as f64 * 0.61).sin() as f32
    }

    fn leaf(shard: u32, out: &mut [f32]) -> Result<()> {
        out.iter_mut()
            .enumerate()
            .for_each(|(k, x)| *x = value(shard, k));
        Ok(())
    }

    /// The tree's definition.
    fn naive(shards: Range<u32>, k: usize) -> f32 {
        if shards.end - shards.start == 1 {
            return value(shards.start, k);
        }
        let middle = u32::midpoint(shards.start, shards.end);
        naive(shards.start..middle, k) + naive(middle..shards.end, k)
    }

    #[test]
    fn rows_are_cut_without_gaps() {
        for rows in [0, 1, 3, 8, 129] {
            let mut at = 0;
            for v in 0..8 {
                let own = shard_rows(rows, 8, v);
                assert_eq!(own.start, at);
                assert!(own.len() == rows / 8 || own.len() == rows.div_ceil(8));
                at = own.end;
            }
            assert_eq!(at, rows);
        }
    }

    #[test]
    fn large_sums_are_shared_and_have_the_same_bits() {
        let n = PARALLEL + 3;
        let mut tree = TreeSum::new(n).unwrap();
        let sums = tree.sum(0..4, &mut leaf).unwrap();
        for k in (0..n).step_by(997) {
            assert_eq!(sums[k].to_bits(), naive(0..4, k).to_bits());
        }
    }

    #[test]
    fn sums_lie_in_the_memory_that_is_given() {
        let allocate: Allocate =
            Arc::new(|len| (len == 8).then(|| Box::new(vec![0.0f32; len]) as Memory));
        let mut tree = TreeSum::within(8, Some(allocate)).unwrap();
        let given = tree.result().as_ptr();
        let sums = tree.sum(0..1, &mut leaf).unwrap();
        assert_eq!(sums.as_ptr(), given);
        // Two subtrees need more, of which there is none.
        assert_eq!(tree.sum(1..3, &mut leaf).unwrap().len(), 16);
    }

    proptest! {
        #[test]
        fn subtrees_are_summed_as_the_tree_says(a in 0u32..17, b in 0u32..17) {
            let range = a.min(b)..a.max(b);
            let mut tree = TreeSum::new(3).unwrap();
            // Memory that a wider range left behind must not show.
            tree.sum(0..16, &mut leaf).unwrap();
            let sums = tree.sum(range.clone(), &mut leaf).unwrap();
            let mut at = range.start;
            for (i, (first, level)) in subtrees(range.clone()).into_iter().enumerate() {
                prop_assert_eq!((first, first % (1 << level)), (at, 0));
                at += 1 << level;
                for k in 0..3 {
                    prop_assert_eq!(sums[i * 3 + k].to_bits(), naive(first..at, k).to_bits());
                }
            }
            prop_assert_eq!(at, range.end);
        }
    }
}
