//! Updates that the processes of one machine share: each computes a range of the elements of large
//! weights and of the optimizer's state, and reads the others' where they are.
//!
//! Values lie in memory in which each process writes its ranges and all read everything, and there
//! twice: a step reads the one and writes the other. Once all processes have computed a step, it
//! becomes the latest by pointing the variables to the other. An owner writes the values of step
//! t + 2 over those of step t when all have reached step t + 1, so whoever is at step t finds all of
//! its values as they were, also those of a process that has died meanwhile: the memory is there as
//! long as it is mapped, and never used again for anything else.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use hornbeam_graph::partition::Partition;

use super::feed::Batch;
use super::payload::{Payload, shapes};
use super::reducer::{PAGE, Reducer, Region};
use super::{Functions, ShardedEpoch};
use crate::buffer::exclusive;
use crate::dispatch::RunContext;
use crate::error::{Result, RuntimeError};
use crate::plan::{Exclusive, Plan, Spot};
use crate::shards::{Memory, TreeSum, Window, joins, subtrees};
use crate::variable::Variable;

/// More partial sums than this are left to the reducer.
const MOST_SUMS: usize = 16;

/// Variables of one shape that are updated together.
struct Group {
    /// The numbers of the averages that it takes.
    averages: Vec<usize>,
    elements: usize,
    /// The variables that are read.
    read: Vec<Arc<Variable>>,
    /// Those that are updated, and where their values begin.
    updated: Vec<(Arc<Variable>, usize)>,
}

impl Group {
    /// The elements of a rank's range; of few elements some ranks have none.
    fn range(&self, rank: usize, ranks: usize) -> Range<usize> {
        let cut = |rank: usize| match rank {
            _ if rank == ranks => self.elements,
            _ => self.elements * rank / ranks / PAGE * PAGE,
        };
        cut(rank)..cut(rank + 1)
    }
}

/// Some elements of a variable.
fn elements<'a>(variable: &Variable, range: &Range<usize>, _held: &'a Exclusive) -> &'a [f32] {
    let first = variable.place().cast::<f32>();
    // SAFETY: the variable has as many float32 elements as its part, within which all ranges are;
    // nobody writes or moves it while the lock is held.
    unsafe { std::slice::from_raw_parts(first.add(range.start), range.len()) }
}

/// What a pass leaves to the next one: memory that all have mapped, and plans.
pub(super) struct Left {
    pub(super) partitioned: Partitioned,
    pub(super) payload: Payload,
    /// The payload's last block.
    pub(super) last: Memory,
    pub(super) bucket_bytes: usize,
}

impl Left {
    /// What was left if it is still of use, and the other processes have the same.
    ///
    /// # Errors
    /// When another process is lost.
    pub(super) fn take(
        functions: &Functions,
        bucket_bytes: usize,
        reducer: &mut dyn Reducer,
    ) -> Result<Option<Left>> {
        let Some((rank, ranks)) = reducer.ranks() else {
            return Ok(None);
        };
        let left = functions.apply.take_left::<Left>().filter(|left| {
            let partitioned = &left.partitioned;
            left.bucket_bytes == bucket_bytes
                && (partitioned.rank, &partitioned.ranks) == (rank, &ranks)
        });
        let numbers = left
            .as_ref()
            .map_or([0; 2], |left| [left.partitioned.id, left.partitioned.steps]);
        let is_same = reducer.is_same(numbers).map_err(RuntimeError::Reduce)?;
        Ok(left.filter(|_| is_same).map(|left| *left))
    }
}

/// What a group could share.
pub(super) struct Proposal {
    partition: Arc<Partition>,
    ranks: Vec<Range<u32>>,
    rank: usize,
}

impl Proposal {
    /// What could be shared in a pass of so many steps, if anything; the same on all processes.
    pub(super) fn new(
        functions: &Functions,
        reducer: &dyn Reducer,
        steps: usize,
    ) -> Result<Option<Proposal>> {
        let (Some((rank, ranks)), Some(bytes)) = (reducer.ranks(), reducer.partition_bytes(steps))
        else {
            return Ok(None);
        };
        let sums: usize = ranks.iter().map(|own| subtrees(own.clone()).len()).sum();
        if ranks.len() < 2 || sums > MOST_SUMS || ranks.iter().any(Range::is_empty) {
            return Ok(None);
        }
        let least = bytes.each.div_ceil(size_of::<f32>());
        let shapes = shapes(functions)?;
        let sizes = shapes.iter().map(|s| s.iter().product::<usize>());
        let is_worth_it = |sizes: &mut dyn Iterator<Item = usize>| {
            let elements: usize = sizes.filter(|&n| n >= least).sum();
            elements > 0 && elements * size_of::<f32>() >= bytes.all
        };
        if !is_worth_it(&mut sizes.into_iter()) {
            return Ok(None);
        }
        let partition = functions.apply.partition(&shapes, least)?;
        let mut sizes = partition.parts.iter().map(|part| part.elements);
        Ok(is_worth_it(&mut sizes).then_some(Proposal {
            partition: Arc::clone(&partition),
            ranks,
            rank,
        }))
    }

    /// Whether an average is summed by those who update its weight.
    pub(super) fn is_apart(&self, average: usize) -> bool {
        let mut parts = self.partition.parts.iter();
        parts.any(|part| part.averages.contains(&average))
    }

    /// Shares memory with all others, and gives what is to be this process' last block of the
    /// payload; nothing where one of them cannot.
    ///
    /// # Errors
    /// When another process is lost, or memory is short.
    pub(super) fn agree(
        self,
        payload: &Payload,
        reducer: &mut dyn Reducer,
    ) -> Result<Option<(Partitioned, Memory)>> {
        let ranks = self.ranks.len();
        let (groups, length) = groups(&self.partition)?;
        let ranges = |rank: usize| {
            let of_group = |group: &Group| {
                let Range { start, end } = group.range(rank, ranks);
                let firsts = group.updated.iter().map(|(_, first)| first);
                let ranges =
                    firsts.map(|first| first + start..(first + end).next_multiple_of(PAGE));
                ranges.collect::<Vec<_>>()
            };
            groups.iter().flat_map(of_group).collect()
        };
        let ranges: Vec<Vec<Range<usize>>> = (0..ranks).map(ranges).collect();
        let sums: Vec<_> = self.ranks.iter().map(|r| subtrees(r.clone())).collect();
        let payload_length = payload.lengths[payload.lengths.len() - 1];
        let gradients = reducer.share(payload_length * sums[self.rank].len());
        let gradients = gradients.map_err(RuntimeError::Reduce)?;
        let mut region = || reducer.share_region(length, &ranges);
        let values = [region(), region()].map(|r| r.map_err(RuntimeError::Reduce));
        let [even, odd] = values;
        let (Some(gradients), Some(even), Some(odd)) = (gradients, even?, odd?) else {
            return Ok(None);
        };
        let own = groups.iter().map(|g| g.range(self.rank, ranks).len());
        let own: Vec<usize> = own.collect();
        let leaves = sums.concat();
        let program = self
            .partition
            .of_ranges(&own, leaves.len(), &joins(&leaves));
        let spot = |block| Spot { block, first: 0 };
        let made = Partitioned {
            rank: self.rank,
            sums: sums.iter().map(Vec::len).collect(),
            own_part: Plan::direct(program)?,
            rest: Plan::new(self.partition.rest.clone())?,
            spots: (0..ranges[self.rank].len()).map(spot).collect(),
            groups,
            id: gradients.id,
            ranks: self.ranks,
            steps: 0,
            gradients: gradients.others,
            values: [even, odd],
        };
        Ok(Some((made, gradients.own)))
    }
}

/// The parts' variables and where they lie in memory, and how much that is.
fn groups(partition: &Partition) -> Result<(Vec<Group>, usize)> {
    let mut length = 0;
    let mut all = Vec::with_capacity(partition.parts.len());
    for part in &partition.parts {
        let read = part.variables.iter().map(|&id| Variable::by_id(id));
        let room = part.elements.next_multiple_of(PAGE);
        let updated = part.updates.iter().enumerate();
        let updated = updated.map(|(k, &id)| Ok((Variable::by_id(id)?, length + k * room)));
        all.push(Group {
            averages: part.averages.clone(),
            elements: part.elements,
            read: read.collect::<Result<_>>()?,
            updated: updated.collect::<Result<_>>()?,
        });
        length += part.updates.len() * room;
    }
    Ok((all, length))
}

/// The shared updates of one generation of a group.
pub(super) struct Partitioned {
    rank: usize,
    /// How many partial sums each process has.
    sums: Vec<usize>,
    /// Updates this process' ranges.
    own_part: Plan,
    /// Updates all else.
    rest: Plan,
    /// Where this process' new values go.
    spots: Vec<Spot>,
    groups: Vec<Group>,
    /// The others' blocks of the payload.
    gradients: Vec<Option<Arc<dyn Window>>>,
    values: [Region; 2],
    /// How many steps have been committed: the next one writes the values of that parity.
    steps: u64,
    /// Identifies the memory, on all processes.
    id: u64,
    ranks: Vec<Range<u32>>,
}

impl Partitioned {
    /// Computes the new values of this process' ranges, from all processes' partial sums, which must
    /// be there and stay. Nothing that counts has changed then.
    ///
    /// # Errors
    /// When a kernel fails.
    pub(super) fn update(
        &mut self,
        own: &[f32],
        payload: &Payload,
        context: RunContext<'_>,
    ) -> Result<()> {
        let held = exclusive();
        let mut inputs: Vec<&[u8]> = Vec::new();
        for group in &self.groups {
            let range = group.range(self.rank, self.sums.len());
            for &average in &group.averages {
                for (theirs, &count) in self.gradients.iter().zip(&self.sums) {
                    let parts = (0..count).map(|at| payload.part_of_last(average, at, &range));
                    inputs.extend(parts.map(|part| {
                        bytes(match theirs {
                            None => &own[part],
                            // SAFETY: its owner writes it again when all have met behind this step.
                            Some(theirs) => unsafe { theirs.get(part) },
                        })
                    }));
                }
            }
            let read = group.read.iter();
            inputs.extend(read.map(|variable| bytes(elements(variable, &range, &held))));
        }
        let blocks = &mut self.values[(self.steps % 2) as usize].own;
        let mut done = |_: usize, _: &mut Memory| Ok(());
        self.own_part
            .run_into(&inputs, blocks, &self.spots, &mut done, context, &held)
    }

    /// Makes the step that all have computed the latest. What is not partitioned is updated from its
    /// averages; `read` gets the plan of that.
    ///
    /// # Errors
    /// When a kernel fails; nothing has changed then.
    pub(super) fn commit(
        &mut self,
        averages: &[&[f32]],
        context: RunContext<'_>,
        read: impl FnOnce(&Plan, &[&[u8]]),
    ) -> Result<()> {
        let held = exclusive();
        let averages: Vec<&[u8]> = averages.iter().map(|a| bytes(a)).collect();
        self.rest.run(&averages, context, &held)?;
        read(&self.rest, &averages);
        let values = &self.values[(self.steps % 2) as usize].whole;
        for group in &self.groups {
            for (variable, first) in &group.updated {
                let numbers = *first..first + group.elements;
                // SAFETY: they are written in the step after the next one, which begins when all
                // processes' variables have the next one's values.
                unsafe { variable.take(values, numbers, &held) };
            }
        }
        self.steps += 1;
        Ok(())
    }
}

impl ShardedEpoch {
    /// Cuts the payload as the reducer wants it now, and agrees with the other processes on what of
    /// it is partitioned.
    pub(super) fn cut_payload(&mut self) -> Result<()> {
        let bucket_bytes = self.reducer.bucket_bytes();
        let generation = Some(self.reducer.generation());
        if (bucket_bytes, generation) == (self.bucket_bytes, self.generation) {
            return Ok(());
        }
        let agreed = self.agree(bucket_bytes)?;
        let allocate = self.reducer.memory();
        (self.payload, self.partials, self.partitioned) = match agreed {
            Some(Left {
                partitioned,
                payload,
                last,
                ..
            }) => {
                let partials = TreeSum::with_last(payload.lengths.clone(), allocate, last);
                (payload, partials, Some(partitioned))
            }
            None => {
                let payload = Payload::new(&self.functions, bucket_bytes)?;
                if self.partitioned.is_none() && payload.lengths == self.payload.lengths {
                    (self.bucket_bytes, self.generation) = (bucket_bytes, generation);
                    return Ok(());
                }
                let partials = TreeSum::new(payload.lengths.clone(), allocate)?;
                (payload, partials, None)
            }
        };
        (self.bucket_bytes, self.generation) = (bucket_bytes, generation);
        Ok(())
    }

    /// Agrees with the other processes to share updates, if they can: as in the last pass, or anew.
    fn agree(&mut self, bucket_bytes: usize) -> Result<Option<Left>> {
        let (functions, steps) = (&self.functions, self.steps());
        if self.reducer.partition_bytes(steps).is_none() {
            return Ok(None);
        }
        if let Some(left) = Left::take(functions, bucket_bytes, &mut *self.reducer)? {
            return Ok(Some(left));
        }
        let Some(proposal) = Proposal::new(functions, &*self.reducer, steps)? else {
            return Ok(None);
        };
        let payload = Payload::with_apart(functions, bucket_bytes, |k| proposal.is_apart(k))?;
        let agreed = proposal.agree(&payload, &mut *self.reducer)?;
        Ok(agreed.map(|(partitioned, last)| Left {
            partitioned,
            payload,
            last,
            bucket_bytes,
        }))
    }

    /// Computes the new values of this process' part of the weights whose update is shared, and waits
    /// until all others have done the same.
    pub(super) fn update_own_part(&mut self, batch: &Batch) -> Result<()> {
        let Some(partitioned) = &mut self.partitioned else {
            return Ok(());
        };
        let start = Instant::now();
        let context = RunContext {
            step: batch.step,
            sample_offset: 0,
            others: None,
        };
        let blocks = self.partials.blocks();
        partitioned.update(&blocks[blocks.len() - 1], &self.payload, context)?;
        let updated = Instant::now();
        self.times.apply += updated - start;
        self.reducer.barrier().map_err(RuntimeError::Reduce)?;
        self.times.reduce += updated.elapsed();
        self.partitioned_steps += 1;
        Ok(())
    }
}

impl Drop for ShardedEpoch {
    fn drop(&mut self) {
        let Some(partitioned) = self.partitioned.take() else {
            return;
        };
        let payload = std::mem::take(&mut self.payload);
        if let Some(last) = self.partials.blocks().pop() {
            self.functions.apply.leave(Box::new(Left {
                partitioned,
                payload,
                last,
                bucket_bytes: self.bucket_bytes,
            }));
        }
    }
}

fn bytes(values: &[f32]) -> &[u8] {
    // SAFETY: any float is four bytes, all of them initialised.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}
