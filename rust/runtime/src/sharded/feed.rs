//! The rows of a batch's shards on their way into a function, and its results on theirs out.

use std::ops::Range;

use hornbeam_graph::DType;

use super::reducer::Reducer;
use crate::buffer::exclusive;
use crate::dispatch::RunContext;
use crate::epoch::{Samples, Stage};
use crate::error::{Result, RuntimeError};
use crate::exchange::Exchange;
use crate::function::{ArrayRef, Function};
use crate::plan::Plan;
use crate::shards::shard_rows;

/// Shards of one batch: which rows they have, and the step's number.
pub(super) struct Batch {
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) step: u64,
    pub(super) shards: u32,
    pub(super) own: Range<u32>,
}

impl Batch {
    /// The part of the batch's samples that a shard has; exact where shards are equal.
    pub(super) fn share(&self, shard: u32) -> f32 {
        (shard_rows(self.rows, self.shards, shard).len() as f64 / self.rows as f64) as f32
    }

    /// What the shards exchange while a function runs.
    pub(super) fn exchange<'a>(&self, reducer: &'a mut dyn Reducer) -> Exchange<'a> {
        let shares = (0..self.shards).map(|v| self.share(v)).collect();
        Exchange::new(reducer, shares, self.own.clone())
    }
}

/// Takes the number of a result, its shape and its elements.
pub(super) type Read<'a> = dyn FnMut(usize, &[usize], &[f32]) -> Result<()> + 'a;

/// Arrays of samples and where batches of them are gathered.
pub(super) struct Feed {
    pub(super) arrays: Vec<Samples>,
    pub(super) order: Option<Vec<i64>>,
    pub(super) stages: Vec<Stage>,
    pub(super) room: usize,
}

impl Feed {
    /// Runs `function` on a shard's rows and `extra` scalars, and hands each result to `read`.
    /// A shard without rows is passed over; the result tells whether it was one.
    pub(super) fn call(
        &mut self,
        function: &Function,
        batch: &Batch,
        shard: u32,
        extra: &[f32],
        read: &mut Read<'_>,
    ) -> Result<bool> {
        let cut = shard_rows(batch.rows, batch.shards, shard);
        if cut.is_empty() {
            return Ok(false);
        }
        let (first, rows) = (batch.first + cut.start, cut.len());
        let mut arguments = Vec::with_capacity(self.stages.len() + extra.len());
        for (stage, array) in self.stages.iter_mut().zip(&self.arrays) {
            stage.gather(array, self.order.as_deref(), first, rows, self.room)?;
            arguments.push(stage.argument(array, first, rows));
        }
        arguments.extend(extra.iter().map(|x| number(std::slice::from_ref(x), &[])));
        let context = RunContext {
            step: batch.step,
            sample_offset: cut.start as u64,
            others: None,
        };
        let held = exclusive();
        function.call_at(&arguments, true, context, &held, |plan, inputs| {
            read_results(function, plan, inputs, read)
        })??;
        Ok(true)
    }
}

/// Hands each result of a plan to `read`.
pub(super) fn read_results(
    function: &Function,
    plan: &Plan,
    inputs: &[&[u8]],
    read: &mut Read<'_>,
) -> Result<()> {
    (0..plan.outputs()).try_for_each(|k| {
        let value = plan.output(k);
        if value.dtype != DType::F32 {
            return Err(RuntimeError::Argument(format!(
                "{}: result {k} is {}, what is summed over shards must be float32",
                function.name(),
                value.dtype
            )));
        }
        read(k, &value.shape, floats(plan.result(k, inputs)))
    })
}

pub(super) fn number<'a>(values: &'a [f32], shape: &'a [usize]) -> ArrayRef<'a> {
    // SAFETY: any float is four bytes, all of them initialised.
    let bytes = unsafe {
        std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), std::mem::size_of_val(values))
    };
    ArrayRef {
        dtype: DType::F32,
        shape,
        bytes,
    }
}

pub(super) fn floats(bytes: &[u8]) -> &[f32] {
    // SAFETY: any four bytes are a float.
    let (before, values, after) = unsafe { bytes.align_to::<f32>() };
    assert!(
        before.is_empty() && after.is_empty(),
        "results are aligned for their type"
    );
    values
}
