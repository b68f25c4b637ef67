//! Conversions between element types.

use std::marker::PhantomData;

use super::instr::{Args, Body, InstrFn, for_isa, map1};
use crate::dtype::{DType, Element};

/// The function that converts `from` into `to`.
pub(super) fn cast(from: DType, to: DType) -> InstrFn {
    match from {
        DType::Bool | DType::U8 => cast_to::<u8>(to),
        DType::I32 => cast_to::<i32>(to),
        DType::I64 => cast_to::<i64>(to),
        DType::F32 => cast_to::<f32>(to),
        DType::F64 => cast_to::<f64>(to),
    }
}

fn cast_to<A: Convert>(to: DType) -> InstrFn {
    match to {
        DType::Bool => for_isa::<ToBool<A>>(),
        DType::U8 => for_isa::<To<A, u8>>(),
        DType::I32 => for_isa::<To<A, i32>>(),
        DType::I64 => for_isa::<To<A, i64>>(),
        DType::F32 => for_isa::<To<A, f32>>(),
        DType::F64 => for_isa::<To<A, f64>>(),
    }
}

struct ToBool<A>(PhantomData<A>);

impl<A: Element> Body for ToBool<A> {
    #[inline(always)]
    unsafe fn run(_op: u8, n: usize, args: Args, out: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { map1(n, args, out, |x: A| u8::from(x != A::NIL)) }
    }
}

struct To<A, B>(PhantomData<(A, B)>);

impl<A: Convert, B: Convert> Body for To<A, B> {
    #[inline(always)]
    unsafe fn run(_op: u8, n: usize, args: Args, out: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { map1(n, args, out, |x: A| B::convert(x)) }
    }
}

/// Conversion among element types with the semantics of `as`.
trait Convert: Element {
    fn to_u8(self) -> u8;
    fn to_i32(self) -> i32;
    fn to_i64(self) -> i64;
    fn to_f32(self) -> f32;
    fn to_f64(self) -> f64;
    fn convert<A: Convert>(x: A) -> Self;
}

macro_rules! convert {
    ($($type:ty, $method:ident;)*) => {$(
        impl Convert for $type {
            #[inline(always)]
            fn to_u8(self) -> u8 {
                self as u8
            }
            #[inline(always)]
            fn to_i32(self) -> i32 {
                self as i32
            }
            #[inline(always)]
            fn to_i64(self) -> i64 {
                self as i64
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn convert<A: Convert>(x: A) -> Self {
                x.$method()
            }
        }
    )*};
}

convert! {
    u8, to_u8;
    i32, to_i32;
    i64, to_i64;
    f32, to_f32;
    f64, to_f64;
}
