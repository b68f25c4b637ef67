//! Reverse-mode differentiation, graph to graph.

use crate::error::Result;
use crate::node::Tensor;

/// The gradients of the sum of `outputs` (each weighted by its seed, or by ones) to `wrt`.
///
/// A tensor that the outputs do not depend on gets `None`.
///
/// # Errors
/// When an operation on the way has no gradient.
pub fn gradients(
    outputs: &[Tensor],
    seeds: Option<&[Tensor]>,
    wrt: &[Tensor],
) -> Result<Vec<Option<Tensor>>> {
    let _ = (outputs, seeds, wrt);
    todo!()
}
