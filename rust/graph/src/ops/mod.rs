//! Shape inference and gradients, one file a family of operations.

use crate::error::Result;
use crate::node::{Tensor, TensorType};
use crate::op::Op;

/// The output types of an operation on these operands.
///
/// # Errors
/// When the operands do not fit.
pub fn infer(op: &Op, inputs: &[Tensor], scope: Option<&str>) -> Result<Vec<TensorType>> {
    let _ = (op, inputs, scope);
    todo!("one file a family")
}

/// The output types of an operation on concrete operands; constants among them are given.
///
/// # Errors
/// When the operands do not fit.
pub fn infer_concrete(
    op: &Op,
    inputs: &[(crate::DType, &[usize])],
    constants: &[Option<&crate::Literal>],
) -> Result<Vec<(crate::DType, Vec<usize>)>> {
    let _ = (op, inputs, constants);
    todo!("one file a family")
}
