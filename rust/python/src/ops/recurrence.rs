//! Recurrences over sequences.

use hornbeam_graph::op::{RnnActivation, RnnAttrs, RnnCell, SliceAxis};
use hornbeam_graph::ops::scan::scan as scan_of;
use hornbeam_graph::{Op, Tensor};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{Axis, SCOPE, T, node, unknown, with_axes};
use crate::error;
use crate::tensor::PyTensor;

/// A fused recurrence: `(outputs of all steps, last states..)`.
#[pyfunction]
#[pyo3(signature = (cell, projection, kernel, states, activation, recurrent_activation, bias = None, mask = None, dropout = None, reverse = false))]
pub(crate) fn rnn(
    cell: &str,
    projection: &T<'_>,
    kernel: &T<'_>,
    states: Vec<T<'_>>,
    activation: &str,
    recurrent_activation: &str,
    bias: Option<&T<'_>>,
    mask: Option<&T<'_>>,
    dropout: Option<&T<'_>>,
    reverse: bool,
) -> PyResult<(PyTensor, Vec<PyTensor>)> {
    let kind = match cell {
        "simple" => RnnCell::Simple,
        "gru" => RnnCell::Gru {
            reset_after: bias.is_some(),
        },
        "lstm" => RnnCell::Lstm,
        _ => return Err(unknown("recurrence", cell)),
    };
    let named = |name: &str| match name {
        "linear" => Ok(RnnActivation::Linear),
        "relu" => Ok(RnnActivation::Relu),
        "tanh" => Ok(RnnActivation::Tanh),
        "sigmoid" => Ok(RnnActivation::Sigmoid),
        "hard_sigmoid" => Ok(RnnActivation::HardSigmoid),
        _ => Err(unknown("fused activation", name)),
    };
    let lstm = kind == RnnCell::Lstm;
    let expected = if lstm { 2 } else { 1 };
    if states.len() != expected {
        return Err(PyValueError::new_err(format!(
            "{cell} has {expected} initial states, {} were given",
            states.len()
        )));
    }
    if bias.is_some() && cell != "gru" {
        return Err(PyValueError::new_err(
            "only the gru with reset_after has a recurrent bias",
        ));
    }
    let attrs = RnnAttrs {
        cell: kind,
        activation: named(activation)?,
        gate_activation: named(recurrent_activation)?,
        reverse,
        mask: mask.is_some(),
        dropout: dropout.is_some(),
    };
    let optional = [bias, mask, dropout].into_iter().flatten();
    let operands = [projection, kernel]
        .into_iter()
        .chain(&states)
        .chain(optional);
    let operands = operands.map(|t| t.get().tensor.clone()).collect();
    let h = node(Op::Rnn(attrs), operands)?;
    let last = node(
        Op::Slice(vec![
            SliceAxis {
                start: None,
                stop: None,
                step: 1,
            },
            SliceAxis {
                start: Some(-1),
                stop: None,
                step: 1,
            },
            SliceAxis {
                start: None,
                stop: None,
                step: 1,
            },
        ]),
        vec![h.clone()],
    )?;
    let mut last = vec![with_axes(&last, &[Axis::Kept(0), Axis::Kept(2)])?.into()];
    if lstm {
        last.push(
            Tensor {
                node: h.node.clone(),
                index: 3,
            }
            .into(),
        );
    }
    Ok((h.into(), last))
}

/// A sub-graph run over the first axis of sequences: `(outputs of all steps, last states)`.
#[pyfunction]
#[pyo3(signature = (sequences, initial_states, slices, states, outputs, next_states, reverse = false))]
pub(crate) fn scan(
    sequences: Vec<T<'_>>,
    initial_states: Vec<T<'_>>,
    slices: Vec<T<'_>>,
    states: Vec<T<'_>>,
    outputs: Vec<T<'_>>,
    next_states: Vec<T<'_>>,
    reverse: bool,
) -> PyResult<(Vec<PyTensor>, Vec<PyTensor>)> {
    let tensors = |list: Vec<T<'_>>| {
        list.iter()
            .map(|t| t.get().tensor.clone())
            .collect::<Vec<Tensor>>()
    };
    let numbers = (slices.len(), states.len(), states.len());
    if numbers != (sequences.len(), initial_states.len(), next_states.len()) {
        return Err(PyValueError::new_err(format!(
            "{} sequences need as many slices, not {}; {} initial states need as many states and \
             next states, not {} and {}",
            sequences.len(),
            slices.len(),
            initial_states.len(),
            states.len(),
            next_states.len()
        )));
    }
    let scanned = scan_of(
        &tensors(sequences),
        &tensors(initial_states),
        tensors(slices),
        tensors(states),
        tensors(outputs),
        tensors(next_states),
        reverse,
        SCOPE.with_borrow(Clone::clone),
    )
    .map_err(error::graph)?;
    let wrap = |list: Vec<Tensor>| list.into_iter().map(PyTensor::from).collect();
    Ok((wrap(scanned.outputs), wrap(scanned.states)))
}
