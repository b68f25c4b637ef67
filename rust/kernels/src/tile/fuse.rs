//! Instructions that are run as one, because optimizers have them in every update of every weight.
//!
//! Between two instructions a tile goes through the first-level cache; in one loop the loads and
//! simple operations hide behind the square root and the quotient, which take most of the time. Each
//! operation is rounded as it is on its own, so that the results have the same bits.

use super::op::{BinaryOp, Scalar, UnaryOp};
use super::program::{Instr, Reg};

/// The most operands of an instruction.
pub(super) const MAX_ARGS: usize = 5;

/// What is run as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FusedOp {
    /// `a * b + c * d`: a running mean.
    SumOfProducts,
    /// `a * b - c * d`: a velocity.
    DifferenceOfProducts,
    /// `a * b + c * (d * d)`: a running mean of squares.
    SumWithSquare,
    /// `a - b * c / (sqrt(d) + e)`: an adaptive step.
    Step,
    /// The same with 0 instead of a negative `d`.
    StepFromZero,
}

impl FusedOp {
    pub(super) const ALL: [FusedOp; 5] = [
        FusedOp::SumOfProducts,
        FusedOp::DifferenceOfProducts,
        FusedOp::SumWithSquare,
        FusedOp::Step,
        FusedOp::StepFromZero,
    ];

    /// How many operands it has.
    pub(super) fn arity(self) -> usize {
        match self {
            FusedOp::Step | FusedOp::StepFromZero => 5,
            _ => 4,
        }
    }

    /// Rough cost of one element in units of a simple vector instruction.
    pub(super) fn cost(self) -> usize {
        match self {
            FusedOp::Step | FusedOp::StepFromZero => 9,
            _ => 2,
        }
    }
}

/// An instruction that takes others in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fused {
    pub(super) op: FusedOp,
    /// As many operands as the operation has.
    pub(super) args: [Reg; MAX_ARGS],
}

/// Finds what can be run as one.
pub(super) struct Finder<'a> {
    /// How many inputs the program has.
    pub(super) inputs: usize,
    pub(super) instrs: &'a [Instr],
    /// The value that a value is the same as.
    pub(super) same: &'a [usize],
    /// How often a value is read; what leaves the program counts as read twice.
    pub(super) reads: &'a [usize],
}

impl Finder<'_> {
    /// What instruction `k` becomes, if it takes others in. Its operands are floats.
    pub(super) fn fuse(&self, k: usize) -> Option<Fused> {
        let Instr::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), left, right) = self.instrs[k]
        else {
            return None;
        };
        if op == BinaryOp::Sub
            && let Some(step) = self.step(left, right)
        {
            return Some(step);
        }
        let (a, b) = self.binary(BinaryOp::Mul, left)?;
        let (c, d) = self.binary(BinaryOp::Mul, right)?;
        let of = |op, d| Some(Fused::new(op, &[a, b, c, d]));
        match (op, self.square(d)) {
            (BinaryOp::Sub, _) => of(FusedOp::DifferenceOfProducts, d),
            (_, Some(root)) => of(FusedOp::SumWithSquare, root),
            _ => of(FusedOp::SumOfProducts, d),
        }
    }

    /// `a - b * c / (sqrt(d) + e)`.
    fn step(&self, a: Reg, right: Reg) -> Option<Fused> {
        let (above, below) = self.binary(BinaryOp::Div, right)?;
        let (b, c) = self.binary(BinaryOp::Mul, above)?;
        let (root, e) = self.binary(BinaryOp::Add, below)?;
        let Instr::Unary(UnaryOp::Sqrt, d) = *self.only_read_here(root)? else {
            return None;
        };
        Some(match self.not_negative(d) {
            Some(d) => Fused::new(FusedOp::StepFromZero, &[a, b, c, d, e]),
            None => Fused::new(FusedOp::Step, &[a, b, c, d, e]),
        })
    }

    /// `x` of `x < 0 ? 0 : x`.
    fn not_negative(&self, value: Reg) -> Option<Reg> {
        let Instr::Select(condition, zero, x) = *self.only_read_here(value)? else {
            return None;
        };
        let (compared, bound) = self.binary(BinaryOp::Lt, condition)?;
        let is_zero = |reg| match self.defined_by(reg) {
            Some(Instr::Const(s @ (Scalar::F32(_) | Scalar::F64(_)))) => s.bytes() == [0; 8],
            _ => false,
        };
        let fits = self.value(compared) == self.value(x) && is_zero(zero) && is_zero(bound);
        fits.then_some(x)
    }

    fn square(&self, value: Reg) -> Option<Reg> {
        match *self.only_read_here(value)? {
            Instr::Unary(UnaryOp::Square, x) => Some(x),
            _ => None,
        }
    }

    /// The operands of a value that is the result of that operation, and read once.
    fn binary(&self, op: BinaryOp, value: Reg) -> Option<(Reg, Reg)> {
        match *self.only_read_here(value)? {
            Instr::Binary(found, a, b) if found == op => Some((a, b)),
            _ => None,
        }
    }

    fn only_read_here(&self, reg: Reg) -> Option<&Instr> {
        self.defined_by(reg)
            .filter(|_| self.reads[self.value(reg)] == 1)
    }

    fn defined_by(&self, reg: Reg) -> Option<&Instr> {
        let at = self.value(reg).checked_sub(self.inputs)?;
        Some(&self.instrs[at])
    }

    fn value(&self, reg: Reg) -> usize {
        self.same[usize::from(reg)]
    }
}

impl Fused {
    fn new(op: FusedOp, operands: &[Reg]) -> Fused {
        let mut args = [0; MAX_ARGS];
        args[..operands.len()].copy_from_slice(operands);
        Fused { op, args }
    }
}
