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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::node::TensorType;
    use crate::op::UnaryOp;
    use crate::shape::Dim;

    fn placeholder(dtype: DType, shape: &[Dim]) -> Tensor {
        let shape = shape.to_vec();
        Node::leaf(Op::Placeholder, TensorType { dtype, shape }, None)
    }

    fn floats(shape: &[Dim]) -> Tensor {
        placeholder(DType::F32, shape)
    }

    fn names(t: &Tensor) -> Vec<&'static str> {
        ancestors(std::slice::from_ref(t))
            .iter()
            .map(|n| n.op.name())
            .collect()
    }

    #[test]
    fn what_does_not_depend_gets_none() {
        let (b, x, y) = (Builder::default(), floats(&[Some(2)]), floats(&[Some(2)]));
        let n = placeholder(DType::I32, &[Some(2)]);
        let z = b.mul(&x, &b.cast(&n, DType::F32).unwrap()).unwrap();
        let stopped = b.op(Op::StopGradient, &[&y]).unwrap();
        let z = b.add(&z, &stopped).unwrap();
        let grads = gradients(std::slice::from_ref(&z), None, &[x, y, n, z.clone()]).unwrap();
        let some: Vec<bool> = grads.iter().map(Option::is_some).collect();
        assert_eq!(some, [true, false, false, true]);
    }

    #[test]
    fn activations_are_differentiated_through_their_results() {
        let b = Builder::default();
        for op in [UnaryOp::Relu, UnaryOp::Sigmoid, UnaryOp::Tanh, UnaryOp::Exp] {
            let x = floats(&[None, Some(3)]);
            let y = b.unary(op, &x).unwrap();
            let seed = floats(&[None, Some(3)]);
            let dx = gradients(&[y], Some(&[seed]), std::slice::from_ref(&x)).unwrap();
            let dx = dx[0].clone().unwrap();
            let readers = ancestors(&[dx])
                .iter()
                .filter(|n| n.inputs.contains(&x))
                .count();
            assert_eq!(
                readers,
                1,
                "{}: only the function itself reads x",
                op.name()
            );
        }
    }

    #[test]
    fn one_needed_operand_costs_one_gradient() {
        let (b, x, w) = (
            Builder::default(),
            floats(&[None, Some(3)]),
            floats(&[Some(3), Some(4)]),
        );
        let y = b.matmul(&x, &w, false, false).unwrap();
        let seed = floats(&[None, Some(4)]);
        let dw = gradients(&[y], Some(&[seed]), &[w])
            .unwrap()
            .remove(0)
            .unwrap();
        assert_eq!(names(&dw), ["placeholder", "placeholder", "matmul"]);
    }

    #[test]
    fn a_dense_layer_on_sequences_has_one_product_for_its_weights() {
        let b = Builder::default();
        let (x, w) = (
            floats(&[None, Some(7), Some(3)]),
            floats(&[Some(3), Some(4)]),
        );
        let y = b.matmul(&x, &w, false, false).unwrap();
        let dw = gradients(&[y], None, &[w]).unwrap().remove(0).unwrap();
        assert_eq!(dw.node.op.name(), "matmul");
        assert_eq!(dw.node.inputs[0].shape(), [None, Some(3)]);
        assert_eq!(dw.shape(), [Some(3), Some(4)]);
    }

    #[test]
    fn a_use_twice_adds_up() {
        let (b, x) = (Builder::default(), floats(&[]));
        let y = b.add(&x, &x).unwrap();
        let dx = gradients(&[y], None, &[x]).unwrap().remove(0).unwrap();
        assert_eq!(names(&dx), ["constant", "add"]);
    }

    #[test]
    fn errors_name_what_came() {
        let b = Builder::default();
        let n = placeholder(DType::I64, &[Some(2)]);
        let e = gradients(std::slice::from_ref(&n), None, std::slice::from_ref(&n)).unwrap_err();
        let text = "placeholder has no gradient: it gives int64; differentiate a float tensor";
        assert_eq!(e.to_string(), text);
        let x = floats(&[Some(2)]);
        let e = gradients(
            std::slice::from_ref(&x),
            Some(&[n]),
            std::slice::from_ref(&x),
        );
        assert_eq!(
            e.unwrap_err().to_string(),
            "gradients: seed 0 must be like its output, float32 of shape (2,), got int64 of shape \
             (2,)"
        );
        let attrs = crate::op::PoolAttrs {
            size: vec![2],
            strides: vec![2],
            padding: crate::op::Padding::Valid,
        };
        let x = floats(&[Some(1), Some(4), Some(1)]);
        let y = b.op(Op::MaxPool(attrs), &[&x]).unwrap();
        let seed = floats(&[Some(1), Some(2), Some(1)]);
        let wrt = std::slice::from_ref(&seed);
        let dx = gradients(&[y], Some(wrt), &[x]).unwrap().remove(0).unwrap();
        let e = gradients(&[dx], None, wrt).unwrap_err();
        assert!(
            e.to_string()
                .starts_with("max_pool_grad has no gradient: second"),
            "{e}"
        );
    }

    #[test]
    fn long_chains_do_not_recurse() {
        let (b, x) = (Builder::default(), floats(&[Some(2)]));
        let mut y = x.clone();
        for _ in 0..100_000 {
            y = b.unary(UnaryOp::Tanh, &y).unwrap();
        }
        let dx = gradients(std::slice::from_ref(&y), None, &[x]).unwrap();
        assert!(dx[0].is_some());
        drop(y);
        drop(dx);
    }
}
