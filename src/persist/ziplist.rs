//! Ziplist and zipmap: the packed lists and maps that servers before 7.0 and 2.6 saved.
//!
//! Lives here: checking them and reading their elements. They are never written.
//!
//! ```text
//! ziplist: [bytes: u32 le] [position of the last entry: u32 le] [entries: u16 le] [entry]* [0xff]
//! entry:   [length of the entry before: 1 byte, or 254 and u32 le] [encoding] [data]
//!
//! 00xxxxxx            6-bit length, string       11000000  16-bit integer     11110000  24-bit integer
//! 01xxxxxx +1        14-bit length, string       11010000  32-bit integer     11111110   8-bit integer
//! 10000000 +4 be     32-bit length, string       11100000  64-bit integer     1111xxxx  xxxx - 1, for 1 to 13
//!
//! zipmap:  [pairs: u8, 254 and more = unknown] ([length] [key] [length] [unused: u8] [value] [unused bytes])* [0xff]
//! length:  1 byte, or 254 and u32 le
//! ```

use crate::types::listpack::{Item, Listpack};

const HEADER: usize = 10;
const END: u8 = 0xff;
/// The length that says: it follows in four bytes.
const LONG: u8 = 254;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// Little-endian number at the start of `bytes`.
fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let le = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(le.try_into().ok()?) as usize)
}

/// A length of one or five bytes at `at`, and where the next byte is.
fn length_at(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match *bytes.get(at)? {
        END => None,
        LONG => Some((u32_at(bytes, at + 1)?, at + 5)),
        len => Some((len.into(), at + 1)),
    }
}

/// A ziplist that is sound.
#[derive(Clone, Copy)]
pub struct Ziplist<'a> {
    bytes: &'a [u8],
}

impl<'a> Ziplist<'a> {
    /// The ziplist in `bytes`, if every step in it, forwards and backwards, lands on an entry.
    pub fn new(bytes: &'a [u8]) -> Option<Ziplist<'a>> {
        let last = bytes.len().checked_sub(1)?;
        if u32_at(bytes, 0)? != bytes.len() || bytes.len() <= HEADER || bytes[last] != END {
            return None;
        }
        let tail = u32_at(bytes, 4)?;
        let count = u16::from_le_bytes([bytes[8], bytes[9]]);
        // Nothing reaches over the end mark.
        let list = Ziplist {
            bytes: &bytes[..last],
        };
        let (mut at, mut before, mut last_at, mut seen) = (HEADER, 0, HEADER, 0usize);
        while at < last {
            let entry = list.entry(at)?;
            if entry.len_before != before {
                return None;
            }
            (last_at, before) = (at, entry.end - at);
            at = entry.end;
            seen += 1;
        }
        let is_counted = count == COUNT_UNKNOWN || usize::from(count) == seen;
        (tail == last_at && is_counted).then_some(list)
    }

    fn entry(&self, at: usize) -> Option<Entry<'a>> {
        let (len_before, at) = length_at(self.bytes, at)?;
        let first = *self.bytes.get(at)?;
        let string = |at: usize, len: usize| {
            let end = at.checked_add(len)?;
            Some((Item::Str(self.bytes.get(at..end)?), end))
        };
        let int = |width: usize| {
            let mut le = [0; 8];
            le[8 - width..].copy_from_slice(self.bytes.get(at + 1..at + 1 + width)?);
            let value = i64::from_le_bytes(le) >> (64 - 8 * width);
            Some((Item::Int(value), at + 1 + width))
        };
        let (item, end) = match first {
            0x00..=0x3f => string(at + 1, first.into())?,
            0x40..=0x7f => {
                let low = usize::from(*self.bytes.get(at + 1)?);
                string(at + 2, usize::from(first & 0x3f) << 8 | low)?
            }
            0x80..=0xbf => {
                let be = self.bytes.get(at + 1..at + 5)?.try_into().ok()?;
                string(at + 5, u32::from_be_bytes(be) as usize)?
            }
            0xc0 => int(2)?,
            0xd0 => int(4)?,
            0xe0 => int(8)?,
            0xf0 => int(3)?,
            0xfe => int(1)?,
            0xf1..=0xfd => (Item::Int(i64::from(first & 0xf) - 1), at + 1),
            _ => return None,
        };
        Some(Entry {
            len_before,
            item,
            end,
        })
    }

    /// The elements in order.
    pub fn iter(self) -> impl Iterator<Item = Item<'a>> {
        let mut at = HEADER;
        std::iter::from_fn(move || {
            let entry = self.entry(at)?;
            at = entry.end;
            Some(entry.item)
        })
    }

    /// The same elements in a listpack, if they fit one.
    pub fn to_listpack(self) -> Option<Listpack> {
        pack(self.iter())
    }
}

/// An entry and its surroundings.
struct Entry<'a> {
    len_before: usize,
    item: Item<'a>,
    end: usize,
}

/// A listpack of these elements, if they fit one.
pub fn pack<'a>(items: impl Iterator<Item = Item<'a>>) -> Option<Listpack> {
    let mut list = Listpack::new();
    for item in items {
        match item {
            Item::Int(value) => list.push_int(value),
            Item::Str(text) if list.has_room(text.len(), 1) => list.push(text),
            Item::Str(_) => return None,
        }
    }
    Some(list)
}

/// The keys and values of a zipmap in turn; `None` if it is not sound.
pub fn zipmap(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let count = *bytes.first()?;
    let mut at = 1;
    let mut texts = Vec::new();
    while *bytes.get(at)? != END {
        let (key_len, key_at) = length_at(bytes, at)?;
        let key_end = key_at.checked_add(key_len)?;
        texts.push(bytes.get(key_at..key_end)?);
        let (len, unused_at) = length_at(bytes, key_end)?;
        let unused = usize::from(*bytes.get(unused_at)?);
        let end = (unused_at + 1).checked_add(len)?;
        texts.push(bytes.get(unused_at + 1..end)?);
        at = end.checked_add(unused)?;
    }
    let is_counted = count >= LONG || usize::from(count) == texts.len() / 2;
    (at + 1 == bytes.len() && is_counted).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries behind each other, with the lengths and the head that they need.
    fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
        let (mut body, mut before, mut last_at) = (Vec::new(), 0usize, HEADER);
        for entry in entries {
            last_at = HEADER + body.len();
            let start = body.len();
            if before < usize::from(LONG) {
                body.push(before as u8);
            } else {
                body.push(LONG);
                body.extend((before as u32).to_le_bytes());
            }
            body.extend(*entry);
            before = body.len() - start;
        }
        let mut all = ((HEADER + body.len() + 1) as u32).to_le_bytes().to_vec();
        all.extend((last_at as u32).to_le_bytes());
        all.extend((entries.len() as u16).to_le_bytes());
        all.extend(body);
        all.push(END);
        all
    }

    fn sample() -> Vec<u8> {
        let long = [&[0x41, 0x2c][..], &[b'x'; 300]].concat();
        let longer = [&[0x80, 0, 0, 1, 0][..], &[b'y'; 256]].concat();
        ziplist(&[
            b"\x03abc",
            &long,
            &longer,
            b"\x00",
            b"\xf1",
            b"\xfd",
            b"\xfe\x80",
            b"\xc0\x00\x80",
            b"\xf0\xff\xff\xff",
            b"\xd0\x00\x00\x00\x80",
            b"\xe0\xff\xff\xff\xff\xff\xff\xff\x7f",
        ])
    }

    #[test]
    fn every_encoding_is_read() {
        let bytes = sample();
        let list = Ziplist::new(&bytes).expect("it is sound");
        let texts: Vec<Vec<u8>> = list.iter().map(Item::to_vec).collect();
        let numbers = texts[3..].iter().map(|text| String::from_utf8_lossy(text));
        assert_eq!(texts[0], b"abc");
        assert_eq!((texts[1].len(), texts[2].len()), (300, 256));
        assert_eq!(
            numbers.collect::<Vec<_>>(),
            [
                "",
                "0",
                "12",
                "-128",
                "-32768",
                "-1",
                "-2147483648",
                "9223372036854775807"
            ]
        );
        let packed = list.to_listpack().expect("it fits");
        assert_eq!(packed.iter().map(Item::to_vec).collect::<Vec<_>>(), texts);
        assert!(Ziplist::new(&ziplist(&[])).is_some_and(|list| list.iter().count() == 0));
    }

    #[test]
    fn damaged_ziplists_are_refused_or_harmless() {
        let good = sample();
        for at in 0..good.len() {
            assert!(Ziplist::new(&good[..at]).is_none());
            for byte in [0, 1, 0x7f, 0x80, 0xc5, 0xfe, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                if let Some(list) = Ziplist::new(&bad) {
                    assert_eq!(list.iter().count(), 11);
                }
            }
        }
    }

    #[test]
    fn a_zipmap_is_read() {
        let map = b"\x02\x03foo\x03\x02bar..\x05hello\x05\x00world\xff";
        let texts = zipmap(map).expect("it is sound");
        assert_eq!(texts, [&b"foo"[..], b"bar", b"hello", b"world"]);
        for at in 0..map.len() {
            assert!(zipmap(&map[..at]).is_none());
            let mut bad = map.to_vec();
            bad[at] ^= 0xff;
            let _ = zipmap(&bad);
        }
    }
}
