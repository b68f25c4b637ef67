//! Products, convolutions, pooling and losses.

use hornbeam_graph::op::{ConvAttrs, Epilogue, Padding, PoolAttrs};
use hornbeam_graph::{Op, Tensor};
use pyo3::prelude::*;

use super::{Built, T, build, node, shape_operand, unknown};
use crate::tensor::PyTensor;

/// A product over the last two axes.
pub(crate) fn matmul_of(x: &Tensor, y: &Tensor, ta: bool, tb: bool) -> PyResult<Tensor> {
    let op = Op::MatMul {
        transpose_a: ta,
        transpose_b: tb,
        epilogue: Epilogue::default(),
    };
    node(op, vec![x.clone(), y.clone()])
}

/// A product over the last two axes.
#[pyfunction]
#[pyo3(signature = (x, y, transpose_a = false, transpose_b = false))]
pub(crate) fn matmul(x: &T<'_>, y: &T<'_>, transpose_a: bool, transpose_b: bool) -> Built {
    Ok(matmul_of(&x.get().tensor, &y.get().tensor, transpose_a, transpose_b)?.into())
}

fn padding_of(padding: &Bound<'_, PyAny>) -> PyResult<Padding> {
    match padding.extract::<String>().as_deref() {
        Ok("valid") => Ok(Padding::Valid),
        Ok("same") => Ok(Padding::Same),
        Ok(other) => Err(unknown("padding", other)),
        Err(_) => Ok(Padding::Explicit(padding.extract()?)),
    }
}

/// A convolution, channels last.
#[pyfunction]
#[pyo3(signature = (x, kernel, strides, padding, dilation, groups = 1))]
pub(crate) fn conv(
    x: &T<'_>,
    kernel: &T<'_>,
    strides: Vec<usize>,
    padding: &Bound<'_, PyAny>,
    dilation: Vec<usize>,
    groups: usize,
) -> Built {
    let attrs = ConvAttrs {
        strides,
        padding: padding_of(padding)?,
        dilation,
        groups,
    };
    build(Op::Conv(attrs, Epilogue::default()), &[x, kernel])
}

/// The gradient of a convolution to its input.
#[pyfunction]
#[pyo3(signature = (x, kernel, output_shape, strides, padding, dilation, groups = 1))]
pub(crate) fn conv_transpose(
    x: &T<'_>,
    kernel: &T<'_>,
    output_shape: &Bound<'_, PyAny>,
    strides: Vec<usize>,
    padding: &Bound<'_, PyAny>,
    dilation: Vec<usize>,
    groups: usize,
) -> Built {
    let attrs = ConvAttrs {
        strides,
        padding: padding_of(padding)?,
        dilation,
        groups,
    };
    let shape = shape_operand(output_shape)?;
    let inputs = vec![x.get().tensor.clone(), kernel.get().tensor.clone(), shape];
    Ok(node(Op::ConvGradInput(attrs), inputs)?.into())
}

/// Maximum or average of windows.
#[pyfunction]
pub(crate) fn pool(
    mode: &str,
    x: &T<'_>,
    size: Vec<usize>,
    strides: Vec<usize>,
    padding: &Bound<'_, PyAny>,
) -> Built {
    let attrs = PoolAttrs {
        size,
        strides,
        padding: padding_of(padding)?,
    };
    match mode {
        "max" => build(Op::MaxPool(attrs), &[x]),
        "avg" => build(Op::AvgPool(attrs), &[x]),
        _ => Err(unknown("pooling", mode)),
    }
}

/// Softmax over the last axis.
#[pyfunction]
pub(crate) fn softmax(x: &T<'_>) -> Built {
    build(Op::Softmax, &[x])
}

/// Its logarithm.
#[pyfunction]
pub(crate) fn log_softmax(x: &T<'_>) -> Built {
    build(Op::LogSoftmax, &[x])
}

/// Cross-entropy of softmax(logits) for each row.
#[pyfunction]
pub(crate) fn softmax_cross_entropy(logits: &T<'_>, targets: &T<'_>) -> Built {
    build(Op::SoftmaxCrossEntropy, &[logits, targets])
}

/// The same with integer labels.
#[pyfunction]
pub(crate) fn sparse_softmax_cross_entropy(logits: &T<'_>, labels: &T<'_>) -> Built {
    build(Op::SparseSoftmaxCrossEntropy, &[logits, labels])
}

/// Binary cross-entropy of sigmoid(logits).
#[pyfunction]
pub(crate) fn sigmoid_cross_entropy(logits: &T<'_>, targets: &T<'_>) -> Built {
    build(Op::SigmoidCrossEntropy, &[logits, targets])
}

/// The likeliest labellings of a connectionist temporal classifier: `(labels, scores)`.
#[pyfunction]
pub(crate) fn ctc_beam_search(
    log_p: &T<'_>,
    lengths: &T<'_>,
    beam_width: usize,
    top_paths: usize,
) -> PyResult<(PyTensor, PyTensor)> {
    let op = Op::CtcBeamSearch {
        beam_width,
        top_paths,
    };
    let operands = vec![log_p.get().tensor.clone(), lengths.get().tensor.clone()];
    let labels = node(op, operands)?;
    let scores = Tensor {
        node: labels.node.clone(),
        index: 1,
    };
    Ok((labels.into(), scores.into()))
}
