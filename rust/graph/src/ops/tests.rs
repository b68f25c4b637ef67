//! Tables of inferred types and the texts of errors.

use super::*;
use crate::node::Node;
use crate::op::{
    BinaryOp, ConvAttrs, Epilogue, Extreme, MomentsOf, Padding, PoolAttrs, ReduceOp, SliceAxis,
    UnaryOp,
};
use crate::shape::{Dim, Shape, show};

fn placeholder(dtype: DType, shape: &[Dim]) -> Tensor {
    let shape = shape.to_vec();
    Node::leaf(Op::Placeholder, TensorType { dtype, shape }, None)
}

fn floats(shape: &[Dim]) -> Tensor {
    placeholder(DType::F32, shape)
}

fn build(op: Op, inputs: &[&Tensor]) -> Result<Tensor> {
    Node::build(op, inputs.iter().map(|&t| t.clone()).collect(), None)
}

fn constant(values: &[i64]) -> Tensor {
    let l = Literal::ints(values);
    build(Op::Constant(l), &[]).unwrap()
}

fn shape_of(t: &Tensor) -> Tensor {
    build(Op::ShapeOf, &[t]).unwrap()
}

fn inferred(op: Op, inputs: &[&Tensor]) -> String {
    let t = build(op, inputs).unwrap();
    let parts = t.node.outputs.iter();
    let parts: Vec<String> = parts
        .map(|o| format!("{} {}", o.dtype, show(&o.shape)))
        .collect();
    parts.join(", ")
}

fn error(op: Op, inputs: &[&Tensor]) -> String {
    build(op, inputs).unwrap_err().to_string()
}

fn matmul(transpose_a: bool, transpose_b: bool) -> Op {
    Op::MatMul {
        transpose_a,
        transpose_b,
        epilogue: Epilogue::default(),
    }
}

const fn range(start: Option<i64>, stop: Option<i64>, step: i64) -> SliceAxis {
    SliceAxis { start, stop, step }
}

fn conv_attrs(padding: Padding, stride: usize, groups: usize) -> ConvAttrs {
    ConvAttrs {
        strides: vec![stride, stride],
        padding,
        dilation: vec![1, 1],
        groups,
    }
}

#[test]
fn elementwise_types() {
    let x = floats(&[None, Some(3)]);
    let y = floats(&[Some(3)]);
    let n = placeholder(DType::I32, &[Some(3)]);
    let b = placeholder(DType::Bool, &[None, Some(1)]);
    assert_eq!(
        inferred(Op::Unary(UnaryOp::Exp), &[&x]),
        "float32 (None, 3)"
    );
    assert_eq!(inferred(Op::Unary(UnaryOp::IsNan), &[&x]), "bool (None, 3)");
    assert_eq!(
        inferred(Op::Binary(BinaryOp::Add), &[&x, &y]),
        "float32 (None, 3)"
    );
    assert_eq!(inferred(Op::Binary(BinaryOp::Lt), &[&n, &n]), "bool (3,)");
    assert_eq!(inferred(Op::Select, &[&b, &y, &y]), "float32 (None, 3)");
    assert_eq!(inferred(Op::Cast(DType::I64), &[&x]), "int64 (None, 3)");
    assert_eq!(
        error(Op::Unary(UnaryOp::Exp), &[&n]),
        "exp: the operand must be float32 or float64, got int32 of shape (3,); cast it first"
    );
    assert_eq!(
        error(Op::Binary(BinaryOp::Mul), &[&x, &n]),
        "mul: operands have different dtypes, float32 of shape (None, 3) and int32 of shape (3,); \
         cast one to the other's"
    );
    assert_eq!(
        error(Op::Binary(BinaryOp::Add), &[&x, &floats(&[Some(4)])]),
        "add: shapes (None, 3) and (4,) do not broadcast: aligned at the last axis, sizes must be \
         equal or 1; reshape or expand one of them"
    );
    assert_eq!(
        error(Op::Binary(BinaryOp::Div), &[&n, &n]),
        "div: operands must be float32 or float64, got int32 of shapes (3,) and (3,); cast them \
         first"
    );
    assert_eq!(
        error(Op::Select, &[&x, &y, &y]),
        "select: the condition must be bool, got float32 of shape (None, 3); compare it with \
         something or cast it"
    );
    assert_eq!(error(Op::Identity, &[]), "identity: takes 1 operand, got 0");
}

#[test]
fn the_layer_is_named() {
    let x = floats(&[Some(2), Some(3)]);
    let e = Node::build(
        matmul(false, false),
        vec![x.clone(), x],
        Some("dense_1".into()),
    );
    assert_eq!(
        e.unwrap_err().to_string(),
        "layer 'dense_1': matmul: cannot multiply shape (2, 3) by shape (2, 3): the first has 3 \
         columns, the second 2 rows"
    );
}

#[test]
fn reductions() {
    let x = floats(&[None, Some(3), Some(4)]);
    let reduce = |op, axes: &[usize], keepdims| Op::Reduce {
        op,
        axes: axes.to_vec(),
        keepdims,
    };
    assert_eq!(
        inferred(reduce(ReduceOp::Mean, &[0, 2], false), &[&x]),
        "float32 (3,)"
    );
    assert_eq!(
        inferred(reduce(ReduceOp::Sum, &[1], true), &[&x]),
        "float32 (None, 1, 4)"
    );
    assert_eq!(
        inferred(
            Op::Moments {
                axes: vec![0, 1],
                of: MomentsOf::Operand,
            },
            &[&x]
        ),
        "float32 (4,), float32 (4,)"
    );
    let arg = Op::ArgReduce {
        op: Extreme::Max,
        axis: 1,
    };
    assert_eq!(inferred(arg, &[&x]), "int64 (None, 4)");
    let n = placeholder(DType::I32, &[Some(3)]);
    assert!(error(reduce(ReduceOp::Mean, &[0], false), &[&n]).contains("got int32 of shape (3,)"));
    assert_eq!(
        error(reduce(ReduceOp::Sum, &[3], false), &[&x]),
        "sum: there is no axis 3 in shape (None, 3, 4), which has 3 axes"
    );
    assert_eq!(
        error(
            reduce(ReduceOp::Max, &[0], false),
            &[&floats(&[Some(0), Some(2)])]
        ),
        "max: there is no extreme over an axis of size 0, got shape (0, 2) and axes [0]"
    );
}

#[test]
fn reshapes_keep_what_is_known() {
    let x = floats(&[None, Some(3), Some(4)]);
    let to = |values: &[i64]| inferred(Op::Reshape, &[&x, &constant(values)]);
    assert_eq!(to(&[-1, 12]), "float32 (None, 12)");
    assert_eq!(to(&[4, -1]), "float32 (4, None)");
    let known = floats(&[Some(2), Some(6)]);
    assert_eq!(
        inferred(Op::Reshape, &[&known, &constant(&[-1, 3])]),
        "float32 (4, 3)"
    );
    assert_eq!(
        error(Op::Reshape, &[&known, &constant(&[5, -1])]),
        "reshape: cannot reshape (2, 6) to (5, -1): 12 elements do not divide by 5"
    );
    assert_eq!(
        error(Op::Reshape, &[&known, &constant(&[5, 2])]),
        "reshape: cannot reshape (2, 6) (12 elements) to (5, 2) (10 elements)"
    );
    assert_eq!(
        error(Op::Reshape, &[&known, &constant(&[-1, -1])]),
        "reshape: cannot reshape (2, 6) to (-1, -1): only one size may be -1"
    );
}

#[test]
fn a_size_that_is_the_operands_own_cancels() {
    let x = floats(&[None, Some(3), Some(4)]);
    let batch = build(
        Op::Slice(vec![range(Some(0), Some(1), 1)]),
        &[&shape_of(&x)],
    )
    .unwrap();
    let target = build(Op::Concat { axis: 0 }, &[&batch, &constant(&[-1])]).unwrap();
    assert_eq!(shape_hint(&target), Some(vec![None, None]));
    assert_eq!(inferred(Op::Reshape, &[&x, &target]), "float32 (None, 12)");
    let other = floats(&[None, Some(3), Some(4)]);
    assert_eq!(
        inferred(Op::Reshape, &[&other, &target]),
        "float32 (None, None)"
    );
}

#[test]
fn shape_arithmetic_is_evaluated() {
    let x = floats(&[None, Some(3), Some(4)]);
    let s = shape_of(&x);
    let mask = constant(&[1, 1, 0]);
    let kept = build(Op::Binary(BinaryOp::Mul), &[&s, &mask]).unwrap();
    let kept = build(Op::Binary(BinaryOp::Add), &[&kept, &constant(&[0, 0, 1])]).unwrap();
    assert_eq!(shape_hint(&kept), Some(vec![None, Some(3), Some(1)]));
    let picked = build(Op::Gather { axis: 0 }, &[&s, &constant(&[2, 1])]).unwrap();
    assert_eq!(shape_hint(&picked), Some(vec![Some(4), Some(3)]));
    let product = Op::Reduce {
        op: ReduceOp::Prod,
        axes: vec![0],
        keepdims: true,
    };
    let total = build(product, &[&picked]).unwrap();
    assert_eq!(shape_hint(&total), Some(vec![Some(12)]));
    assert_eq!(
        shape_hint(&placeholder(DType::I64, &[Some(2)])),
        Some(vec![None; 2])
    );
    assert_eq!(shape_hint(&placeholder(DType::I64, &[None])), None);
    let mut deep = s;
    for _ in 0..60 {
        deep = build(Op::Binary(BinaryOp::Add), &[&deep, &deep]).unwrap();
    }
    assert_eq!(shape_hint(&deep).map(|s| s.len()), Some(3));
}

#[test]
fn broadcasts_and_their_sums() {
    let x = floats(&[None, Some(1)]);
    let target = constant(&[2, 5, 3]);
    assert_eq!(
        inferred(Op::BroadcastTo, &[&x, &target]),
        "float32 (2, 5, 3)"
    );
    let y = floats(&[None, Some(5), Some(3)]);
    assert_eq!(
        inferred(Op::SumTo, &[&y, &shape_of(&x)]),
        "float32 (None, 1)"
    );
    assert_eq!(
        error(Op::BroadcastTo, &[&floats(&[Some(4)]), &target]),
        "broadcast_to: shape (4,) does not broadcast to (2, 5, 3): aligned at the last axis, its \
         sizes must be equal or 1"
    );
    assert_eq!(
        error(Op::SumTo, &[&x, &target]),
        "sum_to: shape (None, 1) is not a broadcast of the target (2, 5, 3)"
    );
    assert_eq!(
        error(Op::BroadcastTo, &[&x, &floats(&[Some(2)])]),
        "broadcast_to: a shape must be an int64 vector, got float32 of shape (2,)"
    );
}

#[test]
fn slices_as_python() {
    let x = floats(&[Some(5), None]);
    let cut = |r: SliceAxis| inferred(Op::Slice(vec![r, range(None, None, 1)]), &[&x]);
    assert_eq!(cut(range(Some(1), Some(-1), 1)), "float32 (3, None)");
    assert_eq!(cut(range(None, None, -2)), "float32 (3, None)");
    assert_eq!(cut(range(Some(4), Some(1), -1)), "float32 (3, None)");
    assert_eq!(cut(range(Some(-9), Some(9), 2)), "float32 (3, None)");
    assert_eq!(cut(range(Some(3), Some(2), 1)), "float32 (0, None)");
    for start in -7..7 {
        for stop in -7..7 {
            for step in [-3, -1, 1, 2] {
                let range = range(Some(start), Some(stop), step);
                let picked: Vec<usize> = values::positions(&range, 5).collect();
                assert_eq!(picked, python_slice(start, stop, step, 5), "{range:?}");
            }
        }
    }
}

/// Python's rule, by walking.
fn python_slice(start: i64, stop: i64, step: i64, n: i64) -> Vec<usize> {
    let turn = |i: i64| if i < 0 { i + n } else { i };
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let (mut i, stop) = (turn(start).clamp(low, high), turn(stop).clamp(low, high));
    let mut picked = vec![];
    while (step > 0 && i < stop) || (step < 0 && i > stop) {
        picked.push(i as usize);
        i += step;
    }
    picked
}

#[test]
fn movement() {
    let x = floats(&[None, Some(3), Some(4)]);
    let y = floats(&[Some(2), Some(5), Some(4)]);
    assert_eq!(
        inferred(
            Op::Transpose {
                perm: vec![2, 0, 1]
            },
            &[&x]
        ),
        "float32 (4, None, 3)"
    );
    assert!(
        error(
            Op::Transpose {
                perm: vec![0, 0, 1]
            },
            &[&x]
        )
        .contains("got [0, 0, 1]")
    );
    assert_eq!(
        inferred(Op::Concat { axis: 1 }, &[&x, &y]),
        "float32 (2, 8, 4)"
    );
    assert_eq!(
        error(Op::Concat { axis: 2 }, &[&x, &y]),
        "concat: operand 1 of shape (2, 5, 4) does not fit operand 0 of shape (None, 3, 4): all \
         sizes but that of axis 2 must be equal"
    );
    let indices = placeholder(DType::I32, &[None, Some(7)]);
    assert_eq!(
        inferred(Op::Gather { axis: 1 }, &[&x, &indices]),
        "float32 (None, None, 7, 4)"
    );
    let dy = floats(&[None, Some(7), Some(4)]);
    let scattered = inferred(
        Op::ScatterAdd { axis: 0 },
        &[&indices, &dy, &constant(&[9, 4])],
    );
    assert_eq!(
        scattered, "float32 (9, 4)",
        "dy of rank 3 scatters to rank 2"
    );
    assert!(error(Op::Gather { axis: 0 }, &[&x, &x]).contains("indices must be integers"));
    let step = build(Op::Constant(Literal::scalar(DType::I64, 2.0)), &[]).unwrap();
    let stop = build(Op::Constant(Literal::scalar(DType::I64, 7.0)), &[]).unwrap();
    let start = build(Op::Constant(Literal::scalar(DType::I64, 0.0)), &[]).unwrap();
    assert_eq!(
        inferred(Op::Arange(DType::F32), &[&start, &stop, &step]),
        "float32 (4,)"
    );
    assert!(error(Op::Arange(DType::F32), &[&start, &stop, &start]).contains("must not be 0"));
    let index_1 = Op::ConcatGrad { axis: 1, index: 1 };
    let whole = floats(&[Some(2), Some(8), Some(4)]);
    assert_eq!(
        inferred(index_1, &[&whole, &shape_of(&x), &shape_of(&y)]),
        "float32 (2, 5, 4)"
    );
}

#[test]
fn products() {
    let x = floats(&[None, Some(3), Some(4)]);
    let w = floats(&[Some(4), Some(5)]);
    assert_eq!(
        inferred(matmul(false, false), &[&x, &w]),
        "float32 (None, 3, 5)"
    );
    assert_eq!(
        inferred(matmul(true, true), &[&w, &floats(&[Some(2), Some(4)])]),
        "float32 (5, 2)"
    );
    assert_eq!(
        error(matmul(false, true), &[&x, &w]),
        "matmul: cannot multiply shape (None, 3, 4) by shape (4, 5) (transposed): the first has 4 \
         columns, the second 5 rows"
    );
    assert!(error(matmul(false, false), &[&x, &floats(&[Some(4)])]).contains("at least 2 axes"));
}

#[test]
fn convolutions() {
    let x = floats(&[None, Some(8), Some(9), Some(4)]);
    let w = floats(&[Some(3), Some(3), Some(4), Some(6)]);
    let conv = |padding, stride| Op::Conv(conv_attrs(padding, stride, 1), Epilogue::default());
    assert_eq!(
        inferred(conv(Padding::Valid, 1), &[&x, &w]),
        "float32 (None, 6, 7, 6)"
    );
    assert_eq!(
        inferred(conv(Padding::Same, 2), &[&x, &w]),
        "float32 (None, 4, 5, 6)"
    );
    let explicit = Padding::Explicit(vec![(1, 1), (0, 0)]);
    assert_eq!(
        inferred(conv(explicit, 1), &[&x, &w]),
        "float32 (None, 8, 7, 6)"
    );
    let open = floats(&[None, None, None, Some(4)]);
    assert_eq!(
        inferred(conv(Padding::Same, 1), &[&open, &w]),
        "float32 (None, None, None, 6)"
    );
    let grouped = Op::Conv(conv_attrs(Padding::Same, 1, 2), Epilogue::default());
    let narrow = floats(&[Some(3), Some(3), Some(2), Some(6)]);
    assert_eq!(inferred(grouped, &[&x, &narrow]), "float32 (None, 8, 9, 6)");
    assert_eq!(
        error(
            conv(Padding::Valid, 1),
            &[&floats(&[None, Some(2), Some(9), Some(4)]), &w]
        ),
        "conv: a window of 3 cells does not fit into 2 cells along spatial axis 0; use \
         padding='same', a smaller window or a larger input (input (None, 2, 9, 4), kernel (3, 3, \
         4, 6))"
    );
    assert_eq!(
        error(
            conv(Padding::Valid, 1),
            &[&floats(&[None, Some(4), Some(9), Some(9)]), &w]
        ),
        "conv: the input of shape (None, 4, 9, 9) has 9 channels, the kernel of shape (3, 3, 4, 6) \
         with 1 group(s) takes 4; is the input channels last?"
    );
    let dy = floats(&[None, Some(4), Some(5), Some(6)]);
    let transposed = Op::ConvGradInput(conv_attrs(Padding::Same, 2, 1));
    assert_eq!(
        inferred(transposed.clone(), &[&dy, &w, &shape_of(&x)]),
        "float32 (None, 8, 9, 4)"
    );
    assert!(
        error(transposed, &[&dy, &w, &constant(&[2, 9, 9, 4])])
            .contains("gives shape (2, 5, 5, 6), got (None, 4, 5, 6)")
    );
    let filter = Op::ConvGradFilter(conv_attrs(Padding::Same, 2, 1));
    assert_eq!(
        inferred(filter, &[&x, &dy, &shape_of(&w)]),
        "float32 (3, 3, 4, 6)"
    );
}

#[test]
fn same_padding_follows_tensorflow() {
    let windows = |n, k, s| Padding::Same.windows(0, n, k, s).unwrap();
    let triple = |w: conv::Windows| (w.count, w.before, w.after);
    assert_eq!(triple(windows(5, 3, 1)), (5, 1, 1));
    assert_eq!(triple(windows(5, 2, 2)), (3, 0, 1));
    assert_eq!(triple(windows(6, 3, 2)), (3, 0, 1));
    assert_eq!(triple(windows(4, 1, 2)), (2, 0, 0));
    assert_eq!(triple(windows(0, 3, 1)), (0, 1, 2));
}

#[test]
fn pools() {
    let x = floats(&[None, Some(5), Some(3)]);
    let attrs = |padding| PoolAttrs {
        size: vec![2],
        strides: vec![2],
        padding,
    };
    assert_eq!(
        inferred(Op::MaxPool(attrs(Padding::Valid)), &[&x]),
        "float32 (None, 2, 3), int32 (None, 2, 3)"
    );
    assert_eq!(
        inferred(Op::AvgPool(attrs(Padding::Same)), &[&x]),
        "float32 (None, 3, 3)"
    );
    let dy = floats(&[None, Some(3), Some(3)]);
    assert_eq!(
        inferred(Op::AvgPoolGrad(attrs(Padding::Same)), &[&dy, &shape_of(&x)]),
        "float32 (None, 5, 3)"
    );
    let wide = Padding::Explicit(vec![(2, 0)]);
    assert!(error(Op::AvgPool(attrs(wide)), &[&x]).contains("must be narrower"));
}

#[test]
fn cross_entropies() {
    let x = floats(&[None, Some(10)]);
    let labels = placeholder(DType::I32, &[None]);
    assert_eq!(
        inferred(Op::SoftmaxCrossEntropy, &[&x, &x]),
        "float32 (None,)"
    );
    assert_eq!(
        inferred(Op::SparseSoftmaxCrossEntropy, &[&x, &labels]),
        "float32 (None,)"
    );
    assert_eq!(
        error(
            Op::SparseSoftmaxCrossEntropy,
            &[&x, &placeholder(DType::I32, &[None, Some(1)])]
        ),
        "sparse_softmax_cross_entropy: logits of shape (None, 10) take labels of shape (None,), \
         got (None, 1)"
    );
    assert!(error(Op::SoftmaxCrossEntropy, &[&x, &floats(&[None, Some(9)])]).contains("(None, 9)"));
}

#[test]
fn concrete_inference_reads_constants() {
    let target = Literal::ints(&[-1, 2]);
    let inputs: [(DType, &[usize]); 2] = [(DType::F32, &[3, 4]), (DType::I64, &[2])];
    let out = infer_concrete(&Op::Reshape, &inputs, &[None, Some(&target)]).unwrap();
    assert_eq!(out, [(DType::F32, vec![6, 2])]);
    let e = infer_concrete(&Op::Reshape, &inputs, &[None, None]).unwrap_err();
    assert!(e.to_string().contains("only known when it runs"), "{e}");
}

#[test]
fn symbolic_and_concrete_inference_agree() {
    let shape: Shape = known(&[6, 5]);
    let x = floats(&shape);
    let op = Op::Slice(vec![range(Some(1), None, 2), range(None, Some(-2), 1)]);
    let symbolic = build(op.clone(), &[&x]).unwrap();
    let exact = infer_concrete(&op, &[(DType::F32, &[6, 5])], &[None]).unwrap();
    assert_eq!(concrete(symbolic.shape()), Some(exact[0].1.clone()));
}
