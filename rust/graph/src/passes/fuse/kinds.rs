//! What each instruction is to fusion.

use std::collections::HashMap;

use crate::op::{Op, ReduceOp, ReduceOver};
use crate::program::{Inst, Program, ValueId};

/// The number of an iteration space: of a shape.
pub(super) type Space = usize;

/// What an instruction is to fusion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// Computes each element of a space on its own.
    Element(Space),
    /// Reduces a value of a space; the cut is the number of leading axes on one side of it, where
    /// only a part of the axes is reduced.
    Reduce {
        /// The space of its operand.
        space: Space,
        /// What it reduces.
        op: ReduceOp,
        /// Over which axes.
        over: ReduceOver,
        /// Where it cuts the axes in two.
        cut: Option<usize>,
    },
    /// Cannot be fused.
    Other,
}

impl Kind {
    /// The space that the instruction runs over, if it can be fused.
    pub(super) fn space(self) -> Option<Space> {
        match self {
            Kind::Element(space) | Kind::Reduce { space, .. } => Some(space),
            Kind::Other => None,
        }
    }
}

/// The kinds of all instructions and the spaces they run over.
pub(super) struct Kinds {
    /// For each instruction.
    pub(super) of: Vec<Kind>,
    /// For each value, the number of its shape, if any instruction runs over it.
    pub(super) shape: Vec<Option<Space>>,
    /// The number of elements of each space.
    pub(super) len: Vec<usize>,
    /// For each value, the number that it is everywhere, if it is a constant that a region can
    /// hold in its code.
    pub(super) number: Vec<Option<f64>>,
}

impl Kinds {
    pub(super) fn new(p: &Program) -> Kinds {
        let mut spaces: HashMap<&[usize], Space> = HashMap::new();
        let mut len = Vec::new();
        let mut number = |v: ValueId| {
            let value = &p.values[v];
            *spaces.entry(&value.shape).or_insert_with(|| {
                len.push(value.len());
                len.len() - 1
            })
        };
        let of = p.insts.iter().map(|inst| match &inst.op {
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) => {
                Kind::Element(number(inst.outputs[0]))
            }
            Op::Reduce { op, axes, .. } => {
                let space = number(inst.inputs[0]);
                reduction(p, inst, *op, axes, space).unwrap_or(Kind::Other)
            }
            _ => Kind::Other,
        });
        let of = of.collect();
        let shape = p.values.iter();
        let shape = shape
            .map(|v| spaces.get(v.shape.as_slice()).copied())
            .collect();
        Kinds {
            of,
            shape,
            len,
            number: (0..p.values.len()).map(|v| uniform_number(p, v)).collect(),
        }
    }
}

/// The number that a constant is everywhere, where `f64` holds it.
fn uniform_number(p: &Program, v: ValueId) -> Option<f64> {
    let literal = p.literal(v)?;
    let n = literal.uniform()?;
    (literal.dtype.is_float() || n.abs() <= (1u64 << 53) as f64).then_some(n)
}

fn reduction(p: &Program, inst: &Inst, op: ReduceOp, axes: &[usize], space: Space) -> Option<Kind> {
    match op {
        ReduceOp::Sum | ReduceOp::Mean | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min => {}
        ReduceOp::Any | ReduceOp::All => return None,
    }
    let value = &p.values[inst.inputs[0]];
    if value.is_empty() {
        return None;
    }
    let (over, cut) = part(&value.shape, axes)?;
    Some(Kind::Reduce {
        space,
        op,
        over,
        cut,
    })
}

/// Which part of a shape `axes` are, axes of size 1 aside: all, the first or the last.
fn part(shape: &[usize], axes: &[usize]) -> Option<(ReduceOver, Option<usize>)> {
    let large: Vec<usize> = (0..shape.len()).filter(|&a| shape[a] != 1).collect();
    let reduced: Vec<bool> = large.iter().map(|a| axes.contains(a)).collect();
    if reduced.iter().all(|&r| r) {
        return Some((ReduceOver::All, None));
    }
    let changes = reduced.windows(2).filter(|w| w[0] != w[1]).count();
    if changes != 1 {
        return None;
    }
    // The cut lies right after the last axis of the first part, before any axes of size 1.
    let first = reduced.iter().take_while(|&&r| r == reduced[0]).count();
    let cut = large[first - 1] + 1;
    let over = match reduced[0] {
        true => ReduceOver::Outer(cut),
        false => ReduceOver::Inner(shape.len() - cut),
    };
    Some((over, Some(cut)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_ignore_axes_of_size_1() {
        let outer = |n| Some((ReduceOver::Outer(n), Some(n)));
        let inner = |n, cut| Some((ReduceOver::Inner(n), Some(cut)));
        assert_eq!(part(&[4, 3], &[0, 1]), Some((ReduceOver::All, None)));
        assert_eq!(part(&[4, 3], &[0]), outer(1));
        assert_eq!(part(&[4, 3], &[1]), inner(1, 1));
        assert_eq!(part(&[2, 4, 5, 3], &[0, 1, 2]), outer(3));
        assert_eq!(part(&[2, 4, 5, 3], &[1, 2]), None);
        assert_eq!(part(&[2, 4, 5, 3], &[0, 3]), None);
        assert_eq!(part(&[4, 1, 3], &[0]), outer(1));
        assert_eq!(part(&[4, 1, 3], &[2]), inner(2, 1));
        assert_eq!(part(&[4, 1], &[0]), Some((ReduceOver::All, None)));
        assert_eq!(part(&[], &[]), Some((ReduceOver::All, None)));
    }
}
