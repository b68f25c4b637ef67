//! An interpreter of single elements, random programs and random operands.

use super::super::*;
use crate::dtype::DType;
use crate::math::{Integer, Math};

pub(super) const DTYPES: [DType; 6] = [
    DType::Bool,
    DType::U8,
    DType::I32,
    DType::I64,
    DType::F32,
    DType::F64,
];

pub(super) fn read(p: *const u8, t: DType) -> Scalar {
    // SAFETY: the tests point at elements of type `t`.
    unsafe {
        match t {
            DType::Bool => Scalar::Bool(*p != 0),
            DType::U8 => Scalar::U8(*p),
            DType::I32 => Scalar::I32(*p.cast()),
            DType::I64 => Scalar::I64(*p.cast()),
            DType::F32 => Scalar::F32(*p.cast()),
            DType::F64 => Scalar::F64(*p.cast()),
        }
    }
}

pub(super) fn as_f64(s: Scalar) -> f64 {
    match s {
        Scalar::Bool(v) => f64::from(u8::from(v)),
        Scalar::U8(v) => v.into(),
        Scalar::I32(v) => v.into(),
        Scalar::I64(v) => v as f64,
        Scalar::F32(v) => v.into(),
        Scalar::F64(v) => v,
    }
}

fn float_unary<T: Math>(op: UnaryOp, x: T) -> T {
    use UnaryOp::*;
    match op {
        Neg => -x,
        Abs => x.absolute(),
        Sign if x > T::ZERO => T::ONE,
        Sign if x < T::ZERO => -T::ONE,
        Sign => x + T::ZERO,
        Square => x * x,
        Relu if x <= T::ZERO => T::ZERO,
        Relu => x,
        Exp => x.exp(),
        Expm1 => x.exp_m1(),
        Log => x.ln(),
        Log1p => x.ln_1p(),
        Sqrt => x.sqrt(),
        Rsqrt => T::ONE / x.sqrt(),
        Reciprocal => T::ONE / x,
        Sin if x.absolute() > T::LARGE_ANGLE => T::from_f64(x.to_f64().sin()),
        Cos if x.absolute() > T::LARGE_ANGLE => T::from_f64(x.to_f64().cos()),
        Tan if x.absolute() > T::LARGE_ANGLE => T::from_f64(x.to_f64().tan()),
        Sin => x.sin(),
        Cos => x.cos(),
        Tan => x.tan(),
        Tanh => x.tanh(),
        Sigmoid => x.sigmoid(),
        Softplus => x.softplus(),
        Erf => x.erf(),
        Floor => x.floor(),
        Ceil => x.ceil(),
        Round => x.round_half_even(),
        IsNan | IsFinite | Not => unreachable!("not of this type"),
    }
}

fn int_unary<T: Integer>(op: UnaryOp, x: T) -> T {
    match op {
        UnaryOp::Neg => T::NIL.minus(x),
        UnaryOp::Abs => x.absolute(),
        UnaryOp::Sign => x.sign(),
        UnaryOp::Square => x.times(x),
        UnaryOp::Relu => x.max(T::NIL),
        _ => unreachable!("not of this type"),
    }
}

fn unary(op: UnaryOp, x: Scalar) -> Scalar {
    match (op, x) {
        (UnaryOp::IsNan, _) => Scalar::Bool(as_f64(x).is_nan()),
        (UnaryOp::IsFinite, _) => Scalar::Bool(as_f64(x).is_finite()),
        (_, Scalar::Bool(v)) => Scalar::Bool(!v),
        (_, Scalar::U8(v)) => Scalar::U8(int_unary(op, v)),
        (_, Scalar::I32(v)) => Scalar::I32(int_unary(op, v)),
        (_, Scalar::I64(v)) => Scalar::I64(int_unary(op, v)),
        (_, Scalar::F32(v)) => Scalar::F32(float_unary(op, v)),
        (_, Scalar::F64(v)) => Scalar::F64(float_unary(op, v)),
    }
}

fn float_binary<T: Math>(op: BinaryOp, a: T, b: T) -> T {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::FloorDiv => a.floor_div(b),
        BinaryOp::Mod => a.modulo(b),
        BinaryOp::Pow => a.pow(b),
        BinaryOp::Max | BinaryOp::Min if a.not_a_number() => a,
        BinaryOp::Max | BinaryOp::Min if b.not_a_number() => b,
        BinaryOp::Max if a > b => a,
        BinaryOp::Min if a < b => a,
        _ => b,
    }
}

fn int_binary<T: Integer>(op: BinaryOp, a: T, b: T) -> T {
    match op {
        BinaryOp::Add => a.plus(b),
        BinaryOp::Sub => a.minus(b),
        BinaryOp::Mul => a.times(b),
        BinaryOp::FloorDiv => a.floor_div(b),
        BinaryOp::Mod => a.modulo(b),
        BinaryOp::Pow => a.pow(b),
        BinaryOp::Max => a.max(b),
        BinaryOp::Min => a.min(b),
        BinaryOp::And => a & b,
        BinaryOp::Or => a | b,
        _ => a ^ b,
    }
}

fn compare<T: PartialOrd>(op: BinaryOp, a: T, b: T) -> Option<Scalar> {
    Some(Scalar::Bool(match op {
        BinaryOp::Eq => a == b,
        BinaryOp::Ne => a != b,
        BinaryOp::Lt => a < b,
        BinaryOp::Le => a <= b,
        BinaryOp::Gt => a > b,
        BinaryOp::Ge => a >= b,
        _ => return None,
    }))
}

pub(super) fn binary(op: BinaryOp, a: Scalar, b: Scalar) -> Scalar {
    use Scalar::*;
    match (a, b) {
        (Bool(a), Bool(b)) => {
            compare(op, a, b).unwrap_or_else(|| Bool(int_binary(op, u8::from(a), u8::from(b)) != 0))
        }
        (U8(a), U8(b)) => compare(op, a, b).unwrap_or_else(|| U8(int_binary(op, a, b))),
        (I32(a), I32(b)) => compare(op, a, b).unwrap_or_else(|| I32(int_binary(op, a, b))),
        (I64(a), I64(b)) => compare(op, a, b).unwrap_or_else(|| I64(int_binary(op, a, b))),
        (F32(a), F32(b)) => compare(op, a, b).unwrap_or_else(|| F32(float_binary(op, a, b))),
        (F64(a), F64(b)) => compare(op, a, b).unwrap_or_else(|| F64(float_binary(op, a, b))),
        _ => unreachable!("checked types"),
    }
}

fn cast(to: DType, x: Scalar) -> Scalar {
    match (x, to) {
        // Through f64 these would lose bits.
        (Scalar::I64(v), DType::I64) => Scalar::I64(v),
        (Scalar::I64(v), DType::I32) => Scalar::I32(v as i32),
        (Scalar::I64(v), DType::U8) => Scalar::U8(v as u8),
        (Scalar::I64(v), DType::F32) => Scalar::F32(v as f32),
        (Scalar::I32(v), DType::U8) => Scalar::U8(v as u8),
        _ => Scalar::from_f64(as_f64(x), to),
    }
}

pub(super) fn evaluate(instrs: &[Instr], mut values: Vec<Scalar>) -> Vec<Scalar> {
    for instr in instrs {
        let of = |r: Reg| values[usize::from(r)];
        let v = match *instr {
            Instr::Const(s) => s,
            Instr::Unary(op, a) => unary(op, of(a)),
            Instr::Binary(op, a, b) => binary(op, of(a), of(b)),
            Instr::Cast(to, a) => cast(to, of(a)),
            Instr::Select(m, a, b) => match of(m) {
                Scalar::Bool(true) => of(a),
                _ => of(b),
            },
            Instr::MulAdd(a, b, c) => match (of(a), of(b), of(c)) {
                (Scalar::F32(a), Scalar::F32(b), Scalar::F32(c)) => Scalar::F32(a.mul_add(b, c)),
                (a, b, c) => Scalar::F64(as_f64(a).mul_add(as_f64(b), as_f64(c))),
            },
        };
        values.push(v);
    }
    values
}

/// Same bits, any NaN being like any other.
pub(super) fn same(a: Scalar, b: Scalar) -> bool {
    let nan = as_f64(a).is_nan() && as_f64(b).is_nan();
    a.dtype() == b.dtype() && (nan || a.bytes() == b.bytes())
}

/// An operand: memory, the strides of the shape, and where its element 0 is.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) dtype: DType,
    memory: Vec<u64>,
    offset: usize,
    pub(super) strides: Vec<isize>,
}

impl Operand {
    pub(super) fn ptr(&self) -> *mut u8 {
        let base = self.memory.as_ptr().cast::<u8>().cast_mut();
        base.wrapping_add(self.offset * self.dtype.size())
    }

    pub(super) fn get(&self, index: &[usize]) -> Scalar {
        self.get_from(self.ptr(), index)
    }

    pub(super) fn get_from(&self, base: *mut u8, index: &[usize]) -> Scalar {
        let at: isize = index
            .iter()
            .zip(&self.strides)
            .map(|(&i, s)| i as isize * s)
            .sum();
        read(
            base.wrapping_offset(at * self.dtype.size() as isize),
            self.dtype,
        )
    }

    /// The same with every second element unused.
    pub(super) fn spread(mut self) -> Operand {
        self.strides.iter_mut().for_each(|s| *s *= 2);
        self.memory.extend(self.memory.clone());
        self
    }
}

/// Deterministic bits.
pub(super) struct Bits(pub(super) u64);

impl Bits {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let z = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        z ^ (z >> 33)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(super) fn value(&mut self, t: DType) -> Scalar {
        let special = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            2.5,
            1e10,
        ];
        let v = match self.below(4) {
            0 => special[self.below(special.len())],
            1 => self.below(7) as f64 - 3.0,
            _ => (self.next() as i32 as f64) * 2f64.powi(self.below(20) as i32 - 40),
        };
        Scalar::from_f64(v, t)
    }

    /// Strides that reach every element: permuted, reversed or padded axes, some broadcast.
    pub(super) fn operand(&mut self, t: DType, shape: &[usize], contiguous: bool) -> Operand {
        let mut strides = vec![0isize; shape.len()];
        let mut order: Vec<usize> = (0..shape.len()).rev().collect();
        let kind = if contiguous { 0 } else { self.below(6) };
        if kind == 1 {
            order.reverse();
        }
        let keep = self.below(shape.len() + 1);
        let (mut step, mut offset) = (1usize, 0);
        for &axis in &order {
            let broadcast = match kind {
                2 => axis < keep,
                3 => axis >= keep,
                4 => self.below(2) == 0,
                _ => false,
            };
            if broadcast {
                continue;
            }
            let n = shape[axis].max(1);
            strides[axis] = step as isize;
            if kind == 5 && self.below(2) == 0 {
                strides[axis] = -strides[axis];
                offset += (n - 1) * step;
            }
            step *= n + usize::from(kind == 5);
        }
        let mut memory = vec![0u64; (step * t.size()).div_ceil(8)];
        for i in 0..step {
            let bytes = self.value(t).bytes();
            // SAFETY: the memory holds `step` elements.
            unsafe {
                let at = memory.as_mut_ptr().cast::<u8>().add(i * t.size());
                at.copy_from_nonoverlapping(bytes.as_ptr(), t.size());
            }
        }
        Operand {
            dtype: t,
            memory,
            offset,
            strides,
        }
    }

    /// A random program that is valid; returns it with its types.
    pub(super) fn program(&mut self, inputs: &[DType]) -> (Vec<Instr>, Vec<DType>) {
        let (mut instrs, mut types) = (Vec::new(), inputs.to_vec());
        while instrs.len() < 8 {
            let reg = |b: &mut Self| b.below(types.len()) as Reg;
            let of = |r: Reg| types[usize::from(r)];
            let (a, b, c) = (reg(self), reg(self), reg(self));
            let instr = match self.below(8) {
                0 => {
                    let t = DTYPES[self.below(6)];
                    Instr::Const(self.value(t))
                }
                1 => Instr::Cast(DTYPES[self.below(6)], a),
                2 | 3 => Instr::Unary(UnaryOp::ALL[self.below(UnaryOp::ALL.len())], a),
                4 => Instr::Select(a, b, c),
                5 => Instr::MulAdd(a, b, c),
                _ => Instr::Binary(BinaryOp::ALL[self.below(BinaryOp::ALL.len())], a, b),
            };
            let t = match instr {
                Instr::Const(s) => Some(s.dtype()),
                Instr::Cast(to, _) => Some(to),
                Instr::Unary(op, a) => op.result(of(a)).ok(),
                Instr::Binary(op, a, b) if of(a) == of(b) => op.result(of(a)).ok(),
                Instr::Select(m, a, b) if of(m) == DType::Bool && of(a) == of(b) => Some(of(a)),
                Instr::MulAdd(a, b, c) if of(a).is_float() && of(a) == of(b) && of(a) == of(c) => {
                    Some(of(a))
                }
                _ => None,
            };
            if let Some(t) = t {
                instrs.push(instr);
                types.push(t);
            }
        }
        (instrs, types)
    }
}

pub(super) fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let total: usize = shape.iter().product();
    let index = |mut i: usize| {
        let mut at = vec![0; shape.len()];
        for axis in (0..shape.len()).rev() {
            (at[axis], i) = (i % shape[axis], i / shape[axis]);
        }
        at
    };
    (0..total).map(index).collect()
}
