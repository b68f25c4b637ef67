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

/// How the sums of subtrees that lie side by side, and together are one, are joined along the tree:
/// pairs of places, first of the subtrees and then of what was joined before.
pub(crate) fn joins(subtrees: &[(u32, u32)]) -> Vec<(usize, usize)> {
    let mut joined = Vec::new();
    // The way up from the left: each entry is a place, a first shard and a height.
    let mut open: Vec<(usize, u32, u32)> = Vec::new();
    for (place, &(first, level)) in subtrees.iter().enumerate() {
        open.push((place, first, level));
        while let [.., (left, first, below), (right, _, level)] = open[..]
            && below == level
            && (first >> level).is_multiple_of(2)
        {
            open.truncate(open.len() - 2);
            open.push((subtrees.len() + joined.len(), first, level + 1));
            joined.push((left, right));
        }
    }
    joined
}

/// The numbers of shards of a range's maximal aligned subtrees, in order.
pub(crate) fn groups(shards: Range<u32>) -> Vec<usize> {
    let found = subtrees(shards);
    found.iter().map(|&(_, level)| 1 << level).collect()
}

/// Memory for numbers, 64-byte aligned.
pub type Memory = Box<dyn DerefMut<Target = [f32]> + Send>;

/// Memory that others write.
pub trait Window: Send + Sync {
    /// Some of its numbers.
    ///
    /// # Safety
    /// Nobody may write them as long as the result lives.
    unsafe fn get(&self, range: Range<usize>) -> &[f32];
}

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

/// Zeros in memory of this process' own.
///
/// # Errors
/// When memory is short.
pub fn zeroed(len: usize) -> Result<Memory> {
    let buffer = Buffer::zeroed(len * size_of::<f32>(), "the sums over shards")?;
    Ok(Box::new(Own { buffer, len }))
}

/// What stands where memory was taken out.
pub(crate) fn nothing() -> Memory {
    Box::new(Vec::new())
}

/// Memory for the sums over a process' own shards, in blocks.
pub(crate) struct TreeSum {
    /// The length of a sum's part in each block.
    lengths: Vec<usize>,
    allocate: Option<Allocate>,
    /// Each has its part of one sum for each subtree, one after the other.
    blocks: Vec<Memory>,
    /// One right operand for each height.
    levels: Vec<Vec<Memory>>,
}

/// Writes what one shard adds, into each block.
type Leaf<'a> = dyn FnMut(u32, &mut [&mut [f32]]) -> Result<()> + 'a;

impl TreeSum {
    /// Room for sums of `lengths` numbers in each block; grows when a range needs more.
    pub(crate) fn new(lengths: Vec<usize>, allocate: Option<Allocate>) -> Result<TreeSum> {
        let mut tree = TreeSum {
            lengths,
            allocate,
            blocks: Vec::new(),
            levels: Vec::new(),
        };
        tree.room(1)?;
        Ok(tree)
    }

    /// The same with memory that is given for the last block, as long as the process' shards need.
    pub(crate) fn with_last(
        lengths: Vec<usize>,
        allocate: Option<Allocate>,
        last: Memory,
    ) -> TreeSum {
        let count = lengths.len();
        let mut tree = TreeSum {
            blocks: (1..count).map(|_| nothing()).collect(),
            lengths,
            allocate,
            levels: Vec::new(),
        };
        tree.blocks.push(last);
        tree
    }

    /// Memory as the sums are in.
    fn memory_for(&self, len: usize) -> Result<Memory> {
        let given = self.allocate.as_ref().and_then(|allocate| allocate(len));
        given.map_or_else(|| zeroed(len), Ok)
    }

    /// Memory for one sum's part in the first blocks.
    pub(crate) fn memory(&self, blocks: usize) -> Result<Vec<Memory>> {
        let lengths = self.lengths[..blocks].iter();
        lengths.map(|&n| self.memory_for(n)).collect()
    }

    /// Writes the sums of the range's maximal subtrees; leaves room for the result where the range
    /// is empty.
    pub(crate) fn sum(&mut self, shards: Range<u32>, leaf: &mut Leaf<'_>) -> Result<()> {
        let found = subtrees(shards);
        self.room(found.len())?;
        let height = found.iter().map(|&(_, level)| level).max().unwrap_or(0);
        while self.levels.len() < height as usize {
            let level = self.lengths.iter().map(|&n| zeroed(n));
            self.levels.push(level.collect::<Result<_>>()?);
        }
        let mut outs: Vec<_> = (self.blocks.iter_mut().zip(&self.lengths))
            .map(|(block, &n)| block.chunks_exact_mut(n.max(1)))
            .collect();
        for (first, level) in found {
            let mut out: Vec<&mut [f32]> = outs
                .iter_mut()
                .map(|parts| parts.next().unwrap_or_default())
                .collect();
            subtree(first, level, &mut out, &mut self.levels, leaf)?;
        }
        Ok(())
    }

    /// Room for the sums of as many subtrees, which the caller writes; what was taken out is made
    /// anew.
    pub(crate) fn room(&mut self, subtrees: usize) -> Result<&mut [Memory]> {
        self.blocks.resize_with(self.lengths.len(), nothing);
        for k in 0..self.lengths.len() {
            let needed = self.lengths[k] * subtrees.max(1);
            if self.blocks[k].len() != needed {
                // The old memory goes first, so that both are never there together.
                self.blocks[k] = nothing();
                self.blocks[k] = self.memory_for(needed)?;
            }
        }
        Ok(&mut self.blocks)
    }

    /// The latest sums, in each block one for each subtree.
    pub(crate) fn blocks(&mut self) -> &mut Vec<Memory> {
        &mut self.blocks
    }

    /// The latest sums.
    pub(crate) fn result(&self) -> &[Memory] {
        &self.blocks
    }

    /// Takes the first blocks of the latest sums out and gives memory for the next.
    pub(crate) fn replace(&mut self, other: Vec<Memory>) -> Vec<Memory> {
        let count = other.len();
        self.blocks.splice(..count, other).collect()
    }
}

fn subtree(
    first: u32,
    level: u32,
    out: &mut [&mut [f32]],
    levels: &mut [Vec<Memory>],
    leaf: &mut Leaf<'_>,
) -> Result<()> {
    if level == 0 {
        return leaf(first, out);
    }
    let (below, right) = levels.split_at_mut(level as usize - 1);
    let mut right: Vec<&mut [f32]> = right[0].iter_mut().map(|block| &mut block[..]).collect();
    subtree(first, level - 1, out, below, leaf)?;
    let middle = first + (1 << (level - 1));
    subtree(middle, level - 1, &mut right, below, leaf)?;
    for (out, right) in out.iter_mut().zip(&right) {
        pass(out, right, |left, right| *left += right);
    }
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

    /// Counts elements through the blocks.
    fn leaf(shard: u32, out: &mut [&mut [f32]]) -> Result<()> {
        let all = out.iter_mut().flat_map(|block| block.iter_mut());
        all.enumerate().for_each(|(k, x)| *x = value(shard, k));
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
        let mut tree = TreeSum::new(vec![n], None).unwrap();
        tree.sum(0..4, &mut leaf).unwrap();
        for k in (0..n).step_by(997) {
            assert_eq!(tree.result()[0][k].to_bits(), naive(0..4, k).to_bits());
        }
    }

    #[test]
    fn sums_lie_in_the_memory_that_is_given() {
        let allocate: Allocate =
            Arc::new(|len| (len == 8).then(|| Box::new(vec![0.0f32; len]) as Memory));
        let mut tree = TreeSum::new(vec![8], Some(allocate)).unwrap();
        let given = tree.result()[0].as_ptr();
        tree.sum(0..1, &mut leaf).unwrap();
        assert_eq!(tree.result()[0].as_ptr(), given);
        // Two subtrees need more, of which there is none.
        tree.sum(1..3, &mut leaf).unwrap();
        assert_eq!(tree.result()[0].len(), 16);
        // What was taken out is there again.
        tree.blocks()[0] = nothing();
        assert_eq!(tree.room(2).unwrap()[0].len(), 16);
    }

    proptest! {
        #[test]
        fn sums_of_subtrees_are_joined_as_the_tree_says(
            level in 0u32..6, cuts in proptest::collection::vec(0u32..33, 0..5),
        ) {
            let shards = 1 << level;
            let mut cuts: Vec<u32> = cuts.into_iter().map(|cut| cut.min(shards)).collect();
            cuts.extend([0, shards]);
            cuts.sort_unstable();
            let found: Vec<(u32, u32)> =
                cuts.windows(2).flat_map(|w| subtrees(w[0]..w[1])).collect();
            let sum = |&(first, level): &(u32, u32)| naive(first..first + (1 << level), 3);
            let mut values: Vec<f32> = found.iter().map(sum).collect();
            for (left, right) in joins(&found) {
                values.push(values[left] + values[right]);
            }
            prop_assert_eq!(values.len(), 2 * found.len() - 1);
            prop_assert_eq!(values[values.len() - 1].to_bits(), naive(0..shards, 3).to_bits());
        }

        #[test]
        fn subtrees_are_summed_as_the_tree_says(
            a in 0u32..17, b in 0u32..17, lengths in proptest::collection::vec(0usize..5, 1..4),
        ) {
            let range = a.min(b)..a.max(b);
            let mut tree = TreeSum::new(lengths.clone(), None).unwrap();
            // Memory that a wider range left behind must not show.
            tree.sum(0..16, &mut leaf).unwrap();
            tree.sum(range.clone(), &mut leaf).unwrap();
            let mut at = range.start;
            for (i, (first, level)) in subtrees(range.clone()).into_iter().enumerate() {
                prop_assert_eq!((first, first % (1 << level)), (at, 0));
                at += 1 << level;
                let parts = tree.result().iter().zip(&lengths);
                let all = parts.flat_map(|(block, &n)| block[i * n..(i + 1) * n].to_vec());
                for (k, sum) in all.enumerate() {
                    prop_assert_eq!(sum.to_bits(), naive(first..at, k).to_bits());
                }
            }
            prop_assert_eq!(at, range.end);
        }
    }
}
