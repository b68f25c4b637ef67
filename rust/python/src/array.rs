//! NumPy arrays to bytes and back.

use hornbeam_graph::{DType, Literal};
use numpy::{
    PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// A C-contiguous array of a type that the core knows, kept alive.
pub(crate) struct Array<'py> {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    array: Bound<'py, PyUntypedArray>,
}

impl<'py> Array<'py> {
    /// The array itself, or a contiguous copy; converted to `dtype` if one is given.
    pub(crate) fn new(value: &Bound<'py, PyAny>, dtype: Option<DType>) -> PyResult<Self> {
        if dtype.is_none()
            && let Ok(array) = value.cast::<PyUntypedArray>()
            && array.is_c_contiguous()
            && let Some(dtype) = dtype_of(array)?
            && aligned(array, dtype)
        {
            return Ok(Array {
                dtype,
                shape: array.shape().to_vec(),
                array: array.clone(),
            });
        }
        let py = value.py();
        let kwargs = PyDict::new(py);
        kwargs.set_item("order", "C")?;
        if let Some(dtype) = dtype {
            kwargs.set_item("dtype", dtype.name())?;
        }
        let mut array = numpy_module(py)?.call_method("asarray", (value,), Some(&kwargs))?;
        if !aligned(array.cast::<PyUntypedArray>()?, DType::U8) {
            array = array.call_method0("copy")?;
        }
        let array = array.cast_into::<PyUntypedArray>()?;
        let Some(dtype) = dtype_of(&array)? else {
            return Err(PyTypeError::new_err(format!(
                "arrays of type {} are not supported: convert to one of bool, uint8, int32, \
                 int64, float32, float64",
                array.dtype()
            )));
        };
        if !aligned(&array, dtype) {
            let copy = array.call_method0("copy")?.cast_into::<PyUntypedArray>()?;
            return Ok(Array {
                dtype,
                shape: copy.shape().to_vec(),
                array: copy,
            });
        }
        Ok(Array {
            dtype,
            shape: array.shape().to_vec(),
            array,
        })
    }

    /// Where the elements are.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        // SAFETY: the object is a NumPy array, so its header is valid while it is alive.
        unsafe {
            (*self.array.as_array_ptr())
                .fields
                .data
                .cast::<u8>()
                .cast_const()
        }
    }

    /// The elements.
    pub(crate) fn bytes(&self) -> &[u8] {
        let len = self.shape.iter().product::<usize>() * self.dtype.size();
        if len == 0 {
            return &[];
        }
        // SAFETY: the array is contiguous and holds that many bytes while it is alive. NumPy
        // cannot keep other threads from writing it meanwhile; callers are told not to.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), len) }
    }

    /// A copy as a constant.
    pub(crate) fn literal(&self) -> Literal {
        Literal::new(self.dtype, self.shape.clone(), self.bytes())
    }

    /// The array, to be kept alive beyond the lock.
    pub(crate) fn owner(&self) -> Py<PyUntypedArray> {
        self.array.clone().unbind()
    }
}

fn aligned(array: &Bound<'_, PyUntypedArray>, dtype: DType) -> bool {
    // SAFETY: the object is a NumPy array, so its header is valid.
    (unsafe { (*array.as_array_ptr()).fields.data as usize }).is_multiple_of(dtype.size())
}

fn numpy_module(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    MODULE
        .get_or_try_init(py, || py.import("numpy").map(Bound::unbind))
        .map(|m| m.bind(py))
}

fn dtype_of(array: &Bound<'_, PyUntypedArray>) -> PyResult<Option<DType>> {
    let descr = array.dtype();
    if descr.is_native_byteorder() == Some(false) {
        return Ok(None);
    }
    Ok(match (descr.kind(), descr.itemsize()) {
        (b'b', 1) => Some(DType::Bool),
        (b'u', 1) => Some(DType::U8),
        (b'i', 4) => Some(DType::I32),
        (b'i', 8) => Some(DType::I64),
        (b'f', 4) => Some(DType::F32),
        (b'f', 8) => Some(DType::F64),
        _ => None,
    })
}

/// A new NumPy array with the given elements.
pub(crate) fn to_numpy<'py>(
    py: Python<'py>,
    dtype: DType,
    shape: &[usize],
    bytes: &[u8],
) -> PyResult<Bound<'py, PyAny>> {
    match dtype {
        DType::Bool => filled::<bool>(py, shape, bytes),
        DType::U8 => filled::<u8>(py, shape, bytes),
        DType::I32 => filled::<i32>(py, shape, bytes),
        DType::I64 => filled::<i64>(py, shape, bytes),
        DType::F32 => filled::<f32>(py, shape, bytes),
        DType::F64 => filled::<f64>(py, shape, bytes),
    }
}

fn filled<'py, T: numpy::Element>(
    py: Python<'py>,
    shape: &[usize],
    bytes: &[u8],
) -> PyResult<Bound<'py, PyAny>> {
    let len = shape.iter().product::<usize>() * std::mem::size_of::<T>();
    if len != bytes.len() {
        return Err(PyValueError::new_err(
            "a result has another size than its shape says",
        ));
    }
    // SAFETY: every element is written below before the array is seen by anyone.
    let array = unsafe { PyArrayDyn::<T>::new(py, shape, false) };
    // SAFETY: the new array is contiguous and has exactly `len` bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), array.data().cast::<u8>(), len);
    }
    Ok(array.into_any())
}
