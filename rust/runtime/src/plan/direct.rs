//! Plans whose kernels write results where the caller wants them, and that say when they are final.

use std::ops::Range;

use hornbeam_graph::{DType, Program};

use super::{Exclusive, Plan};
use crate::buffer::ALIGN;
use crate::dispatch::RunContext;
use crate::error::{Result, RuntimeError};
use crate::memory::Place;
use crate::shards::Memory;

/// Where a result goes: a block of memory, and the number of its first element in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The block.
    pub block: usize,
    /// The first element.
    pub first: usize,
}

/// Is given the number of a block and the block itself, which it may take out.
pub type Done<'a> = dyn FnMut(usize, &mut Memory) -> Result<()> + 'a;

impl Plan {
    /// Plans a program without updates that [`Plan::run_into`] runs.
    ///
    /// # Errors
    /// As for [`Plan::new`], and when the program has updates.
    pub fn direct(program: Program) -> Result<Plan> {
        if !program.updates.is_empty() {
            return Err(RuntimeError::Argument(
                "a program with updates has no memory for results but its own".into(),
            ));
        }
        let mut plan = Plan::make(program, true)?;
        let last = plan.calls.len();
        plan.final_after = vec![last; plan.outputs()];
        for k in 0..plan.outputs() {
            // What lies elsewhere, or twice, is copied behind the last call.
            let alone = plan
                .program
                .outputs
                .iter()
                .enumerate()
                .all(|(other, &v)| (other == k) == (plan.places[v] == Place::Result(k)));
            if alone {
                let uses = plan.result_patches.iter().filter(|(_, at)| *at == k);
                let calls = uses.map(|(entry, _)| plan.calls.partition_point(|c| c.last <= *entry));
                plan.final_after[k] = calls.map(|call| call + 1).max().unwrap_or(last);
            }
        }
        Ok(plan)
    }

    /// After how many calls nothing reads or writes a result of a plan made by [`Plan::direct`]
    /// any more.
    pub fn final_after(&self, k: usize) -> usize {
        self.final_after[k]
    }

    /// Number of kernel calls.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// [`Plan::run`] of a plan made by [`Plan::direct`]: result k goes to `spots[k]`, most of them
    /// straight from their kernels. As soon as all results in a block are final, and between two
    /// calls, `done` gets the block. What blocks hold after an error is unspecified.
    ///
    /// # Errors
    /// As for [`Plan::run`]; when a result is not float32, does not fit into its block, begins at
    /// no multiple of 64 bytes or overlaps another; and those of `done`.
    pub fn run_into(
        &mut self,
        inputs: &[&[u8]],
        blocks: &mut [Memory],
        spots: &[Spot],
        done: &mut Done<'_>,
        context: RunContext<'_>,
        held: &Exclusive,
    ) -> Result<()> {
        let starts: Vec<*mut f32> = blocks.iter_mut().map(|b| b.as_mut_ptr()).collect();
        self.check_spots(blocks, &starts, spots)?;
        // From here on the blocks are used by these pointers alone, until `done` gets them.
        let pointer = |k: usize| {
            starts[spots[k].block]
                .wrapping_add(spots[k].first)
                .cast::<u8>()
        };
        for &(entry, k) in &self.result_patches {
            self.raws[entry].ptr = pointer(k);
        }
        self.prepare(inputs, held)?;
        let mut ready = vec![0; blocks.len()];
        for (k, spot) in spots.iter().enumerate() {
            ready[spot.block] = ready[spot.block].max(self.final_after[k]);
        }
        let mut order: Vec<usize> = (0..blocks.len()).collect();
        order.sort_by_key(|&block| ready[block]);
        let mut ran = 0;
        let (early, late): (Vec<usize>, _) = order
            .into_iter()
            .partition(|&block| ready[block] < self.calls.len());
        for block in early {
            self.run_range(ran..ready[block], context)?;
            ran = ready[block];
            done(block, &mut blocks[block])?;
        }
        self.run_range(ran..self.calls.len(), context)?;
        for k in 0..spots.len() {
            let (from, bytes) = match self.places[self.program.outputs[k]] {
                Place::Result(at) if at == k => continue,
                // The same value twice.
                Place::Result(at) => (pointer(at).cast_const(), self.output(at).bytes()),
                _ => {
                    let result = self.result(k, inputs);
                    (result.as_ptr(), result.len())
                }
            };
            // SAFETY: both are that long, by `check_spots` and since they are the same value;
            // spots overlap nothing, and a block with a result that is copied is still here.
            unsafe { std::ptr::copy_nonoverlapping(from, pointer(k), bytes) };
        }
        late.into_iter()
            .try_for_each(|block| done(block, &mut blocks[block]))
    }

    /// Whether kernels may write results to these places.
    fn check_spots(&self, blocks: &[Memory], starts: &[*mut f32], spots: &[Spot]) -> Result<()> {
        let fail = |k: usize, what: String| {
            Err(RuntimeError::Argument(format!(
                "result {k} of a plan {what}"
            )))
        };
        if spots.len() != self.outputs() || self.final_after.len() != self.outputs() {
            return Err(RuntimeError::Argument(format!(
                "{} places for the plan's {} results",
                spots.len(),
                self.outputs()
            )));
        }
        let mut before = Spot { block: 0, first: 0 };
        let mut in_order: Vec<(usize, Spot)> = spots.iter().copied().enumerate().collect();
        in_order.sort_by_key(|(_, spot)| (spot.block, spot.first));
        for (k, spot) in in_order {
            let Range { start, end } = self.range(k, spot);
            if self.output(k).dtype != DType::F32 {
                return fail(k, format!("is {}, not float32", self.output(k).dtype));
            }
            if blocks.get(spot.block).is_none_or(|block| block.len() < end) {
                return fail(k, format!("has no room from {start} to {end} of its block"));
            }
            if end > start
                && !starts[spot.block]
                    .wrapping_add(start)
                    .addr()
                    .is_multiple_of(ALIGN)
            {
                return fail(k, format!("is not aligned at {start}"));
            }
            if (spot.block, spot.first) < (before.block, before.first) {
                return fail(k, "overlaps another".into());
            }
            before = Spot { first: end, ..spot };
        }
        Ok(())
    }

    fn range(&self, k: usize, spot: Spot) -> Range<usize> {
        let count = self.output(k).bytes() / size_of::<f32>();
        spot.first..spot.first.saturating_add(count)
    }
}
