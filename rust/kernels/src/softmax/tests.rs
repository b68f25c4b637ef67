use proptest::prelude::*;

use super::*;
use crate::par;

fn close(got: f32, want: f64) -> bool {
    let exact = f64::from(got) == want || got.is_nan() && want.is_nan();
    exact || (f64::from(got) - want).abs() <= 2e-6 * want.abs().max(0.02)
}

fn assert_close(what: &str, got: &[f32], want: impl Iterator<Item = f64>) {
    for (i, (&g, w)) in got.iter().zip(want).enumerate() {
        assert!(close(g, w), "{what}[{i}]: {g}, not {w}");
    }
}

/// Rows with what trips up formulas: large values, infinities and equal elements.
fn row() -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![
        8 => -5.0f32..5.0,
        1 => Just(-1e4f32),
        1 => Just(90.0f32),
        1 => Just(f32::NEG_INFINITY),
    ];
    prop::collection::vec(value, 1..70)
}

fn log_sum(x: &[f32]) -> f64 {
    let max = x.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v.into()));
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + x
        .iter()
        .map(|&v| (f64::from(v) - max).exp())
        .sum::<f64>()
        .ln()
}

proptest! {
    #[test]
    fn rows_match_the_formulas(x in row(), repeat in 1usize..4, seed in 0u32..1000) {
        let n = x.len();
        let many: Vec<f32> = (0..repeat).flat_map(|_| x.clone()).collect();
        let log = log_sum(&x);
        prop_assume!(log.is_finite());
        let logs: Vec<f64> = many.iter().map(|&v| f64::from(v) - log).collect();
        let mut out = vec![0.0; many.len()];
        softmax(&many, n, &mut out).expect("fits");
        assert_close("softmax", &out, logs.iter().map(|l| l.exp()));
        log_softmax(&many, n, &mut out).expect("fits");
        for (got, want) in out.iter().zip(&logs) {
            prop_assert!(close(*got, *want) || (f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
        }
        let mut sums = vec![0.0; repeat];
        log_sum_exp(&many, n, &mut sums).expect("fits");
        for &s in &sums {
            prop_assert!((f64::from(s) - log).abs() <= 1e-6 * log.abs().max(1.0), "{s} {log}");
        }
        // Dense and integer targets.
        let t: Vec<f32> = (0..many.len() as u32).map(|i| ((i * 7 + seed) % 5) as f32 * 0.1).collect();
        let t: Vec<f32> = t.iter().zip(&many).map(|(&t, x)| if x.is_finite() { t } else { 0.0 }).collect();
        let (mut loss, mut gradient) = (vec![0.0; repeat], vec![0.0; many.len()]);
        softmax_cross_entropy(&many, &t, n, &mut loss, Some(&mut gradient)).expect("fits");
        for r in 0..repeat {
            let part = r * n..(r + 1) * n;
            let terms = t[part.clone()].iter().zip(&logs[part.clone()]);
            let want: f64 = terms.map(|(&t, l)| if t == 0.0 { 0.0 } else { -f64::from(t) * l }).sum();
            prop_assert!((f64::from(loss[r]) - want).abs() <= 3e-6 * want.abs().max(1.0));
            let weight: f64 = t[part.clone()].iter().map(|&t| f64::from(t)).sum();
            let grads = logs[part.clone()].iter().zip(&t[part.clone()]);
            for (g, w) in gradient[part].iter().zip(grads.map(|(l, &t)| weight * l.exp() - f64::from(t))) {
                prop_assert!((f64::from(*g) - w).abs() <= 1e-6 * weight.max(1.0), "{g} {w}");
            }
        }
        let mut alone = vec![0.0; repeat];
        softmax_cross_entropy(&many, &t, n, &mut alone, None).expect("fits");
        prop_assert_eq!(&alone, &loss);
        let labels: Vec<i32> = (0..repeat).map(|r| ((seed as usize + r) % n) as i32).collect();
        sparse_softmax_cross_entropy(&many, &labels, n, &mut loss, Some(&mut gradient)).expect("fits");
        for r in 0..repeat {
            let want = -logs[r * n + labels[r] as usize];
            let same = f64::from(loss[r]) == want;
            prop_assert!(same || (f64::from(loss[r]) - want).abs() <= 1e-6 * want.abs().max(1.0));
            for i in 0..n {
                let hot = f64::from(u8::from(i == labels[r] as usize));
                let want = logs[r * n + i].exp() - hot;
                prop_assert!((f64::from(gradient[r * n + i]) - want).abs() <= 1e-6);
            }
        }
    }

    #[test]
    fn gradients_match_finite_differences(n in 1usize..20, seed in any::<u32>()) {
        let value = |i: usize| f64::from((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) / 1e7 - 0.8;
        let x: Vec<f64> = (0..n).map(value).collect();
        let dy: Vec<f64> = (0..n).map(|i| value(i + 100)).collect();
        for log in [false, true] {
            let f = |x: &[f64]| {
                let mut y = vec![0.0; n];
                if log { log_softmax(x, n, &mut y) } else { softmax(x, n, &mut y) }.expect("fits");
                y
            };
            let (y, mut dx) = (f(&x), vec![0.0; n]);
            if log {
                log_softmax_backward(&y, &dy, n, &mut dx).expect("fits");
            } else {
                softmax_backward(&y, &dy, n, &mut dx).expect("fits");
            }
            for i in 0..n {
                let h = 1e-6;
                let at = |d: f64| {
                    let mut moved = x.clone();
                    moved[i] += d;
                    f(&moved).iter().zip(&dy).map(|(a, b)| a * b).sum::<f64>()
                };
                let want = (at(h) - at(-h)) / (2.0 * h);
                prop_assert!((dx[i] - want).abs() < 1e-7, "{} {}", dx[i], want);
            }
        }
    }
}

#[test]
fn threads_do_not_change_bits() {
    let x: Vec<f32> = (0..200_000)
        .map(|i| ((i * 7919) % 1000) as f32 * 0.01)
        .collect();
    let labels: Vec<i64> = (0..200).collect();
    let mut first = None;
    for threads in 1..=3 {
        let _guard = par::tests::threads(threads);
        let (mut loss, mut gradient) = (vec![0.0; 200], vec![0.0; x.len()]);
        sparse_softmax_cross_entropy(&x, &labels, 1000, &mut loss, Some(&mut gradient))
            .expect("fits");
        assert_eq!(
            first.get_or_insert_with(|| (loss.clone(), gradient.clone())),
            &(loss, gradient)
        );
    }
}

#[test]
fn edges_are_defined() {
    let inf = f32::INFINITY;
    let mut y = [0.0; 2];
    log_sum_exp(&[-inf, -inf, inf, 0.0], 2, &mut y).expect("fits");
    assert_eq!(y, [-inf, inf]);
    log_sum_exp(&[], 0, &mut y).expect("fits");
    assert_eq!(y, [-inf, -inf]);
    softmax(&[f32::NAN, 1.0], 2, &mut y).expect("fits");
    assert!(y.iter().all(|v| v.is_nan()));
    softmax::<f32>(&[], 3, &mut []).expect("no rows");
    assert!(softmax(&[1.0f32; 4], 3, &mut [0.0; 4]).is_err());
    let mut loss = [7.0f32];
    let bad = sparse_softmax_cross_entropy(&[0.0; 3], &[3i32], 3, &mut loss, None);
    assert!(matches!(
        bad,
        Err(KernelError::Index {
            index: 3,
            position: 0,
            bound: 3,
            ..
        })
    ));
    assert_eq!(loss, [7.0]);
}
