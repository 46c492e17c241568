//! Sets as RDB files hold them: an intset or a listpack as it lies in memory, or members one by one.

use super::{Limits, kind};
use crate::keyspace::object::{Set, SetRef};
use crate::persist::RdbError;
use crate::persist::piece::Piece;
use crate::persist::reader::Reader;
use crate::persist::writer::Writer;
use crate::types::intset::Intset;
use crate::types::listpack::{Item, Listpack, all_differ};

/// Writes a set in the form of its encoding, or a piece of it.
pub fn encode(set: &Set, piece: Piece, writer: &mut Writer<'_>) -> Option<u64> {
    let table = match set.view() {
        SetRef::Intset(ints) => {
            writer.string(ints.as_bytes());
            return None;
        }
        SetRef::Listpack(list) => {
            writer.string(list.as_bytes());
            return None;
        }
        SetRef::Table(table) => table,
    };
    if piece.from == 0 {
        writer.count(table.len());
    }
    piece.walk(writer, |cursor, writer| {
        table.scan(cursor, &mut |member| writer.string(member.key()))
    })
}

/// Reads a set of any of its types.
pub fn decode(kind: u8, reader: &mut Reader<'_>, all: &Limits) -> Result<Set, RdbError> {
    let limits = &all.set;
    match kind {
        kind::SET_INTSET => {
            let text = reader.string()?;
            all.look_at_packed();
            let ints = match Intset::from_bytes(&text) {
                Some(ints) => ints,
                None => return mend_intset(&text, all),
            };
            if ints.is_empty() {
                return Err(RdbError::Empty);
            }
            if ints.len() <= limits.intset_entries {
                return Ok(ints.into());
            }
            table_of(ints.iter().map(Item::Int), all)
        }
        kind::SET_LISTPACK => {
            let text = reader.string()?;
            all.look_at_packed();
            let list = Listpack::from_bytes(&text)
                .ok_or(RdbError::Corrupt("Set listpack integrity check failed"))?;
            if list.is_empty() {
                return Err(RdbError::Empty);
            }
            if list.len() > limits.listpack_entries {
                return table_of(list.iter(), all);
            }
            if all.is_strict && !all_differ(list.iter()) {
                return Err(TWICE);
            }
            Ok(list.into())
        }
        _ => {
            let count = reader.count_not_zero()?;
            // The first member decides, and the set changes as it grows.
            let mut set = if count <= limits.intset_entries {
                Set::from(Intset::new())
            } else {
                Set::new_table(limits.seed)
            };
            for _ in 0..count {
                if !set.add(&reader.string()?, limits) {
                    return Err(TWICE);
                }
            }
            Ok(set)
        }
    }
}

const TWICE: RdbError = RdbError::Corrupt("Duplicate set members detected");

/// A table of these members. Real servers meet one that comes twice when they unpack it.
fn table_of<'a>(items: impl Iterator<Item = Item<'a>>, all: &Limits) -> Result<Set, RdbError> {
    let mut set = Set::new_table(all.set.seed);
    for item in items {
        if !set.add_item(item, &all.set) {
            return Err(TWICE);
        }
    }
    Ok(set)
}

/// An intset that is not in its order, or has a value twice, is put right, unless packed values are looked at in full.
fn mend_intset(text: &[u8], all: &Limits) -> Result<Set, RdbError> {
    let values = Intset::values_of(text).filter(|_| !all.is_strict);
    let mut values = values.ok_or(RdbError::Corrupt("Intset integrity check failed"))?;
    values.sort_unstable();
    values.dedup();
    all.note_repair("its integers were not in their order".to_owned());
    if values.len() <= all.set.intset_entries {
        return Ok(Set::from(Intset::from_iter(values)));
    }
    table_of(values.into_iter().map(Item::Int), all)
}
