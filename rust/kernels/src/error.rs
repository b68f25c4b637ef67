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
    /// The message without the kernel's name before it, for a caller that names the operation.
    #[must_use]
    pub fn reason(&self) -> String {
        let mut text = self.to_string();
        let name = match self {
            Self::Shape { op, .. } | Self::Index { op, .. } => op.len(),
            Self::DType { op, .. } | Self::DTypeMismatch { op, .. } => op.len(),
            Self::Register { .. } => return text,
        };
        text.split_off(name + ": ".len())
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_message_behind_the_name() {
        let (op, what) = ("gather", "indices");
        let (expected, got) = ("2 elements".to_string(), "3".to_string());
        let errors = [
            KernelError::Shape {
                op,
                what,
                expected,
                got,
            },
            KernelError::DType {
                op: op.to_string(),
                got: DType::Bool,
                hint: "cast it",
            },
            KernelError::DTypeMismatch {
                op: op.to_string(),
                left: DType::F32,
                right: DType::I32,
            },
            KernelError::Index {
                op,
                index: -1,
                position: 0,
                bound: 4,
            },
        ];
        for error in errors {
            assert_eq!(format!("gather: {}", error.reason()), error.to_string());
        }
        let error = KernelError::Register {
            what: "an output".to_string(),
            reg: 3,
            known: 2,
        };
        assert_eq!(error.reason(), error.to_string());
    }
}
