//! RDB: the file around the values, written and read in pieces.
//!
//! ```text
//! ["REDIS" and four digits, or "VALKEY" and three: version]
//! ( [250] [string: name] [string: value]                              a fact about the file
//! | [254] [database]                                                  where the next keys belong
//! | [251] [keys] [keys with a deadline]                               how many there will be
//! | [245] [string]                                                    a library of functions
//! | [252] [deadline: millis] | [253] [deadline: seconds, 4 bytes]     of the next key
//! | [248] [idle seconds] | [249] [frequency: 1 byte]                  of the next key
//! | [value type] [string: key] [value]
//! )*
//! [255] [CRC64 of all before, from version 5 on; 0 when it was not computed]
//! ```
//!
//! Lives here: the marks, the decoder that is fed chunks and gives items, the encoder. May not: know of files.

use std::borrow::Cow;

use crc::{Digest, Table};

use super::RdbError;
use super::payload::{self, RDB_VERSION};
use super::piece::Piece;
use super::reader::Reader;
use super::value::{self, Limits, Value};
use super::writer::Writer;
use crate::keyspace::entry::Entry;
use crate::keyspace::saving::Style;

/// Latest version of Redis' own that is read: what is new in it are types, which are refused by their numbers.
const VERSION_MAX: u32 = 13;
/// Valkey's versions.
const VALKEY_VERSIONS: std::ops::RangeInclusive<u32> = 80..=80;
/// The first version with a checksum at the end.
const CHECKSUM_SINCE: u32 = 5;
const MAGIC: &[u8] = b"REDIS";
const MAGIC_VALKEY: &[u8] = b"VALKEY";
const MAGIC_LEN: usize = 9;
const CHECKSUM_LEN: usize = 8;

const KEY_META: u8 = 243;
const SLOT_INFO: u8 = 244;
const FUNCTION: u8 = 245;
const FUNCTION_OLD: u8 = 246;
const MODULE_AUX: u8 = 247;
const IDLE: u8 = 248;
const FREQUENCY: u8 = 249;
const AUX: u8 = 250;
const SIZES: u8 = 251;
const DEADLINE_MS: u8 = 252;
const DEADLINE: u8 = 253;
const SELECT_DB: u8 = 254;
const END: u8 = 255;

/// Values of modules, in two forms.
const MODULE_OLD: u8 = 6;
const MODULE: u8 = 7;
/// Valkey's hash with deadlines of fields.
const VALKEY_HASH: u8 = 22;
/// Types from here on mean something else in a Valkey file.
const FOREIGN_FROM: u8 = 22;

/// Why a file cannot be loaded, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {pos}")]
pub struct FileError {
    pub pos: u64,
    pub what: String,
}

/// One thing that a file holds.
pub enum Item<'a> {
    /// A fact about the file.
    Aux {
        name: Cow<'a, [u8]>,
        value: Cow<'a, [u8]>,
    },
    SelectDb(u32),
    /// How many keys the database will have, and how many of them with a deadline.
    Sizes {
        keys: u64,
        volatile: u64,
    },
    /// The code of a library of functions.
    Function(Cow<'a, [u8]>),
    Key(Key<'a>),
    /// A key of this name that holds nothing, which real servers wrote at times.
    Empty(Cow<'a, [u8]>),
    /// The end; the checksum was right, or there was none.
    End,
}

/// A key and what it holds.
pub struct Key<'a> {
    pub name: Cow<'a, [u8]>,
    pub value: Value<'a>,
    pub deadline_ms: Option<i64>,
    pub idle_secs: Option<u64>,
    pub frequency: Option<u8>,
}

/// Whether a file begins like this one.
pub fn is_rdb(head: &[u8]) -> bool {
    head.starts_with(MAGIC) || head.starts_with(MAGIC_VALKEY)
}

/// Reads a file that comes in chunks.
///
/// An item that is not complete is tried again when twice as much of it is there, so that a very large value is not
/// decoded over and over.
pub struct Decoder {
    buffer: Vec<u8>,
    /// What of the buffer is decoded.
    start: usize,
    /// The place of `buffer[start]` in the file.
    pos: u64,
    /// How many bytes the file has behind the buffer.
    beyond: u64,
    /// With less in the buffer, the next item is known not to be complete.
    needed: usize,
    crc: Digest<'static, u64, Table<16>>,
    /// What of the buffer the checksum has: many small items are summed up at once.
    summed: usize,
    checks_crc: bool,
    version: Option<u32>,
    is_valkey: bool,
    is_done: bool,
}

impl Decoder {
    /// A decoder for a file, or a part of one, that begins at `pos`.
    pub fn new(pos: u64, checks_crc: bool) -> Decoder {
        Decoder {
            buffer: Vec::new(),
            start: 0,
            pos,
            beyond: 0,
            needed: MAGIC_LEN,
            crc: payload::digest(),
            summed: 0,
            checks_crc,
            version: None,
            is_valkey: false,
            is_done: false,
        }
    }

    /// Takes the next bytes of the file, which has `beyond` more behind them.
    pub fn push(&mut self, bytes: &[u8], beyond: u64) {
        self.beyond = beyond;
        if self.start > 0 {
            self.sum_up();
            self.buffer.drain(..self.start);
            (self.start, self.summed) = (0, 0);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes all that was decoded into the checksum.
    fn sum_up(&mut self) {
        if self.checks_crc && self.summed < self.start {
            self.crc.update(&self.buffer[self.summed..self.start]);
        }
        self.summed = self.start;
    }

    /// Where in the file the next item begins.
    pub fn pos(&self) -> u64 {
        self.pos
    }

    /// The version that the file says it has.
    pub fn version(&self) -> Option<u32> {
        self.version
    }

    /// The bytes behind the end, which belong to something else.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.buffer.drain(..self.start);
        self.buffer
    }

    /// The next item; nothing when more bytes are needed first.
    pub fn next(&mut self, limits: &Limits) -> Result<Option<Item<'_>>, FileError> {
        let len = self.buffer.len() - self.start;
        if self.is_done || (len < self.needed && self.beyond > 0) {
            return Ok(None);
        }
        let Some(version) = self.version else {
            return self.read_magic();
        };
        let bytes = &self.buffer[self.start..];
        let mut reader = Reader::within(bytes, self.beyond);
        let parsed = parse(&mut reader, self.is_valkey, limits);
        let used = bytes.len() - reader.remaining();
        let fail = |pos: u64, what: String| Err(FileError { pos, what });
        let item = match parsed {
            Ok(item) => item,
            Err(Trouble::Rdb(RdbError::Truncated) | Trouble::CutIn(_)) if self.beyond > 0 => {
                self.needed = (bytes.len() * 2).max(64);
                limits.take_looked_at(); // it will be looked at again
                return Ok(None);
            }
            Err(Trouble::Rdb(RdbError::Truncated)) => {
                let end = self.pos + bytes.len() as u64;
                return fail(end, "the file ends too early".to_owned());
            }
            Err(Trouble::Rdb(error)) => return fail(self.pos + used as u64, error.to_string()),
            Err(Trouble::CutIn(key)) => {
                let end = self.pos + bytes.len() as u64;
                return fail(end, format!("the file ends too early, in key '{key}',"));
            }
            Err(Trouble::Foreign(what)) => return fail(self.pos + used as u64, what),
        };
        let mut taken = used;
        let has_sum = matches!(item, Item::End) && version >= CHECKSUM_SINCE;
        if has_sum && bytes.len() < used + CHECKSUM_LEN && self.beyond > 0 {
            self.needed = used + CHECKSUM_LEN;
            return Ok(None);
        }
        if matches!(item, Item::End) {
            if has_sum {
                if self.checks_crc {
                    self.crc
                        .update(&self.buffer[self.summed..self.start + used]);
                }
                let Some(sum) = bytes[used..].first_chunk::<CHECKSUM_LEN>() else {
                    let end = self.pos + bytes.len() as u64;
                    return fail(end, "the file ends too early".to_owned());
                };
                let (said, is) = (u64::from_le_bytes(*sum), self.crc.clone().finalize());
                if self.checks_crc && said != 0 && said != is {
                    let what =
                        format!("CRC error: the file says {said:016x}, its bytes give {is:016x},");
                    return fail(self.pos + used as u64, what);
                }
                taken += CHECKSUM_LEN;
            }
            self.is_done = true;
        }
        self.start += taken;
        self.pos += taken as u64;
        self.needed = 1;
        Ok(Some(item))
    }

    fn read_magic(&mut self) -> Result<Option<Item<'_>>, FileError> {
        let pos = self.pos;
        let fail = |what: String| Err(FileError { pos, what });
        let bytes = &self.buffer[self.start..];
        let Some(head) = bytes.first_chunk::<MAGIC_LEN>() else {
            return fail("the file ends too early".to_owned());
        };
        let (is_valkey, digits) = match (head.strip_prefix(MAGIC), head.strip_prefix(MAGIC_VALKEY))
        {
            (Some(digits), _) => (false, digits),
            (_, Some(digits)) => (true, digits),
            _ => return fail("Wrong signature: this is no RDB file".to_owned()),
        };
        let version = std::str::from_utf8(digits)
            .ok()
            .and_then(|text| text.parse::<u32>().ok());
        let is_known = |version: u32| match is_valkey {
            true => VALKEY_VERSIONS.contains(&version),
            false => (1..=VERSION_MAX).contains(&version),
        };
        match version.filter(|version| is_known(*version)) {
            Some(version) => self.version = Some(version),
            None => {
                let text = digits.escape_ascii();
                return fail(format!("Can't handle RDB format version {text}"));
            }
        }
        self.is_valkey = is_valkey;
        self.start += MAGIC_LEN;
        self.pos += MAGIC_LEN as u64;
        self.needed = 1;
        // The version is a fact like the others.
        Ok(Some(Item::Aux {
            name: Cow::Borrowed(b"rdb-version"),
            value: Cow::Owned(digits_of(head, is_valkey)),
        }))
    }
}

fn digits_of(head: &[u8; MAGIC_LEN], is_valkey: bool) -> Vec<u8> {
    let from = if is_valkey {
        MAGIC_VALKEY.len()
    } else {
        MAGIC.len()
    };
    head[from..].to_vec()
}

/// Why an item could not be read.
enum Trouble {
    Rdb(RdbError),
    /// More bytes would be needed for the value of this key.
    CutIn(String),
    /// It is sound, and nothing that is known here.
    Foreign(String),
}

impl From<RdbError> for Trouble {
    fn from(error: RdbError) -> Trouble {
        Trouble::Rdb(error)
    }
}

fn parse<'a>(
    reader: &mut Reader<'a>,
    is_valkey: bool,
    limits: &Limits,
) -> Result<Item<'a>, Trouble> {
    let (mut deadline_ms, mut idle_secs, mut frequency) = (None, None, None);
    loop {
        let kind = reader.byte()?;
        match kind {
            DEADLINE_MS => deadline_ms = Some(reader.millis()?),
            DEADLINE => {
                let secs = i32::from_le_bytes(reader.array()?);
                deadline_ms = Some(i64::from(secs) * 1000);
            }
            IDLE => idle_secs = Some(reader.number()?),
            FREQUENCY => frequency = Some(reader.byte()?),
            // Sizes of a cluster's slots say nothing here.
            SLOT_INFO => {
                for _ in 0..3 {
                    reader.number()?;
                }
            }
            AUX => {
                let (name, value) = (reader.string()?, reader.string()?);
                return Ok(Item::Aux { name, value });
            }
            SELECT_DB => {
                let dbid = reader.number()?;
                let dbid = u32::try_from(dbid)
                    .map_err(|_| RdbError::Corrupt("Database number out of range"))?;
                return Ok(Item::SelectDb(dbid));
            }
            SIZES => {
                let (keys, volatile) = (reader.number()?, reader.number()?);
                return Ok(Item::Sizes { keys, volatile });
            }
            FUNCTION => return Ok(Item::Function(reader.string()?)),
            FUNCTION_OLD => {
                let what = "functions in the form of a release candidate of Redis 7.0";
                return Err(Trouble::Foreign(what.to_owned()));
            }
            MODULE_AUX => {
                let name = module_name(reader.number()?);
                return Err(Trouble::Foreign(format!(
                    "data of module '{name}', which is not there to keep it,"
                )));
            }
            KEY_META if is_valkey => {
                return Err(Trouble::Foreign(
                    "a cluster slot that was on its way".to_owned(),
                ));
            }
            KEY_META => {
                let what = "metadata of a module about a key";
                return Err(Trouble::Foreign(what.to_owned()));
            }
            END => return Ok(Item::End),
            _ => {
                let name = reader.string()?;
                // What is empty ends where that is seen.
                let value = match read_value(kind, is_valkey, &name, reader, limits) {
                    Err(Trouble::Rdb(RdbError::Empty)) => return Ok(Item::Empty(name)),
                    Err(Trouble::Rdb(RdbError::Truncated)) => {
                        return Err(Trouble::CutIn(shown(&name)));
                    }
                    value => value?,
                };
                return Ok(Item::Key(Key {
                    name,
                    value,
                    deadline_ms,
                    idle_secs,
                    frequency,
                }));
            }
        }
    }
}

fn read_value<'a>(
    kind: u8,
    is_valkey: bool,
    name: &[u8],
    reader: &mut Reader<'a>,
    limits: &Limits,
) -> Result<Value<'a>, Trouble> {
    match kind {
        MODULE | MODULE_OLD => {
            let module = module_name(reader.number()?);
            Err(Trouble::Foreign(format!(
                "a value of module '{module}', which is not there to keep it, in key '{}'",
                shown(name)
            )))
        }
        VALKEY_HASH if is_valkey => Ok(value::decode_valkey_hash(reader, limits)?),
        FOREIGN_FROM.. if is_valkey => Err(RdbError::UnknownType(kind).into()),
        _ => match value::decode(kind, reader, limits) {
            Err(error @ (RdbError::Truncated | RdbError::Empty)) => Err(error.into()),
            Err(RdbError::UnknownType(_)) => Err(Trouble::Foreign(format!(
                "a value of type {kind}, which is not known here,"
            ))),
            Err(error) => Err(Trouble::Foreign(format!(
                "{error} in key '{}'",
                shown(name)
            ))),
            Ok(value) => Ok(value),
        },
    }
}

/// A key's name, or the start of it, as a message shows it.
pub fn shown(name: &[u8]) -> String {
    name[..name.len().min(128)].escape_ascii().to_string()
}

/// A module's name in its identifier: nine characters of six bits, above ten bits of its version.
fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9)
        .rev()
        .map(|at| char::from(LETTERS[(id >> (10 + 6 * at)) as usize & 63]))
        .collect()
}

/// What a file says about itself at its start.
pub struct Facts<'a> {
    pub redis_version: &'a str,
    pub now_secs: i64,
    pub used_memory: u64,
    /// The file is the base of an append-only file.
    pub is_aof_base: bool,
}

/// Writes the beginning of a file.
pub fn put_start(out: &mut Vec<u8>, facts: &Facts<'_>) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(format!("{RDB_VERSION:04}").as_bytes());
    put_aux(out, "redis-ver", facts.redis_version.as_bytes());
    put_aux(out, "redis-bits", usize::BITS.to_string().as_bytes());
    put_aux(out, "ctime", facts.now_secs.to_string().as_bytes());
    put_aux(out, "used-mem", facts.used_memory.to_string().as_bytes());
    put_aux(out, "aof-base", if facts.is_aof_base { b"1" } else { b"0" });
}

/// Writes a fact.
pub fn put_aux(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let mut writer = Writer::new(out, false);
    writer.byte(AUX);
    writer.string(name.as_bytes());
    writer.string(value);
}

/// Writes a library of functions.
pub fn put_function(out: &mut Vec<u8>, code: &[u8], packs: bool) {
    let mut writer = Writer::new(out, packs);
    writer.byte(FUNCTION);
    writer.string(code);
}

/// Says where the next keys belong.
pub fn put_db(out: &mut Vec<u8>, dbid: u32) {
    let mut writer = Writer::new(out, false);
    writer.byte(SELECT_DB);
    writer.number(dbid.into());
}

/// Says how many keys a database has.
pub fn put_sizes(out: &mut Vec<u8>, keys: usize, volatile: usize) {
    let mut writer = Writer::new(out, false);
    writer.byte(SIZES);
    writer.count(keys);
    writer.count(volatile);
}

/// Writes the end; the checksum follows.
pub fn put_end(out: &mut Vec<u8>) {
    out.push(END);
}

/// Writes a key with all that is known of it, or a piece of it.
pub fn put_entry(
    entry: &Entry,
    style: &Style,
    from: u64,
    stop_at: usize,
    out: &mut Vec<u8>,
) -> Option<u64> {
    if from == 0 {
        let mut writer = Writer::new(out, style.packs);
        if let Some(deadline) = entry.expire() {
            writer.byte(DEADLINE_MS);
            writer.millis(deadline);
        }
        if let Some(clock) = style.idle_since {
            writer.byte(IDLE);
            writer.number(u64::from(clock.wrapping_sub(entry.lru()) & 0xff_ffff));
        }
        if let Some(clock) = style.frequency_clock {
            writer.byte(FREQUENCY);
            writer.byte(clock.count(entry.lru()) as u8);
        }
        writer.byte(value::kind_of(entry));
        writer.string(entry.key());
    }
    value::encode_piece(entry, style.packs, Piece { from, stop_at }, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::keyspace::table::HashSeed;

    fn limits() -> Limits {
        Limits::new(&Config::default(), 0, HashSeed::default())
    }

    const STYLE: Style = Style {
        packs: true,
        idle_since: None,
        frequency_clock: None,
    };

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        put_start(
            &mut out,
            &Facts {
                redis_version: "8.0.6",
                now_secs: 1_700_000_000,
                used_memory: 1 << 20,
                is_aof_base: false,
            },
        );
        put_function(&mut out, b"#!lua name=f", true);
        put_db(&mut out, 3);
        put_sizes(&mut out, 3, 1);
        let text = "a text that repeats, a text that repeats, a text that repeats";
        for entry in [
            Entry::new_str(b"key", text.as_bytes(), None, 0),
            Entry::new_int(b"number", -70_000, Some(4_000_000_000_000), 0),
            Entry::new_str(b"", b"", None, 0),
        ] {
            assert_eq!(put_entry(&entry, &STYLE, 0, usize::MAX, &mut out), None);
        }
        put_end(&mut out);
        let sum = payload::crc64(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Decodes a file that comes in chunks; says what it held, in short.
    fn decode(bytes: &[u8], chunk: usize) -> Result<String, FileError> {
        let limits = limits();
        let mut decoder = Decoder::new(0, true);
        let mut said = String::new();
        let mut rest = bytes;
        decoder.push(b"", bytes.len() as u64);
        loop {
            let Some(item) = decoder.next(&limits)? else {
                let (now, later) = rest.split_at(chunk.min(rest.len()));
                assert!(!now.is_empty(), "it wants more than there is");
                decoder.push(now, later.len() as u64);
                rest = later;
                continue;
            };
            said += &match item {
                Item::Aux { name, .. } => format!("{} ", name.escape_ascii()),
                Item::SelectDb(dbid) => format!("db{dbid} "),
                Item::Sizes { keys, volatile } => format!("{keys}/{volatile} "),
                Item::Function(code) => format!("[{}] ", code.escape_ascii()),
                Item::Empty(name) => format!("empty:{} ", name.escape_ascii()),
                Item::Key(key) => format!("key:{}{:?} ", key.name.escape_ascii(), key.deadline_ms),
                Item::End => return Ok(said),
            };
        }
    }

    #[test]
    fn a_file_is_read_however_it_is_cut() {
        let file = sample();
        let want = "rdb-version redis-ver redis-bits ctime used-mem aof-base [#!lua name=f] db3 3/1 key:keyNone \
                    key:numberSome(4000000000000) key:None ";
        for chunk in [1, 2, 3, 7, 64, file.len()] {
            assert_eq!(decode(&file, chunk).as_deref(), Ok(want), "{chunk}");
        }
    }

    /// A file whose chunk ended between the end's mark and the checksum was refused as cut off.
    #[test]
    fn a_chunk_may_end_anywhere() {
        let file = sample();
        for first in 0..file.len() {
            let mut decoder = Decoder::new(0, true);
            let (now, later) = file.split_at(first);
            decoder.push(now, later.len() as u64);
            let mut is_whole = false;
            loop {
                match decoder.next(&limits()).expect("it is sound") {
                    Some(Item::End) => break,
                    Some(_) => {}
                    None => {
                        assert!(!is_whole, "it wants more than there is");
                        decoder.push(later, 0);
                        is_whole = true;
                    }
                }
            }
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_told() {
        let file = sample();
        for end in 0..file.len() {
            let error = decode(&file[..end], 16).expect_err("it is cut");
            assert!(error.pos <= end as u64);
        }
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut bad = file.clone();
                bad[at] ^= 1 << bit;
                // Versions before the fifth had no checksum.
                let is_old = bad.starts_with(b"REDIS0002") || bad.starts_with(b"REDIS0004");
                assert!(is_old || decode(&bad, 16).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_length_that_the_file_does_not_have_is_no_reason_to_read_on() {
        let mut file = b"REDIS0012\xfa\x80\xff\xff\xff\xff".to_vec();
        file.resize(4096, b'x');
        let error = decode(&file, 64).expect_err("no string is that long");
        assert_eq!(error.pos, 15);
        assert!(error.what.contains("length"), "{error}");
    }

    #[test]
    fn what_belongs_to_a_module_is_refused_by_its_name() {
        let id = "ReJSON-RL".bytes().fold(0u64, |id, byte| {
            let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let at = letters.iter().position(|letter| *letter == byte);
            id << 6 | at.expect("one of them") as u64
        }) << 10
            | 3;
        for head in [&b"\xf7"[..], b"\x07\x03key"] {
            let mut file = [b"REDIS0012", head, b"\x81"].concat();
            file.extend_from_slice(&id.to_be_bytes());
            let error = decode(&file, 64).expect_err("there are no modules");
            assert!(error.what.contains("'ReJSON-RL'"), "{error}");
        }
    }

    #[test]
    fn a_hash_of_valkey_is_read() {
        let mut file = b"VALKEY080\x16\x01h\x02\x01a\x01b".to_vec();
        file.extend_from_slice(&4_000_000_000_000i64.to_le_bytes());
        file.extend_from_slice(b"\x01c\x01d");
        file.extend_from_slice(&(-1i64).to_le_bytes());
        file.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
        assert_eq!(decode(&file, 5).as_deref(), Ok("rdb-version key:hNone "));
    }
}
