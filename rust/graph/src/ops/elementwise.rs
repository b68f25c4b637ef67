//! Elementwise operations with broadcasting: unary, binary, select, cast.

use crate::build::Builder;
use crate::dtype::DType;
use crate::error::GraphError;
use crate::node::Tensor;
use crate::op::{BinaryOp, Op, UnaryOp};
use crate::ops::backward::{Backward, Grads};
use crate::ops::operands::{Inferred, Operands, one};
use crate::ops::sample::{Sample, SampleInput, Values, below, flags, float, positive};
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

/// Gradients use the result rather than the operand where they can: the operand may then die
/// early, and the forward operation may become an epilogue of what made the operand.
pub(super) fn grad_unary(op: UnaryOp, g: &Backward<'_>) -> Grads {
    let (b, x, y, dy) = (&g.b, g.x(0), g.y(0), g.dy()?);
    g.first(|| match op {
        UnaryOp::Neg => b.neg(dy),
        UnaryOp::Abs => b.mul(dy, &b.unary(UnaryOp::Sign, x)?),
        UnaryOp::Exp => b.mul(dy, &y),
        UnaryOp::Expm1 => b.mul(dy, &b.binary_scalar(BinaryOp::Add, &y, 1.0)?),
        UnaryOp::Log => b.div(dy, x),
        UnaryOp::Log1p => b.div(dy, &b.binary_scalar(BinaryOp::Add, x, 1.0)?),
        UnaryOp::Sqrt => b.div(&b.scale(dy, 0.5)?, &y),
        UnaryOp::Rsqrt => {
            let cube = b.mul(&b.unary(UnaryOp::Square, &y)?, &y)?;
            b.mul(&b.scale(dy, -0.5)?, &cube)
        }
        UnaryOp::Square => b.mul(dy, &b.scale(x, 2.0)?),
        UnaryOp::Reciprocal => b.mul(&b.neg(dy)?, &b.unary(UnaryOp::Square, &y)?),
        UnaryOp::Sin => b.mul(dy, &b.unary(UnaryOp::Cos, x)?),
        UnaryOp::Cos => b.mul(&b.neg(dy)?, &b.unary(UnaryOp::Sin, x)?),
        UnaryOp::Tan => {
            let square = b.unary(UnaryOp::Square, &y)?;
            b.mul(dy, &b.binary_scalar(BinaryOp::Add, &square, 1.0)?)
        }
        UnaryOp::Tanh => b.mul(dy, &one_minus(b, &b.unary(UnaryOp::Square, &y)?)?),
        UnaryOp::Sigmoid => b.mul(dy, &b.mul(&y, &one_minus(b, &y)?)?),
        UnaryOp::Relu => {
            let on = b.binary_scalar(BinaryOp::Gt, &y, 0.0)?;
            b.mul(dy, &b.cast(&on, y.dtype())?)
        }
        UnaryOp::Softplus => b.mul(dy, &b.unary(UnaryOp::Sigmoid, x)?),
        UnaryOp::Erf => {
            let bell = b.unary(UnaryOp::Exp, &b.neg(&b.unary(UnaryOp::Square, x)?)?)?;
            b.mul(&b.scale(dy, std::f64::consts::FRAC_2_SQRT_PI)?, &bell)
        }
        UnaryOp::Sign
        | UnaryOp::Floor
        | UnaryOp::Ceil
        | UnaryOp::Round
        | UnaryOp::Not
        | UnaryOp::IsNan
        | UnaryOp::IsFinite => unreachable!("is_flat says that these have no gradient"),
    })
}

/// Whether a function is piecewise constant, so that nothing flows back through it.
pub(super) fn is_flat(op: UnaryOp) -> bool {
    match op {
        UnaryOp::Sign
        | UnaryOp::Floor
        | UnaryOp::Ceil
        | UnaryOp::Round
        | UnaryOp::Not
        | UnaryOp::IsNan
        | UnaryOp::IsFinite => true,
        UnaryOp::Neg
        | UnaryOp::Abs
        | UnaryOp::Exp
        | UnaryOp::Expm1
        | UnaryOp::Log
        | UnaryOp::Log1p
        | UnaryOp::Sqrt
        | UnaryOp::Rsqrt
        | UnaryOp::Square
        | UnaryOp::Reciprocal
        | UnaryOp::Sin
        | UnaryOp::Cos
        | UnaryOp::Tan
        | UnaryOp::Tanh
        | UnaryOp::Sigmoid
        | UnaryOp::Relu
        | UnaryOp::Softplus
        | UnaryOp::Erf => false,
    }
}

fn one_minus(b: &Builder, x: &Tensor) -> Result<Tensor, GraphError> {
    b.sub(&b.scalar(x.dtype(), 1.0)?, x)
}

pub(super) fn grad_binary(op: BinaryOp, g: &Backward<'_>) -> Grads {
    let (b, x, y, z, dz) = (&g.b, g.x(0), g.x(1), g.y(0), g.dy()?);
    let to_x = || match op {
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mod => Ok(dz.clone()),
        BinaryOp::Mul => b.mul(dz, y),
        BinaryOp::Div => b.div(dz, y),
        BinaryOp::Pow => power_to_base(b, x, y, dz),
        BinaryOp::Max => b.mul(dz, &chosen(b, BinaryOp::Ge, x, y)?),
        BinaryOp::Min => b.mul(dz, &chosen(b, BinaryOp::Le, x, y)?),
        BinaryOp::FloorDiv | BinaryOp::And | BinaryOp::Or => unreachable!("no gradient"),
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => {
            unreachable!("no gradient")
        }
    };
    let to_y = || match op {
        BinaryOp::Add => Ok(dz.clone()),
        BinaryOp::Sub => b.neg(dz),
        BinaryOp::Mul => b.mul(dz, x),
        BinaryOp::Div => b.neg(&b.div(&b.mul(dz, &z)?, y)?),
        BinaryOp::Mod => b.neg(&b.mul(dz, &b.binary(BinaryOp::FloorDiv, x, y)?)?),
        BinaryOp::Pow => power_to_exponent(b, x, &z, dz),
        // Where the operands are equal all of the gradient goes to the first, as in TensorFlow.
        BinaryOp::Max => b.mul(dz, &chosen(b, BinaryOp::Lt, x, y)?),
        BinaryOp::Min => b.mul(dz, &chosen(b, BinaryOp::Gt, x, y)?),
        BinaryOp::FloorDiv | BinaryOp::And | BinaryOp::Or => unreachable!("no gradient"),
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => {
            unreachable!("no gradient")
        }
    };
    if op == BinaryOp::FloorDiv || binary_dtype(op, DType::F32) != Ok(DType::F32) {
        return Ok(g.none());
    }
    Ok(vec![
        g.to(0, || b.sum_like(&to_x()?, x))?,
        g.to(1, || b.sum_like(&to_y()?, y))?,
    ])
}

/// 1 where the comparison holds, else 0.
fn chosen(b: &Builder, op: BinaryOp, x: &Tensor, y: &Tensor) -> Result<Tensor, GraphError> {
    b.cast(&b.binary(op, x, y)?, x.dtype())
}

/// `dz * y * x^(y-1)`; 0 where the exponent is 0, also at `x = 0`, where `x^-1` is infinite.
fn power_to_base(b: &Builder, x: &Tensor, y: &Tensor, dz: &Tensor) -> Result<Tensor, GraphError> {
    let less = b.binary(BinaryOp::Pow, x, &b.binary_scalar(BinaryOp::Sub, y, 1.0)?)?;
    let slope = b.mul(y, &less)?;
    let exponent = match &y.node.op {
        Op::Constant(l) => l.uniform(),
        _ => None,
    };
    if exponent.is_some_and(|e| e != 0.0) {
        return b.mul(dz, &slope);
    }
    let zero = b.scalar(y.dtype(), 0.0)?;
    let flat = b.binary(BinaryOp::Eq, y, &zero)?;
    b.mul(dz, &b.select(&flat, &zero, &slope)?)
}

/// `dz * z * log(x)`; 0 where the base is not positive, as in TensorFlow.
fn power_to_exponent(
    b: &Builder,
    x: &Tensor,
    z: &Tensor,
    dz: &Tensor,
) -> Result<Tensor, GraphError> {
    let positive = b.binary_scalar(BinaryOp::Gt, x, 0.0)?;
    let safe = b.select(&positive, x, &b.scalar(x.dtype(), 1.0)?)?;
    b.mul(&b.mul(dz, z)?, &b.unary(UnaryOp::Log, &safe)?)
}

pub(super) fn grad_select(g: &Backward<'_>) -> Grads {
    let (b, condition, dz) = (&g.b, g.x(0), g.dy()?);
    // Where the branch is known once a plan is made, the other gets the structural zero, which the
    // passes drop with all that it flows into.
    let known = matches!(condition.node.op, Op::LearningPhase);
    let zero = b.scalar(dz.dtype(), if known { -0.0 } else { 0.0 })?;
    Ok(vec![
        None,
        g.to(1, || b.sum_like(&b.select(condition, dz, &zero)?, g.x(1)))?,
        g.to(2, || b.sum_like(&b.select(condition, &zero, dz)?, g.x(2)))?,
    ])
}

pub(super) fn grad_cast(g: &Backward<'_>) -> Grads {
    g.first(|| g.b.cast(g.dy()?, g.x(0).dtype()))
}

pub(super) fn grad_identity(g: &Backward<'_>) -> Grads {
    g.first(|| g.dy().cloned())
}

pub(super) fn grad_sigmoid_cross_entropy(g: &Backward<'_>) -> Grads {
    let (b, logits, targets, dz) = (&g.b, g.x(0), g.x(1), g.dy()?);
    let to_logits = || {
        let error = b.sub(&b.unary(UnaryOp::Sigmoid, logits)?, targets)?;
        b.sum_like(&b.mul(dz, &error)?, logits)
    };
    let to_targets = || b.sum_like(&b.mul(dz, &b.neg(logits)?)?, targets);
    Ok(vec![g.to(0, to_logits)?, g.to(1, to_targets)?])
}

pub(super) fn samples() -> Vec<Sample> {
    let shapes: [&[usize]; 4] = [&[], &[1], &[0, 3], &[3, 5]];
    let unary = UnaryOp::ALL.into_iter().flat_map(|op| {
        let sample = move |shape: &[usize]| Sample::new(Op::Unary(op), vec![argument(op, shape)]);
        shapes.into_iter().map(sample)
    });
    let binary = BinaryOp::ALL.into_iter().flat_map(binary_samples);
    let mut all: Vec<Sample> = unary.chain(binary).collect();
    for (c, x, y) in [
        (&[][..], &[3, 2][..], &[3, 2][..]),
        (&[3, 1], &[2], &[3, 2]),
        (&[0, 2], &[2], &[]),
    ] {
        all.push(Sample::new(Op::Select, vec![flags(c), float(x), float(y)]));
    }
    for (from, to) in [
        (DType::I32, DType::F32),
        (DType::Bool, DType::F32),
        (DType::U8, DType::I64),
        (DType::F32, DType::F64),
        (DType::I64, DType::Bool),
    ] {
        all.push(Sample::new(Op::Cast(to), vec![below(from, &[2, 3], 2)]));
    }
    let truncated = SampleInput::new(DType::F32, &[7], Values::AwayFromZero(1.2, 1.8));
    all.push(Sample::new(Op::Cast(DType::I32), vec![truncated]));
    for (x, t) in [(&[4, 3][..], &[4, 3][..]), (&[4, 3], &[3]), (&[0], &[1])] {
        let wide = SampleInput::new(DType::F32, x, Values::AwayFromZero(0.1, 6.0));
        all.push(Sample::new(
            Op::SigmoidCrossEntropy,
            vec![wide, positive(t)],
        ));
    }
    all.push(Sample::new(Op::Identity, vec![float(&[2, 2])]));
    all.push(Sample::new(Op::StopGradient, vec![float(&[2, 2])]).without_gradient());
    let print = Op::Print {
        message: "x: ".to_string(),
        key: 3,
    };
    all.push(Sample::new(print, vec![float(&[2, 2])]));
    all
}

/// An operand in the domain of a function, away from its kinks.
fn argument(op: UnaryOp, shape: &[usize]) -> SampleInput {
    let between = |low, high| SampleInput::new(DType::F32, shape, Values::Between(low, high));
    match op {
        UnaryOp::Log | UnaryOp::Sqrt | UnaryOp::Rsqrt => positive(shape),
        UnaryOp::Log1p => between(-0.7, 3.0),
        UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Relu | UnaryOp::Reciprocal => {
            SampleInput::new(DType::F32, shape, Values::AwayFromZero(0.2, 3.0))
        }
        UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round => {
            SampleInput::new(DType::F32, shape, Values::AwayFromZero(1.1, 1.4))
        }
        UnaryOp::Not => flags(shape),
        UnaryOp::Exp | UnaryOp::Expm1 | UnaryOp::Tanh | UnaryOp::Sigmoid | UnaryOp::Softplus => {
            between(-4.0, 4.0)
        }
        UnaryOp::Neg
        | UnaryOp::Square
        | UnaryOp::Sin
        | UnaryOp::Cos
        | UnaryOp::Tan
        | UnaryOp::Erf
        | UnaryOp::IsNan
        | UnaryOp::IsFinite => between(-1.3, 1.3),
    }
}

fn binary_samples(op: BinaryOp) -> Vec<Sample> {
    let shapes: [(&[usize], &[usize]); 5] = [
        (&[2, 3], &[2, 3]),
        (&[4, 1, 3], &[2, 1]),
        (&[], &[5]),
        (&[0, 3], &[1, 3]),
        (&[1], &[1]),
    ];
    let pair = |(x, y): (&[usize], &[usize])| {
        let operands = match op {
            BinaryOp::And | BinaryOp::Or => vec![flags(x), flags(y)],
            BinaryOp::Div | BinaryOp::Pow => vec![positive(x), positive(y)],
            // Quotients between 0.1 and 0.9, or those plus a whole number, stay off the steps.
            BinaryOp::FloorDiv | BinaryOp::Mod => {
                let low = SampleInput::new(DType::F32, x, Values::Between(0.2, 0.9));
                vec![
                    low,
                    SampleInput::new(DType::F32, y, Values::Between(1.0, 1.9)),
                ]
            }
            BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Max
            | BinaryOp::Min
            | BinaryOp::Eq
            | BinaryOp::Ne
            | BinaryOp::Lt
            | BinaryOp::Le
            | BinaryOp::Gt
            | BinaryOp::Ge => vec![float(x), float(y)],
        };
        Sample::new(Op::Binary(op), operands)
    };
    let mut samples: Vec<Sample> = shapes.into_iter().map(pair).collect();
    let integers = match op {
        BinaryOp::Div | BinaryOp::And | BinaryOp::Or => return samples,
        BinaryOp::FloorDiv | BinaryOp::Mod => {
            let x = Values::Given(vec![7.0, -7.0, 7.0, -7.0, 6.0]);
            let y = Values::Given(vec![3.0, 3.0, -3.0, -3.0, 2.0]);
            (x, y)
        }
        _ => (Values::Below(5), Values::Below(4)),
    };
    let (x, y) = integers;
    let operands = vec![
        SampleInput::new(DType::I32, &[5], x),
        SampleInput::new(DType::I32, &[5], y),
    ];
    samples.push(Sample::new(Op::Binary(op), operands));
    samples
}
