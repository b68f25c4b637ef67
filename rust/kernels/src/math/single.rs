//! Single precision: functions without branches or tables, for loops that LLVM vectorises.
//!
//! Polynomials are minimax fits of our own (Remez exchange in 50 digits). Errors are given in units
//! in the last place (ulp) of the exact result and are tested. Every step is a correctly rounded
//! IEEE operation, so that all machines and vector lengths give the same bits.

use std::f32::consts::LOG2_E;

/// Adding and subtracting this rounds to a whole number, half to even, within 2^22.
const ROUND: f32 = 12_582_912.0;
/// ln 2 with a short mantissa, so that whole multiples are exact, and the rest.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `x` where it is between the bounds, else the bound; NaN stays.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

#[inline(always)]
fn poly<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    c.iter()
        .rev()
        .skip(1)
        .fold(c[N - 1], |p, &c| p.mul_add(x, c))
}

#[inline(always)]
fn poly64<const N: usize>(x: f64, c: [f64; N]) -> f64 {
    c.iter()
        .rev()
        .skip(1)
        .fold(c[N - 1], |p, &c| p.mul_add(x, c))
}

/// 2^n for whole n of -126..=127 given as bits of `n + ROUND`.
#[inline(always)]
fn exponent(rounded: f32) -> i32 {
    (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// Splits x into n ln 2 + r and returns n and e^r - 1 (as r and the rest).
#[inline(always)]
fn reduce_exp(x: f32) -> (i32, f32) {
    let rounded = x.mul_add(LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let p = poly(
        r,
        [0.5, 0.166_665_17, 0.041_666_2, 8.369_088e-3, 1.395_081_4e-3],
    );
    (exponent(rounded), (r * r).mul_add(p, r))
}

/// `e^x` within 1.1 ulp.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let (n, p) = reduce_exp(clamp(x, -105.0, 89.0));
    // Two factors, because 2^n itself may be too large or too small to be represented.
    let half = n >> 1;
    (1.0 + p) * power_of_two(half) * power_of_two(n - half)
}

/// `e^x - 1` within 2 ulp.
#[inline(always)]
pub(super) fn exp_m1(x: f32) -> f32 {
    let (n, p) = reduce_exp(clamp(x, -18.0, 89.0));
    // Scaled by 2^(n - 1), because 2^n may be too large.
    let scale = power_of_two(n - 1);
    let y = p.mul_add(scale, scale - 0.5);
    // The sign of zero, and of arguments so small that their square vanishes.
    if x == 0.0 { x } else { y + y }
}

/// ln of `m 2^e`, given `f = m - 1` with m between sqrt(1/2) and sqrt(2).
#[inline(always)]
fn log_of(f: f32, e: f32) -> f32 {
    let p = poly(
        f,
        [
            0.333_333_1,
            -0.249_999_86,
            0.200_022_47,
            -0.166_693_1,
            0.142_182_32,
            -0.123_830_06,
            0.118_750_84,
            -0.117_991_15,
            0.069_217_02,
        ],
    );
    let square = f * f;
    let rest = (f * square).mul_add(p, e * LN2_LOW);
    let low = square.mul_add(-0.5, rest);
    e.mul_add(LN2_HIGH, f + low)
}

/// Splits a positive normal number: bits of the mantissa in [sqrt(1/2), sqrt(2)), and the exponent.
#[inline(always)]
fn split(x: f32) -> (f32, i32) {
    let bits = x.to_bits() as i32;
    let e = bits.wrapping_sub(0x3F35_04F3) >> 23;
    (f32::from_bits(bits.wrapping_sub(e << 23) as u32), e)
}

/// Natural logarithm within 1 ulp.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    let small = x < f32::MIN_POSITIVE;
    let scaled = if small { x * 8_388_608.0 } else { x };
    let (m, e) = split(scaled);
    let e = e as f32 - if small { 23.0 } else { 0.0 };
    let y = log_of(m - 1.0, e);
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x > 0.0 { y } else { f32::NEG_INFINITY };
    if x >= 0.0 { y } else { f32::NAN }
}

/// `ln(1 + x)` within 1.5 ulp.
#[inline(always)]
pub(super) fn ln_1p(x: f32) -> f32 {
    let u = 1.0 + x;
    let lost = if x < 1.0 {
        x - (u - 1.0)
    } else {
        1.0 - (u - x)
    };
    let (m, e) = split(u);
    // What rounding lost of 1 + x, on the scale of m.
    let f = lost.mul_add(power_of_two(-e.min(126)), m - 1.0);
    let y = log_of(f, e as f32);
    let y = if x.abs() < 1e-7 { x } else { y };
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x > -1.0 { y } else { f32::NEG_INFINITY };
    if x >= -1.0 { y } else { f32::NAN }
}

/// Hyperbolic tangent within 2.2 ulp.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let e = exp_m1(clamp(2.0 * x.abs(), 0.0, 20.0));
    (e / (e + 2.0)).copysign(x)
}

/// `1 / (1 + e^-x)` within 2.5 ulp.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    let top = if x < 0.0 { e } else { 1.0 };
    top / (1.0 + e)
}

/// `ln(1 + e^x)` within 2 ulp.
#[inline(always)]
pub(super) fn softplus(x: f32) -> f32 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + ln_1p(exp(-x.abs()))
}

/// Error function within 1.5 ulp.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = a * a;
    let near = poly(
        t,
        [
            0.128_379_17,
            -0.376_126_38,
            0.112_837_83,
            -0.026_865_446,
            5.221_074_6e-3,
            -8.484_707e-4,
            1.127_051_7e-4,
            -9.680_061e-6,
        ],
    );
    let near = x.mul_add(near, x);
    // Further out, -ln(1 - erf) is a polynomial; beyond 3.92 erf rounds to 1.
    let u = clamp(a, 1.0, 3.95);
    let log = u * poly(
        u,
        [
            1.128_696_6,
            0.634_960_4,
            0.106_545_8,
            -0.024_022_803,
            3.763_439_8e-3,
            -3.520_45e-4,
            1.410_630_8e-5,
        ],
    );
    let far = (1.0 - exp(-log)).copysign(x);
    if a < 1.0 { near } else { far }
}

/// Inverse error function for arguments up to 0.9545 in magnitude (two deviations), within 4 ulp.
#[inline(always)]
pub(super) fn erf_inv(y: f32) -> f32 {
    let w = -ln_1p(-(y * y));
    y * poly(
        w - 1.2,
        [
            1.177_092_2,
            0.249_251_5,
            2.851_868e-3,
            -2.281_705e-3,
            1.356_063_4e-4,
            3.265_078e-5,
            -4.913_069e-6,
            -3.624_373e-7,
            1.174_707e-7,
        ],
    )
}

/// The quadrant of an angle, and its sine and cosine within the quadrant, in double precision.
/// Good for magnitudes up to [`LARGE_ANGLE`].
#[inline(always)]
fn sin_cos(x: f32) -> (i64, f64, f64) {
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let x = f64::from(x);
    let rounded = x.mul_add(std::f64::consts::FRAC_2_PI, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-std::f64::consts::FRAC_PI_2, x);
    let r = n.mul_add(-6.123_233_995_736_766e-17, r);
    let t = r * r;
    let sin = poly64(
        t,
        [
            -0.166_666_666_414,
            0.008_333_329_355_4,
            -0.000_198_393_249_406,
            2.718_216_366_5e-6,
        ],
    );
    let cos = poly64(
        t,
        [
            0.041_666_666_622_4,
            -0.001_388_888_371_41,
            2.479_950_948_32e-5,
            -2.720_935_743_47e-7,
        ],
    );
    let sin = (r * t).mul_add(sin, r);
    let cos = (t * t).mul_add(cos, t.mul_add(-0.5, 1.0));
    (rounded.to_bits() as i64, sin, cos)
}

/// Beyond this the reduction of angles is left to the standard library.
pub(crate) const LARGE_ANGLE: f32 = 1e9;

#[inline(always)]
fn negate_if(x: f64, negative: bool) -> f64 {
    if negative { -x } else { x }
}

/// Sine within 0.51 ulp, for magnitudes up to [`LARGE_ANGLE`].
#[inline(always)]
pub(super) fn sin(x: f32) -> f32 {
    let (q, sin, cos) = sin_cos(x);
    let y = negate_if(if q & 1 == 0 { sin } else { cos }, q & 2 != 0) as f32;
    if x == 0.0 { x } else { y }
}

/// Cosine within 0.51 ulp, for magnitudes up to [`LARGE_ANGLE`].
#[inline(always)]
pub(super) fn cos(x: f32) -> f32 {
    let (q, sin, cos) = sin_cos(x);
    negate_if(if q & 1 == 0 { cos } else { sin }, (q + 1) & 2 != 0) as f32
}

/// Tangent within 0.51 ulp, for magnitudes up to [`LARGE_ANGLE`].
#[inline(always)]
pub(super) fn tan(x: f32) -> f32 {
    let (q, sin, cos) = sin_cos(x);
    let odd = q & 1 != 0;
    let (top, bottom) = if odd { (-cos, sin) } else { (sin, cos) };
    let y = (top / bottom) as f32;
    if x == 0.0 { x } else { y }
}

/// `x` to the power `y` within 0.51 ulp, computed in double precision.
#[inline(always)]
pub(super) fn pow(x: f32, y: f32) -> f32 {
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let a = f64::from(x.abs());
    // log2 |x| = e + log2 m with m between sqrt(1/2) and sqrt(2).
    let bits = a.to_bits() as i64;
    let e = bits.wrapping_sub(0x3FE6_A09E_667F_3BCD) >> 52;
    let m = f64::from_bits(bits.wrapping_sub(e << 52) as u64);
    let s = (m - 1.0) / (m + 1.0);
    let log = s * poly64(
        s * s,
        [
            2.885_390_081_777_927,
            0.961_796_693_924,
            0.577_078_017_259,
            0.412_198_400_017,
            0.320_616_529_197,
            0.261_439_749_878,
            0.242_969_743_406,
        ],
    );
    let log = log + e as i32 as f64;
    let log = if a == 0.0 { f64::NEG_INFINITY } else { log };
    let log = if a < f64::INFINITY { log } else { a };
    let t = f64::from(y) * log;
    // Beyond these bounds the result is 0 or infinite in single precision.
    let t = if t < -300.0 { -300.0 } else { t };
    let t = if t > 300.0 { 300.0 } else { t };
    let rounded = t + ROUND;
    let f = t - (rounded - ROUND);
    let p = poly64(
        f,
        [
            1.0,
            0.693_147_180_547,
            0.240_226_506_989,
            0.055_504_109_393_4,
            0.009_618_128_543_07,
            0.001_333_345_206_39,
            0.000_154_038_516_002,
            1.530_973_705_06e-5,
            1.317_589_051_09e-6,
        ],
    );
    let n = (rounded.to_bits() as i64).wrapping_sub(ROUND.to_bits() as i64);
    let power = (p * f64::from_bits((n.wrapping_add(1023) << 52) as u64)) as f32;
    // Signs of negative bases: whole exponents only.
    let whole = y.round_ties_even() == y;
    let half = y * 0.5;
    let odd = whole && half.round_ties_even() != half;
    let signed = if odd { power.copysign(x) } else { power };
    let defined = whole || x.to_bits() >> 31 == 0 || x == 0.0 || x == f32::NEG_INFINITY;
    let result = if defined { signed } else { f32::NAN };
    let result = if x.is_nan() || y.is_nan() {
        x + y
    } else {
        result
    };
    let one = y == 0.0 || x == 1.0 || (x == -1.0 && y.abs() == f32::INFINITY);
    if one { 1.0 } else { result }
}
