//! Decoding of connectionist temporal classifiers. Nothing flows back through it.

use crate::dtype::DType;
use crate::node::TensorType;
use crate::op::Op;
use crate::ops::operands::{Inferred, Operands};
use crate::ops::sample::{Sample, SampleInput, Values};

pub(super) fn infer_beam_search(beam_width: usize, top_paths: usize, o: &Operands<'_>) -> Inferred {
    o.count(2)?;
    let dtype = o.float(0, "the log-probabilities")?;
    if o.rank(0) != 3 || o.rank(1) != 1 || o.dtype(1) != DType::I64 {
        return Err(format!(
            "takes log-probabilities of shape (samples, steps, classes) and int64 lengths of shape \
             (samples,), got {} and {} {}",
            o.show(0),
            o.dtype(1),
            o.show(1)
        ));
    }
    if top_paths == 0 || beam_width < top_paths {
        return Err(format!(
            "finds 1 to beam_width paths, got top_paths={top_paths} with beam_width={beam_width}"
        ));
    }
    if o.shape(0)[2] == Some(0) {
        return Err("needs one class at least, the blank".to_string());
    }
    let samples = match (o.shape(0)[0], o.shape(1)[0]) {
        (Some(a), Some(b)) if a != b => {
            return Err(format!("got {a} samples, but {b} lengths"));
        }
        (a, b) => a.or(b),
    };
    let paths = TensorType {
        dtype: DType::I64,
        shape: vec![samples, Some(top_paths), o.shape(0)[1]],
    };
    let scores = TensorType {
        dtype,
        shape: vec![samples, Some(top_paths)],
    };
    Ok(vec![paths, scores])
}

pub(super) fn samples() -> Vec<Sample> {
    let sample = |[n, steps, classes]: [usize; 3], beam_width: usize, top_paths: usize| {
        let op = Op::CtcBeamSearch {
            beam_width,
            top_paths,
        };
        let logs = SampleInput::new(
            DType::F32,
            &[n, steps, classes],
            Values::Between(-4.0, -0.1),
        );
        let lengths = SampleInput::new(DType::I64, &[n], Values::Below(steps + 1));
        Sample::new(op, vec![logs, lengths]).without_gradient()
    };
    vec![
        sample([3, 6, 4], 5, 2),
        sample([1, 1, 1], 1, 1),
        sample([0, 4, 3], 3, 1),
        sample([2, 0, 3], 3, 3),
        sample([9, 12, 7], 20, 4),
    ]
}
