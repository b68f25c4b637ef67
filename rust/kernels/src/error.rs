//! The crate's one error type.

use crate::dtype::DType;

/// What a kernel refuses, with what came and what was expected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A length, shape or rank does not fit the others.
    #[error("{op}: {what}: expected {expected}, got {got}")]
    Shape {
        /// The kernel.
        op: &'static str,
        /// Which operand or size.
        what: &'static str,
        /// What would have fitted.
        expected: String,
        /// What came.
        got: String,
    },
    /// An element type the operation is not defined for.
    #[error("{op}: the operation is not defined for {got:?}; {hint}")]
    DType {
        /// The operation.
        op: String,
        /// The type that came.
        got: DType,
        /// How to fix it.
        hint: &'static str,
    },
    /// Operands of one operation whose element types differ.
    #[error(
        "{op}: operands must have one element type, got {left:?} and {right:?}; cast one of them"
    )]
    DTypeMismatch {
        /// The operation.
        op: String,
        /// The first operand's type.
        left: DType,
        /// The second operand's type.
        right: DType,
    },
    /// A tile program that refers to a value which does not exist (yet).
    #[error("tile program: {what} refers to value {reg}, but only {known} values exist there")]
    Register {
        /// Which instruction, output or reduction.
        what: String,
        /// The value's number.
        reg: usize,
        /// How many values exist at that point.
        known: usize,
    },
    /// An index outside of its axis.
    #[error(
        "{op}: index {index} at position {position} is out of range for an axis of {bound}: it must be \
         at least 0 and less than {bound}"
    )]
    Index {
        /// The kernel.
        op: &'static str,
        /// The offending index.
        index: i64,
        /// Its position in the flat array of indices.
        position: usize,
        /// The size of the axis.
        bound: usize,
    },
}

impl KernelError {
    /// A [`KernelError::Shape`] when `got` differs from `expected`.
    pub(crate) fn check_len(
        op: &'static str,
        what: &'static str,
        expected: usize,
        got: usize,
    ) -> Result<(), KernelError> {
        if expected == got {
            return Ok(());
        }
        Err(KernelError::Shape {
            op,
            what,
            expected: format!("{expected} elements"),
            got: format!("{got}"),
        })
    }
}
