//! Tile programs: validation, and compilation to slots.
//!
//! A program is in static single assignment form: value `i` is input `i`, value
//! `inputs.len() + k` is the result of instruction `k`. Compilation drops what nothing needs,
//! merges equal constants and assigns every value a slot. Temporaries share slots once they are
//! dead, and a result never shares a slot with one of its own operands.

use std::sync::Arc;

use super::cast;
use super::fuse::{Finder, Fused, MAX_ARGS};
use super::instr::{self, InstrFn};
use super::op::{BinaryOp, ReduceAxes, Scalar, UnaryOp};
use crate::dtype::DType;
use crate::error::KernelError;
use crate::reduce::ReduceOp;

/// The number of a value: inputs first, then instructions.
pub type Reg = u16;

/// One operation of a program. Every instruction defines one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Instr {
    /// A constant.
    Const(Scalar),
    /// An operation of one operand.
    Unary(UnaryOp, Reg),
    /// An operation of two operands of one type.
    Binary(BinaryOp, Reg, Reg),
    /// `condition ? a : b`; the condition is boolean, `a` and `b` have one type.
    Select(Reg, Reg, Reg),
    /// `a * b + c` of floats, rounded once.
    MulAdd(Reg, Reg, Reg),
    /// Conversion: floats to integers truncate and saturate, NaN gives 0; to bool: not 0.
    Cast(DType, Reg),
}

/// A reduction at the end of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// How values combine.
    pub op: ReduceOp,
    /// The value that is reduced.
    pub reg: Reg,
    /// What it is reduced over.
    pub axes: ReduceAxes,
}

/// One instruction with its function and slots.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) f: InstrFn,
    /// The same for operands that are far away.
    pub(super) far: InstrFn,
    pub(super) op: u8,
    pub(super) args: [u16; MAX_ARGS],
    pub(super) dst: u16,
}

/// The compiled form: slots are numbered inputs, constants, outputs, temporaries.
pub(super) struct Code {
    pub(super) inputs: Vec<DType>,
    pub(super) consts: Vec<Scalar>,
    pub(super) outputs: Vec<DType>,
    /// Bit `i` of entry `o`: input `i` is not read after output `o` is written, nor by the
    /// instruction that writes it unless that allows it, so that the two may share memory without a
    /// detour.
    pub(super) in_place: Vec<u64>,
    pub(super) temps: usize,
    pub(super) steps: Vec<Step>,
    /// Outputs that are copies of another slot: (slot, output).
    pub(super) copies: Vec<(u16, u16)>,
    /// Reductions with the slot and type of their operand.
    pub(super) reductions: Vec<(Reduction, u16, DType)>,
    /// Bytes of the largest element.
    pub(super) width: usize,
    /// Rough cost of an element in units of a simple vector instruction.
    pub(super) cost: usize,
    /// Whether it does what optimizers do.
    pub(super) is_update: bool,
}

impl Code {
    pub(super) fn const_slot(&self) -> usize {
        self.inputs.len()
    }
    pub(super) fn output_slot(&self) -> usize {
        self.inputs.len() + self.consts.len()
    }
    pub(super) fn temp_slot(&self) -> usize {
        self.output_slot() + self.outputs.len()
    }
    pub(super) fn slots(&self) -> usize {
        self.temp_slot() + self.temps
    }
}

/// A validated chain of elementwise operations with its outputs and reductions.
#[derive(Clone)]
pub struct TileProgram {
    pub(super) code: Arc<Code>,
}

/// The most inputs, and the most outputs, of a program.
pub const MAX_OPERANDS: usize = 64;

impl TileProgram {
    /// Checks and compiles a program.
    ///
    /// # Errors
    /// When a register does not exist, an operation is not defined for its operands' types, types
    /// that must agree differ, or there are more than [`MAX_OPERANDS`] inputs or outputs.
    pub fn new(
        inputs: &[DType],
        instrs: &[Instr],
        outputs: &[Reg],
        reductions: &[Reduction],
    ) -> Result<TileProgram, KernelError> {
        for (what, n) in [("inputs", inputs.len()), ("outputs", outputs.len())] {
            if n > MAX_OPERANDS {
                return Err(KernelError::Shape {
                    op: "tile program",
                    what,
                    expected: format!("at most {MAX_OPERANDS}"),
                    got: n.to_string(),
                });
            }
        }
        let types = check(inputs, instrs, outputs, reductions)?;
        Ok(TileProgram {
            code: Arc::new(Compiler::new(inputs, instrs, outputs, reductions, types).compile()),
        })
    }

    /// The element types of the inputs.
    pub fn inputs(&self) -> &[DType] {
        &self.code.inputs
    }

    /// The element types of the outputs.
    pub fn outputs(&self) -> &[DType] {
        &self.code.outputs
    }

    /// The element types of the reductions' results: those of the values they reduce.
    pub fn reductions(&self) -> impl Iterator<Item = DType> + '_ {
        self.code.reductions.iter().map(|r| r.2)
    }

    /// How many instructions and temporary tile registers the compiled program has.
    pub fn size(&self) -> (usize, usize) {
        (self.code.steps.len(), self.code.temps)
    }
}

/// The operands of an instruction.
fn operands(instr: &Instr) -> ([Reg; 3], usize) {
    match *instr {
        Instr::Const(_) => ([0; 3], 0),
        Instr::Unary(_, a) | Instr::Cast(_, a) => ([a, 0, 0], 1),
        Instr::Binary(_, a, b) => ([a, b, 0], 2),
        Instr::Select(a, b, c) | Instr::MulAdd(a, b, c) => ([a, b, c], 3),
    }
}

/// The type of every value.
fn check(
    inputs: &[DType],
    instrs: &[Instr],
    outputs: &[Reg],
    reductions: &[Reduction],
) -> Result<Vec<DType>, KernelError> {
    let mut types = inputs.to_vec();
    let known = |what: &dyn Fn() -> String, reg: Reg, known: usize| {
        if usize::from(reg) < known {
            return Ok(());
        }
        Err(KernelError::Register {
            what: what(),
            reg: reg.into(),
            known,
        })
    };
    for (k, instr) in instrs.iter().enumerate() {
        let (args, n) = operands(instr);
        for &arg in &args[..n] {
            known(&|| format!("instruction {k} ({instr:?})"), arg, types.len())?;
        }
        let t = instr_type(instr, &types)?;
        types.push(t);
    }
    for (o, &reg) in outputs.iter().enumerate() {
        known(&|| format!("output {o}"), reg, types.len())?;
    }
    for (r, reduction) in reductions.iter().enumerate() {
        known(&|| format!("reduction {r}"), reduction.reg, types.len())?;
        reduction.op.check(types[usize::from(reduction.reg)])?;
    }
    Ok(types)
}

fn instr_type(instr: &Instr, types: &[DType]) -> Result<DType, KernelError> {
    let of = |reg: Reg| types[usize::from(reg)];
    let same = |op: &dyn Fn() -> String, a: Reg, b: Reg| {
        if of(a) == of(b) {
            return Ok(of(a));
        }
        Err(KernelError::DTypeMismatch {
            op: op(),
            left: of(a),
            right: of(b),
        })
    };
    match *instr {
        Instr::Const(s) => Ok(s.dtype()),
        Instr::Unary(op, a) => op.result(of(a)),
        Instr::Binary(op, a, b) => op.result(same(&|| format!("{op:?}"), a, b)?),
        Instr::Cast(to, _) => Ok(to),
        Instr::Select(m, a, b) => {
            if of(m) != DType::Bool {
                return Err(KernelError::DType {
                    op: "Select (condition)".into(),
                    got: of(m),
                    hint: "cast it to bool",
                });
            }
            same(&|| "Select".into(), a, b)
        }
        Instr::MulAdd(a, b, c) => {
            let t = same(&|| "MulAdd".into(), a, b)?;
            same(&|| "MulAdd".into(), a, c)?;
            if !t.is_float() {
                return Err(KernelError::DType {
                    op: "MulAdd".into(),
                    got: t,
                    hint: "use Mul and Add for integers",
                });
            }
            Ok(t)
        }
    }
}

const NONE: u16 = u16::MAX;

struct Compiler<'a> {
    inputs: &'a [DType],
    instrs: &'a [Instr],
    outputs: &'a [Reg],
    reductions: &'a [Reduction],
    types: Vec<DType>,
    /// The value a value is the same as (casts to its own type), else itself.
    same: Vec<usize>,
    /// What an instruction is that takes others in, which nothing reads then.
    fused: Vec<Option<Fused>>,
    /// The last instruction that reads a value; `usize::MAX` for what lives to the end; `None`
    /// for what nothing reads.
    last_use: Vec<Option<usize>>,
    slot: Vec<u16>,
}

impl<'a> Compiler<'a> {
    fn new(
        inputs: &'a [DType],
        instrs: &'a [Instr],
        outputs: &'a [Reg],
        reductions: &'a [Reduction],
        types: Vec<DType>,
    ) -> Self {
        let n = types.len();
        let mut same: Vec<usize> = (0..n).collect();
        for (k, instr) in instrs.iter().enumerate() {
            if let Instr::Cast(to, a) = *instr
                && types[usize::from(a)] == to
            {
                same[inputs.len() + k] = same[usize::from(a)];
            }
        }
        let mut c = Compiler {
            inputs,
            instrs,
            outputs,
            reductions,
            types,
            same,
            fused: vec![None; instrs.len()],
            last_use: vec![None; n],
            slot: vec![NONE; n],
        };
        c.liveness();
        c.fuse();
        c.last_use.fill(None);
        c.liveness();
        c
    }

    /// Finds instructions that are run as one.
    fn fuse(&mut self) {
        let mut reads = vec![0; self.types.len()];
        for (v, last) in self.last_use.iter().enumerate() {
            reads[v] += 2 * usize::from(*last == Some(usize::MAX));
        }
        let live = |k: &usize| self.last_use[self.inputs.len() + k].is_some();
        for k in (0..self.instrs.len()).filter(live) {
            let (args, n) = operands(&self.instrs[k]);
            args[..n]
                .iter()
                .for_each(|&arg| reads[self.value(arg)] += 1);
        }
        let finder = Finder {
            inputs: self.inputs.len(),
            instrs: self.instrs,
            same: &self.same,
            reads: &reads,
        };
        let is_float = |k: usize| self.types[self.inputs.len() + k].is_float();
        let fuse = |k: usize| finder.fuse(k).filter(|_| is_float(k));
        self.fused = (0..self.instrs.len()).map(fuse).collect();
    }

    /// The operands of an instruction, with what it has taken in.
    fn operands(&self, k: usize) -> ([Reg; MAX_ARGS], usize) {
        if let Some(fused) = self.fused[k] {
            return (fused.args, fused.op.arity());
        }
        let (own, n) = operands(&self.instrs[k]);
        let mut args = [0; MAX_ARGS];
        args[..n].copy_from_slice(&own[..n]);
        (args, n)
    }

    fn value(&self, reg: Reg) -> usize {
        self.same[usize::from(reg)]
    }

    fn liveness(&mut self) {
        let ends = self.outputs.iter().copied();
        for reg in ends.chain(self.reductions.iter().map(|r| r.reg)) {
            let v = self.value(reg);
            self.last_use[v] = Some(usize::MAX);
        }
        for k in (0..self.instrs.len()).rev() {
            if self.last_use[self.inputs.len() + k].is_none() {
                continue;
            }
            let (args, n) = self.operands(k);
            for &arg in &args[..n] {
                let v = self.value(arg);
                self.last_use[v] = self.last_use[v].or(Some(k));
            }
        }
    }

    /// Slots of inputs and constants; returns the constants.
    fn place_constants(&mut self) -> Vec<Scalar> {
        let mut consts: Vec<Scalar> = Vec::new();
        for i in 0..self.inputs.len() {
            self.slot[i] = i as u16;
        }
        for (k, instr) in self.instrs.iter().enumerate() {
            let v = self.inputs.len() + k;
            let (Instr::Const(s), Some(_)) = (*instr, self.last_use[v]) else {
                continue;
            };
            let key = |s: &Scalar| (s.dtype(), s.bytes());
            let at = consts.iter().position(|c| key(c) == key(&s));
            let at = at.unwrap_or_else(|| {
                consts.push(s);
                consts.len() - 1
            });
            self.slot[v] = (self.inputs.len() + at) as u16;
        }
        consts
    }

    fn compile(mut self) -> Code {
        let consts = self.place_constants();
        let first_output = self.inputs.len() + consts.len();
        let first_temp = first_output + self.outputs.len();
        let mut copies = Vec::new();
        for (o, &reg) in self.outputs.iter().enumerate() {
            let v = self.value(reg);
            if self.slot[v] == NONE {
                self.slot[v] = (first_output + o) as u16;
            } else {
                copies.push((self.slot[v], o as u16));
            }
        }
        let (steps, temps) = self.steps(first_temp);
        let in_place = (0..self.outputs.len())
            .map(|o| self.in_place(o, (first_output + o) as u16, &copies))
            .collect();
        let type_of = |reg: &Reg| self.types[usize::from(*reg)];
        Code {
            inputs: self.inputs.to_vec(),
            outputs: self.outputs.iter().map(type_of).collect(),
            in_place,
            temps,
            width: self.types.iter().map(|t| t.size()).max().unwrap_or(1),
            cost: self.cost() + copies.len(),
            is_update: self.fused.iter().any(Option::is_some),
            copies,
            reductions: self
                .reductions
                .iter()
                .map(|r| (*r, self.slot[self.value(r.reg)], type_of(&r.reg)))
                .collect(),
            consts,
            steps,
        }
    }

    /// The instructions that are needed, with temporaries placed; and how many there are.
    fn steps(&mut self, first_temp: usize) -> (Vec<Step>, usize) {
        let mut steps = Vec::new();
        let mut free: Vec<u16> = Vec::new();
        let mut temps = 0;
        for k in 0..self.instrs.len() {
            let v = self.inputs.len() + k;
            let needed = self.last_use[v].is_some() && self.same[v] == v;
            let Some((f, far, op)) = self.function(k).filter(|_| needed) else {
                continue;
            };
            if self.slot[v] == NONE {
                self.slot[v] = free.pop().unwrap_or_else(|| {
                    temps += 1;
                    (first_temp + temps - 1) as u16
                });
            }
            let (regs, n) = self.operands(k);
            let mut args = [self.slot[v]; MAX_ARGS];
            for i in 0..n {
                let value = self.value(regs[i]);
                args[i] = self.slot[value];
                let repeated = regs[..i].iter().any(|&r| self.value(r) == value);
                let dies = self.last_use[value] == Some(k) && !repeated;
                if dies && usize::from(args[i]) >= first_temp {
                    free.push(args[i]);
                }
            }
            steps.push(Step {
                f,
                far,
                op,
                args,
                dst: self.slot[v],
            });
        }
        (steps, temps)
    }

    /// An instruction's function, that for operands far away, and its operation.
    fn function(&self, k: usize) -> Option<(InstrFn, InstrFn, u8)> {
        let of = |reg: Reg| self.types[usize::from(reg)];
        if let Some(Fused { op, args }) = self.fused[k] {
            let [f, far] = instr::fused(of(args[0]));
            return Some((f, far, op as u8));
        }
        if let Instr::Binary(op, a, _) = self.instrs[k] {
            let (near, far) = (instr::binary(of(a)), instr::far_binary(op, of(a)));
            return Some((near, far, op as u8));
        }
        let (f, op) = match self.instrs[k] {
            Instr::Const(_) | Instr::Binary(..) => return None,
            Instr::Unary(op, a) => (instr::unary(of(a)), op as u8),
            Instr::Select(_, a, _) => (instr::select(of(a)), 0),
            Instr::MulAdd(a, _, _) => (instr::mul_add(of(a)), 0),
            Instr::Cast(to, a) => (cast::cast(of(a), to), 0),
        };
        Some((f, f, op))
    }

    fn in_place(&self, output: usize, slot: u16, copies: &[(u16, u16)]) -> u64 {
        if copies.iter().any(|&(_, o)| usize::from(o) == output) {
            return 0;
        }
        let writer = (self.inputs.len()..self.types.len())
            .find(|&v| self.slot[v] == slot && self.same[v] == v);
        let writer = writer.map_or(usize::MAX, |v| v - self.inputs.len());
        let may_overlap = self.fused.get(writer).is_some_and(Option::is_some);
        let before = |k| k < writer || k == writer && may_overlap;
        (0..self.inputs.len())
            .filter(|&i| self.last_use[i].is_none_or(before))
            .fold(0, |bits, i| bits | 1 << i)
    }

    fn cost(&self) -> usize {
        let of = |reg: Reg| self.types[usize::from(reg)];
        let live = |k: &usize| self.last_use[self.inputs.len() + k].is_some();
        let instrs = (0..self.instrs.len()).filter(live).map(|k| {
            if let Some(Fused { op, args }) = self.fused[k] {
                return op.cost() * of(args[0]).size().div_ceil(4);
            }
            match self.instrs[k] {
                Instr::Const(_) => 0,
                Instr::Unary(op, a) => op.cost(of(a)),
                Instr::Binary(op, a, _) => op.cost(of(a)),
                Instr::Select(_, a, _) | Instr::MulAdd(a, _, _) => of(a).size().div_ceil(4),
                Instr::Cast(to, a) => of(a).size().max(to.size()).div_ceil(4),
            }
        });
        instrs.sum::<usize>() + self.reductions.len()
    }
}
