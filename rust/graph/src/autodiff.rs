//! Reverse-mode differentiation, graph to graph.
//!
//! Nodes' ids grow from operands to results, so the ids give the order of both walks and neither
//! recurses: the depth of a graph does not matter.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::build::Builder;
use crate::error::{GraphError, Result};
use crate::node::{Node, Tensor};
use crate::op::Op;
use crate::ops;

/// The gradients of the sum of `outputs` (each weighted by its seed, or by ones) to `wrt`.
///
/// A tensor that the outputs do not depend on, or that does not hold floats, gets `None`.
///
/// # Errors
/// When an operation on the way has no gradient, an output does not hold floats, or a seed does
/// not fit its output.
pub fn gradients(
    outputs: &[Tensor],
    seeds: Option<&[Tensor]>,
    wrt: &[Tensor],
) -> Result<Vec<Option<Tensor>>> {
    let order = ancestors(outputs);
    let needed = Needed::new(&order, wrt);
    let mut sums = Sums::default();
    for (k, output) in outputs.iter().enumerate() {
        let seed = seed(output, seeds, k)?;
        if needed.tensor(output) {
            sums.add(output, seed)?;
        }
    }
    for node in order.iter().rev() {
        if !needed.nodes.contains(&node.id) {
            continue;
        }
        let grads: Vec<Option<Tensor>> = (0..node.outputs.len())
            .map(|index| sums.grads.get(&(node.id, index)).cloned())
            .collect();
        if grads.iter().all(Option::is_none) {
            continue;
        }
        let needs: Vec<bool> = node.inputs.iter().map(|t| needed.tensor(t)).collect();
        let to_inputs = ops::gradient(node, &grads, &needs)?;
        for (input, grad) in node.inputs.iter().zip(to_inputs) {
            if let Some(grad) = grad {
                sums.add(input, grad)?;
            }
        }
    }
    Ok(wrt
        .iter()
        .map(|t| sums.grads.get(&t.key()).cloned())
        .collect())
}

/// All nodes that the tensors depend on, operands before results.
fn ancestors(tensors: &[Tensor]) -> Vec<Arc<Node>> {
    let mut seen = HashSet::new();
    let mut nodes = Vec::new();
    let mut pending: Vec<Arc<Node>> = tensors.iter().map(|t| t.node.clone()).collect();
    while let Some(node) = pending.pop() {
        if seen.insert(node.id) {
            pending.extend(node.inputs.iter().map(|t| t.node.clone()));
            nodes.push(node);
        }
    }
    nodes.sort_unstable_by_key(|n| n.id);
    nodes
}

/// Which tensors need a gradient: those asked for and what depends on them.
struct Needed {
    wrt: HashSet<(u64, usize)>,
    nodes: HashSet<u64>,
}

impl Needed {
    fn new(order: &[Arc<Node>], wrt: &[Tensor]) -> Needed {
        let mut needed = Needed {
            wrt: wrt.iter().map(Tensor::key).collect(),
            nodes: HashSet::new(),
        };
        for node in order {
            let stops = matches!(node.op, Op::StopGradient);
            if !stops && node.inputs.iter().any(|t| needed.tensor(t)) {
                needed.nodes.insert(node.id);
            }
        }
        needed
    }

    fn tensor(&self, t: &Tensor) -> bool {
        t.dtype().is_float() && (self.wrt.contains(&t.key()) || self.nodes.contains(&t.node.id))
    }
}

/// The gradients that have come together so far.
#[derive(Default)]
struct Sums {
    grads: HashMap<(u64, usize), Tensor>,
}

impl Sums {
    fn add(&mut self, to: &Tensor, grad: Tensor) -> Result<()> {
        let sum = match self.grads.get(&to.key()) {
            Some(old) => Builder::new(to.node.scope.clone()).add(old, &grad)?,
            None => grad,
        };
        self.grads.insert(to.key(), sum);
        Ok(())
    }
}

fn seed(output: &Tensor, seeds: Option<&[Tensor]>, k: usize) -> Result<Tensor> {
    let b = Builder::new(output.node.scope.clone());
    if !output.dtype().is_float() {
        return Err(GraphError::NoGradient {
            op: output.node.op.name().to_string(),
            scope: output.node.scope.as_deref().map(str::to_string),
            hint: format!(
                ": it gives {}; differentiate a float tensor",
                output.dtype()
            ),
        });
    }
    let Some(seeds) = seeds else {
        return b.full_like(output, 1.0);
    };
    let Some(seed) = seeds.get(k) else {
        let message = format!("{k} seeds came for more outputs; give one for each");
        return Err(seed_error(message));
    };
    let fits = seed.rank() == output.rank()
        && seed.dtype() == output.dtype()
        && seed
            .shape()
            .iter()
            .zip(output.shape())
            .all(|(&a, &b)| a.is_none() || b.is_none() || a == b);
    if fits {
        return Ok(seed.clone());
    }
    Err(seed_error(format!(
        "seed {k} must be like its output, {} of shape {}, got {} of shape {}",
        output.dtype(),
        crate::shape::show(output.shape()),
        seed.dtype(),
        crate::shape::show(seed.shape())
    )))
}

fn seed_error(message: String) -> GraphError {
    GraphError::Operands {
        op: "gradients".to_string(),
        scope: None,
        message,
    }
}
