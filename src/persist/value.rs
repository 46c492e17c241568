//! Value: what a key holds, as a type number and bytes.
//!
//! Lives here: the numbers, and which form is written for which encoding. The forms themselves are in a file for each
//! type.

mod hash;
mod list;
mod set;
mod stream;
mod zset;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeSet;

use bytes::Bytes;

use super::RdbError;
use super::piece::Piece;
use super::reader::{Reader, Text};
use super::writer::Writer;
use super::ziplist::pack;
use crate::config::{Config, SanitizePayload};
use crate::keyspace::entry::{Entry, SHARED_MIN, ValueRef};
use crate::keyspace::object::hash::HashLimits;
use crate::keyspace::object::list::Limits as ListLimits;
use crate::keyspace::object::set::SetLimits;
use crate::keyspace::object::zset::ZSetLimits;
use crate::keyspace::object::{HashRef, Object, ObjectRef, SetRef, ZSetRef};
use crate::keyspace::table::HashSeed;
use crate::types::decimal::parse_i64;
use crate::types::listpack::{Listpack, all_differ};

/// The type numbers of the format. Those marked old are read and never written.
pub mod kind {
    pub const STRING: u8 = 0;
    /// Old: elements one by one.
    pub const LIST: u8 = 1;
    /// Members one by one.
    pub const SET: u8 = 2;
    /// Old: scores as text.
    pub const ZSET: u8 = 3;
    /// Fields and values one by one.
    pub const HASH: u8 = 4;
    /// Members and scores one by one.
    pub const ZSET_2: u8 = 5;
    /// Old.
    pub const HASH_ZIPMAP: u8 = 9;
    /// Old.
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    /// Old.
    pub const ZSET_ZIPLIST: u8 = 12;
    /// Old.
    pub const HASH_ZIPLIST: u8 = 13;
    /// Old: nodes are ziplists.
    pub const LIST_QUICKLIST: u8 = 14;
    /// Old: groups without a count of entries read.
    pub const STREAM: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    /// Nodes are listpacks, or large elements.
    pub const LIST_QUICKLIST_2: u8 = 18;
    /// Old: consumers without the time of their last success.
    pub const STREAM_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_3: u8 = 21;
    /// Fields with deadlines as release candidates of 7.4 wrote them.
    pub const HASH_DEADLINES_OLD: u8 = 22;
    /// The same in a listpack.
    pub const HASH_LISTPACK_DEADLINES_OLD: u8 = 23;
    /// Fields with deadlines, relative to the soonest.
    pub const HASH_DEADLINES: u8 = 24;
    pub const HASH_LISTPACK_DEADLINES: u8 = 25;
}

/// A value that was read.
pub enum Value<'a> {
    Int(i64),
    Str(Cow<'a, [u8]>),
    Object(Object),
}

impl Value<'_> {
    /// The entry of a key that holds this.
    pub fn into_entry(self, key: &[u8], deadline_ms: Option<i64>, clock: u32) -> Entry {
        match self {
            Value::Int(value) => Entry::new_int(key, value, deadline_ms, clock),
            Value::Str(Cow::Owned(bytes)) if bytes.len() >= SHARED_MIN => {
                Entry::new_bytes(key, Bytes::from(bytes), deadline_ms, clock)
            }
            Value::Str(bytes) => Entry::new_str(key, &bytes, deadline_ms, clock),
            Value::Object(object) => Entry::new_object(key, object, deadline_ms, clock),
        }
    }
}

/// A packed value with the first of the groups of `step` elements that begin alike, if there is more than one: what
/// follows under the same name is never found.
fn first_of_each(list: Listpack, step: usize, limits: &Limits) -> Result<Listpack, RdbError> {
    if !list.len().is_multiple_of(step) || all_differ(list.iter().step_by(step)) {
        return Ok(list);
    }
    let mut seen = BTreeSet::new();
    let mut is_first = false;
    let items = list.iter().enumerate().filter(|(at, item)| {
        if at % step == 0 {
            is_first = seen.insert(item.to_vec());
        }
        is_first
    });
    let kept = pack(items.map(|(_, item)| item));
    limits.note_repair("a name came twice".to_owned());
    kept.ok_or(RdbError::Corrupt("Listpack integrity check failed"))
}

/// What decides the encoding of values that are read.
pub struct Limits {
    pub list: ListLimits,
    pub set: SetLimits,
    pub zset: ZSetLimits,
    pub hash: HashLimits,
    /// Packed values are looked at in full, and counted. Otherwise a set is taken as it lies, even if a member comes twice
    /// in it: that does no harm, and real servers take it. What would do harm is never taken.
    pub is_strict: bool,
    looked_at: Cell<u64>,
    repairs: Cell<Vec<String>>,
}

impl Limits {
    /// The limits as they are configured, and the seed of tables.
    pub fn new(config: &Config, packed_threshold: u64, seed: HashSeed) -> Limits {
        let size = |configured: i64| usize::try_from(configured).unwrap_or(0);
        Limits {
            list: ListLimits::new(
                config.list_max_listpack_size,
                config.list_compress_depth,
                packed_threshold,
            ),
            set: SetLimits {
                intset_entries: size(config.set_max_intset_entries),
                listpack_entries: size(config.set_max_listpack_entries),
                listpack_value: size(config.set_max_listpack_value),
                seed,
            },
            zset: ZSetLimits {
                entries: size(config.zset_max_listpack_entries),
                value: size(config.zset_max_listpack_value),
                seed,
            },
            hash: HashLimits {
                entries: size(config.hash_max_listpack_entries),
                value_bytes: size(config.hash_max_listpack_value),
                seed,
            },
            is_strict: config.sanitize_dump_payload == SanitizePayload::Yes,
            looked_at: Cell::new(0),
            repairs: Cell::default(),
        }
    }

    /// A packed value, or a part of one, is to be looked at. Of those that are read and never written any more real
    /// servers count none: they always look at them in full.
    pub(super) fn look_at_packed(&self) {
        let looked_at = self.looked_at.get() + u64::from(self.is_strict);
        self.looked_at.set(looked_at);
    }

    /// Something does not agree that real servers take as it is: it was put right, and this was wrong with it.
    pub(super) fn note_repair(&self, what: String) {
        let mut repairs = self.repairs.take();
        repairs.push(what);
        self.repairs.set(repairs);
    }

    /// What was put right since this was asked.
    pub fn take_repairs(&self) -> Vec<String> {
        self.repairs.take()
    }

    /// How many were looked at in full since this was asked.
    pub fn take_looked_at(&self) -> u64 {
        self.looked_at.take()
    }
}

/// Writes an entry's type number and value; long strings are compressed if `packs`.
pub fn encode(entry: &Entry, packs: bool, out: &mut Vec<u8>) {
    out.push(kind_of(entry));
    encode_piece(entry, packs, Piece::WHOLE, out);
}

/// Writes an entry's value, or a piece of it; returns where the next piece begins, if there is one. What comes before a
/// piece and what follows it fit together as long as the value does not change in between.
pub fn encode_piece(entry: &Entry, packs: bool, piece: Piece, out: &mut Vec<u8>) -> Option<u64> {
    let mut writer = Writer::new(out, packs);
    match entry.value() {
        ValueRef::Int(value) => writer.int(value),
        ValueRef::Str(bytes) => writer.string(bytes),
        ValueRef::Object(object) => {
            return match object {
                ObjectRef::List(value) => list::encode(value, piece, &mut writer),
                ObjectRef::Set(value) => set::encode(value, piece, &mut writer),
                ObjectRef::ZSet(value) => zset::encode(value, piece, &mut writer),
                ObjectRef::Hash(value) => hash::encode(value, piece, &mut writer),
                ObjectRef::Stream(value) => stream::encode(value.get(), piece, &mut writer),
            };
        }
    }
    None
}

/// The type number that an entry's value is written with.
pub fn kind_of(entry: &Entry) -> u8 {
    match entry.value() {
        ValueRef::Int(_) | ValueRef::Str(_) => kind::STRING,
        ValueRef::Object(object) => match object {
            ObjectRef::List(_) => kind::LIST_QUICKLIST_2,
            ObjectRef::Set(set) => match set.view() {
                SetRef::Intset(_) => kind::SET_INTSET,
                SetRef::Listpack(_) => kind::SET_LISTPACK,
                SetRef::Table(_) => kind::SET,
            },
            ObjectRef::ZSet(zset) => match zset.view() {
                ZSetRef::Listpack(_) => kind::ZSET_LISTPACK,
                ZSetRef::Tree(_) => kind::ZSET_2,
            },
            ObjectRef::Hash(hash) => match (hash.view(), hash.min_deadline()) {
                (HashRef::Listpack(_), _) => kind::HASH_LISTPACK,
                (HashRef::ListpackEx(_), _) => kind::HASH_LISTPACK_DEADLINES,
                (HashRef::Table(_), Some(_)) => kind::HASH_DEADLINES,
                (HashRef::Table(_), None) => kind::HASH,
            },
            ObjectRef::Stream(_) => kind::STREAM_3,
        },
    }
}

/// Reads a value of a type.
pub fn decode<'a>(
    kind: u8,
    reader: &mut Reader<'a>,
    limits: &Limits,
) -> Result<Value<'a>, RdbError> {
    let object = match kind {
        kind::STRING => return string(reader),
        kind::LIST | kind::LIST_ZIPLIST | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => {
            Object::List(list::decode(kind, reader, limits)?)
        }
        kind::SET | kind::SET_INTSET | kind::SET_LISTPACK => {
            Object::Set(set::decode(kind, reader, limits)?)
        }
        kind::ZSET | kind::ZSET_2 | kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK => {
            Object::ZSet(zset::decode(kind, reader, limits)?)
        }
        kind::HASH
        | kind::HASH_ZIPMAP
        | kind::HASH_ZIPLIST
        | kind::HASH_LISTPACK
        | kind::HASH_DEADLINES_OLD
        | kind::HASH_LISTPACK_DEADLINES_OLD
        | kind::HASH_DEADLINES
        | kind::HASH_LISTPACK_DEADLINES => Object::Hash(hash::decode(kind, reader, limits)?),
        kind::STREAM | kind::STREAM_2 | kind::STREAM_3 => {
            Object::Stream(stream::decode(kind, reader, limits)?)
        }
        _ => return Err(RdbError::UnknownType(kind)),
    };
    Ok(Value::Object(object))
}

/// Reads a hash of Valkey's own type, whose number means another thing in Redis.
pub fn decode_valkey_hash<'a>(
    reader: &mut Reader<'_>,
    limits: &Limits,
) -> Result<Value<'a>, RdbError> {
    let hash = hash::decode_valkey(reader, &limits.hash)?;
    Ok(Value::Object(Object::Hash(hash)))
}

fn string<'a>(reader: &mut Reader<'a>) -> Result<Value<'a>, RdbError> {
    Ok(match reader.text()? {
        Text::Int(value) => Value::Int(value),
        Text::Bytes(bytes) => match parse_i64(&bytes) {
            Some(value) => Value::Int(value),
            None => Value::Str(bytes),
        },
    })
}
