//! Shows values on Python's standard error, where notebooks and test runners look.

use hornbeam_runtime::function::ArrayRef;
use pyo3::prelude::*;

use crate::array::to_numpy;

/// Takes the values of print operations from now on.
pub(crate) fn install() {
    hornbeam_runtime::show::set_sink(|message, value| {
        Python::attach(|py| {
            // A broken stream must not end a training run.
            if let Err(error) = write(py, message, value) {
                error.write_unraisable(py, None);
            }
        });
    });
}

fn write(py: Python<'_>, message: &str, value: ArrayRef<'_>) -> PyResult<()> {
    let text = to_numpy(py, value.dtype, value.shape, value.bytes)?.str()?;
    let stream = py.import("sys")?.getattr("stderr")?;
    if stream.is_none() {
        return Ok(());
    }
    let line = format!("{message}{}\n", text.to_str()?);
    stream.call_method1("write", (line,))?;
    Ok(())
}
