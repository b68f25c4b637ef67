//! Fused recurrences over whole sequences.

use crate::dtype::DType;
use crate::node::{Tensor, TensorType};
use crate::op::{Op, RnnActivation, RnnAttrs, RnnCell};
use crate::ops::backward::{Backward, Grads};
use crate::ops::operands::{Inferred, Operands};
use crate::ops::sample::{Sample, SampleInput, Values, float};
use crate::shape::{Dim, Shape, show};

/// Which operands a recurrence has, in their order.
pub(crate) struct Places {
    /// The initial cell state.
    pub(crate) c0: Option<usize>,
    /// The recurrent bias.
    pub(crate) bias: Option<usize>,
    /// The mask.
    pub(crate) mask: Option<usize>,
    /// The factors of dropout.
    pub(crate) dropout: Option<usize>,
    /// How many operands there are.
    pub(crate) count: usize,
}

/// The places of a recurrence's operands.
pub(crate) fn places(attrs: &RnnAttrs) -> Places {
    let mut count = 3;
    let mut next = |there: bool| {
        there.then(|| {
            count += 1;
            count - 1
        })
    };
    let c0 = next(attrs.cell == RnnCell::Lstm);
    let bias = next(attrs.cell == RnnCell::Gru { reset_after: true });
    let mask = next(attrs.mask);
    let dropout = next(attrs.dropout);
    Places {
        c0,
        bias,
        mask,
        dropout,
        count,
    }
}

/// Number of operands of [`Op::Rnn`].
pub(crate) fn operand_count(attrs: &RnnAttrs) -> usize {
    places(attrs).count
}

fn fits(shape: &[Dim], want: &[Dim]) -> bool {
    let agree = |(a, b): (&Dim, &Dim)| a.is_none() || b.is_none() || a == b;
    shape.len() == want.len() && shape.iter().zip(want).all(agree)
}

fn expect(o: &Operands<'_>, k: usize, name: &str, want: &[Dim]) -> Result<(), String> {
    if fits(o.shape(k), want) {
        return Ok(());
    }
    Err(format!(
        "{name} must have shape {}, got {}",
        show(want),
        o.show(k)
    ))
}

struct Sizes {
    dtype: DType,
    batch: Dim,
    steps: Dim,
    units: Dim,
}

fn check(attrs: &RnnAttrs, o: &Operands<'_>) -> Result<Sizes, String> {
    let at = places(attrs);
    let dtype = o.float(0, "the projection")?;
    if o.rank(0) != 3 || o.rank(1) != 2 || o.rank(2) != 2 {
        return Err(format!(
            "takes a projection (batch, steps, gates * units), a kernel (units, gates * units) and \
             a state (batch, units), got {}, {} and {}",
            o.show(0),
            o.show(1),
            o.show(2)
        ));
    }
    let gates = attrs.cell.gates();
    let units = o.shape(1)[0].or(o.shape(2)[1]);
    let width = units.map(|u| u * gates);
    let batch = o.shape(0)[0].or(o.shape(2)[0]);
    let steps = o.shape(0)[1];
    expect(o, 0, "the projection", &[batch, steps, width])?;
    expect(o, 1, "the kernel", &[units, width])?;
    expect(o, 2, "the state", &[batch, units])?;
    if let Some(k) = at.c0 {
        expect(o, k, "the cell state", &[batch, units])?;
    }
    if let Some(k) = at.bias {
        expect(o, k, "the recurrent bias", &[width])?;
    }
    if let Some(k) = at.mask {
        o.boolean(k, "the mask")?;
        expect(o, k, "the mask", &[batch, steps])?;
    }
    if let Some(k) = at.dropout {
        expect(o, k, "the dropout factors", &[Some(gates), batch, units])?;
    }
    for k in (1..at.count).filter(|&k| Some(k) != at.mask) {
        o.same_dtype(0, k)?;
    }
    Ok(Sizes {
        dtype,
        batch,
        steps,
        units,
    })
}

pub(super) fn infer_rnn(attrs: &RnnAttrs, o: &Operands<'_>) -> Inferred {
    o.count(operand_count(attrs))?;
    let s = check(attrs, o)?;
    let of = |shape: Shape| TensorType {
        dtype: s.dtype,
        shape,
    };
    let kept = s.units.map(|u| u * attrs.cell.kept());
    let mut outputs = vec![
        of(vec![s.batch, s.steps, s.units]),
        of(vec![s.steps, s.batch, kept]),
    ];
    if attrs.cell == RnnCell::Lstm {
        outputs.push(of(vec![s.steps, s.batch, s.units]));
        outputs.push(of(vec![s.batch, s.units]));
    }
    Ok(outputs)
}

pub(super) fn infer_rnn_grad(attrs: &RnnAttrs, parts: usize, o: &Operands<'_>) -> Inferred {
    let own = operand_count(attrs);
    let lstm = attrs.cell == RnnCell::Lstm;
    o.count(own + if lstm { 5 } else { 3 })?;
    let sizes = check(attrs, o)?;
    if parts == 0 || sizes.batch.is_some_and(|n| n % parts != 0) {
        return Err(format!(
            "the batch {} has no {parts} equal parts",
            o.show(0)
        ));
    }
    let at = places(attrs);
    let like = |k: usize| {
        let sum = parts > 1 && (k == 1 || Some(k) == at.bias);
        let lead = sum.then_some(Some(parts));
        TensorType {
            dtype: o.dtype(0),
            shape: lead.into_iter().chain(o.shape(k).iter().copied()).collect(),
        }
    };
    let optional = [at.c0, at.bias].into_iter().flatten();
    Ok((0..3).chain(optional).map(like).collect())
}

/// One fused operation back over the sequence.
pub(super) fn grad_rnn(attrs: &RnnAttrs, g: &Backward<'_>) -> Grads {
    let b = &g.b;
    let lstm = attrs.cell == RnnCell::Lstm;
    if g.grad(1).is_some() || (lstm && g.grad(2).is_some()) {
        return Err(g.unsupported(" through what it keeps for its own gradient"));
    }
    let zeros = |like: &Tensor| {
        b.op(
            Op::BroadcastTo,
            &[&b.scalar(like.dtype(), 0.0)?, &b.shape_of(like)?],
        )
    };
    let or_zeros = |k: usize| match g.grad(k) {
        Some(grad) => Ok(grad.clone()),
        None => zeros(&g.y(k)),
    };
    let mut operands: Vec<Tensor> = g.node.inputs.clone();
    operands.extend([g.y(0), g.y(1)]);
    if lstm {
        operands.push(g.y(2));
    }
    operands.push(or_zeros(0)?);
    if lstm {
        operands.push(or_zeros(3)?);
    }
    let whole = Op::RnnGrad {
        attrs: *attrs,
        parts: 1,
    };
    let first = b.op(whole, &operands.iter().collect::<Vec<_>>())?;
    let at = places(attrs);
    let mut grads = g.none();
    let targets = (0..3).chain([at.c0, at.bias].into_iter().flatten());
    for (index, k) in targets.enumerate() {
        let output = Tensor {
            node: first.node.clone(),
            index,
        };
        grads[k] = g.to(k, || Ok(output))?;
    }
    Ok(grads)
}

pub(super) fn samples() -> Vec<Sample> {
    let cells = [
        RnnCell::Simple,
        RnnCell::Lstm,
        RnnCell::Gru { reset_after: false },
        RnnCell::Gru { reset_after: true },
    ];
    let sizes = [(1, 1, 1), (2, 3, 4), (5, 4, 3)];
    let mut all = Vec::new();
    for cell in cells {
        for (i, &(batch, steps, units)) in sizes.iter().enumerate() {
            let attrs = RnnAttrs {
                cell,
                activation: RnnActivation::Tanh,
                gate_activation: RnnActivation::Sigmoid,
                reverse: i == 1,
                mask: i == 2,
                dropout: i == 1,
            };
            let gates = cell.gates();
            let mut inputs = vec![
                float(&[batch, steps, gates * units]),
                float(&[units, gates * units]),
                float(&[batch, units]),
            ];
            if cell == RnnCell::Lstm {
                inputs.push(float(&[batch, units]));
            }
            if cell == (RnnCell::Gru { reset_after: true }) {
                inputs.push(float(&[gates * units]));
            }
            if attrs.mask {
                inputs.push(SampleInput::new(
                    DType::Bool,
                    &[batch, steps],
                    Values::Below(2),
                ));
            }
            if attrs.dropout {
                inputs.push(float(&[gates, batch, units]));
            }
            // What is kept and the factors of dropout have no gradient: the runtime's own test
            // of this operation leaves them out.
            all.push(Sample::new(Op::Rnn(attrs), inputs).without_gradient());
        }
    }
    all
}
