//! The epoch loop of data-parallel training: the numbers of a step depend on how many logical
//! shards its batch is cut into, and never on which process computes which of them.
//!
//! A step runs the *gradient* function for each of the process' own shards (all at once where they
//! are equally large, which has the same bits), weighs what it returns by the shard's part of the batch,
//! adds it up along the tree of shards and has the rest done by a [`Reducer`], in buckets that can
//! be under way while the gradient function still runs. The *apply* function then makes the
//! updates, from the sums alone. Until then nothing is written, so that a step that failed can be
//! run again.

mod apart;
mod feed;
mod partitioned;
mod payload;
mod reducer;
mod whole;

use std::sync::Arc;
use std::time::{Duration, Instant};

use feed::{Batch, Feed, number};
use hornbeam_graph::{DType, Tensor};
use partitioned::Partitioned;
use payload::{Payload, Segment};

use crate::buffer::exclusive;
use crate::dispatch::RunContext;
use crate::epoch::{Samples, Stage, account, check, check_resume, resume_scalars};
use crate::error::{Result, RuntimeError};
use crate::exchange::{Combiner, Exchange};
use crate::function::{ArrayRef, Function};
use crate::plan::Plan;
pub use crate::shards::{Allocate, Memory, Window, zeroed};
use crate::shards::{TreeSum, copy, nothing, scale};
pub use reducer::{
    AllShards, PAGE, PartitionBytes, Pending, ReduceResult, Reducer, Region, Windows,
};

/// Where the time of steps went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Running the gradient function (and the normalizers) and adding up the own shards.
    pub gradient: Duration,
    /// Summing over all processes, waiting for them included.
    pub reduce: Duration,
    /// Making the updates.
    pub apply: Duration,
}

/// The functions of a step.
#[derive(Clone)]
pub struct Functions {
    /// From a batch's arrays to scalars whose means over the shards, weighted by samples, the
    /// gradient function takes behind the arrays: what a loss over the whole batch is divided by.
    pub normalizers: Option<Arc<Function>>,
    /// From a shard's arrays, the normalizers, and the number of times the shard's samples go into
    /// the batch's, to what is averaged over shards.
    pub gradient: Arc<Function>,
    /// From the averages, in the order and with the shapes of the gradient function's outputs, to
    /// the step's scalars, with all updates.
    pub apply: Arc<Function>,
}

impl Functions {
    fn normalizers(&self) -> usize {
        self.normalizers.as_ref().map_or(0, |f| f.outputs())
    }

    /// The gradient function's inputs that are arrays of samples.
    fn inputs(&self) -> Result<&[Tensor]> {
        let all = self.gradient.inputs();
        let extra = self.normalizers() + 1;
        if all.len() < extra || all[all.len() - extra..].iter().any(|t| !is_number(t)) {
            return Err(RuntimeError::Argument(format!(
                "{} must take {extra} float32 scalars behind its arrays",
                self.gradient.name()
            )));
        }
        Ok(&all[..all.len() - extra])
    }
}

fn is_number(t: &Tensor) -> bool {
    t.dtype() == DType::F32 && t.shape().is_empty()
}

/// What came of a run, with the time of its exchanges counted.
fn settle<R>(exchange: Exchange<'_>, ran: Result<R>, times: &mut Times) -> Result<R> {
    let (elapsed, ran) = exchange.end(ran);
    times.reduce += elapsed;
    ran
}

fn check_shape(function: &Function, segment: &Segment, k: usize, shape: &[usize]) -> Result<()> {
    if shape == segment.shape() {
        return Ok(());
    }
    Err(RuntimeError::Argument(format!(
        "{}: result {k} has the shape {shape:?}, expected {:?}",
        function.name(),
        segment.shape()
    )))
}

/// Sums over all processes, and counts the time.
fn reduce(reducer: &mut dyn Reducer, sums: &mut [f32], times: &mut Times) -> Result<()> {
    let start = Instant::now();
    reducer.all_reduce(sums).map_err(RuntimeError::Reduce)?;
    times.reduce += start.elapsed();
    Ok(())
}

/// Starts a bucket's sum over all processes; `early` if the gradient function goes on meanwhile.
fn start(
    reducer: &mut dyn Reducer,
    block: usize,
    memory: &mut Memory,
    early: bool,
) -> Result<Pending> {
    let taken = std::mem::replace(memory, nothing());
    let started = reducer.start(block as u32, taken, early);
    started.map_err(RuntimeError::Reduce)
}

/// One pass over arrays of samples, in batches that are cut into shards.
pub struct ShardedEpoch {
    functions: Functions,
    feed: Feed,
    batch: usize,
    samples: usize,
    reducer: Box<dyn Reducer>,
    /// What the reducer last said of buckets.
    bucket_bytes: usize,
    /// The group's generation in which it was decided what is partitioned.
    generation: Option<u64>,
    partitioned: Option<Partitioned>,
    payload: Payload,
    normalizers: TreeSum,
    partials: TreeSum,
    /// The averages of the latest step, for a process that missed them.
    averages: Option<Averages>,
    steps_done: usize,
    sums: Vec<f64>,
    last: Vec<f64>,
    /// Whether to run all own shards at once where they are equally large.
    at_once: bool,
    /// How many steps did.
    steps_at_once: usize,
    /// How many sums were started while the gradient function still ran.
    early_sums: usize,
    /// How many steps shared updates with others.
    partitioned_steps: usize,
    times: Times,
}

/// Averages as a step had them, in blocks of so many.
struct Averages {
    blocks: Vec<Memory>,
    lengths: Vec<usize>,
}

/// Buckets whose sums are under way.
type Started = Vec<(usize, Pending)>;

impl ShardedEpoch {
    /// An epoch over `arrays`, which are the gradient function's first arguments.
    ///
    /// # Errors
    /// When the functions do not fit each other, or for what [`crate::epoch::Epoch::new`] refuses.
    pub fn new(
        functions: Functions,
        arrays: Vec<Samples>,
        batch: usize,
        order: Option<Vec<i64>>,
        reducer: Box<dyn Reducer>,
    ) -> Result<ShardedEpoch> {
        let inputs = functions.inputs()?;
        let name = functions.gradient.name();
        let samples = check(name, inputs, &arrays, batch, order.as_deref())?;
        let bucket_bytes = reducer.bucket_bytes();
        let payload = Payload::new(&functions, bucket_bytes)?;
        let feed = Feed {
            stages: Stage::for_inputs(inputs, &arrays),
            arrays,
            order,
            room: batch.min(samples),
        };
        Ok(ShardedEpoch {
            feed,
            batch,
            samples,
            partials: TreeSum::new(payload.lengths.clone(), reducer.memory())?,
            reducer,
            bucket_bytes,
            generation: None,
            partitioned: None,
            payload,
            normalizers: TreeSum::new(vec![functions.normalizers()], None)?,
            averages: None,
            steps_done: 0,
            sums: vec![0.0; functions.apply.outputs()],
            last: vec![f64::NAN; functions.apply.outputs()],
            times: Times::default(),
            functions,
            at_once: true,
            steps_at_once: 0,
            early_sums: 0,
            partitioned_steps: 0,
        })
    }

    /// Number of steps of the whole epoch.
    pub fn steps(&self) -> usize {
        self.samples.div_ceil(self.batch)
    }

    /// Number of steps that have run here: the step to run next, or again after an error.
    pub fn steps_done(&self) -> usize {
        self.steps_done
    }

    /// Whether own shards that are equally large are run at once, as by default, or one after the
    /// other, which has the same bits.
    pub fn set_at_once(&mut self, at_once: bool) {
        self.at_once = at_once;
    }

    /// Number of steps that ran all own shards at once.
    pub fn steps_at_once(&self) -> usize {
        self.steps_at_once
    }

    /// Number of buckets in which gradients are summed.
    pub fn buckets(&self) -> usize {
        self.payload.lengths.len()
    }

    /// Number of buckets whose sums were started while the gradient function still ran.
    pub fn early_sums(&self) -> usize {
        self.early_sums
    }

    /// Number of steps in which this process updated a part of the large weights, and others the rest.
    pub fn partitioned_steps(&self) -> usize {
        self.partitioned_steps
    }

    /// Number of samples seen by all processes.
    pub fn samples_done(&self) -> usize {
        (self.steps_done * self.batch).min(self.samples)
    }

    /// For each of the step's scalars, the mean over the batches so far weighted by their sizes;
    /// NaN before the first step.
    pub fn means(&self) -> Vec<f64> {
        let seen = self.samples_done() as f64;
        let mean = |sum: &f64| if seen > 0.0 { sum / seen } else { f64::NAN };
        self.sums.iter().map(mean).collect()
    }

    /// Each scalar of the last step.
    pub fn last(&self) -> &[f64] {
        &self.last
    }

    /// Each scalar's sum over the samples seen.
    pub fn sums(&self) -> &[f64] {
        &self.sums
    }

    /// Where the time of the steps that ran here went.
    pub fn times(&self) -> Times {
        self.times
    }

    /// Puts the epoch before a step, where another process' is for example, with the sums over the
    /// steps that lie before it and the scalars of the last of them (NaN where they are not known).
    ///
    /// # Errors
    /// When there are not so many steps or scalars.
    pub fn resume(&mut self, steps_done: usize, sums: &[f64], last: Option<&[f64]>) -> Result<()> {
        check_resume(steps_done, self.steps(), self.sums.len(), sums, last)?;
        self.steps_done = steps_done;
        resume_scalars(&mut self.sums, &mut self.last, sums, last);
        self.averages = None;
        Ok(())
    }

    /// The averages that the latest step applied, but for those that are read from memory where
    /// updates are shared.
    pub fn averages(&self) -> Option<Vec<f32>> {
        let averages = self.averages.as_ref();
        averages.map(|a| payload::joined(&a.lengths, &a.blocks))
    }

    /// How many of the payload's blocks the reducer sums: what is behind them is summed by those
    /// who update the weights.
    fn reduced_blocks(&self) -> usize {
        self.payload.lengths.len() - usize::from(self.partitioned.is_some())
    }

    /// Runs the next step with averages that other processes computed and this one missed.
    ///
    /// # Errors
    /// When they are not as many as the step needs, or there is no step left.
    pub fn catch_up(&mut self, averages: &[f32]) -> Result<()> {
        let lengths = &self.payload.lengths[..self.reduced_blocks()];
        let length = lengths.iter().sum::<usize>();
        if averages.len() != length || self.steps_done == self.steps() {
            return Err(RuntimeError::Argument(format!(
                "step {} of {} takes {} averages, got {}",
                self.steps_done,
                self.steps(),
                length,
                averages.len()
            )));
        }
        let mut own = self.partials.memory(self.reduced_blocks())?;
        payload::part(averages, lengths, &mut own);
        self.partials.replace(own);
        self.apply()
    }

    /// Runs steps until the epoch's end, `max_steps` or `max_time`; at least one, if one is left.
    /// Returns how many ran.
    ///
    /// # Errors
    /// When a step fails. That step has changed nothing, and is the next to run.
    pub fn run(&mut self, max_steps: Option<usize>, max_time: Option<Duration>) -> Result<usize> {
        let start = Instant::now();
        let left = self.steps() - self.steps_done;
        let limit = left.min(max_steps.unwrap_or(usize::MAX));
        let mut ran = 0;
        while ran < limit {
            if let Err(error) = self.step() {
                if !matches!(error, RuntimeError::Reduce(_)) {
                    self.reducer.abandon(&error.to_string());
                }
                return Err(error);
            }
            ran += 1;
            if max_time.is_some_and(|limit| start.elapsed() >= limit) {
                break;
            }
        }
        Ok(ran)
    }

    /// The number of the step over all epochs.
    pub fn step_number(&self) -> u64 {
        self.functions.gradient.step()
    }

    fn step(&mut self) -> Result<()> {
        let (shards, own) = self.reducer.begin().map_err(RuntimeError::Reduce)?;
        if !shards.is_power_of_two() || own.end > shards {
            return Err(RuntimeError::Argument(format!(
                "{own:?} of {shards} shards: their number must be a power of two"
            )));
        }
        self.cut_payload()?;
        let first = self.steps_done * self.batch;
        let batch = Batch {
            first,
            rows: self.batch.min(self.samples - first),
            step: self.step_number(),
            shards,
            own,
        };
        let (start, reduced) = (Instant::now(), self.times.reduce);
        let normalizers = self.normalize(&batch)?;
        let started = self.differentiate(&batch, &normalizers)?;
        self.times.gradient += start.elapsed() - (self.times.reduce - reduced);
        self.reduce_payload(started)?;
        self.update_own_part(&batch)?;
        let start = Instant::now();
        self.apply()?;
        self.times.apply += start.elapsed();
        Ok(())
    }

    /// The batch's normalizers.
    fn normalize(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let Some(function) = &self.functions.normalizers else {
            return Ok(Vec::new());
        };
        let feed = &mut self.feed;
        let exchange = batch.exchange(&mut *self.reducer);
        let others = function.is_synchronized().then_some(&exchange);
        if self.at_once
            && let Some(whole) = batch.whole()
        {
            let combiner = others.map(|e| e as &dyn Combiner);
            let sums = &mut self.normalizers.room(whole.subtrees())?[0];
            let count = function.outputs();
            let ran = feed.call_whole(
                function,
                batch,
                &whole,
                &[],
                combiner,
                &mut |k, shape, values| {
                    if shape.len() != 1 {
                        return Err(RuntimeError::Argument(format!(
                            "{}: result {k} is no scalar",
                            function.name()
                        )));
                    }
                    let places = sums.iter_mut().skip(k).step_by(count);
                    places.zip(values).for_each(|(place, &x)| *place = x);
                    Ok(())
                },
            );
            if ran.is_ok() || exchange.has_begun() {
                settle(exchange, ran, &mut self.times)?;
                reduce(&mut *self.reducer, sums, &mut self.times)?;
                return Ok(sums[..count].to_vec());
            }
        }
        let sums = &mut self.normalizers;
        let ran = feed.each(function, batch, &|_| Vec::new(), others, &mut |call| {
            sums.sum(batch.own.clone(), &mut |shard, out| {
                let share = batch.share(shard);
                let some = call(shard, &mut |k, shape, value| {
                    if !shape.is_empty() {
                        return Err(RuntimeError::Argument(format!(
                            "{}: result {k} is no scalar but has the shape {shape:?}",
                            function.name()
                        )));
                    }
                    out[0][k] = value[0] * share;
                    Ok(())
                })?;
                if !some {
                    out[0].fill(0.0);
                }
                Ok(())
            })
        });
        settle(exchange, ran, &mut self.times)?;
        let sums = &mut self.normalizers.blocks()[0];
        reduce(&mut *self.reducer, sums, &mut self.times)?;
        Ok(sums[..function.outputs()].to_vec())
    }

    /// Leaves the sums over the own shards in the partial sums' memory, apart from buckets that are
    /// on their way already, which are returned.
    fn differentiate(&mut self, batch: &Batch, normalizers: &[f32]) -> Result<Started> {
        let reduced = self.reduced_blocks();
        let (feed, segments) = (&mut self.feed, &self.payload.segments);
        let function = &self.functions.gradient;
        let synchronized = function.is_synchronized();
        // What is exchanged in the midst of the plan would wait in line behind the buckets.
        let overlaps = reduced > 1 && !synchronized && self.reducer.overlaps();
        let exchange = batch.exchange(&mut *self.reducer);
        let others = synchronized.then_some(&exchange);
        if self.at_once
            && let Some(whole) = batch.whole()
        {
            let combiner = others.map(|e| e as &dyn Combiner);
            let multiple = [1.0 / batch.share(batch.own.start)];
            let extra = [normalizers, &multiple].concat();
            let mut started = Started::new();
            let blocks = self.partials.room(whole.subtrees())?;
            let ran = if whole.subtrees() == 1 {
                let spots = &self.payload.spots;
                let mut done = |block: usize, memory: &mut Memory| {
                    // The last one has nothing to be hidden behind.
                    if overlaps && block < reduced && started.len() + 1 < reduced {
                        let pending =
                            exchange.lend(|reducer| start(reducer, block, memory, true))?;
                        started.push((block, pending));
                    }
                    Ok(())
                };
                feed.call_whole_into(
                    function, batch, &whole, &extra, combiner, blocks, spots, &mut done,
                )
            } else {
                let lengths = &self.payload.lengths;
                let mut read = |k: usize, shape: &[usize], values: &[f32]| {
                    let segment = &segments[k];
                    check_shape(function, segment, k, &shape[1..])?;
                    let len = segment.shape().iter().product::<usize>().max(1);
                    let payloads = segment.of_each(blocks, lengths);
                    payloads
                        .zip(values.chunks(len))
                        .for_each(|(to, from)| copy(to, from));
                    Ok(())
                };
                feed.call_whole(function, batch, &whole, &extra, combiner, &mut read)
            };
            self.early_sums += started.len();
            if ran.is_ok() {
                self.steps_at_once += 1;
                return settle(exchange, ran.map(|()| started), &mut self.times);
            }
            if !started.is_empty() || exchange.has_begun() {
                // Others count on the rest of what was begun: all begin anew.
                let failed = settle(exchange, ran.map(|()| started), &mut self.times);
                self.at_once = matches!(failed, Err(RuntimeError::Reduce(_)));
                return failed;
            }
            if let Err(error @ RuntimeError::Reduce(_)) = ran {
                return Err(error);
            }
            // One shard after the other works too, or tells what is wrong.
            self.at_once = false;
        }
        let extra = |shard| {
            let multiple = 1.0 / batch.share(shard);
            normalizers.iter().copied().chain([multiple]).collect()
        };
        let sums = &mut self.partials;
        let ran = feed.each(function, batch, &extra, others, &mut |call| {
            sums.sum(batch.own.clone(), &mut |shard, out| {
                let share = batch.share(shard);
                let some = call(shard, &mut |k, shape, value| {
                    let segment = &segments[k];
                    check_shape(function, segment, k, shape)?;
                    scale(segment.of_mut(out), value, share);
                    Ok(())
                })?;
                if !some {
                    out.iter_mut().for_each(|block| block.fill(0.0));
                }
                Ok(())
            })
        });
        settle(exchange, ran.map(|()| Started::new()), &mut self.times)
    }

    /// Sums the payload over all processes, in the partial sums' memory.
    fn reduce_payload(&mut self, mut started: Started) -> Result<()> {
        let count = self.reduced_blocks();
        let blocks = &mut self.partials.blocks()[..count];
        if let [whole] = blocks {
            return reduce(&mut *self.reducer, whole, &mut self.times);
        }
        let began = Instant::now();
        for block in (0..blocks.len()).rev() {
            if started.iter().all(|(early, _)| *early != block) {
                let pending = start(&mut *self.reducer, block, &mut blocks[block], false)?;
                started.push((block, pending));
            }
        }
        for (block, pending) in started {
            blocks[block] = pending().map_err(RuntimeError::Reduce)?;
        }
        self.times.reduce += began.elapsed();
        Ok(())
    }

    /// Makes the updates from the averages in the partial sums' memory, and counts the step.
    fn apply(&mut self) -> Result<()> {
        let first = self.steps_done * self.batch;
        let rows = self.batch.min(self.samples - first);
        let context = RunContext {
            step: self.step_number(),
            sample_offset: 0,
            others: None,
        };
        let function = &self.functions.apply;
        let reduced = self.reduced_blocks();
        let averages = self.partials.result();
        let segments = &self.payload.segments;
        let (sums, last) = (&mut self.sums, &mut self.last);
        let read = |plan: &Plan, inputs: &[&[u8]]| account(plan, inputs, rows, sums, last);
        if let Some(partitioned) = &mut self.partitioned {
            let averages: Vec<&[f32]> = segments.iter().map(|s| s.of(averages)).collect();
            partitioned.commit(&averages, context, read)?;
        } else {
            let arguments = segments.iter().map(|s| number(s.of(averages), s.shape()));
            let arguments: Vec<ArrayRef<'_>> = arguments.collect();
            function.call_at(&arguments, true, context, &exclusive(), read)?;
        }
        let lengths = &self.payload.lengths[..reduced];
        let room = match self.averages.take() {
            Some(old) if old.lengths == lengths => old.blocks,
            _ => self.partials.memory(reduced)?,
        };
        self.averages = Some(Averages {
            blocks: self.partials.replace(room),
            lengths: lengths.to_vec(),
        });
        self.functions.gradient.set_step(context.step + 1);
        self.steps_done += 1;
        Ok(())
    }
}
