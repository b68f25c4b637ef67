//! From symbolic graph to program: concrete shapes first, then the passes.

use crate::error::Result;
use crate::literal::Literal;
use crate::node::Tensor;
use crate::op::{Op, VarId};
use crate::passes;
use crate::program::{Program, Value};
use crate::specialise::specialise;

/// Computes an operation on constants; the runtime supplies it through its kernels.
pub trait Evaluator {
    /// The outputs of `op` on constant operands; `outputs` tells their types and shapes.
    ///
    /// # Errors
    /// A message, when the operation fails on these operands.
    fn eval(
        &self,
        op: &Op,
        inputs: &[&Literal],
        outputs: &[Value],
    ) -> std::result::Result<Vec<Literal>, String>;
}

/// A function to compile.
pub struct Request<'a> {
    /// Placeholders, in the order of the arguments.
    pub inputs: &'a [Tensor],
    /// Shapes of the arguments.
    pub input_shapes: &'a [Vec<usize>],
    /// Results.
    pub outputs: &'a [Tensor],
    /// Variables and their new values.
    pub updates: &'a [(VarId, Tensor)],
    /// The value of the learning phase.
    pub training: bool,
}

/// Which passes run; all by default.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Fuse elementwise chains and epilogues.
    pub fuse: bool,
    /// Check the program's invariants between passes.
    pub verify: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            fuse: true,
            verify: cfg!(debug_assertions),
        }
    }
}

/// Compiles a function for concrete shapes.
///
/// # Errors
/// When shapes do not fit, an input is missing or an operation cannot be planned.
pub fn compile(
    request: &Request<'_>,
    evaluator: &dyn Evaluator,
    options: Options,
) -> Result<Program> {
    let finish = |program| passes::run(program, options);
    finish(specialise(request, evaluator, &finish)?)
}
