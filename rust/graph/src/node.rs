//! Nodes of the symbolic graph and the tensors that point into them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::error::Result;
use crate::op::Op;
use crate::shape::{Dim, Shape};

/// Type and symbolic shape of one output of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Symbolic shape.
    pub shape: Shape,
}

/// An operation applied to tensors. Immutable once built.
#[derive(Debug)]
pub struct Node {
    /// Unique within the process, and larger than those of the inputs' nodes.
    pub id: u64,
    /// The operation.
    pub op: Op,
    /// Its operands.
    pub inputs: Vec<Tensor>,
    /// The types of its outputs.
    pub outputs: Vec<TensorType>,
    /// The layer in whose call it was built.
    pub scope: Option<Arc<str>>,
    /// Whether [`Op::LearningPhase`] is among its ancestors.
    pub uses_learning_phase: bool,
    /// What must live as long as the node: the storage behind an [`Op::Variable`].
    pub resource: Option<Arc<dyn std::any::Any + Send + Sync>>,
}

/// One output of a node: the symbolic tensor.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The node.
    pub node: Arc<Node>,
    /// Which of its outputs.
    pub index: usize,
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Tensor) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Tensor {}
impl std::hash::Hash for Tensor {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Tensor {
    /// What identifies the tensor: node and output.
    pub fn key(&self) -> (u64, usize) {
        (self.node.id, self.index)
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.node.outputs[self.index].dtype
    }

    /// Symbolic shape.
    pub fn shape(&self) -> &[Dim] {
        &self.node.outputs[self.index].shape
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape().len()
    }
}

impl Node {
    /// Builds a node whose output types are inferred from its operands, and returns its first
    /// output.
    ///
    /// # Errors
    /// When the operands do not fit the operation.
    pub fn build(op: Op, inputs: Vec<Tensor>, scope: Option<Arc<str>>) -> Result<Tensor> {
        let outputs = crate::ops::infer(&op, &inputs, scope.as_deref())?;
        Ok(Node::with_types(op, inputs, outputs, scope, None))
    }

    /// Builds a leaf of the given type, which keeps `resource` alive.
    pub fn leaf(
        op: Op,
        ty: TensorType,
        resource: Option<Arc<dyn std::any::Any + Send + Sync>>,
    ) -> Tensor {
        Node::with_types(op, Vec::new(), vec![ty], None, resource)
    }

    /// Builds a node whose outputs have the given types, and returns its first output.
    pub(crate) fn with_types(
        op: Op,
        inputs: Vec<Tensor>,
        outputs: Vec<TensorType>,
        scope: Option<Arc<str>>,
        resource: Option<Arc<dyn std::any::Any + Send + Sync>>,
    ) -> Tensor {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let phase =
            matches!(op, Op::LearningPhase) || inputs.iter().any(|t| t.node.uses_learning_phase);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let node = Node {
            id,
            op,
            inputs,
            outputs,
            scope,
            uses_learning_phase: phase,
            resource,
        };
        Tensor {
            node: Arc::new(node),
            index: 0,
        }
    }
}

impl Drop for Node {
    /// Takes long chains apart in a loop: dropping them by recursion would overflow the stack.
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.inputs);
        while let Some(tensor) = pending.pop() {
            if let Some(mut node) = Arc::into_inner(tensor.node) {
                pending.append(&mut node.inputs);
            }
        }
    }
}
