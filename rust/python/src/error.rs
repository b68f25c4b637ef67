//! The one place where the core's errors become Python's.

use hornbeam_collective::Error as GroupError;
use hornbeam_graph::GraphError;
use hornbeam_runtime::RuntimeError;
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

pyo3::create_exception!(
    hornbeam._core,
    CollectiveError,
    PyRuntimeError,
    "A group of processes could not be formed, or has failed and must be formed anew.\n\n\
     `kind` names what happened; `rank` and `peer` (its address) say which member it happened to, \
     None where it is none's."
);

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
        RuntimeError::Reduce(cause) => match cause.downcast::<GroupError>() {
            Ok(error) => collective(&error),
            Err(other) => PyRuntimeError::new_err(other.to_string()),
        },
    }
}

/// Errors of groups of processes.
pub(crate) fn collective(error: &GroupError) -> PyErr {
    if matches!(
        error,
        GroupError::InvalidConfig(_) | GroupError::InvalidArgument(_)
    ) {
        return PyValueError::new_err(error.to_string());
    }
    let peer = error.peer();
    Python::attach(|py| {
        let raised = CollectiveError::new_err(error.to_string());
        let value = raised.value(py);
        let set = value
            .setattr("kind", kind(error))
            .and_then(|()| value.setattr("rank", peer.map(|p| p.rank)))
            .and_then(|()| value.setattr("peer", peer.map(|p| p.address.to_string())));
        set.err().unwrap_or(raised)
    })
}

/// A short name of what happened; that of the first failure for calls that follow it.
fn kind(error: &GroupError) -> &'static str {
    match error {
        GroupError::InvalidConfig(_) | GroupError::InvalidArgument(_) => "invalid",
        GroupError::Io { .. } => "io",
        GroupError::Formation { .. } => "formation",
        GroupError::Refused { .. } => "refused",
        GroupError::Fingerprint { .. } => "fingerprint",
        GroupError::StaleGeneration { .. } => "stale",
        GroupError::PeerLost { .. } => "lost",
        GroupError::Corrupt { .. } => "corrupt",
        GroupError::Mismatch { .. } => "mismatch",
        GroupError::PeerAborted { .. } => "peer aborted",
        GroupError::Timeout { .. } => "timeout",
        GroupError::Aborted(_) => "aborted",
        GroupError::Poisoned { cause, .. } => kind(cause),
        _ => "other",
    }
}
