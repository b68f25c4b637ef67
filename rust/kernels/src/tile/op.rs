//! The operations of tile programs, their element types and their rough costs.

use crate::dtype::DType;
use crate::error::KernelError;

/// One operand, one result. The result has the operand's type unless stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UnaryOp {
    /// `-x` (numbers; wraps for integers).
    Neg,
    /// `|x|` (numbers; wraps for integers).
    Abs,
    /// -1, 0 or 1; NaN for NaN (numbers).
    Sign,
    /// `x * x` (numbers).
    Square,
    /// `max(x, 0)`; NaN for NaN (numbers).
    Relu,
    /// `e^x` (floats, as all that follow up to `IsNan`).
    Exp,
    /// `e^x - 1`, exact near 0.
    Expm1,
    /// Natural logarithm.
    Log,
    /// `ln(1 + x)`, exact near 0.
    Log1p,
    /// Square root.
    Sqrt,
    /// `1 / sqrt(x)`.
    Rsqrt,
    /// `1 / x`.
    Reciprocal,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Tangent.
    Tan,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `ln(1 + e^x)`.
    Softplus,
    /// Error function.
    Erf,
    /// Largest whole number not above.
    Floor,
    /// Smallest whole number not below.
    Ceil,
    /// Nearest whole number, ties to even.
    Round,
    /// Whether a float is NaN; the result is boolean.
    IsNan,
    /// Whether a float is neither NaN nor infinite; the result is boolean.
    IsFinite,
    /// Logical negation (booleans).
    Not,
}

impl UnaryOp {
    /// All of them.
    pub const ALL: [UnaryOp; 25] = {
        use UnaryOp::*;
        [
            Neg, Abs, Sign, Square, Relu, Exp, Expm1, Log, Log1p, Sqrt, Rsqrt, Reciprocal, Sin,
            Cos, Tan, Tanh, Sigmoid, Softplus, Erf, Floor, Ceil, Round, IsNan, IsFinite, Not,
        ]
    };

    /// The result's element type, or why `x` will not do.
    pub fn result(self, x: DType) -> Result<DType, KernelError> {
        use UnaryOp::*;
        let (fits, hint) = match self {
            Neg | Abs | Sign | Square | Relu => (x != DType::Bool, "cast it to a number"),
            Not => (x == DType::Bool, "cast it to bool"),
            _ => (x.is_float(), "cast it to f32 or f64"),
        };
        match self {
            _ if !fits => Err(KernelError::DType {
                op: format!("{self:?}"),
                got: x,
                hint,
            }),
            IsNan | IsFinite => Ok(DType::Bool),
            _ => Ok(x),
        }
    }

    /// Rough cost of one element in units of a simple vector instruction.
    pub(crate) fn cost(self, x: DType) -> usize {
        use UnaryOp::*;
        let simple = match self {
            Neg | Abs | Sign | Square | Relu | Floor | Ceil | Round | IsNan | IsFinite | Not => 1,
            Sqrt | Rsqrt | Reciprocal => 4,
            Exp | Expm1 | Log | Log1p | Sigmoid | Tanh | Erf => 8,
            Softplus => 16,
            Sin | Cos | Tan => 24,
        };
        match x {
            DType::F64 if simple > 4 => 100,
            _ => simple * x.size().div_ceil(4),
        }
    }
}

/// Two operands of one type, one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BinaryOp {
    /// Sum (numbers, as all that follow up to `Max`; integers wrap).
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient (floats only: integers use `FloorDiv` or are cast first).
    Div,
    /// Quotient rounded down; integers divided by 0 give 0.
    FloorDiv,
    /// Remainder with the divisor's sign, as in Python; integers modulo 0 give 0.
    Mod,
    /// Power. Of integers: a negative exponent gives the true power rounded towards 0 (0, 1 or
    /// -1; 0 for a base of 0).
    Pow,
    /// The larger one; NaN when either is NaN (any type).
    Max,
    /// The smaller one; NaN when either is NaN (any type).
    Min,
    /// Equal (any type; boolean result, as the five that follow).
    Eq,
    /// Different.
    Ne,
    /// Smaller.
    Lt,
    /// Smaller or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Logical and of booleans, bitwise of integers.
    And,
    /// Logical or of booleans, bitwise of integers.
    Or,
    /// Logical exclusive or of booleans, bitwise of integers.
    Xor,
}

impl BinaryOp {
    /// All of them.
    pub const ALL: [BinaryOp; 18] = {
        use BinaryOp::*;
        [
            Add, Sub, Mul, Div, FloorDiv, Mod, Pow, Max, Min, Eq, Ne, Lt, Le, Gt, Ge, And, Or, Xor,
        ]
    };

    /// The result's element type for operands of type `x`, or why they will not do.
    pub fn result(self, x: DType) -> Result<DType, KernelError> {
        use BinaryOp::*;
        let (fits, hint) = match self {
            Add | Sub | Mul | FloorDiv | Mod | Pow => {
                (x != DType::Bool, "cast it to a number, or use And, Or, Xor")
            }
            Div => (
                x.is_float(),
                "cast it to f32 or f64, or use FloorDiv for integers",
            ),
            And | Or | Xor => (!x.is_float(), "cast it to bool or an integer"),
            Max | Min | Eq | Ne | Lt | Le | Gt | Ge => (true, ""),
        };
        match self {
            _ if !fits => Err(KernelError::DType {
                op: format!("{self:?}"),
                got: x,
                hint,
            }),
            Eq | Ne | Lt | Le | Gt | Ge => Ok(DType::Bool),
            _ => Ok(x),
        }
    }

    /// Rough cost of one element in units of a simple vector instruction.
    pub(crate) fn cost(self, x: DType) -> usize {
        use BinaryOp::*;
        match self {
            Pow => 60,
            FloorDiv | Mod if !x.is_float() => 30,
            Div | FloorDiv | Mod => 4 * x.size().div_ceil(4),
            _ => x.size().div_ceil(4),
        }
    }
}

/// A constant of a tile program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// Boolean.
    Bool(bool),
    /// Unsigned byte.
    U8(u8),
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// Single precision.
    F32(f32),
    /// Double precision.
    F64(f64),
}

impl Scalar {
    /// The constant's element type.
    pub const fn dtype(self) -> DType {
        match self {
            Scalar::Bool(_) => DType::Bool,
            Scalar::U8(_) => DType::U8,
            Scalar::I32(_) => DType::I32,
            Scalar::I64(_) => DType::I64,
            Scalar::F32(_) => DType::F32,
            Scalar::F64(_) => DType::F64,
        }
    }

    /// `v` as a constant of type `dtype` (rounded, saturated; not 0 is true).
    pub fn from_f64(v: f64, dtype: DType) -> Scalar {
        match dtype {
            DType::Bool => Scalar::Bool(v != 0.0),
            DType::U8 => Scalar::U8(v as u8),
            DType::I32 => Scalar::I32(v as i32),
            DType::I64 => Scalar::I64(v as i64),
            DType::F32 => Scalar::F32(v as f32),
            DType::F64 => Scalar::F64(v),
        }
    }

    /// The bytes of the value, padded to eight.
    pub(crate) fn bytes(self) -> [u8; 8] {
        let mut out = [0; 8];
        match self {
            Scalar::Bool(v) => out[0] = u8::from(v),
            Scalar::U8(v) => out[0] = v,
            Scalar::I32(v) => out[..4].copy_from_slice(&v.to_ne_bytes()),
            Scalar::I64(v) => out = v.to_ne_bytes(),
            Scalar::F32(v) => out[..4].copy_from_slice(&v.to_ne_bytes()),
            Scalar::F64(v) => out = v.to_ne_bytes(),
        }
        out
    }
}

/// What a reduction at the end of a program runs over. Rows are the leading axes of the iteration
/// shape, columns the trailing ones; [`super::TileProgram::bind`] says where they are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceAxes {
    /// Everything: one value.
    All,
    /// The columns: one value for each row.
    Columns,
    /// The rows: one value for each column (a bias gradient).
    Rows,
}
