//! Functions that build graph nodes.

use std::cell::RefCell;
use std::sync::Arc;

use hornbeam_graph::op::{
    BinaryOp, ConvAttrs, CumOp, Distribution, Epilogue, Extreme, MomentsOf, Padding, PoolAttrs,
    ReduceOp, RnnActivation, RnnAttrs, RnnCell, SliceAxis, UnaryOp,
};
use hornbeam_graph::ops::scan::scan as scan_of;
use hornbeam_graph::{DType, Literal, Node, Op, Tensor, TensorType, autodiff};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::array::Array;
use crate::error;
use crate::tensor::{PyTensor, cast_to};

type T<'py> = Bound<'py, PyTensor>;
type Built = PyResult<PyTensor>;

thread_local! {
    static SCOPE: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Builds a node in the current scope and returns its first output.
pub(crate) fn node(op: Op, inputs: Vec<Tensor>) -> PyResult<Tensor> {
    let scope = SCOPE.with_borrow(Clone::clone);
    Node::build(op, inputs, scope).map_err(error::graph)
}

fn build(op: Op, inputs: &[&T<'_>]) -> Built {
    let inputs = inputs.iter().map(|t| t.get().tensor.clone()).collect();
    Ok(node(op, inputs)?.into())
}

/// A constant tensor.
pub(crate) fn constant_of(literal: Literal) -> Tensor {
    let shape = hornbeam_graph::shape::known(&literal.shape);
    let ty = TensorType {
        dtype: literal.dtype,
        shape,
    };
    Node::leaf(Op::Constant(literal), ty, None)
}

fn lower(name: &str) -> String {
    let mut text = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    text
}

/// An operation's name as the binding spells it: `exp`, `add`, `softmax`.
pub(crate) fn op_name(op: &Op) -> String {
    let debug = match op {
        Op::Unary(f) => format!("{f:?}"),
        Op::Binary(f) => format!("{f:?}"),
        Op::Reduce { op, .. } => format!("{op:?}"),
        other => format!("{other:?}"),
    };
    lower(debug.split(['(', ' ', '{']).next().unwrap_or_default())
}

fn unknown(kind: &str, name: &str) -> PyErr {
    PyValueError::new_err(format!("there is no {kind} '{name}'"))
}

fn dtype_named(name: &str) -> PyResult<DType> {
    DType::parse(name).ok_or_else(|| {
        PyValueError::new_err(format!(
            "unknown dtype '{name}': use bool, uint8, int32, int64, float32 or float64"
        ))
    })
}

fn axis_of(axis: i64, rank: usize) -> PyResult<usize> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(at)
        .ok()
        .filter(|&a| a < rank)
        .ok_or_else(|| {
            PyValueError::new_err(format!(
                "axis {axis} is out of range for a tensor with {rank} axes"
            ))
        })
}

fn axes_of(axes: Option<Vec<i64>>, rank: usize) -> PyResult<Vec<usize>> {
    let Some(axes) = axes else {
        return Ok((0..rank).collect());
    };
    let mut axes: Vec<usize> = axes
        .into_iter()
        .map(|a| axis_of(a, rank))
        .collect::<PyResult<_>>()?;
    axes.sort_unstable();
    axes.dedup();
    Ok(axes)
}

/// What an axis of an indexing result is.
pub(crate) enum Axis {
    /// Axis i of the part that was cut out.
    Kept(usize),
    /// A new axis of size 1.
    New,
}

/// Drops and inserts axes of size 1.
pub(crate) fn with_axes(part: &Tensor, axes: &[Axis]) -> PyResult<Tensor> {
    let same = axes.len() == part.rank()
        && axes
            .iter()
            .enumerate()
            .all(|(i, a)| matches!(a, Axis::Kept(k) if *k == i));
    if same {
        return Ok(part.clone());
    }
    let dims: Vec<Option<usize>> = axes
        .iter()
        .map(|a| match a {
            Axis::Kept(k) => part.shape()[*k],
            Axis::New => Some(1),
        })
        .collect();
    if dims.iter().filter(|d| d.is_none()).count() <= 1 {
        let dims: Vec<i64> = dims.iter().map(|d| d.map_or(-1, |n| n as i64)).collect();
        return node(
            Op::Reshape,
            vec![part.clone(), constant_of(Literal::ints(&dims))],
        );
    }
    let shape = node(Op::ShapeOf, vec![part.clone()])?;
    let one = constant_of(Literal::ints(&[1]));
    let pieces = axes
        .iter()
        .map(|a| match a {
            Axis::New => Ok(one.clone()),
            Axis::Kept(k) => {
                let at = SliceAxis {
                    start: Some(*k as i64),
                    stop: Some(*k as i64 + 1),
                    step: 1,
                };
                node(Op::Slice(vec![at]), vec![shape.clone()])
            }
        })
        .collect::<PyResult<Vec<_>>>()?;
    let target = node(Op::Concat { axis: 0 }, pieces)?;
    node(Op::Reshape, vec![part.clone(), target])
}

/// A shape operand from ints and scalar tensors, or from an integer vector tensor.
fn shape_operand(shape: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    if let Ok(tensor) = shape.cast::<PyTensor>() {
        return cast_to(&tensor.get().tensor, DType::I64);
    }
    if let Ok(dims) = shape.extract::<Vec<i64>>() {
        return Ok(constant_of(Literal::ints(&dims)));
    }
    let vector = constant_of(Literal::ints(&[1]));
    let pieces = shape
        .try_iter()?
        .map(|dim| {
            let dim = dim?;
            if let Ok(tensor) = dim.cast::<PyTensor>() {
                let scalar = cast_to(&tensor.get().tensor, DType::I64)?;
                node(Op::Reshape, vec![scalar, vector.clone()])
            } else {
                let n: i64 = dim.extract().map_err(|_| {
                    PyTypeError::new_err(format!(
                        "a shape has integers and scalar integer tensors, not {}",
                        dim.get_type()
                    ))
                })?;
                Ok(constant_of(Literal::ints(&[n])))
            }
        })
        .collect::<PyResult<Vec<_>>>()?;
    node(Op::Concat { axis: 0 }, pieces)
}

fn scalar_operand(value: &Bound<'_, PyAny>, dtype: DType) -> PyResult<Tensor> {
    match value.cast::<PyTensor>() {
        Ok(tensor) => cast_to(&tensor.get().tensor, dtype),
        Err(_) => Ok(constant_of(Array::new(value, Some(dtype))?.literal())),
    }
}

/// An input of a function.
#[pyfunction]
#[pyo3(signature = (shape, dtype = "float32", name = None))]
pub(crate) fn placeholder(shape: Vec<Option<usize>>, dtype: &str, name: Option<String>) -> Built {
    let ty = TensorType {
        dtype: dtype_named(dtype)?,
        shape,
    };
    Ok(PyTensor::named(Node::leaf(Op::Placeholder, ty, None), name))
}

/// A constant.
#[pyfunction]
#[pyo3(signature = (value, name = None))]
pub(crate) fn constant(value: &Bound<'_, PyAny>, name: Option<String>) -> Built {
    Ok(PyTensor::named(
        constant_of(Array::new(value, None)?.literal()),
        name,
    ))
}

/// A bool scalar: training or inference.
#[pyfunction]
pub(crate) fn learning_phase() -> PyTensor {
    let ty = TensorType {
        dtype: DType::Bool,
        shape: Vec::new(),
    };
    let tensor = Node::leaf(Op::LearningPhase, ty, None);
    PyTensor::named(tensor, Some("keras_learning_phase:0".to_string()))
}

fn unary_named(name: &str) -> Option<UnaryOp> {
    use UnaryOp as U;
    [
        U::Neg,
        U::Abs,
        U::Sign,
        U::Exp,
        U::Expm1,
        U::Log,
        U::Log1p,
        U::Sqrt,
        U::Rsqrt,
        U::Square,
        U::Reciprocal,
        U::Sin,
        U::Cos,
        U::Tan,
        U::Tanh,
        U::Sigmoid,
        U::Relu,
        U::Softplus,
        U::Erf,
        U::Floor,
        U::Ceil,
        U::Round,
        U::Not,
        U::IsNan,
        U::IsFinite,
    ]
    .into_iter()
    .find(|op| format!("{op:?}").to_lowercase() == name)
}

fn binary_named(name: &str) -> Option<BinaryOp> {
    use BinaryOp as B;
    [
        B::Add,
        B::Sub,
        B::Mul,
        B::Div,
        B::FloorDiv,
        B::Mod,
        B::Pow,
        B::Max,
        B::Min,
        B::Eq,
        B::Ne,
        B::Lt,
        B::Le,
        B::Gt,
        B::Ge,
        B::And,
        B::Or,
    ]
    .into_iter()
    .find(|op| format!("{op:?}").to_lowercase() == name)
}

/// A function of one element.
#[pyfunction]
pub(crate) fn unary(op: &str, x: &T<'_>) -> Built {
    build(
        Op::Unary(unary_named(op).ok_or_else(|| unknown("unary operation", op))?),
        &[x],
    )
}

/// A function of two elements.
#[pyfunction]
pub(crate) fn binary(op: &str, x: &T<'_>, y: &T<'_>) -> Built {
    build(
        Op::Binary(binary_named(op).ok_or_else(|| unknown("binary operation", op))?),
        &[x, y],
    )
}

/// x where the condition holds, else y.
#[pyfunction]
pub(crate) fn select(condition: &T<'_>, x: &T<'_>, y: &T<'_>) -> Built {
    build(Op::Select, &[condition, x, y])
}

/// Conversion to another type.
#[pyfunction]
pub(crate) fn cast(x: &T<'_>, dtype: &str) -> Built {
    Ok(cast_to(&x.get().tensor, dtype_named(dtype)?)?.into())
}

/// The same value.
#[pyfunction]
pub(crate) fn identity(x: &T<'_>) -> Built {
    build(Op::Identity, &[x])
}

/// The same value, through which no gradient flows.
#[pyfunction]
pub(crate) fn stop_gradient(x: &T<'_>) -> Built {
    build(Op::StopGradient, &[x])
}

/// A reduction over axes.
#[pyfunction]
#[pyo3(signature = (op, x, axes = None, keepdims = false))]
pub(crate) fn reduce(op: &str, x: &T<'_>, axes: Option<Vec<i64>>, keepdims: bool) -> Built {
    let kind = match op {
        "sum" => ReduceOp::Sum,
        "mean" => ReduceOp::Mean,
        "prod" => ReduceOp::Prod,
        "max" => ReduceOp::Max,
        "min" => ReduceOp::Min,
        "any" => ReduceOp::Any,
        "all" => ReduceOp::All,
        _ => return Err(unknown("reduction", op)),
    };
    let axes = axes_of(axes, x.get().tensor.rank())?;
    build(
        Op::Reduce {
            op: kind,
            axes,
            keepdims,
        },
        &[x],
    )
}

/// Index of the first extreme along an axis.
#[pyfunction]
pub(crate) fn arg_reduce(op: &str, x: &T<'_>, axis: i64) -> Built {
    let kind = match op {
        "max" => Extreme::Max,
        "min" => Extreme::Min,
        _ => return Err(unknown("extreme", op)),
    };
    build(
        Op::ArgReduce {
            op: kind,
            axis: axis_of(axis, x.get().tensor.rank())?,
        },
        &[x],
    )
}

/// Running sum or product.
#[pyfunction]
#[pyo3(signature = (op, x, axis, exclusive = false, reverse = false))]
pub(crate) fn cumulative(op: &str, x: &T<'_>, axis: i64, exclusive: bool, reverse: bool) -> Built {
    let kind = match op {
        "sum" => CumOp::Sum,
        "prod" => CumOp::Prod,
        _ => return Err(unknown("cumulative operation", op)),
    };
    let axis = axis_of(axis, x.get().tensor.rank())?;
    build(
        Op::Cumulative {
            op: kind,
            axis,
            exclusive,
            reverse,
        },
        &[x],
    )
}

/// Mean and biased variance, in training on shards of the operand, the batch or the whole batch.
#[pyfunction]
#[pyo3(signature = (x, axes, of = "operand"))]
pub(crate) fn moments(x: &T<'_>, axes: Vec<i64>, of: &str) -> PyResult<(PyTensor, PyTensor)> {
    let axes = axes_of(Some(axes), x.get().tensor.rank())?;
    let of = match of {
        "operand" => MomentsOf::Operand,
        "batch" => MomentsOf::Batch,
        "whole_batch" => MomentsOf::WholeBatch,
        _ => {
            return Err(PyValueError::new_err(format!(
                "of must be 'operand', 'batch' or 'whole_batch', got {of:?}"
            )));
        }
    };
    let mean = node(Op::Moments { axes, of }, vec![x.get().tensor.clone()])?;
    let variance = Tensor {
        node: mean.node.clone(),
        index: 1,
    };
    Ok((mean.into(), variance.into()))
}

/// The shape as an `int64` vector.
#[pyfunction]
pub(crate) fn shape_of(x: &T<'_>) -> Built {
    build(Op::ShapeOf, &[x])
}

/// The same elements in another shape.
#[pyfunction]
pub(crate) fn reshape(x: &T<'_>, shape: &Bound<'_, PyAny>) -> Built {
    Ok(node(
        Op::Reshape,
        vec![x.get().tensor.clone(), shape_operand(shape)?],
    )?
    .into())
}

/// NumPy's broadcast_to.
#[pyfunction]
pub(crate) fn broadcast_to(x: &T<'_>, shape: &Bound<'_, PyAny>) -> Built {
    Ok(node(
        Op::BroadcastTo,
        vec![x.get().tensor.clone(), shape_operand(shape)?],
    )?
    .into())
}

/// Permuted axes.
#[pyfunction]
pub(crate) fn transpose(x: &T<'_>, perm: Vec<i64>) -> Built {
    let rank = x.get().tensor.rank();
    let perm = perm
        .into_iter()
        .map(|a| axis_of(a, rank))
        .collect::<PyResult<_>>()?;
    build(Op::Transpose { perm }, &[x])
}

/// A part of each axis.
#[pyfunction]
pub(crate) fn slice(x: &T<'_>, ranges: Vec<(Option<i64>, Option<i64>, i64)>) -> Built {
    let axes = ranges
        .into_iter()
        .map(|(start, stop, step)| SliceAxis { start, stop, step })
        .collect();
    build(Op::Slice(axes), &[x])
}

/// Constant cells around.
#[pyfunction]
#[pyo3(signature = (x, cells, value = 0.0))]
pub(crate) fn pad(x: &T<'_>, cells: Vec<(usize, usize)>, value: f64) -> Built {
    build(
        Op::Pad {
            cells,
            value: value.to_bits(),
        },
        &[x],
    )
}

/// One tensor after the other.
#[pyfunction]
pub(crate) fn concat(xs: Vec<T<'_>>, axis: i64) -> Built {
    let Some(first) = xs.first() else {
        return Err(PyValueError::new_err("concat needs at least one tensor"));
    };
    let axis = axis_of(axis, first.get().tensor.rank())?;
    build(Op::Concat { axis }, &xs.iter().collect::<Vec<_>>())
}

/// Reversed order along axes.
#[pyfunction]
pub(crate) fn reverse(x: &T<'_>, axes: Vec<i64>) -> Built {
    let axes = axes_of(Some(axes), x.get().tensor.rank())?;
    build(Op::Reverse { axes }, &[x])
}

/// Slices at indices.
#[pyfunction]
#[pyo3(signature = (x, indices, axis = 0))]
pub(crate) fn gather(x: &T<'_>, indices: &T<'_>, axis: i64) -> Built {
    build(
        Op::Gather {
            axis: axis_of(axis, x.get().tensor.rank())?,
        },
        &[x, indices],
    )
}

/// Equally spaced numbers.
#[pyfunction]
pub(crate) fn arange(
    start: &Bound<'_, PyAny>,
    stop: &Bound<'_, PyAny>,
    step: &Bound<'_, PyAny>,
    dtype: &str,
) -> Built {
    let dtype = dtype_named(dtype)?;
    let operands = [start, stop, step]
        .into_iter()
        .map(|v| scalar_operand(v, dtype))
        .collect::<PyResult<_>>()?;
    Ok(node(Op::Arange(dtype), operands)?.into())
}

/// A product over the last two axes.
pub(crate) fn matmul_of(x: &Tensor, y: &Tensor, ta: bool, tb: bool) -> PyResult<Tensor> {
    let op = Op::MatMul {
        transpose_a: ta,
        transpose_b: tb,
        epilogue: Epilogue::default(),
    };
    node(op, vec![x.clone(), y.clone()])
}

/// A product over the last two axes.
#[pyfunction]
#[pyo3(signature = (x, y, transpose_a = false, transpose_b = false))]
pub(crate) fn matmul(x: &T<'_>, y: &T<'_>, transpose_a: bool, transpose_b: bool) -> Built {
    Ok(matmul_of(&x.get().tensor, &y.get().tensor, transpose_a, transpose_b)?.into())
}

fn padding_of(padding: &Bound<'_, PyAny>) -> PyResult<Padding> {
    match padding.extract::<String>().as_deref() {
        Ok("valid") => Ok(Padding::Valid),
        Ok("same") => Ok(Padding::Same),
        Ok(other) => Err(unknown("padding", other)),
        Err(_) => Ok(Padding::Explicit(padding.extract()?)),
    }
}

/// A convolution, channels last.
#[pyfunction]
#[pyo3(signature = (x, kernel, strides, padding, dilation, groups = 1))]
pub(crate) fn conv(
    x: &T<'_>,
    kernel: &T<'_>,
    strides: Vec<usize>,
    padding: &Bound<'_, PyAny>,
    dilation: Vec<usize>,
    groups: usize,
) -> Built {
    let attrs = ConvAttrs {
        strides,
        padding: padding_of(padding)?,
        dilation,
        groups,
    };
    build(Op::Conv(attrs, Epilogue::default()), &[x, kernel])
}

/// The gradient of a convolution to its input.
#[pyfunction]
#[pyo3(signature = (x, kernel, output_shape, strides, padding, dilation, groups = 1))]
pub(crate) fn conv_transpose(
    x: &T<'_>,
    kernel: &T<'_>,
    output_shape: &Bound<'_, PyAny>,
    strides: Vec<usize>,
    padding: &Bound<'_, PyAny>,
    dilation: Vec<usize>,
    groups: usize,
) -> Built {
    let attrs = ConvAttrs {
        strides,
        padding: padding_of(padding)?,
        dilation,
        groups,
    };
    let shape = shape_operand(output_shape)?;
    let inputs = vec![x.get().tensor.clone(), kernel.get().tensor.clone(), shape];
    Ok(node(Op::ConvGradInput(attrs), inputs)?.into())
}

/// Maximum or average of windows.
#[pyfunction]
pub(crate) fn pool(
    mode: &str,
    x: &T<'_>,
    size: Vec<usize>,
    strides: Vec<usize>,
    padding: &Bound<'_, PyAny>,
) -> Built {
    let attrs = PoolAttrs {
        size,
        strides,
        padding: padding_of(padding)?,
    };
    match mode {
        "max" => build(Op::MaxPool(attrs), &[x]),
        "avg" => build(Op::AvgPool(attrs), &[x]),
        _ => Err(unknown("pooling", mode)),
    }
}

/// Softmax over the last axis.
#[pyfunction]
pub(crate) fn softmax(x: &T<'_>) -> Built {
    build(Op::Softmax, &[x])
}

/// Its logarithm.
#[pyfunction]
pub(crate) fn log_softmax(x: &T<'_>) -> Built {
    build(Op::LogSoftmax, &[x])
}

/// Cross-entropy of softmax(logits) for each row.
#[pyfunction]
pub(crate) fn softmax_cross_entropy(logits: &T<'_>, targets: &T<'_>) -> Built {
    build(Op::SoftmaxCrossEntropy, &[logits, targets])
}

/// The same with integer labels.
#[pyfunction]
pub(crate) fn sparse_softmax_cross_entropy(logits: &T<'_>, labels: &T<'_>) -> Built {
    build(Op::SparseSoftmaxCrossEntropy, &[logits, labels])
}

/// Binary cross-entropy of sigmoid(logits).
#[pyfunction]
pub(crate) fn sigmoid_cross_entropy(logits: &T<'_>, targets: &T<'_>) -> Built {
    build(Op::SigmoidCrossEntropy, &[logits, targets])
}

/// The likeliest labellings of a connectionist temporal classifier: `(labels, scores)`.
#[pyfunction]
pub(crate) fn ctc_beam_search(
    log_p: &T<'_>,
    lengths: &T<'_>,
    beam_width: usize,
    top_paths: usize,
) -> PyResult<(PyTensor, PyTensor)> {
    let op = Op::CtcBeamSearch {
        beam_width,
        top_paths,
    };
    let operands = vec![log_p.get().tensor.clone(), lengths.get().tensor.clone()];
    let labels = node(op, operands)?;
    let scores = Tensor {
        node: labels.node.clone(),
        index: 1,
    };
    Ok((labels.into(), scores.into()))
}

/// The same value, shown behind a message each time that it is computed.
#[pyfunction]
pub(crate) fn print(x: &T<'_>, message: String, key: u64) -> Built {
    build(Op::Print { message, key }, &[x])
}

/// A random tensor.
#[pyfunction]
#[pyo3(signature = (dist, shape, dtype, key, p = 0.0))]
pub(crate) fn random(dist: &str, shape: &Bound<'_, PyAny>, dtype: &str, key: u64, p: f64) -> Built {
    let dist = match dist {
        "uniform" => Distribution::Uniform,
        "normal" => Distribution::Normal,
        "truncated_normal" => Distribution::TruncatedNormal,
        "bernoulli" if (0.0..=1.0).contains(&p) => Distribution::Bernoulli(p.to_bits()),
        "bernoulli" => {
            return Err(PyValueError::new_err(format!(
                "a probability lies in 0..1, not {p}"
            )));
        }
        _ => return Err(unknown("distribution", dist)),
    };
    let op = Op::Random {
        dist,
        dtype: dtype_named(dtype)?,
        key,
    };
    Ok(node(op, vec![shape_operand(shape)?])?.into())
}

/// A fused recurrence: `(outputs of all steps, last states..)`.
#[pyfunction]
#[pyo3(signature = (cell, projection, kernel, states, activation, recurrent_activation, bias = None, mask = None, dropout = None, reverse = false))]
pub(crate) fn rnn(
    cell: &str,
    projection: &T<'_>,
    kernel: &T<'_>,
    states: Vec<T<'_>>,
    activation: &str,
    recurrent_activation: &str,
    bias: Option<&T<'_>>,
    mask: Option<&T<'_>>,
    dropout: Option<&T<'_>>,
    reverse: bool,
) -> PyResult<(PyTensor, Vec<PyTensor>)> {
    let kind = match cell {
        "simple" => RnnCell::Simple,
        "gru" => RnnCell::Gru {
            reset_after: bias.is_some(),
        },
        "lstm" => RnnCell::Lstm,
        _ => return Err(unknown("recurrence", cell)),
    };
    let named = |name: &str| match name {
        "linear" => Ok(RnnActivation::Linear),
        "relu" => Ok(RnnActivation::Relu),
        "tanh" => Ok(RnnActivation::Tanh),
        "sigmoid" => Ok(RnnActivation::Sigmoid),
        "hard_sigmoid" => Ok(RnnActivation::HardSigmoid),
        _ => Err(unknown("fused activation", name)),
    };
    let lstm = kind == RnnCell::Lstm;
    let expected = if lstm { 2 } else { 1 };
    if states.len() != expected {
        return Err(PyValueError::new_err(format!(
            "{cell} has {expected} initial states, {} were given",
            states.len()
        )));
    }
    if bias.is_some() && cell != "gru" {
        return Err(PyValueError::new_err(
            "only the gru with reset_after has a recurrent bias",
        ));
    }
    let attrs = RnnAttrs {
        cell: kind,
        activation: named(activation)?,
        gate_activation: named(recurrent_activation)?,
        reverse,
        mask: mask.is_some(),
        dropout: dropout.is_some(),
    };
    let optional = [bias, mask, dropout].into_iter().flatten();
    let operands = [projection, kernel]
        .into_iter()
        .chain(&states)
        .chain(optional);
    let operands = operands.map(|t| t.get().tensor.clone()).collect();
    let h = node(Op::Rnn(attrs), operands)?;
    let last = node(
        Op::Slice(vec![
            SliceAxis {
                start: None,
                stop: None,
                step: 1,
            },
            SliceAxis {
                start: Some(-1),
                stop: None,
                step: 1,
            },
            SliceAxis {
                start: None,
                stop: None,
                step: 1,
            },
        ]),
        vec![h.clone()],
    )?;
    let mut last = vec![with_axes(&last, &[Axis::Kept(0), Axis::Kept(2)])?.into()];
    if lstm {
        last.push(
            Tensor {
                node: h.node.clone(),
                index: 3,
            }
            .into(),
        );
    }
    Ok((h.into(), last))
}

/// A sub-graph run over the first axis of sequences: `(outputs of all steps, last states)`.
#[pyfunction]
#[pyo3(signature = (sequences, initial_states, slices, states, outputs, next_states, reverse = false))]
pub(crate) fn scan(
    sequences: Vec<T<'_>>,
    initial_states: Vec<T<'_>>,
    slices: Vec<T<'_>>,
    states: Vec<T<'_>>,
    outputs: Vec<T<'_>>,
    next_states: Vec<T<'_>>,
    reverse: bool,
) -> PyResult<(Vec<PyTensor>, Vec<PyTensor>)> {
    let tensors = |list: Vec<T<'_>>| {
        list.iter()
            .map(|t| t.get().tensor.clone())
            .collect::<Vec<Tensor>>()
    };
    let numbers = (slices.len(), states.len(), states.len());
    if numbers != (sequences.len(), initial_states.len(), next_states.len()) {
        return Err(PyValueError::new_err(format!(
            "{} sequences need as many slices, not {}; {} initial states need as many states and \
             next states, not {} and {}",
            sequences.len(),
            slices.len(),
            initial_states.len(),
            states.len(),
            next_states.len()
        )));
    }
    let scanned = scan_of(
        &tensors(sequences),
        &tensors(initial_states),
        tensors(slices),
        tensors(states),
        tensors(outputs),
        tensors(next_states),
        reverse,
        SCOPE.with_borrow(Clone::clone),
    )
    .map_err(error::graph)?;
    let wrap = |list: Vec<Tensor>| list.into_iter().map(PyTensor::from).collect();
    Ok((wrap(scanned.outputs), wrap(scanned.states)))
}

/// Gradients of the sum of outputs.
#[pyfunction]
#[pyo3(signature = (outputs, wrt, seeds = None))]
pub(crate) fn gradients(
    outputs: Vec<T<'_>>,
    wrt: Vec<T<'_>>,
    seeds: Option<Vec<T<'_>>>,
) -> PyResult<Vec<Option<PyTensor>>> {
    let tensors = |list: Vec<T<'_>>| {
        list.iter()
            .map(|t| t.get().tensor.clone())
            .collect::<Vec<Tensor>>()
    };
    let seeds = seeds.map(tensors);
    let found = autodiff::gradients(&tensors(outputs), seeds.as_deref(), &tensors(wrt))
        .map_err(error::graph)?;
    Ok(found.into_iter().map(|g| g.map(PyTensor::from)).collect())
}

/// Names the layer that nodes built from now on belong to; returns the former name.
#[pyfunction]
#[pyo3(signature = (name))]
pub(crate) fn set_scope(name: Option<String>) -> Option<String> {
    let new = name.map(Arc::from);
    let old: Option<Arc<str>> = SCOPE.replace(new);
    old.map(|s| s.to_string())
}
