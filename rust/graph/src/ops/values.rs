//! Partial evaluation of the scalars and vectors that hold shapes.
//!
//! Only as far as is cheap: a bounded number of nodes, short vectors, and the operations that
//! shapes are computed with. What is not known stays unknown until a plan is made.

use crate::dtype::DType;
use crate::literal::Literal;
use crate::node::Tensor;
use crate::op::{BinaryOp, Op, ReduceOp, SliceAxis, UnaryOp};
use crate::shape::Shape;

/// Longest vector that is looked into.
const MAX_LEN: usize = 64;
/// Most nodes that are visited for one vector.
const MAX_NODES: usize = 256;

/// What is known of one element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Num {
    /// Nothing.
    Unknown,
    /// An integer or bool.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// The size of an axis of a tensor, not known yet.
    Dim {
        /// The tensor's key.
        tensor: (u64, usize),
        /// The axis.
        axis: usize,
    },
}

/// What is known of a tensor that holds a shape: its rank, and the sizes that are known and not
/// negative. `None` when not even the rank is known.
pub fn shape_hint(t: &Tensor) -> Option<Shape> {
    let values = values(t)?;
    Some(
        values
            .iter()
            .map(|v| match v {
                Num::Int(i) => usize::try_from(*i).ok(),
                Num::Float(_) | Num::Dim { .. } | Num::Unknown => None,
            })
            .collect(),
    )
}

/// What is known of the elements of a scalar or a short vector of known length.
pub(crate) fn values(t: &Tensor) -> Option<Vec<Num>> {
    let mut budget = MAX_NODES;
    evaluate(t, &mut budget)
}

/// The elements of a constant scalar or vector.
pub(crate) fn literal_values(l: &Literal) -> Option<Vec<Num>> {
    if l.shape.len() > 1 {
        return None;
    }
    Some(match l.to_i64() {
        Some(ints) => ints.into_iter().map(Num::Int).collect(),
        None => l.to_f64().into_iter().map(Num::Float).collect(),
    })
}

fn evaluate(t: &Tensor, budget: &mut usize) -> Option<Vec<Num>> {
    let len = match t.shape() {
        [] => 1,
        [n] => (*n)?,
        _ => return None,
    };
    if len > MAX_LEN {
        return None;
    }
    let known = (*budget > 0).then(|| {
        *budget -= 1;
        apply(t, len, budget)
    });
    match known.flatten() {
        Some(v) if v.len() == len => Some(v),
        _ => Some(vec![Num::Unknown; len]),
    }
}

fn apply(t: &Tensor, len: usize, budget: &mut usize) -> Option<Vec<Num>> {
    let inputs = &t.node.inputs;
    match &t.node.op {
        Op::Constant(l) => literal_values(l),
        Op::ShapeOf => Some(sizes_of(&inputs[0])),
        Op::Identity | Op::StopGradient | Op::Reshape | Op::Transpose { .. } => {
            evaluate(&inputs[0], budget)
        }
        Op::BroadcastTo => {
            let v = evaluate(&inputs[0], budget)?;
            (v.len() == 1).then(|| vec![v[0]; len])
        }
        Op::Cast(dtype) => {
            let v = evaluate(&inputs[0], budget)?;
            Some(v.into_iter().map(|n| cast(n, *dtype)).collect())
        }
        Op::Concat { .. } => {
            let mut all = Vec::with_capacity(len);
            for x in inputs {
                all.extend(evaluate(x, budget)?);
            }
            Some(all)
        }
        Op::Slice(ranges) if ranges.len() == 1 => {
            let v = evaluate(&inputs[0], budget)?;
            Some(positions(&ranges[0], v.len()).map(|i| v[i]).collect())
        }
        Op::Gather { .. } => {
            let v = evaluate(&inputs[0], budget)?;
            let indices = evaluate(&inputs[1], budget)?;
            indices.iter().map(|&i| element(&v, i)).collect()
        }
        Op::Unary(UnaryOp::Neg) => {
            let v = evaluate(&inputs[0], budget)?;
            let zero = |n: &Num| binary(BinaryOp::Sub, Num::Int(0), *n);
            Some(v.iter().map(zero).collect())
        }
        Op::Binary(op) => {
            let (x, y) = (evaluate(&inputs[0], budget)?, evaluate(&inputs[1], budget)?);
            let at = |v: &[Num], i: usize| if v.len() == 1 { v[0] } else { v[i] };
            Some(
                (0..len)
                    .map(|i| binary(*op, at(&x, i), at(&y, i)))
                    .collect(),
            )
        }
        Op::Reduce { op, .. } if inputs[0].rank() == 1 => {
            let v = evaluate(&inputs[0], budget)?;
            reduce(*op, &v).map(|n| vec![n])
        }
        _ => None,
    }
}

fn sizes_of(t: &Tensor) -> Vec<Num> {
    let dim = |(axis, d): (usize, &Option<usize>)| match d {
        Some(n) => Num::Int(*n as i64),
        None => Num::Dim {
            tensor: t.key(),
            axis,
        },
    };
    t.shape().iter().enumerate().map(dim).collect()
}

fn element(v: &[Num], index: Num) -> Option<Num> {
    let Num::Int(i) = index else {
        return Some(Num::Unknown);
    };
    v.get(usize::try_from(i).ok()?).copied()
}

fn cast(n: Num, dtype: DType) -> Num {
    match n {
        Num::Int(i) if dtype.is_float() => Num::Float(i as f64),
        Num::Float(x) if !dtype.is_float() => Num::Int(x as i64),
        Num::Dim { .. } if dtype != DType::I64 && dtype != DType::I32 => Num::Unknown,
        Num::Int(_) | Num::Float(_) | Num::Dim { .. } | Num::Unknown => n,
    }
}

fn binary(op: BinaryOp, x: Num, y: Num) -> Num {
    match (op, x, y) {
        (BinaryOp::Add, n, Num::Int(0))
        | (BinaryOp::Add, Num::Int(0), n)
        | (BinaryOp::Sub, n, Num::Int(0))
        | (BinaryOp::Mul, n, Num::Int(1))
        | (BinaryOp::Mul, Num::Int(1), n)
        | (BinaryOp::FloorDiv, n, Num::Int(1)) => n,
        (BinaryOp::Mul, Num::Dim { .. }, Num::Int(0))
        | (BinaryOp::Mul, Num::Int(0), Num::Dim { .. }) => Num::Int(0),
        (_, Num::Int(x), Num::Int(y)) => integers(op, x, y).map_or(Num::Unknown, Num::Int),
        (_, Num::Float(x), Num::Float(y)) => floats(op, x, y).map_or(Num::Unknown, Num::Float),
        _ => Num::Unknown,
    }
}

fn integers(op: BinaryOp, x: i64, y: i64) -> Option<i64> {
    match op {
        BinaryOp::Add => x.checked_add(y),
        BinaryOp::Sub => x.checked_sub(y),
        BinaryOp::Mul => x.checked_mul(y),
        BinaryOp::FloorDiv if y > 0 => Some(x.div_euclid(y)),
        BinaryOp::Mod if y > 0 => Some(x.rem_euclid(y)),
        BinaryOp::Max => Some(x.max(y)),
        BinaryOp::Min => Some(x.min(y)),
        _ => None,
    }
}

fn floats(op: BinaryOp, x: f64, y: f64) -> Option<f64> {
    match op {
        BinaryOp::Add => Some(x + y),
        BinaryOp::Sub => Some(x - y),
        BinaryOp::Mul => Some(x * y),
        BinaryOp::Div => Some(x / y),
        _ => None,
    }
}

fn reduce(op: ReduceOp, v: &[Num]) -> Option<Num> {
    let (start, step) = match op {
        ReduceOp::Sum => (Num::Int(0), BinaryOp::Add),
        ReduceOp::Prod => (Num::Int(1), BinaryOp::Mul),
        ReduceOp::Max => (*v.first()?, BinaryOp::Max),
        ReduceOp::Min => (*v.first()?, BinaryOp::Min),
        ReduceOp::Mean | ReduceOp::Any | ReduceOp::All => return None,
    };
    v.iter()
        .try_fold(start, |acc, &n| match binary(step, acc, n) {
            Num::Unknown => None,
            known => Some(known),
        })
}

/// The positions that a slice picks from an axis of `n` cells, as Python picks them.
pub(crate) fn positions(range: &SliceAxis, n: usize) -> impl Iterator<Item = usize> + use<> {
    let (first, len) = span(range, n);
    let step = range.step;
    (0..len as i64).map(move |i| (first + i * step) as usize)
}

/// First position and number of the positions that a slice picks from an axis of `n` cells.
pub(crate) fn span(range: &SliceAxis, n: usize) -> (i64, usize) {
    let n = n as i64;
    let (low, high) = if range.step > 0 { (0, n) } else { (-1, n - 1) };
    let clip = |i: i64| (if i < 0 { i + n } else { i }).clamp(low, high);
    let ends = if range.step > 0 {
        (low, high)
    } else {
        (high, low)
    };
    let start = range.start.map_or(ends.0, clip);
    let stop = range.stop.map_or(ends.1, clip);
    let distance = if range.step > 0 {
        stop - start
    } else {
        start - stop
    };
    let len = if distance <= 0 {
        0
    } else {
        (distance - 1) / range.step.abs() + 1
    };
    (start, len as usize)
}
