//! Functions run for one shard after the other that need what other shards have.

use std::sync::{MutexGuard, PoisonError};

use super::{ArrayRef, Function, State};
use crate::dispatch::RunContext;
use crate::error::{Result, RuntimeError};
use crate::exchange::Combiner;
use crate::plan::{Exclusive, Part, Plan};

/// What a shard is computed from.
pub(crate) struct Shard<'a> {
    pub(crate) arguments: Vec<ArrayRef<'a>>,
    pub(crate) context: RunContext<'a>,
    /// Whether it has no rows: the arguments then tell the shapes of another's.
    pub(crate) empty: bool,
}

/// The runs of several shards, done.
pub(crate) struct Apart<'a> {
    function: &'a Function,
    state: MutexGuard<'a, State>,
    shards: &'a [Shard<'a>],
    /// None for a shard without rows.
    parts: Vec<Option<Part>>,
}

impl Function {
    /// Runs the function for shards, in training. A shard's run stops where others' values are
    /// needed until all have come there. With no shard at all, `like` tells the shapes of others'.
    ///
    /// # Errors
    /// As for [`Function::call`], and when `others` fail.
    pub(crate) fn run_apart<'a>(
        &'a self,
        shards: &'a [Shard<'a>],
        like: &[ArrayRef<'_>],
        others: &dyn Combiner,
        _held: &Exclusive,
    ) -> Result<Apart<'a>> {
        let mut runs = Apart {
            function: self,
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner),
            shards,
            parts: Vec::with_capacity(shards.len()),
        };
        for shard in shards {
            let part = match shard.empty {
                true => None,
                false => Some(runs.plan(&shard.arguments)?.part()?),
            };
            runs.parts.push(part);
        }
        let order = match shards.iter().find(|s| !s.empty) {
            Some(shard) => runs.plan(&shard.arguments)?.over_shards(),
            None => runs.plan(like)?.over_shards(),
        };
        let mut known = None;
        for (combine, length) in order {
            let mut values = vec![0.0; shards.len() * length];
            runs.advance(known.as_deref(), &mut |k, given| {
                let to = &mut values[k * length..(k + 1) * length];
                match given {
                    Some(own) if own.len() == length => to.copy_from_slice(&own),
                    _ => return Err(unlike()),
                }
                Ok(())
            })?;
            let combined = others.combine(combine, &values, length);
            known = Some(combined.map_err(RuntimeError::Argument)?);
        }
        runs.advance(known.as_deref(), &mut |_, given| match given {
            None => Ok(()),
            Some(_) => Err(unlike()),
        })?;
        Ok(runs)
    }
}

fn unlike() -> RuntimeError {
    RuntimeError::Argument("the shards of a batch compute different statistics".to_string())
}

type Take<'a> = dyn FnMut(usize, Option<Vec<f32>>) -> Result<()> + 'a;

impl Apart<'_> {
    fn plan(&mut self, arguments: &[ArrayRef<'_>]) -> Result<&mut Plan> {
        let at = self
            .function
            .plan_for(&mut self.state, arguments, true, None, false)?;
        Ok(&mut self.state.plans[at].1)
    }

    /// Brings all shards to the next operation over shards.
    fn advance(&mut self, known: Option<&[f32]>, take: &mut Take<'_>) -> Result<()> {
        let shards = self.shards;
        for (k, shard) in shards.iter().enumerate() {
            let Some(mut part) = self.parts[k].take() else {
                continue;
            };
            let bytes: Vec<&[u8]> = shard.arguments.iter().map(|a| a.bytes).collect();
            let plan = self.plan(&shard.arguments)?;
            let given = plan.advance(&mut part, &bytes, known, shard.context)?;
            self.parts[k] = Some(part);
            take(k, given)?;
        }
        Ok(())
    }

    /// Hands a shard's plan to `read`, which takes the results out; false if it has no rows.
    pub(crate) fn read(
        &mut self,
        shard: usize,
        read: impl FnOnce(&Plan, &[&[u8]]) -> Result<()>,
    ) -> Result<bool> {
        let Some(part) = self.parts[shard].take() else {
            return Ok(false);
        };
        let shards = self.shards;
        let arguments = &shards[shard].arguments;
        let bytes: Vec<&[u8]> = arguments.iter().map(|a| a.bytes).collect();
        let plan = self.plan(arguments)?;
        plan.show(&part, &bytes)?;
        read(plan, &bytes)?;
        Ok(true)
    }
}
