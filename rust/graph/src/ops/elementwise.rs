//! Elementwise operations with broadcasting: unary, binary, select, cast.

use crate::dtype::DType;
use crate::op::{BinaryOp, UnaryOp};
use crate::ops::operands::{Inferred, Operands, one};
use crate::shape::{Shape, broadcast};

pub(super) fn infer_unary(op: UnaryOp, o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    let dtype = match op {
        UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Square | UnaryOp::Relu => {
            o.number(0, "the operand")?
        }
        UnaryOp::Not => {
            o.boolean(0, "the operand")?;
            DType::Bool
        }
        UnaryOp::IsNan | UnaryOp::IsFinite => {
            o.float(0, "the operand")?;
            DType::Bool
        }
        UnaryOp::Exp
        | UnaryOp::Expm1
        | UnaryOp::Log
        | UnaryOp::Log1p
        | UnaryOp::Sqrt
        | UnaryOp::Rsqrt
        | UnaryOp::Reciprocal
        | UnaryOp::Sin
        | UnaryOp::Cos
        | UnaryOp::Tan
        | UnaryOp::Tanh
        | UnaryOp::Sigmoid
        | UnaryOp::Softplus
        | UnaryOp::Erf
        | UnaryOp::Floor
        | UnaryOp::Ceil
        | UnaryOp::Round => o.float(0, "the operand")?,
    };
    one(dtype, o.shape(0).to_vec())
}

/// The type that a binary operation gives for operands of type `dtype`, or what it needs instead.
pub(crate) fn binary_dtype(op: BinaryOp, dtype: DType) -> Result<DType, &'static str> {
    match op {
        BinaryOp::Add
        | BinaryOp::Sub
        | BinaryOp::Mul
        | BinaryOp::FloorDiv
        | BinaryOp::Mod
        | BinaryOp::Pow
        | BinaryOp::Max
        | BinaryOp::Min => match dtype {
            DType::Bool => Err("numbers"),
            number => Ok(number),
        },
        BinaryOp::Div => match dtype.is_float() {
            true => Ok(dtype),
            false => Err("float32 or float64"),
        },
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => {
            Ok(DType::Bool)
        }
        BinaryOp::And | BinaryOp::Or => match dtype {
            DType::Bool => Ok(DType::Bool),
            _ => Err("bool"),
        },
    }
}

pub(super) fn infer_binary(op: BinaryOp, o: &Operands<'_>) -> Inferred {
    o.count(2)?;
    let dtype = o.same_dtype(0, 1)?;
    let result = binary_dtype(op, dtype).map_err(|want| {
        format!(
            "operands must be {want}, got {dtype} of shapes {} and {}; cast them first",
            o.show(0),
            o.show(1)
        )
    })?;
    one(result, common_shape(o, 0, 1)?)
}

pub(super) fn infer_select(o: &Operands<'_>) -> Inferred {
    o.count(3)?;
    o.boolean(0, "the condition")?;
    let dtype = o.same_dtype(1, 2)?;
    let branches = common_shape(o, 1, 2)?;
    let shape = broadcast(o.shape(0), &branches).ok_or_else(|| {
        format!(
            "the condition of shape {} does not broadcast with the branches of shapes {} and {}; \
             sizes must be equal or 1",
            o.show(0),
            o.show(1),
            o.show(2)
        )
    })?;
    one(dtype, shape)
}

pub(super) fn infer_cast(dtype: DType, o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    one(dtype, o.shape(0).to_vec())
}

pub(super) fn infer_same(o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    one(o.dtype(0), o.shape(0).to_vec())
}

pub(super) fn infer_sigmoid_cross_entropy(o: &Operands<'_>) -> Inferred {
    o.count(2)?;
    o.float(0, "logits")?;
    let dtype = o.same_dtype(0, 1)?;
    one(dtype, common_shape(o, 0, 1)?)
}

fn common_shape(o: &Operands<'_>, a: usize, b: usize) -> Result<Shape, String> {
    broadcast(o.shape(a), o.shape(b)).ok_or_else(|| {
        format!(
            "shapes {} and {} do not broadcast: aligned at the last axis, sizes must be equal or \
             1; reshape or expand one of them",
            o.show(a),
            o.show(b)
        )
    })
}
