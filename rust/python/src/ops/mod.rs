//! Functions that build graph nodes, one file a family.

mod elementwise;
mod linalg;
mod movement;
mod recurrent;

pub(crate) use elementwise::*;
pub(crate) use linalg::*;
pub(crate) use movement::*;
pub(crate) use recurrent::*;

use std::cell::RefCell;
use std::sync::Arc;

use hornbeam_graph::op::Distribution;
use hornbeam_graph::{DType, Literal, Node, Op, Tensor, TensorType, autodiff};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::Array;
use crate::error;
use crate::tensor::PyTensor;

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
