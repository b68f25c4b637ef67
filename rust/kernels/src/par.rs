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
