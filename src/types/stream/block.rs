//! Block: some entries of a stream that follow each other, packed into one listpack.
//!
//! ```text
//! head:  count, deleted, number of fields, field..., 0
//! entry: flags, ms - first.ms, seq - first.seq, (number of fields), field or value..., elements before this one
//! ```
//!
//! An entry with the fields of the head, which are the first entry's, says so in its flags and holds values alone.
//! A removed entry stays, marked, until its block has none left. RDB files hold blocks as they lie here.
//!
//! Lives here: the layout, its edits, and the check of a block from outside. May not: know other blocks.
//!
//! Invariants:
//! 1. `bytes` are a sound listpack of the layout above; [`Block::from_bytes`] checks it, edits keep it.
//! 2. `count` and `deleted` of the head are the numbers of entries without and with the mark.

use super::id::StreamId;
use crate::types::listpack::{
    COUNT_UNKNOWN, END, HEADER, Item, begin_before, is_sound, read, write_int, write_text,
};
use crate::types::size_class::class_size;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;
/// The first allocation of a block that more entries are expected in.
const CAPACITY_MIN: usize = 64;
/// Blocks that are read back have at most this many bytes unused.
const SLACK_SHIFT: u32 = 3;

/// Entries of a stream in one listpack.
#[derive(Clone)]
pub struct Block {
    /// The ID of the entry that the block was made for; the others' IDs are kept as differences to it.
    first: StreamId,
    bytes: Vec<u8>,
}

/// Where an entry lies in its block, and what its own head says.
#[derive(Clone, Copy)]
pub struct Spot {
    pub id: StreamId,
    /// Byte position of the entry's flags.
    pub at: usize,
    flags: i64,
    /// How many fields the entry has.
    pub fields: usize,
    /// Byte position of the first field, or of the first value when the fields are the head's.
    data: usize,
}

impl Spot {
    /// Whether the entry was removed.
    #[inline]
    pub fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    #[inline]
    fn has_same_fields(&self) -> bool {
        self.flags & SAME_FIELDS != 0
    }

    /// How many elements hold the fields and values.
    #[inline]
    fn data_len(&self) -> usize {
        if self.has_same_fields() {
            self.fields
        } else {
            self.fields.saturating_mul(2)
        }
    }
}

/// The fields and values of an entry, in order.
pub struct Pairs<'a> {
    bytes: &'a [u8],
    left: usize,
    /// Where the head's next field lies, if the entry has the head's fields.
    head: Option<usize>,
    at: usize,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, Item<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let field = match &mut self.head {
            Some(head) => {
                let (field, next) = read(self.bytes, *head)?;
                *head = next;
                field
            }
            None => {
                let (field, next) = read(self.bytes, self.at)?;
                self.at = next;
                field
            }
        };
        let (value, next) = read(self.bytes, self.at)?;
        self.at = next;
        Some((field, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Pairs<'_> {}

impl Block {
    /// A block for entries that begin with this one, whose fields the others are likely to have too.
    pub fn new<'a>(first: StreamId, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Block {
        let mut bytes = Vec::with_capacity(CAPACITY_MIN);
        bytes.extend_from_slice(&[0; HEADER]);
        write_int(&mut bytes, 0);
        write_int(&mut bytes, 0);
        let (len, _) = pairs.size_hint();
        write_int(&mut bytes, len as i64);
        for (field, _) in pairs {
            write_text(&mut bytes, field);
        }
        write_int(&mut bytes, 0);
        bytes.push(END);
        let mut block = Block { first, bytes };
        block.seal_header(4 + len);
        block
    }

    /// A block from outside, if it is one to the last byte. Its two counts may be wrong, and are put right; it may have
    /// no entry that was not removed.
    pub fn from_bytes(first: StreamId, bytes: &[u8]) -> Option<Block> {
        if !is_sound(bytes) {
            return None;
        }
        let mut block = Block {
            first,
            bytes: bytes.to_vec(),
        };
        let (len, deleted) = block.counted()?;
        if (len, deleted) != (block.len(), block.deleted()) {
            let count = |count| i64::try_from(count).ok();
            block.replace_int(block.count_at(0), count(len)?);
            block.replace_int(block.count_at(1), count(deleted)?);
            block.seal_header(0);
        }
        Some(block)
    }

    /// The ID of the entry that the block was made for, by which blocks are ordered.
    #[inline]
    pub fn first(&self) -> StreamId {
        self.first
    }

    /// The block as it is saved.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of the listpack.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that the block's memory takes.
    pub fn memory_bytes(&self) -> usize {
        class_size(self.bytes.capacity())
    }

    /// How many entries there are, without removed ones.
    #[inline]
    pub fn len(&self) -> usize {
        self.head_int(0)
    }

    /// Whether there is no entry that was not removed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many removed entries lie here still.
    #[inline]
    pub fn deleted(&self) -> usize {
        self.head_int(1)
    }

    /// Number `index` of the two counts at the beginning.
    #[inline]
    fn head_int(&self, index: usize) -> usize {
        let at = self.count_at(index);
        let value = read(&self.bytes, at).and_then(|(item, _)| item.int());
        value
            .and_then(|value| usize::try_from(value).ok())
            .unwrap_or(0)
    }

    #[inline]
    fn count_at(&self, index: usize) -> usize {
        if index == 0 {
            HEADER
        } else {
            read(&self.bytes, HEADER).map_or(HEADER, |(_, next)| next)
        }
    }

    /// Number of the head's fields and the place of the first.
    #[inline]
    fn head_fields(&self) -> Option<(usize, usize)> {
        let (_, at) = read(&self.bytes, HEADER)?;
        let (_, at) = read(&self.bytes, at)?;
        let (len, at) = read(&self.bytes, at)?;
        Some((usize::try_from(len.int()?).ok()?, at))
    }

    /// Where the first entry lies.
    #[inline]
    pub fn begin(&self) -> usize {
        let Some((len, at)) = self.head_fields() else {
            return self.bytes.len();
        };
        self.skip(at, len.saturating_add(1))
    }

    #[inline]
    fn skip(&self, mut at: usize, count: usize) -> usize {
        for _ in 0..count {
            let Some((_, next)) = read(&self.bytes, at) else {
                break;
            };
            at = next;
        }
        at
    }

    /// The entry at byte `at`, removed or not; `None` at the block's end.
    #[inline]
    pub fn spot(&self, at: usize) -> Option<Spot> {
        let (flags, next) = read(&self.bytes, at)?;
        let (ms, next) = read(&self.bytes, next)?;
        let (seq, mut data) = read(&self.bytes, next)?;
        let flags = flags.int()?;
        let mut fields = None;
        if flags & SAME_FIELDS == 0 {
            let (len, next) = read(&self.bytes, data)?;
            fields = usize::try_from(len.int()?).ok();
            data = next;
        }
        let fields = match fields {
            Some(fields) => fields,
            None => self.head_fields()?.0,
        };
        Some(Spot {
            id: StreamId::new(
                self.first.ms.wrapping_add(ms.int()? as u64),
                self.first.seq.wrapping_add(seq.int()? as u64),
            ),
            at,
            flags,
            fields,
            data,
        })
    }

    /// Where the entry behind `spot` begins.
    #[inline]
    pub fn behind(&self, spot: &Spot) -> usize {
        self.skip(spot.data, spot.data_len() + 1)
    }

    /// Where the entry begins that ends right before byte `end`; `None` if only the head is there.
    pub fn before(&self, end: usize) -> Option<usize> {
        let mut at = begin_before(&self.bytes, end)?;
        let (len, _) = read(&self.bytes, at)?;
        // The head ends in a zero, which no entry does.
        let len = usize::try_from(len.int()?).ok().filter(|len| *len > 0)?;
        for _ in 0..len {
            at = begin_before(&self.bytes, at)?;
        }
        Some(at)
    }

    /// Where the last entry ends.
    pub fn end(&self) -> usize {
        self.bytes.len() - 1
    }

    /// The fields and values of an entry.
    #[inline]
    pub fn pairs(&self, spot: &Spot) -> Pairs<'_> {
        let head = match spot.has_same_fields() {
            true => self.head_fields().map(|(_, at)| at),
            false => None,
        };
        Pairs {
            bytes: &self.bytes,
            left: spot.fields,
            head,
            at: spot.data,
        }
    }

    /// Adds an entry behind the last; `id` is greater than the last one's. A block that grows takes memory in
    /// large steps up to `bytes_expected`.
    pub fn push<'a>(
        &mut self,
        id: StreamId,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        bytes_expected: usize,
    ) {
        let (len, _) = pairs.size_hint();
        let is_same = self.has_fields(pairs.clone());
        let size = pairs.clone().fold(0, |size, (field, value)| {
            size + if is_same { 0 } else { field.len() + 10 } + value.len() + 10
        });
        self.reserve(size + 32, bytes_expected);
        self.bytes.pop();
        write_int(&mut self.bytes, if is_same { SAME_FIELDS } else { 0 });
        let ms = id.ms.wrapping_sub(self.first.ms);
        let seq = id.seq.wrapping_sub(self.first.seq);
        write_int(&mut self.bytes, ms as i64);
        write_int(&mut self.bytes, seq as i64);
        let mut elements = 3;
        if is_same {
            for (_, value) in pairs {
                write_text(&mut self.bytes, value);
            }
            elements += len;
        } else {
            write_int(&mut self.bytes, len as i64);
            for (field, value) in pairs {
                write_text(&mut self.bytes, field);
                write_text(&mut self.bytes, value);
            }
            elements += 1 + 2 * len;
        }
        write_int(&mut self.bytes, elements as i64);
        self.bytes.push(END);
        let count = self.len();
        self.replace_int(self.count_at(0), count as i64 + 1);
        self.seal_header(elements + 1);
    }

    /// Whether the head's fields are just these.
    #[inline]
    fn has_fields<'a>(&self, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
        let Some((len, mut at)) = self.head_fields() else {
            return false;
        };
        if pairs.size_hint().0 != len {
            return false;
        }
        for (field, _) in pairs {
            match read(&self.bytes, at) {
                Some((item, next)) if item.is(field) => at = next,
                _ => return false,
            }
        }
        true
    }

    /// Makes room for `more` bytes: in doublings while the block is small, in eighths when it is full, so that it
    /// is copied a few times only and has little unused in the end.
    fn reserve(&mut self, more: usize, bytes_expected: usize) {
        let needed = self.bytes.len() + more;
        let capacity = self.bytes.capacity();
        if needed <= capacity {
            return;
        }
        let doubled = (capacity * 2).min(bytes_expected);
        let eighth = needed + (needed >> SLACK_SHIFT);
        let wanted = if doubled >= needed {
            doubled
        } else if needed <= CAPACITY_MIN * 4 {
            needed
        } else {
            eighth
        };
        self.bytes
            .reserve_exact(class_size(wanted) - self.bytes.len());
    }

    /// No entry will be added any more: memory that is not used goes back.
    pub fn close(&mut self) {
        let fitting = class_size(self.bytes.len());
        if self.memory_bytes() > fitting {
            // A copy, because the allocator leaves a block that shrinks by less than half where it is.
            let mut bytes = Vec::with_capacity(fitting);
            bytes.extend_from_slice(&self.bytes);
            self.bytes = bytes;
        }
    }

    /// Marks the entry at `spot` as removed. [`Block::count_deleted`] has to follow, for one or several.
    pub fn mark_deleted(&mut self, spot: &Spot) {
        self.replace_int(spot.at, spot.flags | DELETED);
    }

    /// Counts `count` entries that were marked. Places in the block may move. The caller drops the block if no
    /// entry is left.
    pub fn count_deleted(&mut self, count: usize) {
        let (len, deleted) = (self.len(), self.deleted());
        self.replace_int(self.count_at(0), len.saturating_sub(count) as i64);
        self.replace_int(self.count_at(1), (deleted + count) as i64);
        self.seal_header(0);
    }

    /// Puts an integer in the place of the one at byte `at`. Most often both take the same space.
    #[inline]
    fn replace_int(&mut self, at: usize, value: i64) {
        if let (0..=0x7f, Some(old @ 0..=0x7f)) = (value, self.bytes.get_mut(at)) {
            *old = value as u8;
            return;
        }
        let Some((_, end)) = read(&self.bytes, at) else {
            return;
        };
        let mut entry = Vec::with_capacity(16);
        write_int(&mut entry, value);
        self.bytes.splice(at..end, entry);
    }

    /// Brings the listpack's own header up to date after an edit that added `added` elements.
    #[inline]
    fn seal_header(&mut self, added: usize) {
        let total = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
        let stored = usize::from(u16::from_le_bytes([self.bytes[4], self.bytes[5]]));
        if stored < COUNT_UNKNOWN {
            let count = (stored + added).min(COUNT_UNKNOWN) as u16;
            self.bytes[4..6].copy_from_slice(&count.to_le_bytes());
        }
    }

    /// How many entries there are, and how many that were removed, if the elements are of the layout: every entry in order
    /// and whole.
    fn counted(&self) -> Option<(usize, usize)> {
        let (fields, at) = self.head_fields()?;
        let limit = self.bytes.len();
        if fields > limit {
            return None;
        }
        let at = self.skip(at, fields);
        match read(&self.bytes, at) {
            Some((Item::Int(0), _)) => {}
            _ => return None,
        }
        let (mut len, mut deleted) = (0, 0);
        let mut at = self.begin();
        let mut last = None;
        while at < self.end() {
            let spot = self.spot(at)?;
            // Flags take one byte, so that a mark moves nothing.
            let is_known = matches!(self.bytes[at], 0..=3);
            // What was removed may lie in front of an earlier ID: XSETID can bring the last ID back behind it.
            let is_later = spot.is_deleted() || last.is_none_or(|last| last < spot.id);
            if !is_known || !is_later || spot.fields > limit {
                return None;
            }
            if !spot.is_deleted() {
                last = Some(spot.id);
            }
            let back = self.skip(spot.data, spot.data_len());
            let elements = spot.data_len() + if spot.has_same_fields() { 3 } else { 4 };
            match read(&self.bytes, back) {
                Some((Item::Int(stored), next)) if stored == elements as i64 => at = next,
                _ => return None,
            }
            if spot.is_deleted() {
                deleted += 1;
            } else {
                len += 1;
            }
        }
        Some((len, deleted))
    }
}
