//! The one way to run work on several threads.
//!
//! One private pool, started at the first parallel call and never at load. Its size comes from
//! `HORNBEAM_NUM_THREADS`, else `OMP_NUM_THREADS`, else the available parallelism (which respects
//! cgroups). The pool only decides who runs a task, never how work is cut, so results do not
//! depend on it.

use std::sync::{Mutex, OnceLock};

use rayon::{ThreadPool, ThreadPoolBuilder};

fn default_threads() -> usize {
    ["HORNBEAM_NUM_THREADS", "OMP_NUM_THREADS"]
        .iter()
        .find_map(|name| std::env::var(name).ok()?.trim().parse::<usize>().ok())
        .filter(|&n| n > 0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn pool() -> &'static Mutex<Option<std::sync::Arc<ThreadPool>>> {
    static POOL: OnceLock<Mutex<Option<std::sync::Arc<ThreadPool>>>> = OnceLock::new();
    POOL.get_or_init(|| Mutex::new(None))
}

fn threads() -> &'static std::sync::atomic::AtomicUsize {
    static N: OnceLock<std::sync::atomic::AtomicUsize> = OnceLock::new();
    N.get_or_init(|| std::sync::atomic::AtomicUsize::new(default_threads()))
}

/// How many threads parallel work is spread over.
pub fn num_threads() -> usize {
    threads().load(std::sync::atomic::Ordering::Relaxed)
}

/// Sets the number of threads (at least 1) for later parallel calls.
pub fn set_num_threads(n: usize) {
    threads().store(n.max(1), std::sync::atomic::Ordering::Relaxed);
    *pool()
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner) = None;
}

/// Calls `f(0)`, ..., `f(tasks - 1)`, each once, on the pool's threads, and waits for all.
///
/// With one task or one thread everything runs on the calling thread, in order. A panic in a task
/// is passed on to the caller.
pub fn run(tasks: usize, f: &(dyn Fn(usize) + Sync)) {
    if tasks <= 1 || num_threads() == 1 {
        (0..tasks).for_each(f);
        return;
    }
    let pool = {
        let mut guard = pool()
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        guard
            .get_or_insert_with(|| {
                std::sync::Arc::new(
                    ThreadPoolBuilder::new()
                        .num_threads(num_threads())
                        .thread_name(|i| format!("hornbeam-{i}"))
                        .build()
                        .expect("the thread pool starts"),
                )
            })
            .clone()
    };
    pool.scope(|s| {
        for i in 0..tasks {
            s.spawn(move |_| f(i));
        }
    });
}

/// The border before part `i` when `n` things are cut into `parts` nearly equal parts.
#[inline]
pub fn split(n: usize, parts: usize, i: usize) -> usize {
    n / parts * i + (n % parts).min(i)
}

/// A pointer that may go to other threads, whose user sees to it that no two of them clash.
pub struct SendPtr<T>(*mut T);

impl<T> Clone for SendPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SendPtr<T> {}

// SAFETY: the pointer itself is plain data; whoever dereferences it promises to do so soundly.
unsafe impl<T: Send> Send for SendPtr<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SendPtr<T> {}

impl<T> SendPtr<T> {
    /// Wraps a pointer.
    pub fn new(p: *mut T) -> Self {
        SendPtr(p)
    }

    /// Wraps a pointer that is only read through.
    pub fn from_const(p: *const T) -> Self {
        SendPtr(p.cast_mut())
    }

    /// The pointer.
    #[inline]
    pub fn get(self) -> *mut T {
        self.0
    }

    /// The pointer, `count` elements on.
    ///
    /// # Safety
    /// As [`pointer::add`].
    #[inline]
    pub unsafe fn add(self, count: usize) -> Self {
        // SAFETY: the caller's promise.
        SendPtr(unsafe { self.0.add(count) })
    }

    /// The pointer, `count` elements on, which may be out of bounds.
    #[inline]
    pub fn wrapping_add(self, count: usize) -> Self {
        SendPtr(self.0.wrapping_add(count))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Sets the number of threads until it is dropped; only one such guard lives at a time.
    pub(crate) struct Guard {
        before: usize,
        _lock: std::sync::MutexGuard<'static, ()>,
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            set_num_threads(self.before);
        }
    }

    pub(crate) fn threads(n: usize) -> Guard {
        static LOCK: Mutex<()> = Mutex::new(());
        let lock = LOCK
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = num_threads();
        set_num_threads(n);
        Guard {
            before,
            _lock: lock,
        }
    }

    #[test]
    fn split_covers_everything_evenly() {
        for n in 0..40 {
            for parts in 1..9 {
                assert_eq!(split(n, parts, 0), 0);
                assert_eq!(split(n, parts, parts), n);
                for i in 0..parts {
                    let len = split(n, parts, i + 1) - split(n, parts, i);
                    assert!(len == n / parts || len == n / parts + 1);
                }
            }
        }
    }
}
