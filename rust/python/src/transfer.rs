//! Graphs as bytes, for another process.

use hornbeam_graph::transfer;
use hornbeam_runtime::Variable;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error;
use crate::tensor::{PyTensor, PyVariable};

/// The bytes of a graph and handles on its variables.
type WrittenGraph<'py> = (Bound<'py, PyBytes>, Vec<Py<PyVariable>>);

/// Writes tensors and what they are computed from; also returns handles on the variables.
#[pyfunction]
pub(crate) fn write_graph<'py>(
    py: Python<'py>,
    tensors: Vec<Bound<'py, PyTensor>>,
) -> PyResult<WrittenGraph<'py>> {
    let tensors: Vec<_> = tensors.iter().map(|t| t.get().tensor.clone()).collect();
    let written = py
        .detach(|| transfer::write(&tensors))
        .map_err(error::graph)?;
    let variables = written
        .variables
        .iter()
        .map(|&id| {
            let variable = Variable::by_id(id).map_err(error::runtime)?;
            Py::new(py, PyVariable::handle(variable))
        })
        .collect::<PyResult<_>>()?;
    Ok((PyBytes::new(py, &written.bytes), variables))
}

/// Builds the graph that `write_graph` wrote over other variables.
#[pyfunction]
pub(crate) fn read_graph(
    data: &[u8],
    variables: Vec<Bound<'_, PyVariable>>,
) -> PyResult<Vec<PyTensor>> {
    let variables: Vec<_> = variables
        .iter()
        .map(|v| v.as_super().get().tensor.clone())
        .collect();
    let tensors = transfer::read(data, &variables).map_err(error::graph)?;
    Ok(tensors.into_iter().map(PyTensor::from).collect())
}
