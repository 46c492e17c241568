//! Member: an element of a set, hash or sorted set, in one block behind a handle of one word.
//!
//! Lives here: the layout and its edits. May not: what a score or a deadline means.
//!
//! The handle is the block's address, with bit 0 set when there is a word (a hash field's deadline, a member's
//! score). The block, aligned to 8:
//!
//! ```text
//! [word: 8 bytes, when bit 0 set] [key length] [value length, when VALUED] [key] [value, when VALUED]
//! length: one byte up to 254; else 255 and four bytes, low first
//! ```
//!
//! Invariants:
//! 1. The address is of a live block of `class_size(total())` bytes, aligned to 8, that this handle alone owns.
//! 2. Bit 0 of the handle says whether the word is there.
//! 3. The lengths are initialised and true, and so are the bytes they announce.
#![allow(
    unsafe_code,
    reason = "one packed block for an element is what the memory figures of collections rest on"
)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};
use std::slice;

use super::table::{Element, prefetch};
use crate::types::btree::Named;
use crate::types::size_class::class_size;

const WORD: usize = 8;
const HAS_WORD: usize = 1;
const LONG: u8 = 255;

/// A set's member: no value, no word.
pub type SetMember = Member<false>;
/// A hash's field with its value; the word is its deadline.
pub type HashField = Member<true>;
/// A sorted set's member; the word is its score.
pub type ScoredMember = Member<false>;

/// An owned element. `VALUED` elements have a value beside their key.
#[repr(transparent)]
pub struct Member<const VALUED: bool>(NonNull<u8>);

// SAFETY: a member owns its block alone (invariant 1) and has no interior mutability.
unsafe impl<const VALUED: bool> Send for Member<VALUED> {}
// SAFETY: as above.
unsafe impl<const VALUED: bool> Sync for Member<VALUED> {}

impl<const VALUED: bool> Element for Member<VALUED> {
    #[inline]
    fn key(&self) -> &[u8] {
        Member::key(self)
    }

    #[inline]
    fn is_volatile(&self) -> bool {
        self.has_word()
    }
}

impl<const VALUED: bool> Drop for Member<VALUED> {
    fn drop(&mut self) {
        // SAFETY: invariant 1.
        unsafe { dealloc(self.base(), layout(self.total())) }
    }
}

impl<const VALUED: bool> Clone for Member<VALUED> {
    fn clone(&self) -> Self {
        Member::build(self.key(), self.value(), self.word())
    }
}

/// A handle that does not own its element, see [`Member::to_ref`].
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct MemberRef<const VALUED: bool>(NonNull<u8>);

// SAFETY: it is a shared reference by another name, and members have no interior mutability.
unsafe impl<const VALUED: bool> Send for MemberRef<VALUED> {}
// SAFETY: as above.
unsafe impl<const VALUED: bool> Sync for MemberRef<VALUED> {}

impl<const VALUED: bool> Named for MemberRef<VALUED> {
    #[inline]
    fn name(&self) -> &[u8] {
        // SAFETY: both are a `NonNull<u8>` alone; the element lives, as whoever made the handle has promised.
        unsafe { &*ptr::from_ref(self).cast::<Member<VALUED>>() }.key()
    }

    #[inline]
    fn prefetch(&self) {
        prefetch(self.0.as_ptr());
    }
}

fn layout(total: usize) -> Layout {
    Layout::from_size_align(class_size(total).max(WORD), WORD)
        .expect("elements stay far below the largest layout")
}

fn length_size(len: usize) -> usize {
    if len < usize::from(LONG) { 1 } else { 5 }
}

/// Writes a length; returns where the next byte goes.
///
/// # Safety
/// `at` is valid for `length_size(len)` bytes of writing.
unsafe fn write_length(at: *mut u8, len: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        if len < usize::from(LONG) {
            at.write(len as u8);
            at.add(1)
        } else {
            at.write(LONG);
            let le = u32::try_from(len)
                .expect("a bulk is shorter than 4 GiB")
                .to_le_bytes();
            ptr::copy_nonoverlapping(le.as_ptr(), at.add(1), le.len());
            at.add(5)
        }
    }
}

/// Reads a length; returns it and where the next byte is.
///
/// # Safety
/// `at` points to what `write_length` wrote.
#[inline]
unsafe fn read_length(at: *const u8) -> (usize, *const u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match at.read() {
            LONG => {
                let le = at.add(1).cast::<u32>().read_unaligned();
                (u32::from_le(le) as usize, at.add(5))
            }
            short => (usize::from(short), at.add(1)),
        }
    }
}

impl Member<false> {
    /// A member without a word.
    pub fn new(key: &[u8]) -> Member<false> {
        Member::build(key, b"", None)
    }

    /// A member with a score.
    pub fn with_score(key: &[u8], score: f64) -> Member<false> {
        Member::build(key, b"", Some(score.to_bits()))
    }

    /// The score; 0 for a member without one.
    #[inline]
    pub fn score(&self) -> f64 {
        f64::from_bits(self.word().unwrap_or(0))
    }

    /// Changes the score in place.
    pub fn set_score(&mut self, score: f64) {
        self.set_word(Some(score.to_bits()));
    }
}

impl Member<true> {
    /// A field with its value, and its deadline in milliseconds since 1970 or none.
    pub fn new(key: &[u8], value: &[u8], deadline_ms: Option<i64>) -> Member<true> {
        Member::build(key, value, deadline_ms.map(i64::cast_unsigned))
    }

    /// The deadline in milliseconds since 1970.
    #[inline]
    pub fn deadline_ms(&self) -> Option<i64> {
        self.word().map(u64::cast_signed)
    }

    /// Sets, changes or takes away the deadline.
    pub fn set_deadline_ms(&mut self, deadline_ms: Option<i64>) {
        self.set_word(deadline_ms.map(i64::cast_unsigned));
    }

    /// Puts another value in; in place when its length class is the same.
    pub fn set_value(&mut self, value: &[u8]) {
        let (old_len, old_total) = (self.value().len(), self.total());
        let new_total =
            old_total - length_size(old_len) - old_len + length_size(value.len()) + value.len();
        if length_size(old_len) != length_size(value.len())
            || layout(old_total) != layout(new_total)
        {
            let new = Member::build(self.key(), value, self.word());
            *self = new;
            return;
        }
        // SAFETY: invariant 3: the value is the block's last part and its length keeps its size, so key and value
        // stay where they are; by the check above the block holds the new value.
        unsafe {
            let (_, value_length) = read_length(self.lengths());
            write_length(value_length.cast_mut(), value.len());
            let (_, _, at) = self.parts();
            ptr::copy_nonoverlapping(value.as_ptr(), at.cast_mut(), value.len());
        }
    }
}

impl<const VALUED: bool> Member<VALUED> {
    fn build(key: &[u8], value: &[u8], word: Option<u64>) -> Self {
        let prefix = if word.is_some() { WORD } else { 0 };
        let value_size = if VALUED {
            length_size(value.len()) + value.len()
        } else {
            0
        };
        let layout = layout(prefix + length_size(key.len()) + key.len() + value_size);
        // SAFETY: the layout is not empty and holds all that is written here, in this order.
        unsafe {
            let block = NonNull::new(alloc(layout)).unwrap_or_else(|| handle_alloc_error(layout));
            let mut at = block.as_ptr();
            if let Some(word) = word {
                at.cast::<u64>().write(word);
                at = at.add(WORD);
            }
            at = write_length(at, key.len());
            if VALUED {
                at = write_length(at, value.len());
            }
            ptr::copy_nonoverlapping(key.as_ptr(), at, key.len());
            if VALUED {
                ptr::copy_nonoverlapping(value.as_ptr(), at.add(key.len()), value.len());
            }
            Member(block.map_addr(|address| address | usize::from(word.is_some())))
        }
    }

    #[inline]
    fn has_word(&self) -> bool {
        self.0.addr().get() & HAS_WORD != 0
    }

    #[inline]
    fn base(&self) -> *mut u8 {
        self.0.as_ptr().map_addr(|address| address & !HAS_WORD)
    }

    #[inline]
    fn lengths(&self) -> *const u8 {
        let prefix = if self.has_word() { WORD } else { 0 };
        // SAFETY: invariants 1 and 2: the lengths stand behind the word.
        unsafe { self.base().add(prefix) }
    }

    /// The key, the value's length, and where the value is.
    #[inline]
    fn parts(&self) -> (&[u8], usize, *const u8) {
        // SAFETY: invariant 3.
        unsafe {
            let (key_len, mut at) = read_length(self.lengths());
            let mut value_len = 0;
            if VALUED {
                (value_len, at) = read_length(at);
            }
            let key = slice::from_raw_parts(at, key_len);
            (key, value_len, at.add(key_len))
        }
    }

    fn total(&self) -> usize {
        let (_, value_len, value) = self.parts();
        value.addr() + value_len - self.base().addr()
    }

    /// What it is found by.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.parts().0
    }

    /// The value; empty for elements without one.
    #[inline]
    pub fn value(&self) -> &[u8] {
        let (_, len, at) = self.parts();
        // SAFETY: invariant 3.
        unsafe { slice::from_raw_parts(at, len) }
    }

    /// The word, if there is one.
    #[inline]
    pub fn word(&self) -> Option<u64> {
        // SAFETY: invariant 2.
        self.has_word()
            .then(|| unsafe { self.base().cast::<u64>().read() })
    }

    fn set_word(&mut self, word: Option<u64>) {
        match (self.has_word(), word) {
            // SAFETY: invariant 2.
            (true, Some(word)) => unsafe { self.base().cast::<u64>().write(word) },
            (false, None) => {}
            (_, word) => {
                let new = Member::build(self.key(), self.value(), word);
                *self = new;
            }
        }
    }

    /// Bytes that the block takes.
    pub fn memory_bytes(&self) -> usize {
        layout(self.total()).size()
    }

    /// A second handle, for an index beside the table that owns the element.
    ///
    /// # Safety
    /// The handle is let go of before the element: nothing may be asked of it once the element is gone. Replacing
    /// the element's block counts as its end; [`Member::set_score`](Member::set_score) of a scored member keeps it.
    #[inline]
    pub unsafe fn to_ref(&self) -> MemberRef<VALUED> {
        MemberRef(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENS: [usize; 7] = [0, 1, 7, 100, 254, 255, 70_000];

    #[test]
    fn what_goes_in_comes_out() {
        for key_len in LENS {
            for value_len in LENS {
                let (key, value) = (vec![b'k'; key_len], vec![b'v'; value_len]);
                let mut field = HashField::new(&key, &value, None);
                assert_eq!((field.key(), field.value()), (&key[..], &value[..]));
                field.set_deadline_ms(Some(-5));
                assert_eq!(field.deadline_ms(), Some(-5));
                assert!(field.is_volatile());
                for other_len in LENS {
                    let other = vec![b'o'; other_len];
                    field.set_value(&other);
                    assert_eq!((field.key(), field.value()), (&key[..], &other[..]));
                    assert_eq!(field.deadline_ms(), Some(-5));
                }
                let copy = field.clone();
                field.set_deadline_ms(None);
                assert_eq!((copy.deadline_ms(), field.deadline_ms()), (Some(-5), None));
                assert_eq!(field.key(), copy.key());
            }
            let key = vec![b'k'; key_len];
            let mut member = ScoredMember::with_score(&key, 1.5);
            member.set_score(f64::NEG_INFINITY);
            assert_eq!(
                (member.key(), member.score()),
                (&key[..], f64::NEG_INFINITY)
            );
            assert_eq!(SetMember::new(&key).key(), &key[..]);
        }
    }

    #[test]
    fn a_member_takes_little_more_than_its_bytes() {
        assert_eq!(SetMember::new(b"member:0000000001").memory_bytes(), 24);
        assert_eq!(
            ScoredMember::with_score(b"member:0000000001", 1.0).memory_bytes(),
            32
        );
        assert_eq!(
            HashField::new(b"field:0000000001", b"0123456789abcdef", None).memory_bytes(),
            40
        );
    }
}
