//! Example calls of operations, from which sweep tests are driven: inferred against real shapes,
//! gradients against finite differences, the same bits for any number of threads.

use crate::dtype::DType;
use crate::literal::Literal;
use crate::op::Op;

/// An example call of an operation.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The operation.
    pub op: Op,
    /// What the operands are like.
    pub inputs: Vec<SampleInput>,
    /// Whether finite differences of the outputs are the gradient: not so where nothing flows back
    /// by definition, or where a second derivative is not supported.
    pub gradient: bool,
}

/// What an operand of a sample is like.
#[derive(Clone, Debug)]
pub struct SampleInput {
    /// Element type.
    pub dtype: DType,
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Where its elements come from.
    pub values: Values,
    /// Whether it must be a constant of the graph, as shapes are.
    pub constant: bool,
}

/// Where the elements of an operand come from.
#[derive(Clone, Debug)]
pub enum Values {
    /// Uniform between two bounds.
    Between(f64, f64),
    /// Of either sign, with the magnitude uniform between two bounds.
    AwayFromZero(f64, f64),
    /// A shuffle of numbers that lie 1/8 apart, so that a small change changes no order.
    Distinct,
    /// Whole numbers below a bound.
    Below(usize),
    /// Exactly these.
    Given(Vec<f64>),
}

impl Sample {
    /// A sample whose gradient finite differences can check.
    pub(crate) fn new(op: Op, inputs: Vec<SampleInput>) -> Sample {
        Sample {
            op,
            inputs,
            gradient: true,
        }
    }

    /// The same sample without a check of its gradient.
    pub(crate) fn without_gradient(mut self) -> Sample {
        self.gradient = false;
        self
    }

    /// The sample with `dtype` in the place of `float32` operands and results.
    #[must_use]
    pub fn with_float(mut self, dtype: DType) -> Sample {
        for input in &mut self.inputs {
            if input.dtype == DType::F32 {
                input.dtype = dtype;
            }
        }
        match &mut self.op {
            Op::Random { dtype: own, .. } | Op::Arange(own) if *own == DType::F32 => *own = dtype,
            _ => {}
        }
        self
    }

    /// The operands' values: the same for the same seed.
    pub fn literals(&self, seed: u64) -> Vec<Literal> {
        let inputs = self.inputs.iter().enumerate();
        inputs
            .map(|(k, input)| input.literal(seed.wrapping_mul(31).wrapping_add(k as u64)))
            .collect()
    }
}

impl SampleInput {
    pub(crate) fn new(dtype: DType, shape: &[usize], values: Values) -> SampleInput {
        SampleInput {
            dtype,
            shape: shape.to_vec(),
            values,
            constant: false,
        }
    }

    /// Operand values: the same for the same seed.
    pub fn literal(&self, seed: u64) -> Literal {
        let n: usize = self.shape.iter().product();
        let mut noise = SplitMix(seed);
        let values: Vec<f64> = match &self.values {
            Values::Between(low, high) => {
                (0..n).map(|_| low + (high - low) * noise.unit()).collect()
            }
            Values::AwayFromZero(low, high) => (0..n)
                .map(|_| {
                    let size = low + (high - low) * noise.unit();
                    if noise.unit() < 0.5 { -size } else { size }
                })
                .collect(),
            Values::Distinct => shuffled(n, &mut noise),
            Values::Below(bound) => (0..n)
                .map(|_| (noise.unit() * *bound as f64).floor())
                .collect(),
            Values::Given(values) => values.clone(),
        };
        Literal::from_f64(self.dtype, self.shape.clone(), &values)
    }
}

fn shuffled(n: usize, noise: &mut SplitMix) -> Vec<f64> {
    let mut values: Vec<f64> = (0..n).map(|i| (i as f64 - n as f64 / 2.0) / 8.0).collect();
    for i in (1..n).rev() {
        values.swap(i, (noise.unit() * (i + 1) as f64) as usize);
    }
    values
}

/// The SplitMix64 generator.
struct SplitMix(u64);

impl SplitMix {
    /// Uniform on [0, 1).
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Floats between -1 and 1.
pub(crate) fn float(shape: &[usize]) -> SampleInput {
    SampleInput::new(DType::F32, shape, Values::Between(-1.0, 1.0))
}

/// Floats between two positive bounds.
pub(crate) fn positive(shape: &[usize]) -> SampleInput {
    SampleInput::new(DType::F32, shape, Values::Between(0.3, 2.0))
}

/// Floats that lie apart from each other.
pub(crate) fn distinct(shape: &[usize]) -> SampleInput {
    SampleInput::new(DType::F32, shape, Values::Distinct)
}

/// Integers below a bound.
pub(crate) fn below(dtype: DType, shape: &[usize], bound: usize) -> SampleInput {
    SampleInput::new(dtype, shape, Values::Below(bound))
}

/// Zeros and ones of type bool.
pub(crate) fn flags(shape: &[usize]) -> SampleInput {
    below(DType::Bool, shape, 2)
}

/// A constant vector of sizes.
pub(crate) fn sizes(values: &[i64]) -> SampleInput {
    let given = Values::Given(values.iter().map(|&v| v as f64).collect());
    SampleInput {
        constant: true,
        ..SampleInput::new(DType::I64, &[values.len()], given)
    }
}
