//! The loops of single instructions over a tile, compiled for each instruction set.
//!
//! Each body is a `match` on the operation around small loops that LLVM vectorises. Operands never
//! overlap the result (slots are assigned that way), except that the caller may pass the same
//! memory for both when an output replaces an input exactly; that is slower, not wrong.

use std::marker::PhantomData;

use super::fuse::{FusedOp, MAX_ARGS};
use super::op::{BinaryOp, UnaryOp};
use crate::cpu::{Isa, isa};
use crate::dtype::{DType, Element};
use crate::math::{Integer, Math};
use crate::simd::{prefetch, prefetch_to_write};

/// Where the operands are; those that an operation does not have may be anywhere.
pub(super) type Args = [*const u8; MAX_ARGS];

/// Runs one instruction: operation number, elements, operands, result.
///
/// # Safety
/// The operands that the operation has, and the result, hold that many elements of the types the
/// function was asked for.
pub(super) type InstrFn = unsafe fn(u8, usize, Args, *mut u8);

/// An instruction's body, to be compiled for each instruction set.
pub(super) trait Body {
    /// # Safety
    /// As [`InstrFn`].
    unsafe fn run(op: u8, n: usize, args: Args, out: *mut u8);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi1,bmi2")]
unsafe fn avx512<B: Body>(op: u8, n: usize, args: Args, out: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { B::run(op, n, args, out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2")]
unsafe fn avx2<B: Body>(op: u8, n: usize, args: Args, out: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { B::run(op, n, args, out) }
}

/// The body's function for this processor.
pub(super) fn for_isa<B: Body>() -> InstrFn {
    match isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::<B>,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::<B>,
        _ => B::run,
    }
}

/// The function for unary operations on `x`.
pub(super) fn unary(x: DType) -> InstrFn {
    match x {
        DType::Bool => for_isa::<UnaryBool>(),
        DType::U8 => for_isa::<UnaryInt<u8>>(),
        DType::I32 => for_isa::<UnaryInt<i32>>(),
        DType::I64 => for_isa::<UnaryInt<i64>>(),
        DType::F32 => for_isa::<UnaryFloat<f32>>(),
        DType::F64 => for_isa::<UnaryFloat<f64>>(),
    }
}

/// The function for binary operations on operands of type `x` that are far away.
pub(super) fn far_binary(op: BinaryOp, x: DType) -> InstrFn {
    match (op, x) {
        (BinaryOp::Add, DType::F32) => for_isa::<FarSum<f32>>(),
        (BinaryOp::Add, DType::F64) => for_isa::<FarSum<f64>>(),
        _ => binary(x),
    }
}

/// The function for binary operations on operands of type `x`.
pub(super) fn binary(x: DType) -> InstrFn {
    match x {
        DType::Bool | DType::U8 => for_isa::<BinaryInt<u8>>(),
        DType::I32 => for_isa::<BinaryInt<i32>>(),
        DType::I64 => for_isa::<BinaryInt<i64>>(),
        DType::F32 => for_isa::<BinaryFloat<f32>>(),
        DType::F64 => for_isa::<BinaryFloat<f64>>(),
    }
}

/// The function for selections between operands of type `x`.
pub(super) fn select(x: DType) -> InstrFn {
    match x.size() {
        1 => for_isa::<Select<u8>>(),
        4 => for_isa::<Select<u32>>(),
        _ => for_isa::<Select<u64>>(),
    }
}

/// The function for multiply-add of floats of type `x`.
pub(super) fn mul_add(x: DType) -> InstrFn {
    match x {
        DType::F32 => for_isa::<MulAdd<f32>>(),
        _ => for_isa::<MulAdd<f64>>(),
    }
}

/// The functions for several operations at once on floats of type `x`, whose result may be in the
/// place of an operand: for operands that are near, and for such as are not in the cache.
pub(super) fn fused(x: DType) -> [InstrFn; 2] {
    match x {
        DType::F32 => [
            for_isa::<Fused<f32, false>>(),
            for_isa::<Fused<f32, true>>(),
        ],
        _ => [
            for_isa::<Fused<f64, false>>(),
            for_isa::<Fused<f64, true>>(),
        ],
    }
}

/// The function that copies values of type `x`.
pub(super) fn copy_fn(x: DType) -> InstrFn {
    match x.size() {
        1 => for_isa::<Same<u8>>(),
        4 => for_isa::<Same<u32>>(),
        _ => for_isa::<Same<u64>>(),
    }
}

/// Applies `f` to each element.
///
/// # Safety
/// As [`InstrFn`], for operands of type `A` and results of type `R`.
#[inline(always)]
pub(super) unsafe fn map1<A: Copy, R>(n: usize, args: Args, out: *mut u8, f: impl Fn(A) -> R) {
    let (a, out) = (args[0].cast::<A>(), out.cast::<R>());
    for i in 0..n {
        // SAFETY: the caller's promise; `i < n`.
        unsafe { out.add(i).write(f(a.add(i).read())) };
    }
}

#[inline(always)]
unsafe fn map2<A: Copy, R>(n: usize, args: Args, out: *mut u8, f: impl Fn(A, A) -> R) {
    let (a, b, out) = (args[0].cast::<A>(), args[1].cast::<A>(), out.cast::<R>());
    for i in 0..n {
        // SAFETY: the caller's promise; `i < n`.
        unsafe { out.add(i).write(f(a.add(i).read(), b.add(i).read())) };
    }
}

#[inline(always)]
unsafe fn map3<A: Copy, B: Copy>(n: usize, args: Args, out: *mut u8, f: impl Fn(A, B, B) -> B) {
    let (a, b, c) = (
        args[0].cast::<A>(),
        args[1].cast::<B>(),
        args[2].cast::<B>(),
    );
    let out = out.cast::<B>();
    for i in 0..n {
        // SAFETY: the caller's promise; `i < n`.
        unsafe {
            out.add(i)
                .write(f(a.add(i).read(), b.add(i).read(), c.add(i).read()))
        };
    }
}

struct UnaryFloat<T>(PhantomData<T>);

impl<T: Math> Body for UnaryFloat<T> {
    #[inline(always)]
    unsafe fn run(op: u8, n: usize, args: Args, out: *mut u8) {
        use UnaryOp::*;
        // SAFETY: the caller's promise, in every arm.
        unsafe {
            match UnaryOp::ALL[usize::from(op)] {
                Neg => map1(n, args, out, |x: T| -x),
                Abs => map1(n, args, out, |x: T| x.absolute()),
                Sign => map1(n, args, out, |x: T| x.signum_or_nan()),
                Square => map1(n, args, out, |x: T| x * x),
                Relu => map1(n, args, out, |x: T| x.max_nan(T::ZERO)),
                Exp => map1(n, args, out, |x: T| x.exp()),
                Expm1 => map1(n, args, out, |x: T| x.exp_m1()),
                Log => map1(n, args, out, |x: T| x.ln()),
                Log1p => map1(n, args, out, |x: T| x.ln_1p()),
                Sqrt => map1(n, args, out, |x: T| x.sqrt()),
                Rsqrt => map1(n, args, out, |x: T| T::ONE / x.sqrt()),
                Reciprocal => map1(n, args, out, |x: T| T::ONE / x),
                Sin => {
                    map1(n, args, out, |x: T| x.sin());
                    large_angles::<T>(n, args[0], out, f64::sin)
                }
                Cos => {
                    map1(n, args, out, |x: T| x.cos());
                    large_angles::<T>(n, args[0], out, f64::cos)
                }
                Tan => {
                    map1(n, args, out, |x: T| x.tan());
                    large_angles::<T>(n, args[0], out, f64::tan)
                }
                Tanh => map1(n, args, out, |x: T| x.tanh()),
                Sigmoid => map1(n, args, out, |x: T| x.sigmoid()),
                Softplus => map1(n, args, out, |x: T| x.softplus()),
                Erf => map1(n, args, out, |x: T| x.erf()),
                Floor => map1(n, args, out, |x: T| x.floor()),
                Ceil => map1(n, args, out, |x: T| x.ceil()),
                Round => map1(n, args, out, |x: T| x.round_half_even()),
                IsNan => map1(n, args, out, |x: T| u8::from(x.not_a_number())),
                IsFinite => map1(n, args, out, |x: T| u8::from(x.absolute() < T::HIGHEST)),
                Not => {}
            }
        }
    }
}

/// Corrects the results for angles that the fast functions do not cover.
#[inline(always)]
unsafe fn large_angles<T: Math>(n: usize, x: *const u8, out: *mut u8, f: fn(f64) -> f64) {
    let large = |v: T| v.absolute() > T::LARGE_ANGLE;
    let mut any = false;
    for i in 0..n {
        // SAFETY: the caller's promise; `i < n`.
        any |= large(unsafe { x.cast::<T>().add(i).read() });
    }
    if !any {
        return;
    }
    for i in 0..n {
        // SAFETY: as above.
        unsafe {
            let v = x.cast::<T>().add(i).read();
            if large(v) {
                out.cast::<T>().add(i).write(v.slow_angle(f));
            }
        }
    }
}

struct UnaryInt<T>(PhantomData<T>);

impl<T: Integer> Body for UnaryInt<T> {
    #[inline(always)]
    unsafe fn run(op: u8, n: usize, args: Args, out: *mut u8) {
        // SAFETY: the caller's promise, in every arm.
        unsafe {
            match UnaryOp::ALL[usize::from(op)] {
                UnaryOp::Neg => map1(n, args, out, |x: T| T::NIL.minus(x)),
                UnaryOp::Abs => map1(n, args, out, |x: T| x.absolute()),
                UnaryOp::Sign => map1(n, args, out, |x: T| x.sign()),
                UnaryOp::Square => map1(n, args, out, |x: T| x.times(x)),
                UnaryOp::Relu => map1(n, args, out, |x: T| x.max_nan(T::NIL)),
                _ => {}
            }
        }
    }
}

struct UnaryBool;

impl Body for UnaryBool {
    #[inline(always)]
    unsafe fn run(_op: u8, n: usize, args: Args, out: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { map1(n, args, out, |x: u8| u8::from(x == 0)) }
    }
}

#[inline(always)]
unsafe fn compare<T: Element>(op: BinaryOp, n: usize, args: Args, out: *mut u8) {
    // SAFETY: the caller's promise, in every arm.
    unsafe {
        match op {
            BinaryOp::Max => map2(n, args, out, |a: T, b: T| a.max_nan(b)),
            BinaryOp::Min => map2(n, args, out, |a: T, b: T| a.min_nan(b)),
            BinaryOp::Eq => map2(n, args, out, |a: T, b: T| u8::from(a == b)),
            BinaryOp::Ne => map2(n, args, out, |a: T, b: T| u8::from(a != b)),
            BinaryOp::Lt => map2(n, args, out, |a: T, b: T| u8::from(a < b)),
            BinaryOp::Le => map2(n, args, out, |a: T, b: T| u8::from(a <= b)),
            BinaryOp::Gt => map2(n, args, out, |a: T, b: T| u8::from(a > b)),
            BinaryOp::Ge => map2(n, args, out, |a: T, b: T| u8::from(a >= b)),
            _ => {}
        }
    }
}

struct BinaryFloat<T>(PhantomData<T>);

impl<T: Math> Body for BinaryFloat<T> {
    #[inline(always)]
    unsafe fn run(op: u8, n: usize, args: Args, out: *mut u8) {
        use BinaryOp::*;
        let op = BinaryOp::ALL[usize::from(op)];
        // SAFETY: the caller's promise, in every arm.
        unsafe {
            match op {
                Add => map2(n, args, out, |a: T, b: T| a + b),
                Sub => map2(n, args, out, |a: T, b: T| a - b),
                Mul => map2(n, args, out, |a: T, b: T| a * b),
                Div => map2(n, args, out, |a: T, b: T| a / b),
                FloorDiv => map2(n, args, out, |a: T, b: T| a.floor_div(b)),
                Mod => map2(n, args, out, |a: T, b: T| a.modulo(b)),
                Pow => map2(n, args, out, |a: T, b: T| a.pow(b)),
                _ => compare::<T>(op, n, args, out),
            }
        }
    }
}

struct BinaryInt<T>(PhantomData<T>);

impl<T: Integer> Body for BinaryInt<T> {
    #[inline(always)]
    unsafe fn run(op: u8, n: usize, args: Args, out: *mut u8) {
        use BinaryOp::*;
        let op = BinaryOp::ALL[usize::from(op)];
        // SAFETY: the caller's promise, in every arm.
        unsafe {
            match op {
                Add => map2(n, args, out, |a: T, b: T| a.plus(b)),
                Sub => map2(n, args, out, |a: T, b: T| a.minus(b)),
                Mul => map2(n, args, out, |a: T, b: T| a.times(b)),
                FloorDiv => map2(n, args, out, |a: T, b: T| a.floor_div(b)),
                Mod => map2(n, args, out, |a: T, b: T| a.modulo(b)),
                Pow => map2(n, args, out, |a: T, b: T| a.pow(b)),
                And => map2(n, args, out, |a: T, b: T| a & b),
                Or => map2(n, args, out, |a: T, b: T| a | b),
                Xor => map2(n, args, out, |a: T, b: T| a ^ b),
                _ => compare::<T>(op, n, args, out),
            }
        }
    }
}

struct Select<T>(PhantomData<T>);

impl<T: Copy> Body for Select<T> {
    #[inline(always)]
    unsafe fn run(_op: u8, n: usize, args: Args, out: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { map3(n, args, out, |m: u8, a: T, b: T| if m != 0 { a } else { b }) }
    }
}

struct MulAdd<T>(PhantomData<T>);

impl<T: Math> Body for MulAdd<T> {
    #[inline(always)]
    unsafe fn run(_op: u8, n: usize, args: Args, out: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { map3(n, args, out, |a: T, b: T, c: T| a.mul_add(b, c)) }
    }
}

/// `FAR` asks for the memory of the next tile while one is computed.
struct Fused<T, const FAR: bool>(PhantomData<T>);

impl<T: Math, const FAR: bool> Body for Fused<T, FAR> {
    #[inline(always)]
    unsafe fn run(op: u8, n: usize, args: Args, out: *mut u8) {
        let step = |a: T, b: T, c: T, d: T, e: T| a - b * c / (d.sqrt() + e);
        let or_zero = |x: T, e: T| if x.absolute() < e { T::ZERO } else { x };
        let from_zero = |x: T| if x < T::ZERO { T::ZERO } else { x };
        // SAFETY: the caller's promise, in every arm.
        unsafe {
            match FusedOp::ALL[usize::from(op)] {
                FusedOp::PlusProduct => {
                    blocks::<FAR, _, _>(n, args, out, |[a, b, c]: [T; 3]| a + b * c);
                }
                FusedOp::MinusProduct => {
                    blocks::<FAR, _, _>(n, args, out, |[a, b, c]: [T; 3]| a - b * c);
                }
                FusedOp::SumOfProducts => {
                    blocks::<FAR, _, _>(n, args, out, |[a, b, c, d]: [T; 4]| a * b + c * d);
                }
                FusedOp::DifferenceOfProducts => {
                    blocks::<FAR, _, _>(n, args, out, |[a, b, c, d]: [T; 4]| a * b - c * d);
                }
                FusedOp::SumWithSquare => {
                    blocks::<FAR, _, _>(n, args, out, |[a, b, c, d]: [T; 4]| a * b + c * (d * d));
                }
                FusedOp::SumOfProductsOrZero => {
                    blocks::<FAR, _, _>(n, args, out, |[a, b, c, d, e]: [T; 5]| {
                        or_zero(a * b + c * d, e)
                    });
                }
                FusedOp::DifferenceOfProductsOrZero => {
                    blocks::<FAR, _, _>(n, args, out, |[a, b, c, d, e]: [T; 5]| {
                        or_zero(a * b - c * d, e)
                    });
                }
                FusedOp::SumWithSquareOrZero => {
                    blocks::<FAR, _, _>(n, args, out, |[a, b, c, d, e]: [T; 5]| {
                        or_zero(a * b + c * (d * d), e)
                    });
                }
                FusedOp::Step => {
                    blocks::<FAR, _, _>(n, args, out, |[a, b, c, d, e]: [T; 5]| {
                        step(a, b, c, d, e)
                    });
                }
                FusedOp::StepFromZero => {
                    blocks::<FAR, _, _>(n, args, out, |[a, b, c, d, e]: [T; 5]| {
                        step(a, b, c, from_zero(d), e)
                    });
                }
                FusedOp::RootOfRatio => {
                    blocks::<FAR, _, _>(n, args, out, |[a, b, c, d, e]: [T; 5]| {
                        a * ((b + c) / (d + e)).sqrt()
                    });
                }
                FusedOp::RootOfRatioFromZero => {
                    blocks::<FAR, _, _>(n, args, out, |[a, b, c, d, e]: [T; 5]| {
                        a * from_zero((b + c) / (d + e)).sqrt()
                    });
                }
            }
        }
    }
}

/// Applies `f` to `K` operands. A block of results is computed before any of it is written, so that
/// they may lie where an operand does.
#[inline(always)]
unsafe fn blocks<const FAR: bool, T: Math, const K: usize>(
    n: usize,
    args: Args,
    out: *mut u8,
    f: impl Fn([T; K]) -> T,
) {
    // Of constant length, so that a block's results stay in registers.
    const BLOCK: usize = 64;
    let args: [*const T; K] = std::array::from_fn(|k| args[k].cast());
    let out = out.cast::<T>();
    let whole = n - n % BLOCK;
    let in_place = FAR && args.iter().any(|arg| std::ptr::eq(*arg, out));
    // SAFETY: the caller's promise; all that is read and written lies before `n`.
    unsafe {
        let one = |i: usize| f(std::array::from_fn(|k| args[k].add(i).read()));
        for at in (0..whole).step_by(BLOCK) {
            if FAR {
                args.iter()
                    .for_each(|arg| prefetch(arg.wrapping_add(at + n), BLOCK));
                if !in_place {
                    prefetch_to_write(out.wrapping_add(at + n), BLOCK);
                }
            }
            let results: [T; BLOCK] = std::array::from_fn(|i| one(at + i));
            out.add(at).cast::<[T; BLOCK]>().write_unaligned(results);
        }
        let mut results = [T::ZERO; BLOCK];
        for i in whole..n {
            results[i - whole] = one(i);
        }
        out.add(whole)
            .copy_from_nonoverlapping(results.as_ptr(), n - whole);
    }
}

/// A sum, which asks for the memory of the next tile while one is computed.
struct FarSum<T>(PhantomData<T>);

impl<T: Math> Body for FarSum<T> {
    #[inline(always)]
    unsafe fn run(_op: u8, n: usize, args: Args, out: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { blocks::<true, _, _>(n, args, out, |[a, b]: [T; 2]| a + b) }
    }
}

struct Same<T>(PhantomData<T>);

impl<T: Copy> Body for Same<T> {
    #[inline(always)]
    unsafe fn run(_op: u8, n: usize, args: Args, out: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { map1(n, args, out, |x: T| x) }
    }
}
