//! Tile programs: the one way elementwise work is done.
//!
//! A chain of elementwise operations, possibly with reductions at its end, is a small typed program
//! over tiles of a few hundred elements that stay in the first-level cache. It is compiled once
//! ([`TileProgram::new`]), bound to a shape and strides when a plan is made
//! ([`TileProgram::bind`]), and then run on whatever memory ([`TileKernel::run`]).
//!
//! ```
//! use hornbeam_kernels::dtype::DType;
//! use hornbeam_kernels::tile::{BinaryOp, Instr, TileProgram, UnaryOp};
//!
//! // relu(x + bias) for x of [2, 3] and a bias of [3]
//! let program = TileProgram::new(
//!     &[DType::F32, DType::F32],
//!     &[Instr::Binary(BinaryOp::Add, 0, 1), Instr::Unary(UnaryOp::Relu, 2)],
//!     &[3],
//!     &[],
//! )?;
//! let kernel = program.bind(&[2, 3], 1, &[&[3, 1], &[0, 1]], &[&[3, 1]])?;
//! let (x, bias) = ([1.0f32, -2.0, 3.0, -4.0, 5.0, -6.0], [1.0f32, 1.0, -9.0]);
//! let mut y = [0.0f32; 6];
//! // SAFETY: the arrays have the shapes that the kernel was bound to.
//! unsafe {
//!     let inputs = [x.as_ptr().cast(), bias.as_ptr().cast()];
//!     kernel.run(&inputs, &[y.as_mut_ptr().cast()], &[]);
//! }
//! assert_eq!(y, [2.0, 0.0, 0.0, 0.0, 6.0, 0.0]);
//! # Ok::<(), hornbeam_kernels::error::KernelError>(())
//! ```

mod cast;
mod fuse;
mod instr;
mod kernel;
mod layout;
mod op;
mod program;
mod reduction;
#[cfg(test)]
mod tests;

pub use crate::reduce::ReduceOp;
pub use kernel::TileKernel;
pub use op::{BinaryOp, ReduceAxes, Scalar, UnaryOp};
pub use program::{Instr, MAX_OPERANDS, Reduction, Reg, TileProgram};
