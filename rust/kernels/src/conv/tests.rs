//! Convolutions against plain loops in f64.

use proptest::prelude::*;

use super::*;
use crate::gemm::tests::{isas, numbers};
use crate::gemm::{Simd, Vectors};
use crate::par;

/// A convolution's three computations.
struct Results<T> {
    y: Vec<T>,
    dx: Vec<T>,
    dw: Vec<T>,
}

fn run<T: Float>(isa: Isa, g: &Conv2d, ep: &Epilogue<'_, T>) -> Results<T> {
    let (x, w, dy) = operands::<T>(g);
    let mut r = Results {
        y: numbers(g.y_len(), 4),
        dx: numbers(g.x_len(), 5),
        dw: numbers(g.w_len(), 6),
    };
    let scratch = |len: usize| vec![T::from_f64(f64::NAN); len];
    forward_on(
        isa,
        g,
        &x,
        &w,
        &mut r.y,
        ep,
        &mut scratch(conv2d_scratch_len::<T>(g)),
    );
    grad_input_on(
        isa,
        g,
        &dy,
        &w,
        &mut r.dx,
        &mut scratch(conv2d_grad_input_scratch_len::<T>(g)),
    );
    grad_filter_on(
        isa,
        g,
        &x,
        &dy,
        &mut r.dw,
        &mut scratch(conv2d_grad_filter_scratch_len::<T>(g)),
    );
    r
}

fn operands<T: Float>(g: &Conv2d) -> (Vec<T>, Vec<T>, Vec<T>) {
    (
        numbers(g.x_len(), 1),
        numbers(g.w_len(), 2),
        numbers(g.y_len(), 3),
    )
}

pub(super) fn close<T: Float>(what: &str, got: &[T], want: &[f64], terms: usize) {
    let eps = if size_of::<T>() == 4 { 1e-6 } else { 1e-15 };
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got.to_f64() - want).abs() <= eps * (10.0 + 3.0 * terms as f64),
            "{what}: element {i} is {got:?}, not {want}"
        );
    }
}

fn check<T: Float>(isa: Isa, g: &Conv2d, act: Act, with_bias: bool, accumulate: bool) {
    let (x, w, dy) = operands::<T>(g);
    let wide = |v: &[T]| v.iter().map(|v| v.to_f64()).collect::<Vec<_>>();
    let bias = numbers::<T>(g.co, 7);
    let bias64 = wide(&bias);
    let got = run::<T>(
        isa,
        g,
        &Epilogue {
            bias: with_bias.then_some(&bias[..]),
            act,
            accumulate,
        },
    );
    let (x, w, dy) = (wide(&x), wide(&w), wide(&dy));

    let mut y = wide(&numbers::<T>(g.y_len(), 4));
    let ep = Epilogue {
        bias: with_bias.then_some(&bias64[..]),
        act,
        accumulate,
    };
    reference::forward(g, &x, &w, &mut y, &ep);
    close("y", &got.y, &y, g.kh * g.kw * g.ci);
    let mut dx = vec![0.0; g.x_len()];
    reference::grad_input(g, &dy, &w, &mut dx);
    close("dx", &got.dx, &dx, g.kh * g.kw * g.co);
    let mut dw = vec![0.0; g.w_len()];
    reference::grad_filter(g, &x, &dy, &mut dw);
    close("dw", &got.dw, &dw, g.n * g.oh * g.ow);
}

/// The output's size, and the zeros before, for `same` padding; or `valid` if that fits.
pub(super) fn sizes(
    len: usize,
    k: usize,
    stride: usize,
    dilation: usize,
    same: bool,
) -> (usize, usize) {
    let span = (k - 1) * dilation + 1;
    if same || span > len {
        let out = len.div_ceil(stride);
        (out, ((out - 1) * stride + span).saturating_sub(len) / 2)
    } else {
        ((len - span) / stride + 1, 0)
    }
}

fn geometries() -> impl Strategy<Value = Conv2d> {
    let channels = || prop_oneof![1..5usize, 15..19usize, 30..50usize];
    let image = (1..4usize, 1..14usize, 1..14usize, channels());
    let kernel = (1..5usize, 1..5usize, channels());
    let steps = (1..4usize, 1..4usize, 1..4usize, 1..4usize);
    (image, kernel, steps, any::<bool>(), (0..2usize, 0..2usize)).prop_map(
        |((n, h, w, ci), (kh, kw, co), (sh, sw, dh, dw), same, (more_top, more_left))| {
            let (oh, pad_top) = sizes(h, kh, sh, dh, same);
            let (ow, pad_left) = sizes(w, kw, sw, dw, same);
            // Padding that no mode of a layer asks for has to work as well.
            let (pad_top, pad_left) = (pad_top + more_top, pad_left + more_left);
            Conv2d {
                n,
                h,
                w,
                ci,
                kh,
                kw,
                co,
                sh,
                sw,
                dh,
                dw,
                pad_top,
                pad_left,
                oh,
                ow,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn agrees_with_plain_sums(g in geometries(), relu: bool, bias: bool, accumulate: bool) {
        let act = if relu { Act::Relu } else { Act::Tanh };
        for isa in isas() {
            check::<f32>(isa, &g, act, bias, accumulate);
            check::<f64>(isa, &g, act, bias, accumulate);
        }
    }
}

fn same(n: usize, size: usize, ci: usize, co: usize, k: usize, stride: usize) -> Conv2d {
    let (o, pad) = sizes(size, k, stride, 1, true);
    Conv2d {
        n,
        h: size,
        w: size,
        ci,
        kh: k,
        kw: k,
        co,
        sh: stride,
        sw: stride,
        dh: 1,
        dw: 1,
        pad_top: pad,
        pad_left: pad,
        oh: o,
        ow: o,
    }
}

/// Geometries of real networks.
fn known() -> Vec<Conv2d> {
    let line = Conv2d {
        h: 1,
        w: 90,
        ci: 50,
        kh: 1,
        kw: 3,
        co: 250,
        ow: 88,
        oh: 1,
        ..same(3, 1, 50, 250, 1, 1)
    };
    vec![
        same(5, 32, 3, 64, 3, 1),
        same(3, 16, 16, 16, 3, 1),
        same(3, 16, 20, 33, 3, 1),
        same(9, 8, 64, 64, 3, 1),
        same(17, 4, 128, 64, 3, 1),
        same(2, 32, 16, 32, 3, 2),
        same(2, 15, 16, 32, 1, 2),
        same(1, 28, 1, 32, 5, 1),
        same(2, 8, 300, 20, 1, 1),
        same(2, 7, 290, 20, 3, 1),
        same(3, 2, 17, 18, 3, 1),
        line,
        Conv2d {
            ow: 30,
            sw: 3,
            ..line
        },
    ]
}

#[test]
fn known_geometries_agree_with_plain_sums() {
    for g in known() {
        for isa in isas() {
            check::<f32>(isa, &g, Act::Relu, true, false);
        }
        check::<f64>(cpu::isa(), &g, Act::None, true, true);
    }
}

#[test]
fn empty_sums_are_zero() {
    let g = same(2, 3, 4, 5, 3, 1);
    check::<f32>(cpu::isa(), &Conv2d { ci: 0, ..g }, Act::Relu, true, false);
    check::<f32>(cpu::isa(), &Conv2d { co: 0, ..g }, Act::Relu, true, false);
    check::<f32>(cpu::isa(), &Conv2d { n: 0, ..g }, Act::Relu, true, false);
}

#[test]
fn bits_do_not_depend_on_threads() {
    for g in known() {
        let ep = Epilogue {
            act: Act::Relu,
            ..Epilogue::default()
        };
        let want = {
            let _guard = par::tests::threads(1);
            run::<f32>(cpu::isa(), &g, &ep)
        };
        for threads in [2, 3] {
            let _guard = par::tests::threads(threads);
            let got = run::<f32>(cpu::isa(), &g, &ep);
            assert!(got.y == want.y, "y of {g:?}");
            assert!(got.dx == want.dx, "dx of {g:?}");
            assert!(got.dw == want.dw, "dw of {g:?}");
        }
    }
}

#[test]
fn a_sample_does_not_depend_on_the_batch() {
    for g in known() {
        let want = run::<f32>(cpu::isa(), &g, &Epilogue::default());
        let one = run::<f32>(cpu::isa(), &Conv2d { n: 1, ..g }, &Epilogue::default());
        assert!(one.y[..] == want.y[..one.y.len()], "y of {g:?}");
        assert!(one.dx[..] == want.dx[..one.dx.len()], "dx of {g:?}");
    }
}

#[test]
fn bits_agree_between_vector_widths() {
    if cpu::isa() < Isa::Avx512 {
        return;
    }
    for g in known() {
        let ep = Epilogue {
            act: Act::Relu,
            ..Epilogue::default()
        };
        let (a, b) = (
            run::<f32>(Isa::Avx2, &g, &ep),
            run::<f32>(Isa::Avx512, &g, &ep),
        );
        assert!(a.y == b.y, "y of {g:?}");
        assert!(a.dx == b.dx, "dx of {g:?}");
        assert!(a.dw == b.dw, "dw of {g:?}");
    }
}

/// The error of `got` beside `want`, both as a whole.
fn relative(got: &[f32], want: &[f64]) -> f64 {
    let square = |x: f64| x * x;
    let off: f64 = got
        .iter()
        .zip(want)
        .map(|(&g, w)| square(f64::from(g) - w))
        .sum();
    (off / want.iter().copied().map(square).sum::<f64>()).sqrt()
}

/// The errors of the output, of the gradient to the input and of that to the kernel beside plain
/// sums in f64: by Winograd's algorithm, and direct.
///
/// # Safety
/// The CPU has `S`.
unsafe fn errors<S: Simd<T = f32>>(g: &Conv2d) -> [[f64; 2]; 3] {
    let (x, w, dy) = operands::<f32>(g);
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let (x64, w64, dy64) = (wide(&x), wide(&w), wide(&dy));
    let (ep, ep64) = (Epilogue::default(), Epilogue::default());
    let zeros = |n: usize| vec![0f32; n];
    let (mut y, mut dx, mut dw) = (zeros(g.y_len()), zeros(g.x_len()), zeros(g.w_len()));
    let mut wants = (vec![0.0; y.len()], vec![0.0; dx.len()], vec![0.0; dw.len()]);
    reference::forward(g, &x64, &w64, &mut wants.0, &ep64);
    reference::grad_input(g, &dy64, &w64, &mut wants.1);
    reference::grad_filter(g, &x64, &dy64, &mut wants.2);
    let mut room = zeros(
        winograd::forward_scratch_len(g)
            .max(winograd::grad_input_scratch_len(g))
            .max(winograd::grad_filter_scratch_len(g))
            .max(grad_filter::scratch_len(g)),
    );
    // SAFETY: the caller's promise; the lengths are the geometry's.
    unsafe {
        winograd::forward::<S>(g, &x, &w, &mut y, &ep, &mut room);
        winograd::grad_input::<S>(g, &dy, &w, &mut dx, &mut room);
        winograd::grad_filter::<S>(g, &x, &dy, &mut dw, &mut room);
    }
    let all = |y: &[f32], dx: &[f32], dw: &[f32]| {
        [
            relative(y, &wants.0),
            relative(dx, &wants.1),
            relative(dw, &wants.2),
        ]
    };
    let fast = all(&y, &dx, &dw);
    // SAFETY: as above.
    unsafe {
        direct::forward::<S>(g, &x, &w, &mut y, &ep);
        direct::grad_input::<S>(g, &dy, &w, &mut dx, &mut room[..g.w_len()]);
        grad_filter::grad_filter::<S>(g, &x, &dy, &mut dw, &mut room);
    }
    let plain = all(&y, &dx, &dw);
    std::array::from_fn(|i| [fast[i], plain[i]])
}

#[test]
fn winograds_error_stays_small_beside_plain_sums() {
    for g in [same(4, 28, 64, 64, 3, 1), same(2, 13, 128, 48, 3, 1)] {
        for isa in isas() {
            // SAFETY: the CPU has every instruction set of the list.
            let errors = unsafe {
                match isa {
                    Isa::Avx512 => errors::<<f32 as Vectors>::Avx512>(&g),
                    Isa::Avx2 => errors::<<f32 as Vectors>::Avx2>(&g),
                    Isa::Portable => errors::<Portable<f32>>(&g),
                }
            };
            for [fast, plain] in errors {
                // Seen: at most 3.5e-7 and 2.4e-6.
                assert!(plain < 1e-6 && fast < 4e-6, "{isa:?} {g:?}: {errors:?}");
                // Equal errors would mean that one algorithm was asked twice.
                assert!(fast != plain, "{isa:?} {g:?}: {errors:?}");
            }
        }
    }
}
