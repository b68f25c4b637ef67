//! Per-thread scratch memory that is kept between calls, so that kernels do not allocate.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;

const ALIGN: usize = 64;

/// A 64-byte aligned allocation.
struct Block {
    ptr: *mut u8,
    size: usize,
}

impl Block {
    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, ALIGN).expect("a size below isize::MAX")
    }

    fn new(size: usize) -> Block {
        let layout = Block::layout(size);
        // SAFETY: callers ask for at least a page.
        let ptr = unsafe { alloc_zeroed(layout) };
        if ptr.is_null() {
            handle_alloc_error(layout);
        }
        Block { ptr, size }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { dealloc(self.ptr, Block::layout(self.size)) };
    }
}

thread_local! {
    static STORE: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// A block of scratch memory, handed back to its thread's store when dropped. Its contents are
/// whatever the last user left (initialised, but arbitrary).
pub(crate) struct Scratch {
    ptr: *mut u8,
    block: Option<Block>,
}

impl Scratch {
    /// At least `bytes` bytes.
    #[inline]
    pub(crate) fn take(bytes: usize) -> Scratch {
        let block = match STORE.with(|s| s.borrow_mut().pop()) {
            Some(block) if block.size >= bytes => block,
            // One too small is freed, so that a store never holds more blocks than were in use.
            _ => Block::new(bytes.next_power_of_two().max(4096)),
        };
        Scratch {
            ptr: block.ptr,
            block: Some(block),
        }
    }

    /// The start of the block.
    #[inline]
    pub(crate) fn ptr(&self) -> *mut u8 {
        self.ptr
    }
}

impl Drop for Scratch {
    #[inline]
    fn drop(&mut self) {
        let block = self.block.take();
        // When the thread is ending and its store is gone, the block is freed here instead.
        let _ = STORE.try_with(|s| s.borrow_mut().extend(block));
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;

    #[test]
    fn nested_blocks_are_distinct_and_reused() {
        let (a, b);
        {
            let first = Scratch::take(100);
            let second = Scratch::take(10_000);
            a = first.ptr();
            b = second.ptr();
            assert_ne!(a, b);
        }
        let first = Scratch::take(100);
        assert!(first.ptr() == a || first.ptr() == b);
        assert_eq!(first.ptr() as usize % 64, 0);
    }
}
