//! A process' own shards in turns, each as far as it comes without what other shards have.

use super::feed::{Batch, Feed, Read, number, read_results};
use crate::buffer::exclusive;
use crate::dispatch::RunContext;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::function::{ArrayRef, Function, Shard};
use crate::shards::shard_rows;

/// Gives what goes to a function for a shard behind its rows.
type Extra<'a> = dyn Fn(u32) -> Vec<f32> + 'a;

/// Hands a shard's results over; false for one without rows.
pub(super) type Call<'a> = dyn FnMut(u32, &mut Read<'_>) -> Result<bool> + 'a;

impl Feed {
    /// Runs `function` on the rows of each own shard and `extra`; `take` asks for the results of one
    /// shard after the other. A process without rows takes part in what `others` combine all the
    /// same.
    pub(super) fn each(
        &mut self,
        function: &Function,
        batch: &Batch,
        extra: &Extra<'_>,
        others: Option<&Exchange<'_>>,
        take: &mut dyn FnMut(&mut Call<'_>) -> Result<()>,
    ) -> Result<()> {
        match others {
            Some(others) => self.in_turns(function, batch, extra, others, take),
            None => take(&mut |v, read| self.call(function, batch, v, &extra(v), read)),
        }
    }

    /// All shards in turns, each as far as it comes without the others.
    fn in_turns(
        &mut self,
        function: &Function,
        batch: &Batch,
        extra: &Extra<'_>,
        others: &Exchange<'_>,
        take: &mut dyn FnMut(&mut Call<'_>) -> Result<()>,
    ) -> Result<()> {
        let own = batch.own.clone();
        let cut = |shard| shard_rows(batch.rows, batch.shards, shard);
        let rows = if own.is_empty() {
            0..0
        } else {
            cut(own.start).start..cut(own.end - 1).end
        };
        let extras: Vec<Vec<f32>> = own.clone().map(extra).collect();
        let shapes: Vec<Vec<Vec<usize>>> = own.clone().map(|v| self.shapes(cut(v).len())).collect();
        // What others have, for a process without rows.
        let most = self.shapes(batch.rows.div_ceil(batch.shards as usize));
        let gathered = self.gather(batch.first + rows.start, rows.len())?;
        let mut shards = Vec::with_capacity(own.len());
        for ((v, shapes), extra) in own.clone().zip(&shapes).zip(&extras) {
            let (from, count) = (cut(v).start - rows.start, cut(v).len());
            let arrays = gathered.iter().zip(shapes).map(|(all, shape)| {
                let row = all.bytes.len() / rows.len().max(1);
                let bytes = &all.bytes[from * row..(from + count) * row];
                ArrayRef {
                    shape,
                    bytes,
                    ..*all
                }
            });
            let numbers = extra.iter().map(|x| number(std::slice::from_ref(x), &[]));
            shards.push(Shard {
                arguments: arrays.chain(numbers).collect(),
                context: RunContext {
                    step: batch.step,
                    sample_offset: cut(v).start as u64,
                    others: None,
                },
                empty: count == 0,
            });
        }
        let arrays = gathered.iter().zip(&most);
        let arrays = arrays.map(|(all, shape)| ArrayRef { shape, ..*all });
        let behind = function.inputs().len() - most.len();
        let like: Vec<ArrayRef<'_>> = arrays
            .chain((0..behind).map(|_| number(&[0.0], &[])))
            .collect();
        let held = exclusive();
        let mut runs = function.run_apart(&shards, &like, others, &held)?;
        take(&mut |v, read| {
            runs.read((v - own.start) as usize, |plan, inputs| {
                read_results(function, plan, inputs, read)
            })
        })
    }

    /// The arrays' shapes with so many rows.
    fn shapes(&self, rows: usize) -> Vec<Vec<usize>> {
        let one = |array: &crate::epoch::Samples| {
            let mut shape = array.shape.clone();
            shape[0] = rows;
            shape
        };
        self.arrays.iter().map(one).collect()
    }

    /// Rows of all arrays.
    fn gather(&mut self, first: usize, rows: usize) -> Result<Vec<ArrayRef<'_>>> {
        let mut arguments = Vec::with_capacity(self.stages.len());
        for (stage, array) in self.stages.iter_mut().zip(&self.arrays) {
            stage.gather(array, self.order.as_deref(), first, rows, self.room)?;
            arguments.push(stage.argument(array, first, rows));
        }
        Ok(arguments)
    }
}
