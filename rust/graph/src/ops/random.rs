//! Random tensors. Nothing flows back through them.

use crate::dtype::DType;
use crate::op::{Distribution, Op};
use crate::ops::operands::{Inferred, Operands, one};
use crate::ops::sample::{Sample, sizes};

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

pub(super) fn samples() -> Vec<Sample> {
    let half = Distribution::Bernoulli(0.5f64.to_bits());
    let cases = [
        (Distribution::Uniform, DType::F32),
        (Distribution::Normal, DType::F32),
        (Distribution::TruncatedNormal, DType::F32),
        (half, DType::F32),
        (half, DType::Bool),
        (half, DType::I32),
    ];
    let shapes: [&[i64]; 4] = [&[], &[1], &[0, 4], &[33, 5]];
    let sample = |(dist, dtype): (Distribution, DType), shape: &[i64]| {
        let op = Op::Random {
            dist,
            dtype,
            key: 7,
        };
        Sample::new(op, vec![sizes(shape)]).without_gradient()
    };
    cases
        .into_iter()
        .flat_map(|case| shapes.into_iter().map(move |shape| sample(case, shape)))
        .collect()
}
