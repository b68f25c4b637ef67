//! Products against plain loops in f64.

use proptest::prelude::*;

use super::*;
use crate::par;

/// Numbers in [-1, 1) that depend on the seed.
pub(crate) fn numbers<T: Float>(len: usize, seed: u64) -> Vec<T> {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            T::from_f64((s >> 40) as f64 / (1u64 << 23) as f64 - 1.0)
        })
        .collect()
}

pub(crate) fn isas() -> Vec<Isa> {
    [Isa::Portable, Isa::Avx2, Isa::Avx512]
        .into_iter()
        .filter(|&i| i <= cpu::isa())
        .collect()
}

#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    /// Transposed operands.
    ta: bool,
    tb: bool,
    /// Gap between rows.
    gap: usize,
    bias: bool,
    act: Act,
    accumulate: bool,
}

impl Case {
    fn strides(&self) -> [usize; 5] {
        let (m, n, k, g) = (self.m, self.n, self.k, self.gap);
        let (rsa, csa) = if self.ta { (1, m + g) } else { (k + g, 1) };
        let (rsb, csb) = if self.tb { (1, k + g) } else { (n + g, 1) };
        [rsa, csa, rsb, csb, n + g]
    }

    fn operands<T: Float>(&self) -> (Vec<T>, Vec<T>, Vec<T>, Vec<T>) {
        let (m, n, k, g) = (self.m, self.n, self.k, self.gap);
        let a = numbers((m + g) * (k + g), 1);
        let b = numbers((n + g) * (k + g), 2);
        let c = numbers(m * (n + g), 3);
        (a, b, c, numbers(n, 4))
    }

    fn run<T: Float>(&self, isa: Isa) -> Vec<T> {
        let (a, b, mut c, bias) = self.operands::<T>();
        let [rsa, csa, rsb, csb, rsc] = self.strides();
        let ep = Epilogue {
            bias: self.bias.then_some(&bias[..]),
            act: self.act,
            accumulate: self.accumulate,
        };
        gemm_on(
            isa, self.m, self.n, self.k, &a, rsa, csa, &b, rsb, csb, &mut c, rsc, &ep,
        );
        c
    }

    /// Compares every element with f64 sums, and the gaps with what was there.
    fn check<T: Float>(&self, isa: Isa) {
        let (a, b, old, bias) = self.operands::<T>();
        let [rsa, csa, rsb, csb, rsc] = self.strides();
        let got = self.run::<T>(isa);
        let eps = if size_of::<T>() == 4 { 1e-6 } else { 1e-15 };
        for i in 0..self.m {
            for j in 0..rsc {
                let at = i * rsc + j;
                let before = old[at].to_f64();
                if j >= self.n {
                    assert_eq!(
                        got[at].to_f64(),
                        before,
                        "gap written by {self:?} on {isa:?}"
                    );
                    continue;
                }
                let mut sum = if self.accumulate { before } else { 0.0 };
                sum += (0..self.k)
                    .map(|p| a[i * rsa + p * csa].to_f64() * b[p * rsb + j * csb].to_f64())
                    .sum::<f64>();
                if self.bias {
                    sum += bias[j].to_f64();
                }
                let want = self.act.apply(sum);
                let bound = eps * (10.0 + self.k as f64);
                assert!(
                    (got[at].to_f64() - want).abs() <= bound,
                    "({i}, {j}) of {self:?} on {isa:?}: got {:?}, want {want}",
                    got[at]
                );
            }
        }
    }
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::None),
        Just(Act::Relu),
        Just(Act::Sigmoid),
        Just(Act::Tanh),
        Just(Act::HardSigmoid),
        Just(Act::Elu(0.7)),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let size = || prop_oneof![0..4usize, 1..40usize, 30..140usize];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let k = prop_oneof![0..40usize, 250..270usize, 500..530usize];
    (size(), size(), k, flags, 0..3usize, acts()).prop_map(
        |(m, n, k, (ta, tb, bias, accumulate), gap, act)| Case {
            m,
            n,
            k,
            ta,
            tb,
            gap,
            bias,
            act,
            accumulate,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn agrees_with_plain_sums(case in cases()) {
        for isa in isas() {
            case.check::<f32>(isa);
            case.check::<f64>(isa);
        }
    }
}

fn plain(m: usize, n: usize, k: usize, ta: bool, tb: bool) -> Case {
    Case {
        m,
        n,
        k,
        ta,
        tb,
        gap: 0,
        bias: true,
        act: Act::Relu,
        accumulate: false,
    }
}

#[test]
fn large_shapes_agree_with_plain_sums() {
    for case in [
        plain(70, 1100, 300, false, true),
        plain(530, 600, 20, false, false),
        plain(20, 30, 9000, true, false),
        plain(3, 2, 13000, false, false),
        plain(1, 700, 300, false, false),
        plain(700, 1, 300, false, false),
        plain(700, 1, 300, true, false),
        plain(1, 1, 10000, true, true),
    ] {
        for isa in isas() {
            case.check::<f32>(isa);
            case.check::<f64>(isa);
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for case in [
        plain(128, 512, 784, false, false),
        plain(784, 512, 128, true, false),
        plain(128, 784, 512, false, true),
        plain(30, 20, 20000, true, false),
        plain(1100, 1000, 8200, true, false),
        plain(4000, 1, 900, false, false),
        plain(900, 1, 9000, true, false),
    ] {
        let want = {
            let _guard = par::tests::threads(1);
            case.run::<f32>(cpu::isa())
        };
        for threads in [2, 3] {
            let _guard = par::tests::threads(threads);
            assert!(
                case.run::<f32>(cpu::isa()) == want,
                "{case:?} on {threads} threads"
            );
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_number_of_rows() {
    for (n, k, tb) in [
        (64, 300, false),
        (50, 4500, true),
        (7, 33, false),
        (1, 500, false),
        (700, 40, true),
    ] {
        let all = Case {
            gap: 0,
            ..plain(37, n, k, false, tb)
        };
        let want = all.run::<f32>(cpu::isa());
        for m in [1, 2, 3, 5, 16, 36] {
            let got = Case { m, ..all }.run::<f32>(cpu::isa());
            assert!(got[..] == want[..m * n], "{m} rows of {all:?}");
        }
    }
}

/// With a transposed `B`, a number of rows that fills whole vectors goes another way than one more.
#[test]
fn a_flipped_product_has_the_same_bits() {
    fn check<T: Float + PartialEq>(case: Case, isa: Isa) {
        case.check::<T>(isa);
        if case.ta {
            // One row more is another matrix.
            return;
        }
        let got = case.run::<T>(isa);
        let more = Case {
            m: case.m + 1,
            ..case
        };
        let want = more.run::<T>(isa);
        let rsc = case.n + case.gap;
        for i in 0..case.m {
            let row = i * rsc..i * rsc + case.n;
            assert!(
                got[row.clone()] == want[row],
                "row {i} of {case:?} on {isa:?}"
            );
        }
    }
    for (m, n, k) in [
        (16, 500, 40),
        (64, 200, 128),
        (32, 390, 300),
        (48, 193, 600),
    ] {
        for (ta, gap) in [(false, 0), (true, 0), (false, 3)] {
            let case = Case {
                gap,
                bias: false,
                act: Act::None,
                ..plain(m, n, k, ta, true)
            };
            for isa in isas() {
                check::<f32>(case, isa);
                check::<f64>(case, isa);
            }
        }
    }
}

#[test]
fn batches_share_and_stride() {
    let (batch, m, n, k) = (5, 6, 17, 9);
    let a: Vec<f32> = numbers(batch * m * k, 1);
    let b: Vec<f32> = numbers(batch * n * k, 2);
    for (bsa, bsb) in [(m * k, n * k), (0, n * k), (m * k, 0), (0, 0)] {
        let mut c = vec![0.0; batch * m * n];
        let ep = Epilogue::default();
        gemm_batched(
            batch,
            m,
            n,
            k,
            &a,
            bsa,
            k,
            1,
            &b,
            bsb,
            n,
            1,
            &mut c,
            m * n,
            n,
            &ep,
        );
        for i in 0..batch {
            let mut want = vec![0.0; m * n];
            gemm(
                m,
                n,
                k,
                &a[i * bsa..],
                k,
                1,
                &b[i * bsb..],
                n,
                1,
                &mut want,
                n,
                &ep,
            );
            assert!(c[i * m * n..(i + 1) * m * n] == want[..]);
        }
    }
}

#[test]
#[should_panic(expected = "gemm: A is 3 x 4")]
fn short_slices_are_refused() {
    let ep = Epilogue::default();
    gemm::<f32>(
        3,
        2,
        4,
        &[0.0; 11],
        4,
        1,
        &[0.0; 8],
        2,
        1,
        &mut [0.0; 6],
        2,
        &ep,
    );
}

#[test]
fn bits_agree_between_vector_widths() {
    if cpu::isa() < Isa::Avx512 {
        return;
    }
    for case in [
        plain(128, 512, 784, false, false),
        plain(100, 70, 300, true, true),
        plain(3, 90, 9000, false, false),
        plain(900, 1, 900, true, false),
    ] {
        assert!(
            case.run::<f32>(Isa::Avx2) == case.run::<f32>(Isa::Avx512),
            "{case:?}"
        );
    }
}
