//! Vectors of one instruction set behind one trait, so that a kernel is written once.
//!
//! A kernel is a [`Body`]; [`Simd::call`] compiles its `run` with the instruction set's features
//! switched on. Everything that `run` calls must be `#[inline(always)]` to be compiled with them.
//! May import `cpu` and `dtype`.

use std::marker::PhantomData;

use crate::dtype::Float;

/// A computation that is compiled once for every instruction set.
pub trait Body<T> {
    /// What it returns.
    type Out;
    /// The computation on vectors of `S`.
    ///
    /// # Safety
    /// The CPU has the instruction set of `S`; other conditions are the implementor's.
    unsafe fn run<S: Simd<T = T>>(self) -> Self::Out;
}

/// The vectors of one instruction set and one element type.
///
/// # Safety
/// Every function must only be called on a CPU that has the instruction set; pointers must be valid
/// for the lanes that are read or written (a mask's lanes only, where there is one).
pub unsafe trait Simd: Copy + Send + Sync + 'static {
    /// The element type.
    type T: Float;
    /// A vector.
    type V: Copy;
    /// Which lanes, counted from the first, take part.
    type Mask: Copy;
    /// Lanes of a vector.
    const LANES: usize;
    /// Vector registers.
    const REGISTERS: usize;
    /// Whether a masked load or store costs no more than a whole one.
    const FREE_MASKS: bool;

    /// Runs `body` compiled for this instruction set.
    ///
    /// # Safety
    /// The CPU has the instruction set, and `body`'s own conditions hold.
    unsafe fn call<B: Body<Self::T>>(body: B) -> B::Out;
    /// All lanes `x`.
    unsafe fn splat(x: Self::T) -> Self::V;
    /// Reads a vector.
    unsafe fn load(p: *const Self::T) -> Self::V;
    /// Writes a vector.
    unsafe fn store(p: *mut Self::T, v: Self::V);
    /// The mask of the first `n` lanes, `n <= LANES`.
    unsafe fn mask(n: usize) -> Self::Mask;
    /// Reads the mask's lanes; the others are zero.
    unsafe fn load_mask(p: *const Self::T, m: Self::Mask) -> Self::V;
    /// Writes the mask's lanes.
    unsafe fn store_mask(p: *mut Self::T, m: Self::Mask, v: Self::V);
    /// `a + b`
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the instruction set has the instruction.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `x < 0 ? 0 : x`; NaN stays NaN.
    unsafe fn relu(x: Self::V) -> Self::V;
    /// Writes the transpose of a square of `LANES` rows: `dst[j * ldd + i] = src[i * lds + j]`.
    #[inline(always)]
    unsafe fn transpose(src: *const Self::T, lds: usize, dst: *mut Self::T, ldd: usize) {
        for i in 0..Self::LANES {
            for j in 0..Self::LANES {
                // SAFETY: the caller's promise.
                unsafe { *dst.add(j * ldd + i) = *src.add(i * lds + j) };
            }
        }
    }
}

/// The instruction sets' vectors of an element type.
pub trait Vectors: Sized {
    /// 512-bit vectors.
    type Avx512: Simd<T = Self>;
    /// 256-bit vectors.
    type Avx2: Simd<T = Self>;
}

/// Vectors of four lanes in plain Rust. `fma` rounds twice here: the fused form would call a library
/// function for each lane, so bits differ from those of the other instruction sets.
#[derive(Clone, Copy)]
pub(crate) struct Portable<T>(PhantomData<T>);

// SAFETY: plain Rust within the lanes that the trait's contract makes valid.
unsafe impl<T: Float> Simd for Portable<T> {
    type T = T;
    type V = [T; 4];
    type Mask = usize;
    const LANES: usize = 4;
    const REGISTERS: usize = 16;
    const FREE_MASKS: bool = false;

    #[inline(never)]
    unsafe fn call<B: Body<T>>(body: B) -> B::Out {
        // SAFETY: the caller's promise.
        unsafe { body.run::<Self>() }
    }
    #[inline(always)]
    unsafe fn splat(x: T) -> Self::V {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut T, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn mask(n: usize) -> usize {
        n
    }
    #[inline(always)]
    unsafe fn load_mask(p: *const T, m: usize) -> Self::V {
        let mut v = [T::ZERO; 4];
        for i in 0..4 {
            if i < m {
                // SAFETY: a lane of the mask.
                v[i] = unsafe { *p.add(i) };
            }
        }
        v
    }
    #[inline(always)]
    unsafe fn store_mask(p: *mut T, m: usize, v: Self::V) {
        for i in 0..4 {
            if i < m {
                // SAFETY: a lane of the mask.
                unsafe { *p.add(i) = v[i] };
            }
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn relu(x: Self::V) -> Self::V {
        x.map(|x| if x < T::ZERO { T::ZERO } else { x })
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Vectors for f32 {
    type Avx512 = Portable<f32>;
    type Avx2 = Portable<f32>;
}
#[cfg(not(target_arch = "x86_64"))]
impl Vectors for f64 {
    type Avx512 = Portable<f64>;
    type Avx2 = Portable<f64>;
}
