//! Passes keep what programs compute: rules one by one, and random graphs.

use proptest::prelude::*;

use crate::autodiff::gradients;
use crate::build::Builder;
use crate::compile::{Options, Request, compile};
use crate::dtype::DType;
use crate::node::{Node, Tensor, TensorType};
use crate::op::{
    BinaryOp, ConvAttrs, CumOp, Epilogue, MomentsOf, Op, Padding, PoolAttrs, ReduceOp, SliceAxis,
    UnaryOp,
};
use crate::program::Program;
use crate::shape::{concrete, known};
use crate::testing::{Array, Reference, assert_compiles};

fn input(dtype: DType, shape: &[usize]) -> Tensor {
    let shape = known(shape);
    Node::leaf(Op::Placeholder, TensorType { dtype, shape }, None)
}

fn names(inputs: &[&Tensor], output: &Tensor, fuse: bool) -> Vec<&'static str> {
    let inputs: Vec<Tensor> = inputs.iter().map(|&t| t.clone()).collect();
    let program = program(&inputs, output, fuse);
    program.insts.iter().map(|i| i.op.name()).collect()
}

fn program(inputs: &[Tensor], output: &Tensor, fuse: bool) -> Program {
    let shapes: Vec<Vec<usize>> = inputs
        .iter()
        .map(|t| concrete(t.shape()).unwrap())
        .collect();
    let request = Request {
        inputs,
        input_shapes: &shapes,
        outputs: std::slice::from_ref(output),
        updates: &[],
        training: false,
    };
    compile(&request, &Reference, Options { fuse, verify: true }).unwrap()
}

#[test]
fn algebra() {
    let b = Builder::default();
    let x = &input(DType::F32, &[3, 4]);
    let n = &input(DType::I32, &[3, 4]);
    let scalar = |op, v| b.binary_scalar(op, x, v).unwrap();
    let clean = |t: &Tensor| names(&[x, n], t, false);
    let none: [&str; 0] = [];
    for same in [
        scalar(BinaryOp::Add, 0.0),
        scalar(BinaryOp::Mul, 1.0),
        scalar(BinaryOp::Div, 1.0),
        scalar(BinaryOp::Pow, 1.0),
        b.mul(x, &b.full_like(x, 1.0).unwrap()).unwrap(),
        b.neg(&b.neg(x).unwrap()).unwrap(),
        b.op(Op::StopGradient, &[x]).unwrap(),
    ] {
        assert_eq!(clean(&same), none);
    }
    assert_eq!(
        clean(&b.binary_scalar(BinaryOp::Mul, n, 0.0).unwrap()),
        ["broadcast_to"]
    );
    assert_eq!(clean(&scalar(BinaryOp::Mul, 0.0)), ["mul"], "NaN stays NaN");
    assert_eq!(clean(&scalar(BinaryOp::Pow, 2.0)), ["square"]);
    assert_eq!(clean(&scalar(BinaryOp::Pow, 0.5)), ["sqrt"]);
    assert_eq!(clean(&scalar(BinaryOp::Div, 8.0)), ["mul"]);
    assert_eq!(clean(&scalar(BinaryOp::Div, 3.0)), ["div"]);
    let wide = b.cast(n, DType::F64).unwrap();
    assert_eq!(clean(&b.cast(&wide, DType::F32).unwrap()), ["cast"]);
    let narrow = b.cast(x, DType::I32).unwrap();
    assert_eq!(
        clean(&b.cast(&narrow, DType::F32).unwrap()),
        ["cast", "cast"]
    );
    let y = b.neg(&b.unary(UnaryOp::Exp, x).unwrap()).unwrap();
    assert_eq!(clean(&b.add(x, &y).unwrap()), ["exp", "sub"]);
}

#[test]
fn shapes_and_transposes_cancel() {
    let b = Builder::default();
    let x = &input(DType::F32, &[3, 4]);
    let clean = |t: &Tensor| names(&[x], t, false);
    let turn = |t: &Tensor, perm: &[usize]| {
        let perm = perm.to_vec();
        b.op(Op::Transpose { perm }, &[t]).unwrap()
    };
    let shaped = |t: &Tensor, s: &[i64]| b.op(Op::Reshape, &[t, &b.ints(s).unwrap()]).unwrap();
    assert!(clean(&turn(&turn(x, &[1, 0]), &[1, 0])).is_empty());
    assert!(clean(&shaped(&shaped(x, &[12]), &[3, 4])).is_empty());
    assert_eq!(clean(&shaped(&shaped(x, &[2, 6]), &[12])), ["reshape"]);
    let column = shaped(x, &[3, 1, 4]);
    assert_eq!(
        clean(&turn(&column, &[1, 0, 2])),
        ["reshape"],
        "axes of size 1 move freely"
    );
    let product = b.matmul(&turn(x, &[1, 0]), x, false, false).unwrap();
    assert_eq!(clean(&product), ["matmul"]);
    let sums = b.op(Op::SumTo, &[x, &b.ints(&[1, 4]).unwrap()]).unwrap();
    assert_eq!(clean(&sums), ["sum", "reshape"]);
    let all = SliceAxis {
        start: Some(0),
        stop: Some(9),
        step: 1,
    };
    assert!(clean(&b.op(Op::Slice(vec![all, all]), &[x]).unwrap()).is_empty());
    let kept = b
        .reduce(ReduceOp::Sum, &turn(x, &[1, 0]), &[0], false)
        .unwrap();
    assert_eq!(clean(&kept), ["sum"], "a transpose before a reduction");
}

#[test]
fn broadcasts_are_left_to_their_readers() {
    let b = Builder::default();
    let (x, y) = (&input(DType::F32, &[3, 4]), &input(DType::F32, &[4]));
    let clean = |t: &Tensor| names(&[x, y], t, false);
    let wide = b.broadcast_like(y, x).unwrap();
    assert_eq!(clean(&b.mul(x, &wide).unwrap()), ["mul"]);
    let both = b.mul(&wide, &b.full_like(x, 2.0).unwrap()).unwrap();
    assert_eq!(clean(&both), ["mul", "broadcast_to"], "computed small");
    let relu = b.unary(UnaryOp::Relu, &wide).unwrap();
    assert_eq!(clean(&b.add(&relu, x).unwrap()), ["relu", "add"]);
}

#[test]
fn bias_and_activation_become_epilogues() {
    let b = Builder::default();
    let (x, w) = (&input(DType::F32, &[2, 3, 4]), &input(DType::F32, &[4, 5]));
    let bias = &input(DType::F32, &[5]);
    let fused = |t: &Tensor| names(&[x, w, bias], t, true);
    let y = b.matmul(x, w, false, false).unwrap();
    let z = b.unary(UnaryOp::Relu, &b.add(bias, &y).unwrap()).unwrap();
    assert_eq!(fused(&z), ["matmul"]);
    // Through a reshape, as a product of flattened rows has it.
    let rows = b.op(Op::Reshape, &[x, &b.ints(&[-1, 4]).unwrap()]).unwrap();
    let y = b.matmul(&rows, w, false, false).unwrap();
    let y = b
        .op(Op::Reshape, &[&y, &b.ints(&[2, 3, 5]).unwrap()])
        .unwrap();
    let z = b.unary(UnaryOp::Tanh, &b.add(&y, bias).unwrap()).unwrap();
    assert_eq!(fused(&z), ["reshape", "matmul", "reshape"]);
    // Not where what comes before the activation is read elsewhere.
    let before = b.add(&y, bias).unwrap();
    let both = b
        .mul(&b.unary(UnaryOp::Relu, &before).unwrap(), &before)
        .unwrap();
    let program = program(&[x.clone(), w.clone(), bias.clone()], &both, true);
    let text = program.to_string();
    assert!(text.contains("matmul[NN +bias]"), "{text}");
    assert!(text.contains("relu(in0)"), "{text}");
}

#[test]
fn transposes_that_meet_in_a_broadcast_come_to_rest() {
    let b = Builder::default();
    let x = &input(DType::F64, &[1, 2, 9]);
    let y = &input(DType::F64, &[1, 8, 2]);
    let turn = |t: &Tensor| {
        let perm = vec![2, 0, 1];
        b.op(Op::Transpose { perm }, &[t]).unwrap()
    };
    let z = b.add(
        &turn(x),
        &b.reduce(ReduceOp::Sum, &turn(y), &[2], true).unwrap(),
    );
    assert!(z.is_err(), "9 and 2 do not broadcast");
    let column = b
        .op(Op::Reshape, &[&turn(x), &b.ints(&[9, 1, 2, 1]).unwrap()])
        .unwrap();
    let row = b
        .op(Op::Reshape, &[&turn(y), &b.ints(&[1, 2, 1, 8]).unwrap()])
        .unwrap();
    let perm = vec![3, 2, 1, 0];
    let turned = b
        .op(Op::Transpose { perm: perm.clone() }, &[&column])
        .unwrap();
    let other = b.op(Op::Transpose { perm }, &[&row]).unwrap();
    let z = b.mul(&turned, &other).unwrap();
    assert!(names(&[x, y], &z, true).contains(&"mul"));
    let empty = &input(DType::F64, &[0, 3, 4]);
    let ones = &input(DType::F64, &[4, 0, 3]);
    let z = b.mul(&turn(empty), ones).unwrap();
    assert_eq!(names(&[empty, ones], &z, false), ["transpose", "mul"]);
}

/// Convolutions of channels-first images, each permuted on its way in and out, with bias, batch
/// normalisation, activation and their gradients.
#[test]
fn channels_first_stretches_are_transposed_at_their_borders() {
    let b = Builder::default();
    let x = input(DType::F64, &[2, 3, 6, 5]);
    let turn = |t: &Tensor, perm: &[usize]| {
        let perm = perm.to_vec();
        b.op(Op::Transpose { perm }, &[t]).unwrap()
    };
    let attrs = ConvAttrs {
        strides: vec![1, 1],
        padding: Padding::Same,
        dilation: vec![1, 1],
        groups: 1,
    };
    let mut fed = vec![x.clone()];
    let mut y = x;
    for (ci, co) in [(3, 4), (4, 4), (4, 2)] {
        let kernel = input(DType::F64, &[3, 3, ci, co]);
        let bias = input(DType::F64, &[co]);
        let conv = Op::Conv(attrs.clone(), Epilogue::default());
        let inner = b.op(conv, &[&turn(&y, &[0, 2, 3, 1]), &kernel]).unwrap();
        let out = turn(&inner, &[0, 3, 1, 2]);
        let channel = b.ints(&[1, co as i64, 1, 1]).unwrap();
        let spread = |t: &Tensor| b.op(Op::Reshape, &[t, &channel]).unwrap();
        let out = b.add(&out, &spread(&bias)).unwrap();
        let axes = vec![0, 2, 3];
        let mean = b
            .op(
                Op::Moments {
                    axes,
                    of: MomentsOf::Operand,
                },
                &[&out],
            )
            .unwrap();
        let out = b.sub(&out, &spread(&mean)).unwrap();
        y = b.unary(UnaryOp::Tanh, &out).unwrap();
        fed.extend([kernel, bias]);
    }
    let loss = b.reduce(ReduceOp::Sum, &y, &[0, 1, 2, 3], false).unwrap();
    let mut results = vec![loss.clone()];
    results.extend(
        gradients(&[loss], None, &fed)
            .unwrap()
            .into_iter()
            .flatten(),
    );
    let arrays = fed.iter().map(|t| {
        let shape = concrete(t.shape()).unwrap();
        let n: usize = shape.iter().product();
        let data = (0..n).map(|i| ((i * 7) % 13) as f64 / 6.5 - 0.9).collect();
        (t.clone(), Array::new(DType::F64, &shape, data))
    });
    assert_compiles("channels first", &results, &arrays.collect::<Vec<_>>());
    let shapes: Vec<Vec<usize>> = fed.iter().map(|t| concrete(t.shape()).unwrap()).collect();
    let request = Request {
        inputs: &fed,
        input_shapes: &shapes,
        outputs: &results,
        updates: &[],
        training: true,
    };
    let p = compile(&request, &Reference, Options::default()).unwrap();
    let transposes = p
        .insts
        .iter()
        .filter(|i| i.op.name() == "transpose")
        .count();
    assert_eq!(transposes, 2, "the image and its gradient:\n{p}");
}

/// relu, max pooling and a bias: the mask and the sum are taken of the maxima.
#[test]
fn masks_and_sums_are_taken_before_unpooling() {
    let b = Builder::default();
    let (x, bias) = (input(DType::F64, &[2, 6, 6, 3]), input(DType::F64, &[3]));
    for stride in [1, 2] {
        let attrs = PoolAttrs {
            size: vec![2, 2],
            strides: vec![stride, stride],
            padding: Padding::Same,
        };
        let y = b.unary(UnaryOp::Relu, &b.add(&x, &bias).unwrap()).unwrap();
        let y = b.op(Op::MaxPool(attrs), &[&y]).unwrap();
        let y = b.mul(&y, &y).unwrap();
        let wrt = [x.clone(), bias.clone()];
        let grads = gradients(&[y], None, &wrt).unwrap();
        let results: Vec<Tensor> = grads.into_iter().flatten().collect();
        let data = |n: usize| (0..n).map(|i| ((i * 7) % 13) as f64 / 6.5 - 0.9).collect();
        let fed = [
            (x.clone(), Array::new(DType::F64, &[2, 6, 6, 3], data(216))),
            (bias.clone(), Array::new(DType::F64, &[3], data(3))),
        ];
        assert_compiles("relu and max pooling", &results, &fed);
        let names = names(&[&x, &bias], &results[0], false);
        assert_eq!(names[names.len() - 1], "max_pool_grad", "{names:?}");
        let names = self::names(&[&x, &bias], &results[1], false);
        assert!(!names.contains(&"max_pool_grad"), "{names:?}");
    }
}

/// Nothing is computed for the gradient of the branch that is not taken.
#[test]
fn branches_of_the_other_phase_leave_nothing() {
    let b = Builder::default();
    let (x, w) = (&input(DType::F32, &[4, 4]), &input(DType::F32, &[4, 4]));
    let phase = b.op(Op::LearningPhase, &[]).unwrap();
    let training = b.unary(UnaryOp::Exp, x).unwrap();
    let inference = b
        .matmul(&b.unary(UnaryOp::Log, x).unwrap(), w, false, false)
        .unwrap();
    let y = b.select(&phase, &training, &inference).unwrap();
    let wrt = [x.clone(), w.clone()];
    let grads = gradients(&[y], None, &wrt).unwrap();
    let (dx, dw) = (grads[0].clone().unwrap(), grads[1].clone().unwrap());
    // The programs are made for inference.
    let used = names(&[x, w], &dx, false);
    assert!(
        used.contains(&"matmul") && !used.contains(&"exp"),
        "{used:?}"
    );
    let swapped = b.select(&phase, &inference, &training).unwrap();
    let grads = gradients(&[swapped], None, &wrt).unwrap();
    let used = names(&[x, w], &grads[0].clone().unwrap(), false);
    assert_eq!(used, ["exp"], "{used:?}");
    let used = names(&[x, w], &grads[1].clone().unwrap(), false);
    assert_eq!(used, ["broadcast_to"], "{used:?}");
    assert!(names(&[x, w], &dw, false).contains(&"matmul"));
}

#[test]
fn a_reduction_of_all_elements_does_not_mind_their_shape() {
    let b = Builder::default();
    let x = &input(DType::F32, &[4, 3]);
    let flat = b.op(Op::Reshape, &[x, &b.ints(&[12]).unwrap()]).unwrap();
    let sum = b.reduce(ReduceOp::Sum, &flat, &[0], false).unwrap();
    assert_eq!(names(&[x], &sum, false), ["sum"]);
}

/// A graph drawn from numbers: each step applies an operation to earlier tensors.
fn graph(steps: &[(u8, u8, u8)]) -> (Vec<Tensor>, Vec<(Tensor, Array)>) {
    let b = Builder::default();
    let shapes: [&[usize]; 8] = [
        &[3, 4],
        &[4],
        &[],
        &[3, 1],
        &[2, 3, 4],
        &[1, 4],
        &[4, 3],
        &[0, 4],
    ];
    let mut fed = Vec::new();
    let mut tensors = Vec::new();
    for (k, shape) in shapes.iter().enumerate() {
        let t = input(DType::F64, shape);
        let n: usize = shape.iter().product();
        let data = (0..n)
            .map(|i| ((i * 7 + k * 5) % 13) as f64 / 6.5 - 0.9)
            .collect();
        fed.push((t.clone(), Array::new(DType::F64, shape, data)));
        tensors.push(t);
    }
    for &(op, i, j) in steps {
        let (x, y) = (
            &tensors[i as usize % tensors.len()],
            &tensors[j as usize % tensors.len()],
        );
        if let Some(t) = step(&b, op, x, y) {
            tensors.push(t);
        }
    }
    let results = tensors.split_off(shapes.len().max(tensors.len().saturating_sub(4)));
    (results, fed)
}

/// One operation; `None` where it does not fit, or results might grow without bound.
fn step(b: &Builder, op: u8, x: &Tensor, y: &Tensor) -> Option<Tensor> {
    let last = x.rank().checked_sub(1);
    let made = match op % 25 {
        0 => b.add(x, y),
        1 => b.sub(x, y),
        2 => b.mul(&b.unary(UnaryOp::Tanh, x).ok()?, y),
        3 => b.unary(UnaryOp::Relu, x),
        4 => b.unary(UnaryOp::Sigmoid, x),
        5 => b.neg(x),
        6 => b.scale(x, 0.5),
        7 => b.binary_scalar(BinaryOp::Add, x, 0.0),
        8 => b.binary(BinaryOp::Max, x, y),
        9 => b.select(&b.binary(BinaryOp::Gt, x, y).ok()?, x, y),
        10 => b.cast(&b.binary_scalar(BinaryOp::Ge, x, 0.1).ok()?, DType::F64),
        11 => b.reduce(ReduceOp::Sum, x, &[last?], true),
        12 => b.reduce(
            ReduceOp::Mean,
            x,
            &[0].map(|a| a.min(last.unwrap_or(0))),
            false,
        ),
        13 => b.reduce(ReduceOp::Mean, x, &(0..x.rank()).collect::<Vec<_>>(), false),
        14 => b.broadcast_like(x, y),
        15 => b.sum_like(x, y),
        16 => b.op(Op::Reshape, &[x, &b.ints(&[-1]).ok()?]),
        17 => b.op(Op::Softmax, &[x]),
        18 => b.matmul(x, y, false, true),
        19 => b.op(Op::SigmoidCrossEntropy, &[x, y]),
        20 => b.div(x, &b.scalar(DType::F64, 4.0).ok()?),
        21 => {
            let perm = (0..x.rank()).rev().collect();
            b.op(Op::Transpose { perm }, &[x])
        }
        22 => b.binary_scalar(BinaryOp::Pow, x, 2.0),
        23 => b.op(
            Op::Cumulative {
                op: CumOp::Sum,
                axis: last?,
                exclusive: false,
                reverse: false,
            },
            &[x],
        ),
        _ => b.reduce(ReduceOp::Max, x, &[last?], false),
    };
    let t = made.ok()?;
    let small = concrete(t.shape())?.iter().product::<usize>() <= 64;
    small.then_some(t)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_graphs_compute_the_same(
        steps in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..40),
        differentiate in any::<bool>(),
    ) {
        let (mut results, fed) = graph(&steps);
        if differentiate {
            let wrt: Vec<Tensor> = fed.iter().map(|(t, _)| t.clone()).collect();
            let grads = gradients(&results, None, &wrt).unwrap();
            results.extend(grads.into_iter().flatten());
        }
        assert_compiles("a random graph", &results, &fed);
    }
}
