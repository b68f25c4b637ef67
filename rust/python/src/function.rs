//! `Function` and `Loop`: running what was built.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hornbeam_graph::DType;
use hornbeam_graph::program::Value;
use hornbeam_runtime::Function;
use hornbeam_runtime::buffer::exclusive;
use hornbeam_runtime::epoch::{Epoch, Samples};
use hornbeam_runtime::function::ArrayRef;
use hornbeam_runtime::plan::Plan;
use numpy::PyUntypedArray;
use pyo3::prelude::*;

use crate::array::{Array, to_numpy};
use crate::error;
use crate::reading;
use crate::tensor::{PyTensor, PyVariable};

/// A compiled function.
#[pyclass(name = "Function", module = "hornbeam._core", frozen)]
pub(crate) struct PyFunction {
    pub(crate) function: Arc<Function>,
}

/// Operation, layer, shapes, microseconds and bytes of one call.
type CallTime = (String, String, String, f64, usize);

/// The bytes of a result, outside the interpreter.
struct Owned {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl PyFunction {
    fn plan(&self, py: Python<'_>, shapes: &[Vec<usize>], training: bool) -> PyResult<Plan> {
        py.detach(|| {
            // A fork waits for whoever plans.
            let _held = exclusive();
            self.function.plan(shapes, training)
        })
        .map_err(error::runtime)
    }

    fn arguments<'py>(&self, arrays: &[Bound<'py, PyAny>]) -> PyResult<Vec<Array<'py>>> {
        let inputs = self.function.inputs();
        arrays
            .iter()
            .enumerate()
            .map(|(k, a)| {
                let want = inputs.get(k).map(hornbeam_graph::Tensor::dtype);
                let array = Array::new(a, None)?;
                match want {
                    Some(dtype) if dtype != array.dtype => Array::new(a, Some(dtype)),
                    _ => Ok(array),
                }
            })
            .collect()
    }
}

fn refs<'a>(arrays: &'a [Array<'_>]) -> Vec<ArrayRef<'a>> {
    arrays
        .iter()
        .map(|a| ArrayRef {
            dtype: a.dtype,
            shape: &a.shape,
            bytes: a.bytes(),
        })
        .collect()
}

#[pymethods]
impl PyFunction {
    #[new]
    #[pyo3(signature = (inputs, outputs, updates = Vec::new(), name = None, plan_cache = 16))]
    fn new(
        inputs: Vec<Bound<'_, PyTensor>>,
        outputs: Vec<Bound<'_, PyTensor>>,
        updates: Vec<(Bound<'_, PyVariable>, Bound<'_, PyTensor>)>,
        name: Option<String>,
        plan_cache: usize,
    ) -> PyResult<Self> {
        let tensors = |list: Vec<Bound<'_, PyTensor>>| {
            list.iter()
                .map(|t| t.get().tensor.clone())
                .collect::<Vec<_>>()
        };
        let updates = updates
            .iter()
            .map(|(v, t)| (v.get().variable.clone(), t.get().tensor.clone()))
            .collect();
        let name = name.unwrap_or_else(|| "function".to_string());
        let function = Function::new(name, tensors(inputs), tensors(outputs), updates, plan_cache)
            .map_err(error::runtime)?;
        Ok(PyFunction {
            function: Arc::new(function),
        })
    }

    /// Runs the function on arrays and returns its results as arrays.
    #[pyo3(signature = (arrays, training = false))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        arrays: Vec<Bound<'py, PyAny>>,
        training: bool,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        reading::before_read(py, None)?;
        let arrays = self.arguments(&arrays)?;
        let arguments = refs(&arrays);
        let results = py
            .detach(|| {
                self.function.call(&arguments, training, |plan, inputs| {
                    (0..plan.outputs())
                        .map(|k| {
                            let Value { dtype, shape, .. } = plan.output(k).clone();
                            Owned {
                                dtype,
                                shape,
                                bytes: plan.result(k, inputs).to_vec(),
                            }
                        })
                        .collect::<Vec<_>>()
                })
            })
            .map_err(error::runtime)?;
        results
            .iter()
            .map(|r| to_numpy(py, r.dtype, &r.shape, &r.bytes))
            .collect()
    }

    #[getter]
    fn step(&self) -> u64 {
        self.function.step()
    }

    #[setter]
    fn set_step(&self, value: u64) {
        self.function.set_step(value);
    }

    /// The plan for arguments of these shapes, readable.
    #[pyo3(signature = (shapes, training = false))]
    fn describe(
        &self,
        py: Python<'_>,
        shapes: Vec<Vec<usize>>,
        training: bool,
    ) -> PyResult<String> {
        Ok(self.plan(py, &shapes, training)?.to_string())
    }

    /// Bytes of the arena of the plan for arguments of these shapes.
    #[pyo3(signature = (shapes, training = false))]
    fn peak_bytes(
        &self,
        py: Python<'_>,
        shapes: Vec<Vec<usize>>,
        training: bool,
    ) -> PyResult<usize> {
        Ok(self.plan(py, &shapes, training)?.peak_bytes())
    }

    /// Times each kernel call: (operation, layer, shapes, microseconds, bytes).
    #[pyo3(signature = (arrays, training = false, repeats = 10))]
    fn profile(
        &self,
        py: Python<'_>,
        arrays: Vec<Bound<'_, PyAny>>,
        training: bool,
        repeats: usize,
    ) -> PyResult<Vec<CallTime>> {
        let arrays = self.arguments(&arrays)?;
        let arguments = refs(&arrays);
        let timings = py
            .detach(|| self.function.profile(&arguments, training, repeats))
            .map_err(error::runtime)?;
        Ok(timings
            .into_iter()
            .map(|t| {
                let scope = t.scope.as_deref().unwrap_or("").to_string();
                (t.op, scope, t.shapes, t.time.as_secs_f64() * 1e6, t.bytes)
            })
            .collect())
    }
}

/// Arrays as samples, and the owners of their memory, which must live as long.
pub(crate) fn samples(
    arrays: &[Bound<'_, PyAny>],
) -> PyResult<(Vec<Samples>, Vec<Py<PyUntypedArray>>)> {
    let arrays: Vec<Array<'_>> = arrays
        .iter()
        .map(|a| Array::new(a, None))
        .collect::<PyResult<_>>()?;
    let owners = arrays.iter().map(Array::owner).collect();
    let samples = arrays
        .iter()
        .map(|a| {
            // SAFETY: the owners live as long as the epoch; the documentation of the loops asks
            // callers not to write to the arrays while they run.
            unsafe { Samples::new(a.dtype, a.shape.clone(), a.as_ptr()) }
        })
        .collect();
    Ok((samples, owners))
}

/// The numbers of samples in the order of the visit.
pub(crate) fn order_of(order: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<i64>>> {
    let array = order.map(|o| Array::new(o, Some(DType::I64))).transpose()?;
    Ok(array.and_then(|a| a.literal().to_i64()))
}

/// One pass over arrays in batches.
#[pyclass(name = "Loop", module = "hornbeam._core", frozen)]
pub(crate) struct PyLoop {
    epoch: Mutex<Epoch>,
    /// Keeps the memory of the samples alive.
    _owners: Vec<Py<PyUntypedArray>>,
}

impl PyLoop {
    /// Runs `f` on the epoch. Callers that may wait for a run in another thread have released the
    /// interpreter's lock.
    fn with<R>(&self, f: impl FnOnce(&mut Epoch) -> R) -> R {
        f(&mut self.epoch.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl PyLoop {
    #[new]
    #[pyo3(signature = (function, arrays, batch_size, order = None, collect = Vec::new(), training = false))]
    fn new(
        function: &Bound<'_, PyFunction>,
        arrays: Vec<Bound<'_, PyAny>>,
        batch_size: usize,
        order: Option<&Bound<'_, PyAny>>,
        collect: Vec<usize>,
        training: bool,
    ) -> PyResult<Self> {
        let (samples, owners) = samples(&arrays)?;
        let order = order_of(order)?;
        let function = function.get().function.clone();
        let epoch = Epoch::new(function, samples, batch_size, order, &collect, training)
            .map_err(error::runtime)?;
        Ok(PyLoop {
            epoch: Mutex::new(epoch),
            _owners: owners,
        })
    }

    /// Runs steps until all are done or a limit is reached; returns how many it ran.
    #[pyo3(signature = (max_steps = None, max_seconds = None))]
    fn run(
        &self,
        py: Python<'_>,
        max_steps: Option<usize>,
        max_seconds: Option<f64>,
    ) -> PyResult<usize> {
        let limit = max_seconds.map(|s| Duration::from_secs_f64(s.clamp(0.0, 1e9)));
        py.detach(|| self.with(|e| e.run(max_steps, limit)))
            .map_err(error::runtime)
    }

    /// From now on a run ends behind a step whose output `index` is NaN or infinite.
    fn watch(&self, py: Python<'_>, index: usize) -> PyResult<()> {
        py.detach(|| self.with(|e| e.watch(index)))
            .map_err(error::runtime)
    }

    #[getter]
    fn steps(&self, py: Python<'_>) -> usize {
        py.detach(|| self.with(|e| e.steps()))
    }

    #[getter]
    fn steps_done(&self, py: Python<'_>) -> usize {
        py.detach(|| self.with(|e| e.steps_done()))
    }

    #[getter]
    fn samples_done(&self, py: Python<'_>) -> usize {
        py.detach(|| self.with(|e| e.samples_done()))
    }

    fn means(&self, py: Python<'_>) -> Vec<f64> {
        py.detach(|| self.with(|e| e.means()))
    }

    fn last(&self, py: Python<'_>) -> Vec<f64> {
        py.detach(|| self.with(|e| e.last().to_vec()))
    }

    fn sums(&self, py: Python<'_>) -> Vec<f64> {
        py.detach(|| self.with(|e| e.sums().to_vec()))
    }

    /// Puts the loop before a step, with the sums over those before it and the results of the last.
    #[pyo3(signature = (steps_done, sums, last = None))]
    fn resume(
        &self,
        py: Python<'_>,
        steps_done: usize,
        sums: Vec<f64>,
        last: Option<Vec<f64>>,
    ) -> PyResult<()> {
        py.detach(|| self.with(|e| e.resume(steps_done, &sums, last.as_deref())))
            .map_err(error::runtime)
    }

    /// The collected outputs.
    fn collected<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let guard = py.detach(|| self.with(|e| e.collected().to_vec()));
        guard
            .iter()
            .map(|c| to_numpy(py, c.dtype, &c.shape, &c.bytes))
            .collect()
    }
}
