//! Per-thread scratch memory that is kept between calls, so that kernels do not allocate.

use std::alloc::{Layout, handle_alloc_error};
use std::cell::RefCell;

use crate::memory::{ALIGN, Block};

/// A block and how many bytes were asked for.
struct Kept {
    block: Block,
    size: usize,
}

impl Kept {
    fn new(size: usize) -> Kept {
        let block = Block::zeroed(size).unwrap_or_else(|| {
            let layout = Layout::from_size_align(size, ALIGN);
            handle_alloc_error(layout.expect("a size below isize::MAX"))
        });
        Kept { block, size }
    }
}

thread_local! {
    static STORE: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

/// A block of scratch memory, handed back to its thread's store when dropped. Its contents are
/// whatever the last user left (initialised, but arbitrary).
pub(crate) struct Scratch {
    ptr: *mut u8,
    kept: Option<Kept>,
}

impl Scratch {
    /// At least `bytes` bytes.
    #[inline]
    pub(crate) fn take(bytes: usize) -> Scratch {
        let kept = match STORE.with(|s| s.borrow_mut().pop()) {
            Some(kept) if kept.size >= bytes => kept,
            // One too small is freed, so that a store never holds more blocks than were in use.
            _ => Kept::new(bytes.next_power_of_two().max(4096)),
        };
        Scratch {
            ptr: kept.block.as_ptr(),
            kept: Some(kept),
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
        let kept = self.kept.take();
        // When the thread is ending and its store is gone, the block is freed here instead.
        let _ = STORE.try_with(|s| s.borrow_mut().extend(kept));
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
