//! Errors of planning and running.

use hornbeam_graph::GraphError;

/// What went wrong, with the operation and the layer where it did.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The graph does not fit together for these shapes.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An argument that does not fit the function.
    #[error("{0}")]
    Argument(String),
    /// A kernel refused its operands: an index out of range, say.
    #[error("{}{op}: {message}", layer(.scope))]
    Kernel {
        /// The operation.
        op: String,
        /// The layer.
        scope: Option<String>,
        /// What came and what was expected.
        message: String,
    },
    /// A panic: a fault of this library.
    #[error("{}{op} panicked: {message}; this is a fault of hornbeam, please report it", layer(.scope))]
    Panic {
        /// The operation.
        op: String,
        /// The layer.
        scope: Option<String>,
        /// The panic's message.
        message: String,
    },
    /// Memory for a plan could not be had.
    #[error("cannot allocate {bytes} bytes for {what}")]
    Memory {
        /// How much.
        bytes: usize,
        /// What for.
        what: &'static str,
    },
    /// The sum over the shards of a step could not be had from the other processes.
    #[error("{0}")]
    Reduce(Box<dyn std::error::Error + Send + Sync>),
}

/// The crate's result type.
pub type Result<T> = std::result::Result<T, RuntimeError>;

fn layer(scope: &Option<String>) -> String {
    scope
        .as_ref()
        .map_or_else(String::new, |s| format!("layer '{s}': "))
}

/// The text of a caught panic.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_string())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_string())
}
