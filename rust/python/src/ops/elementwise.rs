//! Functions of one element or two, with broadcasting.

use hornbeam_graph::Op;
use hornbeam_graph::op::{BinaryOp, UnaryOp};
use pyo3::prelude::*;

use super::{Built, T, build, dtype_named, unknown};
use crate::tensor::cast_to;

fn unary_named(name: &str) -> Option<UnaryOp> {
    use UnaryOp as U;
    [
        U::Neg,
        U::Abs,
        U::Sign,
        U::Exp,
        U::Expm1,
        U::Log,
        U::Log1p,
        U::Sqrt,
        U::Rsqrt,
        U::Square,
        U::Reciprocal,
        U::Sin,
        U::Cos,
        U::Tan,
        U::Tanh,
        U::Sigmoid,
        U::Relu,
        U::Softplus,
        U::Erf,
        U::Floor,
        U::Ceil,
        U::Round,
        U::Not,
        U::IsNan,
        U::IsFinite,
    ]
    .into_iter()
    .find(|op| format!("{op:?}").to_lowercase() == name)
}

fn binary_named(name: &str) -> Option<BinaryOp> {
    use BinaryOp as B;
    [
        B::Add,
        B::Sub,
        B::Mul,
        B::Div,
        B::FloorDiv,
        B::Mod,
        B::Pow,
        B::Max,
        B::Min,
        B::Eq,
        B::Ne,
        B::Lt,
        B::Le,
        B::Gt,
        B::Ge,
        B::And,
        B::Or,
    ]
    .into_iter()
    .find(|op| format!("{op:?}").to_lowercase() == name)
}

/// A function of one element.
#[pyfunction]
pub(crate) fn unary(op: &str, x: &T<'_>) -> Built {
    build(
        Op::Unary(unary_named(op).ok_or_else(|| unknown("unary operation", op))?),
        &[x],
    )
}

/// A function of two elements.
#[pyfunction]
pub(crate) fn binary(op: &str, x: &T<'_>, y: &T<'_>) -> Built {
    build(
        Op::Binary(binary_named(op).ok_or_else(|| unknown("binary operation", op))?),
        &[x, y],
    )
}

/// x where the condition holds, else y.
#[pyfunction]
pub(crate) fn select(condition: &T<'_>, x: &T<'_>, y: &T<'_>) -> Built {
    build(Op::Select, &[condition, x, y])
}

/// Conversion to another type.
#[pyfunction]
pub(crate) fn cast(x: &T<'_>, dtype: &str) -> Built {
    Ok(cast_to(&x.get().tensor, dtype_named(dtype)?)?.into())
}

/// The same value.
#[pyfunction]
pub(crate) fn identity(x: &T<'_>) -> Built {
    build(Op::Identity, &[x])
}

/// The same value, through which no gradient flows.
#[pyfunction]
pub(crate) fn stop_gradient(x: &T<'_>) -> Built {
    build(Op::StopGradient, &[x])
}
