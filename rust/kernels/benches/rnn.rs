//! Recurrences of known sizes: forward, backward, and the share of their products.
//!
//! `cargo bench -p hornbeam-kernels --bench rnn`

use std::time::Instant;

use hornbeam_kernels::gemm::{Epilogue, gemm};
use hornbeam_kernels::par;
use hornbeam_kernels::rnn::{
    Activation, Backward, Cell, Forward, Operands, Rnn, backward, forward,
};

fn noise(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0)
        .collect()
}

fn best(mut f: impl FnMut()) -> f64 {
    (0..9)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn bench(name: &str, r: &Rnn) {
    let state = r.batch * r.units;
    let projection = noise(r.sequence(r.width()));
    let kernel: Vec<f32> = noise(r.units * r.width())
        .iter()
        .map(|v| v * 0.05)
        .collect();
    let bias = vec![
        0.1;
        if r.cell == (Cell::Gru { reset_after: true }) {
            r.width()
        } else {
            0
        }
    ];
    let h0 = vec![0.0; state];
    let c0 = vec![0.0; if r.cell == Cell::Lstm { state } else { 0 }];
    let x = Operands {
        projection: &projection,
        kernel: &kernel,
        bias: &bias,
        h0: &h0,
        c0: &c0,
        mask: &[],
        dropout: &[],
    };
    let mut h = vec![0.0; r.sequence(r.units)];
    let mut c = vec![0.0; if r.cell == Cell::Lstm { h.len() } else { 0 }];
    let mut kept = vec![0.0; r.sequence(r.kept())];
    let fwd = best(|| {
        forward(
            r,
            &x,
            Forward {
                h: &mut h,
                c: &mut c,
                kept: &mut kept,
            },
        );
    });
    let dh = noise(h.len());
    let mut dprojection = vec![0.0; projection.len()];
    let mut dkernel = vec![0.0; kernel.len()];
    let (mut dbias, mut dh0, mut dc0) = (bias.clone(), h0.clone(), c0.clone());
    let mut scratch = vec![0.0; r.backward_scratch(false)];
    let bwd = best(|| {
        backward(
            r,
            &x,
            Backward {
                h: &h,
                c: &c,
                kept: &kept,
                dh: &dh,
                dc_last: &[],
                dprojection: &mut dprojection,
                parts: 1,
                dkernel: &mut dkernel,
                dbias: &mut dbias,
                dh0: &mut dh0,
                dc0: &mut dc0,
                scratch: &mut scratch,
            },
        );
    });
    // The products of one step alone, as one task runs them.
    let (m, n, k) = (
        r.batch / par::num_threads().min(r.batch),
        r.width(),
        r.units,
    );
    let mut out = vec![0.0; m * n];
    let ep = Epilogue {
        accumulate: true,
        ..Epilogue::default()
    };
    let step = best(|| {
        for _ in 0..r.steps {
            gemm(m, n, k, &h0, k, 1, &kernel, n, 1, &mut out, n, &ep);
        }
    });
    let flops = 2.0 * (r.batch * r.steps * r.units * r.width()) as f64;
    println!(
        "{name:28} forward {:6.2} ms ({:4.0} GFLOP/s), its products alone {:6.2} ms, backward {:6.2} ms ({:4.0})",
        fwd * 1e3,
        flops / fwd / 1e9,
        step * 1e3,
        bwd * 1e3,
        2.0 * flops / bwd / 1e9
    );
}

fn main() {
    let base = Rnn {
        cell: Cell::Lstm,
        batch: 32,
        steps: 80,
        units: 128,
        activation: Activation::Tanh,
        gate_activation: Activation::HardSigmoid,
        reverse: false,
    };
    for threads in [1, 2] {
        par::set_num_threads(threads);
        println!("{threads} threads");
        bench("lstm 32x80 -> 128", &base);
        let gru = Cell::Gru { reset_after: false };
        bench(
            "gru 64x64 -> 256",
            &Rnn {
                cell: gru,
                batch: 64,
                steps: 64,
                units: 256,
                ..base
            },
        );
        let after = Cell::Gru { reset_after: true };
        bench(
            "gru 64x64 -> 256 reset after",
            &Rnn {
                cell: after,
                batch: 64,
                steps: 64,
                units: 256,
                ..base
            },
        );
        bench(
            "simple 32x80 -> 128",
            &Rnn {
                cell: Cell::Simple,
                ..base
            },
        );
    }
}
