//! Reductions: sums, means, extremes, moments, and running sums.

use crate::build::Builder;
use crate::dtype::DType;
use crate::error::GraphError;
use crate::node::{Tensor, TensorType};
use crate::op::{BinaryOp, CumOp, Extreme, MomentsOf, Op, ReduceOp};
use crate::ops::backward::{Backward, Grads};
use crate::ops::operands::{Inferred, Operands, one};
use crate::ops::sample::{Sample, SampleInput, Values, below, distinct, flags, float, positive};
use crate::shape::{Dim, Shape};

/// The shape that is left when `axes` are reduced.
pub(crate) fn reduced(shape: &[Dim], axes: &[usize], keepdims: bool) -> Shape {
    shape
        .iter()
        .enumerate()
        .filter_map(|(i, &d)| match (axes.contains(&i), keepdims) {
            (true, true) => Some(Some(1)),
            (true, false) => None,
            (false, _) => Some(d),
        })
        .collect()
}

fn check_axes(axes: &[usize], o: &Operands<'_>) -> Result<(), String> {
    if !axes.is_sorted_by(|a, b| a < b) {
        return Err(format!(
            "axes must be sorted and given once each, got {axes:?}"
        ));
    }
    axes.iter().try_for_each(|&a| o.axis(0, a))
}

pub(super) fn infer_reduce(
    op: ReduceOp,
    axes: &[usize],
    keepdims: bool,
    o: &Operands<'_>,
) -> Inferred {
    o.count(1)?;
    check_axes(axes, o)?;
    let dtype = match op {
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min => {
            o.number(0, "the operand")?
        }
        ReduceOp::Mean => o.float(0, "the operand")?,
        ReduceOp::Any | ReduceOp::All => {
            o.boolean(0, "the operand")?;
            DType::Bool
        }
    };
    if matches!(op, ReduceOp::Max | ReduceOp::Min) && axes.iter().any(|&a| o.shape(0)[a] == Some(0))
    {
        return Err(format!(
            "there is no extreme over an axis of size 0, got shape {} and axes {axes:?}",
            o.show(0)
        ));
    }
    one(dtype, reduced(o.shape(0), axes, keepdims))
}

pub(super) fn infer_arg_reduce(axis: usize, o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    o.number(0, "the operand")?;
    o.axis(0, axis)?;
    if o.shape(0)[axis] == Some(0) {
        return Err(format!(
            "there is no extreme along axis {axis}, which has size 0 in shape {}",
            o.show(0)
        ));
    }
    one(DType::I64, reduced(o.shape(0), &[axis], false))
}

pub(super) fn infer_cumulative(axis: usize, o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    let dtype = o.number(0, "the operand")?;
    o.axis(0, axis)?;
    one(dtype, o.shape(0).to_vec())
}

pub(super) fn infer_moments(axes: &[usize], o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    check_axes(axes, o)?;
    let dtype = o.float(0, "the operand")?;
    let shape = reduced(o.shape(0), axes, false);
    let moment = TensorType { dtype, shape };
    Ok(vec![moment.clone(), moment])
}

pub(super) fn grad_reduce(op: ReduceOp, axes: &[usize], keepdims: bool, g: &Backward<'_>) -> Grads {
    let (b, x, dy) = (&g.b, g.x(0), g.dy()?);
    let put_back = |t: &Tensor| match keepdims {
        true => Ok(t.clone()),
        false => b.expand_reduced(t, x, axes),
    };
    g.first(|| match op {
        ReduceOp::Sum => b.broadcast_like(&put_back(dy)?, x),
        ReduceOp::Mean => {
            let share = b.div(dy, &b.count(x, axes)?)?;
            b.broadcast_like(&put_back(&share)?, x)
        }
        ReduceOp::Prod => grad_prod(b, x, axes, &put_back(dy)?),
        // Elements that tie for the extreme share the gradient equally, as in TensorFlow.
        ReduceOp::Max | ReduceOp::Min => {
            let extreme = b.binary(BinaryOp::Eq, x, &put_back(&g.y(0))?)?;
            let extreme = b.cast(&extreme, x.dtype())?;
            let ties = b.reduce(ReduceOp::Sum, &extreme, axes, true)?;
            b.mul(&extreme, &b.div(&put_back(dy)?, &ties)?)
        }
        ReduceOp::Any | ReduceOp::All => unreachable!("bool results take no gradient"),
    })
}

/// The gradient of a product: for each element the product of all others, from running products
/// before and after it, so that zeros need no division. `dy` keeps the reduced axes.
fn grad_prod(b: &Builder, x: &Tensor, axes: &[usize], dy: &Tensor) -> Result<Tensor, GraphError> {
    // One axis at a time: partial[i] is the product over the first i axes.
    let mut partial = vec![x.clone()];
    for &axis in axes {
        let last = &partial[partial.len() - 1];
        partial.push(b.reduce(ReduceOp::Prod, last, &[axis], true)?);
    }
    let mut grad = dy.clone();
    for (&axis, part) in axes.iter().zip(&partial).rev() {
        let running = |reverse| {
            let op = Op::Cumulative {
                op: CumOp::Prod,
                axis,
                exclusive: true,
                reverse,
            };
            b.op(op, &[part])
        };
        grad = b.mul(&grad, &b.mul(&running(false)?, &running(true)?)?)?;
    }
    Ok(grad)
}

/// Through a running product by division: with y the result, `dx = cumsum(dy * y) / x` from the
/// other end. An element that is 0 gets the gradient 0, as in TensorFlow.
pub(super) fn grad_cumulative(
    op: CumOp,
    axis: usize,
    exclusive: bool,
    reverse: bool,
    g: &Backward<'_>,
) -> Grads {
    let (b, x, dy) = (&g.b, g.x(0), g.dy()?);
    let back = Op::Cumulative {
        op: CumOp::Sum,
        axis,
        exclusive,
        reverse: !reverse,
    };
    g.first(|| match op {
        CumOp::Sum => b.op(back, &[dy]),
        CumOp::Prod => {
            let sums = b.op(back, &[&b.mul(dy, &g.y(0))?])?;
            let zero = b.scalar(x.dtype(), 0.0)?;
            let at_zero = b.binary(BinaryOp::Eq, x, &zero)?;
            b.select(&at_zero, &zero, &b.div(&sums, x)?)
        }
    })
}

/// `dx = dmean / n + dvar * 2 (x - mean) / n`.
pub(super) fn grad_moments(axes: &[usize], g: &Backward<'_>) -> Grads {
    let (b, x) = (&g.b, g.x(0));
    g.first(|| {
        let n = b.count(x, axes)?;
        let share = |t: &Tensor| b.expand_reduced(&b.div(t, &n)?, x, axes);
        let from_variance = |d: &Tensor| {
            let centred = b.sub(x, &b.expand_reduced(&g.y(0), x, axes)?)?;
            b.mul(&centred, &share(&b.scale(d, 2.0)?)?)
        };
        match (g.grad(0), g.grad(1)) {
            (Some(mean), Some(variance)) => b.add(&from_variance(variance)?, &share(mean)?),
            (Some(mean), None) => b.broadcast_like(&share(mean)?, x),
            (None, Some(variance)) => from_variance(variance),
            (None, None) => Err(g.unsupported(" there")),
        }
    })
}

pub(super) fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    let reduce = |op, axes: &[usize], keepdims| Op::Reduce {
        op,
        axes: axes.to_vec(),
        keepdims,
    };
    let cases: [(&[usize], &[usize], bool); 8] = [
        (&[3, 4], &[0], false),
        (&[3, 4], &[1], true),
        (&[2, 3, 4], &[0, 2], false),
        (&[2, 3, 4], &[0, 1, 2], true),
        (&[2, 1, 3], &[1], false),
        (&[5], &[], false),
        (&[0, 3], &[1], false),
        (&[300, 7], &[0], false),
    ];
    for op in ReduceOp::ALL {
        for (shape, axes, keepdims) in cases {
            let x = match op {
                ReduceOp::Any | ReduceOp::All => flags(shape),
                ReduceOp::Max | ReduceOp::Min => distinct(shape),
                ReduceOp::Prod => SampleInput::new(DType::F32, shape, Values::Between(0.98, 1.02)),
                ReduceOp::Sum | ReduceOp::Mean => float(shape),
            };
            all.push(Sample::new(reduce(op, axes, keepdims), vec![x]));
        }
        let empty = match op {
            ReduceOp::Max | ReduceOp::Min | ReduceOp::Mean => continue,
            ReduceOp::Any | ReduceOp::All => flags(&[0, 3]),
            ReduceOp::Sum | ReduceOp::Prod => float(&[0, 3]),
        };
        all.push(Sample::new(reduce(op, &[0], false), vec![empty]));
    }
    let zeros = Values::Given(vec![0.0, 2.0, 3.0, 0.0, 0.0, 5.0]);
    let zeros = SampleInput::new(DType::F32, &[2, 3], zeros);
    all.push(Sample::new(
        reduce(ReduceOp::Prod, &[1], false),
        vec![zeros],
    ));
    let counts = below(DType::I64, &[3, 2], 9);
    all.push(Sample::new(
        reduce(ReduceOp::Sum, &[0], false),
        vec![counts],
    ));
    for (shape, axis) in [
        (&[3, 4][..], 0),
        (&[3, 4], 1),
        (&[2, 5, 3], 1),
        (&[0, 2], 1),
    ] {
        for op in [Extreme::Max, Extreme::Min] {
            let op = Op::ArgReduce { op, axis };
            all.push(Sample::new(op, vec![distinct(shape)]).without_gradient());
        }
        for (op, exclusive, reverse) in [
            (CumOp::Sum, false, false),
            (CumOp::Sum, true, true),
            (CumOp::Prod, false, true),
            (CumOp::Prod, true, false),
        ] {
            let op = Op::Cumulative {
                op,
                axis,
                exclusive,
                reverse,
            };
            all.push(Sample::new(op, vec![positive(shape)]));
        }
    }
    for (shape, axes) in [
        (&[4, 3][..], &[0][..]),
        (&[2, 3, 4, 2], &[0, 1, 2]),
        (&[1, 2], &[0]),
    ] {
        let axes = axes.to_vec();
        let of = MomentsOf::Operand;
        all.push(Sample::new(Op::Moments { axes, of }, vec![float(shape)]));
    }
    all
}
