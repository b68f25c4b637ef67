//! The vectors of AVX2 with FMA and of AVX-512, on the compiler's intrinsics.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::simd::{Body, Simd, Vectors};

/// 512-bit vectors.
#[derive(Clone, Copy)]
pub struct Avx512<T>(PhantomData<T>);

/// 256-bit vectors.
#[derive(Clone, Copy)]
pub struct Avx2<T>(PhantomData<T>);

impl Vectors for f32 {
    type Avx512 = Avx512<f32>;
    type Avx2 = Avx2<f32>;
}
impl Vectors for f64 {
    type Avx512 = Avx512<f64>;
    type Avx2 = Avx2<f64>;
}

/// `MASKS[8 - n..]` starts with `n` lanes of ones.
static MASKS_32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
/// `MASKS[4 - n..]` starts with `n` lanes of ones.
static MASKS_64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

// SAFETY: each function is the intrinsic of the instruction set that the trait's contract demands.
unsafe impl Simd for Avx512<f32> {
    type T = f32;
    type V = __m512;
    type Mask = __mmask16;
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    const FREE_MASKS: bool = true;

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    unsafe fn call<B: Body<f32>>(body: B) -> B::Out {
        // SAFETY: the caller's promise.
        unsafe { body.run::<Self>() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn mask(n: usize) -> Self::Mask {
        ((1u32 << n) - 1) as u16
    }
    #[inline(always)]
    unsafe fn load_mask(p: *const f32, m: Self::Mask) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_ps(m, p) }
    }
    #[inline(always)]
    unsafe fn store_mask(p: *mut f32, m: Self::Mask, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_storeu_ps(p, m, v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn relu(x: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), x) }
    }
    #[inline(always)]
    unsafe fn transpose(src: *const f32, lds: usize, dst: *mut f32, ldd: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let r: [__m512; 16] = std::array::from_fn(|i| _mm512_loadu_ps(src.add(i * lds)));
            // Squares of 4 within each quarter, then quarters.
            let mut q = [_mm512_setzero_ps(); 16];
            for g in 0..4 {
                let (a, b, c, d) = (r[4 * g], r[4 * g + 1], r[4 * g + 2], r[4 * g + 3]);
                let (ab, ab2) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                let (cd, cd2) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
                q[4 * g] = _mm512_shuffle_ps::<0x44>(ab, cd);
                q[4 * g + 1] = _mm512_shuffle_ps::<0xee>(ab, cd);
                q[4 * g + 2] = _mm512_shuffle_ps::<0x44>(ab2, cd2);
                q[4 * g + 3] = _mm512_shuffle_ps::<0xee>(ab2, cd2);
            }
            for j in 0..4 {
                let (a, b, c, d) = (q[j], q[4 + j], q[8 + j], q[12 + j]);
                let (e, f) = (
                    _mm512_shuffle_f32x4::<0x88>(a, b),
                    _mm512_shuffle_f32x4::<0xdd>(a, b),
                );
                let (g, h) = (
                    _mm512_shuffle_f32x4::<0x88>(c, d),
                    _mm512_shuffle_f32x4::<0xdd>(c, d),
                );
                _mm512_storeu_ps(dst.add(j * ldd), _mm512_shuffle_f32x4::<0x88>(e, g));
                _mm512_storeu_ps(dst.add((4 + j) * ldd), _mm512_shuffle_f32x4::<0x88>(f, h));
                _mm512_storeu_ps(dst.add((8 + j) * ldd), _mm512_shuffle_f32x4::<0xdd>(e, g));
                _mm512_storeu_ps(dst.add((12 + j) * ldd), _mm512_shuffle_f32x4::<0xdd>(f, h));
            }
        }
    }
}

// SAFETY: each function is the intrinsic of the instruction set that the trait's contract demands.
unsafe impl Simd for Avx512<f64> {
    type T = f64;
    type V = __m512d;
    type Mask = __mmask8;
    const LANES: usize = 8;
    const REGISTERS: usize = 32;
    const FREE_MASKS: bool = true;

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    unsafe fn call<B: Body<f64>>(body: B) -> B::Out {
        // SAFETY: the caller's promise.
        unsafe { body.run::<Self>() }
    }
    #[inline(always)]
    unsafe fn splat(x: f64) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_pd(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f64) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_pd(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f64, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_pd(p, v) }
    }
    #[inline(always)]
    unsafe fn mask(n: usize) -> Self::Mask {
        ((1u32 << n) - 1) as u8
    }
    #[inline(always)]
    unsafe fn load_mask(p: *const f64, m: Self::Mask) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_pd(m, p) }
    }
    #[inline(always)]
    unsafe fn store_mask(p: *mut f64, m: Self::Mask, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_storeu_pd(p, m, v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_add_pd(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_sub_pd(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mul_pd(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_fmadd_pd(a, b, c) }
    }
    #[inline(always)]
    unsafe fn relu(x: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm512_max_pd(_mm512_setzero_pd(), x) }
    }
}

// SAFETY: each function is the intrinsic of the instruction set that the trait's contract demands.
unsafe impl Simd for Avx2<f32> {
    type T = f32;
    type V = __m256;
    type Mask = __m256i;
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    const FREE_MASKS: bool = false;

    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn call<B: Body<f32>>(body: B) -> B::Out {
        // SAFETY: the caller's promise.
        unsafe { body.run::<Self>() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn mask(n: usize) -> Self::Mask {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(MASKS_32.as_ptr().add(8 - n).cast()) }
    }
    #[inline(always)]
    unsafe fn load_mask(p: *const f32, m: Self::Mask) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_maskload_ps(p, m) }
    }
    #[inline(always)]
    unsafe fn store_mask(p: *mut f32, m: Self::Mask, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_maskstore_ps(p, m, v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn relu(x: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_max_ps(_mm256_setzero_ps(), x) }
    }
    #[inline(always)]
    unsafe fn transpose(src: *const f32, lds: usize, dst: *mut f32, ldd: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let r: [__m256; 8] = std::array::from_fn(|i| _mm256_loadu_ps(src.add(i * lds)));
            let mut q = [_mm256_setzero_ps(); 8];
            for g in 0..2 {
                let (a, b, c, d) = (r[4 * g], r[4 * g + 1], r[4 * g + 2], r[4 * g + 3]);
                let (ab, ab2) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (cd, cd2) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                q[4 * g] = _mm256_shuffle_ps::<0x44>(ab, cd);
                q[4 * g + 1] = _mm256_shuffle_ps::<0xee>(ab, cd);
                q[4 * g + 2] = _mm256_shuffle_ps::<0x44>(ab2, cd2);
                q[4 * g + 3] = _mm256_shuffle_ps::<0xee>(ab2, cd2);
            }
            for j in 0..4 {
                let (a, b) = (q[j], q[4 + j]);
                _mm256_storeu_ps(dst.add(j * ldd), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(dst.add((4 + j) * ldd), _mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    }
}

// SAFETY: each function is the intrinsic of the instruction set that the trait's contract demands.
unsafe impl Simd for Avx2<f64> {
    type T = f64;
    type V = __m256d;
    type Mask = __m256i;
    const LANES: usize = 4;
    const REGISTERS: usize = 16;
    const FREE_MASKS: bool = false;

    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn call<B: Body<f64>>(body: B) -> B::Out {
        // SAFETY: the caller's promise.
        unsafe { body.run::<Self>() }
    }
    #[inline(always)]
    unsafe fn splat(x: f64) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_set1_pd(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f64) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_pd(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f64, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_pd(p, v) }
    }
    #[inline(always)]
    unsafe fn mask(n: usize) -> Self::Mask {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(MASKS_64.as_ptr().add(4 - n).cast()) }
    }
    #[inline(always)]
    unsafe fn load_mask(p: *const f64, m: Self::Mask) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_maskload_pd(p, m) }
    }
    #[inline(always)]
    unsafe fn store_mask(p: *mut f64, m: Self::Mask, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_maskstore_pd(p, m, v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_add_pd(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_sub_pd(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_mul_pd(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_fmadd_pd(a, b, c) }
    }
    #[inline(always)]
    unsafe fn relu(x: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { _mm256_max_pd(_mm256_setzero_pd(), x) }
    }
}
