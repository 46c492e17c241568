//! Entry: a key, its expire time and its value, in one allocation where the value allows it.
//!
//! Lives here: the layout, and every edit of a string value. May not: what a command means, clocks, the types
//! behind `Object`.
//!
//! The handle is the block's address with bit 0 set when there is an expire time. The block:
//!
//! ```text
//! 0        8                                 value area                          (key of 255 bytes and more)
//! [header] [expire: i64 ms, when bit 0 set] [number | Vec | Bytes | object] [key len: u32] [key] [string]
//!
//! header, one 64-bit word, from the low bits up:
//!   4 kind | 4 encoding | 1 epoch | 1 has expire | 2 free | 4 area bytes / 4 | 24 clock | 8 key len or 255 | 16 low
//! ```
//!
//! `low` is the length of an inline string, or the value of an integer that fits 16 bits and so needs no area.
//! Blocks are asked for in whole allocator size classes: an edit that stays in its class never reallocates.
//!
//! A string is kept inline up to `INLINE_MAX` bytes. Past that the second allocation costs under 3 % of memory,
//! while each edit that moves the block (an expire time set or taken away, an append) would copy all of it.
//!
//! Invariants, checked by `assert_valid`:
//! 1. The address is of a live block of `class_size(total())` bytes, aligned to 8, that this handle alone owns.
//! 2. Bit 0 of the handle, the header's mirror bit and the presence of the expire word agree.
//! 3. Kind, encoding and area size name one form: Int with 0, 4 or 8; string inline with 0, `Vec` with 24,
//!    `Bytes` with 32; any other kind with `AREA_OBJECT` for the word of its type (a `List`, `Set`, ...). The area
//!    holds an initialised value of that form.
//! 4. The key, and the inline string when that is the form, are initialised for their stated lengths.
#![allow(
    unsafe_code,
    reason = "one packed block for header, key and value is what the memory figures rest on"
)]

mod header;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};
use std::slice;

use bytes::Bytes;

pub use super::kind::{Encoding, Kind};
use header::{Form, Header, Label};

use super::object::{Hash, List, Object, ObjectMut, ObjectRef, Set, Stream, ZSet, each};
use super::table::Element;
use crate::types::size_class::class_size;

/// Longest string kept inside the entry.
pub const INLINE_MAX: usize = 1024;
/// Shortest string kept as `Bytes`, which replies share instead of copying.
pub const SHARED_MIN: usize = 16 * 1024;
/// Longest string that OBJECT ENCODING calls embstr.
pub const EMBSTR_MAX: usize = 44;

const HEADER: usize = 8;
const EXPIRE: usize = 8;
const HAS_EXPIRE: usize = 1;
const AREA_VEC: usize = mem::size_of::<Vec<u8>>();
const AREA_BYTES: usize = mem::size_of::<Bytes>();
const AREA_OBJECT: usize = 8;
const _: () = assert!(AREA_VEC == 24 && AREA_BYTES == 32);
/// A key of this length or more has its length in a word before it.
const LONG_KEY: usize = 255;

/// A look at a value.
pub enum ValueRef<'a> {
    Int(i64),
    Str(&'a [u8]),
    Object(ObjectRef<'a>),
}

fn class_layout(bytes: usize) -> Layout {
    Layout::from_size_align(class_size(bytes), 8).expect("keys are far below the largest layout")
}

#[inline]
fn alloc_block(total: usize) -> NonNull<u8> {
    let layout = class_layout(total);
    debug_assert!(layout.size() >= HEADER);
    // SAFETY: invariant 1: a block is never smaller than its header.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Bytes of area that an integer needs, and what the header keeps of it.
#[inline]
fn int_area(value: i64) -> (usize, u16) {
    if let Ok(short) = i16::try_from(value) {
        (0, short as u16)
    } else if i32::try_from(value).is_ok() {
        (4, 0)
    } else {
        (8, 0)
    }
}

/// An owned entry of the keyspace.
#[repr(transparent)]
pub struct Entry(NonNull<u8>);

// SAFETY: an entry owns its block and value alone (invariant 1) and has no interior mutability; `Bytes` may
// cross threads, and so may `Object` by the bound.
unsafe impl Send for Entry where Object: Send {}
// SAFETY: as above.
unsafe impl Sync for Entry where Object: Sync {}

impl Element for Entry {
    #[inline]
    fn key(&self) -> &[u8] {
        Entry::key(self)
    }

    #[inline]
    fn is_volatile(&self) -> bool {
        self.prefix() != HEADER
    }
}

impl Entry {
    /// A string, labelled by its length.
    pub fn new_str(key: &[u8], value: &[u8], expire: Option<i64>, lru: u32) -> Entry {
        let mut entry;
        if value.len() <= INLINE_MAX {
            entry = Entry::build(
                Header::new(Kind::String, key.len(), lru),
                key,
                0,
                value.len(),
                expire,
            );
            entry.finish_inline(Label::for_len(value.len()), value);
        } else if value.len() < SHARED_MIN {
            entry = Entry::build(
                Header::new(Kind::String, key.len(), lru),
                key,
                AREA_VEC,
                0,
                expire,
            );
            entry.finish_area(Label::Raw, value.to_vec());
        } else {
            return Entry::new_bytes(key, Bytes::copy_from_slice(value), expire, lru);
        }
        entry
    }

    /// A string whose buffer is kept as it is when it is long enough to be worth sharing.
    pub fn new_bytes(key: &[u8], value: Bytes, expire: Option<i64>, lru: u32) -> Entry {
        if value.len() < SHARED_MIN {
            return Entry::new_str(key, &value, expire, lru);
        }
        let mut entry = Entry::build(
            Header::new(Kind::String, key.len(), lru),
            key,
            AREA_BYTES,
            0,
            expire,
        );
        entry.finish_area(Label::Raw, value);
        entry
    }

    /// An integer.
    pub fn new_int(key: &[u8], value: i64, expire: Option<i64>, lru: u32) -> Entry {
        let (area, _) = int_area(value);
        let mut entry = Entry::build(
            Header::new(Kind::String, key.len(), lru),
            key,
            area,
            0,
            expire,
        );
        entry.finish_int(area, value);
        entry
    }

    /// A value of another type.
    pub fn new_object(key: &[u8], value: Object, expire: Option<i64>, lru: u32) -> Entry {
        let mut entry = Entry::build(
            Header::new(value.kind(), key.len(), lru),
            key,
            AREA_OBJECT,
            0,
            expire,
        );
        entry.finish_object(Label::Raw, value);
        entry
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        // SAFETY: invariant 4.
        unsafe { slice::from_raw_parts(self.key_at(), self.key_len()) }
    }

    #[inline]
    pub fn kind(&self) -> Kind {
        self.header().kind()
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> Encoding {
        match self.object() {
            Some(object) => object.encoding(),
            None => match self.header().label() {
                Label::Int => Encoding::Int,
                Label::EmbStr => Encoding::EmbStr,
                Label::Raw => Encoding::Raw,
            },
        }
    }

    #[inline]
    pub fn value(&self) -> ValueRef<'_> {
        // SAFETY: invariants 3 and 4: the form says what the area holds.
        unsafe {
            match self.header().form() {
                Form::Int => ValueRef::Int(self.read_int()),
                Form::Inline => ValueRef::Str(slice::from_raw_parts(
                    self.inline_at(),
                    self.header().low() as usize,
                )),
                Form::Vec => ValueRef::Str(&*self.area_at().cast::<Vec<u8>>()),
                Form::Bytes => ValueRef::Str(&*self.area_at().cast::<Bytes>()),
                Form::Object => ValueRef::Object(self.object_at()),
            }
        }
    }

    /// The value when it is not a string.
    #[inline]
    pub fn object(&self) -> Option<ObjectRef<'_>> {
        // SAFETY: the form is asked for first.
        (self.header().form() == Form::Object).then(|| unsafe { self.object_at() })
    }

    /// The value when it is not a string, to edit in place.
    #[inline]
    pub fn object_mut(&mut self) -> Option<ObjectMut<'_>> {
        let (kind, area) = (self.kind(), self.area_at());
        // SAFETY: invariant 3: the kind says what the area holds.
        unsafe {
            Some(match kind {
                Kind::String => return None,
                Kind::List => ObjectMut::List(&mut *area.cast()),
                Kind::Set => ObjectMut::Set(&mut *area.cast()),
                Kind::ZSet => ObjectMut::ZSet(&mut *area.cast()),
                Kind::Hash => ObjectMut::Hash(&mut *area.cast()),
                Kind::Stream => ObjectMut::Stream(&mut *area.cast()),
            })
        }
    }

    /// Gives up the entry for its object, so that a large one can be freed bit by bit.
    pub fn into_object(self) -> Option<Object> {
        if self.header().form() != Form::Object {
            return None;
        }
        let this = ManuallyDrop::new(self);
        let area = this.area_at();
        // SAFETY: invariant 3; the block is freed at once and its drop skipped, so the object is read once.
        unsafe {
            let object = match this.kind() {
                Kind::String => None,
                Kind::List => Some(Object::List(area.cast::<List>().read())),
                Kind::Set => Some(Object::Set(area.cast::<Set>().read())),
                Kind::ZSet => Some(Object::ZSet(area.cast::<ZSet>().read())),
                Kind::Hash => Some(Object::Hash(area.cast::<Hash>().read())),
                Kind::Stream => Some(Object::Stream(area.cast::<Stream>().read())),
            };
            this.free_block();
            object
        }
    }

    /// The string's own buffer when it is kept as one (16 KiB and more); a cheap clone.
    #[inline]
    pub fn shared_bytes(&self) -> Option<Bytes> {
        (self.header().form() == Form::Bytes).then(|| {
            // SAFETY: invariant 3.
            unsafe { (*self.area_at().cast::<Bytes>()).clone() }
        })
    }

    /// `shared_bytes`, for which a long string that an edit left as a growable buffer is turned into a shared
    /// one first, without copying it.
    pub fn share(&mut self) -> Option<Bytes> {
        if self.header().form() == Form::Vec && self.str_len() >= SHARED_MIN {
            let (label, value) = (self.header().label(), self.take_vec());
            self.reshape(AREA_BYTES, 0);
            self.finish_area(label, Bytes::from(value));
        }
        self.shared_bytes()
    }

    /// Length of the string; of an integer's decimal form. 0 for other types.
    pub fn str_len(&self) -> usize {
        match self.value() {
            ValueRef::Int(value) => itoa::Buffer::new().format(value).len(),
            ValueRef::Str(value) => value.len(),
            ValueRef::Object(_) => 0,
        }
    }

    /// The deadline, in milliseconds since 1970.
    #[inline]
    pub fn expire(&self) -> Option<i64> {
        if self.prefix() == HEADER {
            return None;
        }
        // SAFETY: invariant 2: the tag says that the expire word is there.
        Some(unsafe { self.base().add(HEADER).cast::<i64>().read() })
    }

    /// Sets, changes or takes away the deadline.
    pub fn set_expire(&mut self, expire: Option<i64>) {
        let (old_prefix, total) = (self.prefix(), self.total());
        let prefix = HEADER + if expire.is_some() { EXPIRE } else { 0 };
        if prefix != old_prefix {
            let (tail, new_total) = (total - old_prefix, total - old_prefix + prefix);
            let old = self.base();
            let header = self.header().with_expire(expire.is_some());
            // SAFETY: invariant 1: both blocks hold their totals, and what follows the prefix moves as one piece,
            // by 8 bytes, which keeps the area aligned. A block that stays in its class is shifted in place.
            unsafe {
                let new = if class_size(new_total) == class_size(total) {
                    self.untagged()
                } else {
                    alloc_block(new_total)
                };
                debug_assert!(class_size(new_total) >= prefix + tail);
                ptr::copy(old.add(old_prefix), new.as_ptr().add(prefix), tail);
                if new.as_ptr() != old {
                    dealloc(old, class_layout(total));
                }
                self.0 = new.map_addr(|address| address | usize::from(expire.is_some()));
            }
            self.set_header(header);
        }
        if let Some(deadline) = expire {
            // SAFETY: invariant 2: the expire word is there now.
            unsafe { self.base().add(HEADER).cast::<i64>().write(deadline) };
        }
        self.assert_debug();
    }

    /// The 24-bit clock that LRU and LFU share.
    #[inline]
    pub fn lru(&self) -> u32 {
        self.header().lru()
    }

    #[inline]
    pub fn set_lru(&mut self, lru: u32) {
        let header = self.header().0 & !(0xff_ffff << 16);
        self.set_header(Header(header | u64::from(lru & 0xff_ffff) << 16));
    }

    /// Which of two snapshots, this or the last, has this entry already.
    #[inline]
    pub fn epoch(&self) -> bool {
        self.header().0 & Header::EPOCH != 0
    }

    #[inline]
    pub fn set_epoch(&mut self, epoch: bool) {
        let header = self.header().0 & !Header::EPOCH;
        self.set_header(Header(if epoch {
            header | Header::EPOCH
        } else {
            header
        }));
    }

    /// Makes it a string, labelled by its length. Keeps key, deadline, clock and epoch, and the block when the
    /// new size is of the same class.
    pub fn set_str(&mut self, value: &[u8]) {
        self.set_str_labelled(Label::for_len(value.len()), value);
    }

    /// `set_str` that keeps a long buffer as it is.
    pub fn set_bytes(&mut self, value: Bytes) {
        if value.len() < SHARED_MIN {
            return self.set_str(&value);
        }
        self.drop_value();
        self.reshape(AREA_BYTES, 0);
        self.finish_area(Label::Raw, value);
    }

    /// Makes it an integer.
    #[inline]
    pub fn set_int(&mut self, value: i64) {
        let (area, _) = int_area(value);
        let header = self.header();
        if header.form() == Form::Int && header.area() == area {
            return self.finish_int(area, value);
        }
        self.drop_value();
        self.reshape(area, 0);
        self.finish_int(area, value);
    }

    /// Makes it a value of another type.
    pub fn set_object(&mut self, value: Object) {
        self.drop_value();
        self.reshape(AREA_OBJECT, 0);
        let header = self.header();
        self.set_header(Header(header.0 & !0xf | value.kind() as u64));
        self.finish_object(Label::Raw, value);
    }

    /// Lets `f` edit the string as a growable buffer; it is labelled raw afterwards. The buffer of a long
    /// string is edited where it is, so that appends are amortised. `None` for other types.
    pub fn modify<R>(&mut self, f: impl FnOnce(&mut Vec<u8>) -> R) -> Option<R> {
        let form = self.header().form();
        match form {
            Form::Object => None,
            Form::Vec => {
                // SAFETY: invariant 3.
                let result = f(unsafe { &mut *self.area_at().cast::<Vec<u8>>() });
                self.set_label(Label::Raw);
                Some(result)
            }
            _ => {
                let mut value = self.take_buffer();
                let result = f(&mut value);
                if form == Form::Bytes || value.len() > INLINE_MAX {
                    self.drop_value();
                    self.reshape(AREA_VEC, 0);
                    self.finish_area(Label::Raw, value);
                } else {
                    self.set_str_labelled(Label::Raw, &value);
                }
                Some(result)
            }
        }
    }

    /// Adds `tail` to the string, labelled raw afterwards, and returns the new length. `None` for other types.
    pub fn append(&mut self, tail: &[u8]) -> Option<usize> {
        let header = self.header();
        let old_len = header.inline_len();
        let len = old_len + tail.len();
        if header.form() != Form::Inline || len > INLINE_MAX {
            return self.modify(|value| {
                value.extend_from_slice(tail);
                value.len()
            });
        }
        let total = self.total();
        let new_total = total + tail.len();
        // SAFETY: invariant 1: the string is the last part of the block, so it grows into the new bytes.
        unsafe {
            if class_size(new_total) != class_size(total) {
                let new = alloc_block(new_total);
                ptr::copy_nonoverlapping(self.base(), new.as_ptr(), total);
                self.replace_block(new, total);
            }
            self.set_header(header.with_value(Label::Raw, 0, len as u16));
            debug_assert_eq!(self.total(), new_total);
            ptr::copy_nonoverlapping(tail.as_ptr(), self.inline_at().add(old_len), tail.len());
        }
        self.assert_debug();
        Some(len)
    }

    /// The string, to overwrite at unchanged length; it is labelled raw afterwards. `None` for other types.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match self.header().form() {
            Form::Object => return None,
            Form::Int => {
                let mut digits = itoa::Buffer::new();
                let ValueRef::Int(value) = self.value() else {
                    return None;
                };
                self.set_str_labelled(Label::Raw, digits.format(value).as_bytes());
            }
            Form::Bytes => {
                // SAFETY: invariant 3; the empty buffer keeps the area initialised.
                let value = mem::take(unsafe { &mut *self.area_at().cast::<Bytes>() });
                let value = Vec::from(value);
                self.reshape(AREA_VEC, 0);
                self.finish_area(Label::Raw, value);
            }
            Form::Inline | Form::Vec => self.set_label(Label::Raw),
        }
        // SAFETY: invariants 3 and 4: only these two forms are left.
        unsafe {
            Some(match self.header().form() {
                Form::Vec => &mut *self.area_at().cast::<Vec<u8>>(),
                _ => slice::from_raw_parts_mut(self.inline_at(), self.header().low() as usize),
            })
        }
    }

    /// Labels a short string raw, as an edit in place would.
    pub fn mark_raw(&mut self) {
        if self.header().form() != Form::Object && self.header().label() == Label::EmbStr {
            self.set_label(Label::Raw);
        }
    }

    /// What the entry takes, with what its value owns.
    pub fn memory_bytes(&self) -> usize {
        let value = match self.header().form() {
            Form::Int | Form::Inline => 0,
            // SAFETY: invariant 3.
            Form::Vec => unsafe { (*self.area_at().cast::<Vec<u8>>()).capacity() },
            Form::Bytes => self.str_len(),
            Form::Object => self.object().map_or(0, ObjectRef::memory_bytes),
        };
        class_size(self.total()) + value
    }

    /// The same entry under another key; the value moves.
    pub fn rename(self, new_key: &[u8]) -> Entry {
        let this = ManuallyDrop::new(self);
        let header = this.header();
        let new = this.shell(new_key);
        // SAFETY: invariants 3 and 4: `shell` made the same form, so area and string fit; the old block is
        // freed without dropping the value, which has moved bit by bit.
        unsafe {
            ptr::copy_nonoverlapping(this.area_at(), new.area_at(), header.area());
            ptr::copy_nonoverlapping(this.inline_at(), new.inline_at(), header.inline_len());
            this.free_block();
        }
        new.assert_debug();
        new
    }

    /// A copy with its own value under another key, with the same deadline and clock.
    pub fn duplicate(&self, key: &[u8]) -> Entry {
        let header = self.header();
        // The value comes first: should cloning it panic, no half-built entry is dropped.
        // SAFETY: invariant 3: the form says what the area holds.
        unsafe {
            match header.form() {
                Form::Int | Form::Inline => {
                    let new = self.shell(key);
                    // SAFETY: invariants 3 and 4: `shell` makes the same form, with room for both.
                    ptr::copy_nonoverlapping(self.area_at(), new.area_at(), header.area());
                    ptr::copy_nonoverlapping(
                        self.inline_at(),
                        new.inline_at(),
                        header.inline_len(),
                    );
                    new
                }
                Form::Vec => self.shell_with(key, (*self.area_at().cast::<Vec<u8>>()).clone()),
                Form::Bytes => self.shell_with(key, (*self.area_at().cast::<Bytes>()).clone()),
                Form::Object => {
                    let value = self.object_at().duplicate();
                    let mut new = self.shell(key);
                    new.finish_object(header.label(), value);
                    new
                }
            }
        }
    }

    /// # Safety
    /// The form is `Object`.
    #[inline]
    unsafe fn object_at(&self) -> ObjectRef<'_> {
        let area = self.area_at();
        // SAFETY: invariant 3: the kind says what the area holds.
        unsafe {
            match self.kind() {
                Kind::List => ObjectRef::List(&*area.cast()),
                Kind::Set => ObjectRef::Set(&*area.cast()),
                Kind::ZSet => ObjectRef::ZSet(&*area.cast()),
                Kind::Hash => ObjectRef::Hash(&*area.cast()),
                Kind::Stream => ObjectRef::Stream(&*area.cast()),
                Kind::String => unreachable!("the caller has seen the form"),
            }
        }
    }

    #[inline]
    fn untagged(&self) -> NonNull<u8> {
        // SAFETY: blocks are aligned to 8 (invariant 1), so clearing the tag leaves an address that is not zero.
        unsafe { NonNull::new_unchecked(self.base()) }
    }

    #[inline]
    fn base(&self) -> *mut u8 {
        self.0.as_ptr().map_addr(|address| address & !HAS_EXPIRE)
    }

    /// Bytes before the value area; read from the handle alone.
    #[inline]
    fn prefix(&self) -> usize {
        HEADER + EXPIRE * (self.0.addr().get() & HAS_EXPIRE)
    }

    #[inline]
    fn header(&self) -> Header {
        // SAFETY: invariant 1: a live block starts with its header.
        Header(unsafe { self.base().cast::<u64>().read() })
    }

    #[inline]
    fn set_header(&mut self, header: Header) {
        // SAFETY: invariant 1.
        unsafe { self.base().cast::<u64>().write(header.0) }
    }

    fn set_label(&mut self, label: Label) {
        let header = self.header();
        self.set_header(header.with_value(label, header.area(), header.low()));
    }

    #[inline]
    fn area_at(&self) -> *mut u8 {
        self.base().wrapping_add(self.prefix())
    }

    /// Offset of the key: past the prefix, the area and the long length.
    #[inline]
    fn key_offset(&self) -> usize {
        let header = self.header();
        self.prefix()
            + header.area()
            + if header.short_key_len() == LONG_KEY {
                4
            } else {
                0
            }
    }

    #[inline]
    fn key_at(&self) -> *mut u8 {
        self.base().wrapping_add(self.key_offset())
    }

    #[inline]
    fn key_len(&self) -> usize {
        let short = self.header().short_key_len();
        if short < LONG_KEY {
            return short;
        }
        // SAFETY: a long key has its length in the 4 bytes before it, at any alignment (`build`).
        unsafe { self.key_at().sub(4).cast::<u32>().read_unaligned() as usize }
    }

    #[inline]
    fn inline_at(&self) -> *mut u8 {
        self.key_at().wrapping_add(self.key_len())
    }

    /// Bytes of the block in use.
    #[inline]
    fn total(&self) -> usize {
        self.key_offset() + self.key_len() + self.header().inline_len()
    }

    /// # Safety
    /// The form is `Int`.
    #[inline]
    unsafe fn read_int(&self) -> i64 {
        debug_assert!(self.header().form() == Form::Int);
        // SAFETY: invariant 3: the area size says how wide the number is.
        unsafe {
            match self.header().area() {
                0 => i64::from(self.header().low() as i16),
                4 => i64::from(self.area_at().cast::<i32>().read()),
                _ => self.area_at().cast::<i64>().read(),
            }
        }
    }

    /// A block with header, deadline and key. The caller fills area and string before anything can drop it.
    #[inline]
    fn build(
        header: Header,
        key: &[u8],
        area: usize,
        inline_len: usize,
        expire: Option<i64>,
    ) -> Entry {
        assert!(u32::try_from(key.len()).is_ok(), "a key is at most 512 MiB");
        let prefix = HEADER + if expire.is_some() { EXPIRE } else { 0 };
        let long = if key.len() >= LONG_KEY { 4 } else { 0 };
        let block = alloc_block(prefix + area + long + key.len() + inline_len);
        let mut entry = Entry(block.map_addr(|address| address | usize::from(expire.is_some())));
        entry.set_header(header.with_expire(expire.is_some()).with_value(
            Label::Int,
            area,
            inline_len as u16,
        ));
        // SAFETY: the block was sized for exactly these parts.
        unsafe {
            if let Some(deadline) = expire {
                entry.base().add(HEADER).cast::<i64>().write(deadline);
            }
            if long > 0 {
                entry
                    .key_at()
                    .sub(4)
                    .cast::<u32>()
                    .write_unaligned(key.len() as u32);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), entry.key_at(), key.len());
        }
        entry
    }

    /// An entry of the same header and deadline under another key, with area and string to be filled.
    fn shell(&self, key: &[u8]) -> Entry {
        let header = self.header();
        let header = Header(header.0 & !(0xff << 40) | (key.len().min(LONG_KEY) as u64) << 40);
        let mut new = Entry::build(
            header,
            key,
            header.area(),
            header.inline_len(),
            self.expire(),
        );
        new.set_header(header);
        new
    }

    /// `shell` with this value in its area.
    fn shell_with<T>(&self, key: &[u8], value: T) -> Entry {
        let mut new = self.shell(key);
        new.finish_area(self.header().label(), value);
        new
    }

    #[inline]
    fn finish_inline(&mut self, label: Label, value: &[u8]) {
        debug_assert!(value.len() <= INLINE_MAX && label != Label::Int);
        self.set_header(self.header().with_value(label, 0, value.len() as u16));
        // SAFETY: `build` or `reshape` has made room for this many bytes after the key.
        unsafe { ptr::copy_nonoverlapping(value.as_ptr(), self.inline_at(), value.len()) };
        self.assert_debug();
    }

    #[inline]
    fn finish_int(&mut self, area: usize, value: i64) {
        debug_assert_eq!(int_area(value).0, area);
        self.set_header(
            self.header()
                .with_value(Label::Int, area, int_area(value).1),
        );
        // SAFETY: `build` or `reshape` has made an area of this size, or it is the one that was there.
        unsafe {
            match area {
                0 => {}
                4 => self.area_at().cast::<i32>().write(value as i32),
                _ => self.area_at().cast::<i64>().write(value),
            }
        }
        self.assert_debug();
    }

    /// Writes the word of an object, whose kind the header has already, into the area.
    fn finish_object(&mut self, label: Label, value: Object) {
        debug_assert!(self.kind() == value.kind());
        each!(Object, value, word => self.finish_area(label, word));
    }

    /// Writes a `Vec`, `Bytes` or the word of an object into the area.
    #[inline]
    fn finish_area<T>(&mut self, label: Label, value: T) {
        const {
            assert!(matches!(
                mem::size_of::<T>(),
                AREA_VEC | AREA_BYTES | AREA_OBJECT
            ))
        };
        debug_assert_eq!(mem::size_of::<T>(), self.header().area());
        self.set_header(self.header().with_value(label, mem::size_of::<T>(), 0));
        // SAFETY: `build` or `reshape` has made an area of this size, aligned to 8; nothing live is in it.
        unsafe { self.area_at().cast::<T>().write(value) };
        self.assert_debug();
    }

    fn set_str_labelled(&mut self, label: Label, value: &[u8]) {
        let form = self.header().form();
        if value.len() <= INLINE_MAX {
            self.drop_value();
            self.reshape(0, value.len());
            self.finish_inline(label, value);
        } else if value.len() >= SHARED_MIN {
            self.set_bytes(Bytes::copy_from_slice(value));
        } else if form == Form::Vec {
            // SAFETY: invariant 3.
            let buffer = unsafe { &mut *self.area_at().cast::<Vec<u8>>() };
            buffer.clear();
            buffer.extend_from_slice(value);
            buffer.shrink_to(2 * value.len());
            self.set_label(label);
        } else {
            self.drop_value();
            self.reshape(AREA_VEC, 0);
            self.finish_area(label, value.to_vec());
        }
    }

    /// The string as a buffer of its own; the entry keeps an empty one if its buffer could be taken.
    fn take_buffer(&mut self) -> Vec<u8> {
        if self.header().form() == Form::Bytes {
            // SAFETY: invariant 3; the empty buffer keeps the area initialised.
            return Vec::from(mem::take(unsafe { &mut *self.area_at().cast::<Bytes>() }));
        }
        match self.value() {
            ValueRef::Int(value) => itoa::Buffer::new().format(value).as_bytes().to_vec(),
            ValueRef::Str(value) => value.to_vec(),
            ValueRef::Object(_) => Vec::new(),
        }
    }

    fn take_vec(&mut self) -> Vec<u8> {
        debug_assert!(self.header().form() == Form::Vec);
        // SAFETY: invariant 3: every caller has seen the form.
        mem::take(unsafe { &mut *self.area_at().cast::<Vec<u8>>() })
    }

    /// Drops what the area owns and leaves a string without one; the bytes of the area stay reserved.
    #[inline]
    fn drop_value(&mut self) {
        let header = self.header();
        let (form, area) = (header.form(), self.area_at());
        if matches!(form, Form::Int | Form::Inline) {
            return;
        }
        // Until the value is gone the area counts as a number, so that a panic in its drop finds nothing to
        // drop again.
        self.set_header(Header(header.0 & !0xf).with_value(Label::Int, header.area(), 0));
        // SAFETY: invariant 3, with the form read before it was changed.
        unsafe {
            match (form, header.kind()) {
                (Form::Vec, _) => ptr::drop_in_place(area.cast::<Vec<u8>>()),
                (_, Kind::String) => ptr::drop_in_place(area.cast::<Bytes>()),
                (_, Kind::List) => ptr::drop_in_place(area.cast::<List>()),
                (_, Kind::Set) => ptr::drop_in_place(area.cast::<Set>()),
                (_, Kind::ZSet) => ptr::drop_in_place(area.cast::<ZSet>()),
                (_, Kind::Hash) => ptr::drop_in_place(area.cast::<Hash>()),
                (_, Kind::Stream) => ptr::drop_in_place(area.cast::<Stream>()),
            }
        }
    }

    /// Moves key and prefix to where they belong with an area of `area` bytes and an inline string of
    /// `inline_len`, in place when the size class stays. The old value is lost, the new one to be filled in.
    fn reshape(&mut self, area: usize, inline_len: usize) {
        let header = self.header();
        let long = if header.short_key_len() == LONG_KEY {
            4
        } else {
            0
        };
        let (prefix, total, old_at) = (self.prefix(), self.total(), self.key_offset() - long);
        let (new_at, key_bytes) = (prefix + area, long + self.key_len());
        let new_total = new_at + key_bytes + inline_len;
        // SAFETY: invariant 1: both places lie inside blocks of the sizes computed here.
        unsafe {
            if class_size(new_total) == class_size(total) {
                if new_at != old_at {
                    ptr::copy(self.base().add(old_at), self.base().add(new_at), key_bytes);
                }
            } else {
                let new = alloc_block(new_total);
                ptr::copy_nonoverlapping(self.base(), new.as_ptr(), prefix);
                ptr::copy_nonoverlapping(
                    self.base().add(old_at),
                    new.as_ptr().add(new_at),
                    key_bytes,
                );
                self.replace_block(new, total);
            }
        }
        let header = Header(header.0 & !0xf);
        self.set_header(header.with_value(
            if area == 0 { Label::Raw } else { Label::Int },
            area,
            inline_len as u16,
        ));
        debug_assert_eq!(self.total(), new_total);
    }

    /// # Safety
    /// `new` is a filled block, `total` the use of the present one.
    unsafe fn replace_block(&mut self, new: NonNull<u8>, total: usize) {
        debug_assert_eq!(new.addr().get() & 7, 0);
        // SAFETY: invariant 1: the present block was allocated for `total`; it is forgotten here.
        unsafe { dealloc(self.base(), class_layout(total)) };
        let tag = self.0.addr().get() & HAS_EXPIRE;
        self.0 = new.map_addr(|address| address | tag);
    }

    /// Frees the block alone.
    ///
    /// # Safety
    /// The value has been dropped or moved out, and the handle is not used again.
    unsafe fn free_block(&self) {
        debug_assert_eq!(self.base().addr() & 7, 0);
        // SAFETY: invariant 1.
        unsafe { dealloc(self.base(), class_layout(self.total())) }
    }

    #[inline]
    fn assert_debug(&self) {
        #[cfg(debug_assertions)]
        self.assert_valid();
    }

    /// Panics when an invariant of this module does not hold.
    pub fn assert_valid(&self) {
        let header = self.header();
        assert_eq!(self.base().addr() & 7, 0, "invariant 1: alignment");
        assert_eq!(
            header.0 & Header::MIRROR != 0,
            self.prefix() != HEADER,
            "invariant 2: expire"
        );
        let areas: &[usize] = match header.form() {
            Form::Int => &[0, 4, 8],
            Form::Inline => &[0],
            Form::Vec => &[AREA_VEC],
            Form::Bytes => &[AREA_BYTES],
            Form::Object => &[AREA_OBJECT],
        };
        assert!(
            areas.contains(&header.area()),
            "invariant 3: area {} of {:?}",
            header.area(),
            header.form()
        );
        assert!(
            header.inline_len() <= INLINE_MAX,
            "invariant 4: inline string"
        );
    }
}

impl Drop for Entry {
    #[inline]
    fn drop(&mut self) {
        let total = self.total();
        self.drop_value();
        // SAFETY: invariant 1: the block was allocated for `total`, and its value is gone.
        unsafe { dealloc(self.base(), class_layout(total)) };
    }
}

#[cfg(test)]
mod tests;
