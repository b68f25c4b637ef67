//! Who moves the data: the thread that waits for a result, else a background thread.
//!
//! A calling thread drives the core itself: it spins for some microseconds, then sleeps in `poll`;
//! that is the shortest way from a peer's write to its return. While nobody waits, the background
//! thread moves buckets, sends heartbeats and notices deaths; it never spins, since the cores
//! belong to the computation then. When a caller comes, the background thread is called out of its
//! `poll` and stays away for a while, so that it is not woken by data that the caller is about to
//! read. Imports the core.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::GroupConfig;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::frame::OpKey;
use crate::operation::{Operation, Output};
use crate::wake::{Abort, Interest, Waker, interest, lock, poll};

/// The background thread leaves an idle group alone for so long after a caller was in it.
const LAZY: Duration = Duration::from_millis(10);
/// Nobody waits longer than this for a failed generation's peers to have read the reason.
const FAREWELL_TO_THE_DEAD: Duration = Duration::from_millis(100);
/// After so long a spinning thread offers its core at every turn: the peer it waits for may need
/// this very core, and a round of 4 KB between two ranks on one core then takes 10 us instead of
/// 60.
const PURE_SPIN: Duration = Duration::from_micros(3);
/// With more links than this, a spinning thread asks `poll` which to read instead of trying all.
const FEW_LINKS: usize = 4;

/// A generation at work.
pub(crate) struct Engine {
    core: Mutex<Core>,
    /// Something was finished, or a calling thread stopped driving.
    changed: Condvar,
    /// The background thread may be needed.
    needed: Condvar,
    /// Threads in [`Self::wait`].
    callers: AtomicUsize,
    /// Threads that want the lock although somebody drives.
    contenders: AtomicUsize,
    is_background_polling: AtomicBool,
    is_stopping: AtomicBool,
    abort: Arc<Abort>,
    sockets: Vec<Arc<TcpStream>>,
    spin: Duration,
    pub(crate) operation_timeout: Duration,
    farewell: Duration,
}

impl Engine {
    pub(crate) fn new(config: &GroupConfig, core: Core, abort: Arc<Abort>) -> Arc<Self> {
        Arc::new(Engine {
            sockets: core.sockets(),
            core: Mutex::new(core),
            changed: Condvar::new(),
            needed: Condvar::new(),
            callers: AtomicUsize::new(0),
            contenders: AtomicUsize::new(0),
            is_background_polling: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            abort,
            spin: config.tuning.spin,
            operation_timeout: config.timeouts.operation,
            farewell: config.timeouts.farewell,
        })
    }

    /// Starts the background thread.
    pub(crate) fn spawn(self: &Arc<Self>) -> Result<JoinHandle<()>> {
        let engine = Arc::clone(self);
        std::thread::Builder::new()
            .name("hornbeam-comm".into())
            .spawn(move || engine.run_background())
            .map_err(|error| Error::io("starting the communication thread", error))
    }

    /// The core, for anything but waiting.
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        self.contenders.fetch_add(1, Ordering::Relaxed);
        let core = lock(&self.core);
        self.contenders.fetch_sub(1, Ordering::Relaxed);
        core
    }

    /// Starts an operation; `in_background` sees to it that it goes on without a waiter.
    pub(crate) fn start(
        &self,
        bucket: u32,
        operation: Box<dyn Operation>,
        in_background: bool,
    ) -> Result<OpKey> {
        let mut core = self.core();
        self.check_abort(&mut core);
        let key = core.start(bucket, operation)?;
        if in_background && !core.is_driven {
            self.call_background();
        }
        Ok(key)
    }

    fn call_background(&self) {
        if self.is_background_polling.load(Ordering::SeqCst) {
            self.abort.background.wake();
        }
        self.needed.notify_one();
    }

    /// Drops an operation in whatever state it is. One that is not complete takes the generation
    /// with it.
    pub(crate) fn cancel(&self, key: OpKey, why: &str) {
        let mut core = self.core();
        if core.work.get(key).is_some() && !core.work.is_complete(key) {
            core.fail(Error::Aborted(why.into()));
            self.changed.notify_all();
        }
        core.work.remove(key);
    }

    /// Blocks until an operation is complete and takes its result. On failure the operation is
    /// dropped.
    pub(crate) fn wait(&self, key: OpKey) -> Result<Output> {
        let began = Instant::now();
        let deadline = began + self.operation_timeout;
        self.callers.fetch_add(1, Ordering::SeqCst);
        let mut core = self.core();
        if self.is_background_polling.load(Ordering::SeqCst) {
            self.abort.background.wake();
        }
        let result = loop {
            if let Some(output) = core.work.take(key) {
                break Ok(output);
            }
            self.check_abort(&mut core);
            if let Some(error) = core.failure.clone() {
                core.work.remove(key);
                break Err(error);
            }
            if core.work.get(key).is_none() {
                break Err(Error::InvalidArgument(
                    "the operation has been waited for already".into(),
                ));
            }
            if Instant::now() >= deadline {
                core.time_out(key, began.elapsed());
                continue;
            }
            if core.is_driven {
                let rest = core.rest();
                core = self
                    .changed
                    .wait_timeout(core, rest)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                continue;
            }
            core.is_driven = true;
            // While much moves, a thread that sleeps is woken in time and keeps its claim on a busy
            // machine's cores; one that spins or yields loses it to others.
            let is_bulk = core.work.get(key).is_some_and(Operation::is_bulk);
            let spin = if is_bulk {
                self.spin.min(PURE_SPIN)
            } else {
                self.spin
            };
            core = self.drive(core, spin, deadline, |core| core.work.is_complete(key));
            core.is_driven = false;
        };
        self.callers.fetch_sub(1, Ordering::SeqCst);
        let now = Instant::now();
        core.last_driven = Some(now);
        core.blocked += now - began;
        if self.callers.load(Ordering::SeqCst) > 0 {
            self.changed.notify_all();
        } else if core.work.unfinished().next().is_some() {
            self.needed.notify_one();
        }
        result
    }

    /// Moves data from a calling thread until `is_done`, the generation fails or the deadline is
    /// over.
    fn drive<'a>(
        &'a self,
        mut core: MutexGuard<'a, Core>,
        spin: Duration,
        deadline: Instant,
        is_done: impl Fn(&Core) -> bool,
    ) -> MutexGuard<'a, Core> {
        let had_failed = core.failure.is_some();
        let mut idle_since = None;
        let mut readable: Option<Vec<bool>> = None;
        loop {
            self.check_abort(&mut core);
            let moved = core.progress(readable.as_deref());
            if is_done(&core) || (core.failure.is_some() && !had_failed) {
                return core;
            }
            if self.callers.load(Ordering::Relaxed) > 1 && moved {
                self.changed.notify_all();
            }
            let now = Instant::now();
            if now >= deadline {
                return core;
            }
            if self.contenders.load(Ordering::Relaxed) > 0 {
                drop(core);
                std::thread::yield_now();
                core = lock(&self.core);
            }
            if moved {
                idle_since = None;
            }
            let is_spinning = moved || now - *idle_since.get_or_insert(now) < spin;
            if is_spinning && self.sockets.len() <= FEW_LINKS {
                if !moved && now - idle_since.unwrap_or(now) > PURE_SPIN {
                    std::thread::yield_now();
                }
                readable = None;
                continue;
            }
            let rest = core.rest().min(deadline - now);
            let rest = if is_spinning { Duration::ZERO } else { rest };
            (core, readable) = self.sleep(core, &self.abort.caller, rest);
        }
    }

    /// Waits for the links without the lock; tells which have something to read.
    fn sleep<'a>(
        &'a self,
        mut core: MutexGuard<'a, Core>,
        waker: &Waker,
        rest: Duration,
    ) -> (MutexGuard<'a, Core>, Option<Vec<bool>>) {
        let wants = core.wants();
        drop(core);
        let interests: Vec<Interest<'_>> = self
            .sockets
            .iter()
            .zip(wants)
            .map(|(socket, want)| interest(socket.as_ref(), want))
            .collect();
        let ready = poll(waker, &interests, rest);
        core = lock(&self.core);
        match ready {
            Ok(ready) => (core, Some(ready)),
            Err(error) => {
                core.fail(error);
                (core, None)
            }
        }
    }

    fn check_abort(&self, core: &mut Core) {
        if let Some(error) = self.abort.check() {
            core.fail(error);
        }
    }

    fn run_background(&self) {
        let mut core = lock(&self.core);
        while !self.is_stopping.load(Ordering::SeqCst) {
            self.check_abort(&mut core);
            if !self.is_background_needed(&core) {
                self.changed.notify_all();
                core = self
                    .needed
                    .wait_timeout(core, LAZY)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                continue;
            }
            let moved = core.progress(None);
            if self.contenders.load(Ordering::Relaxed) > 0
                || self.callers.load(Ordering::SeqCst) > 0
            {
                drop(core);
                std::thread::yield_now();
                core = lock(&self.core);
                continue;
            }
            if !moved && !self.is_stopping.load(Ordering::SeqCst) {
                let rest = core.rest();
                self.is_background_polling.store(true, Ordering::SeqCst);
                core = self.sleep(core, &self.abort.background, rest).0;
                self.is_background_polling.store(false, Ordering::SeqCst);
            }
        }
    }

    fn is_background_needed(&self, core: &Core) -> bool {
        if core.failure.is_some() {
            return !core.is_over();
        }
        let is_lazy = core.last_driven.is_some_and(|last| last.elapsed() < LAZY);
        self.callers.load(Ordering::SeqCst) == 0
            && !core.is_driven
            && (!is_lazy || core.work.unfinished().next().is_some())
    }

    /// Ends the background thread.
    pub(crate) fn stop(&self, background: JoinHandle<()>) {
        self.is_stopping.store(true, Ordering::SeqCst);
        drop(self.core());
        self.abort.background.wake();
        self.needed.notify_all();
        if background.join().is_err() {
            log::error!("the communication thread has panicked");
        }
    }

    /// Leaves the generation. From a healthy one everything sent arrives, and peers learn that this
    /// is no failure; else they are told the reason. `until_read` waits for the peers' own ends, so
    /// that closing the sockets resets nothing.
    pub(crate) fn leave(&self, until_read: bool) {
        let mut core = self.core();
        let unfinished = core
            .work
            .unfinished()
            .next()
            .map(|(_, operation)| operation.name());
        if let Some(name) = unfinished {
            core.fail(Error::Aborted(format!("left during {name}")));
        }
        let has_failed = core.failure.is_some();
        if !has_failed {
            core.say_goodbye();
        }
        // A peer that is the very reason of a failure may never answer.
        let patience = if has_failed {
            self.farewell.min(FAREWELL_TO_THE_DEAD)
        } else {
            self.farewell
        };
        let deadline = Instant::now() + patience;
        core = self.drive(core, self.spin, deadline, Core::is_flushed);
        core.end_streams();
        if until_read {
            drop(self.drive(core, self.spin, deadline, Core::is_over));
        }
    }

    /// The sockets, to keep them open until the peers have read everything.
    pub(crate) fn sockets(&self) -> Vec<Arc<TcpStream>> {
        self.sockets.clone()
    }
}
