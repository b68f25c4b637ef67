//! Aligned memory, and the rule that makes sharing it between plans sound.

use std::cell::UnsafeCell;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use hornbeam_kernels::fork::at_fork;
pub use hornbeam_kernels::memory::ALIGN;
use hornbeam_kernels::memory::Block;

use crate::error::{Result, RuntimeError};

static LOCK: Mutex<()> = Mutex::new(());

/// Held while a plan runs or a variable is read or written from outside.
///
/// All plans of a process share the variables and the thread pool, so running two at once would
/// gain nothing; one lock makes every access to them exclusive. A panic under the lock leaves no
/// broken state (updates are written last), so poisoning is ignored.
///
/// A fork waits for the lock, so that the child finds it free, and the variables as they are between
/// two steps. Who holds it must therefore need nothing from other threads, Python's lock least of all.
pub fn exclusive() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| at_fork(Some(before_fork), Some(after_fork), Some(after_fork)));
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock of the thread that forks.
struct Forking(UnsafeCell<Option<MutexGuard<'static, ()>>>);

// SAFETY: only who holds `LOCK` looks into it.
unsafe impl Sync for Forking {}

static FORKING: Forking = Forking(UnsafeCell::new(None));

extern "C" fn before_fork() {
    let held = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: this thread holds the lock.
    unsafe { *FORKING.0.get() = Some(held) };
}

extern "C" fn after_fork() {
    // SAFETY: this thread, or the one it was forked from, took the lock in `before_fork`.
    drop(unsafe { (*FORKING.0.get()).take() });
}

/// A zeroed, 64-byte aligned piece of memory that never moves. Access through its pointer is ordered
/// by [`exclusive`].
#[derive(Debug)]
pub struct Buffer {
    block: Block,
    bytes: usize,
}

impl Buffer {
    /// A zeroed buffer of at least one byte.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn zeroed(bytes: usize, what: &'static str) -> Result<Buffer> {
        let block = Block::zeroed(bytes).ok_or(RuntimeError::Memory { bytes, what })?;
        Ok(Buffer {
            block,
            bytes: bytes.max(1),
        })
    }

    /// A buffer that holds a copy of `bytes`.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn copy_of(bytes: &[u8], what: &'static str) -> Result<Buffer> {
        let buffer = Buffer::zeroed(bytes.len(), what)?;
        // SAFETY: the buffer is new, so nothing else points to it, and it has that many bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.as_ptr(), bytes.len()) };
        Ok(buffer)
    }

    /// Gives memory back to the system, as far as it can be, until it is written again. What it held
    /// is lost.
    ///
    /// # Safety
    /// Nobody refers to what the buffer holds.
    pub(crate) unsafe fn release(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.block.release() };
    }

    /// Size of the memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the memory begins.
    pub fn as_ptr(&self) -> *mut u8 {
        self.block.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_fork_waits_for_the_lock_and_leaves_it_free() {
        unsafe extern "C" {
            fn fork() -> i32;
            fn _exit(code: i32) -> !;
            fn alarm(seconds: u32) -> u32;
            fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
        }
        for _ in 0..20 {
            let (taken, is_taken) = std::sync::mpsc::channel();
            let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let at_end = done.clone();
            let other = std::thread::spawn(move || {
                let held = exclusive();
                taken.send(()).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(5));
                at_end.store(true, std::sync::atomic::Ordering::SeqCst);
                drop(held);
            });
            is_taken.recv().unwrap();
            // SAFETY: the child takes a lock that no lost thread holds, and leaves.
            unsafe {
                let pid = fork();
                if pid == 0 {
                    // A child that waits for ever is ended by the signal, which is no success.
                    alarm(10);
                    drop(exclusive());
                    let waited = done.load(std::sync::atomic::Ordering::SeqCst);
                    _exit(i32::from(!waited));
                }
                let mut status = -1;
                assert_eq!(waitpid(pid, &mut status, 0), pid);
                assert_eq!(status, 0);
            }
            drop(exclusive());
            other.join().unwrap();
        }
    }

    #[test]
    fn buffers_are_aligned_and_hold_their_bytes() {
        let b = Buffer::copy_of(&[1, 2, 3], "test").unwrap();
        assert_eq!(b.as_ptr() as usize % ALIGN, 0);
        // SAFETY: the buffer holds three bytes.
        let bytes = unsafe { std::slice::from_raw_parts(b.as_ptr(), 3) };
        assert_eq!(bytes, [1, 2, 3]);
        assert!(Buffer::zeroed(0, "test").is_ok());
        assert!(matches!(
            Buffer::zeroed(isize::MAX as usize - 64, "test"),
            Err(RuntimeError::Memory { .. })
        ));
    }
}
