//! Scalar functions that the vector loops are made of: free of branches where speed counts, so
//! that LLVM vectorises the loops around them. Single precision has its own polynomials (see each
//! function for its error), double precision uses the standard library's functions.

mod single;
#[cfg(test)]
mod tests;

use std::ops::{BitAnd, BitOr, BitXor};

use crate::dtype::{Element, Float};

/// The functions of floating-point elements.
pub trait Math: Float + Element {
    /// Beyond this magnitude `sin`, `cos` and `tan` are to be replaced by the standard library's.
    const LARGE_ANGLE: Self;
    /// `|x|`.
    fn absolute(self) -> Self;
    /// -1, 0 or 1, and NaN for NaN.
    fn signum_or_nan(self) -> Self;
    /// `e^x`.
    fn exp(self) -> Self;
    /// `e^x - 1`.
    fn exp_m1(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// `ln(1 + x)`.
    fn ln_1p(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Sine.
    fn sin(self) -> Self;
    /// Cosine.
    fn cos(self) -> Self;
    /// Tangent.
    fn tan(self) -> Self;
    /// Sine, cosine and tangent of any angle, slowly.
    fn slow_angle(self, f: fn(f64) -> f64) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// `1 / (1 + e^-x)`.
    fn sigmoid(self) -> Self;
    /// `ln(1 + e^x)`.
    fn softplus(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// Inverse of the error function on (-1, 1), for arguments up to 0.9999 in magnitude.
    fn erf_inv(self) -> Self;
    /// Largest whole number not above.
    fn floor(self) -> Self;
    /// Smallest whole number not below.
    fn ceil(self) -> Self;
    /// Nearest whole number, ties to even.
    fn round_half_even(self) -> Self;
    /// `x` to the power `y`.
    fn pow(self, y: Self) -> Self;
    /// Remainder with the divisor's sign, as in Python; NaN for a divisor of 0.
    fn modulo(self, y: Self) -> Self;
    /// `floor(x / y)` of the exact quotient, as in Python; `x / y` for a divisor of 0.
    fn floor_div(self, y: Self) -> Self;
}

/// The functions of integer elements.
pub trait Integer:
    Element + Eq + Ord + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self>
{
    /// Difference, wrapping.
    fn minus(self, y: Self) -> Self;
    /// `|x|`, wrapping.
    fn absolute(self) -> Self;
    /// -1, 0 or 1.
    fn sign(self) -> Self;
    /// Quotient rounded down; 0 for a divisor of 0.
    fn floor_div(self, y: Self) -> Self;
    /// Remainder with the divisor's sign; 0 for a divisor of 0.
    fn modulo(self, y: Self) -> Self;
    /// Power, wrapping; negative exponents round the true power towards 0.
    fn pow(self, y: Self) -> Self;
}

impl Math for f32 {
    const LARGE_ANGLE: Self = single::LARGE_ANGLE;
    fn slow_angle(self, f: fn(f64) -> f64) -> Self {
        f(self.into()) as f32
    }
    #[inline(always)]
    fn absolute(self) -> Self {
        self.abs()
    }
    #[inline(always)]
    fn signum_or_nan(self) -> Self {
        let sign = if self > 0.0 { 1.0 } else { -1.0 };
        // Adding 0 to NaN keeps it; zeros of both signs give 0.
        if self == 0.0 || self.is_nan() {
            self + 0.0
        } else {
            sign
        }
    }
    #[inline(always)]
    fn exp(self) -> Self {
        single::exp(self)
    }
    #[inline(always)]
    fn exp_m1(self) -> Self {
        single::exp_m1(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        single::ln(self)
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        single::ln_1p(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn sin(self) -> Self {
        single::sin(self)
    }
    #[inline(always)]
    fn cos(self) -> Self {
        single::cos(self)
    }
    #[inline(always)]
    fn tan(self) -> Self {
        single::tan(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        single::tanh(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        single::sigmoid(self)
    }
    #[inline(always)]
    fn softplus(self) -> Self {
        single::softplus(self)
    }
    #[inline(always)]
    fn erf(self) -> Self {
        single::erf(self)
    }
    #[inline(always)]
    fn erf_inv(self) -> Self {
        single::erf_inv(self)
    }
    #[inline(always)]
    fn floor(self) -> Self {
        f32::floor(self)
    }
    #[inline(always)]
    fn ceil(self) -> Self {
        f32::ceil(self)
    }
    #[inline(always)]
    fn round_half_even(self) -> Self {
        self.round_ties_even()
    }
    #[inline(always)]
    fn pow(self, y: Self) -> Self {
        single::pow(self, y)
    }
    #[inline(always)]
    fn modulo(self, y: Self) -> Self {
        let r = self % y;
        let r = if r != 0.0 && ((r < 0.0) != (y < 0.0)) {
            r + y
        } else {
            r
        };
        if r == 0.0 {
            (0.0 as Self).copysign(y)
        } else {
            r
        }
    }
    #[inline(always)]
    fn floor_div(self, y: Self) -> Self {
        if y == 0.0 {
            return self / y;
        }
        // The quotient less the truncated remainder is whole but for rounding.
        let r = self % y;
        let q = (self - r) / y;
        let q = if r != 0.0 && ((r < 0.0) != (y < 0.0)) {
            q - 1.0
        } else {
            q
        };
        if q == 0.0 {
            (0.0 as Self).copysign(self / y)
        } else {
            q.round_ties_even()
        }
    }
}

impl Math for f64 {
    const LARGE_ANGLE: Self = f64::INFINITY;
    fn slow_angle(self, f: fn(f64) -> f64) -> Self {
        f(self)
    }
    #[inline(always)]
    fn absolute(self) -> Self {
        self.abs()
    }
    #[inline(always)]
    fn signum_or_nan(self) -> Self {
        let sign = if self > 0.0 { 1.0 } else { -1.0 };
        // Adding 0 to NaN keeps it; zeros of both signs give 0.
        if self == 0.0 || self.is_nan() {
            self + 0.0
        } else {
            sign
        }
    }
    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn exp_m1(self) -> Self {
        f64::exp_m1(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f64::ln(self)
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        f64::ln_1p(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn sin(self) -> Self {
        f64::sin(self)
    }
    #[inline(always)]
    fn cos(self) -> Self {
        f64::cos(self)
    }
    #[inline(always)]
    fn tan(self) -> Self {
        f64::tan(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        {
            let e = (-self.abs()).exp();
            (if self < 0.0 { e } else { 1.0 }) / (1.0 + e)
        }
    }
    #[inline(always)]
    fn softplus(self) -> Self {
        self.max_nan(0.0) + (-self.abs()).exp().ln_1p()
    }
    #[inline(always)]
    fn erf(self) -> Self {
        erf(self)
    }
    #[inline(always)]
    fn erf_inv(self) -> Self {
        erf_inv(self)
    }
    #[inline(always)]
    fn floor(self) -> Self {
        f64::floor(self)
    }
    #[inline(always)]
    fn ceil(self) -> Self {
        f64::ceil(self)
    }
    #[inline(always)]
    fn round_half_even(self) -> Self {
        self.round_ties_even()
    }
    #[inline(always)]
    fn pow(self, y: Self) -> Self {
        self.powf(y)
    }
    #[inline(always)]
    fn modulo(self, y: Self) -> Self {
        let r = self % y;
        let r = if r != 0.0 && ((r < 0.0) != (y < 0.0)) {
            r + y
        } else {
            r
        };
        if r == 0.0 {
            (0.0 as Self).copysign(y)
        } else {
            r
        }
    }
    #[inline(always)]
    fn floor_div(self, y: Self) -> Self {
        if y == 0.0 {
            return self / y;
        }
        // The quotient less the truncated remainder is whole but for rounding.
        let r = self % y;
        let q = (self - r) / y;
        let q = if r != 0.0 && ((r < 0.0) != (y < 0.0)) {
            q - 1.0
        } else {
            q
        };
        if q == 0.0 {
            (0.0 as Self).copysign(self / y)
        } else {
            q.round_ties_even()
        }
    }
}

impl Integer for u8 {
    #[inline(always)]
    fn minus(self, y: Self) -> Self {
        self.wrapping_sub(y)
    }
    #[inline(always)]
    fn absolute(self) -> Self {
        self
    }
    #[inline(always)]
    fn sign(self) -> Self {
        self.min(1)
    }
    #[inline(always)]
    fn floor_div(self, y: Self) -> Self {
        if y == 0 {
            return 0;
        }
        self / y
    }
    #[inline(always)]
    fn modulo(self, y: Self) -> Self {
        if y == 0 {
            return 0;
        }
        self % y
    }
    #[inline(always)]
    fn pow(self, y: Self) -> Self {
        let (mut base, mut left, mut power): (Self, Self, Self) = (self, y, 1);
        while left > 0 {
            if left & 1 == 1 {
                power = power.wrapping_mul(base);
            }
            base = base.wrapping_mul(base);
            left >>= 1;
        }
        power
    }
}

impl Integer for i32 {
    #[inline(always)]
    fn minus(self, y: Self) -> Self {
        self.wrapping_sub(y)
    }
    #[inline(always)]
    fn absolute(self) -> Self {
        self.wrapping_abs()
    }
    #[inline(always)]
    fn sign(self) -> Self {
        self.signum()
    }
    #[inline(always)]
    fn floor_div(self, y: Self) -> Self {
        if y == 0 {
            return 0;
        }
        let q = self.wrapping_div(y);
        let inexact = self.wrapping_rem(y) != 0;
        if inexact && ((self < 0) != (y < 0)) {
            q - 1
        } else {
            q
        }
    }
    #[inline(always)]
    fn modulo(self, y: Self) -> Self {
        if y == 0 {
            return 0;
        }
        let r = self.wrapping_rem(y);
        if r != 0 && ((r < 0) != (y < 0)) {
            r + y
        } else {
            r
        }
    }
    #[inline(always)]
    fn pow(self, y: Self) -> Self {
        if y < 0 {
            return match self {
                1 => 1,
                -1 if y & 1 == 0 => 1,
                -1 => -1,
                _ => 0,
            };
        }
        let (mut base, mut left, mut power): (Self, Self, Self) = (self, y, 1);
        while left > 0 {
            if left & 1 == 1 {
                power = power.wrapping_mul(base);
            }
            base = base.wrapping_mul(base);
            left >>= 1;
        }
        power
    }
}

impl Integer for i64 {
    #[inline(always)]
    fn minus(self, y: Self) -> Self {
        self.wrapping_sub(y)
    }
    #[inline(always)]
    fn absolute(self) -> Self {
        self.wrapping_abs()
    }
    #[inline(always)]
    fn sign(self) -> Self {
        self.signum()
    }
    #[inline(always)]
    fn floor_div(self, y: Self) -> Self {
        if y == 0 {
            return 0;
        }
        let q = self.wrapping_div(y);
        let inexact = self.wrapping_rem(y) != 0;
        if inexact && ((self < 0) != (y < 0)) {
            q - 1
        } else {
            q
        }
    }
    #[inline(always)]
    fn modulo(self, y: Self) -> Self {
        if y == 0 {
            return 0;
        }
        let r = self.wrapping_rem(y);
        if r != 0 && ((r < 0) != (y < 0)) {
            r + y
        } else {
            r
        }
    }
    #[inline(always)]
    fn pow(self, y: Self) -> Self {
        if y < 0 {
            return match self {
                1 => 1,
                -1 if y & 1 == 0 => 1,
                -1 => -1,
                _ => 0,
            };
        }
        let (mut base, mut left, mut power): (Self, Self, Self) = (self, y, 1);
        while left > 0 {
            if left & 1 == 1 {
                power = power.wrapping_mul(base);
            }
            base = base.wrapping_mul(base);
            left >>= 1;
        }
        power
    }
}

/// Error function, by its series below 3 and by the continued fraction of its complement above.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    let scale = 2.0 / std::f64::consts::PI.sqrt();
    let y = if a < 3.0 {
        // erf(x) = 2/sqrt(pi) e^(-x^2) (x + 2/3 x^3 + 4/15 x^5 + ...): all terms are positive.
        let (mut term, mut sum, mut k) = (a, a, 1.0);
        while term > sum * 1e-18 {
            term *= 2.0 * a * a / (2.0 * k + 1.0);
            sum += term;
            k += 1.0;
        }
        scale * (-a * a).exp() * sum
    } else if a > 6.0 {
        1.0
    } else {
        // erfc(x) = e^(-x^2) / sqrt(pi) / (x + 1/2 / (x + 1 / (x + 3/2 / (x + ...)))).
        let tail = (1..=60).rev().fold(a, |f, k| a + 0.5 * f64::from(k) / f);
        1.0 - 0.5 * scale * (-a * a).exp() / tail
    };
    y.copysign(x)
}

/// Inverse error function: Winitzki's approximation, refined by Newton steps.
fn erf_inv(y: f64) -> f64 {
    let log = (-y * y).ln_1p();
    let t = 2.0 / (std::f64::consts::PI * 0.147) + log / 2.0;
    let mut x = ((t * t - log / 0.147).sqrt() - t).sqrt().copysign(y);
    for _ in 0..4 {
        x -= (erf(x) - y) / (2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp());
    }
    x
}
