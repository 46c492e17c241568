//! Parts of strings: APPEND, GETRANGE, SETRANGE, STRLEN, SUBSTR.

use super::{READS_KEY, WRITE_FAST, check_len, max_len, store_raw, with_bytes};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::resp::writer::SHARE_MIN;
use crate::state::effects::Event;
use crate::state::keys::Access;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[APPEND, GETRANGE, SETRANGE, STRLEN, SUBSTR];

pub const APPEND: Spec = Spec {
    name: "append",
    arity: 3,
    flags: WRITE_FAST,
    acl: Categories::STRING,
    group: Group::String,
    since: "2.0.0",
    summary: "Adds to the end of a string, which starts out empty when there is none.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[Arg::key("key", 0), Arg::new("value", ArgKind::String)],
    handler: append,
    ..Spec::DEFAULT
};

/// `APPEND key value`: extends the string at `key`, creating it when absent.
fn append(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, tail) = (ctx.key(args, 1), args.bytes(2));
    let dbid = ctx.client.dbid;
    let max_len = max_len(ctx);
    let new_len = match ctx.server.string(dbid, key, Access::Write)? {
        Some(entry) => {
            check_len(max_len, entry.str_len(), tail.len())?;
            entry.append(tail).unwrap_or(0)
        }
        None => {
            ctx.store(key, args, 2, None);
            tail.len()
        }
    };
    ctx.touch(key.bytes, Event::string("append"));
    ctx.client.reply.len(new_len);
    Ok(())
}

pub const STRLEN: Spec = Spec {
    name: "strlen",
    arity: 2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::STRING,
    group: Group::String,
    since: "2.2.0",
    summary: "Returns the length of a string.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: strlen,
    ..Spec::DEFAULT
};

fn strlen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let found = ctx.server.string(ctx.client.dbid, key, Access::Read)?;
    let len = found.map_or(0, |entry| entry.str_len());
    ctx.client.reply.len(len);
    Ok(())
}

pub const SETRANGE: Spec = Spec {
    name: "setrange",
    arity: 4,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::STRING,
    group: Group::String,
    since: "2.2.0",
    summary: "Overwrites a part of a string, from a byte on; what lies before is padded with zeros.",
    complexity: Some("O(1) or O(M)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("offset", ArgKind::Integer),
        Arg::new("value", ArgKind::String),
    ],
    handler: setrange,
    ..Spec::DEFAULT
};

fn setrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let offset = usize::try_from(int_arg(args, 2)?).map_err(|_| CommandError::OffsetOutOfRange)?;
    let (key, value) = (ctx.key(args, 1), args.bytes(3));
    let found = ctx.server.string(ctx.client.dbid, key, Access::Write)?;
    let old_len = found.map(|entry| entry.str_len());
    if value.is_empty() {
        ctx.client.reply.len(old_len.unwrap_or(0));
        return Ok(());
    }
    check_len(max_len(ctx), offset, value.len())?;
    let end = offset + value.len();
    let new_len = end.max(old_len.unwrap_or(0));
    match ctx.lookup(key, Access::Peek) {
        Some(entry) if end <= old_len.unwrap_or(0) => {
            if let Some(bytes) = entry.bytes_mut() {
                bytes[offset..end].copy_from_slice(value);
            }
        }
        Some(entry) => {
            entry.modify(|bytes| {
                bytes.resize(new_len, 0);
                bytes[offset..end].copy_from_slice(value);
            });
        }
        None => {
            let mut bytes = vec![0; new_len];
            bytes[offset..end].copy_from_slice(value);
            store_raw(ctx, key, bytes);
        }
    }
    ctx.touch(key.bytes, Event::string("setrange"));
    ctx.client.reply.len(new_len);
    Ok(())
}

pub const GETRANGE: Spec = Spec {
    name: "getrange",
    arity: 4,
    flags: Flags::READONLY,
    acl: Categories::STRING,
    group: Group::String,
    since: "2.4.0",
    summary: "Returns a part of a string, given by its first and last byte.",
    complexity: Some("O(N) or O(1)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("start", ArgKind::Integer),
        Arg::new("end", ArgKind::Integer),
    ],
    handler: getrange,
    ..Spec::DEFAULT
};

fn getrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (start, end) = (int_arg(args, 2)?, int_arg(args, 3)?);
    let key = ctx.key(args, 1);
    let Some(entry) = ctx.server.string(ctx.client.dbid, key, Access::Read)? else {
        ctx.client.reply.bulk(b"");
        return Ok(());
    };
    let reply = &mut ctx.client.reply;
    let shared = entry.shared_bytes();
    with_bytes(entry, |bytes| {
        let Some((first, last)) = clamp_range(start, end, bytes.len()) else {
            return reply.bulk(b"");
        };
        match shared {
            Some(shared) if last - first >= SHARE_MIN => {
                reply.bulk_shared(shared.slice(first..=last))
            }
            _ => reply.bulk(&bytes[first..=last]),
        }
    });
    Ok(())
}

pub const SUBSTR: Spec = Spec {
    name: "substr",
    arity: 4,
    flags: Flags::READONLY,
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "Returns a part of a string, given by its first and last byte.",
    complexity: Some("O(N) or O(1)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("start", ArgKind::Integer),
        Arg::new("end", ArgKind::Integer),
    ],
    deprecated_since: Some("2.0.0"),
    replaced_by: Some("`GETRANGE`"),
    handler: substr,
    ..Spec::DEFAULT
};

fn substr(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    getrange(ctx, args)
}

/// The first and last of `len` positions that `start` and `end` mean, which count from the end if negative;
/// `None` if there are none.
pub fn clamp_range(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    // The part before the beginning is one position long, unless both ends lie there in the wrong order.
    if start < 0 && end < 0 && start > end {
        return None;
    }
    clamp_ends(start, end, len)
}

/// As [`clamp_range`], but ends that both lie before the beginning always leave the first position.
pub fn clamp_ends(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    let len = i64::try_from(len).ok()?;
    let from_end = |at: i64| if at < 0 { (at + len).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end {
        return None;
    }
    Some((usize::try_from(start).ok()?, usize::try_from(end).ok()?))
}

#[cfg(test)]
mod tests {
    use super::clamp_range;

    #[test]
    fn ranges_are_clamped() {
        let table = [
            ((0, 3, 11), Some((0, 3))),
            ((0, -1, 11), Some((0, 10))),
            ((-4, -1, 11), Some((7, 10))),
            ((5, 3, 11), None),
            ((5, 5000, 11), Some((5, 10))),
            ((-5000, 10000, 11), Some((0, 10))),
            ((0, -100, 11), Some((0, 0))),
            ((-100, -99, 11), Some((0, 0))),
            ((-100, -101, 11), None),
            ((i64::MIN, i64::MAX, 11), Some((0, 10))),
            ((0, -1, 0), None),
        ];
        for ((start, end, len), want) in table {
            assert_eq!(clamp_range(start, end, len), want, "{start} {end} {len}");
        }
    }
}
