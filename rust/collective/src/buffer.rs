//! The memory that operations work on: element types, buffers that are owned or lent, and recycled
//! scratch space.
//!
//! Together with `scope` this is all `unsafe` code of the crate. A lent buffer is a pointer whose lender
//! promises that the memory stays valid and untouched until the operation has been taken out of the
//! engine; the engine reaches it only under its lock. Imports nothing of the crate.
#![allow(unsafe_code)]

use std::ops::{Add, DerefMut, Range};
use std::ptr::NonNull;

/// Numbers in memory of their owner's choice, such as a [`SharedSlice`](crate::SharedSlice).
pub type Memory = Box<dyn DerefMut<Target = [f32]> + Send>;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// An element type that can be summed: `f32` or `f64`.
pub trait Element: sealed::Sealed + bytemuck::Pod + Add<Output = Self> + Send + Sync {
    #[doc(hidden)]
    const DTYPE: Dtype;
    #[doc(hidden)]
    fn into_buffer(values: Vec<Self>) -> Buffer;
    #[doc(hidden)]
    fn from_buffer(buffer: Buffer) -> Vec<Self>;
}

/// An element type as a value.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// Single precision.
    F32 = 1,
    /// Double precision.
    F64 = 2,
}

impl Dtype {
    /// The bytes of an element.
    pub(crate) fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F64 => 8,
        }
    }

    /// The type's name in errors.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F64 => "f64",
        }
    }

    /// `target = left + target` if the target is the right operand, else `target + other`.
    pub(crate) fn add(self, target: &mut [u8], other: &[u8], target_is_left: bool) {
        match self {
            Dtype::F32 => add::<f32>(target, other, target_is_left),
            Dtype::F64 => add::<f64>(target, other, target_is_left),
        }
    }
}

/// `target + other` with the widest instructions that the processor has; the bits are the same.
fn add<T: Element>(target: &mut [u8], other: &[u8], target_is_left: bool) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has them.
            return unsafe { add_avx512::<T>(target, other, target_is_left) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { add_avx2::<T>(target, other, target_is_left) };
        }
    }
    add_portable::<T>(target, other, target_is_left);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn add_avx512<T: Element>(target: &mut [u8], other: &[u8], target_is_left: bool) {
    add_portable::<T>(target, other, target_is_left);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_avx2<T: Element>(target: &mut [u8], other: &[u8], target_is_left: bool) {
    add_portable::<T>(target, other, target_is_left);
}

/// The order of the operands is kept because it decides which NaN survives.
#[inline(always)]
fn add_portable<T: Element>(target: &mut [u8], other: &[u8], target_is_left: bool) {
    let target: &mut [T] = bytemuck::cast_slice_mut(target);
    let other: &[T] = bytemuck::cast_slice(other);
    if target_is_left {
        target
            .iter_mut()
            .zip(other)
            .for_each(|(left, right)| *left = *left + *right);
    } else {
        target
            .iter_mut()
            .zip(other)
            .for_each(|(right, left)| *right = *left + *right);
    }
}

impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;
    fn into_buffer(values: Vec<f32>) -> Buffer {
        Buffer(Storage::F32(values))
    }
    fn from_buffer(buffer: Buffer) -> Vec<f32> {
        match buffer.0 {
            Storage::F32(values) => values,
            _ => unreachable!("the handle carries the type"),
        }
    }
}

impl Element for f64 {
    const DTYPE: Dtype = Dtype::F64;
    fn into_buffer(values: Vec<f64>) -> Buffer {
        Buffer(Storage::F64(values))
    }
    fn from_buffer(buffer: Buffer) -> Vec<f64> {
        match buffer.0 {
            Storage::F64(values) => values,
            _ => unreachable!("the handle carries the type"),
        }
    }
}

/// The data of an operation in flight.
#[doc(hidden)]
pub struct Buffer(Storage);

enum Storage {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Own(Memory),
    Loan { start: NonNull<u8>, length: usize },
}

// SAFETY: vectors and owned memory are `Send`; a loan's memory may be used from any thread by `Buffer::lend`'s
// contract.
unsafe impl Send for Buffer {}

impl Default for Buffer {
    fn default() -> Self {
        Buffer(Storage::F32(Vec::new()))
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes().len())
    }
}

impl Buffer {
    /// Gives memory to an operation.
    pub(crate) fn own(memory: Memory) -> Self {
        Buffer(Storage::Own(memory))
    }

    /// The memory that [`Self::own`] was given.
    pub(crate) fn into_memory(self) -> Memory {
        match self.0 {
            Storage::Own(memory) => memory,
            _ => unreachable!("the handle knows what it gave"),
        }
    }

    /// Lends memory to an operation.
    ///
    /// # Safety
    /// The memory must be initialised, valid for reads and writes of `length` bytes, and used by
    /// nobody else until this buffer is dropped.
    pub(crate) unsafe fn lend(start: NonNull<u8>, length: usize) -> Self {
        Buffer(Storage::Loan { start, length })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Storage::F32(values) => bytemuck::cast_slice(values),
            Storage::F64(values) => bytemuck::cast_slice(values),
            Storage::Own(values) => bytemuck::cast_slice(values),
            // SAFETY: valid and unshared by the contract of `lend`; borrowed as long as `self`.
            Storage::Loan { start, length } => unsafe {
                std::slice::from_raw_parts(start.as_ptr(), *length)
            },
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Storage::F32(values) => bytemuck::cast_slice_mut(values),
            Storage::F64(values) => bytemuck::cast_slice_mut(values),
            Storage::Own(values) => bytemuck::cast_slice_mut(values),
            // SAFETY: valid and unshared by the contract of `lend`; borrowed mutably as long as
            // `self`.
            Storage::Loan { start, length } => unsafe {
                std::slice::from_raw_parts_mut(start.as_ptr(), *length)
            },
        }
    }

    /// Two ranges that do not overlap, the first to write and the second to read.
    pub(crate) fn pair(&mut self, target: Range<usize>, other: Range<usize>) -> (&mut [u8], &[u8]) {
        let bytes = self.bytes_mut();
        if target.end <= other.start {
            let (low, high) = bytes.split_at_mut(other.start);
            (&mut low[target], &high[..other.end - other.start])
        } else {
            let (low, high) = bytes.split_at_mut(target.start);
            (&mut high[..target.end - target.start], &low[other])
        }
    }
}

/// A block of memory from the [`Pool`], aligned for every element type.
#[derive(Debug)]
pub(crate) struct Scratch {
    words: Vec<u64>,
    length: usize,
}

impl Scratch {
    pub(crate) fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.length]
    }
}

/// Recycles scratch blocks, the last one given back first since it is still in the cache.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Vec<Vec<u64>>,
}

/// More blocks than this are given back to the system.
const KEPT_BLOCKS: usize = 64;

impl Pool {
    /// A block whose content is unspecified.
    pub(crate) fn take(&mut self, length: usize) -> Scratch {
        let mut words = self.free.pop().unwrap_or_default();
        let needed = length.div_ceil(8);
        if words.len() < needed {
            words.resize(needed, 0);
        }
        Scratch { words, length }
    }

    pub(crate) fn give(&mut self, scratch: Scratch) {
        if self.free.len() < KEPT_BLOCKS {
            self.free.push(scratch.words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loan_reads_and_writes_the_lender_memory() {
        let mut values = [1.0f32, 2.0, 3.0];
        let start = NonNull::from(&mut values).cast();
        // SAFETY: `values` outlives the buffer and is not touched meanwhile.
        let mut buffer = unsafe { Buffer::lend(start, 12) };
        assert_eq!(buffer.bytes()[4..8], 2.0f32.to_ne_bytes());
        buffer.bytes_mut()[8..].copy_from_slice(&7.0f32.to_ne_bytes());
        let (target, other) = buffer.pair(0..4, 8..12);
        Dtype::F32.add(target, other, true);
        let (target, other) = buffer.pair(8..12, 4..8);
        Dtype::F32.add(target, other, false);
        drop(buffer);
        assert_eq!(values, [8.0, 2.0, 9.0]);
    }

    #[test]
    fn vectors_come_back_whole() {
        assert_eq!(
            f64::from_buffer(f64::into_buffer(vec![1.5, -0.0])),
            [1.5, 0.0]
        );
        assert_eq!(f32::from_buffer(f32::into_buffer(vec![2.5])), [2.5]);
    }

    #[test]
    fn scratch_is_recycled_at_the_length_asked_for() {
        let mut pool = Pool::default();
        let mut scratch = pool.take(9);
        scratch.bytes_mut().fill(3);
        pool.give(scratch);
        assert_eq!(pool.take(4).bytes().len(), 4);
        assert_eq!(pool.take(100).bytes().len(), 100);
    }
}
