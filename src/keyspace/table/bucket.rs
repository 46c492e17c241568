//! Bucket and array: the memory of a table, see its picture in the parent module.
//!
//! Lives here: a bucket's bits and slots, and arrays of buckets that appear and go in chunks. May not: chains, rehash,
//! hashes; the invariants are the table's.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr;

/// Slots of a bucket.
pub(super) const SLOTS: usize = 7;
/// The slot that becomes a link when a bucket overflows.
pub(super) const LINK: usize = SLOTS - 1;
pub(super) const PRESENCE: u64 = 0x7f;
pub(super) const CHAINED: u64 = 0x80;
/// Ones and sign bits of the seven hash bytes; the low byte holds the presence bits and stays out of it.
pub(super) const ONES: u64 = 0x0101_0101_0101_0100;
pub(super) const SIGNS: u64 = 0x8080_8080_8080_8000;

/// Arrays above `2^CHUNK_BITS` buckets (64 KiB) consist of chunks of that size.
pub(super) const CHUNK_BITS: u32 = 10;
pub(super) const CHUNK: usize = 1 << CHUNK_BITS;

pub(super) union Slot<E> {
    pub(super) element: ManuallyDrop<E>,
    pub(super) next: *mut Bucket<E>,
    pub(super) address: *const u8,
}

#[repr(C, align(64))]
pub(super) struct Bucket<E> {
    pub(super) meta: u64,
    pub(super) slots: [Slot<E>; SLOTS],
}

impl<E> Bucket<E> {
    #[inline]
    pub(super) fn count(&self) -> usize {
        (self.meta & PRESENCE).count_ones() as usize
    }

    #[inline]
    pub(super) fn is_chained(&self) -> bool {
        self.meta & CHAINED != 0
    }

    /// The next bucket of the chain, or null.
    #[inline]
    pub(super) fn next(&self) -> *mut Bucket<E> {
        if self.is_chained() {
            // SAFETY: invariant 3: the chain bit says that the last slot holds the link.
            unsafe { self.slots[LINK].next }
        } else {
            ptr::null_mut()
        }
    }

    /// A sign bit at byte `i + 1` for each slot `i` whose hash byte may equal `tag`. The subtraction may also
    /// mark the byte above a true match; the key comparison sorts that out.
    #[inline]
    pub(super) fn matches(&self, tag: u8) -> u64 {
        let diff = self.meta ^ (u64::from(tag) * ONES);
        diff.wrapping_sub(ONES) & !diff & SIGNS
    }

    #[inline]
    pub(super) fn is_present(&self, slot: usize) -> bool {
        (self.meta >> slot) & 1 != 0
    }

    /// # Safety
    /// `slot` is present.
    #[inline]
    pub(super) unsafe fn element(&self, slot: usize) -> &E {
        debug_assert!(self.is_present(slot));
        // SAFETY: the caller promises presence, so by invariant 2 the slot holds an element.
        unsafe { &self.slots[slot].element }
    }

    /// # Safety
    /// `slot` is absent, all below it are present, and it is not the link.
    #[inline]
    pub(super) unsafe fn put(&mut self, slot: usize, tag: u8, element: E) {
        debug_assert!(slot == self.count() && !(slot == LINK && self.is_chained()));
        let shift = 8 * (slot as u32 + 1);
        self.meta = (self.meta & !(0xff << shift)) | (u64::from(tag) << shift) | (1 << slot);
        self.slots[slot].element = ManuallyDrop::new(element);
    }

    #[inline]
    pub(super) fn tag(&self, slot: usize) -> u8 {
        (self.meta >> (8 * (slot + 1))) as u8
    }

    /// Moves the element of the last present slot out.
    ///
    /// # Safety
    /// The bucket is not empty.
    #[inline]
    pub(super) unsafe fn pop(&mut self) -> (u8, E) {
        debug_assert!(self.count() > 0);
        let slot = self.count() - 1;
        self.meta &= !(1 << slot);
        // SAFETY: invariant 2: the slot was present until the line above, so it holds an element, and with
        // the bit cleared nobody reads it again.
        (
            self.tag(slot),
            ManuallyDrop::into_inner(unsafe { ptr::read(&self.slots[slot].element) }),
        )
    }

    /// Exchanges slots 0 and 1 with their hash bytes.
    pub(super) fn swap_first_two(&mut self) {
        self.slots.swap(0, 1);
        let (first, second) = (self.meta >> 8 & 0xff, self.meta >> 16 & 0xff);
        self.meta = (self.meta & !0xff_ff00) | (second << 8) | (first << 16);
    }
}

pub(super) fn alloc_zeroed_or_abort(layout: Layout) -> *mut u8 {
    debug_assert!(layout.size() > 0);
    // SAFETY: invariant 5: block sizes are never zero.
    let block = unsafe { alloc_zeroed(layout) };
    if block.is_null() {
        handle_alloc_error(layout);
    }
    block
}

/// A power of two of buckets.
pub(super) struct Array<E> {
    /// The block of buckets, or the directory of chunks, see `is_directory`.
    pub(super) block: *mut u8,
    pub(super) bits: u32,
    pub(super) chunks: u32,
    owns: PhantomData<E>,
}

impl<E> Array<E> {
    pub(super) const fn empty() -> Array<E> {
        Array {
            block: ptr::null_mut(),
            bits: 0,
            chunks: 0,
            owns: PhantomData,
        }
    }

    pub(super) fn new(bits: u32) -> Array<E> {
        let mut array = Array {
            bits,
            ..Array::empty()
        };
        if array.is_directory() {
            array.block = alloc_zeroed_or_abort(array.directory_layout());
        }
        array
    }

    #[inline]
    pub(super) fn is_directory(&self) -> bool {
        self.bits > CHUNK_BITS
    }

    #[inline]
    pub(super) fn buckets(&self) -> usize {
        1 << self.bits
    }

    #[inline]
    pub(super) fn index(&self, hash: u64) -> usize {
        hash as usize & (self.buckets() - 1)
    }

    pub(super) fn directory_layout(&self) -> Layout {
        Layout::array::<*mut Bucket<E>>(self.buckets() >> CHUNK_BITS)
            .expect("fewer chunks than memory has pages")
    }

    pub(super) fn chunk_layout(&self) -> Layout {
        Layout::array::<Bucket<E>>(self.buckets().min(CHUNK)).expect("a chunk is at most 64 KiB")
    }

    /// Where the address of the chunk with bucket `index` is kept, when that is in a directory.
    #[inline]
    pub(super) fn directory_slot(&self, index: usize) -> *mut *mut Bucket<E> {
        debug_assert!(self.is_directory() && index < self.buckets());
        self.block
            .cast::<*mut Bucket<E>>()
            .wrapping_add(index >> CHUNK_BITS)
    }

    /// The bucket, or null when its chunk was never written to.
    #[inline]
    pub(super) fn bucket(&self, index: usize) -> *mut Bucket<E> {
        debug_assert!(index < self.buckets());
        let chunk = if self.is_directory() {
            // SAFETY: invariant 5: the directory was allocated with an address for each chunk of `bits`.
            unsafe { *self.directory_slot(index) }
        } else {
            self.block.cast()
        };
        if chunk.is_null() {
            chunk
        } else {
            chunk.wrapping_add(index & (CHUNK - 1))
        }
    }

    /// The bucket, which is made when absent.
    #[inline]
    pub(super) fn bucket_or_new(&mut self, index: usize) -> *mut Bucket<E> {
        let bucket = self.bucket(index);
        if bucket.is_null() {
            self.new_chunk(index)
        } else {
            bucket
        }
    }

    #[cold]
    pub(super) fn new_chunk(&mut self, index: usize) -> *mut Bucket<E> {
        let chunk = alloc_zeroed_or_abort(self.chunk_layout());
        self.chunks += 1;
        if self.is_directory() {
            // SAFETY: invariant 5, as in `bucket`.
            unsafe { *self.directory_slot(index) = chunk.cast() };
        } else {
            self.block = chunk;
        }
        self.bucket(index)
    }

    /// Gives back the chunk that bucket `index` lies in; its elements and overflow buckets are gone already.
    pub(super) fn free_chunk(&mut self, index: usize) {
        let first = self.bucket(index & !(CHUNK - 1));
        if first.is_null() {
            return;
        }
        // SAFETY: invariant 5: the chunk came from `new_chunk` with this layout; its address is forgotten here.
        unsafe { dealloc(first.cast(), self.chunk_layout()) };
        self.chunks -= 1;
        if self.is_directory() {
            // SAFETY: invariant 5, as in `bucket`.
            unsafe { *self.directory_slot(index) = ptr::null_mut() };
        } else {
            self.block = ptr::null_mut();
        }
    }

    /// Gives back all its memory.
    pub(super) fn free(&mut self) {
        if self.chunks > 0 {
            for index in (0..self.buckets()).step_by(CHUNK) {
                self.free_chunk(index);
            }
        }
        if self.is_directory() && !self.block.is_null() {
            // SAFETY: invariant 5: `new` allocated the directory with this layout, and it is forgotten here.
            unsafe { dealloc(self.block, self.directory_layout()) };
        }
        *self = Array::empty();
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let directory = if self.is_directory() {
            self.directory_layout().size()
        } else {
            0
        };
        directory + self.chunks as usize * self.chunk_layout().size()
    }
}
