//! Waiting for sockets with `poll`, waking a waiting thread, and aborting from any thread. Imports
//! errors.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::error::{Error, Result};

/// Locks a mutex whose data stays sound even if a holder panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends another thread's [`poll`].
#[derive(Debug)]
pub(crate) struct Waker {
    reader: UnixStream,
    writer: UnixStream,
}

impl Waker {
    pub(crate) fn new() -> Result<Self> {
        let make = || -> io::Result<Self> {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            Ok(Waker { reader, writer })
        };
        make().map_err(|error| Error::io("making a pair of sockets to wake a thread", error))
    }

    pub(crate) fn wake(&self) {
        // A full buffer means that the reader is about to wake anyway.
        let _ = (&self.writer).write(&[1]);
    }

    pub(crate) fn drain(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.reader).read(&mut bytes), Ok(64)) {}
    }
}

/// Something to wait for, and whether writing is wanted as well as reading.
pub(crate) type Interest<'a> = (BorrowedFd<'a>, Want);

/// What readiness is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Read,
    Write,
    Both,
    /// The descriptor is left out: a connection that has ended would report that forever.
    Nothing,
}

/// Waits until one of the descriptors is ready, the waker is used or the time is over; tells which
/// descriptors are ready.
pub(crate) fn poll(
    waker: &Waker,
    interests: &[Interest<'_>],
    timeout: Duration,
) -> Result<Vec<bool>> {
    let flags = |want| match want {
        Want::Read => PollFlags::IN,
        Want::Write => PollFlags::OUT,
        Want::Both => PollFlags::IN | PollFlags::OUT,
        Want::Nothing => PollFlags::empty(),
    };
    let wanted = || (0..interests.len()).filter(|at| interests[*at].1 != Want::Nothing);
    let mut fds: Vec<_> = wanted()
        .map(|at| PollFd::from_borrowed_fd(interests[at].0, flags(interests[at].1)))
        .chain([PollFd::new(&waker.reader, PollFlags::IN)])
        .collect();
    let timeout = Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let mut ready = vec![false; interests.len()];
    match rustix::event::poll(&mut fds, Some(&timeout)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(ready),
        Err(error) => return Err(Error::io("waiting for sockets", error.into())),
    }
    wanted()
        .zip(&fds)
        .for_each(|(at, fd)| ready[at] = !fd.revents().is_empty());
    if fds.last().is_some_and(|fd| !fd.revents().is_empty()) {
        waker.drain();
    }
    Ok(ready)
}

/// A descriptor's interest.
pub(crate) fn interest<T: AsFd>(source: &T, want: Want) -> Interest<'_> {
    (source.as_fd(), want)
}

#[derive(Debug)]
struct AbortState {
    generation: u64,
    reason: Option<String>,
}

/// The switch behind an [`AbortHandle`].
#[derive(Debug)]
pub(crate) struct Abort {
    is_set: AtomicBool,
    state: Mutex<AbortState>,
    /// Wakes a calling thread.
    pub(crate) caller: Waker,
    /// Wakes the background thread.
    pub(crate) background: Waker,
}

impl Abort {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(Abort {
            is_set: AtomicBool::new(false),
            state: Mutex::new(AbortState {
                generation: 0,
                reason: None,
            }),
            caller: Waker::new()?,
            background: Waker::new()?,
        }))
    }

    /// Begins a generation, unless it has been aborted ahead of its beginning.
    pub(crate) fn begin(&self, generation: u64) {
        let mut state = lock(&self.state);
        if state.generation != generation {
            *state = AbortState {
                generation,
                reason: None,
            };
            self.is_set.store(false, Ordering::SeqCst);
        }
    }

    /// The error to stop with, if the generation has been aborted. Costs one load if not.
    pub(crate) fn check(&self) -> Option<Error> {
        if !self.is_set.load(Ordering::Relaxed) {
            return None;
        }
        lock(&self.state).reason.clone().map(Error::Aborted)
    }

    fn set(&self, generation: Option<u64>, reason: String) {
        let mut state = lock(&self.state);
        let generation = generation.unwrap_or(state.generation);
        if generation < state.generation
            || (generation == state.generation && state.reason.is_some())
        {
            return;
        }
        *state = AbortState {
            generation,
            reason: Some(reason),
        };
        self.is_set.store(true, Ordering::SeqCst);
        self.caller.wake();
        self.background.wake();
    }
}

/// Frees all waiters of a group from any thread. Cheap to clone; outlives the group.
#[derive(Debug, Clone)]
pub struct AbortHandle(pub(crate) Arc<Abort>);

impl AbortHandle {
    /// Makes every operation of the current generation, and its formation, fail within
    /// milliseconds.
    pub fn abort(&self, reason: impl Into<String>) {
        self.0.set(None, reason.into());
    }

    /// The same for one generation: does nothing if a newer one has begun, and if it has not begun
    /// yet it will fail at once when it does.
    pub fn abort_generation(&self, generation: u64, reason: impl Into<String>) {
        self.0.set(Some(generation), reason.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_belongs_to_its_generation() {
        let abort = Abort::new().unwrap();
        let handle = AbortHandle(Arc::clone(&abort));
        abort.begin(1);
        assert!(abort.check().is_none());
        handle.abort("first");
        handle.abort("second");
        assert!(matches!(abort.check(), Some(Error::Aborted(reason)) if reason == "first"));
        abort.begin(2);
        assert!(abort.check().is_none());
        handle.abort_generation(1, "late");
        assert!(abort.check().is_none());
        handle.abort_generation(3, "early");
        abort.begin(3);
        assert!(matches!(abort.check(), Some(Error::Aborted(reason)) if reason == "early"));
    }

    #[test]
    fn a_waker_ends_a_poll_once() {
        let waker = Waker::new().unwrap();
        waker.wake();
        poll(&waker, &[], Duration::from_secs(60)).unwrap();
        poll(&waker, &[], Duration::ZERO).unwrap();
        assert!((&waker.reader).read(&mut [0]).is_err());
    }
}
