//! XLEN, XRANGE, XREVRANGE, XSETID.

use super::{announce, end_arg, find, id_arg, reply_entry, start_arg};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::Access;
use crate::types::stream::StreamId;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[XLEN, XRANGE, XREVRANGE, XSETID];

pub const XLEN: Spec = Spec {
    name: "xlen",
    arity: 2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Returns how many entries a stream has.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: xlen,
    ..Spec::DEFAULT
};

fn xlen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let found = find(ctx, key, Access::Read)?;
    let len = found.map_or(0, |stream| stream.log.len());
    ctx.client.reply.int(len as i64);
    Ok(())
}

pub const XRANGE: Spec = Spec {
    name: "xrange",
    arity: -4,
    flags: Flags::READONLY,
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Returns the entries between two IDs.",
    complexity: Some("O(N) or O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::new("start", ArgKind::String),
        Arg::new("end", ArgKind::String),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
    ],
    history: &[("6.2.0", &[])],
    handler: xrange,
    ..Spec::DEFAULT
};

fn xrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    range(ctx, args, false)
}

pub const XREVRANGE: Spec = Spec {
    name: "xrevrange",
    arity: -4,
    flags: Flags::READONLY,
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Returns the entries between two IDs, the greatest ID first.",
    complexity: Some("O(N) or O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::new("end", ArgKind::String),
        Arg::new("start", ArgKind::String),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
    ],
    history: &[("6.2.0", &[])],
    handler: xrevrange,
    ..Spec::DEFAULT
};

fn xrevrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    range(ctx, args, true)
}

fn range(ctx: &mut Ctx<'_>, args: Args<'_>, is_reverse: bool) -> Result<(), CommandError> {
    let (start_at, end_at) = if is_reverse { (3, 2) } else { (2, 3) };
    let (start, end) = (start_arg(args, start_at)?, end_arg(args, end_at)?);
    let mut count = None;
    let mut index = 4;
    while index < args.len() {
        if !args.is(index, "COUNT") || index + 1 >= args.len() {
            return Err(CommandError::Syntax);
        }
        let value = int_arg(args, index + 1)?.max(-1);
        count = (value >= 0)
            .then_some(value as usize)
            .or((value < 0).then_some(0));
        index += 2;
    }
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let found = ctx
        .server
        .object::<crate::keyspace::object::Stream>(dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    let Some(stream) = found else {
        reply.array(0);
        return Ok(());
    };
    if count == Some(0) {
        reply.null_array();
        return Ok(());
    }
    let limit = count.unwrap_or(usize::MAX);
    let log = &stream.get().log;
    let begin = reply.array_begin();
    let mut len = 0;
    if is_reverse {
        for entry in log.range_back(start, end).take(limit) {
            reply_entry(reply, entry);
            len += 1;
            if reply.is_cut() {
                break;
            }
        }
    } else {
        for entry in log.range(start, end).take(limit) {
            reply_entry(reply, entry);
            len += 1;
            if reply.is_cut() {
                break;
            }
        }
    }
    reply.array_end(begin, len);
    Ok(())
}

pub const XSETID: Spec = Spec {
    name: "xsetid",
    arity: -3,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Sets the last ID of a stream.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("last-id", ArgKind::String),
        Arg::new("entries-added", ArgKind::Integer)
            .token("ENTRIESADDED")
            .since("7.0.0")
            .optional(),
        Arg::new("max-deleted-id", ArgKind::String)
            .token("MAXDELETEDID")
            .since("7.0.0")
            .optional(),
    ],
    history: &[("7.0.0", &["entries_added", "max_deleted_entry_id"])],
    handler: xsetid,
    ..Spec::DEFAULT
};

/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]`
fn xsetid(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let id = id_arg(args, 2)?;
    let (mut entries_added, mut max_deleted) = (None, StreamId::MIN);
    let mut index = 3;
    while index < args.len() {
        let has_next = index + 1 < args.len();
        if args.is(index, "ENTRIESADDED") && has_next {
            let value = u64::try_from(int_arg(args, index + 1)?);
            entries_added =
                Some(value.map_err(|_| CommandError::text("ERR entries_added must be positive"))?);
        } else if args.is(index, "MAXDELETEDID") && has_next {
            max_deleted = id_arg(args, index + 1)?;
            if id < max_deleted {
                return Err(CommandError::text(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
        } else {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    let key = ctx.key(args, 1);
    let stream = find(ctx, key, Access::Write)?.ok_or(CommandError::NoSuchKey)?;
    let log = &mut stream.log;
    if id < log.max_deleted_id {
        return Err(CommandError::text(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if !log.is_empty() {
        if id < log.edge_id(true) {
            return Err(CommandError::text(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            ));
        }
        if entries_added.is_some_and(|count| count < log.len()) {
            return Err(CommandError::text(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            ));
        }
    }
    log.last_id = id;
    log.entries_added = entries_added.unwrap_or(log.entries_added);
    if !max_deleted.is_zero() {
        log.max_deleted_id = max_deleted;
    }
    announce(ctx, key.bytes, Event::stream("xsetid"));
    ctx.client.reply.ok();
    Ok(())
}
