//! Listpack: a list of strings and integers in one block, as RDB files and DUMP payloads hold it.
//!
//! Lives here: the format, cursors, edits, and the check of a block from outside. May not: what the elements mean.
//!
//! The handle is one pointer; the block says its own length:
//!
//! ```text
//! [total bytes: u32 le] [elements: u16 le, 65535 = unknown] [entry]* [0xff]
//! entry: [encoding and data] [length of those, 7 bits a byte, readable from its end]
//!
//! 0xxxxxxx                 0..127            1110xxxx +1            12-bit length, string
//! 10xxxxxx                 6-bit length,     11110000 +4 le         32-bit length, string
//!                          string            11110001..11110100     16, 24, 32, 64-bit integer, le
//! 110xxxxx +1              13-bit integer
//! ```
//!
//! The format is the one that the author of Redis published as the listpack specification.
//!
//! Invariant: the bytes are a sound listpack: `from_bytes` checks it, edits keep it.

use std::collections::BTreeSet;
use std::ops::Range;

use super::block::{Block, Total};
use super::decimal::parse_i64;
use super::one_of::Handle;

/// Bytes before the first element.
pub const HEADER: usize = 6;
/// Bytes of the header that belong to the block, which says its length in them.
const HEAD: usize = size_of::<u32>();
/// The byte behind the last element.
pub const END: u8 = 0xff;
/// The element count that says "too many for 16 bits: count them".
pub const COUNT_UNKNOWN: usize = u16::MAX as usize;
/// Bytes of the integers whose encodings say no part of them.
const INT_WIDTHS: [usize; 4] = [2, 3, 4, 8];
/// Longest text of a 64-bit integer.
const INT_TEXT_MAX: usize = 20;
/// Encoding byte, up to four bytes of length or eight of integer, and the length behind.
const ENTRY_OVERHEAD_MAX: usize = 10;
/// No listpack grows past this: its own length has to fit 32 bits, and nobody gains from packing this much.
pub const BYTES_MAX: usize = 1 << 30;

/// Where an entry begins: a byte position in the block. Edits before it make it stale.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Pos(u32);

impl Pos {
    /// The byte position.
    pub fn byte(self) -> usize {
        self.0 as usize
    }
}

/// An element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    Int(i64),
    Str(&'a [u8]),
}

impl<'a> Item<'a> {
    /// The element as text; integers are written into `digits`.
    #[inline]
    pub fn bytes(self, digits: &'a mut itoa::Buffer) -> &'a [u8] {
        match self {
            Item::Int(value) => digits.format(value).as_bytes(),
            Item::Str(bytes) => bytes,
        }
    }

    /// The element as text of its own.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// Bytes of the text.
    pub fn len(self) -> usize {
        match self {
            Item::Int(_) => self.bytes(&mut itoa::Buffer::new()).len(),
            Item::Str(bytes) => bytes.len(),
        }
    }

    /// Whether the text is empty.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether the text is `other`.
    #[inline]
    pub fn is(self, other: &[u8]) -> bool {
        match self {
            Item::Int(value) => parse_short(other) == Some(value),
            Item::Str(bytes) => bytes == other,
        }
    }

    /// The element as an integer, if it is one.
    pub fn int(self) -> Option<i64> {
        match self {
            Item::Int(value) => Some(value),
            Item::Str(_) => None,
        }
    }
}

/// The integer that a text is kept as.
#[inline]
fn parse_short(text: &[u8]) -> Option<i64> {
    let starts = matches!(text.first(), Some(b'-' | b'0'..=b'9'));
    (starts && text.len() <= INT_TEXT_MAX)
        .then(|| parse_i64(text))
        .flatten()
}

/// An encoded entry's head on its way into a block: everything but the string's own bytes.
struct Head {
    bytes: [u8; 9],
    len: usize,
}

impl Head {
    fn new(parts: &[u8]) -> Head {
        let mut bytes = [0; 9];
        bytes[..parts.len()].copy_from_slice(parts);
        Head {
            bytes,
            len: parts.len(),
        }
    }

    fn for_int(value: i64) -> Head {
        let le = value.to_le_bytes();
        match value {
            0..=127 => Head::new(&[le[0]]),
            -4096..=4095 => {
                let bits = (value & 0x1fff) as u16;
                Head::new(&[0xc0 | (bits >> 8) as u8, bits as u8])
            }
            -0x8000..=0x7fff => Head::new(&[0xf1, le[0], le[1]]),
            -0x80_0000..=0x7f_ffff => Head::new(&[0xf2, le[0], le[1], le[2]]),
            -0x8000_0000..=0x7fff_ffff => Head::new(&[0xf3, le[0], le[1], le[2], le[3]]),
            _ => {
                let mut head = Head::new(&[0xf4]);
                head.bytes[1..9].copy_from_slice(&le);
                head.len = 9;
                head
            }
        }
    }

    fn for_str(len: usize) -> Head {
        match len {
            0..=63 => Head::new(&[0x80 | len as u8]),
            64..=4095 => Head::new(&[0xe0 | (len >> 8) as u8, len as u8]),
            _ => {
                let le = (len as u32).to_le_bytes();
                Head::new(&[0xf0, le[0], le[1], le[2], le[3]])
            }
        }
    }
}

/// How an element will be written.
struct Encoded<'a> {
    head: Head,
    text: &'a [u8],
}

impl<'a> Encoded<'a> {
    fn new(text: &'a [u8]) -> Encoded<'a> {
        match parse_short(text) {
            Some(value) => Encoded {
                head: Head::for_int(value),
                text: b"",
            },
            None => Encoded {
                head: Head::for_str(text.len()),
                text,
            },
        }
    }

    fn body_len(&self) -> usize {
        self.head.len + self.text.len()
    }

    fn total(&self) -> usize {
        self.body_len() + back_len_size(self.body_len())
    }

    /// Writes the entry; `out` is `total()` long.
    fn write(&self, out: &mut [u8]) {
        let (body, back) = out.split_at_mut(self.body_len());
        let (head, text) = body.split_at_mut(self.head.len);
        head.copy_from_slice(&self.head.bytes[..self.head.len]);
        text.copy_from_slice(self.text);
        write_back_len(back, self.body_len());
    }
}

/// Longest encoding and data whose length behind them takes one byte, which is that length then.
const SHORT_BODY_MAX: usize = 0x7f;

/// Bytes that the length behind an entry takes.
fn back_len_size(len: usize) -> usize {
    match len {
        0..=SHORT_BODY_MAX => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        0x20_0000..=0xfff_ffff => 4,
        _ => 5,
    }
}

/// Writes a length so that it can be read backwards: high bits first, every byte but the first marked.
fn write_back_len(out: &mut [u8], len: usize) {
    let size = out.len();
    for (at, byte) in out.iter_mut().enumerate() {
        let bits = (len >> (7 * (size - 1 - at))) as u8 & 0x7f;
        *byte = if at == 0 { bits } else { bits | 0x80 };
    }
}

/// Reads the length that ends right before `end`: it and the bytes it takes.
fn read_back_len(bytes: &[u8], end: usize) -> Option<(usize, usize)> {
    let mut len = 0usize;
    for size in 1..=5 {
        let byte = *bytes.get(end.checked_sub(size)?)?;
        len |= usize::from(byte & 0x7f) << (7 * (size - 1));
        if byte & 0x80 == 0 {
            return Some((len, size));
        }
    }
    None
}

/// Bytes of the encoding and data of the entry that `rest` begins with, which may be more than there are; `None` when the
/// encoding is cut off or unknown.
#[inline]
fn body_len(rest: &[u8]) -> Option<usize> {
    let first = *rest.first()?;
    Some(match first {
        0..=0x7f => 1,
        0x80..=0xbf => 1 + usize::from(first & 0x3f),
        0xc0..=0xdf => 2,
        0xe0..=0xef => 2 + (usize::from(first & 0xf) << 8 | usize::from(*rest.get(1)?)),
        0xf0 => 5 + u32::from_le_bytes(rest.get(1..5)?.try_into().ok()?) as usize,
        0xf1..=0xf4 => 1 + INT_WIDTHS[usize::from(first - 0xf1)],
        0xf5..=0xff => return None,
    })
}

/// The entry's element, and the bytes of encoding and data; `None` when it is cut off or of no known encoding.
#[inline]
fn decode(bytes: &[u8], pos: usize) -> Option<(Item<'_>, usize)> {
    let rest = bytes.get(pos..)?;
    let first = *rest.first()?;
    let string = |head: usize, len: usize| {
        let text = rest.get(head..head.checked_add(len)?)?;
        Some((Item::Str(text), head + len))
    };
    Some(match first {
        0..=0x7f => (Item::Int(first.into()), 1),
        0x80..=0xbf => string(1, usize::from(first & 0x3f))?,
        0xc0..=0xdf => {
            let bits = i64::from(first & 0x1f) << 8 | i64::from(*rest.get(1)?);
            (Item::Int((bits << 51) >> 51), 2)
        }
        0xe0..=0xef => string(
            2,
            usize::from(first & 0xf) << 8 | usize::from(*rest.get(1)?),
        )?,
        0xf0 => {
            let len = u32::from_le_bytes(rest.get(1..5)?.try_into().ok()?);
            string(5, len as usize)?
        }
        0xf1..=0xf4 => {
            let width = INT_WIDTHS[usize::from(first - 0xf1)];
            let mut le = [0; 8];
            le[8 - width..].copy_from_slice(rest.get(1..=width)?);
            (
                Item::Int(i64::from_le_bytes(le) >> (64 - 8 * width)),
                1 + width,
            )
        }
        0xf5..=0xff => return None,
    })
}

/// Appends an element to the bytes of a block whose owner keeps header and end mark itself.
#[inline]
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_encoded(out, &Encoded::new(text));
}

/// Appends an integer in the same way.
#[inline]
pub fn write_int(out: &mut Vec<u8>, value: i64) {
    let head = Head::for_int(value);
    write_encoded(out, &Encoded { head, text: b"" });
}

#[inline]
fn write_encoded(out: &mut Vec<u8>, entry: &Encoded<'_>) {
    let body = entry.body_len();
    out.extend_from_slice(&entry.head.bytes[..entry.head.len]);
    out.extend_from_slice(entry.text);
    let mut back = [0; 5];
    let back = &mut back[..back_len_size(body)];
    write_back_len(back, body);
    out.extend_from_slice(back);
}

/// The element at byte `pos` of a block's bytes and where the one behind it begins; `None` at the end mark.
#[inline]
pub fn read(bytes: &[u8], pos: usize) -> Option<(Item<'_>, usize)> {
    let (item, body) = decode(bytes, pos)?;
    Some((item, pos + body + back_len_size(body)))
}

/// Where the element begins that ends right before byte `end`.
#[inline]
pub fn begin_before(bytes: &[u8], end: usize) -> Option<usize> {
    let (len, size) = read_back_len(bytes, end)?;
    end.checked_sub(size + len).filter(|at| *at >= HEADER)
}

/// Whether no two of these elements have the same text.
pub fn all_differ<'a>(items: impl Iterator<Item = Item<'a>> + Clone) -> bool {
    /// So many are compared with each other, which is less work than to sort them.
    const FEW: usize = 16;
    let mut few = [0; FEW];
    let mut count = 0;
    let mut all_new = true;
    let mut marks = items.clone().map(mark_of);
    for mark in marks.by_ref().take(FEW) {
        all_new &= !few[..count].contains(&mark);
        few[count] = mark;
        count += 1;
    }
    if count == FEW {
        let mut many = few.to_vec();
        many.extend(marks);
        many.sort_unstable();
        all_new = many.windows(2).all(|pair| pair[0] != pair[1]);
    }
    if all_new {
        return true;
    }
    let mut seen = BTreeSet::new();
    items.into_iter().all(|item| seen.insert(item.to_vec()))
}

/// A number that elements with the same text share, and others hardly ever do.
fn mark_of(item: Item<'_>) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |mark: u64, word: u64| (mark.rotate_left(29) ^ word).wrapping_mul(FACTOR);
    let text = match item {
        Item::Int(value) => return mix(0, value as u64),
        Item::Str(text) => text,
    };
    if let Some(value) = parse_short(text) {
        return mix(0, value as u64);
    }
    let (words, rest) = text.as_chunks::<8>();
    let mark = words.iter().fold(text.len() as u64, |mark, word| {
        mix(mark, u64::from_le_bytes(*word))
    });
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mark, u64::from_le_bytes(last))
}

/// An owned listpack.
#[repr(transparent)]
#[derive(Clone)]
pub struct Listpack(Block<Total>);

#[allow(unsafe_code, reason = "a promise about the struct's form, no access")]
// SAFETY: the struct is its block in other clothes.
unsafe impl Handle for Listpack {
    const TAG: usize = <Block<Total> as Handle>::TAG;
}

impl Default for Listpack {
    fn default() -> Listpack {
        Listpack::new()
    }
}

impl Listpack {
    /// A listpack without elements.
    pub fn new() -> Listpack {
        Listpack::from_sound(&[HEADER as u8 + 1, 0, 0, 0, 0, 0, END])
    }

    /// A copy of bytes from outside, if they are a sound listpack to the last byte.
    pub fn from_bytes(bytes: &[u8]) -> Option<Listpack> {
        is_sound(bytes).then(|| Listpack::from_sound(bytes))
    }

    /// A copy of bytes that came out of [`Listpack::as_bytes`].
    pub(super) fn from_sound(bytes: &[u8]) -> Listpack {
        Listpack(Block::new(bytes))
    }

    /// The whole block, as it is saved.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Bytes of the whole block.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.0.byte_len()
    }

    /// Bytes that the block takes.
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    /// How many elements there are.
    #[inline]
    pub fn len(&self) -> usize {
        let bytes = self.as_bytes();
        let count = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
        if count < COUNT_UNKNOWN {
            count
        } else {
            self.positions().count()
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.byte_len() == HEADER + 1
    }

    /// The first element's place.
    #[inline]
    pub fn first(&self) -> Option<Pos> {
        self.at(HEADER)
    }

    /// The last element's place.
    #[inline]
    pub fn last(&self) -> Option<Pos> {
        self.before(self.byte_len() - 1)
    }

    /// The place of the element behind the one at `pos`.
    #[inline]
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        self.at(self.end_of(pos))
    }

    /// The place of the element before the one at `pos`.
    #[inline]
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        self.before(pos.byte())
    }

    /// The element at `pos`.
    #[inline]
    pub fn get(&self, pos: Pos) -> Item<'_> {
        decode(self.as_bytes(), pos.byte())
            .expect("by the invariant an entry is here")
            .0
    }

    /// The place of element number `index`; negative ones count from the end.
    pub fn seek(&self, index: i64) -> Option<Pos> {
        let bytes = self.as_bytes();
        let count = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
        let known = (count < COUNT_UNKNOWN).then_some(count as i64);
        let index = match known {
            Some(count) if index < -count || index >= count => return None,
            // From the nearer end.
            Some(count) if index >= 0 && index > count / 2 => index - count,
            Some(count) if index < -(count / 2) - 1 => index + count,
            _ => index,
        };
        if index >= 0 {
            self.positions().nth(usize::try_from(index).ok()?)
        } else {
            let mut pos = self.last()?;
            for _ in 0..usize::try_from(-(index + 1)).ok()? {
                pos = self.prev(pos)?;
            }
            Some(pos)
        }
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> + Clone {
        self.iter_from(Pos(HEADER as u32))
    }

    /// The elements in order, from the one at `pos` on.
    pub fn iter_from(&self, pos: Pos) -> impl Iterator<Item = Item<'_>> + Clone {
        let bytes = self.as_bytes();
        let mut at = pos.byte();
        std::iter::from_fn(move || {
            let (item, body) = decode(bytes, at)?;
            at += body + back_len_size(body);
            Some(item)
        })
    }

    /// The elements' places in order.
    pub fn positions(&self) -> impl Iterator<Item = Pos> + '_ {
        std::iter::successors(self.first(), |pos| self.next(*pos))
    }

    /// The first place from `from` on whose element is `text`; `skip` elements are passed over after each that is
    /// looked at, so 1 looks at every second one.
    pub fn find(&self, from: Pos, text: &[u8], skip: usize) -> Option<Pos> {
        let bytes = self.as_bytes();
        let wanted = parse_short(text);
        let mut at = from.byte();
        loop {
            let (item, body) = decode(bytes, at)?;
            let is_same = match item {
                Item::Int(value) => wanted == Some(value),
                Item::Str(other) => other == text,
            };
            if is_same {
                return Some(Pos(at as u32));
            }
            at += body + back_len_size(body);
            for _ in 0..skip {
                let body = body_len(bytes.get(at..)?)?;
                at += body + back_len_size(body);
            }
        }
    }

    /// Whether `more` bytes of text, in `count` elements, can be added without passing [`BYTES_MAX`].
    pub fn has_room(&self, more: usize, count: usize) -> bool {
        more.saturating_add(count.saturating_mul(ENTRY_OVERHEAD_MAX))
            .saturating_add(self.byte_len())
            <= BYTES_MAX
    }

    /// Adds an element at the end. The caller has asked [`Listpack::has_room`] where that may fail.
    #[inline]
    pub fn push(&mut self, text: &[u8]) {
        let entry = Encoded::new(text);
        let at = self.byte_len() - 1;
        self.splice(at..at, &[entry], 0);
    }

    /// Adds an integer at the end.
    #[inline]
    pub fn push_int(&mut self, value: i64) {
        let entry = Encoded {
            head: Head::for_int(value),
            text: b"",
        };
        let at = self.byte_len() - 1;
        self.splice(at..at, &[entry], 0);
    }

    /// Adds an element at the front.
    #[inline]
    pub fn push_front(&mut self, text: &[u8]) {
        self.splice(HEADER..HEADER, &[Encoded::new(text)], 0);
    }

    /// Adds several elements at the end at once.
    pub fn extend(&mut self, texts: &[&[u8]]) {
        let at = self.byte_len() - 1;
        self.insert_all(at, texts);
    }

    /// Adds an element before the one at `pos`, or at the end; `pos` is its place then.
    pub fn insert(&mut self, pos: Option<Pos>, text: &[u8]) {
        let at = pos.map_or(self.byte_len() - 1, Pos::byte);
        self.insert_all(at, &[text]);
    }

    /// Adds two elements that belong together before the one at `pos`, or at the end.
    pub fn insert_pair(&mut self, pos: Option<Pos>, first: &[u8], second: &[u8]) {
        let at = pos.map_or(self.byte_len() - 1, Pos::byte);
        self.insert_all(at, &[first, second]);
    }

    /// Adds three elements that belong together before the one at `pos`, or at the end.
    pub fn insert_triple(&mut self, pos: Option<Pos>, texts: [&[u8]; 3]) {
        let at = pos.map_or(self.byte_len() - 1, Pos::byte);
        self.splice(at..at, &texts.map(Encoded::new), 0);
    }

    fn insert_all(&mut self, at: usize, texts: &[&[u8]]) {
        match texts {
            [text] => self.splice(at..at, &[Encoded::new(text)], 0),
            [a, b] => self.splice(at..at, &[Encoded::new(a), Encoded::new(b)], 0),
            _ => {
                let entries: Vec<Encoded<'_>> =
                    texts.iter().map(|text| Encoded::new(text)).collect();
                self.splice(at..at, &entries, 0);
            }
        }
    }

    /// Puts another element in the place of the one at `pos`, which stays its place.
    pub fn replace(&mut self, pos: Pos, text: &[u8]) {
        let at = pos.byte();
        self.splice(at..self.end_of(pos), &[Encoded::new(text)], 1);
    }

    /// Puts an integer in the place of the element at `pos`.
    pub fn replace_int(&mut self, pos: Pos, value: i64) {
        let entry = Encoded {
            head: Head::for_int(value),
            text: b"",
        };
        self.splice(pos.byte()..self.end_of(pos), &[entry], 1);
    }

    /// Removes `count` elements from the one at `pos` on; says where the one behind them is then.
    pub fn remove(&mut self, pos: Pos, count: usize) -> Option<Pos> {
        let mut end = pos.byte();
        let mut removed = 0;
        while removed < count
            && let Some(body) = body_len(&self.as_bytes()[end..])
        {
            end += body + back_len_size(body);
            removed += 1;
        }
        self.splice(pos.byte()..end, &[], removed);
        self.at(pos.byte())
    }

    /// Removes `count` elements from number `index` on, which may be negative.
    pub fn remove_range(&mut self, index: i64, count: usize) {
        if let Some(pos) = self.seek(index) {
            self.remove(pos, count);
        }
    }

    /// Adds the elements of another listpack at the end.
    pub fn append(&mut self, other: &Listpack) {
        let (old, tail) = (self.byte_len(), other.as_bytes());
        let count = self.len() + other.len();
        let tail = &tail[HEADER..];
        self.resize(old + tail.len() - 1);
        self.0.body_mut()[old - 1 - HEAD..].copy_from_slice(tail);
        self.set_count(count);
    }

    /// Cuts the block in two before the element at `pos`; returns what was behind.
    pub fn split_off(&mut self, pos: Pos) -> Listpack {
        let count = self.len();
        let kept = self.positions().take_while(|at| *at < pos).count();
        let mut tail = Listpack::new();
        let moved = &self.as_bytes()[pos.byte()..];
        let total = HEADER + moved.len();
        tail.resize(total);
        tail.0.body_mut()[HEADER - HEAD..].copy_from_slice(moved);
        tail.set_count(count - kept);
        let end = self.byte_len() - 1;
        self.splice(pos.byte()..end, &[], count - kept);
        tail
    }

    #[inline]
    fn at(&self, byte: usize) -> Option<Pos> {
        (self.as_bytes()[byte] != END).then_some(Pos(byte as u32))
    }

    fn before(&self, byte: usize) -> Option<Pos> {
        if byte <= HEADER {
            return None;
        }
        let (len, size) = read_back_len(self.as_bytes(), byte)?;
        Some(Pos((byte - size - len) as u32))
    }

    #[inline]
    fn end_of(&self, pos: Pos) -> usize {
        let body =
            body_len(&self.as_bytes()[pos.byte()..]).expect("by the invariant an entry is here");
        pos.byte() + body + back_len_size(body)
    }

    fn set_count(&mut self, count: usize) {
        let stored = count.min(COUNT_UNKNOWN) as u16;
        self.0.body_mut()[..2].copy_from_slice(&stored.to_le_bytes());
    }

    /// The one edit: replaces the entries in `range`, `removed` of them, with `entries`.
    fn splice(&mut self, range: Range<usize>, entries: &[Encoded<'_>], removed: usize) {
        let stored = usize::from(u16::from_le_bytes([self.as_bytes()[4], self.as_bytes()[5]]));
        let count = match stored {
            COUNT_UNKNOWN if removed <= entries.len() => None,
            COUNT_UNKNOWN => Some(self.len() + entries.len() - removed),
            _ => Some(stored + entries.len() - removed),
        };
        let added: usize = entries.iter().map(Encoded::total).sum();
        let old = self.byte_len();
        let new = old - range.len() + added;
        assert!(new <= u32::MAX as usize, "callers keep below `BYTES_MAX`");
        let end = range.start + added;
        if new > old {
            self.resize(new);
            self.0
                .body_mut()
                .copy_within(range.end - HEAD..old - HEAD, end - HEAD);
        } else if new < old || added > 0 {
            self.0
                .body_mut()
                .copy_within(range.end - HEAD..old - HEAD, end - HEAD);
            self.resize(new);
        }
        let mut at = range.start - HEAD;
        for entry in entries {
            let total = entry.total();
            entry.write(&mut self.0.body_mut()[at..at + total]);
            at += total;
        }
        if let Some(count) = count {
            self.set_count(count);
        }
    }

    /// Makes the block `total` bytes long; bytes beyond the old length are for the caller to fill.
    fn resize(&mut self, total: usize) {
        self.0.resize((total as u32).to_le_bytes());
    }
}

/// Whether bytes from outside are a listpack in which every step, forwards and backwards, lands on an entry.
pub fn is_sound(bytes: &[u8]) -> bool {
    if bytes.len() < HEADER + 1 || bytes.len() > u32::MAX as usize {
        return false;
    }
    let total = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    if total != bytes.len() || bytes[total - 1] != END {
        return false;
    }
    // Nothing reaches over the end mark.
    let entries = &bytes[..total - 1];
    let (mut at, mut count) = (HEADER, 0usize);
    while at < entries.len() {
        let Some(body) = body_len(&entries[at..]) else {
            return false;
        };
        let back = at + body;
        let is_back_right = if body <= SHORT_BODY_MAX {
            entries
                .get(back)
                .is_some_and(|len| usize::from(*len) == body)
        } else {
            let size = back_len_size(body);
            back + size <= entries.len()
                && read_back_len(entries, back + size) == Some((body, size))
        };
        if !is_back_right {
            return false;
        }
        at = back + back_len_size(body);
        count += 1;
    }
    let stored = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
    stored == COUNT_UNKNOWN || stored == count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &Listpack) -> Vec<String> {
        list.iter()
            .map(|item| String::from_utf8_lossy(&item.to_vec()).into_owned())
            .collect()
    }

    #[test]
    fn elements_that_are_twice_there_are_found() {
        let differ = |items: &[Item<'_>]| all_differ(items.iter().copied());
        let long = [b'x'; 40];
        let others = [&long[..39], &long, b"", b"0", b"-", b"007"].map(Item::Str);
        assert!(differ(&[]));
        assert!(differ(&others));
        for item in others {
            assert!(!differ(&[&others[..], &[item]].concat()), "{item:?}");
        }
        // A number may be there as text.
        assert!(!differ(&[
            Item::Int(-12),
            Item::Str(b"a"),
            Item::Str(b"-12")
        ]));
        assert!(differ(&[Item::Int(12), Item::Str(b"012")]));
        // Few are compared, many are sorted.
        for count in 1..40 {
            let numbers: Vec<Item<'_>> = (0..count).map(Item::Int).collect();
            assert!(differ(&numbers));
            for item in &numbers {
                assert!(!differ(&[&numbers[..], &[*item]].concat()), "{item:?}");
            }
        }
    }

    #[test]
    fn every_width_of_integer_and_string_comes_back() {
        let mut list = Listpack::new();
        let mut wanted: Vec<String> = [
            0,
            127,
            128,
            -1,
            4095,
            -4096,
            4096,
            -4097,
            32767,
            -32768,
            32768,
            8_388_607,
            -8_388_608,
            8_388_608,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
            i64::from(i32::MAX) + 1,
            i64::MAX,
            i64::MIN,
        ]
        .iter()
        .map(i64::to_string)
        .collect();
        for len in [0, 1, 63, 64, 127, 128, 4095, 4096, 16384] {
            wanted.push("x".repeat(len));
        }
        wanted.push("007".to_owned());
        for text in &wanted {
            list.push(text.as_bytes());
            assert!(is_sound(list.as_bytes()), "{text}");
        }
        assert_eq!(texts(&list), wanted);
        let mut backwards = Vec::new();
        let mut at = list.last();
        while let Some(pos) = at {
            backwards.push(String::from_utf8_lossy(&list.get(pos).to_vec()).into_owned());
            at = list.prev(pos);
        }
        backwards.reverse();
        assert_eq!(backwards, wanted);
    }

    #[test]
    fn the_bytes_are_those_that_a_real_server_dumps() {
        let mut list = Listpack::new();
        for text in ["a", "1", "-5", "300"] {
            list.push(text.as_bytes());
        }
        let wanted = [
            19, 0, 0, 0, 4, 0, 0x81, b'a', 2, 1, 1, 0xdf, 0xfb, 2, 0xc1, 0x2c, 2, END,
        ];
        assert_eq!(&list.as_bytes()[4..], &wanted[4..]);
        assert_eq!(list.byte_len(), wanted.len());
    }

    #[test]
    fn edits_do_what_a_vector_does() {
        let mut list = Listpack::new();
        let mut model: Vec<String> = Vec::new();
        let mut state = 12345u64;
        let mut next = |n: usize| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            ((state >> 33) as usize) % n.max(1)
        };
        for step in 0..20_000 {
            let text = match next(4) {
                0 => next(100_000).to_string(),
                1 => "v".repeat(next(300)),
                2 => format!("-{}", next(1 << 30)),
                _ => format!("t{}", next(1000)),
            };
            let index = next(model.len() + 1);
            let pos = list.seek(index as i64);
            assert_eq!(pos.is_some(), index < model.len());
            match (next(7), pos) {
                (0, _) => {
                    list.push(text.as_bytes());
                    model.push(text);
                }
                (1, _) => {
                    list.push_front(text.as_bytes());
                    model.insert(0, text);
                }
                (2, _) => {
                    list.insert(pos, text.as_bytes());
                    model.insert(index, text);
                }
                (3, Some(pos)) => {
                    list.replace(pos, text.as_bytes());
                    model[index] = text;
                }
                (4, Some(pos)) => {
                    let count = (1 + next(3)).min(model.len() - index);
                    let behind = list.remove(pos, count);
                    model.drain(index..index + count);
                    assert_eq!(behind.is_some(), index < model.len());
                }
                (5, Some(pos)) if step % 5 == 0 => {
                    let tail = list.split_off(pos);
                    assert!(is_sound(tail.as_bytes()) && is_sound(list.as_bytes()));
                    assert_eq!(tail.len(), model.len() - index);
                    list.append(&tail);
                }
                (6, Some(_)) if model.len() > 40 => {
                    list.remove_range(-10, 5);
                    let from = model.len() - 10;
                    model.drain(from..from + 5);
                }
                _ => {
                    let found = list
                        .first()
                        .and_then(|first| list.find(first, text.as_bytes(), 0));
                    let place = model.iter().position(|other| *other == text);
                    assert_eq!(found, place.and_then(|at| list.seek(at as i64)));
                }
            }
            assert!(is_sound(list.as_bytes()), "step {step}");
            assert_eq!(list.len(), model.len());
            if step % 50 == 0 {
                assert_eq!(texts(&list), model);
            }
        }
    }

    #[test]
    fn more_elements_than_the_header_counts() {
        let mut list = Listpack::new();
        for number in 0..70_000 {
            list.push_int(number);
        }
        assert_eq!(list.len(), 70_000);
        assert!(is_sound(list.as_bytes()));
        list.remove_range(0, 10_000);
        assert_eq!(list.len(), 60_000);
        assert_eq!(
            list.seek(-1).map(|pos| list.get(pos)),
            Some(Item::Int(69_999))
        );
        assert_eq!(
            list.seek(0).map(|pos| list.get(pos)),
            Some(Item::Int(10_000))
        );
    }

    #[test]
    fn damaged_blocks_are_refused() {
        let mut list = Listpack::new();
        list.extend(&[b"abc", b"12345", &[b'x'; 200], b"-7"]);
        let good = list.as_bytes().to_vec();
        assert!(Listpack::from_bytes(&good).is_some());
        for len in 0..good.len() {
            assert!(Listpack::from_bytes(&good[..len]).is_none());
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                // Whatever is accepted can be walked both ways.
                if let Some(list) = Listpack::from_bytes(&bad) {
                    let forwards = list.positions().count();
                    let backwards =
                        std::iter::successors(list.last(), |pos| list.prev(*pos)).count();
                    assert_eq!(forwards, backwards);
                }
            }
        }
    }
}
