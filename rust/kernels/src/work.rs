//! Cuts a number of like things into ranges for the threads.

use std::ops::Range;

use crate::par::{self, SendPtr};

/// Work worth a task of its own, in picoseconds.
const TASK: usize = 15_000_000;

/// Calls `f` with ranges that cover `0..n`, where one thing takes some `cost` picoseconds. The
/// ranges must not matter to the result.
#[inline]
pub(crate) fn ranges(n: usize, cost: usize, f: &(dyn Fn(Range<usize>) + Sync)) {
    tasks(n, worth(n, cost).min(64), f);
}

/// As [`ranges`], but with no more ranges than threads, for work of which each range repeats a part.
#[inline]
pub(crate) fn ranges_of_threads(n: usize, cost: usize, f: &(dyn Fn(Range<usize>) + Sync)) {
    tasks(n, worth(n, cost).min(par::num_threads()), f);
}

/// How many tasks that much work is worth.
#[inline]
fn worth(n: usize, cost: usize) -> usize {
    let work = n.saturating_mul(cost);
    if par::is_small(work, 64 * TASK) {
        work / TASK
    } else {
        64
    }
}

#[inline]
fn tasks(n: usize, tasks: usize, f: &(dyn Fn(Range<usize>) + Sync)) {
    let tasks = tasks.min(n);
    if tasks <= 1 {
        f(0..n);
    } else {
        par::run(tasks, &|t| {
            f(par::split(n, tasks, t)..par::split(n, tasks, t + 1))
        });
    }
}

/// A part of shared memory that one task alone writes.
pub(crate) trait Part<T> {
    /// Elements `range` as a slice.
    ///
    /// # Safety
    /// They exist, and nothing else uses them while the slice lives.
    unsafe fn slice<'a>(self, range: Range<usize>) -> &'a mut [T];
}

impl<T> Part<T> for SendPtr<T> {
    #[inline(always)]
    unsafe fn slice<'a>(self, range: Range<usize>) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.get().add(range.start), range.len()) }
    }
}
