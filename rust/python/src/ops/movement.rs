//! Shapes and movement.

use hornbeam_graph::op::SliceAxis;
use hornbeam_graph::{DType, Literal, Op, Tensor};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use super::{Built, T, axes_of, axis_of, build, constant_of, dtype_named, node};
use crate::array::Array;
use crate::tensor::{PyTensor, cast_to};

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
pub(super) fn shape_operand(shape: &Bound<'_, PyAny>) -> PyResult<Tensor> {
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

pub(super) fn scalar_operand(value: &Bound<'_, PyAny>, dtype: DType) -> PyResult<Tensor> {
    match value.cast::<PyTensor>() {
        Ok(tensor) => cast_to(&tensor.get().tensor, dtype),
        Err(_) => Ok(constant_of(Array::new(value, Some(dtype))?.literal())),
    }
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
