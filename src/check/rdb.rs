//! The check of an RDB file, and of the commands behind one that is the start of an append-only file.
//!
//! Values are decoded as a server would, so what is sound here loads, with two exceptions that need a server to tell: a
//! key that is there twice, and a database that the server is not configured to have.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use super::{Flaw, Report, Verdict, aof, counted, shown};
use crate::config::Config;
use crate::keyspace::entry::Kind;
use crate::keyspace::object::Object;
use crate::keyspace::table::HashSeed;
use crate::persist::rdb::{Decoder, Item, Key};
use crate::persist::value::{Limits, Value};

/// No more facts than this are kept.
const FACTS_MAX: usize = 64;

/// What is in a file.
#[derive(Default)]
struct Contents {
    facts: Vec<String>,
    is_aof_base: bool,
    functions: u64,
    function_bytes: u64,
    dbid: u32,
    tallies: BTreeMap<(u32, &'static str), Tally>,
    empty_keys: u64,
    largest: Option<Largest>,
    repairs: Vec<String>,
    last: Option<(u32, Vec<u8>)>,
}

/// Keys of one type in one database.
#[derive(Default)]
struct Tally {
    keys: u64,
    bytes: u64,
    volatile: u64,
    expired: u64,
    with_field_deadlines: u64,
}

struct Largest {
    bytes: u64,
    dbid: u32,
    name: Vec<u8>,
}

/// Reads a file of `size` bytes to its end. Deadlines before `now_ms` count as expired.
pub fn check(source: &mut impl BufRead, size: u64, now_ms: i64) -> io::Result<Report> {
    let limits = Limits::new(&Config::default(), 0, HashSeed::default());
    let mut decoder = Decoder::new(0, true);
    let mut contents = Contents::default();
    let mut left = size;
    decoder.push(b"", left);
    loop {
        let pos = decoder.pos();
        let item = decoder.next(&limits);
        let repairs = limits.take_repairs();
        let item = match item {
            Ok(item) => item,
            Err(error) => {
                let flaw = Flaw {
                    pos: error.pos,
                    what: error.what.trim_end_matches(',').to_owned(),
                    sound_bytes: None,
                };
                return Ok(contents.report(Verdict::Broken(flaw)));
            }
        };
        match item {
            None => {
                let chunk = source.fill_buf()?;
                let len = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                // Another program may have made the file shorter.
                left = if len == 0 { 0 } else { left - len as u64 };
                decoder.push(&chunk[..len], left);
                source.consume(len);
            }
            Some(Item::End) => break,
            Some(item) => {
                contents.note_repairs(&item, repairs);
                let end = contents.note(item, now_ms);
                let bytes = decoder.pos() - pos;
                contents.measure(end, bytes);
            }
        }
    }
    let pos = decoder.pos();
    let rest = decoder.into_rest();
    let mut tail = io::Cursor::new(rest).chain(source);
    let next = tail.fill_buf()?.first().copied();
    match next {
        None => Ok(contents.report(Verdict::Sound)),
        Some(byte) if contents.is_aof_base || matches!(byte, b'*' | b'#') => {
            let commands = aof::check(&mut tail, pos, size)?;
            let mut report = contents.report(commands.verdict);
            report.lines.push(format!("commands from byte {pos} on:"));
            report.lines.extend(commands.lines);
            Ok(report)
        }
        Some(_) => {
            let mut report = contents.report(Verdict::Sound);
            let text = format!(
                "{} bytes follow the end, which nobody reads",
                size.saturating_sub(pos)
            );
            report.lines.push(text);
            Ok(report)
        }
    }
}

impl Contents {
    /// Takes note of what is wrong with a key and does not keep it from being loaded.
    fn note_repairs(&mut self, item: &Item<'_>, repairs: Vec<String>) {
        if let Item::Key(key) = item {
            let (name, dbid) = (shown(&key.name), self.dbid);
            self.repairs.extend(repairs.iter().map(|what| {
                format!("repairable: key '{name}' of database {dbid}: {what}; a server puts it right when it loads it")
            }));
        }
    }

    /// Takes note of an item; returns the key that it was, with its type.
    fn note(&mut self, item: Item<'_>, now_ms: i64) -> Noted {
        match item {
            Item::Aux { name, value } => {
                let is_base = matches!(&name[..], b"aof-base" | b"aof-preamble");
                self.is_aof_base |= is_base && &value[..] == b"1";
                if self.facts.len() < FACTS_MAX {
                    let fact = format!("{} {}", shown(&name), shown(&value));
                    self.facts.push(fact);
                }
                Noted::Fact
            }
            Item::SelectDb(dbid) => {
                self.dbid = dbid;
                Noted::Fact
            }
            // What was meant to come; what came is counted.
            Item::Sizes { .. } | Item::End => Noted::Fact,
            Item::Function(_) => Noted::Function,
            Item::Empty(_) => {
                self.empty_keys += 1;
                Noted::Fact
            }
            Item::Key(key) => {
                let kind = kind_of(&key.value);
                let tally = self.tallies.entry((self.dbid, kind.name())).or_default();
                tally.add(&key, now_ms);
                Noted::Key(kind, key.name.into_owned())
            }
        }
    }

    /// Takes note of how long the item was.
    fn measure(&mut self, noted: Noted, bytes: u64) {
        match noted {
            Noted::Fact => {}
            Noted::Function => {
                self.functions += 1;
                self.function_bytes += bytes;
            }
            Noted::Key(kind, name) => {
                let dbid = self.dbid;
                self.tallies.entry((dbid, kind.name())).or_default().bytes += bytes;
                if self
                    .largest
                    .as_ref()
                    .is_none_or(|largest| largest.bytes < bytes)
                {
                    let name = name.clone();
                    self.largest = Some(Largest { bytes, dbid, name });
                }
                self.last = Some((dbid, name));
            }
        }
    }

    fn report(self, verdict: Verdict) -> Report {
        let mut lines = self.facts;
        if self.functions > 0 {
            lines.push(format!(
                "{}, {} bytes",
                counted(
                    self.functions,
                    "library of functions",
                    "libraries of functions"
                ),
                self.function_bytes
            ));
        }
        let mut dbid = None;
        for ((of, kind), tally) in &self.tallies {
            if dbid.replace(*of) != Some(*of) {
                let tallies = self.tallies.range((*of, "")..);
                let tallies = tallies.take_while(|((other, _), _)| other == of);
                let sum = tallies.fold(Tally::default(), |sum, (_, tally)| sum.plus(tally));
                lines.push(format!("database {of}: {}", sum.text()));
            }
            lines.push(format!("  {kind}: {}", tally.text()));
        }
        if self.empty_keys > 0 {
            let keys = counted(self.empty_keys, "key holds", "keys hold");
            lines.push(format!("{keys} nothing and will not be loaded"));
        }
        lines.extend(self.repairs);
        if let Some(Largest { bytes, dbid, name }) = &self.largest {
            let name = shown(name);
            lines.push(format!(
                "largest: key '{name}' of database {dbid}, {bytes} bytes"
            ));
        }
        if let (Verdict::Broken(_), Some((dbid, name))) = (&verdict, &self.last) {
            let name = shown(name);
            lines.push(format!("last whole key: '{name}' of database {dbid}"));
        }
        Report { lines, verdict }
    }
}

/// What an item was.
enum Noted {
    Fact,
    Function,
    Key(Kind, Vec<u8>),
}

impl Tally {
    fn add(&mut self, key: &Key<'_>, now_ms: i64) {
        self.keys += 1;
        if let Some(deadline) = key.deadline_ms {
            self.volatile += 1;
            self.expired += u64::from(deadline < now_ms);
        }
        if let Value::Object(Object::Hash(hash)) = &key.value {
            self.with_field_deadlines += u64::from(hash.min_deadline().is_some());
        }
    }

    fn plus(self, other: &Tally) -> Tally {
        Tally {
            keys: self.keys + other.keys,
            bytes: self.bytes + other.bytes,
            volatile: self.volatile + other.volatile,
            expired: self.expired + other.expired,
            with_field_deadlines: self.with_field_deadlines + other.with_field_deadlines,
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{}, {} bytes",
            counted(self.keys, "key", "keys"),
            self.bytes
        );
        if self.volatile > 0 {
            text += &format!(", {} with a deadline", self.volatile);
        }
        if self.expired > 0 {
            text += &format!(", {} expired", self.expired);
        }
        if self.with_field_deadlines > 0 {
            text += &format!(", {} with deadlines of fields", self.with_field_deadlines);
        }
        text
    }
}

fn kind_of(value: &Value<'_>) -> Kind {
    match value {
        Value::Int(_) | Value::Str(_) => Kind::String,
        Value::Object(object) => object.kind(),
    }
}
