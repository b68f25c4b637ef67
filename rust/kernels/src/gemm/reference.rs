//! The product as three loops.

use super::Epilogue;
use crate::dtype::Float;

pub(super) fn gemm<T: Float>(
    m: usize,
    n: usize,
    k: usize,
    a: &[T],
    rsa: usize,
    csa: usize,
    b: &[T],
    rsb: usize,
    csb: usize,
    c: &mut [T],
    rsc: usize,
    ep: &Epilogue<'_, T>,
) {
    for i in 0..m {
        for j in 0..n {
            let mut sum = T::ZERO;
            for p in 0..k {
                sum += a[i * rsa + p * csa] * b[p * rsb + j * csb];
            }
            let out = &mut c[i * rsc + j];
            if ep.accumulate {
                sum += *out;
            }
            if let Some(bias) = ep.bias {
                sum += bias[j];
            }
            *out = ep.act.apply(sum);
        }
    }
}
