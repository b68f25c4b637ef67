//! Against a plain implementation in f64, finite differences, and other numbers of threads.

use proptest::prelude::*;

use super::*;
use crate::par;

fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1u32 << 30) - 1.0
        })
        .collect()
}

struct Case {
    r: Rnn,
    projection: Vec<f64>,
    kernel: Vec<f64>,
    bias: Vec<f64>,
    h0: Vec<f64>,
    c0: Vec<f64>,
    mask: Vec<u8>,
    dropout: Vec<f64>,
}

impl Case {
    fn new(r: Rnn, masked: bool, dropped: bool, seed: u64) -> Case {
        let state = r.batch * r.units;
        let lstm = if r.cell == Cell::Lstm { state } else { 0 };
        let bias = if r.cell == (Cell::Gru { reset_after: true }) {
            r.width()
        } else {
            0
        };
        let mask = noise(if masked { r.batch * r.steps } else { 0 }, seed + 6);
        let drop = noise(if dropped { r.cell.gates() * state } else { 0 }, seed + 7);
        Case {
            projection: noise(r.sequence(r.width()), seed),
            kernel: noise(r.units * r.width(), seed + 1),
            bias: noise(bias, seed + 2),
            h0: noise(state, seed + 3),
            c0: noise(lstm, seed + 4),
            mask: mask.iter().map(|&v| u8::from(v > -0.4)).collect(),
            dropout: drop
                .iter()
                .map(|&v| if v > -0.5 { 1.25 } else { 0.0 })
                .collect(),
            r,
        }
    }

    fn operands(&self) -> Operands<'_, f64> {
        Operands {
            projection: &self.projection,
            kernel: &self.kernel,
            bias: &self.bias,
            h0: &self.h0,
            c0: &self.c0,
            mask: &self.mask,
            dropout: &self.dropout,
        }
    }

    /// Outputs and cell states.
    fn run(&self) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let r = &self.r;
        let mut h = vec![0.0; r.sequence(r.units)];
        let mut c = vec![0.0; if r.cell == Cell::Lstm { h.len() } else { 0 }];
        let mut kept = vec![0.0; r.sequence(r.kept())];
        forward(
            r,
            &self.operands(),
            Forward {
                h: &mut h,
                c: &mut c,
                kept: &mut kept,
            },
        );
        (h, c, kept)
    }

    /// The sum that the gradient tests differentiate: outputs and last cell state, weighted.
    fn loss(&self, dh: &[f64], dc: &[f64]) -> f64 {
        let (h, c, _) = self.run();
        let r = &self.r;
        let outputs: f64 = h.iter().zip(dh).map(|(a, b)| a * b).sum();
        let cells: f64 = (0..if c.is_empty() { 0 } else { r.batch })
            .flat_map(|b| (0..r.units).map(move |k| (b, k)))
            .map(|(b, k)| c[((r.steps - 1) * r.batch + b) * r.units + k] * dc[b * r.units + k])
            .sum();
        outputs + cells
    }
}

fn act(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Linear => x,
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::HardSigmoid => (0.2 * x + 0.5).clamp(0.0, 1.0),
    }
}

/// Keras' step functions, one sample at a time.
fn plain(case: &Case) -> Vec<f64> {
    let r = &case.r;
    let (u, width) = (r.units, r.width());
    let mut all = vec![0.0; r.sequence(u)];
    for b in 0..r.batch {
        let mut h = case.h0[b * u..(b + 1) * u].to_vec();
        let mut c = if case.c0.is_empty() {
            vec![]
        } else {
            case.c0[b * u..(b + 1) * u].to_vec()
        };
        for step in 0..r.steps {
            let time = if r.reverse { r.steps - 1 - step } else { step };
            let x = &case.projection[(b * r.steps + time) * width..][..width];
            let drop = |gate: usize, k: usize| {
                case.dropout
                    .get((gate * r.batch + b) * u + k)
                    .copied()
                    .unwrap_or(1.0)
            };
            let dot = |v: &[f64], gate: usize, j: usize| -> f64 {
                (0..u)
                    .map(|k| v[k] * drop(gate, k) * case.kernel[k * width + gate * u + j])
                    .sum()
            };
            let (a, g) = (r.activation, r.gate_activation);
            let mut next = vec![0.0; u];
            let mut next_c = c.clone();
            match r.cell {
                Cell::Simple => (0..u).for_each(|j| next[j] = act(a, x[j] + dot(&h, 0, j))),
                Cell::Lstm => {
                    for j in 0..u {
                        let pre = |gate: usize| x[gate * u + j] + dot(&h, gate, j);
                        next_c[j] = act(g, pre(1)) * c[j] + act(g, pre(0)) * act(a, pre(2));
                        next[j] = act(g, pre(3)) * act(a, next_c[j]);
                    }
                }
                Cell::Gru { reset_after } => {
                    let bias =
                        |gate: usize, j: usize| case.bias.get(gate * u + j).copied().unwrap_or(0.0);
                    let gate =
                        |n: usize, j: usize| act(g, x[n * u + j] + dot(&h, n, j) + bias(n, j));
                    let rh: Vec<f64> = (0..u).map(|k| gate(1, k) * h[k]).collect();
                    for j in 0..u {
                        let inner = if reset_after {
                            gate(1, j) * (dot(&h, 2, j) + bias(2, j))
                        } else {
                            dot(&rh, 2, j)
                        };
                        let z = gate(0, j);
                        next[j] = z * h[j] + (1.0 - z) * act(a, x[2 * u + j] + inner);
                    }
                }
            }
            if case.mask.get(b * r.steps + time) != Some(&0) {
                (h, c) = (next, next_c);
            }
            all[(b * r.steps + step) * u..][..u].copy_from_slice(&h);
        }
    }
    all
}

fn rnns() -> impl Strategy<Value = Rnn> {
    let cell = prop_oneof![
        Just(Cell::Simple),
        Just(Cell::Lstm),
        Just(Cell::Gru { reset_after: false }),
        Just(Cell::Gru { reset_after: true }),
    ];
    let gate = prop_oneof![Just(Activation::HardSigmoid), Just(Activation::Sigmoid)];
    let activation = prop_oneof![Just(Activation::Tanh), Just(Activation::Linear)];
    (
        cell,
        1usize..5,
        1usize..5,
        1usize..6,
        activation,
        gate,
        any::<bool>(),
    )
        .prop_map(
            |(cell, batch, steps, units, activation, gate_activation, reverse)| Rnn {
                cell,
                batch,
                steps,
                units,
                activation,
                gate_activation,
                reverse,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn outputs_are_those_of_the_plain_recurrence(
        r in rnns(), masked: bool, dropped: bool, seed in 0u64..1000
    ) {
        let case = Case::new(r, masked, dropped, seed);
        let (h, _, _) = case.run();
        for (a, b) in h.iter().zip(plain(&case)) {
            prop_assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences(
        r in rnns(), masked: bool, dropped: bool, seed in 0u64..1000
    ) {
        let mut case = Case::new(r, masked, dropped, seed);
        let (h, c, kept) = case.run();
        let dh = noise(h.len(), seed + 10);
        let dc = noise(case.c0.len(), seed + 11);
        let mut dprojection = vec![0.0; case.projection.len()];
        let mut dkernel = vec![0.0; case.kernel.len()];
        let mut dbias = vec![0.0; case.bias.len()];
        let (mut dh0, mut dc0) = (vec![0.0; case.h0.len()], vec![0.0; case.c0.len()]);
        let mut scratch = vec![f64::NAN; r.backward_scratch(dropped)];
        backward(&r, &case.operands(), Backward {
            h: &h, c: &c, kept: &kept, dh: &dh, dc_last: &dc,
            dprojection: &mut dprojection, parts: 1, dkernel: &mut dkernel, dbias: &mut dbias,
            dh0: &mut dh0, dc0: &mut dc0, scratch: &mut scratch,
        });
        type Field = fn(&mut Case) -> &mut Vec<f64>;
        let fields: [(Field, &Vec<f64>); 5] = [
            (|c| &mut c.projection, &dprojection),
            (|c| &mut c.kernel, &dkernel),
            (|c| &mut c.bias, &dbias),
            (|c| &mut c.h0, &dh0),
            (|c| &mut c.c0, &dc0),
        ];
        for (f, (field, gradient)) in fields.into_iter().enumerate() {
            for k in 0..gradient.len() {
                let eps = 1e-6;
                let old = field(&mut case)[k];
                field(&mut case)[k] = old + eps;
                let up = case.loss(&dh, &dc);
                field(&mut case)[k] = old - eps;
                let down = case.loss(&dh, &dc);
                field(&mut case)[k] = old;
                let want = (up - down) / (2.0 * eps);
                let got = gradient[k];
                prop_assert!((want - got).abs() < 1e-5 * (1.0 + want.abs()), "field {f}[{k}]: {got} {want} {r:?}");
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let gate_activation = Activation::HardSigmoid;
    for cell in [Cell::Simple, Cell::Lstm, Cell::Gru { reset_after: false }] {
        let r = Rnn {
            cell,
            batch: 9,
            steps: 12,
            units: 40,
            activation: Activation::Tanh,
            gate_activation,
            reverse: false,
        };
        let case = Case::new(r, true, false, 5);
        let before = par::num_threads();
        par::set_num_threads(1);
        let one = case.run();
        par::set_num_threads(3);
        let three = case.run();
        par::set_num_threads(before);
        assert_eq!(one, three, "{cell:?}");
    }
}
