//! A process' own shards in one run, where they are equally large: the function's program widened to
//! all of them, with the same bits as one shard after the other.

use hornbeam_graph::Widening;
use hornbeam_graph::op::ShardSum;

use super::feed::{Batch, Feed, Read, floats, number};
use crate::buffer::exclusive;
use crate::dispatch::RunContext;
use crate::error::Result;
use crate::exchange::Combiner;
use crate::function::{ArrayRef, Function};
use crate::plan::{Done, Spot};
use crate::shards::{Memory, groups, shard_rows};

/// The own shards of a batch as one.
pub(super) struct Whole {
    /// Samples of a shard.
    rows: usize,
    /// The first shard's first sample in the batch, and those of all shards.
    first: usize,
    all: usize,
    sum: ShardSum,
}

impl Whole {
    /// How many sums there are.
    pub(super) fn subtrees(&self) -> usize {
        self.sum.groups.len()
    }
}

impl Batch {
    /// The own shards as one, if they are equally large and not empty.
    pub(super) fn whole(&self) -> Option<Whole> {
        let cut = |shard| shard_rows(self.rows, self.shards, shard);
        let first = self.own.clone().next().map(cut)?;
        let rows = first.len();
        if rows == 0 || self.own.clone().any(|shard| cut(shard).len() != rows) {
            return None;
        }
        Some(Whole {
            rows,
            first: first.start,
            all: rows * self.own.len(),
            sum: ShardSum {
                groups: groups(self.own.clone()),
                factor: self.share(self.own.start).to_bits(),
            },
        })
    }
}

impl Feed {
    /// Runs `function` on the rows of all own shards and `extra` scalars, and hands each result to
    /// `read`: its sums over the groups of shards, the first axis.
    pub(super) fn call_whole(
        &mut self,
        function: &Function,
        batch: &Batch,
        whole: &Whole,
        extra: &[f32],
        others: Option<&dyn Combiner>,
        read: &mut Read<'_>,
    ) -> Result<()> {
        let (arguments, widening, context) = self.whole_arguments(batch, whole, extra, others)?;
        let held = exclusive();
        function.call_widened(&arguments, &widening, context, &held, |plan, inputs| {
            (0..plan.outputs())
                .try_for_each(|k| read(k, &plan.output(k).shape, floats(plan.result(k, inputs))))
        })?
    }

    /// The same where there is one group: its sums go straight to their spots in `blocks`, of which
    /// `done` gets each when it is computed.
    pub(super) fn call_whole_into(
        &mut self,
        function: &Function,
        batch: &Batch,
        whole: &Whole,
        extra: &[f32],
        others: Option<&dyn Combiner>,
        blocks: &mut [Memory],
        spots: &[Spot],
        done: &mut Done<'_>,
    ) -> Result<()> {
        let (arguments, widening, context) = self.whole_arguments(batch, whole, extra, others)?;
        let held = exclusive();
        function.call_widened_into(&arguments, &widening, blocks, spots, done, context, &held)
    }

    /// What a function is called with.
    fn whole_arguments<'a>(
        &'a mut self,
        batch: &Batch,
        whole: &Whole,
        extra: &'a [f32],
        others: Option<&'a dyn Combiner>,
    ) -> Result<(Vec<ArrayRef<'a>>, Widening, RunContext<'a>)> {
        let (first, rows) = (batch.first + whole.first, whole.all);
        let mut arguments = Vec::with_capacity(self.stages.len() + extra.len());
        for (stage, array) in self.stages.iter_mut().zip(&self.arrays) {
            stage.gather(array, self.order.as_deref(), first, rows, self.room)?;
            arguments.push(stage.argument(array, first, rows));
        }
        let samples = arguments.len();
        arguments.extend(extra.iter().map(|x| number(std::slice::from_ref(x), &[])));
        let widening = Widening {
            samples: (0..arguments.len()).map(|k| k < samples).collect(),
            rows: whole.rows,
            sum: whole.sum.clone(),
        };
        let context = RunContext {
            step: batch.step,
            sample_offset: whole.first as u64,
            others,
        };
        Ok((arguments, widening, context))
    }
}
