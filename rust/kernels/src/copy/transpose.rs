//! Transposition of a strip of a matrix, in blocks that are turned in registers.

use crate::cpu::{Isa, isa};

/// Columns of the destination that are written at a time.
pub(super) const STRIP: usize = 64;

/// Words that are moved: integers of the elements' size.
pub(super) trait Word: Copy + Send + Sync + 'static {
    /// Rows and columns of a block.
    const BLOCK: usize;
    /// Transposes one block: `dst[i * to + k] = src[k * from + i]`.
    ///
    /// # Safety
    /// All of these elements are valid. AVX2 is there if `avx2` is set.
    unsafe fn block(src: *const Self, from: isize, dst: *mut Self, to: isize, avx2: bool);
}

/// `dst[i * to + k] = src[k * from + i]` for `i < m`, `k < width`.
///
/// # Safety
/// All of these elements are valid, and source and destination do not overlap.
pub(super) unsafe fn strip<T: Word>(
    m: usize,
    width: usize,
    src: *const T,
    from: isize,
    dst: *mut T,
    to: isize,
) {
    let avx2 = isa() >= Isa::Avx2;
    let b = T::BLOCK;
    let (whole_m, whole_width) = (m / b * b, width / b * b);
    for i in (0..whole_m).step_by(b) {
        for k in (0..whole_width).step_by(b) {
            // SAFETY: the block is within the strip.
            unsafe {
                let s = src.offset(k as isize * from).add(i);
                T::block(s, from, dst.offset(i as isize * to).add(k), to, avx2);
            }
        }
    }
    for i in 0..m {
        let first = if i < whole_m { whole_width } else { 0 };
        for k in first..width {
            // SAFETY: within the strip.
            unsafe {
                let v = src.offset(k as isize * from).add(i).read();
                dst.offset(i as isize * to).add(k).write(v);
            }
        }
    }
}

/// The block without vector instructions.
#[inline(always)]
unsafe fn plain<T: Word>(src: *const T, from: isize, dst: *mut T, to: isize) {
    for i in 0..T::BLOCK {
        for k in 0..T::BLOCK {
            // SAFETY: the caller's promise.
            unsafe {
                let v = src.offset(k as isize * from).add(i).read();
                dst.offset(i as isize * to).add(k).write(v);
            }
        }
    }
}

impl Word for u8 {
    const BLOCK: usize = 8;
    #[inline]
    unsafe fn block(src: *const u8, from: isize, dst: *mut u8, to: isize, _avx2: bool) {
        // SAFETY: the caller's promise; the words are unaligned.
        unsafe {
            let mut x = [0u64; 8];
            for (k, x) in x.iter_mut().enumerate() {
                *x = src
                    .offset(k as isize * from)
                    .cast::<u64>()
                    .read_unaligned()
                    .to_le();
            }
            // Swaps ever larger squares of bytes across the diagonal.
            for (half, mask) in [
                (1, 0x00FF_00FF_00FF_00FFu64),
                (2, 0x0000_FFFF_0000_FFFF),
                (4, 0x0000_0000_FFFF_FFFF),
            ] {
                for k in (0..8).filter(|k| k & half == 0) {
                    let t = ((x[k] >> (8 * half)) ^ x[k + half]) & mask;
                    x[k + half] ^= t;
                    x[k] ^= t << (8 * half);
                }
            }
            for (i, x) in x.iter().enumerate() {
                dst.offset(i as isize * to)
                    .cast::<u64>()
                    .write_unaligned(u64::from_le(*x));
            }
        }
    }
}

impl Word for u32 {
    const BLOCK: usize = 8;
    #[inline]
    unsafe fn block(src: *const u32, from: isize, dst: *mut u32, to: isize, avx2: bool) {
        // SAFETY: the caller's promise.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if avx2 {
                return block_avx2(src, from, dst, to);
            }
            let _ = avx2;
            plain(src, from, dst, to);
        }
    }
}

impl Word for u64 {
    const BLOCK: usize = 4;
    #[inline]
    unsafe fn block(src: *const u64, from: isize, dst: *mut u64, to: isize, _avx2: bool) {
        // SAFETY: the caller's promise.
        unsafe { plain(src, from, dst, to) };
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn block_avx2(src: *const u32, from: isize, dst: *mut u32, to: isize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise: eight rows of eight words on either side.
    unsafe {
        let load = |k: isize| _mm256_loadu_ps(src.offset(k * from).cast());
        let store = |i: isize, v| _mm256_storeu_ps(dst.offset(i * to).cast(), v);
        // Pairs of words, then pairs of pairs, then halves change places.
        let pairs = |a: isize| {
            let (x, y) = (load(a), load(a + 1));
            (_mm256_unpacklo_ps(x, y), _mm256_unpackhi_ps(x, y))
        };
        let quads = |a: isize| {
            let ((l0, h0), (l1, h1)) = (pairs(a), pairs(a + 2));
            [
                _mm256_shuffle_ps::<0x44>(l0, l1),
                _mm256_shuffle_ps::<0xEE>(l0, l1),
                _mm256_shuffle_ps::<0x44>(h0, h1),
                _mm256_shuffle_ps::<0xEE>(h0, h1),
            ]
        };
        let (upper, lower) = (quads(0), quads(4));
        for i in 0..4 {
            store(
                i as isize,
                _mm256_permute2f128_ps::<0x20>(upper[i], lower[i]),
            );
            store(
                i as isize + 4,
                _mm256_permute2f128_ps::<0x31>(upper[i], lower[i]),
            );
        }
    }
}
