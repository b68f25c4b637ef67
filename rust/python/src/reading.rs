//! Reading variables whose newest values are elsewhere: on the workers that train.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

static IS_SET: AtomicBool = AtomicBool::new(false);
static HOOK: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

/// Sets a function that is called before variables are read: with a variable's identity before its
/// value is copied, with None before a function runs. None for no such function.
#[pyfunction]
#[pyo3(signature = (hook))]
pub(crate) fn set_read_hook(hook: Option<Py<PyAny>>) {
    let mut held = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    IS_SET.store(hook.is_some(), Ordering::Release);
    *held = hook;
}

/// Calls the hook, if there is one.
pub(crate) fn before_read(py: Python<'_>, variable: Option<u64>) -> PyResult<()> {
    if !IS_SET.load(Ordering::Acquire) {
        return Ok(());
    }
    let held = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = held.as_ref().map(|hook| hook.clone_ref(py));
    drop(held);
    hook.map_or(Ok(()), |hook| hook.call1(py, (variable,)).map(drop))
}
