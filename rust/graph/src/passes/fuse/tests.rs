//! What is fused into what.

use crate::autodiff::gradients;
use crate::build::Builder;
use crate::dtype::DType;
use crate::node::{Node, Tensor, TensorType};
use crate::op::{
    BinaryOp, Distribution, FusedRegion, MomentsOf, Op, ReduceOp, ReduceOver, UnaryOp, VarId,
};
use crate::program::Program;
use crate::shape::Dim;
use crate::testing::compiled;

fn leaf(op: Op, dtype: DType, shape: &[Dim]) -> Tensor {
    let shape = shape.to_vec();
    Node::leaf(op, TensorType { dtype, shape }, None)
}

fn input(shape: &[usize]) -> Tensor {
    let shape: Vec<Dim> = shape.iter().copied().map(Some).collect();
    leaf(Op::Placeholder, DType::F32, &shape)
}

fn variable(id: VarId, shape: &[usize]) -> Tensor {
    let shape: Vec<Dim> = shape.iter().copied().map(Some).collect();
    leaf(Op::Variable(id), DType::F32, &shape)
}

fn names(p: &Program) -> Vec<&'static str> {
    p.insts.iter().map(|i| i.op.name()).collect()
}

fn regions(p: &Program) -> Vec<&FusedRegion> {
    p.insts
        .iter()
        .filter_map(|i| match &i.op {
            Op::Fused(r) => Some(&**r),
            _ => None,
        })
        .collect()
}

#[test]
fn an_adam_update_is_one_region() {
    let b = Builder::default();
    let shape = [64, 32];
    let (p, m, v) = (
        variable(1, &shape),
        variable(2, &shape),
        variable(3, &shape),
    );
    let t = leaf(Op::Variable(4), DType::I64, &[]);
    let g = input(&shape);
    let one = b.scalar(DType::F32, 1.0).unwrap();
    let new_t = b.add(&t, &b.scalar(DType::I64, 1.0).unwrap()).unwrap();
    let step = b.cast(&new_t, DType::F32).unwrap();
    let decay = |beta: f64| {
        let power = b.binary(BinaryOp::Pow, &b.scalar(DType::F32, beta).unwrap(), &step);
        b.sub(&one, &power.unwrap()).unwrap()
    };
    let rate = b.unary(UnaryOp::Sqrt, &decay(0.999)).unwrap();
    let rate = b.scale(&b.div(&rate, &decay(0.9)).unwrap(), 0.001).unwrap();
    let mix = |old: &Tensor, new: &Tensor, beta: f64| {
        b.add(
            &b.scale(old, beta).unwrap(),
            &b.scale(new, 1.0 - beta).unwrap(),
        )
    };
    let new_m = mix(&m, &g, 0.9).unwrap();
    let new_v = mix(&v, &b.unary(UnaryOp::Square, &g).unwrap(), 0.999).unwrap();
    let root = b.unary(UnaryOp::Sqrt, &new_v).unwrap();
    let root = b.binary_scalar(BinaryOp::Add, &root, 1e-7).unwrap();
    let change = b.div(&b.mul(&rate, &new_m).unwrap(), &root).unwrap();
    let new_p = b.sub(&p, &change).unwrap();
    let updates = [(1, new_p), (2, new_m), (3, new_v), (4, new_t)];
    let program = compiled(&[g], &[], &updates);
    // The rate depends on a cast of the step, which is of another type but of one space.
    assert_eq!(names(&program), ["fused", "fused"], "{program}");
    let update = regions(&program)[1];
    assert_eq!((update.inputs, update.outputs.len()), (5, 3), "{program}");
    assert_eq!(update.space, shape);
}

/// A dense layer with relu, a softmax cross-entropy and its gradients.
#[test]
fn a_dense_step_has_few_operations() {
    let b = Builder::default();
    let (x, t) = (input(&[16, 8]), input(&[16, 10]));
    let (w1, b1) = (variable(1, &[8, 32]), variable(2, &[32]));
    let (w2, b2) = (variable(3, &[32, 10]), variable(4, &[10]));
    let dense = |x: &Tensor, w: &Tensor, bias: &Tensor| {
        b.add(&b.matmul(x, w, false, false).unwrap(), bias).unwrap()
    };
    let h = b.unary(UnaryOp::Relu, &dense(&x, &w1, &b1)).unwrap();
    let logits = dense(&h, &w2, &b2);
    let loss = b.op(Op::SoftmaxCrossEntropy, &[&logits, &t]).unwrap();
    let loss = b.reduce(ReduceOp::Mean, &loss, &[0], false).unwrap();
    let wrt = [w1, b1, w2, b2];
    let grads = gradients(std::slice::from_ref(&loss), None, &wrt).unwrap();
    let mut outputs = vec![loss];
    outputs.extend(grads.into_iter().flatten());
    let p = compiled(&[x, t], &outputs, &[]);
    let count = |name: &str| names(&p).iter().filter(|n| **n == name).count();
    assert_eq!(count("matmul"), 5, "{p}");
    assert_eq!(count("softmax"), 1, "{p}");
    // The error with the gradient of the second bias; the masked gradient with that of the first.
    assert_eq!(count("fused"), 2, "{p}");
    assert!(
        !names(&p)
            .iter()
            .any(|n| ["relu", "add", "gt", "cast", "mul"].contains(n)),
        "{p}"
    );
    for region in regions(&p) {
        assert_eq!(region.outputs.len(), 1, "{p}");
        assert_eq!(region.reductions.len(), 1, "{p}");
        assert_eq!(region.reductions[0].over, ReduceOver::Outer(1), "{p}");
    }
}

/// Batch normalisation and relu over images, forward and backward.
#[test]
fn batch_normalisation_passes_over_images_few_times() {
    let b = Builder::default();
    let shape = [4, 6, 6, 8];
    let (x, dy) = (input(&shape), input(&shape));
    let (gamma, beta) = (variable(1, &[8]), variable(2, &[8]));
    let axes = vec![0, 1, 2];
    let mean = b
        .op(
            Op::Moments {
                axes,
                of: MomentsOf::Operand,
            },
            &[&x],
        )
        .unwrap();
    let variance = Tensor {
        node: mean.node.clone(),
        index: 1,
    };
    let scale = b.binary_scalar(BinaryOp::Add, &variance, 1e-3).unwrap();
    let scale = b
        .mul(&b.unary(UnaryOp::Rsqrt, &scale).unwrap(), &gamma)
        .unwrap();
    let y = b.mul(&b.sub(&x, &mean).unwrap(), &scale).unwrap();
    let y = b.unary(UnaryOp::Relu, &b.add(&y, &beta).unwrap()).unwrap();
    let y = b.op(Op::Softmax, &[&y]).unwrap();
    let wrt = [x.clone(), gamma, beta];
    let grads = gradients(
        std::slice::from_ref(&y),
        Some(std::slice::from_ref(&dy)),
        &wrt,
    )
    .unwrap();
    let mut outputs = vec![y];
    outputs.extend(grads.into_iter().flatten());
    let p = compiled(&[x, dy], &outputs, &[]);
    let images: Vec<&FusedRegion> = regions(&p)
        .into_iter()
        .filter(|r| r.space == shape)
        .collect();
    // The softmax that parts forward from backward has a region of its own.
    assert_eq!(
        images.len(),
        4,
        "forward, softmax, statistics, gradient:\n{p}"
    );
    let sums = images.iter().find(|r| r.reductions.len() > 1).unwrap();
    assert!(
        sums.reductions
            .iter()
            .all(|r| r.over == ReduceOver::Outer(3)),
        "{p}"
    );
    assert!(sums.outputs.len() <= 1, "one image is handed on:\n{p}");
    let alone = p
        .insts
        .iter()
        .filter(|i| matches!(i.op, Op::Reduce { .. }))
        .count();
    assert_eq!(alone, 0, "{p}");
}

#[test]
fn a_mask_is_made_of_random_numbers_once_and_read_as_it_was_drawn() {
    let b = Builder::default();
    let (x, w) = (input(&[64, 64]), input(&[64, 64]));
    let shape = b.shape_of(&x).unwrap();
    let random = Op::Random {
        dist: Distribution::Bernoulli(0.5f64.to_bits()),
        dtype: DType::F32,
        key: 1,
    };
    let mask = b.scale(&b.op(random, &[&shape]).unwrap(), 2.0).unwrap();
    let y = b
        .matmul(&b.mul(&x, &mask).unwrap(), &w, false, false)
        .unwrap();
    let y = b.unary(UnaryOp::Tanh, &y).unwrap();
    let dx = gradients(std::slice::from_ref(&y), None, std::slice::from_ref(&x)).unwrap();
    let outputs = [y, dx[0].clone().unwrap()];
    let p = compiled(&[x, w], &outputs, &[]);
    // The scaled mask is not kept: both users scale the drawn one.
    for region in regions(&p) {
        assert_eq!(region.outputs.len(), 1, "{p}");
    }
    let drawn = p
        .insts
        .iter()
        .position(|i| matches!(i.op, Op::Random { .. }))
        .unwrap();
    let drawn = p.insts[drawn].outputs[0];
    let readers = p.insts.iter().filter(|i| i.inputs.contains(&drawn)).count();
    assert_eq!(readers, 2, "{p}");
}

#[test]
fn what_is_expensive_is_computed_once() {
    let b = Builder::default();
    let (x, w) = (input(&[64, 64]), input(&[64, 64]));
    let e = b.unary(UnaryOp::Exp, &x).unwrap();
    let y = b
        .matmul(&b.scale(&e, 3.0).unwrap(), &w, false, false)
        .unwrap();
    let z = b.mul(&y, &e).unwrap();
    let p = compiled(&[x, w], &[z], &[]);
    let exps = p.to_string().matches("exp(").count();
    assert_eq!(exps, 1, "{p}");
}

#[test]
fn scalars_share_regions_and_hold_their_constants() {
    let b = Builder::default();
    let (x, y) = (variable(1, &[]), variable(2, &[]));
    let a = b
        .scale(&b.binary_scalar(BinaryOp::Add, &x, 1.5).unwrap(), 3.0)
        .unwrap();
    let c = b
        .unary(
            UnaryOp::Sqrt,
            &b.binary_scalar(BinaryOp::Sub, &y, 4.0).unwrap(),
        )
        .unwrap();
    let p = compiled(&[], &[a, c], &[]);
    assert_eq!(names(&p), ["fused"], "{p}");
    assert_eq!(p.insts[0].inputs.len(), 2, "{p}");
}

#[test]
fn a_loss_and_its_mean_are_one_region() {
    let b = Builder::default();
    let (x, t) = (input(&[32, 3]), input(&[32, 3]));
    let loss = b.op(Op::SigmoidCrossEntropy, &[&x, &t]).unwrap();
    let loss = b.reduce(ReduceOp::Mean, &loss, &[0, 1], false).unwrap();
    let p = compiled(&[x, t], &[loss], &[]);
    assert_eq!(names(&p), ["fused"], "{p}");
    assert_eq!(regions(&p)[0].reductions[0].over, ReduceOver::All);
}

#[test]
fn regions_stay_within_their_limits() {
    let b = Builder::default();
    let inputs: Vec<Tensor> = (0..60).map(|_| input(&[7])).collect();
    let mut sum = inputs[0].clone();
    for x in &inputs[1..] {
        sum = b.add(&sum, &b.unary(UnaryOp::Exp, x).unwrap()).unwrap();
    }
    let p = compiled(&inputs, &[sum], &[]);
    assert!(regions(&p).len() >= 4, "{p}");
    for region in regions(&p) {
        assert!(region.inputs <= super::MAX_OPERANDS);
        assert!(region.inputs + region.insts.len() <= super::MAX_VALUES);
    }
}

#[test]
fn reductions_that_cut_a_space_differently_are_kept_apart() {
    let b = Builder::default();
    let x = input(&[40, 50, 3]);
    let y = b.unary(UnaryOp::Exp, &x).unwrap();
    let first = b.reduce(ReduceOp::Sum, &y, &[0], false).unwrap();
    let last = b.reduce(ReduceOp::Sum, &y, &[1, 2], false).unwrap();
    let both = b.reduce(ReduceOp::Sum, &y, &[0, 1], false).unwrap();
    let p = compiled(&[x], &[first, last, both], &[]);
    assert_eq!(names(&p), ["fused", "sum"], "{p}");
    assert_eq!(regions(&p)[0].reductions.len(), 2, "{p}");
}
