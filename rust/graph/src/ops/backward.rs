//! What the gradient of an operation is built from.

use std::sync::Arc;

use crate::build::Builder;
use crate::error::{GraphError, Result};
use crate::node::{Node, Tensor};

/// The gradient to each operand; `None` where there is none or nobody asks.
pub(crate) type Grads = Result<Vec<Option<Tensor>>>;

/// A node, the gradients to its outputs, and which operands need one.
pub(crate) struct Backward<'a> {
    /// The node.
    pub(crate) node: &'a Arc<Node>,
    /// Builds nodes of the same layer.
    pub(crate) b: Builder,
    grads: &'a [Option<Tensor>],
    needs: &'a [bool],
}

impl<'a> Backward<'a> {
    pub(crate) fn new(
        node: &'a Arc<Node>,
        grads: &'a [Option<Tensor>],
        needs: &'a [bool],
    ) -> Backward<'a> {
        Backward {
            node,
            b: Builder::new(node.scope.clone()),
            grads,
            needs,
        }
    }

    /// Operand `k`.
    pub(crate) fn x(&self, k: usize) -> &'a Tensor {
        &self.node.inputs[k]
    }

    /// Output `k`.
    pub(crate) fn y(&self, k: usize) -> Tensor {
        Tensor {
            node: self.node.clone(),
            index: k,
        }
    }

    /// The gradient to output `k`, if there is one.
    pub(crate) fn grad(&self, k: usize) -> Option<&'a Tensor> {
        self.grads[k].as_ref()
    }

    /// The gradient to the first output.
    ///
    /// # Errors
    /// When there is none: it came to another output alone.
    pub(crate) fn dy(&self) -> Result<&'a Tensor> {
        self.grad(0).ok_or_else(|| self.unsupported(" there"))
    }

    /// Whether operand `k` needs a gradient.
    pub(crate) fn needs(&self, k: usize) -> bool {
        self.needs[k]
    }

    /// The gradient to operand `k`, if it is needed.
    pub(crate) fn to(
        &self,
        k: usize,
        f: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Option<Tensor>> {
        if self.needs[k] {
            f().map(Some)
        } else {
            Ok(None)
        }
    }

    /// The gradient of an operation whose first operand alone has one.
    pub(crate) fn first(&self, f: impl FnOnce() -> Result<Tensor>) -> Grads {
        let mut grads = self.none();
        grads[0] = self.to(0, f)?;
        Ok(grads)
    }

    /// No gradients.
    pub(crate) fn none(&self) -> Vec<Option<Tensor>> {
        vec![None; self.node.inputs.len()]
    }

    /// The error that there is no gradient.
    pub(crate) fn unsupported(&self, hint: &str) -> GraphError {
        GraphError::NoGradient {
            op: self.node.op.name().to_string(),
            scope: self.node.scope.as_deref().map(str::to_string),
            hint: hint.to_string(),
        }
    }
}
