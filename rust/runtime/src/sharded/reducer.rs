//! What a step needs of whoever reaches the other processes.

use std::ops::Range;
use std::sync::Arc;

use crate::shards::{Allocate, Memory, Window};

/// The numbers of a page of memory, which has one owner.
pub const PAGE: usize = 1024;

/// What a reducer's calls return.
pub type ReduceResult<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Waits for a sum that was started.
pub type Pending = Box<dyn FnOnce() -> ReduceResult<Memory> + Send>;

/// Memory of all processes, each written by its owner alone.
pub struct Windows {
    /// This process'.
    pub own: Memory,
    /// The others' by rank; none at this process' place.
    pub others: Vec<Option<Arc<dyn Window>>>,
    /// A number, the same on all, that no other windows have.
    pub id: u64,
}

/// What updates are worth sharing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionBytes {
    /// The bytes that a weight has at least.
    pub each: usize,
    /// The bytes that all such weights have at least.
    pub all: usize,
}

/// One piece of memory of all processes, of which each writes ranges of its own.
pub struct Region {
    /// This process' ranges.
    pub own: Vec<Memory>,
    /// Everything.
    pub whole: Arc<dyn Window>,
}

/// Sums over the shards of all processes.
pub trait Reducer: Send {
    /// The number of shards of all processes, and those that this one computes in the step that
    /// begins.
    ///
    /// # Errors
    /// When there is no group to compute with.
    fn begin(&mut self) -> ReduceResult<(u32, Range<u32>)>;

    /// Sums over all shards. `data` holds one sum for each maximal aligned subtree of the own
    /// shards, one after the other, each as long as the result, which replaces the first; a
    /// process without shards passes room for the result.
    ///
    /// # Errors
    /// When another process is lost; the step is run again then.
    fn all_reduce(&mut self, data: &mut [f32]) -> ReduceResult<()>;

    /// Starts [`Self::all_reduce`] of one bucket of the payload. What it returns is called when
    /// the sum is needed, and gives the memory back; dropped instead, it gives the sum up. `early`
    /// says whether the gradient function goes on meanwhile.
    ///
    /// All processes start the same buckets, in any order. By default this sums at once.
    ///
    /// # Errors
    /// As for [`Self::all_reduce`], then or later; the memory is lost then.
    fn start(&mut self, _bucket: u32, mut data: Memory, _early: bool) -> ReduceResult<Pending> {
        self.all_reduce(&mut data)?;
        Ok(Box::new(|| Ok(data)))
    }

    /// The bytes from which on a part of the payload is a bucket of its own, asked before each step;
    /// all processes have the same then. A payload that is one bucket is summed by
    /// [`Self::all_reduce`].
    fn bucket_bytes(&self) -> usize {
        usize::MAX
    }

    /// Whether buckets should be started as soon as they are computed, in the midst of the gradient
    /// function, since they make their way without this thread; else when all are. Other processes
    /// may do otherwise.
    fn overlaps(&self) -> bool {
        false
    }

    /// Where what is summed should lie, if that makes a difference.
    fn memory(&self) -> Option<Allocate> {
        None
    }

    /// A number that is another one when the processes or their shards may be others.
    fn generation(&self) -> u64 {
        0
    }

    /// This process' place and the shards of each, where all may read each other's memory.
    fn ranks(&self) -> Option<(usize, Vec<Range<u32>>)> {
        None
    }

    /// The bytes of a weight from which on all share its update, each computing a part, in a pass of
    /// so many steps; and the bytes that all such weights have at least. The same on all processes.
    fn partition_bytes(&self, _steps: usize) -> Option<PartitionBytes> {
        None
    }

    /// Shows memory for so many numbers, all zero, to all processes, and maps theirs, which may be of
    /// other lengths; nothing where one of them cannot. All call it together.
    ///
    /// # Errors
    /// When another process is lost.
    fn share(&mut self, _length: usize) -> ReduceResult<Option<Windows>> {
        Ok(None)
    }

    /// Makes memory for so many numbers, all zero, of which each process writes `ranges`, which begin
    /// and end at multiples of [`PAGE`]; nothing where that cannot be. All call it together.
    ///
    /// # Errors
    /// When another process is lost.
    fn share_region(
        &mut self,
        _length: usize,
        _ranges: &[Vec<Range<usize>>],
    ) -> ReduceResult<Option<Region>> {
        Ok(None)
    }

    /// Whether all processes call this with the same numbers.
    ///
    /// # Errors
    /// When another process is lost.
    fn is_same(&mut self, _numbers: [u64; 2]) -> ReduceResult<bool> {
        Ok(true)
    }

    /// Returns when all processes have called it.
    ///
    /// # Errors
    /// When another process is lost.
    fn barrier(&mut self) -> ReduceResult<()> {
        Ok(())
    }

    /// Tells the other processes, which wait in vain, that this one could not compute its shards.
    fn abandon(&mut self, reason: &str);
}

/// The reducer of a process that has all shards.
#[derive(Clone, Copy, Debug)]
pub struct AllShards(pub u32);

impl Reducer for AllShards {
    fn begin(&mut self) -> ReduceResult<(u32, Range<u32>)> {
        Ok((self.0, 0..self.0))
    }

    fn all_reduce(&mut self, _data: &mut [f32]) -> ReduceResult<()> {
        Ok(())
    }

    fn abandon(&mut self, _reason: &str) {}
}
