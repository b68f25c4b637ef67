//! The fixed binary tree over logical shards that every sum follows.
//!
//! A global batch is cut into V shards, V a power of two. The sum over them is defined as that of
//! the complete binary tree with the shards as leaves, and is always computed as `left + right`.
//! Whoever owns a contiguous range of shards can compute the sums of the range's maximal aligned
//! subtrees alone; joining two siblings gives the parent's sum with the very bits a single process
//! would get. Imports only the crate's error.

use std::ops::Range;

use crate::error::{Error, Result};

/// The most shards a batch can be cut into; it keeps a subtree's name within 32 bits.
pub const MAX_SHARDS: u32 = 1 << 20;

/// An aligned subtree: `2^level` shards from `index * 2^level` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subtree {
    level: u32,
    index: u32,
}

impl Subtree {
    /// The subtree's shards.
    pub fn shards(self) -> Range<u32> {
        self.index << self.level..(self.index + 1) << self.level
    }

    /// How many shards it covers.
    pub fn span(self) -> u32 {
        1 << self.level
    }

    /// Whether it is its parent's left operand.
    pub(crate) fn is_left(self) -> bool {
        self.index.is_multiple_of(2)
    }

    /// The subtree with which it forms its parent.
    pub(crate) fn sibling(self) -> Self {
        Subtree {
            index: self.index ^ 1,
            ..self
        }
    }

    /// The subtree of twice the size.
    pub(crate) fn parent(self) -> Self {
        Subtree {
            level: self.level + 1,
            index: self.index / 2,
        }
    }

    /// The subtree's name in a frame.
    pub(crate) fn to_wire(self) -> u32 {
        self.level << 24 | self.index
    }

    /// The subtree of that name, if it lies within `shards` shards.
    pub(crate) fn from_wire(name: u32, shards: u32) -> Option<Self> {
        let subtree = Subtree {
            level: name >> 24,
            index: name & 0xff_ffff,
        };
        let fits = subtree.level < 24 && subtree.index < shards.checked_shr(subtree.level)?;
        fits.then_some(subtree)
    }
}

/// The maximal aligned subtrees that make up a range of shards, from left to right.
///
/// ```
/// use hornbeam_collective::cover;
/// let spans: Vec<_> = cover(3..8).into_iter().map(|subtree| subtree.shards()).collect();
/// assert_eq!(spans, [3..4, 4..8]);
/// ```
pub fn cover(shards: Range<u32>) -> Vec<Subtree> {
    let mut subtrees = Vec::new();
    let mut at = shards.start;
    while at < shards.end {
        let level = at.trailing_zeros().min((shards.end - at).ilog2());
        subtrees.push(Subtree {
            level,
            index: at >> level,
        });
        at += 1 << level;
    }
    subtrees
}

/// Who owns which shards: contiguous ranges in the order of the ranks, covering all V. A range may
/// be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    shards: u32,
    ranges: Vec<Range<u32>>,
}

impl Layout {
    pub(crate) fn new(ranges: Vec<Range<u32>>) -> Result<Self> {
        let mut end = 0;
        for (rank, range) in ranges.iter().enumerate() {
            if range.start != end || range.end < range.start {
                return Err(Error::InvalidConfig(format!(
                    "rank {rank} has the shards {range:?}, expected a range that starts at {end}: \
                     the ranks' ranges must follow each other without gap or overlap"
                )));
            }
            end = range.end;
        }
        if !end.is_power_of_two() || end > MAX_SHARDS {
            return Err(Error::InvalidConfig(format!(
                "the ranks own {end} shards together, expected a power of two up to {MAX_SHARDS}"
            )));
        }
        Ok(Layout {
            shards: end,
            ranges,
        })
    }

    /// V, the number of shards.
    pub(crate) fn shards(&self) -> u32 {
        self.shards
    }

    /// P, the number of ranks.
    pub(crate) fn ranks(&self) -> usize {
        self.ranges.len()
    }

    /// The shards of one rank.
    pub(crate) fn range(&self, rank: usize) -> Range<u32> {
        self.ranges[rank].clone()
    }

    /// The shards that a run of consecutive ranks owns together.
    pub(crate) fn joint_range(&self, ranks: Range<usize>) -> Range<u32> {
        self.ranges[ranks.start].start..self.ranges[ranks.end - 1].end
    }
}

/// Cuts `shards` shards into `ranks` contiguous ranges whose sizes differ by at most one.
///
/// ```
/// use hornbeam_collective::even_ranges;
/// assert_eq!(even_ranges(8, 3), [0..2, 2..5, 5..8]);
/// ```
pub fn even_ranges(shards: u32, ranks: u32) -> Vec<Range<u32>> {
    let cut = |rank: u32| (u64::from(shards) * u64::from(rank) / u64::from(ranks)) as u32;
    (0..ranks).map(|rank| cut(rank)..cut(rank + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layouts_are_checked() {
        let layout = |cuts: &[(u32, u32)]| Layout::new(cuts.iter().map(|(a, b)| *a..*b).collect());
        assert!(layout(&[(0, 2), (2, 2), (2, 4)]).is_ok());
        let bad: [&[(u32, u32)]; 5] = [
            &[(0, 3)],
            &[(0, 2), (3, 4)],
            &[(1, 2)],
            &[(0, 2), (1, 4)],
            &[],
        ];
        for cuts in bad {
            assert!(matches!(layout(cuts), Err(Error::InvalidConfig(_))));
        }
    }

    proptest! {
        #[test]
        fn cover_is_an_exact_maximal_partition(a in 0u32..200, b in 0u32..200) {
            let range = a.min(b)..a.max(b);
            let subtrees = cover(range.clone());
            let mut at = range.start;
            for subtree in &subtrees {
                prop_assert_eq!(subtree.shards().start, at);
                at = subtree.shards().end;
                let parent = subtree.parent().shards();
                prop_assert!(parent.start < range.start || parent.end > range.end);
            }
            prop_assert_eq!(at, range.end.max(range.start));
        }

        #[test]
        fn names_survive_the_wire(level in 0u32..8, index in 0u32..256) {
            let subtree = Subtree { level, index };
            let known = Subtree::from_wire(subtree.to_wire(), 256);
            prop_assert_eq!(known, (subtree.shards().end <= 256).then_some(subtree));
        }

        #[test]
        fn even_ranges_form_a_layout(level in 0u32..8, ranks in 1u32..12) {
            let layout = Layout::new(even_ranges(1 << level, ranks)).unwrap();
            prop_assert_eq!(layout.shards(), 1 << level);
            prop_assert_eq!(layout.ranks(), ranks as usize);
        }
    }
}
