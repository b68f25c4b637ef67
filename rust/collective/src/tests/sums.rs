//! All-reduce against a single process' tree, bit by bit; all-gather, broadcast and barrier against
//! their definitions.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;
use crate::Error;

/// The sum over leaves by the definition: `left + right` of the two halves.
fn tree_sum(leaves: &[Vec<f64>]) -> Vec<f64> {
    if let [leaf] = leaves {
        return leaf.clone();
    }
    let (left, right) = leaves.split_at(leaves.len() / 2);
    tree_sum(left)
        .iter()
        .zip(tree_sum(right))
        .map(|(left, right)| left + right)
        .collect()
}

fn tree_sum_f32(leaves: &[Vec<f32>]) -> Vec<f32> {
    if let [leaf] = leaves {
        return leaf.clone();
    }
    let (left, right) = leaves.split_at(leaves.len() / 2);
    tree_sum_f32(left)
        .iter()
        .zip(tree_sum_f32(right))
        .map(|(left, right)| left + right)
        .collect()
}

/// Values of very different sizes, so that nearly every other order of summing gives other bits.
fn leaf(shard: u32, elements: usize) -> Vec<f64> {
    let mut state = u64::from(shard) * 7919 + 12345;
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let unit = (state >> 33) as f64 / f64::from(1u32 << 31) - 0.5;
        unit * 10f64.powi((state % 13) as i32 - 6)
    };
    (0..elements).map(|_| next()).collect()
}

fn leaf_f32(shard: u32, elements: usize) -> Vec<f32> {
    leaf(shard, elements)
        .into_iter()
        .map(|value| value as f32)
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

pub(super) fn partials_f32(group: &Group, elements: usize) -> Vec<f32> {
    let sums = group.partials().iter().map(|subtree| {
        let leaves: Vec<_> = subtree
            .shards()
            .map(|shard| leaf_f32(shard, elements))
            .collect();
        tree_sum_f32(&leaves)
    });
    let mut data: Vec<f32> = sums.flatten().collect();
    data.resize(elements * group.partials().len().max(1), 0.0);
    data
}

/// Contiguous ranges over `shards` from arbitrary cuts; some may be empty.
pub(super) fn ranges(shards: u32, cuts: &[u32]) -> Vec<Range<u32>> {
    let mut cuts: Vec<_> = cuts
        .iter()
        .map(|cut| cut % (shards + 1))
        .chain([0, shards])
        .collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// The bits of the sum over all shards.
pub(super) fn expected_f32(ranges: &[Range<u32>], elements: usize) -> Vec<u32> {
    let shards = ranges.last().unwrap().end;
    let leaves: Vec<_> = (0..shards).map(|shard| leaf_f32(shard, elements)).collect();
    bits(&tree_sum_f32(&leaves))
}

fn check(ranges: &[Range<u32>], elements: usize, tune: impl Fn(&mut GroupConfig) + Sync) {
    let expected = expected_f32(ranges, elements);
    on_group_with(ranges, tune, |group| {
        for _ in 0..2 {
            let mut data = partials_f32(&group, elements);
            group.all_reduce(&mut data).unwrap();
            assert_eq!(
                bits(&data[..elements]),
                expected,
                "rank {} of {ranges:?}",
                group.rank()
            );
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// P = 1..6, V = 1..16, any contiguous cut, in one round and in two.
    #[test]
    fn sums_are_the_trees(
        level in 0u32..5,
        cuts in proptest::collection::vec(any::<u32>(), 0..6),
        elements in 0usize..400,
        one_round in any::<bool>(),
        piece in 64usize..400,
    ) {
        check(&ranges(1 << level, &cuts), elements, |config| {
            config.tuning.one_round_bytes = if one_round { 4096 } else { 64 };
            config.tuning.piece_bytes = piece;
        });
    }

    /// Two levels of groups give the same bits.
    #[test]
    fn grouped_sums_are_the_trees(
        level in 0u32..5,
        cuts in proptest::collection::vec(any::<u32>(), 3..9),
        elements in 0usize..400,
        piece in 64usize..400,
    ) {
        check(&ranges(1 << level, &cuts), elements, |config| {
            config.tuning.direct_ranks = 1;
            config.tuning.one_round_bytes = 64;
            config.tuning.piece_bytes = piece;
        });
    }
}

#[test]
fn default_tuning_sums_large_data() {
    for ranks in [2, 3] {
        check(&even_ranges(4, ranks), 300_001, |_| {});
    }
}

#[test]
fn many_ranks_sum_through_groups() {
    check(&even_ranges(32, 20), 20_000, |_| {});
}

#[test]
fn doubles_are_summed_as_doubles() {
    let elements = 10_000;
    let leaves: Vec<_> = (0..8).map(|shard| leaf(shard, elements)).collect();
    let expected = tree_sum(&leaves);
    on_group(3, |group| {
        let sums = group.partials().iter().map(|subtree| {
            tree_sum(&leaves[subtree.shards().start as usize..subtree.shards().end as usize])
        });
        let mut data: Vec<f64> = sums.flatten().collect();
        group.all_reduce(&mut data).unwrap();
        assert_eq!(data[..elements], expected);
    });
}

#[test]
fn payloads_of_any_length_are_gathered_in_the_order_of_ranks() {
    on_group(4, |group| {
        for scale in [0, 1, 1000, 300_000] {
            let payload = vec![group.rank() as u8; group.rank() as usize * scale];
            let gathered = group.all_gather(&payload).unwrap();
            let expected: Vec<_> = (0..4).map(|rank| vec![rank as u8; rank * scale]).collect();
            assert_eq!(gathered, expected);
        }
    });
}

#[test]
fn every_root_can_broadcast() {
    on_group(3, |group| {
        for length in [0, 1, 5000, 3_000_001] {
            for root in 0..3u32 {
                let state: Vec<_> = (0..length)
                    .map(|at| (at * 31 % 251) as u8 ^ root as u8)
                    .collect();
                let mut data = if group.rank() == root {
                    state.clone()
                } else {
                    vec![0; length]
                };
                group.broadcast(&mut data, root).unwrap();
                assert!(data == state, "{length} bytes from rank {root}");
            }
        }
    });
}

#[test]
fn nobody_passes_a_barrier_before_all_have_come() {
    let arrived = AtomicU32::new(0);
    on_group(4, |group| {
        for round in 1..=50 {
            arrived.fetch_add(1, Ordering::SeqCst);
            group.barrier().unwrap();
            assert!(arrived.load(Ordering::SeqCst) >= 4 * round);
            group.barrier().unwrap();
        }
    });
}

#[test]
fn wrong_arguments_leave_the_group_unharmed() {
    on_group_with(
        &[0..3, 3..4],
        |_| {},
        |group| {
            if group.rank() == 0 {
                assert_eq!(group.partials().len(), 2);
                let error = group.all_reduce(&mut [0.0f32; 3]).unwrap_err();
                assert!(
                    matches!(&error, Error::InvalidArgument(what) if what.contains("2 partial sums"))
                );
            }
            let error = group.broadcast(&mut [0], 2).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument(_)));
            let mut data = vec![1.0f32; group.partials().len()];
            group.all_reduce(&mut data).unwrap();
            assert_eq!(data[0], 3.0);
        },
    );
}

#[test]
fn statistics_count_what_went_over_the_wire() {
    on_group(2, |group| {
        let mut data = vec![1.0f32; 100_000];
        group.all_reduce(&mut data).unwrap();
        group.barrier().unwrap();
        let stats = group.stats();
        assert_eq!(
            (stats.generation, stats.operations, stats.peers.len()),
            (1, 2, 1)
        );
        let peer = &stats.peers[0];
        assert_eq!(peer.peer.rank, 1 - group.rank());
        assert!(peer.bytes_sent >= 400_000 && peer.bytes_received >= 400_000);
        assert!(peer.frames_sent > 0 && stats.blocked.as_nanos() > 0);
    });
}
