//! The symbolic graph: nodes, shapes, autodiff and passes. Knows no kernels and no Python.

pub mod autodiff;
pub mod build;
pub mod compile;
mod display;
pub mod dtype;
pub mod error;
pub mod literal;
mod names;
pub mod node;
pub mod op;
pub mod ops;
pub mod partition;
mod passes;
pub mod program;
pub mod shape;
mod specialise;
pub mod synchronize;
pub mod transfer;
pub mod verify;

pub use dtype::DType;
pub use error::{GraphError, Result};
pub use literal::Literal;
pub use node::{Node, Tensor, TensorType};
pub use op::Op;
pub use passes::widen::{Widening, widen};
pub use program::Program;

#[cfg(test)]
mod testing;
