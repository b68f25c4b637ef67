//! Every operation's samples through plan and kernels: inferred against real shapes, gradients
//! against finite differences in f64, the same bits for any number of threads and with or without
//! the operands' values being known when the plan is made.

use hornbeam_graph::op::RnnAttrs;
use hornbeam_graph::ops::{Sample, samples};
use hornbeam_graph::{DType, Literal, Node, Op, Tensor, TensorType, autodiff, shape};
use hornbeam_kernels::par;
use hornbeam_runtime::function::{ArrayRef, Function};

fn constant(literal: &Literal) -> Tensor {
    let ty = TensorType {
        dtype: literal.dtype,
        shape: shape::known(&literal.shape),
    };
    Node::leaf(Op::Constant(literal.clone()), ty, None)
}

fn placeholder(dtype: DType, dims: shape::Shape) -> Tensor {
    Node::leaf(Op::Placeholder, TensorType { dtype, shape: dims }, None)
}

/// A sample's call on placeholders, with constants where the operation needs them.
struct Call {
    inputs: Vec<Tensor>,
    values: Vec<Literal>,
    outputs: Vec<Tensor>,
}

impl Call {
    /// `known`: whether the placeholders' shapes are; else every size is unknown.
    fn new(sample: &Sample, seed: u64, known: bool) -> Option<Call> {
        let (mut inputs, mut values, mut operands) = (Vec::new(), Vec::new(), Vec::new());
        for (input, literal) in sample.inputs.iter().zip(sample.literals(seed)) {
            if input.constant {
                operands.push(constant(&literal));
                continue;
            }
            let dims = if known {
                shape::known(&literal.shape)
            } else {
                vec![None; literal.shape.len()]
            };
            let t = placeholder(literal.dtype, dims);
            operands.push(t.clone());
            inputs.push(t);
            values.push(literal);
        }
        let first = Node::build(sample.op.clone(), operands, None);
        if !known && first.is_err() {
            return None;
        }
        let first = first.unwrap_or_else(|e| panic!("{sample:?}: {e}"));
        let outputs = (0..first.node.outputs.len())
            .map(|index| Tensor {
                node: first.node.clone(),
                index,
            })
            .collect();
        Some(Call {
            inputs,
            values,
            outputs,
        })
    }

    fn run(&self, outputs: &[Tensor]) -> Vec<Literal> {
        run(&self.inputs, &self.values, outputs)
    }
}

fn run(inputs: &[Tensor], values: &[Literal], outputs: &[Tensor]) -> Vec<Literal> {
    let function = Function::new(
        "sweep".to_string(),
        inputs.to_vec(),
        outputs.to_vec(),
        Vec::new(),
        1,
    )
    .unwrap();
    let arguments: Vec<ArrayRef<'_>> = values
        .iter()
        .map(|v| ArrayRef {
            dtype: v.dtype,
            shape: &v.shape,
            bytes: &v.bytes,
        })
        .collect();
    function
        .call(&arguments, true, |plan, bytes| {
            (0..plan.outputs())
                .map(|k| {
                    let value = plan.output(k);
                    Literal::new(value.dtype, value.shape.clone(), plan.result(k, bytes))
                })
                .collect()
        })
        .unwrap_or_else(|e| panic!("{:?}: {e}", outputs[0].node.op))
}

fn leaf_only(sample: &Sample) -> bool {
    matches!(sample.op, Op::Constant(_))
}

#[test]
fn real_shapes_are_the_inferred_ones() {
    for sample in samples().iter().filter(|s| !leaf_only(s)) {
        for known in [true, false] {
            let Some(call) = Call::new(sample, 1, known) else {
                continue;
            };
            for (t, got) in call.outputs.iter().zip(call.run(&call.outputs)) {
                assert_eq!(t.dtype(), got.dtype, "{sample:?}");
                let fits = t.rank() == got.shape.len()
                    && t.shape()
                        .iter()
                        .zip(&got.shape)
                        .all(|(want, &n)| want.is_none_or(|w| w == n));
                assert!(fits, "{sample:?}: {:?} {:?}", t.shape(), got.shape);
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads_nor_on_what_is_known() {
    let before = par::num_threads();
    for sample in samples().iter().filter(|s| !leaf_only(s)) {
        let call = Call::new(sample, 2, true).unwrap();
        let results: Vec<Vec<Literal>> = [1, 2, 3]
            .into_iter()
            .map(|threads| {
                par::set_num_threads(threads);
                // The samples are small: without this, one thread would do all of most of them.
                par::share_everything(threads > 1);
                call.run(&call.outputs)
            })
            .collect();
        par::share_everything(false);
        assert_eq!(results[0], results[1], "{sample:?}");
        assert_eq!(results[0], results[2], "{sample:?}");
        let operands: Vec<Tensor> = call.values.iter().map(constant).collect();
        let mut all = operands.iter();
        let folded: Vec<Tensor> = sample
            .inputs
            .iter()
            .zip(sample.literals(2))
            .map(|(input, literal)| {
                if input.constant {
                    constant(&literal)
                } else {
                    all.next().unwrap().clone()
                }
            })
            .collect();
        if let Op::Random { .. } = sample.op {
            continue;
        }
        let first = Node::build(sample.op.clone(), folded, None).unwrap();
        let outputs: Vec<Tensor> = (0..call.outputs.len())
            .map(|index| Tensor {
                node: first.node.clone(),
                index,
            })
            .collect();
        assert_eq!(run(&[], &[], &outputs), results[0], "{sample:?}");
    }
    par::set_num_threads(before);
}

fn dot(results: &[Literal], weights: &[Literal]) -> f64 {
    let pairs = results.iter().zip(weights);
    pairs
        .flat_map(|(r, w)| r.to_f64().into_iter().zip(w.to_f64()).collect::<Vec<_>>())
        .map(|(a, b)| a * b)
        .sum()
}

/// Compares gradients of weighted outputs with central differences.
fn check_gradient(what: &str, call: &Call, outputs: &[Tensor], wrt: &[usize]) {
    let weights: Vec<Literal> = call
        .run(outputs)
        .iter()
        .map(|o| {
            let values: Vec<f64> = (0..o.len())
                .map(|i| ((i * 37 + 11) % 17) as f64 / 17.0 + 0.2)
                .collect();
            Literal::from_f64(o.dtype, o.shape.clone(), &values)
        })
        .collect();
    let seeds: Vec<Tensor> = weights.iter().map(constant).collect();
    let targets: Vec<Tensor> = wrt.iter().map(|&k| call.inputs[k].clone()).collect();
    let grads = autodiff::gradients(outputs, Some(&seeds), &targets)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    for (&k, grad) in wrt.iter().zip(&grads) {
        let n = call.values[k].len();
        let exact = grad.as_ref().map_or(vec![0.0; n], |g| {
            let got = call.run(std::slice::from_ref(g)).remove(0);
            assert_eq!(got.shape, call.values[k].shape, "{what}: operand {k}");
            got.to_f64()
        });
        for i in (0..n).step_by((n / 12).max(1)) {
            let moved = |delta: f64| {
                let mut values = call.values.clone();
                let mut elements = values[k].to_f64();
                elements[i] += delta;
                values[k] = Literal::from_f64(DType::F64, values[k].shape.clone(), &elements);
                dot(&run(&call.inputs, &values, outputs), &weights)
            };
            let h = 1e-5;
            let difference = (moved(h) - moved(-h)) / (2.0 * h);
            assert!(
                (difference - exact[i]).abs() < 2e-6 * (1.0 + difference.abs()),
                "{what}: gradient to operand {k}[{i}] is {}, by differences {difference}",
                exact[i]
            );
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for sample in samples()
        .into_iter()
        .filter(|s| s.gradient && !leaf_only(s))
    {
        let sample = sample.with_float(DType::F64);
        let call = Call::new(&sample, 3, true).unwrap();
        let floats: Vec<Tensor> = call
            .outputs
            .iter()
            .filter(|t| t.dtype().is_float())
            .cloned()
            .collect();
        let wrt: Vec<usize> = (0..call.inputs.len())
            .filter(|&k| call.inputs[k].dtype() == DType::F64)
            .collect();
        if !floats.is_empty() {
            check_gradient(&format!("{sample:?}"), &call, &floats, &wrt);
        }
    }
}

fn rnn_attrs(op: &Op) -> Option<RnnAttrs> {
    match op {
        Op::Rnn(attrs) => Some(*attrs),
        _ => None,
    }
}

#[test]
fn recurrences_have_the_gradients_of_finite_differences() {
    let mut seen = 0;
    for sample in samples() {
        let Some(attrs) = rnn_attrs(&sample.op) else {
            continue;
        };
        seen += 1;
        let sample = sample.with_float(DType::F64);
        let call = Call::new(&sample, 4, true).unwrap();
        let mut results = vec![call.outputs[0].clone()];
        results.extend(call.outputs.get(3).cloned());
        let last = call.inputs.len() - usize::from(attrs.dropout);
        let wrt: Vec<usize> = (0..last)
            .filter(|&k| call.inputs[k].dtype() == DType::F64)
            .collect();
        check_gradient(&format!("{sample:?}"), &call, &results, &wrt);
    }
    assert!(seen >= 12, "{seen} recurrences");
}
