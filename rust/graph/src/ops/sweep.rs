//! The sweep over all samples with the reference interpreter: inferred against real shapes, and
//! gradients against finite differences.

use std::collections::BTreeSet;

use super::*;
use crate::autodiff::gradients;
use crate::build::Builder;
use crate::testing::{Array, assert_close, assert_compiles, run_graph};

/// The sample's call on placeholders (constants where it needs them), with the placeholders' values.
fn call(sample: &Sample, seed: u64) -> (Tensor, Vec<(Tensor, Array)>) {
    let b = Builder::default();
    let mut inputs = Vec::new();
    let mut fed = Vec::new();
    for (input, literal) in sample.inputs.iter().zip(sample.literals(seed)) {
        if input.constant {
            inputs.push(b.constant(literal).unwrap());
            continue;
        }
        let ty = TensorType {
            dtype: input.dtype,
            shape: known(&input.shape),
        };
        let t = Node::leaf(Op::Placeholder, ty, None);
        fed.push((t.clone(), Array::of(&literal)));
        inputs.push(t);
    }
    let y = b.op(sample.op.clone(), &inputs.iter().collect::<Vec<_>>());
    (y.unwrap_or_else(|e| panic!("{sample:?}: {e}")), fed)
}

/// All samples that the reference interpreter knows; the runtime checks the others.
fn samples() -> Vec<Sample> {
    let known = |op: &Op| {
        !matches!(
            op,
            Op::Rnn(_) | Op::RnnGrad { .. } | Op::Scan(_) | Op::CtcBeamSearch { .. }
        )
    };
    super::samples()
        .into_iter()
        .filter(|s| known(&s.op))
        .collect()
}

fn outputs(y: &Tensor) -> Vec<Tensor> {
    let node = &y.node;
    let output = |index| Tensor {
        node: node.clone(),
        index,
    };
    (0..node.outputs.len()).map(output).collect()
}

/// The sum over all float outputs, each element weighted by a number of its own.
fn weighted_sum(y: &Tensor, fed: &mut Vec<(Tensor, Array)>) -> (Vec<Tensor>, Vec<Tensor>) {
    let floats: Vec<Tensor> = outputs(y)
        .into_iter()
        .filter(|t| t.dtype().is_float())
        .collect();
    let mut seeds = Vec::new();
    for t in &floats {
        let ty = t.node.outputs[t.index].clone();
        let shape = concrete(&ty.shape).unwrap();
        let n: usize = shape.iter().product();
        let weights = (0..n)
            .map(|i| ((i * 37 + 11) % 17) as f64 / 17.0 + 0.2)
            .collect();
        let seed = Node::leaf(Op::Placeholder, ty.clone(), None);
        fed.push((seed.clone(), Array::new(ty.dtype, &shape, weights)));
        seeds.push(seed);
    }
    (floats, seeds)
}

fn dot(a: &[Array], b: &[Array]) -> f64 {
    let pairs = a
        .iter()
        .zip(b)
        .flat_map(|(x, w)| x.data.iter().zip(&w.data));
    pairs.map(|(x, w)| x * w).sum()
}

/// Checks the gradients of `weights . floats` to all float placeholders by central differences.
fn check(what: &str, floats: &[Tensor], seeds: &[Tensor], fed: &[(Tensor, Array)]) {
    let wrt: Vec<Tensor> = fed.iter().map(|(t, _)| t.clone()).collect();
    let grads = gradients(floats, Some(seeds), &wrt).unwrap_or_else(|e| panic!("{what}: {e}"));
    let weights = run_graph(seeds, fed);
    let objective = |fed: &[(Tensor, Array)]| dot(&run_graph(floats, fed), &weights);
    for (k, grad) in grads.iter().enumerate() {
        let (t, x) = &fed[k];
        if !t.dtype().is_float() || seeds.contains(t) {
            continue;
        }
        let zeros = Array::new(x.dtype, &x.shape, vec![0.0; x.data.len()]);
        let exact = grad
            .as_ref()
            .map_or(zeros, |g| run_graph(std::slice::from_ref(g), fed).remove(0));
        assert_eq!(exact.shape, x.shape, "{what}: gradient to operand {k}");
        let step = (x.data.len() / 24).max(1);
        for i in (0..x.data.len()).step_by(step) {
            let moved = |delta: f64| {
                let mut fed = fed.to_vec();
                fed[k].1.data[i] += delta;
                objective(&fed)
            };
            let h = 1e-5;
            let difference = (moved(h) - moved(-h)) / (2.0 * h);
            let error = (difference - exact.data[i]).abs();
            assert!(
                error < 1e-6 * (1.0 + difference.abs()),
                "{what}: gradient to operand {k}[{i}] is {}, by differences {difference}",
                exact.data[i]
            );
        }
    }
}

#[test]
fn every_operation_has_samples() {
    let named: BTreeSet<&str> = samples().iter().map(|s| s.op.name()).collect();
    let primitives = "select cast sigmoid_cross_entropy identity stop_gradient print sum argmax \
        cumsum moments shape_of reshape broadcast_to sum_to transpose slice slice_grad pad concat \
        concat_grad reverse gather scatter_add arange matmul conv conv_grad_input \
        conv_grad_filter max_pool max_pool_grad avg_pool avg_pool_grad softmax log_softmax \
        softmax_cross_entropy sparse_softmax_cross_entropy random_uniform random_bernoulli \
        mean_over_shards moments_over_shards";
    let missing: Vec<&str> = primitives
        .split_whitespace()
        .filter(|name| !named.contains(name))
        .collect();
    assert!(missing.is_empty(), "no samples of {missing:?}");
}

#[test]
fn samples_compute_what_is_inferred() {
    for sample in samples() {
        let (y, fed) = call(&sample, 1);
        for (t, array) in outputs(&y).iter().zip(run_graph(&outputs(&y), &fed)) {
            assert_eq!(t.dtype(), array.dtype, "{sample:?}");
            assert_eq!(t.shape(), known(&array.shape), "{sample:?}");
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for sample in samples().into_iter().filter(|s| s.gradient) {
        let sample = sample.with_float(DType::F64);
        let (y, mut fed) = call(&sample, 2);
        let (floats, seeds) = weighted_sum(&y, &mut fed);
        if !floats.is_empty() {
            check(&format!("{sample:?}"), &floats, &seeds, &fed);
        }
    }
}

/// The derivative of the gradient: the gradient graphs are differentiable themselves.
#[test]
fn second_derivatives_agree_with_finite_differences() {
    for sample in samples().into_iter().filter(|s| s.gradient) {
        // Max pooling has no second derivative here, and running products none at zeros.
        let zeros = matches!(sample.inputs[0].values, Values::Given(_));
        if matches!(sample.op, Op::MaxPool(_)) || zeros {
            continue;
        }
        let sample = sample.with_float(DType::F64);
        let (y, mut fed) = call(&sample, 3);
        let (floats, seeds) = weighted_sum(&y, &mut fed);
        let wrt: Vec<Tensor> = fed.iter().map(|(t, _)| t.clone()).collect();
        let first = gradients(&floats, Some(&seeds), &wrt).unwrap();
        for grad in first.into_iter().flatten() {
            let small = concrete(grad.shape()).unwrap().iter().product::<usize>() < 200;
            let mut fed = fed.clone();
            let (floats, seeds) = weighted_sum(&grad, &mut fed);
            if small && grad.node.outputs.len() == 1 {
                check(&format!("gradient of {sample:?}"), &floats, &seeds, &fed);
            }
        }
    }
}

#[test]
fn unknown_sizes_give_the_same_gradients() {
    for sample in samples().into_iter().filter(|s| s.gradient) {
        let sample = sample.with_float(DType::F64);
        let (y, mut fed) = call(&sample, 4);
        let (floats, seeds) = weighted_sum(&y, &mut fed);
        let wrt: Vec<Tensor> = fed.iter().map(|(t, _)| t.clone()).collect();
        let known_grads = gradients(&floats, Some(&seeds), &wrt).unwrap();
        // The same call with every size of every placeholder unknown.
        let open = |t: &Tensor| {
            let ty = TensorType {
                dtype: t.dtype(),
                shape: vec![None; t.rank()],
            };
            Node::leaf(Op::Placeholder, ty, None)
        };
        let opened: Vec<(Tensor, Array)> = fed.iter().map(|(t, a)| (open(t), a.clone())).collect();
        let swap = |t: &Tensor| {
            let at = wrt.iter().position(|w| w == t);
            at.map_or_else(|| t.clone(), |i| opened[i].0.clone())
        };
        let inputs: Vec<Tensor> = y.node.inputs.iter().map(swap).collect();
        let z = Node::build(y.node.op.clone(), inputs, None).unwrap();
        let floats: Vec<Tensor> = outputs(&z)
            .into_iter()
            .filter(|t| t.dtype().is_float())
            .collect();
        let seeds: Vec<Tensor> = seeds.iter().map(swap).collect();
        let wrt: Vec<Tensor> = opened.iter().map(|(t, _)| t.clone()).collect();
        let open_grads = gradients(&floats, Some(&seeds), &wrt).unwrap();
        for (a, b) in known_grads.iter().zip(&open_grads) {
            assert_eq!(a.is_some(), b.is_some(), "{sample:?}");
            if let (Some(a), Some(b)) = (a, b) {
                let a = run_graph(std::slice::from_ref(a), &fed).remove(0);
                let b = run_graph(std::slice::from_ref(b), &opened).remove(0);
                assert_close(&a, &b, 1e-12, &format!("{sample:?}"));
            }
        }
    }
}

/// Every sample and its gradients, compiled in every way, against the interpreted graph.
#[test]
fn compiled_samples_compute_the_same() {
    for sample in samples() {
        let sample = sample.with_float(DType::F64);
        let (y, mut fed) = call(&sample, 5);
        let mut results = outputs(&y);
        if sample.gradient {
            let (floats, seeds) = weighted_sum(&y, &mut fed);
            let wrt: Vec<Tensor> = fed.iter().map(|(t, _)| t.clone()).collect();
            let grads = gradients(&floats, Some(&seeds), &wrt).unwrap();
            results.extend(grads.into_iter().flatten());
        }
        assert_compiles(&format!("{sample:?}"), &results, &fed);
    }
}
