//! The ways to combine elements, as types, and the order in which a slice is combined.

use crate::dtype::Element;

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

/// Combines rows of `columns` elements pairwise into the first.
#[inline(always)]
pub(crate) fn fold_rows<T: Element, C: Combine<T>>(acc: &mut [T], columns: usize) {
    let mut rows = acc.len() / columns;
    while rows > 1 {
        let half = rows / 2;
        let (low, high) = acc[..rows * columns].split_at_mut((rows - half) * columns);
        for (a, &v) in low[..half * columns].iter_mut().zip(high.iter()) {
            *a = C::join(*a, v);
        }
        rows -= half;
    }
}
