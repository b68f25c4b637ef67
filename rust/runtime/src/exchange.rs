//! What the shards of all processes combine in the midst of a function's run.
//!
//! A combination is computed along the tree of shards, so that its bits do not depend on who has
//! which of them.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hornbeam_graph::op::Combine;

use crate::error::{Result, RuntimeError};
use crate::sharded::Reducer;
use crate::shards::subtrees;

/// Up to so many numbers each shard's are sent to all processes, which takes one exchange where
/// sums would take two.
const GATHERED: usize = 1 << 14;

/// Whoever has the values of all shards.
pub trait Combiner: Sync + fmt::Debug {
    /// Combines what each shard has. `values` are `length` numbers of each own shard, one shard after
    /// the other; the result is as long as those of one.
    ///
    /// # Errors
    /// Why there is none.
    fn combine(&self, combine: Combine, values: &[f32], length: usize) -> Outcome;
}

/// What is combined, or why nothing is.
pub type Outcome = std::result::Result<Vec<f32>, String>;

/// The shards of a step's batch.
pub(crate) struct Exchange<'a> {
    shares: Vec<f32>,
    own: Range<u32>,
    state: Mutex<State<'a>>,
}

struct State<'a> {
    reducer: &'a mut dyn Reducer,
    begun: bool,
    elapsed: Duration,
    failure: Option<Box<dyn Error + Send + Sync>>,
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exchange({:?} of {})", self.own, self.shares.len())
    }
}

impl<'a> Exchange<'a> {
    /// An exchange of the `own` shards with others; `shares` are all shards' parts of the batch.
    pub(crate) fn new(
        reducer: &'a mut dyn Reducer,
        shares: Vec<f32>,
        own: Range<u32>,
    ) -> Exchange<'a> {
        Exchange {
            shares,
            own,
            state: Mutex::new(State {
                reducer,
                begun: false,
                elapsed: Duration::ZERO,
                failure: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends the reducer, between two exchanges.
    pub(crate) fn lend<R>(&self, f: impl FnOnce(&mut dyn Reducer) -> R) -> R {
        f(self.state().reducer)
    }

    /// Whether anything has been exchanged, which the other processes count on.
    pub(crate) fn has_begun(&self) -> bool {
        self.state().begun
    }

    /// How long exchanges took, waiting included, and what came of the run that they were for:
    /// behind its error stands that of the reducer, if this failed.
    pub(crate) fn end<R>(self, ran: Result<R>) -> (Duration, Result<R>) {
        let state = self.state.into_inner();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let ran = match state.failure {
            Some(failure) => Err(RuntimeError::Reduce(failure)),
            None => ran,
        };
        (state.elapsed, ran)
    }

    /// Sums what each shard writes over the shards of all processes.
    fn sum(&self, state: &mut State<'a>, length: usize, leaf: &Leaf<'_>) -> Outcome {
        let mut sums = Vec::with_capacity(length);
        for (first, level) in subtrees(self.own.clone()) {
            sums.extend(subtree(first, level, length, leaf));
        }
        // Room for the result, where there are no own shards.
        sums.resize(sums.len().max(length), 0.0);
        let start = Instant::now();
        state.begun = true;
        if let Err(failure) = state.reducer.all_reduce(&mut sums) {
            let message = failure.to_string();
            state.failure = Some(failure);
            return Err(message);
        }
        state.elapsed += start.elapsed();
        sums.truncate(length);
        Ok(sums)
    }

    fn mean(&self, values: &[f32], length: usize) -> Outcome {
        let own = |v: u32| &values[(v - self.own.start) as usize * length..][..length];
        self.sum(&mut self.state(), length, &|v, out| {
            weigh(out, own(v).iter().copied(), self.shares[v as usize]);
        })
    }

    /// Means and variances over all samples: these are those of each shard and the squares of how
    /// far the shards' means are from that of all, which loses nothing where both are close.
    fn moments(&self, values: &[f32], length: usize) -> Outcome {
        let mut state = self.state();
        let own = |v: u32| &values[(v - self.own.start) as usize * length..][..length];
        if self.shares.len() * length > GATHERED {
            return self.moments_by(length, &own, &mut |n, leaf| self.sum(&mut state, n, leaf));
        }
        let all = self.sum(&mut state, self.shares.len() * length, &|v, out| {
            out[v as usize * length..][..length].copy_from_slice(own(v));
        })?;
        let one = |v: u32| &all[v as usize * length..][..length];
        let height = self.shares.len().trailing_zeros();
        self.moments_by(length, &one, &mut |n, leaf| Ok(subtree(0, height, n, leaf)))
    }

    fn moments_by<'v>(
        &self,
        length: usize,
        values: &dyn Fn(u32) -> &'v [f32],
        sum: &mut Sum<'_>,
    ) -> Outcome {
        let n = length / 2;
        let mean = sum(n, &|v, out| {
            weigh(out, values(v)[..n].iter().copied(), self.shares[v as usize]);
        })?;
        let variance = sum(n, &|v, out| {
            let (means, variances) = values(v).split_at(n);
            let about = means
                .iter()
                .zip(&mean)
                .map(|(own, all)| (own - all) * (own - all));
            let squares = variances
                .iter()
                .zip(about)
                .map(|(variance, s)| variance + s);
            weigh(out, squares, self.shares[v as usize]);
        })?;
        Ok([mean, variance].concat())
    }
}

/// Writes what a shard adds in place of zeros.
type Leaf<'a> = dyn Fn(u32, &mut [f32]) + 'a;

/// Gives the sum over shards of what each writes.
type Sum<'a> = dyn FnMut(usize, &Leaf<'_>) -> Outcome + 'a;

/// The sum over a complete subtree, always `left + right`.
fn subtree(first: u32, level: u32, length: usize, leaf: &Leaf<'_>) -> Vec<f32> {
    if level == 0 {
        let mut own = vec![0.0; length];
        leaf(first, &mut own);
        return own;
    }
    let mut left = subtree(first, level - 1, length, leaf);
    let right = subtree(first + (1 << (level - 1)), level - 1, length, leaf);
    left.iter_mut()
        .zip(right)
        .for_each(|(left, right)| *left += right);
    left
}

/// Writes `share * from`; a zero has no sign, as among sums with other shards' zeros.
fn weigh(to: &mut [f32], from: impl Iterator<Item = f32>, share: f32) {
    to.iter_mut()
        .zip(from)
        .for_each(|(to, x)| *to = x * share + 0.0);
}

impl Combiner for Exchange<'_> {
    fn combine(&self, combine: Combine, values: &[f32], length: usize) -> Outcome {
        if values.len() != self.own.len() * length {
            let (own, given) = (self.own.len(), values.len());
            return Err(format!(
                "{given} numbers are not {length} of each of {own} shards"
            ));
        }
        match combine {
            Combine::Mean => self.mean(values, length),
            Combine::Moments => self.moments(values, length),
        }
    }
}

#[cfg(test)]
mod tests;
