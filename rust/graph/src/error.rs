//! Errors of graph building, differentiation and compilation.

/// What went wrong, with the operation and the layer that it belongs to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GraphError {
    /// Operands that do not fit an operation.
    #[error("{}{op}: {message}", layer(.scope))]
    Operands {
        /// The operation's name.
        op: String,
        /// The layer in whose call it was built.
        scope: Option<String>,
        /// What came, what was expected, how to fix it.
        message: String,
    },
    /// An operation through which no gradient can be taken.
    #[error("{}{op} has no gradient{hint}", layer(.scope))]
    NoGradient {
        /// The operation's name.
        op: String,
        /// The layer.
        scope: Option<String>,
        /// More, starting with a separator, or empty.
        hint: String,
    },
    /// A function that cannot be compiled.
    #[error("{0}")]
    Compile(String),
    /// A graph that cannot be written, or bytes that hold none.
    #[error("a graph cannot be sent: {0}")]
    Transfer(String),
    /// A pass that broke an invariant: a fault of this library.
    #[error("internal error after the pass {pass}: {message}")]
    Verify {
        /// The pass.
        pass: &'static str,
        /// The broken invariant.
        message: String,
    },
}

impl GraphError {
    /// The same error, said to be of the layer `scope` unless it names one already.
    #[must_use]
    pub fn in_scope(mut self, scope: Option<&str>) -> GraphError {
        match &mut self {
            GraphError::Operands { scope: own, .. } | GraphError::NoGradient { scope: own, .. } => {
                if own.is_none() {
                    *own = scope.map(str::to_string);
                }
            }
            GraphError::Compile(_) | GraphError::Transfer(_) | GraphError::Verify { .. } => {}
        }
        self
    }
}

/// The crate's result type.
pub type Result<T> = std::result::Result<T, GraphError>;

fn layer(scope: &Option<String>) -> String {
    scope
        .as_ref()
        .map_or_else(String::new, |s| format!("layer '{s}': "))
}
