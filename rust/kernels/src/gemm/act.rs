//! Activations of whole rows, with the functions that elementwise operations use: fusing an
//! activation does not change its bits.

use super::Act;
use crate::dtype::{DType, Float};
use crate::math::Math;
use crate::simd::{Body, dispatch};

struct Apply<'a, T> {
    act: Act,
    x: &'a mut [T],
}

impl<T: Math> Body for Apply<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        match self.act {
            Act::None => {}
            Act::Relu => self.x.iter_mut().for_each(|x| *x = relu(*x)),
            Act::Sigmoid => self.x.iter_mut().for_each(|x| *x = x.sigmoid()),
            Act::Tanh => self.x.iter_mut().for_each(|x| *x = x.tanh()),
            Act::HardSigmoid => {
                let (slope, half) = (T::from_f64(0.2), T::from_f64(0.5));
                self.x.iter_mut().for_each(|x| *x = clip(slope * *x + half));
            }
            Act::Elu(alpha) => {
                let alpha = T::from_f64(alpha);
                self.x.iter_mut().for_each(|x| *x = elu(*x, alpha));
            }
        }
    }
}

#[inline(always)]
fn relu<T: Float>(x: T) -> T {
    if x < T::ZERO { T::ZERO } else { x }
}

#[inline(always)]
fn clip<T: Float>(x: T) -> T {
    let x = relu(x);
    if x > T::ONE { T::ONE } else { x }
}

#[inline(always)]
fn elu<T: Math>(x: T, alpha: T) -> T {
    let negative = alpha * x.exp_m1();
    if x > T::ZERO { x } else { negative }
}

/// Applies an activation in place.
pub(crate) fn activate<T: Float>(act: Act, x: &mut [T]) {
    if T::DTYPE == DType::F32 {
        // SAFETY: the tag says that `T` is `f32`.
        let x = unsafe { cast::<T, f32>(x) };
        dispatch(Apply { act, x });
    } else {
        // SAFETY: the tag says that `T` is `f64`, the only other one.
        let x = unsafe { cast::<T, f64>(x) };
        dispatch(Apply { act, x });
    }
}

/// The same slice under its type's other name.
///
/// # Safety
/// `A` and `B` are the same type.
unsafe fn cast<A: 'static, B: 'static>(x: &mut [A]) -> &mut [B] {
    debug_assert_eq!(std::any::TypeId::of::<A>(), std::any::TypeId::of::<B>());
    // SAFETY: the types are one.
    unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), x.len()) }
}
