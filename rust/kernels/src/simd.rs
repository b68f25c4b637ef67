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
