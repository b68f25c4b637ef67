//! Depthwise convolutions against plain loops in f64.

use proptest::prelude::*;

use super::depthwise::*;
use super::tests::{close, sizes};
use super::{Act, Epilogue};
use crate::cpu::{self, Isa};
use crate::dtype::Float;
use crate::gemm::tests::{isas, numbers};
use crate::par;

fn geometries() -> impl Strategy<Value = DepthwiseConv2d> {
    let channels = prop_oneof![1..5usize, 15..19usize, 30..35usize];
    let image = (1..11usize, 1..14usize, 1..14usize, channels, 1..4usize);
    let kernel = (1..5usize, 1..5usize);
    let steps = (1..4usize, 1..4usize, 1..4usize, 1..4usize);
    (image, kernel, steps, any::<bool>()).prop_map(
        |((n, h, w, c, multiplier), (kh, kw), (sh, sw, dh, dw), same)| {
            let (oh, pad_top) = sizes(h, kh, sh, dh, same);
            let (ow, pad_left) = sizes(w, kw, sw, dw, same);
            DepthwiseConv2d {
                n,
                h,
                w,
                c,
                multiplier,
                kh,
                kw,
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

/// Calls `f(x, w, y)` with the indices of every product.
fn products(g: &DepthwiseConv2d, mut f: impl FnMut(usize, usize, usize)) {
    let cm = g.c * g.multiplier;
    for y in 0..g.y_len() {
        let (pos, j) = (y / cm, y % cm);
        let (b, oy, ox) = (pos / g.ow / g.oh, pos / g.ow % g.oh, pos % g.ow);
        for t in 0..g.kh * g.kw {
            let iy = (oy * g.sh + t / g.kw * g.dh).wrapping_sub(g.pad_top);
            let ix = (ox * g.sw + t % g.kw * g.dw).wrapping_sub(g.pad_left);
            if iy < g.h && ix < g.w {
                f(
                    ((b * g.h + iy) * g.w + ix) * g.c + j / g.multiplier,
                    t * cm + j,
                    y,
                );
            }
        }
    }
}

struct Results<T> {
    y: Vec<T>,
    dx: Vec<T>,
    dw: Vec<T>,
}

fn run<T: Float>(isa: Isa, g: &DepthwiseConv2d, ep: &Epilogue<'_, T>) -> Results<T> {
    let (x, w, dy) = (
        numbers(g.x_len(), 1),
        numbers(g.w_len(), 2),
        numbers(g.y_len(), 3),
    );
    let mut r = Results {
        y: numbers(g.y_len(), 4),
        dx: x.clone(),
        dw: w.clone(),
    };
    let nan = |len| vec![T::from_f64(f64::NAN); len];
    forward_on(isa, g, &x, &w, &mut r.y, ep);
    let mut scratch = nan(depthwise_conv2d_grad_input_scratch_len::<T>(g));
    grad_input_on(isa, g, &dy, &w, &mut r.dx, &mut scratch);
    let mut scratch = nan(depthwise_conv2d_grad_filter_scratch_len::<T>(g));
    grad_filter_on(isa, g, &x, &dy, &mut r.dw, &mut scratch);
    r
}

fn check<T: Float>(isa: Isa, g: &DepthwiseConv2d, act: Act, with_bias: bool, accumulate: bool) {
    let channels = g.c * g.multiplier;
    let bias = numbers::<T>(channels, 7);
    let got = run::<T>(
        isa,
        g,
        &Epilogue {
            bias: with_bias.then_some(&bias[..]),
            act,
            accumulate,
        },
    );
    let wide = |v: Vec<T>| v.into_iter().map(T::to_f64).collect::<Vec<_>>();
    let (x, w) = (wide(numbers(g.x_len(), 1)), wide(numbers(g.w_len(), 2)));
    let dy = wide(numbers(g.y_len(), 3));
    let mut y = if accumulate {
        wide(numbers(g.y_len(), 4))
    } else {
        vec![0.0; g.y_len()]
    };
    let (mut dx, mut dw) = (vec![0.0; g.x_len()], vec![0.0; g.w_len()]);
    products(g, |xi, wi, yi| {
        y[yi] += x[xi] * w[wi];
        dx[xi] += dy[yi] * w[wi];
        dw[wi] += x[xi] * dy[yi];
    });
    for (i, v) in y.iter_mut().enumerate() {
        let b = if with_bias {
            bias[i % channels].to_f64()
        } else {
            0.0
        };
        *v = act.apply(*v + b);
    }
    close("y", &got.y, &y, g.kh * g.kw);
    close("dx", &got.dx, &dx, g.kh * g.kw * g.multiplier);
    close("dw", &got.dw, &dw, g.n * g.oh * g.ow);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn agrees_with_plain_sums(g in geometries(), relu: bool, bias: bool, accumulate: bool) {
        let act = if relu { Act::Relu } else { Act::Sigmoid };
        for isa in isas() {
            check::<f32>(isa, &g, act, bias, accumulate);
            check::<f64>(isa, &g, act, bias, accumulate);
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads_and_batch() {
    let (oh, pad) = sizes(30, 3, 2, 1, true);
    let g = DepthwiseConv2d {
        n: 11,
        h: 30,
        w: 30,
        c: 37,
        multiplier: 2,
        kh: 3,
        kw: 3,
        sh: 2,
        sw: 2,
        dh: 1,
        dw: 1,
        pad_top: pad,
        pad_left: pad,
        oh,
        ow: oh,
    };
    let ep = Epilogue::default();
    let want = {
        let _guard = par::tests::threads(1);
        run::<f32>(cpu::isa(), &g, &ep)
    };
    for threads in [2, 3] {
        let _guard = par::tests::threads(threads);
        let got = run::<f32>(cpu::isa(), &g, &ep);
        assert!(got.y == want.y && got.dx == want.dx && got.dw == want.dw);
    }
    let one = run::<f32>(cpu::isa(), &DepthwiseConv2d { n: 1, ..g }, &ep);
    assert!(one.y[..] == want.y[..one.y.len()]);
}
