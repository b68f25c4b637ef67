use super::*;
use crate::par;

#[test]
fn philox_gives_the_published_answers() {
    // Random123's known-answer tests for philox4x32 with ten rounds.
    let cases = [
        (
            [0; 4],
            [0; 2],
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
        ),
        (
            [u32::MAX; 4],
            [u32::MAX; 2],
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
        ),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, words) in cases {
        assert_eq!(philox(counter, key), words);
        let mut wide: Words = [[0; WIDTH]; 4];
        philox_wide(&counter.map(|w| [w; WIDTH]), key, &mut wide);
        assert_eq!(wide, words.map(|w| [w; WIDTH]));
    }
}

const STREAM: Stream = Stream {
    key: 0x0123_4567_89ab_cdef,
    step: 0x1234_0000_0007,
    sample: 0x1_ffff_fffe,
};

/// The words of one element, straight from the definition.
fn words(sample: u64, element: usize, per_block: usize) -> [u32; 4] {
    let sample = STREAM.sample + sample;
    let step = STREAM.step;
    let high = (sample >> 32) as u32 | ((step >> 32) as u32) << 16;
    let counter = [
        (element / per_block) as u32,
        sample as u32,
        step as u32,
        high,
    ];
    philox(counter, [0x89ab_cdef, 0x0123_4567])
}

#[test]
fn elements_follow_the_documented_layout() {
    for (samples, elements) in [
        (3, 1),
        (5, 10),
        (2, 64),
        (3, 200),
        (1, 1001),
        (40, 7),
        (1, 0),
    ] {
        let mut out = vec![9u8; samples * elements];
        fill_bernoulli_mask(&STREAM, elements, 0.25, &mut out).expect("whole samples");
        let mut units = vec![9.0f32; out.len()];
        fill_uniform(&STREAM, elements, 0.0, 1.0, &mut units).expect("whole samples");
        let mut wide = vec![9.0f64; out.len()];
        fill_uniform(&STREAM, elements, 0.0, 1.0, &mut wide).expect("whole samples");
        for s in 0..samples {
            for e in 0..elements {
                let word = words(s as u64, e, 4)[e % 4];
                assert_eq!(out[s * elements + e], u8::from(word < 1 << 30));
                assert_eq!(units[s * elements + e], (word >> 8) as f32 / 16_777_216.0);
                let pair = words(s as u64, e, 2);
                let (low, high) = (pair[e % 2 * 2], pair[e % 2 * 2 + 1]);
                let bits = (u64::from(high) << 32 | u64::from(low)) >> 11;
                assert_eq!(wide[s * elements + e], bits as f64 / 2f64.powi(53));
            }
        }
    }
}

#[test]
fn threads_and_batches_do_not_change_numbers() {
    let (samples, elements) = (60, 5003);
    let mut whole = vec![0.0f32; samples * elements];
    fill_normal(&STREAM, elements, 1.0, 2.0, &mut whole).expect("whole samples");
    for threads in 1..=3 {
        let _guard = par::tests::threads(threads);
        let mut again = vec![0.0; whole.len()];
        fill_normal(&STREAM, elements, 1.0, 2.0, &mut again).expect("whole samples");
        assert_eq!(again, whole);
    }
    let mut later = vec![0.0; whole.len() - 7 * elements];
    let stream = Stream {
        sample: STREAM.sample + 7,
        ..STREAM
    };
    fill_normal(&stream, elements, 1.0, 2.0, &mut later).expect("whole samples");
    assert_eq!(later, whole[7 * elements..]);
}

/// Mean, variance, and the third and fourth standardised moments.
fn moments(x: impl Iterator<Item = f64> + Clone) -> [f64; 4] {
    let n = x.clone().count() as f64;
    let mean = x.clone().sum::<f64>() / n;
    let central = |p| x.clone().map(|v| (v - mean).powi(p)).sum::<f64>() / n;
    let v = central(2);
    [mean, v, central(3) / v.powf(1.5), central(4) / (v * v)]
}

fn assert_moments(name: &str, got: [f64; 4], want: [f64; 4], n: f64) {
    // Five standard errors, roughly, of distributions with light tails.
    let bound = 25.0 / n.sqrt();
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < bound, "{name}: {got:?}, not {want:?}");
    }
}

#[test]
fn distributions_have_their_moments() {
    let n = 400_000;
    let stream = Stream::new(1, 2, 3, 0);
    let (mut x, mut y) = (vec![0.0f32; n], vec![0.0f64; n]);
    let check = |name: &str, x: &[f32], y: &[f64], want: [f64; 4]| {
        assert_moments(name, moments(x.iter().map(|&v| v.into())), want, n as f64);
        assert_moments(name, moments(y.iter().copied()), want, n as f64);
    };
    fill_uniform(&stream, n, -1.0, 1.0, &mut x).expect("fits");
    fill_uniform(&stream, n, -1.0, 1.0, &mut y).expect("fits");
    assert!(x.iter().all(|v| (-1.0..1.0).contains(v)));
    check("uniform", &x, &y, [0.0, 1.0 / 3.0, 0.0, 1.8]);
    fill_normal(&stream, n, 0.0, 1.0, &mut x).expect("fits");
    fill_normal(&stream, n, 0.0, 1.0, &mut y).expect("fits");
    check("normal", &x, &y, [0.0, 1.0, 0.0, 3.0]);
    // The numbers of a pair are independent.
    let pairs = x.chunks(2).map(|p| f64::from(p[0] * p[1])).sum::<f64>() / n as f64;
    assert!(pairs.abs() < 0.01);
    fill_truncated_normal(&stream, n, 0.0, 1.0, &mut x).expect("fits");
    fill_truncated_normal(&stream, n, 0.0, 1.0, &mut y).expect("fits");
    assert!(x.iter().all(|v| v.abs() <= 2.0) && y.iter().all(|v| v.abs() <= 2.0));
    // Of the normal distribution cut at 2: 1 - 4 phi(2) / (2 Phi(2) - 1), and accordingly.
    let density = (-2.0f64).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let mass = 0.954_499_736_103_641_6;
    let variance = 1.0 - 4.0 * density / mass;
    let fourth = 3.0 - (2.0 * 8.0 + 3.0 * 4.0) * density / mass;
    check(
        "truncated",
        &x,
        &y,
        [0.0, variance, 0.0, fourth / variance / variance],
    );
}

#[test]
fn masks_and_integers_keep_their_bounds() {
    let stream = Stream::new(5, 6, 7, 8);
    let mut mask = vec![0u8; 100_000];
    for p in [0.0, 0.1, 0.5, 1.0] {
        fill_bernoulli_mask(&stream, 100, p, &mut mask).expect("fits");
        let share = mask.iter().map(|&m| f64::from(m)).sum::<f64>() / mask.len() as f64;
        let spread = 5.0 * (p * (1.0 - p) / mask.len() as f64).sqrt();
        assert!((share - p).abs() <= spread, "{share} {p}");
    }
    let mut small = vec![0i32; 60_000];
    fill_uniform_int(&stream, 60, -2, 4, &mut small).expect("fits");
    let mut large = vec![0i64; 60_000];
    fill_uniform_int(&stream, 60, -2, 4, &mut large).expect("fits");
    for v in -2..4 {
        let count = small.iter().filter(|&&x| x == v).count();
        assert!(count.abs_diff(10_000) < 500, "{v}: {count}");
        let count = large.iter().filter(|&&x| x == i64::from(v)).count();
        assert!(count.abs_diff(10_000) < 500, "{v}: {count}");
    }
    fill_uniform_int(&stream, 60, i64::MIN, i64::MAX, &mut large).expect("fits");
    assert!(large.iter().any(|&v| v < 0) && large.iter().any(|&v| v > 0));
    assert!(fill_uniform_int(&stream, 60, 3, 3, &mut small).is_err());
    assert!(fill_uniform(&stream, 7, 0.0, 1.0, &mut [0.0f32; 8]).is_err());
}

#[test]
fn neighbouring_keys_are_unrelated() {
    let keys: Vec<u64> = (0..4)
        .flat_map(|seed| (0..4).map(move |op| Stream::new(seed, op, 0, 0).key))
        .collect();
    for (i, a) in keys.iter().enumerate() {
        for b in &keys[..i] {
            assert!((a ^ b).count_ones() > 10);
        }
    }
}
