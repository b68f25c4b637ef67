//! Element types of tensors, and the traits that kernels are generic over.

/// The element types that kernels know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
}

impl DType {
    /// The size of one element in bytes.
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 => 1,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// Whether the type is a floating-point type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }
}

/// A floating-point element: `f32` or `f64`.
pub trait Float:
    Copy
    + Send
    + Sync
    + Default
    + PartialOrd
    + std::fmt::Debug
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + crate::gemm::Vectors
    + 'static
{
    /// The run-time tag of the type.
    const DTYPE: DType;
    /// Additive identity.
    const ZERO: Self;
    /// Multiplicative identity.
    const ONE: Self;
    /// Fused multiply-add: `self * a + b` rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Conversion from `f64`, rounding.
    fn from_f64(v: f64) -> Self;
    /// Conversion to `f64`.
    fn to_f64(self) -> f64;
}

macro_rules! impl_float {
    ($t:ty, $d:expr) => {
        impl Float for $t {
            const DTYPE: DType = $d;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                <$t>::mul_add(self, a, b)
            }
            #[inline(always)]
            fn from_f64(v: f64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    };
}
impl_float!(f32, DType::F32);
impl_float!(f64, DType::F64);

/// The storage type of an element: `u8` (also for booleans), `i32`, `i64`, `f32` or `f64`.
///
/// Integer arithmetic wraps. `max_nan` and `min_nan` propagate NaN, as NumPy's do.
pub trait Element:
    Copy + Send + Sync + Default + PartialEq + PartialOrd + std::fmt::Debug + 'static
{
    /// Additive identity.
    const NIL: Self;
    /// Multiplicative identity.
    const UNIT: Self;
    /// Identity of `max_nan`: negative infinity, or the smallest integer.
    const LOWEST: Self;
    /// Identity of `min_nan`: infinity, or the largest integer.
    const HIGHEST: Self;
    /// What sums are finished in: `f64` for floats, the type itself for integers.
    type Wide: Copy + Send + Sync + 'static;
    /// The zero of `Wide`.
    const WIDE_NIL: Self::Wide;
    /// Sum.
    fn plus(self, other: Self) -> Self;
    /// Product.
    fn times(self, other: Self) -> Self;
    /// Adds `self` to a wide sum.
    fn plus_wide(self, sum: Self::Wide) -> Self::Wide;
    /// Adds two wide sums.
    fn merge_wide(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    /// A wide sum divided by the number of elements; of integers rounded towards zero, 0 for none.
    fn mean_of(sum: Self::Wide, n: usize) -> Self;
    /// Rounds a wide sum.
    fn from_wide(sum: Self::Wide) -> Self;
    /// Whether this is NaN (never, for integers).
    #[inline(always)]
    fn not_a_number(self) -> bool {
        self.partial_cmp(&self).is_none()
    }
    /// The larger one; NaN when either is NaN.
    #[inline(always)]
    fn max_nan(self, other: Self) -> Self {
        if self > other || self.not_a_number() {
            self
        } else {
            other
        }
    }
    /// The smaller one; NaN when either is NaN.
    #[inline(always)]
    fn min_nan(self, other: Self) -> Self {
        if self < other || self.not_a_number() {
            self
        } else {
            other
        }
    }
}

impl Element for u8 {
    const NIL: Self = 0;
    const UNIT: Self = 1;
    const LOWEST: Self = u8::MIN;
    const HIGHEST: Self = u8::MAX;
    type Wide = u8;
    const WIDE_NIL: u8 = 0;
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }
    #[inline(always)]
    fn plus_wide(self, sum: u8) -> u8 {
        sum.wrapping_add(self)
    }
    #[inline(always)]
    fn merge_wide(a: u8, b: u8) -> u8 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    fn mean_of(sum: u8, n: usize) -> Self {
        i128::from(sum).checked_div(n as i128).unwrap_or(0) as u8
    }
    #[inline(always)]
    fn from_wide(sum: u8) -> Self {
        sum
    }
}

impl Element for i32 {
    const NIL: Self = 0;
    const UNIT: Self = 1;
    const LOWEST: Self = i32::MIN;
    const HIGHEST: Self = i32::MAX;
    type Wide = i32;
    const WIDE_NIL: i32 = 0;
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }
    #[inline(always)]
    fn plus_wide(self, sum: i32) -> i32 {
        sum.wrapping_add(self)
    }
    #[inline(always)]
    fn merge_wide(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    fn mean_of(sum: i32, n: usize) -> Self {
        i128::from(sum).checked_div(n as i128).unwrap_or(0) as i32
    }
    #[inline(always)]
    fn from_wide(sum: i32) -> Self {
        sum
    }
}

impl Element for i64 {
    const NIL: Self = 0;
    const UNIT: Self = 1;
    const LOWEST: Self = i64::MIN;
    const HIGHEST: Self = i64::MAX;
    type Wide = i64;
    const WIDE_NIL: i64 = 0;
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }
    #[inline(always)]
    fn plus_wide(self, sum: i64) -> i64 {
        sum.wrapping_add(self)
    }
    #[inline(always)]
    fn merge_wide(a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    fn mean_of(sum: i64, n: usize) -> Self {
        i128::from(sum).checked_div(n as i128).unwrap_or(0) as i64
    }
    #[inline(always)]
    fn from_wide(sum: i64) -> Self {
        sum
    }
}

impl Element for f32 {
    const NIL: Self = 0.0;
    const UNIT: Self = 1.0;
    const LOWEST: Self = f32::NEG_INFINITY;
    const HIGHEST: Self = f32::INFINITY;
    type Wide = f64;
    const WIDE_NIL: f64 = 0.0;
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    fn plus_wide(self, sum: f64) -> f64 {
        sum + f64::from(self)
    }
    #[inline(always)]
    fn merge_wide(a: f64, b: f64) -> f64 {
        a + b
    }
    #[inline(always)]
    fn mean_of(sum: f64, n: usize) -> Self {
        (sum / n as f64) as f32
    }
    #[inline(always)]
    fn from_wide(sum: f64) -> Self {
        sum as f32
    }
}

impl Element for f64 {
    const NIL: Self = 0.0;
    const UNIT: Self = 1.0;
    const LOWEST: Self = f64::NEG_INFINITY;
    const HIGHEST: Self = f64::INFINITY;
    type Wide = f64;
    const WIDE_NIL: f64 = 0.0;
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    fn plus_wide(self, sum: f64) -> f64 {
        sum + self
    }
    #[inline(always)]
    fn merge_wide(a: f64, b: f64) -> f64 {
        a + b
    }
    #[inline(always)]
    fn mean_of(sum: f64, n: usize) -> Self {
        sum / n as f64
    }
    #[inline(always)]
    fn from_wide(sum: f64) -> Self {
        sum
    }
}
