//! The one place where the core's errors become Python's.

use hornbeam_graph::GraphError;
use hornbeam_runtime::RuntimeError;
use pyo3::PyErr;
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};

/// Errors of graph building.
pub(crate) fn graph(error: GraphError) -> PyErr {
    match error {
        GraphError::Verify { .. } => PyRuntimeError::new_err(error.to_string()),
        GraphError::Operands { .. }
        | GraphError::NoGradient { .. }
        | GraphError::Compile(_)
        | GraphError::Transfer(_) => PyValueError::new_err(error.to_string()),
    }
}

/// Errors of planning and running.
pub(crate) fn runtime(error: RuntimeError) -> PyErr {
    match error {
        RuntimeError::Graph(error) => graph(error),
        RuntimeError::Argument(_) | RuntimeError::Kernel { .. } => {
            PyValueError::new_err(error.to_string())
        }
        RuntimeError::Memory { .. } => PyMemoryError::new_err(error.to_string()),
        RuntimeError::Panic { .. } => PyRuntimeError::new_err(error.to_string()),
    }
}
