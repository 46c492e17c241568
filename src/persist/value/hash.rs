//! Hashes as RDB files hold them.
//!
//! ```text
//! listpack:            [string: pairs]                  (once a ziplist, before that a zipmap)
//! listpack, deadlines: [soonest: millis] [string: triples]
//! plain:               [fields] ([string] [string])*
//! plain, deadlines:    [soonest: millis] [fields] ([0, or deadline - soonest + 1] [string] [string])*
//! ```
//!
//! The release candidates that had deadlines first wrote no soonest one; deadlines were absolute then.

use super::{Limits, first_of_each, kind};
use crate::keyspace::object::Hash;
use crate::keyspace::object::hash::{BadFields, HashLimits, OldDeadline};
use crate::persist::RdbError;
use crate::persist::piece::Piece;
use crate::persist::reader::Reader;
use crate::persist::writer::Writer;
use crate::persist::ziplist::{Ziplist, pack, zipmap};
use crate::types::listpack::{Item, Listpack};

/// The latest deadline that real servers can represent.
const DEADLINE_MAX: i64 = (1 << 48) - 2;

const BAD_DEADLINE: RdbError = RdbError::Corrupt("Hash field with a deadline out of range");
const BAD_LISTPACK: &str = "Hash listpack integrity check failed";
const BAD_ZIPLIST: &str = "Hash ziplist integrity check failed";
const BAD_ZIPMAP: &str = "Zipmap integrity check failed";
const TWICE_IN_LISTPACK: RdbError =
    RdbError::Corrupt("Hash listpack integrity check failed: listpack with dup elements");
const TWICE: RdbError = RdbError::Corrupt("Hash with dup elements");

/// Writes a hash in the form of its encoding, or a piece of it.
pub fn encode(hash: &Hash, piece: Piece, writer: &mut Writer<'_>) -> Option<u64> {
    let soonest = hash.min_deadline();
    if let Some((list, has_deadlines)) = hash.packed() {
        if has_deadlines {
            writer.millis(soonest.unwrap_or(0));
        }
        writer.string(list.as_bytes());
        return None;
    }
    if piece.from == 0 {
        if let Some(soonest) = soonest {
            writer.millis(soonest);
        }
        writer.count(hash.len());
    }
    piece.walk(writer, |cursor, writer| {
        hash.scan(cursor, &mut |field| {
            if let Some(soonest) = soonest {
                let after = field.deadline_ms().map(|at| at.abs_diff(soonest) + 1);
                writer.number(after.unwrap_or(0));
            }
            writer.string(field.key());
            writer.string(field.value());
        })
    })
}

/// Reads a hash of any of its types.
pub fn decode(kind: u8, reader: &mut Reader<'_>, all: &Limits) -> Result<Hash, RdbError> {
    let limits = &all.hash;
    let soonest = match kind {
        kind::HASH_DEADLINES | kind::HASH_LISTPACK_DEADLINES => Some(reader.millis()?),
        _ => None,
    };
    if soonest.is_some_and(|at| !(0..=DEADLINE_MAX + 1).contains(&at)) {
        return Err(BAD_DEADLINE);
    }
    let (list, has_deadlines, bad) = match kind {
        kind::HASH => return plain(reader, limits),
        kind::HASH_DEADLINES => return with_deadlines(reader, soonest, limits),
        kind::HASH_DEADLINES_OLD => return with_deadlines(reader, None, limits),
        kind::HASH_LISTPACK => {
            let list = Listpack::from_bytes(&reader.string()?);
            (list, false, BAD_LISTPACK)
        }
        kind::HASH_ZIPLIST => {
            let text = reader.string()?;
            let list = Ziplist::new(&text).and_then(Ziplist::to_listpack);
            (list, false, BAD_ZIPLIST)
        }
        kind::HASH_ZIPMAP => {
            let text = reader.string()?;
            // Real servers passed over empty values at times, but never over an empty zipmap.
            let texts = zipmap(&text).filter(|texts| !texts.is_empty());
            let list = texts.and_then(|texts| pack(texts.into_iter().map(Item::Str)));
            (list, false, BAD_ZIPMAP)
        }
        _ => {
            let list = Listpack::from_bytes(&reader.string()?);
            (list, true, BAD_LISTPACK)
        }
    };
    if bad == BAD_LISTPACK {
        all.look_at_packed();
    }
    let list = list.ok_or(RdbError::Corrupt(bad))?;
    if list.is_empty() {
        return Err(RdbError::Empty);
    }
    // Real servers do not look for fields that come twice in what was packed; the first is the one that they find.
    // When it is unpacked they do meet them.
    let step = if has_deadlines { 3 } else { 2 };
    let stays_packed = list.len() / step <= limits.entries;
    let is_lenient = bad == BAD_LISTPACK && !all.is_strict && stays_packed;
    let list = match is_lenient {
        true => first_of_each(list, step, all)?,
        false => list,
    };
    let hash = Hash::from_listpack(list, has_deadlines).map_err(|flaw| match flaw {
        BadFields::Twice if bad == BAD_LISTPACK => TWICE_IN_LISTPACK,
        _ => RdbError::Corrupt(bad),
    })?;
    let in_range = |at: i64| (0..=DEADLINE_MAX).contains(&at);
    if has_deadlines
        && !hash
            .iter()
            .all(|(_, found)| found.deadline_ms.is_none_or(in_range))
    {
        return Err(BAD_DEADLINE);
    }
    let is_old = matches!(kind, kind::HASH_ZIPLIST | kind::HASH_ZIPMAP);
    let is_long = |item: Item<'_>| item.len() > limits.value_bytes;
    let has_long = || {
        hash.iter()
            .any(|(field, found)| is_long(field) || is_long(found.value))
    };
    if hash.len() > limits.entries || (is_old && has_long()) {
        return Ok(unpacked(&hash, limits));
    }
    Ok(hash)
}

/// Reads a hash with deadlines of fields as Valkey writes it: `[fields] ([string] [string] [deadline: millis, or -1])*`.
pub fn decode_valkey(reader: &mut Reader<'_>, limits: &HashLimits) -> Result<Hash, RdbError> {
    let count = reader.count_not_zero()?;
    let mut hash = hash_for(count, limits);
    for _ in 0..count {
        let (field, value) = (reader.string()?, reader.string()?);
        let deadline = Some(reader.millis()?).filter(|at| *at != -1);
        if deadline.is_some_and(|at| !(0..=DEADLINE_MAX).contains(&at)) {
            return Err(BAD_DEADLINE);
        }
        if !hash.set(&field, &value, OldDeadline::Keep, limits) {
            return Err(TWICE);
        }
        if deadline.is_some() {
            hash.admit_deadlines();
            hash.set_deadline(&field, deadline);
        }
    }
    Ok(hash)
}

/// An empty hash that is to take so many fields.
fn hash_for(count: usize, limits: &HashLimits) -> Hash {
    let mut hash = Hash::default();
    hash.prepare(std::iter::empty(), 2 * count, limits);
    hash
}

/// The same hash in a table.
fn unpacked(hash: &Hash, limits: &HashLimits) -> Hash {
    let limits = HashLimits {
        entries: 0,
        ..*limits
    };
    let mut table = hash_for(hash.len(), &limits);
    let mut digits = (itoa::Buffer::new(), itoa::Buffer::new());
    for (field, found) in hash.iter() {
        let (field, value) = (field.bytes(&mut digits.0), found.value.bytes(&mut digits.1));
        table.set(field, value, OldDeadline::Keep, &limits);
        if found.deadline_ms.is_some() {
            table.set_deadline(field, found.deadline_ms);
        }
    }
    table
}

fn plain(reader: &mut Reader<'_>, limits: &HashLimits) -> Result<Hash, RdbError> {
    let count = reader.count_not_zero()?;
    let mut hash = hash_for(count, limits);
    for _ in 0..count {
        let (field, value) = (reader.string()?, reader.string()?);
        if !hash.set(&field, &value, OldDeadline::Keep, limits) {
            return Err(TWICE);
        }
    }
    Ok(hash)
}

/// Fields with a deadline before each, relative to `soonest` if there is one.
fn with_deadlines(
    reader: &mut Reader<'_>,
    soonest: Option<i64>,
    limits: &HashLimits,
) -> Result<Hash, RdbError> {
    let count = reader.count_not_zero()?;
    let mut hash = hash_for(count, limits);
    hash.admit_deadlines();
    for _ in 0..count {
        let deadline = match reader.number()? {
            0 => None,
            number => {
                let number = i64::try_from(number).map_err(|_| BAD_DEADLINE)?;
                let before = soonest.map_or(0, |soonest| soonest - 1);
                let deadline = number.checked_add(before).ok_or(BAD_DEADLINE)?;
                if !(0..=DEADLINE_MAX).contains(&deadline) {
                    return Err(BAD_DEADLINE);
                }
                Some(deadline)
            }
        };
        let (field, value) = (reader.string()?, reader.string()?);
        if !hash.set(&field, &value, OldDeadline::Keep, limits) {
            return Err(TWICE);
        }
        if deadline.is_some() {
            hash.set_deadline(&field, deadline);
        }
    }
    Ok(hash)
}
