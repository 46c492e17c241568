//! Commands on streams, one file for each part; here is what they share.
//!
//! Lives here: IDs as commands read them, replies of entries, what of a group's work is propagated.

pub mod add;
pub mod claim;
pub mod delete;
pub mod group;
pub mod idempotence;
pub mod info;
pub mod pending;
pub mod range;
pub mod read;
#[cfg(test)]
mod tests;

use crate::command::{CommandError, Ctx};
use crate::keyspace::object;
use crate::resp::Args;
use crate::resp::writer::Reply;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::types::decimal::parse_u64;
use crate::types::stream::{Entry, Group, ID_TEXT_MAX, Nack, Stream, StreamId};

/// The longest text that is looked at as an ID.
const ID_ARG_MAX: usize = 127;

fn invalid_id() -> CommandError {
    CommandError::text("ERR Invalid stream ID specified as stream command argument")
}

/// An ID as given: the sequence number may be missing or left open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum GivenId {
    Whole(StreamId),
    /// `ms-*`: the server chooses the sequence number.
    OpenSeq(u64),
}

/// Reads an ID; one without a sequence number gets `missing_seq`. `-` and `+` are the least and the greatest ID.
fn parse_id(text: &[u8], missing_seq: u64) -> Option<StreamId> {
    match text {
        b"-" => Some(StreamId::MIN),
        b"+" => Some(StreamId::MAX),
        _ => parse_strict_id(text, missing_seq),
    }
}

/// Reads an ID, `-` and `+` not being any.
fn parse_strict_id(text: &[u8], missing_seq: u64) -> Option<StreamId> {
    match parse_given_id(text, missing_seq)? {
        GivenId::Whole(id) => Some(id),
        GivenId::OpenSeq(_) => None,
    }
}

fn parse_given_id(text: &[u8], missing_seq: u64) -> Option<GivenId> {
    if text.len() > ID_ARG_MAX {
        return None;
    }
    // The real server reads a C string.
    let end = text.iter().position(|byte| *byte == 0);
    let text = &text[..end.unwrap_or(text.len())];
    let Some(dash) = text.iter().position(|byte| *byte == b'-') else {
        let ms = parse_u64(text)?;
        return Some(GivenId::Whole(StreamId::new(ms, missing_seq)));
    };
    let ms = parse_u64(&text[..dash])?;
    match &text[dash + 1..] {
        b"*" => Some(GivenId::OpenSeq(ms)),
        seq => Some(GivenId::Whole(StreamId::new(ms, parse_u64(seq)?))),
    }
}

/// The ID at argument `index`, `-` and `+` not being any.
fn id_arg(args: Args<'_>, index: usize) -> Result<StreamId, CommandError> {
    parse_strict_id(args.bytes(index), 0).ok_or_else(invalid_id)
}

/// The IDs at the arguments of `range`.
fn id_args(args: Args<'_>, range: std::ops::Range<usize>) -> Result<Vec<StreamId>, CommandError> {
    range.map(|index| id_arg(args, index)).collect()
}

/// The ID at argument `index` as the first of a range, which `(` excludes.
fn start_arg(args: Args<'_>, index: usize) -> Result<StreamId, CommandError> {
    let (id, is_open) = bound(args.bytes(index), 0)?;
    if !is_open {
        return Ok(id);
    }
    id.next()
        .ok_or(CommandError::text("ERR invalid start ID for the interval"))
}

/// The ID at argument `index` as the last of a range, which `(` excludes.
fn end_arg(args: Args<'_>, index: usize) -> Result<StreamId, CommandError> {
    let (id, is_open) = bound(args.bytes(index), u64::MAX)?;
    if !is_open {
        return Ok(id);
    }
    id.prev()
        .ok_or(CommandError::text("ERR invalid end ID for the interval"))
}

fn bound(text: &[u8], missing_seq: u64) -> Result<(StreamId, bool), CommandError> {
    let parsed = match text {
        [b'(', rest @ ..] if !rest.is_empty() => {
            parse_strict_id(rest, missing_seq).map(|id| (id, true))
        }
        _ => parse_id(text, missing_seq).map(|id| (id, false)),
    };
    parsed.ok_or_else(invalid_id)
}

/// The stream at `key`, if there is one.
fn find<'c>(
    ctx: &'c mut Ctx<'_>,
    key: Key<'_>,
    access: Access,
) -> Result<Option<&'c mut Stream>, CommandError> {
    let found = ctx.object::<object::Stream>(key, access)?;
    Ok(found.map(object::Stream::get_mut))
}

/// The stream at `key` once more, whose presence the handler has found out.
fn again<'c>(ctx: &'c mut Ctx<'_>, key: Key<'_>) -> Result<&'c mut Stream, CommandError> {
    find(ctx, key, Access::Peek)?.ok_or(CommandError::NoSuchKey)
}

/// The error for a group that is not there, or whose stream is not.
fn no_group(key: &[u8], group: &[u8], behind: &str) -> CommandError {
    let before = [&b"NOGROUP No such key '"[..], key, b"' or consumer group '"].concat();
    CommandError::Bytes([&before[..], group, b"'", behind.as_bytes()].concat())
}

/// The error for a group that is not in a stream.
fn no_such_group(key: &[u8], group: &[u8]) -> CommandError {
    let before = &b"NOGROUP No such consumer group '"[..];
    CommandError::Bytes([before, group, b"' for key name '", key, b"'"].concat())
}

/// Reports an event of a group: the entries stay as they are, so nobody who watches the key or waits for entries
/// has to know.
fn announce(ctx: &mut Ctx<'_>, key: &[u8], event: Event) {
    count_changes(ctx, 1);
    ctx.server.announce(ctx.client.dbid, key, event);
}

/// Entries of a group at this key may be pending since another time than before: who waits for such entries to age
/// looks again. Others who wait are not served by that.
fn pending_changed(ctx: &mut Ctx<'_>, key: &[u8]) {
    if ctx.server.waiters.next_wake_ms().is_some() {
        ctx.server.waiters.signal(ctx.client.dbid, key);
    }
}

/// Counts `count` changes of groups that are no events.
fn count_changes(ctx: &mut Ctx<'_>, count: usize) {
    ctx.server.effects.dirty += count as u64;
}

fn reply_id(reply: &mut Reply, id: StreamId) {
    reply.bulk(id.format(&mut [0; ID_TEXT_MAX]));
}

/// An entry: its ID and a list of its fields and values.
fn reply_entry(reply: &mut Reply, entry: Entry<'_>) {
    reply.array(2);
    reply_id(reply, entry.id());
    reply_pairs(reply, entry);
}

fn reply_pairs(reply: &mut Reply, entry: Entry<'_>) {
    let mut digits = itoa::Buffer::new();
    reply.array(entry.len() * 2);
    for (field, value) in entry.pairs() {
        reply.bulk(field.bytes(&mut digits));
        reply.bulk(value.bytes(&mut digits));
    }
}

/// As a group's work goes out: a claim that says all there is to know of a pending entry.
fn claim_argv(
    key: &[u8],
    name: &[u8],
    group: &Group,
    id: StreamId,
    consumer: &[u8],
    nack: &Nack,
) -> Vec<Vec<u8>> {
    vec![
        b"XCLAIM".to_vec(),
        key.to_vec(),
        name.to_vec(),
        consumer.to_vec(),
        b"0".to_vec(),
        id.to_vec(),
        b"TIME".to_vec(),
        nack.delivered_ms.to_string().into_bytes(),
        b"RETRYCOUNT".to_vec(),
        nack.deliveries.to_string().into_bytes(),
        b"FORCE".to_vec(),
        b"JUSTID".to_vec(),
        b"LASTID".to_vec(),
        group.last_id.to_vec(),
    ]
}

/// The same for how far a group has read.
fn set_id_argv(key: &[u8], name: &[u8], group: &Group) -> Vec<Vec<u8>> {
    let read = group.entries_read.map_or(-1, |read| read as i64);
    vec![
        b"XGROUP".to_vec(),
        b"SETID".to_vec(),
        key.to_vec(),
        name.to_vec(),
        group.last_id.to_vec(),
        b"ENTRIESREAD".to_vec(),
        read.to_string().into_bytes(),
    ]
}

/// Propagates these commands, which tell what the request has come to.
fn propagate_instead(ctx: &mut Ctx<'_>, commands: &[Vec<Vec<u8>>]) {
    ctx.server.effects.rewritten = true;
    for argv in commands {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        ctx.propagate(&argv);
    }
}

/// The same where the request itself never goes out, and so not even a script can hold the commands back.
fn propagate_outcome(ctx: &mut Ctx<'_>, commands: &[Vec<Vec<u8>>]) {
    ctx.server.effects.rewritten = true;
    for argv in commands {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        ctx.propagate_anyway(&argv);
    }
}
