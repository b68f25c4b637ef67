//! Lending memory to operations safely: guards that take operations out of the engine before the
//! memory's borrow ends.
//!
//! A loan is sound because the engine touches an operation's data only under its lock and only
//! while the operation is in its table: once the guard has removed it there, nothing can reach the
//! memory. Imports the engine and the group.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Mutex;

use crate::buffer::{Buffer, Element};
use crate::engine::Engine;
use crate::error::Result;
use crate::frame::OpKey;
use crate::group::Group;
use crate::operation::{Operation, Output};
use crate::wake::lock;

/// Takes operations out of the engine when it is dropped.
struct CancelOnDrop<'a> {
    engine: &'a Engine,
    keys: Mutex<Vec<OpKey>>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        for key in lock(&self.keys).drain(..) {
            self.engine
                .cancel(key, "the scope of a lent buffer was left early");
        }
    }
}

/// Runs an operation on `data` to its end; when this returns or unwinds, the engine has let go of
/// the memory.
pub(crate) fn run_lent<T: bytemuck::Pod>(
    engine: &Engine,
    bucket: u32,
    data: &mut [T],
    make: impl FnOnce(Buffer) -> Result<Box<dyn Operation>>,
) -> Result<Output> {
    let guard = CancelOnDrop {
        engine,
        keys: Mutex::new(Vec::new()),
    };
    // SAFETY: `data` is mutably borrowed for this whole function, and the guard is dropped within
    // it.
    let buffer = unsafe { Buffer::lend(NonNull::from(&mut *data).cast(), size_of_val(data)) };
    let key = engine.start(bucket, make(buffer)?, false)?;
    lock(&guard.keys).push(key);
    engine.wait(key)
}

/// Starts buckets on borrowed slices; made by [`Group::scope`].
pub struct Scope<'scope, 'env: 'scope> {
    group: &'scope Group,
    guard: CancelOnDrop<'scope>,
    /// Makes the environment's lifetime invariant: it must not shrink to a part of the scope.
    environment: PhantomData<&'env mut &'env ()>,
}

/// A bucket in flight on a borrowed slice.
#[must_use = "wait for the bucket to get its slice back"]
pub struct ScopedHandle<'env, T> {
    key: OpKey,
    data: NonNull<T>,
    length: usize,
    lender: PhantomData<&'env mut [T]>,
}

// SAFETY: it stands for the mutable borrow of a slice of `T`, which may be sent if `T` may.
unsafe impl<T: Send> Send for ScopedHandle<'_, T> {}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Starts a bucket's all-reduce and returns at once; the slice as for [`Group::all_reduce`].
    ///
    /// # Errors
    /// Those of [`Group::start_all_reduce`].
    pub fn start_all_reduce<T: Element>(
        &self,
        bucket: u32,
        data: &'env mut [T],
    ) -> Result<ScopedHandle<'env, T>> {
        let (length, bytes) = (data.len(), size_of_val(data));
        let data = NonNull::from(data).cast::<T>();
        // SAFETY: the slice is borrowed for 'env, which outlives the scope; the scope's guard takes
        // the operation out of the engine before `Group::scope` returns, and `wait` does before it
        // gives the slice back.
        let buffer = unsafe { Buffer::lend(data.cast(), bytes) };
        let operation = self.group.reduction::<T>(length, buffer)?;
        let key = self.group.start_bucket(bucket, operation, true)?;
        lock(&self.guard.keys).push(key);
        Ok(ScopedHandle {
            key,
            data,
            length,
            lender: PhantomData,
        })
    }

    /// Waits for a bucket and gives its slice back, the result in front.
    ///
    /// # Errors
    /// The group's failure.
    pub fn wait<T: Element>(&self, handle: ScopedHandle<'env, T>) -> Result<&'env mut [T]> {
        self.group.engine().wait(handle.key)?;
        lock(&self.guard.keys).retain(|key| *key != handle.key);
        // SAFETY: the pointer and length come from a `&'env mut` slice that the handle stands for;
        // the operation has been taken out of the engine, so that nobody else uses it.
        Ok(unsafe { std::slice::from_raw_parts_mut(handle.data.as_ptr(), handle.length) })
    }
}

impl Group {
    /// Runs `body`, which may start buckets on slices that outlive the scope; they are all
    /// complete, or the group has failed, when it returns.
    ///
    /// ```no_run
    /// # fn step(group: &hornbeam_collective::Group) -> hornbeam_collective::Result<()> {
    /// let (mut late, mut early) = (vec![1.0f32; 1000], vec![2.0f32; 1000]);
    /// group.scope(|scope| {
    ///     let first = scope.start_all_reduce(0, &mut late)?;
    ///     // ... the backward pass goes on ...
    ///     let second = scope.start_all_reduce(1, &mut early)?;
    ///     let summed = scope.wait(first)?;
    ///     // ... the update of `summed` overlaps with the second bucket ...
    ///     scope.wait(second).map(drop)
    /// })?
    /// # }
    /// ```
    ///
    /// # Errors
    /// The first failure of a bucket that `body` has not waited for.
    pub fn scope<'env, R>(
        &self,
        body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    ) -> Result<R> {
        let guard = CancelOnDrop {
            engine: self.engine(),
            keys: Mutex::new(Vec::new()),
        };
        let scope = Scope {
            group: self,
            guard,
            environment: PhantomData,
        };
        let result = body(&scope);
        let keys: Vec<_> = lock(&scope.guard.keys).clone();
        for key in keys {
            self.engine().wait(key)?;
        }
        Ok(result)
    }

    /// Starts a bucket's all-reduce on lent memory, for callers that plan their memory themselves;
    /// [`Group::scope`] is the safe way. `data` is as for [`Group::all_reduce`].
    ///
    /// # Errors
    /// Those of [`Group::start_all_reduce`].
    ///
    /// # Safety
    /// `data` must be initialised and valid for reads and writes of `length` elements, and used by
    /// nobody else until [`Group::wait_lent`] has returned for the handle, in whatever way, or the
    /// group was dropped or regrouped.
    pub unsafe fn start_all_reduce_at<T: Element>(
        &self,
        bucket: u32,
        data: NonNull<T>,
        length: usize,
    ) -> Result<LentHandle> {
        // SAFETY: the caller's promise. The engine drops the operation at `wait_lent` or with the
        // generation.
        let buffer = unsafe { Buffer::lend(data.cast(), length * size_of::<T>()) };
        let operation = self.reduction::<T>(length, buffer)?;
        let key = self.start_bucket(bucket, operation, true)?;
        Ok(LentHandle {
            key,
            generation: self.generation(),
        })
    }

    /// Waits for a bucket on lent memory; afterwards the memory is the lender's again.
    ///
    /// # Errors
    /// The group's failure.
    pub fn wait_lent(&self, handle: &LentHandle) -> Result<()> {
        self.check_generation(handle.generation)?;
        self.engine().wait(handle.key).map(drop)
    }
}

/// A bucket in flight on lent memory; see [`Group::start_all_reduce_at`].
#[derive(Debug)]
#[must_use = "a bucket has to be waited for"]
pub struct LentHandle {
    key: OpKey,
    generation: u64,
}
