//! Statistics of a whole batch instead of each shard's part of it.
//!
//! A graph that is about to be differentiated gets [`Op::OverShards`] behind the mean and variance
//! of a batch, so that their gradients are those over the whole batch too. Everything that does not
//! depend on such statistics stays the very same node. May import the graph's own types alone.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{GraphError, Result};
use crate::node::{Node, Tensor};
use crate::op::{Combine, MomentsOf, Op, OverShards, Scan};

/// The tensors with the statistics of the whole batch: those that ask for it, or `every` batch's.
/// Variables and placeholders, and whatever does not depend on such statistics, stay what they are.
///
/// # Errors
/// When statistics lie in the step of a scan, or are not float32.
pub fn synchronize(tensors: &[Tensor], every: bool) -> Result<Vec<Tensor>> {
    let mut walk = Walk {
        every,
        done: HashMap::new(),
        place: 0,
    };
    for tensor in tensors {
        walk.visit(&tensor.node)?;
    }
    Ok(tensors.iter().map(|t| walk.new_of(t)).collect())
}

/// Whether any of the tensors is computed from what other shards have.
pub fn is_synchronized(tensors: &[Tensor]) -> bool {
    let mut seen = std::collections::HashSet::new();
    let mut pending: Vec<&Arc<Node>> = tensors.iter().map(|t| &t.node).collect();
    while let Some(node) = pending.pop() {
        if matches!(node.op, Op::OverShards(_)) {
            return true;
        }
        if seen.insert(node.id) {
            pending.extend(node.inputs.iter().map(|t| &t.node));
        }
    }
    false
}

struct Walk {
    every: bool,
    /// What has become of each node.
    done: HashMap<u64, Arc<Node>>,
    /// The place of the next operation: each comes behind all that it depends on.
    place: u32,
}

impl Walk {
    fn new_of(&self, t: &Tensor) -> Tensor {
        Tensor {
            node: self.done[&t.node.id].clone(),
            index: t.index,
        }
    }

    /// Visits a node behind everything that it depends on, without recursion.
    fn visit(&mut self, node: &Arc<Node>) -> Result<()> {
        let mut stack = vec![(node.clone(), false)];
        while let Some((node, ready)) = stack.pop() {
            if self.done.contains_key(&node.id) {
                continue;
            }
            if ready {
                let new = self.rebuilt(&node)?;
                self.done.insert(node.id, new);
                continue;
            }
            stack.push((node.clone(), true));
            stack.extend(node.inputs.iter().rev().map(|t| (t.node.clone(), false)));
        }
        Ok(())
    }

    fn wanted(&self, of: MomentsOf) -> bool {
        match of {
            MomentsOf::Operand => false,
            MomentsOf::Batch => self.every,
            MomentsOf::WholeBatch => true,
        }
    }

    fn rebuilt(&mut self, node: &Arc<Node>) -> Result<Arc<Node>> {
        let inputs: Vec<Tensor> = node.inputs.iter().map(|t| self.new_of(t)).collect();
        if let Op::Scan(scan) = &node.op {
            self.check_scan(scan)?;
        }
        let statistics = matches!(node.op, Op::Moments { of, .. } if self.wanted(of));
        if inputs == node.inputs && !statistics {
            return Ok(node.clone());
        }
        let copy = Node::with_types(
            node.op.clone(),
            inputs,
            node.outputs.clone(),
            node.scope.clone(),
            node.resource.clone(),
        );
        if !statistics {
            return Ok(copy.node);
        }
        let op = Op::OverShards(OverShards {
            place: self.place,
            combine: Combine::Moments,
            shards: None,
            after: false,
        });
        self.place += 1;
        let variance = Tensor {
            node: copy.node.clone(),
            index: 1,
        };
        Ok(Node::build(op, vec![copy, variance], node.scope.clone())?.node)
    }

    /// A scan has as many steps as its sequences, and there is nobody to wait for within one.
    fn check_scan(&self, scan: &Scan) -> Result<()> {
        let body = &scan.body;
        let mut seen = std::collections::HashSet::new();
        let mut pending: Vec<Tensor> = body.outputs.iter().chain(&body.next).cloned().collect();
        let ends = [&body.slices, &body.states, &body.captured];
        seen.extend(ends.into_iter().flatten().map(|t| t.node.id));
        while let Some(tensor) = pending.pop() {
            let node = tensor.node;
            if !seen.insert(node.id) {
                continue;
            }
            if matches!(node.op, Op::Moments { of, .. } if self.wanted(of)) {
                return Err(GraphError::Operands {
                    op: node.op.name().to_string(),
                    scope: node.scope.as_deref().map(str::to_string),
                    message:
                        "statistics of a batch in the step of a recurrence cannot be those of \
                              the whole batch over all shards: train with synchronized=False"
                            .to_string(),
                });
            }
            pending.extend(node.inputs.iter().cloned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Builder;
    use crate::dtype::DType;
    use crate::node::TensorType;
    use crate::shape::known;

    fn input(dims: &[usize]) -> Tensor {
        let ty = TensorType {
            dtype: DType::F32,
            shape: known(dims),
        };
        Node::leaf(Op::Placeholder, ty, None)
    }

    fn moments(x: &Tensor, of: MomentsOf) -> Tensor {
        let axes = vec![0];
        Builder::default()
            .op(Op::Moments { axes, of }, &[x])
            .unwrap()
    }

    #[test]
    fn what_does_not_depend_on_statistics_stays() {
        let x = input(&[4, 3]);
        let b = Builder::default();
        let doubled = b.scale(&x, 2.0).unwrap();
        let own = moments(&doubled, MomentsOf::Operand);
        let batch = moments(&doubled, MomentsOf::Batch);
        let both = b.add(&own, &batch).unwrap();
        let same = synchronize(&[own.clone(), batch.clone(), both.clone()], false).unwrap();
        assert_eq!(same, [own.clone(), batch.clone(), both.clone()]);
        assert!(!is_synchronized(&same));
        let new = synchronize(&[doubled.clone(), own.clone(), batch, both], true).unwrap();
        assert_eq!(new[..2], [doubled.clone(), own]);
        assert!(is_synchronized(&new[2..]) && !is_synchronized(&new[..2]));
        assert_eq!(new[2].node.op.name(), "moments_over_shards");
        // The same statistics wherever they are needed.
        assert_eq!(new[3].node.inputs[1], new[2]);
        assert_eq!(new[2].node.inputs[0].node.inputs[0], doubled);
    }

    #[test]
    fn places_follow_what_depends_on_what() {
        let x = input(&[4, 3]);
        let b = Builder::default();
        let first = moments(&x, MomentsOf::WholeBatch);
        let centred = b.sub(&x, &first).unwrap();
        let second = moments(&centred, MomentsOf::WholeBatch);
        let new = synchronize(&[second, first], false).unwrap();
        let place = |t: &Tensor| match t.node.op {
            Op::OverShards(over) => over.place,
            _ => panic!("not over shards"),
        };
        assert_eq!([place(&new[1]), place(&new[0])], [0, 1]);
    }

    #[test]
    fn a_long_chain_does_not_recurse() {
        let b = Builder::default();
        let mut x = moments(&input(&[4, 3]), MomentsOf::Batch);
        for _ in 0..100_000 {
            x = b.neg(&x).unwrap();
        }
        assert!(is_synchronized(&synchronize(&[x], true).unwrap()));
    }

    #[test]
    fn statistics_within_a_recurrence_are_refused() {
        let (slice, state) = (input(&[4, 3]), input(&[3]));
        let mean = moments(&slice, MomentsOf::Batch);
        let next = Builder::default().add(&state, &mean).unwrap();
        let scanned = crate::ops::scan::scan(
            &[input(&[5, 4, 3])],
            &[input(&[3])],
            vec![slice],
            vec![state],
            vec![next.clone()],
            vec![next],
            false,
            Some("recurrence".into()),
        )
        .unwrap();
        assert!(synchronize(&scanned.outputs, false).is_ok());
        let error = synchronize(&scanned.outputs, true).unwrap_err().to_string();
        assert!(error.contains("synchronized=False"), "{error}");
    }
}
