//! Scans against a loop by hand, and their gradients against finite differences.

use hornbeam_graph::build::Builder;
use hornbeam_graph::ops::scan::scan;
use hornbeam_graph::{DType, Literal, Node, Op, Tensor, TensorType, autodiff, shape};
use hornbeam_runtime::function::{ArrayRef, Function};

fn placeholder(dims: &[usize]) -> Tensor {
    let ty = TensorType {
        dtype: DType::F64,
        shape: shape::known(dims),
    };
    Node::leaf(Op::Placeholder, ty, None)
}

fn call(inputs: &[Tensor], values: &[Literal], outputs: &[Tensor]) -> Vec<Vec<f64>> {
    let f = Function::new("scan".into(), inputs.to_vec(), outputs.to_vec(), vec![], 1).unwrap();
    let arguments: Vec<ArrayRef<'_>> = values
        .iter()
        .map(|v| ArrayRef {
            dtype: v.dtype,
            shape: &v.shape,
            bytes: &v.bytes,
        })
        .collect();
    f.call(&arguments, true, |plan, bytes| {
        (0..plan.outputs())
            .map(|k| {
                let v = plan.output(k);
                Literal::new(v.dtype, v.shape.clone(), plan.result(k, bytes)).to_f64()
            })
            .collect()
    })
    .unwrap()
}

/// `s' = tanh(x w + s)`, `y = s' * s`, over five steps; w is captured.
fn model(reverse: bool) -> (Vec<Tensor>, Vec<Literal>, Vec<Tensor>) {
    let b = Builder::default();
    let (xs, s0, w) = (
        placeholder(&[5, 2, 3]),
        placeholder(&[2, 3]),
        placeholder(&[3]),
    );
    let (x, s) = (placeholder(&[2, 3]), placeholder(&[2, 3]));
    let z = b.add(&b.mul(&x, &w).unwrap(), &s).unwrap();
    let next = b.unary(hornbeam_graph::op::UnaryOp::Tanh, &z).unwrap();
    let y = b.mul(&next, &s).unwrap();
    let scanned = scan(
        std::slice::from_ref(&xs),
        std::slice::from_ref(&s0),
        vec![x],
        vec![s],
        vec![y],
        vec![next],
        reverse,
        None,
    )
    .unwrap();
    let noise = |n: usize, seed: usize| -> Vec<f64> {
        (0..n)
            .map(|i| ((i * 7919 + seed * 104_729) % 1000) as f64 / 500.0 - 1.0)
            .collect()
    };
    let values = vec![
        Literal::from_f64(DType::F64, vec![5, 2, 3], &noise(30, 1)),
        Literal::from_f64(DType::F64, vec![2, 3], &noise(6, 2)),
        Literal::from_f64(DType::F64, vec![3], &noise(3, 3)),
    ];
    let outputs = vec![scanned.outputs[0].clone(), scanned.states[0].clone()];
    (vec![xs, s0, w], values, outputs)
}

#[test]
fn a_scan_is_a_loop() {
    for reverse in [false, true] {
        let (inputs, values, outputs) = model(reverse);
        let got = call(&inputs, &values, &outputs);
        let (xs, w) = (values[0].to_f64(), values[2].to_f64());
        let mut s = values[1].to_f64();
        let mut ys = vec![0.0; 30];
        for step in 0..5 {
            let t = if reverse { 4 - step } else { step };
            for i in 0..6 {
                let next = (xs[t * 6 + i] * w[i % 3] + s[i]).tanh();
                ys[t * 6 + i] = next * s[i];
                s[i] = next;
            }
        }
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(
            close(&got[0], &ys) && close(&got[1], &s),
            "reverse {reverse}"
        );
    }
}

#[test]
fn a_scan_has_the_gradients_of_finite_differences() {
    for reverse in [false, true] {
        let (inputs, values, outputs) = model(reverse);
        let b = Builder::default();
        let total = |t: &Tensor| {
            let axes: Vec<usize> = (0..t.rank()).collect();
            b.reduce(hornbeam_graph::op::ReduceOp::Sum, t, &axes, false)
                .unwrap()
        };
        let square = |t: &Tensor| b.mul(t, t).unwrap();
        let loss = b
            .add(&total(&square(&outputs[0])), &total(&square(&outputs[1])))
            .unwrap();
        let grads = autodiff::gradients(std::slice::from_ref(&loss), None, &inputs).unwrap();
        let grads: Vec<Tensor> = grads.into_iter().map(Option::unwrap).collect();
        let exact = call(&inputs, &values, &grads);
        for k in 0..inputs.len() {
            for i in 0..values[k].len() {
                let moved = |delta: f64| {
                    let mut values = values.clone();
                    let mut elements = values[k].to_f64();
                    elements[i] += delta;
                    values[k] = Literal::from_f64(DType::F64, values[k].shape.clone(), &elements);
                    call(&inputs, &values, std::slice::from_ref(&loss))[0][0]
                };
                let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!(
                    (difference - exact[k][i]).abs() < 1e-7 * (1.0 + difference.abs()),
                    "reverse {reverse}, operand {k}[{i}]: {} {difference}",
                    exact[k][i]
                );
            }
        }
    }
}
