//! Who sends what to whom: groups of ranks, chunks and pieces of the data, and the ranks that sum
//! them.
//!
//! Data is cut into one chunk a collector, chunks into pieces. With one group (up to some dozens of
//! ranks) every rank collects its own chunk from all others. With several groups the path has two
//! levels along the same tree: each group has a collector for the piece, who joins what its group
//! owns and hands it to the collector of the piece's home group. The tree decides the sums, so the
//! path never shows in the result. Imports the tree.

use std::ops::Range;

use crate::tree::{Layout, Subtree, cover};

/// The members of a generation as the routing sees them.
#[derive(Debug)]
pub(crate) struct Topology {
    layout: Layout,
    rank: usize,
    groups: Vec<Range<usize>>,
    group_of: Vec<usize>,
    covers: Vec<Vec<Subtree>>,
    group_covers: Vec<Vec<Subtree>>,
}

/// A part of an operation's data that travels and is summed by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its elements.
    pub(crate) elements: Range<usize>,
    /// Which member of every group collects it.
    slot: usize,
    /// The group whose collector finishes it.
    home: usize,
}

/// Chunks begin at multiples of so many elements: a cache line of `f32`.
const CHUNK_ALIGNMENT: usize = 16;

impl Topology {
    /// With more than `direct_ranks` ranks, they are grouped by about the square root of their
    /// number.
    pub(crate) fn new(layout: Layout, rank: usize, direct_ranks: usize) -> Self {
        let ranks = layout.ranks();
        let count = if ranks > direct_ranks.max(1) {
            ranks.isqrt()
        } else {
            1
        };
        let groups: Vec<_> = (0..count)
            .map(|g| g * ranks / count..(g + 1) * ranks / count)
            .collect();
        let group_of = groups
            .iter()
            .enumerate()
            .flat_map(|(g, ranks)| ranks.clone().map(move |_| g));
        Topology {
            rank,
            group_of: group_of.collect(),
            covers: (0..ranks).map(|rank| cover(layout.range(rank))).collect(),
            group_covers: groups
                .iter()
                .map(|g| cover(layout.joint_range(g.clone())))
                .collect(),
            groups,
            layout,
        }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    pub(crate) fn ranks(&self) -> usize {
        self.layout.ranks()
    }

    /// All ranks but this one, beginning with the next: so not everybody writes to the same rank
    /// first.
    pub(crate) fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let (rank, ranks) = (self.rank, self.ranks());
        (1..ranks).map(move |step| (rank + step) % ranks)
    }

    /// The subtrees whose sums a rank delivers.
    pub(crate) fn cover_of(&self, rank: usize) -> &[Subtree] {
        &self.covers[rank]
    }

    /// Whether all ranks talk to each other directly.
    pub(crate) fn is_direct(&self) -> bool {
        self.groups.len() == 1
    }

    /// The ranks of this rank's group.
    pub(crate) fn group(&self) -> Range<usize> {
        self.groups[self.group_of[self.rank]].clone()
    }

    /// How many shards this rank's group owns.
    pub(crate) fn group_span(&self) -> u32 {
        self.layout.joint_range(self.group()).len() as u32
    }

    /// The rank that joins this piece within a group.
    fn collector_in(&self, group: usize, piece: &Piece) -> usize {
        self.groups[group].start + piece.slot
    }

    /// The rank that joins this piece within this rank's group.
    pub(crate) fn collector(&self, piece: &Piece) -> usize {
        self.collector_in(self.group_of[self.rank], piece)
    }

    /// The rank that finishes this piece.
    pub(crate) fn finisher(&self, piece: &Piece) -> usize {
        self.collector_in(piece.home, piece)
    }

    /// The collectors of this piece in the other groups.
    pub(crate) fn foreign_collectors<'a>(
        &'a self,
        piece: &'a Piece,
    ) -> impl Iterator<Item = usize> + 'a {
        let own = self.group_of[self.rank];
        (0..self.groups.len())
            .filter(move |g| *g != own)
            .map(|g| self.collector_in(g, piece))
    }

    /// The subtrees that this rank, as the piece's collector or finisher, gets from another rank;
    /// none if it gets nothing from it.
    pub(crate) fn delivered(&self, piece: &Piece, from: usize) -> &[Subtree] {
        let group = self.group_of[from];
        if group == self.group_of[self.rank] {
            if self.collector(piece) == self.rank {
                &self.covers[from]
            } else {
                &[]
            }
        } else if self.finisher(piece) == self.rank && self.collector_in(group, piece) == from {
            &self.group_covers[group]
        } else {
            &[]
        }
    }

    /// Cuts `elements` elements of `size` bytes into chunks and pieces of at most `piece_bytes`.
    pub(crate) fn pieces(&self, elements: usize, size: usize, piece_bytes: usize) -> Vec<Piece> {
        let slots = self.groups.iter().map(Range::len).min().unwrap_or(1);
        let chunks = slots * self.groups.len();
        let lines = elements.div_ceil(CHUNK_ALIGNMENT);
        let cut = |chunk: usize| (lines * chunk / chunks * CHUNK_ALIGNMENT).min(elements);
        let step = (piece_bytes / size).max(CHUNK_ALIGNMENT);
        let mut pieces = Vec::with_capacity(elements / step + chunks);
        for chunk in 0..chunks {
            let (start, end) = (cut(chunk), cut(chunk + 1));
            pieces.extend((start..end).step_by(step).map(|at| Piece {
                elements: at..(at + step).min(end),
                slot: chunk % slots,
                home: chunk / slots,
            }));
        }
        pieces
    }

    /// All elements as one piece.
    pub(crate) fn one_piece(&self, elements: usize) -> Vec<Piece> {
        vec![Piece {
            elements: 0..elements,
            slot: 0,
            home: 0,
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::even_ranges;
    use proptest::prelude::*;

    fn topology(ranks: usize, rank: usize, direct: usize) -> Topology {
        Topology::new(
            Layout::new(even_ranges(64, ranks as u32)).unwrap(),
            rank,
            direct,
        )
    }

    proptest! {
        #[test]
        fn pieces_partition_the_elements(
            ranks in 1usize..40, direct in 1usize..40, elements in 0usize..5000, bytes in 1usize..3000,
        ) {
            let pieces = topology(ranks, 0, direct).pieces(elements, 4, bytes);
            let mut at = 0;
            for piece in &pieces {
                prop_assert_eq!(piece.elements.start, at);
                prop_assert!(piece.elements.end > at);
                at = piece.elements.end;
            }
            prop_assert_eq!(at, elements);
        }

        /// What a piece's finisher is told to expect is delivered by somebody, and covers every
        /// shard exactly once.
        #[test]
        fn every_shard_reaches_the_finisher(ranks in 1usize..40, direct in 1usize..40) {
            let all: Vec<_> = (0..ranks).map(|rank| topology(ranks, rank, direct)).collect();
            for piece in all[0].pieces(64 * ranks, 4, 256) {
                let finisher = &all[all[0].finisher(&piece)];
                let mut seen = [0; 64];
                let own = finisher.cover_of(finisher.rank()).to_vec();
                let foreign = finisher.others().flat_map(|from| finisher.delivered(&piece, from).to_vec());
                for subtree in own.into_iter().chain(foreign) {
                    subtree.shards().for_each(|shard| seen[shard as usize] += 1);
                }
                prop_assert_eq!(seen, [1; 64]);
                for collector in finisher.foreign_collectors(&piece) {
                    prop_assert_eq!(all[collector].collector(&piece), collector);
                    prop_assert_eq!(all[collector].finisher(&piece), finisher.rank());
                }
            }
        }
    }

    #[test]
    fn few_ranks_are_one_group_and_many_are_several() {
        assert!(topology(16, 3, 16).is_direct());
        let many = topology(17, 3, 16);
        assert!(!many.is_direct());
        assert_eq!(many.group(), 0..4);
    }
}
