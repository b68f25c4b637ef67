//! Functions that build graph nodes: those of all kinds are in the folder, leaves and what they share
//! are here.

mod elementwise;
mod movement;
mod network;
mod recurrence;
mod reduction;

use std::cell::RefCell;
use std::sync::Arc;

use hornbeam_graph::op::{Distribution, SliceAxis};
use hornbeam_graph::{DType, Literal, Node, Op, Tensor, TensorType, autodiff};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::array::Array;
use crate::error;
use crate::tensor::{PyTensor, cast_to};

pub(crate) use elementwise::{binary, cast, identity, select, stop_gradient, unary};
pub(crate) use movement::{
    arange, broadcast_to, concat, gather, pad, reshape, reverse, shape_of, slice, transpose,
};
pub(crate) use network::{
    conv, conv_transpose, ctc_beam_search, log_softmax, matmul, matmul_of, pool,
    sigmoid_cross_entropy, softmax, softmax_cross_entropy, sparse_softmax_cross_entropy,
};
pub(crate) use recurrence::{rnn, scan};
pub(crate) use reduction::{arg_reduce, cumulative, moments, reduce};

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
