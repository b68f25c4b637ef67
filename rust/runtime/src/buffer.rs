//! Aligned memory, and the rule that makes sharing it between plans sound.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Result, RuntimeError};

/// Alignment of every buffer: a cache line, and a full vector register.
pub const ALIGN: usize = 64;

/// Held while a plan runs or a variable is read or written from outside.
///
/// All plans of a process share the variables and the thread pool, so running two at once would
/// gain nothing; one lock makes every access to them exclusive. A panic under the lock leaves no
/// broken state (updates are written last), so poisoning is ignored.
pub fn exclusive() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A zeroed, 64-byte aligned piece of memory that never moves.
#[derive(Debug)]
pub struct Buffer {
    ptr: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a Buffer owns its memory; access through its pointer is ordered by `exclusive`.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A zeroed buffer of at least one byte.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn zeroed(bytes: usize, what: &'static str) -> Result<Buffer> {
        let fail = || RuntimeError::Memory { bytes, what };
        let layout = Layout::from_size_align(bytes.max(1), ALIGN).map_err(|_| fail())?;
        // SAFETY: the layout's size is not zero.
        let ptr = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(fail)?;
        Ok(Buffer { ptr, layout })
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

    /// Size of the memory.
    pub fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// Where the memory begins.
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `zeroed`.
        unsafe { dealloc(self.ptr.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
