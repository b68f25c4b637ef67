//! `Tensor` and `Variable`: handles on graph nodes with Python's operators.

use std::sync::Arc;

use hornbeam_graph::op::{BinaryOp, SliceAxis, UnaryOp};
use hornbeam_graph::{DType, Literal, Op, Tensor};
use hornbeam_runtime::Variable;
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyEllipsis, PyFloat, PySlice, PyTuple};

use crate::array::{Array, to_numpy};
use crate::error;
use crate::ops::{self, node};
use crate::reading;

/// A symbolic tensor.
#[pyclass(
    name = "Tensor",
    module = "hornbeam._core",
    subclass,
    dict,
    weakref,
    frozen
)]
pub(crate) struct PyTensor {
    pub(crate) tensor: Tensor,
    name: Option<String>,
}

impl From<Tensor> for PyTensor {
    fn from(tensor: Tensor) -> PyTensor {
        PyTensor { tensor, name: None }
    }
}

impl PyTensor {
    /// A tensor with a name of its own.
    pub(crate) fn named(tensor: Tensor, name: Option<String>) -> PyTensor {
        PyTensor { tensor, name }
    }
}

/// The type that two operands are brought to.
fn common(a: DType, b: DType) -> DType {
    a.max(b)
}

/// Casts a tensor unless it has the type already.
pub(crate) fn cast_to(tensor: &Tensor, dtype: DType) -> PyResult<Tensor> {
    if tensor.dtype() == dtype {
        Ok(tensor.clone())
    } else {
        node(Op::Cast(dtype), vec![tensor.clone()])
    }
}

/// Another operand: a tensor as it is, a number or array with the type of `beside` (or `float32`
/// when that is an integer type and the number is not).
fn operand(value: &Bound<'_, PyAny>, beside: DType) -> PyResult<Option<Tensor>> {
    if let Ok(tensor) = value.cast::<PyTensor>() {
        return Ok(Some(tensor.get().tensor.clone()));
    }
    let is_number = value.extract::<f64>().is_ok();
    if !is_number && value.getattr("dtype").is_err() && value.try_iter().is_err() {
        return Ok(None);
    }
    let float = value.is_instance_of::<PyFloat>()
        || value
            .getattr("dtype")
            .and_then(|d| d.getattr("kind"))
            .and_then(|k| k.extract::<String>())
            .is_ok_and(|k| k == "f");
    let dtype = if float && !beside.is_float() {
        DType::F32
    } else {
        beside
    };
    let literal = Array::new(value, Some(dtype))?.literal();
    Ok(Some(ops::constant_of(literal)))
}

enum Order {
    Given,
    Swapped,
}

impl PyTensor {
    fn operate(
        &self,
        op: BinaryOp,
        other: &Bound<'_, PyAny>,
        order: Order,
        to_float: bool,
    ) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let Some(other) = operand(other, self.tensor.dtype())? else {
            return Ok(py.NotImplemented());
        };
        let mut dtype = common(self.tensor.dtype(), other.dtype());
        if to_float && !dtype.is_float() {
            dtype = DType::F32;
        }
        let (this, other) = (cast_to(&self.tensor, dtype)?, cast_to(&other, dtype)?);
        let operands = match order {
            Order::Given => vec![this, other],
            Order::Swapped => vec![other, this],
        };
        let result = PyTensor::from(node(Op::Binary(op), operands)?);
        Ok(Py::new(py, result)?.into_any())
    }

    fn unary(&self, op: UnaryOp) -> PyResult<PyTensor> {
        Ok(node(Op::Unary(op), vec![self.tensor.clone()])?.into())
    }
}

#[pymethods]
impl PyTensor {
    #[classattr]
    fn __array_ufunc__() -> Option<i32> {
        None
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.tensor.shape())
    }

    #[getter]
    fn dtype(&self) -> &'static str {
        self.tensor.dtype().name()
    }

    #[getter]
    fn ndim(&self) -> usize {
        self.tensor.rank()
    }

    #[getter]
    fn op(&self) -> String {
        ops::op_name(&self.tensor.node.op)
    }

    #[getter]
    fn op_inputs(&self) -> Vec<PyTensor> {
        self.tensor
            .node
            .inputs
            .iter()
            .cloned()
            .map(PyTensor::from)
            .collect()
    }

    #[getter]
    fn name(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => format!(
                "{}_{}:{}",
                ops::op_name(&self.tensor.node.op),
                self.tensor.node.id,
                self.tensor.index
            ),
        }
    }

    #[getter]
    fn uses_learning_phase(&self) -> bool {
        self.tensor.node.uses_learning_phase
    }

    #[getter]
    fn is_variable(&self) -> bool {
        matches!(self.tensor.node.op, Op::Variable(_))
    }

    fn __repr__(&self) -> String {
        format!(
            "<Tensor '{}' shape={} dtype={}>",
            self.name(),
            hornbeam_graph::shape::show(self.tensor.shape()),
            self.tensor.dtype()
        )
    }

    fn __add__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Add, other, Order::Given, false)
    }
    fn __radd__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Add, other, Order::Swapped, false)
    }
    fn __sub__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Sub, other, Order::Given, false)
    }
    fn __rsub__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Sub, other, Order::Swapped, false)
    }
    fn __mul__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Mul, other, Order::Given, false)
    }
    fn __rmul__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Mul, other, Order::Swapped, false)
    }
    fn __truediv__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Div, other, Order::Given, true)
    }
    fn __rtruediv__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Div, other, Order::Swapped, true)
    }
    fn __floordiv__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::FloorDiv, other, Order::Given, false)
    }
    fn __rfloordiv__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::FloorDiv, other, Order::Swapped, false)
    }
    fn __mod__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Mod, other, Order::Given, false)
    }
    fn __rmod__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Mod, other, Order::Swapped, false)
    }
    fn __pow__(
        &self,
        other: &Bound<'_, PyAny>,
        _modulo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Pow, other, Order::Given, false)
    }
    fn __rpow__(
        &self,
        other: &Bound<'_, PyAny>,
        _modulo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Pow, other, Order::Swapped, false)
    }
    fn __and__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::And, other, Order::Given, false)
    }
    fn __or__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.operate(BinaryOp::Or, other, Order::Given, false)
    }
    fn __matmul__(&self, other: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
        let other = operand(other, self.tensor.dtype())?
            .ok_or_else(|| PyTypeError::new_err("@ takes tensors and arrays"))?;
        Ok(ops::matmul_of(&self.tensor, &other, false, false)?.into())
    }
    fn __rmatmul__(&self, other: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
        let other = operand(other, self.tensor.dtype())?
            .ok_or_else(|| PyTypeError::new_err("@ takes tensors and arrays"))?;
        Ok(ops::matmul_of(&other, &self.tensor, false, false)?.into())
    }
    fn __neg__(&self) -> PyResult<PyTensor> {
        self.unary(UnaryOp::Neg)
    }
    fn __abs__(&self) -> PyResult<PyTensor> {
        self.unary(UnaryOp::Abs)
    }
    fn __invert__(&self) -> PyResult<PyTensor> {
        self.unary(UnaryOp::Not)
    }

    fn __richcmp__(
        slf: &Bound<'_, Self>,
        other: &Bound<'_, PyAny>,
        op: CompareOp,
    ) -> PyResult<Py<PyAny>> {
        let this = slf.get();
        let symbolic = |op| this.operate(op, other, Order::Given, false);
        match op {
            CompareOp::Eq | CompareOp::Ne => {
                let equal = slf.is(other) == matches!(op, CompareOp::Eq);
                Ok(equal
                    .into_pyobject(slf.py())?
                    .to_owned()
                    .into_any()
                    .unbind())
            }
            CompareOp::Lt => symbolic(BinaryOp::Lt),
            CompareOp::Le => symbolic(BinaryOp::Le),
            CompareOp::Gt => symbolic(BinaryOp::Gt),
            CompareOp::Ge => symbolic(BinaryOp::Ge),
        }
    }

    fn __hash__(slf: &Bound<'_, Self>) -> isize {
        (slf.as_ptr() as isize) >> 4
    }

    fn __len__(&self) -> PyResult<usize> {
        match self.tensor.shape().first() {
            Some(Some(n)) => Ok(*n),
            Some(None) => Err(PyTypeError::new_err(
                "the size of the tensor's first axis is unknown until it is computed: use K.shape(x)[0]",
            )),
            None => Err(PyTypeError::new_err("a scalar tensor has no length")),
        }
    }

    fn __bool__(&self) -> PyResult<bool> {
        Err(PyTypeError::new_err(
            "a symbolic tensor has no truth value: use K.switch(condition, then, otherwise), or \
             `is None` to test for its presence",
        ))
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let n = slf.get().__len__()?;
        let items: Vec<_> = (0..n)
            .map(|i| slf.as_any().get_item(i))
            .collect::<PyResult<_>>()?;
        Ok(PyTuple::new(slf.py(), items)?.try_iter()?.into_any())
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
        index(&self.tensor, key).map(PyTensor::from)
    }
}

/// NumPy's basic indexing: integers, slices, `...` and `None`; an integer tensor gathers.
fn index(tensor: &Tensor, key: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let keys: Vec<Bound<'_, PyAny>> = match key.cast::<PyTuple>() {
        Ok(tuple) => tuple.iter().collect(),
        Err(_) => vec![key.clone()],
    };
    if let [only] = keys.as_slice()
        && let Ok(indices) = only.cast::<PyTensor>()
    {
        let indices = indices.get().tensor.clone();
        return node(Op::Gather { axis: 0 }, vec![tensor.clone(), indices]);
    }
    let consumed = keys
        .iter()
        .filter(|k| !k.is_none() && !k.is_instance_of::<PyEllipsis>())
        .count();
    let rank = tensor.rank();
    if consumed > rank {
        return Err(PyIndexError::new_err(format!(
            "{consumed} indices for a tensor with {rank} axes"
        )));
    }
    let whole = SliceAxis {
        start: None,
        stop: None,
        step: 1,
    };
    let (mut axes, mut result) = (Vec::new(), Vec::new());
    let mut expanded = false;
    for k in &keys {
        if k.is_none() {
            result.push(ops::Axis::New);
        } else if k.is_instance_of::<PyEllipsis>() {
            if expanded {
                return Err(PyIndexError::new_err("an index has at most one `...`"));
            }
            expanded = true;
            for _ in 0..rank - consumed {
                result.push(ops::Axis::Kept(axes.len()));
                axes.push(whole);
            }
        } else if let Ok(slice) = k.cast::<PySlice>() {
            result.push(ops::Axis::Kept(axes.len()));
            axes.push(slice_axis(slice)?);
        } else if let Ok(i) = k.extract::<i64>() {
            axes.push(single(i, tensor.shape()[axes.len()])?);
        } else {
            return Err(PyTypeError::new_err(format!(
                "a tensor is indexed with integers, slices, `...` and None, not {}",
                k.get_type()
            )));
        }
    }
    for _ in axes.len()..rank {
        result.push(ops::Axis::Kept(axes.len()));
        axes.push(whole);
    }
    let plain = axes.iter().all(|a| *a == whole);
    let part = if plain {
        tensor.clone()
    } else {
        node(Op::Slice(axes), vec![tensor.clone()])?
    };
    ops::with_axes(&part, &result)
}

fn slice_axis(slice: &Bound<'_, PySlice>) -> PyResult<SliceAxis> {
    let part = |name| -> PyResult<Option<i64>> { slice.getattr(name)?.extract() };
    let step = part("step")?.unwrap_or(1);
    if step == 0 {
        return Err(PyValueError::new_err("a slice's step cannot be zero"));
    }
    Ok(SliceAxis {
        start: part("start")?,
        stop: part("stop")?,
        step,
    })
}

fn single(i: i64, dim: Option<usize>) -> PyResult<SliceAxis> {
    if let Some(n) = dim
        && !(-(n as i64)..n as i64).contains(&i)
    {
        return Err(PyIndexError::new_err(format!(
            "index {i} is out of range for an axis of size {n}"
        )));
    }
    let stop = if i == -1 { None } else { Some(i + 1) };
    Ok(SliceAxis {
        start: Some(i),
        stop,
        step: 1,
    })
}

/// A tensor with a value that functions read and update in place.
#[pyclass(name = "Variable", module = "hornbeam._core", extends = PyTensor, subclass, frozen)]
pub(crate) struct PyVariable {
    pub(crate) variable: Arc<Variable>,
}

impl PyVariable {
    /// Another handle on a variable.
    pub(crate) fn handle(variable: Arc<Variable>) -> PyClassInitializer<Self> {
        let base = PyTensor::named(variable.tensor(), None);
        PyClassInitializer::from(base).add_subclass(PyVariable { variable })
    }
}

#[pymethods]
impl PyVariable {
    #[new]
    #[pyo3(signature = (value, name = None))]
    fn new(value: &Bound<'_, PyAny>, name: Option<String>) -> PyResult<PyClassInitializer<Self>> {
        let literal: Literal = Array::new(value, None)?.literal();
        let variable = Variable::new(&literal).map_err(error::runtime)?;
        let base = PyTensor::named(variable.tensor(), name);
        Ok(PyClassInitializer::from(base).add_subclass(PyVariable { variable }))
    }

    /// What all handles on one variable have in common, and no other variable of the process.
    #[getter]
    fn id(&self) -> u64 {
        self.variable.id
    }

    /// A number that is another one once the value has been written.
    #[getter]
    fn version(&self) -> u64 {
        self.variable.version()
    }

    /// A copy of the value.
    fn get_value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        reading::before_read(py, Some(self.variable.id))?;
        let value = py.detach(|| self.variable.get());
        to_numpy(py, value.dtype, &value.shape, &value.bytes)
    }

    /// Replaces the value by an array of the same shape, converted to the variable's type.
    fn set_value(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let array = Array::new(value, Some(self.variable.dtype))?;
        if array.shape != self.variable.shape {
            return Err(PyValueError::new_err(format!(
                "a variable of shape {:?} cannot take a value of shape {:?}",
                self.variable.shape, array.shape
            )));
        }
        let bytes = array.bytes();
        py.detach(|| self.variable.set(bytes))
            .map_err(error::runtime)
    }
}
