//! Alloc: mimalloc, and an exact count of the bytes in use.
//!
//! Lives here: the allocator that `main.rs` installs, and the figure behind `used_memory`.
//! May not: limits and what happens at them (eviction); the installing itself, so that tests of the library
//! run with the system's allocator and under AddressSanitizer.
//!
//! The count is of layout sizes: what the program asked for, rounded by nothing. Entries ask for whole size
//! classes themselves (see `entry.rs`), so for them it is also what they take.
#![allow(
    unsafe_code,
    reason = "a global allocator is an unsafe trait; every call is passed on as it came"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use mimalloc::MiMalloc;

static USED: AtomicUsize = AtomicUsize::new(0);

/// mimalloc with a byte counter around it.
pub struct Counting;

/// Bytes allocated and not freed; 0 when `Counting` is not the global allocator.
pub fn used_memory() -> usize {
    USED.load(Relaxed)
}

/// Gives memory that is free back to the system: what the calling thread has in pages of its own, and the blocks that no
/// thread uses.
pub fn purge() {
    // SAFETY: it works on the calling thread's own heap and needs nothing of the caller.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

// SAFETY: every method hands its arguments to mimalloc unchanged, whose contract is the same; the counter is
// not memory that anyone else sees.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        USED.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        USED.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `realloc`.
        let moved = unsafe { MiMalloc.realloc(block, layout, new_size) };
        if !moved.is_null() {
            USED.fetch_add(new_size.wrapping_sub(layout.size()), Relaxed);
        }
        moved
    }
}
