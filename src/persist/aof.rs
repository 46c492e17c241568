//! AOF: commands as append-only files hold them, and values as commands that make them.
//!
//! ```text
//! *<arguments>\r\n ($<bytes>\r\n<argument>\r\n)*
//! #<annotation>\r\n                                  #TS:<unix seconds> is the time of what follows
//! ```
//!
//! Lives here: the reader that is fed chunks, the writer, the commands for a whole value. May not: know of files.

use std::collections::VecDeque;
use std::ops::Range;

use crate::keyspace::entry::{Entry, ValueRef};
use crate::keyspace::object::{Hash, List, ObjectRef, Set, ZSet};
use crate::keyspace::saving::Style;
use crate::resp::writer::format_double;
use crate::types::quicklist::End;
use crate::types::stream::{Stream, StreamId};

/// Elements of one command.
const ITEMS: usize = 64;

/// Parts that are read ahead of what is done with them.
pub const AHEAD_MAX: usize = 32;

/// More arguments than this, or longer ones, no command has.
const ARGS_MAX: u64 = 1 << 31;
const BULK_MAX: u64 = 1 << 40;
/// A line with a length is not longer.
const LINE_MAX: usize = 32;
/// An annotation is not longer.
const NOTE_MAX: usize = 1024;

/// What is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The file ends within a command that begins here.
    Cut { pos: u64 },
    /// What is here is no command.
    Format { pos: u64 },
}

/// One thing in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The arguments' places in [`Commands::bytes`].
    Command(Vec<Range<usize>>),
    /// The time of what follows.
    Time(i64),
    /// An annotation that says nothing here.
    Note,
}

/// Reads the commands of a file that comes in chunks.
pub struct Commands {
    buffer: Vec<u8>,
    start: usize,
    pos: u64,
    beyond: u64,
    needed: usize,
    /// Parts from `start` on that are read already, with their length.
    ahead: VecDeque<(Part, usize)>,
}

enum Trouble {
    /// Bytes that the part has at least.
    More(usize),
    Format,
}

impl Commands {
    /// A reader that begins at `pos` of a file, with `bytes` at hand and `beyond` behind these.
    pub fn new(pos: u64, bytes: Vec<u8>, beyond: u64) -> Commands {
        Commands {
            buffer: bytes,
            start: 0,
            pos,
            beyond,
            needed: 1,
            ahead: VecDeque::new(),
        }
    }

    /// Takes the next bytes of the file, which has `beyond` more behind them. What was read ahead must be taken.
    pub fn push(&mut self, bytes: &[u8], beyond: u64) {
        debug_assert!(self.ahead.is_empty());
        self.beyond = beyond;
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Where in the file the next part begins.
    pub fn pos(&self) -> u64 {
        self.pos
    }

    /// Whether the whole file was read.
    pub fn is_at_end(&self) -> bool {
        self.start == self.buffer.len() && self.beyond == 0
    }

    /// An argument of the part that was read last.
    pub fn bytes(&self, place: &Range<usize>) -> &[u8] {
        self.buffer.get(place.clone()).unwrap_or_default()
    }

    /// Reads some whole parts ahead if none are; says whether it did. [`Commands::next_part`] returns them.
    pub fn read_ahead(&mut self) -> bool {
        let mut at = self.start;
        let lacks = self.buffer.len() - at < self.needed && self.beyond > 0;
        if lacks || !self.ahead.is_empty() {
            return false;
        }
        while self.ahead.len() < AHEAD_MAX
            && at < self.buffer.len()
            && let Ok((part, len)) = part(&self.buffer[at..], at)
        {
            self.ahead.push_back((part, len));
            at += len;
        }
        !self.ahead.is_empty()
    }

    /// The arguments' places of the commands that are read ahead.
    pub fn ahead(&self) -> impl Iterator<Item = &[Range<usize>]> {
        self.ahead.iter().filter_map(|(part, _)| match part {
            Part::Command(args) => Some(&args[..]),
            Part::Time(_) | Part::Note => None,
        })
    }

    /// The next part; nothing when more bytes are needed first, or at the end.
    pub fn next_part(&mut self) -> Result<Option<Part>, Flaw> {
        if let Some((part, len)) = self.ahead.pop_front() {
            self.start += len;
            self.pos += len as u64;
            self.needed = 1;
            return Ok(Some(part));
        }
        let rest = &self.buffer[self.start..];
        if rest.is_empty() || (rest.len() < self.needed && self.beyond > 0) {
            return Ok(None);
        }
        match part(rest, self.start) {
            Ok((part, len)) => {
                self.start += len;
                self.pos += len as u64;
                self.needed = 1;
                Ok(Some(part))
            }
            Err(Trouble::Format) => Err(Flaw::Format { pos: self.pos }),
            Err(Trouble::More(needed)) => {
                let there = rest.len() as u64 + self.beyond;
                if self.beyond == 0 || needed as u64 > there {
                    return Err(Flaw::Cut { pos: self.pos });
                }
                // Twice as much at least, so that a long command is not parsed over and over.
                self.needed = needed.max((rest.len() * 2).min(there as usize));
                Ok(None)
            }
        }
    }
}

/// The part at the start of `bytes`, which lie at `offset` of the buffer, and its length.
fn part(bytes: &[u8], offset: usize) -> Result<(Part, usize), Trouble> {
    if bytes[0] == b'#' {
        let line = line(bytes, NOTE_MAX)?;
        let secs = line.strip_prefix(b"#TS:");
        let secs = secs.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        return Ok((secs.map_or(Part::Note, Part::Time), line.len() + 2));
    }
    let mut at = 0;
    let count = length(bytes, &mut at, b'*', ARGS_MAX)?;
    if count == 0 {
        return Err(Trouble::Format);
    }
    let mut args = Vec::new();
    for _ in 0..count {
        let len = length(bytes, &mut at, b'$', BULK_MAX)?;
        let len = usize::try_from(len).map_err(|_| Trouble::Format)?;
        let end = at + len;
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => {}
            Some(_) => return Err(Trouble::Format),
            None => return Err(Trouble::More(end + 2)),
        }
        args.push(offset + at..offset + end);
        at = end + 2;
    }
    Ok((Part::Command(args), at))
}

/// The line at the start of `bytes`, without its end.
fn line(bytes: &[u8], max: usize) -> Result<&[u8], Trouble> {
    let head = &bytes[..bytes.len().min(max)];
    match head.windows(2).position(|pair| pair == b"\r\n") {
        Some(len) => Ok(&head[..len]),
        None if head.len() == max => Err(Trouble::Format),
        None => Err(Trouble::More(bytes.len() + 1)),
    }
}

fn length(bytes: &[u8], at: &mut usize, mark: u8, max: u64) -> Result<u64, Trouble> {
    let rest = &bytes[*at..];
    match rest.first() {
        Some(byte) if *byte == mark => {}
        Some(_) => return Err(Trouble::Format),
        None => return Err(Trouble::More(*at + 1)),
    }
    let line = line(rest, LINE_MAX).map_err(|trouble| match trouble {
        Trouble::More(needed) => Trouble::More(*at + needed),
        Trouble::Format => Trouble::Format,
    })?;
    *at += line.len() + 2;
    let text = std::str::from_utf8(&line[1..]).map_err(|_| Trouble::Format)?;
    let len = text.parse::<u64>().map_err(|_| Trouble::Format)?;
    match len <= max {
        true => Ok(len),
        false => Err(Trouble::Format),
    }
}

/// Writes a command.
pub fn put_command<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    put_args(out, args.len(), args.iter().map(AsRef::as_ref));
}

/// Writes a command of `argc` arguments.
pub fn put_args<'a>(out: &mut Vec<u8>, argc: usize, args: impl Iterator<Item = &'a [u8]>) {
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(argc).as_bytes());
    out.extend_from_slice(b"\r\n");
    for arg in args {
        out.push(b'$');
        out.extend_from_slice(digits.format(arg.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Says which database the next commands are for.
pub fn put_select(out: &mut Vec<u8>, dbid: u32) {
    put_command(out, &[&b"SELECT"[..], dbid.to_string().as_bytes()]);
}

/// Says when the next commands ran.
pub fn put_time(out: &mut Vec<u8>, unix_secs: i64) {
    out.extend_from_slice(format!("#TS:{unix_secs}\r\n").as_bytes());
}

/// Writes a key as the commands that make it. It comes in one piece.
pub fn put_entry(entry: &Entry, _: &Style, _: u64, _: usize, out: &mut Vec<u8>) -> Option<u64> {
    let key = entry.key();
    match entry.value() {
        ValueRef::Int(value) => {
            let mut digits = itoa::Buffer::new();
            put_command(out, &[b"SET", key, digits.format(value).as_bytes()]);
        }
        ValueRef::Str(value) => put_command(out, &[b"SET", key, value]),
        ValueRef::Object(object) => match object {
            ObjectRef::List(list) => put_list(list, key, out),
            ObjectRef::Set(set) => put_set(set, key, out),
            ObjectRef::ZSet(zset) => put_zset(zset, key, out),
            ObjectRef::Hash(hash) => put_hash(hash, key, out),
            ObjectRef::Stream(stream) => put_stream(stream.get(), key, out),
        },
    }
    if let Some(deadline) = entry.expire() {
        let mut digits = itoa::Buffer::new();
        put_command(
            out,
            &[b"PEXPIREAT", key, digits.format(deadline).as_bytes()],
        );
    }
    None
}

/// Commands with a bounded number of items each.
struct Run<'a> {
    out: &'a mut Vec<u8>,
    args: Vec<Vec<u8>>,
    head: usize,
    per_item: usize,
}

impl<'a> Run<'a> {
    fn new(out: &'a mut Vec<u8>, head: &[&[u8]], per_item: usize) -> Run<'a> {
        Run {
            out,
            args: head.iter().map(|arg| arg.to_vec()).collect(),
            head: head.len(),
            per_item,
        }
    }

    fn add<const N: usize>(&mut self, item: [Vec<u8>; N]) {
        self.args.extend(item);
        if self.args.len() >= self.head + ITEMS * self.per_item {
            self.end();
        }
    }

    fn end(&mut self) {
        if self.args.len() > self.head {
            put_command(self.out, &self.args);
            self.args.truncate(self.head);
        }
    }
}

fn put_list(list: &List, key: &[u8], out: &mut Vec<u8>) {
    let mut run = Run::new(out, &[b"RPUSH", key], 1);
    let mut digits = itoa::Buffer::new();
    list.walk(0, End::Tail, |element| {
        run.add([element.bytes(&mut digits).to_vec()]);
        true
    });
    run.end();
}

fn put_set(set: &Set, key: &[u8], out: &mut Vec<u8>) {
    let mut run = Run::new(out, &[b"SADD", key], 1);
    set.iter().for_each(|member| run.add([member.to_vec()]));
    run.end();
}

fn put_zset(zset: &ZSet, key: &[u8], out: &mut Vec<u8>) {
    let mut run = Run::new(out, &[b"ZADD", key], 2);
    for (member, score) in zset.iter() {
        let score = format_double(score).as_bytes().to_vec();
        run.add([score, member.to_vec()]);
    }
    run.end();
}

fn put_hash(hash: &Hash, key: &[u8], out: &mut Vec<u8>) {
    let mut run = Run::new(out, &[b"HMSET", key], 2);
    for (field, found) in hash.iter() {
        run.add([field.to_vec(), found.value.to_vec()]);
    }
    run.end();
    for (field, found) in hash.iter() {
        if let Some(deadline) = found.deadline_ms {
            let deadline = deadline.to_string();
            let field = field.to_vec();
            put_command(
                out,
                &[
                    b"HPEXPIREAT",
                    key,
                    deadline.as_bytes(),
                    b"FIELDS",
                    b"1",
                    &field,
                ],
            );
        }
    }
}

fn put_stream(stream: &Stream, key: &[u8], out: &mut Vec<u8>) {
    let log = &stream.log;
    for entry in log.range(StreamId::MIN, StreamId::MAX) {
        let mut args = vec![
            b"XADD".to_vec(),
            key.to_vec(),
            entry.id().to_string().into_bytes(),
        ];
        for (field, value) in entry.pairs() {
            args.push(field.to_vec());
            args.push(value.to_vec());
        }
        put_command(out, &args);
    }
    if log.is_empty() {
        // A stream without an entry comes to be by one that goes at once.
        put_command(
            out,
            &[&b"XADD"[..], key, b"MAXLEN", b"0", b"0-1", b"x", b"y"],
        );
    }
    put_command(
        out,
        &[
            b"XSETID",
            key,
            log.last_id.to_string().as_bytes(),
            b"ENTRIESADDED",
            log.entries_added.to_string().as_bytes(),
            b"MAXDELETEDID",
            log.max_deleted_id.to_string().as_bytes(),
        ],
    );
    for (name, group) in &stream.groups {
        let read = group
            .entries_read
            .map_or_else(|| "-1".to_owned(), |read| read.to_string());
        put_command(
            out,
            &[
                b"XGROUP",
                b"CREATE",
                key,
                name,
                group.last_id.to_string().as_bytes(),
                b"ENTRIESREAD",
                read.as_bytes(),
            ],
        );
        for (_, consumer) in group.consumers() {
            if consumer.pending().is_empty() {
                put_command(
                    out,
                    &[
                        &b"XGROUP"[..],
                        b"CREATECONSUMER",
                        key,
                        name,
                        consumer.name(),
                    ],
                );
            }
            for (id, nack) in group.pending() {
                if !consumer.pending().contains(id) {
                    continue;
                }
                put_command(
                    out,
                    &[
                        b"XCLAIM",
                        key,
                        name,
                        consumer.name(),
                        b"0",
                        id.to_string().as_bytes(),
                        b"TIME",
                        nack.delivered_ms.to_string().as_bytes(),
                        b"RETRYCOUNT",
                        nack.deliveries.to_string().as_bytes(),
                        b"JUSTID",
                        b"FORCE",
                    ],
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], chunk: usize) -> Result<Vec<String>, Flaw> {
        let mut commands = Commands::new(0, Vec::new(), bytes.len() as u64);
        let (mut said, mut rest) = (Vec::new(), bytes);
        loop {
            match commands.next_part()? {
                Some(Part::Command(args)) => {
                    let words: Vec<String> = args
                        .iter()
                        .map(|arg| commands.bytes(arg).escape_ascii().to_string())
                        .collect();
                    said.push(words.join(" "));
                }
                Some(part) => said.push(format!("{part:?}")),
                None if commands.is_at_end() => return Ok(said),
                None => {
                    let (now, later) = rest.split_at(chunk.min(rest.len()));
                    assert!(!now.is_empty(), "it wants more than there is");
                    commands.push(now, later.len() as u64);
                    rest = later;
                }
            }
        }
    }

    fn sample() -> Vec<u8> {
        let mut file = Vec::new();
        put_select(&mut file, 3);
        put_time(&mut file, 1_700_000_000);
        put_command(&mut file, &["SET", "key", "a\r\nvalue"]);
        file.extend_from_slice(b"#note\r\n");
        put_command(&mut file, &["DEL", ""]);
        file
    }

    #[test]
    fn commands_are_read_however_they_are_cut() {
        let file = sample();
        let want = [
            "SELECT 3",
            "Time(1700000000)",
            "SET key a\\r\\nvalue",
            "Note",
            "DEL ",
        ];
        for chunk in [1, 2, 5, 33, file.len()] {
            assert_eq!(
                read(&file, chunk),
                Ok(want.map(str::to_owned).to_vec()),
                "{chunk}"
            );
        }
    }

    #[test]
    fn a_cut_file_is_told_with_the_place_of_the_command() {
        let file = sample();
        let ends: Vec<usize> = (0..=file.len())
            .filter(|end| read(&file[..*end], 7).is_ok())
            .collect();
        assert_eq!(ends.len(), 6, "at the start and behind each part");
        for end in 0..file.len() {
            if let Err(flaw) = read(&file[..end], 7) {
                let Flaw::Cut { pos } = flaw else {
                    panic!("{end}: {flaw:?}");
                };
                assert!(ends.contains(&(pos as usize)) && pos < end as u64);
            }
        }
    }

    #[test]
    fn what_is_no_command_is_told() {
        for (bytes, pos) in [
            (&b"!!!"[..], 0),
            (b"*0\r\n", 0),
            (b"*1\r\n+PING\r\n", 0),
            (b"*1\r\n$4\r\nPINGxx", 0),
            (b"*99999999999\r\n", 0),
            (b"*1\r\n$4\r\nPING\r\n*x\r\n", 14),
        ] {
            assert_eq!(
                read(bytes, 64),
                Err(Flaw::Format { pos }),
                "{}",
                bytes.escape_ascii()
            );
        }
        // A length beyond the file is a cut, not a reason to wait for more.
        let mut long = b"*2\r\n$3\r\nSET\r\n$99999999\r\n".to_vec();
        long.resize(1000, b'x');
        assert_eq!(read(&long, 64), Err(Flaw::Cut { pos: 0 }));
    }
}
