//! Leaves: constants and the learning phase. Inputs and variables carry the type they are given.

use crate::dtype::DType;
use crate::literal::Literal;
use crate::ops::operands::{Inferred, Operands, one};
use crate::shape::known;

pub(super) fn infer_given(o: &Operands<'_>) -> Inferred {
    o.count(0)?;
    Err("has the type that it is given, none to infer".to_string())
}

pub(super) fn infer_constant(literal: &Literal, o: &Operands<'_>) -> Inferred {
    o.count(0)?;
    one(literal.dtype, known(&literal.shape))
}

pub(super) fn infer_learning_phase(o: &Operands<'_>) -> Inferred {
    o.count(0)?;
    one(DType::Bool, Vec::new())
}
