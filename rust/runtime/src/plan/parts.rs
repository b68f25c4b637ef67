//! Runs in parts, between the operations that need what other shards have.

use hornbeam_graph::Op;
use hornbeam_graph::op::Combine;

use super::Plan;
use crate::buffer::Buffer;
use crate::dispatch::RunContext;
use crate::error::{Result, RuntimeError};

/// A run that has come to an operation over shards, or to the end.
pub(crate) struct Part {
    /// The run's own arena, so that other runs can go on meanwhile.
    arena: Buffer,
    /// The next call.
    next: usize,
}

impl Plan {
    /// A run that has not begun.
    ///
    /// # Errors
    /// When the function has updates, or memory is short.
    pub(crate) fn part(&self) -> Result<Part> {
        if !self.program.updates.is_empty() {
            let message = "a function that runs for each shard cannot update variables";
            return Err(RuntimeError::Argument(message.to_string()));
        }
        let arena = Buffer::zeroed(self.arena_bytes, "a shard's values")?;
        Ok(Part { arena, next: 0 })
    }

    /// Goes on with a run up to the next operation over shards and returns what it takes, all of
    /// its operands one after the other; `None` at the end. `known` are the results of the
    /// operation that the run has come to.
    ///
    /// # Errors
    /// As for [`Plan::run`].
    pub(crate) fn advance(
        &mut self,
        part: &mut Part,
        inputs: &[&[u8]],
        known: Option<&[f32]>,
        context: RunContext<'_>,
    ) -> Result<Option<Vec<f32>>> {
        self.show(part, inputs)?;
        if let Some(mut known) = known {
            let call = &self.calls[part.next];
            let args = call.args(&self.raws, context);
            for (k, &v) in self.program.insts[call.inst].outputs.iter().enumerate() {
                let (own, rest) = known.split_at(self.program.values[v].len());
                known = rest;
                if let Some(to) = args.wanted(k) {
                    to.copy_from_slice(own);
                }
            }
            part.next += 1;
        }
        let over = |&c: &usize| matches!(self.inst(c).op, Op::OverShards(_));
        let end = self.calls.len();
        let stop = (part.next..end).find(over).unwrap_or(end);
        self.run_range(part.next..stop, context)?;
        part.next = stop;
        if stop == end {
            return Ok(None);
        }
        let args = self.calls[stop].args(&self.raws, context);
        let operands = 0..args.outputs.len();
        Ok(Some(
            operands
                .flat_map(|k| args.input::<f32>(k))
                .copied()
                .collect(),
        ))
    }

    /// Makes a run's values those that [`Plan::result`] finds.
    ///
    /// # Errors
    /// When the arguments have not the plan's sizes.
    pub(crate) fn show(&mut self, part: &Part, inputs: &[&[u8]]) -> Result<()> {
        self.rebase(part.arena.as_ptr());
        self.patch(inputs)
    }

    /// The operations over shards in the order in which they run, and how many numbers each takes.
    pub(crate) fn over_shards(&self) -> Vec<(Combine, usize)> {
        let one = |call: &super::Call| {
            let inst = &self.program.insts[call.inst];
            let lengths = inst.outputs.iter().map(|&v| self.program.values[v].len());
            match inst.op {
                Op::OverShards(over) => Some((over.combine, lengths.sum())),
                _ => None,
            }
        };
        self.calls.iter().filter_map(one).collect()
    }
}
