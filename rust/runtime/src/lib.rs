//! Plans and their execution: order, liveness, arena, and the one table from operation to kernel.
//!
//! ```text
//! graph::Program -> schedule -> dispatch (a prepared kernel call each) -> memory -> Plan -> run
//! ```
//! One plan runs at a time in a process (see [`buffer::exclusive`]); that makes the unguarded
//! access to variables and arenas sound.

pub mod buffer;
pub mod dispatch;
pub mod epoch;
pub mod error;
mod exchange;
pub mod function;
mod fused;
mod memory;
pub mod plan;
mod schedule;
pub mod sharded;
mod shards;
pub mod show;
pub mod variable;

pub use error::{Result, RuntimeError};
pub use exchange::{Combiner, Outcome};
pub use function::Function;
pub use variable::Variable;
