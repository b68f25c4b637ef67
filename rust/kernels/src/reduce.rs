//! Reductions of contiguous arrays over any set of axes, and the position of the largest or
//! smallest element.
//!
//! The order in which elements combine depends on the shape alone. Sums of floats run in single
//! precision over short blocks and are finished in f64.

use crate::dtype::{DType, Element};
use crate::error::KernelError;

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

/// A way to combine elements: what [`ReduceOp`] names, as a type.
pub(crate) trait Combine<T: Element>: 'static {
    /// What partial results of blocks are kept in.
    type Acc: Copy + Send + Sync + 'static;
    /// The result for nothing.
    const IDENTITY: T;
    /// The same as an accumulator.
    const START: Self::Acc;
    /// Combines two elements.
    fn join(a: T, b: T) -> T;
    /// Combines an accumulator with an element or a block's result.
    fn push(acc: Self::Acc, x: T) -> Self::Acc;
    /// Combines two accumulators.
    fn merge(a: Self::Acc, b: Self::Acc) -> Self::Acc;
    /// The accumulator of `n` elements as a result.
    fn finish(acc: Self::Acc, n: usize) -> T;
}

pub(crate) struct Sum;
pub(crate) struct Mean;
pub(crate) struct Prod;
pub(crate) struct Max;
pub(crate) struct Min;
pub(crate) struct All;

impl<T: Element> Combine<T> for Sum {
    type Acc = T::Wide;
    const IDENTITY: T = T::NIL;
    const START: T::Wide = T::WIDE_NIL;
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        a.plus(b)
    }
    #[inline(always)]
    fn push(acc: T::Wide, x: T) -> T::Wide {
        x.plus_wide(acc)
    }
    #[inline(always)]
    fn merge(a: T::Wide, b: T::Wide) -> T::Wide {
        T::merge_wide(a, b)
    }
    #[inline(always)]
    fn finish(acc: T::Wide, _n: usize) -> T {
        T::from_wide(acc)
    }
}

impl<T: Element> Combine<T> for Mean {
    type Acc = T::Wide;
    const IDENTITY: T = T::NIL;
    const START: T::Wide = T::WIDE_NIL;
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        a.plus(b)
    }
    #[inline(always)]
    fn push(acc: T::Wide, x: T) -> T::Wide {
        x.plus_wide(acc)
    }
    #[inline(always)]
    fn merge(a: T::Wide, b: T::Wide) -> T::Wide {
        T::merge_wide(a, b)
    }
    #[inline(always)]
    fn finish(acc: T::Wide, n: usize) -> T {
        T::mean_of(acc, n)
    }
}

/// The combinations that accumulate in the element type itself.
trait Plain<T: Element>: 'static {
    const UNIT: T;
    fn apply(a: T, b: T) -> T;
}

impl<T: Element> Plain<T> for Prod {
    const UNIT: T = T::UNIT;
    #[inline(always)]
    fn apply(a: T, b: T) -> T {
        a.times(b)
    }
}

impl<T: Element> Plain<T> for Max {
    const UNIT: T = T::LOWEST;
    #[inline(always)]
    fn apply(a: T, b: T) -> T {
        a.max_nan(b)
    }
}

impl<T: Element> Plain<T> for Min {
    const UNIT: T = T::HIGHEST;
    #[inline(always)]
    fn apply(a: T, b: T) -> T {
        a.min_nan(b)
    }
}

impl<T: Element> Plain<T> for All {
    const UNIT: T = T::UNIT;
    #[inline(always)]
    fn apply(a: T, b: T) -> T {
        a.min_nan(b)
    }
}

impl<T: Element> Combine<T> for Prod {
    type Acc = T;
    const IDENTITY: T = <Self as Plain<T>>::UNIT;
    const START: T = <Self as Plain<T>>::UNIT;
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        Self::apply(a, b)
    }
    #[inline(always)]
    fn push(acc: T, x: T) -> T {
        Self::apply(acc, x)
    }
    #[inline(always)]
    fn merge(a: T, b: T) -> T {
        Self::apply(a, b)
    }
    #[inline(always)]
    fn finish(acc: T, _n: usize) -> T {
        acc
    }
}

impl<T: Element> Combine<T> for Max {
    type Acc = T;
    const IDENTITY: T = <Self as Plain<T>>::UNIT;
    const START: T = <Self as Plain<T>>::UNIT;
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        Self::apply(a, b)
    }
    #[inline(always)]
    fn push(acc: T, x: T) -> T {
        Self::apply(acc, x)
    }
    #[inline(always)]
    fn merge(a: T, b: T) -> T {
        Self::apply(a, b)
    }
    #[inline(always)]
    fn finish(acc: T, _n: usize) -> T {
        acc
    }
}

impl<T: Element> Combine<T> for Min {
    type Acc = T;
    const IDENTITY: T = <Self as Plain<T>>::UNIT;
    const START: T = <Self as Plain<T>>::UNIT;
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        Self::apply(a, b)
    }
    #[inline(always)]
    fn push(acc: T, x: T) -> T {
        Self::apply(acc, x)
    }
    #[inline(always)]
    fn merge(a: T, b: T) -> T {
        Self::apply(a, b)
    }
    #[inline(always)]
    fn finish(acc: T, _n: usize) -> T {
        acc
    }
}

impl<T: Element> Combine<T> for All {
    type Acc = T;
    const IDENTITY: T = <Self as Plain<T>>::UNIT;
    const START: T = <Self as Plain<T>>::UNIT;
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        Self::apply(a, b)
    }
    #[inline(always)]
    fn push(acc: T, x: T) -> T {
        Self::apply(acc, x)
    }
    #[inline(always)]
    fn merge(a: T, b: T) -> T {
        Self::apply(a, b)
    }
    #[inline(always)]
    fn finish(acc: T, _n: usize) -> T {
        acc
    }
}

const LANES: usize = 32;

/// Combines the elements of a slice in an order that depends on its length alone: short slices from
/// left to right, others in 32 lanes that are combined pairwise.
#[inline(always)]
pub(crate) fn fold_lanes<T: Element, C: Combine<T>>(x: &[T]) -> T {
    if x.len() < 16 {
        return x.iter().fold(C::IDENTITY, |a, &b| C::join(a, b));
    }
    let mut acc = [C::IDENTITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for i in 0..LANES {
            acc[i] = C::join(acc[i], chunk[i]);
        }
    }
    for (a, &b) in acc.iter_mut().zip(tail) {
        *a = C::join(*a, b);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            acc[i] = C::join(acc[i], acc[i + width]);
        }
        width /= 2;
    }
    acc[0]
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

fn reduce_with<T: Element, C: Combine<T>>(x: &[T], dims: [usize; 3], out: &mut [T]) {
    let [outer, reduced, inner] = dims;
    for o in 0..outer {
        for i in 0..inner {
            let acc = (0..reduced).fold(C::START, |acc, r| {
                C::push(acc, x[(o * reduced + r) * inner + i])
            });
            out[o * inner + i] = C::finish(acc, reduced);
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

/// Which position [`arg_reduce`] looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgOp {
    /// The largest element's.
    Max,
    /// The smallest element's.
    Min,
}

/// The position of the largest or smallest element along the middle axis of `[outer, reduced,
/// inner]`: the first one if several are equal, that of the first NaN if there is one.
///
/// # Errors
/// When a slice's length does not fit, or the axis is empty.
pub fn arg_reduce<T: Element>(
    op: ArgOp,
    x: &[T],
    dims: [usize; 3],
    out: &mut [i64],
) -> Result<(), KernelError> {
    KernelError::check_len("argmax/argmin", "input", dims.iter().product(), x.len())?;
    KernelError::check_len("argmax/argmin", "output", dims[0] * dims[2], out.len())?;
    let [outer, reduced, inner] = dims;
    if reduced == 0 && !out.is_empty() {
        return Err(KernelError::Shape {
            op: "argmax/argmin",
            what: "reduced axis",
            expected: "at least one element".into(),
            got: "0".into(),
        });
    }
    for o in 0..outer {
        for i in 0..inner {
            let mut best = x[o * reduced * inner + i];
            let mut at = 0;
            for r in 1..reduced {
                let v = x[(o * reduced + r) * inner + i];
                let better = match op {
                    ArgOp::Max => v > best,
                    ArgOp::Min => v < best,
                };
                if !best.not_a_number() && (better || v.not_a_number()) {
                    (best, at) = (v, r);
                }
            }
            out[o * inner + i] = at as i64;
        }
    }
    Ok(())
}
