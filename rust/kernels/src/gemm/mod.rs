//! Matrix products `C = act(A B + bias)`, plain and batched.
//!
//! `C` is row-major with a row stride; `A` and `B` come with a row and a column stride each, so that
//! a transposed operand costs nothing at the interface. The order in which an element's `k` products
//! are summed depends on `k`, on whether `n` is 1 and on the instruction set alone: not on `m`, on
//! the element's place, on the batch or on the number of threads.
//!
//! May import `cpu`, `dtype`, `math`, `par` and `simd`.

mod act;
pub(crate) mod block;
mod column;
pub(crate) mod driver;
pub(crate) mod simd;
pub(crate) mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use simd::{Portable, Simd, Vectors};

use crate::cpu::{self, Isa};
use crate::par::SendPtr;

use crate::dtype::Float;
use driver::Gemm;

/// An activation that is applied to the accumulators before they are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Act {
    /// `x`
    #[default]
    None,
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `tanh(x)`
    Tanh,
    /// `clip(0.2 x + 0.5, 0, 1)`
    HardSigmoid,
    /// `x` where positive, else `alpha (exp(x) - 1)`
    Elu(f64),
}

impl Act {
    /// The activation of one number.
    pub fn apply<T: Float>(self, x: T) -> T {
        let v = x.to_f64();
        match self {
            Act::None => x,
            Act::Relu => {
                if x < T::ZERO {
                    T::ZERO
                } else {
                    x
                }
            }
            Act::Sigmoid => T::from_f64(1.0 / (1.0 + (-v).exp())),
            Act::Tanh => T::from_f64(v.tanh()),
            Act::HardSigmoid => T::from_f64((0.2 * v + 0.5).clamp(0.0, 1.0)),
            Act::Elu(alpha) => T::from_f64(if v > 0.0 { v } else { alpha * v.exp_m1() }),
        }
    }
}

/// What happens to the accumulators on their way to `C`: `C = act(A B [+ C] [+ bias])`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a, T> {
    /// One number a column, added before the activation.
    pub bias: Option<&'a [T]>,
    /// The activation.
    pub act: Act,
    /// Adds the product to what `C` holds instead of overwriting it.
    pub accumulate: bool,
}

impl<T> Default for Epilogue<'_, T> {
    fn default() -> Self {
        Epilogue {
            bias: None,
            act: Act::None,
            accumulate: false,
        }
    }
}

/// `C = act(A B [+ C] [+ bias])` for an `m x k` matrix `A` and a `k x n` matrix `B`.
///
/// Element `(i, j)` of `A` is `a[i * rsa + j * csa]`, of `B` `b[i * rsb + j * csb]`, of `C`
/// `c[i * rsc + j]`. With `k = 0` the product is zero and the epilogue still applies. What `C`
/// holds is not read unless `ep.accumulate` says so.
///
/// # Panics
/// If a slice is too short for its shape and strides.
pub fn gemm<T: Float>(
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
    gemm_on(cpu::isa(), m, n, k, a, rsa, csa, b, rsb, csb, c, rsc, ep);
}

/// [`gemm`] on an instruction set that this CPU has.
pub(crate) fn gemm_on<T: Float>(
    isa: Isa,
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
    if m == 0 || n == 0 {
        return;
    }
    check("A", a.len(), (m, k), (rsa, csa));
    check("B", b.len(), (k, n), (rsb, csb));
    check("C", c.len(), (m, n), (rsc, 1));
    assert!(
        rsc >= n || m == 1,
        "gemm: rows of C, {rsc} apart, overlap for n = {n}"
    );
    if let Some(bias) = ep.bias {
        assert!(
            bias.len() >= n,
            "gemm: bias has {} elements, n is {n}",
            bias.len()
        );
    }
    let g = Gemm {
        m,
        n,
        k,
        a: SendPtr::from_const(a.as_ptr()),
        rsa,
        csa,
        b: SendPtr::from_const(b.as_ptr()),
        rsb,
        csb,
        c: SendPtr::new(c.as_mut_ptr()),
        rsc,
    };
    // SAFETY: the lengths were checked, the instruction set is there.
    unsafe {
        match isa {
            Isa::Avx512 => driver::gemm::<T::Avx512>(&g, ep),
            Isa::Avx2 => driver::gemm::<T::Avx2>(&g, ep),
            Isa::Portable => driver::gemm::<Portable<T>>(&g, ep),
        }
    }
}

/// `batch` products of one shape: product `i` takes `a[i * bsa..]`, `b[i * bsb..]` and
/// `c[i * bsc..]`; a stride of 0 on `a` or `b` shares that operand.
///
/// # Panics
/// If a slice is too short, or if the products' outputs would overlap (`bsc` under
/// `(m - 1) * rsc + n` with `batch > 1`).
pub fn gemm_batched<T: Float>(
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    a: &[T],
    bsa: usize,
    rsa: usize,
    csa: usize,
    b: &[T],
    bsb: usize,
    rsb: usize,
    csb: usize,
    c: &mut [T],
    bsc: usize,
    rsc: usize,
    ep: &Epilogue<'_, T>,
) {
    if batch == 0 || m == 0 || n == 0 {
        return;
    }
    assert!(
        batch == 1 || bsc >= (m - 1) * rsc + n,
        "gemm_batched: outputs {bsc} apart overlap for a {m} x {n} product with row stride {rsc}"
    );
    for i in 0..batch {
        let (a, b) = if k == 0 {
            (a, b)
        } else {
            (&a[i * bsa..], &b[i * bsb..])
        };
        gemm(
            m,
            n,
            k,
            a,
            rsa,
            csa,
            b,
            rsb,
            csb,
            &mut c[i * bsc..],
            rsc,
            ep,
        );
    }
}

fn check(name: &str, len: usize, (rows, cols): (usize, usize), (rs, cs): (usize, usize)) {
    if rows == 0 || cols == 0 {
        return;
    }
    let need = (rows - 1) * rs + (cols - 1) * cs + 1;
    assert!(
        len >= need,
        "gemm: {name} is {rows} x {cols} with strides ({rs}, {cs}) and needs {need} elements, \
         the slice has {len}"
    );
}
