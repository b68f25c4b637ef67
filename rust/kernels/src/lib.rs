//! Pure compute kernels on slices and strided views: no graph, no Python.
//!
//! Invariants of every kernel here:
//! * the same bits for any number of threads: work is cut by sizes alone, and partial sums are
//!   combined in index order;
//! * a row's result does not depend on how many rows there are;
//! * no allocation on the hot path: scratch comes from the caller or is kept per thread.

pub mod conv;
pub mod copy;
pub mod cpu;
pub mod ctc;
pub mod dtype;
pub mod error;
pub mod fork;
pub mod gather;
pub mod gemm;
pub mod math;
pub mod memory;
pub mod moments;
pub mod par;
pub mod pool;
pub mod reduce;
pub mod rng;
pub mod rnn;
pub mod scan;
mod scratch;
mod simd;
pub mod softmax;
pub mod tile;
pub mod tree;
mod work;
