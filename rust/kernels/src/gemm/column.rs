//! Products with a single column.
//!
//! A row-major `A` gives one dot product a row, summed in as many interleaved parts as a vector has
//! lanes; a transposed `A` is the right side of a product with a single row.

use super::Epilogue;
use super::block::with_scratch;
use super::driver::{Gemm, SERIAL, finish, gemm};
use super::simd::{Body, Simd};
use crate::dtype::Float;
use crate::par::{self, SendPtr, split};

/// Rows that share a pass over the column.
const ROWS: usize = 8;

/// The product if it is one of these; false if it is not.
///
/// # Safety
/// As [`gemm`], with `n = 1`.
pub(super) unsafe fn column<S: Simd>(g: &Gemm<S::T>, ep: &Epilogue<'_, S::T>) -> bool {
    // SAFETY: passed on.
    unsafe {
        if g.csa == 1 && g.rsb == 1 {
            dots::<S>(g, g.b, ep);
        } else if g.csa == 1 {
            with_scratch::<S::T, _>(g.k, |b| {
                for (p, b) in b.iter_mut().enumerate() {
                    *b = *g.b.get().add(p * g.rsb);
                }
                dots::<S>(g, SendPtr::new(b.as_mut_ptr()), ep);
            });
        } else if g.rsa == 1 && g.rsc == 1 {
            row::<S>(g, ep);
        } else {
            return false;
        }
    }
    true
}

/// `C^T = B^T A^T`.
unsafe fn row<S: Simd>(g: &Gemm<S::T>, ep: &Epilogue<'_, S::T>) {
    let turned = Gemm {
        m: 1,
        n: g.m,
        a: g.b,
        rsa: 0,
        csa: g.rsb,
        b: g.a,
        rsb: g.csa,
        csb: 1,
        rsc: g.m,
        ..*g
    };
    let Some(bias) = ep.bias else {
        // SAFETY: the same operands.
        unsafe { gemm::<S>(&turned, ep) };
        return;
    };
    // SAFETY: the same operands; `C` is nobody else's.
    unsafe {
        let plain = Epilogue {
            bias: None,
            act: super::Act::None,
            ..*ep
        };
        gemm::<S>(&turned, &plain);
        let c = std::slice::from_raw_parts_mut(g.c.get(), g.m);
        c.iter_mut().for_each(|c| *c += bias[0]);
        finish(c, &Epilogue { bias: None, ..*ep });
    }
}

unsafe fn dots<S: Simd>(g: &Gemm<S::T>, b: SendPtr<S::T>, ep: &Epilogue<'_, S::T>) {
    let threads = par::num_threads();
    let parts = if par::is_small(g.m * g.k, SERIAL) {
        1
    } else {
        (2 * threads).min(g.m.div_ceil(ROWS))
    };
    par::run(parts, &|t| {
        let (i0, i1) = (split(g.m, parts, t), split(g.m, parts, t + 1));
        // SAFETY: the rows are this task's.
        unsafe {
            S::call(Dots {
                rows: i1 - i0,
                k: g.k,
                a: g.a.get().add(i0 * g.rsa),
                rsa: g.rsa,
                b: b.get(),
                c: g.c.get().add(i0 * g.rsc),
                rsc: g.rsc,
                accumulate: ep.accumulate,
            });
            if ep.bias.is_some() || ep.act != super::Act::None {
                for i in i0..i1 {
                    let c = g.c.get().add(i * g.rsc);
                    finish(std::slice::from_raw_parts_mut(c, 1), ep);
                }
            }
        }
    });
}

struct Dots<T> {
    rows: usize,
    k: usize,
    a: *const T,
    rsa: usize,
    b: *const T,
    c: *mut T,
    rsc: usize,
    accumulate: bool,
}

impl<T: Float> Body<T> for Dots<T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let mut i = 0;
        // SAFETY: the caller's promise.
        unsafe {
            while i + ROWS <= self.rows {
                self.few::<S, ROWS>(i);
                i += ROWS;
            }
            while i < self.rows {
                self.few::<S, 1>(i);
                i += 1;
            }
        }
    }
}

impl<T: Float> Dots<T> {
    /// The rows `i..i + N`.
    #[inline(always)]
    unsafe fn few<S: Simd<T = T>, const N: usize>(&self, i: usize) {
        // SAFETY: the caller's promise; the mask covers what is left.
        unsafe {
            let mut acc = [S::splat(T::ZERO); N];
            let a = self.a.add(i * self.rsa);
            let mut p = 0;
            while p + S::LANES <= self.k {
                let b = S::load(self.b.add(p));
                for r in 0..N {
                    acc[r] = S::fma(S::load(a.add(r * self.rsa + p)), b, acc[r]);
                }
                p += S::LANES;
            }
            if p < self.k {
                let m = S::mask(self.k - p);
                let b = S::load_mask(self.b.add(p), m);
                for r in 0..N {
                    acc[r] = S::fma(S::load_mask(a.add(r * self.rsa + p), m), b, acc[r]);
                }
            }
            for r in 0..N {
                let mut lanes = [T::ZERO; 16];
                S::store(lanes.as_mut_ptr(), acc[r]);
                let mut half = S::LANES / 2;
                while half > 0 {
                    for l in 0..half {
                        lanes[l] += lanes[l + half];
                    }
                    half /= 2;
                }
                let c = self.c.add((i + r) * self.rsc);
                *c = if self.accumulate {
                    *c + lanes[0]
                } else {
                    lanes[0]
                };
            }
        }
    }
}
