//! Attributes of operations on the shards of a batch.

use serde::{Deserialize, Serialize};

use super::Op;

/// Whose mean and variance an operation computes, in training on a batch that is cut into shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MomentsOf {
    /// Those of the operand.
    #[default]
    Operand,
    /// Those of a batch: of each shard's part of it, unless training is synchronized.
    Batch,
    /// Those of the whole batch, however it is cut.
    WholeBatch,
}

/// A combination of vectors over all shards of all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OverShards {
    /// Operations of a program run in the order of their places, on every process.
    pub place: u32,
    /// What is computed.
    pub combine: Combine,
    /// Once a program is widened, how many shards the operands have in front; the results have no
    /// such axis.
    pub shards: Option<usize>,
    /// Whether the last operand is not combined but only has to be there before.
    pub after: bool,
}

/// What is computed over the shards, of which each counts by its part of the batch's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Combine {
    /// The mean of each operand.
    Mean,
    /// `(means, variances)`: those of all samples, from those of each shard's samples.
    Moments,
}

/// An operation that runs once for each of several shards. Operands that are split have an axis of
/// shards in front, and so do all results.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sharded {
    /// The operation.
    pub op: Op,
    /// How many shards.
    pub shards: usize,
    /// Samples of a shard: random numbers of the next one begin so many samples later.
    pub rows: usize,
    /// For each operand, whether each shard has its own.
    pub split: Vec<bool>,
    /// Whether the only result is summed over shards: the sums then take their place.
    pub sum: Option<ShardSum>,
}

/// A sum over shards, each multiplied by a factor: the complete binary tree above them, always
/// `left + right`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ShardSum {
    /// Numbers of successive shards, powers of two, that have a sum of their own.
    pub groups: Vec<usize>,
    /// `f32::to_bits` of the factor.
    pub factor: u32,
}

impl ShardSum {
    /// The factor of each shard.
    pub fn factor(&self) -> f32 {
        f32::from_bits(self.factor)
    }

    /// How many shards there are in all.
    pub fn shards(&self) -> usize {
        self.groups.iter().sum()
    }
}
