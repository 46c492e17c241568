//! Block: a handle of one word to bytes that say their own length.
//!
//! Lives here: allocating, growing and freeing such bytes, for listpacks and intsets, which are edited through slices
//! alone. May not: what the bytes behind the head mean.
//!
//! A block takes whole size classes of the allocator, so that an edit that stays in its class moves nothing.
//!
//! Invariants:
//! 1. The address less `Frame::TAG` is of a live block of `class_size(byte_len())` bytes, aligned to 8, that this
//!    handle alone owns.
//! 2. The block begins with the frame's head, which nobody but `new` and `resize` writes, and its first `byte_len()`
//!    bytes are initialised.
#![allow(
    unsafe_code,
    reason = "a one-word handle: small collections would pay 8 to 16 bytes each for a boxed slice"
)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;

use super::one_of::Handle;
use super::size_class::class_size;

/// How a block's head says the length of the whole. Only this module has implementations: what it answers decides
/// which memory is touched, so it depends on the head alone and is never less than the head.
pub trait Frame: sealed::Sealed {
    /// The bytes at the block's start.
    type Head: Copy + AsRef<[u8]>;

    /// What the handle's low bits hold, see [`Handle`].
    const TAG: usize;

    /// The head at the start of `bytes`, if that many are there.
    fn head_of(bytes: &[u8]) -> Option<Self::Head>;

    /// Bytes of a block with this head.
    fn byte_len(head: Self::Head) -> usize;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Total {}
    impl Sealed for super::Counted {}
}

/// `[bytes of the whole block: u32 le]`, as a listpack begins.
pub struct Total;

impl Frame for Total {
    type Head = [u8; 4];

    const TAG: usize = 0;

    #[inline]
    fn head_of(bytes: &[u8]) -> Option<[u8; 4]> {
        bytes.first_chunk().copied()
    }

    #[inline]
    fn byte_len(head: [u8; 4]) -> usize {
        (u32::from_le_bytes(head) as usize).max(size_of_val(&head))
    }
}

/// `[bytes of a value: u32 le] [values: u32 le]`, as an intset begins.
pub struct Counted;

impl Frame for Counted {
    type Head = [u8; 8];

    const TAG: usize = 1;

    #[inline]
    fn head_of(bytes: &[u8]) -> Option<[u8; 8]> {
        bytes.first_chunk().copied()
    }

    #[inline]
    fn byte_len(head: [u8; 8]) -> usize {
        let [a, b, c, d, e, f, g, h] = head;
        let (width, len) = (
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        );
        // Two words of 32 bits do not reach the end of a word of 64.
        size_of_val(&head) + width as usize * len as usize
    }
}

/// An owned block.
#[repr(transparent)]
pub struct Block<F: Frame>(NonNull<u8>, PhantomData<F>);

// SAFETY: a block owns its bytes alone (invariant 1) and has no interior mutability.
unsafe impl<F: Frame> Send for Block<F> {}
// SAFETY: as above.
unsafe impl<F: Frame> Sync for Block<F> {}

// SAFETY: the struct is one pointer whose low bits are `TAG`, as `wrap` sets them; blocks are aligned to 8.
unsafe impl<F: Frame> Handle for Block<F> {
    const TAG: usize = F::TAG;
}

impl<F: Frame> Clone for Block<F> {
    fn clone(&self) -> Block<F> {
        Block::new(self.bytes())
    }
}

impl<F: Frame> Drop for Block<F> {
    fn drop(&mut self) {
        // SAFETY: invariant 1.
        unsafe { dealloc(self.base(), layout(self.byte_len())) }
    }
}

fn layout(total: usize) -> Layout {
    Layout::from_size_align(class_size(total), 8).expect("blocks stay far below the largest layout")
}

impl<F: Frame> Block<F> {
    /// A copy of bytes whose head says how many they are.
    ///
    /// # Panics
    /// When it says something else.
    pub fn new(bytes: &[u8]) -> Block<F> {
        let said = F::head_of(bytes).map(F::byte_len);
        assert_eq!(said, Some(bytes.len()), "a head says its block's length");
        let layout = layout(bytes.len());
        // SAFETY: a block has at least its head, so the layout is not empty; the block holds the bytes.
        unsafe {
            let block = NonNull::new(alloc(layout)).unwrap_or_else(|| handle_alloc_error(layout));
            block.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            Block::wrap(block)
        }
    }

    /// The whole block.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: invariants 1 and 2.
        unsafe { slice::from_raw_parts(self.base(), self.byte_len()) }
    }

    /// What lies behind the head, to change it.
    #[inline]
    pub fn body_mut(&mut self) -> &mut [u8] {
        let head = size_of::<F::Head>();
        // SAFETY: invariants 1 and 2: a block is no shorter than its head; the borrow is unique.
        unsafe { slice::from_raw_parts_mut(self.base().add(head), self.byte_len() - head) }
    }

    /// The head.
    #[inline]
    pub fn head(&self) -> F::Head {
        // SAFETY: invariant 2; nothing is assumed of the alignment.
        unsafe { self.base().cast::<F::Head>().read_unaligned() }
    }

    /// Bytes of the whole block.
    #[inline]
    pub fn byte_len(&self) -> usize {
        F::byte_len(self.head())
    }

    /// Bytes that the block takes.
    pub fn memory_bytes(&self) -> usize {
        class_size(self.byte_len())
    }

    /// Gives the block another head and so another length: it is cut off at the end, or zeros are added there.
    pub fn resize(&mut self, head: F::Head) {
        let (old, total) = (self.byte_len(), F::byte_len(head));
        if class_size(total) != class_size(old) {
            // SAFETY: invariant 1: the block has that layout; the new size is not zero.
            let block = unsafe { realloc(self.base(), layout(old), layout(total).size()) };
            let block = NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout(total)));
            self.0 = Block::<F>::tagged(block);
        }
        if total > old {
            // SAFETY: invariant 1: the block holds `total` bytes; this initialises those that are new.
            unsafe { self.base().add(old).write_bytes(0, total - old) };
        }
        // SAFETY: the block holds at least its head.
        unsafe { self.base().cast::<F::Head>().write_unaligned(head) };
    }

    fn tagged(base: NonNull<u8>) -> NonNull<u8> {
        debug_assert_eq!(base.addr().get() & 7, 0);
        base.map_addr(|address| address | F::TAG)
    }

    /// # Safety
    /// `base` is of a block as the invariants describe it, and nobody else's.
    unsafe fn wrap(base: NonNull<u8>) -> Block<F> {
        Block(Block::<F>::tagged(base), PhantomData)
    }

    #[inline]
    fn base(&self) -> *mut u8 {
        self.0.as_ptr().wrapping_byte_sub(F::TAG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled<F: Frame>(head: &[u8], len: usize) -> Block<F> {
        let mut bytes = head.to_vec();
        bytes.resize(len, 7);
        Block::new(&bytes)
    }

    #[test]
    fn a_block_keeps_its_bytes_through_every_size() {
        let mut block: Block<Total> = filled(&5u32.to_le_bytes(), 5);
        for total in (4..3000u32).chain((4..3000).rev().step_by(37)) {
            let before = block.bytes().to_vec();
            block.resize(total.to_le_bytes());
            assert_eq!(block.byte_len(), total as usize);
            let kept = before.len().min(total as usize);
            assert_eq!(block.bytes()[4..kept], before[4..kept]);
            assert!(block.bytes()[kept..].iter().all(|byte| *byte == 0));
            block.body_mut().fill(total as u8);
        }
        assert_eq!(block.clone().bytes(), block.bytes());
    }

    #[test]
    fn a_counted_block_is_as_long_as_width_and_count_say() {
        let mut block: Block<Counted> = filled(&[2, 0, 0, 0, 3, 0, 0, 0], 14);
        assert_eq!((block.byte_len(), block.memory_bytes()), (14, 16));
        block.resize([8, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(block.bytes().len(), 32);
        assert_eq!(block.bytes()[8..14], [7; 6]);
    }

    #[test]
    #[should_panic = "a head says its block's length"]
    fn a_head_that_lies_is_refused() {
        let _: Block<Total> = filled(&9u32.to_le_bytes(), 8);
    }
}
