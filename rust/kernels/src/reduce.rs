//! Reductions of contiguous arrays over any set of axes, and the positions of extremes.
//!
//! The order in which elements combine depends on the shape alone. Sums of floats run in single
//! precision over short blocks and are finished in f64.

pub(crate) mod arg;
pub(crate) mod blocks;
pub(crate) mod combine;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;

pub use arg::{ArgOp, arg_reduce};
use blocks::{Blocks, CHUNK};
pub(crate) use combine::*;

use crate::dtype::{DType, Element};
use crate::error::KernelError;
use crate::par::SendPtr;
use crate::scratch::Scratch;
use crate::simd::{self, Body};
use crate::work::{self, Part};

/// How a reduction combines values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReduceOp {
    /// Sum (numbers; integers wrap).
    Sum,
    /// Mean (floats); NaN for nothing.
    Mean,
    /// Product (numbers; integers wrap).
    Prod,
    /// Largest (any type); NaN when any is NaN; of nothing: the type's lowest value, for floats
    /// negative infinity.
    Max,
    /// Smallest (any type); NaN when any is NaN; of nothing: the type's highest value.
    Min,
    /// Whether any is true (booleans); false for nothing.
    Any,
    /// Whether all are true (booleans); true for nothing.
    All,
}

impl ReduceOp {
    /// Whether the operation is defined for elements of type `x`.
    ///
    /// # Errors
    /// [`KernelError::DType`] when it is not.
    pub fn check(self, x: DType) -> Result<(), KernelError> {
        let (fits, hint) = match self {
            ReduceOp::Sum | ReduceOp::Prod => (x != DType::Bool, "cast it to a number"),
            ReduceOp::Mean => (x.is_float(), "cast it to f32 or f64"),
            ReduceOp::Any | ReduceOp::All => (x == DType::Bool, "cast it to bool"),
            ReduceOp::Max | ReduceOp::Min => (true, ""),
        };
        if fits {
            return Ok(());
        }
        Err(KernelError::DType {
            op: format!("reduce {self:?}"),
            got: x,
            hint,
        })
    }
}

/// Reduces the middle axis of `x`, seen as `[outer, reduced, inner]`, into `out` of
/// `[outer, inner]`.
///
/// `Any` and `All` take booleans (`u8` holding 0 or 1).
///
/// # Errors
/// When a slice's length does not fit.
pub fn reduce<T: Element>(
    op: ReduceOp,
    x: &[T],
    dims: [usize; 3],
    out: &mut [T],
) -> Result<(), KernelError> {
    KernelError::check_len("reduce", "input", dims.iter().product(), x.len())?;
    KernelError::check_len("reduce", "output", dims[0] * dims[2], out.len())?;
    match op {
        ReduceOp::Sum => reduce_with::<T, Sum>(x, dims, out),
        ReduceOp::Mean => reduce_with::<T, Mean>(x, dims, out),
        ReduceOp::Prod => reduce_with::<T, Prod>(x, dims, out),
        ReduceOp::Max | ReduceOp::Any => reduce_with::<T, Max>(x, dims, out),
        ReduceOp::Min => reduce_with::<T, Min>(x, dims, out),
        ReduceOp::All => reduce_with::<T, All>(x, dims, out),
    }
    Ok(())
}

/// Rows of a chunk that are combined before a partial result is widened.
const DEPTH: usize = 64;

fn reduce_with<T: Element, C: Combine<T>>(x: &[T], dims: [usize; 3], out: &mut [T]) {
    let [outer, reduced, inner] = dims;
    if reduced == 0 || out.is_empty() {
        return out.fill(C::finish(C::START, 0));
    }
    let cost = reduced * inner * size_of::<T>() * 15;
    let target = SendPtr::new(out.as_mut_ptr());
    if inner == 1 && reduced <= CHUNK {
        return work::ranges(outer, cost, &|range| {
            let x = &x[range.start * reduced..range.end * reduced];
            // SAFETY: the range's own results.
            let out = unsafe { target.slice(range) };
            simd::dispatch(Short::<T, C>(x, reduced, out, PhantomData));
        });
    }
    let cut = Blocks::new(reduced, inner, DEPTH);
    let units = cut.blocks * cut.chunks;
    // One block: its results are final. Several: theirs are kept, and combined at the end.
    let partial = Scratch::take(match cut.blocks {
        1 => 0,
        blocks => outer * blocks * inner * size_of::<T>(),
    });
    let partials = SendPtr::new(partial.ptr().cast::<T>());
    work::ranges(outer * units, cost / units, &|range| {
        let mut running = [T::NIL; CHUNK];
        for t in range {
            let (o, b, columns) = (
                t / units,
                t % units / cut.chunks,
                cut.columns_of(t % cut.chunks),
            );
            let rows = cut.rows_of(b);
            simd::dispatch(Block::<T, C> {
                x: &x[(o * reduced + rows.start) * inner..(o * reduced + rows.end) * inner],
                inner,
                columns: columns.clone(),
                group: cut.group,
                running: &mut running,
                op: PhantomData,
            });
            let at = (o * cut.blocks + b) * inner;
            let place = at + columns.start..at + columns.end;
            if cut.blocks > 1 {
                // SAFETY: the unit's own partial results.
                unsafe { partials.slice(place) }.copy_from_slice(&running[..columns.len()]);
                continue;
            }
            // SAFETY: the unit's own results.
            let out = unsafe { target.slice(place) };
            for (out, &v) in out.iter_mut().zip(&running) {
                *out = C::finish(C::push(C::START, v), reduced);
            }
        }
    });
    if cut.blocks > 1 {
        for (k, out) in out.iter_mut().enumerate() {
            let (o, i) = (k / inner, k % inner);
            let acc = (0..cut.blocks).fold(C::START, |acc, b| {
                // SAFETY: the partial results have been written above.
                C::push(acc, unsafe {
                    *partials.add((o * cut.blocks + b) * inner + i).get()
                })
            });
            *out = C::finish(acc, reduced);
        }
    }
}

/// Short rows, each to one result.
struct Short<'a, T, C>(&'a [T], usize, &'a mut [T], PhantomData<C>);

impl<T: Element, C: Combine<T>> Body for Short<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (row, out) in self.0.chunks_exact(self.1).zip(self.2) {
            *out = C::finish(C::push(C::START, fold_lanes::<T, C>(row)), self.1);
        }
    }
}

/// A block of rows of `inner` elements, of which `columns` are combined into `running`.
struct Block<'a, T, C> {
    x: &'a [T],
    inner: usize,
    columns: std::ops::Range<usize>,
    group: usize,
    running: &'a mut [T; CHUNK],
    op: PhantomData<C>,
}

impl<T: Element, C: Combine<T>> Body for Block<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let start = self.columns.start;
        let width = self.columns.len() * self.group;
        let mut rows = self.x.chunks(self.inner * self.group);
        let first = rows.next().expect("a block has a row");
        let n = width.min(first.len() - start);
        let acc = &mut self.running[..n];
        acc.copy_from_slice(&first[start..start + n]);
        for row in rows {
            // The last group may have fewer rows.
            let n = n.min(row.len() - start);
            for (a, &v) in acc[..n].iter_mut().zip(&row[start..start + n]) {
                *a = C::join(*a, v);
            }
        }
        if self.group > 1 {
            fold_rows::<T, C>(acc, self.inner);
        }
    }
}

/// Reduces `axes` of `x` of the given shape; `out` has the axes that remain, in order.
///
/// # Errors
/// When an axis is out of range or repeated, or a slice's length does not fit.
pub fn reduce_axes<T: Element>(
    op: ReduceOp,
    x: &[T],
    shape: &[usize],
    axes: &[usize],
    out: &mut [T],
) -> Result<(), KernelError> {
    let groups = group_axes(shape, axes)?;
    KernelError::check_len("reduce", "input", shape.iter().product(), x.len())?;
    let last = groups.iter().filter(|g| g.0).count();
    if last == 0 {
        KernelError::check_len("reduce", "output", x.len(), out.len())?;
        out.copy_from_slice(x);
        return Ok(());
    }
    // Neighbouring axes form one; each group of reduced axes is one pass, the last group first.
    let mut sizes: Vec<(bool, usize)> = groups;
    let mut current: Option<Vec<T>> = None;
    while let Some(at) = sizes.iter().rposition(|g| g.0) {
        let product = |s: &[(bool, usize)]| s.iter().map(|g| g.1).product::<usize>();
        let dims = [
            product(&sizes[..at]),
            sizes[at].1,
            product(&sizes[at + 1..]),
        ];
        let source = current.as_deref().unwrap_or(x);
        sizes.remove(at);
        if sizes.iter().any(|g| g.0) {
            let mut next = vec![T::NIL; dims[0] * dims[2]];
            reduce(op, source, dims, &mut next)?;
            current = Some(next);
        } else {
            reduce(op, source, dims, out)?;
        }
    }
    Ok(())
}

/// Merges neighbouring axes that are reduced alike: (reduced, size), sizes of 1 dropped unless
/// everything is.
fn group_axes(shape: &[usize], axes: &[usize]) -> Result<Vec<(bool, usize)>, KernelError> {
    let mut reduced = vec![false; shape.len()];
    for &axis in axes {
        if axis >= shape.len() || reduced[axis] {
            return Err(KernelError::Shape {
                op: "reduce",
                what: "axes",
                expected: format!("distinct axes below {}", shape.len()),
                got: format!("{axes:?}"),
            });
        }
        reduced[axis] = true;
    }
    let mut groups: Vec<(bool, usize)> = Vec::new();
    for (&r, &n) in reduced.iter().zip(shape) {
        match groups.last_mut() {
            Some(last) if last.0 == r => last.1 *= n,
            _ => groups.push((r, n)),
        }
    }
    Ok(groups)
}
