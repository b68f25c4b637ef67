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
    /// `a + b * c`.
    PlusProduct,
    /// `a - b * c`.
    MinusProduct,
    /// `a * b + c * d`: a running mean.
    SumOfProducts,
    /// `a * b - c * d`: a velocity.
    DifferenceOfProducts,
    /// `a * b + c * (d * d)`: a running mean of squares.
    SumWithSquare,
    /// The same three with 0 instead of a result whose magnitude is below `e`.
    SumOfProductsOrZero,
    DifferenceOfProductsOrZero,
    SumWithSquareOrZero,
    /// `a - b * c / (sqrt(d) + e)`: an adaptive step.
    Step,
    /// The same with 0 instead of a negative `d`.
    StepFromZero,
    /// `a * sqrt((b + c) / (d + e))`: a step in units of earlier ones.
    RootOfRatio,
    /// The same with 0 instead of a negative ratio.
    RootOfRatioFromZero,
}

impl FusedOp {
    pub(super) const ALL: [FusedOp; 12] = [
        FusedOp::PlusProduct,
        FusedOp::MinusProduct,
        FusedOp::SumOfProducts,
        FusedOp::DifferenceOfProducts,
        FusedOp::SumWithSquare,
        FusedOp::SumOfProductsOrZero,
        FusedOp::DifferenceOfProductsOrZero,
        FusedOp::SumWithSquareOrZero,
        FusedOp::Step,
        FusedOp::StepFromZero,
        FusedOp::RootOfRatio,
        FusedOp::RootOfRatioFromZero,
    ];

    /// How many operands it has.
    pub(super) fn arity(self) -> usize {
        use FusedOp::*;
        match self {
            PlusProduct | MinusProduct => 3,
            SumOfProducts | DifferenceOfProducts | SumWithSquare => 4,
            SumOfProductsOrZero | DifferenceOfProductsOrZero | SumWithSquareOrZero => 5,
            Step | StepFromZero | RootOfRatio | RootOfRatioFromZero => 5,
        }
    }

    /// Rough cost of one element in units of a simple vector instruction.
    pub(super) fn cost(self) -> usize {
        use FusedOp::*;
        match self {
            PlusProduct | MinusProduct => 1,
            SumOfProducts | DifferenceOfProducts | SumWithSquare => 2,
            SumOfProductsOrZero | DifferenceOfProductsOrZero | SumWithSquareOrZero => 3,
            Step | StepFromZero | RootOfRatio | RootOfRatioFromZero => 9,
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
        if let Instr::Select(condition, zero, x) = self.instrs[k] {
            return self.or_zero(condition, zero, x);
        }
        self.unconditional(k)
    }

    fn unconditional(&self, k: usize) -> Option<Fused> {
        let Instr::Binary(op, left, right) = self.instrs[k] else {
            return None;
        };
        match op {
            BinaryOp::Add => self.sum(left, right),
            BinaryOp::Sub => self.difference(left, right),
            BinaryOp::Mul => self.root_of_ratio(left, right),
            _ => None,
        }
    }

    /// `|x| < e ? 0 : x` of a running mean that nothing else reads.
    fn or_zero(&self, condition: Reg, zero: Reg, x: Reg) -> Option<Fused> {
        let (magnitude, e) = self.binary(BinaryOp::Lt, condition)?;
        let Instr::Unary(UnaryOp::Abs, of) = *self.only_read_here(magnitude)? else {
            return None;
        };
        let value = self.value(x);
        if self.value(of) != value || self.reads[value] != 2 || !self.is_zero(zero) {
            return None;
        }
        let inner = self.unconditional(value.checked_sub(self.inputs)?)?;
        let op = match inner.op {
            FusedOp::SumOfProducts => FusedOp::SumOfProductsOrZero,
            FusedOp::DifferenceOfProducts => FusedOp::DifferenceOfProductsOrZero,
            FusedOp::SumWithSquare => FusedOp::SumWithSquareOrZero,
            _ => return None,
        };
        let [a, b, c, d, _] = inner.args;
        Some(Fused::new(op, &[a, b, c, d, e]))
    }

    fn sum(&self, left: Reg, right: Reg) -> Option<Fused> {
        let (first, second) = (self.product(left), self.product(right));
        let (Some((a, b)), Some((c, d))) = (first, second) else {
            let (a, (b, c)) = match (first, second) {
                (None, Some(product)) => (left, product),
                (Some(product), None) => (right, product),
                _ => return None,
            };
            return Some(Fused::new(FusedOp::PlusProduct, &[a, b, c]));
        };
        Some(match self.square(d) {
            Some(root) => Fused::new(FusedOp::SumWithSquare, &[a, b, c, root]),
            None => Fused::new(FusedOp::SumOfProducts, &[a, b, c, d]),
        })
    }

    fn difference(&self, left: Reg, right: Reg) -> Option<Fused> {
        if let Some(step) = self.step(left, right) {
            return Some(step);
        }
        let (c, d) = self.product(right)?;
        Some(match self.product(left) {
            Some((a, b)) => Fused::new(FusedOp::DifferenceOfProducts, &[a, b, c, d]),
            None => Fused::new(FusedOp::MinusProduct, &[left, c, d]),
        })
    }

    /// `a - b * c / (sqrt(d) + e)`.
    fn step(&self, a: Reg, right: Reg) -> Option<Fused> {
        let (above, below) = self.binary(BinaryOp::Div, right)?;
        let (b, c) = self.binary(BinaryOp::Mul, above)?;
        let (root, e) = self.binary(BinaryOp::Add, below)?;
        let op = |from_zero| match from_zero {
            true => FusedOp::StepFromZero,
            false => FusedOp::Step,
        };
        let (d, from_zero) = self.root(root)?;
        Some(Fused::new(op(from_zero), &[a, b, c, d, e]))
    }

    /// `a * sqrt((b + c) / (d + e))`.
    fn root_of_ratio(&self, a: Reg, root: Reg) -> Option<Fused> {
        let (ratio, from_zero) = self.root(root)?;
        // Not to be negative it is compared as well.
        let reads = 1 + usize::from(from_zero);
        let Instr::Binary(BinaryOp::Div, above, below) = *self.defined_by(ratio)? else {
            return None;
        };
        if self.reads[self.value(ratio)] != reads {
            return None;
        }
        let ((b, c), (d, e)) = (
            self.binary(BinaryOp::Add, above)?,
            self.binary(BinaryOp::Add, below)?,
        );
        let op = match from_zero {
            true => FusedOp::RootOfRatioFromZero,
            false => FusedOp::RootOfRatio,
        };
        Some(Fused::new(op, &[a, b, c, d, e]))
    }

    /// What a value is the root of, and whether 0 is taken instead where that is negative.
    fn root(&self, value: Reg) -> Option<(Reg, bool)> {
        let Instr::Unary(UnaryOp::Sqrt, x) = *self.only_read_here(value)? else {
            return None;
        };
        Some(match self.not_negative(x) {
            Some(x) => (x, true),
            None => (x, false),
        })
    }

    /// The factors of a product, or of a square.
    fn product(&self, value: Reg) -> Option<(Reg, Reg)> {
        let square = || self.square(value).map(|x| (x, x));
        self.binary(BinaryOp::Mul, value).or_else(square)
    }

    /// `x` of `x < 0 ? 0 : x`.
    fn not_negative(&self, value: Reg) -> Option<Reg> {
        let Instr::Select(condition, zero, x) = *self.only_read_here(value)? else {
            return None;
        };
        let (compared, bound) = self.binary(BinaryOp::Lt, condition)?;
        let is_same = self.value(compared) == self.value(x);
        (is_same && self.is_zero(zero) && self.is_zero(bound)).then_some(x)
    }

    fn is_zero(&self, reg: Reg) -> bool {
        match self.defined_by(reg) {
            Some(Instr::Const(s @ (Scalar::F32(_) | Scalar::F64(_)))) => s.bytes() == [0; 8],
            _ => false,
        }
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
