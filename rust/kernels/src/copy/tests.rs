use proptest::prelude::*;

use super::*;
use crate::par;

fn numbered(n: usize) -> Vec<u32> {
    (0..n as u32)
        .map(|i| i.wrapping_mul(2_654_435_761))
        .collect()
}

/// The positions of a shape in row-major order.
fn positions(shape: &[usize]) -> Vec<Vec<usize>> {
    let at = |mut i: usize| {
        let mut p = vec![0; shape.len()];
        for a in (0..shape.len()).rev() {
            (p[a], i) = (i % shape[a], i / shape[a]);
        }
        p
    };
    (0..shape.iter().product()).map(at).collect()
}

fn flat(p: &[usize], shape: &[usize]) -> usize {
    p.iter().zip(shape).fold(0, |at, (&i, &n)| at * n + i)
}

fn shape() -> impl Strategy<Value = Vec<usize>> {
    let size =
        || prop_oneof![5 => 1usize..6, 2 => 6usize..20, 1 => Just(0usize), 1 => Just(70usize)];
    prop_oneof![
        prop::collection::vec(size(), 0..4),
        (1usize..3, 1usize..40, 1usize..40).prop_map(|(a, b, c)| vec![a, b, c]),
        prop::collection::vec(1usize..4, 5..7),
    ]
}

/// Transposes as bytes, words and double words.
fn check_transpose(shape: &[usize], permutation: &[usize]) {
    let x = numbered(shape.iter().product());
    let new: Vec<usize> = permutation.iter().map(|&p| shape[p]).collect();
    let want: Vec<u32> = positions(&new)
        .iter()
        .map(|p| {
            let mut old = vec![0; shape.len()];
            for (k, &axis) in permutation.iter().enumerate() {
                old[axis] = p[k];
            }
            x[flat(&old, shape)]
        })
        .collect();
    let mut out = vec![0u32; x.len()];
    transpose(&x, shape, permutation, &mut out).expect("fits");
    assert_eq!(out, want);
    let (bytes, wide): (Vec<u8>, Vec<u64>) = x
        .iter()
        .map(|&v| ((v >> 24) as u8, u64::from(v) << 20))
        .unzip();
    let (mut bytes_out, mut wide_out) = (vec![0; x.len()], vec![0; x.len()]);
    transpose(&bytes, shape, permutation, &mut bytes_out).expect("fits");
    transpose(&wide, shape, permutation, &mut wide_out).expect("fits");
    for (i, &w) in want.iter().enumerate() {
        assert_eq!(
            (bytes_out[i], wide_out[i]),
            ((w >> 24) as u8, u64::from(w) << 20)
        );
    }
}

proptest! {
    #[test]
    fn transposes_match_index_by_index(shape in shape(), seed in any::<u64>()) {
        let mut permutation: Vec<usize> = (0..shape.len()).collect();
        permutation.sort_by_key(|&a| (seed >> (8 * a)) as u8);
        check_transpose(&shape, &permutation);
    }

    #[test]
    fn slices_match_and_write_back(shape in shape(), seed in any::<u64>()) {
        let x = numbered(shape.iter().product());
        let mut bits = seed;
        let mut next = |n: usize| {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (bits >> 33) as usize % n
        };
        let slices: Vec<AxisSlice> = shape
            .iter()
            .map(|&n| {
                if n == 0 {
                    return AxisSlice { start: 0, step: 1, count: 0 };
                }
                let (start, step) = (next(n), 1 + next(3));
                let back = next(3) == 0;
                let room = if back { start } else { n - 1 - start };
                let count = next(room / step + 2);
                let step = if back { -(step as isize) } else { step as isize };
                AxisSlice { start, step, count }
            })
            .collect();
        let counts: Vec<usize> = slices.iter().map(|s| s.count).collect();
        let place = |p: &Vec<usize>| {
            let at = p.iter().zip(&slices).map(|(&i, s)| (s.start as isize + s.step * i as isize) as usize);
            flat(&at.collect::<Vec<_>>(), &shape)
        };
        let want: Vec<u32> = positions(&counts).iter().map(|p| x[place(p)]).collect();
        let mut out = vec![0; want.len()];
        slice(&x, &shape, &slices, &mut out).expect("fits");
        prop_assert_eq!(&out, &want);
        let mut back = vec![5u32; x.len()];
        let mut expected = back.clone();
        for (p, &v) in positions(&counts).iter().zip(&out) {
            expected[place(p)] = v;
        }
        write_slice(&out, &shape, &slices, &mut back).expect("fits");
        prop_assert_eq!(back, expected);
    }

    #[test]
    fn padding_joining_reversing_and_tiling(shape in shape(), seed in any::<u32>()) {
        let x = numbered(shape.iter().product());
        let part = |k: usize| (seed >> (3 * k) & 3) as usize;
        let padding: Vec<_> = (0..shape.len()).map(|a| (part(a), part(a + 1))).collect();
        let padded: Vec<usize> = shape.iter().zip(&padding).map(|(n, p)| n + p.0 + p.1).collect();
        let want: Vec<u32> = positions(&padded)
            .iter()
            .map(|p| {
                let old: Option<Vec<usize>> = (0..p.len())
                    .map(|a| p[a].checked_sub(padding[a].0).filter(|&i| i < shape[a]))
                    .collect();
                old.map_or(9, |old| x[flat(&old, &shape)])
            })
            .collect();
        let mut out = vec![0; want.len()];
        pad(&x, &shape, &padding, 9, &mut out).expect("fits");
        prop_assert_eq!(&out, &want);

        let axes: Vec<usize> = (0..shape.len()).filter(|&a| part(a) > 1).collect();
        let want: Vec<u32> = positions(&shape)
            .iter()
            .map(|p| {
                let turn = |(a, &i): (usize, &usize)| if axes.contains(&a) { shape[a] - 1 - i } else { i };
                x[flat(&p.iter().enumerate().map(turn).collect::<Vec<_>>(), &shape)]
            })
            .collect();
        let mut out = vec![0; want.len()];
        reverse(&x, &shape, &axes, &mut out).expect("fits");
        prop_assert_eq!(&out, &want);

        if shape.len() < 4 {
            let repeats: Vec<usize> = (0..shape.len()).map(part).collect();
            let tiled: Vec<usize> = shape.iter().zip(&repeats).map(|(n, r)| n * r).collect();
            let old = |p: &Vec<usize>| -> Vec<usize> { p.iter().zip(&shape).map(|(i, n)| i % n).collect() };
            let want: Vec<u32> = positions(&tiled).iter().map(|p| x[flat(&old(p), &shape)]).collect();
            let mut out = vec![0; want.len()];
            tile(&x, &shape, &repeats, &mut out).expect("fits");
            prop_assert_eq!(&out, &want);
        }

        if !shape.is_empty() {
            let axis = seed as usize % shape.len();
            let cut = (seed >> 8) as usize % (shape[axis] + 1);
            let range = |start: usize, count: usize| -> Vec<u32> {
                let mut slices: Vec<AxisSlice> =
                    shape.iter().map(|&count| AxisSlice { start: 0, step: 1, count }).collect();
                slices[axis] = AxisSlice { start, step: 1, count };
                let n = slices.iter().map(|s| s.count).product();
                let mut out = vec![0; n];
                slice(&x, &shape, &slices, &mut out).expect("fits");
                out
            };
            let (a, b) = (range(0, cut), range(cut, shape[axis] - cut));
            let mut joined = vec![0; x.len()];
            concat(&[&a, &b], &[cut, shape[axis] - cut], &shape, axis, &mut joined).expect("fits");
            prop_assert_eq!(&joined, &x);
        }
    }
}

#[test]
fn large_copies_are_shared_by_threads() {
    for threads in 1..=3 {
        let _guard = par::tests::threads(threads);
        check_transpose(&[3, 100, 500], &[0, 2, 1]);
        check_transpose(&[150_000, 2], &[1, 0]);
        check_transpose(&[400_000], &[0]);
        let x = numbered(300_000);
        let mut out = vec![0; x.len()];
        reverse(&x, &[x.len()], &[0], &mut out).expect("fits");
        assert!(out.iter().eq(x.iter().rev()));
    }
}

#[test]
fn bad_requests_are_refused() {
    let x = [1u32; 6];
    let mut out = [0u32; 6];
    assert!(transpose(&x, &[2, 3], &[0, 0], &mut out).is_err());
    assert!(transpose(&x, &[2, 3], &[0], &mut out).is_err());
    assert!(transpose(&[0u16; 6], &[2, 3], &[1, 0], &mut [0u16; 6]).is_err());
    assert!(transpose(&[1u8], &[1; 33], &(0..33).collect::<Vec<_>>(), &mut [0]).is_err());
    let past = AxisSlice {
        start: 4,
        step: 1,
        count: 3,
    };
    assert!(slice(&x, &[6], &[past], &mut out[..3]).is_err());
    let before = AxisSlice {
        start: 1,
        step: -1,
        count: 3,
    };
    assert!(slice(&x, &[6], &[before], &mut out[..3]).is_err());
    let twice = AxisSlice {
        start: 1,
        step: 0,
        count: 3,
    };
    assert!(slice(&x, &[6], &[twice], &mut out[..3]).is_ok());
    assert!(write_slice(&x[..3], &[6], &[twice], &mut out).is_err());
    assert!(pad(&x, &[6], &[], 0, &mut out).is_err());
    assert!(concat(&[&x], &[5], &[6], 0, &mut out).is_err());
    assert!(concat(&[&x], &[6], &[6], 1, &mut out).is_err());
    assert!(reverse(&x, &[6], &[1], &mut out).is_err());
    assert!(tile(&x, &[6], &[1, 1], &mut out).is_err());
}
