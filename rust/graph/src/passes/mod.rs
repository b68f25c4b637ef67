//! Passes: programs to better programs that compute the same.
//!
//! Each pass walks a program in order and emits a new one ([`emit::Emitter`]), which finds common
//! sub-expressions as it grows. What nothing needs any more is dropped at the end of each.

mod emit;
mod epilogue;
pub(crate) mod fuse;
mod in_order;
mod simplify;
pub(crate) mod widen;

use crate::compile::Options;
use crate::error::Result;
use crate::program::Program;
use crate::verify::verify;

/// Runs the passes over a specialised program.
///
/// # Errors
/// When a pass breaks an invariant, which is a fault of this library.
pub(crate) fn run(mut program: Program, options: Options) -> Result<Program> {
    type Pass = fn(&Program) -> Result<Program>;
    let clean: [(&'static str, Pass); 2] =
        [("in order", in_order::run), ("simplify", simplify::clean)];
    let fusing: [(&'static str, Pass); 5] = [
        ("in order", in_order::run),
        ("expand", simplify::expand),
        ("simplify", simplify::clean),
        ("epilogue", epilogue::run),
        ("fuse", fuse::run),
    ];
    if options.verify {
        verify(&program, "specialise")?;
    }
    let passes: &[(&'static str, Pass)] = if options.fuse { &fusing } else { &clean };
    for (name, pass) in passes {
        program = pass(&program)?;
        if options.verify {
            verify(&program, name)?;
        }
    }
    Ok(program)
}

#[cfg(test)]
mod tests;
