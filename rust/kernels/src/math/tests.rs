use super::{Integer, Math};

/// The distance between a result and the exact value in units of the result's last place.
fn ulps(got: f32, exact: f64) -> f64 {
    let want = exact as f32;
    if want.is_nan() || got.is_nan() || want.is_infinite() || got.is_infinite() {
        let same = want.is_nan() && got.is_nan() || want == got;
        return if same { 0.0 } else { f64::INFINITY };
    }
    let bits = want.abs().to_bits().max(1);
    let unit = f64::from(f32::from_bits(bits + 1)) - f64::from(f32::from_bits(bits));
    (f64::from(got) - exact).abs() / unit
}

/// Every `step`-th float of both signs, and the special ones.
fn floats(step: usize) -> impl Iterator<Item = f32> {
    let special = [
        0.0,
        1.0,
        f32::INFINITY,
        f32::NAN,
        f32::MIN_POSITIVE,
        f32::MAX,
        1e-45,
        0.5,
    ];
    (0..0x7F80_0000u32)
        .step_by(step)
        .map(f32::from_bits)
        .chain(special)
        .flat_map(|x| [x, -x])
}

fn worst(name: &str, bound: f64, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) {
    let mut worst = (0.0, 0.0);
    for x in floats(4999) {
        let error = ulps(f(x), exact(f64::from(x)));
        assert!(
            error.is_finite(),
            "{name}({x}) = {} != {}",
            f(x),
            exact(f64::from(x))
        );
        if error > worst.0 {
            worst = (error, x);
        }
    }
    println!("{name}: {:.3} ulp at {}", worst.0, worst.1);
    assert!(worst.0 <= bound, "{name}: {} ulp at {}", worst.0, worst.1);
}

#[test]
fn single_precision_functions_are_close_to_exact() {
    let small = |x: f32, f: fn(f32) -> f32, g: fn(f64) -> f64| {
        if x.abs() > f32::LARGE_ANGLE {
            g(f64::from(x)) as f32
        } else {
            f(x)
        }
    };
    worst("exp", 1.1, Math::exp, f64::exp);
    worst("expm1", 2.0, Math::exp_m1, f64::exp_m1);
    worst("ln", 1.0, Math::ln, f64::ln);
    worst("ln_1p", 1.5, Math::ln_1p, f64::ln_1p);
    worst("tanh", 2.2, Math::tanh, f64::tanh);
    worst("sigmoid", 2.5, Math::sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
    let softplus = |x: f64| match x.is_nan() {
        true => x,
        false => x.max(0.0) + (-x.abs()).exp().ln_1p(),
    };
    worst("softplus", 2.0, Math::softplus, softplus);
    worst("erf", 1.5, Math::erf, super::erf);
    worst("sin", 0.51, |x| small(x, Math::sin, f64::sin), f64::sin);
    worst("cos", 0.51, |x| small(x, Math::cos, f64::cos), f64::cos);
    worst("tan", 0.51, |x| small(x, Math::tan, f64::tan), f64::tan);
}

#[test]
fn single_precision_power_is_close_to_exact() {
    let interesting: Vec<f32> = floats(30_011_111).collect();
    let mild = (-60..60).map(|i| i as f32 * 0.25);
    for x in interesting.iter().copied().chain(mild.clone()) {
        for y in interesting.iter().copied().chain(mild.clone()) {
            let (got, exact) = (x.pow(y), f64::from(x).powf(f64::from(y)));
            let error = ulps(got, exact);
            assert!(
                error <= 0.51,
                "{x} ** {y} = {got}, not {exact}: {error} ulp"
            );
        }
    }
}

#[test]
fn zeros_keep_their_signs() {
    for f in [
        f32::sin,
        f32::tan,
        Math::tanh,
        Math::erf,
        Math::exp_m1,
        Math::ln_1p,
        Math::sin,
    ] {
        assert_eq!(f(-0.0f32).to_bits(), (-0.0f32).to_bits());
    }
    assert_eq!((-0.0f32).pow(3.0).to_bits(), (-0.0f32).to_bits());
}

#[test]
fn error_function_has_known_values() {
    // Abramowitz and Stegun, table 7.1.
    let known = [
        (0.5, 0.520_499_877_8),
        (1.0, 0.842_700_792_9),
        (2.0, 0.995_322_265_0),
    ];
    for (x, y) in known {
        assert!((super::erf(x) - y).abs() < 1e-10);
        assert!((super::erf(-x) + y).abs() < 1e-10);
    }
    // Both branches meet.
    assert!((super::erf(3.0 - 1e-12) - super::erf(3.0)).abs() < 1e-14);
    assert_eq!(super::erf(f64::INFINITY), 1.0);
}

#[test]
fn inverse_error_function_inverts() {
    for i in -954..=954 {
        let y = f64::from(i) * 1e-3;
        let x = super::erf_inv(y);
        assert!((super::erf(x) - y).abs() < 1e-14, "{y}");
        let single = f64::from((y as f32).erf_inv());
        let exact = super::erf_inv(f64::from(y as f32));
        assert!(
            (single - exact).abs() <= 4e-7 * exact.abs(),
            "{y}: {single} {exact}"
        );
    }
}

#[test]
fn division_rounds_down_as_in_python() {
    let cases: [(f64, f64, f64, f64); 8] = [
        (7.0, 2.0, 3.0, 1.0),
        (-7.0, 2.0, -4.0, 1.0),
        (7.0, -2.0, -4.0, -1.0),
        (-7.0, -2.0, 3.0, -1.0),
        (-5.0, f64::INFINITY, -1.0, f64::INFINITY),
        (5.0, f64::INFINITY, 0.0, 5.0),
        (6.0, 0.1, 59.0, 0.099_999_999_999_999_67),
        (-0.0, 1.0, -0.0, 0.0),
    ];
    for (x, y, q, r) in cases {
        assert_eq!(Math::floor_div(x, y), q, "{x} // {y}");
        assert_eq!(x.modulo(y), r, "{x} % {y}");
    }
    assert_eq!(Math::floor_div(1.0f32, 0.0), f32::INFINITY);
    assert!(1.0f32.modulo(0.0).is_nan());
    for x in i32::from(i8::MIN)..=127 {
        for y in -9..=9 {
            let (q, r) = (Integer::floor_div(x, y), x.modulo(y));
            if y == 0 {
                assert_eq!((q, r), (0, 0));
            } else {
                assert_eq!(q, (f64::from(x) / f64::from(y)).floor() as i32);
                assert_eq!(q * y + r, x);
            }
        }
    }
    assert_eq!(Integer::floor_div(i32::MIN, -1), i32::MIN);
    assert_eq!(
        [
            2i32.pow_of(10),
            (-3).pow_of(3),
            2.pow_of(-1),
            (-1).pow_of(-3)
        ],
        [1024, -27, 0, -1]
    );
}

trait PowOf {
    fn pow_of(self, y: i32) -> i32;
}

impl PowOf for i32 {
    fn pow_of(self, y: i32) -> i32 {
        Integer::pow(self, y)
    }
}
