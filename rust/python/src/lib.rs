//! `hornbeam._core`: the thin PyO3 binding of the compute core.
//!
//! Symbolic tensors and the operations on them, functions, and the step loop. Arrays cross the
//! border here and nowhere else; the interpreter's lock is released while anything runs.

use pyo3::prelude::*;

mod array;
mod collective;
mod error;
mod function;
mod logging;
mod ops;
mod reading;
mod sharded;
mod show;
mod tensor;
mod transfer;

#[pymodule]
mod _core {
    use super::*;

    #[pymodule_export]
    use super::collective::{PyGroup, PyListener};
    #[pymodule_export]
    use super::error::CollectiveError;
    #[pymodule_export]
    use super::function::{PyFunction, PyLoop};
    #[pymodule_export]
    use super::ops::{
        arange, arg_reduce, binary, broadcast_to, cast, concat, constant, conv, conv_transpose,
        ctc_beam_search, cumulative, gather, gradients, identity, learning_phase, log_softmax,
        matmul, moments, pad, placeholder, pool, print, random, reduce, reshape, reverse, rnn,
        scan, select, set_scope, shape_of, sigmoid_cross_entropy, slice, softmax,
        softmax_cross_entropy, sparse_softmax_cross_entropy, stop_gradient, transpose, unary,
    };
    #[pymodule_export]
    use super::reading::set_read_hook;
    #[pymodule_export]
    use super::sharded::{PyShardedLoop, depends_on, synchronize};
    #[pymodule_export]
    use super::tensor::{PyTensor, PyVariable};
    #[pymodule_export]
    use super::transfer::{read_graph, write_graph};

    /// The package's version.
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    #[pymodule_export]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::logging::start();
        super::show::install();
        Ok(())
    }

    /// Sets the number of threads that kernels use.
    #[pyfunction]
    fn set_num_threads(py: Python<'_>, n: usize) {
        py.detach(|| {
            let _held = hornbeam_runtime::buffer::exclusive();
            hornbeam_kernels::par::set_num_threads(n);
        });
    }

    /// The number of threads that kernels use.
    #[pyfunction]
    fn num_threads() -> usize {
        hornbeam_kernels::par::num_threads()
    }

    /// The instruction set that kernels use: `portable`, `avx2` or `avx512`.
    #[pyfunction]
    fn isa() -> String {
        format!("{:?}", hornbeam_kernels::cpu::isa()).to_lowercase()
    }

    /// Names the kernels: processes of one fingerprint compute the same bits.
    #[pyfunction]
    fn fingerprint() -> String {
        super::collective::fingerprint()
    }
}
