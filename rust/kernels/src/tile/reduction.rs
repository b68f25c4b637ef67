//! The reductions at the end of tile programs: tiles into cells, cells into results.

use std::marker::PhantomData;

use crate::dtype::{DType, Element};
use crate::reduce::{self, Combine, ReduceOp, fold_lanes};
use crate::simd::{self, Body};

/// The functions of one reduction for one element type. Accumulators are eight bytes.
#[derive(Clone, Copy)]
pub(super) struct Reducer {
    /// Puts the identity into an accumulator.
    pub(super) start: unsafe fn(*mut u8),
    /// Adds `n` elements of a tile to an accumulator.
    pub(super) push: unsafe fn(usize, *const u8, *mut u8),
    /// Combines a tile of `n` elements into a tile of running results.
    pub(super) join: unsafe fn(usize, *const u8, *mut u8),
    /// Folds `rows` rows of `columns` running results into the first.
    pub(super) fold: unsafe fn(usize, usize, *mut u8),
    /// The results of `rows` rows of `columns` elements.
    pub(super) rows: unsafe fn(usize, usize, *const u8, *mut u8),
    /// Merges each `n` consecutive accumulators into one result, for `results` results of `count`
    /// elements each: (results, n, count, accumulators, results).
    pub(super) finish: unsafe fn(usize, usize, usize, *const u8, *mut u8),
    /// Combines `blocks` rows of `columns` elements into one row of results of `count` elements
    /// each: (blocks, columns, count, elements, results).
    pub(super) finish_rows: unsafe fn(usize, usize, usize, *const u8, *mut u8),
}

/// The functions of `op` for elements of type `x`.
pub(super) fn reducer(op: ReduceOp, x: DType) -> Reducer {
    match x {
        DType::Bool | DType::U8 => reducer_of::<u8>(op),
        DType::I32 => reducer_of::<i32>(op),
        DType::I64 => reducer_of::<i64>(op),
        DType::F32 => reducer_of::<f32>(op),
        DType::F64 => reducer_of::<f64>(op),
    }
}

fn reducer_of<T: Element>(op: ReduceOp) -> Reducer {
    match op {
        ReduceOp::Sum => table::<T, reduce::Sum>(),
        ReduceOp::Mean => table::<T, reduce::Mean>(),
        ReduceOp::Prod => table::<T, reduce::Prod>(),
        ReduceOp::Max | ReduceOp::Any => table::<T, reduce::Max>(),
        ReduceOp::Min => table::<T, reduce::Min>(),
        ReduceOp::All => table::<T, reduce::All>(),
    }
}

fn table<T: Element, C: Combine<T>>() -> Reducer {
    Reducer {
        start: start::<T, C>,
        push: push::<T, C>,
        join: join::<T, C>,
        fold: fold::<T, C>,
        rows: rows::<T, C>,
        finish: finish::<T, C>,
        finish_rows: finish_rows::<T, C>,
    }
}

unsafe fn start<T: Element, C: Combine<T>>(acc: *mut u8) {
    // SAFETY: the accumulator has eight bytes, aligned.
    unsafe { acc.cast::<C::Acc>().write(C::START) };
}

unsafe fn push<T: Element, C: Combine<T>>(n: usize, x: *const u8, acc: *mut u8) {
    // SAFETY: the caller gives `n` elements and an accumulator.
    let (x, acc) = unsafe {
        (
            std::slice::from_raw_parts(x.cast::<T>(), n),
            acc.cast::<C::Acc>(),
        )
    };
    let total = simd::dispatch(Push::<T, C>(x, PhantomData));
    // SAFETY: as above.
    unsafe { acc.write(C::push(acc.read(), total)) };
}

struct Push<'a, T, C>(&'a [T], PhantomData<C>);

impl<T: Element, C: Combine<T>> Body for Push<'_, T, C> {
    type Out = T;
    #[inline(always)]
    fn run(self) -> T {
        fold_lanes::<T, C>(self.0)
    }
}

unsafe fn join<T: Element, C: Combine<T>>(n: usize, x: *const u8, acc: *mut u8) {
    // SAFETY: the caller gives two separate tiles of at least `n` elements.
    let (x, acc) = unsafe {
        (
            std::slice::from_raw_parts(x.cast::<T>(), n),
            std::slice::from_raw_parts_mut(acc.cast::<T>(), n),
        )
    };
    simd::dispatch(Join::<T, C>(x, acc, PhantomData));
}

struct Join<'a, T, C>(&'a [T], &'a mut [T], PhantomData<C>);

impl<T: Element, C: Combine<T>> Body for Join<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (a, &x) in self.1.iter_mut().zip(self.0) {
            *a = C::join(*a, x);
        }
    }
}

unsafe fn fold<T: Element, C: Combine<T>>(mut rows: usize, columns: usize, acc: *mut u8) {
    // SAFETY: the caller gives a tile of that many elements.
    let acc = unsafe { std::slice::from_raw_parts_mut(acc.cast::<T>(), rows * columns) };
    while rows > 1 {
        let half = rows / 2;
        let (low, high) = acc[..rows * columns].split_at_mut((rows - half) * columns);
        simd::dispatch(Join::<T, C>(high, &mut low[..half * columns], PhantomData));
        rows -= half;
    }
}

unsafe fn rows<T: Element, C: Combine<T>>(n: usize, columns: usize, x: *const u8, out: *mut u8) {
    // SAFETY: the caller gives `n` rows of `columns` elements, and room for `n` results.
    let (x, out) = unsafe {
        (
            std::slice::from_raw_parts(x.cast::<T>(), n * columns),
            std::slice::from_raw_parts_mut(out.cast::<T>(), n),
        )
    };
    simd::dispatch(Rows::<T, C>(x, columns, out, PhantomData));
}

struct Rows<'a, T, C>(&'a [T], usize, &'a mut [T], PhantomData<C>);

impl<T: Element, C: Combine<T>> Body for Rows<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (row, out) in self.0.chunks_exact(self.1).zip(self.2) {
            *out = C::finish(C::push(C::START, fold_lanes::<T, C>(row)), self.1);
        }
    }
}

unsafe fn finish<T: Element, C: Combine<T>>(
    results: usize,
    n: usize,
    count: usize,
    partial: *const u8,
    out: *mut u8,
) {
    for r in 0..results {
        let mut acc = C::START;
        for i in 0..n {
            // SAFETY: the caller gives `results * n` accumulators of eight bytes.
            acc = C::merge(acc, unsafe {
                partial.add((r * n + i) * 8).cast::<C::Acc>().read()
            });
        }
        // SAFETY: the caller gives room for `results` results.
        unsafe { out.cast::<T>().add(r).write(C::finish(acc, count)) };
    }
}

unsafe fn finish_rows<T: Element, C: Combine<T>>(
    blocks: usize,
    columns: usize,
    count: usize,
    partial: *const u8,
    out: *mut u8,
) {
    const WIDTH: usize = 64;
    for first in (0..columns).step_by(WIDTH) {
        let width = WIDTH.min(columns - first);
        let mut acc = [C::START; WIDTH];
        for block in 0..blocks {
            // SAFETY: the caller gives `blocks * columns` elements.
            let row = unsafe {
                let at = partial.cast::<T>().add(block * columns + first);
                std::slice::from_raw_parts(at, width)
            };
            for (a, &x) in acc.iter_mut().zip(row) {
                *a = C::push(*a, x);
            }
        }
        for (i, &a) in acc[..width].iter().enumerate() {
            // SAFETY: the caller gives room for `columns` results.
            unsafe { out.cast::<T>().add(first + i).write(C::finish(a, count)) };
        }
    }
}
