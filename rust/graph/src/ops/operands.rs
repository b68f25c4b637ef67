//! What shape inference sees of an operation's operands.

use crate::dtype::DType;
use crate::node::TensorType;
use crate::ops::values::Num;
use crate::shape::{Dim, Shape, show};

/// Output types, or the message of an error: what came, what was expected, how to fix it.
pub(crate) type Inferred = Result<Vec<TensorType>, String>;

/// Types of an operation's operands, and what is known of the values of its shape operands.
pub(crate) struct Operands<'a> {
    types: &'a [TensorType],
    values: &'a dyn Fn(usize) -> Option<Vec<Num>>,
    tensors: &'a dyn Fn(usize) -> Option<(u64, usize)>,
}

impl<'a> Operands<'a> {
    /// `values(k)` tells what is known of the elements of operand k, a scalar or vector;
    /// `tensors(k)` tells which symbolic tensor it is, if it is one.
    pub(crate) fn new(
        types: &'a [TensorType],
        values: &'a dyn Fn(usize) -> Option<Vec<Num>>,
        tensors: &'a dyn Fn(usize) -> Option<(u64, usize)>,
    ) -> Operands<'a> {
        Operands {
            types,
            values,
            tensors,
        }
    }

    /// What is known of the elements of operand `k`, if it is a scalar or a vector.
    pub(crate) fn values(&self, k: usize) -> Option<Vec<Num>> {
        (self.values)(k)
    }

    /// Number of operands.
    pub(crate) fn len(&self) -> usize {
        self.types.len()
    }

    /// Element type of operand `k`.
    pub(crate) fn dtype(&self, k: usize) -> DType {
        self.types[k].dtype
    }

    /// Symbolic shape of operand `k`.
    pub(crate) fn shape(&self, k: usize) -> &'a [Dim] {
        &self.types[k].shape
    }

    /// Number of axes of operand `k`.
    pub(crate) fn rank(&self, k: usize) -> usize {
        self.shape(k).len()
    }

    /// Operand `k`'s shape as a Python tuple.
    pub(crate) fn show(&self, k: usize) -> String {
        show(self.shape(k))
    }

    /// Checks the number of operands.
    pub(crate) fn count(&self, n: usize) -> Result<(), String> {
        if self.len() == n {
            return Ok(());
        }
        let s = if n == 1 { "" } else { "s" };
        Err(format!("takes {n} operand{s}, got {}", self.len()))
    }

    /// Checks that operand `k` is floating point.
    pub(crate) fn float(&self, k: usize, name: &str) -> Result<DType, String> {
        let d = self.dtype(k);
        if d.is_float() {
            return Ok(d);
        }
        Err(format!(
            "{name} must be float32 or float64, got {d} of shape {}; cast it first",
            self.show(k)
        ))
    }

    /// Checks that operand `k` is a number and not a bool.
    pub(crate) fn number(&self, k: usize, name: &str) -> Result<DType, String> {
        let d = self.dtype(k);
        if d != DType::Bool {
            return Ok(d);
        }
        Err(format!(
            "{name} must be a number, got bool of shape {}; cast it first",
            self.show(k)
        ))
    }

    /// Checks that operand `k` is an integer.
    pub(crate) fn integer(&self, k: usize, name: &str) -> Result<DType, String> {
        let d = self.dtype(k);
        if !d.is_float() && d != DType::Bool {
            return Ok(d);
        }
        Err(format!(
            "{name} must be integers, got {d} of shape {}; cast it to 'int32' or 'int64'",
            self.show(k)
        ))
    }

    /// Checks that operand `k` is bool.
    pub(crate) fn boolean(&self, k: usize, name: &str) -> Result<(), String> {
        let d = self.dtype(k);
        if d == DType::Bool {
            return Ok(());
        }
        Err(format!(
            "{name} must be bool, got {d} of shape {}; compare it with something or cast it",
            self.show(k)
        ))
    }

    /// Checks that two operands have one type.
    pub(crate) fn same_dtype(&self, a: usize, b: usize) -> Result<DType, String> {
        let (x, y) = (self.dtype(a), self.dtype(b));
        if x == y {
            return Ok(x);
        }
        Err(format!(
            "operands have different dtypes, {x} of shape {} and {y} of shape {}; cast one to the other's",
            self.show(a),
            self.show(b)
        ))
    }

    /// Checks that operand `k` has an axis `axis`.
    pub(crate) fn axis(&self, k: usize, axis: usize) -> Result<(), String> {
        if axis < self.rank(k) {
            return Ok(());
        }
        Err(format!(
            "there is no axis {axis} in shape {}, which has {} axes",
            self.show(k),
            self.rank(k)
        ))
    }

    /// What is known of the elements of the scalar operand `k`.
    pub(crate) fn scalar(&self, k: usize, name: &str) -> Result<Num, String> {
        if self.rank(k) != 0 {
            return Err(format!(
                "{name} must be a scalar, got shape {}",
                self.show(k)
            ));
        }
        Ok((self.values)(k).map_or(Num::Unknown, |v| v[0]))
    }

    /// The elements of the shape operand `k`.
    pub(crate) fn sizes(&self, k: usize) -> Result<Vec<Num>, String> {
        if self.dtype(k) != DType::I64 || self.rank(k) != 1 {
            return Err(format!(
                "a shape must be an int64 vector, got {} of shape {}",
                self.dtype(k),
                self.show(k)
            ));
        }
        if let Some(values) = (self.values)(k) {
            return Ok(values);
        }
        match self.shape(k)[0] {
            Some(n) => Ok(vec![Num::Unknown; n]),
            None => Err(
                "the number of axes of the target shape must be known, got a shape vector of \
                 unknown length; build it from a known number of sizes"
                    .to_string(),
            ),
        }
    }

    /// The shape operand `k` as a symbolic shape: no size may be negative.
    pub(crate) fn target(&self, k: usize) -> Result<Shape, String> {
        let sizes = self.sizes(k)?;
        sizes
            .iter()
            .map(|&n| match n {
                Num::Int(i) => usize::try_from(i).map(Some).map_err(|_| {
                    format!(
                        "sizes must not be negative, got the target shape {}",
                        show_sizes(&sizes)
                    )
                }),
                Num::Float(_) | Num::Dim { .. } | Num::Unknown => Ok(None),
            })
            .collect()
    }

    /// Whether `size` is certainly the size of axis `axis` of operand `k`, though unknown.
    pub(crate) fn is_dim(&self, size: Num, k: usize, axis: usize) -> bool {
        match size {
            Num::Dim { tensor, axis: a } => a == axis && (self.tensors)(k) == Some(tensor),
            Num::Int(_) | Num::Float(_) | Num::Unknown => false,
        }
    }
}

/// One output.
pub(crate) fn one(dtype: DType, shape: Shape) -> Inferred {
    Ok(vec![TensorType { dtype, shape }])
}

/// A target shape as a Python tuple, with `None` for what is unknown.
pub(crate) fn show_sizes(sizes: &[Num]) -> String {
    let parts: Vec<String> = sizes
        .iter()
        .map(|s| match s {
            Num::Int(i) => i.to_string(),
            Num::Float(x) => x.to_string(),
            Num::Dim { .. } | Num::Unknown => "None".to_string(),
        })
        .collect();
    match parts.as_slice() {
        [only] => format!("({only},)"),
        all => format!("({})", all.join(", ")),
    }
}

/// What two descriptions of one size tell together, or `None` when they contradict.
pub(crate) fn merge(a: Dim, b: Dim) -> Option<Dim> {
    match (a, b) {
        (Some(x), Some(y)) => (x == y).then_some(Some(x)),
        (known, None) | (None, known) => Some(known),
    }
}
