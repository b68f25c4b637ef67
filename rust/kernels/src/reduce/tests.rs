use proptest::prelude::*;

use super::*;
use crate::par;

const OPS: [ReduceOp; 5] = [
    ReduceOp::Sum,
    ReduceOp::Mean,
    ReduceOp::Prod,
    ReduceOp::Max,
    ReduceOp::Min,
];

fn dims() -> impl Strategy<Value = [usize; 3]> {
    let size = || prop_oneof![4 => 1usize..6, 1 => Just(0usize), 1 => 6usize..40];
    prop_oneof![
        [size(), size(), size()],
        (1usize..3, 1usize..3000, 1usize..4).prop_map(|(a, b, c)| [a, b, c]),
        (1usize..3, 1usize..150, 1usize..1200).prop_map(|(a, b, c)| [a, b, c]),
        (1usize..400, 1usize..600).prop_map(|(a, b)| [a, b, 1]),
        (1usize..300, 1usize..20).prop_map(|(a, b)| [a, b, 1]),
    ]
}

fn hash(i: usize, seed: u32) -> u32 {
    (i as u32 ^ seed).wrapping_mul(2_654_435_761) ^ seed >> 3
}

/// Small values near 1 in magnitude, so that products stay in range.
fn value(i: usize, seed: u32) -> f64 {
    let v = 0.99 + f64::from(hash(i, seed) % 1000) * 2e-5;
    if hash(i, seed).is_multiple_of(3) {
        -v
    } else {
        v
    }
}

fn naive(op: ReduceOp, part: &[f64]) -> f64 {
    match op {
        ReduceOp::Sum => part.iter().sum(),
        ReduceOp::Mean => part.iter().sum::<f64>() / part.len() as f64,
        ReduceOp::Prod => part.iter().product(),
        ReduceOp::Max => part.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ReduceOp::Min => part.iter().copied().fold(f64::INFINITY, f64::min),
        ReduceOp::Any | ReduceOp::All => unreachable!("of booleans"),
    }
}

fn column(dims: [usize; 3], k: usize) -> impl Iterator<Item = usize> {
    let [_, reduced, inner] = dims;
    (0..reduced).map(move |r| (k / inner * reduced + r) * inner + k % inner)
}

fn close(got: f64, want: f64, epsilon: f64) -> bool {
    got == want || (got - want).abs() <= epsilon || got.is_nan() && want.is_nan()
}

proptest! {
    #[test]
    fn reductions_match_plain_loops(dims in dims(), seed in any::<u32>()) {
        let n = dims.iter().product();
        let x: Vec<f64> = (0..n).map(|i| value(i, seed)).collect();
        let single: Vec<f32> = x.iter().map(|&v| v as f32).collect();
        for op in OPS {
            let mut out = vec![7.0; dims[0] * dims[2]];
            reduce(op, &x, dims, &mut out).expect("fits");
            let mut small = vec![7.0f32; out.len()];
            reduce(op, &single, dims, &mut small).expect("fits");
            for k in 0..out.len() {
                let part: Vec<f64> = column(dims, k).map(|i| x[i]).collect();
                let want = naive(op, &part);
                let scale = part.len() as f64 + 1.0;
                prop_assert!(close(out[k], want, 1e-13 * scale), "{op:?} {} {want}", out[k]);
                let part: Vec<f64> = column(dims, k).map(|i| single[i].into()).collect();
                let want = naive(op, &part);
                let bound = if op == ReduceOp::Mean { 2e-6 } else { 2e-6 * scale };
                prop_assert!(close(small[k].into(), want, bound), "{op:?} {} {want}", small[k]);
            }
        }
    }

    #[test]
    fn integers_and_booleans_reduce_exactly(dims in dims(), seed in any::<u32>()) {
        let n = dims.iter().product();
        let ints: Vec<i32> = (0..n).map(|i| hash(i, seed) as i32).collect();
        let flags: Vec<u8> = (0..n).map(|i| u8::from(!hash(i, seed).is_multiple_of(9))).collect();
        let results = dims[0] * dims[2];
        for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min] {
            let mut out = vec![7; results];
            reduce(op, &ints, dims, &mut out).expect("fits");
            for (k, &got) in out.iter().enumerate() {
                let part = column(dims, k).map(|i| ints[i]);
                let want = match op {
                    ReduceOp::Sum => part.fold(0, i32::wrapping_add),
                    ReduceOp::Prod => part.fold(1, i32::wrapping_mul),
                    ReduceOp::Max => part.fold(i32::MIN, i32::max),
                    _ => part.fold(i32::MAX, i32::min),
                };
                prop_assert_eq!(got, want);
            }
        }
        let (mut any, mut all) = (vec![7u8; results], vec![7u8; results]);
        reduce(ReduceOp::Any, &flags, dims, &mut any).expect("fits");
        reduce(ReduceOp::All, &flags, dims, &mut all).expect("fits");
        for k in 0..results {
            prop_assert_eq!(any[k] != 0, column(dims, k).any(|i| flags[i] != 0));
            prop_assert_eq!(all[k] != 0, column(dims, k).all(|i| flags[i] != 0));
            prop_assert!(any[k] < 2 && all[k] < 2);
        }
    }

    #[test]
    fn any_set_of_axes(
        shape in prop::collection::vec(0usize..5, 0..5),
        chosen in any::<u8>(),
        seed in any::<u32>(),
    ) {
        let n: usize = shape.iter().product();
        let x: Vec<i64> = (0..n).map(|i| i64::from(hash(i, seed) as i32)).collect();
        let axes: Vec<usize> = (0..shape.len()).filter(|a| chosen >> a & 1 == 1).collect();
        let kept: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).collect();
        let results: usize = kept.iter().map(|&a| shape[a]).product();
        let mut want = vec![0i64; results];
        for (i, &v) in x.iter().enumerate() {
            let (mut rest, mut k, mut step) = (i, 0, 1);
            for a in (0..shape.len()).rev() {
                if kept.contains(&a) {
                    k += rest % shape[a] * step;
                    step *= shape[a];
                }
                rest /= shape[a];
            }
            want[k] = want[k].wrapping_add(v);
        }
        let mut out = vec![7; results];
        reduce_axes(ReduceOp::Sum, &x, &shape, &axes, &mut out).expect("fits");
        prop_assert_eq!(out, want);
    }

    #[test]
    fn positions_of_extremes(dims in dims(), seed in any::<u32>(), nan in any::<bool>()) {
        let n = dims.iter().product();
        // Few values, so that many are equal.
        let of = |i: usize| match hash(i, seed) % 50 {
            0 if nan => f32::NAN,
            v => (v % 5) as f32,
        };
        let x: Vec<f32> = (0..n).map(of).collect();
        let mut out = vec![7; dims[0] * dims[2]];
        for op in [ArgOp::Max, ArgOp::Min] {
            let result = arg_reduce(op, &x, dims, &mut out);
            if dims[1] == 0 && !out.is_empty() {
                prop_assert!(result.is_err());
                continue;
            }
            for (k, &got) in out.iter().enumerate() {
                let part: Vec<f32> = column(dims, k).map(|i| x[i]).collect();
                let best = match op {
                    ArgOp::Max => part.iter().copied().fold(f32::MIN, f32::max),
                    ArgOp::Min => part.iter().copied().fold(f32::MAX, f32::min),
                };
                let nan = part.iter().position(|v| v.is_nan());
                let want = nan.or_else(|| part.iter().position(|&v| v == best));
                prop_assert_eq!(Some(got as usize), want);
            }
        }
    }
}

#[test]
fn threads_do_not_change_bits() {
    let x: Vec<f32> = (0..600_000).map(|i| value(i, 3) as f32).collect();
    for dims in [
        [1, 600_000, 1],
        [600, 1000, 1],
        [1, 600, 1000],
        [60_000, 10, 1],
        [2, 30_000, 10],
    ] {
        let mut first = None;
        for threads in 1..=3 {
            let _guard = par::tests::threads(threads);
            let mut out = vec![0.0; dims[0] * dims[2]];
            reduce(ReduceOp::Sum, &x, dims, &mut out).expect("fits");
            assert_eq!(first.get_or_insert_with(|| out.clone()), &out);
        }
    }
}

#[test]
fn positions_in_empty_arrays() {
    for dims in [[0, 0, 1], [0, 3, 1], [0, 0, 2], [2, 0, 0], [2, 3, 0]] {
        arg_reduce::<f32>(ArgOp::Max, &[], dims, &mut []).expect("nothing to find");
    }
    assert!(arg_reduce::<f32>(ArgOp::Max, &[], [1, 0, 1], &mut [0]).is_err());
}

#[test]
fn nan_and_bad_axes() {
    let mut out = [0.0f32];
    for op in OPS {
        reduce(op, &[1.0, f32::NAN, 2.0], [1, 3, 1], &mut out).expect("fits");
        assert!(out[0].is_nan(), "{op:?}");
    }
    assert!(reduce_axes(ReduceOp::Sum, &[1.0f32], &[1], &[1], &mut out).is_err());
    assert!(reduce_axes(ReduceOp::Sum, &[1.0f32], &[1], &[0, 0], &mut out).is_err());
    assert!(reduce(ReduceOp::Sum, &[1.0f32; 2], [1, 3, 1], &mut out).is_err());
    assert!(ReduceOp::Sum.check(DType::Bool).is_err());
    assert!(ReduceOp::Mean.check(DType::I32).is_err());
    assert!(ReduceOp::Any.check(DType::U8).is_err());
}
