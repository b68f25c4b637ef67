//! Shapes, and operations that move elements without changing them.

use hornbeam_graph::Op;
use hornbeam_graph::op::SliceAxis;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{Built, T, axes_of, axis_of, build, dtype_named, node, scalar_operand, shape_operand};

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
