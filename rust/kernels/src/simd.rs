//! Runs one generic body compiled for the instruction set that was found at run time.
//!
//! A body is ordinary scalar Rust that LLVM vectorises; everything it calls must be
//! `#[inline(always)]`, so that it is compiled with the features of the function it ends up in.
//! Bodies use `mul_add` explicitly and never depend on the vector length, so that all instruction
//! sets give the same bits.

use crate::cpu::{Isa, isa};

/// Work that is compiled once for each instruction set.
pub(crate) trait Body {
    /// What the work returns.
    type Out;
    /// The work. Implementations are `#[inline(always)]`.
    fn run(self) -> Self::Out;
}

/// Asks for memory that is needed soon: `len` elements from `start` on. Any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(start: *const T, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..len * size_of::<T>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, which changes nothing and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_byte_add(offset).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, len);
}

/// The same for memory that is written soon.
#[inline(always)]
pub(crate) fn prefetch_to_write<T>(start: *const T, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..len * size_of::<T>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: the instruction changes nothing and never faults, also where it is not known.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(start.wrapping_byte_add(offset).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, len);
}

/// Copies bytes past the caches, where the processor can and `to` begins a cache line: what is written
/// so is not read from memory first. [`fence`] orders it with what follows.
///
/// # Safety
/// Both are valid for that many bytes and do not overlap.
pub(crate) unsafe fn copy_past_caches(from: *const u8, to: *mut u8, bytes: usize) {
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if to.addr().is_multiple_of(64) {
        done = bytes / 64 * 64;
        // SAFETY: the caller's promise; the processor has what `isa` says.
        unsafe {
            match isa() {
                Isa::Avx512 => lines_512(from, to, done),
                _ => lines_128(from, to, done),
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        to.add(done)
            .copy_from_nonoverlapping(from.add(done), bytes - done);
    }
}

/// Lets nobody see anything that is written from here on before what [`copy_past_caches`] wrote.
#[inline(always)]
pub(crate) fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn lines_512(from: *const u8, to: *mut u8, bytes: usize) {
    use std::arch::x86_64::{_mm512_loadu_si512, _mm512_stream_si512};
    for at in (0..bytes).step_by(64) {
        // SAFETY: the caller's promise; `to` is aligned to 64 bytes.
        unsafe {
            let line = _mm512_loadu_si512(from.add(at).cast());
            _mm512_stream_si512(to.add(at).cast(), line);
        }
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn lines_128(from: *const u8, to: *mut u8, bytes: usize) {
    use std::arch::x86_64::{_mm_loadu_si128, _mm_stream_si128};
    for at in (0..bytes).step_by(16) {
        // SAFETY: the caller's promise; `to` is aligned to 16 bytes.
        unsafe {
            let part = _mm_loadu_si128(from.add(at).cast());
            _mm_stream_si128(to.add(at).cast(), part);
        }
    }
}

/// Runs `body` with the best instruction set.
#[inline]
pub(crate) fn dispatch<B: Body>(body: B) -> B::Out {
    match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` returned this value because the CPU has these features.
        Isa::Avx512 => unsafe { avx512(body) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { avx2(body) },
        _ => body.run(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi1,bmi2")]
fn avx512<B: Body>(body: B) -> B::Out {
    body.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2")]
fn avx2<B: Body>(body: B) -> B::Out {
    body.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_past_the_caches_to_any_address() {
        let from: Vec<u8> = (0..2000).map(|k| (k % 251) as u8).collect();
        let mut to = vec![0u8; 3000];
        let aligned = to.as_ptr().align_offset(64);
        for start in [aligned, aligned + 1, aligned + 32] {
            for bytes in [0, 1, 63, 64, 65, 640, 1999] {
                to.fill(0);
                // SAFETY: both are long enough, and apart.
                unsafe { copy_past_caches(from[1..].as_ptr(), to[start..].as_mut_ptr(), bytes) };
                fence();
                assert_eq!(to[start..start + bytes], from[1..=bytes]);
                let rest = to[..start].iter().chain(&to[start + bytes..]);
                assert!(rest.into_iter().all(|x| *x == 0));
            }
        }
    }
}
