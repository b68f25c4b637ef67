//! Scans: a sub-graph run step by step, and its gradient, which is a scan the other way round.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::autodiff;
use crate::error::{GraphError, Result};
use crate::node::{Node, Tensor, TensorType};
use crate::op::{Op, Scan, ScanBody};
use crate::ops::backward::{Backward, Grads};
use crate::ops::operands::{Inferred, Operands};
use crate::shape::{Dim, known};

/// The outputs of a scan, apart.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// The sub-graph's outputs for all steps, `[steps, ..]`.
    pub outputs: Vec<Tensor>,
    /// The states after the last step.
    pub states: Vec<Tensor>,
}

/// Runs a sub-graph over the first axis of `sequences`.
///
/// `slices` and `states` are placeholders that `outputs` and `next` are built from; whatever else
/// of the graph they read is captured.
///
/// # Errors
/// When numbers or types do not fit.
#[allow(clippy::too_many_arguments, reason = "a scan has these parts")]
pub fn scan(
    sequences: &[Tensor],
    initial: &[Tensor],
    slices: Vec<Tensor>,
    states: Vec<Tensor>,
    outputs: Vec<Tensor>,
    next: Vec<Tensor>,
    reverse: bool,
    scope: Option<Arc<str>>,
) -> Result<Scanned> {
    let captured = captured(&slices, &states, &outputs, &next);
    let body = body(slices, states, captured, outputs, next, reverse);
    let counts = (body.outputs.len(), body.next.len());
    let operands: Vec<Tensor> = sequences
        .iter()
        .chain(initial)
        .chain(&body.captured)
        .cloned()
        .collect();
    let node = Node::build(
        Op::Scan(Scan {
            body: Arc::new(body),
            step: None,
        }),
        operands,
        scope,
    )?;
    let output = |index| Tensor {
        node: node.node.clone(),
        index,
    };
    Ok(Scanned {
        outputs: (0..counts.0).map(output).collect(),
        states: (counts.0..counts.0 + counts.1).map(output).collect(),
    })
}

/// An identity for a new body.
pub(crate) fn next_body_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn body(
    slices: Vec<Tensor>,
    states: Vec<Tensor>,
    captured: Vec<Tensor>,
    outputs: Vec<Tensor>,
    next: Vec<Tensor>,
    reverse: bool,
) -> ScanBody {
    ScanBody {
        id: next_body_id(),
        slices,
        states,
        captured,
        outputs,
        next,
        reverse,
    }
}

/// The tensors of the graph around that a sub-graph reads: the last ones on each path that do not
/// depend on its placeholders. Constants stay inside.
fn captured(
    slices: &[Tensor],
    states: &[Tensor],
    outputs: &[Tensor],
    next: &[Tensor],
) -> Vec<Tensor> {
    let own: HashSet<(u64, usize)> = slices.iter().chain(states).map(Tensor::key).collect();
    let inside = inside(&own, outputs, next);
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    let mut visited = HashSet::new();
    let mut pending: Vec<Tensor> = outputs.iter().chain(next).cloned().collect();
    while let Some(t) = pending.pop() {
        if own.contains(&t.key()) {
            continue;
        }
        if inside.get(&t.node.id) == Some(&true) {
            if visited.insert(t.node.id) {
                pending.extend(t.node.inputs.iter().cloned());
            }
        } else if !matches!(t.node.op, Op::Constant(_)) && seen.insert(t.key()) {
            found.push(t);
        }
    }
    found.sort_unstable_by_key(Tensor::key);
    found
}

/// For each ancestor, whether it depends on the placeholders.
fn inside(own: &HashSet<(u64, usize)>, outputs: &[Tensor], next: &[Tensor]) -> HashMap<u64, bool> {
    let mut known = HashMap::new();
    let mut stack: Vec<(Tensor, bool)> = outputs
        .iter()
        .chain(next)
        .map(|t| (t.clone(), false))
        .collect();
    while let Some((t, ready)) = stack.pop() {
        if known.contains_key(&t.node.id) {
            continue;
        }
        if ready {
            let depends = own.contains(&t.key())
                || t.node
                    .inputs
                    .iter()
                    .any(|i| own.contains(&i.key()) || known[&i.node.id]);
            known.insert(t.node.id, depends);
        } else {
            let inputs = t.node.inputs.clone();
            stack.push((t, true));
            stack.extend(inputs.into_iter().map(|i| (i, false)));
        }
    }
    known
}

fn behind(first: Dim, rest: &[Dim]) -> Vec<Dim> {
    std::iter::once(first).chain(rest.iter().copied()).collect()
}

fn agree(a: &[Dim], b: &[Dim]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| a.is_none() || b.is_none() || a == b)
}

pub(super) fn infer_scan(scan: &Scan, o: &Operands<'_>) -> Inferred {
    let body = &scan.body;
    let (n, s) = (body.slices.len(), body.states.len());
    o.count(n + s + body.captured.len())?;
    if n == 0 || (0..n).any(|k| o.rank(k) == 0) {
        return Err("needs at least one sequence with an axis of steps".to_string());
    }
    let steps = (0..n).find_map(|k| o.shape(k)[0]);
    for k in 0..n {
        let want = behind(steps, body.slices[k].shape());
        if !agree(o.shape(k), &want) || o.dtype(k) != body.slices[k].dtype() {
            return Err(format!(
                "sequence {k} must be {} of shape {}, got {} of shape {}",
                body.slices[k].dtype(),
                crate::shape::show(&want),
                o.dtype(k),
                o.show(k)
            ));
        }
    }
    for k in 0..s {
        let (own, next) = (&body.states[k], &body.next[k]);
        let fits = agree(o.shape(n + k), own.shape())
            && agree(next.shape(), own.shape())
            && o.dtype(n + k) == own.dtype()
            && next.dtype() == own.dtype();
        if !fits {
            return Err(format!(
                "state {k} must keep its type {} and shape {}: it begins as {} {} and a step makes \
                 it {} {}",
                own.dtype(),
                crate::shape::show(own.shape()),
                o.dtype(n + k),
                o.show(n + k),
                next.dtype(),
                crate::shape::show(next.shape())
            ));
        }
    }
    let of = |t: &Tensor, k: usize| match &scan.step {
        Some(program) => known(&program.values[program.outputs[k]].shape),
        None => t.shape().to_vec(),
    };
    let mut types = Vec::new();
    for (k, t) in body.outputs.iter().enumerate() {
        types.push(TensorType {
            dtype: t.dtype(),
            shape: behind(steps, &of(t, k)),
        });
    }
    for k in 0..s {
        let shape = o.shape(n + k).to_vec();
        types.push(TensorType {
            dtype: o.dtype(n + k),
            shape,
        });
    }
    for k in 0..s {
        let shape = behind(steps, o.shape(n + k));
        types.push(TensorType {
            dtype: o.dtype(n + k),
            shape,
        });
    }
    Ok(types)
}

/// A scan the other way round: each step computes the forward step again from the states that it
/// began with, and differentiates it.
pub(super) fn grad_scan(scan: &Scan, g: &Backward<'_>) -> Grads {
    let body = &scan.body;
    let (n, s, c) = (body.slices.len(), body.states.len(), body.captured.len());
    let outs = body.outputs.len();
    if (0..s).any(|k| g.grad(outs + s + k).is_some()) {
        return Err(g.unsupported(" through the states before each step"));
    }
    let placeholder = |like: &Tensor| {
        let ty = TensorType {
            dtype: like.dtype(),
            shape: like.shape().to_vec(),
        };
        Node::leaf(Op::Placeholder, ty, None)
    };
    let floats = |list: &[Tensor]| -> Vec<usize> {
        (0..list.len())
            .filter(|&k| list[k].dtype().is_float())
            .collect()
    };
    let given: Vec<usize> = floats(&body.outputs)
        .into_iter()
        .filter(|&k| g.grad(k).is_some())
        .collect();
    let (states, captured) = (floats(&body.states), floats(&body.captured));
    let captured: Vec<usize> = captured
        .into_iter()
        .filter(|&k| g.needs(n + s + k))
        .collect();
    let slices: Vec<usize> = floats(&body.slices)
        .into_iter()
        .filter(|&k| g.needs(k))
        .collect();
    let dys: Vec<Tensor> = given
        .iter()
        .map(|&k| placeholder(&body.outputs[k]))
        .collect();
    let dstates: Vec<Tensor> = states
        .iter()
        .map(|&k| placeholder(&body.states[k]))
        .collect();
    let sums: Vec<Tensor> = captured
        .iter()
        .map(|&k| placeholder(&body.captured[k]))
        .collect();

    let results: Vec<Tensor> = given
        .iter()
        .map(|&k| body.outputs[k].clone())
        .chain(states.iter().map(|&k| body.next[k].clone()))
        .collect();
    let seeds: Vec<Tensor> = dys.iter().chain(&dstates).cloned().collect();
    let wrt: Vec<Tensor> = slices
        .iter()
        .map(|&k| body.slices[k].clone())
        .chain(states.iter().map(|&k| body.states[k].clone()))
        .chain(captured.iter().map(|&k| body.captured[k].clone()))
        .collect();
    let grads = autodiff::gradients(&results, Some(&seeds), &wrt)?;
    let b = &g.b;
    let zeros = |like: &Tensor| {
        b.op(
            Op::BroadcastTo,
            &[&b.scalar(like.dtype(), 0.0)?, &b.shape_of(like)?],
        )
    };
    let filled: Vec<Tensor> = grads
        .into_iter()
        .zip(&wrt)
        .map(|(grad, t)| grad.map_or_else(|| zeros(t), Ok))
        .collect::<Result<_>>()?;
    let (dslices, rest) = filled.split_at(slices.len());
    let (dbefore, dcaptured) = rest.split_at(states.len());
    let mut next = dbefore.to_vec();
    for (sum, grad) in sums.iter().zip(dcaptured) {
        next.push(b.add(sum, grad)?);
    }

    let sequences: Vec<Tensor> = g.node.inputs[..n]
        .iter()
        .cloned()
        .chain((0..s).map(|k| g.y(outs + s + k)))
        .chain(given.iter().filter_map(|&k| g.grad(k).cloned()))
        .collect();
    let mut initial = Vec::new();
    for &k in &states {
        initial.push(
            g.grad(outs + k)
                .cloned()
                .map_or_else(|| zeros(&g.node.inputs[n + k]), Ok)?,
        );
    }
    for &k in &captured {
        initial.push(zeros(&g.node.inputs[n + s + k])?);
    }
    let own_slices: Vec<Tensor> = body
        .slices
        .iter()
        .chain(&body.states)
        .chain(&dys)
        .cloned()
        .collect();
    let own_states: Vec<Tensor> = dstates.iter().chain(&sums).cloned().collect();
    let scanned = self::scan(
        &sequences,
        &initial,
        own_slices,
        own_states,
        dslices.to_vec(),
        next,
        !body.reverse,
        g.node.scope.clone(),
    )?;
    let mut all = vec![None; n + s + c];
    for (&k, t) in slices.iter().zip(&scanned.outputs) {
        all[k] = Some(t.clone());
    }
    for (&k, t) in states.iter().zip(&scanned.states) {
        all[n + k] = g.to(n + k, || Ok(t.clone()))?;
    }
    for (&k, t) in captured.iter().zip(&scanned.states[states.len()..]) {
        all[n + s + k] = Some(t.clone());
    }
    Ok(all)
}

/// The shapes that a step's program is compiled for: those of slices, states and captured tensors.
///
/// # Errors
/// When a sequence has no axis of steps.
pub(crate) fn step_shapes(body: &ScanBody, operands: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
    let n = body.slices.len();
    operands
        .iter()
        .enumerate()
        .map(|(k, shape)| match (k < n, shape.split_first()) {
            (false, _) => Ok(shape.to_vec()),
            (true, Some((_, rest))) => Ok(rest.to_vec()),
            (true, None) => Err(GraphError::Compile(
                "a scanned sequence is a scalar".to_string(),
            )),
        })
        .collect()
}
