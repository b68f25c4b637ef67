use proptest::prelude::*;

use super::*;
use crate::par;

/// An axis: input, window, stride, padding before, and as many outputs as windows start within.
fn axis() -> impl Strategy<Value = [usize; 5]> {
    (1usize..8, 1usize..4, 1usize..4, 0usize..3).prop_map(|(n, window, stride, pad)| {
        let pad = pad.min(window - 1);
        [n, window, stride, pad, (n + pad).div_ceil(stride)]
    })
}

fn shape() -> impl Strategy<Value = PoolShape> {
    let general = (
        0usize..3,
        [axis(), axis(), axis()],
        prop_oneof![Just(1), Just(3), Just(70)],
    );
    let general = general.prop_map(|(batch, axes, channels)| PoolShape {
        batch,
        input: axes.map(|a| a[0]),
        channels,
        output: axes.map(|a| a[4]),
        window: axes.map(|a| a[1]),
        stride: axes.map(|a| a[2]),
        pad_low: axes.map(|a| a[3]),
    });
    let square = (1usize..3, 1usize..5, 1usize..5, 1usize..40);
    let square = square.prop_map(|(batch, h, w, channels)| PoolShape {
        batch,
        input: [1, 2 * h, 2 * w],
        channels,
        output: [1, h, w],
        window: [1, 2, 2],
        stride: [1, 2, 2],
        pad_low: [0; 3],
    });
    prop_oneof![general, square]
}

/// The cells of a window within the input by the definition: (number, flat input position).
fn cells(s: &PoolShape, o: usize) -> Vec<(usize, usize)> {
    let [od, oh, ow] = s.output;
    let at = [o / (oh * ow) % od, o / ow % oh, o % ow];
    let mut found = Vec::new();
    for cell in 0..s.window.iter().product() {
        let offset = [
            cell / (s.window[1] * s.window[2]),
            cell / s.window[2] % s.window[1],
            cell % s.window[2],
        ];
        let place = |a: usize| {
            let p = (at[a] * s.stride[a] + offset[a]).checked_sub(s.pad_low[a])?;
            (p < s.input[a]).then_some(p)
        };
        if let (Some(d), Some(h), Some(w)) = (place(0), place(1), place(2)) {
            let image = o / (od * oh * ow);
            found.push((
                cell,
                ((image * s.input[0] + d) * s.input[1] + h) * s.input[2] + w,
            ));
        }
    }
    found
}

/// Few different values, so that some are equal, and some NaN.
fn values(n: usize, seed: u32, nan: bool) -> Vec<f32> {
    let hash = |i: usize| (i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 16;
    (0..n)
        .map(|i| match hash(i) % 23 {
            0 if nan => f32::NAN,
            v => v as f32 - 11.0,
        })
        .collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter()
        .map(|v| if v.is_nan() { 1 } else { v.to_bits() })
        .collect()
}

proptest! {
    #[test]
    fn max_pooling_matches_the_definition(s in shape(), seed in any::<u32>(), nan in any::<bool>()) {
        let c = s.channels;
        let x = values(s.input_len(), seed, nan);
        let dy = values(s.output_len(), seed ^ 99, false);
        let (mut want, mut places) = (vec![f32::NEG_INFINITY; dy.len()], vec![0u8; dy.len()]);
        let mut want_dx = vec![0.0f32; x.len()];
        for o in 0..dy.len() {
            let mut best: Option<(usize, usize)> = None;
            for (cell, i) in cells(&s, o / c) {
                let v = x[i * c + o % c];
                let better = best.is_none_or(|(_, b)| v > x[b] || v.is_nan() && !x[b].is_nan());
                if better {
                    best = Some((cell, i * c + o % c));
                }
            }
            if let Some((cell, i)) = best {
                (want[o], places[o]) = (x[i], cell as u8);
                want_dx[i] += dy[o];
            }
        }
        for threads in 1..=2 {
            let _guard = par::tests::threads(threads);
            let (mut out, mut index) = (vec![0.0; dy.len()], vec![9u8; dy.len()]);
            max_pool(&x, &s, &mut out, Some(&mut index)).expect("fits");
            prop_assert_eq!(bits(&out), bits(&want));
            prop_assert_eq!(&index, &places);
            max_pool::<f32, u8>(&x, &s, &mut out, None).expect("fits");
            prop_assert_eq!(bits(&out), bits(&want));
            let mut wide = vec![9i32; dy.len()];
            max_pool(&x, &s, &mut out, Some(&mut wide)).expect("fits");
            prop_assert!(wide.iter().zip(&places).all(|(&a, &b)| a == i32::from(b)));
            let mut dx = vec![7.0; x.len()];
            max_pool_backward(&dy, &index, &s, &mut dx).expect("fits");
            prop_assert_eq!(&dx, &want_dx);
        }
    }

    #[test]
    fn average_pooling_matches_the_definition(s in shape(), seed in any::<u32>()) {
        let c = s.channels;
        let x = values(s.input_len(), seed, false);
        let dy = values(s.output_len(), seed ^ 99, false);
        let mut out = vec![7.0; dy.len()];
        avg_pool(&x, &s, &mut out).expect("fits");
        let mut want_dx = vec![0.0f64; x.len()];
        for o in 0..dy.len() {
            let found = cells(&s, o / c);
            let n = found.len().max(1) as f64;
            let sum: f64 = found.iter().map(|&(_, i)| f64::from(x[i * c + o % c])).sum();
            prop_assert!((f64::from(out[o]) - sum / n).abs() < 1e-5);
            for (_, i) in found {
                want_dx[i * c + o % c] += f64::from(dy[o]) / n;
            }
        }
        let mut dx = vec![7.0; x.len()];
        avg_pool_backward(&dy, &s, &mut dx).expect("fits");
        for (d, w) in dx.iter().zip(&want_dx) {
            prop_assert!((f64::from(*d) - w).abs() < 1e-5, "{} {}", d, w);
        }
    }
}

#[test]
fn threads_do_not_change_bits() {
    let s = PoolShape {
        batch: 8,
        input: [1, 56, 56],
        channels: 16,
        output: [1, 27, 27],
        window: [1, 3, 3],
        stride: [1, 2, 2],
        pad_low: [0; 3],
    };
    let (x, dy) = (
        values(s.input_len(), 1, true),
        values(s.output_len(), 2, false),
    );
    let mut first = None;
    for threads in 1..=3 {
        let _guard = par::tests::threads(threads);
        let (mut out, mut index) = (vec![0.0; dy.len()], vec![0u8; dy.len()]);
        let mut dx = vec![0.0; x.len()];
        max_pool(&x, &s, &mut out, Some(&mut index)).expect("fits");
        max_pool_backward(&dy, &index, &s, &mut dx).expect("fits");
        let all = (bits(&out), index, bits(&dx));
        assert_eq!(first.get_or_insert_with(|| all.clone()), &all);
    }
}

#[test]
fn large_windows_need_wide_positions() {
    let s = PoolShape {
        batch: 1,
        input: [1, 20, 20],
        channels: 1,
        output: [1, 1, 1],
        window: [1, 20, 20],
        stride: [1; 3],
        pad_low: [0; 3],
    };
    assert_eq!(s.index_dtype(), DType::I32);
    let mut x = vec![0i64; 400];
    x[399] = 1;
    let (mut out, mut index) = ([0], [0i32]);
    max_pool(&x, &s, &mut out, Some(&mut index)).expect("fits");
    assert_eq!((out, index), ([1], [399]));
    assert!(max_pool(&x, &s, &mut out, Some(&mut [0u8])).is_err());
    let bad = PoolShape {
        stride: [1, 0, 1],
        ..s
    };
    assert!(max_pool::<i64, u8>(&x, &bad, &mut out, None).is_err());
    assert!(avg_pool(&[0.0f32; 399], &s, &mut [0.0]).is_err());
}
