//! Variables: tensors whose value functions read and update in place.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use hornbeam_graph::op::VarId;
use hornbeam_graph::{DType, Literal, Node, Op, Tensor, TensorType, shape};

use crate::buffer::{Buffer, exclusive};
use crate::error::{Result, RuntimeError};
use crate::plan::Exclusive;
use crate::shards::Window;

/// A variable's identity, type and storage.
pub struct Variable {
    /// Identity in graphs.
    pub id: VarId,
    /// Element type.
    pub dtype: DType,
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// The variable's own memory.
    home: Buffer,
    /// Where the value is. This and what it points to change under the lock on variables alone.
    place: AtomicPtr<u8>,
    /// Keeps the memory of a value that is elsewhere, which nobody changes.
    away: Mutex<Option<Arc<dyn Window>>>,
    version: AtomicU64,
}

/// How often any value has come to another place.
static MOVES: AtomicU64 = AtomicU64::new(0);

/// A number that is another one when a value has come to another place.
pub(crate) fn moves() -> u64 {
    MOVES.load(Ordering::Relaxed)
}

fn registry() -> &'static Mutex<HashMap<VarId, Weak<Variable>>> {
    static REGISTRY: OnceLock<Mutex<HashMap<VarId, Weak<Variable>>>> = OnceLock::new();
    REGISTRY.get_or_init(Mutex::default)
}

impl Variable {
    /// A new variable with the given value.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn new(value: &Literal) -> Result<Arc<Variable>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let home = Buffer::copy_of(&value.bytes, "a variable")?;
        let variable = Arc::new(Variable {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            dtype: value.dtype,
            shape: value.shape.clone(),
            place: AtomicPtr::new(home.as_ptr()),
            home,
            away: Mutex::new(None),
            version: AtomicU64::new(0),
        });
        let mut registry = registry().lock().unwrap_or_else(PoisonError::into_inner);
        registry.insert(variable.id, Arc::downgrade(&variable));
        Ok(variable)
    }

    /// The living variable with an identity.
    ///
    /// # Errors
    /// When it has been dropped.
    pub fn by_id(id: VarId) -> Result<Arc<Variable>> {
        let registry = registry().lock().unwrap_or_else(PoisonError::into_inner);
        registry.get(&id).and_then(Weak::upgrade).ok_or_else(|| {
            RuntimeError::Argument("a variable of the graph no longer exists".to_string())
        })
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// The symbolic tensor that stands for the value, and keeps the variable alive.
    pub fn tensor(self: &Arc<Self>) -> Tensor {
        let ty = TensorType {
            dtype: self.dtype,
            shape: shape::known(&self.shape),
        };
        Node::leaf(Op::Variable(self.id), ty, Some(self.clone()))
    }

    /// A number that is another one once the value has been written.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Notes that the value has been written, under the lock on variables.
    pub(crate) fn touch(&self) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Release);
    }

    /// A copy of the value.
    pub fn get(&self) -> Literal {
        let _guard = exclusive();
        // SAFETY: there are that many bytes, and the guard keeps plans from writing them.
        let bytes = unsafe { std::slice::from_raw_parts(self.place(), self.bytes()) };
        Literal::new(self.dtype, self.shape.clone(), bytes)
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// When the number of bytes is not the variable's.
    pub fn set(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() != self.bytes() {
            return Err(RuntimeError::Argument(format!(
                "a variable of shape {:?} and type {} has {} bytes, the value has {}",
                self.shape,
                self.dtype,
                self.bytes(),
                bytes.len()
            )));
        }
        let _guard = exclusive();
        self.move_to(self.home.as_ptr(), None);
        // SAFETY: there are that many bytes, and the guard keeps plans from using them.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.home.as_ptr(), bytes.len());
        }
        self.touch();
        Ok(())
    }

    /// Where the value is: the variable's own memory, or memory that nobody writes. It stays there
    /// as long as the lock on variables is held.
    pub(crate) fn place(&self) -> *mut u8 {
        self.place.load(Ordering::Relaxed)
    }

    fn move_to(&self, place: *mut u8, keeper: Option<Arc<dyn Window>>) {
        if self.place.swap(place, Ordering::Relaxed) != place {
            MOVES.fetch_add(1, Ordering::Relaxed);
        }
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = keeper;
    }

    /// Makes numbers elsewhere the value of a float32 variable.
    ///
    /// # Safety
    /// Nobody writes them as long as the variable has them for its value.
    ///
    /// # Panics
    /// When they are not as many as the variable's.
    pub(crate) unsafe fn take(
        &self,
        window: &Arc<dyn Window>,
        numbers: Range<usize>,
        _held: &Exclusive,
    ) {
        // SAFETY: the caller's promise.
        let numbers = unsafe { window.get(numbers) };
        assert_eq!(size_of_val(numbers), self.bytes(), "the variable's value");
        if self.place() == self.home.as_ptr() {
            // SAFETY: whoever uses what is there holds the lock.
            unsafe { self.home.release() };
        }
        self.move_to(numbers.as_ptr().cast_mut().cast(), Some(Arc::clone(window)));
        self.touch();
    }

    /// Takes a value that is elsewhere into the variable's own memory, where it can be written.
    pub(crate) fn bring_home(&self, _held: &Exclusive) {
        let (place, home) = (self.place(), self.home.as_ptr());
        if place != home {
            // SAFETY: both have that many bytes and are apart; the lock keeps plans from using them.
            unsafe { std::ptr::copy_nonoverlapping(place, home, self.bytes()) };
            self.move_to(home, None);
        }
    }
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Variable {
            id, dtype, shape, ..
        } = self;
        write!(f, "Variable({id}, {dtype}, {shape:?})")
    }
}

impl Drop for Variable {
    fn drop(&mut self) {
        registry()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Elsewhere(Vec<f32>);

    impl Window for Elsewhere {
        unsafe fn get(&self, range: Range<usize>) -> &[f32] {
            &self.0[range]
        }
    }

    #[test]
    fn a_value_may_be_elsewhere() {
        // Enough for large pages.
        let n = 600_000;
        let start = vec![1.0; n];
        let v = Variable::new(&Literal::from_f64(DType::F32, vec![n], &start)).unwrap();
        let elsewhere: Arc<dyn Window> = Arc::new(Elsewhere(vec![2.0; n + 3]));
        let (version, before) = (v.version(), moves());
        // SAFETY: nobody ever writes them.
        unsafe { v.take(&elsewhere, 3..n + 3, &exclusive()) };
        assert!(v.version() > version && moves() > before);
        assert!(v.get().to_f64().iter().all(|x| *x == 2.0));
        // The variable keeps the memory.
        drop(elsewhere);
        v.bring_home(&exclusive());
        assert!(v.place() == v.home.as_ptr() && v.get().to_f64().iter().all(|x| *x == 2.0));
        let elsewhere: Arc<dyn Window> = Arc::new(Elsewhere(vec![3.0; n]));
        // SAFETY: as above.
        unsafe { v.take(&elsewhere, 0..n, &exclusive()) };
        v.set(&Literal::from_f64(DType::F32, vec![n], &start).bytes)
            .unwrap();
        assert!(v.place() == v.home.as_ptr() && v.get().to_f64().iter().all(|x| *x == 1.0));
        assert_eq!(Arc::strong_count(&elsewhere), 1);
    }

    #[test]
    fn values_are_kept_until_the_variable_goes() {
        let v = Variable::new(&Literal::from_f64(DType::F32, vec![2], &[1.0, 2.0])).unwrap();
        v.set(&Literal::from_f64(DType::F32, vec![2], &[3.0, 4.0]).bytes)
            .unwrap();
        assert_eq!(v.get().to_f64(), [3.0, 4.0]);
        assert_eq!(v.version(), 1);
        assert!(v.set(&[0; 3]).is_err());
        let id = v.id;
        assert!(Variable::by_id(id).is_ok());
        drop(v);
        assert!(Variable::by_id(id).is_err());
    }
}
