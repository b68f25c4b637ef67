//! `hornbeam._core`: the thin PyO3 binding of the compute core.

use pyo3::prelude::*;

#[pymodule]
mod _core {}
