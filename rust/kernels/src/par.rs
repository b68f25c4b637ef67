//! The one way to run work on several threads.
//!
//! One private pool, started at the first parallel call and never at load. Its size comes from
//! `HORNBEAM_NUM_THREADS`, else `OMP_NUM_THREADS`, else the available parallelism (which respects
//! cgroups). The pool only decides who runs a task, never how work is cut, so results do not
//! depend on it.
//!
//! A call posts its tasks to the workers and takes tasks itself; a worker that has not begun when all
//! tasks are taken is called off, so that nobody waits for a thread that the machine does not
//! run. Workers spin for a moment after their work, then yield, then sleep. A forked child
//! starts a pool of its own.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::Thread;

use crate::fork::at_fork;

/// Turns of the processor's pause that a waiting thread spins, some microseconds.
const SPINS: u32 = 300;
/// Times it then offers its core to others, before it sleeps.
const YIELDS: u32 = 30;

fn default_threads() -> usize {
    ["HORNBEAM_NUM_THREADS", "OMP_NUM_THREADS"]
        .iter()
        .find_map(|name| {
            let value = std::env::var(name).ok()?;
            // OpenMP takes a list, for regions within regions.
            value.split(',').next()?.trim().parse::<usize>().ok()
        })
        .filter(|&n| n > 0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Threads that calls are spread over; 0 while nobody has asked.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// How many threads parallel work is spread over.
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let n = default_threads();
            // Whoever set it meanwhile wins.
            match THREADS.compare_exchange(0, n, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => n,
                Err(n) => n,
            }
        }
        n => n,
    }
}

/// Sets the number of threads (at least 1) for later parallel calls.
pub fn set_num_threads(n: usize) {
    THREADS.store(n.max(1), Ordering::Relaxed);
}

/// Whether work is shared however small it is.
static SHARE_ALL: AtomicBool = AtomicBool::new(false);

/// Has even the smallest work shared by all threads, or only what is worth it. It changes no result;
/// tests of small sizes use it to see that.
pub fn share_everything(on: bool) {
    SHARE_ALL.store(on, Ordering::Relaxed);
}

/// Whether so much work is better done by one thread than shared; `least` is what is worth sharing.
#[inline]
pub fn is_small(work: usize, least: usize) -> bool {
    work < least && !SHARE_ALL.load(Ordering::Relaxed)
}

/// Calls `f(0)`, ..., `f(tasks - 1)`, each once, on the pool's threads, and waits for all.
///
/// With one task or one thread everything runs on the calling thread, in order; so do calls from
/// within a task and calls that meet another thread's. A panic in a task is passed on to the
/// caller, once all running tasks are done; tasks that had not begun may be left out then.
pub fn run(tasks: usize, f: &(dyn Fn(usize) + Sync)) {
    let threads = num_threads().min(tasks);
    if threads <= 1 || INSIDE.get() {
        (0..tasks).for_each(f);
        return;
    }
    let pool = pool();
    if pool.busy.swap(true, Ordering::Acquire) {
        (0..tasks).for_each(f);
        return;
    }
    // SAFETY: `busy` was false and is this call's now.
    let panic = unsafe { pool.run(threads, tasks, f) };
    pool.busy.store(false, Ordering::Release);
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

thread_local! {
    /// Whether this thread is running a task.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A worker has nothing to do.
const IDLE: u32 = 0;
/// A job waits for the worker.
const POSTED: u32 = 1;
/// The worker is on the job.
const RUNNING: u32 = 2;

/// What a worker and its employer share.
#[derive(Default)]
#[repr(align(128))]
struct Slot {
    state: AtomicU32,
    asleep: AtomicBool,
}

struct Worker {
    slot: Arc<Slot>,
    thread: Thread,
}

/// The call that is being served.
struct Job {
    f: *const (dyn Fn(usize) + Sync),
    tasks: usize,
    caller: Option<Thread>,
}

#[repr(align(128))]
struct Line<T>(T);

struct Pool {
    /// Whoever turns it from false to true owns `job` and `workers` until turning it back.
    busy: AtomicBool,
    job: UnsafeCell<Job>,
    workers: UnsafeCell<Vec<Worker>>,
    /// The next task.
    next: Line<AtomicUsize>,
    /// Whether the caller sleeps until workers are done.
    asleep: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `workers` is its owner's alone; `job` is written by the owner before it posts the job, and
// read by workers between taking the job and giving it back, which the owner waits for.
unsafe impl Sync for Pool {}
// SAFETY: nothing in it is tied to a thread.
unsafe impl Send for Pool {}

static POOL: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());

/// The process's pool. It is never freed: its workers live as long as the process.
fn pool() -> &'static Pool {
    let p = POOL.load(Ordering::Acquire);
    if !p.is_null() {
        // SAFETY: pools are leaked.
        return unsafe { &*p };
    }
    forget_on_fork();
    let new = Box::into_raw(Box::new(Pool {
        busy: AtomicBool::new(false),
        job: UnsafeCell::new(Job {
            f: &|_| {},
            tasks: 0,
            caller: None,
        }),
        workers: UnsafeCell::new(Vec::new()),
        next: Line(AtomicUsize::new(0)),
        asleep: AtomicBool::new(false),
        panic: Mutex::new(None),
    }));
    let null = std::ptr::null_mut();
    match POOL.compare_exchange(null, new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: leaked just now.
        Ok(_) => unsafe { &*new },
        Err(other) => {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
            // SAFETY: pools are leaked.
            unsafe { &*other }
        }
    }
}

/// Makes forked children forget the pool, whose workers they do not have.
fn forget_on_fork() {
    extern "C" fn child() {
        POOL.store(std::ptr::null_mut(), Ordering::Release);
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| at_fork(None, None, Some(child)));
}

impl Pool {
    /// Runs a job with at most `threads` threads, this one included; gives a task's panic back.
    ///
    /// # Safety
    /// The caller owns the pool.
    unsafe fn run(
        &'static self,
        threads: usize,
        tasks: usize,
        f: &(dyn Fn(usize) + Sync),
    ) -> Option<Box<dyn Any + Send>> {
        // SAFETY: the caller owns the pool, and no worker is on a job.
        let workers = unsafe {
            let workers = &mut *self.workers.get();
            while workers.len() + 1 < threads {
                match self.hire(workers.len()) {
                    Ok(worker) => workers.push(worker),
                    Err(_) => break,
                }
            }
            let job = &mut *self.job.get();
            // The job outlives this call only in name: no worker uses it after the waits below.
            job.f = std::mem::transmute::<
                *const (dyn Fn(usize) + Sync + '_),
                *const (dyn Fn(usize) + Sync + 'static),
            >(f);
            job.tasks = tasks;
            job.caller = Some(std::thread::current());
            &workers[..workers.len().min(threads - 1)]
        };
        self.next.0.store(0, Ordering::Relaxed);
        for worker in workers {
            worker.slot.state.store(POSTED, Ordering::SeqCst);
            if worker.slot.asleep.load(Ordering::SeqCst) {
                worker.thread.unpark();
            }
        }
        self.work();
        for worker in workers {
            let state = &worker.slot.state;
            let off = state.compare_exchange(POSTED, IDLE, Ordering::SeqCst, Ordering::SeqCst);
            if off == Err(RUNNING) {
                wait(&self.asleep, || state.load(Ordering::SeqCst) == IDLE);
            }
        }
        // SAFETY: the caller owns the pool, and no worker is on a job.
        unsafe { (*self.job.get()).caller = None };
        self.panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Takes tasks until there are none.
    fn work(&self) {
        // SAFETY: the owner wrote the job before it posted it, and waits before it writes again.
        let (f, tasks) = unsafe {
            let job = &*self.job.get();
            (&*job.f, job.tasks)
        };
        INSIDE.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let i = self.next.0.fetch_add(1, Ordering::Relaxed);
                if i >= tasks {
                    break;
                }
                f(i);
            }
        }));
        INSIDE.set(false);
        if let Err(payload) = result {
            // Nobody need begin another task.
            self.next.0.store(tasks, Ordering::Relaxed);
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
        }
    }

    fn hire(&'static self, index: usize) -> std::io::Result<Worker> {
        let slot = Arc::new(Slot::default());
        let own = Arc::clone(&slot);
        let handle = std::thread::Builder::new()
            .name(format!("hornbeam-{index}"))
            .spawn(move || self.serve(&own))?;
        Ok(Worker {
            slot,
            thread: handle.thread().clone(),
        })
    }

    /// A worker's life.
    fn serve(&self, slot: &Slot) {
        loop {
            wait(&slot.asleep, || slot.state.load(Ordering::SeqCst) == POSTED);
            let taken =
                slot.state
                    .compare_exchange(POSTED, RUNNING, Ordering::SeqCst, Ordering::SeqCst);
            if taken.is_err() {
                continue;
            }
            // SAFETY: the job stays as it is until this worker gives it back.
            let caller = unsafe { (*self.job.get()).caller.clone() };
            self.work();
            slot.state.store(IDLE, Ordering::SeqCst);
            if self.asleep.load(Ordering::SeqCst) {
                caller.inspect(Thread::unpark);
            }
        }
    }
}

/// Waits until `ready`: spins, yields, then sleeps; `asleep` says that an unpark is needed.
fn wait(asleep: &AtomicBool, ready: impl Fn() -> bool) {
    for _ in 0..SPINS {
        if ready() {
            return;
        }
        std::hint::spin_loop();
    }
    for _ in 0..YIELDS {
        if ready() {
            return;
        }
        std::thread::yield_now();
    }
    asleep.store(true, Ordering::SeqCst);
    while !ready() {
        std::thread::park();
    }
    asleep.store(false, Ordering::SeqCst);
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
        let lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let before = num_threads();
        set_num_threads(n);
        Guard {
            before,
            _lock: lock,
        }
    }

    /// Runs `tasks` tasks and counts how often each ran.
    fn counts(tasks: usize) -> Vec<usize> {
        let counts: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        run(tasks, &|i| {
            counts[i].fetch_add(1, Ordering::Relaxed);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_task_runs_once() {
        for n in [1, 2, 3, 5, 2] {
            let _guard = threads(n);
            for tasks in [0, 1, 2, 3, 7, 100] {
                for _ in 0..200 {
                    assert_eq!(counts(tasks), vec![1; tasks]);
                }
            }
        }
    }

    #[test]
    fn workers_wake_from_sleep() {
        let _guard = threads(3);
        for _ in 0..5 {
            assert_eq!(counts(64), vec![1; 64]);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    #[test]
    fn nested_calls_run_on_the_thread_they_come_from() {
        let _guard = threads(3);
        run(6, &|_| {
            let me = std::thread::current().id();
            run(5, &|_| assert_eq!(std::thread::current().id(), me));
        });
    }

    #[test]
    fn callers_may_meet() {
        let _guard = threads(2);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..500 {
                        assert_eq!(counts(9), vec![1; 9]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let _guard = threads(3);
        for bad in [0, 7, 63] {
            let result = catch_unwind(|| run(64, &|i| assert!(i != bad, "task {i} fails")));
            let payload = result.expect_err("a task panics");
            let text = payload.downcast_ref::<String>().expect("a message");
            assert_eq!(*text, format!("task {bad} fails"));
            assert_eq!(counts(8), vec![1; 8]);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_forked_child_starts_its_own_pool() {
        unsafe extern "C" {
            fn fork() -> i32;
            fn _exit(code: i32) -> !;
            fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
        }
        let _guard = threads(3);
        assert_eq!(counts(50), vec![1; 50]);
        // SAFETY: the child only runs tasks and leaves; its heap is not in use by a lost thread, as
        // glibc resets the allocator's locks in a child.
        unsafe {
            let pid = fork();
            if pid == 0 {
                let ok = counts(50) == vec![1; 50] && !POOL.load(Ordering::Relaxed).is_null();
                _exit(i32::from(!ok));
            }
            let mut status = -1;
            assert_eq!(waitpid(pid, &mut status, 0), pid);
            assert_eq!(status, 0);
        }
        assert_eq!(counts(50), vec![1; 50]);
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
