//! Constant tensors: a type, a shape and row-major bytes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dtype::DType;

/// A constant tensor. Cheap to clone; compared and hashed by contents.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Literal {
    /// Element type.
    pub dtype: DType,
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Row-major elements in native byte order.
    pub bytes: Arc<[u8]>,
}

impl std::fmt::Debug for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.len() <= 8 {
            write!(f, "{}{:?}{:?}", self.dtype, self.shape, self.to_f64())
        } else {
            write!(f, "{}{:?}", self.dtype, self.shape)
        }
    }
}

impl Literal {
    /// A constant from its parts.
    ///
    /// # Panics
    /// When the number of bytes is not what shape and type need.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: impl Into<Arc<[u8]>>) -> Literal {
        let bytes = bytes.into();
        let want = shape.iter().product::<usize>() * dtype.size();
        assert_eq!(
            bytes.len(),
            want,
            "a {dtype} constant of shape {shape:?} has {want} bytes"
        );
        Literal {
            dtype,
            shape,
            bytes,
        }
    }

    /// A scalar of the given type, rounded from `value` (bool: whether it is not zero).
    pub fn scalar(dtype: DType, value: f64) -> Literal {
        Literal::from_f64(dtype, Vec::new(), &[value])
    }

    /// A constant of the given type whose elements are rounded from `values`.
    pub fn from_f64(dtype: DType, shape: Vec<usize>, values: &[f64]) -> Literal {
        let mut bytes = Vec::with_capacity(values.len() * dtype.size());
        for &v in values {
            match dtype {
                DType::Bool => bytes.push(u8::from(v != 0.0)),
                DType::U8 => bytes.push(v as u8),
                DType::I32 => bytes.extend((v as i32).to_ne_bytes()),
                DType::I64 => bytes.extend((v as i64).to_ne_bytes()),
                DType::F32 => bytes.extend((v as f32).to_ne_bytes()),
                DType::F64 => bytes.extend(v.to_ne_bytes()),
            }
        }
        Literal::new(dtype, shape, bytes)
    }

    /// A 1-D `int64` constant, as shape operands are.
    pub fn ints(values: &[i64]) -> Literal {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
        Literal::new(DType::I64, vec![values.len()], bytes)
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements as `f64` (`int64` beyond 2^53 is rounded).
    pub fn to_f64(&self) -> Vec<f64> {
        let b = &self.bytes;
        match self.dtype {
            DType::Bool | DType::U8 => b.iter().map(|&v| f64::from(v)).collect(),
            DType::I32 => chunks(b, |c| f64::from(i32::from_ne_bytes(c))),
            DType::I64 => chunks(b, |c| i64::from_ne_bytes(c) as f64),
            DType::F32 => chunks(b, |c| f64::from(f32::from_ne_bytes(c))),
            DType::F64 => chunks(b, f64::from_ne_bytes),
        }
    }

    /// All elements of an integer or bool constant as `i64`; `None` for floats.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        let b = &self.bytes;
        match self.dtype {
            DType::Bool | DType::U8 => Some(b.iter().map(|&v| i64::from(v)).collect()),
            DType::I32 => Some(chunks(b, |c| i64::from(i32::from_ne_bytes(c)))),
            DType::I64 => Some(chunks(b, i64::from_ne_bytes)),
            DType::F32 | DType::F64 => None,
        }
    }

    /// The value, if every element is the same (and there is one).
    pub fn uniform(&self) -> Option<f64> {
        let size = self.dtype.size();
        let first = self.bytes.get(..size)?;
        let same = self.bytes.chunks_exact(size).all(|c| c == first);
        same.then(|| first_f64(self.dtype, first))
    }
}

fn chunks<const N: usize, R>(bytes: &[u8], f: impl Fn([u8; N]) -> R) -> Vec<R> {
    bytes
        .chunks_exact(N)
        .map(|c| f(c.try_into().expect("chunks have N bytes")))
        .collect()
}

/// The element at the start of `bytes`.
fn first_f64(dtype: DType, bytes: &[u8]) -> f64 {
    match dtype {
        DType::Bool | DType::U8 => f64::from(bytes[0]),
        DType::I32 => chunks(bytes, |c| f64::from(i32::from_ne_bytes(c)))[0],
        DType::I64 => chunks(bytes, |c| i64::from_ne_bytes(c) as f64)[0],
        DType::F32 => chunks(bytes, |c| f64::from(f32::from_ne_bytes(c)))[0],
        DType::F64 => chunks(bytes, f64::from_ne_bytes)[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_bytes() {
        for dtype in [
            DType::Bool,
            DType::U8,
            DType::I32,
            DType::I64,
            DType::F32,
            DType::F64,
        ] {
            let l = Literal::from_f64(dtype, vec![2], &[0.0, 1.0]);
            assert_eq!(l.to_f64(), [0.0, 1.0]);
            assert_eq!(l.uniform(), None);
            assert_eq!(Literal::scalar(dtype, 1.0).uniform(), Some(1.0));
        }
        assert_eq!(Literal::ints(&[3, -1]).to_i64(), Some(vec![3, -1]));
    }
}
