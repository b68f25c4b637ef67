//! Aligned memory, of which large pieces lie in large pages.
//!
//! A kernel that goes through megabytes with pages of 4 KB waits for page tables as well as for
//! memory. Linux backs memory by pages of 2 MB where it is asked to (`madvise`) and has some; where it
//! has none, or is told never to, nothing is lost.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// Alignment of every block: a cache line, and a full vector register.
pub const ALIGN: usize = 64;

const LARGE_PAGE: usize = 2 << 20;
/// A large page that would be used to less than this is not worth its memory.
const LEAST_USED: usize = LARGE_PAGE / 4 * 3;

/// Zeroed memory that never moves, aligned to [`ALIGN`] bytes or more.
#[derive(Debug)]
pub struct Block {
    ptr: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block owns its memory, and gives no access to it but by a raw pointer.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// A block of at least that many bytes, and at least one; `None` where the memory cannot be had.
    pub fn zeroed(bytes: usize) -> Option<Block> {
        let (size, align) = room(bytes.max(1))?;
        let layout = Layout::from_size_align(size, align).ok()?;
        // SAFETY: the layout's size is not zero.
        let ptr = NonNull::new(unsafe { alloc(layout) })?;
        if align == LARGE_PAGE {
            ask_for_large_pages(ptr, size - size % LARGE_PAGE);
        }
        // SAFETY: the memory has just been allocated with this size.
        unsafe { ptr.as_ptr().write_bytes(0, size) };
        Some(Block { ptr, layout })
    }

    /// Gives large pages back to the system until they are written again. What they held is lost.
    ///
    /// # Safety
    /// Nobody refers to what the block holds.
    pub unsafe fn release(&self) {
        #[cfg(target_os = "linux")]
        if self.layout.align() == LARGE_PAGE {
            let bytes = self.layout.size() - self.layout.size() % LARGE_PAGE;
            let advice = rustix::mm::Advice::LinuxDontNeed;
            // SAFETY: whole pages of an allocation of our own, which read as zeros from here on. An
            // error means that nothing has changed.
            let _ = unsafe { rustix::mm::madvise(self.ptr.as_ptr().cast(), bytes, advice) };
        }
    }

    /// Where the memory begins.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `zeroed`.
        unsafe { dealloc(self.ptr.as_ptr(), self.layout) };
    }
}

/// The size and the alignment of a block; `None` for more than there can be.
fn room(bytes: usize) -> Option<(usize, usize)> {
    let rest = bytes % LARGE_PAGE;
    let size = if rest >= LEAST_USED {
        bytes.checked_add(LARGE_PAGE - rest)?
    } else {
        bytes
    };
    let align = if size >= LARGE_PAGE {
        LARGE_PAGE
    } else {
        ALIGN
    };
    Some((size, align))
}

/// Asks the system to back memory that nobody has touched yet by large pages.
fn ask_for_large_pages(start: NonNull<u8>, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        let start = start.as_ptr().cast();
        // SAFETY: the range is part of an allocation that is not in use yet, and the advice does not
        // change what it holds. An error means pages of the usual size.
        let _ = unsafe { rustix::mm::madvise(start, bytes, rustix::mm::Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pages_are_well_used() {
        const MB: usize = 1 << 20;
        assert_eq!(room(1), Some((1, ALIGN)));
        assert_eq!(room(MB), Some((MB, ALIGN)));
        assert_eq!(room(MB + MB / 2), Some((2 * MB, LARGE_PAGE)));
        assert_eq!(room(2 * MB), Some((2 * MB, LARGE_PAGE)));
        assert_eq!(room(3 * MB), Some((3 * MB, LARGE_PAGE)));
        assert_eq!(room(4 * MB - 1), Some((4 * MB, LARGE_PAGE)));
        assert_eq!(room(usize::MAX), None);
    }

    #[test]
    fn blocks_are_zeroed_and_aligned() {
        for bytes in [
            0,
            1,
            4097,
            LEAST_USED - 1,
            LEAST_USED,
            3 << 20,
            (6 << 20) + 5,
        ] {
            let block = Block::zeroed(bytes).unwrap();
            assert_eq!(block.as_ptr() as usize % ALIGN, 0);
            // SAFETY: the block has that many bytes, and nobody else knows of it.
            let own = unsafe { std::slice::from_raw_parts_mut(block.as_ptr(), bytes) };
            assert!(own.iter().all(|x| *x == 0));
            own.fill(7);
        }
        let large = Block::zeroed(5 << 20).unwrap();
        // SAFETY: the block has that many bytes, and nobody else knows of it.
        let own = unsafe { std::slice::from_raw_parts_mut(large.as_ptr(), 5 << 20) };
        own.fill(7);
        // SAFETY: the slice is not used any more.
        unsafe { large.release() };
        // SAFETY: as above.
        let own = unsafe { std::slice::from_raw_parts_mut(large.as_ptr(), 5 << 20) };
        // What is behind the last whole page stays.
        assert!(cfg!(not(target_os = "linux")) || own[..4 << 20].iter().all(|x| *x == 0));
        assert!(own[4 << 20..].iter().all(|x| *x == 7));
        own.fill(8);
        assert!(own.iter().all(|x| *x == 8));
        assert!(Block::zeroed(usize::MAX).is_none());
        assert!(Block::zeroed(isize::MAX as usize - 64).is_none());
    }
}
