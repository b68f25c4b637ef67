//! Random tensors. Nothing flows back through them.

use crate::dtype::DType;
use crate::op::Distribution;
use crate::ops::operands::{Inferred, Operands, one};

pub(super) fn infer_random(dist: Distribution, dtype: DType, o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    match dist {
        Distribution::Uniform | Distribution::Normal | Distribution::TruncatedNormal => {
            if !dtype.is_float() {
                return Err(format!("draws float32 or float64, got dtype {dtype}"));
            }
        }
        Distribution::Bernoulli(p) => {
            let p = f64::from_bits(p);
            if !(0.0..=1.0).contains(&p) {
                return Err(format!("a probability lies in [0, 1], got {p}"));
            }
        }
    }
    one(dtype, o.target(0)?)
}
